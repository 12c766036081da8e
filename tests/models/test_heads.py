"""Heads, fusion and conflict of the compact family, against formulas written out again."""

from __future__ import annotations

import io

import numpy as np
import pytest
from recipes.heads import save_model
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax as scipy_softmax

from echo import CURVE
from facevoice.errors import WeightsError
from facevoice.models.heads import (
    ChannelHead,
    CompactModel,
    Comparison,
    ConflictHead,
    Familiarity,
    LateFusion,
    LinearHead,
    conflict_evidence,
    flatness,
    load_compact,
    load_model,
)
from facevoice.people.baseline import Known, Usual
from facevoice.records import EMOTIONS, Emotion, Modality

RNG = np.random.default_rng(0)


def posterior(**probs: float) -> np.ndarray:
    """A posterior (1, 8) with the probabilities given and the rest spread evenly."""
    rest = (1 - sum(probs.values())) / (8 - len(probs))
    return np.array([[probs.get(e.value, rest) for e in EMOTIONS]])


def make_head(dim: int, rng: np.random.Generator) -> ChannelHead:
    directions, _ = np.linalg.qr(rng.normal(size=(dim, 2)))
    return ChannelHead(
        LinearHead(
            rng.normal(size=dim),
            rng.uniform(0.5, 2, dim),
            rng.normal(size=(8, dim)).astype(np.float32).astype(np.float64),
            rng.normal(size=8),
        ),
        Comparison(2.0, 12.0, 0.3 * rng.normal(size=(8, dim))),
        Familiarity(directions, limit=4.0, doubt=0.5),
    )


def make_model(video_dim: int = 5, audio_dim: int = 4) -> CompactModel:
    rng = np.random.default_rng(7)
    size = 5
    return CompactModel(
        channels={
            Modality.VIDEO: make_head(video_dim, rng),
            Modality.AUDIO: make_head(audio_dim, rng),
        },
        fusion=LateFusion(0.6, 0.9, rng.normal(size=8)),
        conflict=ConflictHead(np.zeros(size), np.ones(size), rng.normal(size=size), 0.1),
        curve=CURVE,
    )


def test_a_head_is_a_standardised_regression_that_doubts_what_it_does_not_know() -> None:
    head = make_model().channels[Modality.VIDEO]
    x = RNG.normal(size=(6, 5)).astype(np.float32)
    linear, familiar = head.linear, head.familiarity
    z = (x - linear.mean) / linear.scale
    rest = ((z - z @ familiar.directions @ familiar.directions.T) ** 2).sum(axis=1)
    logits = (z @ linear.weight.T + linear.bias) / (1 + 0.5 * rest / 4.0)[:, None]
    probs, unfamiliarity = head(x)
    np.testing.assert_allclose(unfamiliarity, rest / 4.0, rtol=1e-9)
    np.testing.assert_allclose(probs, scipy_softmax(logits, axis=1), rtol=1e-9)


def usual_of(x: np.ndarray, probs: np.ndarray | None = None) -> Usual:
    told = np.full(8, 1 / 8) if probs is None else probs
    return Usual(float(len(x)), x.mean(axis=0), told)


def test_what_is_usual_is_taken_out_the_more_the_more_is_known() -> None:
    head = make_model().channels[Modality.VIDEO]
    mean, centres = head.linear.mean, head.comparison.centres
    away = RNG.normal(size=5)
    shifted = mean + away + np.full(8, 1 / 8) @ centres
    offsets = [head.offset(usual_of(np.tile(shifted, (n, 1))), None) for n in (1, 3, 1000)]
    np.testing.assert_allclose(offsets[0], away / 3)
    np.testing.assert_allclose(offsets[1], away * 3 / 5)
    np.testing.assert_allclose(offsets[2], away, rtol=0.01)
    np.testing.assert_array_equal(head.offset(None, None), np.zeros(5))


def test_somebody_who_is_sad_all_the_time_is_not_sad_as_a_rule() -> None:
    head = make_model().channels[Modality.VIDEO]
    sad = np.eye(8)[Emotion.SAD.position]
    windows = np.tile(head.linear.mean + sad @ head.comparison.centres, (50, 1))
    np.testing.assert_allclose(head.offset(usual_of(windows, sad), None), 0, atol=1e-12)


def test_a_person_is_shrunk_towards_the_setting_and_that_towards_the_world() -> None:
    head = make_model().channels[Modality.VIDEO]
    base = head.linear.mean + np.full(8, 1 / 8) @ head.comparison.centres
    room, own = RNG.normal(size=5), RNG.normal(size=5)
    setting, person = usual_of(np.tile(base + room, (24, 1))), usual_of(np.tile(base + own, (2, 1)))
    around = room * 24 / 36
    np.testing.assert_allclose(head.offset(None, setting), around)
    np.testing.assert_allclose(head.offset(person, setting), around + (own - around) / 2)


def test_fusion_adds_up_what_agrees_and_follows_the_surer_channel() -> None:
    fusion = LateFusion(1.0, 1.0, np.zeros(8))
    happy = posterior(happy=0.6)
    assert fusion(happy, happy)[0, Emotion.HAPPY.position] > 0.6
    fused = fusion(posterior(happy=0.9), posterior(sad=0.4))
    assert fused.argmax() == Emotion.HAPPY.position
    assert fused.sum() == pytest.approx(1.0)


