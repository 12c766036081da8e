"""Heads, fusion and conflict of the compact family, against formulas written out again."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax as scipy_softmax

from facevoice.errors import WeightsError
from facevoice.models.heads import (
    CONFLICT_EVIDENCE,
    CompactModel,
    ConflictHead,
    LateFusion,
    LinearHead,
    Thresholds,
    conflict_evidence,
    flatness,
    load_model,
    save_model,
)
from facevoice.records import EMOTIONS, Emotion, FeatureSet, Modality

RNG = np.random.default_rng(0)


def posterior(**probs: float) -> np.ndarray:
    """A posterior (1, 8) with the probabilities given and the rest spread evenly."""
    rest = (1 - sum(probs.values())) / (8 - len(probs))
    return np.array([[probs.get(e.value, rest) for e in EMOTIONS]])


def make_model(video_dim: int = 5, audio_dim: int = 4) -> CompactModel:
    rng = np.random.default_rng(7)

    def head(dim: int) -> LinearHead:
        return LinearHead(
            rng.normal(size=dim),
            rng.uniform(0.5, 2, dim),
            rng.normal(size=(8, dim)).astype(np.float32).astype(np.float64),
            rng.normal(size=8),
        )

    size = len(CONFLICT_EVIDENCE)
    return CompactModel(
        heads={Modality.VIDEO: head(video_dim), Modality.AUDIO: head(audio_dim)},
        fusion=LateFusion(0.6, 0.9, rng.normal(size=8)),
        conflict=ConflictHead(np.zeros(size), np.ones(size), rng.normal(size=size), 0.1),
        thresholds=Thresholds(0.7, 0.3, 0.6, 0.3),
    )


def test_linear_head_is_a_standardised_softmax_regression() -> None:
    head = make_model().heads[Modality.VIDEO]
    x = RNG.normal(size=(6, 5)).astype(np.float32)
    expected = scipy_softmax((x - head.mean) / head.scale @ head.weight.T + head.bias, axis=1)
    np.testing.assert_allclose(head(x), expected, rtol=1e-9)


def test_fusion_of_agreeing_channels_is_surer_than_either() -> None:
    fusion = LateFusion(1.0, 1.0, np.zeros(8))
    happy = posterior(happy=0.6)
    assert fusion(happy, happy)[0, Emotion.HAPPY.position] > 0.6


def test_fusion_follows_the_surer_channel() -> None:
    fused = LateFusion(1.0, 1.0, np.zeros(8))(posterior(happy=0.9), posterior(sad=0.4))
    assert fused.argmax() == Emotion.HAPPY.position
    assert fused.sum() == pytest.approx(1.0)


def test_divergence_is_scipys_jensen_shannon_on_merged_classes() -> None:
    p, q = RNG.dirichlet(np.ones(8), 20), RNG.dirichlet(np.ones(8), 20)
    merged_p = np.concatenate([p[:, :2].sum(axis=1, keepdims=True), p[:, 2:]], axis=1)
    merged_q = np.concatenate([q[:, :2].sum(axis=1, keepdims=True), q[:, 2:]], axis=1)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(merged_p, merged_q, strict=True)]
    column = CONFLICT_EVIDENCE.index("divergence")
    np.testing.assert_allclose(conflict_evidence(p, q)[:, column], expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_conflict_evidence_is_symmetric_and_finite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(8, 0.05), 3), rng.dirichlet(np.full(8, 0.05), 3)
    evidence = conflict_evidence(p, q)
    assert np.isfinite(evidence).all()
    np.testing.assert_allclose(evidence, conflict_evidence(q, p), atol=1e-9)


def test_neutral_and_calm_agree() -> None:
    same = conflict_evidence(posterior(neutral=0.9), posterior(neutral=0.9))
    calm = conflict_evidence(posterior(neutral=0.9), posterior(calm=0.9))
    column = CONFLICT_EVIDENCE.index("log_agreement")
    assert calm[0, column] == pytest.approx(same[0, column], abs=0.05)


def test_missing_channel_gives_no_conflict_and_the_other_as_fused() -> None:
    model = make_model()
    voice_only = FeatureSet(0, 4, {Modality.AUDIO: np.ones(4, np.float32)}, {})
    found = model(voice_only)
    assert found.face is None
    assert found.conflict is None
    np.testing.assert_array_equal(found.fused, found.voice)
    nothing = model(FeatureSet(0, 4, {}, {}))
    assert nothing.fused is None
    assert nothing.voice is None


def test_flatness_counts_neutral_and_calm() -> None:
    assert flatness(posterior(neutral=0.5, calm=0.2)[0]) == pytest.approx(0.7)


def test_saved_model_comes_back_the_same_and_repeats_byte_for_byte() -> None:
    model, first, second = make_model(), io.BytesIO(), io.BytesIO()
    save_model(model, first)
    save_model(model, second)
    assert first.getvalue() == second.getvalue()
    loaded = load_model(first.getvalue())
    features = FeatureSet(
        0, 4, {Modality.VIDEO: np.ones(5, np.float32), Modality.AUDIO: np.ones(4, np.float32)}, {}
    )
    np.testing.assert_allclose(loaded(features).fused, model(features).fused, rtol=1e-6)
    assert loaded(features).conflict == pytest.approx(model(features).conflict, rel=1e-6)
    assert loaded.thresholds == model.thresholds


def test_damaged_heads_are_refused() -> None:
    file = io.BytesIO()
    save_model(make_model(), file)
    with pytest.raises(WeightsError, match="not a file of compact heads"):
        load_model(file.getvalue()[:200])
    with pytest.raises(WeightsError, match="not a file of compact heads"):
        load_model(b"no heads at all")
