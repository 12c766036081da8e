"""One figure of several runs on the same items, with the difference of each to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.answers import answers_of
from facevoice.evaluation.checks import IntArray
from facevoice.evaluation.columns import TextArray
from facevoice.evaluation.conflict_figures import threshold_calls
from facevoice.evaluation.figures import (
    Figure,
    Gap,
    Refused,
    figure_with_interval,
    gap,
    make_resampler,
)
from facevoice.evaluation.resampling import (
    Resampler,
    Statistic,
    auroc_statistic,
    balanced_accuracy_statistic,
    macro_f1_statistic,
    mean_statistic,
    uar_statistic,
)
from facevoice.evaluation.run_info import Channel, Target
from facevoice.evaluation.tables import ConflictPredictions, EmotionPredictions
from facevoice.types import BoolArray, DoubleArray


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """A figure of each run, and of each run but the first its difference to the first.

    adjusted_p: the differences' p-values after Holm (1979), over the runs that are compared with
    the first on this figure; None where there is no difference.
    """

    name: str
    higher_is_better: bool
    values: tuple[Figure | Refused, ...]
    differences: tuple[Gap | Refused, ...]
    adjusted_p: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Measure:
    """A figure of one run, and the same on resamples."""

    compute: Callable[[], float]
    statistic: Callable[[Resampler], Statistic]


def compare_emotion_figures(
    tables: Sequence[EmotionPredictions], channel: Channel, target: Target, num_resamples: int
) -> tuple[ComparedFigure, ...]:
    """UAR, WAR and macro-F1 of tables that have the same clips in the same order."""
    try:
        answers = [answers_of(table, channel, target) for table in tables]
    except EvaluationError as error:
        refused = Refused(str(error))
        return tuple(_refused(name, refused, len(tables)) for name in ("UAR", "WAR", "macro-F1"))
    said = [each.said for each in answers]
    truth = answers[0].truth
    measures = {
        "UAR": [_uar(truth, each) for each in said],
        "WAR": [_war(truth, each) for each in said],
        "macro-F1": [_macro_f1(truth, each) for each in said],
    }
    speakers = tables[0].speaker
    return tuple(_compare(name, each, speakers, num_resamples) for name, each in measures.items())


def compare_conflict_figures(
    tables: Sequence[ConflictPredictions], num_resamples: int, *, is_probability: bool
) -> tuple[ComparedFigure, ...]:
    """AUROC, balanced accuracy at the threshold and Brier score of tables of the same pairs."""
    conflict, speakers = tables[0].is_conflict, tables[0].speaker
    ranked = [_auroc(conflict, table.score) for table in tables]
    figures = [_compare("AUROC", ranked, speakers, num_resamples)]
    calls = [threshold_calls(table) for table in tables]
    refused = next((each for each in calls if isinstance(each, Refused)), None)
    if refused is not None:
        figures.append(_refused("balanced accuracy", refused, len(tables)))
    else:
        called = [_balanced(conflict, each) for each in calls if not isinstance(each, Refused)]
        figures.append(_compare("balanced accuracy", called, speakers, num_resamples))
    if is_probability:
        errors = [_brier(conflict, table.score) for table in tables]
        figures.append(
            _compare("Brier score", errors, speakers, num_resamples, higher_is_better=False)
        )
    return tuple(figures)


def adjust_holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """p-values after Holm's step-down, in the same order: max over smaller p of (m − k + 1) p_k.

    Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = highest
    return tuple(adjusted)


def _compare(
    name: str,
    measures: Sequence[_Measure],
    speakers: TextArray,
    num_resamples: int,
    *,
    higher_is_better: bool = True,
) -> ComparedFigure:
    drawn = make_resampler(speakers, num_resamples)
    values = tuple(figure_with_interval(each.compute, drawn, each.statistic) for each in measures)
    differences = tuple(
        _difference(measures[0], each, values[0], value, drawn)
        for each, value in zip(measures[1:], values[1:], strict=True)
    )
    found = [each.p_value if isinstance(each, Gap) else None for each in differences]
    return ComparedFigure(name, higher_is_better, values, differences, adjust_holm(found))


def _difference(
    first: _Measure,
    other: _Measure,
    first_value: Figure | Refused,
    value: Figure | Refused,
    drawn: Resampler | Refused,
) -> Gap | Refused:
    if isinstance(drawn, Refused):
        return drawn
    for each in (first_value, value):
        if isinstance(each, Refused):
            return each
    return gap(other.statistic(drawn), first.statistic(drawn), drawn.weights)


def _refused(name: str, refused: Refused, num_runs: int) -> ComparedFigure:
    return ComparedFigure(
        name, True, (refused,) * num_runs, (refused,) * (num_runs - 1), (None,) * (num_runs - 1)
    )


def _uar(truth: IntArray, said: IntArray) -> _Measure:
    return _Measure(
        lambda: metrics.uar(truth, said),
        lambda r: uar_statistic(truth, said, r.index, r.num_clusters),
    )


def _war(truth: IntArray, said: IntArray) -> _Measure:
    return _Measure(
        lambda: metrics.war(truth, said),
        lambda r: mean_statistic(truth == said, r.index, r.num_clusters),
    )


def _macro_f1(truth: IntArray, said: IntArray) -> _Measure:
    return _Measure(
        lambda: metrics.macro_f1(truth, said),
        lambda r: macro_f1_statistic(truth, said, r.index, r.num_clusters),
    )


def _auroc(conflict: BoolArray, score: DoubleArray) -> _Measure:
    return _Measure(
        lambda: metrics.auroc(conflict, score),
        lambda r: auroc_statistic(conflict, score, r.index, r.num_clusters),
    )


def _balanced(conflict: BoolArray, called: BoolArray) -> _Measure:
    return _Measure(
        lambda: metrics.balanced_accuracy_at(conflict, called, 0.5),
        lambda r: balanced_accuracy_statistic(conflict, called, r.index, r.num_clusters),
    )


def _brier(conflict: BoolArray, score: DoubleArray) -> _Measure:
    return _Measure(
        lambda: metrics.brier(conflict, score),
        lambda r: mean_statistic((score - conflict) ** 2, r.index, r.num_clusters),
    )