def test_divergence_is_scipys_jensen_shannon_on_merged_classes() -> None:
    p, q = RNG.dirichlet(np.ones(8), 20), RNG.dirichlet(np.ones(8), 20)
    merged_p = np.concatenate([p[:, :2].sum(axis=1, keepdims=True), p[:, 2:]], axis=1)
    merged_q = np.concatenate([q[:, :2].sum(axis=1, keepdims=True), q[:, 2:]], axis=1)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(merged_p, merged_q, strict=True)]
    np.testing.assert_allclose(conflict_evidence(p, q)[:, 1], expected, atol=1e-6)


def test_conflict_evidence_is_symmetric_and_finite() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.full(8, 0.05), 150), rng.dirichlet(np.full(8, 0.05), 150)
    evidence = conflict_evidence(p, q)
    assert np.isfinite(evidence).all()
    np.testing.assert_allclose(evidence, conflict_evidence(q, p), atol=1e-9)


def test_neutral_and_calm_agree() -> None:
    same = conflict_evidence(posterior(neutral=0.9), posterior(neutral=0.9))
    calm = conflict_evidence(posterior(neutral=0.9), posterior(calm=0.9))
    assert calm[0, 0] == pytest.approx(same[0, 0], abs=0.05)


def windows(num: int, video_dim: int = 5, audio_dim: int = 4) -> list[dict[Modality, np.ndarray]]:
    """Some without a face, some without a voice, some without both."""
    rng = np.random.default_rng(2)
    made = []
    for place in range(num):
        window = {
            Modality.VIDEO: rng.normal(size=video_dim).astype(np.float32),
            Modality.AUDIO: rng.normal(size=audio_dim).astype(np.float32),
        }
        for modality, every in ((Modality.VIDEO, 3), (Modality.AUDIO, 5)):
            if place % every == 1:
                del window[modality]
        made.append(window)
    return made


def test_many_windows_are_told_as_each_alone_and_as_the_formulas_say() -> None:
    model, given = make_model(), windows(40)
    said = model.predict(given)
    assert len(said) == 40
    for window, found in zip(given, said, strict=True):
        probs = {m: model.channels[m](x[np.newaxis])[0] for m, x in window.items()}
        assert set(found.unfamiliarity) == set(window)
        face, voice = probs.get(Modality.VIDEO), probs.get(Modality.AUDIO)
        for ours, theirs in ((found.face, face), (found.voice, voice)):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                np.testing.assert_allclose(ours, theirs[0], atol=1e-12)
        if face is not None and voice is not None:
            assert found.fused is not None
            np.testing.assert_allclose(found.fused, model.fusion(face, voice)[0], atol=1e-12)
            assert found.conflict == pytest.approx(model.conflict(face, voice)[0], abs=1e-12)
        else:
            assert found.conflict is None
            np.testing.assert_array_equal(found.fused, found.face if voice is None else found.voice)
    assert model.predict([]) == []
    with pytest.raises(WeightsError, match=r"shape \(6,\), the heads want \(5,\)"):
        model.predict([{Modality.VIDEO: np.zeros(6, np.float32)}])


def test_known_windows_change_what_is_said_of_their_channel_only() -> None:
    model, (window, *_) = make_model(), windows(1)
    usual = usual_of(RNG.normal(size=(6, 5)))
    known = Known({Modality.VIDEO: usual}, {Modality.VIDEO: usual})
    (before,), (after,) = model.predict([window]), model.predict([window], [known])
    assert before.face is not None
    assert after.face is not None
    assert np.abs(before.face - after.face).max() > 1e-3
    np.testing.assert_array_equal(before.voice, after.voice)


def test_the_heads_of_the_package_take_the_windows_of_an_hour_at_once() -> None:
    model = load_compact().model
    said = model.predict(windows(1800, 519, 3072))
    assert len(said) == 1800
    fused = [row.fused for row in said if row.fused is not None]
    np.testing.assert_allclose(np.sum(fused, axis=1), 1.0, atol=1e-12)


def test_flatness_counts_neutral_and_calm() -> None:
    assert flatness(posterior(neutral=0.5, calm=0.2)[0]) == pytest.approx(0.7)


def test_saved_model_comes_back_the_same_and_repeats_byte_for_byte() -> None:
    model, first, second = make_model(), io.BytesIO(), io.BytesIO()
    save_model(model, first)
    save_model(model, second)
    assert first.getvalue() == second.getvalue()
    loaded = load_model(first.getvalue())
    (ours,), (theirs,) = loaded.predict(windows(1)), model.predict(windows(1))
    # Weights are kept in half precision, which has eleven bits.
    np.testing.assert_allclose(ours.fused, theirs.fused, rtol=0, atol=2**-11)
    assert ours.conflict == pytest.approx(theirs.conflict, rel=0, abs=2**-11)
    assert loaded.curve == model.curve


def test_damaged_heads_are_refused() -> None:
    file = io.BytesIO()
    save_model(make_model(), file)
    with pytest.raises(WeightsError, match="not a file of compact heads"):
        load_model(file.getvalue()[:200])
    with pytest.raises(WeightsError, match="not a file of compact heads"):
        load_model(b"no heads at all")
