"""Perceived congruence from votes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from facevoice.corpora.cremad import clip_of_stem
from facevoice.corpora.download import corpus_root
from facevoice.corpora.votes import (
    VOTE_EMOTIONS,
    Votes,
    add_votes,
    benjamini_hochberg,
    clear_conflicts,
    congruence_posterior,
    difference_p_values,
    fit_dirichlet,
    freeman_halton,
    read_votes,
    significant_conflicts,
    top_votes,
)
from facevoice.errors import CorpusError
from facevoice.records import Emotion, Outcome

HEADER = '"","A","D","F","H","N","S","fileName","numResponses"\n'


def row(number: int, stem: str, votes: dict[str, int]) -> str:
    return f'"{number}",' + ",".join(str(votes.get(k, 0)) for k in "ADFHNS") + f',"{stem}",9\n'


def make_votes(face: list[list[int]], voice: list[list[int]]) -> Votes:
    stems = tuple(f"{k}" for k in range(len(face)))
    return Votes(stems, np.array(face), np.array(voice), np.array(face))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tabulatedVotes.csv"
    path.write_text(
        HEADER
        + row(100001, "1001_DFA_HAP_XX", {"A": 9})
        + row(100002, "1001_DFA_ANG_XX", {"A": 5, "D": 5})
        + row(200001, "1001_DFA_HAP_XX", {"H": 10})
        + row(200002, "1001_DFA_ANG_XX", {"A": 8})
        + row(300001, "1001_DFA_HAP_XX", {"H": 6, "N": 3})
        + row(300002, "1001_DFA_ANG_XX", {"A": 9})
    )
    return path


def test_read_votes(table: Path) -> None:
    votes = read_votes(table)
    assert votes.stems == ("1001_DFA_ANG_XX", "1001_DFA_HAP_XX")
    assert votes.face.tolist() == [[8, 0, 0, 0, 0, 0], [0, 0, 0, 10, 0, 0]]
    assert votes.voice.tolist() == [[5, 5, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0]]
    assert votes.both[1].tolist() == [0, 0, 0, 6, 3, 0]


def test_damaged_tables_are_named(table: Path) -> None:
    text = table.read_text()
    table.write_text(text.replace("300002", "400002"))
    with pytest.raises(CorpusError, match=r"tabulatedVotes.csv:7: "):
        read_votes(table)
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    with pytest.raises(CorpusError, match="1001_DFA_ANG_XX has no row of votes on both"):
        read_votes(table)
    with pytest.raises(CorpusError, match="can't be read"):
        read_votes(table.with_name("absent.csv"))


def test_votes_become_labels_and_ties_none(table: Path) -> None:
    votes = read_votes(table)
    clips = [clip_of_stem(f"1001_DFA_{code}_XX") for code in ("ANG", "HAP", "SAD")]
    angry, happy, sad = add_votes(clips, votes, congruence_posterior(votes))
    assert (angry.labels.face, angry.labels.voice) == (Emotion.ANGRY, None)
    assert (happy.labels.face, happy.labels.voice) == (Emotion.HAPPY, Emotion.ANGRY)
    assert (happy.labels.both, happy.labels.intended) == (Emotion.HAPPY, Emotion.HAPPY)
    assert happy.labels.congruence is Outcome.CONFLICT
    assert sad == clips[2]


def test_top_votes() -> None:
    top, share, unique = top_votes(np.array([[1, 0, 3, 0, 0, 1], [2, 2, 0, 0, 0, 0]]))
    assert top.tolist() == [2, 0]
    assert share.tolist() == [0.6, 0.5]
    assert unique.tolist() == [True, False]


def test_clear_conflicts_need_sixty_percent_in_both() -> None:
    votes = make_votes(
        face=[[0, 0, 0, 3, 2, 0], [0, 0, 0, 3, 2, 0], [0, 0, 0, 0, 5, 0], [5, 0, 0, 0, 0, 0]],
        voice=[[3, 2, 0, 0, 0, 0], [2, 2, 1, 0, 0, 0], [5, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0]],
    )
    assert clear_conflicts(votes).tolist() == [True, False, True, False]
    assert clear_conflicts(votes, neutral=False).tolist() == [True, False, False, False]


rows = st.lists(st.integers(0, 8), min_size=2, max_size=2)


@settings(max_examples=60, deadline=None)
@given(first=rows, second=rows)
def test_exact_test_against_scipy(first: list[int], second: list[int]) -> None:
    if min(np.add(first, second)) == 0 or min(sum(first), sum(second)) == 0:
        assert freeman_halton(first, second) == pytest.approx(1.0)
        return
    expected = stats.fisher_exact([first, second]).pvalue
    assert freeman_halton(first, second) == pytest.approx(expected, rel=1e-6)


def test_exact_test_of_wider_tables_against_all_permutations() -> None:
    first, second = np.array([4, 1, 0, 2, 0, 1]), np.array([0, 3, 2, 1, 3, 0])
    pooled = np.repeat(np.arange(6), first + second)
    rng = np.random.default_rng(0)
    found = stats.multivariate_hypergeom.logpmf(first, first + second, first.sum())
    draws = rng.multivariate_hypergeometric(first + second, first.sum(), size=40_000)
    chances = stats.multivariate_hypergeom.logpmf(draws, first + second, first.sum())
    assert len(pooled) == 17
    expected = (chances <= found + 1e-7).mean()
    assert freeman_halton(first, second) == pytest.approx(expected, abs=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_against_scipy(p: list[float]) -> None:
    expected = stats.false_discovery_control(p, method="bh")
    np.testing.assert_allclose(benjamini_hochberg(p), expected, atol=1e-12)


def test_dirichlet_prior_is_found_again() -> None:
    rng = np.random.default_rng(1)
    alpha = np.array([0.3, 0.4, 0.2, 0.5, 1.2, 0.3])
    shares = rng.dirichlet(alpha, size=6000)
    counts = rng.multinomial(10, shares)
    np.testing.assert_allclose(fit_dirichlet(counts), alpha, rtol=0.1)
    with pytest.raises(CorpusError, match="no votes"):
        fit_dirichlet(np.zeros((3, 6), dtype=np.int64))


def test_posterior_tells_the_four_outcomes() -> None:
    votes = make_votes(
        face=[[12, 0, 0, 0, 0, 0]] * 2
        + [[0, 0, 0, 0, 12, 0], [2, 2, 2, 2, 2, 2], [3, 0, 0, 0, 0, 0]],
        voice=[[12, 0, 0, 0, 0, 0], [0, 0, 0, 12, 0, 0]] + [[12, 0, 0, 0, 0, 0]] * 3,
    )
    congruence = congruence_posterior(
        votes, face_prior=np.full(6, 0.2), voice_prior=np.full(6, 0.2)
    )
    assert congruence.outcomes() == (
        Outcome.MATCH,
        Outcome.CONFLICT,
        Outcome.FLAT,
        Outcome.FLAT,
        Outcome.INSUFFICIENT,
    )
    np.testing.assert_allclose(congruence.probs.sum(axis=1), 1)
    assert congruence.probs.min() >= 0
    again = congruence_posterior(votes, face_prior=np.full(6, 0.2), voice_prior=np.full(6, 0.2))
    np.testing.assert_array_equal(again.probs, congruence.probs)
    with pytest.raises(CorpusError, match="no posterior"):
        congruence_posterior(votes, clear_share=1.0)


def test_posterior_of_one_channel_against_the_beta_distribution() -> None:
    # With six equal columns' prior 1 and votes on one emotion only, the share of that emotion is
    # Beta(1 + n, 5); the voice is clear beyond doubt, so P(match) is P(share ≥ 0.6).
    votes = make_votes(face=[[6, 0, 0, 0, 0, 0]] * 1000, voice=[[100_000, 0, 0, 0, 0, 0]] * 1000)
    congruence = congruence_posterior(
        votes, face_prior=np.ones(6), voice_prior=np.ones(6), num_draws=20
    )
    assert congruence.probs[:, 0].mean() == pytest.approx(stats.beta(7, 5).sf(0.6), abs=0.015)


@pytest.mark.corpora
def test_published_votes(corpora_dir: Path, tmp_path: Path) -> None:
    root = corpus_root(corpora_dir, "cremad_votes", work=tmp_path)
    votes = read_votes(root / "processedResults" / "tabulatedVotes.csv")
    assert len(votes) == 7442
    assert clear_conflicts(votes).mean() == pytest.approx(0.136, abs=0.0005)
    assert int(clear_conflicts(votes, neutral=False).sum()) == 181
    assert significant_conflicts(votes).mean() == pytest.approx(0.220, abs=0.0005)
    assert (benjamini_hochberg(difference_p_values(votes)) <= 0.05).mean() == pytest.approx(
        0.253, abs=0.0005
    )
    face, _, _ = top_votes(votes.face)
    voice, _, _ = top_votes(votes.voice)
    happy = VOTE_EMOTIONS.index(Emotion.HAPPY)
    smiling = (face == happy) & np.isin(voice, [0, 1, 2, 5])
    conflict = congruence_posterior(votes, num_draws=200).probs[:, 1]
    assert conflict[smiling].mean() > 4 * conflict[(face != voice) & ~smiling].mean()
