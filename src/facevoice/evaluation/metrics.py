"""Figures of merit: scikit-learn's where it has them, and what it lacks with formula and source.

Classes are whole numbers from 0 (for emotions: `Emotion.position`). In binary figures 1 or True is
the positive class (for congruence: conflict), and a higher score speaks for it. All lists are (n,).
A figure that the data do not define is refused with EvaluationError, never replaced by a default:
no items, unequal lengths, NaN, or, for a figure of scores, items of one class only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError, MissingExtraError
from facevoice.records import BoolArray, DoubleArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Mean confidence, share that is correct and number of items of each bin that has any."""

    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]
    counts: tuple[int, ...]


def uar(truth: npt.ArrayLike, said: npt.ArrayLike) -> float:
    """Unweighted average recall, over the classes that occur in `truth` (n,).

    Schuller et al. (2009), The Interspeech 2009 emotion challenge.
    """
    true, answer = _pairs(truth, said, "a figure over classes")
    if "f" in true.dtype.kind + answer.dtype.kind:
        raise EvaluationError("classes must be whole numbers")
    recall = _sklearn().recall_score
    return float(recall(true, answer, labels=np.unique(true), average="macro"))


def confusion_matrix(truth: IntArray, said: IntArray, num_classes: int) -> IntArray:
    """Counts (K, K): row = true class, column = predicted class."""
    counts: IntArray = _sklearn().confusion_matrix(truth, said, labels=range(num_classes))
    return counts


def auroc(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Area under the ROC curve: P(s⁺ > s⁻) + ½ P(s⁺ = s⁻). Hanley & McNeil (1982)."""
    return float(_sklearn().roc_auc_score(*two_classes(truth, scores, "AUROC")))


def roc_curve(
    truth: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """False and true positive rates, one point a distinct score, and thresholds (from ∞ down)."""
    positive, score = two_classes(truth, scores, "a ROC curve")
    rates: tuple[DoubleArray, DoubleArray, DoubleArray]
    rates = _sklearn().roc_curve(positive, score, drop_intermediate=False)
    return rates


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike, prevalence: float) -> float:
    """Average precision, items weighted as if a share `prevalence` of them were positive.

    Davis & Goadrich (2006); Siblini et al. (2020), Master your metrics with calibration.
    """
    positive, score = two_classes(truth, scores, "average precision")
    share = positive.mean()
    weights = np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))
    return float(_sklearn().average_precision_score(positive, score, sample_weight=weights))


def eer(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Equal error rate: where FPR = 1 − TPR on the ROC curve, linear between its points.

    Martin et al. (1997), The DET curve in assessment of detection task performance.
    """
    fpr, tpr, _ = roc_curve(truth, scores)
    gap = fpr - (1 - tpr)  # rises from −1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(fpr[after - 1] + share * (fpr[after] - fpr[after - 1]))


def best_threshold(truth: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The threshold of the highest balanced accuracy; choose it on validation, use it on test.

    It lies half-way between the two neighbouring scores, so that it doesn't hang on one item. Of
    several best, the highest. Youden (1950), Index for rating diagnostic tests.
    """
    fpr, tpr, thresholds = roc_curve(truth, scores)
    best = int(np.argmax(tpr - fpr))
    if best == 0:
        # No threshold beats calling nothing positive: keep just above all scores.
        return float(np.nextafter(thresholds[1], np.inf))
    return float(thresholds[best : best + 2].mean())


def reliability(confidences: DoubleArray, correct: BoolArray, num_bins: int = 15) -> Reliability:
    """Confidence (n,) in [0, 1] against the share that is correct (n,), in bins of equal width.

    For a binary question: probability of the positive class against whether the item is positive.
    scikit-learn's `calibration_curve`, with the counts that it leaves out.
    """
    edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    index = np.searchsorted(edges, confidences, side="left")
    counts = np.bincount(index, minlength=num_bins)
    filled = counts > 0
    sums, hits = (
        np.bincount(index, weights=values, minlength=num_bins)[filled] / counts[filled]
        for values in (confidences, correct)
    )
    return Reliability(tuple(sums.tolist()), tuple(hits.tolist()), tuple(counts[filled].tolist()))


def ece(curve: Reliability) -> float:
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b − confidence_b|. Guo et al. (2017)."""
    gaps = np.abs(np.subtract(curve.accuracies, curve.confidences))
    return float(np.average(gaps, weights=curve.counts))


def brier(truth: IntArray | BoolArray, probs: DoubleArray) -> float:
    """Mean squared error of probabilities. Brier (1950).

    Binary, probs (n,): mean (p − y)². Classes, probs (n, K): mean Σ_k (p_k − [y = k])².
    """
    if probs.ndim == 1:
        return float(((probs - truth) ** 2).mean())
    return float(((probs - np.eye(probs.shape[1])[truth]) ** 2).sum(axis=1).mean())


def risk_coverage(confidences: DoubleArray, correct: BoolArray) -> tuple[DoubleArray, DoubleArray]:
    """Coverages k/n and error rates among the k surest items, (n,) each. El-Yaniv & Wiener (2010).

    Among items of equal confidence the errors are spread evenly, which is the mean over all orders.
    The mean of the rates is the area under the curve, AURC (Geifman et al. 2019).
    """
    _, group = np.unique(-confidences, return_inverse=True)
    counts = np.bincount(group)
    errors = np.repeat(np.bincount(group, weights=~correct) / counts, counts)
    answered = np.arange(1, len(errors) + 1)
    return answered / len(errors), np.cumsum(errors) / answered


def two_classes(
    truth: npt.ArrayLike, scores: npt.ArrayLike, what: str
) -> tuple[BoolArray, DoubleArray]:
    """Whether each item is positive, and its score, both (n,); `what` is named in the error.

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or only one class.
    """
    true, score = _pairs(truth, scores, what)
    if not np.isin(true, (0, 1)).all():
        raise EvaluationError(f"{what}: truth must be 0 or 1 (False or True)")
    positive = true.astype(bool)
    if positive.all() or not positive.any():
        only = "positive" if positive.all() else "negative"
        raise EvaluationError(
            f"{what} is not defined: all {len(positive)} items are {only}; it takes items of "
            "both classes to tell whether a score tells them apart"
        )
    return positive, score.astype(np.float64)


def _pairs(first: npt.ArrayLike, second: npt.ArrayLike, what: str) -> tuple[Any, Any]:
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise EvaluationError(f"{what}: needs two lists of one length, got {a.shape}, {b.shape}")
    if len(a) == 0:
        raise EvaluationError(f"{what} is not defined on no items")
    for values in (a, b):
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise EvaluationError(f"{what}: values must be finite numbers")
    return a, b


def import_extra(name: str) -> Any:
    """A module of the optional part that evaluation needs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError("evaluation", "data") from error


def _sklearn() -> Any:
    return import_extra("sklearn.metrics")
