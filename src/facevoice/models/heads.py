"""Steps 6 and 7 of the compact family: heads on frozen embeddings, late fusion, conflict.

All of it is small enough for numpy, and every number comes from one file, `heads.npz`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Final
from zipfile import BadZipFile

import numpy as np

from facevoice.errors import WeightsError
from facevoice.models.checkpoint import Calibration
from facevoice.records import (
    EMOTIONS,
    NUM_EMOTIONS,
    BoolArray,
    DoubleArray,
    Emotion,
    FeatureSet,
    FloatArray,
    Modality,
    Thresholds,
)

_FLAT = np.array([e.is_flat for e in EMOTIONS])
_VALENCE = np.array([e.valence for e in EMOTIONS])
_AROUSAL = np.array([e.arousal for e in EMOTIONS])
_TINY = 1e-9

CONFLICT_EVIDENCE: tuple[str, ...] = (
    "log_agreement",
    "divergence",
    "valence_gap",
    "arousal_gap",
    "sharpness",
)


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """softmax(weight · (x - mean) / scale + bias): mean, scale (D,), weight (8, D), bias (8,)."""

    mean: DoubleArray
    scale: DoubleArray
    weight: DoubleArray
    bias: DoubleArray

    def __call__(self, embeddings: FloatArray | DoubleArray) -> DoubleArray:
        """Probabilities float64 (B, 8) of embeddings (B, D)."""
        logits = (embeddings - self.mean) / self.scale @ self.weight.T + self.bias
        return softmax(logits)


@dataclass(frozen=True, slots=True, eq=False)
class LateFusion:
    """Product of experts: softmax(Σ weight_m · log p_m + bias), one weight per modality."""

    face_weight: float
    voice_weight: float
    bias: DoubleArray

    def __call__(self, face: DoubleArray, voice: DoubleArray) -> DoubleArray:
        """Probabilities (B, 8) from those of the channels, (B, 8) each."""
        logits = self.face_weight * np.log(face + _TINY) + self.voice_weight * np.log(voice + _TINY)
        return softmax(logits + self.bias)


@dataclass(frozen=True, slots=True, eq=False)
class ConflictHead:
    """Logistic model on soft evidence of disagreement; mean, scale, weight (5,), bias."""

    mean: DoubleArray
    scale: DoubleArray
    weight: DoubleArray
    bias: float

    def __call__(self, face: DoubleArray, voice: DoubleArray) -> DoubleArray:
        """Probability (B,) that face and voice differ, at equal prior odds."""
        evidence = (conflict_evidence(face, voice) - self.mean) / self.scale
        probs: DoubleArray = 1 / (1 + np.exp(-(evidence @ self.weight + self.bias)))
        return probs


def conflict_evidence(face: DoubleArray, voice: DoubleArray) -> DoubleArray:
    """Soft measures of agreement of two posteriors; no labels are compared.

    Neutral and calm count as one class: no corpus has people who tell them apart by face.

    Args:
        face: (B, 8) probabilities.
        voice: (B, 8) probabilities.

    Returns:
        (B, 5) in the order of CONFLICT_EVIDENCE: log of Σ p·q; Jensen–Shannon divergence
        (Lin 1991) in nats; absolute gaps of expected valence and arousal; log of Σp²·Σq²,
        the sharpness of both, against which agreement is to be read.
    """
    p, q = _merge_flat(face), _merge_flat(voice)
    agreement = (p * q).sum(axis=1)
    sharpness = (p * p).sum(axis=1) * (q * q).sum(axis=1)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return np.stack(
        [
            np.log(agreement + _TINY),
            divergence,
            np.abs((face - voice) @ _VALENCE),
            np.abs((face - voice) @ _AROUSAL),
            np.log(sharpness + _TINY),
        ],
        axis=1,
    )


def _merge_flat(probs: DoubleArray) -> DoubleArray:
    return np.concatenate([probs[:, _FLAT].sum(axis=1, keepdims=True), probs[:, ~_FLAT]], axis=1)


def _relative_entropy(p: DoubleArray, q: DoubleArray) -> DoubleArray:
    entropy: DoubleArray = (p * np.log((p + _TINY) / (q + _TINY))).sum(axis=1)
    return entropy


def softmax(logits: DoubleArray) -> DoubleArray:
    """Softmax over the last axis, stable."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: DoubleArray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs


def flatness(probs: DoubleArray) -> float:
    """Share of a posterior (8,) on emotions that say "nothing clear": neutral and calm."""
    return float(probs[_FLAT].sum())


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """What the model says of one window: probabilities (8,) or None, conflict or None."""

    face: DoubleArray | None
    voice: DoubleArray | None
    fused: DoubleArray | None
    conflict: float | None


