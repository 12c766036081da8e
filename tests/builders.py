"""Builds predictions and reports for the tests of everything that shows or writes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from facevoice.records import (
    EMOTIONS,
    AudioInfo,
    ChannelPosterior,
    Emotion,
    FileError,
    MediaInfo,
    ModelId,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    VideoInfo,
)
from facevoice.settings import AnalyzerConfig


def make_posterior(emotion: Emotion, prob: float = 0.9, coverage: float = 1.0) -> ChannelPosterior:
    rest = (1.0 - prob) / (len(EMOTIONS) - 1)
    probs = np.full(len(EMOTIONS), rest)
    probs[emotion.position] = prob
    return ChannelPosterior(probs / probs.sum(), coverage)


def make_prediction(
    face: Emotion | None = Emotion.HAPPY,
    voice: Emotion | None = Emotion.HAPPY,
    *,
    outcome: Outcome = Outcome.MATCH,
    conflict: float | None = 0.04,
    reasons: tuple[Reason, ...] = (),
    start_s: float = 0.0,
    end_s: float = 4.0,
) -> Prediction:
    fused = face if face is not None else voice
    return Prediction(
        start_s=start_s,
        end_s=end_s,
        face=None if face is None else make_posterior(face, 0.91),
        voice=None if voice is None else make_posterior(voice, 0.55),
        fused=None if fused is None else make_posterior(fused, 0.8),
        conflict=conflict,
        outcome=outcome,
        reasons=reasons,
        face_coverage=0.0 if face is None else 1.0,
        speech_coverage=0.0 if voice is None else 0.75,
    )


def make_report(
    *windows: Prediction,
    summary: Prediction | None = None,
    status: Status = Status.OK,
    error: FileError | None = None,
    path: str = "clips/talk.mp4",
) -> Report:
    failed = status is Status.FAILED
    if summary is None and windows:
        summary = windows[0]
    media = MediaInfo(
        path=Path(path),
        duration_s=6.4371234567,
        video=VideoInfo(480, 480, 25.0, 0.0, 0, "h264"),
        audio=AudioInfo(48_000, 1, 0.0213333333, "aac"),
    )
    return Report(
        path=path,
        sha256=None if failed else "ab" * 32,
        media=None if failed else media,
        status=status,
        error=error,
        windows=windows,
        summary=summary,
        outcome_counts=Counter(window.outcome for window in windows),
        models={} if failed else {"voice": ModelId("v", "0" * 64), "face": ModelId("f", "1" * 64)},
        config=AnalyzerConfig(),
        facevoice_version="0.1.0",
    )


def make_failed_report(path: str = "clips/broken.mp4") -> Report:
    error = FileError("empty_media", f"{path}: the file is empty.")
    return make_report(status=Status.FAILED, error=error, path=path)
