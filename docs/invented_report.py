"""An invented report with conflicts and gaps, for pictures of what such reports look like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

import facevoice
from facevoice.interpret import summarize
from facevoice.records import (
    EMOTIONS,
    PEAKS_HZ,
    AudioInfo,
    ChannelPosterior,
    Emotion,
    FloatArray,
    MediaInfo,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    Thresholds,
    Trace,
    VideoInfo,
)
from facevoice.settings import AnalyzerConfig

TITLE = "invented example"

_THRESHOLDS = Thresholds(conflict_above=0.8, match_below=0.35, flat_above=0.5, clear_above=0.35)
_WINDOW_S, _HOP_S = 4.0, 2.0
_FACE_PROB, _VOICE_PROB = 0.74, 0.66

# Windows, emotion of the face, emotion of the voice, probability of conflict.
_Scene = tuple[int, Emotion | None, Emotion | None, float | None]
_SCENES: tuple[_Scene, ...] = (
    (7, Emotion.HAPPY, Emotion.HAPPY, 0.14),
    (4, Emotion.HAPPY, Emotion.CALM, 0.5),
    (6, Emotion.HAPPY, Emotion.SAD, 0.9),
    (3, Emotion.HAPPY, None, None),
    (6, Emotion.SAD, Emotion.SAD, 0.2),
    (4, None, Emotion.SAD, None),
    (3, Emotion.NEUTRAL, Emotion.ANGRY, 0.62),
    (6, Emotion.ANGRY, Emotion.ANGRY, 0.12),
    (4, Emotion.SURPRISED, Emotion.FEARFUL, 0.6),
    (7, Emotion.HAPPY, Emotion.ANGRY, 0.93),
    (4, Emotion.CALM, Emotion.CALM, 0.4),
)


def invent_report() -> tuple[Report, Trace]:
    """The same report and trace every time; nothing of them was measured."""
    rng = np.random.default_rng(5)
    scenes = [scene for scene in _SCENES for _ in range(scene[0])]
    windows = tuple(_window(rng, k, scene) for k, scene in enumerate(scenes))
    duration_s = windows[-1].end_s
    media = MediaInfo(
        path=Path(TITLE),
        duration_s=duration_s,
        video=VideoInfo(1280, 720, 25.0, 0.0, 0, "h264"),
        audio=AudioInfo(48_000, 1, 0.0, "aac"),
    )
    report = Report(
        path=TITLE,
        sha256=None,
        media=media,
        status=Status.OK,
        error=None,
        windows=windows,
        summary=summarize(windows, _THRESHOLDS),
        outcome_counts=Counter(window.outcome for window in windows),
        models={},
        config=AnalyzerConfig(),
        facevoice_version=facevoice.__version__,
        thresholds=_THRESHOLDS,
    )
    return report, _trace(rng, scenes, duration_s)


def _window(rng: np.random.Generator, place: int, scene: _Scene) -> Prediction:
    _, face, voice, conflict = scene
    if conflict is not None:
        conflict = float(np.clip(conflict + rng.normal(0, 0.03), 0.02, 0.98))
    outcome, reasons = _decide(face, voice, conflict)
    faces, voices = _posterior(rng, face, _FACE_PROB), _posterior(rng, voice, _VOICE_PROB)
    return Prediction(
        start_s=_HOP_S * place,
        end_s=_HOP_S * place + _WINDOW_S,
        face=faces,
        voice=voices,
        fused=_both(faces, voices),
        conflict=conflict,
        outcome=outcome,
        reasons=reasons,
        face_coverage=0.05 if face is None else 0.95,
        speech_coverage=0.04 if voice is None else 0.8,
    )


def _decide(
    face: Emotion | None, voice: Emotion | None, conflict: float | None
) -> tuple[Outcome, tuple[Reason, ...]]:
    if face is None or voice is None or conflict is None:
        return Outcome.INSUFFICIENT, (Reason.NO_FACE if face is None else Reason.NO_SPEECH,)
    if {face, voice} & {Emotion.NEUTRAL, Emotion.CALM}:
        return Outcome.FLAT, ()
    if conflict > _THRESHOLDS.conflict_above:
        return Outcome.CONFLICT, ()
    if conflict < _THRESHOLDS.match_below:
        return Outcome.MATCH, ()
    return Outcome.INSUFFICIENT, (Reason.UNDECIDED,)


def _posterior(
    rng: np.random.Generator, emotion: Emotion | None, prob: float
) -> ChannelPosterior | None:
    if emotion is None:
        return None
    probs = rng.dirichlet(np.ones(len(EMOTIONS)))
    probs[emotion.position] = 0
    prob = float(np.clip(prob + rng.normal(0, 0.07), 0.5, 0.95))
    probs *= (1 - prob) / probs.sum()
    probs[emotion.position] = prob
    return ChannelPosterior(probs, 0.9)


def _both(face: ChannelPosterior | None, voice: ChannelPosterior | None) -> ChannelPosterior | None:
    if face is None or voice is None:
        return face or voice
    return ChannelPosterior((face.probs + voice.probs) / 2, 0.9)


def _trace(rng: np.random.Generator, scenes: list[_Scene], duration_s: float) -> Trace:
    spans = []
    for place, (_, _, voice, _) in enumerate(scenes):
        start_s = _HOP_S * place + 1
        if voice is not None and spans and spans[-1][1] >= start_s:
            spans[-1][1] = start_s + _HOP_S
        elif voice is not None:
            spans.append([start_s, start_s + _HOP_S])
    times_s = np.arange(round(duration_s * PEAKS_HZ)) / PEAKS_HZ
    peaks = 0.02 + 0.02 * rng.uniform(size=len(times_s))
    for start_s, end_s in spans:
        inside = (times_s >= start_s) & (times_s < end_s)
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 1.7 * times_s[inside])
        peaks[inside] += syllables * rng.uniform(0.15, 0.75, inside.sum())
    return Trace(
        face_times_s=np.zeros(0),
        boxes_xyxy_rel=np.zeros((0, 4), np.float32),
        track_ids=np.zeros(0, np.int64),
        peaks=_clipped(peaks),
        speech_spans_s=np.array(spans, np.float64),
    )


def _clipped(peaks: np.ndarray) -> FloatArray:
    return np.minimum(peaks, 1).astype(np.float32)
