"""What is heard beside a voice: others speaking at once, and music or noise.

Told from a window's voice embedding alone, by two logistic models in `hearing.npz`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Final
from zipfile import BadZipFile

import numpy as np

from facevoice.errors import WeightsError
from facevoice.records import DoubleArray, FloatArray, Reason
from facevoice.sessions import read_weights

BESIDE: Final = (Reason.SPEECH_OVERLAPS, Reason.NOISY)
"""What the columns of `Hearing` mean."""
# So little at once that the linear algebra library wakes no threads.
_CHUNK: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Hearing:
    """Two logistic models: weight (D, 2), bias (2,), and what is made of what they say.

    limits (2,): log-odds from which on the reason is given; doubt (2,): by how much the
    temperature of the voice's probabilities grows where it is certain.
    """

    weight: DoubleArray
    bias: DoubleArray
    limits: DoubleArray
    doubt: DoubleArray

    def __call__(self, embeddings: FloatArray | DoubleArray) -> DoubleArray:
        """Log-odds over the limit (B, 2) of voice embeddings (B, D), in the order of BESIDE."""
        odds = np.empty((len(embeddings), 2))
        for start in range(0, len(embeddings), _CHUNK):
            rows = slice(start, start + _CHUNK)
            odds[rows] = embeddings[rows].astype(np.float64) @ self.weight + self.bias
        return odds - self.limits

    def temperatures(self, odds: DoubleArray) -> DoubleArray:
        """By what the log-probabilities of the voice are to be divided: (B,), at least 1.

        odds: (B, 2), as `__call__` gives them. At the limit half of the doubt counts.
        """
        sure: DoubleArray = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
        temperatures: DoubleArray = 1 + sure @ self.doubt
        return temperatures


def reasons_beside(odds: DoubleArray) -> tuple[Reason, ...]:
    """What to bear in mind of one window; odds (2,) as `Hearing` gives them."""
    return tuple(reason for reason, odd in zip(BESIDE, odds, strict=True) if odd > 0)


def soften(probs: DoubleArray, temperature: float) -> DoubleArray:
    """Probabilities (8,) at a temperature: nearer to knowing nothing the higher it is."""
    softened = np.maximum(probs, 1e-12) ** (1 / temperature)
    found: DoubleArray = softened / softened.sum()
    return found


@cache
def load_hearing() -> Hearing:
    """The package's numbers; WeightsError if they are damaged."""
    try:
        with np.load(io.BytesIO(read_weights("hearing")), allow_pickle=False) as file:
            return Hearing(
                *(file[name].astype(np.float64) for name in ("weight", "bias", "limits", "doubt"))
            )
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise WeightsError(f"hearing: not a file of such models ({error})") from error
