"""Fitting of the compact family's heads: masked multinomial regression, fusion, conflict.

Everything is convex or tiny; scipy's L-BFGS finds the one optimum, so a run repeats exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from facevoice.backbones.compact import FACE_CLASSES, FACE_FEATURES
from facevoice.models.heads import ConflictHead, LateFusion, LinearHead, conflict_evidence
from facevoice.records import NUM_EMOTIONS, BoolArray, DoubleArray, Emotion

TINY = 1e-9
# How far FER2013's own classes are believed before any film was seen.
FER_TRUST = 0.3
# Directions of voice embeddings that are kept; what lies beyond hardly varies.
NUM_DIRECTIONS = 700
NEUTRAL, CALM = Emotion.NEUTRAL.position, Emotion.CALM.position


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Embeddings (n, D), label columns (n,), and what a corpus leaves open.

    emotions (n, 8): the classes that the sample's corpus has.
    """

    embeddings: DoubleArray
    labels: np.ndarray
    emotions: BoolArray
    speakers: np.ndarray
    corpora: np.ndarray

    def where(self, keep: BoolArray) -> Samples:
        return Samples(
            self.embeddings[keep],
            self.labels[keep],
            self.emotions[keep],
            self.speakers[keep],
            self.corpora[keep],
        )

    def balanced_weights(self) -> DoubleArray:
        """Weights by which the emotions of a corpus count alike, and a corpus as it has speakers.

        Many clips of one speaker teach little about others, so clips are not what is counted.
        """
        cells = [f"{c}/{y}" for c, y in zip(self.corpora, self.labels, strict=True)]
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        weights: DoubleArray = 1.0 / counts[inverse]
        for corpus in np.unique(self.corpora):
            rows = self.corpora == corpus
            weights[rows] *= len(np.unique(self.speakers[rows])) / weights[rows].sum()
        return weights * len(weights) / weights.sum()


@dataclass(frozen=True, slots=True, eq=False)
class PartialLabels:
    """What labels say for certain, both bool (n, 8).

    possible: the classes that a sample may turn out to be; elsewhere nothing is learnt or unlearnt.
    targets: the classes that agree with its label.
    A corpus without calm had its speakers act neutral, which may sound or look calm: neutral there
    means "neutral or calm". But its other emotions are certainly not calm.
    """

    possible: BoolArray
    targets: BoolArray

    @classmethod
    def of(cls, labels: np.ndarray, emotions: BoolArray) -> PartialLabels:
        possible = emotions.copy()
        possible[:, CALM] = True
        targets = np.eye(NUM_EMOTIONS, dtype=bool)[labels]
        targets[:, CALM] |= (labels == NEUTRAL) & ~emotions[:, CALM]
        return cls(possible, targets)

    def loss(self, logits: DoubleArray, weights: DoubleArray) -> tuple[float, DoubleArray]:
        """-Σ w log Σ_targets p, and its slope by the logits (n, 8)."""
        logits = np.where(self.possible, logits, -1e9)
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        inside = np.where(self.targets, log_probs, -1e9)
        log_target = np.logaddexp.reduce(inside, axis=1, keepdims=True)
        slope = weights[:, None] * (np.exp(log_probs) - np.exp(inside - log_target))
        return float(-(weights * log_target[:, 0]).sum()), slope


def restrict(probs: DoubleArray, emotions: BoolArray) -> DoubleArray:
    """Probabilities given that the emotion is one of those that the corpus has (n or 1, 8).

    Where it has no calm, calm counts as neutral.
    """
    folded = probs.copy()
    without_calm = np.broadcast_to(~emotions[:, CALM], len(probs))
    folded[without_calm, NEUTRAL] += folded[without_calm, CALM]
    kept = np.where(emotions, folded, 0.0) + TINY * emotions
    result: DoubleArray = kept / kept.sum(axis=1, keepdims=True)
    return result


