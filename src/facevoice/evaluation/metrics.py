"""Figures of merit in plain numpy. Each docstring has formula and source.

Classes are whole numbers from 0 (for emotions: `Emotion.position`). In binary metrics 1 or True is
the positive class (for congruence: conflict), and a higher score speaks for it. A figure that the
data do not define is refused with EvaluationError, never replaced by a default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.calibration import (
    ReliabilityCurve,
    RiskCoverage,
    aurc,
    brier,
    ece,
    nll,
    reliability_curve,
    risk_coverage,
)
from facevoice.evaluation.checks import IntArray, binary_values, class_values
from facevoice.types import BoolArray, DoubleArray

__all__ = [
    "ReliabilityCurve",
    "RiskCoverage",
    "RocCurve",
    "aurc",
    "auroc",
    "average_precision",
    "balanced_accuracy_at",
    "best_threshold",
    "brier",
    "confusion_matrix",
    "ece",
    "eer",
    "false_positive_rate_at",
    "macro_f1",
    "nll",
    "reliability_curve",
    "risk_coverage",
    "roc_curve",
    "uar",
    "war",
    "weighted_f1",
]


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """Rates (n,) from (0, 0) to (1, 1), one point a distinct score; thresholds (n,) start at ∞."""

    false_positive_rates: DoubleArray
    true_positive_rates: DoubleArray
    thresholds: DoubleArray


def confusion_matrix(truth: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int) -> IntArray:
    """Counts (K, K): row = true class, column = predicted class.

    Raises:
        EvaluationError: no items, unequal lengths, or a class outside 0 … K−1.
    """
    true, said = class_values(truth, predicted)
    for values in (true, said):
        if values.min() < 0 or values.max() >= num_classes:
            raise EvaluationError(
                f"classes must be 0 to {num_classes - 1}, got {values.min()} to {values.max()}"
            )
    flat = np.bincount(true * num_classes + said, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def uar(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Unweighted average recall: (1/K) Σ_k n_kk / n_k, over the classes that occur in `truth`.

    Also called balanced accuracy or macro recall. Schuller et al. (2009), The Interspeech 2009
    emotion challenge.

    Raises:
        EvaluationError: no items or unequal lengths.
    """
    true, said = class_values(truth, predicted)
    counts = np.bincount(true)
    hits = np.bincount(true[true == said], minlength=len(counts))
    present = counts > 0
    return float((hits[present] / counts[present]).mean())


