"""The times for which pictures are asked, and which picture answers each."""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from facevoice.errors import NoStreamError, UnreadableMediaError
from facevoice.media.open import (
    DamageCallback,
    DamageLog,
    Orientation,
    Source,
    decode_video,
    display_size_px,
    frame_rate_hz,
    open_source,
    read_orientation,
    read_packets,
    ticks_to_s,
    undecodable,
)
from facevoice.records import Frame

# Matroska and WebM round timestamps to milliseconds: a frame counts as shown a bit before it.
ROUNDING_S: Final = 0.0006


@dataclass(slots=True)
class _Asked:
    """`target_s` is `time_s`, or the timestamp of another picture that is taken for it."""

    time_s: float
    target_s: float
    is_settled: bool = False


class AskedTimes:
    """The asked times that are not answered yet, drawn from their source only as needed."""

    def __init__(self, timestamps_s: Iterable[float], tolerance_s: float) -> None:
        self._source = iter(timestamps_s)
        self._tolerance_s = tolerance_s
        # Two times that the same picture answers may have their targets in either order.
        self._pending: deque[_Asked] = deque()
        self._last_s = -math.inf

    def peek(self) -> float | None:
        """The next time, None if all are answered."""
        if not self._pending and not self._draw():
            return None
        return self._pending[0].target_s

    def has_between(self, start_s: float, end_s: float) -> bool:
        """Whether an unanswered time lies in [start_s, end_s)."""
        while self._last_s < end_s and self._draw():
            pass
        return any(start_s <= asked.target_s < end_s for asked in self._pending)

    def has_from(self, start_s: float) -> bool:
        """Whether an unanswered time lies at or after start_s."""
        while self._last_s < start_s and self._draw():
            pass
        return any(start_s <= asked.target_s for asked in reversed(self._pending))

    def settle(self, end_s: float, choose: Callable[[float], float | None]) -> None:
        """Let `choose` name another target for each time before `end_s`, once; None keeps it."""
        while self._last_s < end_s and self._draw():
            pass
        for asked in self._pending:
            if asked.time_s >= end_s:
                return
            if not asked.is_settled:
                chosen = choose(asked.time_s)
                asked.is_settled = True
                asked.target_s = asked.time_s if chosen is None else chosen

    def take(self, start_s: float, duration_s: float, next_start_s: float) -> bool:
        """Drop the times that are due before the next frame.

        Returns:
            Whether the frame that is on display from `start_s` on answers any of them.
        """
        tolerance_s = self._tolerance_s
        covered_s = max(duration_s, tolerance_s)
        answers = False
        while (target_s := self.peek()) is not None and target_s < next_start_s - ROUNDING_S:
            since_s = target_s - start_s
            if since_s > covered_s:
                if next_start_s == math.inf:
                    break  # The times may go on for ever.
            elif since_s >= -max(ROUNDING_S, tolerance_s):
                in_display = since_s < duration_s + ROUNDING_S
                asked = self._pending[0]
                # If the picture that was to be taken is damaged, another one may stand here.
                in_reach = (
                    asked.target_s == asked.time_s or abs(start_s - asked.time_s) <= tolerance_s
                )
                answers = answers or (in_reach and (in_display or abs(since_s) <= tolerance_s))
            self._pending.popleft()
        return answers

    def _draw(self) -> bool:
        t = next(self._source, None)
        if t is None:
            return False
        if not t >= self._last_s:
            raise ValueError(f"timestamps_s must not decrease: {t} after {self._last_s}")
        self._last_s = t
        self._pending.append(_Asked(t, t))
        return True


# What a compressed picture says of itself: whether others refer to it, whether decoding may begin.
#
# Only headers are read, nothing is decoded. Where they can't be read, the careful answer is given:
# a picture is referred to, and decoding may not begin with it.

