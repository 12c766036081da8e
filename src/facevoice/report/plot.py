"""The rows of a plotted timeline: each takes matplotlib axes from 0 to the end in seconds."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facevoice.errors import MissingExtraError
from facevoice.records import NOTICE, PEAKS_HZ, Outcome, Report, Thresholds, Trace
from facevoice.report.page import (
    HATCH_GROUND,
    HATCH_LINE,
    INK,
    LINE,
    SOFT_INK,
    Row,
    Timeline,
    clock,
    color_of,
    file_title,
    one_line,
    spread,
    tint,
)
from facevoice.report.words import (
    CHANNEL_WORDS,
    OUTCOME_COLORS,
    ink_on,
    percent,
    summarize_in_words,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure


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


# A report's timeline as a matplotlib figure.
#
# Everything is set on the figure itself: neither pyplot nor anybody's settings are touched.

_WIDTH_IN: Final = 10.0
# Of a sharp screen or a print, where narrow windows can still be told apart.
_DOTS_PER_IN: Final = 160
# Left of the rows stand their names, right of them those of the zones.
_LEFT_IN: Final = 1.35
_RIGHT_IN: Final = 1.35
_MARGIN_IN: Final = 0.25
_GAP_IN: Final = 0.14
_TITLE_IN: Final = 0.32
_LINE_IN: Final = 0.19
_TICKS_IN: Final = 0.36
_HEIGHTS_IN: Final[dict[str, float]] = {
    "Outcome": 0.26,
    "Face": 0.56,
    "Voice": 0.56,
    "Both": 0.56,
    "Conflict": 1.35,
    "Sound": 0.56,
}
_BANDS: Final = tuple(CHANNEL_WORDS.values())
# The first sentence; all of it is longer than a picture can carry.
_SHORT_NOTICE: Final = NOTICE.partition(". ")[0] + "."


def plot_report(
    report: Report, figure: Figure | SubFigure | None = None, *, trace: Trace | None = None
) -> Figure:
    """Outcomes, emotions of face, voice and both, probability of conflict, and sound over time.

    Where windows are too many to be told apart, emotions and outcomes show shares of time, and the
    curve gets its mean.

    Args:
        report: one that failed, or has no window, gives its sentence only.
        figure: where to draw, at best 8 inches wide or more; None for a new one, 10 inches wide,
            which no window shows and which needs no closing.
        trace: what was seen and heard (`facevoice.records.TraceRecorder`), for the waveform.

    Returns:
        The figure that was drawn on, the whole one if `figure` is a part.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure_type = _import_figure()
    rows = _HEIGHTS_IN if trace is not None else {k: _HEIGHTS_IN[k] for k in list(_HEIGHTS_IN)[:-1]}
    rows = rows if report.windows else {}
    timeline = Timeline(report)
    words = one_line(summarize_in_words(report))
    target: Figure | SubFigure
    root: Figure
    if figure is None:
        sheet = _Sheet(_WIDTH_IN, words)
        height_in = sheet.fixed_in(bool(rows)) + sum(h + _GAP_IN for h in rows.values())
        new = figure_type(figsize=(_WIDTH_IN, height_in), dpi=100)
        new._repr_png_ = partial(_to_png, new)
        target = root = new
    else:
        target, root = figure, figure.figure
        sheet = _Sheet(target.bbox.width / target.dpi, words)
        height_in = target.bbox.height / target.dpi
    sheet.place(target, height_in, rows)
    target.set_facecolor("white")
    sheet.write_head(file_title(report))
    if rows:
        _draw_rows(sheet, report, timeline, trace)
        sheet.write_legends((timeline.outcomes, *timeline.channels))
    sheet.write(_MARGIN_IN, _MARGIN_IN, _SHORT_NOTICE, size=7.5, color=SOFT_INK, va="bottom")
    return root


def _draw_rows(sheet: _Sheet, report: Report, timeline: Timeline, trace: Trace | None) -> None:
    dense = timeline.is_dense(sheet.row_width_in * _DOTS_PER_IN)
    note = "share of time" if dense else "probability"
    face, voice, both = timeline.channels
    size_in = sheet.row_width_in
    draw_outcomes(sheet.row("Outcome", timeline), timeline, size_in, dense=dense)
    for row in (face, voice, both):
        axes = sheet.row(row.label, timeline, note)
        draw_band(axes, timeline, row, size_in, dense=dense)
    axes = sheet.row("Conflict", timeline, "probability")
    draw_conflict(axes, timeline, report.thresholds, size_in, dense=dense)
    if trace is not None:
        axes = sheet.row("Sound", timeline, "dark: speech")
        draw_sound(axes, trace, timeline.end_s, size_in)
    _draw_time(axes, timeline, sheet.row_width_in)


def _draw_time(axes: Any, timeline: Timeline, width_in: float) -> None:
    ticks_s = timeline.ticks_s(int(width_in / 0.7))
    axes.set_xticks(ticks_s, [clock(tick) for tick in ticks_s])
    axes.tick_params(
        "x", bottom=True, length=4, color=LINE, labelcolor=SOFT_INK, labelsize=9, labelbottom=True
    )


