"""Pictures of a film, drawn on and encoded again at their own times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from facevoice.machine import num_cpus
from facevoice.media.source import Source, frame_rate_hz
from facevoice.media.video import read_frames
from facevoice.types import ByteArray, Frame, VideoInfo

DEFAULT_HEIGHT_PX: Final = 1080
"""Taller films are made smaller."""

MIN_HEIGHT_PX: Final = 64
"""In fewer rows, nothing can be read."""

_CRF: Final = "21"
_PRESET: Final = "veryfast"
_MPEG_RANGE: Final = 1
_FALLBACK_TICKS_HZ: Final = 90_000
_SAME_TICK: Final = 1e-3
_MAX_TICKS_HZ: Final = 1_000_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
_ASK_S: Final = 0.001
# Matrices that the converter knows, by FFmpeg's number; all else is taken for BT.601, both ways.
_MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}

Draw = Callable[[ByteArray, float], None]


def read_pictures(
    path: Path,
    info: VideoInfo,
    height_px: int | None,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[Frame]:
    """Every frame of a film, upright, made smaller where it is taller than `height_px`.

    Raises:
        MediaError: see `read_frames`.
    """
    limit_px = DEFAULT_HEIGHT_PX if height_px is None else height_px
    limit_px -= limit_px % 2
    max_side_px = None
    if info.height_px > limit_px:
        max_side_px = round(max(info.width_px, info.height_px) * limit_px / info.height_px)
    times_s = (k * _ASK_S for k in itertools.count())
    return read_frames(
        path,
        times_s,
        tolerance_s=_ASK_S,
        max_side_px=max(1, max_side_px) if max_side_px is not None else None,
        num_threads=num_cpus(),
        on_damage=on_damage,
    )


def common_ticks_hz(source: Source) -> int:
    """Ticks per second in which times of both streams, and so their distance, come out exactly.

    Where that would take more than a million, 90000, which is finer than the sound's samples.
    """
    bases = [stream.time_base for stream in source.streams if stream.time_base is not None]
    ticks_hz = math.lcm(*(base.denominator for base in bases))
    return ticks_hz if 1 < ticks_hz <= _MAX_TICKS_HZ else _FALLBACK_TICKS_HZ


def even_size(rgb: ByteArray) -> tuple[int, int]:
    """Width and height of the film that is written: H.264 at 4:2:0 wants even sides."""
    height, width = rgb.shape[:2]
    return width + width % 2, height + height % 2


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """The video stream of an MP4 that is written.

    stream: of the output; ticks_s: seconds per tick; matrix: of the colours, None for BT.601.
    """

    stream: Any
    ticks_s: Fraction
    matrix: Colorspace | None

    @classmethod
    def add_to(
        cls, output: OutputContainer, source: Source, video: VideoStream, size_px: tuple[int, int]
    ) -> PictureEncoder:
        """Add a stream for pictures of `size_px` (width, height), coloured as those of `video`."""
        rate = Fraction(frame_rate_hz(video)).limit_denominator(1001)
        stream: Any = output.add_stream("libx264", rate=rate)
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuv420p"
        context, read = stream.codec_context, video.codec_context
        context.time_base = ticks_s = _tick_s(source, video)
        # No frame waits for a later one, so that both streams begin at their times in every player.
        context.max_b_frames = 0
        context.thread_count = num_cpus()
        context.options = {"crf": _CRF, "preset": _PRESET}
        matrix = _MATRICES.get(read.colorspace)
        if matrix is not None:
            context.colorspace, context.color_range = read.colorspace, _MPEG_RANGE
            context.color_primaries, context.color_trc = read.color_primaries, read.color_trc
        return cls(stream, ticks_s, matrix)

    def encode(self, frames: Iterable[Frame], draw: Draw, end_s: float) -> Iterator[Packet[Any]]:
        """Packets of the pictures with what `draw(rgb, time_s)` adds to them.

        The last picture stays until `end_s`, or for as long as one picture does at least.
        """
        held: Packet[Any] | None = None
        for packet in self._encode(frames, draw):
            if held is not None:
                yield held
            held = packet
        if held is not None:
            left = round(end_s / self.ticks_s) - (held.pts or 0)
            held.duration = max(left, round(1 / (self.stream.average_rate * self.ticks_s)), 1)
            yield held

    def _encode(self, frames: Iterable[Frame], draw: Draw) -> Iterator[Packet[Any]]:
        canvas = VideoFrame(self.stream.width, self.stream.height, "rgb24")
        pixels = _pixels(canvas)
        reformatter = VideoReformatter()
        last = -1
        for frame in frames:
            _fill(pixels, frame.rgb)
            draw(pixels, frame.timestamp_s)
            picture = reformatter.reformat(canvas, format="yuv420p", dst_colorspace=self.matrix)
            picture.pts = last = max(last + 1, round(frame.timestamp_s / self.ticks_s))
            picture.time_base = self.ticks_s
            yield from self.stream.encode(picture)
        yield from self.stream.encode(None)


def _tick_s(source: Source, video: VideoStream) -> Fraction:
    """Seconds per tick of the pictures' times: the film's own if its clock's zero falls on one."""
    base = video.time_base
    if base is not None and base.denominator <= _MAX_TICKS_HZ:
        origin = source.origin_s * base.denominator
        if abs(origin - round(origin)) < _SAME_TICK:
            return Fraction(1, base.denominator)
    return Fraction(1, common_ticks_hz(source))


def _pixels(canvas: VideoFrame) -> ByteArray:
    """The memory of an RGB frame as (H, W, 3), to be written to."""
    plane = canvas.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(canvas.height, plane.line_size)
    pixels: ByteArray = rows[:, : 3 * canvas.width].reshape(canvas.height, canvas.width, 3)
    return pixels


def _fill(pixels: ByteArray, rgb: ByteArray) -> None:
    """Copy a picture; an odd last row or column is repeated."""
    height, width = pixels.shape[:2]
    if even_size(rgb) != (width, height):  # The film changes its size on the way.
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        rgb = np.asarray(frame.reformat(width, height).to_ndarray(), np.uint8)
    rows, columns = rgb.shape[:2]
    pixels[:rows, :columns] = rgb
    pixels[rows:, :columns] = rgb[-1:]
    pixels[:, columns:] = pixels[:, columns - 1 : columns]
