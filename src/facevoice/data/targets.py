"""What each head is to say of each clip and pair, as arrays, and what labels leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from facevoice.data.clips import Clip
from facevoice.data.pairs import Pair, PairKind
from facevoice.data.registry import corpus_names, create_corpus
from facevoice.data.votes import VOTE_EMOTIONS, Votes
from facevoice.errors import CorpusError
from facevoice.labels import NUM_EMOTIONS, Emotion, Outcome
from facevoice.types import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]

NEUTRAL: Final = Emotion.NEUTRAL.position
CALM: Final = Emotion.CALM.position
UNKNOWN: Final = -1.0
"""A conflict target that nobody knows."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipTargets:
    """Targets of n clips: shares (n, 8) over the emotions, rows of zeros where nothing is known.

    emotion, face, voice: what the three emotion heads are to say;
    conflict (n,): probability that people find face and voice in conflict, −1 where unknown;
    emotions (n, 8) bool: those that the clip's corpus has;
    corpora, speakers (n,): whose clip it is.
    A corpus without calm had its speakers act neutral, which may sound or look calm: there neutral
    means "neutral or calm"; but its other emotions are certainly not calm.
    """

    emotion: FloatArray
    face: FloatArray
    voice: FloatArray
    conflict: FloatArray
    emotions: BoolArray
    corpora: np.ndarray
    speakers: np.ndarray

    @property
    def possible(self) -> BoolArray:
        """The emotions that a clip may turn out to have (n, 8); elsewhere nothing is learnt."""
        possible = self.emotions.copy()
        possible[:, CALM] |= possible[:, NEUTRAL]
        return possible

    @property
    def folds_calm(self) -> BoolArray:
        """Whether the clip's corpus has neutral but no calm (n,)."""
        folds: BoolArray = self.emotions[:, NEUTRAL] & ~self.emotions[:, CALM]
        return folds


def make_targets(
    clips: Sequence[Clip], kinds: Mapping[str, str], votes: Votes | None = None
) -> ClipTargets:
    """Targets by head: `kinds` maps emotion, face, voice and conflict to intended or perceived.

    Perceived emotions are shares of votes where votes are given, else the label of the clip.

    Raises:
        CorpusError: no clip has the target that a head is to learn.
    """
    places = {} if votes is None else {f"cremad/{s}": row for row, s in enumerate(votes.stems)}
    counts = (
        {} if votes is None else {"emotion": votes.both, "face": votes.face, "voice": votes.voice}
    )
    arrays: dict[str, FloatArray] = {}
    for head, label in (("emotion", "both"), ("face", "face"), ("voice", "voice")):
        perceived = kinds[head] == "perceived"
        shares = np.zeros((len(clips), NUM_EMOTIONS), dtype=np.float32)
        for row, clip in enumerate(clips):
            if perceived and clip.clip_id in places:
                shares[row] = _shares(counts[head][places[clip.clip_id]])
                continue
            emotion = getattr(clip.labels, label if perceived else "intended")
            if emotion is not None:
                shares[row, emotion.position] = 1.0
        if not shares.any():
            raise CorpusError(f"no clip has a {kinds[head]} {head} to learn from")
        arrays[head] = shares
    return ClipTargets(
        **arrays,
        conflict=_perceived_conflict(clips),
        emotions=np.array([_emotions_of(clip.corpus) for clip in clips], dtype=np.bool_),
        corpora=np.array([clip.corpus for clip in clips]),
        speakers=np.array([clip.speaker_key or clip.clip_id for clip in clips]),
    )


def balanced_weights(
    shares: FloatArray, targets: ClipTargets, *, classes: bool, corpus_power: float
) -> FloatArray:
    """Weight of each emotion of each clip (n, 8), mean 1 over the clips with a target.

    With `classes`, the emotions of a corpus count alike; a corpus counts as the number of its
    speakers to `corpus_power`: many clips of one speaker teach little about others.
    """
    weights = np.zeros(shares.shape, dtype=np.float64)
    for corpus in np.unique(targets.corpora):
        rows = targets.corpora == corpus
        mass = shares[rows].sum(axis=0)
        if not mass.any():
            continue
        per_class = np.where(mass > 0, 1.0 / np.maximum(mass, 1e-9), 0.0) if classes else mass > 0
        weights[rows] = per_class
        total = float((weights[rows] * shares[rows]).sum())
        weights[rows] *= len(np.unique(targets.speakers[rows])) ** corpus_power / total
    scale = float((shares.any(axis=1)).sum()) / max(float((weights * shares).sum()), 1e-12)
    return (weights * scale).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is presented: the face of one clip with the voice of one, by row of the table (m,).

    same_emotion (m,): whether the fused emotion is that of the face's clip;
    conflict (m,): 1 conflict, 0 match, a share between, or −1 where it is not asked.
    """

    face_rows: IntArray
    voice_rows: IntArray
    same_emotion: BoolArray
    conflict: FloatArray

    def __len__(self) -> int:
        return len(self.face_rows)

    def take(self, places: IntArray) -> Items:
        """The items at these places."""
        return Items(
            self.face_rows[places],
            self.voice_rows[places],
            self.same_emotion[places],
            self.conflict[places],
        )


def original_items(rows: IntArray, conflict: FloatArray | None = None) -> Items:
    """Clips as they are; `conflict` (n,) where people judged them."""
    unknown = np.full(len(rows), UNKNOWN, dtype=np.float32)
    given = unknown if conflict is None else conflict[rows]
    return Items(rows, rows, np.ones(len(rows), dtype=np.bool_), given)


def pair_items(pairs: Sequence[Pair], row_of: Mapping[str, int]) -> Items:
    """Re-paired clips: matches and conflicts by what was intended."""
    conflict = np.array([pair.kind is PairKind.CONFLICT for pair in pairs], dtype=np.bool_)
    return Items(
        np.array([row_of[pair.face_clip_id] for pair in pairs], dtype=np.int64),
        np.array([row_of[pair.voice_clip_id] for pair in pairs], dtype=np.int64),
        ~conflict,
        conflict.astype(np.float32),
    )


def join_items(first: Items, second: Items) -> Items:
    """Both, one after the other."""
    return Items(
        np.concatenate([first.face_rows, second.face_rows]),
        np.concatenate([first.voice_rows, second.voice_rows]),
        np.concatenate([first.same_emotion, second.same_emotion]),
        np.concatenate([first.conflict, second.conflict]),
    )


def _shares(counts: IntArray) -> FloatArray:
    shares = np.zeros(NUM_EMOTIONS, dtype=np.float32)
    total = counts.sum()
    if total:
        for column, emotion in enumerate(VOTE_EMOTIONS):
            shares[emotion.position] = counts[column] / total
    return shares


def _perceived_conflict(clips: Sequence[Clip]) -> FloatArray:
    known = {Outcome.CONFLICT: 1.0, Outcome.MATCH: 0.0}
    values = [
        UNKNOWN if clip.labels.congruence is None else known.get(clip.labels.congruence, UNKNOWN)
        for clip in clips
    ]
    return np.array(values, dtype=np.float32)


def _emotions_of(corpus: str) -> list[bool]:
    if corpus not in corpus_names():
        raise CorpusError(f"corpus {corpus!r} is not known; known: {', '.join(corpus_names())}")
    has = create_corpus(corpus).info.emotions
    return [emotion in has for emotion in Emotion]
