"""Builds perceptions whose embeddings are posteriors, for `EchoModel` and `TellModel`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from facevoice.records import (
    EMOTIONS,
    AudioInfo,
    DoubleArray,
    FaceView,
    MediaInfo,
    Perception,
    VideoInfo,
    WindowView,
)
from facevoice.settings import AnalyzerConfig

MEDIA = MediaInfo(
    Path("a.mp4"),
    8.5,
    VideoInfo(640, 360, 25.0, 0.0, 0, "h264"),
    AudioInfo(48_000, 2, 0.0, "aac"),
)


def probs(**given: float) -> DoubleArray:
    """A posterior with these probabilities, and the rest spread evenly."""
    rest = (1 - sum(given.values())) / (8 - len(given))
    return np.array([given.get(e.value, rest) for e in EMOTIONS])


HAPPY, SAD = probs(happy=0.8), probs(sad=0.8)


def view(
    face: DoubleArray | None = HAPPY,
    voice: DoubleArray | None = HAPPY,
    *,
    span_s: tuple[float, float] = (0.0, 4.0),
    seen: float = 1.0,
    heard: float = 0.8,
    people: int = 1,
    person: int = 0,
) -> WindowView:
    """A window that shows and sounds so; None for nothing."""
    return WindowView(
        *span_s,
        () if face is None else (FaceView(person, seen, face),),  # type: ignore[arg-type]
        voice,  # type: ignore[arg-type]
        heard if voice is not None else 0.0,
        num_faces=people,
    )


def perception(
    *views: WindowView, media: MediaInfo = MEDIA, damage: tuple[str, ...] = ()
) -> Perception:
    """A file that holds these windows."""
    return Perception(media, "c" * 64, AnalyzerConfig(), {}, views, damage)
