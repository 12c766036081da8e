"""How far probabilities can be trusted: calibration, and what is gained by answering less often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from facevoice.evaluation.checks import IntArray, paired_values, prob_rows, prob_values
from facevoice.types import DoubleArray

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
