"""Learning curves of the compact family's heads: recall against speakers learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from recipes.compact_data import CompactData
from recipes.crossfit import AV_CORPUS, FACE_PENALTIES, mean_by_clip
from recipes.fitting import Samples, fit_face_head, fit_voice_head, restrict

from facevoice.evaluation.bootstrap import cluster_bootstrap
from facevoice.evaluation.metrics import uar
from facevoice.models.heads import LinearHead
from facevoice.records import DoubleArray

HeadFit = Callable[[Samples], LinearHead]


def recall(data: CompactData, posteriors: dict[str, DoubleArray], corpus: str) -> str:
    samples = data.voices.samples
    emotions = samples.emotions[samples.corpora == corpus][:1]
    clips = [data.clips[key] for key in posteriors if data.clips[key].corpus == corpus]
    probs = np.array([posteriors[clip.clip_id] for clip in clips])
    labels = np.array([clip.labels.intended.position for clip in clips if clip.labels.intended])
    guesses = restrict(probs, emotions).argmax(axis=1)
    interval = cluster_bootstrap(
        uar, (labels, guesses), np.array([str(clip.speaker_key) for clip in clips])
    )
    return f"{100 * interval.estimate:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def curve_rows(data: CompactData) -> Iterator[str]:
    """Recall against the number of the corpus' own speakers that a head learnt from."""
    voices, faces = data.voices.samples, data.faces.samples
    cases = (
        ("voice, RAVDESS", voices, data.voices.clip_ids, "ravdess", fit_voice_head, (0, 4, 8, 16)),
        ("voice, javanese", voices, data.voices.clip_ids, AV_CORPUS, fit_voice_head, (0, 1, 3, 5)),
        ("face, javanese", faces, data.faces.clip_ids, AV_CORPUS, fit_face, (0, 1, 3, 5)),
    )
    for name, samples, ids, corpus, fit, counts in cases:
        cells = []
        for count in counts:
            posteriors = with_speakers(samples, ids, corpus, fit, count)
            cells.append(f"{count}: {recall(data, posteriors, corpus)}")
        yield f"| {name} | {' | '.join(cells)} |"
    posteriors = with_speakers(without_means(faces), data.faces.clip_ids, AV_CORPUS, fit_face, 5)
    name = "face, javanese, each speaker's mean taken away, tested ones' too"
    yield f"| {name} | | | | 5: {recall(data, posteriors, AV_CORPUS)} |"


def without_means(samples: Samples) -> Samples:
    """Embeddings less their speaker's mean: what a single clip can't know, so only a bound."""
    embeddings = samples.embeddings.copy()
    for speaker in np.unique(samples.speakers):
        rows = samples.speakers == speaker
        embeddings[rows] -= embeddings[rows].mean(axis=0)
    return replace(samples, embeddings=embeddings)


def fit_face(samples: Samples) -> LinearHead:
    return fit_face_head(samples, FACE_PENALTIES)


def with_speakers(
    samples: Samples, clip_ids: np.ndarray, corpus: str, fit: HeadFit, count: int
) -> dict[str, DoubleArray]:
    """Posteriors of a corpus by heads that learnt from `count` of its speakers and other corpora.

    Speakers stand in a circle and are tested in groups of up to four; learnt from are those that
    follow.
    """
    speakers = np.unique(samples.speakers[samples.corpora == corpus])
    group = max(1, len(speakers) // 6)
    found: dict[str, DoubleArray] = {}
    for first in range(0, len(speakers), group):
        tested = speakers[first : first + group]
        learnt = np.roll(speakers, -first - len(tested))[:count]
        kept = (samples.corpora != corpus) | np.isin(samples.speakers, learnt)
        held = np.isin(samples.speakers, tested)
        probs = fit(samples.where(kept))(samples.embeddings[held])
        found.update(mean_by_clip(clip_ids[held], probs))
    return found
