"""The times for which pictures are asked, and which picture answers each."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

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
