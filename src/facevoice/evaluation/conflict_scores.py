"""Figures of conflict predictions on one corpus: conflicts against matches re-paired alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.data.pairs import PairBin, PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation import metrics
from facevoice.evaluation.audits import AuditResult, audit_originals
from facevoice.evaluation.conflict_figures import (
    Calibration,
    Calls,
    Ranking,
    Selective,
    auroc_figure,
    calibration_of,
    calls_of,
    ranking_of,
    selective_of,
)
from facevoice.evaluation.figures import Figure, Refused
from facevoice.evaluation.resampling import auroc_statistic
from facevoice.evaluation.run_info import RunInfo, Target
from facevoice.evaluation.subgroups import GroupScores, Scorable, score_groups
from facevoice.evaluation.tables import ConflictPredictions

_THIRDS: Final = ("least clear third", "middle third", "clearest third")
_CONFLICT_BINS: Final = (PairBin.NEUTRAL_VS_X, PairBin.SAME_VALENCE, PairBin.OPPOSITE_VALENCE)


@dataclass(frozen=True, slots=True)
class PartScores:
    """Some of the pairs: one bin's conflicts against all matches, or a third by clarity."""

    name: str
    num_conflicts: int
    num_matches: int
    num_speakers: int
    auroc: Figure | Refused


@dataclass(frozen=True, slots=True)
class ConflictScores:
    """All figures of one corpus' pairs. Originals only enter where the name says so.

    contaminated: backbones that were trained on the corpus; then every figure here is void;
    auroc_originals: conflicts against untouched clips. It also rewards a score for noticing that a
    pair was re-paired, so it is not the headline.
    """

    target: Target
    corpus: str
    contaminated: tuple[str, ...]
    num_conflicts: int
    num_matches: int
    num_originals: int
    num_speakers: int
    ranking: Ranking
    auroc_originals: Figure | Refused
    calls: Calls
    calibration: Calibration
    selective: Selective
    bins: tuple[PartScores, ...]
    clarity: tuple[PartScores, ...] | Refused
    audit_originals: AuditResult | Refused
    groups: tuple[GroupScores, ...]


def score_conflicts(
    table: ConflictPredictions,
    info: RunInfo,
    corpus: str,
    *,
    contaminated: tuple[str, ...] = (),
    num_resamples: int = 2000,
) -> ConflictScores:
    """Score the pairs of one corpus.

    Raises:
        EvaluationError: the run has no conflict target, or the corpus no pairs.
    """
    rows = table.take(table.corpus == corpus)
    if info.conflict_target is None or len(rows) == 0:
        raise EvaluationError(f"no conflicts to score on {corpus}: neither pairs nor a target")
    pairs = rows.of_kind(PairKind.MATCH, PairKind.CONFLICT)
    untouched = rows.of_kind(PairKind.ORIGINAL, PairKind.CONFLICT)
    return ConflictScores(
        target=info.conflict_target,
        corpus=corpus,
        contaminated=contaminated,
        num_conflicts=int(rows.is_conflict.sum()),
        num_matches=int((~pairs.is_conflict).sum()),
        num_originals=int((~untouched.is_conflict).sum()),
        num_speakers=_num_speakers(rows),
        ranking=ranking_of(pairs, num_resamples),
        auroc_originals=auroc_figure(untouched, num_resamples),
        calls=calls_of(pairs, num_resamples),
        calibration=calibration_of(pairs, is_probability=info.score_is_probability),
        selective=selective_of(pairs, is_probability=info.score_is_probability),
        bins=_bins(pairs, num_resamples),
        clarity=_clarity(pairs, num_resamples),
        audit_originals=_audit(rows, num_resamples),
        groups=score_groups(_scorable(pairs), num_resamples),
    )


def _bins(pairs: ConflictPredictions, num_resamples: int) -> tuple[PartScores, ...]:
    """Each bin's conflicts against all matches."""
    found = [(name, pairs.is_conflict & (pairs.bin == name.value)) for name in _CONFLICT_BINS]
    return tuple(
        _part(name.value, pairs.take(conflicts | ~pairs.is_conflict), num_resamples)
        for name, conflicts in found
        if conflicts.any()
    )


def _clarity(pairs: ConflictPredictions, num_resamples: int) -> tuple[PartScores, ...] | Refused:
    """Thirds of the pairs by how clear both channels are; ties stay together."""
    known = pairs.take(~np.isnan(pairs.clarity))
    if len(known) == 0:
        return Refused("no pair says how clear its channels are (column clarity)")
    edges = np.quantile(known.clarity, [1 / 3, 2 / 3])
    third = np.searchsorted(edges, known.clarity, side="left")
    return tuple(
        _part(name, known.take(third == place), num_resamples) for place, name in enumerate(_THIRDS)
    )


def _part(name: str, pairs: ConflictPredictions, num_resamples: int) -> PartScores:
    return PartScores(
        name=name,
        num_conflicts=int(pairs.is_conflict.sum()),
        num_matches=int((~pairs.is_conflict).sum()),
        num_speakers=_num_speakers(pairs),
        auroc=auroc_figure(pairs, num_resamples),
    )


def _audit(rows: ConflictPredictions, num_resamples: int) -> AuditResult | Refused:
    originals, matches = rows.of_kind(PairKind.ORIGINAL), rows.of_kind(PairKind.MATCH)
    try:
        return audit_originals(
            originals.score,
            [str(name) for name in originals.speaker],
            matches.score,
            [str(name) for name in matches.speaker],
            num_resamples=num_resamples,
        )
    except EvaluationError as error:
        if len(originals) == 0:
            return Refused("there are no originals to hold against the matches")
        return Refused(str(error))


def _scorable(pairs: ConflictPredictions) -> Scorable:
    conflict, score = pairs.is_conflict, pairs.score
    return Scorable(
        groups=pairs.groups,
        speakers=pairs.speaker,
        classes=conflict.astype(np.int64),
        compute=lambda part: metrics.auroc(conflict[part], score[part]),
        statistic=lambda part, index, size: auroc_statistic(
            conflict[part], score[part], index[part], size
        ),
    )


def _num_speakers(rows: ConflictPredictions) -> int:
    return len({name for name in rows.speaker if name is not None})
