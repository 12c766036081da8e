"""What a timeline shows of a report, ready to be drawn: stretches, shares of time, times to name.

For pictures made in Python; `page/` holds the same for pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import PurePath
from typing import Final

import numpy as np

from facevoice.labels import EMOTIONS, Emotion, Outcome
from facevoice.report.look import CHANNEL_WORDS, EMOTION_COLORS, OUTCOME_COLORS, shown_spans
from facevoice.report.table import FACE_GAPS, GAP, VOICE_GAPS, channel_words
from facevoice.results import Prediction, Report, top_emotion
from facevoice.types import BoolArray, DoubleArray

INK: Final = "#1F2933"
SOFT_INK: Final = "#55616B"
LINE: Final = "#D5D9DD"
HATCH_GROUND: Final = "#F7F8F9"
HATCH_LINE: Final = "#CBD1D6"
_TICK_STEPS_S: Final = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring windows of one kind, shown from `start_s` to `end_s`; `kind` None is a gap.

    `words`: what stands in it, the name of the kind or why there is none; `color`: None for gaps.
    """

    start_s: float
    end_s: float
    kind: Emotion | Outcome | None
    words: str
    color: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of colours: each window's kind (None for a gap) and its probability (NaN).

    `order`: all kinds there could be; `gaps`: why there is none, by window.
    """

    label: str
    kinds: tuple[Emotion | Outcome | None, ...]
    probs: DoubleArray
    order: tuple[Emotion | Outcome, ...]
    gaps: tuple[str, ...]


class Timeline:
    """A report along its time."""

    def __init__(self, report: Report) -> None:
        windows = report.windows
        last_s = max((window.end_s for window in windows), default=0.0)
        self.end_s = last_s if report.media is None else max(last_s, report.media.duration_s)
        spans = shown_spans(windows, self.end_s)
        self.edges_s: DoubleArray = np.array(
            [start for start, _ in spans] + [end for _, end in spans[-1:]], np.float64
        )
        self.conflict: DoubleArray = np.array(
            [np.nan if w.conflict is None else w.conflict for w in windows], np.float64
        )
        self._windows = windows

    @property
    def middles_s(self) -> DoubleArray:
        """Of the stretches for which the windows stand."""
        return (self.edges_s[:-1] + self.edges_s[1:]) / 2

    @cached_property
    def outcomes(self) -> Row:
        """The windows' outcomes."""
        kinds = tuple(window.outcome for window in self._windows)
        return Row("Outcome", kinds, np.ones(len(kinds)), tuple(Outcome), ("",) * len(kinds))

    @cached_property
    def channels(self) -> tuple[Row, ...]:
        """The likeliest emotions of face, voice, both."""
        return tuple(self._channel(name) for name in CHANNEL_WORDS)

    @cached_property
    def uncompared_s(self) -> list[tuple[float, float]]:
        """From when to when there is no probability of conflict."""
        gaps: list[tuple[float, float]] = []
        places = enumerate(np.isnan(self.conflict).tolist())
        for is_gap, run in groupby(places, key=itemgetter(1)):
            members = [place for place, _ in run]
            if is_gap:
                gaps.append((float(self.edges_s[members[0]]), float(self.edges_s[members[-1] + 1])))
        return gaps

    @property
    def is_alone(self) -> BoolArray:
        """Which windows have a probability of conflict, and no neighbour that has one."""
        known = ~np.isnan(self.conflict)
        beside = np.concatenate([[False], known, [False]])
        alone: BoolArray = known & ~beside[:-2] & ~beside[2:]
        return alone

    def is_dense(self, width_px: float) -> bool:
        """Whether windows are too narrow to be told apart on so many pixels."""
        return len(self._windows) * 2.5 > width_px

    def runs(self, row: Row) -> list[Run]:
        """Neighbouring windows of one kind, put together."""
        found: list[Run] = []
        starts = [k for k, kind in enumerate(row.kinds) if k == 0 or kind != row.kinds[k - 1]]
        for start, stop in zip(starts, [*starts[1:], len(row.kinds)], strict=True):
            kind = row.kinds[start]
            words = row.gaps[start] if kind is None else kind.value
            ends = float(self.edges_s[start]), float(self.edges_s[stop])
            found.append(Run(*ends, kind, words, None if kind is None else color_of(kind)))
        return found

    def shares(self, row: Row, columns_s: DoubleArray) -> DoubleArray:
        """Share of each column's time, (K, m), that each kind of `row.order` takes.

        columns_s (m + 1,): the columns' edges, increasing.
        """
        lengths_s = np.diff(self.edges_s)
        found = np.zeros((len(row.order), len(columns_s) - 1))
        for place, kind in enumerate(row.order):
            taken_s = lengths_s * np.array([k == kind for k in row.kinds])
            until_s = np.concatenate([[0.0], np.cumsum(taken_s)])
            found[place] = np.diff(np.interp(columns_s, self.edges_s, until_s)) / np.diff(columns_s)
        return found

    def conflict_means(self, columns_s: DoubleArray) -> DoubleArray:
        """Mean probability of conflict, (m,), of the windows in each column; NaN without any.

        columns_s (m + 1,): the columns' edges, increasing.
        """
        known = ~np.isnan(self.conflict)
        counts, _ = np.histogram(self.middles_s[known], columns_s)
        sums, _ = np.histogram(self.middles_s[known], columns_s, weights=self.conflict[known])
        means = np.full(len(counts), np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    def ticks_s(self, most: int) -> list[float]:
        """Round times from 0 to the end, at most `most` of them."""
        least = self.end_s / max(1, most - 1)
        step = next((s for s in _TICK_STEPS_S if s >= least), np.ceil(least / 14400) * 14400)
        return [k * float(step) for k in range(int(self.end_s / step + 1e-6) + 1)]

    def _channel(self, name: str) -> Row:
        tops = [None if (p := getattr(w, name)) is None else top_emotion(p) for w in self._windows]
        return Row(
            CHANNEL_WORDS[name],
            tuple(None if top is None else top[0] for top in tops),
            np.array([np.nan if top is None else top[1] for top in tops], np.float64),
            EMOTIONS,
            tuple(_gap(name, window) for window in self._windows),
        )


def color_of(kind: Emotion | Outcome) -> str:
    """The colour, #RRGGBB, that stands for it everywhere."""
    return EMOTION_COLORS[kind] if isinstance(kind, Emotion) else OUTCOME_COLORS[kind]


def tint(color: str, share: float) -> str:
    """`color` (#RRGGBB) over white with this opacity, in [0, 1]."""
    parts = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02X}" for part in parts)


def clock(seconds: float) -> str:
    """`m:ss`, `h:mm:ss` from an hour on; with tenths if it is no whole second."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    second = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second}" if hours else f"{minute}:{second}"


def file_title(report: Report) -> str:
    """The file's name as one line of valid text."""
    return one_line(PurePath(report.path).name or report.path)


def one_line(text: str) -> str:
    """`text` without control characters and half characters, which file names may hold."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_CONTROL)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Increasing places moved as little as needed to lie at least `gap` apart; the middle stays."""
    moved = list(places)
    middle = len(moved) // 2
    for k in range(middle + 1, len(moved)):
        moved[k] = max(moved[k], moved[k - 1] + gap)
    for k in range(middle - 1, -1, -1):
        moved[k] = min(moved[k], moved[k + 1] - gap)
    return moved


def _gap(name: str, window: Prediction) -> str:
    gaps = {"face": FACE_GAPS, "voice": VOICE_GAPS, "fused": {**FACE_GAPS, **VOICE_GAPS}}[name]
    words = channel_words(None, window.reasons, gaps)
    return "not enough evidence" if words == GAP else words
