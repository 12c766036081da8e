"""Sound as networks hear it: low frequencies cut off, and mel filters like Slaney's."""

from __future__ import annotations

from typing import Final

import numpy as np

from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray

_NUM_BINS: Final = 201  # of a spectrum of 400 samples
# Lower there is little of a voice that its overtones don't tell too, but rumble, hum, and what a
# microphone or a high-pass lets through or not.
_LOW_CUT_HZ: Final = 120.0
_LOW_CUT_ORDER: Final = 12


def _mel_edges_hz(num_mels: int = 80) -> DoubleArray:
    """Corners (num_mels + 2,) of filters: equally spaced in mel from 0 to half the sample rate.

    Slaney's mel scale: linear up to 1 kHz (3 mel for 200 Hz), logarithmic above (Slaney 1998).
    """
    break_hz, mel_per_hz, mel_per_log = 1000.0, 3.0 / 200.0, 27.0 / np.log(6.4)
    break_mel = break_hz * mel_per_hz
    top = float(break_mel + np.log(SAMPLE_RATE_HZ / 2 / break_hz) * mel_per_log)
    mel = np.linspace(0.0, top, num_mels + 2)
    above = break_hz * np.exp((mel - break_mel) / mel_per_log)
    return np.where(mel < break_mel, mel / mel_per_hz, above)


def mel_filters(num_mels: int = 80) -> FloatArray:
    """Triangular filters (num_mels, 201) of equal area, from 0 Hz to half the sample rate.

    Same matrix as ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=num_mels)``.
    """
    edges_hz = _mel_edges_hz(num_mels)
    bins_hz = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _NUM_BINS)
    width_hz = np.diff(edges_hz)
    ramps = edges_hz[:, None] - bins_hz
    rising = -ramps[:-2] / width_hz[:-1, None]
    falling = ramps[2:] / width_hz[1:, None]
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return (np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)


def mel_centres_hz(num_mels: int = 80) -> DoubleArray:
    """Frequencies (num_mels,) at which the filters let most through."""
    return _mel_edges_hz(num_mels)[1:-1]


def cut_low(samples: FloatArray) -> FloatArray:
    """Take out offset, rumble and hum: mono (N,) at 16 kHz → float32 (N,).

    A Butterworth filter's gain, 72 dB an octave below 120 Hz, without its delay.
    """
    if not samples.size:
        return samples
    # Silence behind keeps the end of the recording from ringing into its beginning.
    size = samples.size + SAMPLE_RATE_HZ // 10
    spectrum = np.fft.rfft(samples - samples.mean(dtype=np.float64), size)
    ratio = (np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ) / _LOW_CUT_HZ) ** _LOW_CUT_ORDER
    cut = np.fft.irfft(spectrum * ratio / np.hypot(1.0, ratio), size)
    return cut[: samples.size].astype(np.float32)
