"""One film in, the same film with what was said of it out: an annotated MP4."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, ImageColor, ImageDraw, ImageFont

from facevoice.errors import (
    ConfigError,
    NoStreamError,
    RenderError,
    UnreadableMediaError,
)
from facevoice.files import whole_file
from facevoice.interpret import shown_spans
from facevoice.media.clocks import MAX_PAUSE_S, frame_rate_hz, ticks_to_s
from facevoice.media.frames import read_frames
from facevoice.media.open import (
    DamageLog,
    Source,
    decode,
    open_source,
    probe,
    read_packets,
)
from facevoice.records import (
    ByteArray,
    DoubleArray,
    FloatArray,
    Frame,
    MediaInfo,
    Prediction,
    Report,
    Trace,
)
from facevoice.report.json import from_json, to_json
from facevoice.report.words import (
    CHANNEL_WORDS,
    GAP,
    OUTCOME_COLORS,
    chance_words,
    channel_words,
    ink_on,
    names_of,
)
from facevoice.sandbox import Limits, Message, Sandbox, Work
from facevoice.workers import num_cpus

MIN_HEIGHT_PX: Final = 64
"""In fewer rows, nothing can be read."""

_DEFAULT_HEIGHT_PX: Final = 1080
_CRF: Final = "21"
_PRESET: Final = "veryfast"
_MPEG_RANGE: Final = 1
_FALLBACK_TICKS_HZ: Final = 90_000
_SAME_TICK: Final = 1e-3
_MAX_TICKS_HZ: Final = 1_000_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
_ASK_S: Final = 0.001
# Matrices that the converter knows, by FFmpeg's number; all else is taken for BT.601, both ways.
_MATRICES: Final = {n: Colorspace(5 if n == 6 else n) for n in (1, 4, 5, 6, 7, 9)}

_COPIED_CODECS: Final = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
# Of MPEG-2.5 sound, which is slower, the muxer says that it is no standard in MP4.
_MIN_MP3_RATE_HZ: Final = 16_000
_AAC_RATES_HZ: Final = (
    *(7350, 8000, 11_025, 12_000, 16_000, 22_050, 24_000),
    *(32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
)
_AAC_LAYOUTS: Final = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
_BITS_PER_SAMPLE_AND_CHANNEL: Final = 2
_MAX_BIT_RATE_BPS: Final = 512_000
# Containers round timestamps: smaller steps than this are no gaps or overlaps.
_JITTER_S: Final = 0.05

_NOTICE: Final = "expressed emotion, estimated by facevoice"
_GROUND: Final = "#0B0D10"
_WORD_INK: Final = "#FFFFFF"
_QUIET_INK: Final = "#B4BBC2"
_EMPTY: Final = "#3A4046"
# Around those who aren't judged.
_QUIET: Final = "#55616B"
# A sign that the font lacks is drawn as this one, which no font has.
_NO_SIGN: Final = "\uffff"
# The letters' height as a share of the picture's, and what all words together take of them.
_UNITS_PER_HEIGHT: Final = 28.0
_UNITS_FOR_ONE_LINE: Final = 46.0
_UNITS_FOR_TWO_LINES: Final = 28.0
# Smaller letters than this share of what the height allows, and the words go into two lines.
_MIN_SHRINK: Final = 0.85
_MIN_UNIT_PX: Final = 9.0
# Of a process that draws: a film at 1080 rows takes some 400 MB, decoder and encoder together.
_LIMITS: Final = Limits(memory_bytes=2 << 30, written_bytes=64 << 30)
# Between two sightings further apart, nothing is known of the face.
_MAX_GAP_S: Final = 0.5
# A picture this near to a sighting is the one that was looked at.
_SAME_MOMENT_S: Final = 1e-3


def render_video(
    report: Report,
    trace: Trace,
    out: str | Path,
    *,
    on_progress: Callable[[float], None] | None = None,
    height_px: int | None = None,
    isolated: bool = False,
) -> Path:
    """Write an MP4 of `report.path` that shows what the report says, whole or not at all.

    Every frame keeps its time. Sound is copied as it is where MP4 may hold it (AAC, MP3, AC-3,
    E-AC-3, Opus, FLAC, ALAC), and otherwise encoded as AAC at its own rate. Of a damaged file,
    there is what can be decoded. Memory does not grow with the length of the film.

    Args:
        report: of the file, which must still be there.
        trace: `Perception.trace` of the same analysis.
        out: ends in .mp4; an older file is replaced.
        on_progress: called with the seconds of media done so far, at most the file's length; if it
            raises, nothing is left.
        height_px: pictures are made smaller until they have at most so many rows (even, ≥ 64);
            None for 1080.
        isolated: do it in a process of its own, which can write to the folder of `out` only.

    Returns:
        `out` as a path.

    Raises:
        ConfigError: `out` doesn't end in .mp4 or is the film itself, or `height_px` is too small.
        NoStreamError: the file holds no video.
        MediaError: the file can't be read, or in isolation takes more than it may.
        RenderError: the MP4 can't be written.
    """
    path, out = Path(report.path), Path(out)
    check_video_target(path, out)
    limit_px = _DEFAULT_HEIGHT_PX if height_px is None else height_px
    if limit_px < MIN_HEIGHT_PX:
        raise ConfigError(f"height_px = {height_px}: at least {MIN_HEIGHT_PX}")
    draw = _draw_in_isolation if isolated else _draw
    try:
        with whole_file(out) as part:
            draw(report, trace, part, limit_px, on_progress or (lambda _: None))
    except (av.FFmpegError, OSError) as error:
        raise _not_written(out, error) from error
    return out


def _draw(
    report: Report,
    trace: Trace,
    part: Path,
    limit_px: int,
    on_progress: Callable[[float], None],
) -> None:
    info = require_video(probe(report.path))
    if report.media is not None and report.media.audio is not None and info.audio is not None:
        info = replace(info, audio=report.media.audio)  # the track that was heard

    def pictures() -> Iterator[Frame]:
        for frame in _read_pictures(info, limit_px):
            on_progress(min(frame.timestamp_s, info.duration_s))
            yield frame

    with open_source(info) as source:
        _write(part, source, pictures(), _Overlay(report, trace, info.duration_s))


def _draw_in_isolation(
    report: Report,
    trace: Trace,
    part: Path,
    limit_px: int,
    on_progress: Callable[[float], None],
) -> None:
    path = Path(report.path)
    task = {
        "path": os.fsencode(path),
        "report": to_json(replace(report, path="video")),
        "trace": {member.name: getattr(trace, member.name).tolist() for member in fields(trace)},
        "part": os.fsencode(part),
        "limit_px": limit_px,
    }
    length_s = 0.0 if report.media is None else report.media.duration_s
    child = Sandbox(f"{__name__}:{open_drawer.__name__}", {}, _LIMITS)
    with contextlib.closing(child):
        messages = child.work(task, path, length_s=length_s, writable=part.parent)
        for message in messages:
            if "not_written" in message:
                raise OSError(None, str(message["not_written"]))
            on_progress(float(message["done_s"]))


def open_drawer(_: Message) -> Work:
    """What a child does for `render_video`: draw one film."""

    def work(task: Message, tell: Callable[[Message], None]) -> None:
        report = replace(from_json(task["report"]), path=os.fsdecode(task["path"]))
        given = {name: np.array(values) for name, values in task["trace"].items()}
        trace = Trace(
            face_times_s=given["face_times_s"].astype(np.float64),
            boxes_xyxy_rel=given["boxes_xyxy_rel"].astype(np.float32).reshape(-1, 4),
            track_ids=given["track_ids"].astype(np.int64),
            peaks=given["peaks"].astype(np.float32),
            speech_spans_s=given["speech_spans_s"].astype(np.float64).reshape(-1, 2),
        )
        part = Path(os.fsdecode(task["part"]))
        try:
            _draw(report, trace, part, task["limit_px"], lambda s: tell({"done_s": s}))
        except (av.FFmpegError, OSError) as error:
            tell({"not_written": getattr(error, "strerror", None) or str(error)})

    return work


def require_video(info: MediaInfo) -> MediaInfo:
    """The same, if it can be drawn on.

    Raises:
        NoStreamError: the file holds no video.
    """
    if info.video is None:
        raise NoStreamError(
            info.path, "holds no video to draw on.", "Make a page of it instead: facevoice report."
        )
    return info


def check_video_target(path: Path, out: Path) -> None:
    """Make sure before all work that `out` may become an annotated film of `path`.

    Raises:
        ConfigError: it doesn't end in .mp4, or is the film itself.
        RenderError: its folder doesn't exist, or it is a folder.
    """
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"{out}: annotated videos are MP4 files; let the name end in .mp4")
    try:
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"{out}: is the video itself; choose another name")
        if out.is_dir():
            raise RenderError(out, "is a folder.", "Name a file.")
        if not out.parent.is_dir():
            raise RenderError(out, "its folder does not exist.", "Make the folder first.")
    except OSError as error:
        raise _not_written(out, error) from error


def _not_written(out: Path, error: Exception) -> RenderError:
    reason = getattr(error, "strerror", None) or str(error)
    return RenderError(
        out,
        f"can't be written ({reason}).",
        "Check that the folder may be written to and the disk has room.",
    )


# What is drawn: a frame around each face, and a strip at the bottom.

_Box = tuple[float, float, float, float]


class _Overlay:
    """Draws what a report says on pictures of a film of `duration_s`; call `fit` first."""

    def __init__(self, report: Report, trace: Trace, duration_s: float) -> None:
        self._windows = report.windows
        self._tracks = _Tracks(trace)
        self._names = {n: _drawable(name, n) for n, name in names_of(report).items()}
        self._people = {track: person for person in report.people for track in person.tracks}
        self._end_s = max([duration_s, 1e-3, *(w.end_s for w in report.windows[-1:])])
        self._ends_s = [end_s for _, end_s in shown_spans(report.windows, self._end_s)]

    def fit(self, width_px: int, height_px: int) -> None:
        """Plan for pictures of this size."""
        unit, self._num_lines = _letter_px(width_px, height_px)
        self._unit_px, self._font = unit, _letters(unit)
        self._width_px, self._margin_px = width_px, round(0.7 * unit)
        self._bar_top_px = round((0.55 + 1.5 * self._num_lines) * unit)
        self._bar_px = max(4, round(0.36 * unit))
        self._height_px = self._bar_top_px + self._bar_px + round(1.3 * unit)
        self._strip = lru_cache(maxsize=2)(self._draw_strip)
        self._label = lru_cache(maxsize=64)(self._draw_label)

    def draw(self, picture: ByteArray, time_s: float) -> None:
        """Draw on `picture` (H, W, 3) RGB, in place, what holds at media time `time_s`."""
        place: int | None = None
        if self._windows:
            place = min(bisect_right(self._ends_s, time_s), len(self._windows) - 1)
            self._draw_faces(picture, self._windows[place], time_s)
        top = max(0, picture.shape[0] - self._height_px)
        picture[top:] = self._strip(place)[: picture.shape[0] - top]
        line_px = max(3, round(self._unit_px / 5))
        room_px = self._width_px - 2 * self._margin_px
        left = self._margin_px + round(min(time_s / self._end_s, 1) * (room_px - line_px))
        over_px = max(2, round(0.2 * self._unit_px))
        bar_top = top + self._bar_top_px
        high_px = self._bar_px + 2 * over_px
        _fill(picture, (left - 1, bar_top - over_px, line_px + 2, high_px), _GROUND)
        _fill(picture, (left, bar_top - over_px, line_px, high_px), _WORD_INK)

    def _draw_strip(self, place: int | None) -> ByteArray:
        width, margin, unit = self._width_px, self._margin_px, self._unit_px
        image = Image.new("RGB", (width, self._height_px), _GROUND)
        draw = ImageDraw.Draw(image)
        bottom = self._bar_top_px + self._bar_px
        colors = [OUTCOME_COLORS[window.outcome] for window in self._windows] or [_EMPTY]
        left, room_px = margin, width - 2 * margin
        for color, end_s in zip(colors, self._ends_s or [self._end_s], strict=True):
            right = margin + round(room_px * end_s / self._end_s)
            draw.rectangle((left, self._bar_top_px, max(left, right - 1), bottom - 1), color)
            left = right
        small = _letters(max(_MIN_UNIT_PX, 0.74 * unit))
        draw.text((margin, bottom + 0.65 * unit), _NOTICE, _QUIET_INK, font=small, anchor="lm")
        if place is not None:
            self._write(image, self._windows[place])
        return np.asarray(image)

    def _write(self, image: Image.Image, window: Prediction) -> None:
        unit, margin = self._unit_px, self._margin_px
        badge = Image.fromarray(self._label(window.outcome.value, OUTCOME_COLORS[window.outcome]))
        middle = round(1.1 * unit)
        image.paste(badge, (margin, middle - badge.height // 2))
        chance = chance_words(window)
        parts = [
            f"{label.lower()}: {channel_words(window, key).replace(GAP, '-')}"  # not in the font
            for key, label in CHANNEL_WORDS.items()
        ]
        lines = [[*parts, chance]] if self._num_lines == 1 else [[chance, parts[2]], parts[:2]]
        place = (margin + badge.width + round(0.5 * unit), middle)
        for words in lines:
            text = " · ".join(word for word in words if word)
            ImageDraw.Draw(image).text(place, text, _WORD_INK, font=self._font, anchor="lm")
            place = (margin, place[1] + round(1.5 * unit))

    def _draw_faces(self, picture: ByteArray, window: Prediction, time_s: float) -> None:
        """The judged face in the colour of the outcome with what it shows; of others, their names.

        It is drawn last, over the others. Those who are left out have no frame.
        """
        judged = []
        for track, box in self._tracks.at(time_s):
            person = self._people.get(track)
            if person is None or person.number == window.person:
                judged.append((box, None if person is None else person.number))
            elif not person.is_left_out:
                self._draw_face(picture, box, self._names.get(person.number, "face"), _QUIET)
        for box, number in judged:
            words = "" if window.face is None else f" looks {channel_words(window, 'face')}"
            label = f"{self._names.get(number or 0, 'face')}{words}"
            self._draw_face(picture, box, label, OUTCOME_COLORS[window.outcome])

    def _draw_face(self, picture: ByteArray, box: _Box, words: str, color: str) -> None:
        height, width = picture.shape[:2]
        x0, y0, x1, y1 = (
            round(part * side) for part, side in zip(box, (width, height) * 2, strict=True)
        )
        if x1 <= max(x0, 0) or y1 <= max(y0, 0) or x0 >= width or y0 >= height:
            return
        line_px = max(3, round(self._unit_px / 7))
        # A dark rim on both sides keeps the line visible on any ground.
        for out_px, ink in ((1, _GROUND), (0, color)):
            px, wide, high = line_px + 2 * out_px, x1 - x0 + 2 * out_px, y1 - y0 + 2 * out_px
            left, top = x0 - out_px, y0 - out_px
            _fill(picture, (left, top, wide, px), ink)
            _fill(picture, (left, top + high - px, wide, px), ink)
            _fill(picture, (left, top, px, high), ink)
            _fill(picture, (left + wide - px, top, px, high), ink)
        label = self._label(words, color)
        top, left = y0 - label.shape[0] - 2, min(max(0, x0), max(0, width - label.shape[1]))
        if top < 0:  # No room above: inside, below the line.
            top = max(0, y0) + line_px
        room = picture[top : top + label.shape[0], left : left + label.shape[1]]
        room[:] = label[: room.shape[0], : room.shape[1]]

    def _draw_label(self, text: str, color: str) -> ByteArray:
        pad = max(3, round(0.35 * self._unit_px))
        ascent, descent = self._font.getmetrics()
        size_px = (round(self._font.getlength(text)) + 2 * pad, ascent + descent + pad // 2)
        image = Image.new("RGB", size_px, color)
        place = (pad, size_px[1] / 2)
        ImageDraw.Draw(image).text(place, text, ink_on(color), font=self._font, anchor="lm")
        return np.asarray(image)


def _letter_px(width: int, height: int) -> tuple[float, int]:
    """The letters' height in a picture of so many pixels, and into how many lines the words go."""
    wanted, one_line = height / _UNITS_PER_HEIGHT, width / _UNITS_FOR_ONE_LINE
    if one_line >= _MIN_SHRINK * wanted:
        return max(_MIN_UNIT_PX, min(wanted, one_line)), 1
    return max(_MIN_UNIT_PX, min(wanted, width / _UNITS_FOR_TWO_LINES)), 2


