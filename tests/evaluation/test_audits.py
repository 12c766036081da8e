"""Audits fail on clean pairs, and find what leaks."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.errors import EvaluationError
from facevoice.evaluation.audits import (
    audit_features,
    audit_originals,
    audit_scores,
    leave_one_group_out,
)


@pytest.fixture
def pairs() -> tuple[np.ndarray, list[str], np.random.Generator]:
    rng = np.random.default_rng(0)
    conflict = np.tile([False, True], 600)
    speakers = [f"s{k // 100}" for k in range(1200)]
    return conflict, speakers, rng


def test_clean_features_pass(pairs: tuple[np.ndarray, list[str], np.random.Generator]) -> None:
    conflict, speakers, rng = pairs
    result = audit_features(
        "length", conflict, rng.normal(size=(1200, 3)), speakers, num_resamples=100
    )
    assert result.passed
    assert result.telling == result.auroc.estimate <= 0.55


@pytest.mark.parametrize("kind", ["shift", "spread"])
def test_leaks_are_found(
    kind: str, pairs: tuple[np.ndarray, list[str], np.random.Generator]
) -> None:
    conflict, speakers, rng = pairs
    features = rng.normal(size=(1200, 3))
    if kind == "shift":
        features[:, 1] += 0.5 * conflict
    else:
        features[:, 1] *= 1 + conflict
    result = audit_features("length", conflict, features, speakers, num_resamples=100)
    assert not result.passed
    assert result.telling > 0.6


def test_a_speakers_own_labels_never_reach_his_scores(
    pairs: tuple[np.ndarray, list[str], np.random.Generator],
) -> None:
    conflict, speakers, rng = pairs
    features = rng.normal(size=(1200, 2))
    held = np.array(speakers) == "s0"
    before = leave_one_group_out(conflict, features, speakers)
    after = leave_one_group_out(np.where(held, ~conflict, conflict), features, speakers)
    np.testing.assert_array_equal(before[held], after[held])
    assert not np.allclose(before[~held], after[~held])


def test_a_backwards_score_is_as_telling(
    pairs: tuple[np.ndarray, list[str], np.random.Generator],
) -> None:
    conflict, speakers, rng = pairs
    result = audit_scores(
        "sync", conflict, rng.normal(size=1200) - conflict, speakers, num_resamples=100
    )
    assert result.auroc.estimate < 0.4
    assert result.telling > 0.6
    assert not result.passed


def test_originals_against_matches() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{k // 50}" for k in range(1000)]
    scores = rng.normal(size=1000)
    same = audit_originals(scores, speakers, scores[::-1], speakers, num_resamples=100)
    assert same.limit == 0.52
    assert same.passed
    shifted = audit_originals(scores, speakers, scores + 0.3, speakers, num_resamples=100)
    assert not shifted.passed


def test_nonsense_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"\(n, k\)"):
        audit_features("x", [True, False], [1.0, 2.0], ["a", "b"])
    with pytest.raises(EvaluationError, match="two speakers"):
        audit_features("x", [True, False], [[1.0], [2.0]], ["a", "a"])
