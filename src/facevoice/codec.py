"""Views and media as plain values, and back: checked, for they come from files and processes.

Plain values are what msgpack and JSON hold: nothing of them is ever run. An array is a list of its
kind ("<f4", "<f8", "|u1"), its shape and its bytes; a path is the bytes of its name.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from PIL import Image

from facevoice.records import (
    PEAKS_HZ,
    AudioInfo,
    FaceView,
    MediaInfo,
    Reason,
    VideoInfo,
    Window,
    WindowView,
)

Record = TypeVar("Record")

MAX_DURATION_S: Final = 31 * 86_400.0
"""No file is longer; waveforms are drawn up to any time that is told."""
_MIN_SPAN_S: Final = 2e-6
"""No window is shorter: a report, which has six digits, would let it end where it begins."""
MIN_FRAME_RATE_HZ: Final = 1e-6
"""A frame in twelve days: less would be 0 in a report, which has six digits."""
MAX_NUMBER: Final = 1 << 31
"""Of people, tracks, pixels, hertz."""
_MAX_FACES: Final = 64
_MAX_WINDOW_S: Final = 11.0
_MAX_SIDE_PX: Final = 1024
_KINDS: Final = ("<f4", "<f8", "|u1")
_MAX_AXES: Final = 4
_MISSED: Final = frozenset(reason.value for reason in Reason)


def view_values(view: WindowView) -> dict[str, Any]:
    """A window as plain values."""
    return _values(view)


def read_view(values: object) -> WindowView:
    """A window of plain values; its arrays may be written to.

    Raises:
        ValueError: they are not what `view_values` gives: a wrong type, shape, number or order.
    """
    view = _read(WindowView, values)
    _check_window(view)
    for face in view.faces:
        _check_face(face)
    return view


def window_values(window: Window) -> dict[str, Any]:
    """The crops and the sound of a window as plain values; what its view tells is left out."""
    bare = replace(window, portrait=None, detected=None, others=())
    others = (replace(one, portrait=None, detected=None, samples=None) for one in window.others)
    return _values(replace(bare, others=tuple(others)))


def read_window(values: object) -> Window:
    """A window of plain values, raising as `read_view` does."""
    window = _read(Window, values)
    for one in (window, *window.others):
        num_crops = 0 if one.faces is None else len(one.faces)
        check_span(one.start_s, one.end_s)
        require_that(one.end_s - one.start_s <= _MAX_WINDOW_S, "length of a window", one.end_s)
        require_that(one.faces is None or one.faces.dtype == np.uint8, "faces", "no pixels")
        _check_array("samples", one.samples, (None,))
        _check_array("face_timestamps_s", one.face_timestamps_s, (num_crops,), is_rising=True)
    return window


def media_values(info: MediaInfo) -> dict[str, Any]:
    """What a file holds as plain values."""
    return _values(info)


def read_media(values: object) -> MediaInfo:
    """What a file holds, of plain values.

    Raises:
        ValueError: they are not what `media_values` gives: a wrong type or an impossible number.
    """
    return check_media(_read(MediaInfo, values))


def check_media(info: MediaInfo) -> MediaInfo:
    """The same, if its numbers are possible.

    Raises:
        ValueError: they are not.
    """
    require_that(0 <= info.duration_s <= MAX_DURATION_S, "duration_s", info.duration_s)
    if info.video is not None:
        _check_video(info.video)
    if info.audio is not None:
        _check_audio(info.audio)
    return info


def _values(record: WindowView | Window | MediaInfo) -> dict[str, Any]:
    # Bytes stay bytes, which msgpack holds as they are.
    plain: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,), enc_hook=_plain)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fsencode(value)
    kind = value.dtype.newbyteorder("<").str
    return [kind, list(value.shape), np.ascontiguousarray(value, kind).tobytes()]


def _read(kind: type[Record], values: object) -> Record:
    try:
        return msgspec.convert(values, kind, dec_hook=_special)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _special(kind: Any, value: Any) -> Any:
    """The two kinds of value that msgspec doesn't know; only records of here are read."""
    if kind is Path:
        if not isinstance(value, bytes) or not value or b"\0" in value:
            raise ValueError("no path")
        return Path(os.fsdecode(value))
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError("no array")
    form, shape, content = value
    if not (form in _KINDS and isinstance(shape, list | tuple) and isinstance(content, bytes)):
        raise ValueError("no array of floats")
    is_size = all(isinstance(n, int) and n >= 0 for n in shape) and 0 < len(shape) <= _MAX_AXES
    if not is_size or math.prod(shape) * np.dtype(form).itemsize != len(content):
        raise ValueError("an array whose shape isn't that of its bytes")
    array = np.frombuffer(content, form).astype(np.dtype(form).newbyteorder("="))
    if not np.isfinite(array).all():
        raise ValueError("an array with values that are no numbers")
    return array.reshape(shape)


