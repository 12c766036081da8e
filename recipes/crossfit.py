"""Speaker-independent predictions for every clip: what is scored is never what was fitted.

For each test speaker, heads, their sharpness, fusion and conflict are fitted on the other speakers
only; sharpness, fusion and conflict see posteriors that were themselves made leaving one of those
speakers out. The face network never saw any of these corpora. Voice networks are tuned on them: a
tested speaker is heard by one that was tuned without this speaker, and what is fitted to voices of
other speakers (sharpness, fusion, conflict) is fitted to the untuned network, which knows nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from recipes.fitting import (
    FacePenalties,
    Samples,
    fit_conflict,
    fit_face_head,
    fit_fusion,
    fit_sharpness,
    fit_voice_head,
    power,
)

from facevoice.corpora.pairs import Pair
from facevoice.evaluation.metrics import best_threshold
from facevoice.models.heads import ConflictHead, LateFusion, LinearHead
from facevoice.records import NUM_EMOTIONS, DoubleArray

AV_CORPUS = "javanese"
FACE_PENALTIES = FacePenalties(features=1000.0, evidence=1000.0)
CONFLICT_PENALTY = 0.02

ByClip = dict[str, DoubleArray]


class Channel:
    """Samples of one modality, and heads fitted on all speakers but some, each fitted once."""

    def __init__(
        self,
        samples: Samples,
        clip_ids: Sequence[str],
        fit: Callable[[Samples], LinearHead],
    ) -> None:
        self.samples = samples
        self.clip_ids = np.array(clip_ids)
        self._fit = fit
        self.speakers = sorted({str(s) for s in samples.speakers[samples.corpora == AV_CORPUS]})
        self._heads: dict[frozenset[str], LinearHead] = {}

    def head(self, without: frozenset[str]) -> LinearHead:
        """The head fitted on everybody but `without`."""
        if without not in self._heads:
            kept = ~np.isin(self.samples.speakers, list(without))
            self._heads[without] = self._fit(self.samples.where(kept))
        return self._heads[without]

    def posteriors(self, without: frozenset[str]) -> tuple[ByClip, float]:
        """Posteriors of all clips of the audio-visual corpus, and the sharpness they were given.

        Each speaker's are made by a head without that speaker and without `without`; the
        sharpness is fitted without `without` too.
        """
        probs = np.full((len(self.clip_ids), NUM_EMOTIONS), np.nan)
        for speaker in self.speakers:
            rows = self.samples.speakers == speaker
            probs[rows] = self.head(without | {speaker})(self.samples.embeddings[rows])
        known = (self.samples.corpora == AV_CORPUS) & ~np.isin(self.samples.speakers, list(without))
        sharpness = fit_sharpness(probs[known], self.samples.where(known))
        rows = self.samples.corpora == AV_CORPUS
        return mean_by_clip(self.clip_ids[rows], power(probs[rows], sharpness)), sharpness


class TunedVoices:
    """Windows of every clip as each fold's network embeds them, and who is left out of it."""

    def __init__(
        self, by_fold: Sequence[Samples], clip_ids: Sequence[str], folds: np.ndarray
    ) -> None:
        self._by_fold = tuple(by_fold)
        self.samples = self._by_fold[0]
        self.clip_ids = np.array(clip_ids)
        self.folds = folds
        self._probs: dict[int, DoubleArray] = {}

    def posteriors(self, speaker: str, sharpness: float | None = None) -> ByClip:
        """Those of one speaker's clips: network and head never heard this speaker.

        Without a sharpness it is fitted to the other speakers whom the network never heard.
        """
        own = self.samples.speakers == speaker
        fold = int(self.folds[own][0])
        probs = self._by_head(fold)
        if sharpness is None:
            others = (self.folds == fold) & ~own
            sharpness = fit_sharpness(probs[others], self.samples.where(others))
        return mean_by_clip(self.clip_ids[own], power(probs[own], sharpness))

    def all_posteriors(self, sharpness: float | None = None) -> ByClip:
        """Those of every clip, each as `posteriors` has them."""
        found: ByClip = {}
        for speaker in np.unique(self.samples.speakers):
            found.update(self.posteriors(str(speaker), sharpness))
        return found

    def sharpness(self) -> float:
        """What suits the windows of all speakers, each heard by a network that left them out."""
        probs = np.empty((len(self.folds), NUM_EMOTIONS))
        for fold in np.unique(self.folds):
            held = self.folds == fold
            probs[held] = self._by_head(int(fold))[held]
        return fit_sharpness(probs, self.samples)

    def _by_head(self, fold: int) -> DoubleArray:
        """Probabilities of a fold's rows by a head fitted to the others; NaN elsewhere."""
        if fold not in self._probs:
            held, samples = self.folds == fold, self._by_fold[fold]
            probs = np.full((len(held), NUM_EMOTIONS), np.nan)
            probs[held] = fit_voice_head(samples.where(~held))(samples.embeddings[held])
            self._probs[fold] = probs
        return self._probs[fold]


