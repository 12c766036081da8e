"""A figure with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.metrics import IntArray
from facevoice.records import BoolArray, DoubleArray

# Intervals by bootstrap over speakers: clips of one speaker are no independent draws.

Metric = Callable[..., float]
"""A figure of arrays that all run over the same items, such as `auroc(truth, scores)`."""

_MOST_UNDEFINED: Final = 0.1


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
class Difference:
    """How much a figure of run A lies above that of run B, on the same items.

    p_value: two-sided, 2 · min(share of resamples ≤ 0, share ≥ 0), at least 1/resamples.
    """

    interval: Interval
    p_value: float


def cluster_bootstrap(
    metric: Metric,
    arrays: Sequence[npt.ArrayLike],
    clusters: Sequence[Any] | npt.NDArray[Any],
    *,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `metric(*arrays)` when whole clusters (speakers) are drawn anew.

    arrays: each of length n on its first axis; clusters: (n,) name of each item's speaker. As many
    clusters as there are are drawn with replacement, each with all its items. With few clusters
    (below about 20) percentile intervals are too narrow. Field & Welsh (2007), Bootstrapping
    clustered data; Efron & Tibshirani (1993), §13.

    Raises:
        EvaluationError: the figure is not defined on the data or on more than a tenth of the
            resamples, there is one cluster only, or lengths differ.
    """
    data = _check(arrays, clusters, num_resamples, level)
    estimate = float(metric(*data))
    drawn = _resample(
        lambda index: metric(*(array[index] for array in data)), clusters, num_resamples, seed
    )
    return percentile_interval(estimate, drawn, _num_clusters(clusters), level)


