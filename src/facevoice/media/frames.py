"""Pictures of a video at asked times, in one pass and in bounded memory.

Packets wait in `_Plan` until so many later ones are known that it is clear which picture is on
display when, and thus which are wanted. `_Decoder` leaves out pictures that nobody wants and none
depends on; what lies before a keyframe, and is not wanted, never reaches it.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from facevoice.errors import NoStreamError, UnreadableMediaError
from facevoice.media.clocks import frame_rate_hz, ticks_to_s
from facevoice.media.open import (
    DamageCallback,
    DamageLog,
    Orientation,
    Source,
    decode,
    display_size_px,
    open_source,
    read_orientation,
    read_packets,
    undecodable,
)
from facevoice.records import Frame, MediaInfo

# Matroska and WebM round timestamps to milliseconds: a frame counts as shown a bit before it.
_ROUNDING_S: Final = 0.0006
# Deepest reordering that H.264 and HEVC allow, in pictures.
_MAX_REORDER: Final = 16
# To choose among the neighbours of an asked time, they must all be seen before the first of them
# passes: the 16 shown after it, and those between which these are sent.
_NUM_AHEAD: Final = 5 * _MAX_REORDER
# What waits for whether it's needed takes no more memory than this.
_MAX_HELD_BYTES: Final = 32 * 1024 * 1024
# Reading so much without decoding it costs no more than seeking.
_MIN_LEAP_S: Final = 10.0
_LEAD_S: Final = 2.0
# Formats with an index of keyframes and timestamps that count from the file's start.
_INDEXED_FORMATS: Final = frozenset(["mov", "matroska"])
_COUNTING_FORMATS: Final = frozenset(["mov"])

# Codecs whose decoder can leave out pictures to which none refers, without changing the others.
_SKIPPING_CODECS: Final = frozenset(["h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video"])
# Codecs that begin anew with every keyframe.
_RESTARTING_CODECS: Final = frozenset(["mpeg4", "vp8", "vp9", "av1"])
# NAL units of pictures with which decoding may not begin, in codecs that have keyframes of both
# kinds: all but IDR slices; all but random access pictures.
_DEPENDENT_UNITS: Final = {"h264": "1-4", "hevc": "0-15"}
_MPEG_SEQUENCE_HEADER: Final = b"\x00\x00\x01\xb3"


def regular_times(duration_s: float, rate_hz: float) -> Iterator[float]:
    """The times k / rate_hz, k = 0, 1, …, that lie before `duration_s`."""
    return (k / rate_hz for k in range(math.ceil(duration_s * rate_hz)))


def read_frames(
    media: str | Path | MediaInfo,
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

    The file is read once up to the last asked time, from its start, or, in MP4, MOV, Matroska and
    WebM, from a keyframe before the first time if that is late. What is not asked for is decoded
    only as far as what is depends on it; the pixels are those of a full decode. Damaged packets
    are skipped; a file that breaks off gives what there is. Damage in parts that are not read or
    not decoded is not seen.

    Args:
        media: a video file, or what `probe` said of it.
        timestamps_s: asked media times, not decreasing; may be a generator without end.
        tolerance_s: see above, ≥ 0.
        max_side_px: scale pictures down until the longer side is at most this.
        exact: if not, a frame of H.264 or HEVC on which no other depends gives way to the one
            nearest to t (the earlier of equals) on which others do, if that is within
            `tolerance_s`: it must be decoded anyway.
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
    asked = _Asked(timestamps_s, tolerance_s)
    damage = DamageLog(media.path if isinstance(media, MediaInfo) else Path(media), on_damage)
    for leaves_out in (True, False):
        with open_source(media) as source:
            stream = source.video
            if stream is None:
                raise NoStreamError(source.path, "holds no video.", "Read its sound only.")
            traits = _Traits(stream, exact=exact)
            packets = None
            target_s = _seek_target_s(source, stream, asked.peek(), tolerance_s)
            if leaves_out and target_s is not None:
                packets = _packets_from(source, stream, target_s, traits)
                if packets is None:
                    continue
            plan = _Plan(source.origin_s, traits, asked, tolerance_s, leaves_out)
            decoder = _Decoder(source, stream, damage, num_threads)
            frames = decoder.run(plan(read_packets(source, stream, damage, packets)), traits)
            yield from _answer(frames, asked, _Converter(source, stream, max_side_px))
            # Not one picture came: is the rest, which was left out, any better?
            if not decoder.is_fruitless:
                return
            if not leaves_out:
                raise undecodable(source, stream)


class _Asked:
    """The asked times that are not answered yet, drawn from their source only as needed.

    A time's target is itself, or the timestamp of another picture that is taken for it.
    """

    def __init__(self, timestamps_s: Iterable[float], tolerance_s: float) -> None:
        self._source = iter(timestamps_s)
        self._tolerance_s = tolerance_s
        self._pending: deque[tuple[float, float]] = deque()  # times and targets, both in order
        self._next_s: float | None = -math.inf
        self._draw()

    def peek(self) -> float | None:
        """The next target, None if all times are answered."""
        return self._pending[0][1] if self._pending else self._next_s

    def has_between(self, start_s: float, end_s: float) -> bool:
        """Whether the target of a settled time lies in [start_s, end_s)."""
        return any(start_s <= target_s < end_s for _, target_s in self._pending)

    def has_from(self, start_s: float) -> bool:
        """Whether there's a target at or after start_s, or a time that is not settled."""
        return self._next_s is not None or bool(self._pending and self._pending[-1][1] >= start_s)

    def settle(self, end_s: float, choose: Callable[[float], float]) -> None:
        """Let `choose` name the target of each time before `end_s` that has none yet."""
        while self._next_s is not None and self._next_s < end_s:
            # Of two times that the same picture answers, the later one's might come first.
            latest_s = self._pending[-1][1] if self._pending else -math.inf
            self._pending.append((self._next_s, max(choose(self._next_s), latest_s)))
            self._draw()

    def take(self, start_s: float, duration_s: float, next_start_s: float) -> bool:
        """Drop the times that are due before the next frame.

        Returns:
            Whether the frame that is on display from `start_s` on answers any of them.
        """
        tolerance_s = self._tolerance_s
        covered_s = max(duration_s, tolerance_s)
        answers = False
        while (target_s := self.peek()) is not None and target_s < next_start_s - _ROUNDING_S:
            since_s = target_s - start_s
            if since_s > covered_s:
                if next_start_s == math.inf:
                    break  # The times may go on for ever.
            elif since_s >= -max(_ROUNDING_S, tolerance_s):
                in_display = since_s < duration_s + _ROUNDING_S
                time_s = self._pending[0][0] if self._pending else target_s
                # If the picture that was to be taken is damaged, another one may stand here.
                in_reach = target_s == time_s or abs(start_s - time_s) <= tolerance_s
                answers = answers or (in_reach and (in_display or abs(since_s) <= tolerance_s))
            if self._pending:
                self._pending.popleft()
            else:
                self._draw()
        return answers

    def _draw(self) -> None:
        drawn_s = next(self._source, None)
        if drawn_s is not None and self._next_s is not None and not drawn_s >= self._next_s:
            raise ValueError(f"timestamps_s must not decrease: {drawn_s} after {self._next_s}")
        self._next_s = drawn_s


