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
from facevoice.records import EMOTIONS, NOTICE, DoubleArray, Outcome, Report, top_emotion
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_COLORS,
    INK,
    OUTCOME_COLORS,
    SOFT_INK,
    conflict_zones,
    summarize_in_words,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_SIZE_IN: Final = (10.0, 5.2)
_LETTERS_PER_IN: Final = 13.0
_LEAST_ZONE: Final = 0.1
_MOST_DOTS: Final = 100
# The first sentence; all of it is longer than a picture can carry.
_SHORT_NOTICE: Final = NOTICE.partition(". ")[0] + "."


def plot_report(report: Report, figure: Figure | SubFigure | None = None) -> Figure:
    """The likeliest emotions of face, voice and both, as high as they are probable, and conflict.

    Behind the probability of conflict stand the outcomes' colours. What is hatched is not known.
    Neither pyplot nor anybody's settings are touched.

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
    rows = target.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": (1, 1, 1, 2)})
    for axes, (channel, label) in zip(rows, CHANNEL_WORDS.items(), strict=False):
        posteriors = [getattr(window, channel) for window in report.windows]
        tops = [None if p is None else top_emotion(p) for p in posteriors]
        _hatch(axes, edges_s, [top is None for top in tops])
        for emotion in EMOTIONS:
            values = [top[1] if top is not None and top[0] is emotion else np.nan for top in tops]
            _fill(axes, edges_s, values, color=EMOTION_COLORS[emotion], label=emotion.value)
        axes.set_ylabel(label, rotation=0, ha="right", va="center", color=INK)
        axes.set_ylim(0, 1)
    _draw_conflict(rows[3], report, edges_s)
    for axes in rows:
        axes.set_yticks([0, 1], ["0%", "100%"])
        axes.tick_params(labelsize=8, labelcolor=SOFT_INK, color=SOFT_INK)
        for side in axes.spines.values():
            side.set(color=SOFT_INK, linewidth=0.5)
    rows[3].set_xlim(0, max(end_s, 1e-3))
    rows[3].xaxis.set_major_formatter(_clock)
    rows[3].xaxis.get_major_locator().set_params(steps=[1, 1.5, 3, 6, 10], integer=True)
    handles = [h for axes in rows for h in axes.get_legend_handles_labels()[0]]
    unique = {handle.get_label(): handle for handle in handles}
    rows[3].legend(
        handles=[unique[name] for name in (*EMOTIONS, *Outcome) if name in unique],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        ncols=6,
        **{"fontsize": 8, "frameon": False, "labelcolor": INK},
    )


def _draw_conflict(axes: Any, report: Report, edges_s: DoubleArray) -> None:
    conflict = np.array([np.nan if w.conflict is None else w.conflict for w in report.windows])
    for outcome, color in OUTCOME_COLORS.items():
        values = [1.0 if window.outcome is outcome else np.nan for window in report.windows]
        _fill(axes, edges_s, values, color=color, label=outcome.value, alpha=0.35)
    _hatch(axes, edges_s, np.isnan(conflict).tolist())
    if report.point is not None:
        zones = conflict_zones(report.point)
        for low, high, words, _ in zones:
            place, style = (1.01, (low + high) / 2), {"va": "center", "size": 8, "color": SOFT_INK}
            if high - low > _LEAST_ZONE:
                axes.text(*place, words, transform=axes.transAxes, **style)
        for value, color in ((zones[0][1], zones[0][3]), (zones[-1][0], zones[-1][3])):
            axes.axhline(value, color=color, linewidth=1)
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2
    is_dense = len(conflict) > _MOST_DOTS
    style = {"linewidth": 0.3} if is_dense else {"linewidth": 1.2, "marker": "o", "markersize": 3}
    axes.plot(middles_s, conflict, color=INK, **style)
    axes.set_ylabel("Probability\nof conflict", rotation=0, ha="right", va="center", color=INK)
    axes.set_ylim(0, 1)


def _fill(axes: Any, edges_s: DoubleArray, values: list[float], **style: Any) -> None:
    if not np.isnan(values).all():
        axes.stairs(values, edges_s, fill=True, **style)


def _hatch(axes: Any, edges_s: DoubleArray, unknown: list[bool]) -> None:
    """Diagonal lines: nothing is known here."""
    values = [1.0 if is_unknown else np.nan for is_unknown in unknown]
    style = {"facecolor": "#F7F8F9", "edgecolor": "#CBD1D6", "hatch": "////", "linewidth": 0}
    _fill(axes, edges_s, values, **style)


def _clock(seconds: float, _place: int) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _one_line(text: str) -> str:
    """Without line breaks and half characters, which file names may hold."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


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
