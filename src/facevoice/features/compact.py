"""The compact backbones: our own small networks, run by onnxruntime.

Each embedding ends with the network's own class evidence, so that a head may lean on it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from PIL import Image

from facevoice.features.backbone import BackboneSpec
from facevoice.features.mel import voice_mel
from facevoice.labels import Emotion, Modality
from facevoice.results import ModelId
from facevoice.sessions import load_session, load_session_file
from facevoice.types import ByteArray, FloatArray, Window

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
