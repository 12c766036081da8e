"""Intervals over speakers: clips of one speaker are no independent draws.

A resample of whole speakers is told by how often it holds each of them, and a figure by sums over
each speaker's items. So the figures of all resamples are a few matrix products, and exactly those
that the resampled items would give. Field & Welsh (2007), Bootstrapping clustered data; Efron &
Tibshirani (1993), §13. With fewer than about 20 speakers such intervals are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.metrics import IntArray, two_classes
from facevoice.records import BoolArray, DoubleArray

Statistic = Callable[[DoubleArray], DoubleArray]
"""From weights (R, S) of S speakers in R resamples to the figure (R,), NaN where not defined."""
Measure = Callable[[IntArray, int], Statistic]
"""A figure of n items: from the number (n,) of each item's speaker, and how many speakers there
are, to its statistic. Raises EvaluationError where the items do not define the figure."""
Speakers = Sequence[Any] | npt.NDArray[Any]
"""Name (n,) of each item's speaker, None where nobody is named."""

LEVEL: Final = 0.95
_MOST_UNDEFINED: Final = 0.1
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile interval.

    num_undefined: resamples on which the figure is not defined (left out of the interval).
    """

    estimate: float
    low: float
    high: float
    level: float
    num_clusters: int
    num_resamples: int
    num_undefined: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No figure, and why: the data do not define it, or are too few."""

    reason: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval over speakers.

    low, high: None where no interval is given; then `note` may say why.
    """

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """A difference of two figures, its 95 % interval and its p-value over speakers.

    p_value: two-sided, 2 · min(share of resamples ≤ 0, share ≥ 0), at least 1/resamples.
    """

    value: float
    low: float
    high: float
    p_value: float


def interval(measure: Measure, speakers: Speakers, *, num_resamples: int = 2000) -> Interval:
    """The percentile interval of a figure when whole speakers are drawn anew, as many as there are.

    Raises:
        EvaluationError: the figure is not defined on the items or on more than a tenth of the
            resamples, an item names no speaker, or there is one speaker only.
    """
    index, size = number_speakers(speakers)
    statistic = measure(index, size)
    estimate = float(statistic(np.ones((1, size)))[0])
    drawn = statistic(draw_weights(size, num_resamples))
    low, high = _limits(drawn)
    num_undefined = int(np.isnan(drawn).sum())
    return Interval(estimate, low, high, LEVEL, size, num_resamples, num_undefined)


def figure(measure: Measure, speakers: Speakers, num_resamples: int) -> Figure | Refused:
    """A figure with its interval; where only the interval is not defined, with a note."""
    index, size, note = np.zeros(len(speakers), dtype=np.int64), 1, ""
    try:
        index, size = number_speakers(speakers)
    except EvaluationError as error:
        note = str(error)
    statistic = or_refused(measure, index, size)
    if isinstance(statistic, Refused):
        return statistic
    value = float(statistic(np.ones((1, size)))[0])
    if note:
        return Figure(value, note=note)
    limits = or_refused(_limits, statistic(draw_weights(size, num_resamples)))
    return (
        Figure(value, note=limits.reason) if isinstance(limits, Refused) else Figure(value, *limits)
    )


def paired_gap(
    first: Measure, second: Measure, speakers: Speakers, num_resamples: int
) -> Gap | Refused:
    """`first` − `second`, two figures of the same items on the same resamples."""

    def compute() -> Gap:
        index, size = number_speakers(speakers)
        weights = draw_weights(size, num_resamples)
        return statistic_gap(first(index, size), second(index, size), weights)

    return or_refused(compute)


def statistic_gap(first: Statistic, second: Statistic, weights: DoubleArray) -> Gap:
    """`first` − `second` on the same resamples; weights (R, S) of all speakers.

    Raises:
        EvaluationError: the gap is not defined, or not on more than a tenth of the resamples.
    """
    once = np.ones((1, weights.shape[1]))
    value = float((first(once) - second(once))[0])
    if not np.isfinite(value):
        raise EvaluationError("one of the two figures is not defined")
    drawn = first(weights) - second(weights)
    low, high = _limits(drawn)
    known = drawn[np.isfinite(drawn)]
    tail = 2 * min(float((known <= 0).mean()), float((known >= 0).mean()))
    return Gap(value, low, high, min(1.0, max(tail, 1 / len(known))))


def or_refused(compute: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T | Refused:
    """What `compute` gives, or why it gives nothing."""
    try:
        return compute(*args, **named)
    except EvaluationError as error:
        return Refused(str(error))


def number_speakers(speakers: Speakers) -> tuple[IntArray, int]:
    """Number (n,) of each item's speaker in the order of names, and how many there are.

    Raises:
        EvaluationError: an item names no speaker, or there is one speaker only.
    """
    num_unnamed = sum(name is None for name in speakers)
    if num_unnamed:
        raise EvaluationError(
            f"{num_unnamed} of {len(speakers)} items name no speaker, so there is no interval over "
            "speakers"
        )
    names, index = np.unique(np.asarray(speakers).astype(str), return_inverse=True)
    if len(names) < 2:
        only = f"all items are of one speaker ({names[0]})" if len(names) else "there are no items"
        raise EvaluationError(f"{only}: nothing can be said of other speakers")
    return index.astype(np.int64), len(names)


@lru_cache(maxsize=8)
def draw_weights(num_speakers: int, num_resamples: int, seed: int = 0) -> DoubleArray:
    """(R, S): how often each of S speakers is among S draws with replacement."""
    draws = np.random.default_rng(seed).integers(num_speakers, size=(num_resamples, num_speakers))
    flat = draws + num_speakers * np.arange(num_resamples)[:, np.newaxis]
    counts = np.bincount(flat.ravel(), minlength=num_speakers * num_resamples)
    weights = counts.reshape(num_resamples, num_speakers).astype(np.float64)
    weights.flags.writeable = False  # shared by all who ask for the same draws
    return weights


def mean_measure(values: npt.NDArray[Any]) -> Measure:
    """The mean over items, for example of what is correct (WAR) or of squared errors."""

    def measure(index: IntArray, size: int) -> Statistic:
        sums = np.bincount(index, weights=values.astype(np.float64), minlength=size)
        counts = np.bincount(index, minlength=size).astype(np.float64)
        return lambda weights: _ratio(weights @ sums, weights @ counts)

    return measure


def uar_measure(truth: IntArray, said: IntArray) -> Measure:
    """Unweighted average recall; see `metrics.uar`."""
    return _class_measure(truth, said, lambda hits, true, _: (hits, true))


def macro_f1_measure(truth: IntArray, said: IntArray) -> Measure:
    """Mean of F1_k = 2 n_kk / (n_k + m_k) over classes that are true or said at least once.

    n_k true and m_k said items of class k. Opitz & Burst (2019), Macro F1 and macro F1.
    """
    return _class_measure(truth, said, lambda hits, true, called: (2 * hits, true + called))


def weighted_f1_measure(truth: IntArray, said: IntArray) -> Measure:
    """Mean of F1_k as in `macro_f1_measure`, classes weighted by how often they are true."""
    return _class_measure(
        truth, said, lambda hits, true, called: (2 * hits, true + called), by_frequency=True
    )


def balanced_accuracy_measure(positive: BoolArray, called: BoolArray) -> Measure:
    """½ (TPR + 1 − FPR). Brodersen et al. (2010)."""

    def measure(index: IntArray, size: int) -> Statistic:
        two_classes(positive, called, "balanced accuracy")
        found = mean_measure(called[positive])(index[positive], size)
        alarms = mean_measure(called[~positive])(index[~positive], size)
        return lambda weights: (found(weights) + 1 - alarms(weights)) / 2

    return measure


def false_positive_rate_measure(positive: BoolArray, called: BoolArray) -> Measure:
    """Share of the negatives that are called positive."""

    def measure(index: IntArray, size: int) -> Statistic:
        two_classes(positive, called, "a false positive rate")
        return mean_measure(called[~positive])(index[~positive], size)

    return measure


def auroc_measure(truth: npt.ArrayLike, scores: npt.ArrayLike) -> Measure:
    """AUROC from the wins of each speaker's positives over each other's negatives.

    wins[i, j] = #(s⁺ of i > s⁻ of j) + ½ #(equal); with weights w it is w'Ww / (w'p · w'n).
    """

    def measure(index: IntArray, size: int) -> Statistic:
        positive, score = two_classes(truth, scores, "AUROC")
        gains, owner = score[positive], index[positive]
        losses, other = score[~positive], index[~positive]
        wins = np.zeros((size, size))
        for speaker in np.unique(other):
            ordered = np.sort(losses[other == speaker])
            beaten = np.searchsorted(ordered, gains, "left") + np.searchsorted(
                ordered, gains, "right"
            )
            wins[:, speaker] = np.bincount(owner, weights=beaten / 2, minlength=size)
        num_positive = np.bincount(owner, minlength=size).astype(np.float64)
        num_negative = np.bincount(other, minlength=size).astype(np.float64)

        def statistic(weights: DoubleArray) -> DoubleArray:
            won = np.einsum("rs,rs->r", weights @ wins, weights)
            return _ratio(won, (weights @ num_positive) * (weights @ num_negative))

        return statistic

    return measure


def _class_measure(
    truth: IntArray,
    said: IntArray,
    parts: Callable[[DoubleArray, DoubleArray, DoubleArray], tuple[DoubleArray, DoubleArray]],
    *,
    by_frequency: bool = False,
) -> Measure:
    """Mean over classes of a ratio; `parts` makes its two sides of hits, truths and calls (S, K).

    Classes without anything below the line are left out. by_frequency: they weigh as often as they
    are true, not alike.
    """

    def measure(index: IntArray, size: int) -> Statistic:
        num_classes = int(max(truth.max(initial=0), said.max(initial=0))) + 1

        def counts(classes: IntArray, rows: BoolArray | slice = slice(None)) -> DoubleArray:
            flat = index[rows] * num_classes + classes[rows]
            sums = np.bincount(flat, minlength=size * num_classes)
            return sums.reshape(size, num_classes).astype(np.float64)

        true = counts(truth)
        above, below = parts(counts(truth, truth == said), true, counts(said))

        def statistic(weights: DoubleArray) -> DoubleArray:
            bottom = weights @ below
            there = bottom > 0
            each = np.divide(weights @ above, bottom, out=np.zeros_like(bottom), where=there)
            shares = weights @ true if by_frequency else there.astype(np.float64)
            return _ratio((each * shares).sum(axis=1), shares.sum(axis=1))

        return statistic

    return measure


def _ratio(upper: DoubleArray, lower: npt.NDArray[Any]) -> DoubleArray:
    """NaN where there is nothing to divide by."""
    result = np.full(len(upper), np.nan)
    np.divide(upper, lower, out=result, where=np.asarray(lower) > 0)
    return result


def _limits(drawn: DoubleArray) -> tuple[float, float]:
    """Percentiles of a figure on resamples (R,), NaN where it is not defined."""
    known = drawn[np.isfinite(drawn)]
    num_undefined = len(drawn) - len(known)
    if num_undefined > _MOST_UNDEFINED * len(drawn):
        raise EvaluationError(
            f"the figure is not defined on {num_undefined} of {len(drawn)} resamples (too few "
            "speakers have items of each class); no interval can be given"
        )
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
