"""Runs side by side: the same figures on the items that all have, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from facevoice.corpora.pairs import PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import (
    Figure,
    Gap,
    Measure,
    Refused,
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
_Key = tuple[str, Target, Channel | None]
"""Corpus, target, and the channel of emotions (None for pairs)."""


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
    tables = [_tables(run) for run in runs]
    headline = runs[0].info.emotion_target
    # A stable sort: emotions first, by corpus, the headline target leading; else as scores have it.
    keys = sorted(tables[0], key=lambda key: (key[2] is None, key[0], key[1] is not headline))
    found_cells = [
        _compare_cell(key, [each[key] for each in tables], runs, num_resamples)
        for key in keys
        if all(key in each for each in tables)
    ]
    cells = tuple(cell for cell in found_cells if cell is not None)
    if not cells:
        raise EvaluationError(
            "the runs have nothing in common: no corpus, target and channel (or pairs) of which "
            f"all of {', '.join(run.info.name for run in runs)} have the same items"
        )
    return Comparison(tuple(run.info for run in runs), num_resamples, cells)


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


def _tables(run: Run) -> dict[_Key, DataFrame]:
    """What can be scored of a run: clips with truth and answer, and pairs but for the originals."""
    tables: dict[_Key, DataFrame] = {}
    if run.emotions is not None:
        for channel, target, corpus in emotion_cells(run.emotions):
            rows = rows_with_truth(run.emotions, target, corpus)
            tables[corpus, target, channel] = rows[has_answer(rows, channel)]
    if run.conflicts is not None and run.info.conflict_target is not None:
        pairs = of_kind(run.conflicts, PairKind.MATCH, PairKind.CONFLICT)
        for corpus, rows in pairs.groupby("corpus"):
            tables[str(corpus), run.info.conflict_target, None] = rows
    return tables


def _compare_cell(
    key: _Key, parts: Sequence[DataFrame], runs: Sequence[Run], num_resamples: int
) -> ComparedCell | None:
    corpus, target, channel = key
    joined = _join(parts, key, runs)
    if not len(joined[0]):
        return None
    if channel is None:
        probable = all(run.info.score_is_probability for run in runs)
        measures = [conflict_measures(table, is_probability=probable) for table in joined]
    else:
        measures = [_emotion_measures(table, channel, target) for table in joined]
    speakers = joined[0]["speaker"]
    return ComparedCell(
        corpus=corpus,
        target=target,
        channel=channel,
        num_common=len(speakers),
        num_items=tuple(len(part) for part in parts),
        num_speakers=speakers.nunique(),
        contaminated=tuple(run.info.seen_by(corpus) for run in runs),
        figures=tuple(
            _compare_figure(name, [each[name] for each in measures], speakers, num_resamples)
            for name in measures[0]
        ),
    )


def _join(parts: Sequence[DataFrame], key: _Key, runs: Sequence[Run]) -> list[DataFrame]:
    """The rows that all runs have, in one order.

    Raises:
        EvaluationError: runs contradict each other on the speaker or the truth of a row.
    """
    is_pairs = key[2] is None
    name, truth = ("item_id", "kind") if is_pairs else ("clip_id", TRUTH_COLUMNS[key[1]])
    common = sorted(set.intersection(*(set(part[name]) for part in parts)))
    joined = [part.set_index(name).loc[common].reset_index() for part in parts]
    for run, table in zip(runs, joined, strict=True):
        for word, column in (("speaker", "speaker"), ("truth", truth)):
            differs = table[column].to_numpy() != joined[0][column].to_numpy()
            if differs.any():
                raise EvaluationError(
                    f"{runs[0].info.name} and {run.info.name} contradict each other: the {word} of "
                    f"{common[int(differs.argmax())]!r} (and of {int(differs.sum()) - 1} others) "
                    "is not the same; predict both from one manifest"
                )
    return joined


def _emotion_measures(table: DataFrame, channel: Channel, target: Target) -> dict[str, Measure]:
    """The measures, or such that say why there are none."""
    try:
        answers = answers_of(table, channel, target)
    except EvaluationError as error:
        reason = str(error)

        def refuse(_index: IntArray, _size: int) -> Statistic:
            raise EvaluationError(reason)

        return dict.fromkeys(("UAR", "WAR", "macro-F1", "weighted F1"), refuse)
    return emotion_measures(answers.truth, answers.said)


def _compare_figure(
    name: str, measures: Sequence[Measure], speakers: Any, num_resamples: int
) -> ComparedFigure:
    names = speakers.to_numpy()
    gaps = tuple(paired_gap(each, measures[0], names, num_resamples) for each in measures[1:])
    return ComparedFigure(
        name=name,
        higher_is_better=name != "Brier score",
        values=tuple(figure(each, names, num_resamples) for each in measures),
        differences=gaps,
        adjusted_p=adjust_holm([gap.p_value if isinstance(gap, Gap) else None for gap in gaps]),
    )