# Each picture stands for itself, in every variant of the codec, and so does its packet.
_INTRA_CODECS: Final = frozenset(
    ["mjpeg", "prores", "dnxhd", "dvvideo", "v210", "huffyuv", "utvideo", "png"]
)
_START_CODE: Final = b"\x00\x00\x01"
# DivX's way to put two pictures into one packet for AVI, which makes timestamps meaningless.
_PACKED_MPEG4: Final = re.compile(rb"DivX\d+(b|Build)\d+p")
_H264_IDR: Final = 5
_H264_SLICES: Final = frozenset([1, 2, 5])
_H264_SETTINGS: Final = frozenset([7, 8, 13, 15])
_HEVC_IRAP: Final = range(16, 24)
_HEVC_SLICES: Final = range(32)
_HEVC_NON_REFERENCE: Final = frozenset(range(0, 16, 2))
_HEVC_VPS: Final = 32
_HEVC_SETTINGS: Final = range(32, 35)
_MPEG_I, _MPEG_B = 1, 3


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of one packet's picture.

    is_reference: others may refer to it.
    is_entry: a decoder that saw nothing before gets this picture, and all that are shown after it,
    to the bit as one that saw everything.
    has_settings: it brings parameter sets, on which later pictures may depend.
    """

    is_reference: bool = True
    is_entry: bool = False
    has_settings: bool = False


class _Reader(Protocol):
    def __call__(self, data: bytes, /) -> Traits: ...


class TraitReader:
    """Reads the traits of a stream's packets; to be given all of them, in the file's order."""

    def __init__(self, stream: VideoStream) -> None:
        context = stream.codec_context
        # Other ways to decode the same codec (libdav1d, …) have names of their own.
        codec = context.codec.canonical_name
        extradata = bytes(context.extradata or b"")
        self._read = _create_reader(codec, extradata)
        self._is_hevc = isinstance(self._read, _Hevc)
        self.is_intra_only = codec in _INTRA_CODECS
        # AVI counts packets; it has no timestamps by which pictures sent out of order are told.
        has_clock = "avi" not in stream.container.format.name.split(",")
        # Before version 16, PyAV doesn't show where an MP4 switches to other settings midway.
        shows_switches = hasattr(Packet, "has_sidedata")
        is_packed = codec == "mpeg4" and _PACKED_MPEG4.search(extradata) is not None
        self._has_entries = self.is_intra_only or (has_clock and shows_switches and not is_packed)

    def __call__(self, packet: Packet[VideoStream]) -> Traits:
        """Traits of `packet`."""
        if self._read is not None and _switches_settings(packet):
            # Sizes and layers may be others from here on: nothing is taken for granted any more.
            self._read, self._has_entries = None, False
        traits = Traits() if self._read is None else self._read(bytes(packet))
        is_trusted = packet.is_keyframe and not (packet.is_corrupt or packet.is_discard)
        return Traits(
            traits.is_reference and not packet.is_disposable,
            traits.is_entry and is_trusted and self._has_entries,
            traits.has_settings,
        )

    def may_skip(self, traits: Traits) -> bool:
        """Whether the decoder may be told to leave this picture out if nobody refers to it.

        FFmpeg's HEVC decoder leaves out pictures to which those of higher temporal layers refer.
        """
        return not (self._is_hevc and traits.is_reference)


def _switches_settings(packet: Packet[VideoStream]) -> bool:
    return hasattr(packet, "has_sidedata") and packet.has_sidedata("new_extradata")


def _create_reader(codec: str, extradata: bytes) -> _Reader | None:
    if codec in _INTRA_CODECS:
        return _read_mjpeg if codec == "mjpeg" else _read_intra
    if codec == "h264":
        is_avcc = len(extradata) > 6 and extradata[0] == 1
        return _H264(1 + (extradata[4] & 3) if is_avcc else 0)
    if codec == "hevc":
        is_hvcc = len(extradata) > 22 and (extradata[0] or extradata[1] or extradata[2] > 1)
        return _Hevc(1 + (extradata[21] & 3) if is_hvcc else 0, extradata)
    readers: dict[str, _Reader] = {
        "mpeg1video": _read_mpeg2,
        "mpeg2video": _read_mpeg2,
        "mpeg4": _read_mpeg4,
        "vp8": _read_vp8,
        "vp9": _read_vp9,
    }
    return readers.get(codec)


def _read_intra(_: bytes) -> Traits:
    return Traits(is_entry=True)


def _read_mjpeg(data: bytes) -> Traits:
    # A picture may borrow its quantisation tables from those before.
    return Traits(is_entry=b"\xff\xdb" in data[:4096])


@dataclass(slots=True)
class _H264:
    length_size: int

    def __call__(self, data: bytes) -> Traits:
        kinds: set[int] = set()
        is_reference = False
        for nal in _split_nals(data, self.length_size):
            if nal < 0:
                return Traits(has_settings=True)
            kind = data[nal] & 31
            kinds.add(kind)
            is_reference = is_reference or (kind in _H264_SLICES and data[nal] & 0x60 != 0)
        slices = kinds & _H264_SLICES
        return Traits(
            is_reference or not slices,
            slices == {_H264_IDR},
            not kinds.isdisjoint(_H264_SETTINGS),
        )


@dataclass(slots=True)
class _Hevc:
    """Of several temporal layers, only the highest has pictures to which surely none refers.

    Those that lower ones mark so may be needed by pictures of a higher layer.
    """

    length_size: int
    extradata: bytes
    num_layers: int = 0  # 0: not known

    def __post_init__(self) -> None:
        if self.length_size:
            self.num_layers = (self.extradata[21] >> 3) & 7
        for nal in _split_nals(self.extradata, 0):
            self._read_layers(self.extradata, nal)

    def __call__(self, data: bytes) -> Traits:
        kinds: set[int] = set()
        is_reference = False
        for nal in _split_nals(data, self.length_size):
            if nal < 0 or nal + 1 >= len(data):
                return Traits(has_settings=True)
            kind, layer = (data[nal] >> 1) & 63, (data[nal + 1] & 7) - 1
            kinds.add(kind)
            self._read_layers(data, nal)
            if kind in _HEVC_SLICES:
                is_highest = 0 < self.num_layers <= layer + 1
                is_reference |= not (kind in _HEVC_NON_REFERENCE and is_highest)
        slices = {kind for kind in kinds if kind in _HEVC_SLICES}
        return Traits(
            is_reference or not slices,
            bool(slices) and all(kind in _HEVC_IRAP for kind in slices),
            any(kind in _HEVC_SETTINGS for kind in kinds),
        )

    def _read_layers(self, data: bytes, nal: int) -> None:
        # Video parameter set: two bytes of header, then 12 bits of other things, then the layers.
        if nal >= 0 and (data[nal] >> 1) & 63 == _HEVC_VPS and nal + 3 < len(data):
            self.num_layers = max(self.num_layers, 1 + ((data[nal + 3] >> 1) & 7))


def _read_mpeg2(data: bytes) -> Traits:
    types = [(data[at + 5] >> 3) & 7 for at in _find_codes(data, 0x00) if at + 5 < len(data)]
    # The sequence header resets the matrices, which may have been changed since the last one.
    has_header = next(_find_codes(data, 0xB3), None) is not None
    return Traits(
        not types or any(kind != _MPEG_B for kind in types),
        bool(types) and types[0] == _MPEG_I and has_header,
    )


def _read_mpeg4(data: bytes) -> Traits:
    types = [(data[at + 4] >> 6) + 1 for at in _find_codes(data, 0xB6) if at + 4 < len(data)]
    is_single = len(types) == 1
    is_packed = _PACKED_MPEG4.search(data) is not None
    return Traits(
        not (is_single and types[0] == _MPEG_B),
        is_single and types[0] == _MPEG_I and not is_packed,
    )


def _read_vp8(data: bytes) -> Traits:
    return Traits(is_entry=len(data) > 0 and data[0] & 1 == 0)


def _read_vp9(data: bytes) -> Traits:
    # Two bits of marker, two of profile (a third in profile 3), then "shown before", "no key".
    if not data or data[0] >> 6 != 2:
        return Traits()
    shift = 1 if data[0] & 0x30 == 0x30 else 2
    return Traits(is_entry=(data[0] >> shift) & 3 == 0)


def _split_nals(data: bytes, length_size: int) -> Iterator[int]:
    """Where each NAL unit's header lies, -1 if the data is not what it should be.

    length_size: bytes of the length in front of each unit; 0 for start codes (Annex B).
    """
    if not length_size:
        at = data.find(_START_CODE)
        while 0 <= at < len(data) - 4:
            yield at + 3
            at = data.find(_START_CODE, at + 3)
        return
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_size], "big")
        at += length_size
        if at + size > len(data):
            yield -1
            return
        if size:
            yield at
        at += size


def _find_codes(data: bytes, code: int) -> Iterator[int]:
    """Where the start code with this last byte occurs."""
    pattern = _START_CODE + bytes([code])
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 4)


# Opening a video near an asked time rather than at its start, where that is safe.

VideoPackets: TypeAlias = "Iterator[Packet[VideoStream]]"

# Reading so much without decoding it costs no more than seeking.
_MIN_LEAP_S: Final = 10.0
_LEAD_S: Final = 2.0
# Formats with an index of keyframes and timestamps that count from the file's start.
_INDEXED_FORMATS: Final = frozenset(["mov", "matroska"])


@contextmanager
def open_near(
    path: Path, time_s: float | None, tolerance_s: float
) -> Iterator[tuple[Source, VideoPackets | None]]:
    """Open a file, and where possible go to a keyframe at least two seconds before `time_s`.

    Decoding from there gives the same pictures and timestamps as decoding from the start. Where
    that is not sure, the file is opened anew at its start.

    Args:
        path: a media file.
        time_s: the first time of interest, None if there is none.
        tolerance_s: how much earlier a picture may be that is of interest as well.

    Yields:
        The file, and its video's packets from the keyframe on; None in their place at its start.

    Raises:
        MediaError: see `open_source`.
    """
    with open_source(path) as source:
        target_s = _target_s(source, time_s, tolerance_s)
        if source.video is None or target_s is None:
            yield source, None
            return
        packets = _packets_from(source, source.video, target_s)
        if packets is not None:
            yield source, packets
            return
    with open_source(path) as source:
        yield source, None


def _target_s(source: Source, time_s: float | None, tolerance_s: float) -> float | None:
    """Media time before which a keyframe is sought, None if it's better to begin at the start."""
    stream, duration = source.video, source.container.duration
    formats = source.container.format.name.split(",")
    if time_s is None or stream is None or duration is None or stream.start_time is None:
        return None
    # A fragmented MP4 states no number of frames; its index is only found piece by piece.
    if _INDEXED_FORMATS.isdisjoint(formats) or ("mov" in formats and not stream.frames):
        return None
    target_s = min(time_s - _LEAD_S - tolerance_s, duration / av.time_base)
    is_far = math.isfinite(target_s) and target_s + _LEAD_S > source.start_s(stream) + _MIN_LEAP_S
    return target_s if is_far else None


