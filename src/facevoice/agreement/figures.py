"""Figures of agreement on names (nominal labels), with numpy alone.

Labels are whole numbers from 0; -1 stands for no label. A figure that the labels don't define, as
where all are one and the same, is None, never a default.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from facevoice.records import DoubleArray, IntArray

NUM_RESAMPLES: Final = 2000
LEVEL: Final = 0.95
# With fewer, resamples hold hardly more than a few of them and an interval says little.
LEAST_CLUSTERS: Final = 8
_MOST_UNDEFINED: Final = 0.1
_AT_ONCE: Final = 100


def confusion(first: IntArray, second: IntArray, num_labels: int) -> IntArray:
    """Counts (K, K): row = label by the first, column = label by the second, of n units each."""
    flat = np.bincount(first * num_labels + second, minlength=num_labels**2)
    return flat.reshape(num_labels, num_labels).astype(np.int64)


def cohen_kappa(counts: IntArray | DoubleArray) -> float | None:
    """Cohen's kappa of a confusion matrix (K, K): (p_o - p_e) / (1 - p_e). Cohen (1960)."""
    (value,) = _kappas(np.asarray(counts, np.float64)[np.newaxis])
    return None if np.isnan(value) else float(value)


def _kappas(counts: DoubleArray) -> DoubleArray:
    """Of matrices (R, K, K): (R,), NaN where all labels are one, or there are none."""
    total = counts.sum(axis=(1, 2))
    agreed = np.trace(counts, axis1=1, axis2=2)
    by_chance = (counts.sum(axis=2) * counts.sum(axis=1)).sum(axis=1)
    # Times total², so that whole numbers stay whole and an even chance of 1 is found exactly.
    above, below = agreed * total - by_chance, total**2 - by_chance
    result = np.full(len(counts), np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


def kappa_interval(
    first: IntArray, second: IntArray, clusters: IntArray, num_labels: int
) -> tuple[float, float] | None:
    """The 95 % percentile interval of kappa when whole clusters are drawn anew.

    Units beside each other aren't independent: those of one marked stretch, or of one file, are
    drawn together. Field & Welsh (2007), Bootstrapping clustered data.

    Args:
        first, second: labels (n,).
        clusters: of each unit, a number from 0.
        num_labels: K.

    Returns:
        None with fewer than 8 clusters, or where kappa isn't defined on a tenth of the resamples.
    """
    size = int(clusters.max(initial=-1)) + 1
    if size < LEAST_CLUSTERS:
        return None
    flat = (clusters * num_labels + first) * num_labels + second
    parts = np.bincount(flat, minlength=size * num_labels**2).reshape(size, -1).astype(np.float64)
    rng = np.random.default_rng(0)
    drawn: list[DoubleArray] = []
    for _ in range(NUM_RESAMPLES // _AT_ONCE):
        picked = rng.integers(size, size=(_AT_ONCE, size))
        offsets = size * np.arange(_AT_ONCE)[:, np.newaxis]
        weights = np.bincount((picked + offsets).ravel(), minlength=size * _AT_ONCE)
        sums = weights.reshape(_AT_ONCE, size) @ parts
        drawn.append(_kappas(sums.reshape(-1, num_labels, num_labels)))
    kappas = np.concatenate(drawn)
    known = kappas[np.isfinite(kappas)]
    if len(known) < (1 - _MOST_UNDEFINED) * len(kappas):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def krippendorff_alpha(ratings: IntArray, num_labels: int) -> float | None:
    """Krippendorff's alpha for names, of ratings (A, n) by A people, -1 where one gives none.

    By coincidences: a unit with m labels gives each pair of them 1 / (m - 1). Krippendorff (2011),
    Computing Krippendorff's alpha-reliability.
    """
    counts = np.stack([(ratings == label).sum(axis=0) for label in range(num_labels)], axis=1)
    counts = counts[counts.sum(axis=1) > 1].astype(np.float64)
    if not len(counts):
        return None
    each = 1 / (counts.sum(axis=1) - 1)
    agreed = float((counts * (counts - 1) * each[:, np.newaxis]).sum())
    sums = counts.sum(axis=0)
    total = float(sums.sum())
    expected = float((sums * (sums - 1)).sum()) / (total - 1)
    return None if total - expected <= 0 else 1 - (total - agreed) / (total - expected)
