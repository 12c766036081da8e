"""Sound spoilt on purpose, as rooms, microphones, mains, codecs and telephones do.

Heads learn from every window as it is, and once more from a spoilt copy.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import av
import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from scipy.signal import butter, sosfilt

from facevoice.backbones.compact import NUM_MELS
from facevoice.records import SAMPLE_RATE_HZ, FloatArray
from facevoice.spectra import mel_centres_hz

_ROOM_S = 0.5
_FASTEST = 1.07


@dataclass(frozen=True, slots=True)
class Codec:
    """How sound is written: encoder (None: a bare telephone line), container, rates."""

    name: str | None
    container: str
    rate_hz: int
    bit_rates: tuple[int, ...] = ()


CODECS = (
    Codec("libopus", "ogg", 48_000, (12_000, 16_000, 24_000, 32_000)),
    Codec("aac", "ipod", 48_000, (32_000, 48_000, 64_000)),
    Codec("libmp3lame", "mp3", 44_100, (32_000, 64_000)),
    Codec("pcm_mulaw", "wav", 8_000),
    Codec("libopencore_amrnb", "amr", 8_000, (12_200, 7_400)),
    Codec(None, "", 8_000),
)


def spoil(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Speed and pitch, room, equaliser, band limits, hum, noise, clipping, codec; each sometimes.

    samples: mono (N,) at 16 kHz; what comes back is of about that length.
    """
    if rng.random() < 0.5:
        factor = rng.uniform(2 - _FASTEST, _FASTEST)
        samples = soxr.resample(samples, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * factor, quality="LQ")
    if rng.random() < 0.35:
        samples = add_room(samples, rng)
    if rng.random() < 0.6:
        samples = _equalise(samples, rng)
    if rng.random() < 0.4:
        order = int(rng.integers(1, 5))
        low_hz = np.exp(rng.uniform(np.log(50), np.log(400)))
        samples = _filter(samples, order, low_hz, "highpass")
    if rng.random() < 0.35:
        order = int(rng.integers(2, 9))
        high_hz = np.exp(rng.uniform(np.log(2500), np.log(7500)))
        samples = _filter(samples, order, high_hz, "lowpass")
    speech = samples
    if rng.random() < 0.3:
        samples = samples + _scaled(_hum(samples.size, rng), speech, rng.uniform(12, 45))
    if rng.random() < 0.6:
        samples = samples + _scaled(_noise(samples.size, rng), speech, rng.uniform(8, 45))
    if rng.random() < 0.1:
        peak = (np.abs(samples).max() + 1e-9) * rng.uniform(0.4, 0.9)
        samples = np.clip(samples, -peak, peak)
    samples = samples.astype(np.float32)
    if rng.random() < 0.35:
        codec = CODECS[rng.integers(len(CODECS))]
        samples = _code(samples * (0.5 / (np.abs(samples).max() + 1e-9)), codec, rng)
    return samples


def add_room(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The same (N,) as a room of its own drawing gives it back."""
    return _convolve(samples, _room(rng))


def _convolve(samples: FloatArray, response: FloatArray) -> FloatArray:
    size = 1 << (samples.size + response.size).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    cut: FloatArray = np.fft.irfft(spectrum, size)[: samples.size]
    return cut


def _room(rng: np.random.Generator) -> FloatArray:
    """Impulse response: direct sound, then noise that fades by 60 dB in 0.15 to 0.8 s."""
    seconds = np.arange(int(_ROOM_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    fades_s = rng.uniform(0.15, 0.8)
    tail = rng.standard_normal(seconds.size) * 10 ** (-3.0 * seconds / fades_s)
    tail[: SAMPLE_RATE_HZ // 400] = 0  # The nearest wall is 40 cm away.
    tail *= 10 ** (-rng.uniform(-2, 10) / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail.astype(np.float32)


def _equalise(samples: FloatArray, rng: np.random.Generator) -> FloatArray:
    size = 1 << (samples.size + int(_ROOM_S * SAMPLE_RATE_HZ)).bit_length()
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    knots_hz = np.array([0, 150, 400, 1000, 2500, 5000, 8000])
    gain_db = np.interp(hz, knots_hz, rng.normal(0.0, 4.0, knots_hz.size))
    spectrum = np.fft.rfft(samples, size) * 10 ** (gain_db / 20)
    cut: FloatArray = np.fft.irfft(spectrum, size)[: samples.size]
    return cut


def _filter(samples: FloatArray, order: int, hz: float, kind: str) -> FloatArray:
    found: FloatArray = sosfilt(butter(order, hz, kind, fs=SAMPLE_RATE_HZ, output="sos"), samples)
    return found


def _hum(size: int, rng: np.random.Generator) -> FloatArray:
    """Mains of 50 or 60 Hz with eleven overtones, at random phases."""
    mains_hz = rng.choice([50.0, 60.0])
    seconds = np.arange(size) / SAMPLE_RATE_HZ
    waves = [
        np.sin(2 * np.pi * (k * mains_hz * seconds + rng.random())) / k ** rng.uniform(0.3, 1.5)
        for k in range(1, 13)
    ]
    hum: FloatArray = np.sum(waves, axis=0)
    return hum


def _noise(size: int, rng: np.random.Generator) -> FloatArray:
    """Noise with a spectrum between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum /= np.arange(1, spectrum.size + 1) ** rng.uniform(0.0, 1.0)
    noise: FloatArray = np.fft.irfft(spectrum, size)
    return noise


def _scaled(other: FloatArray, speech: FloatArray, below_db: float) -> FloatArray:
    """`other`, so many dB below the mean power of the speech."""
    level = np.sqrt((speech**2).mean()) / (np.sqrt((other**2).mean()) + 1e-12)
    scaled: FloatArray = other * level * 10 ** (-below_db / 20)
    return scaled


def _code(samples: FloatArray, codec: Codec, rng: np.random.Generator) -> FloatArray:
    """Written and read again; of the same length."""
    size = samples.size
    if codec.name is None:
        band = butter(2, [300, 3400], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
        samples = sosfilt(band, samples).astype(np.float32)
        narrow = soxr.resample(samples, SAMPLE_RATE_HZ, codec.rate_hz)
        heard = soxr.resample(narrow, codec.rate_hz, SAMPLE_RATE_HZ)
    else:
        bit_rate = codec.bit_rates[rng.integers(len(codec.bit_rates))] if codec.bit_rates else None
        written = soxr.resample(samples, SAMPLE_RATE_HZ, codec.rate_hz)
        written = written * min(1.0, 0.99 / (np.abs(written).max() + 1e-9))
        heard = soxr.resample(_written(written, codec, bit_rate), codec.rate_hz, SAMPLE_RATE_HZ)
    heard = heard[:size]
    return np.pad(heard, (0, size - heard.size)).astype(np.float32)


def _written(samples: FloatArray, codec: Codec, bit_rate: int | None) -> FloatArray:
    """What a decoder makes of samples at the codec's rate."""
    file = io.BytesIO()
    with av.open(file, "w", format=codec.container) as output:
        frame = av.AudioFrame.from_ndarray(
            samples[None].astype(np.float32), format="flt", layout="mono"
        )
        frame.rate, frame.pts = codec.rate_hz, 0
        stream = output.add_stream(codec.name, rate=codec.rate_hz, layout="mono")
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    file.seek(0)
    resampler = AudioResampler(format="flt", layout="mono", rate=codec.rate_hz)
    with av.open(file) as source:
        parts = [
            part.to_ndarray().ravel()
            for decoded in source.decode(audio=0)
            for part in resampler.resample(decoded)
        ]
    return np.concatenate(parts)


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