def _packets_from(source: Source, stream: VideoStream, target_s: float) -> VideoPackets | None:
    """Packets from a keyframe at or before `target_s` on; None if it can't be relied upon."""
    time_base = stream.time_base
    if time_base is None:
        return None
    source.keep_only(stream)
    try:
        ticks = math.floor((target_s + source.origin_s) / time_base)
        source.container.seek(ticks, stream=stream)
        packets = source.demux(stream)
        seen = list(itertools.islice((p for p in packets if p.size > 0), 2 * MAX_REORDER))
    except av.FFmpegError:
        return None
    # Without timestamps on all of them, it's not known when the pictures are shown.
    if not seen or any(packet.pts is None for packet in seen):
        return None
    start_s = ticks_to_s(seen[0].pts, time_base)
    if start_s is None or start_s - source.origin_s > target_s:
        return None
    if not TraitReader(stream)(seen[0]).is_entry:
        return None
    return itertools.chain(seen, packets)


# Which packets the decoder gets, so that it decodes little more than the pictures asked for.
#
# Packets pass two places on their way. In `_Outlook` they wait until so many later ones are known
# that it's clear which picture is on display when. In `_Held` those that nobody asks for wait until
# a later picture is wanted that may depend on them; if one comes before with which decoding may begin
# anew, they are never decoded.

