"""Windows on which an exported model is held against the one in torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.config import AnalyzerConfig
from facevoice.errors import ConfigError
from facevoice.features.backbone import Backbone
from facevoice.labels import Modality
from facevoice.media.probe import probe
from facevoice.models.decision import Evidence, weigh_evidence
from facevoice.perception.detect import create_detector
from facevoice.perception.reading import read_windows
from facevoice.types import SAMPLE_RATE_HZ, FloatArray, Window

NUM_WINDOWS: Final = 4
"""As many windows are made, or taken from clips all together."""
_LENGTH_S: Final = 4.0
_NUM_CROPS: Final = 20
_CELLS: Final = 6

Rows = list[FloatArray | None]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Windows, which of their channels are worth scoring, and in words where they come from."""

    windows: tuple[Window, ...]
    evidence: tuple[Evidence, ...]
    origin: str

    def embed(self, modality: Modality, backbone: Backbone) -> Rows:
        """Embeddings of a channel, None where a window has too little of it."""
        return [
            backbone.embed([window])[0] if modality in evidence.modalities else None
            for window, evidence in zip(self.windows, self.evidence, strict=True)
        ]


def read_samples(paths: Sequence[Path], config: AnalyzerConfig | None = None) -> Samples:
    """The first windows of clips with a face and speech in them, `NUM_WINDOWS` in all.

    Raises:
        MediaError: a clip can't be read.
        ConfigError: no clip has such a window.
    """
    config = config or AnalyzerConfig()
    share = -(-NUM_WINDOWS // len(paths))
    found = [pair for path in paths for pair in islice(_usable(path, config), share)]
    if not found:
        names = ", ".join(path.name for path in paths)
        raise ConfigError(f"no window of {names} shows a face and holds speech; name other clips")
    windows, evidence = zip(*found, strict=True)
    return Samples(windows, evidence, ", ".join(path.name for path in paths))


def make_samples(crop_px: int = AnalyzerConfig().faces.crop_px) -> Samples:
    """Made windows: blurred noise to look at, and buzzes of rising pitch to hear.

    They exercise the networks, and say nothing of emotions.
    """
    windows = tuple(_made_window(seed, crop_px) for seed in range(NUM_WINDOWS))
    evidence = tuple(weigh_evidence(w, AnalyzerConfig().decision) for w in windows)
    return Samples(windows, evidence, "synthesised")


def _usable(path: Path, config: AnalyzerConfig) -> Iterator[tuple[Window, Evidence]]:
    faces = config.faces
    detector = create_detector(
        faces.detector, min_face_px=faces.min_face_px, min_score=faces.min_score
    )
    for window in read_windows(probe(path), detector, config):
        evidence = weigh_evidence(window, config.decision)
        if len(evidence.modalities) == len(Modality):
            yield window, evidence


def _made_window(seed: int, crop_px: int) -> Window:
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, 255, (_NUM_CROPS, _CELLS, _CELLS, 3))
    place = np.arange(crop_px) * _CELLS // crop_px
    faces = cells[:, place][:, :, place].astype(np.uint8)
    times_s = np.arange(round(_LENGTH_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 100 + 40 * seed + 20 * times_s
    buzz = np.sin(2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ) * rng.uniform(0.1, 0.4)
    samples = (buzz + rng.normal(0, 0.02, len(times_s))).astype(np.float32)
    return Window(
        start_s=0.0,
        end_s=_LENGTH_S,
        faces=faces,
        samples=samples,
        face_coverage=1.0,
        speech_coverage=1.0,
        num_tracks=1,
    )
