"""Runs side by side: the same figures on the items that all have, and how far apart they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from facevoice.corpora.pairs import PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import (
    Figure,
    Gap,
    Measure,
    Refused,
    Speakers,
    Statistic,
    figure,
    paired_gap,
)
from facevoice.evaluation.metrics import IntArray
from facevoice.evaluation.predictions import (
    TRUTH_COLUMNS,
    Channel,
    Run,
    RunInfo,
    Target,
    has_answer,
)
from facevoice.evaluation.score import (
    answers_of,
    conflict_measures,
    emotion_cells,
    emotion_measures,
    of_kind,
    rows_with_truth,
)

if TYPE_CHECKING:
    from pandas import DataFrame

COMPARISON_FORMAT: Final = "facevoice-comparison/1"


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
    for name in ("emotion_target", "conflict_target"):
        found = {getattr(run.info, name): run.info.name for run in runs}
        found.pop(None, None)
        if len(found) > 1:
            said = "; ".join(f"{run} has {target}" for target, run in found.items())
            raise EvaluationError(
                f"{name} differs ({said}): these are different questions, so their figures can't "
                "be set against each other"
            )
    infos = tuple(run.info for run in runs)
    cells = (*_emotion_cells(runs, num_resamples), *_conflict_cells(runs, num_resamples))
    if not cells:
        raise EvaluationError(
            "the runs have nothing in common: no corpus, target and channel (or pairs) of which "
            f"all of {', '.join(info.name for info in infos)} have the same items"
        )
    return Comparison(infos, num_resamples, cells)


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


def _emotion_cells(runs: Sequence[Run], num_resamples: int) -> Iterator[ComparedCell]:
    tables = [run.emotions for run in runs if run.emotions is not None]
    if len(tables) < len(runs):
        return
    headline = runs[0].info.emotion_target
    shared = set.intersection(*(set(emotion_cells(table)) for table in tables))
    ordered = [cell for cell in emotion_cells(tables[0]) if cell in shared]
    # A stable sort: within a corpus the headline target first, all else in the order of scores.
    ordered.sort(key=lambda cell: (cell[2], cell[1] is not headline))
    for channel, target, corpus in ordered:
        parts = [rows_with_truth(table, target, corpus) for table in tables]
        parts = [part[has_answer(part, channel)] for part in parts]
        joined = _join(parts, "clip_id", TRUTH_COLUMNS[target], runs)
        if len(joined[0]):
            measures = [_emotion_measures(table, channel, target) for table in joined]
            yield _cell(runs, corpus, target, channel, parts, joined, measures, num_resamples)


def _conflict_cells(runs: Sequence[Run], num_resamples: int) -> Iterator[ComparedCell]:
    tables = [run.conflicts for run in runs if run.conflicts is not None]
    target = runs[0].info.conflict_target
    if len(tables) < len(runs) or target is None:
        return
    pairs = [of_kind(table, PairKind.MATCH, PairKind.CONFLICT) for table in tables]
    probable = all(run.info.score_is_probability for run in runs)
    for corpus in sorted(set.intersection(*(set(table["corpus"]) for table in pairs))):
        parts = [table[table["corpus"] == corpus] for table in pairs]
        joined = _join(parts, "item_id", "kind", runs)
        if len(joined[0]):
            measures = [conflict_measures(table, is_probability=probable) for table in joined]
            yield _cell(runs, corpus, target, None, parts, joined, measures, num_resamples)


def _emotion_measures(table: DataFrame, channel: Channel, target: Target) -> dict[str, Measure]:
    """The measures, or such that say why there are none."""
    try:
        answers = answers_of(table, channel, target)
    except EvaluationError as error:
        reason = str(error)

        def refuse(_index: IntArray, _size: int) -> Statistic:
            raise EvaluationError(reason)

        return dict.fromkeys(("UAR", "WAR", "macro-F1"), refuse)
    return emotion_measures(answers.truth, answers.said)


def _join(parts: Sequence[DataFrame], key: str, truth: str, runs: Sequence[Run]) -> list[DataFrame]:
    """The rows that all runs have, in one order.

    Raises:
        EvaluationError: runs contradict each other on the speaker or the truth of a row.
    """
    common = sorted(set.intersection(*(set(part[key]) for part in parts)))
    joined = [part.set_index(key).loc[common].reset_index() for part in parts]
    for run, table in zip(runs, joined, strict=True):
        for name, column in (("speaker", "speaker"), ("truth", truth)):
            mine, first = table[column].to_numpy(), joined[0][column].to_numpy()
            differs = mine != first
            if differs.any():
                raise EvaluationError(
                    f"{runs[0].info.name} and {run.info.name} contradict each other: the {name} of "
                    f"{common[int(differs.argmax())]!r} (and of {int(differs.sum()) - 1} others) "
                    "is not the same; predict both from one manifest"
                )
    return joined


def _cell(
    runs: Sequence[Run],
    corpus: str,
    target: Target,
    channel: Channel | None,
    parts: Sequence[DataFrame],
    joined: Sequence[DataFrame],
    measures: Sequence[dict[str, Measure]],
    num_resamples: int,
) -> ComparedCell:
    speakers = joined[0]["speaker"]
    return ComparedCell(
        corpus=corpus,
        target=target,
        channel=channel,
        num_common=len(joined[0]),
        num_items=tuple(len(part) for part in parts),
        num_speakers=speakers.nunique(),
        contaminated=tuple(run.info.seen_by(corpus) for run in runs),
        figures=tuple(
            _compare(name, [each[name] for each in measures], speakers.to_numpy(), num_resamples)
            for name in measures[0]
        ),
    )


def _compare(
    name: str, measures: Sequence[Measure], speakers: Speakers, num_resamples: int
) -> ComparedFigure:
    differences = tuple(
        paired_gap(each, measures[0], speakers, num_resamples) for each in measures[1:]
    )
    found = [each.p_value if isinstance(each, Gap) else None for each in differences]
    return ComparedFigure(
        name=name,
        higher_is_better=name != "Brier score",
        values=tuple(figure(each, speakers, num_resamples) for each in measures),
        differences=differences,
        adjusted_p=adjust_holm(found),
    )
