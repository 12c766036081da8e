"""Log-mel spectrogram of Whisper in plain numpy, with a normalisation that ignores loudness.

Same filters, hop and compression as openai/whisper ``audio.log_mel_spectrogram`` (Radford et al.
2022), but for any length: nothing is padded to 30 s.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.backbones.spec import BackboneSpec
from facevoice.records import ByteArray, Emotion, FloatArray, Modality, ModelId, Window
from facevoice.sessions import load_session, load_session_file

SAMPLE_RATE_HZ = 16_000
FFT_SAMPLES = 400
HOP_SAMPLES = 160
NUM_MELS = 80
NUM_BINS = FFT_SAMPLES // 2 + 1
FRAMES_PER_SECOND = SAMPLE_RATE_HZ // HOP_SAMPLES
MIN_SAMPLES = FFT_SAMPLES // 2 + 1  # reflection at both ends needs that many

POWER_FLOOR = 1e-10
DYNAMIC_RANGE = 8.0  # decades of power kept below the loudest cell
LOUDEST = 1.0  # log10 power that the loudest cell is moved to

TRIM_RANGE = 3.5  # decades below the loudest frame at which an edge counts as silence
TRIM_MARGIN_FRAMES = FRAMES_PER_SECOND // 10
MIN_FRAMES = FRAMES_PER_SECOND // 2


# Slaney's mel scale: linear up to 1 kHz (3 mel for 200 Hz), logarithmic above (Slaney 1998).
_MEL_BREAK_HZ = 1000.0
_MEL_PER_HZ = 3.0 / 200.0
_MEL_BREAK = _MEL_BREAK_HZ * _MEL_PER_HZ
_MEL_PER_LOG = 27.0 / np.log(6.4)


def _hz_to_mel(hz: float) -> float:
    if hz < _MEL_BREAK_HZ:
        return hz * _MEL_PER_HZ
    return float(_MEL_BREAK + np.log(hz / _MEL_BREAK_HZ) * _MEL_PER_LOG)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = _MEL_BREAK_HZ * np.exp((mel - _MEL_BREAK) / _MEL_PER_LOG)
    return np.where(mel < _MEL_BREAK, mel / _MEL_PER_HZ, above)


@lru_cache(maxsize=1)
def mel_filters() -> FloatArray:
    """Triangular filters (80, 201) of equal area, from 0 Hz to half the sample rate.

    Same matrix as ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)``; read-only.
    """
    nyquist_hz = SAMPLE_RATE_HZ / 2
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(nyquist_hz), NUM_MELS + 2))
    bins_hz = np.linspace(0.0, nyquist_hz, NUM_BINS)
    width_hz = np.diff(edges_hz)
    ramps = edges_hz[:, None] - bins_hz
    rising = -ramps[:-2] / width_hz[:-1, None]
    falling = ramps[2:] / width_hz[1:, None]
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    filters = (np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]).astype(np.float32)
    filters.flags.writeable = False
    return filters


@lru_cache(maxsize=1)
def _bands() -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Of every filter, its first bin and its weights from there to its last one.

    One by one they are too small for the linear algebra library to wake its threads, which would
    spin on the cores that decoding needs. In double precision: the order of adding up must not
    change the rounded result, for an int8 network makes much of the last bit.
    """
    bands = []
    for row in mel_filters().astype(np.float64):
        bins = np.flatnonzero(row)
        bands.append((int(bins[0]), row[bins[0] : bins[-1] + 1]))
    return bands


def mel_centres_hz() -> npt.NDArray[np.float64]:
    """Frequencies (80,) at which the filters of :func:`mel_filters` let most through."""
    return _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE_HZ / 2), NUM_MELS + 2))[1:-1]


@lru_cache(maxsize=1)
def _hann() -> FloatArray:
    phase = 2.0 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES
    window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    window.flags.writeable = False
    return window


def num_mel_frames(num_samples: int) -> int:
    """Frames that :func:`log_mel_power` gives for that many samples."""
    return num_samples // HOP_SAMPLES


def log_mel_power(samples: FloatArray) -> FloatArray:
    """log10 of mel power, floored at 1e-10.

    ``samples``: mono float32 (N,) at 16 kHz. Returns (80, N // 160) float32. Frame ``t`` is
    centred on sample ``160 t``; the ends are reflected, as in ``torch.stft(center=True)``.

    Raises ValueError when ``samples`` is not one-dimensional or has fewer than 201 values.
    """
    if samples.ndim != 1 or samples.size < MIN_SAMPLES:
        raise ValueError(f"need at least {MIN_SAMPLES} mono samples, got shape {samples.shape}")
    num_frames = num_mel_frames(samples.size)
    padded = np.pad(samples.astype(np.float32, copy=False), FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES]
    spectrum = np.fft.rfft(frames[:num_frames] * _hann(), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).T.astype(np.float64)
    mel = np.empty((NUM_MELS, num_frames), dtype=np.float32)
    for row, (first, weights) in zip(mel, _bands(), strict=True):
        row[:] = weights @ power[first : first + len(weights)]
    floored: FloatArray = np.maximum(mel, np.float32(POWER_FLOOR))
    return np.log10(floored)


