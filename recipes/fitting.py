"""Fitting of the compact family's heads: masked multinomial regression, fusion, conflict.

Everything is convex or tiny; scipy's L-BFGS finds the one optimum, so a run repeats exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from facevoice.features.compact import FACE_CLASSES, FACE_FEATURES, VOICE_FEATURES
from facevoice.labels import EMOTIONS, NUM_EMOTIONS, Emotion
from facevoice.models.compact import ConflictHead, LateFusion, LinearHead, conflict_evidence
from facevoice.types import BoolArray, DoubleArray

TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Embeddings (n, D), label columns (n,), the classes each one's corpus has (n, 8)."""

    embeddings: DoubleArray
    labels: np.ndarray
    allowed: BoolArray
    speakers: np.ndarray
    corpora: np.ndarray

    def where(self, keep: BoolArray) -> Samples:
        return Samples(
            self.embeddings[keep],
            self.labels[keep],
            self.allowed[keep],
            self.speakers[keep],
            self.corpora[keep],
        )

    def balanced_weights(self) -> DoubleArray:
        """Weights by which every (corpus, emotion) cell of one corpus counts the same."""
        cells = [f"{c}/{y}" for c, y in zip(self.corpora, self.labels, strict=True)]
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        weights: DoubleArray = 1.0 / counts[inverse]
        return weights * len(weights) / weights.sum()


def restrict(probs: DoubleArray, allowed: BoolArray) -> DoubleArray:
    """Probabilities given that the emotion is one of those that the corpus has."""
    kept = np.where(allowed, probs, 0.0) + TINY * allowed
    result: DoubleArray = kept / kept.sum(axis=1, keepdims=True)
    return result


