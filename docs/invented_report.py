"""Invented reports for pictures of what reports look like; nothing in them was measured.

Only probabilities are invented: outcomes, moments, sentences come from the rules of every report.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from facevoice.batch import failed_report
from facevoice.exchange import Document, Span
from facevoice.interpret import decide_again, find_point
from facevoice.records import (
    EMOTIONS,
    PEAKS_HZ,
    VERSION,
    AudioInfo,
    ChannelPosterior,
    DecisionCurve,
    Emotion,
    FileError,
    FloatArray,
    MediaInfo,
    Outcome,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
    Trace,
    VideoInfo,
)
from facevoice.report import to_document
from facevoice.review import Verdict, empty_review, said_of
from facevoice.settings import AnalyzerConfig

TITLE: Final = "invented example"

_WINDOW_S, _HOP_S = 4.0, 2.0
_FACE_PROB, _VOICE_PROB = 0.74, 0.62
# Calls from a probability on are right as often as it says.
_PROBS: Final = tuple(k / 100 for k in range(101))
_HITS: Final = tuple(min(1.0, 2 - 2 * p) for p in _PROBS)
_ALARMS: Final = tuple(min(1.0, 2 * (1 - p) ** 2 / max(p, 0.5)) for p in _PROBS)
_CURVE: Final = DecisionCurve(_PROBS, _HITS, _ALARMS, _HITS[::-1], _ALARMS[::-1])


@dataclass(frozen=True, slots=True)
class _Scene:
    """Windows in which face and voice stay as they are.

    conflict: its probability; person: whose face is judged, of several; reason: why not.
    """

    windows: int
    face: Emotion | None
    voice: Emotion | None
    conflict: float | None = None
    person: int | None = None
    reason: Reason | None = None


_TALK: Final = (
    _Scene(7, Emotion.HAPPY, Emotion.HAPPY, 0.14),
    _Scene(4, Emotion.HAPPY, Emotion.CALM, 0.5),
    _Scene(6, Emotion.HAPPY, Emotion.SAD, 0.84),
    _Scene(3, Emotion.HAPPY, None),
    _Scene(6, Emotion.SAD, Emotion.SAD, 0.24),
    _Scene(4, None, Emotion.SAD),
    _Scene(3, Emotion.NEUTRAL, Emotion.ANGRY, 0.62),
    _Scene(6, Emotion.ANGRY, Emotion.ANGRY, 0.12),
    _Scene(4, Emotion.SURPRISED, Emotion.FEARFUL, 0.56),
    _Scene(7, Emotion.HAPPY, Emotion.ANGRY, 0.93),
    _Scene(4, Emotion.CALM, Emotion.CALM, 0.4),
)

_INTERVIEW: Final = (
    _Scene(5, Emotion.CALM, Emotion.NEUTRAL, 0.3, 1),
    _Scene(9, Emotion.HAPPY, Emotion.HAPPY, 0.13, 2),
    _Scene(2, Emotion.NEUTRAL, Emotion.NEUTRAL, None, 1, Reason.SPEAKER_UNCLEAR),
    _Scene(4, Emotion.SURPRISED, Emotion.SURPRISED, 0.22, 1),
    _Scene(7, Emotion.HAPPY, Emotion.SAD, 0.86, 2),
    _Scene(3, Emotion.CALM, Emotion.NEUTRAL, None, 1, Reason.VOICE_OFF_SCREEN),
    _Scene(3, Emotion.CALM, Emotion.CALM, 0.3, 1),
    _Scene(8, Emotion.SAD, Emotion.SAD, 0.2, 2),
    _Scene(2, Emotion.SAD, None, None, 2),
    _Scene(6, Emotion.HAPPY, Emotion.ANGRY, 0.9, 2),
    _Scene(3, Emotion.HAPPY, Emotion.HAPPY, 0.18, 1),
)
# Hair, skin, clothes, ground of the drawn portraits.
_DRAWN: Final = (
    ("#3B2A20", "#E2B48C", "#4F7CAC", "#DCE6EE"),
    ("#8A8F94", "#B97F57", "#7A4B5E", "#EDE6DA"),
)

SHORT: Final = {
    "match": (_Scene(2, Emotion.HAPPY, Emotion.HAPPY, 0.14),),
    "conflict": (_Scene(2, Emotion.HAPPY, Emotion.SAD, 0.86),),
    "undecided": (_Scene(2, Emotion.SURPRISED, Emotion.FEARFUL, 0.55),),
    "flat": (_Scene(2, Emotion.HAPPY, Emotion.NEUTRAL, 0.45),),
    "insufficient": (_Scene(2, Emotion.HAPPY, None),),
}
"""A short file for each outcome."""


def invent_report() -> tuple[Report, Trace]:
    """Two minutes with something of everything."""
    return _invent(TITLE, _TALK)


def invent_short(outcome: str) -> tuple[Report, Trace]:
    """A file of two windows that comes to the outcome."""
    return _invent(f"{TITLE}, {outcome}", SHORT[outcome])


def invent_long() -> tuple[Report, Trace]:
    """Ten minutes: scenes of the two minutes in another order, over and over."""
    rng = np.random.default_rng(11)
    scenes: list[_Scene] = []
    while sum(scene.windows for scene in scenes) < 600 / _HOP_S - 1:
        scenes.append(_TALK[int(rng.integers(len(_TALK)))])
    return _invent(f"{TITLE}, ten minutes", tuple(scenes))


def invent_interview() -> tuple[Report, Trace]:
    """Two people in turns, at times one of them alone, and once a voice off screen."""
    report, trace = _invent(f"{TITLE}, an interview", _INTERVIEW)
    ends_s = max(window.end_s for window in report.windows)
    seen = {0: np.arange(0, ends_s, 0.2), 1: np.arange(8, ends_s, 0.2)}
    # Each is shown alone for a while.
    seen[0] = seen[0][(seen[0] < 42) | (seen[0] > 54)]
    seen[1] = seen[1][(seen[1] < 62) | (seen[1] > 70)]
    faces = {0: (0.12, 0.2, 0.38, 0.75), 1: (0.6, 0.22, 0.86, 0.78)}
    trace = replace(
        trace,
        face_times_s=np.concatenate([*seen.values()]),
        boxes_xyxy_rel=np.concatenate(
            [np.tile(np.float32(faces[who]), (len(times_s), 1)) for who, times_s in seen.items()]
        ),
        track_ids=np.repeat([*seen], [len(times_s) for times_s in seen.values()]),
    )
    apart = {Reason.VOICE_OFF_SCREEN, Reason.SPEAKER_UNCLEAR}
    people = tuple(
        Person(
            number=number,
            name=name,
            tracks=(number - 1,),
            seen_s=len(seen[number - 1]) / 5,
            speaking_s=sum(
                _HOP_S * window.speech_coverage
                for window in report.windows
                if window.person == number and window.voice and not apart & set(window.reasons)
            ),
            portrait=_draw_portrait(*_DRAWN[number - 1]),
        )
        for number, name in ((1, "Interviewer"), (2, "Guest"))
    )
    return decide_again(replace(report, people=people), report.config.decision), trace


def invent_folder() -> Iterator[tuple[PurePath, Report]]:
    """What a folder of files may come to: the reports above, one reviewed, and one that failed."""
    for name, report in (
        ("interview", invent_interview()[0]),
        ("talk", _reviewed(invent_report()[0])),
        ("lecture", invent_long()[0]),
        *((f"short/{outcome}", invent_short(outcome)[0]) for outcome in SHORT),
    ):
        yield PurePath(name), report
    why = FileError("unreadable_media", "notes.mp4: is not a video or audio file.")
    yield PurePath("notes"), failed_report("notes.mp4", why, AnalyzerConfig())


def _reviewed(report: Report) -> Report:
    """The first two moments judged, the second as wrong."""
    verdicts = tuple(
        Verdict(m.start_s, m.end_s, m.person, said_of(m), is_right=is_right)
        for m, is_right in zip(report.moments, (True, False), strict=False)
    )
    return report.with_review(replace(empty_review(report), verdicts=verdicts))


def invent_annotation(report: Report, seed: int) -> Document:
    """What an invented annotator says of face, voice and outcome: most of it the same."""
    rng = np.random.default_rng(seed)
    tiers = []
    for tier in to_document(report).tiers:
        if tier.name not in ("face", "voice", "outcome"):
            continue
        labels = [label for label in tier.labels if label != Outcome.INSUFFICIENT]
        spans = tuple(
            Span(
                span.start_s + round(rng.uniform(0, 1.5), 1),
                span.end_s,
                labels[int(rng.integers(len(labels)))] if rng.random() < 0.3 else span.label,
            )
            for span in tier.spans
        )
        tiers.append(replace(tier, spans=spans))
    return Document(tuple(tiers), f"annotator {seed}")


def _draw_portrait(hair: str, skin: str, clothes: str, ground: str) -> bytes:
    """A drawn head, as JPEG."""
    image = Image.new("RGB", (112, 112), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((12, 84, 100, 170), clothes)
    draw.ellipse((26, 10, 86, 84), hair)
    draw.ellipse((32, 22, 80, 90), skin)
    for x in (46, 66):
        draw.ellipse((x - 2, 50, x + 2, 55), "#2B2B2B")
    draw.line((48, 74, 64, 74), "#7A3E35", width=2)
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def _invent(title: str, scenes: tuple[_Scene, ...]) -> tuple[Report, Trace]:
    """The same report and trace every time."""
    rng = np.random.default_rng(5)
    each = [scene for scene in scenes for _ in range(scene.windows)]
    windows = tuple(_window(rng, k, scene) for k, scene in enumerate(each))
    media = MediaInfo(
        path=Path(title),
        duration_s=windows[-1].end_s,
        video=VideoInfo(1280, 720, 25.0, 0.0, 0, "h264"),
        audio=AudioInfo(48_000, 1, 0.0, "aac"),
    )
    config = AnalyzerConfig()
    report = Report(
        path=title,
        sha256=None,
        media=media,
        status=Status.OK,
        error=None,
        windows=windows,
        summary=None,
        outcome_counts={},
        models={},
        config=config,
        facevoice_version=VERSION,
        curve=_CURVE,
        point=find_point(_CURVE, config.decision),
    )
    return decide_again(report, config.decision), _trace(rng, each, media.duration_s)


def _window(rng: np.random.Generator, place: int, scene: _Scene) -> Prediction:
    """A window whose outcome is still open."""
    conflict = scene.conflict
    if conflict is not None:
        conflict = float(np.clip(conflict + rng.normal(0, 0.03), 0.02, 0.98))
    face = _posterior(rng, scene.face, _FACE_PROB)
    voice = _posterior(rng, scene.voice, _VOICE_PROB)
    missing = {Reason.NO_FACE: face is None, Reason.NO_SPEECH: voice is None}
    if scene.reason is not None:
        missing[scene.reason] = True
    return Prediction(
        start_s=_HOP_S * place,
        end_s=_HOP_S * place + _WINDOW_S,
        face=face,
        voice=voice,
        fused=_both(face, voice) if scene.reason is None else None,
        conflict=conflict,
        outcome=Outcome.INSUFFICIENT,
        reasons=tuple(reason for reason, holds in missing.items() if holds),
        face_coverage=0.05 if face is None else 0.95,
        speech_coverage=0.04 if voice is None else 0.8,
        person=scene.person,
    )


def _posterior(
    rng: np.random.Generator, emotion: Emotion | None, prob: float
) -> ChannelPosterior | None:
    if emotion is None:
        return None
    probs = rng.dirichlet(np.ones(len(EMOTIONS)))
    probs[emotion.position] = 0
    prob = float(np.clip(prob + rng.normal(0, 0.05), 0.5, 0.95))
    probs *= (1 - prob) / probs.sum()
    probs[emotion.position] = prob
    return ChannelPosterior(probs, 0.9)


def _both(face: ChannelPosterior | None, voice: ChannelPosterior | None) -> ChannelPosterior | None:
    if face is None or voice is None:
        return face or voice
    return ChannelPosterior((face.probs + voice.probs) / 2, 0.9)


def _trace(rng: np.random.Generator, scenes: list[_Scene], duration_s: float) -> Trace:
    spans: list[list[float]] = []
    for place, scene in enumerate(scenes):
        start_s = _HOP_S * place + 1
        if scene.voice is not None and spans and spans[-1][1] >= start_s:
            spans[-1][1] = start_s + _HOP_S
        elif scene.voice is not None:
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
        speech_spans_s=np.array(spans, np.float64).reshape(-1, 2),
    )


def _clipped(peaks: np.ndarray) -> FloatArray:
    return np.minimum(peaks, 1).astype(np.float32)
