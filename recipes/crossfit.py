"""Speaker-independent predictions for every clip: what is scored is never what was fitted.

For each test speaker, heads, fusion and conflict are fitted on the other speakers only; fusion
and conflict see posteriors that were themselves made leaving one of those speakers out. Voice
embeddings come from networks that never heard the speaker they are used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from recipes.fitting import (
    FacePenalties,
    Samples,
    fit_conflict,
    fit_face_head,
    fit_fusion,
    fit_voice_head,
    restrict,
)

from facevoice.data.pairs import Pair
from facevoice.models.compact import ConflictHead, LateFusion
from facevoice.types import DoubleArray

FACE_GRID = tuple(
    FacePenalties(features, evidence) for features in (0.3, 1.0, 3.0) for evidence in (1.0, 10.0)
)
VOICE_PENALTY = 10.0
CONFLICT_PENALTY = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Face and voice samples with their clip ids; `av_corpus` has faces and voices of the same
    speakers, sentences and emotions, the others only add training material."""

    faces: Samples
    face_ids: tuple[str, ...]
    voices: Samples
    voice_ids: tuple[str, ...]
    av_corpus: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Out-of-speaker posteriors by clip id, and the conflict probability of each pair."""

    face: dict[str, DoubleArray]
    voice: dict[str, DoubleArray]
    fused: dict[tuple[str, str], DoubleArray]
    conflict: dict[tuple[str, str], float]


def speakers_of(samples: Samples, corpus: str) -> list[str]:
    return sorted({str(s) for s in samples.speakers[samples.corpora == corpus]})


def choose_penalties(samples: Samples, av_corpus: str) -> FacePenalties:
    """The grid point with the best likelihood, leaving one of the given speakers out."""
    losses = []
    for penalties in FACE_GRID:
        total = 0.0
        for speaker in speakers_of(samples, av_corpus):
            held = samples.speakers == speaker
            test = samples.where(held)
            head = fit_face_head(samples.where(~held), penalties)
            probs = restrict(head(test.embeddings), test.emotions)
            total -= np.log(probs[np.arange(len(probs)), test.labels]).sum()
        losses.append(total)
    return FACE_GRID[int(np.argmin(losses))]


def face_posteriors(
    corpus: Corpus, exclude: Sequence[str], penalties: FacePenalties
) -> dict[str, DoubleArray]:
    """Posteriors of every speaker's clips, from heads without that speaker and without
    `exclude`."""
    samples, result = corpus.faces, {}
    excluded = np.isin(samples.speakers, list(exclude))
    for speaker in speakers_of(samples, corpus.av_corpus):
        held = samples.speakers == speaker
        head = fit_face_head(samples.where(~held & ~excluded), penalties)
        rows = np.flatnonzero(held)
        probs = head(samples.embeddings[rows])
        result.update({corpus.face_ids[i]: p for i, p in zip(rows, probs, strict=True)})
    return result


def voice_posteriors(corpus: Corpus, exclude: Sequence[str]) -> dict[str, DoubleArray]:
    """Posteriors of every voice clip, calibrated without `exclude` and its own speaker."""
    samples, result = corpus.voices, {}
    excluded = np.isin(samples.speakers, list(exclude))
    for speaker in sorted({str(s) for s in samples.speakers}):
        held = samples.speakers == speaker
        head = fit_voice_head(samples.where(~held & ~excluded), VOICE_PENALTY)
        rows = np.flatnonzero(held)
        probs = head(samples.embeddings[rows])
        result.update({corpus.voice_ids[i]: p for i, p in zip(rows, probs, strict=True)})
    return result


def fit_joint(
    corpus: Corpus,
    pairs: Sequence[Pair],
    face: dict[str, DoubleArray],
    voice: dict[str, DoubleArray],
) -> tuple[LateFusion, ConflictHead]:
    """Fusion on the pairs that match, conflict on all."""
    f = np.array([face[p.face_clip_id] for p in pairs])
    v = np.array([voice[p.voice_clip_id] for p in pairs])
    is_conflict = np.array([p.is_conflict for p in pairs])
    labels = np.array([p.face_emotion.position for p in pairs])
    emotions = corpus.faces.emotions[corpus.faces.corpora == corpus.av_corpus][0]
    match = ~is_conflict
    emotion_rows = np.repeat(emotions[np.newaxis], match.sum(), axis=0)
    fusion = fit_fusion(f[match], v[match], labels[match], emotion_rows)
    return fusion, fit_conflict(f, v, is_conflict, CONFLICT_PENALTY)


def crossfit(corpus: Corpus, pairs: Sequence[Pair], originals: Sequence[Pair]) -> Scored:
    """Score all pairs and originals, each by what was fitted without its speaker."""
    scored = Scored({}, {}, {}, {})
    for speaker in speakers_of(corpus.faces, corpus.av_corpus):
        others = corpus.faces.where(corpus.faces.speakers != speaker)
        penalties = choose_penalties(others, corpus.av_corpus)
        face = face_posteriors(corpus, [speaker], penalties)
        voice = voice_posteriors(corpus, [speaker])
        train = [p for p in pairs if p.speaker != speaker]
        fusion, conflict = fit_joint(corpus, train, face, voice)
        print(
            f"  speaker {speaker}: {penalties}, fusion {fusion.face_weight:.2f} face "
            f"{fusion.voice_weight:.2f} voice"
        )
        test = [p for p in (*pairs, *originals) if p.speaker == speaker]
        f = np.array([face[p.face_clip_id] for p in test])
        v = np.array([voice[p.voice_clip_id] for p in test])
        for pair, both, prob in zip(test, fusion(f, v), conflict(f, v), strict=True):
            key = (pair.face_clip_id, pair.voice_clip_id)
            scored.face[pair.face_clip_id] = face[pair.face_clip_id]
            scored.voice[pair.voice_clip_id] = voice[pair.voice_clip_id]
            scored.fused[key] = both
            scored.conflict[key] = float(prob)
    return scored