def war(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Weighted average recall = accuracy: Σ_k n_kk / n. Schuller et al. (2009).

    Raises:
        EvaluationError: no items or unequal lengths.
    """
    true, said = class_values(truth, predicted)
    return float((true == said).mean())


def macro_f1(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Mean of F1_k = 2 n_kk / (n_k + m_k) over classes that are true or predicted at least once.

    n_k true and m_k predicted items of class k. Van Rijsbergen (1979); averaged per class as in
    Opitz & Burst (2019), Macro F1 and macro F1.

    Raises:
        EvaluationError: no items or unequal lengths.
    """
    scores, _, occurs = _f1_by_class(truth, predicted)
    return float(scores[occurs].mean())


def weighted_f1(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Σ_k (n_k / n) F1_k, with F1_k as in `macro_f1`.

    Raises:
        EvaluationError: no items or unequal lengths.
    """
    scores, counts, _ = _f1_by_class(truth, predicted)
    return float((scores * counts).sum() / counts.sum())


def auroc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(s⁺ > s⁻) + ½ P(s⁺ = s⁻).

    Each false alarm counts the hits above it, and half of those that tie with it (Mann–Whitney's U
    over n⁺ n⁻). Hanley & McNeil (1982), The meaning and use of the area under a ROC curve.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    positive, score = binary_values(truth, scores, "AUROC")
    hits, alarms, _ = _cumulated(positive, score)
    hits_above = np.concatenate([[0.0], hits[:-1]])
    new_alarms = np.diff(alarms, prepend=0.0)
    return float((new_alarms * (hits_above + hits)).sum() / (2 * hits[-1] * alarms[-1]))


def roc_curve(truth: npt.ArrayLike, scores: npt.ArrayLike) -> RocCurve:
    """True and false positive rate for every threshold; an item is positive if score ≥ threshold.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    positive, score = binary_values(truth, scores, "a ROC curve")
    hits, alarms, thresholds = _cumulated(positive, score)
    return RocCurve(
        false_positive_rates=np.concatenate([[0.0], alarms / alarms[-1]]),
        true_positive_rates=np.concatenate([[0.0], hits / hits[-1]]),
        thresholds=np.concatenate([[np.inf], thresholds]),
    )


def average_precision(
    truth: npt.ArrayLike, scores: npt.ArrayLike, prevalence: float | None = None
) -> float:
    """Average precision Σ_t (R_t − R_{t−1}) P_t over falling thresholds, without interpolation.

    With `prevalence` π, precision is what it would be if a share π of the items were positive:
    P = π TPR / (π TPR + (1 − π) FPR), as items of each class were weighted to that share. Davis &
    Goadrich (2006); Siblini et al. (2020), Master your metrics with calibration.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths, NaN, or a prevalence
            outside 0 … 1.
    """
    positive, score = binary_values(truth, scores, "average precision")
    if prevalence is not None and not 0 < prevalence < 1:
        raise EvaluationError(f"prevalence {prevalence} is not between 0 and 1")
    share = float(positive.mean()) if prevalence is None else prevalence
    hits, alarms, _ = _cumulated(positive, score)
    recall = hits / hits[-1]
    found = share * recall
    precision = found / (found + (1 - share) * alarms / alarms[-1])
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def eer(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Equal error rate: where FPR = 1 − TPR on the ROC curve, linear between its points.

    Martin et al. (1997), The DET curve in assessment of detection task performance.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    curve = roc_curve(truth, scores)
    fpr, miss = curve.false_positive_rates, 1.0 - curve.true_positive_rates
    gap = fpr - miss  # rises from −1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def balanced_accuracy_at(truth: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> float:
    """½ (TPR + 1 − FPR), where score ≥ threshold is called positive. Brodersen et al. (2010).

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    positive, score = binary_values(truth, scores, "balanced accuracy")
    called = score >= threshold
    return float((called[positive].mean() + 1 - called[~positive].mean()) / 2)


def false_positive_rate_at(truth: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> float:
    """Share of the negatives with score ≥ threshold.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    positive, score = binary_values(truth, scores, "a false positive rate")
    return float((score[~positive] >= threshold).mean())


def best_threshold(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The threshold of the highest balanced accuracy; choose it on validation, use it on test.

    It lies half-way between the two neighbouring scores, so that it doesn't hang on one item. Of
    several best, the highest. Youden (1950), Index for rating diagnostic tests.

    Raises:
        EvaluationError: only one class is there, no items, unequal lengths or NaN.
    """
    curve = roc_curve(truth, scores)
    best = int(np.argmax(curve.true_positive_rates - curve.false_positive_rates))
    if best == 0:
        # No threshold beats calling nothing positive: keep just above all scores.
        return float(np.nextafter(curve.thresholds[1], np.inf))
    at = float(curve.thresholds[best])
    below = best + 1 < len(curve.thresholds)
    return (at + float(curve.thresholds[best + 1])) / 2 if below else at


def _f1_by_class(
    truth: npt.ArrayLike, predicted: npt.ArrayLike
) -> tuple[DoubleArray, IntArray, BoolArray]:
    """F1 (K,), true counts (K,), and whether the class occurs at all (K,)."""
    true, said = class_values(truth, predicted)
    size = int(max(true.max(), said.max())) + 1
    counts = np.bincount(true, minlength=size)
    calls = np.bincount(said, minlength=size)
    hits = np.bincount(true[true == said], minlength=size)
    scores = 2 * hits / np.maximum(counts + calls, 1)
    return scores, counts.astype(np.int64), (counts + calls) > 0


def _cumulated(
    positive: BoolArray, score: DoubleArray
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Hits, false alarms and threshold at each distinct score, from the highest down."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = np.cumsum(positive[order])[last_of_tie]
    alarms = last_of_tie + 1 - hits
    return hits.astype(np.float64), alarms.astype(np.float64), ordered[last_of_tie]
