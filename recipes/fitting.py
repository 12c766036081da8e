"""Fitting of the compact family's heads: how windows are compared, told, doubted and joined.

A head learns from random draws of how much is known of a person and of a setting, nothing
included, evenly or mostly of one mood. Everything is convex or tiny; scipy's L-BFGS finds the one
optimum, so a run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import minimize

from facevoice.backbones.compact import FACE_CLASSES, FACE_FEATURES
from facevoice.models.heads import (
    ChannelHead,
    Comparison,
    ConflictHead,
    Familiarity,
    LateFusion,
    LinearHead,
    conflict_evidence,
    softmax,
)
from facevoice.people.baseline import Usual
from facevoice.records import NUM_EMOTIONS, BoolArray, DoubleArray, Emotion

TINY = 1e-9
# How far FER2013's own classes are believed before any film was seen.
FER_TRUST = 0.3
NEUTRAL, CALM = Emotion.NEUTRAL.position, Emotion.CALM.position

NUM_KNOWN: Final = (0, 1, 3, 6, 12, 24, 1000)
"""Otherwise, so many windows of the person."""
NUM_OF_SETTING: Final = (0, 12, 60)
"""Windows of other people in the same setting."""
MOODS: Final = ("balanced", "neutral", "one")
"""Emotions of the known windows: alike, 70 % of them neutral, 70 % of them any one."""
NOTHING_SHARE: Final = 0.4
"""How often nothing is known at all, as of most files that people have."""
_MOSTLY: Final = 0.7
_NUM_PARTS: Final = 3  # of speakers, each told by a head of the others


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Embeddings (n, D), label columns (n,), and what a corpus leaves open.

    emotions (n, 8): the classes that the sample's corpus has; clips: whose window it is;
    spoilt: whether its sound was spoilt on purpose.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    emotions: BoolArray
    speakers: np.ndarray
    corpora: np.ndarray
    clips: np.ndarray
    spoilt: BoolArray

    def where(self, keep: np.ndarray) -> Samples:
        """Some rows: bool (n,) or their numbers."""
        return Samples(*(getattr(self, field.name)[keep] for field in fields(self)))

    def joined(self, other: Samples) -> Samples:
        """Rows of both."""
        names = [field.name for field in fields(self)]
        return Samples(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        )

    def without(self, speakers: frozenset[str]) -> Samples:
        """All but these speakers' rows."""
        return self.where(~np.isin(self.speakers, sorted(speakers)))

    def balanced_weights(self, shares: Mapping[str, float]) -> DoubleArray:
        """Weights by which the emotions of a corpus count alike, and a corpus as it has speakers.

        Many clips of one speaker teach little about others, so clips are not what is counted. A
        corpus counts `shares` of that, one that is not named all of it.
        """
        cells = [f"{c}/{y}" for c, y in zip(self.corpora, self.labels, strict=True)]
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        weights: DoubleArray = 1.0 / counts[inverse]
        for corpus in np.unique(self.corpora):
            rows = self.corpora == corpus
            people = len(np.unique(self.speakers[rows])) * shares.get(str(corpus), 1.0)
            weights[rows] *= people / weights[rows].sum()
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


# Who is known.


