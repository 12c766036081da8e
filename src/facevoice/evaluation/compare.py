"""One figure of several runs on the same items, with the difference of each to the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from facevoice.corpora.pairs import PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.bootstrap import (
    Figure,
    Gap,
    Refused,
    Resampler,
    Statistic,
    auroc_statistic,
    balanced_accuracy_statistic,
    figure_with_interval,
    gap,
    macro_f1_statistic,
    make_resampler,
    mean_statistic,
    uar_statistic,
)
from facevoice.evaluation.metrics import IntArray
from facevoice.evaluation.predictions import (
    UNKNOWN,
    Channel,
    ConflictPredictions,
    EmotionPredictions,
    Run,
    RunInfo,
    Target,
    TextArray,
    answers_of,
    find_contamination,
)
from facevoice.evaluation.score import emotion_cells, threshold_calls
from facevoice.records import BoolArray, DoubleArray


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


# Runs side by side: the same figures on the items that all have, and how far apart they are.


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """One target on one corpus (of one channel, for emotions), on the items that all runs have.

    num_common: those; num_items: how many each run has; contaminated: for each run, the backbones
    that were trained on the corpus.
    """

    corpus: str
    target: Target
    channel: Channel | None
    num_common: int
    num_items: tuple[int, ...]
    num_speakers: int
    contaminated: tuple[tuple[str, ...], ...]
    figures: tuple[ComparedFigure, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every cell that all runs have; differences are those of each run to the first."""

    infos: tuple[RunInfo, ...]
    num_resamples: int
    cells: tuple[ComparedCell, ...]


def compare_runs(runs: Sequence[Run], *, num_resamples: int = 2000) -> Comparison:
    """Compare runs by a paired bootstrap over speakers on common items.

    Raises:
        EvaluationError: fewer than two runs, targets that differ, nothing in common, or runs that
            contradict each other on a truth or a speaker.
    """
    if len(runs) < 2:
        raise EvaluationError("it takes at least two runs to compare")
    _check_targets(runs)
    cells = (*_emotion_cells(runs, num_resamples), *_conflict_cells(runs, num_resamples))
    if not cells:
        raise EvaluationError(
            "the runs have nothing in common: no corpus, target and channel (or pairs) of which "
            f"all of {', '.join(run.info.name for run in runs)} have the same items"
        )
    return Comparison(tuple(run.info for run in runs), num_resamples, cells)


def _check_targets(runs: Sequence[Run]) -> None:
    for name in ("emotion_target", "conflict_target"):
        found = {getattr(run.info, name): run.info.name for run in runs}
        found.pop(None, None)
        if len(found) > 1:
            said = "; ".join(f"{run} has {target}" for target, run in found.items())
            raise EvaluationError(
                f"{name} differs ({said}): these are different questions, so their figures can't "
                "be set against each other"
            )


def _emotion_cells(runs: Sequence[Run], num_resamples: int) -> tuple[ComparedCell, ...]:
    tables = [run.emotions for run in runs if run.emotions is not None]
    if len(tables) < len(runs):
        return ()
    shared = set(emotion_cells(tables[0]))
    for table in tables[1:]:
        shared &= set(emotion_cells(table))
    headline = runs[0].info.emotion_target
    cells = []
    # A stable sort: within a corpus the headline target first, all else in the order of scores.
    ordered = [cell for cell in emotion_cells(tables[0]) if cell in shared]
    for channel, target, corpus in sorted(
        ordered, key=lambda cell: (cell[2], cell[1] is not headline)
    ):
        usable = [_usable(table, channel, target, corpus) for table in tables]
        rows = _join([table.clip_id for table in usable])
        if len(rows[0]) == 0:
            continue
        joined = [table.take(places) for table, places in zip(usable, rows, strict=True)]
        _check_same(
            joined[0].clip_id,
            [(table.speaker, table.truth(target)) for table in joined],
            runs,
        )
        cells.append(
            ComparedCell(
                corpus=corpus,
                target=target,
                channel=channel,
                num_common=len(rows[0]),
                num_items=tuple(len(table) for table in usable),
                num_speakers=_num_speakers(joined[0].speaker),
                contaminated=_contaminated(runs, corpus),
                figures=compare_emotion_figures(joined, channel, target, num_resamples),
            )
        )
    return tuple(cells)


def _conflict_cells(runs: Sequence[Run], num_resamples: int) -> tuple[ComparedCell, ...]:
    tables = [run.conflicts for run in runs if run.conflicts is not None]
    target = runs[0].info.conflict_target
    if len(tables) < len(runs) or target is None:
        return ()
    pairs = [table.of_kind(PairKind.MATCH, PairKind.CONFLICT) for table in tables]
    probable = all(run.info.score_is_probability for run in runs)
    cells = []
    for corpus in sorted(set.intersection(*(set(table.corpus) for table in pairs))):
        usable: list[ConflictPredictions] = [table.take(table.corpus == corpus) for table in pairs]
        rows = _join([table.item_id for table in usable])
        if len(rows[0]) == 0:
            continue
        joined = [table.take(places) for table, places in zip(usable, rows, strict=True)]
        _check_same(
            joined[0].item_id, [(table.speaker, table.is_conflict) for table in joined], runs
        )
        cells.append(
            ComparedCell(
                corpus=corpus,
                target=target,
                channel=None,
                num_common=len(rows[0]),
                num_items=tuple(len(table) for table in usable),
                num_speakers=_num_speakers(joined[0].speaker),
                contaminated=_contaminated(runs, corpus),
                figures=compare_conflict_figures(joined, num_resamples, is_probability=probable),
            )
        )
    return tuple(cells)


def _usable(
    table: EmotionPredictions, channel: Channel, target: Target, corpus: str
) -> EmotionPredictions:
    """Clips of the corpus with truth and answer."""
    answered = ~np.isnan(table.posteriors(channel)).all(axis=1)
    return table.take((table.corpus == corpus) & answered & (table.truth(target) != UNKNOWN))


def _join(ids: Sequence[TextArray]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """For each run the places of the common items, in one order."""
    places = [{name: place for place, name in enumerate(column)} for column in ids]
    common = sorted(set.intersection(*(set(index) for index in places)))
    return [np.asarray([index[name] for name in common], dtype=np.int64) for index in places]


def _check_same(
    ids: TextArray,
    columns: Sequence[tuple[TextArray, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]],
    runs: Sequence[Run],
) -> None:
    for run, (speakers, truth) in zip(runs, columns, strict=True):
        for name, mine, first in (
            ("speaker", speakers, columns[0][0]),
            ("truth", truth, columns[0][1]),
        ):
            differs = np.asarray(mine != first)
            if differs.any():
                item = ids[int(np.argmax(differs))]
                raise EvaluationError(
                    f"{runs[0].info.name} and {run.info.name} contradict each other: the {name} of "
                    f"{item!r} (and of {int(differs.sum()) - 1} others) is not the same; predict "
                    "both from one manifest"
                )


def _contaminated(runs: Sequence[Run], corpus: str) -> tuple[tuple[str, ...], ...]:
    return tuple(find_contamination(run.info, corpus).backbones for run in runs)


def _num_speakers(speakers: TextArray) -> int:
    return len({name for name in speakers if name is not None})
