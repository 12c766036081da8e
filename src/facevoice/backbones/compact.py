"""The compact backbones: our own small networks for face and voice, run by onnxruntime.

The voice network sees a log-mel spectrogram like Whisper's (Radford et al. 2022): the same filters,
hop and compression as openai/whisper ``audio.log_mel_spectrogram``, in plain numpy, but for any
length (nothing is padded to 30 s), without silent edges, and whatever the loudness.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from PIL import Image

from facevoice.backbones.spec import BackboneSpec
from facevoice.files import file_sha256
from facevoice.records import (
    SAMPLE_RATE_HZ,
    ByteArray,
    DoubleArray,
    Emotion,
    FloatArray,
    Modality,
    ModelId,
    Window,
)
from facevoice.sessions import load_session, open_session
from facevoice.spectra import cut_low, mel_filters

# Output order of the face network: FER2013's seven classes (it has no calm).
FACE_CLASSES: Final[tuple[Emotion, ...]] = tuple(e for e in Emotion if e is not Emotion.CALM)
FACE_FEATURES: Final = 256
FACE_DIM: Final = 2 * FACE_FEATURES + len(FACE_CLASSES)
VOICE_FEATURES: Final = 3072

# Windows overlap, so a crop comes back soon: those of the longest window are kept, twice over.
_REMEMBERED_CROPS: Final = 256
# Crops hold 1.25 × the framing of FER2013 around its centre; the network wants FER2013's.
_CENTRAL_SHARE: Final = 1 / 1.25

_FFT_SAMPLES: Final = 400
_HOP_SAMPLES: Final = 160
_HANN: Final = np.hanning(_FFT_SAMPLES + 1)[:-1].astype(np.float32)
_MIN_SAMPLES: Final = _FFT_SAMPLES // 2 + 1  # reflection at both ends needs that many
NUM_MELS: Final = 80
FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ // _HOP_SAMPLES
MIN_FRAMES: Final = FRAMES_PER_SECOND // 2
TRIM_MARGIN_FRAMES: Final = FRAMES_PER_SECOND // 10

# Below every recording's quietest cell, so that the level has no effect.
_POWER_FLOOR: Final = 1e-16
_DYNAMIC_RANGE: Final = 8.0  # decades of power kept below the loudest cell
_LOUDEST: Final = 1.0  # log10 power that the loudest cell is moved to
_TRIM_RANGE: Final = 3.5  # decades below the loudest frame at which an edge counts as silence


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

    def __init__(self, *, num_threads: int = 1, network: Path | None = None) -> None:
        """Open the package's network, or an ONNX file with the same inputs and outputs."""
        if network is None:
            self._session, self.model = load_session("face", num_threads=num_threads)
        else:
            self._session = open_session(network, str(network), num_threads)
            self.model = ModelId(network.stem, file_sha256(network))
        model_input = self._session.get_inputs()[0]
        self._input_name: str = model_input.name
        self._side_px = int(model_input.shape[-1])
        self._seen: OrderedDict[bytes, tuple[FloatArray, FloatArray]] = OrderedDict()
        self._lock = Lock()

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """See `Backbone`; crops embedded a moment ago, in a window that overlaps, are not run."""
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            if window.faces is None:
                raise ValueError(f"window at {window.start_s:g} s has no faces")
            features, logits = self._describe(grey_crops(window.faces, self._side_px))
            log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            embeddings[row] = np.concatenate(
                [features.mean(axis=0), features.std(axis=0), log_probs.mean(axis=0)]
            )
        return embeddings

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
    """Grey levels 0–255 of the central part of crops (T, S, S, 3): (T, 1, side_px, side_px)."""
    margin_px = crops.shape[1] * (1 - _CENTRAL_SHARE) / 2
    box = (margin_px, margin_px, crops.shape[2] - margin_px, crops.shape[1] - margin_px)
    grey = np.empty((len(crops), 1, side_px, side_px), dtype=np.float32)
    for row, crop in enumerate(crops):
        picture = Image.fromarray(crop).convert("L")
        small = picture.resize((side_px, side_px), Image.Resampling.BOX, box=box)
        grey[row, 0] = np.asarray(small)
    return grey