@dataclass(frozen=True, slots=True, eq=False)
class CompactModel:
    """Heads of the compact family."""

    heads: Mapping[Modality, LinearHead]
    fusion: LateFusion
    conflict: ConflictHead
    thresholds: Thresholds

    def __call__(self, features: FeatureSet) -> Posteriors:
        """Posteriors of one window; a missing modality leaves its own and the conflict None."""
        face = self._channel(features, Modality.VIDEO)
        voice = self._channel(features, Modality.AUDIO)
        if face is None or voice is None:
            fused = face if face is not None else voice
            return Posteriors(_row(face), _row(voice), _row(fused), None)
        return Posteriors(
            face[0], voice[0], self.fusion(face, voice)[0], float(self.conflict(face, voice)[0])
        )

    def _channel(self, features: FeatureSet, modality: Modality) -> DoubleArray | None:
        embedding = features.embeddings.get(modality)
        return None if embedding is None else self.heads[modality](embedding[np.newaxis])


def _row(probs: DoubleArray | None) -> DoubleArray | None:
    return None if probs is None else probs[0]


# Heads of the compact family to and from their file; nothing is ever unpickled.


def save_model(model: CompactModel, file: IO[bytes]) -> None:
    """Write a model as an npz of plain arrays, the same bytes for the same numbers."""
    arrays: dict[str, object] = {
        "fusion.weights": np.array([model.fusion.face_weight, model.fusion.voice_weight]),
        "fusion.bias": model.fusion.bias,
        "conflict.mean": model.conflict.mean,
        "conflict.scale": model.conflict.scale,
        "conflict.weight": model.conflict.weight,
        "conflict.bias": np.array(model.conflict.bias),
        "thresholds": np.array(
            [
                model.thresholds.conflict_above,
                model.thresholds.match_below,
                model.thresholds.flat_above,
                model.thresholds.clear_above,
            ]
        ),
        "emotions": np.array([e.value for e in Emotion]),
    }
    for modality, head in model.heads.items():
        arrays[f"{modality}.mean"] = head.mean
        arrays[f"{modality}.scale"] = head.scale
        arrays[f"{modality}.weight"] = head.weight.astype(np.float32)
        arrays[f"{modality}.bias"] = head.bias
    np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def load_model(content: bytes) -> CompactModel:
    """Read what `save_model` wrote.

    Raises:
        WeightsError: the bytes are no such file, or one for other emotions or evidence.
    """
    try:
        return _read_model(content)
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise WeightsError(f"heads: not a file of compact heads ({error})") from error


def _read_model(content: bytes) -> CompactModel:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if [str(e) for e in arrays["emotions"]] != [e.value for e in Emotion]:
            raise WeightsError("heads: made for another list of emotions")
        heads = {
            m: LinearHead(
                arrays[f"{m}.mean"].astype(np.float64),
                arrays[f"{m}.scale"].astype(np.float64),
                arrays[f"{m}.weight"].astype(np.float64),
                arrays[f"{m}.bias"].astype(np.float64),
            )
            for m in Modality
        }
        face_weight, voice_weight = (float(w) for w in arrays["fusion.weights"])
        fusion = LateFusion(face_weight, voice_weight, arrays["fusion.bias"])
        conflict = ConflictHead(
            arrays["conflict.mean"],
            arrays["conflict.scale"],
            arrays["conflict.weight"],
            float(arrays["conflict.bias"]),
        )
        thresholds = Thresholds(*(float(t) for t in arrays["thresholds"]))
    if fusion.bias.shape != (NUM_EMOTIONS,):
        raise WeightsError(f"heads: fusion bias has shape {fusion.bias.shape}")
    return CompactModel(heads, fusion, conflict, thresholds)


# From logits to posteriors: temperatures, and what a corpus rules out; plain numpy.

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
        face = _row_posteriors(probs["face"], row, shows.get(Modality.VIDEO, False))
        voice = _row_posteriors(probs["voice"], row, shows.get(Modality.AUDIO, False))
        fused = _row_posteriors(probs["emotion"], row, any(shows.values()))
        conflict = _row_posteriors(probs["conflict"], row, face is not None and voice is not None)
        rows.append(
            Posteriors(face, voice, fused, None if conflict is None else float(conflict[1]))
        )
    return rows


def _row_posteriors(probs: DoubleArray | None, row: int, shown: bool) -> DoubleArray | None:
    return probs[row] if probs is not None and shown else None
