"""Checks of what is handed to a metric, so that each refuses alike what it is not defined on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.types import BoolArray, DoubleArray

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
