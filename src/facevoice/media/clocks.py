"""The clocks of media files: what packets say of time, and how far they are believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

import av
from av.packet import Packet
from av.video.stream import VideoStream

from facevoice.codec import MIN_FRAME_RATE_HZ

MAX_PAUSE_S: Final = 3600.0
"""A leap over more than this within a stream is a damaged timestamp, no pause."""

MAX_HELD: Final = 512
"""More packets of a stream than a cluster of Matroska holds; its time is part of all of theirs."""

MAX_HELD_PER_STAMP: Final = 32
"""The same for MPEG, where one time may be that of several packets."""

_FALLBACK_RATE_HZ: Final = 25.0
# A leap over more than this is believed only if the stream goes on from there.
_LONG_PAUSE_S: Final = 60.0
# For so many bytes at most, held back until a later packet tells.
_MAX_HELD_BYTES: Final = 16_000_000


def ticks_to_s(ticks: int | None, time_base: Fraction | None) -> float | None:
    """Stream ticks in seconds; None where the container doesn't say."""
    if ticks is None or time_base is None:
        return None
    return ticks * time_base.numerator / time_base.denominator


def packet_end_s(packet: Packet[Any]) -> float | None:
    """Stream time at which what `packet` holds ends, None if it has no timestamp."""
    start_s = ticks_to_s(packet.dts if packet.pts is None else packet.pts, packet.time_base)
    if start_s is None:
        return None
    duration_s = ticks_to_s(packet.duration, packet.time_base)
    if not duration_s and isinstance(packet.stream, VideoStream):
        duration_s = 1.0 / frame_rate_hz(packet.stream)
    return start_s + (duration_s or 0.0)


def frame_rate_hz(stream: VideoStream) -> float:
    """Frames per second as the container states or implies it; 25 where it says nothing."""
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate is not None and MIN_FRAME_RATE_HZ <= rate <= 1000:
            return float(rate)
    return _FALLBACK_RATE_HZ


class JoinedClock:
    """Lets timestamps count on where the clock of a file restarts.

    Both streams are shifted alike and so stay in step: the one whose clock is the first to leap
    sets the shift, which the other takes over where its own does.
    """

    # A stream that leaps back by more than this, or ahead by an hour, restarts.
    _MAX_STEP_S: Final = 0.5
    # At a restart, one stream is behind or ahead of the other by no more than this.
    _SPREAD_S: Final = (-1.0, 10.0)

    def __init__(self, joins_s: list[float]) -> None:
        self._joins_s = joins_s
        self._shifts_s = [0.0]
        self._streams: dict[int, tuple[float, float]] = {}  # the shift that holds, the next stamp
        self._end_s = 0.0  # of all that has been shown

    def count_on(self, packet: Packet[Any]) -> None:
        """Shift the timestamps of the next packet of the file."""
        base = packet.time_base
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return
        stamp_s = float(stamp * base)
        shift_s, next_s = self._streams.get(packet.stream_index, (self._shifts_s[-1], stamp_s))
        shift_s = self._choose_shift_s(
            shift_s, stamp_s - next_s, float((packet.pts or stamp) * base)
        )
        shift = round(shift_s / base)
        packet.dts = None if packet.dts is None else packet.dts + shift
        packet.pts = None if packet.pts is None else packet.pts + shift
        next_s = stamp_s + float((packet.duration or 0) * base)
        self._streams[packet.stream_index] = shift_s, next_s
        self._end_s = max(self._end_s, packet_end_s(packet) or 0.0)

    def _choose_shift_s(self, shift_s: float, leap_s: float, start_s: float) -> float:
        """The shift from here on of a stream whose own clock leaps by `leap_s`."""
        if abs(leap_s) <= self._MAX_STEP_S:
            return shift_s
        leads_s = {other_s: leap_s + other_s - shift_s for other_s in self._shifts_s}
        nearest_s = min(leads_s, key=lambda other_s: abs(leads_s[other_s]))
        if abs(leads_s[nearest_s]) <= self._MAX_STEP_S:
            return nearest_s  # the other stream led, or a damaged timestamp lies behind
        if 0 < leap_s <= MAX_PAUSE_S:
            return shift_s
        for other_s in reversed(self._shifts_s):
            if other_s != shift_s and self._SPREAD_S[0] <= leads_s[other_s] <= self._SPREAD_S[1]:
                return other_s
        self._joins_s.append(self._end_s)
        self._shifts_s.append(self._end_s - start_s)
        return self._shifts_s[-1]


