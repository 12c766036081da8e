"""Audits that must fail: if one of them succeeds, the pairs give their class away by the splice.

Whatever does not look at emotion (length, loudness, codec, synchrony), and whatever looks at one
channel only, must not tell conflicts from matches: AUROC about 0.50.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import Interval, Resampler, auroc_statistic, percentile_interval
from facevoice.evaluation.metrics import auroc, binary_values
from facevoice.records import DoubleArray

AUROC_LIMIT: Final = 0.55
"""An audit of matches against conflicts is passed up to here."""
ORIGINAL_LIMIT: Final = 0.02
"""The AUROC of originals against matches may leave 0.50 by this much."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found, and up to where it is passed.

    auroc: as it came, with its interval over speakers;
    two_sided: whether an AUROC below 0.5 is as telling as one above. It is for a fixed score; for
    a classifier tested on speakers that it has not seen it is not: with nothing to learn, what
    chance puts into the training speakers is missing from the others, so it comes out below 0.5.
    """

    name: str
    auroc: Interval
    limit: float
    two_sided: bool = True

    @property
    def telling(self) -> float:
        """The AUROC, or max(AUROC, 1 − AUROC) where both sides count."""
        estimate = self.auroc.estimate
        return max(estimate, 1 - estimate) if self.two_sided else estimate

    @property
    def passed(self) -> bool:
        """Whether nothing was given away."""
        return self.telling <= self.limit


def audit_scores(
    name: str,
    is_conflict: npt.ArrayLike,
    scores: npt.ArrayLike,
    speakers: Sequence[str],
    *,
    limit: float = AUROC_LIMIT,
    num_resamples: int = 2000,
) -> AuditResult:
    """Audit a score that must know nothing: synchrony alone, or the model given one channel only.

    is_conflict (n,) bool; scores (n,); speakers (n,).

    Raises:
        EvaluationError: only one class or one speaker, unequal lengths, or NaN.
    """
    return AuditResult(name, _auroc(is_conflict, scores, speakers, num_resamples), limit)


def audit_features(
    name: str,
    is_conflict: npt.ArrayLike,
    features: npt.ArrayLike,
    speakers: Sequence[str],
    *,
    limit: float = AUROC_LIMIT,
    num_resamples: int = 2000,
) -> AuditResult:
    """Audit nuisance features (durations, loudness, codec): train on all other speakers, score.

    features (n, k) finite. A ridge classifier on the features and their squares is fitted with one
    speaker left out at a time; squares, because a difference of lengths tells by its size.

    Raises:
        EvaluationError: only one class or one speaker, unequal lengths, or NaN.
    """
    conflict = np.asarray(is_conflict, dtype=bool)
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(conflict) or not np.isfinite(values).all():
        raise EvaluationError(f"features must be finite and (n, k), got {values.shape}")
    scores = leave_one_group_out(conflict, values, speakers)
    interval = _auroc(conflict, scores, speakers, num_resamples)
    return AuditResult(name, interval, limit, two_sided=False)


def audit_originals(
    scores_original: npt.ArrayLike,
    speakers_original: Sequence[str],
    scores_match: npt.ArrayLike,
    speakers_match: Sequence[str],
    *,
    limit: float = ORIGINAL_LIMIT,
    num_resamples: int = 2000,
) -> AuditResult:
    """Audit the splice: conflict scores of re-paired matches must be those of original clips.

    The AUROC is that of "was re-paired" by the conflict score; `limit` is on |AUROC − 0.5|.

    Raises:
        EvaluationError: no items of a kind, only one speaker, unequal lengths, or NaN.
    """
    scores = np.concatenate([np.asarray(scores_original), np.asarray(scores_match)])
    repaired = np.arange(len(scores)) >= len(np.asarray(scores_original))
    return audit_scores(
        "original against re-paired match",
        repaired,
        scores,
        [*speakers_original, *speakers_match],
        limit=0.5 + limit,
        num_resamples=num_resamples,
    )


def leave_one_group_out(
    positive: npt.NDArray[np.bool_], features: DoubleArray, groups: Sequence[Any]
) -> DoubleArray:
    """Scores (n,) of a ridge classifier that never saw the item's group (speaker).

    Raises:
        EvaluationError: fewer than two groups, or groups of another length than the features.
    """
    names = np.asarray(groups)
    if len(names) != len(features) or len(np.unique(names)) < 2:
        raise EvaluationError("needs the speaker of every item, and at least two speakers")
    scores = np.empty(len(features))
    for name in np.unique(names):
        held = names == name
        scores[held] = _fit_ridge(features[~held], positive[~held])(features[held])
    return scores


def _auroc(
    is_conflict: npt.ArrayLike, scores: npt.ArrayLike, speakers: Sequence[str], num_resamples: int
) -> Interval:
    """As `cluster_bootstrap` gives it, from each speaker's sums."""
    positive, score = binary_values(is_conflict, scores, "an audit's AUROC")
    if len(speakers) != len(score):
        raise EvaluationError(f"{len(score)} scores, but {len(speakers)} speakers")
    drawn = Resampler.of(np.asarray(speakers, dtype=object), num_resamples)
    statistic = auroc_statistic(positive, score, drawn.index, drawn.num_clusters)
    return percentile_interval(auroc(positive, score), statistic(drawn.weights), drawn.num_clusters)


def _fit_ridge(
    features: DoubleArray, positive: npt.NDArray[np.bool_]
) -> Callable[[DoubleArray], DoubleArray]:
    """Least squares of ±1 on standardised features and their squares, penalty 1 a weight."""
    center, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def expand(values: DoubleArray) -> DoubleArray:
        scaled = (values - center) / spread
        return np.concatenate([scaled, scaled**2 - 1], axis=1)

    design = expand(features)
    target = np.where(positive, 1.0, -1.0)
    offset = float(target.mean())
    gram = design.T @ design + np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design.T @ (target - offset))
    return lambda values: np.asarray(expand(values) @ weights + offset, dtype=np.float64)
