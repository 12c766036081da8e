"""Do two rows of votes differ by more than chance? Exactly, and over many clips at once."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from facevoice.corpora.manifest import Clip, Labels
from facevoice.errors import CorpusError
from facevoice.records import BoolArray, DoubleArray, Emotion, Outcome

IntArray = npt.NDArray[np.int64]


def freeman_halton(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """p of Fisher's exact test on the 2 × k table of two rows of counts (k,).

    With the margins fixed, p is the sum over all tables that are no likelier than the one found.
    Freeman & Halton (1951), Biometrika 38. Meant for small tables (some tens of votes): all are
    enumerated.
    """
    rows = zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True)
    # The order of columns is without meaning: sorted, many clips share one table.
    return _exact_p(tuple(sorted((int(a), int(b)) for a, b in rows if a + b)))


def benjamini_hochberg(p_values: npt.ArrayLike) -> DoubleArray:
    """Adjusted p-values (n,): p ≤ q keeps the false discovery rate at q.

    q_(i) = min_{j ≥ i} n p_(j) / j over the sorted p. Benjamini & Hochberg (1995).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    steps = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1]
    return np.minimum(adjusted, 1.0)


@lru_cache(maxsize=65_536)
def _exact_p(columns: tuple[tuple[int, int], ...]) -> float:
    """Freeman–Halton p of a 2 × k table, given by its non-empty columns."""
    if len(columns) < 2:
        return 1.0
    table = np.array(columns, dtype=np.int64)
    totals, num_first = table.sum(axis=1), int(table[:, 0].sum())
    tables = _tables(totals, num_first)
    log_factorial = np.array([math.lgamma(k + 1) for k in range(int(totals.max()) + 1)])
    # ln Π C(total, first); the constant of the margins cancels in the ratio below.
    weights = (log_factorial[totals] - log_factorial[tables] - log_factorial[totals - tables]).sum(
        axis=1
    )
    found = (log_factorial[totals] - log_factorial[table[:, 0]] - log_factorial[table[:, 1]]).sum()
    probs = np.exp(weights - weights.max())
    return float(probs[weights <= found + 1e-7].sum() / probs.sum())


def _tables(totals: IntArray, num_first: int) -> IntArray:
    """All first rows (m, k) with the given sum and no entry above its column's total."""
    rows = np.zeros((1, 0), dtype=np.int64)
    room = np.cumsum(totals[::-1])[::-1]
    for place, total in enumerate(totals):
        entries = np.arange(total + 1)
        rows = np.concatenate(
            [np.repeat(rows, len(entries), axis=0), np.tile(entries, len(rows))[:, None]], axis=1
        )
        left = num_first - rows.sum(axis=1)
        after = int(room[place + 1]) if place + 1 < len(totals) else 0
        rows = rows[(left >= 0) & (left <= after)]
    return rows


# CREMA-D's votes: what people saw in the silent face and heard in the voice alone.
#
# From the two rows of votes a clip has, how likely is it that face and voice match, conflict, or that
# one of them says nothing clear? And do the two rows differ by more than chance?


VOTE_LETTERS: Final[dict[str, Emotion]] = {
    "A": Emotion.ANGRY,
    "D": Emotion.DISGUST,
    "F": Emotion.FEARFUL,
    "H": Emotion.HAPPY,
    "N": Emotion.NEUTRAL,
    "S": Emotion.SAD,
}
VOTE_EMOTIONS: Final[tuple[Emotion, ...]] = tuple(VOTE_LETTERS.values())
"""Order of the columns of all counts here."""

