"""How clearly a face is seen, and how much less is to be made of what it shows.

Heads are nearly as sure of a blurred, covered or turned face as of a clear one, and its embedding
looks hardly stranger. Sharpness and the detector's score tell them apart, so they are
kept of each face in each window, and the face's probabilities are tempered by them before they
are joined with the voice's or held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from facevoice.people.identity import sharpness
from facevoice.records import DoubleArray, FaceSighting, FloatArray, WindowView

# Fitted by `python -m recipes.clearness` to 44 films of 7 people, plain and spoilt in eleven ways;
# docs/benchmarks/decisions.md has its table. Plain faces have a sharpness of 1 and a score of 0.91
# or more; half of those blurred by 0.12 eye distances a sharpness below 0.2, half of those turned
# to the side by 60° a score below 0.87.
_ENOUGH: Final[DoubleArray] = np.array([0.5, 0.9])
"""Sharpness and score from which on a face is as clear as any."""
_WEIGHTS: Final[DoubleArray] = np.array([1.84, 15.52])
"""What each counts that falls short by all of it; 1 in all is the limit."""
_DOUBT: Final = 0.5
"""By how much the temperature of the face's probabilities grows at the limit."""


def clearness(sightings: Sequence[FaceSighting]) -> FloatArray:
    """Of a face in one window (2,): its sharpness and the detector's score, medians, in [0, 1]."""
    rows = [(sharpness(s.crop), s.score) for s in sightings]
    return np.median(rows, axis=0).astype(np.float32)


def shortfall(clear: FloatArray) -> DoubleArray:
    """By what share each of `clearness` (…, 2) is less than enough, in [0, 1]."""
    return np.maximum(0.0, 1 - clear.astype(np.float64) / _ENOUGH)


def unclearness(view: WindowView) -> float:
    """How badly the judged face is seen: 0 is clearly, from 1 on nothing is made of it."""
    clear = view.faces[0].clearness if view.faces else None
    return 0.0 if clear is None else float(shortfall(clear) @ _WEIGHTS)


def doubted(probs: DoubleArray, unclear: DoubleArray) -> DoubleArray:
    """Probabilities (B, 8) nearer to knowing nothing the less clear (B,) the face; NaN stays."""
    softened = np.maximum(probs, 1e-12) ** (1 / (1 + _DOUBT * unclear))[:, None]
    # Clear ones stay as they are to the last digit.
    tempered: DoubleArray = np.where(
        unclear[:, None] > 0, softened / softened.sum(axis=1, keepdims=True), probs
    )
    return tempered
