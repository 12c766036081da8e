"""Reports whose outcomes, moments and answer come from `facevoice.interpret`, as in an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from builders import make_prediction, make_report
from facevoice.interpret import decide_again
from facevoice.records import DecisionCurve, Emotion, Outcome, Prediction, Reason, Report, Status
from facevoice.settings import DecisionConfig

# From here on calls are right: conflicts eight times in ten, matches nine times in ten.
CURVE = DecisionCurve(
    probs=(0.0, 0.3, 0.7, 1.0),
    conflict_hits=(1.0, 0.9, 0.6, 0.0),
    conflict_alarms=(1.0, 0.5, 0.15, 0.0),
    match_hits=(0.0, 0.45, 0.8, 1.0),
    match_alarms=(0.0, 0.05, 0.6, 1.0),
)
HOP_S = 2.0


def make_window(
    face: Emotion | None = Emotion.HAPPY,
    voice: Emotion | None = Emotion.HAPPY,
    conflict: float | None = 0.04,
    *reasons: Reason,
    place: int = 0,
) -> Prediction:
    """Window number `place` of 4 s, every 2 s; its outcome is for `decided` to find."""
    if face is None or voice is None:
        conflict = None
    return make_prediction(
        *(face, voice),
        outcome=Outcome.INSUFFICIENT,
        conflict=conflict,
        reasons=reasons,
        start_s=HOP_S * place,
        end_s=HOP_S * place + 4,
    )


MATCH = make_window()
CONFLICT = make_window(Emotion.HAPPY, Emotion.SAD, 0.9)
UNDECIDED = make_window(Emotion.HAPPY, Emotion.SAD, 0.64)
FLAT = make_window(Emotion.HAPPY, Emotion.NEUTRAL, 0.85)
BLIND = make_window(None, Emotion.SAD, None, Reason.NO_FACE)
DEAF = make_window(Emotion.HAPPY, None, None, Reason.NO_SPEECH)


def decided(
    *windows: Prediction,
    curve: DecisionCurve | None = CURVE,
    decision: DecisionConfig | None = None,
    status: Status = Status.OK,
    path: str = "clips/talk.mp4",
) -> Report:
    """What a file of these windows says. Conflict is called from 0.7, match up to 0.3."""
    report = replace(make_report(*windows, status=status, path=path), curve=curve)
    if windows and report.media is not None:
        report = replace(report, media=replace(report.media, duration_s=windows[-1].end_s))
    return decide_again(report, decision or DecisionConfig())


def in_a_row(windows: Sequence[Prediction]) -> list[Prediction]:
    """The same windows one hop after the other."""
    return [
        replace(window, start_s=HOP_S * place, end_s=HOP_S * place + 4)
        for place, window in enumerate(windows)
    ]
