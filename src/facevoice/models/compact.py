"""Steps 6 and 7 of the compact family: heads on frozen embeddings, late fusion, conflict.

All of it is small enough for numpy, and every number comes from one file, `heads.npz`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from facevoice.labels import EMOTIONS, Modality
from facevoice.results import Thresholds
from facevoice.types import DoubleArray, FeatureSet, FloatArray

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
