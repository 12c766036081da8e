"""What is heard beside a voice, on corpora left out: how often it is told, and what it is worth.

    python -m benchmarks.heard --corpora CORPORA --work WORK

Windows are those of `recipes.heard` in WORK. Models, limits and doubt are fitted to the other
corpora each time; the voice's heads too. First table: share of windows that get each reason; noise
by how far it is below the speech. Second: the same of all clips of each corpus as they are, and of
copies spoilt by rooms, codecs, telephones and noise (`recipes.voice_augment`). Third: the voice on
mixed windows before and after it counts for less: mean recall, calibration error (15 bins), mean
log loss, among the emotions that the corpus has.
"""

from __future__ import annotations

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import read_data
from recipes.crossfit import make_channels
from recipes.fitting import restrict
from recipes.heard import (
    ALONE,
    CLEAR_DB,
    TURNS,
    Beside,
    find_limits,
    fit,
    fit_doubt,
    left_out_odds,
    make_windows,
)
from recipes.heard_mixes import NOISES, OVERLAP
from recipes.voice_data import emotions_of
from sklearn.metrics import recall_score

from facevoice.evaluation.metrics import ece, reliability
from facevoice.people.heard import Hearing, soften
from facevoice.records import DoubleArray

LEVELS_DB = ((-3, 3), (3, 8), (8, 14), (14, 20))


def told(beside: Beside, odds: DoubleArray) -> None:
    """The first table; odds (n, 2) over the limits."""
    print(
        "| beside | windows | overlaps | noisy | " + " | ".join(f"{a}–{b} dB" for a, b in LEVELS_DB)
    )
    print("|---|---|---|---|" + "---|" * len(LEVELS_DB))
    for kind in (ALONE, TURNS, OVERLAP, *NOISES):
        rows = beside.kinds == kind
        hits = 100 * (odds[rows] > 0).mean(axis=0)
        below_db = beside.below_db
        parts = [odds[rows & (below_db >= a) & (below_db < b), 1] > 0 for a, b in LEVELS_DB]
        cells = [f"{100 * p.mean():.0f} %" if kind in NOISES and p.size else "" for p in parts]
        print(
            f"| {kind} | {rows.sum()} | {hits[0]:.0f} % | {hits[1]:.0f} % | {' | '.join(cells)} |"
        )


def main() -> None:
    parser = corpora_parser(__doc__)
    arguments = parse_with_corpora(parser)
    beside = make_windows(arguments.corpora, arguments.work, 20)
    raw = left_out_odds(beside)
    corpora = sorted(set(beside.corpora.tolist()))
    odds = np.empty_like(raw)
    for corpus in corpora:
        own = beside.corpora == corpus
        # The limits of the corpora that are not judged.
        odds[own] = raw[own] - find_limits(raw[~own], beside.where(~own))
    told(beside, odds)

    data = read_data(arguments.corpora, arguments.work, 1)
    _, voices = make_channels(data, arguments.work)
    print("\n| corpus | clips as they are: overlaps | noisy | spoilt: overlaps | noisy |")
    print("|---|---|---|---|---|")
    said = np.empty((len(beside.kinds), 8))
    for corpus in corpora:
        own = beside.corpora == corpus
        weight, bias = fit(beside, ~own)
        limits = find_limits(raw[~own], beside.where(~own))
        hearing = Hearing(weight, bias, limits, np.zeros(2))
        shares = [
            f"{100 * share:.1f} %"
            for samples in (data.voices, data.spoilt)
            for share in (hearing(samples.embeddings[samples.corpora == corpus]) > 0).mean(axis=0)
        ]
        print(f"| {corpus} | {' | '.join(shares)} |", flush=True)
        head = voices.sure_head(voices.speakers_of(corpus))
        said[own] = head(beside.embeddings[own])[0]

    softened = np.empty_like(said)
    emotions = np.array([emotions_of(corpus) for corpus in beside.corpora])
    one = beside.kinds != TURNS
    for corpus in corpora:
        own = beside.corpora == corpus
        rest = ~own & one
        doubt = fit_doubt(said[rest], odds[rest], beside.labels[rest], emotions[rest])
        hearing = Hearing(np.zeros((1, 2)), np.zeros(2), np.zeros(2), doubt)
        temperatures = hearing.temperatures(odds[own])
        softened[own] = [soften(p, t) for p, t in zip(said[own], temperatures, strict=True)]
    doubt = fit_doubt(said[one], odds[one], beside.labels[one], emotions[one])
    print(f"\ndoubt, by all: {doubt.round(2)}\n")
    print("| beside | windows | mean recall | ECE before | after | log loss before | after |")
    print("|---|---|---|---|---|---|---|")
    noisy = np.isin(beside.kinds, NOISES)
    groups = {
        "nothing": np.isin(beside.kinds, (ALONE,)),
        "overlap, 0–6 dB": beside.kinds == OVERLAP,
        f"noise below {CLEAR_DB:.0f} dB": noisy & (beside.below_db < CLEAR_DB),
        f"noise from {CLEAR_DB:.0f} dB on": noisy & (beside.below_db >= CLEAR_DB),
    }
    for name, rows in groups.items():
        labels, cells = beside.labels[rows], []
        before, after = (restrict(p[rows], emotions[rows]) for p in (said, softened))
        recall = recall_score(labels, before.argmax(axis=1), average="macro")
        for measure in (_ece, _log_loss):
            cells += [f"{measure(p, labels):.2f}" for p in (before, after)]
        print(f"| {name} | {rows.sum()} | {100 * recall:.0f} % | {' | '.join(cells)} |")


def _ece(probs: DoubleArray, labels: np.ndarray) -> float:
    return ece(reliability(probs.max(axis=1), probs.argmax(axis=1) == labels))


def _log_loss(probs: DoubleArray, labels: np.ndarray) -> float:
    return float(-np.log(probs[np.arange(len(labels)), labels] + 1e-9).mean())


if __name__ == "__main__":
    main()
