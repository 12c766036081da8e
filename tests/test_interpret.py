"""What views mean: evidence, outcomes and reasons, thresholds, moments, one answer or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draws import draw_curve, draw_posteriors
from echo import CURVE, EchoModel, TellModel
from facevoice.interpret import (
    at_equal_numbers,
    choose_outcome,
    decide_again,
    find_moments,
    find_point,
    go_together,
    interpret,
    join,
    judge,
    measure_curve,
    precision_at,
)
from facevoice.models.heads import Embeddings, Model, Posteriors
from facevoice.people.baseline import Known
from facevoice.records import (
    EMOTIONS,
    DecisionCurve,
    DoubleArray,
    Emotion,
    MediaInfo,
    Modality,
    OperatingPoint,
    Outcome,
    Perception,
    Prediction,
    Reason,
    Report,
    Status,
    WindowView,
)
from facevoice.report import from_json, to_json
from facevoice.settings import SENSITIVITIES, DecisionConfig
from perceptions import HAPPY, MEDIA, SAD, perception, probs, view

NEUTRAL, ANGRY, FEARFUL, SURPRISED = (
    probs(**{name: 0.8}) for name in ("neutral", "angry", "fearful", "surprised")
)


def judge_one(
    seen: WindowView,
    model: Model,
    media: MediaInfo | None = MEDIA,
    decision: DecisionConfig | None = None,
) -> Prediction:
    return judge([seen], media, model, decision or DecisionConfig())[0]


@pytest.mark.parametrize(
    ("conflict", "outcome"),
    [
        (0.9, Outcome.CONFLICT),
        (0.7, Outcome.CONFLICT),
        (0.69, Outcome.UNDECIDED),
        (0.31, Outcome.UNDECIDED),
        (0.3, Outcome.MATCH),
        (0.1, Outcome.MATCH),
    ],
)
def test_conflict_probability_decides_between_expressive_channels(
    conflict: float, outcome: Outcome
) -> None:
    found = judge_one(view(SURPRISED, FEARFUL), EchoModel(conflict))
    assert (found.outcome, found.reasons, found.conflict) == (outcome, (), conflict)


@pytest.mark.parametrize(
    ("face", "voice", "reasons"),
    [
        (NEUTRAL, HAPPY, (Reason.FACE_FLAT,)),
        (HAPPY, probs(neutral=0.3, calm=0.25, happy=0.29), (Reason.VOICE_FLAT,)),
        (NEUTRAL, probs(calm=0.9), (Reason.FACE_FLAT, Reason.VOICE_FLAT)),
        # An emotion leads, though neutral and calm together are likelier than all emotions.
        (HAPPY, probs(neutral=0.3, calm=0.25, happy=0.31), ()),
        # Neutral leads, but any emotion is likelier than none.
        (HAPPY, probs(neutral=0.3, calm=0.1), ()),
        (probs(neutral=0.25, calm=0.25, sad=0.125), HAPPY, ()),
        (probs(), probs(), ()),
    ],
)
def test_a_channel_is_flat_if_no_emotion_is_likelier_than_one_and_none_leads(
    face: DoubleArray, voice: DoubleArray, reasons: tuple[Reason, ...]
) -> None:
    for conflict in (0.01, 0.99):
        found = judge_one(view(face, voice), EchoModel(conflict))
        assert (found.outcome is Outcome.FLAT) is bool(reasons)
        assert found.reasons == reasons or not reasons


@pytest.mark.parametrize(
    ("face", "voice", "conflict", "reason"),
    [
        (HAPPY, SAD, 0.05, Reason.EMOTIONS_DIFFER),
        (HAPPY, SAD, 0.5, None),
        (HAPPY, HAPPY, 0.95, Reason.EMOTIONS_AGREE),
        (HAPPY, HAPPY, 0.5, None),
        (probs(neutral=0.3, calm=0.1), HAPPY, 0.05, Reason.EMOTIONS_DIFFER),
        (probs(neutral=0.3, calm=0.1), probs(calm=0.3), 0.95, Reason.EMOTIONS_AGREE),
    ],
)
def test_what_is_shown_never_contradicts_the_outcome(
    face: DoubleArray, voice: DoubleArray, conflict: float, reason: Reason | None
) -> None:
    found = judge_one(view(face, voice), EchoModel(conflict))
    assert found.outcome is Outcome.UNDECIDED
    assert found.reasons == (() if reason is None else (reason,))
    assert found.conflict == conflict


def test_equal_emotions_go_together_and_surprise_with_joy_and_fear() -> None:
    together = [
        {Emotion.NEUTRAL, Emotion.CALM},
        {Emotion.HAPPY, Emotion.SURPRISED},
        {Emotion.FEARFUL, Emotion.SURPRISED},
    ]
    for one in EMOTIONS:
        for other in EMOTIONS:
            goes = one is other or {one, other} in together
            assert go_together(one, other) is goes, (one, other)


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
        curve = None

    found = judge_one(view(), Plain())
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.reasons == (Reason.MODEL_WITHOUT_CONFLICT,)


def test_a_short_tail_weighs_as_little_as_it_is_long() -> None:
    """Half a second at the end counted as much as four seconds."""
    long, tail = view(HAPPY, HAPPY), view(SAD, HAPPY, span_s=(4.0, 4.5))
    summary = interpret(perception(long, tail), EchoModel()).summary
    assert summary is not None
    expected = (4 * HAPPY + 0.5 * SAD) / 4.5
    assert summary.face is not None
    np.testing.assert_allclose(summary.face.probs, expected)
    conflicts = [1 - float(np.minimum(face, HAPPY).sum()) for face in (HAPPY, SAD)]
    assert summary.conflict == pytest.approx(np.average(conflicts, weights=[4, 0.5]))
    assert summary.outcome is Outcome.MATCH
    assert (summary.start_s, summary.end_s) == (0.0, 4.5)


@given(st.lists(st.tuples(st.floats(0.5, 9), st.floats(0.3, 1)), min_size=1, max_size=3))
def test_windows_weigh_by_length_and_coverage(sizes: list[tuple[float, float]]) -> None:
    starts = np.cumsum([0.0, *(length for length, _ in sizes)])
    views = [
        view(HAPPY if n % 2 else SAD, HAPPY, span_s=(starts[n], starts[n] + size[0]), seen=size[1])
        for n, size in enumerate(sizes)
    ]
    report = interpret(perception(*views), EchoModel())
    summary = report.summary
    assert summary is not None
    assert summary.face is not None
    weights = [length * seen for length, seen in sizes]
    expected = np.average([HAPPY if n % 2 else SAD for n in range(len(views))], 0, weights)
    np.testing.assert_allclose(summary.face.probs, expected, atol=1e-9)
    assert summary.face.coverage == pytest.approx(sum(weights) / starts[-1])
    weights = [length * min(seen, 0.8) for length, seen in sizes]
    conflicts = [window.conflict for window in report.windows]
    assert summary.conflict == pytest.approx(np.average(conflicts, weights=weights))  # type: ignore[arg-type]


def test_a_short_file_says_what_one_of_its_windows_warns_of() -> None:
    views = [view(people=n % 2 + 1, span_s=(2.0 * n, 2.0 * n + 4)) for n in range(3)]
    summary = interpret(perception(*views), EchoModel()).summary
    assert summary is not None
    assert summary.reasons == (Reason.SEVERAL_FACES,)
    # What only one window lacks is not said of all.
    summary = interpret(perception(view(None), view(HAPPY, None)), EchoModel()).summary
    assert summary is not None
    assert (summary.outcome, summary.reasons) == (Outcome.INSUFFICIENT, ())


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


# Where outcomes change.


def draw_pairs(rng: np.random.Generator, size: int) -> tuple[list[Posteriors], np.ndarray]:
    """What is said of pairs whose probability of conflict is worth something."""
    truth = rng.random(size) < 0.4
    face, voice = draw_posteriors(rng, size), draw_posteriors(rng, size)
    scores = np.clip(rng.normal(np.where(truth, 0.62, 0.38), 0.2), 0, 1)
    scores[::5] = np.round(scores[::5], 2)  # exactly at thresholds
    said = [
        Posteriors(f, None if n % 50 == 0 else v, f, None if n % 50 == 0 else float(c))
        for n, (f, v, c) in enumerate(zip(face, voice, scores, strict=True))
    ]
    return said, truth


def share_called(said: Sequence[Posteriors], outcome: Outcome, above: float, below: float) -> float:
    point = OperatingPoint(above, below, None, None)
    return float(np.mean([choose_outcome(row, point)[0] is outcome for row in said]))


def test_the_curve_counts_what_is_called_at_each_threshold() -> None:
    said, truth = draw_pairs(np.random.default_rng(5), 1500)
    curve = measure_curve(said, truth)
    assert curve.probs[0] == 0
    assert curve.probs[-1] == 1
    conflicts = [row for row, is_so in zip(said, truth, strict=True) if is_so]
    matches = [row for row, is_so in zip(said, truth, strict=True) if not is_so]
    for place in range(0, len(curve.probs), 7):
        threshold = curve.probs[place]
        for values, rows, outcome in (
            (curve.conflict_hits, conflicts, Outcome.CONFLICT),
            (curve.conflict_alarms, matches, Outcome.CONFLICT),
            (curve.match_hits, matches, Outcome.MATCH),
            (curve.match_alarms, conflicts, Outcome.MATCH),
        ):
            # Whichever outcome is asked for, the other one's threshold is out of reach.
            edges = (threshold, -1.0) if outcome is Outcome.CONFLICT else (2.0, threshold)
            counted = share_called(rows, outcome, *edges)
            assert values[place] == pytest.approx(counted, abs=1e-6), (threshold, outcome)


def brute_precision(
    said: Sequence[Posteriors], truth: np.ndarray, outcome: Outcome, point: OperatingPoint,
    share: float,
) -> float:  # fmt: skip
    """How many calls are right, if pairs are weighted so that `share` of them conflict."""
    weights = np.where(truth, share / truth.sum(), (1 - share) / (~truth).sum())
    called = np.array([choose_outcome(row, point)[0] is outcome for row in said])
    right = called & (truth if outcome is Outcome.CONFLICT else ~truth)
    return float(weights[right].sum() / weights[called].sum())


@pytest.mark.parametrize("share", [0.5, 0.05, 0.8])
@pytest.mark.parametrize("level", SENSITIVITIES)
def test_calls_are_as_often_right_as_the_point_says(level: str, share: float) -> None:
    said, truth = draw_pairs(np.random.default_rng(6), 3000)
    curve = measure_curve(said, truth)
    decision = DecisionConfig(sensitivity=level)
    point = find_point(curve, decision)
    assert point is not None
    assert point.conflict_precision is not None
    assert point.match_precision is not None
    assert min(point.conflict_precision, point.match_precision) >= decision.precision
    for outcome, threshold, measured in (
        (Outcome.CONFLICT, point.conflict_above, point.conflict_precision),
        (Outcome.MATCH, point.match_below, point.match_precision),
    ):
        assert measured == precision_at(curve, threshold, outcome)
        # What lies at both thresholds, where they are one, is a conflict: ask for one at a time.
        edges = (threshold, -1.0) if outcome is Outcome.CONFLICT else (2.0, threshold)
        only = OperatingPoint(*edges, None, None)
        counted = brute_precision(said, truth, outcome, only, share)
        found = precision_at(curve, threshold, outcome, share)
        assert found == pytest.approx(counted, abs=1e-4)
        # One threshold freer, calls are not as sure, or nothing is called against the odds.
        step = -0.01 if outcome is Outcome.CONFLICT else 0.01
        freer = precision_at(curve, threshold + step, outcome)
        assert freer is not None
        assert freer < decision.precision or threshold == 0.5


def test_the_surer_calls_shall_be_the_fewer_there_are() -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        curve = draw_curve(rng)
        levels = np.sort(rng.uniform(0.501, 0.999, 6)).tolist()
        points = [find_point(curve, DecisionConfig(sensitivity=level)) for level in levels]
        for free, strict in pairwise(points):
            assert free is not None
            assert strict is not None
            assert strict.conflict_above >= free.conflict_above >= 0.5 >= free.match_below
            assert strict.match_below <= free.match_below


def test_what_is_not_reached_or_not_measured() -> None:
    # No threshold is sure enough: the surest is taken, but not one that so few calls pass.
    hits, alarms = (1.0, 0.8, 0.5, 0.01), (1.0, 0.5, 0.25, 0.0)
    curve = DecisionCurve((0.0, 0.6, 0.8, 1.0), hits, alarms, hits[::-1], alarms[::-1])
    point = find_point(curve, DecisionConfig(sensitivity=0.9))
    assert point is not None
    assert point.conflict_above == 0.8
    assert point.conflict_precision == pytest.approx(2 / 3)
    unknown = find_point(DecisionCurve(), DecisionConfig(sensitivity=0.8))
    assert unknown == OperatingPoint(0.8, pytest.approx(0.2), None, None)
    assert precision_at(DecisionCurve(), 0.8, Outcome.CONFLICT) is None
    assert precision_at(curve, 0.0, Outcome.MATCH) is None  # of one in a hundred
    nothing = replace(curve, conflict_hits=(1.0, 0.8, 0.5, 0.0))
    assert precision_at(nothing, 1.0, Outcome.CONFLICT) is None
    assert find_point(None, DecisionConfig()) is None


def test_a_point_says_how_sure_the_calls_are_that_are_made() -> None:
    equal = find_point(CURVE, DecisionConfig())
    rare = find_point(CURVE, DecisionConfig(expected_conflicts=0.1))
    assert equal is not None
    assert rare is not None
    assert (rare.conflict_above, rare.match_below) == (equal.conflict_above, equal.match_below)
    # Odds of 9 to 1 against a conflict: 0.7 is 0.95 at equal numbers, and 0.3 is 0.79.
    for outcome, found, threshold in (
        (Outcome.CONFLICT, rare.conflict_precision, 0.7 / (0.7 + 0.3 / 9)),
        (Outcome.MATCH, rare.match_precision, 0.3 / (0.3 + 0.7 / 9)),
    ):
        assert found == pytest.approx(precision_at(CURVE, threshold, outcome))


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_where_conflicts_are_rarer_fewer_are_called(conflict: float, share: float) -> None:
    seen = view(ANGRY, HAPPY)
    said = EchoModel(conflict)
    found = judge_one(seen, said, decision=DecisionConfig(expected_conflicts=share))
    equal = judge_one(seen, said)
    assert found.conflict is not None
    odds = conflict * share, (1 - conflict) * (1 - share)
    assert found.conflict == pytest.approx(odds[0] / sum(odds))
    assert at_equal_numbers(found.conflict, share) == pytest.approx(conflict, abs=1e-9)
    assert (found.conflict - conflict) * (share - 0.5) >= -1e-12
    if share <= 0.5 and found.outcome is Outcome.CONFLICT:
        assert equal.outcome is Outcome.CONFLICT
    if share >= 0.5 and equal.outcome is Outcome.CONFLICT:
        assert found.outcome is Outcome.CONFLICT


# The same probabilities at another setting.


def assert_same(found: Report, expected: Report, tolerance: float) -> None:
    """All of it, but for numbers that lie so near one another."""
    assert found.config == expected.config
    assert found.point == expected.point
    assert found.outcome_counts == expected.outcome_counts
    pairs = list(zip(found.windows, expected.windows, strict=True))
    assert (found.summary is None) is (expected.summary is None)
    if found.summary is not None and expected.summary is not None:
        pairs.append((found.summary, expected.summary))
    for one, other in pairs:
        assert (one.outcome, one.reasons) == (other.outcome, other.reasons)
        assert one.conflict == pytest.approx(other.conflict, abs=tolerance)
        for channel in ("face", "voice", "fused"):
            ours, theirs = getattr(one, channel), getattr(other, channel)
            assert (ours is None) is (theirs is None)
            if ours is not None:
                np.testing.assert_allclose(ours.probs, theirs.probs, atol=tolerance)
    for one_moment, other_moment in zip(found.moments, expected.moments, strict=True):
        numbers = {"conflict": None, "strength": None, "start_s": 0.0, "end_s": 0.0}
        assert replace(one_moment, **numbers) == replace(other_moment, **numbers)
        for name in numbers:
            number = getattr(other_moment, name)
            assert getattr(one_moment, name) == pytest.approx(number, abs=tolerance)


@pytest.mark.parametrize("num_windows", [1, 3, 40])
@pytest.mark.parametrize("curve", [CURVE, DecisionCurve()])
def test_a_report_is_decided_again_as_its_file_would_be(
    num_windows: int, curve: DecisionCurve
) -> None:
    rng = np.random.default_rng(num_windows)
    # At no edge, which six digits may pass.
    faces, voices = rng.dirichlet(np.full(8, 0.4), (2, num_windows))
    said = [
        Posteriors(f, v, (f + v) / 2, float(c))
        for f, v, c in zip(faces, voices, rng.random(num_windows), strict=True)
    ]
    model = TellModel(said, curve)
    views = [
        view(face, None if n % 9 == 8 else HAPPY, span_s=(2.0 * n, 2.0 * n + 4), people=n % 3)
        for n, face in enumerate(faces)
    ]
    seen = perception(*views)
    decisions = [
        DecisionConfig(sensitivity=level, expected_conflicts=share)
        for level in (*SENSITIVITIES, 0.65)
        for share in (0.5, 0.05, 0.7)
    ]
    for first in (decisions[0], decisions[4], decisions[-1]):
        report = interpret(seen, model, first)
        read = from_json(to_json(report))
        for other in decisions:
            expected = interpret(seen, model, other)
            assert_same(decide_again(report, other), expected, 1e-9)
            # Six digits at one share are fewer at another.
            assert_same(decide_again(read, other), expected, 1e-4)


def test_deciding_again_keeps_what_counts_as_evidence() -> None:
    strict = DecisionConfig(min_face_coverage=0.5)
    report = interpret(perception(view(seen=0.3)), EchoModel(), strict)
    again = decide_again(report, DecisionConfig(sensitivity="cautious"))
    assert again.config.decision == replace(strict, sensitivity="cautious")
    assert again.windows[0].reasons == (Reason.FACE_TOO_SELDOM,)


def test_a_report_without_conflict_stays_so() -> None:
    class Plain(EchoModel):
        curve = None

    report = interpret(perception(view()), Plain())
    assert report.point is None
    again = decide_again(report, DecisionConfig(sensitivity="sensitive"))
    assert again.windows[0].reasons == (Reason.MODEL_WITHOUT_CONFLICT,)
    assert again.windows[0].outcome is Outcome.INSUFFICIENT


# What is unlike all that the model has learnt from.


def strange_file(
    *strange: tuple[float | None, float | None], conflict: float | None = 0.95
) -> tuple[Perception, TellModel]:
    """One window of a happy face and a sad voice for each pair of unfamiliarity."""
    said = [
        Posteriors(
            HAPPY,
            SAD,
            HAPPY,
            conflict,
            {m: v for m, v in zip((Modality.VIDEO, Modality.AUDIO), pair, strict=True) if v},
        )
        for pair in strange
    ]
    views = [view(span_s=(2.0 * n, 2.0 * n + 4)) for n in range(len(said))]
    return perception(*views), TellModel(said)


@pytest.mark.parametrize(
    ("strange", "reasons"),
    [
        ((None, None), ()),
        ((1.0, 0.2), ()),
        ((1.01, 0.2), (Reason.UNFAMILIAR_FACE,)),
        ((0.2, 3.0), (Reason.UNFAMILIAR_VOICE,)),
        ((2.0, 2.0), (Reason.UNFAMILIAR_FACE, Reason.UNFAMILIAR_VOICE)),
    ],
)
def test_of_what_is_unfamiliar_nothing_is_called(
    strange: tuple[float | None, float | None], reasons: tuple[Reason, ...]
) -> None:
    seen, model = strange_file(strange)
    (window,) = interpret(seen, model).windows
    assert window.outcome is (Outcome.UNDECIDED if reasons else Outcome.CONFLICT)
    assert window.reasons == reasons
    assert window.conflict == 0.95
    assert window.face is not None
    assert window.face.unfamiliarity == strange[0]


def test_what_is_unfamiliar_is_not_flat_either_and_a_missing_channel_comes_first() -> None:
    strange = {Modality.AUDIO: 2.0}
    flat = TellModel([Posteriors(NEUTRAL, SAD, SAD, 0.5, strange)])
    found = judge_one(view(), flat)
    assert (found.outcome, found.reasons) == (Outcome.UNDECIDED, (Reason.UNFAMILIAR_VOICE,))

    class Deaf(EchoModel):
        def predict(
            self,
            rows: Sequence[Embeddings],
            known: Sequence[Known] | None = None,
            unclear: Sequence[float] | None = None,
        ) -> list[Posteriors]:
            return [replace(said, unfamiliarity=strange) for said in super().predict(rows)]

    found = judge_one(view(None, SAD), Deaf())
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.reasons == (Reason.NO_FACE, Reason.UNFAMILIAR_VOICE)
    assert judge_one(view(HAPPY, None), Deaf()).reasons == (Reason.NO_SPEECH,)


@pytest.mark.parametrize(
    ("voices", "is_strange"),
    [
        ((2.0, 0.1, 0.1), False),
        ((2.0, 0.1, 3.0), True),
        ((2.0, 2.0, 2.0), True),
        ((2.0, 0.5), False),
    ],
)
def test_a_short_file_is_unfamiliar_if_most_of_it_is(
    voices: tuple[float, ...], is_strange: bool
) -> None:
    report = interpret(*strange_file(*((0.1, voice) for voice in voices)))
    assert report.summary is not None
    assert (Reason.UNFAMILIAR_VOICE in report.summary.reasons) is is_strange
    assert report.summary.outcome is (Outcome.UNDECIDED if is_strange else Outcome.CONFLICT)
    assert report.summary.conflict == pytest.approx(0.95)


def test_unfamiliar_moments_lean_nowhere_and_stay_so_at_any_sensitivity() -> None:
    report = interpret(*strange_file(*[(2.0, 0.1)] * 5))
    (moment,) = report.moments
    assert (moment.outcome, moment.strength) == (Outcome.UNDECIDED, None)
    for read in (report, from_json(to_json(report))):
        again = decide_again(read, DecisionConfig(sensitivity="sensitive"))
        assert [w.outcome for w in again.windows] == [Outcome.UNDECIDED] * 5
        assert again.windows[0].reasons == (Reason.UNFAMILIAR_FACE,)


def test_nothing_unfamiliar_counts_as_a_call_in_a_curve() -> None:
    pairs = [Posteriors(HAPPY, SAD, HAPPY, p) for p in (0.9, 0.8, 0.2, 0.1)]
    pairs[0] = replace(pairs[0], unfamiliarity={Modality.VIDEO: 2.0})
    curve = measure_curve(pairs, np.array([True, True, False, False]))
    assert curve.conflict_hits[0] == 0.5


# Moments.


@st.composite
def files(draw: st.DrawFn) -> Perception:
    """Windows that overlap, the last one cut short; some lack a channel."""
    num_windows = draw(st.integers(0, 30))
    hop_s = draw(st.floats(0.5, 4))
    end_s = draw(st.floats(max(num_windows - 1, 0) * hop_s + 0.5, num_windows * hop_s + 4))
    spans = [(n * hop_s, min(n * hop_s + 4, end_s)) for n in range(num_windows)]
    channels = st.sampled_from([HAPPY, SAD, NEUTRAL, ANGRY, SURPRISED, None])
    views = [view(draw(channels), draw(channels), span_s=span) for span in spans]
    return perception(*views, media=replace(MEDIA, duration_s=end_s))


@given(files())
def test_moments_cover_the_file_and_differ_from_their_neighbours(seen: Perception) -> None:
    report = interpret(seen, EchoModel())
    moments, windows = report.moments, report.windows
    if not windows:
        assert moments == ()
        assert report.summary is None
        return
    assert (moments[0].start_s, moments[0].first) == (0.0, 0)
    assert moments[-1].end_s == pytest.approx(max(seen.media.duration_s, windows[-1].end_s))
    assert moments[-1].last == len(windows) - 1
    for one, other in pairwise(moments):
        assert one.end_s == other.start_s
        assert one.last + 1 == other.first
        assert one.outcome is not other.outcome
    for moment in moments:
        assert moment.start_s < moment.end_s
        held = windows[moment.first : moment.last + 1]
        assert {window.outcome for window in held} == {moment.outcome}
        # Each window's middle lies in its moment.
        assert all(moment.start_s <= (w.start_s + w.end_s) / 2 <= moment.end_s for w in held)
        if moment.outcome is Outcome.INSUFFICIENT:
            assert moment.strength is None
        else:
            assert moment.strength is not None
            assert 0 <= moment.strength <= 1 + 1e-12
            assert moment.conflict is not None
    assert Counter(w.outcome for w in windows) == Counter(
        {o: n for o, n in report.outcome_counts.items() if n}
    )


def moments_of(*views: WindowView, end_s: float, model: Model | None = None):
    windows = judge(views, MEDIA, model or EchoModel(), DecisionConfig())
    return find_moments(windows, end_s)


def test_a_moment_says_what_holds_for_most_of_its_time() -> None:
    conflict = [
        view(HAPPY, SAD),
        view(HAPPY, ANGRY, span_s=(2, 6)),
        view(HAPPY, ANGRY, span_s=(4, 8)),
    ]
    match, nothing = view(SAD, SAD, span_s=(6, 10)), view(None, SAD, span_s=(8, 10.5))
    first, second, third = moments_of(*conflict, match, nothing, end_s=11.0)
    assert (first.start_s, first.end_s) == (0.0, 7.0)
    assert (first.outcome, first.face, first.voice) == (
        Outcome.CONFLICT,
        Emotion.HAPPY,
        Emotion.ANGRY,
    )
    assert (
        first.strength == first.conflict == pytest.approx(1 - float(np.minimum(HAPPY, SAD).sum()))
    )
    assert (second.outcome, second.start_s, second.end_s) == (Outcome.MATCH, 7.0, 8.625)
    assert second.strength == pytest.approx(1.0)
    assert (third.outcome, third.start_s, third.end_s) == (Outcome.INSUFFICIENT, 8.625, 11.0)
    assert (third.face, third.voice, third.conflict) == (None, Emotion.SAD, None)
    assert third.reasons == (Reason.NO_FACE,)


def test_the_strength_of_a_moment_is_that_of_its_outcome() -> None:
    (flat,) = moments_of(view(NEUTRAL, HAPPY), end_s=4)
    assert flat.outcome is Outcome.FLAT
    assert flat.strength == pytest.approx(0.8 + 0.2 / 7)
    # Of the flat channel, not of one in which an emotion leads.
    split = probs(neutral=0.3, calm=0.25, happy=0.32)
    barely = probs(neutral=0.3, calm=0.21, happy=0.29)
    (flat,) = moments_of(view(split, barely), end_s=4)
    assert flat.reasons == (Reason.VOICE_FLAT,)
    assert flat.strength == pytest.approx(0.51)
    # One moment leans to one side only.
    said = [Posteriors(SAD, SAD, SAD, conflict) for conflict in (0.6, 0.31)]
    views = [view(SAD, SAD), view(SAD, SAD, span_s=(4, 8))]
    (open_,) = moments_of(*views, end_s=8, model=TellModel(said))
    assert open_.outcome is Outcome.UNDECIDED
    assert open_.conflict == pytest.approx(0.455)
    assert open_.strength == pytest.approx(0.545)


@pytest.mark.parametrize(
    ("num_windows", "has_answer"), [(0, False), (1, True), (3, True), (4, False), (299, False)]
)
def test_only_a_short_file_gets_one_answer(num_windows: int, has_answer: bool) -> None:
    """Ten minutes are 299 windows."""
    views = [view(span_s=(2.0 * n, 2.0 * n + 4)) for n in range(num_windows)]
    seen = perception(*views, media=replace(MEDIA, duration_s=2.0 * num_windows + 2))
    report = interpret(seen, EchoModel())
    assert (report.summary is not None) is has_answer
    assert len(report.moments) == min(num_windows, 1)
    assert report.outcome_counts[Outcome.MATCH] == num_windows
