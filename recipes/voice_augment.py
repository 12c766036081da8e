"""Augmentation of a recording on its way to the voice network: sound first, then spectrogram."""

from __future__ import annotations

import numpy as np
import soxr
from recipes.voice_data import Samples

from facevoice.features.mel import SAMPLE_RATE_HZ, log_mel_power, normalize, trim_silence


def augment(samples: Samples, rng: np.random.Generator) -> Samples:
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


def _room(rng: np.random.Generator) -> Samples:
    """Impulse response: direct sound and exponentially fading noise (60 dB in 0.1 to 0.5 s)."""
    seconds = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(seconds.size) * 10 ** (-3.0 * seconds / rng.uniform(0.1, 0.5))
    tail *= rng.uniform(0.1, 0.6) / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _noise(clean: Samples, rng: np.random.Generator) -> Samples:
    """Noise with a spectrum between white and brown, 5 to 40 dB below the speech."""
    spectrum = np.fft.rfft(rng.standard_normal(clean.size))
    spectrum /= np.arange(1, spectrum.size + 1) ** rng.uniform(0.0, 1.0)
    noise = np.fft.irfft(spectrum, clean.size)
    level = np.linalg.norm(clean) / (np.linalg.norm(noise) + 1e-9)
    return (noise * level * 10 ** (-rng.uniform(5.0, 40.0) / 20)).astype(np.float32)


def training_mel(samples: Samples, rng: np.random.Generator, max_frames: int) -> Samples:
    """Augmented mel (80, T): random crop and silent edges, SpecAugment (Park et al. 2019)."""
    power = trim_silence(log_mel_power(augment(samples, rng)), int(rng.integers(2, 20)))
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