def _check_window(view: WindowView) -> None:
    check_span(view.start_s, view.end_s)
    require_that(0 <= view.speech_coverage <= 1, "speech_coverage", view.speech_coverage)
    require_that(len(view.faces) <= _MAX_FACES, "faces", len(view.faces))
    require_that(0 <= view.num_faces < MAX_NUMBER, "num_faces", view.num_faces)
    require_that(view.missed is None or view.missed in _MISSED, "missed", view.missed)
    require_that(abs(view.speaker or 0) < MAX_NUMBER, "speaker", view.speaker)
    require_that(abs(view.detected_s or 0) <= MAX_DURATION_S, "detected_s", view.detected_s)
    _check_array("voice", view.voice, (None,))
    _check_array("voice_print", view.voice_print, (None,))
    _check_array("detected", view.detected, (None, 7))
    _check_array("speech_spans_s", view.speech_spans_s, (None, 2), is_rising=True)
    _check_array("peaks", view.peaks, (None,), is_share=True)
    most = math.ceil(view.duration_s * PEAKS_HZ) + 1
    require_that(view.peaks is None or len(view.peaks) <= most, "peaks", "more than the window has")


def _check_face(face: FaceView) -> None:
    require_that(0 <= face.coverage <= 1, "coverage", face.coverage)
    require_that(abs(face.person) < MAX_NUMBER, "person", face.person)
    for name in ("quality", "moving", "speaking"):
        require_that(math.isfinite(getattr(face, name) or 0), name, getattr(face, name))
    if face.portrait is not None:
        _check_picture(face.portrait)
    if face.embedding is None or face.embedding.dtype != np.uint8:
        _check_array("embedding", face.embedding, (None,))
    else:  # the crops themselves, which training keeps in place of an embedding
        require_that(face.embedding.shape[3:] == (3,), "crops", face.embedding.shape)
    _check_array("identity", face.identity, (None,))
    _check_array("clearness", face.clearness, (2,), is_share=True)
    _check_array("times_s", face.times_s, (None,), is_rising=True)
    num_seen = None if face.times_s is None else len(face.times_s)
    _check_array("boxes_xyxy_rel", face.boxes_xyxy_rel, (num_seen, 4), is_share=True)
    is_told = face.times_s is not None and face.boxes_xyxy_rel is not None
    is_untold = face.times_s is None and face.boxes_xyxy_rel is None
    require_that(is_told or is_untold, "boxes_xyxy_rel", "without times, or times without them")


def _check_picture(content: bytes) -> None:
    """A whole JPEG of a face; of no other format, some of which are programs."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
            require_that(max(picture.size) <= _MAX_SIDE_PX, "portrait", picture.size)
            picture.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a portrait that is no JPEG ({error})") from error


def _check_array(
    name: str,
    array: np.ndarray[Any, Any] | None,
    shape: tuple[int | None, ...],
    *,
    is_rising: bool = False,
    is_share: bool = False,
) -> None:
    """None or of a shape, in which None is any size; rising row by row; or all in [0, 1]."""
    if array is None:
        return
    fits = len(array.shape) == len(shape) and all(
        wanted is None or size == wanted for size, wanted in zip(array.shape, shape, strict=True)
    )
    require_that(fits and array.dtype != np.uint8, f"shape of {name}", array.shape)
    if is_rising:
        require_that(bool((np.diff(array.ravel()) >= 0).all()), name, "not in order")
    if is_share:
        require_that(bool(((array >= 0) & (array <= 1)).all()), name, "beyond 0 and 1")


def _check_video(video: VideoInfo) -> None:
    for name in ("width_px", "height_px", "track"):
        require_that(0 < getattr(video, name) < MAX_NUMBER, name, getattr(video, name))
    is_told = MIN_FRAME_RATE_HZ <= video.frame_rate_hz < MAX_NUMBER
    require_that(is_told, "frame_rate_hz", video.frame_rate_hz)
    require_that(abs(video.start_s) <= MAX_DURATION_S, "start_s", video.start_s)
    require_that(video.rotation_deg in (0, 90, 180, 270), "rotation_deg", video.rotation_deg)


def _check_audio(audio: AudioInfo) -> None:
    require_that(0 < audio.sample_rate_hz < MAX_NUMBER, "sample_rate_hz", audio.sample_rate_hz)
    require_that(abs(audio.start_s) <= MAX_DURATION_S, "start_s", audio.start_s)
    own = audio.track, audio.num_channels
    for number, num_channels in (own, *((o.number, o.num_channels) for o in audio.others)):
        require_that(0 < number < MAX_NUMBER, "track", number)
        require_that(0 <= num_channels < MAX_NUMBER, "num_channels", num_channels)


def check_span(start_s: float, end_s: float) -> None:
    """ValueError unless a window may have these times."""
    is_span = 0 <= start_s <= end_s - _MIN_SPAN_S <= MAX_DURATION_S
    require_that(is_span, "start_s, end_s", (start_s, end_s))


def require_that(condition: bool, name: str, value: object) -> None:
    """ValueError, saying what is impossible, unless the condition holds."""
    if not condition:
        raise ValueError(f"impossible {name}: {str(value)[:200]}")
