"""Prints every speaker-independent figure of the compact family, with intervals over speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from recipes.crossfit import Channel, Scored, folded_posteriors, mean_by_clip
from recipes.fitting import restrict

from facevoice.data.pairs import Pair, PairBin, PairKind
from facevoice.evaluation.bootstrap import cluster_bootstrap
from facevoice.evaluation.calibration import ece
from facevoice.evaluation.metrics import auroc, uar

NUM_FOLDS = 6


def print_scores(
    faces: Channel,
    voices: Channel,
    pairs: Sequence[Pair],
    originals: Sequence[Pair],
    scored: Scored,
) -> None:
    """All figures; emotions are chosen among those that the corpus has."""
    print("\nEmotion, unweighted average recall in %, speaker-independent [95 % over speakers]")
    everywhere("voice", voices)
    emotions_of_originals(faces, originals, scored)
    print("\nConflict, AUROC, speaker-independent, matches re-paired with another take")
    conflict_by_bin(pairs, scored)
    audits(pairs, originals, scored)


def line(name: str, value: str) -> None:
    print(f"  {name:<58}{value}")


def with_interval(labels: np.ndarray, guesses: np.ndarray, speakers: np.ndarray) -> str:
    interval = cluster_bootstrap(uar, (labels, guesses), speakers)
    return f"{100 * interval.estimate:5.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def everywhere(name: str, channel: Channel) -> None:
    """One channel on every corpus, in six speaker folds of all corpora at once."""
    _, probs = folded_posteriors(channel, NUM_FOLDS)
    by_clip = mean_by_clip(channel.clip_ids, probs)
    names, first = np.unique(channel.clip_ids, return_index=True)
    clips = channel.samples.where(first)
    for corpus in sorted(set(clips.corpora)):
        rows = np.flatnonzero(clips.corpora == corpus)
        part = clips.where(rows)
        clip_probs = np.array([by_clip[str(names[row])] for row in rows])
        guesses = restrict(clip_probs, part.emotions).argmax(axis=1)
        title = f"{name}, {corpus} ({part.emotions[0].sum()} classes, {len(rows)} clips)"
        line(title, with_interval(part.labels, guesses, part.speakers))


def emotions_of_originals(faces: Channel, originals: Sequence[Pair], scored: Scored) -> None:
    corpus = faces.av_corpus
    emotions = faces.samples.emotions[faces.samples.corpora == corpus][:1]
    labels = np.array([p.face_emotion.position for p in originals])
    speakers = np.array([p.speaker for p in originals])
    channels = {
        "face": [scored.face[p.face_clip_id] for p in originals],
        "voice": [scored.voice[p.voice_clip_id] for p in originals],
        "both": [scored.fused[p.face_clip_id, p.voice_clip_id] for p in originals],
    }
    for name, posteriors in channels.items():
        probs = restrict(np.array(posteriors), emotions)
        guesses = probs.argmax(axis=1)
        error = ece(probs.max(axis=1), guesses == labels, num_bins=10)
        title = f"{name}, {corpus} clips with picture and sound ({len(originals)})"
        line(title, f"{with_interval(labels, guesses, speakers)}  calibration error {error:.3f}")


def conflict_scores(pairs: Sequence[Pair], scored: Scored) -> np.ndarray:
    return np.array([scored.conflict[p.face_clip_id, p.voice_clip_id] for p in pairs])


def describe_conflict(pairs: Sequence[Pair], scores: np.ndarray) -> str:
    truth = np.array([p.is_conflict for p in pairs])
    speakers = np.array([p.speaker for p in pairs])
    interval = cluster_bootstrap(auroc, (truth, scores), speakers)
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def conflict_by_bin(pairs: Sequence[Pair], scored: Scored) -> None:
    scores = conflict_scores(pairs, scored)
    truth = np.array([p.is_conflict for p in pairs])
    counts = f"{truth.sum()} conflicts, {(~truth).sum()} matches"
    line(f"all pairs ({counts})", describe_conflict(pairs, scores))
    for difficulty in (PairBin.NEUTRAL_VS_X, PairBin.SAME_VALENCE, PairBin.OPPOSITE_VALENCE):
        rows = [i for i, p in enumerate(pairs) if not p.is_conflict or p.bin is difficulty]
        part = [pairs[i] for i in rows]
        line(
            f"conflicts of bin {difficulty} against all matches",
            describe_conflict(part, scores[rows]),
        )
    labels = np.array(
        [
            scored.face[p.face_clip_id].argmax() != scored.voice[p.voice_clip_id].argmax()
            for p in pairs
        ]
    )
    line("comparing the two likeliest labels instead", describe_conflict(pairs, 1.0 * labels))
    line("expected calibration error at equal numbers", f"{ece(scores, truth):.3f}")


def audits(pairs: Sequence[Pair], originals: Sequence[Pair], scored: Scored) -> None:
    """What must fail: telling conflict from one channel alone, original from re-paired."""
    face = np.array([scored.face[p.face_clip_id].max() for p in pairs])
    voice = np.array([scored.voice[p.voice_clip_id].max() for p in pairs])
    line("audit: sureness of the face alone", describe_conflict(pairs, -face))
    line("audit: sureness of the voice alone", describe_conflict(pairs, -voice))
    matches = [p for p in pairs if p.kind is PairKind.MATCH]
    scores = np.concatenate([conflict_scores(matches, scored), conflict_scores(originals, scored)])
    is_match = np.concatenate([np.ones(len(matches), bool), np.zeros(len(originals), bool)])
    line("audit: re-paired matches against originals", f"{auroc(is_match, scores):.3f}")
