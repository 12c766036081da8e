"""Clips of the training corpora with their sound, and how their speakers are split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip
from facevoice.media.sound import read_audio
from facevoice.perceive import window_spans
from facevoice.records import EMOTIONS, SAMPLE_RATE_HZ, FloatArray
from facevoice.settings import WindowConfig

# The archive that holds each corpus.
ARCHIVES = {
    "ravdess": "ravdess_audio",
    "javanese": "javanese",
    "emodb": "emodb_full",
    "ased": "ased",
    "nemo": "nemo",
}
NUM_FOLDS = 6
# Speakers of corpora that don't number them from 01; each in the fold of his or her place.
SPEAKERS = {
    "emodb": ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"),
    "nemo": ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0"),
}


def read_sounds(clips: Sequence[Clip]) -> list[FloatArray]:
    """Mono sound (N,) at 16 kHz of each clip."""
    return [
        np.concatenate([block.samples for block in read_audio(clip.audio_path)])
        for clip in clips
        if clip.audio_path is not None
    ]


def cut_windows(samples: FloatArray) -> list[FloatArray]:
    """The windows that analysis would make."""
    spans = window_spans(len(samples) / SAMPLE_RATE_HZ, WindowConfig())
    return [
        samples[round(start * SAMPLE_RATE_HZ) : round(end * SAMPLE_RATE_HZ)] for start, end in spans
    ]


def emotions_of(corpus: str) -> np.ndarray:
    """The classes that a corpus has: bool (8,)."""
    emotions = create_corpus(corpus).info.emotions
    return np.array([e in emotions for e in EMOTIONS])


def fold_of(clip: Clip) -> int:
    """Fold in which the clip's speaker is unseen; each holds speakers of all corpora."""
    if clip.corpus in SPEAKERS:
        return SPEAKERS[clip.corpus].index(str(clip.speaker)) % NUM_FOLDS
    place = int(str(clip.speaker)) - 1
    # ASED numbers women odd and men even, as long as there are women.
    return (place // 2 if clip.corpus == "ased" else place) % NUM_FOLDS