def paired_bootstrap(
    metric: Metric,
    run_a: Sequence[npt.ArrayLike],
    run_b: Sequence[npt.ArrayLike],
    clusters: Sequence[Any] | npt.NDArray[Any],
    *,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Interval of `metric(*run_a) − metric(*run_b)`, both on the same resamples of clusters.

    run_a, run_b: the metric's arguments for each run, over the same items in the same order (for
    example `(truth, scores_a)` and `(truth, scores_b)`). Otherwise as `cluster_bootstrap`.

    Raises:
        EvaluationError: as `cluster_bootstrap`.
    """
    data = _check([*run_a, *run_b], clusters, num_resamples, level)
    first, second = data[: len(run_a)], data[len(run_a) :]

    def difference(index: npt.NDArray[np.int64] | slice) -> float:
        return metric(*(a[index] for a in first)) - metric(*(b[index] for b in second))

    estimate = float(difference(slice(None)))
    drawn = _resample(difference, clusters, num_resamples, seed)
    return difference_of(estimate, drawn, _num_clusters(clusters), level)


def _check(
    arrays: Sequence[npt.ArrayLike], clusters: Any, num_resamples: int, level: float
) -> list[npt.NDArray[Any]]:
    data = [np.asarray(array) for array in arrays]
    if not data or any(array.ndim == 0 or len(array) != len(clusters) for array in data):
        raise EvaluationError(
            f"the arrays must have one entry for each of the {len(clusters)} cluster names"
        )
    if num_resamples < 1 or not 0 < level < 1:
        raise EvaluationError(f"{num_resamples} resamples at level {level}: no interval")
    return data


def _num_clusters(clusters: Any) -> int:
    return len(np.unique(np.asarray(clusters)))


def _resample(
    figure: Callable[[npt.NDArray[np.int64]], float], clusters: Any, num_resamples: int, seed: int
) -> DoubleArray:
    """The figure on each resample, NaN where it is not defined; (num_resamples,)."""
    names, inverse = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        raise EvaluationError(
            f"all items are of one speaker ({names[0]}): nothing can be said of others"
            if len(names)
            else "no items to resample"
        )
    order = np.argsort(inverse, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1)
    draws = np.random.default_rng(seed).integers(len(names), size=(num_resamples, len(names)))
    values = np.empty(num_resamples)
    for place, draw in enumerate(draws):
        try:
            values[place] = figure(np.concatenate([members[cluster] for cluster in draw]))
        except EvaluationError:
            values[place] = np.nan
    return values


def percentile_interval(
    estimate: float, drawn: DoubleArray, num_clusters: int, level: float = 0.95
) -> Interval:
    """The interval that `drawn` (resamples,) gives, NaN where the figure is not defined.

    Raises:
        EvaluationError: it is not defined on more than a tenth of the resamples.
    """
    known = drawn[np.isfinite(drawn)]
    num_undefined = len(drawn) - len(known)
    if num_undefined > _MOST_UNDEFINED * len(drawn):
        raise EvaluationError(
            f"the figure is not defined on {num_undefined} of {len(drawn)} resamples (too few "
            "speakers have items of each class); no interval can be given"
        )
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=estimate,
        low=float(low),
        high=float(high),
        level=level,
        num_clusters=num_clusters,
        num_resamples=len(drawn),
        num_undefined=num_undefined,
    )


def difference_of(
    estimate: float, drawn: DoubleArray, num_clusters: int, level: float = 0.95
) -> Difference:
    """Interval and p-value that differences on resamples (resamples,) give; see `Difference`.

    Raises:
        EvaluationError: they are not defined on more than a tenth of the resamples.
    """
    interval = percentile_interval(estimate, drawn, num_clusters, level)
    known = drawn[np.isfinite(drawn)]
    tail = 2 * min(float((known <= 0).mean()), float((known >= 0).mean()))
    return Difference(interval, min(1.0, max(tail, 1 / len(known))))


# The bootstrap over speakers from sums: the same numbers as `cluster_bootstrap`, far sooner.
#
# A resample is told by how often it holds each speaker. Figures that come from counts need no items
# then: the counts of a resample are the speakers' counts, weighted. That is exact, not approximate.

Statistic = Callable[[DoubleArray], DoubleArray]
"""From weights (R, S) of S speakers in R resamples to the figure (R,), NaN where not defined."""


@dataclass(frozen=True, slots=True, eq=False)
class Resampler:
    """Draws of whole clusters (speakers).

    index (n,): the cluster of each item; weights (R, S): how often each resample has each cluster.
    """

    index: IntArray
    weights: DoubleArray

    @property
    def num_clusters(self) -> int:
        """S."""
        return int(self.weights.shape[1])

    @classmethod
    def of(cls, clusters: npt.NDArray[np.object_], num_resamples: int, seed: int = 0) -> Self:
        """Draw as many clusters as there are, with replacement, as `cluster_bootstrap` does.

        Raises:
            EvaluationError: an item has no cluster, or there is one cluster only.
        """
        index, size = number_clusters(clusters)
        return cls(index, draw_weights(size, num_resamples, seed))


def number_clusters(clusters: npt.NDArray[np.object_]) -> tuple[IntArray, int]:
    """Number (n,) of each item's cluster in sorted order, and how many there are.

    Raises:
        EvaluationError: an item has no cluster, or there is one cluster only.
    """
    num_unnamed = sum(name is None for name in clusters)
    if num_unnamed:
        raise EvaluationError(
            f"{num_unnamed} of {len(clusters)} items name no speaker, so there is no interval over "
            "speakers"
        )
    names, index = np.unique(clusters.astype(str), return_inverse=True)
    if len(names) < 2:
        only = f"all items are of one speaker ({names[0]})" if len(names) else "there are no items"
        raise EvaluationError(f"{only}: nothing can be said of other speakers")
    return index.astype(np.int64), len(names)


def draw_weights(num_clusters: int, num_resamples: int, seed: int) -> DoubleArray:
    """(R, S): how often each of S clusters is among S draws with replacement."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(num_clusters, size=(num_resamples, num_clusters))
    flat = draws + num_clusters * np.arange(num_resamples)[:, np.newaxis]
    counts = np.bincount(flat.ravel(), minlength=num_clusters * num_resamples)
    return counts.reshape(num_resamples, num_clusters).astype(np.float64)


def confusion_sums(
    truth: IntArray, said: IntArray, index: IntArray, num_clusters: int
) -> DoubleArray:
    """(S, K, K) counts of each cluster, row = true class, column = predicted class."""
    size = int(max(truth.max(initial=0), said.max(initial=0))) + 1
    flat = (index * size + truth) * size + said
    counts = np.bincount(flat, minlength=num_clusters * size**2)
    return counts.reshape(num_clusters, size, size).astype(np.float64)


def uar_statistic(truth: IntArray, said: IntArray, index: IntArray, num_clusters: int) -> Statistic:
    """`metrics.uar` on resamples."""
    sums = confusion_sums(truth, said, index, num_clusters)
    totals, hits = sums.sum(axis=2), np.einsum("skk->sk", sums)

    def values(weights: DoubleArray) -> DoubleArray:
        counts = weights @ totals
        present = counts > 0
        recalls = np.divide(weights @ hits, counts, out=np.zeros_like(counts), where=present)
        return _ratio(recalls.sum(axis=1), present.sum(axis=1))

    return values


def mean_statistic(values: npt.NDArray[np.generic], index: IntArray, size: int) -> Statistic:
    """The mean over items on resamples, for example of what is correct (WAR) or squared errors."""
    sums = np.bincount(index, weights=values.astype(np.float64), minlength=size)
    counts = np.bincount(index, minlength=size).astype(np.float64)
    return lambda weights: _ratio(weights @ sums, weights @ counts)


