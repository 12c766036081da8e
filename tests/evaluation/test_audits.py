"""Audits fail on clean pairs, and find what leaks."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import audit_features, audit_scores

CONFLICT = np.tile([False, True], 600)
SPEAKERS = [f"s{k // 100}" for k in range(1200)]


@pytest.mark.parametrize("kind", ["none", "shift", "spread"])
def test_leaks_are_found(kind: str) -> None:
    features = np.random.default_rng(0).normal(size=(1200, 3))
    if kind == "shift":
        features[:, 1] += 0.5 * CONFLICT
    if kind == "spread":
        features[:, 1] *= 1 + CONFLICT
    result = audit_features("length", CONFLICT, features, SPEAKERS, num_resamples=100)
    assert result.passed is (kind == "none")
    assert result.telling == result.auroc.estimate
    assert (result.telling > 0.6) is (kind != "none")


def test_a_speakers_own_labels_are_not_learnt_from() -> None:
    """The features name the speaker, and with that the label; to be seen, it would give 1.0."""
    conflict = np.repeat([False, True] * 6, 100)
    features = np.repeat(np.eye(12), 100, axis=0)
    result = audit_features("who", conflict, features, SPEAKERS, num_resamples=100)
    assert result.auroc.estimate <= 0.5
    assert result.passed and not result.two_sided


def test_a_backwards_score_is_as_telling() -> None:
    scores = np.random.default_rng(0).normal(size=1200) - CONFLICT
    result = audit_scores("sync", CONFLICT, scores, SPEAKERS, num_resamples=100)
    assert result.auroc.estimate < 0.4
    assert result.telling > 0.6
    assert not result.passed


def test_nonsense_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"\(n, k\)"):
        audit_features("x", [True, False], [1.0, 2.0], ["a", "b"])
    with pytest.raises(EvaluationError, match="two speakers"):
        audit_features("x", [True, False], [[1.0], [2.0]], ["a", "a"])
    with pytest.raises(EvaluationError, match="1 speakers for 2 items"):
        audit_scores("x", [True, False], [1.0, 2.0], ["a"])
