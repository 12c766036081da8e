"""Frames of a video at asked times, in one pass and in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from facevoice.errors import NoStreamError, UnreadableMediaError
from facevoice.media.asked import AskedTimes
from facevoice.media.decode import decode_video, read_packets, undecodable
from facevoice.media.orientation import Orientation, read_orientation
from facevoice.media.plan import Step, plan
from facevoice.media.probe import file_sha256, probe
from facevoice.media.references import TraitReader
from facevoice.media.seek import VideoPackets, open_near
from facevoice.media.source import (
    DamageCallback,
    DamageLog,
    Source,
    display_size_px,
    frame_rate_hz,
    ticks_to_s,
)
from facevoice.types import Frame

__all__ = ["file_sha256", "probe", "read_frames", "regular_times"]


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
    exact: bool = True,
    num_threads: int = 1,
    on_damage: DamageCallback | None = None,
) -> Iterator[Frame]:
    """Frames that are on display at the asked times, upright, in order, each at most once.

    The frame on display at t is the last one whose timestamp is at most t. It is given if its
    display interval covers t or its timestamp is within `tolerance_s` of t; a time in a gap, or
    outside the video, gives nothing. (The first frame also answers for times up to `tolerance_s`
    before it.) `Frame.timestamp_s` is the frame's own timestamp in media time, not the asked one.

    With `exact=False`, a frame on which no other depends gives way to the one nearest to t (the
    earlier of equals) on which others do, if that is within `tolerance_s` of t: it must be decoded
    anyway. H.264, HEVC, MPEG-4 and MPEG-1/2 have such frames; other codecs give the same as with
    `exact=True`.

    The file is read once up to the last asked time, from its start, or, in MP4, MOV, Matroska and
    WebM, from a keyframe before the first time if that is late. Frames are decoded if they are
    asked for, or if others depend on them and no keyframe lies between them and the next one asked
    for; the pixels are those of a full decode. Damaged packets are skipped; a file that breaks off
    gives what there is. Damage in parts that are not read or not decoded is not seen.

    Args:
        path: a video file.
        timestamps_s: asked media times, not decreasing; may be a generator without end.
        tolerance_s: see above, ≥ 0.
        max_side_px: scale pictures down until the longer side is at most this.
        exact: see above.
        num_threads: of the decoder. More than one take less time, but 25 to 40 % more of the CPU.
        on_damage: called with a message once per kind of damage met.

    Raises:
        ValueError: times decrease, or a setting is out of range.
        NoStreamError: no video inside.
        UnreadableMediaError: nothing of the video can be decoded.
        MediaNotFoundError, EmptyMediaError: see `probe`.
    """
    if tolerance_s < 0 or (max_side_px is not None and max_side_px < 1):
        raise ValueError(f"tolerance_s = {tolerance_s} and max_side_px = {max_side_px}: too small")
    if num_threads < 1:
        raise ValueError(f"num_threads = {num_threads}: must be at least 1")
    path = Path(path)
    asked = AskedTimes(timestamps_s, tolerance_s)
    damage = DamageLog(path, on_damage)
    reach_s = None if exact else tolerance_s
    for jumps in (True, False):
        with open_near(path, asked.peek() if jumps else None, tolerance_s) as (source, packets):
            if source.video is None:
                raise NoStreamError(source.path, "holds no video.", "Read its sound only.")
            decoder = _Decoder(source, source.video, damage, num_threads)
            steps = decoder.plan(packets, asked, reach_s, jumps)
            yield from _answer(decoder.run(steps), asked, _Converter(source, max_side_px))
            # Not one picture came: was the rest, which was left out, any better?
            if not decoder.is_fruitless:
                return
            if not decoder.left_out:
                raise undecodable(source, source.video)


@dataclass(frozen=True, slots=True, eq=False)
class _TimedFrame:
    picture: VideoFrame
    start_s: float
    duration_s: float
    orientation: Orientation


def _answer(
    pictures: Iterable[_TimedFrame], asked: AskedTimes, converter: _Converter
) -> Iterator[Frame]:
    """The frames that answer the asked times, until all are answered."""
    shown: _TimedFrame | None = None
    for following in pictures:
        if shown and asked.take(shown.start_s, shown.duration_s, following.start_s):
            yield converter(shown)
        if asked.peek() is None:
            return
        shown = following
    if shown and asked.take(shown.start_s, shown.duration_s, math.inf):
        yield converter(shown)


class _Converter:
    """Decoded pictures to upright RGB; keeps the scaler between frames."""

    def __init__(self, source: Source, max_side_px: int | None) -> None:
        self._source = source
        self._max_side_px = max_side_px
        self._reformatter = VideoReformatter()

    def __call__(self, shown: _TimedFrame) -> Frame:
        picture, stream = shown.picture, self._source.video
        width, height = picture.width, picture.height
        if stream is not None:
            width, height = display_size_px(stream, width, height)
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
        return Frame(shown.start_s, shown.orientation.apply(np.asarray(rgb, np.uint8)))


class _Decoder:
    """Decodes one stream by plan.

    is_fruitless: all was run, there was data, and no picture came out.
    left_out: some packets before the last one were not decoded because none depended on them.
    """

    def __init__(
        self, source: Source, stream: VideoStream, damage: DamageLog, num_threads: int
    ) -> None:
        self._source = source
        self._stream = stream
        self._damage = damage
        self._traits = TraitReader(stream)
        self._step_s = 1.0 / frame_rate_hz(stream)
        self._previous_s: float | None = None
        self._orientation: Orientation | None = None
        self.is_fruitless = False
        self.left_out = False
        stream.thread_type = "AUTO" if num_threads > 1 else "NONE"
        stream.codec_context.thread_count = num_threads

    def plan(
        self,
        packets: VideoPackets | None,
        asked: AskedTimes,
        reach_s: float | None,
        jumps: bool,
    ) -> Iterator[Step]:
        """What to decode of `packets`, or of all if None."""
        self.left_out = packets is not None
        read = read_packets(self._source, self._stream, self._damage, packets)
        return plan(self._source, read, asked, self._traits, reach_s=reach_s, jumps=jumps)

    def run(self, steps: Iterable[Step]) -> Iterator[_TimedFrame]:
        """Decoded frames in order of display; those that nobody asked for may be missing."""
        has_data = False
        first_pts: int | None = None
        for step in steps:
            has_data = has_data or step.packet is not None
            if step.restarts and step.packet is not None:
                self.left_out = True
                if not self._traits.is_intra_only:
                    yield from self._timed(self._decode(None), first_pts)
                    self._stream.codec_context.flush_buffers()
                    first_pts = step.packet.pts
            # The decoder, in all its threads, heeds this for the packet that follows.
            self._stream.codec_context.skip_frame = "NONREF" if step.may_skip else "DEFAULT"
            yield from self._timed(self._decode(step.packet), first_pts)
        self.is_fruitless = has_data and self._previous_s is None

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        return decode_video(self._source, packet, self._damage)

    def _timed(
        self, pictures: Iterable[VideoFrame], first_pts: int | None
    ) -> Iterator[_TimedFrame]:
        """Pictures with their times, without those shown before `first_pts`, which are broken."""
        for picture in pictures:
            if first_pts is not None and picture.pts is not None and picture.pts < first_pts:
                continue
            previous_s = self._previous_s
            start_s = ticks_to_s(picture.pts, self._stream.time_base)
            if start_s is not None:
                start_s -= self._source.origin_s
            else:
                start_s = 0.0 if previous_s is None else previous_s + self._step_s
            if previous_s is not None and start_s <= previous_s:
                place = f"video timestamps run backwards at {previous_s:.1f} s"
                self._damage.note("order", place)
                continue
            self._previous_s = start_s
            duration_s = ticks_to_s(picture.duration, self._stream.time_base) or self._step_s
            if self._orientation is None:
                # Of the first picture only, which is that of the container, as in `probe`. PyAV
                # ties a frame whose side data is read into a cycle, so its pixels stay in memory
                # until Python's collector comes round to it, which may be never.
                self._orientation = read_orientation(picture)
            yield _TimedFrame(picture, start_s, duration_s, self._orientation)
