"""Posteriors over a corpus' own classes: restricted to them, with calm counted as neutral."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facevoice.data.registry import corpus_names, create_corpus
from facevoice.errors import EvaluationError
from facevoice.evaluation.checks import IntArray
from facevoice.evaluation.columns import UNKNOWN
from facevoice.evaluation.run_info import Channel, Target
from facevoice.evaluation.tables import EmotionPredictions
from facevoice.labels import EMOTIONS, Emotion
from facevoice.types import BoolArray, DoubleArray


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a channel says of n clips that have a truth.

    truth (n,): places in `classes`; probs (n, K): sum to 1, NaN rows where there is no answer.
    """

    classes: tuple[Emotion, ...]
    truth: IntArray
    probs: DoubleArray

    @property
    def answered(self) -> BoolArray:
        """(n,) whether there is an answer."""
        missing = np.asarray(np.isnan(self.probs).any(axis=1), dtype=np.bool_)
        return ~missing

    @property
    def said(self) -> IntArray:
        """(n,) likeliest classes; K, which is no class, where there is no answer."""
        best = np.where(self.answered, np.nan_to_num(self.probs).argmax(axis=1), len(self.classes))
        return best.astype(np.int64)


def answers_of(table: EmotionPredictions, channel: Channel, target: Target) -> Answers:
    """Truth and answers of clips that are all of one corpus and all have the truth.

    The classes are those that the corpus is known to have, else those that occur in the truth.

    Raises:
        EvaluationError: a truth is none of the corpus' classes, or a posterior has nothing on them.
    """
    corpus = str(table.corpus[0])
    truth = table.truth(target)
    classes = corpus_classes(corpus, truth)
    places = np.full(len(EMOTIONS), UNKNOWN)
    places[[emotion.position for emotion in classes]] = np.arange(len(classes))
    probs = table.posteriors(channel)[:, [emotion.position for emotion in classes]].copy()
    if _folds_calm(classes):
        calm, neutral = Emotion.CALM.position, places[Emotion.NEUTRAL.position]
        places[calm] = neutral
        probs[:, neutral] += table.posteriors(channel)[:, calm]
    strange = places[truth] == UNKNOWN
    if strange.any():
        row = int(np.argmax(strange))
        raise EvaluationError(
            f"clip {table.clip_id[row]!r} is {EMOTIONS[truth[row]]} by its truth, which {corpus} "
            f"does not have ({', '.join(classes)}); correct it, or name the corpus otherwise"
        )
    sums = probs.sum(axis=1)
    if (sums == 0).any():
        row = int(np.argmax(sums == 0))
        raise EvaluationError(
            f"{int((sums == 0).sum())} posteriors of the {channel} (first: clip "
            f"{table.clip_id[row]!r}) have nothing on any class of {corpus} "
            f"({', '.join(classes)}); give these classes some probability, or leave the answer "
            "empty"
        )
    return Answers(classes, places[truth].astype(np.int64), probs / sums[:, np.newaxis])


def corpus_classes(corpus: str, truth: IntArray) -> tuple[Emotion, ...]:
    """The emotions of a corpus, in the order of `Emotion`; of an unknown one, those that occur."""
    if corpus in corpus_names():
        present = set(create_corpus(corpus).info.emotions)
    else:
        present = {EMOTIONS[place] for place in np.unique(truth[truth != UNKNOWN])}
    return tuple(emotion for emotion in EMOTIONS if emotion in present)


def _folds_calm(classes: tuple[Emotion, ...]) -> bool:
    return Emotion.NEUTRAL in classes and Emotion.CALM not in classes
