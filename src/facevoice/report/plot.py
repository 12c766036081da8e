"""A report's timeline as a matplotlib figure.

Everything is set on the figure itself: neither pyplot nor anybody's settings are touched.
"""

from __future__ import annotations

import io
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from facevoice.errors import MissingExtraError
from facevoice.report.look import CHANNEL_WORDS
from facevoice.report.plot_rows import BAND_TOP, draw_band, draw_conflict, draw_outcomes, draw_sound
from facevoice.report.sentence import summarize_in_words
from facevoice.report.timeline import (
    INK,
    LINE,
    SOFT_INK,
    Row,
    Timeline,
    clock,
    color_of,
    file_title,
    one_line,
)
from facevoice.results import NOTICE, Report
from facevoice.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

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
        trace: what was seen and heard (`facevoice.trace.TraceRecorder`), for the waveform.

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
