"""Audits that must fail: if one of them succeeds, the pairs give their class away by the splice.

Whatever does not look at emotion (length, loudness, codec, synchrony), and whatever looks at one
channel only, must not tell conflicts from matches: AUROC about 0.50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import Interval, auroc_measure, interval
from facevoice.evaluation.metrics import import_extra
from facevoice.records import BoolArray, DoubleArray

AUROC_LIMIT: Final = 0.55
"""An audit of matches against conflicts is passed up to here."""
ORIGINAL_LIMIT: Final = 0.52
"""Matches against originals are passed up to here: the splice may tell a little."""


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
    two_sided: bool = True,
    num_resamples: int = 2000,
) -> AuditResult:
    """Audit a score that must know nothing: synchrony alone, or the model given one channel only.

    is_conflict (n,) bool; scores (n,); speakers (n,).

    Raises:
        EvaluationError: only one class or one speaker, unequal lengths, or NaN.
    """
    if len(speakers) != len(np.asarray(scores)):
        raise EvaluationError(f"{len(speakers)} speakers for {len(np.asarray(scores))} items")
    found = interval(auroc_measure(is_conflict, scores), speakers, num_resamples=num_resamples)
    return AuditResult(name, found, limit, two_sided)


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
        MissingExtraError: scikit-learn is not installed.
    """
    conflict = np.asarray(is_conflict, dtype=bool)
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(conflict) or not np.isfinite(values).all():
        raise EvaluationError(f"features must be finite and (n, k), got {values.shape}")
    scores = _leave_one_out(conflict, values, np.asarray(speakers))
    return audit_scores(
        name, conflict, scores, speakers, limit=limit, two_sided=False, num_resamples=num_resamples
    )


def _leave_one_out(
    positive: BoolArray, features: DoubleArray, speakers: npt.NDArray[Any]
) -> DoubleArray:
    """Scores (n,) of a ridge classifier that never saw the item's speaker."""
    preprocessing = import_extra("sklearn.preprocessing")
    if len(speakers) != len(features) or len(np.unique(speakers)) < 2:
        raise EvaluationError("needs the speaker of every item, and at least two speakers")
    model = import_extra("sklearn.pipeline").make_pipeline(
        preprocessing.StandardScaler(),
        preprocessing.FunctionTransformer(lambda x: np.concatenate([x, x**2], axis=1)),
        import_extra("sklearn.linear_model").Ridge(alpha=1.0),
    )
    target = np.where(positive, 1.0, -1.0)
    scores = np.empty(len(features))
    for speaker in np.unique(speakers):
        held = speakers == speaker
        scores[held] = model.fit(features[~held], target[~held]).predict(features[held])
    return scores
