"""Checks of what is handed to a metric, so that each refuses alike what it is not defined on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.records import BoolArray, DoubleArray

IntArray = npt.NDArray[np.int64]


def paired_values(first: npt.ArrayLike, second: npt.ArrayLike, what: str) -> tuple[Any, Any]:
    """Two finite arrays (n,), n ≥ 1; `what` is named in the error.

    Raises:
        EvaluationError: no items, unequal lengths, or values that are no finite numbers.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.ndim != 1 or a.shape != b.shape:
        raise EvaluationError(f"{what}: needs two lists of one length, got {a.shape}, {b.shape}")
    if len(a) == 0:
        raise EvaluationError(f"{what} is not defined on no items")
    for values in (a, b):
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise EvaluationError(f"{what}: values must be finite numbers")
    return a, b


def class_values(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """True and predicted classes (n,), whole numbers from 0.

    Raises:
        EvaluationError: no items, unequal lengths, or something else than classes.
    """
    true, said = paired_values(truth, predicted, "a figure over classes")
    if true.dtype.kind == "f" or said.dtype.kind == "f" or min(true.min(), said.min()) < 0:
        raise EvaluationError("classes must be whole numbers from 0")
    return true.astype(np.int64), said.astype(np.int64)


def binary_values(
    truth: npt.ArrayLike, scores: npt.ArrayLike, what: str
) -> tuple[BoolArray, DoubleArray]:
    """Whether each item is positive, and its score, both (n,); both classes occur.

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or only one class.
    """
    true, score = paired_values(truth, scores, what)
    if not ((true == 0) | (true == 1)).all():
        raise EvaluationError(f"{what}: truth must be 0 or 1 (False or True)")
    positive = true.astype(bool)
    if positive.all() or not positive.any():
        only = "positive" if positive.all() else "negative"
        raise EvaluationError(
            f"{what} is not defined: all {len(positive)} items are {only}; it takes items of "
            "both classes to tell whether a score tells them apart"
        )
    return positive, score.astype(np.float64)


def prob_values(probs: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[DoubleArray, DoubleArray]:
    """Probabilities of a yes, and 1 where it was a yes, both (n,).

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or values outside [0, 1].
    """
    prob, true = paired_values(probs, truth, "calibration")
    if not ((true == 0) | (true == 1)).all():
        raise EvaluationError("calibration: truth must be 0 or 1 (False or True)")
    if prob.min() < 0 or prob.max() > 1:
        raise EvaluationError(f"probabilities go from {prob.min()} to {prob.max()}, not 0 to 1")
    return prob.astype(np.float64), true.astype(np.float64)


def prob_rows(truth: npt.ArrayLike, probs: DoubleArray) -> IntArray:
    """The true classes (n,) for probabilities (n, K).

    Raises:
        EvaluationError: no items, unequal lengths, an unknown class, or rows that don't sum to 1.
    """
    if probs.ndim != 2 or len(probs) == 0:
        raise EvaluationError(f"probabilities must be (n,) or (n, K), got {probs.shape}")
    true, _ = class_values(truth, np.zeros(len(probs), dtype=np.int64))
    if true.max() >= probs.shape[1]:
        raise EvaluationError(f"class {true.max()} has no probability among {probs.shape[1]}")
    sums = probs.sum(axis=1)
    if not (np.isfinite(probs).all() and probs.min() >= 0 and np.allclose(sums, 1, atol=1e-4)):
        raise EvaluationError("each row of probabilities must be at least 0 and sum to 1")
    return true


# How far probabilities can be trusted: calibration, and what is gained by answering less often.

_SMALLEST_PROB: Final = 1e-15


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityCurve:
    """Mean confidence, share that is correct and number of items of each non-empty bin, (bins,)."""

    confidences: DoubleArray
    accuracies: DoubleArray
    counts: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """Error rate (n,) among the answered items when the surest `coverages` (n,) are answered."""

    coverages: DoubleArray
    risks: DoubleArray


def reliability_curve(
    confidences: npt.ArrayLike,
    correct: npt.ArrayLike,
    num_bins: int = 15,
    bins: Literal["width", "mass"] = "width",
) -> ReliabilityCurve:
    """Confidence against the share that is correct, in bins of equal width or of equal mass.

    confidences (n,) in [0, 1]: the probability given to the answer (or, for a binary question, to
    the positive class); correct (n,) bool: whether it was right (or whether the item is positive).
    Equal width: bins of 1/num_bins, closed on the right. Equal mass: edges are quantiles, so that
    tied confidences stay together.

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or values outside [0, 1].
    """
    confidence, right = prob_values(confidences, correct)
    places = np.linspace(0, 1, num_bins + 1)
    edges = places if bins == "width" else np.quantile(confidence, places)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(index, minlength=num_bins)
    filled = counts > 0
    sums = np.bincount(index, weights=confidence, minlength=num_bins)
    hits = np.bincount(index, weights=right, minlength=num_bins)
    return ReliabilityCurve(
        confidences=sums[filled] / counts[filled],
        accuracies=hits[filled] / counts[filled],
        counts=counts[filled].astype(np.int64),
    )


def ece(
    confidences: npt.ArrayLike,
    correct: npt.ArrayLike,
    num_bins: int = 15,
    bins: Literal["width", "mass"] = "width",
) -> float:
    """Expected calibration error: Σ_b (n_b / n) |accuracy_b − confidence_b|.

    Naeini et al. (2015); Guo et al. (2017) for equal width; Nguyen & O'Connor (2015), Nixon et al.
    (2019) for equal mass. Arguments as in `reliability_curve`.

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or values outside [0, 1].
    """
    curve = reliability_curve(confidences, correct, num_bins, bins)
    gaps = np.abs(curve.accuracies - curve.confidences)
    return float((gaps * curve.counts).sum() / curve.counts.sum())


def brier(truth: npt.ArrayLike, probs: npt.ArrayLike) -> float:
    """Mean squared error of probabilities. Brier (1950).

    Binary, probs (n,): mean (p − y)². Classes, probs (n, K): mean Σ_k (p_k − [y = k])².

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or values that are no probabilities.
    """
    given = np.asarray(probs, dtype=np.float64)
    if given.ndim == 1:
        prob, positive = prob_values(given, truth)
        return float(((prob - positive) ** 2).mean())
    true = prob_rows(truth, given)
    target = np.eye(given.shape[1])[true]
    return float(((given - target) ** 2).sum(axis=1).mean())


def nll(truth: npt.ArrayLike, probs: npt.ArrayLike) -> float:
    """Negative log-likelihood (log loss): mean −ln p(true class), p kept at 1e-15 at least.

    Good (1952), Rational decisions. probs (n,) of the positive class, or (n, K).

    Raises:
        EvaluationError: no items, unequal lengths, NaN, or values that are no probabilities.
    """
    given = np.asarray(probs, dtype=np.float64)
    if given.ndim == 1:
        prob, positive = prob_values(given, truth)
        chosen = np.where(positive > 0, prob, 1 - prob)
    else:
        true = prob_rows(truth, given)
        chosen = given[np.arange(len(true)), true]
    return float(-np.log(np.maximum(chosen, _SMALLEST_PROB)).mean())


def risk_coverage(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """Error rate among the k surest items, for k = 1 … n. El-Yaniv & Wiener (2010).

    Among items of equal confidence the errors are spread evenly, which is the mean over all orders.

    Raises:
        EvaluationError: no items, unequal lengths or NaN.
    """
    confidence, right = paired_values(confidences, correct, "a risk–coverage curve")
    order = np.argsort(-confidence, kind="stable")
    errors = 1.0 - right.astype(np.float64)[order]
    _, starts, counts = np.unique(-confidence[order], return_index=True, return_counts=True)
    errors = np.repeat(np.add.reduceat(errors, starts) / counts, counts)
    answered = np.arange(1, len(errors) + 1)
    return RiskCoverage(coverages=answered / len(errors), risks=np.cumsum(errors) / answered)


def aurc(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Area under the risk–coverage curve: mean of the risks at k = 1 … n. Geifman et al. (2019).

    Raises:
        EvaluationError: no items, unequal lengths or NaN.
    """
    return float(risk_coverage(confidences, correct).risks.mean())


# Figures of merit in plain numpy. Each docstring has formula and source.
#
# Classes are whole numbers from 0 (for emotions: `Emotion.position`). In binary metrics 1 or True is
# the positive class (for congruence: conflict), and a higher score speaks for it. A figure that the
# data do not define is refused with EvaluationError, never replaced by a default.


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