def mean_by_clip(clip_ids: np.ndarray, probs: DoubleArray) -> ByClip:
    """Windows of one clip averaged, as a report's summary does."""
    names, inverse = np.unique(clip_ids, return_inverse=True)
    total = np.zeros((len(names), probs.shape[1]))
    np.add.at(total, inverse, probs)
    total /= total.sum(axis=1, keepdims=True)
    return dict(zip([str(n) for n in names], total, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Out-of-speaker posteriors by clip id, and the conflict probability of each pair.

    threshold: by tested speaker, of the best balanced accuracy on the other speakers' pairs.
    """

    face: ByClip
    voice: ByClip
    fused: dict[tuple[str, str], DoubleArray]
    conflict: dict[tuple[str, str], float]
    threshold: dict[str, float]


def make_channels(
    faces: Samples, face_ids: Sequence[str], voices: Samples, voice_ids: Sequence[str]
) -> tuple[Channel, Channel]:
    return (
        Channel(faces, face_ids, lambda part: fit_face_head(part, FACE_PENALTIES)),
        Channel(voices, voice_ids, fit_voice_head),
    )


def fit_joint(
    face_channel: Channel, pairs: Sequence[Pair], face: ByClip, voice: ByClip
) -> tuple[LateFusion, ConflictHead]:
    """Fusion on the pairs that match, conflict on all."""
    samples = face_channel.samples
    f, v = pair_posteriors(pairs, face, voice)
    is_conflict = np.array([p.is_conflict for p in pairs])
    labels = np.array([p.face_emotion.position for p in pairs])
    match = ~is_conflict
    emotions = samples.emotions[samples.corpora == AV_CORPUS][:1]
    emotions = np.repeat(emotions, match.sum(), axis=0)
    fusion = fit_fusion(f[match], v[match], labels[match], emotions)
    return fusion, fit_conflict(f, v, is_conflict, CONFLICT_PENALTY)


def pair_posteriors(
    pairs: Sequence[Pair], face: ByClip, voice: ByClip
) -> tuple[DoubleArray, DoubleArray]:
    """Posteriors (n, 8) of each pair's face, and of its voice."""
    return (
        np.array([face[p.face_clip_id] for p in pairs]),
        np.array([voice[p.voice_clip_id] for p in pairs]),
    )


def of_speaker(channel: Channel, posteriors: ByClip, speaker: str) -> ByClip:
    """Those of one speaker's clips."""
    own = np.unique(channel.clip_ids[channel.samples.speakers == speaker]).tolist()
    return {clip_id: posteriors[clip_id] for clip_id in own}


def crossfit(
    face_channel: Channel,
    voice_channel: Channel,
    pairs: Sequence[Pair],
    originals: Sequence[Pair],
    tuned: TunedVoices | None = None,
) -> Scored:
    """Score all pairs and originals, each by what was fitted without its speaker.

    tuned: hears the tested speakers; without it the untuned network does.
    """
    scored = Scored({}, {}, {}, {}, {})
    for speaker in face_channel.speakers:
        face, _ = face_channel.posteriors(frozenset({speaker}))
        voice, sharpness = voice_channel.posteriors(frozenset({speaker}))
        train = [p for p in pairs if p.speaker != speaker]
        fusion, conflict = fit_joint(face_channel, train, face, voice)
        scored.threshold[speaker] = best_threshold(
            [p.is_conflict for p in train], conflict(*pair_posteriors(train, face, voice))
        )
        weights = f"fusion weights {fusion.face_weight:.2f} face {fusion.voice_weight:.2f} voice"
        print(f"  without {speaker}: {weights}", flush=True)
        if tuned is not None:
            voice.update(tuned.posteriors(speaker, sharpness))
        test = [p for p in (*pairs, *originals) if p.speaker == speaker]
        f, v = pair_posteriors(test, face, voice)
        scored.face.update(of_speaker(face_channel, face, speaker))
        scored.voice.update(of_speaker(voice_channel, voice, speaker))
        for pair, both, prob in zip(test, fusion(f, v), conflict(f, v), strict=True):
            key = (pair.face_clip_id, pair.voice_clip_id)
            scored.fused[key] = both
            scored.conflict[key] = float(prob)
    return scored


def folded_posteriors(channel: Channel, num_folds: int) -> tuple[np.ndarray, DoubleArray]:
    """Probabilities of every row of every corpus, by heads of speaker folds; rows' folds first."""
    samples = channel.samples
    folds = np.empty(len(samples.labels), dtype=int)
    for corpus in np.unique(samples.corpora):
        for place, speaker in enumerate(np.unique(samples.speakers[samples.corpora == corpus])):
            folds[samples.speakers == speaker] = place % num_folds
    probs = np.empty((len(folds), 8))
    for fold in range(num_folds):
        held = folds == fold
        without = frozenset(str(s) for s in np.unique(samples.speakers[held]))
        probs[held] = channel.head(without)(samples.embeddings[held])
    return folds, probs
