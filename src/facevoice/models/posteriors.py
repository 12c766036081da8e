"""From logits to posteriors: temperatures, and what a corpus rules out; plain numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from facevoice.labels import Emotion, Modality
from facevoice.models.checkpoint_info import Calibration
from facevoice.models.compact import Posteriors, softmax
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


def posterior_rows(
    logits: Mapping[str, FloatArray | None],
    present: Mapping[Modality, BoolArray],
    calibration: Calibration,
) -> list[Posteriors]:
    """Posteriors of B items from the heads' logits.

    Args:
        logits: emotion, face, voice (B, 8), conflict (B, 2) as match, conflict; None for no head.
        present: which items show the channel, (B,), for the channels that the network looks at.
        calibration: temperatures.

    Returns:
        What is said of each item: nothing of a channel that is not there, and no conflict then.
    """
    probs = {
        head: None if values is None else temper(values, getattr(calibration, head))
        for head, values in logits.items()
    }
    rows: list[Posteriors] = []
    for row in range(len(next(iter(present.values())))):
        shows = {m: bool(there[row]) for m, there in present.items()}
        face = _row(probs["face"], row, shows.get(Modality.VIDEO, False))
        voice = _row(probs["voice"], row, shows.get(Modality.AUDIO, False))
        fused = _row(probs["emotion"], row, any(shows.values()))
        conflict = _row(probs["conflict"], row, face is not None and voice is not None)
        rows.append(
            Posteriors(face, voice, fused, None if conflict is None else float(conflict[1]))
        )
    return rows


def _row(probs: DoubleArray | None, row: int, shown: bool) -> DoubleArray | None:
    return probs[row] if probs is not None and shown else None
