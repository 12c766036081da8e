"""The rows of a plotted timeline: each takes matplotlib axes from 0 to the end in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import numpy as np

from facevoice.labels import Outcome
from facevoice.report.look import OUTCOME_COLORS, ink_on
from facevoice.report.sentence import percent
from facevoice.report.timeline import (
    HATCH_GROUND,
    HATCH_LINE,
    INK,
    LINE,
    SOFT_INK,
    Row,
    Timeline,
    color_of,
    spread,
    tint,
)
from facevoice.results import Thresholds
from facevoice.trace import PEAKS_HZ, Trace

SOUND_INK: Final = "#B4BDC5"
SPEECH_INK: Final = "#3E4C59"
# The upper part of a band is for words.
BAND_TOP: Final = 1.45
_COLUMN_IN: Final = 0.03
_LETTER_EM: Final = 0.6
# Wider windows are set apart by a white line.
_APART_IN: Final = 0.08

Box = tuple[float, float, float, float]


def draw_outcomes(axes: Any, timeline: Timeline, width_in: float, *, dense: bool) -> None:
    """One colour for each stretch of an outcome, with its word."""
    axes.set_ylim(0, 1)
    if dense:
        _draw_shares(axes, timeline, timeline.outcomes, width_in)
        return
    runs = timeline.runs(timeline.outcomes)
    boxes = [(run.start_s, run.end_s, 0.0, 1.0) for run in runs]
    edge = 1.0 if width_in / len(runs) > _APART_IN else 0.0
    _fill(axes, boxes, [str(run.color) for run in runs], gid="outcome", edge=edge)
    room = _Room(axes, timeline.end_s, width_in)
    for run in runs:
        room.write((run.start_s, run.end_s), 0.5, run.words, color=ink_on(str(run.color)), size=9)


def draw_band(axes: Any, timeline: Timeline, row: Row, width_in: float, *, dense: bool) -> None:
    """The likeliest emotions: height is their probability, or their share of time if `dense`."""
    axes.set_ylim(0, BAND_TOP)
    axes.spines["bottom"].set_visible(True)
    runs = timeline.runs(row)
    room = _Room(axes, timeline.end_s, width_in)
    gaps = [run for run in runs if run.kind is None]
    _hatch(axes, [(run.start_s, run.end_s, 0.0, 1.0) for run in gaps])
    if dense:
        _draw_shares(axes, timeline, row, width_in)
    else:
        _draw_windows(axes, timeline, row, room)
    for run in runs:
        if run.kind is None:
            room.write((run.start_s, run.end_s), 0.5, run.words, color=SOFT_INK, ground="white")
        else:
            middle = (1 + BAND_TOP) / 2
            room.write((run.start_s, run.end_s), middle, run.words, color=INK)


def draw_conflict(
    axes: Any, timeline: Timeline, thresholds: Thresholds | None, width_in: float, *, dense: bool
) -> None:
    """The probability of conflict between the thresholds, gaps where there is none."""
    axes.set_ylim(0, 1)
    for side in axes.spines.values():
        side.set_visible(True)
    room = _Room(axes, timeline.end_s, width_in)
    gaps = timeline.uncompared_s
    _hatch(axes, [(*gap, 0.0, 1.0) for gap in gaps])
    if thresholds is not None:
        _draw_zones(axes, thresholds)
    for gap in gaps:
        room.write(gap, 0.5, "not compared", color=SOFT_INK, ground="white")
    _draw_ticks(axes, thresholds)
    _draw_curve(axes, timeline, room, dense=dense)


def draw_sound(axes: Any, trace: Trace, end_s: float, width_in: float) -> None:
    """The waveform, darker where there is speech, and a line under speech."""
    axes.set_ylim(-1.35, 1)
    if not len(trace.peaks):
        _hatch(axes, [(0.0, end_s, -1.0, 1.0)])
        room = _Room(axes, end_s, width_in)
        room.write((0.0, end_s), 0.0, "no sound", color=SOFT_INK, ground="white")
        return
    num_columns = max(1, min(len(trace.peaks), int(width_in / 0.012)))
    edges = np.linspace(0, len(trace.peaks), num_columns + 1).astype(int)
    tallest = np.maximum(np.maximum.reduceat(trace.peaks, edges[:-1]), 0.02).tolist()
    times_s = (edges / PEAKS_HZ).tolist()
    speech = trace.speech_spans_s
    boxes, colors = [], []
    for (start_s, stop_s), tall in zip(pairwise(times_s), tallest, strict=True):
        is_speech = bool(((speech[:, 0] < stop_s) & (speech[:, 1] > start_s)).any())
        boxes.append((start_s, stop_s, -tall, tall))
        colors.append(SPEECH_INK if is_speech else SOUND_INK)
    _fill(axes, boxes, colors, gid="waveform")
    spans = [(a, b, -1.33, -1.2) for a, b in speech.tolist()]
    _fill(axes, spans, [SPEECH_INK] * len(spans), gid="speech")


class _Room:
    """Writes words where there is room for them."""

    def __init__(self, axes: Any, end_s: float, width_in: float) -> None:
        self._axes = axes
        self.in_per_s = width_in / max(end_s, 1e-3)

    def write(
        self,
        span_s: tuple[float, float],
        y: float,
        text: str,
        *,
        color: str,
        size: float = 8.5,
        ground: str | None = None,
    ) -> None:
        """In the middle of the stretch, or not at all."""
        needed_in = (len(text) * _LETTER_EM * size + 6) / 72
        if (span_s[1] - span_s[0]) * self.in_per_s < needed_in:
            return
        box = None if ground is None else {"facecolor": ground, "edgecolor": "none", "pad": 2}
        place = (sum(span_s) / 2, y)
        style = {"ha": "center", "va": "center_baseline", "clip_on": True, "parse_math": False}
        self._axes.text(*place, text, color=color, size=size, bbox=box, **style)


def _draw_windows(axes: Any, timeline: Timeline, row: Row, room: _Room) -> None:
    spans = list(pairwise(timeline.edges_s.tolist()))
    known = [k for k, kind in enumerate(row.kinds) if kind is not None]
    colors = [color_of(kind) for kind in row.kinds if kind is not None]
    edge = 1.0 if timeline.end_s / len(spans) * room.in_per_s > _APART_IN else 0.0
    grounds = [tint(color, 0.2) for color in colors]
    _fill(axes, [(*spans[k], 0.0, 1.0) for k in known], grounds, gid="ground", edge=edge)
    boxes = [(*spans[k], 0.0, float(row.probs[k])) for k in known]
    _fill(axes, boxes, colors, gid="band", edge=edge)
    for (start_s, stop_s, _, prob), color in zip(boxes, colors, strict=True):
        if prob > 0.4:  # lower bars are lower than a letter
            span_s = (start_s, stop_s)
            room.write(span_s, prob / 2, percent(prob), color=ink_on(color), size=8)


def _draw_shares(axes: Any, timeline: Timeline, row: Row, width_in: float) -> None:
    columns_s = np.linspace(0, timeline.end_s, int(width_in / _COLUMN_IN) + 1)
    shares = timeline.shares(row, columns_s)
    tops = np.cumsum(shares, axis=0)
    boxes: list[Box] = []
    colors: list[str] = []
    for place, kind in enumerate(row.order):
        for column in np.flatnonzero(shares[place] > 0):
            left, right = columns_s[column : column + 2].tolist()
            top = float(tops[place, column])
            boxes.append((left, right, top - float(shares[place, column]), top))
            colors.append(color_of(kind))
    _fill(axes, boxes, colors, gid="shares")


def _draw_zones(axes: Any, thresholds: Thresholds) -> None:
    high, low = thresholds.conflict_above, thresholds.match_below
    shade = tint(OUTCOME_COLORS[Outcome.FLAT], 0.22)
    axes.axhspan(low, high, facecolor=shade, edgecolor="none", gid="undecided", zorder=0.6)
    lines = (("conflict_above", high, Outcome.CONFLICT), ("match_below", low, Outcome.MATCH))
    for name, value, outcome in lines:
        color = OUTCOME_COLORS[outcome]
        axes.axhline(value, color=color, linewidth=1.2, gid=name, zorder=1.5)
    places = spread([low / 2, (low + high) / 2, (1 + high) / 2], 0.13)
    for place, name in zip(places, ("match", "too close to call", "conflict"), strict=True):
        style = {"va": "center", "color": SOFT_INK, "transform": axes.transAxes}
        axes.text(1.01, place, name, size=8.5, parse_math=False, **style)


def _draw_ticks(axes: Any, thresholds: Thresholds | None) -> None:
    ticks = [0.0, 1.0]
    if thresholds is not None:
        for value in (thresholds.match_below, thresholds.conflict_above):
            if min(abs(value - tick) for tick in ticks) > 0.12:
                ticks.append(value)
    axes.set_yticks(ticks, [f"{100 * tick:.0f}%" for tick in ticks])
    axes.tick_params("y", left=True, labelleft=True, length=3, color=LINE)
    axes.tick_params("y", labelcolor=SOFT_INK, labelsize=7.5)


def _draw_curve(axes: Any, timeline: Timeline, room: _Room, *, dense: bool) -> None:
    x, y = timeline.middles_s, timeline.conflict
    style = {"color": INK, "solid_joinstyle": "round", "clip_on": False}
    if dense:
        axes.plot(x, y, gid="conflict", alpha=0.3, linewidth=0.5, **style)
        num_columns = max(2, int(timeline.end_s * room.in_per_s / _COLUMN_IN / 2))
        columns_s = np.linspace(0, timeline.end_s, num_columns + 1)
        means = timeline.conflict_means(columns_s)
        middles_s = (columns_s[:-1] + columns_s[1:]) / 2
        axes.plot(middles_s, means, gid="mean", linewidth=1.4, **style)
        return
    axes.plot(x, y, gid="conflict", linewidth=1.5, **style)
    is_roomy = np.diff(timeline.edges_s) * room.in_per_s > 0.2
    dots = ~np.isnan(y) & (timeline.is_alone | is_roomy)
    axes.plot(x[dots], y[dots], "o", gid="dots", markersize=4, markeredgewidth=0, **style)


def _fill(
    axes: Any, boxes: Iterable[Box], colors: list[str], *, gid: str, edge: float = 0.0
) -> None:
    from matplotlib.collections import PolyCollection

    corners = [((a, low), (a, high), (b, high), (b, low)) for a, b, low, high in boxes]
    if corners:
        # Without a line of their own colour, neighbours leave hairlines between them.
        lines: Any = "white" if edge else colors
        style = {"facecolors": colors, "edgecolors": lines, "linewidths": edge or 0.2}
        axes.add_collection(PolyCollection(corners, gid=gid, **style), autolim=False)


def _hatch(axes: Any, boxes: list[Box]) -> None:
    """Diagonal lines: nothing is known here."""
    from matplotlib.collections import PolyCollection

    corners = [((a, low), (a, high), (b, high), (b, low)) for a, b, low, high in boxes]
    if corners:
        style: dict[str, Any] = {"facecolors": HATCH_GROUND, "edgecolors": HATCH_LINE}
        gaps = PolyCollection(corners, gid="gap", hatch="////", linewidths=0, **style)
        axes.add_collection(gaps, autolim=False)
