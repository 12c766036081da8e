"""An agreement in words and cells, the same on the screen and on the page."""

from __future__ import annotations

from typing import Final

from facevoice.agreement.compare import Among, Comparison
from facevoice.agreement.figures import LEAST_CLUSTERS, LEVEL, NUM_RESAMPLES
from facevoice.report import count_noun
from facevoice.texts import shown

FIGURES: Final = ("compared", "same", "kappa", "range", "alpha")
"""Heads of the columns of `figure_cells`."""

MEANING: Final = (
    "Kappa (Cohen) and alpha (Krippendorff) are 1 where all labels are the same, and 0 where they "
    f"are the same as often as by chance. The range is that of kappa in the middle {LEVEL:.0%} of "
    f"{NUM_RESAMPLES:,} draws of the stretches that people marked; there is none for fewer than "
    f"{LEAST_CLUSTERS} stretches."
)


def figure_cells(one: Comparison) -> tuple[str, ...]:
    """The figures of a comparison, a cell each."""
    return (
        f"{one.num_units:,}",
        "–" if one.agreed is None else f"{one.agreed:.0%}",
        _figure(one.kappa),
        "" if one.low is None or one.high is None else f"{one.low:.2f}–{one.high:.2f}",
        _figure(one.alpha),
    )


def describe(one: Comparison) -> str:
    """What a comparison says, in a sentence or two."""
    if not one.num_units:
        return f"Nothing to compare: no {one.unit} is both marked and read."
    words = f"The same label on {one.agreed:.0%} of {count_noun(one.num_units, one.unit)}."
    worst = max(
        (
            (one.counts[r][c], one.labels[r], one.labels[c])
            for r in range(len(one.labels))
            for c in range(len(one.labels))
            if r != c
        ),
        default=(0, "", ""),
    )
    if worst[0]:
        words += f" Most often apart: people say {worst[1]}, facevoice {worst[2]} ({worst[0]}×)."
    if one.kappa is None:
        words += " All labels are one and the same, so kappa isn't defined."
    elif one.low is None:
        words += f" No range: fewer than {LEAST_CLUSTERS} stretches are marked."
    return words


def describe_among(one: Among) -> str:
    """How far people agree with each other, and with the report as one more of them."""
    pairs = "; ".join(f"{shown(a)} and {shown(b)} kappa {_figure(k)}" for a, b, k in one.kappas)
    return (
        f"alpha {_figure(one.alpha)} over {count_noun(one.num_units, 'window')}, "
        f"{_figure(one.alpha_with_report)} with facevoice as one more; {pairs}."
    )


def _figure(value: float | None) -> str:
    """Kappa or alpha with two digits; a dash where it isn't defined."""
    return "–" if value is None else f"{value:.2f}"
