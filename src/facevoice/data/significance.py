"""Do two rows of votes differ by more than chance? Exactly, and over many clips at once."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from facevoice.types import DoubleArray

IntArray = npt.NDArray[np.int64]


def freeman_halton(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """p of Fisher's exact test on the 2 × k table of two rows of counts (k,).

    With the margins fixed, p is the sum over all tables that are no likelier than the one found.
    Freeman & Halton (1951), Biometrika 38. Meant for small tables (some tens of votes): all are
    enumerated.
    """
    rows = zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True)
    # The order of columns is without meaning: sorted, many clips share one table.
    return _exact_p(tuple(sorted((int(a), int(b)) for a, b in rows if a + b)))


def benjamini_hochberg(p_values: npt.ArrayLike) -> DoubleArray:
    """Adjusted p-values (n,): p ≤ q keeps the false discovery rate at q.

    q_(i) = min_{j ≥ i} n p_(j) / j over the sorted p. Benjamini & Hochberg (1995).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return np.minimum(adjusted, 1.0)


@lru_cache(maxsize=65_536)
def _exact_p(columns: tuple[tuple[int, int], ...]) -> float:
    """Freeman–Halton p of a 2 × k table, given by its non-empty columns."""
    if len(columns) < 2:
        return 1.0
    table = np.array(columns, dtype=np.int64)
    totals, num_first = table.sum(axis=1), int(table[:, 0].sum())
    tables = _tables(totals, num_first)
    log_factorial = np.array([math.lgamma(k + 1) for k in range(int(totals.max()) + 1)])
    # ln Π C(total, first); the constant of the margins cancels in the ratio below.
    weights = (log_factorial[totals] - log_factorial[tables] - log_factorial[totals - tables]).sum(
        axis=1
    )
    found = (log_factorial[totals] - log_factorial[table[:, 0]] - log_factorial[table[:, 1]]).sum()
    probs = np.exp(weights - weights.max())
    return float(probs[weights <= found + 1e-7].sum() / probs.sum())


def _tables(totals: IntArray, num_first: int) -> IntArray:
    """All first rows (m, k) with the given sum and no entry above its column's total."""
    rows = np.zeros((1, 0), dtype=np.int64)
    room = np.cumsum(totals[::-1])[::-1]
    for place, total in enumerate(totals):
        entries = np.arange(total + 1)
        rows = np.concatenate(
            [np.repeat(rows, len(entries), axis=0), np.tile(entries, len(rows))[:, None]], axis=1
        )
        left = num_first - rows.sum(axis=1)
        after = int(room[place + 1]) if place + 1 < len(totals) else 0
        rows = rows[(left >= 0) & (left <= after)]
    return rows
