"""Reports of many windows, with gaps, for what draws timelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from builders import make_posterior, make_prediction, make_report
from facevoice.records import (
    EMOTIONS,
    PEAKS_HZ,
    Outcome,
    Prediction,
    Reason,
    Report,
    Thresholds,
    Trace,
)

THRESHOLDS = Thresholds(0.8, 0.35, 0.31, 0.3)


def make_window(number: int) -> Prediction:
    """Windows of 4 s every 2 s; the 3rd of every ten shows no face, the 7th has no speech."""
    face, voice = EMOTIONS[number // 3 % 8], EMOTIONS[number // 5 % 8]
    times = {"start_s": 2.0 * number, "end_s": 2.0 * number + 4}
    gap = {3: Reason.NO_FACE, 7: Reason.NO_SPEECH}.get(number % 10)
    if gap is None:
        conflict = 0.05 + 0.9 * (number % 7) / 6
        outcome = (
            Outcome.CONFLICT
            if conflict > 0.8
            else Outcome.MATCH
            if conflict < 0.35
            else Outcome.FLAT
        )
        window = make_prediction(face, voice, outcome=outcome, conflict=conflict, **times)
        return replace(window, face=make_posterior(face, 0.3 + 0.6 * (number % 5) / 4))
    return make_prediction(
        None if gap is Reason.NO_FACE else face,
        None if gap is Reason.NO_SPEECH else voice,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(gap,),
        **times,
    )


def make_long_report(num_windows: int, path: str = "clips/talk.mp4") -> Report:
    report = make_report(*(make_window(k) for k in range(num_windows)), path=path)
    media = replace(report.media, duration_s=2.0 * num_windows + 2)
    return replace(report, media=media, thresholds=THRESHOLDS)


def make_trace(duration_s: float) -> Trace:
    """Sound that swells; speech from 1 s to 3 s and from 5 s to 6 s."""
    times_s = np.arange(round(duration_s * PEAKS_HZ)) / PEAKS_HZ
    return Trace(
        face_times_s=np.zeros(0),
        boxes_xyxy_rel=np.zeros((0, 4), np.float32),
        track_ids=np.zeros(0, np.int64),
        peaks=np.abs(np.sin(times_s)).astype(np.float32),
        speech_spans_s=np.array([[1.0, 3.0], [5.0, 6.0]]),
    )