class Acquaintances:
    """Which other rows could be known when a row is judged: of the same person, or setting."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._people = _rows_by(samples.speakers, samples.spoilt)
        self._settings = _rows_by(samples.corpora, samples.spoilt)

    def of_person(self, row: int) -> np.ndarray:
        """Rows of the same person's other clips."""
        samples = self._samples
        rows = self._people[samples.speakers[row], samples.spoilt[row]]
        return rows[samples.clips[rows] != samples.clips[row]]

    def of_setting(self, row: int) -> np.ndarray:
        """Rows of other clips of the same corpus."""
        samples = self._samples
        rows = self._settings[samples.corpora[row], samples.spoilt[row]]
        return rows[samples.clips[rows] != samples.clips[row]]

    def draw(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows known of the person, and of the setting, which those of the person belong to."""
        if rng.random() < NOTHING_SHARE:
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing
        num = NUM_KNOWN[rng.integers(len(NUM_KNOWN))]
        mood = MOODS[rng.integers(len(MOODS))]
        person = draw_known(self.of_person(row), self._samples.labels, num, mood, rng)
        num_others = NUM_OF_SETTING[rng.integers(len(NUM_OF_SETTING))]
        if not num_others:
            return person, person
        setting = self.of_setting(row)
        others = rng.choice(setting, min(num_others, len(setting)), replace=False)
        return person, np.union1d(person, others)


def _rows_by(names: np.ndarray, spoilt: BoolArray) -> dict[tuple[str, bool], np.ndarray]:
    return {
        (str(name), is_spoilt): np.flatnonzero((names == name) & (spoilt == is_spoilt))
        for name in np.unique(names)
        for is_spoilt in (False, True)
    }


def draw_known(
    rows: np.ndarray, labels: np.ndarray, num: int, mood: str, rng: np.random.Generator
) -> np.ndarray:
    """`num` of `rows`, or all; their emotions as `mood`, one of MOODS, has it; labels of all."""
    if num >= len(rows):
        return rows
    if num == 0:
        return rows[:0]
    own = labels[rows]
    present, counts = np.unique(own, return_counts=True)
    shares = np.full(len(present), 1 / len(present))
    favourite = NEUTRAL if mood == "neutral" else rng.choice(present)
    if mood != "balanced" and favourite in present and len(present) > 1:
        shares = np.where(present == favourite, _MOSTLY, (1 - _MOSTLY) / (len(present) - 1))
    weights = (shares / counts)[np.searchsorted(present, own)]
    return rng.choice(rows, num, replace=False, p=weights / weights.sum())


def usual(embeddings: np.ndarray, probs: DoubleArray, rows: np.ndarray) -> Usual | None:
    """Statistics of some rows; None of none."""
    if not len(rows):
        return None
    return Usual(
        float(len(rows)), embeddings[rows].mean(axis=0, dtype=np.float64), probs[rows].mean(axis=0)
    )


# A channel's head.


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """How the head of a channel is fitted.

    penalty: half the inverse variance of the weights' prior, over n samples; evidence: that of the
        network's own log-probabilities, 0 where it gives none.
    whitened: directions that are kept, each scaled to a like spread, 0 for none: embeddings vary
        most by who speaks and what is said; emotion hides in directions that vary little.
    shrinkage: added to each direction's variance, so that noise stays small.
    draws: how often each sample is learnt from, each time with others known; 0: once, and nobody
        is ever known.
    trust: how much of what the emotions in known windows add is taken out of their mean: less where
        the emotions are told less surely.
    shares: of the weight of a corpus.
    """

    penalty: float
    evidence: float = 0.0
    whitened: int = 0
    shrinkage: float = 30.0
    draws: int = 2
    person_windows: float = 2.0
    setting_windows: float = 12.0
    main_directions: int = 200
    trust: float = 0.5
    shares: tuple[tuple[str, float], ...] = ()


VOICE: Final = HeadRecipe(
    penalty=20.0, whitened=700, draws=1, shares=(("ased", 0.3), ("nemo", 0.3))
)
FACE: Final = HeadRecipe(penalty=120.0, evidence=60.0, draws=8, main_directions=50, trust=0.25)


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """Where a head is fitted: standardised by mean and scale (D,), seen along basis (D, d).

    prior (8, d), penalties (d,): of the weights there.
    """

    mean: DoubleArray
    scale: DoubleArray
    basis: DoubleArray | None
    prior: DoubleArray
    penalties: DoubleArray

    def turn(self, moved: np.ndarray) -> DoubleArray:
        """Differences of embeddings (n, D) as they look there (n, d)."""
        standardised = moved / self.scale
        return standardised if self.basis is None else standardised @ self.basis

    def linear(self, weight: DoubleArray, bias: DoubleArray) -> LinearHead:
        turned = weight if self.basis is None else weight @ self.basis.T
        return LinearHead(self.mean, self.scale, turned, bias)


def fit_head(samples: Samples, recipe: HeadRecipe) -> ChannelHead:
    """A head that knows more or less of a person; its doubt is yet to be fitted."""
    frame, directions, limit = _make_frame(samples, recipe)
    x = frame.turn(samples.embeddings - frame.mean)
    probs = _told_by_others(x, samples, frame, recipe)
    centres = recipe.trust * emotion_centres(samples)
    windows = recipe.person_windows, recipe.setting_windows
    offsets = _draw_offsets(x, probs, samples, Comparison(*windows, frame.turn(centres)), recipe)
    times = max(1, recipe.draws)
    many = samples.where(np.tile(np.arange(len(x)), times))
    left = np.tile(x, (times, 1)) - offsets
    weight, bias = fit_softmax(left, many, frame.prior, frame.penalties * times, recipe.shares)
    return ChannelHead(
        frame.linear(weight, bias), Comparison(*windows, centres), Familiarity(directions, limit, 0)
    )


def _make_frame(samples: Samples, recipe: HeadRecipe) -> tuple[_Frame, DoubleArray, float]:
    """The frame, the main directions (D, m) of the material, and what they leave of it."""
    embeddings = samples.embeddings
    mean = embeddings.mean(axis=0, dtype=np.float64)
    scale = embeddings.std(axis=0, dtype=np.float64) + 1e-3
    dim = mean.size
    if recipe.evidence:
        # Of a few people some features hardly vary, and would make much of anybody in whom they do.
        scale = np.maximum(scale, np.median(scale) / 2)
        # The evidence keeps its own scale: log-probabilities are commensurable as they are.
        mean[2 * FACE_FEATURES :], scale[2 * FACE_FEATURES :] = 0.0, 1.0
    z = (embeddings - mean.astype(np.float32)) / scale.astype(np.float32)
    num = max(recipe.whitened, recipe.main_directions)
    first = max(0, dim - num)
    variances, vectors = eigh(z.T @ z / len(z), subset_by_index=(first, dim - 1))
    variances, vectors = variances[::-1].astype(np.float64), vectors[:, ::-1].astype(np.float64)
    main = vectors[:, : recipe.main_directions]
    rest = float((z.astype(np.float64) ** 2).sum(axis=1).mean())
    limit = rest - float(variances[: recipe.main_directions].sum())
    if not recipe.whitened:
        prior, penalties = np.zeros((NUM_EMOTIONS, dim)), np.full(dim, recipe.penalty)
        if recipe.evidence:
            for column, emotion in enumerate(FACE_CLASSES):
                prior[emotion.position, 2 * FACE_FEATURES + column] = FER_TRUST
            # Calm has no evidence of its own there and starts as neutral's.
            prior[CALM] = prior[NEUTRAL]
            penalties[2 * FACE_FEATURES :] = recipe.evidence
        return _Frame(mean, scale, None, prior, penalties), main, limit
    basis = vectors[:, : recipe.whitened]
    basis = basis / np.sqrt(variances[: recipe.whitened] + recipe.shrinkage)
    size = basis.shape[1]
    prior, penalties = np.zeros((NUM_EMOTIONS, size)), np.full(size, recipe.penalty)
    return _Frame(mean, scale, basis, prior, penalties), main, limit


def _told_by_others(
    x: DoubleArray, samples: Samples, frame: _Frame, recipe: HeadRecipe
) -> DoubleArray:
    """What is said of each row while nothing is known, by a head of other speakers: (n, 8)."""
    people, inverse = np.unique(samples.speakers, return_inverse=True)
    parts = np.arange(len(people)) % _NUM_PARTS
    probs = np.empty((len(x), NUM_EMOTIONS))
    for part in np.unique(parts):
        held = parts[inverse] == part
        kept = ~held if not held.all() else held
        weight, bias = fit_softmax(
            x[kept], samples.where(kept), frame.prior, frame.penalties, recipe.shares, 80
        )
        probs[held] = softmax(x[held] @ weight.T + bias)
    return probs


def emotion_centres(samples: Samples) -> DoubleArray:
    """What each emotion adds to a person's embedding, (8, D); emotions weigh alike."""
    totals = np.zeros((NUM_EMOTIONS, samples.embeddings.shape[1]))
    counts = np.zeros(NUM_EMOTIONS)
    clean = ~samples.spoilt
    for speaker in np.unique(samples.speakers):
        rows = np.flatnonzero((samples.speakers == speaker) & clean)
        own, labels = samples.embeddings[rows], samples.labels[rows]
        present = np.unique(labels)
        means = np.array([own[labels == k].mean(axis=0, dtype=np.float64) for k in present])
        totals[present] += means - means.mean(axis=0)
        counts[present] += 1
    return totals / np.maximum(counts, 1)[:, None]


def _draw_offsets(
    x: DoubleArray, probs: DoubleArray, samples: Samples, comparison: Comparison, recipe: HeadRecipe
) -> DoubleArray:
    """What is taken out of each row, `draws` times over: (draws · n, d)."""
    rng = np.random.default_rng(0)
    known = Acquaintances(samples)
    world = np.zeros(x.shape[1])
    offsets = np.zeros((max(1, recipe.draws) * len(x), x.shape[1]))
    for place in range(recipe.draws * len(x)):
        person, setting = known.draw(place % len(x), rng)
        offsets[place] = comparison.offset(world, usual(x, probs, person), usual(x, probs, setting))
    return offsets


def fit_softmax(
    x: DoubleArray,
    samples: Samples,
    prior: DoubleArray,
    penalties: DoubleArray,
    shares: Sequence[tuple[str, float]] = (),
    num_steps: int = 150,
) -> tuple[DoubleArray, DoubleArray]:
    """Multinomial regression on partial labels, with a Gaussian prior around `prior`.

    Args:
        x: standardised inputs (n, D).
        samples: labels, emotions.
        prior: (8, D) the weights to stay close to.
        penalties: (D,) half the inverse variance of that prior per input, over n samples.
        shares: see `Samples.balanced_weights`.
        num_steps: of L-BFGS, at most.

    Returns:
        weight (8, D), bias (8,).
    """
    labels = PartialLabels.of(samples.labels, samples.emotions)
    weights = samples.balanced_weights(dict(shares))
    dim, x = x.shape[1], x.astype(np.float32)

    def objective(flat: DoubleArray) -> tuple[float, DoubleArray]:
        weight, bias = flat[: NUM_EMOTIONS * dim].reshape(NUM_EMOTIONS, dim), flat[-NUM_EMOTIONS:]
        loss, error = labels.loss(
            (x @ weight.T.astype(np.float32)).astype(np.float64) + bias, weights
        )
        off = weight - prior
        loss += float((penalties * off**2).sum() + 0.1 * (bias**2).sum())
        slope = (error.T.astype(np.float32) @ x).astype(np.float64) + 2 * penalties * off
        return loss, np.concatenate([slope.ravel(), error.sum(axis=0) + 0.2 * bias])

    start = np.concatenate([prior.ravel(), np.zeros(NUM_EMOTIONS)])
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": num_steps})
    return best.x[:-NUM_EMOTIONS].reshape(NUM_EMOTIONS, dim), best.x[-NUM_EMOTIONS:]


# How sure a head may be.


@dataclass(frozen=True, slots=True)
class Doubt:
    """What left-out people and corpora teach of a head's probabilities.

    sharpness: its log-odds are multiplied by; slope: by which the temperature grows with the
    unfamiliarity, in units of what is usual in the training material; limit: the unfamiliarity, in
    these units, beyond which nothing should be made of an answer.
    """

    sharpness: float
    slope: float
    limit: float


def fit_doubt(
    logits: DoubleArray, unfamiliarity: DoubleArray, samples: Samples, limit_share: float
) -> Doubt:
    """By the likelihood of what nothing was fitted to; corpora weigh alike.

    limit_share: of the samples, that the limit lets pass.
    """
    labels = PartialLabels.of(samples.labels, samples.emotions)
    sizes = {corpus: (samples.corpora == corpus).sum() for corpus in np.unique(samples.corpora)}
    weights = samples.balanced_weights({})
    for corpus in sizes:
        rows = samples.corpora == corpus
        weights[rows] /= weights[rows].sum()

    def loss(parameters: DoubleArray) -> float:
        sharpness, slope = np.exp(parameters[0]), parameters[1]
        factor = sharpness / (1 + slope * unfamiliarity)
        return labels.loss(logits * factor[:, None], weights)[0]

    best = minimize(loss, np.array([0.0, 0.1]), method="L-BFGS-B", bounds=[(-2, 3), (0, 10)]).x
    return Doubt(
        float(np.exp(best[0])), float(best[1]), float(np.quantile(unfamiliarity, limit_share))
    )


def doubt_head(head: ChannelHead, doubt: Doubt) -> ChannelHead:
    """The head with its probabilities made as unsure as they should be."""
    linear, familiar = head.linear, head.familiarity
    return ChannelHead(
        replace(linear, weight=linear.weight * doubt.sharpness, bias=linear.bias * doubt.sharpness),
        head.comparison,
        Familiarity(familiar.directions, familiar.limit * doubt.limit, doubt.slope * doubt.limit),
    )


# Both channels.


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