@lru_cache(maxsize=8)
def _letters(size_px: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that films look the same on every machine."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size_px))


def _fill(picture: ByteArray, place: tuple[int, int, int, int], color: str) -> None:
    """Fill left, top, width, height of a picture (H, W, 3); what reaches beyond it is cut."""
    left, top, width, height = place
    rows = slice(max(0, top), max(0, top + height))
    picture[rows, max(0, left) : max(0, left + width)] = ImageColor.getrgb(color)[:3]


def _drawable(name: str, number: int) -> str:
    """A name, or where the font lacks a sign of it, a number."""
    font = _letters(_MIN_UNIT_PX)
    missing = bytes(font.getmask(_NO_SIGN))
    has_all = all(bytes(font.getmask(sign)) != missing for sign in name if not sign.isspace())
    return name if has_all else f"person {number}"


class _Tracks:
    """The tracks of a trace, each on its own."""

    def __init__(self, trace: Trace) -> None:
        order = np.lexsort((trace.face_times_s, trace.track_ids))
        ids, times_s = trace.track_ids[order], trace.face_times_s[order]
        self._ids, starts = np.unique(ids, return_index=True)
        self._times_s = np.split(times_s, starts[1:]) if len(ids) else []
        self._boxes = np.split(trace.boxes_xyxy_rel[order], starts[1:]) if len(ids) else []
        self._firsts_s = np.array([times_s[0] for times_s in self._times_s])
        self._lasts_s = np.array([times_s[-1] for times_s in self._times_s])

    def at(self, time_s: float) -> Iterator[tuple[int, _Box]]:
        """Who is seen at media time `time_s`, and where: x0, y0, x1, y1 as fractions."""
        is_near = (self._firsts_s <= time_s + _SAME_MOMENT_S) & (
            self._lasts_s >= time_s - _SAME_MOMENT_S
        )
        for place in np.flatnonzero(is_near).tolist():
            box = _box_at(self._times_s[place], self._boxes[place], time_s)
            if box is not None:
                yield int(self._ids[place]), box


def _box_at(times_s: DoubleArray, boxes: FloatArray, time_s: float) -> _Box | None:
    """The box of a track, between the sightings around a time; None where they are far apart."""
    after = int(np.searchsorted(times_s, time_s + _SAME_MOMENT_S, side="right"))
    before = after - 1
    if before < 0:
        return None
    since_s, share = time_s - float(times_s[before]), 0.0
    if since_s > _SAME_MOMENT_S:
        if after == len(times_s):
            return None
        gap_s = float(times_s[after] - times_s[before])
        if gap_s > _MAX_GAP_S + _SAME_MOMENT_S:
            return None
        share = since_s / gap_s
    following = boxes[min(after, len(boxes) - 1)]
    x0, y0, x1, y1 = (boxes[before] * (1 - share) + following * share).tolist()
    return x0, y0, x1, y1


# Pictures, encoded again at their own times.


def _write(part: Path, source: Source, pictures: Iterator[Frame], overlay: _Overlay) -> None:
    first = next(pictures, None)
    if first is None or source.video is None:
        raise UnreadableMediaError(
            source.path,
            "none of its pictures can be decoded.",
            "Get the whole file again, or convert it to MP4 (H.264 and AAC).",
        )
    options = {
        "movflags": "+faststart",  # so that a browser plays what it has not wholly loaded
        "movie_timescale": str(_common_ticks_hz(source)),  # that of the streams' starts
    }
    # The prefix keeps FFmpeg from taking "a:b.mp4" for an address.
    with av.open(f"file:{part}", "w", format="mp4", options=options) as output:
        encoder = _add_pictures(output, source, source.video, _even_size(first.rgb))
        end_s = source.stated_end_s(source.video) or 0.0
        drawn = _draw_pictures(encoder, itertools.chain([first], pictures), overlay)
        streams = [_lasting(encoder, drawn, end_s)]
        if source.audio is not None:
            damage = DamageLog(source.path, None)
            streams.append(_add_sound(source, source.audio, output, damage))
        # In order of time, so that the muxer need not hoard one stream until the other comes.
        for packet in heapq.merge(*streams, key=_time_s):
            output.mux(packet)


def _time_s(packet: Packet[Any]) -> float:
    base = packet.time_base
    return float(packet.dts * base) if packet.dts is not None and base is not None else 0.0


def _read_pictures(info: MediaInfo, limit_px: int) -> Iterator[Frame]:
    """Every frame of a film, upright, made smaller where it is taller than `limit_px`."""
    video, max_side_px = info.video, None
    limit_px -= limit_px % 2
    if video is not None and video.height_px > limit_px:
        max_side_px = round(max(video.width_px, video.height_px) * limit_px / video.height_px)
    return read_frames(
        info,
        (k * _ASK_S for k in itertools.count()),
        tolerance_s=_ASK_S,
        max_side_px=max_side_px,
        num_threads=num_cpus(),
    )


def _add_pictures(
    output: OutputContainer, source: Source, video: VideoStream, size_px: tuple[int, int]
) -> Any:
    """Add a stream for pictures of `size_px` (width, height), coloured as those of `video`."""
    rate = Fraction(frame_rate_hz(video)).limit_denominator(1001)
    stream: Any = output.add_stream("libx264", rate=rate)
    stream.width, stream.height = size_px
    stream.pix_fmt = "yuv420p"
    context, read = stream.codec_context, video.codec_context
    context.time_base = _tick_s(source, video)
    # No frame waits for a later one, so that both streams begin at their times in every player.
    context.max_b_frames = 0
    context.thread_count = num_cpus()
    context.options = {"crf": _CRF, "preset": _PRESET}
    if read.colorspace in _MATRICES:
        context.colorspace, context.color_range = read.colorspace, _MPEG_RANGE
        context.color_primaries, context.color_trc = read.color_primaries, read.color_trc
    return stream


def _draw_pictures(
    stream: Any, frames: Iterable[Frame], overlay: _Overlay
) -> Iterator[Packet[Any]]:
    """Packets of the pictures with what is drawn on them."""
    overlay.fit(stream.width, stream.height)
    canvas = VideoFrame(stream.width, stream.height, "rgb24")
    pixels = _pixels(canvas)
    reformatter = VideoReformatter()
    matrix = _MATRICES.get(stream.codec_context.colorspace)
    tick_s = stream.codec_context.time_base
    last = -1
    for frame in frames:
        _copy(pixels, frame.rgb)
        overlay.draw(pixels, frame.timestamp_s)
        picture = reformatter.reformat(canvas, format="yuv420p", dst_colorspace=matrix)
        picture.pts = last = max(last + 1, round(frame.timestamp_s / tick_s))
        picture.time_base = tick_s
        yield from stream.encode(picture)
    yield from stream.encode(None)


def _lasting(stream: Any, packets: Iterator[Packet[Any]], end_s: float) -> Iterator[Packet[Any]]:
    """The last picture stays until `end_s`, or for as long as one picture does at least."""
    held: Packet[Any] | None = None
    for packet in packets:
        if held is not None:
            yield held
        held = packet
    if held is not None:
        tick_s = stream.codec_context.time_base
        left = round(end_s / tick_s) - (held.pts or 0)
        held.duration = max(left, round(1 / (stream.average_rate * tick_s)), 1)
        yield held


def _tick_s(source: Source, video: VideoStream) -> Fraction:
    """Seconds per tick of the pictures' times: the film's own if its clock's zero falls on one."""
    base = video.time_base
    if base is not None and base.denominator <= _MAX_TICKS_HZ:
        origin = source.origin_s * base.denominator
        if abs(origin - round(origin)) < _SAME_TICK:
            return Fraction(1, base.denominator)
    return Fraction(1, _common_ticks_hz(source))


def _common_ticks_hz(source: Source) -> int:
    """Ticks per second in which times of both streams, and so their distance, come out exactly.

    Where that would take more than a million, 90000, which is finer than the sound's samples.
    """
    bases = [stream.time_base for stream in source.streams if stream.time_base is not None]
    ticks_hz = math.lcm(*(base.denominator for base in bases))
    return ticks_hz if 1 < ticks_hz <= _MAX_TICKS_HZ else _FALLBACK_TICKS_HZ


def _even_size(rgb: ByteArray) -> tuple[int, int]:
    """Width and height of the film that is written: H.264 at 4:2:0 wants even sides."""
    height, width = rgb.shape[:2]
    return width + width % 2, height + height % 2


def _pixels(canvas: VideoFrame) -> ByteArray:
    """The memory of an RGB frame as (H, W, 3), to be written to."""
    plane = canvas.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(canvas.height, plane.line_size)
    pixels: ByteArray = rows[:, : 3 * canvas.width].reshape(canvas.height, canvas.width, 3)
    return pixels


def _copy(pixels: ByteArray, rgb: ByteArray) -> None:
    """Copy a picture; an odd last row or column is repeated."""
    height, width = pixels.shape[:2]
    if _even_size(rgb) != (width, height):  # The film changes its size on the way.
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        rgb = np.asarray(frame.reformat(width, height).to_ndarray(), np.uint8)
    rows, columns = rgb.shape[:2]
    pixels[:rows, :columns] = rgb
    pixels[rows:, :columns] = rgb[-1:]
    pixels[:, columns:] = pixels[:, columns - 1 : columns]


# Sound: as it is where MP4 may hold it, else as AAC.


def _add_sound(
    source: Source, stream: AudioStream, output: OutputContainer, damage: DamageLog
) -> Iterator[Packet[Any]]:
    """Add the sound of `source` to `output`; gives its packets, in order, at media time.

    Damaged packets are left out.
    """
    context = stream.codec_context
    codec, rate_hz, layout = context.codec.canonical_name, context.sample_rate, context.layout.name
    if codec in _COPIED_CODECS and not (codec == "mp3" and rate_hz < _MIN_MP3_RATE_HZ):
        return _copied(source, stream, output.add_stream_from_template(stream), damage)
    rate_hz = min(_AAC_RATES_HZ, key=lambda rate: abs(rate - context.sample_rate))
    layout = layout if layout in _AAC_LAYOUTS else "stereo"
    encoder: Any = output.add_stream("aac", rate=rate_hz, layout=layout)
    bits = rate_hz * encoder.codec_context.channels * _BITS_PER_SAMPLE_AND_CHANNEL
    encoder.bit_rate = min(bits, _MAX_BIT_RATE_BPS)
    return _encoded(encoder, _on_clock(source, stream, rate_hz, layout, damage), rate_hz, layout)


def _copied(
    source: Source, stream: AudioStream, target: Any, damage: DamageLog
) -> Iterator[Packet[Any]]:
    base = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
    origin, longest_pause = round(source.origin_s / base), round(MAX_PAUSE_S / base)
    following: int | None = None  # tick at which the packet before ends
    last: int | None = None
    for packet in read_packets(source, stream, damage):
        if packet is None or packet.is_corrupt:
            continue
        tick = packet.pts if packet.pts is not None else packet.dts
        tick = (following or 0) if tick is None else tick - origin
        if last is not None and not last < tick <= (following or last) + longest_pause:
            damage.note("order", "sound that leaps in time was left out")
            continue
        last, following = tick, tick + (packet.duration or 0)
        packet.pts = packet.dts = tick
        packet.stream = target
        yield packet


def _encoded(
    encoder: Any, pieces: Iterator[tuple[int, FloatArray]], rate_hz: int, layout: str
) -> Iterator[Packet[Any]]:
    for start, samples in pieces:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, start
        frame.time_base = Fraction(1, rate_hz)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _on_clock(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[int, FloatArray]]:
    """Samples (channels, n) with the number of the first; silence stands where sound is missing."""
    position: int | None = None
    fill = max(1, rate_hz)
    for start_s, samples in _decoded(source, stream, rate_hz, layout, damage):
        start = position if start_s is None else round(start_s * rate_hz)
        if position is None:
            position = start or 0
        lead = 0 if start is None else start - position
        if abs(lead) <= _JITTER_S * rate_hz:
            lead = 0
        elif not -rate_hz <= lead <= MAX_PAUSE_S * rate_hz:
            damage.note("order", f"sound leaps in time at {position / rate_hz:.1f} s")
            lead = 0 if lead > 0 else lead
        for offset in range(0, lead, fill):
            silence = np.zeros((len(samples), min(fill, lead - offset)), np.float32)
            yield position, silence
            position += silence.shape[1]
        kept = samples[:, max(0, -lead) :]
        yield position, kept
        position += kept.shape[1]


def _decoded(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[float | None, FloatArray]]:
    """Start in media time (None: unknown) and samples (channels, n) of every decoded frame."""
    resampler: AudioResampler | None = None
    kind: tuple[object, ...] = ()
    packets = read_packets(source, stream, damage)
    frames = (frame for packet in packets for frame in decode(source, stream, packet, damage))
    for frame in itertools.chain(frames, [None]):  # at the end, what the resampler still holds
        start_s = None
        if frame is not None:
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if now != kind:
                resampler, kind = AudioResampler("fltp", layout, rate_hz), now
            start_s = ticks_to_s(frame.pts, stream.time_base)
        try:
            ready = [] if resampler is None else resampler.resample(frame)
        except (av.FFmpegError, ValueError):
            damage.note("packets", "sound that can't be converted was left out")
            continue
        for part in ready:
            samples = np.asarray(part.to_ndarray(), np.float32)
            yield None if start_s is None else start_s - source.origin_s, samples
            start_s = None