# Deepest reordering that H.264 and HEVC allow, in frames.
MAX_REORDER: Final = 16
# The first of these reached ends the waiting, and with it the memory that it takes.
_MAX_HELD_PACKETS: Final = 600
_MAX_HELD_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One packet for the decoder (None: the end).

    may_skip: the picture is not wanted; only if others refer to it must it be decoded.
    restarts: what came before was left out; the decoder begins anew, and pictures that are shown
    before this one are incomplete.
    """

    packet: Packet[VideoStream] | None
    may_skip: bool
    restarts: bool


def plan(
    source: Source,
    packets: Iterable[Packet[VideoStream] | None],
    asked: AskedTimes,
    traits: TraitReader,
    *,
    reach_s: float | None = None,
    jumps: bool = True,
) -> Iterator[Step]:
    """The packets to decode for the asked times, in the file's order, then the end.

    Args:
        source: the file, for its clock.
        packets: of its video, then None.
        asked: times not answered yet.
        traits: of this stream.
        reach_s: how far from an asked time a picture may be taken in place of one on which no
            other depends; None: not at all.
        jumps: whether packets may be left out on which wanted pictures don't depend.
    """
    outlook = _Outlook(source, asked, traits, reach_s)
    held = _Held()
    for seen in outlook.pass_through(packets):
        if jumps and seen.may_restart and held.may_drop_for(seen):
            held.drop()
        held.add(seen)
        is_last_asked = seen.start_s is not None and not asked.has_from(seen.start_s - ROUNDING_S)
        # Behind the last time, the picture that follows tells that the last answer is complete.
        must_go = not jumps or seen.is_wanted or is_last_asked
        while held and (must_go or held.is_full):
            oldest, restarts = held.pop()
            may_skip = not oldest.is_wanted and traits.may_skip(oldest.traits)
            yield Step(oldest.packet, may_skip, restarts)


@dataclass(slots=True, eq=False)
class _Seen:
    packet: Packet[VideoStream] | None
    start_s: float | None
    traits: Traits
    is_wanted: bool = True
    may_restart: bool = False


class _Held:
    """Pictures that nobody asked for, waiting for whether they're needed for later ones."""

    def __init__(self) -> None:
        self._queue: deque[_Seen] = deque()
        self._num_bytes = 0
        self._restarts = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_full(self) -> bool:
        return len(self._queue) > _MAX_HELD_PACKETS or self._num_bytes > _MAX_HELD_BYTES

    def may_drop_for(self, entry: _Seen) -> bool:
        """Whether decoding may go on with `entry` and without all that is held."""
        return entry.traits.has_settings or not any(s.traits.has_settings for s in self._queue)

    def drop(self) -> None:
        self._restarts = self._restarts or bool(self._queue)
        self._queue.clear()
        self._num_bytes = 0

    def add(self, seen: _Seen) -> None:
        self._queue.append(seen)
        self._num_bytes += 0 if seen.packet is None else seen.packet.size

    def pop(self) -> tuple[_Seen, bool]:
        """The oldest, and whether something was dropped in front of it."""
        oldest, restarts = self._queue.popleft(), self._restarts
        self._num_bytes -= 0 if oldest.packet is None else oldest.packet.size
        self._restarts = False
        return oldest, restarts


