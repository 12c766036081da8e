"""From logits to posteriors: temperatures, and what a corpus rules out; plain numpy."""

from __future__ import annotations

from typing import Final

import numpy as np

from facevoice.labels import Emotion
from facevoice.models.compact import softmax
from facevoice.types import BoolArray, DoubleArray, FloatArray

_NEUTRAL: Final = Emotion.NEUTRAL.position
_CALM: Final = Emotion.CALM.position
_NEVER: Final = -1e9


def restrict_logits(logits: FloatArray | DoubleArray, emotions: BoolArray) -> DoubleArray:
    """Log-probabilities (n, 8) given that the emotion is one that the corpus has, bool (n, 8).

    Where it has neutral but no calm, calm counts as neutral: its speakers were not asked to act the
    two apart.
    """
    logs = logits.astype(np.float64)
    folds = emotions[:, _NEUTRAL] & ~emotions[:, _CALM]
    logs[folds, _NEUTRAL] = np.logaddexp(logs[folds, _NEUTRAL], logs[folds, _CALM])
    logs = np.where(emotions, logs, _NEVER)
    restricted: DoubleArray = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return restricted


def temper(logits: FloatArray | DoubleArray, temperature: float) -> DoubleArray:
    """softmax(logits / T) over the last axis. Guo et al. (2017), On calibration."""
    return softmax(logits.astype(np.float64) / temperature)
