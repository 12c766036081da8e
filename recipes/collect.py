"""Windows and face embeddings of whole corpora, through the very steps that analysis takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facevoice.config import AnalyzerConfig
from facevoice.features.compact import CompactFace
from facevoice.media.probe import probe
from facevoice.perception.detect import FaceDetector, create_detector
from facevoice.pipeline import read_windows
from facevoice.types import ByteArray


@dataclass(frozen=True, slots=True, eq=False)
class FaceClip:
    """All crops of one clip: uint8 (T, S, S, 3), and how often its face was seen."""

    clip_id: str
    crops: ByteArray
    coverage: float


def read_face_clip(clip_id: str, path: Path, detector: FaceDetector) -> FaceClip | None:
    """Crops of the leading face over a clip's windows, each sampled frame once."""
    config = AnalyzerConfig()
    crops: dict[float, ByteArray] = {}
    covered = []
    for window in read_windows(probe(path), detector, config):
        covered.append(window.face_coverage)
        if window.faces is not None and window.face_timestamps_s is not None:
            crops.update(zip(window.face_timestamps_s.tolist(), window.faces, strict=True))
    if not crops:
        return None
    return FaceClip(clip_id, np.stack([crops[t] for t in sorted(crops)]), float(np.mean(covered)))


def collect_crops(clips: Iterable[tuple[str, Path]], store: Path) -> dict[str, ByteArray]:
    """Crops of every clip with a face, kept in the folder `store` for the next run."""
    store.mkdir(parents=True, exist_ok=True)
    config = AnalyzerConfig().faces
    detector = create_detector(
        config.detector, min_face_px=config.min_face_px, min_score=config.min_score
    )
    found: dict[str, ByteArray] = {}
    for clip_id, path in clips:
        file = store / f"{clip_id.replace('/', '_')}.npy"
        if file.exists():
            found[clip_id] = np.load(file, allow_pickle=False)
            continue
        clip = read_face_clip(clip_id, path, detector)
        if clip is None:
            print(f"no face: {clip_id}")
            continue
        np.save(file, clip.crops, allow_pickle=False)
        found[clip_id] = clip.crops
    return found


def embed_crops(crops: dict[str, ByteArray]) -> dict[str, np.ndarray]:
    """Compact face embeddings (519,) of clips."""
    backbone = CompactFace()
    return {clip_id: backbone.embed_crops(c) for clip_id, c in crops.items()}
