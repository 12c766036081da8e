"""The bootstrap over speakers from sums: the same numbers as `cluster_bootstrap`, far sooner.

A resample is told by how often it holds each speaker. Figures that come from counts need no items
then: the counts of a resample are the speakers' counts, weighted. That is exact, not approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.checks import IntArray
from facevoice.types import BoolArray, DoubleArray

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
