"""The clocks of media files: what packets say of time, and how far they are believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from av.packet import Packet
from av.video.stream import VideoStream

MAX_PAUSE_S: Final = 3600.0
"""A leap over more than this within a stream is a damaged timestamp, no pause."""

_FALLBACK_RATE_HZ: Final = 25.0
# A leap over more than this is believed only if the stream goes on from there.
_LONG_PAUSE_S: Final = 60.0


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
        if rate is not None and 0 < rate <= 1000:
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
    packets: Iterator[Packet[Any]], stated_ends_s: Mapping[int, float]
) -> Iterator[Packet[Any]]:
    """Packets of one or more streams, those that lie about their time told to follow the last one.

    A packet lies if it leaps by more than a minute and the next one of its stream leaps back, or if
    none follows and no header states that the stream goes on until there.

    Args:
        packets: in the file's order; each stream's may end with an empty one.
        stated_ends_s: by each stream's number, the stream time at which it ends by the header.
    """
    clocks: dict[int, _SteadyClock] = {}
    for packet in packets:
        index = packet.stream_index
        clock = clocks.get(index)
        if clock is None:
            clock = clocks[index] = _SteadyClock(stated_ends_s.get(index))
        yield from clock.pass_on(packet)
    for clock in clocks.values():
        yield from clock.finish()


class _SteadyClock:
    """Holds a packet that leaps until the next one of its stream tells whether to believe it."""

    def __init__(self, stated_end_s: float | None) -> None:
        self._stated_end_s = stated_end_s
        self._end_s: float | None = None  # of the last packet that was passed on
        self._held: Packet[Any] | None = None
        self._has_leapt = False  # a slide show does so with every picture

    def pass_on(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        """What can be given now that this packet is known."""
        if packet.size == 0:
            yield from self.finish()
            yield packet
            return
        _keep_together(packet)
        stamp_s = _stamp_s(packet)
        if self._held is not None and stamp_s is not None:
            yield self._settled(self._held, stamp_s)
            self._held = None
        if self._leaps(stamp_s):
            self._held = packet
        else:
            yield self._passed(packet)

    def finish(self) -> Iterator[Packet[Any]]:
        """What is still held, for no other packet follows."""
        if self._held is not None:
            stamp_s = _stamp_s(self._held)
            stated_s = self._stated_end_s
            is_stated = stamp_s is not None and stated_s is not None and stated_s >= stamp_s
            if not (is_stated or self._has_leapt):
                self._correct(self._held)
            yield self._passed(self._held)
            self._held = None

    def _leaps(self, stamp_s: float | None) -> bool:
        if stamp_s is None or self._end_s is None:
            return False
        return abs(stamp_s - self._end_s) > _LONG_PAUSE_S

    def _settled(self, held: Packet[Any], next_s: float) -> Packet[Any]:
        stamp_s, end_s = _stamp_s(held), self._end_s
        if stamp_s is not None and end_s is not None:
            is_ahead = stamp_s > end_s
            returns = next_s < stamp_s - 1.0 if is_ahead else next_s > end_s - _LONG_PAUSE_S
            if returns:
                self._correct(held)
            else:
                self._has_leapt = True
        return self._passed(held)

    def _correct(self, packet: Packet[Any]) -> None:
        base = packet.time_base
        if self._end_s is not None and base:
            packet.pts = packet.dts = round(self._end_s / base)

    def _passed(self, packet: Packet[Any]) -> Packet[Any]:
        stamp_s = _stamp_s(packet)
        if stamp_s is not None:
            lasts_s = ticks_to_s(packet.duration, packet.time_base) or 0.0
            self._end_s = stamp_s + min(lasts_s, _LONG_PAUSE_S)
        return packet


def _stamp_s(packet: Packet[Any]) -> float | None:
    return ticks_to_s(packet.pts if packet.dts is None else packet.dts, packet.time_base)


def _keep_together(packet: Packet[Any]) -> None:
    """Let a picture be shown when it is sent, where the two times lie more than a minute apart."""
    if packet.pts is not None and packet.dts is not None:
        apart_s = ticks_to_s(abs(packet.pts - packet.dts), packet.time_base)
        if apart_s is not None and apart_s > _LONG_PAUSE_S:
            packet.pts = packet.dts
