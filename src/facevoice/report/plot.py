"""A report's timeline as one small matplotlib figure."""

from __future__ import annotations

import io
import textwrap
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facevoice.errors import MissingExtraError
from facevoice.interpret import shown_spans
from facevoice.records import EMOTIONS, NOTICE, DoubleArray, Moment, Outcome, Report, top_emotion
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_COLORS,
    EMOTION_WORDS,
    INK,
    NOT_COMPARED,
    OUTCOME_COLORS,
    SOFT_INK,
    conflict_zones,
    ink_on,
    summarize_in_words,
)
from facevoice.texts import clock, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_SIZE_IN: Final = (10.0, 5.6)
_LETTERS_PER_IN: Final = 13.0
_LEAST_ZONE: Final = 0.1
_HOUR_S: Final = 3600
_MOST_DOTS: Final = 100
_MOST_IN_A_LINE: Final = 8
_MOMENT_SIZE_PT: Final = 7.5
# Of a letter, as a share of the size.
_LETTER_WIDTH: Final = 0.5
_POINTS_PER_IN: Final = 72
# What the labels at the sides leave of the width.
_ROW_SHARE: Final = 0.8
# The first sentence; all of it is longer than a picture can carry.
_SHORT_NOTICE: Final = NOTICE.partition(". ")[0] + "."