def fit_softmax(
    x: DoubleArray,
    samples: Samples,
    prior: DoubleArray,
    penalties: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Multinomial regression on partial labels, with a Gaussian prior around `prior`.

    Args:
        x: standardised inputs (n, D).
        samples: labels, emotions.
        prior: (8, D) the weights to stay close to.
        penalties: (D,) half the inverse variance of that prior per input, over n samples.

    Returns:
        weight (8, D), bias (8,).
    """
    labels = PartialLabels.of(samples.labels, samples.emotions)
    weights = samples.balanced_weights()
    dim = x.shape[1]

    def objective(flat: DoubleArray) -> tuple[float, DoubleArray]:
        weight, bias = flat[: NUM_EMOTIONS * dim].reshape(NUM_EMOTIONS, dim), flat[-NUM_EMOTIONS:]
        loss, error = labels.loss(x @ weight.T + bias, weights)
        off = weight - prior
        loss += float((penalties * off**2).sum() + 0.1 * (bias**2).sum())
        slope = error.T @ x + 2 * penalties * off
        return loss, np.concatenate([slope.ravel(), error.sum(axis=0) + 0.2 * bias])

    start = np.concatenate([prior.ravel(), np.zeros(NUM_EMOTIONS)])
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 150})
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
        prior[emotion.position, 2 * FACE_FEATURES + column] = FER_TRUST
    prior[Emotion.CALM.position] = prior[Emotion.NEUTRAL.position]
    penalty = np.full(dim, penalties.features)
    penalty[2 * FACE_FEATURES :] = penalties.evidence
    x = (samples.embeddings - mean) / scale
    weight, bias = fit_softmax(x, samples, prior, penalty)
    return LinearHead(mean, scale, weight, bias)


def fit_voice_head(samples: Samples, penalty: float = 30.0, shrinkage: float = 30.0) -> LinearHead:
    """Multinomial ridge regression on whitened features of the encoder.

    Embeddings vary most by who speaks and what is said; emotion hides in directions that vary
    little, which whitening brings up. `shrinkage` is added to each direction's variance, so that
    noise stays small (for standardised features whose variances sum up to their number).
    """
    mean, scale = samples.embeddings.mean(axis=0), samples.embeddings.std(axis=0) + 1e-6
    x = (samples.embeddings - mean) / scale
    variances, directions = np.linalg.eigh(x.T @ x / len(x))
    kept = np.argsort(variances)[::-1][:NUM_DIRECTIONS]
    whiten = directions[:, kept] / np.sqrt(variances[kept] + shrinkage)
    white = x @ whiten
    dim = white.shape[1]
    weight, bias = fit_softmax(white, samples, np.zeros((NUM_EMOTIONS, dim)), np.full(dim, penalty))
    return LinearHead(mean, scale, weight @ whiten.T, bias)


def fit_sharpness(probs: DoubleArray, samples: Samples) -> float:
    """The power t by which held-out probabilities are best calibrated: p^t, renormalised.

    The inverse of the temperature of Guo et al. (2017).
    """
    labels = PartialLabels.of(samples.labels, samples.emotions)
    logits, weights = np.log(probs + TINY), samples.balanced_weights()
    best = minimize_scalar(
        lambda t: labels.loss(logits * np.exp(t), weights)[0], bounds=(-2, 2), method="bounded"
    )
    return float(np.exp(best.x))


def sharpen(head: LinearHead, sharpness: float) -> LinearHead:
    """The head whose probabilities are those of `head` to the power `sharpness`."""
    return LinearHead(head.mean, head.scale, head.weight * sharpness, head.bias * sharpness)


def power(probs: DoubleArray, sharpness: float) -> DoubleArray:
    """p^sharpness, renormalised over the last axis."""
    raised = (probs + TINY) ** sharpness
    result: DoubleArray = raised / raised.sum(axis=-1, keepdims=True)
    return result


def fit_fusion(
    face: DoubleArray, voice: DoubleArray, labels: np.ndarray, emotions: BoolArray
) -> LateFusion:
    """Weights of the channels' log-probabilities, by likelihood."""
    partial = PartialLabels.of(labels, emotions)
    weights = np.ones(len(labels))

    def loss(parameters: DoubleArray) -> float:
        logits = parameters[0] * np.log(face + TINY) + parameters[1] * np.log(voice + TINY)
        return partial.loss(logits, weights)[0]

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