def fit_softmax(
    x: DoubleArray,
    samples: Samples,
    prior: DoubleArray,
    penalties: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Multinomial regression with a Gaussian prior around `prior`.

    Classes that a sample's corpus doesn't have are left out of its softmax, so they are
    neither learnt nor unlearnt from it.

    Args:
        x: standardised inputs (n, D).
        samples: labels, masks.
        prior: (8, D) the weights to stay close to.
        penalties: (D,) half the inverse variance of that prior per input, over n samples.

    Returns:
        weight (8, D), bias (8,).
    """
    weights = samples.balanced_weights()
    hot = np.eye(NUM_EMOTIONS)[samples.labels]
    blocked = np.where(samples.allowed, 0.0, -1e9)
    dim = x.shape[1]

    def objective(flat: DoubleArray) -> tuple[float, DoubleArray]:
        weight, bias = flat[: NUM_EMOTIONS * dim].reshape(NUM_EMOTIONS, dim), flat[-NUM_EMOTIONS:]
        logits = x @ weight.T + bias + blocked
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        off = weight - prior
        loss = -(weights * (hot * np.maximum(log_probs, -1e3)).sum(axis=1)).sum()
        loss += (penalties * off**2).sum() + 0.1 * (bias**2).sum()
        error = weights[:, None] * (np.exp(log_probs) - hot)
        slope = error.T @ x + 2 * penalties * off
        return float(loss), np.concatenate([slope.ravel(), error.sum(axis=0) + 0.2 * bias])

    start = np.concatenate([prior.ravel(), np.zeros(NUM_EMOTIONS)])
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return best.x[:-NUM_EMOTIONS].reshape(NUM_EMOTIONS, dim), best.x[-NUM_EMOTIONS:]


@dataclass(frozen=True, slots=True)
class FacePenalties:
    """How far the face head may leave FER2013's classifier: on features, on its evidence."""

    features: float
    evidence: float


def fit_face_head(samples: Samples, penalties: FacePenalties) -> LinearHead:
    """A head that starts from the network's own FER2013 evidence and learns what to add.

    Calm has no evidence of its own there and starts as neutral's.
    """
    dim = samples.embeddings.shape[1]
    mean, scale = samples.embeddings.mean(axis=0), samples.embeddings.std(axis=0) + 1e-3
    # The evidence keeps its own scale: log-probabilities are commensurable as they are.
    mean[2 * FACE_FEATURES :], scale[2 * FACE_FEATURES :] = 0.0, 1.0
    prior = np.zeros((NUM_EMOTIONS, dim))
    for column, emotion in enumerate(FACE_CLASSES):
        prior[emotion.position, 2 * FACE_FEATURES + column] = 1.0
    prior[Emotion.CALM.position] = prior[Emotion.NEUTRAL.position]
    penalty = np.full(dim, penalties.features)
    penalty[2 * FACE_FEATURES :] = penalties.evidence
    x = (samples.embeddings - mean) / scale
    weight, bias = fit_softmax(x, samples, prior, penalty)
    return LinearHead(mean, scale, weight, bias)


def fit_voice_head(samples: Samples, penalty: float) -> LinearHead:
    """Temperature and bias on the voice network's own logits; its features are not used again."""
    dim = VOICE_FEATURES + NUM_EMOTIONS
    logits = samples.embeddings[:, VOICE_FEATURES:]
    weights = samples.balanced_weights()
    hot = np.eye(NUM_EMOTIONS)[samples.labels]
    blocked = np.where(samples.allowed, 0.0, -1e9)

    def loss(parameters: DoubleArray) -> float:
        scaled = logits * np.exp(parameters[0]) + parameters[1:] + blocked
        log_probs = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        fit = -(weights * (hot * np.maximum(log_probs, -1e3)).sum(axis=1)).mean()
        return float(fit + penalty * (parameters[1:] ** 2).mean())

    best = minimize(loss, np.zeros(1 + NUM_EMOTIONS), method="L-BFGS-B").x
    weight = np.zeros((NUM_EMOTIONS, dim))
    weight[:, VOICE_FEATURES:] = np.eye(NUM_EMOTIONS) * np.exp(best[0])
    return LinearHead(np.zeros(dim), np.ones(dim), weight, best[1:])


def fit_fusion(
    face: DoubleArray, voice: DoubleArray, labels: np.ndarray, allowed: BoolArray
) -> LateFusion:
    """Weights of the channels' log-probabilities, by likelihood."""
    hot = np.eye(NUM_EMOTIONS)[labels]
    blocked = np.where(allowed, 0.0, -1e9)

    def loss(parameters: DoubleArray) -> float:
        logits = parameters[0] * np.log(face + TINY) + parameters[1] * np.log(voice + TINY)
        logits = logits + blocked
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        return float(-(hot * np.maximum(log_probs, -1e3)).sum(axis=1).mean())

    best = minimize(loss, np.array([0.7, 0.7]), method="L-BFGS-B", bounds=[(0, 3), (0, 3)]).x
    return LateFusion(float(best[0]), float(best[1]), np.zeros(NUM_EMOTIONS))


def fit_conflict(
    face: DoubleArray, voice: DoubleArray, is_conflict: BoolArray, penalty: float
) -> ConflictHead:
    """Logistic regression on soft evidence, both classes weighted alike: equal prior odds."""
    evidence = conflict_evidence(face, voice)
    mean, scale = evidence.mean(axis=0), evidence.std(axis=0) + TINY
    x = (evidence - mean) / scale
    target = is_conflict.astype(np.float64)
    weights = np.where(is_conflict, 0.5 / target.mean(), 0.5 / (1 - target.mean()))

    def objective(parameters: DoubleArray) -> tuple[float, DoubleArray]:
        logits = x @ parameters[:-1] + parameters[-1]
        probs = 1 / (1 + np.exp(-logits))
        loss = weights * (np.logaddexp(0, logits) - target * logits)
        slope = weights * (probs - target) / len(target)
        gradient = np.append(x.T @ slope + 2 * penalty * parameters[:-1], slope.sum())
        return float(loss.mean() + penalty * (parameters[:-1] ** 2).sum()), gradient

    start = np.zeros(x.shape[1] + 1)
    best = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return ConflictHead(mean, scale, best[:-1], float(best[-1]))


def emotion_names() -> list[str]:
    return [e.value for e in EMOTIONS]
