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
    result = audit_features("length", conflict, rng.normal(size=(1200, 3)), speakers)
    assert result.passed
    assert 0.5 <= result.folded <= 0.55
    assert result.auroc.low < 0.5 < result.auroc.high


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
    result = audit_features("length", conflict, features, speakers)
    assert not result.passed
    assert result.folded > 0.6


def test_what_a_speaker_gives_away_only_about_himself_is_no_leak(
    pairs: tuple[np.ndarray, list[str], np.random.Generator],
) -> None:
    conflict, speakers, rng = pairs
    sign = rng.choice([-1.0, 1.0], 12)[np.arange(1200) // 100]
    features = np.where(conflict, sign, -sign)[:, None] + rng.normal(size=(1200, 1))
    scores = leave_one_group_out(conflict, features, speakers)
    held = np.array(speakers) == "s0"
    others = leave_one_group_out(conflict[~held], features[~held], np.array(speakers)[~held])
    assert np.isfinite(others).all()
    changed = features.copy()
    changed[held] = 100.0
    again = leave_one_group_out(conflict, changed, speakers)
    # Scores of other speakers move with s0's features, s0's own only through its own features.
    assert not np.allclose(again[~held], scores[~held])


def test_a_backwards_score_is_as_telling(
    pairs: tuple[np.ndarray, list[str], np.random.Generator],
) -> None:
    conflict, speakers, rng = pairs
    result = audit_scores("sync", conflict, rng.normal(size=1200) - conflict, speakers)
    assert result.auroc.estimate < 0.4
    assert result.folded > 0.6
    assert not result.passed


def test_originals_against_matches() -> None:
    rng = np.random.default_rng(0)
    speakers = [f"s{k // 100}" for k in range(2000)]
    same = audit_originals(rng.normal(size=2000), speakers, rng.normal(size=2000), speakers)
    assert same.limit == 0.52
    assert same.passed
    shifted = audit_originals(
        rng.normal(size=2000), speakers, rng.normal(size=2000) + 0.3, speakers
    )
    assert not shifted.passed


def test_nonsense_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"\(n, k\)"):
        audit_features("x", [True, False], [1.0, 2.0], ["a", "b"])
    with pytest.raises(EvaluationError, match="two speakers"):
        audit_features("x", [True, False], [[1.0], [2.0]], ["a", "a"])
