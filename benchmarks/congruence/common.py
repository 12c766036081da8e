"""What the studies share: pairs with posteriors, and a conflict score fitted on other folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame
from recipes.fitting import fit_conflict

from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import Pair
from facevoice.evaluation.metrics import best_threshold
from facevoice.evaluation.predictions import conflict_predictions
from facevoice.records import Emotion

CONFLICT_PENALTY = 0.02
NEUTRAL, CALM = Emotion.NEUTRAL.position, Emotion.CALM.position


@dataclass(frozen=True, slots=True, eq=False)
class PairScores:
    """Pairs with the posteriors of their face and voice (n, 8), and the fold of each (n,)."""

    pairs: tuple[Pair, ...]
    face: np.ndarray
    voice: np.ndarray
    folds: np.ndarray

    @property
    def is_fitted_on(self) -> np.ndarray:
        """Matches and conflicts; originals are only scored."""
        return np.array([pair.kind.value != "original" for pair in self.pairs])

    @property
    def is_conflict(self) -> np.ndarray:
        return np.array([pair.is_conflict for pair in self.pairs])


@dataclass(frozen=True, slots=True, eq=False)
class CrossFitted:
    """Scores (n,) of pairs by what was fitted on the other folds, and its threshold (n,)."""

    scores: np.ndarray
    thresholds: np.ndarray


def crossfit_conflict(pairs: PairScores) -> CrossFitted:
    """A logistic model on soft evidence of disagreement, fitted without the fold that it scores."""
    scores, thresholds = np.empty(len(pairs.pairs)), np.empty(len(pairs.pairs))
    truth = pairs.is_conflict
    for fold in np.unique(pairs.folds):
        held = pairs.folds == fold
        known = ~held & pairs.is_fitted_on
        head = fit_conflict(pairs.face[known], pairs.voice[known], truth[known], CONFLICT_PENALTY)
        scores[held] = head(pairs.face[held], pairs.voice[held])
        thresholds[held] = best_threshold(truth[known], head(pairs.face[known], pairs.voice[known]))
    return CrossFitted(scores, thresholds)


def crossfit_threshold(pairs: PairScores, scores: np.ndarray) -> CrossFitted:
    """Thresholds of a score that needs no fitting, chosen on the other folds."""
    thresholds = np.empty(len(scores))
    for fold in np.unique(pairs.folds):
        known = (pairs.folds != fold) & pairs.is_fitted_on
        thresholds[pairs.folds == fold] = best_threshold(pairs.is_conflict[known], scores[known])
    return CrossFitted(scores, thresholds)


def agreement(face: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """1 − Σ p q: how often two draws, one from each posterior, differ; neutral and calm are one."""
    return 1 - (merge_calm(face) * merge_calm(voice)).sum(axis=1)


def merge_calm(probs: np.ndarray) -> np.ndarray:
    merged = probs.copy()
    merged[:, NEUTRAL] += merged[:, CALM]
    merged[:, CALM] = 0
    return merged


def conflict_table(pairs: PairScores, fitted: CrossFitted, clips: Sequence[Clip]) -> DataFrame:
    face, voice = merge_calm(pairs.face), merge_calm(pairs.voice)
    return conflict_predictions(
        pairs.pairs,
        clips_by_id(list(clips)),
        fitted.scores,
        fold=[str(fold) for fold in pairs.folds],
        baseline_differs=face.argmax(axis=1) != voice.argmax(axis=1),
        threshold=fitted.thresholds,
        clarity=np.minimum(face.max(axis=1), voice.max(axis=1)),
    )