class _Sheet:
    """Places things from top to bottom, in inches, whatever the size of the figure."""

    def __init__(self, width_in: float, words: str) -> None:
        self.width_in = width_in
        # A letter of 9.5 points takes about 0.07 inches.
        self._lines = textwrap.wrap(words, max(20, int((width_in - 2 * _MARGIN_IN) / 0.072)))
        self._axes: list[Any] = []

    @property
    def row_width_in(self) -> float:
        """Width of the rows."""
        return max(1.0, self.width_in - _LEFT_IN - _RIGHT_IN)

    def fixed_in(self, has_rows: bool) -> float:
        """Height of all but the rows."""
        head = _MARGIN_IN + _TITLE_IN + len(self._lines) * _LINE_IN
        legends = _TICKS_IN + 2 * self._legend_lines * 0.24 + 0.1 if has_rows else 0.0
        return head + legends + 0.3 + _MARGIN_IN

    def place(self, target: Any, height_in: float, rows: dict[str, float]) -> None:
        """Where to draw; rows take what height there is."""
        self._target, self.height_in = target, height_in
        natural_in = sum(h + _GAP_IN for h in rows.values())
        room_in = height_in - self.fixed_in(bool(rows))
        scale = 1.0 if not rows else max(0.3, room_in / natural_in)
        self._heights = {name: h * scale for name, h in rows.items()}
        self._gap_in = _GAP_IN * scale
        self._top_in = height_in - _MARGIN_IN

    def write(self, x_in: float, y_in: float, text: str, *, va: str = "top", **style: Any) -> None:
        """Text at a place counted from the lower left; never read as a formula."""
        place = (x_in / self.width_in, y_in / self.height_in)
        self._target.text(*place, text, parse_math=False, va=va, ha="left", **style)

    def write_head(self, title: str) -> None:
        """Name and sentence."""
        longest = max(10, int((self.width_in - 2 * _MARGIN_IN) / 0.11))
        short = title if len(title) <= longest else title[: longest - 1] + "…"
        self.write(_MARGIN_IN, self._top_in, short, size=13, weight="bold", color=INK)
        self._top_in -= _TITLE_IN
        for line in self._lines:
            self.write(_MARGIN_IN, self._top_in, line, size=9.5, color=INK)
            self._top_in -= _LINE_IN
        self._top_in -= 0.15

    def row(self, label: str, timeline: Timeline, note: str = "") -> Any:
        """Bare axes for the next row, with its name at the left."""
        height_in = self._heights[label]
        bottom_in = self._top_in - height_in
        box = (
            _LEFT_IN / self.width_in,
            bottom_in / self.height_in,
            self.row_width_in / self.width_in,
            height_in / self.height_in,
        )
        share = self._axes[0] if self._axes else None
        axes = self._target.add_axes(box, sharex=share, facecolor="none", label=label)
        axes.set_xlim(0, max(timeline.end_s, 1e-3))
        axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
        axes.grid(False)
        for side in axes.spines.values():
            side.set(visible=False, color=LINE, linewidth=1)
        self._axes.append(axes)
        # In bands, words stand above what is to be named.
        middle_in = bottom_in + height_in / (2 * BAND_TOP if label in _BANDS else 2)
        shift_in = 0.08 if note else 0.0
        style = {"va": "center", "color": INK}
        self.write(_MARGIN_IN, middle_in + shift_in, label, size=10, **style)
        if note:
            self.write(
                _MARGIN_IN, middle_in - shift_in, note, size=7.5, va="center", color=SOFT_INK
            )
        # The curve's frame reaches higher than the bands' words: more air before it.
        self._top_in = bottom_in - self._gap_in * (1.6 if label == "Both" else 1.0)
        return axes

    def write_legends(self, rows: tuple[Row, ...]) -> None:
        """Names of the colours that occur: outcomes, then emotions."""
        from matplotlib.patches import Patch

        self._top_in -= _TICKS_IN - 0.04
        for label, group in (("Outcomes", rows[:1]), ("Emotions", rows[1:])):
            seen = {kind for row in group for kind in row.kinds}
            kinds = [kind for kind in group[0].order if kind in seen]
            if not kinds:
                continue
            style = {"va": "center", "color": SOFT_INK}
            self.write(_MARGIN_IN, self._top_in - 0.085, label, size=8.5, **style)
            self._target.legend(
                handles=[Patch(color=color_of(kind), label=kind.value) for kind in kinds],
                loc="upper left",
                bbox_to_anchor=(_LEFT_IN / self.width_in, self._top_in / self.height_in),
                ncols=max(1, -(-len(kinds) // self._legend_lines)),
                **{"frameon": False, "fontsize": 8.5, "labelcolor": INK, "borderpad": 0},
                **{"borderaxespad": 0, "handlelength": 1.1, "handleheight": 1.1},
                **{"handletextpad": 0.5, "columnspacing": 1.4},
            )
            self._top_in -= 0.24 * self._legend_lines

    @property
    def _legend_lines(self) -> int:
        return 1 if self.width_in - _LEFT_IN >= 7.4 else 2


def _to_png(figure: Any) -> bytes:
    """What a notebook shows, also where no pyplot told it how to show figures."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=100)
    return target.getvalue()


def _import_figure() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plotting a report", "plot") from error

    def make(**settings: Any) -> Figure:
        figure = Figure(**settings)
        FigureCanvasAgg(figure)
        return figure

    return make
