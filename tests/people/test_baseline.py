"""What windows of a file, or of a stream, are compared with: others of the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draws import draw_posteriors
from echo import ComparingModel, EchoModel
from facevoice.interpret import StreamJudge, interpret
from facevoice.people.baseline import NOTHING, Baseline, Known, Usual, pool
from facevoice.records import Modality, Prediction, WindowView
from facevoice.settings import DecisionConfig
from perceptions import HAPPY, MEDIA, SAD, perception, probs, view

NEUTRAL = probs(neutral=0.8)
LEADING = DecisionConfig(people="leading")
GIVEN = Known(
    {Modality.VIDEO: Usual(3.0, probs(angry=0.9), NEUTRAL)},
    {Modality.AUDIO: Usual(5.0, NEUTRAL, NEUTRAL)},
)


def length_of(views: Sequence[WindowView]) -> float:
    """Seconds that windows cover together."""
    covered_s, end_s = 0.0, -np.inf
    for one in views:
        covered_s += max(one.end_s - max(one.start_s, end_s), 0)
        end_s = max(end_s, one.end_s)
    return covered_s


@st.composite
def films(draw: st.DrawFn) -> list[WindowView]:
    """Windows of one length that may overlap, the last one cut short, of up to two people."""
    num_windows = draw(st.integers(1, 14))
    hop_s = draw(st.sampled_from([1.0, 1.5, 2.0, 4.0]))
    last_s = 4 - hop_s * draw(st.floats(0.0, 0.8))
    rows = draw_posteriors(np.random.default_rng(num_windows), 2 * num_windows)
    views = []
    for n in range(num_windows):
        length_s = last_s if n == num_windows - 1 else 4.0
        views.append(
            view(
                draw(st.sampled_from([rows[n], rows[n], None])),
                draw(st.sampled_from([rows[-n - 1], rows[-n - 1], None])),
                span_s=(n * hop_s, n * hop_s + length_s),
                person=draw(st.sampled_from([0, 0, 1])),
            )
        )
    return views


def assert_from(
    baseline: Baseline, given: Baseline, views: Sequence[WindowView], longest_s: float
) -> None:
    """That a baseline holds what is given and these windows, overlaps counted once."""
    for modality in Modality:
        shown = [one for one in views if one.channel(modality) is not None]
        before = given.get(modality)
        expected = (length_of(shown) / longest_s) + (before.num_windows if before else 0.0)
        usual = baseline.get(modality)
        if not expected:
            assert usual is None
            continue
        assert usual is not None
        assert usual.num_windows == pytest.approx(expected)
        rows = [one.channel(modality) for one in shown] + ([before.mean] if before else [])
        lowest, highest = np.min(rows, axis=0), np.max(rows, axis=0)
        assert (usual.mean >= lowest - 1e-9).all()
        assert (usual.mean <= highest + 1e-9).all()
        assert usual.probs.sum() == pytest.approx(1)


@given(films(), st.sampled_from([NOTHING, GIVEN]))
def test_a_window_is_compared_with_all_that_do_not_overlap_it(
    views: list[WindowView], known: Known
) -> None:
    model = ComparingModel()
    # Each face with the voice that is heard beside it.
    report = interpret(perception(*views), model, LEADING, known=known)
    alone, again = model.asked
    longest_s = max(one.duration_s for one in views)
    assert alone == [known] * len(views)
    for seen, told, window in zip(views, again, report.windows, strict=True):
        others = [o for o in views if o.end_s <= seen.start_s or o.start_s >= seen.end_s]
        assert_from(
            told.person, known.person, [o for o in others if o.person == seen.person], longest_s
        )
        assert_from(told.setting, known.setting, others, longest_s)
        for channel, modality in (
            (window.face, Modality.VIDEO),
            (window.voice, Modality.AUDIO),
        ):
            usual = told.person.get(modality)
            if channel is not None:
                assert channel.num_known == (0 if usual is None else usual.num_windows)


@given(films(), st.sampled_from([NOTHING, GIVEN]))
def test_a_stream_compares_with_what_came_before(views: list[WindowView], known: Known) -> None:
    model = ComparingModel()
    judge = StreamJudge(model, LEADING, media=MEDIA, known=known)
    for seen in views:
        model.asked.clear()
        judge(seen)
        (told,) = model.asked[0]
        earlier = [o for o in views if o.end_s <= seen.start_s]
        assert_from(told.person, known.person, [o for o in earlier if o.person == seen.person], 4.0)
        assert_from(told.setting, known.setting, earlier, 4.0)


def test_overlapping_windows_count_once() -> None:
    model = ComparingModel()
    rows = np.eye(8)[[0, 1, 2, 3, 4, 5, 6]] * 0.9 + 0.0125
    views = [view(row, None, span_s=(2.0 * n, 2.0 * n + 4)) for n, row in enumerate(rows)]
    report = interpret(perception(*views), model)
    counts = [w.face.num_known for w in report.windows if w.face is not None]
    assert counts == [3.0, 2.5, 3.0, 3.0, 3.0, 2.5, 3.0]
    told = model.asked[1][2].person[Modality.VIDEO]
    # Of [4, 8] the others are [0, 4], and from the end on [12, 16] of 4 s, [10, 14], [8, 12] of 2.
    expected = np.average(rows[[0, 4, 5, 6]], axis=0, weights=[1, 0.5, 0.5, 1])
    np.testing.assert_allclose(told.mean, expected)


def assert_equal(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.outcome, one.conflict) == (other.outcome, other.conflict)
        for channel in ("face", "voice", "fused"):
            mine, its = getattr(one, channel), getattr(other, channel)
            assert (mine is None) == (its is None)
            assert mine is None or (mine.probs == its.probs).all()


@pytest.mark.parametrize("spans", [[(0, 4)], [(0, 4), (2, 6)]])
def test_one_short_clip_tells_nothing_of_itself(spans: list[tuple[float, float]]) -> None:
    views = [view(HAPPY, SAD, span_s=span) for span in spans]
    report = interpret(perception(*views), ComparingModel())
    assert_equal(report.windows, interpret(perception(*views), EchoModel()).windows)
    assert all(w.face is not None and w.face.num_known == 0 for w in report.windows)


def film() -> list[WindowView]:
    return [view(SAD, HAPPY, span_s=(4.0 * n, 4.0 * n + 4), person=n % 2) for n in range(12)]


def test_what_is_usual_changes_answers_unless_it_is_switched_off() -> None:
    views = [*film(), view(HAPPY, HAPPY, span_s=(48, 52), person=1)]
    off = DecisionConfig(know_person=False)
    plain = interpret(perception(*views), EchoModel())
    switched_off = interpret(perception(*views), ComparingModel(), off, known=GIVEN)
    assert_equal(switched_off.windows, plain.windows)
    assert switched_off.config.decision == off
    judge = StreamJudge(ComparingModel(), off, media=MEDIA, known=GIVEN)
    assert_equal([judge(one) for one in views], plain.windows)
    adapted = interpret(perception(*views), ComparingModel()).windows[-1].face
    before = plain.windows[-1].face
    assert adapted is not None
    assert before is not None
    assert adapted.num_known == 6
    assert adapted.probs.max() > before.probs.max()


def test_a_model_that_cannot_compare_is_asked_once() -> None:
    report = interpret(perception(*film()), EchoModel(), known=GIVEN)
    assert_equal(report.windows, interpret(perception(*film()), EchoModel()).windows)


def test_too_little_evidence_is_no_part_of_what_is_usual() -> None:
    model = ComparingModel()
    views = [
        view(span_s=(0, 4)),
        view(seen=0.1, span_s=(4, 8)),
        view(heard=0.01, span_s=(8, 12)),
        replace(view(), start_s=12.0, end_s=12.2),
    ]
    interpret(perception(*views), model)
    told = model.asked[1][0].person
    assert {m: u.num_windows for m, u in told.items()} == {Modality.VIDEO: 1, Modality.AUDIO: 1}


def test_baselines_pool_by_how_many_windows_they_have() -> None:
    one = {Modality.VIDEO: Usual(1.0, np.zeros(2), HAPPY)}
    other = {Modality.VIDEO: Usual(3.0, np.ones(2), SAD), Modality.AUDIO: Usual(2.0, HAPPY, HAPPY)}
    both = pool([one, other, {}])
    assert both[Modality.VIDEO].num_windows == 4
    np.testing.assert_allclose(both[Modality.VIDEO].mean, 0.75)
    np.testing.assert_allclose(both[Modality.VIDEO].probs, (HAPPY + 3 * SAD) / 4)
    assert both[Modality.AUDIO].num_windows == 2
