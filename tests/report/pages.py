"""Reports and traces to make pages of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from builders import make_prediction, make_report
from facevoice.interpret import decide_again
from facevoice.records import (
    EMOTIONS,
    PEAKS_HZ,
    ChannelPosterior,
    DecisionCurve,
    Emotion,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
    Trace,
)
from facevoice.settings import SENSITIVITIES, DecisionConfig

HOP_S = 2.0
# Calls from a probability on are right as often as it says.
_PROBS = tuple(k / 100 for k in range(101))
_HITS = tuple(min(1.0, 2 - 2 * p) for p in _PROBS)
_ALARMS = tuple(min(1.0, 2 * (1 - p) ** 2 / max(p, 0.5)) for p in _PROBS)
CURVE = DecisionCurve(_PROBS, _HITS, _ALARMS, _HITS[::-1], _ALARMS[::-1])

_CAUTIOUS, _BALANCED, _SENSITIVE = SENSITIVITIES.values()
# Called a conflict at every sensitivity, at all but `cautious`, at `sensitive` only, at none.
CLEAR, LIKELY, FAINT, OPEN = (
    round(prob, 2)
    for prob in (
        *((1 + _CAUTIOUS) / 2, (_CAUTIOUS + _BALANCED) / 2, (_BALANCED + _SENSITIVE) / 2),
        (_SENSITIVE + 0.5) / 2,
    )
)


def decided(report: Report, sensitivity: float | str = "balanced") -> Report:
    """What `interpret` makes of the probabilities: outcomes, moments, an answer or none."""
    return decide_again(replace(report, curve=CURVE), DecisionConfig(sensitivity=sensitivity))


def make_file(*windows: Prediction, duration_s: float | None = None) -> Report:
    """A file that ends with its last window, or at `duration_s`."""
    report = make_report(*windows)
    assert report.media is not None
    end_s = windows[-1].end_s if duration_s is None else duration_s
    return decided(replace(report, media=replace(report.media, duration_s=end_s)))


def make_long_report(num_windows: int, status: Status = Status.OK) -> Report:
    """Varied emotions with gaps of both channels."""
    rng = np.random.default_rng(7)
    windows = [_varied_window(rng, k) for k in range(num_windows)]
    report = make_report(*windows, status=status, path="talks/long talk.mp4")
    assert report.media is not None
    media = replace(report.media, duration_s=HOP_S * (num_windows + 1))
    return decided(replace(report, media=media))


def _varied_window(rng: np.random.Generator, k: int) -> Prediction:
    gap = (k // 40) % 5
    face = None if gap == 3 else ChannelPosterior(rng.dirichlet(np.ones(len(EMOTIONS))), 0.9)
    voice = None if gap == 4 else ChannelPosterior(rng.dirichlet(np.ones(len(EMOTIONS))), 0.8)
    missing = face is None or voice is None
    return replace(
        make_prediction(start_s=HOP_S * k, end_s=HOP_S * k + 4),
        face=face,
        voice=voice,
        fused=face or voice,
        conflict=None if missing else float(rng.uniform()),
        reasons=(Reason.NO_FACE,) if face is None else (Reason.NO_SPEECH,) if missing else (),
        face_coverage=float(rng.uniform()),
        speech_coverage=float(rng.uniform()),
    )


def make_interview(**decision: object) -> Report:
    """Anna's match, Ben's conflict at 3 s, a voice off screen at 5 s; Anna is also seen by Ben."""
    windows = (
        replace(make_prediction(), person=1),
        replace(
            make_prediction(voice=Emotion.SAD, conflict=CLEAR, start_s=2, end_s=6),
            person=2,
        ),
        replace(
            make_prediction(conflict=None, start_s=4, end_s=8),
            reasons=(Reason.VOICE_OFF_SCREEN,),
            person=1,
        ),
    )
    listening = replace(
        make_prediction(Emotion.CALM, None, conflict=None, start_s=2, end_s=6),
        reasons=(Reason.OTHER_SPEAKS,),
        person=1,
    )
    is_all = decision.get("people") == "all"
    said = ((windows[0], listening, windows[2]), windows[1:2]) if is_all else ((), ())
    report = replace(
        make_file(*windows),
        curve=CURVE,
        people=(
            Person(1, "Anna", (4,), 7.6, 3.2, b"\xff\xd8anna", windows=said[0]),
            Person(2, "Ben", (5, 7), 4.0, 1.0, windows=said[1]),
        ),
    )
    settled = DecisionConfig(**decision)
    config = replace(report.config, decision=settled)
    return decide_again(replace(report, config=config), settled)


def make_interview_trace() -> Trace:
    """Anna at the left for 8 s, Ben at the right for 1 s, and from 3 to 5 s."""
    seen = {4: np.arange(0, 8, 0.2), 5: np.arange(0, 1, 0.2), 7: np.arange(3, 5.1, 0.2)}
    left, right = (0.1, 0.2, 0.4, 0.7), (0.6, 0.2, 0.9, 0.7)
    return Trace(
        face_times_s=np.concatenate([*seen.values()]),
        boxes_xyxy_rel=np.concatenate(
            [np.tile(left if who == 4 else right, (len(t), 1)) for who, t in seen.items()]
        ).astype(np.float32),
        track_ids=np.repeat([*seen], [len(t) for t in seen.values()]),
        peaks=np.full(8 * PEAKS_HZ, 0.5, np.float32),
        speech_spans_s=np.array([[1.0, 4.0], [4.5, 7.0]]),
    )


def make_trace(duration_s: float, faces_hz: float = 5.0) -> Trace:
    """A face that drifts and changes, a voice that pauses."""
    rng = np.random.default_rng(3)
    times_s = np.arange(round(duration_s * faces_hz)) / faces_hz
    corners = rng.uniform([0.1, 0.1, 0.5, 0.5], [0.4, 0.4, 0.9, 0.9], (len(times_s), 4))
    starts_s = np.arange(0, duration_s, 9.0)
    return Trace(
        face_times_s=times_s,
        boxes_xyxy_rel=corners.astype(np.float32),
        track_ids=(times_s // 100).astype(np.int64),
        peaks=rng.uniform(size=round(duration_s * PEAKS_HZ)).astype(np.float32),
        speech_spans_s=np.stack([starts_s, np.minimum(starts_s + 6, duration_s)], axis=1),
    )