class _Outlook:
    """Lets packets pass when the picture shown next is among those seen."""

    def __init__(
        self, source: Source, asked: AskedTimes, traits: TraitReader, reach_s: float | None
    ) -> None:
        self._source = source
        self._asked = asked
        self._traits = traits
        self._reach_s = reach_s
        # To choose among the neighbours of an asked time, they must all be seen before the first
        # of them passes: the 16 shown after it, and those between which these are sent.
        self._num_ahead = 2 * MAX_REORDER if reach_s is None else 5 * MAX_REORDER
        self._ahead: deque[_Seen] = deque()
        self._shown: list[tuple[float, bool]] = []  # start and whether others refer to it, sorted
        self._references_ahead_s: list[float] = []  # sorted
        self._first_s: float | None = None
        self._passed_s = -math.inf  # latest start of all that have passed
        # A picture without a timestamp is taken to follow the one decoded before it.
        self._all_timed = True

    def pass_through(self, packets: Iterable[Packet[VideoStream] | None]) -> Iterator[_Seen]:
        for packet in packets:
            self._add(packet)
            if len(self._ahead) > self._num_ahead:
                yield self._pass_oldest()
        while self._ahead:
            yield self._pass_oldest()

    def _add(self, packet: Packet[VideoStream] | None) -> None:
        start_s = None if packet is None else ticks_to_s(packet.pts, packet.time_base)
        traits = Traits() if packet is None else self._traits(packet)
        self._all_timed = self._all_timed and (packet is None or start_s is not None)
        if start_s is not None:
            start_s -= self._source.origin_s
            insort(self._shown, (start_s, traits.is_reference))
            del self._shown[: -2 * self._num_ahead]
            if traits.is_reference and self._reach_s is not None:
                insort(self._references_ahead_s, start_s)
        self._ahead.append(_Seen(packet, start_s, traits))

    def _pass_oldest(self) -> _Seen:
        if self._first_s is None:
            self._first_s = self._shown[0][0] if self._shown else -math.inf
        if self._reach_s is not None:
            self._settle(self._reach_s)
        oldest = self._ahead.popleft()
        start_s = oldest.start_s
        oldest.is_wanted = self._is_wanted(start_s)
        if start_s is None:
            return oldest
        if oldest.traits.is_entry and start_s > self._passed_s and self._all_timed:
            # Pictures sent after this one and shown before it depend on what is to be left out.
            oldest.may_restart = not any(
                s.start_s is not None and s.start_s < start_s and self._is_wanted(s.start_s)
                for s in self._ahead
            )
        self._passed_s = max(self._passed_s, start_s)
        if oldest.traits.is_reference and self._reach_s is not None:
            self._references_ahead_s.remove(start_s)
        return oldest

    def _is_wanted(self, start_s: float | None) -> bool:
        """Whether the picture that starts then is on display at any asked time."""
        if start_s is None:
            return True
        following = bisect_right(self._shown, (start_s, True))
        if following == len(self._shown):
            return True
        # The first picture may answer for times before it.
        is_first = self._first_s is not None and start_s <= self._first_s
        from_s = -math.inf if is_first else start_s - ROUNDING_S
        return self._asked.has_between(from_s, self._shown[following][0] - ROUNDING_S)

    def _settle(self, reach_s: float) -> None:
        """Choose pictures for all times whose neighbours are known."""
        if self._ahead[-1].packet is None:
            end_s = self._shown[-1][0] + reach_s if self._shown else -math.inf
        elif len(self._shown) > 2 * MAX_REORDER:
            end_s = self._shown[-2 * MAX_REORDER - 1][0]
        else:
            return
        self._asked.settle(end_s, lambda t: self._choose(t, reach_s))

    def _choose(self, t: float, reach_s: float) -> float | None:
        """The start of the picture to take at `t` in place of the one on display, None: keep it.

        If no other depends on that one, it's the nearest in reach on which others do.
        """
        on_display = bisect_right(self._shown, (t + ROUNDING_S, True)) - 1
        if on_display < 0 or self._shown[on_display][1]:
            return None
        after = bisect_left(self._references_ahead_s, t)
        around_s = self._references_ahead_s[max(0, after - 1) : after + 1]
        nearest_s = min(around_s, key=lambda start_s: abs(start_s - t), default=math.inf)
        return nearest_s if abs(nearest_s - t) <= reach_s else None


# Frames of a video at asked times, in one pass and in bounded memory.


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