class _Traits:
    """What is known of a stream's compressed pictures without decoding them.

    is_intra_only: each picture stands for itself.
    may_skip: the decoder may be told to leave out pictures to which none refers.
    """

    def __init__(self, stream: VideoStream, *, exact: bool) -> None:
        codec = self._codec = stream.codec_context.codec.canonical_name
        self.is_intra_only = stream.codec_context.codec.intra_only
        # FFmpeg's HEVC decoder also leaves out pictures to which those of higher layers refer.
        self.may_skip = codec in _SKIPPING_CODECS and (codec != "hevc" or _num_layers(stream) == 1)
        units = _DEPENDENT_UNITS.get(codec)
        self._dependents = _unit_filter(stream, f"pass_types={units}") if units else None
        is_told = units is not None and self.may_skip and not exact
        self._references = _unit_filter(stream, "discard=nonref") if is_told else None
        # AVI counts packets; it has no timestamps by which pictures sent out of order are told.
        has_clock = "avi" not in stream.container.format.name.split(",")
        self._has_entries = has_clock or self.is_intra_only

    def is_reference(self, packet: Packet[VideoStream]) -> bool:
        """Whether other pictures refer to this one; True if that's not known."""
        return self._references is None or _passes(self._references, packet)

    def is_entry(self, packet: Packet[VideoStream]) -> bool:
        """Whether a decoder that begins here gives this and all pictures shown later to the bit."""
        is_key = packet.is_keyframe and not (packet.is_corrupt or packet.is_discard)
        if not (is_key and self._has_entries):
            return False
        if self._dependents is not None:
            return not _passes(self._dependents, packet)
        if self._codec in ("mpeg1video", "mpeg2video"):
            # The header resets the matrices, which may have been changed since the last one.
            return _MPEG_SEQUENCE_HEADER in bytes(packet)
        return self.is_intra_only or self._codec in _RESTARTING_CODECS


def _unit_filter(stream: VideoStream, options: str) -> BitStreamFilterContext | None:
    try:
        return BitStreamFilterContext(f"filter_units={options}", stream)
    except (av.FFmpegError, ValueError):
        return None