class CompactVoice:
    """The first three blocks of Whisper base's encoder, on log-mels normalised per window.

    Embedding (3072,): of each block, from the first, mean (512) and standard deviation (512) over
    time.
    """

    spec = BackboneSpec(
        name="compact-voice",
        modality=Modality.AUDIO,
        dim=VOICE_FEATURES,
        license="MIT (OpenAI Whisper)",
        training_corpora=(),
        preprocessing="voice-mel-3",
    )

    def __init__(self, *, num_threads: int = 1, network: Path | None = None) -> None:
        """Open the package's network, or an ONNX file made as it was (`recipes/voice.py`)."""
        if network is None:
            self._session, self.model = load_session("voice", num_threads=num_threads)
        else:
            self._session = open_session(network, str(network), num_threads)
            self.model = ModelId(network.stem, file_sha256(network))

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """See `Backbone`; one by one: int8 layers' ranges would depend on a batch's members."""
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for row, window in enumerate(windows):
            if window.samples is None:
                raise ValueError(f"window at {window.start_s:g} s has no sound")
            embeddings[row] = self.embed_mel(voice_mel(window.samples))
        return embeddings

    def embed_mel(self, mel: FloatArray) -> FloatArray:
        """Embedding (3072,) of what `voice_mel` makes of a window: (80, T)."""
        inputs = {"mel": mel[np.newaxis], "num_frames": np.array([mel.shape[1]], dtype=np.int64)}
        embedding: FloatArray = self._session.run(["embedding"], inputs)[0][0]
        return embedding


@lru_cache(maxsize=1)
def _bands() -> list[tuple[int, DoubleArray]]:
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


def log_mel_power(samples: FloatArray) -> FloatArray:
    """log10 of mel power, floored at 1e-16: mono (N,) at 16 kHz → float32 (80, N // 160).

    Frame ``t`` is centred on sample ``160 t``; the ends are reflected, as in
    ``torch.stft(center=True)``.

    Raises:
        ValueError: not one-dimensional, or fewer than 201 samples.
    """
    if samples.ndim != 1 or samples.size < _MIN_SAMPLES:
        raise ValueError(f"need at least {_MIN_SAMPLES} mono samples, got shape {samples.shape}")
    num_frames = samples.size // _HOP_SAMPLES
    padded = np.pad(samples.astype(np.float32, copy=False), _FFT_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::_HOP_SAMPLES]
    spectrum = np.fft.rfft(frames[:num_frames] * _HANN, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).T.astype(np.float64)
    mel = np.empty((NUM_MELS, num_frames), dtype=np.float32)
    for row, (first, weights) in zip(mel, _bands(), strict=True):
        row[:] = weights @ power[first : first + len(weights)]
    floored: FloatArray = np.maximum(mel, np.float32(_POWER_FLOOR))
    return np.log10(floored)


def trim_silence(log_power: FloatArray, margin_frames: int = TRIM_MARGIN_FRAMES) -> FloatArray:
    """Cut silent edges off a log-mel spectrogram (80, T) → (80, T'), a view.

    An edge is silent while its frames are more than 3.5 decades of power below the loudest one;
    ``margin_frames`` of it stay. At least ``MIN_FRAMES`` are kept where there are as many.
    """
    frame_power = np.log10(np.sum(np.power(10.0, log_power, dtype=np.float64), axis=0))
    loud = np.flatnonzero(frame_power > frame_power.max() - _TRIM_RANGE)
    start, stop = int(loud[0]) - margin_frames, int(loud[-1]) + 1 + margin_frames
    lacking = max(0, MIN_FRAMES - (stop - start))
    start = max(0, min(start - lacking // 2, log_power.shape[1] - MIN_FRAMES))
    return log_power[:, start : max(stop, start + MIN_FRAMES)]


def normalize(log_power: FloatArray) -> FloatArray:
    """Whisper's compression with the recording's own loudest cell as the reference: (80, T).

    ``(max(x − max(x), −8) + 1 + 4) / 4``: the loudest cell of every recording becomes 1.25, which
    is where clear speech lies in Whisper's training data; a gain on the samples has no effect.
    """
    relative: FloatArray = np.maximum(log_power - log_power.max(), np.float32(-_DYNAMIC_RANGE))
    return (relative + np.float32(_LOUDEST + 4.0)) / np.float32(4.0)


def voice_mel(samples: FloatArray) -> FloatArray:
    """Input of the voice network for one window: mono (N,) at 16 kHz → float32 (80, T ≤ N // 160).

    Low end cut, log-mel, silent edges cut, loudness normalised. A window shorter than half a second
    is padded with silence at its end. Raises as `log_mel_power`.
    """
    samples = cut_low(samples)
    lacking = MIN_FRAMES * _HOP_SAMPLES - samples.size
    if lacking > 0:
        samples = np.pad(samples, (0, lacking))
    return normalize(trim_silence(log_mel_power(samples)))