def steadied(
    packets: Iterator[Packet[Any]],
    stated_spans_s: Mapping[int, tuple[float | None, float | None]],
    *,
    max_held: int = MAX_HELD,
) -> Iterator[Packet[Any]]:
    """Packets of one or more streams, those that lie about their time told to follow the last one.

    Packets lie if they leap by more than a minute and the stream leaps back before it has gone on
    for `max_held` of them, or if one leaps, none follows, and no header states that the stream goes
    on until there.

    Args:
        packets: in the file's order; each stream's may end with an empty one.
        stated_spans_s: by each stream's number, the stream times at which it starts and ends by the
            header; None where that doesn't say.
        max_held: how many packets of a stream are held back at most until one tells.
    """
    clocks: dict[int, _SteadyClock] = {}
    broken: av.FFmpegError | None = None
    try:
        for packet in packets:
            index = packet.stream_index
            if index not in clocks:
                start_s, end_s = stated_spans_s.get(index, (None, None))
                clocks[index] = _SteadyClock(start_s, end_s, max_held)
            yield from clocks[index].pass_on(packet)
    except av.FFmpegError as error:
        broken = error
    for clock in clocks.values():
        yield from clock.finish()
    if broken is not None:
        raise broken


class _SteadyClock:
    """Holds packets that leap until a later one of their stream tells whether to believe them."""

    def __init__(
        self, stated_start_s: float | None, stated_end_s: float | None, max_held: int
    ) -> None:
        self._stated_end_s = stated_end_s
        self._end_s = stated_start_s  # of the last packet that was passed on
        self._max_held = max_held
        self._held: list[Packet[Any]] = []
        self._has_passed = False
        self._has_leapt = False  # a slide show does so with every picture

    def pass_on(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """What can be given now that this packet is known."""
        if packet.size == 0:
            yield from self.finish()
            yield packet
            return
        _keep_together(packet)
        stamp_s = _stamp_s(packet)
        if self._held and stamp_s is not None:
            if self._returns(stamp_s):
                yield from self._told_to_follow()
            elif self._is_full():
                self._has_leapt = True
                yield from self._given()
        if self._held or self._leaps(stamp_s):
            self._held.append(packet)
        else:
            yield self._passed(packet)

    def finish(self) -> Iterator[Packet[Any]]:
        """What is still held, for no other packet follows."""
        if len(self._held) == 1:
            stamp_s, stated_s = _stamp_s(self._held[0]), self._stated_end_s
            is_stated = stamp_s is not None and stated_s is not None and stated_s >= stamp_s
            if not (is_stated or self._has_leapt):
                yield from self._told_to_follow()
        yield from self._given()

    def _leaps(self, stamp_s: float | None) -> bool:
        if stamp_s is None or self._end_s is None:
            return False
        return abs(stamp_s - self._end_s) > _LONG_PAUSE_S

    def _returns(self, next_s: float) -> bool:
        """Whether the stream goes on where it was before those that are held."""
        stamp_s = _stamp_s(self._held[-1])
        if len(self._held) > 1 or stamp_s is None or self._end_s is None:
            return not self._leaps(next_s)
        is_ahead = stamp_s > self._end_s
        return next_s < stamp_s - 1.0 if is_ahead else next_s > self._end_s - _LONG_PAUSE_S

    def _is_full(self) -> bool:
        # Reading may begin anywhere: the first packets leap from the stated start.
        max_held = self._max_held if self._has_passed and not self._has_leapt else 1
        num_bytes = sum(packet.size for packet in self._held)
        return len(self._held) >= max_held or num_bytes > _MAX_HELD_BYTES

    def _told_to_follow(self) -> Iterator[Packet[Any]]:
        first_s = next((s for s in map(_stamp_s, self._held) if s is not None), None)
        if first_s is not None and self._end_s is not None:
            for packet in self._held:
                _shift(packet, self._end_s - first_s)
        yield from self._given()

    def _given(self) -> Iterator[Packet[Any]]:
        held, self._held = self._held, []
        for packet in held:
            yield self._passed(packet)

    def _passed(self, packet: Packet[Any]) -> Packet[Any]:
        self._has_passed = True
        stamp_s = _stamp_s(packet)
        if stamp_s is not None:
            lasts_s = ticks_to_s(packet.duration, packet.time_base) or 0.0
            self._end_s = stamp_s + min(lasts_s, _LONG_PAUSE_S)
        return packet


def _shift(packet: Packet[Any], shift_s: float) -> None:
    if packet.time_base:
        shift = round(shift_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


def _stamp_s(packet: Packet[Any]) -> float | None:
    return ticks_to_s(packet.pts if packet.dts is None else packet.dts, packet.time_base)


def _keep_together(packet: Packet[Any]) -> None:
    """Let a picture be shown when it is sent, where the two times lie more than a minute apart."""
    if packet.pts is not None and packet.dts is not None:
        apart_s = ticks_to_s(abs(packet.pts - packet.dts), packet.time_base)
        if apart_s is not None and apart_s > _LONG_PAUSE_S:
            packet.pts = packet.dts
