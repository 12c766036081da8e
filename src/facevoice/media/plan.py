"""Which packets the decoder gets, so that it decodes little more than the pictures asked for.

Packets pass two places on their way. In `_Outlook` they wait until so many later ones are known
that it's clear which picture is on display when. In `_Held` those that nobody asks for wait until
a later picture is wanted that may depend on them; if one comes before with which decoding may begin
anew, they are never decoded.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from av.packet import Packet
from av.video.stream import VideoStream

from facevoice.media.asked import ROUNDING_S, AskedTimes
from facevoice.media.references import TraitReader, Traits
from facevoice.media.source import Source, ticks_to_s

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
