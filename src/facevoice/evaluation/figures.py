"""A figure with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facevoice.errors import EvaluationError
from facevoice.evaluation.bootstrap import difference_of, percentile_interval
from facevoice.evaluation.resampling import Resampler, Statistic
from facevoice.types import DoubleArray


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