def whisper_log_mel(samples: FloatArray) -> FloatArray:
    """What openai/whisper feeds to its encoder, without padding: (80, N // 160) float32."""
    log_power = log_mel_power(samples)
    floored: FloatArray = np.maximum(log_power, log_power.max() - np.float32(DYNAMIC_RANGE))
    return (floored + np.float32(4.0)) / np.float32(4.0)


def trim_silence(
    log_power: FloatArray,
    margin_frames: int = TRIM_MARGIN_FRAMES,
    range_decades: float = TRIM_RANGE,
) -> FloatArray:
    """Cut silent edges off a log-mel spectrogram (80, T) → (80, T'), a view.

    An edge is silent while its frames' power is more than ``range_decades`` below the loudest
    frame; ``margin_frames`` of it stay. At least ``MIN_FRAMES`` frames are kept where there are
    as many.
    """
    frame_power = np.log10(np.sum(np.power(10.0, log_power, dtype=np.float64), axis=0))
    loud = np.flatnonzero(frame_power > frame_power.max() - range_decades)
    start, stop = int(loud[0]) - margin_frames, int(loud[-1]) + 1 + margin_frames
    lacking = max(0, MIN_FRAMES - (stop - start))
    start = max(0, min(start - lacking // 2, log_power.shape[1] - MIN_FRAMES))
    return log_power[:, start : max(stop, start + MIN_FRAMES)]


def normalize(log_power: FloatArray) -> FloatArray:
    """Whisper's compression with the recording's own loudest cell as the reference: (80, T).

    ``(max(x − max(x), −8) + 1 + 4) / 4``: the loudest cell of every recording becomes 1.25, which
    is where clear speech lies in Whisper's training data; a gain on the samples has no effect.
    """
    relative: FloatArray = np.maximum(log_power - log_power.max(), np.float32(-DYNAMIC_RANGE))
    return (relative + np.float32(LOUDEST + 4.0)) / np.float32(4.0)


def voice_mel(samples: FloatArray) -> FloatArray:
    """Input of the compact voice network for one window: (80, T) float32, T ≤ N // 160.

    ``samples``: mono float32 (N,) at 16 kHz. Log-mel, silent edges cut, loudness normalised.
    A window shorter than half a second is padded with silence at its end. Raises ValueError
    when ``samples`` is not one-dimensional.
    """
    if samples.ndim != 1:
        raise ValueError(f"need mono samples (N,), got shape {samples.shape}")
    lacking = MIN_FRAMES * HOP_SAMPLES - samples.size
    if lacking > 0:
        samples = np.pad(samples, (0, lacking))
    return normalize(trim_silence(log_mel_power(samples)))


def voice_mel_batch(
    windows: Sequence[FloatArray],
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """:func:`voice_mel` of several windows: mel (B, 80, T) zero-padded, frames in use (B,).

    Raises ValueError when ``windows`` is empty.
    """
    if not windows:
        raise ValueError("need at least one window")
    mels = [voice_mel(samples) for samples in windows]
    num_frames = np.array([mel.shape[1] for mel in mels], dtype=np.int64)
    batch = np.zeros((len(mels), NUM_MELS, int(num_frames.max())), dtype=np.float32)
    for row, mel in zip(batch, mels, strict=True):
        row[:, : mel.shape[1]] = mel
    return batch, num_frames


# The compact backbones: our own small networks, run by onnxruntime.
#
# Each embedding ends with the network's own class evidence, so that a head may lean on it.

# Output order of the face network: FER2013's seven classes (it has no calm).
FACE_CLASSES: Final[tuple[Emotion, ...]] = tuple(e for e in Emotion if e is not Emotion.CALM)
FACE_FEATURES: Final[int] = 256
FACE_DIM: Final[int] = 2 * FACE_FEATURES + len(FACE_CLASSES)
VOICE_FEATURES: Final[int] = 3072

# Windows overlap, so a crop comes back soon: those of the longest window are kept, twice over.
_REMEMBERED_CROPS: Final[int] = 256

# Crops hold 1.25 × the framing of FER2013 around its centre; the network wants FER2013's.
_CENTRAL_SHARE: Final[float] = 1 / 1.25


class CompactFace:
    """A small CNN on grey crops, pooled over the frames of a window.

    Embedding (519,): mean (256) and standard deviation (256) over frames of the network's
    features, then the mean over frames of its seven log-probabilities.
    """

    spec = BackboneSpec(
        name="compact-face",
        modality=Modality.VIDEO,
        dim=FACE_DIM,
        license="research use (trained on FER2013)",
        training_corpora=("fer2013",),
        preprocessing="grey-central-1",
    )

    def __init__(self, *, num_threads: int = 1) -> None:
        self._session, self._model = load_session("face", num_threads=num_threads)
        model_input = self._session.get_inputs()[0]
        self._input_name: str = model_input.name
        self._side_px = int(model_input.shape[-1])
        self._seen: OrderedDict[bytes, tuple[FloatArray, FloatArray]] = OrderedDict()
        self._lock = Lock()

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        return self._model

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with faces.

        Returns:
            float32 (B, 519).

        Raises:
            ValueError: a window has no faces.
        """
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            if window.faces is None:
                raise ValueError(f"window at {window.start_s:g} s has no faces")
            embeddings[row] = self.embed_crops(window.faces)
        return embeddings

    def embed_crops(self, crops: ByteArray) -> FloatArray:
        """Embed aligned crops uint8 (T, S, S, 3) of one person as one: float32 (519,).

        Crops that were embedded a moment ago, in a window that overlaps, are not run again.
        """
        features, logits = self._describe(grey_crops(crops, self._side_px))
        log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        pooled: FloatArray = np.concatenate(
            [features.mean(axis=0), features.std(axis=0), log_probs.mean(axis=0)]
        ).astype(np.float32)
        return pooled

    def forget(self) -> None:
        """Embed every crop anew from here on; for measuring."""
        with self._lock:
            self._seen.clear()

    def _describe(self, grey: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Features (T, 256) and logits (T, 7); the network gives a crop the same in any batch."""
        keys = [row.tobytes() for row in grey]
        with self._lock:
            known = {key: self._seen[key] for key in keys if key in self._seen}
        fresh = list(dict.fromkeys(key for key in keys if key not in known))
        if fresh:
            rows = grey[[keys.index(key) for key in fresh]]
            outputs = self._session.run(["embedding", "logits"], {self._input_name: rows})
            known.update(zip(fresh, zip(*outputs, strict=True), strict=True))
        with self._lock:
            for key in keys:
                self._seen[key] = known[key]
                self._seen.move_to_end(key)
            while len(self._seen) > _REMEMBERED_CROPS:
                self._seen.popitem(last=False)
        features, logits = zip(*(known[key] for key in keys), strict=True)
        return np.stack(features), np.stack(logits)


def grey_crops(crops: ByteArray, side_px: int) -> FloatArray:
    """Grey levels 0–255 of the central part of aligned crops.

    Args:
        crops: uint8 (T, S, S, 3).
        side_px: side of what is returned.

    Returns:
        float32 (T, 1, side_px, side_px).
    """
    margin_px = crops.shape[1] * (1 - _CENTRAL_SHARE) / 2
    box = (margin_px, margin_px, crops.shape[2] - margin_px, crops.shape[1] - margin_px)
    grey = np.empty((len(crops), 1, side_px, side_px), dtype=np.float32)
    for row, crop in enumerate(crops):
        picture = Image.fromarray(crop).convert("L")
        small = picture.resize((side_px, side_px), Image.Resampling.BOX, box=box)
        grey[row, 0] = np.asarray(small)
    return grey


class CompactVoice:
    """The first three blocks of Whisper base's encoder, tuned, on log-mels normalised per window.

    Embedding (3072,): of each block, from the first, mean (512) and standard deviation (512) over
    time.
    """

    spec = BackboneSpec(
        name="compact-voice",
        modality=Modality.AUDIO,
        dim=VOICE_FEATURES,
        license="CC BY-NC-SA 4.0 (OpenAI Whisper, MIT; tuned on RAVDESS, Javanese and EmoDB)",
        training_corpora=("ravdess", "javanese", "emodb"),
        preprocessing="voice-mel-1",
    )

    def __init__(self, *, num_threads: int = 1, network: Path | None = None) -> None:
        """Open the package's network, or an ONNX file made as it was (`recipes/voice.py`)."""
        if network is None:
            self._session, self._model = load_session("voice", num_threads=num_threads)
            return
        digest = hashlib.sha256(network.read_bytes()).hexdigest()
        self._session, self._model = load_session_file(
            network, name=network.stem, sha256=digest, num_threads=num_threads
        )

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        return self._model

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with sound, one by one: int8 ranges of a batch would depend on its members.

        Returns:
            float32 (B, 3072).

        Raises:
            ValueError: a window has no sound.
        """
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            if window.samples is None:
                raise ValueError(f"window at {window.start_s:g} s has no sound")
            mel = voice_mel(window.samples)[np.newaxis]
            num_frames = np.array([mel.shape[2]], dtype=np.int64)
            inputs = {"mel": mel, "num_frames": num_frames}
            embeddings[row] = self._session.run(["embedding"], inputs)[0][0]
        return embeddings
