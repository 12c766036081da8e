"""Do two rows of votes of CREMA-D differ by more than chance, and by how much? For all clips."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
from scipy import stats

from facevoice.corpora.cremad import CLEAR_SHARE, VOTE_EMOTIONS, Votes, top_votes
from facevoice.records import Emotion

NEUTRAL_VOTE = VOTE_EMOTIONS.index(Emotion.NEUTRAL)


def clear_conflicts(votes: Votes, neutral: bool = True) -> np.ndarray:
    """Clips (n,) where each channel is clear by itself, and they differ.

    With `neutral` False, those where a channel says neutral don't count: there one channel is flat.
    """
    face, face_share, _ = top_votes(votes.face)
    voice, voice_share, _ = top_votes(votes.voice)
    share = CLEAR_SHARE - 1e-9  # 3 of 5 votes are 60 %
    differ = (face != voice) & (face_share >= share) & (voice_share >= share)
    return differ & (neutral | ((face != NEUTRAL_VOTE) & (voice != NEUTRAL_VOTE)))


def significant_conflicts(
    votes: Votes, false_discovery_rate: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Clips (n,) whose votes on face and voice differ by more than chance; and in their winner.

    Exact test of each clip, Benjamini–Hochberg over all; each channel has one winner, not the same.
    """
    face, _, face_unique = top_votes(votes.face)
    voice, _, voice_unique = top_votes(votes.voice)
    p = [freeman_halton(f, v) for f, v in zip(votes.face, votes.voice, strict=True)]
    tested = stats.false_discovery_control(p, method="bh") <= false_discovery_rate
    return tested, tested & face_unique & voice_unique & (face != voice)


def freeman_halton(first: np.ndarray, second: np.ndarray) -> float:
    """p of Fisher's exact test on the 2 × k table of two rows of counts (k,).

    With the margins fixed, p is the sum over all tables that are no likelier than the one found.
    Freeman & Halton (1951), Biometrika 38. scipy has it for 2 × 2 tables only.
    """
    columns = sorted((int(a), int(b)) for a, b in zip(first, second, strict=True) if a + b)
    return _exact_p(tuple(columns))  # sorted, many clips share one table


@lru_cache(maxsize=65_536)
def _exact_p(columns: tuple[tuple[int, int], ...]) -> float:
    totals, num_first = [a + b for a, b in columns], sum(a for a, _ in columns)
    if len(columns) < 2:
        return 1.0
    tables = np.array([t for t in product(*(range(n + 1) for n in totals)) if sum(t) == num_first])
    logs = stats.multivariate_hypergeom.logpmf(tables, totals, num_first)
    found = stats.multivariate_hypergeom.logpmf([a for a, _ in columns], totals, num_first)
    return min(1.0, float(np.exp(logs[logs <= found + 1e-7]).sum()))
