"""Do two rows of votes differ by more than chance?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.votes import (
    clear_conflicts,
    freeman_halton,
    significant_conflicts,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.cremad import VOTES_TABLE, Votes, read_votes

rows = st.lists(st.integers(0, 8), min_size=2, max_size=2)


@settings(max_examples=60, deadline=None)
@given(first=rows, second=rows)
def test_exact_test_against_scipy(first: list[int], second: list[int]) -> None:
    found = freeman_halton(np.array(first), np.array(second))
    if min(np.add(first, second)) == 0 or min(sum(first), sum(second)) == 0:
        assert found == pytest.approx(1.0)
        return
    assert found == pytest.approx(stats.fisher_exact([first, second]).pvalue, rel=1e-6)


def test_exact_test_of_wider_tables_against_drawn_ones() -> None:
    first, second = np.array([4, 1, 0, 2, 0, 1]), np.array([0, 3, 2, 1, 3, 0])
    rng = np.random.default_rng(0)
    found = stats.multivariate_hypergeom.logpmf(first, first + second, first.sum())
    draws = rng.multivariate_hypergeometric(first + second, first.sum(), size=40_000)
    chances = stats.multivariate_hypergeom.logpmf(draws, first + second, first.sum())
    expected = (chances <= found + 1e-7).mean()
    assert freeman_halton(first, second) == pytest.approx(expected, abs=0.01)


def test_clear_conflicts_need_sixty_percent_in_both() -> None:
    face = [[0, 0, 0, 3, 2, 0], [0, 0, 0, 3, 2, 0], [0, 0, 0, 0, 5, 0], [5, 0, 0, 0, 0, 0]]
    voice = [[3, 2, 0, 0, 0, 0], [2, 2, 1, 0, 0, 0], [5, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]]
    votes = Votes(("a", "b", "c", "d"), np.array(face), np.array(voice), np.array(face))
    assert clear_conflicts(votes).tolist() == [True, False, True, False]
    assert clear_conflicts(votes, neutral=False).tolist() == [True, False, False, False]


@pytest.mark.corpora
def test_published_votes(corpora_dir: Path, tmp_path: Path) -> None:
    votes = read_votes(corpus_root(corpora_dir, "cremad_votes", work=tmp_path) / VOTES_TABLE)
    tested, significant = significant_conflicts(votes)
    assert clear_conflicts(votes).mean() == pytest.approx(0.136, abs=0.0005)
    assert int(clear_conflicts(votes, neutral=False).sum()) == 181
    assert significant.mean() == pytest.approx(0.220, abs=0.0005)
    assert tested.mean() == pytest.approx(0.253, abs=0.0005)
