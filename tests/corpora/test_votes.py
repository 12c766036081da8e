"""Perceived emotion and congruence from CREMA-D's votes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.cremad import (
    CONGRUENCE,
    VOTES_TABLE,
    Votes,
    add_votes,
    clip_of_stem,
    congruence_posterior,
    fit_dirichlet,
    read_votes,
)
from facevoice.errors import CorpusError
from facevoice.records import Emotion, Outcome

HEADER = '"","A","D","F","H","N","S","fileName","numResponses"\n'
FLAT = (np.full(6, 0.2), np.full(6, 0.2))


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


def test_votes_become_labels_and_ties_none(table: Path) -> None:
    votes = read_votes(table)
    assert votes.stems == ("1001_DFA_ANG_XX", "1001_DFA_HAP_XX")
    assert votes.both.tolist() == [[9, 0, 0, 0, 0, 0], [0, 0, 0, 6, 3, 0]]
    outcomes = [CONGRUENCE[k] for k in congruence_posterior(votes).argmax(axis=1)]
    clips = [clip_of_stem(f"1001_DFA_{code}_XX") for code in ("ANG", "HAP", "SAD")]
    angry, happy, sad = add_votes(clips, votes, outcomes)  # type: ignore[arg-type]
    assert (angry.labels.face, angry.labels.voice) == (Emotion.ANGRY, None)
    assert (happy.labels.face, happy.labels.voice) == (Emotion.HAPPY, Emotion.ANGRY)
    assert (happy.labels.both, happy.labels.intended) == (Emotion.HAPPY, Emotion.HAPPY)
    assert happy.labels.congruence is Outcome.CONFLICT
    assert add_votes([happy], votes)[0].labels.congruence is Outcome.CONFLICT
    assert sad == clips[2]


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


def test_dirichlet_prior_is_found_again() -> None:
    rng = np.random.default_rng(1)
    alpha = np.array([0.3, 0.4, 0.2, 0.5, 1.2, 0.3])
    counts = rng.multinomial(10, rng.dirichlet(alpha, size=6000))
    np.testing.assert_allclose(fit_dirichlet(counts), alpha, rtol=0.1)
    with pytest.raises(CorpusError, match="no votes"):
        fit_dirichlet(np.zeros((3, 6), dtype=np.int64))


def test_posterior_tells_the_four_outcomes() -> None:
    votes = make_votes(
        face=[[12, 0, 0, 0, 0, 0]] * 2
        + [[0, 0, 0, 0, 12, 0], [2, 2, 2, 2, 2, 2], [3, 0, 0, 0, 0, 0]],
        voice=[[12, 0, 0, 0, 0, 0], [0, 0, 0, 12, 0, 0]] + [[12, 0, 0, 0, 0, 0]] * 3,
    )
    probs = congruence_posterior(votes, priors=FLAT)
    assert probs.argmax(axis=1).tolist() == [0, 1, 2, 2, 3]
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert probs.min() >= 0
    np.testing.assert_array_equal(congruence_posterior(votes, priors=FLAT), probs)


def test_posterior_of_one_channel_against_the_beta_distribution() -> None:
    # With six equal columns' prior 1 and votes on one emotion only, the share of that emotion is
    # Beta(1 + n, 5); the voice is clear beyond doubt, so P(match) is P(share ≥ 0.6).
    votes = make_votes(face=[[6, 0, 0, 0, 0, 0]] * 1000, voice=[[100_000, 0, 0, 0, 0, 0]] * 1000)
    probs = congruence_posterior(votes, priors=(np.ones(6), np.ones(6)), num_draws=20)
    assert probs[:, 0].mean() == pytest.approx(stats.beta(7, 5).sf(0.6), abs=0.015)


@pytest.mark.corpora
def test_published_votes(corpora_dir: Path, tmp_path: Path) -> None:
    votes = read_votes(corpus_root(corpora_dir, "cremad_votes", work=tmp_path) / VOTES_TABLE)
    assert len(votes) == 7442
    assert np.bincount(congruence_posterior(votes).argmax(axis=1)).tolist() == [397, 30, 7015]
