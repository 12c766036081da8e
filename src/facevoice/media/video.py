"""Frames of a video at asked times, in one pass and in bounded memory."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from facevoice.errors import NoStreamError, UnreadableMediaError
from facevoice.media.decode import decode_video, read_packets, undecodable
from facevoice.media.orientation import read_orientation
from facevoice.media.probe import file_sha256, probe
from facevoice.media.source import (
    DamageCallback,
    DamageLog,
    Source,
    display_size_px,
    frame_rate_hz,
    open_source,
    ticks_to_s,
)
from facevoice.types import Frame

__all__ = ["file_sha256", "probe", "read_frames", "regular_times"]

# Matroska and WebM round timestamps to milliseconds: a frame counts as shown a bit before it.
_ROUNDING_S: Final = 0.0006
# Deepest reordering that H.264 and HEVC allow, in frames.
_MAX_REORDER: Final = 16


def regular_times(duration_s: float, rate_hz: float) -> Iterator[float]:
    """The times k / rate_hz, k = 0, 1, …, that lie before `duration_s`."""
    for k in range(math.ceil(duration_s * rate_hz)):
        yield k / rate_hz


def read_frames(
    path: str | Path,
    timestamps_s: Iterable[float],
    *,
    tolerance_s: float,
    max_side_px: int | None = None,
    on_damage: DamageCallback | None = None,
) -> Iterator[Frame]:
    """Frames that are on display at the asked times, upright, in order, each at most once.

    The frame on display at t is the last one whose timestamp is at most t. It is given if its
    display interval covers t or its timestamp is within `tolerance_s` of t; a time in a gap, or
    outside the video, gives nothing. (The first frame also answers for times up to `tolerance_s`
    before it.) `Frame.timestamp_s` is the frame's own timestamp in media time, not the asked one.

    Frames on which no other depends are not decoded unless asked for. The file is read once from
    its start up to the last asked time. Damaged packets are skipped; a file that breaks off gives
    what there is.

    Args:
        path: a video file.
        timestamps_s: asked media times, not decreasing; may be a generator without end.
        tolerance_s: see above, ≥ 0.
        max_side_px: scale pictures down until the longer side is at most this.
        on_damage: called with a message once per kind of damage met.

    Raises:
        ValueError: times decrease, or a setting is out of range.
        NoStreamError: no video inside.
        UnreadableMediaError: nothing of the video can be decoded.
        MediaNotFoundError, EmptyMediaError: see `probe`.
    """
    if tolerance_s < 0 or (max_side_px is not None and max_side_px < 1):
        raise ValueError(f"tolerance_s = {tolerance_s} and max_side_px = {max_side_px}: too small")
    asked = _AskedTimes(timestamps_s)
    with open_source(path) as source:
        if source.video is None:
            raise NoStreamError(source.path, "holds no video.", "Read its sound only.")
        damage = DamageLog(source.path, on_damage)
        converter = _Converter(source, source.video, max_side_px)
        shown: _TimedFrame | None = None
        for following in _decode(source, source.video, asked, damage):
            if shown is not None and asked.take(shown, following.start_s, tolerance_s):
                yield converter(shown)
            if asked.peek() is None:
                return
            shown = following
        if shown is not None and asked.take(shown, math.inf, tolerance_s):
            yield converter(shown)


@dataclass(frozen=True, slots=True, eq=False)
class _TimedFrame:
    picture: VideoFrame
    start_s: float
    duration_s: float


class _AskedTimes:
    """The asked times that are not answered yet, drawn from their source only as needed."""

    def __init__(self, timestamps_s: Iterable[float]) -> None:
        self._source = iter(timestamps_s)
        self._pending: deque[float] = deque()
        self._last_s = -math.inf

    def peek(self) -> float | None:
        """The next time, None if all are answered."""
        if not self._pending and not self._draw():
            return None
        return self._pending[0]

    def has_between(self, start_s: float, end_s: float) -> bool:
        """Whether an unanswered time lies in [start_s, end_s)."""
        while self._last_s < end_s and self._draw():
            pass
        return any(start_s <= t < end_s for t in self._pending)

    def take(self, shown: _TimedFrame, next_start_s: float, tolerance_s: float) -> bool:
        """Drop the times that are due before the next frame; whether `shown` answers any."""
        covered_s = max(shown.duration_s, tolerance_s)
        answers = False
        while (t := self.peek()) is not None and t < next_start_s - _ROUNDING_S:
            since_s = t - shown.start_s
            if since_s > covered_s:
                if next_start_s == math.inf:
                    break  # The times may go on for ever.
            elif since_s >= -max(_ROUNDING_S, tolerance_s):
                in_display = since_s < shown.duration_s + _ROUNDING_S
                answers = answers or in_display or abs(since_s) <= tolerance_s
            self._pending.popleft()
        return answers

    def _draw(self) -> bool:
        t = next(self._source, None)
        if t is None:
            return False
        if not t >= self._last_s:
            raise ValueError(f"timestamps_s must not decrease: {t} after {self._last_s}")
        self._last_s = t
        self._pending.append(t)
        return True


class _Converter:
    """Decoded pictures to upright RGB; keeps the scaler between frames."""

    def __init__(self, source: Source, stream: VideoStream, max_side_px: int | None) -> None:
        self._source = source
        self._stream = stream
        self._max_side_px = max_side_px
        self._reformatter = VideoReformatter()

    def __call__(self, shown: _TimedFrame) -> Frame:
        picture = shown.picture
        width, height = display_size_px(self._stream, picture.width, picture.height)
        scale = min(1.0, (self._max_side_px or math.inf) / max(width, height))
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        resized = (width, height) != (picture.width, picture.height)
        try:
            rgb = self._reformatter.reformat(
                picture, width, height, "rgb24", interpolation="AREA" if resized else None
            ).to_ndarray()
        except av.FFmpegError as error:
            raise UnreadableMediaError(
                self._source.path,
                f"its pictures ({picture.format.name}) can't be converted to RGB.",
                "Convert it to MP4 (H.264 and AAC) first.",
            ) from error
        upright = read_orientation(picture).apply(np.asarray(rgb, np.uint8))
        return Frame(shown.start_s, upright)


def _decode(
    source: Source, stream: VideoStream, asked: _AskedTimes, damage: DamageLog
) -> Iterator[_TimedFrame]:
    """Decoded frames in order of display; those that nobody asked for may be missing."""
    stream.thread_type = "AUTO"
    step_s = 1.0 / frame_rate_hz(stream)
    previous_s: float | None = None
    has_data = False
    for packet, is_wanted in _plan(source, read_packets(source, stream, damage), asked):
        has_data = has_data or packet is not None
        # The decoder, in all its threads, heeds this for the packet that follows.
        stream.codec_context.skip_frame = "DEFAULT" if is_wanted else "NONREF"
        for picture in decode_video(source, packet, damage):
            start_s = ticks_to_s(picture.pts, stream.time_base)
            if start_s is not None:
                start_s -= source.origin_s
            else:
                start_s = 0.0 if previous_s is None else previous_s + step_s
            if previous_s is not None and start_s <= previous_s:
                damage.note("order", f"video timestamps run backwards at {previous_s:.1f} s")
                continue
            previous_s = start_s
            duration_s = ticks_to_s(picture.duration, stream.time_base) or step_s
            yield _TimedFrame(picture, start_s, duration_s)
    if has_data and previous_s is None:
        raise undecodable(source, stream)


def _plan(
    source: Source, packets: Iterable[Packet[VideoStream] | None], asked: _AskedTimes
) -> Iterator[tuple[Packet[VideoStream] | None, bool]]:
    """Each packet with whether its picture is on display at any asked time.

    Looks so many packets ahead that the picture shown next is among those seen.
    """
    ahead: deque[Packet[VideoStream] | None] = deque()
    starts_s: list[float] = []

    def is_wanted(packet: Packet[VideoStream] | None) -> bool:
        start_s = _packet_start_s(source, packet)
        if start_s is None:
            return True
        following = bisect_right(starts_s, start_s)
        if following == len(starts_s):
            return True
        return asked.has_between(start_s - _ROUNDING_S, starts_s[following] - _ROUNDING_S)

    for packet in packets:
        ahead.append(packet)
        start_s = _packet_start_s(source, packet)
        if start_s is not None:
            insort(starts_s, start_s)
            del starts_s[: -4 * _MAX_REORDER]
        if len(ahead) > 2 * _MAX_REORDER:
            oldest = ahead.popleft()
            yield oldest, is_wanted(oldest)
    for packet in ahead:
        yield packet, is_wanted(packet)


def _packet_start_s(source: Source, packet: Packet[VideoStream] | None) -> float | None:
    start_s = None if packet is None else ticks_to_s(packet.pts, packet.time_base)
    return None if start_s is None else start_s - source.origin_s
