"""Speech with something beside it, made on purpose: other voices, music, noise, hum, clicks.

Everything is mixed at a known distance to the speech in dB, mean power over the window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from scipy.signal import lfilter

from facevoice.records import SAMPLE_RATE_HZ, FloatArray

OVERLAP: Final = "overlap"
NOISES: Final = ("babble", "white", "pink", "hum", "clicks", "chords", "drums", "song")
_CHORDS: Final = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
_BABBLERS: Final = 6

Others = Callable[[], FloatArray]
"""Draws another person's speech."""


def mix(
    speech: FloatArray, kind: str, below_db: float, others: Others, rng: np.random.Generator
) -> FloatArray:
    """Speech (N,) with something so many dB below it, of the same length."""
    beside = make_sound(kind, speech.size, others, rng)
    level = np.sqrt(_power(speech) / (_power(beside) + 1e-12))
    mixed: FloatArray = speech + beside * level * 10 ** (-below_db / 20)
    return mixed.astype(np.float32)


def make_sound(kind: str, size: int, others: Others, rng: np.random.Generator) -> FloatArray:
    """`size` samples of a kind: "overlap" (one other voice) or one of NOISES."""
    if kind == OVERLAP:
        return fill(others(), size)
    if kind == "babble":
        return sum_up([fill(others(), size, rng) for _ in range(_BABBLERS)])
    if kind in ("white", "pink"):
        return _coloured(size, 0.0 if kind == "white" else 0.5, rng)
    if kind == "hum":
        return _hum(size, rng)
    if kind == "clicks":
        return _clicks(size, rng)
    if kind == "drums":
        return _drums(size, rng)
    chords = _chords(size, rng)
    if kind == "song":
        drums = _drums(size, rng)
        return chords + drums * np.sqrt(_power(chords) / (_power(drums) + 1e-12))
    return chords


def fill(samples: FloatArray, size: int, rng: np.random.Generator | None = None) -> FloatArray:
    """As long as `size`, over and over; from anywhere on where `rng` is given."""
    if rng is not None:
        samples = np.roll(samples, int(rng.integers(samples.size)))
    return np.resize(samples, size)


def sum_up(sounds: Sequence[FloatArray]) -> FloatArray:
    """Sum of sounds at equal power."""
    total: FloatArray = np.sum([s / np.sqrt(_power(s) + 1e-12) for s in sounds], axis=0)
    return total


def _power(samples: FloatArray) -> float:
    return float((samples.astype(np.float64) ** 2).mean())


def _coloured(size: int, slope: float, rng: np.random.Generator) -> FloatArray:
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum /= np.arange(1, spectrum.size + 1) ** slope
    found: FloatArray = np.fft.irfft(spectrum, size)
    return found


def _hum(size: int, rng: np.random.Generator) -> FloatArray:
    """Mains with many overtones, as a bad cable has it."""
    seconds = np.arange(size) / SAMPLE_RATE_HZ
    base_hz = rng.choice([50.0, 60.0, 100.0, 120.0])
    waves = [
        np.sin(2 * np.pi * (k * base_hz * seconds + rng.random())) / k ** rng.uniform(0, 1)
        for k in range(1, 25)
    ]
    found: FloatArray = np.sum(waves, axis=0)
    return found


def _clicks(size: int, rng: np.random.Generator) -> FloatArray:
    """Ten to forty short cracks a second."""
    train = np.zeros(size)
    count = int(rng.uniform(10, 40) * size / SAMPLE_RATE_HZ) + 1
    train[rng.integers(0, size, count)] = rng.standard_normal(count)
    found: FloatArray = lfilter([1.0], [1.0, -rng.uniform(0.3, 0.95)], train)
    return found


def _chords(size: int, rng: np.random.Generator) -> FloatArray:
    """Triads of plucked or held tones with overtones, two to four a second, and a bass."""
    beat = int(SAMPLE_RATE_HZ * rng.uniform(0.25, 0.8))
    root_hz = 110 * 2 ** (rng.integers(0, 12) / 12)
    fade = rng.choice([1.0, 4.0, 12.0])
    rolloff = rng.uniform(0.7, 2.0)
    song = np.zeros(size + beat)
    for place, start in enumerate(range(0, size, beat)):
        chord = _CHORDS[(place // 2) % len(_CHORDS)]
        seconds = np.arange(beat) / SAMPLE_RATE_HZ
        for step in (*chord, chord[0] - 12, int(rng.choice(chord)) + 12):
            hz = root_hz * 2 ** (step / 12)
            for k in range(1, int(min(12, 7000 / hz)) + 1):
                wave = np.sin(2 * np.pi * (k * hz * seconds + rng.random()))
                song[start : start + beat] += wave * np.exp(-fade * seconds) / k**rolloff
    return song[:size]


def _drums(size: int, rng: np.random.Generator) -> FloatArray:
    """Bass drum, snare and hi-hat in turn."""
    beat = int(SAMPLE_RATE_HZ * rng.uniform(0.12, 0.3))
    beats = np.zeros(size + SAMPLE_RATE_HZ)
    seconds = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    noise = rng.standard_normal(seconds.size)
    kick = np.sin(2 * np.pi * 60 * np.cumsum(1 + 2 * np.exp(-30 * seconds)) / SAMPLE_RATE_HZ)
    sounds = (
        3 * kick * np.exp(-12 * seconds),
        0.4 * np.diff(noise, prepend=0) * np.exp(-60 * seconds),
        noise * np.exp(-20 * seconds),
        0.4 * np.diff(noise, prepend=0) * np.exp(-60 * seconds),
    )
    for place, start in enumerate(range(0, size, beat)):
        beats[start : start + seconds.size] += sounds[place % 4]
    return beats[:size]
