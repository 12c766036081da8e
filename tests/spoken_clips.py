"""Tiny films of speakers whose emotions differ in tempo and loudness, as they do among people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from facevoice.corpora.manifest import Clip, Labels
from facevoice.records import Emotion

RATE_HZ = 16_000
SPEAKERS = ("01", "02", "03")
SPOKEN_S = {Emotion.HAPPY: 0.9, Emotion.SAD: 1.3}
LEVEL = {Emotion.HAPPY: 0.5, Emotion.SAD: 0.05}


def speech(emotion: Emotion, seed: int) -> np.ndarray:
    """Noise as long and as loud as the emotion has it, and silence for the rest of 1.5 s."""
    noise = np.random.default_rng(seed).uniform(-1, 1, round(1.5 * RATE_HZ)) * LEVEL[emotion]
    noise[round(SPOKEN_S[emotion] * RATE_HZ) :] = 0
    return noise.astype(np.float32)


def make_spoken_clips(make_clip: Callable[..., Path]) -> tuple[Clip, ...]:
    """Two takes of two emotions by three speakers, as clips of RAVDESS."""
    made = []
    for place, speaker in enumerate(SPEAKERS):
        for emotion in SPOKEN_S:
            for take in (1, 2):
                stem = f"{speaker}-{emotion}-{take}"
                samples = speech(emotion, 10 * place + take)
                path = make_clip(
                    f"{stem}.mp4",
                    width=64,
                    height=48,
                    duration_s=1.5,
                    samples=samples,
                    sample_rate_hz=RATE_HZ,
                )
                clip = Clip(f"ravdess/{stem}", "ravdess", speaker, "dogs", take, duration_s=1.5)
                files = {"video_path": path, "audio_path": path}
                made.append(replace(clip, **files, labels=Labels(intended=emotion)))
    return tuple(made)
