"""What views mean: evidence, outcomes, reasons, and windows summed up by length and coverage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo import EchoModel
from facevoice.interpret import interpret, join, judge
from facevoice.records import (
    EMOTIONS,
    AudioInfo,
    MediaInfo,
    Outcome,
    Perception,
    Reason,
    Status,
    VideoInfo,
    WindowView,
)
from facevoice.settings import AnalyzerConfig, DecisionConfig

MEDIA = MediaInfo(
    Path("a.mp4"),
    8.5,
    VideoInfo(640, 360, 25.0, 0.0, 0, "h264"),
    AudioInfo(48_000, 2, 0.0, "aac"),
)


def probs(**given: float) -> np.ndarray:
    rest = (1 - sum(given.values())) / (8 - len(given))
    return np.array([given.get(e.value, rest) for e in EMOTIONS])


HAPPY, SAD = probs(happy=0.8), probs(sad=0.8)


def view(
    face: np.ndarray | None = HAPPY,
    voice: np.ndarray | None = HAPPY,
    *,
    span_s: tuple[float, float] = (0.0, 4.0),
    seen: float = 1.0,
    heard: float = 0.8,
    people: int = 1,
) -> WindowView:
    return WindowView(
        *span_s,
        face,
        voice,
        seen if face is not None else 0.0,
        heard if voice is not None else 0.0,
        num_faces=people,
    )


def perception(*views: WindowView, media: MediaInfo = MEDIA, damage: tuple[str, ...] = ()):
    return Perception(media, "c" * 64, AnalyzerConfig(), {}, views, damage)


def judge_one(seen: WindowView, model: EchoModel, media: MediaInfo | None = MEDIA):
    return judge([seen], media, model, DecisionConfig())[0]


@pytest.mark.parametrize(
    ("conflict", "outcome", "reasons"),
    [
        (0.9, Outcome.CONFLICT, ()),
        (0.7, Outcome.CONFLICT, ()),
        (0.3, Outcome.MATCH, ()),
        (0.1, Outcome.MATCH, ()),
        (0.5, Outcome.INSUFFICIENT, (Reason.UNDECIDED,)),
    ],
)
def test_conflict_probability_decides_between_clear_channels(
    conflict: float, outcome: Outcome, reasons: tuple[Reason, ...]
) -> None:
    found = judge_one(view(HAPPY, SAD), EchoModel(conflict))
    assert (found.outcome, found.reasons, found.conflict) == (outcome, reasons, conflict)


@pytest.mark.parametrize(
    ("face", "voice", "reason"),
    [
        (probs(neutral=0.5, calm=0.2), HAPPY, Reason.FACE_FLAT),
        (HAPPY, probs(), Reason.VOICE_FLAT),
    ],
)
def test_a_neutral_or_blurred_channel_is_flat_whatever_the_conflict_probability(
    face: np.ndarray, voice: np.ndarray, reason: Reason
) -> None:
    for conflict in (0.01, 0.99):
        found = judge_one(view(face, voice), EchoModel(conflict))
        assert (found.outcome, found.reasons) == (Outcome.FLAT, (reason,))


NO_SOUND, NO_PICTURE = replace(MEDIA, audio=None), replace(MEDIA, video=None)


@pytest.mark.parametrize(
    ("seen", "media", "channels", "reasons"),
    [
        (view(), MEDIA, "face voice", ()),
        (view(face=None), MEDIA, "voice", (Reason.NO_FACE,)),
        (view(face=None), NO_PICTURE, "voice", (Reason.NO_VIDEO_STREAM,)),
        (view(face=None), None, "voice", (Reason.NO_FACE,)),
        (view(seen=0.1), MEDIA, "voice", (Reason.FACE_TOO_SELDOM,)),
        (view(voice=None), MEDIA, "face", (Reason.NO_SPEECH,)),
        (view(voice=None), NO_SOUND, "face", (Reason.NO_AUDIO_STREAM,)),
        (view(heard=0.0), MEDIA, "face", (Reason.NO_SPEECH,)),
        (view(heard=0.05), MEDIA, "face", (Reason.SPEECH_TOO_SHORT,)),
        (view(None, None), MEDIA, "", (Reason.NO_FACE, Reason.NO_SPEECH)),
        (view(people=2), MEDIA, "face voice", (Reason.SEVERAL_FACES,)),
        (view(span_s=(0, 0.2)), MEDIA, "", (Reason.TOO_SHORT,)),
    ],
)
def test_channels_with_too_little_evidence_say_why_and_nothing_else(
    seen: WindowView, media: MediaInfo | None, channels: str, reasons: tuple[Reason, ...]
) -> None:
    found = judge_one(seen, EchoModel(0.05), media)
    assert [c for c in ("face", "voice") if getattr(found, c)] == channels.split()
    assert found.reasons == reasons
    if channels != "face voice":
        assert found.outcome is Outcome.INSUFFICIENT
        assert found.conflict is None


def test_a_model_without_conflict_says_so() -> None:
    class Plain(EchoModel):
        thresholds = None

    found = judge_one(view(), Plain())
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.reasons == (Reason.MODEL_WITHOUT_CONFLICT,)


def test_a_short_tail_weighs_as_little_as_it_is_long() -> None:
    """Half a second at the end counted as much as four seconds."""
    long, tail = view(HAPPY, HAPPY), view(SAD, HAPPY, span_s=(4.0, 4.5))
    summary = interpret(perception(long, tail), EchoModel()).summary
    assert summary is not None
    expected = (4 * HAPPY + 0.5 * SAD) / 4.5
    np.testing.assert_allclose(summary.face.probs, expected)
    conflicts = [1 - float(np.minimum(face, HAPPY).sum()) for face in (HAPPY, SAD)]
    assert summary.conflict == pytest.approx(np.average(conflicts, weights=[4, 0.5]))
    assert summary.outcome is Outcome.MATCH
    assert (summary.start_s, summary.end_s) == (0.0, 4.5)


@given(st.lists(st.tuples(st.floats(0.5, 9), st.floats(0.3, 1)), min_size=1, max_size=6))
def test_windows_weigh_by_length_and_coverage(sizes: list[tuple[float, float]]) -> None:
    starts = np.cumsum([0.0, *(length for length, _ in sizes)])
    views = [
        view(HAPPY if n % 2 else SAD, HAPPY, span_s=(starts[n], starts[n] + size[0]), seen=size[1])
        for n, size in enumerate(sizes)
    ]
    summary = interpret(perception(*views), EchoModel()).summary
    weights = [length * seen for length, seen in sizes]
    expected = np.average([v.face for v in views], axis=0, weights=weights)
    np.testing.assert_allclose(summary.face.probs, expected, atol=1e-9)
    assert summary.face.coverage == pytest.approx(sum(weights) / starts[-1])


@pytest.mark.parametrize(
    ("views", "media", "damage", "status"),
    [
        ((view(),), MEDIA, (), Status.OK),
        ((view(),), MEDIA, ("cut off",), Status.TRUNCATED),
        ((view(None),), MEDIA, (), Status.NO_FACE),
        ((view(HAPPY, None), view(None, HAPPY)), MEDIA, (), Status.OK),
        ((view(None, None),), MEDIA, (), Status.NO_FACE_NO_SPEECH),
        ((view(HAPPY, None),), NO_SOUND, (), Status.VIDEO_ONLY),
        ((view(None),), NO_PICTURE, (), Status.AUDIO_ONLY),
    ],
)
def test_what_became_of_a_file(
    views: tuple[WindowView, ...], media: MediaInfo, damage: tuple[str, ...], status: Status
) -> None:
    report = interpret(perception(*views, media=media, damage=damage), EchoModel())
    assert report.status is status
    assert sum(report.outcome_counts.values()) == len(views)


def test_other_thresholds_of_evidence_need_no_second_pass() -> None:
    seen = perception(view(seen=0.3))
    strict = DecisionConfig(min_face_coverage=0.5)
    assert interpret(seen, EchoModel()).windows[0].face is not None
    report = interpret(seen, EchoModel(), strict)
    assert report.windows[0].face is None
    assert report.config.decision == strict


def test_a_pair_is_the_face_of_one_and_the_voice_of_another() -> None:
    faces = perception(view(HAPPY, None), view(SAD, None, span_s=(2, 6)))
    voices = perception(view(None, SAD, heard=0.6), media=replace(MEDIA, path=Path("b.mp4")))
    pair = join(faces, voices)
    assert len(pair.windows) == 1
    summary = interpret(pair, EchoModel()).summary
    assert summary.outcome is Outcome.CONFLICT
    assert (summary.face_coverage, summary.speech_coverage) == (1.0, 0.6)
