"""Runs side by side: the same figures on the items that all have, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facevoice.data.pairs import PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.columns import UNKNOWN, TextArray
from facevoice.evaluation.compare_figures import (
    ComparedFigure,
    compare_conflict_figures,
    compare_emotion_figures,
)
from facevoice.evaluation.contamination import find_contamination
from facevoice.evaluation.emotion_scores import emotion_cells
from facevoice.evaluation.predictions import (
    Channel,
    ConflictPredictions,
    EmotionPredictions,
    Run,
    RunInfo,
    Target,
)


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