def _passes(units: BitStreamFilterContext, packet: Packet[VideoStream]) -> bool:
    try:
        return bool(units.filter(Packet(bytes(packet))))  # A filter empties what it is given.
    except av.FFmpegError:
        units.flush()
        return True  # The careful answer, whatever the question.


def _num_layers(stream: VideoStream) -> int:
    """Temporal layers of an HEVC stream, 0 if that is not known."""
    extradata = bytes(stream.codec_context.extradata or b"")
    if len(extradata) > 22 and extradata[0] == 1:
        return (extradata[21] >> 3) & 7
    # Video parameter set: two bytes of header, then 12 bits of other things, then the layers.
    at = extradata.find(b"\x00\x00\x01\x40")
    return 1 + ((extradata[at + 6] >> 1) & 7) if 0 <= at < len(extradata) - 6 else 0


def _seek_target_s(
    source: Source, stream: VideoStream, time_s: float | None, tolerance_s: float
) -> float | None:
    """Media time before which a keyframe is sought, None if it's better to begin at the start."""
    duration = source.container.duration
    if time_s is None or duration is None or not source.is_of(_INDEXED_FORMATS):
        return None
    # A fragmented MP4 states no number of frames; its index is only found piece by piece.
    if stream.start_time is None or (source.is_of(_COUNTING_FORMATS) and not stream.frames):
        return None
    target_s = min(time_s - _LEAD_S - tolerance_s, duration / av.time_base)
    is_far = math.isfinite(target_s) and target_s + _LEAD_S > source.start_s(stream) + _MIN_LEAP_S
    return target_s if is_far else None


def _packets_from(
    source: Source, stream: VideoStream, target_s: float, traits: _Traits
) -> Iterator[Packet[VideoStream]] | None:
    """Packets from a keyframe at or before `target_s` on; None if it can't be relied upon."""
    try:
        ticks = math.floor((target_s + source.origin_s) / (stream.time_base or 1))
        source.container.seek(ticks, stream=stream)
        packets = source.demux(stream)
        seen = list(itertools.islice((p for p in packets if p.size > 0), 2 * _MAX_REORDER))
    except av.FFmpegError:
        return None
    # Without timestamps on all of them, it's not known when the pictures are shown.
    if not seen or any(packet.pts is None for packet in seen) or not traits.is_entry(seen[0]):
        return None
    start_s = ticks_to_s(seen[0].pts, stream.time_base)
    is_before = start_s is not None and start_s - source.origin_s <= target_s
    return itertools.chain(seen, packets) if is_before else None


@dataclass(slots=True, eq=False)
class _Picture:
    """A packet on its way to the decoder (None: the end), and when its picture is shown.

    restarts: what came before was left out; the decoder begins anew, and pictures that are shown
    before this one are incomplete.
    """

    packet: Packet[VideoStream] | None
    start_s: float | None
    is_wanted: bool = True
    is_entry: bool = False
    restarts: bool = False


