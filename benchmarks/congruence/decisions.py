"""What calls of match and conflict are worth: how much is decided, and how often it is right.

    python -m benchmarks.congruence.decisions --corpora CORPORA --work WORK

Pairs of the javanese films, matches re-paired like conflicts. A speaker's pairs are scored by what
was fitted without this speaker (`recipes.crossfit`); thresholds are measured on faces and voices of
others (`recipes.decisions`): what is left of a speaker in them is that those heads had met this
one. Nothing is known of a person; then all other films and takes are. Pairs are decided by
`choose_outcome`, as users' windows are. All shares are at equal numbers of conflicts and matches;
intervals: 95 %, bootstrap over speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import make_all_pairs, read_data
from recipes.crossfit import (
    Family,
    clip_posteriors,
    everything,
    make_channels,
    nobody,
    pair_posteriors,
)
from recipes.decisions import Strangers, measure

from facevoice.corpora.pairs import Pair, PairBin
from facevoice.evaluation.bootstrap import (
    Figure,
    Measure,
    Refused,
    Statistic,
    auroc_measure,
    figure,
)
from facevoice.evaluation.metrics import IntArray
from facevoice.interpret import choose_outcome, find_point
from facevoice.models.heads import Posteriors
from facevoice.records import BoolArray, DecisionCurve, DoubleArray, Outcome
from facevoice.settings import SENSITIVITIES, DecisionConfig

CURVE_PRECISIONS: Final = tuple(round(0.52 + 0.02 * k, 2) for k in range(24))


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """Pairs (n,) and what was called: whose, whether conflicts, of opposite valence, outcomes."""

    speakers: tuple[str, ...]
    is_conflict: BoolArray
    is_opposite: BoolArray
    outcomes: np.ndarray

    def of(self, *outcomes: Outcome) -> BoolArray:
        """Which pairs came to one of these."""
        return np.isin(self.outcomes, [outcome.value for outcome in outcomes])


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Pairs, what was said of each, and the curve that holds for each speaker."""

    pairs: tuple[Pair, ...]
    said: tuple[Posteriors, ...]
    curves: Mapping[str, DecisionCurve]


def score(family: Family, *, known: bool) -> Scored:
    """Each speaker's pairs by what was fitted to the others."""
    strangers = Strangers.of(family.faces, family.voices)
    scored: list[tuple[Pair, Posteriors]] = []
    curves: dict[str, DecisionCurve] = {}
    for speaker in family.speakers:
        judge = family.judge(speaker)
        own = [pair for pair in family.pairs if pair.speaker == speaker]
        face, voice = (
            clip_posteriors(channel, head, speaker, everything(channel) if known else nobody)
            for channel, head in ((family.faces, judge.face), (family.voices, judge.voice))
        )
        f, v = pair_posteriors(own, face, voice)
        probs = judge.joint.conflict(f, v).tolist()
        said = [Posteriors(*row, None, p) for *row, p in zip(f, v, probs, strict=True)]
        scored += zip(own, said, strict=True)
        curves[speaker] = measure(strangers.without(speaker), judge.joint.conflict)
    kept, told = zip(*scored, strict=True)
    return Scored(kept, told, curves)


def decide(scored: Scored, sensitivity: str | float) -> Decided:
    """Decide each pair at the thresholds of its speaker's curve."""
    pairs = scored.pairs
    config = DecisionConfig(sensitivity=sensitivity)
    points = {speaker: find_point(curve, config) for speaker, curve in scored.curves.items()}
    outcomes = [
        choose_outcome(said, points[pair.speaker])[0].value
        for pair, said in zip(pairs, scored.said, strict=True)
    ]
    return Decided(
        tuple(pair.speaker for pair in pairs),
        np.array([pair.is_conflict for pair in pairs]),
        np.array([pair.bin is PairBin.OPPOSITE_VALENCE for pair in pairs]),
        np.array(outcomes),
    )


def share_measure(part: BoolArray, whole: BoolArray, is_conflict: BoolArray) -> Measure:
    """Share of `part` in `whole`, conflicts and matches weighing alike whatever their number."""

    def measure(index: IntArray, size: int) -> Statistic:
        def sums(rows: BoolArray) -> DoubleArray:
            return np.bincount(index[rows], minlength=size).astype(np.float64)

        counts = [sums(is_conflict == kind) for kind in (True, False)]
        above = [sums(part & (is_conflict == kind)) for kind in (True, False)]
        below = [sums(whole & (is_conflict == kind)) for kind in (True, False)]

        def statistic(weights: DoubleArray) -> DoubleArray:
            numbers = [np.maximum(weights @ each, 1e-9) for each in counts]
            top = sum(weights @ a / n for a, n in zip(above, numbers, strict=True))
            bottom = sum(weights @ b / n for b, n in zip(below, numbers, strict=True))
            return np.where(bottom > 0, top / np.maximum(bottom, 1e-9), np.nan)

        return statistic

    return measure


def figures(decided: Decided, num_resamples: int = 2000) -> dict[str, Figure | Refused]:
    """Share decided, precision, recall of conflicts; see the names."""
    conflict, opposite = decided.is_conflict, decided.is_opposite
    everything = np.ones(len(conflict), dtype=np.bool_)
    called = decided.of(Outcome.CONFLICT)
    settled = decided.of(Outcome.CONFLICT, Outcome.MATCH)
    wanted = {
        "decided": (settled, everything),
        "precision": (settled & (called == conflict), settled),
        "precision of conflicts": (called & conflict, called),
        "precision of matches": (settled & ~called & ~conflict, settled & ~called),
        "conflicts found": (called & conflict, conflict),
        "opposite valence found": (called & opposite, opposite),
        "undecided": (decided.of(Outcome.UNDECIDED), everything),
        "flat": (decided.of(Outcome.FLAT), everything),
    }
    return {
        name: figure(share_measure(part, whole, conflict), decided.speakers, num_resamples)
        for name, (part, whole) in wanted.items()
    }


def markdown(scored: Scored) -> str:
    """The table of the three sensitivities, and the risk–coverage curve, as Markdown."""
    found = {level: figures(decide(scored, level)) for level in SENSITIVITIES}
    names = list(next(iter(found.values())))
    lines = [f"| in % | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    lines += [
        f"| {name} | " + " | ".join(_words(found[level][name]) for level in found) + " |"
        for name in names
    ]
    lines += ["", "| wanted precision | decided | precision |", "|---|---|---|"]
    for precision in CURVE_PRECISIONS:
        row = figures(decide(scored, precision))
        lines.append(f"| {precision} | {_words(row['decided'])} | {_words(row['precision'])} |")
    return "\n".join(lines)


def _words(value: Figure | Refused) -> str:
    if isinstance(value, Refused) or np.isnan(value.value):
        return "–"
    told = f"{100 * value.value:.1f}"
    if value.low is None or value.high is None:
        return told
    return f"{told} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parse_with_corpora(parser)
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    family = Family(*make_channels(data, arguments.work), make_all_pairs(data)[0])
    for known in (False, True):
        scored = score(family, known=known)
        truth = np.array([pair.is_conflict for pair in scored.pairs])
        ranked = [said.conflict for said in scored.said]
        speakers = [pair.speaker for pair in scored.pairs]
        print("\nAll other clips of the person known" if known else "Nothing known", end=": ")
        print(f"{len(truth)} pairs, {truth.sum()} of them conflicts", end="; ")
        print(f"AUROC {_words(figure(auroc_measure(truth, ranked), speakers, 2000))}\n")
        print(markdown(scored), flush=True)


if __name__ == "__main__":
    main()