CLEAR_SHARE: Final = 0.6
"""A channel is clear if this share of people agree on it."""
_MAX_ITERATIONS: Final = 2000
_SMALLEST_ALPHA: Final = 1e-3
_NEUTRAL: Final = VOTE_EMOTIONS.index(Emotion.NEUTRAL)
_CHANNELS: Final[dict[int, str]] = {1: "voice", 2: "face", 3: "both"}
_OUTCOMES: Final = (Outcome.MATCH, Outcome.CONFLICT, Outcome.FLAT, Outcome.INSUFFICIENT)


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Counts of votes, each (n, 6) in the order of VOTE_EMOTIONS, of clips `stems` (n,)."""

    stems: tuple[str, ...]
    face: IntArray
    voice: IntArray
    both: IntArray

    def __post_init__(self) -> None:
        shape = (len(self.stems), len(VOTE_EMOTIONS))
        if not self.face.shape == self.voice.shape == self.both.shape == shape:
            raise CorpusError(f"votes: every channel must have counts of shape {shape}")

    def __len__(self) -> int:
        return len(self.stems)


def read_votes(table: Path) -> Votes:
    """Read tabulatedVotes.csv; clips in order of their names.

    Raises:
        CorpusError: the file is absent or damaged, or a clip lacks a channel; names the line.
    """
    counts: dict[str, dict[str, list[int]]] = {name: {} for name in _CHANNELS.values()}
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            for row in rows:
                # "100002",0,0,0,3,6,0,"1001_IEO_HAP_LO",9,…: 1 voice, 2 face, 3 both; A D F H N S
                try:
                    channel = _CHANNELS[int(row[""]) // 100_000]
                    votes = [int(row[letter]) for letter in VOTE_LETTERS]
                    counts[channel][row["fileName"]] = votes
                except (KeyError, TypeError, ValueError) as error:
                    raise CorpusError(
                        f"{table}:{rows.line_num}: expected a row number from 100001, counts A D F "
                        f"H N S and fileName, got {row}"
                    ) from error
    except OSError as error:
        raise CorpusError(f"{table}: can't be read ({error.strerror})") from error
    stems = sorted(set().union(*counts.values()))
    for channel, known in counts.items():
        missing = [stem for stem in stems if stem not in known]
        if missing:
            raise CorpusError(f"{table}: clip {missing[0]} has no row of votes on {channel}")
    arrays = {
        channel: np.array([known[stem] for stem in stems], dtype=np.int64).reshape(-1, 6)
        for channel, known in counts.items()
    }
    return Votes(tuple(stems), **arrays)


def top_votes(counts: IntArray) -> tuple[IntArray, DoubleArray, BoolArray]:
    """The most frequent emotion (n,), its share (n,), and whether it is the only one (n,)."""
    totals = np.maximum(counts.sum(axis=1), 1)
    best = counts.max(axis=1)
    unique = (counts == best[:, None]).sum(axis=1) == 1
    return counts.argmax(axis=1).astype(np.int64), best / totals, unique


def clear_conflicts(
    votes: Votes, clear_share: float = CLEAR_SHARE, neutral: bool = True
) -> BoolArray:
    """Clips (n,) where each channel is clear by itself, and they differ.

    With `neutral` False, those where a channel says neutral don't count: there one channel is flat.
    """
    face, face_share, _ = top_votes(votes.face)
    voice, voice_share, _ = top_votes(votes.voice)
    share = clear_share - 1e-9  # 3 of 5 votes are 60 %
    differ = (face != voice) & (face_share >= share) & (voice_share >= share)
    allowed = neutral | ((face != _NEUTRAL) & (voice != _NEUTRAL))
    return np.asarray(differ & allowed, dtype=np.bool_)


def significant_conflicts(votes: Votes, false_discovery_rate: float = 0.05) -> BoolArray:
    """Clips (n,) whose face and voice votes differ by more than chance, and in their winner.

    Exact test of each clip, Benjamini–Hochberg over all; each channel has one winner, not the same.
    """
    face, _, face_unique = top_votes(votes.face)
    voice, _, voice_unique = top_votes(votes.voice)
    significant = benjamini_hochberg(difference_p_values(votes)) <= false_discovery_rate
    return np.asarray(significant & face_unique & voice_unique & (face != voice), dtype=np.bool_)


def difference_p_values(votes: Votes) -> DoubleArray:
    """Whether a clip's face and voice votes come from one distribution: exact p, (n,).

    See `freeman_halton`.
    """
    p = [freeman_halton(f, v) for f, v in zip(votes.face, votes.voice, strict=True)]
    return np.array(p, dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class PerceivedCongruence:
    """Posterior (n, 4) over match, conflict, flat, insufficient, in this order, of each clip."""

    stems: tuple[str, ...]
    probs: DoubleArray

    def outcomes(self) -> tuple[Outcome, ...]:
        """The likeliest outcome of each clip."""
        return tuple(_OUTCOMES[index] for index in self.probs.argmax(axis=1))


def fit_dirichlet(counts: IntArray) -> DoubleArray:
    """The Dirichlet prior (6,) under which the votes (n, 6) of all clips are likeliest.

    Fixed point α_k ← α_k Σ_i [ψ(n_ik + α_k) − ψ(α_k)] / Σ_i [ψ(n_i + α) − ψ(α)], α = Σ α_k. Minka
    (2000), Estimating a Dirichlet distribution. For whole numbers the brackets are finite sums:
    ψ(n + a) − ψ(a) = Σ_{j < n} 1 / (a + j).

    Raises:
        CorpusError: there are no votes.
    """
    if counts.size == 0 or counts.sum() == 0:
        raise CorpusError("no votes to fit a prior to")
    steps = np.arange(int(counts.sum(axis=1).max()))
    exceed = (counts[:, :, None] > steps).sum(axis=0)  # (6, steps): clips with more votes than j
    exceed_all = (counts.sum(axis=1)[:, None] > steps).sum(axis=0)
    alpha = np.full(counts.shape[1], 0.5)
    for _ in range(_MAX_ITERATIONS):
        gain = (exceed / (alpha[:, None] + steps)).sum(axis=1)
        loss = (exceed_all / (alpha.sum() + steps)).sum()
        # An emotion that nobody ever chose would vanish; keep it possible.
        renewed = np.maximum(alpha * gain / loss, _SMALLEST_ALPHA)
        if np.abs(renewed - alpha).max() < 1e-6:
            break
        alpha = renewed
    return np.asarray(renewed, dtype=np.float64)


def congruence_posterior(
    votes: Votes,
    *,
    face_prior: npt.ArrayLike | None = None,
    voice_prior: npt.ArrayLike | None = None,
    clear_share: float = CLEAR_SHARE,
    min_votes: int = 4,
    num_draws: int = 500,
    seed: int = 0,
) -> PerceivedCongruence:
    """What all people would say, given what some said: Dirichlet–multinomial in each channel.

    The shares θ of a channel have a Dirichlet(prior) before and Dirichlet(prior + votes) after the
    votes; priors (6,) are fitted to all clips where none are given. In each draw of θ_face and
    θ_voice a channel is clear if its largest share reaches `clear_share` and is not neutral; both
    clear and equal is a match, both clear and different a conflict, else one is flat. A clip with
    fewer than `min_votes` in a channel is insufficient. Gelman et al. (2013), Bayesian data
    analysis, §3.4 and §5.

    Raises:
        CorpusError: a setting is out of range, or there are no votes.
    """
    if not (0 < clear_share < 1 and num_draws > 0):
        raise CorpusError(f"clear_share {clear_share}, {num_draws} draws: no posterior")
    rng = np.random.default_rng(seed)
    weights = [
        counts + (fit_dirichlet(counts) if prior is None else np.asarray(prior, dtype=np.float64))
        for counts, prior in ((votes.face, face_prior), (votes.voice, voice_prior))
    ]
    probs = np.zeros((len(votes), len(_OUTCOMES)))
    for _ in range(num_draws):
        (face, face_clear), (voice, voice_clear) = (_draw(rng, w, clear_share) for w in weights)
        clear = face_clear & voice_clear
        probs[:, 0] += clear & (face == voice)
        probs[:, 1] += clear & (face != voice)
    probs /= num_draws
    probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]
    few = np.minimum(votes.face.sum(axis=1), votes.voice.sum(axis=1)) < min_votes
    probs[few] = [0.0, 0.0, 0.0, 1.0]
    return PerceivedCongruence(votes.stems, probs)


def add_votes(
    clips: Iterable[Clip], votes: Votes, congruence: PerceivedCongruence | None = None
) -> tuple[Clip, ...]:
    """Clips of CREMA-D with the emotions that people saw, heard, and perceived in both.

    A tie between two emotions gives no label. Clips without votes come back as they were.
    """
    outcomes = None if congruence is None else congruence.outcomes()
    place_of = {stem: place for place, stem in enumerate(votes.stems)}
    named = [_winners(counts) for counts in (votes.face, votes.voice, votes.both)]
    voted: list[Clip] = []
    for clip in clips:
        place = place_of.get(clip.clip_id.removeprefix("cremad/"))
        if place is None:
            voted.append(clip)
            continue
        face, voice, both = (winners[place] for winners in named)
        outcome = clip.labels.congruence if outcomes is None else outcomes[place]
        labels = Labels(clip.labels.intended, face, voice, outcome, both)
        voted.append(replace(clip, labels=labels))
    return tuple(voted)


def _winners(counts: IntArray) -> list[Emotion | None]:
    top, _, unique = top_votes(counts)
    return [VOTE_EMOTIONS[index] if only else None for index, only in zip(top, unique, strict=True)]


def _draw(
    rng: np.random.Generator, weights: DoubleArray, clear_share: float
) -> tuple[IntArray, BoolArray]:
    """One draw of each clip's shares: its top emotion (n,), and whether that is clear (n,)."""
    gammas = rng.standard_gamma(weights)
    top = gammas.argmax(axis=1).astype(np.int64)
    clear = gammas.max(axis=1) >= clear_share * gammas.sum(axis=1)
    return top, np.asarray(clear & (top != _NEUTRAL))
