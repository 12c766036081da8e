"""Augmentation of a recording on its way to the voice network: sound first, then spectrogram."""

from __future__ import annotations

import numpy as np
import soxr

from facevoice.backbones.compact import (
    NUM_MELS,
    SAMPLE_RATE_HZ,
    log_mel_power,
    mel_centres_hz,
    normalize,
    trim_silence,
)
from facevoice.records import FloatArray


def augment(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Change of speed and pitch, room, equaliser, low-pass and noise; each only sometimes."""
    if rng.random() < 0.5:
        factor = rng.uniform(0.93, 1.07)
        samples = soxr.resample(samples, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * factor, quality="LQ")
    size = samples.size
    spectrum = np.fft.rfft(samples, 1 << (size + SAMPLE_RATE_HZ // 2).bit_length())
    hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, spectrum.size)
    if rng.random() < 0.3:
        spectrum = spectrum * np.fft.rfft(_room(rng), 2 * (spectrum.size - 1))
    if rng.random() < 0.6:
        knots_hz = np.array([0, 150, 400, 1000, 2500, 5000, 8000])
        gain_db = np.interp(hz, knots_hz, rng.normal(0.0, 4.0, knots_hz.size))
        spectrum = spectrum * 10 ** (gain_db / 20)
    if rng.random() < 0.25:
        cutoff_hz = rng.uniform(3000, 7000)
        spectrum = spectrum / (1.0 + (hz / cutoff_hz) ** 16)
    clean = np.fft.irfft(spectrum)[:size].astype(np.float32)
    return clean + _noise(clean, rng) if rng.random() < 0.6 else clean


def _room(rng: np.random.Generator) -> FloatArray:
    """Impulse response: direct sound and exponentially fading noise (60 dB in 0.1 to 0.5 s)."""
    seconds = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(seconds.size) * 10 ** (-3.0 * seconds / rng.uniform(0.1, 0.5))
    tail *= rng.uniform(0.1, 0.6) / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _noise(clean: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Noise with a spectrum between white and brown, 5 to 40 dB below the speech."""
    spectrum = np.fft.rfft(rng.standard_normal(clean.size))
    spectrum /= np.arange(1, spectrum.size + 1) ** rng.uniform(0.0, 1.0)
    noise = np.fft.irfft(spectrum, clean.size)
    level = np.linalg.norm(clean) / (np.linalg.norm(noise) + 1e-9)
    return (noise * level * 10 ** (-rng.uniform(5.0, 40.0) / 20)).astype(np.float32)


def warp(power: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Log-mel (80, T) of a longer or shorter vocal tract, and of faster or slower speech.

    Frequencies move by up to 15 % (as in vocal tract length perturbation, Jaitly and Hinton 2013),
    the length by up to 22 %.
    """
    centres_hz = mel_centres_hz()
    moved_hz = centres_hz * np.exp(rng.uniform(-0.14, 0.14))
    bands = np.interp(moved_hz, centres_hz, np.arange(float(NUM_MELS)))
    low = np.minimum(bands.astype(int), NUM_MELS - 2)
    share = (bands - low)[:, None]
    power = power[low] * (1 - share) + power[low + 1] * share
    length = power.shape[1]
    places = np.linspace(0, length - 1, max(50, int(length * np.exp(rng.uniform(-0.2, 0.2)))))
    first = np.minimum(places.astype(int), length - 2)
    share = places - first
    warped: FloatArray = power[:, first] * (1 - share) + power[:, first + 1] * share
    return warped.astype(np.float32)


def training_mel(samples: FloatArray, rng: np.random.Generator, max_frames: int) -> FloatArray:
    """Augmented mel (80, T): sound, warp, random crop, SpecAugment (Park et al. 2019)."""
    if rng.random() < 0.3:
        power = trim_silence(log_mel_power(samples))
    else:
        power = trim_silence(log_mel_power(augment(samples, rng)), int(rng.integers(2, 20)))
    if rng.random() < 0.8:
        power = warp(power, rng)
    start = int(rng.integers(0, max(1, power.shape[1] - max_frames + 1)))
    mel = normalize(power[:, start : start + max_frames]).copy()
    fill = mel.mean()
    for _ in range(rng.integers(0, 3)):
        low, width = rng.integers(0, 80), rng.integers(1, 11)
        mel[low : low + width] = fill
    for _ in range(rng.integers(0, 3)):
        first, width = rng.integers(0, mel.shape[1]), rng.integers(1, 20)
        mel[:, first : first + width] = fill
    return mel
