"""Intervals by bootstrap over speakers: clips of one speaker are no independent draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.types import DoubleArray

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