def plot_report(report: Report, figure: Figure | SubFigure | None = None) -> Figure:
    """Outcomes with their moments; the likeliest emotions of face, voice and both; conflict.

    Emotions are as high as they are probable. The probability of conflict is a line where it
    counts and dotted where a channel shows no emotion; behind it are the zones of what is called.
    What is hatched is not known. Neither pyplot nor anybody's settings are touched.

    Args:
        report: one that failed, or has no window, gives its sentence only.
        figure: where to draw, at best 8 inches wide or more; None for a new one, 10 inches wide,
            which no window shows and which needs no closing.

    Returns:
        The figure that was drawn on, the whole one if `figure` is a part.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    target: Any = _new_figure() if figure is None else figure
    root: Figure = target if figure is None else figure.figure
    if root.get_layout_engine() is None:
        root.set_layout_engine("constrained")
    target.set_facecolor("white")
    width = int(target.bbox.width / target.dpi * _LETTERS_PER_IN)
    name = _one_line(PurePath(report.path).name)
    title = name if len(name) <= width else f"{name[: width - 1]}…"
    words = textwrap.fill(_one_line(summarize_in_words(report)), width)
    target.suptitle(f"{title}\n{words}", x=0.01, ha="left", size=10, color=INK, parse_math=False)
    target.supxlabel(_SHORT_NOTICE, x=0.01, ha="left", size=7.5, color=SOFT_INK)
    if report.windows:
        _draw(target, report)
    return root


def _draw(target: Any, report: Report) -> None:
    end_s = max(report.windows[-1].end_s, 0.0 if report.media is None else report.media.duration_s)
    spans = shown_spans(report.windows, end_s)
    edges_s = np.array([spans[0][0], *(end for _, end in spans)])
    heights = (0.4, 1, 1, 1, 1.7)
    rows = target.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    _draw_outcomes(rows[0], report, edges_s, end_s)
    for axes, (channel, label) in zip(rows[1:], CHANNEL_WORDS.items(), strict=False):
        posteriors = [getattr(window, channel) for window in report.windows]
        tops = [None if p is None else top_emotion(p) for p in posteriors]
        _hatch(axes, edges_s, [top is None for top in tops])
        for emotion in EMOTIONS:
            values = [top[1] if top is not None and top[0] is emotion else np.nan for top in tops]
            _fill(
                axes, edges_s, values, color=EMOTION_COLORS[emotion], label=EMOTION_WORDS[emotion]
            )
        _name(axes, label)
    _draw_conflict(rows[-1], report, edges_s)
    for axes in rows:
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 1], ["0%", "100%"])
        axes.tick_params(labelsize=8, labelcolor=SOFT_INK, color=SOFT_INK)
        for side in axes.spines.values():
            side.set(color=SOFT_INK, linewidth=0.5)
    rows[0].set_yticks([])
    target.align_ylabels(rows)
    rows[-1].set_xlim(0, max(end_s, 1e-3))
    rows[-1].xaxis.set_major_formatter(_time)
    rows[-1].xaxis.get_major_locator().set_params(steps=[1, 1.5, 3, 6, 10], integer=True)
    rows[-1].set_xlabel(_time_label(end_s), size=8, color=SOFT_INK)
    handles = [h for axes in rows for h in axes.get_legend_handles_labels()[0]]
    unique = {handle.get_label(): handle for handle in handles}
    named = [unique[name] for name in (*Outcome, *EMOTION_WORDS.values()) if name in unique]
    rows[-1].legend(
        handles=named,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.28),
        ncols=len(named) if len(named) <= _MOST_IN_A_LINE else -(-len(named) // 2),
        **{"fontsize": 8, "frameon": False, "labelcolor": INK},
    )


def _draw_outcomes(axes: Any, report: Report, edges_s: DoubleArray, end_s: float) -> None:
    for outcome, color in OUTCOME_COLORS.items():
        values = [1.0 if window.outcome is outcome else np.nan for window in report.windows]
        _fill(axes, edges_s, values, color=color, label=outcome.value)
    _name(axes, "Outcome")
    figure = axes.get_figure(root=False)
    width_pt = figure.bbox.width / figure.dpi * _POINTS_PER_IN * _ROW_SHARE
    letter_s = _MOMENT_SIZE_PT * _LETTER_WIDTH * end_s / width_pt
    for moment in report.moments:
        words = next((w for w in _names(moment) if len(w) * letter_s < _seconds(moment)), None)
        if words is not None:
            place, ink = (moment.start_s + moment.end_s) / 2, ink_on(OUTCOME_COLORS[moment.outcome])
            style = {"ha": "center", "va": "center", "size": _MOMENT_SIZE_PT, "color": ink}
            axes.text(place, 0.5, words, **style)


def _names(moment: Moment) -> list[str]:
    """What a moment may be called, the longest first."""
    shown = [EMOTION_WORDS[e] for e in (moment.face, moment.voice) if e is not None]
    pair = f"{moment.outcome.value}: {' / '.join(shown)}"
    return [*([pair] if len(shown) > 1 else []), moment.outcome.value]


def _seconds(moment: Moment) -> float:
    return moment.end_s - moment.start_s


def _draw_conflict(axes: Any, report: Report, edges_s: DoubleArray) -> None:
    windows = report.windows
    conflict = np.array([np.nan if w.conflict is None else w.conflict for w in windows])
    counts = np.array([w.outcome not in NOT_COMPARED for w in windows])
    zones = [] if report.point is None else conflict_zones(report.point)
    for low, high, words, color in zones:
        axes.axhspan(low, high, color=color, alpha=0.18, linewidth=0)
        place, style = (1.01, (low + high) / 2), {"va": "center", "size": 8, "color": SOFT_INK}
        if high - low > _LEAST_ZONE:
            axes.text(*place, words, transform=axes.transAxes, **style)
    _hatch(axes, edges_s, np.isnan(conflict).tolist())
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2
    is_dense = len(conflict) > _MOST_DOTS
    style = {"linewidth": 0.3} if is_dense else {"linewidth": 1.2, "marker": "o", "markersize": 3}
    axes.plot(middles_s, conflict, color=SOFT_INK, linewidth=0.6, linestyle=":")
    axes.plot(middles_s, np.where(counts, conflict, np.nan), color=INK, **style)
    _name(axes, "Probability\nof conflict")


def _name(axes: Any, label: str) -> None:
    axes.set_ylabel(label, rotation=0, ha="right", va="center", color=INK)


def _time_label(end_s: float) -> str:
    return "time (min:s)" if end_s < _HOUR_S else "time (h:min:s)"


def _fill(axes: Any, edges_s: DoubleArray, values: list[float], **style: Any) -> None:
    if not np.isnan(values).all():
        axes.stairs(values, edges_s, fill=True, **style)


def _hatch(axes: Any, edges_s: DoubleArray, unknown: list[bool]) -> None:
    """Diagonal lines: nothing is known here."""
    values = [1.0 if is_unknown else np.nan for is_unknown in unknown]
    style = {"facecolor": "#F7F8F9", "edgecolor": "#CBD1D6", "hatch": "////", "linewidth": 0}
    _fill(axes, edges_s, values, **style)


def _time(seconds: float, _place: int) -> str:
    return clock(seconds)  # No lambda: figures are pickled.


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))


def _new_figure() -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plotting a report", "plot") from error
    figure: Any = Figure(figsize=_SIZE_IN, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(_to_png, figure)
    return figure


def _to_png(figure: Any) -> bytes:
    """What a notebook shows, also where no pyplot told it how to show figures."""
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=100)
    return target.getvalue()
