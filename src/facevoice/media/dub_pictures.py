"""The pictures of a dub, encoded once for all voices that they meet."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame

from facevoice.errors import MediaError, NoStreamError
from facevoice.media.dub_rule import MAX_MISSING_S, DubRule, add_stream, check_length
from facevoice.media.probe import probe
from facevoice.media.video import read_frames
from facevoice.types import ByteArray, Frame

TICKS_HZ: Final = 90_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
_ASK_HZ: Final = 1000


@dataclass(frozen=True, slots=True)
class Pictures:
    """A face, cut and encoded: an MP4 without sound, in memory."""

    path: Path
    length_s: float
    num_frames: int
    content: bytes


def encode_pictures(
    path: str | Path, length_s: float, rule: DubRule | None = None, *, start_s: float = 0.0
) -> Pictures:
    """The pictures of `path` from `start_s` on, upright, at their own times, `length_s` long.

    The first one is there from the very beginning, also where the film starts a little later.

    Raises:
        ConfigError: the length is too short, or the encoder unknown.
        NoStreamError: no pictures inside.
        MediaError: the pictures end more than 50 ms before `length_s`, or can't be read.
    """
    rule, path = rule or DubRule(), Path(path)
    check_length(length_s)
    file = io.BytesIO()
    frames = _read_pictures(path, start_s, length_s, rule.max_side_px)
    first = next(frames)
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        stream = _add_video(output, first[1], rule)
        packets = list(_encode(stream, first, frames))
        # Without a length of its own, the last picture would be shown as long as the one before.
        packets[-1].duration = max(1, round(length_s * TICKS_HZ) - packets[-1].pts)
        output.mux(packets)
    return Pictures(path, length_s, len(packets), file.getvalue())


def too_short(path: Path, what: str, has_s: float, length_s: float) -> MediaError:
    """The error for a stream that ends too early."""
    return MediaError(
        path,
        f"its {what} ends after {max(0.0, has_s):.2f} s of the {length_s:.2f} s wanted.",
        "Prepare the manifest again, so that durations are those of the files.",
    )


def _read_pictures(
    path: Path, start_s: float, length_s: float, max_side_px: int
) -> Iterator[tuple[int, ByteArray]]:
    """Tick and picture (even sides) of all frames shown in the clip; the first one at tick 0."""
    info = probe(path)
    if info.video is None:
        raise NoStreamError(path, "holds no video.", "Name a file with pictures for the face.")
    times = (start_s + k / _ASK_HZ for k in range(math.ceil(length_s * _ASK_HZ)))
    tick, end_s = -1, start_s + length_s
    frame: Frame | None = None
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=max_side_px):
        since_s = frame.timestamp_s - start_s
        # Where pictures start later than sound, the first one is there from the beginning.
        tick = max(tick + 1, round(since_s * TICKS_HZ)) if tick >= 0 else 0
        yield tick, _even_sides(frame.rgb)
    shown_s = start_s if frame is None else frame.timestamp_s + 1 / info.video.frame_rate_hz
    if shown_s < end_s - MAX_MISSING_S:
        last = [end_s - MAX_MISSING_S]
        # A film of varying rate may rest on its last picture.
        if next(read_frames(path, last, tolerance_s=0.0, max_side_px=16), None) is None:
            raise too_short(path, "video", shown_s - start_s, length_s)


def _even_sides(rgb: ByteArray) -> ByteArray:
    """H.264 at 4:2:0 wants even sides: the last row or column is repeated."""
    rows, columns = rgb.shape[0] % 2, rgb.shape[1] % 2
    return np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else rgb


def _add_video(output: OutputContainer, picture: ByteArray, rule: DubRule) -> Any:
    stream = add_stream(output, rule.video_codec, "video_codec")
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, TICKS_HZ)
    # More threads would cut the pictures up by the machine's number of processors; no frame waits
    # for a later one, so that both streams begin at 0 in every player.
    context.thread_count, context.max_b_frames = 1, 0
    context.flags |= Flags.bitexact
    context.options = {"crf": str(rule.video_crf), "preset": rule.video_preset}
    return stream


def _encode(
    stream: Any, first: tuple[int, ByteArray], others: Iterable[tuple[int, ByteArray]]
) -> Iterator[Any]:
    for tick, picture in itertools.chain([first], others):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)