@dataclass(slots=True, eq=False)
class _Plan:
    """Marks the pictures that are wanted, and leaves out those on which no wanted one depends."""

    origin_s: float
    traits: _Traits
    asked: _Asked
    reach_s: float
    leaves_out: bool
    ahead: deque[_Picture] = field(default_factory=deque)
    # Of each picture known, its start and whether others refer to it; sorted.
    shown: list[tuple[float, bool]] = field(default_factory=list)
    first_s: float | None = None
    passed_s: float = -math.inf  # latest start of all that have passed
    # A picture without a timestamp is taken to follow the one decoded before it.
    all_timed: bool = True

    def __call__(self, packets: Iterable[Packet[VideoStream] | None]) -> Iterator[_Picture]:
        """What to decode of `packets`, which end with None, in the file's order."""
        held: list[_Picture] = []
        num_bytes = 0
        for picture in self._marked(packets):
            if self.leaves_out and held and picture.is_entry:
                held, num_bytes = [], 0
                picture.restarts = True
            held.append(picture)
            num_bytes += 0 if picture.packet is None else picture.packet.size
            # Behind the last time, the picture that follows tells that the last answer is complete.
            is_behind = picture.start_s is not None and not self.asked.has_from(
                picture.start_s - _ROUNDING_S
            )
            if picture.is_wanted or is_behind or num_bytes > _MAX_HELD_BYTES:
                yield from held
                held, num_bytes = [], 0

    def _marked(self, packets: Iterable[Packet[VideoStream] | None]) -> Iterator[_Picture]:
        for packet in packets:
            start_s = None if packet is None else ticks_to_s(packet.pts, packet.time_base)
            self.all_timed = self.all_timed and (packet is None or start_s is not None)
            if packet is not None and start_s is not None:
                start_s -= self.origin_s
                insort(self.shown, (start_s, self.traits.is_reference(packet)))
                del self.shown[: -2 * _NUM_AHEAD]
            self.ahead.append(_Picture(packet, start_s))
            if len(self.ahead) > _NUM_AHEAD:
                yield self._pass_oldest()
        while self.ahead:
            yield self._pass_oldest()

    def _pass_oldest(self) -> _Picture:
        if self.first_s is None:
            self.first_s = self.shown[0][0] if self.shown else -math.inf
        if self.ahead[-1].packet is None and self.shown:
            self.asked.settle(self.shown[-1][0] + self.reach_s, self._choose)
        elif len(self.shown) > 2 * _MAX_REORDER:
            self.asked.settle(self.shown[-2 * _MAX_REORDER - 1][0], self._choose)
        oldest = self.ahead.popleft()
        oldest.is_wanted = self._is_wanted(oldest.start_s)
        if oldest.start_s is None or oldest.packet is None:
            return oldest
        if oldest.start_s > self.passed_s and self.all_timed:
            # Pictures sent after this one and shown before it depend on what is to be left out.
            oldest.is_entry = self.traits.is_entry(oldest.packet) and not any(
                later.start_s is not None
                and later.start_s < oldest.start_s
                and self._is_wanted(later.start_s)
                for later in self.ahead
            )
        self.passed_s = max(self.passed_s, oldest.start_s)
        return oldest

    def _is_wanted(self, start_s: float | None) -> bool:
        """Whether the picture that starts then is on display at any target."""
        if start_s is None:
            return True
        following = bisect_right(self.shown, (start_s, True))
        if following == len(self.shown):
            return True
        end_s = self.shown[following][0] - _ROUNDING_S
        self.asked.settle(end_s, self._choose)
        # The first picture may answer for times before it.
        is_first = self.first_s is not None and start_s <= self.first_s
        return self.asked.has_between(-math.inf if is_first else start_s - _ROUNDING_S, end_s)

    def _choose(self, t: float) -> float:
        """The target of time t: of a picture on which no other depends, a neighbour's start."""
        on_display = bisect_right(self.shown, (t + _ROUNDING_S, True)) - 1
        if on_display < 0 or self.shown[on_display][1]:
            return t
        others_s = (s for s, is_reference in self.shown if is_reference and s > self.passed_s)
        nearest_s = min(others_s, key=lambda s: abs(s - t), default=math.inf)
        return nearest_s if abs(nearest_s - t) <= self.reach_s else t


class _TimedFrame(NamedTuple):
    picture: VideoFrame
    start_s: float
    duration_s: float


class _Decoder:
    """Decodes what is planned.

    is_fruitless: all was run, there was data, and no picture came out.
    """

    def __init__(
        self, source: Source, stream: VideoStream, damage: DamageLog, num_threads: int
    ) -> None:
        self._source = source
        self._stream = stream
        self._damage = damage
        self._step_s = 1.0 / frame_rate_hz(stream)
        self._previous_s: float | None = None
        self.is_fruitless = False
        stream.thread_type = "AUTO" if num_threads > 1 else "NONE"
        stream.codec_context.thread_count = num_threads

    def run(self, pictures: Iterable[_Picture], traits: _Traits) -> Iterator[_TimedFrame]:
        """Decoded frames in order of display; those that nobody asked for may be missing."""
        has_data = False
        first_pts: int | None = None
        for picture in pictures:
            has_data = has_data or picture.packet is not None
            if picture.restarts and picture.packet is not None and not traits.is_intra_only:
                yield from self._decode(None, first_pts)
                self._stream.codec_context.flush_buffers()
                first_pts = picture.packet.pts
            # The decoder, in all its threads, heeds this for the packet that follows.
            skips = traits.may_skip and not picture.is_wanted
            self._stream.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
            yield from self._decode(picture.packet, first_pts)
        self.is_fruitless = has_data and self._previous_s is None

    def _decode(
        self, packet: Packet[VideoStream] | None, first_pts: int | None
    ) -> Iterator[_TimedFrame]:
        """Pictures with their times, without those shown before `first_pts`, which are broken."""
        for picture in decode(self._source, self._stream, packet, self._damage):
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
            yield _TimedFrame(picture, start_s, duration_s)


def _answer(
    pictures: Iterable[_TimedFrame], asked: _Asked, converter: _Converter
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

    def __init__(self, source: Source, stream: VideoStream, max_side_px: int | None) -> None:
        self._source = source
        self._stream = stream
        self._max_side_px = max_side_px
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None

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
        if self._orientation is None:
            # Of the first picture only, which is that of the container, as in `probe`. PyAV ties
            # a frame whose side data is read into a cycle, so its pixels stay in memory until
            # Python's collector comes round to it, which may be never.
            self._orientation = read_orientation(picture)
        return Frame(shown.start_s, self._orientation.apply(np.asarray(rgb, np.uint8)))