def macro_f1_statistic(
    truth: IntArray, said: IntArray, index: IntArray, num_clusters: int
) -> Statistic:
    """`metrics.macro_f1` on resamples."""
    sums = confusion_sums(truth, said, index, num_clusters)
    either, hits = sums.sum(axis=2) + sums.sum(axis=1), np.einsum("skk->sk", sums)

    def values(weights: DoubleArray) -> DoubleArray:
        counts = weights @ either
        occurs = counts > 0
        scores = np.divide(2 * weights @ hits, counts, out=np.zeros_like(counts), where=occurs)
        return _ratio(scores.sum(axis=1), occurs.sum(axis=1))

    return values


def balanced_accuracy_statistic(
    positive: BoolArray, called: BoolArray, index: IntArray, num_clusters: int
) -> Statistic:
    """½ (TPR + 1 − FPR) on resamples; not defined on one class."""
    hit_rate = mean_statistic(called[positive], index[positive], num_clusters)
    alarm_rate = mean_statistic(called[~positive], index[~positive], num_clusters)
    return lambda weights: (hit_rate(weights) + 1 - alarm_rate(weights)) / 2


def auroc_statistic(
    positive: BoolArray, scores: DoubleArray, index: IntArray, num_clusters: int
) -> Statistic:
    """`metrics.auroc` on resamples, from the wins of each speaker's positives over each other's.

    wins[i, j] = #(s⁺ of i > s⁻ of j) + ½ #(equal); with weights w the AUROC is w'Ww / (w'p · w'n).
    """
    gains, owner = scores[positive], index[positive]
    losses, other = scores[~positive], index[~positive]
    wins = np.zeros((num_clusters, num_clusters))
    for cluster in np.unique(other):
        ordered = np.sort(losses[other == cluster])
        below = np.searchsorted(ordered, gains, side="left")
        upto = np.searchsorted(ordered, gains, side="right")
        halves = (below + upto) / 2
        wins[:, cluster] = np.bincount(owner, weights=halves, minlength=num_clusters)
    num_positive = np.bincount(owner, minlength=num_clusters).astype(np.float64)
    num_negative = np.bincount(other, minlength=num_clusters).astype(np.float64)

    def values(weights: DoubleArray) -> DoubleArray:
        won = np.einsum("rs,rs->r", weights @ wins, weights)
        return _ratio(won, (weights @ num_positive) * (weights @ num_negative))

    return values


def _ratio(upper: DoubleArray, lower: npt.NDArray[np.generic]) -> DoubleArray:
    """NaN where there is nothing to divide by."""
    result = np.full(len(upper), np.nan)
    np.divide(upper, lower, out=result, where=np.asarray(lower) > 0)
    return result


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
    """A difference of two figures, its 95 % interval and its two-sided p-value over speakers."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve, for drawing; at most a few hundred."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """Mean confidence, share that is correct and number of items of each bin that has any."""

    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]
    counts: tuple[int, ...]


def figure(compute: Callable[[], float]) -> Figure | Refused:
    """What `compute` gives, or why it gives nothing."""
    try:
        return Figure(compute())
    except EvaluationError as error:
        return Refused(str(error))


def figure_with_interval(
    compute: Callable[[], float],
    resampler: Resampler | Refused,
    statistic: Callable[[Resampler], Statistic],
) -> Figure | Refused:
    """What `compute` gives with the interval of the same figure on resamples of speakers.

    Where only the interval is not defined, the figure stands with a note.
    """
    plain = figure(compute)
    if isinstance(plain, Refused):
        return plain
    if isinstance(resampler, Refused):
        return Figure(plain.value, note=resampler.reason)
    try:
        interval = percentile_interval(
            plain.value, statistic(resampler)(resampler.weights), resampler.num_clusters
        )
    except EvaluationError as error:
        return Figure(plain.value, note=str(error))
    return Figure(plain.value, interval.low, interval.high)


def gap(first: Statistic, second: Statistic, weights: DoubleArray) -> Gap | Refused:
    """`first` − `second` on the same resamples; weights (R, S) of all speakers."""
    once = np.ones((1, weights.shape[1]))
    value = float((first(once) - second(once))[0])
    if not np.isfinite(value):
        return Refused("one of the two figures is not defined")
    try:
        found = difference_of(value, first(weights) - second(weights), weights.shape[1])
    except EvaluationError as error:
        return Refused(str(error))
    return Gap(value, found.interval.low, found.interval.high, found.p_value)


def make_resampler(clusters: object, num_resamples: int, seed: int = 0) -> Resampler | Refused:
    """Resamples of these items' speakers, or why there are none."""
    try:
        return Resampler.of(np.asarray(clusters, dtype=object), num_resamples, seed)
    except EvaluationError as error:
        return Refused(str(error))
