"""Pictures as SVG text that can stand in a page: no outside references, ids of their own.

Colours are Okabe & Ito's, which colour-blind people tell apart; no picture rests on colour alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from facevoice.errors import EvaluationError, MissingExtraError
from facevoice.evaluation.figures import Curve, Reliability

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
INK: Final = "#24313a"
QUIET: Final = "#8a979f"
_SIZE_IN: Final = (4.2, 3.6)
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # letters stay letters: small, selectable, read out
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def confusion_chart(name: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Share of each true class (row) that was answered with each class (column)."""
    shares = confusion_shares(counts)
    side = 2.2 + 0.36 * len(classes)
    with _canvas(name, (side + 0.5, side)) as canvas:
        axes = canvas.axes
        squares = {"cmap": "Blues", "vmin": 0, "vmax": 1, "edgecolors": "white", "linewidth": 1}
        places = np.arange(len(classes))
        axes.pcolormesh(places, places, np.nan_to_num(shares), **squares)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            text = "–" if np.isnan(share) else f"{100 * share:.0f}"
            shade = "white" if share > 0.7 else INK
            weight = "bold" if row == column else "normal"
            axes.text(column, row, text, ha="center", va="center", color=shade, weight=weight)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_xticks(places, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, classes)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")
    return canvas.svg


def roc_chart(name: str, curve: Curve) -> str:
    """True against false positive rate."""
    with _canvas(name) as canvas:
        canvas.axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        canvas.axes.plot(curve.x, curve.y, color=BLUE, linewidth=2)
        _unit_square(canvas.axes, "matches called conflict", "conflicts found")
    return canvas.svg


def reliability_chart(name: str, points: Reliability, xlabel: str, ylabel: str) -> str:
    """Probability given against share that came true; larger dots hold more items."""
    counts = np.asarray(points.counts, dtype=np.float64)
    with _canvas(name) as canvas:
        axes = canvas.axes
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
        axes.plot(points.confidences, points.accuracies, color=BLUE, linewidth=1)
        sizes = 15 + 150 * counts / counts.max()
        dots = {"s": sizes, "color": BLUE, "alpha": 0.8, "clip_on": False}
        axes.scatter(points.confidences, points.accuracies, **dots)
        _unit_square(axes, xlabel, ylabel)
    return canvas.svg


def risk_chart(name: str, curve: Curve, coverage: float, risk: float) -> str:
    """Share of wrong calls among the surest, up to all; a mark at `coverage`."""
    with _canvas(name) as canvas:
        axes = canvas.axes
        axes.plot(curve.x, curve.y, color=BLUE, linewidth=2)
        axes.plot([coverage], [risk], "o", color=ORANGE)
        axes.annotate(
            f"{100 * risk:.1f} % at {100 * coverage:.0f} %",
            (coverage, risk),
            xytext=(-4, 10),
            textcoords="offset points",
            ha="right",
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, max(0.05, 1.15 * max(curve.y)))
        axes.set_xlabel("share of pairs answered, surest first")
        axes.set_ylabel("share of wrong calls")
    return canvas.svg


def forest_chart(
    name: str,
    labels: Sequence[str],
    points: Sequence[tuple[float, float, float]],
    xlabel: str,
    reference: float | None = None,
) -> str:
    """Figures (value, low, high) under each other, with a line to hold them against."""
    with _canvas(name, (5.2, 0.9 + 0.34 * len(labels))) as canvas:
        axes = canvas.axes
        if reference is not None:
            axes.axvline(reference, color=QUIET, linewidth=1, linestyle="--")
        for place, (value, low, high) in enumerate(points):
            axes.plot([low, high], [place, place], color=BLUE, linewidth=2)
            axes.plot([value], [place], "o", color=BLUE, markersize=6)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#e3e8eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(xlabel)
    return canvas.svg


def confusion_shares(counts: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows (K, K) that sum to 1; NaN where a class is never true."""
    table = np.asarray(counts, dtype=np.float64)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.full_like(table, np.nan)
    np.divide(table, totals, out=shares, where=totals > 0)
    return shares


def _unit_square(axes: Any, xlabel: str, ylabel: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)


@dataclass(slots=True)
class _Canvas:
    """Where to draw; `svg` has the text once the canvas is closed."""

    axes: Any
    svg: str = ""


@contextmanager
def _canvas(name: str, size_in: tuple[float, float] = _SIZE_IN) -> Iterator[_Canvas]:
    """A figure of its own: no state of matplotlib outlives it."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a results page", "data") from error
    except ValueError as error:
        # A notebook's environment names a backend that another environment does not have.
        raise EvaluationError(f"matplotlib: {error}; set MPLBACKEND=agg") from error
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size_in, layout="constrained")
        canvas = _Canvas(figure.add_subplot())
        yield canvas
        target = io.StringIO()
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
        canvas.svg = _inline(target.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """An SVG document as an element of a page: no header, no metadata, ids of its own."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\sid="', f' id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1).strip()
