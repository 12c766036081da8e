"""The voice on corpora left out whole, and on left-out speakers of corpora that it learnt from.

    python -m benchmarks.unheard --corpora CORPORA --work WORK [--out FILE]

First table: heads fitted to the other four corpora, as sure as each of these, left out in turn
too, lets them be. One clip at a time; then with the setting known (all other clips of the corpus,
whoever speaks); then with the person known (all other clips of the speaker as well). Second table:
six folds of speakers of all corpora at once, one clip at a time. Windows of a clip are averaged;
emotions among those that the corpus has; mean recall in %; ECE over emotions, 15 bins; "largest":
the most frequent answer's share if all emotions were as frequent; "unfamiliar": share of clips that
a report would call so; intervals: 95 %, bootstrap over speakers. Of ASED only sentences 1 and 2 are
said in all emotions: scored by themselves too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import CompactData, read_data
from recipes.crossfit import Channel, Knowing, KnownRows, make_channels, mean_by_clip, nobody
from recipes.fitting import Acquaintances, restrict
from recipes.voice_data import ARCHIVES, NUM_FOLDS, fold_of
from sklearn.metrics import roc_auc_score

from facevoice.evaluation.bootstrap import interval, uar_measure
from facevoice.evaluation.metrics import ece, reliability
from facevoice.models.heads import ChannelHead
from facevoice.records import DoubleArray

SENTENCES = {"ased": ("01", "02")}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What is said of clips of one corpus: probabilities (n, 8) among its emotions, and what is."""

    probs: DoubleArray
    labels: np.ndarray
    speakers: np.ndarray
    unfamiliarity: np.ndarray

    def where(self, keep: np.ndarray) -> Answers:
        return Answers(
            self.probs[keep], self.labels[keep], self.speakers[keep], self.unfamiliarity[keep]
        )

    def words(self) -> str:
        """Mean recall with its interval, ECE, the largest answer's share, the unfamiliar share."""
        guesses = self.probs.argmax(axis=1)
        found = interval(uar_measure(self.labels, guesses), self.speakers, num_resamples=1000)
        error = ece(reliability(self.probs.max(axis=1), guesses == self.labels))
        shares = np.array([1 / (self.labels == k).sum() for k in self.labels])
        largest = max(shares[guesses == k].sum() for k in np.unique(guesses)) / shares.sum()
        return (
            f"{100 * found.estimate:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] | "
            f"{error:.3f} | {100 * largest:.0f} | {100 * (self.unfamiliarity > 1).mean():.1f}"
        )


def answer(
    channel: Channel, head: ChannelHead, rows: np.ndarray, knowing: Knowing = nobody
) -> Answers:
    """What a head says of the clips in `rows`, all of one corpus."""
    samples = channel.samples
    probs, far = channel.judged(head, rows, knowing)
    clips, first = np.unique(samples.clips[rows], return_index=True)
    told = mean_by_clip(samples.clips[rows], probs)
    unfamiliar = mean_by_clip_values(samples.clips[rows], far)
    return Answers(
        restrict(np.array([told[str(clip)] for clip in clips]), samples.emotions[rows[:1]]),
        samples.labels[rows][first],
        samples.speakers[rows][first],
        np.array([unfamiliar[str(clip)] for clip in clips]),
    )


def mean_by_clip_values(clips: np.ndarray, values: np.ndarray) -> dict[str, float]:
    names, inverse = np.unique(clips, return_inverse=True)
    means = np.bincount(inverse, values) / np.bincount(inverse)
    return dict(zip([str(name) for name in names], means.tolist(), strict=True))


def unheard_rows(voices: Channel, alone: dict[str, Answers]) -> Iterator[str]:
    """The first table; `alone` takes what is said of each corpus while nothing is known."""
    yield "| corpus | known | mean recall | ECE | largest | unfamiliar |\n|---|---|---|---|---|---|"
    samples = voices.samples
    for corpus in ARCHIVES:
        head = voices.sure_head(voices.speakers_of(corpus))
        rows = np.flatnonzero(samples.corpora == corpus)
        for name, knowing in knowings(voices).items():
            told = answer(voices, head, rows, knowing)
            yield f"| {corpus} | {name} | {told.words()} |"
            if corpus in SENTENCES:
                part = told.where(complete(samples.clips[rows], corpus))
                yield f"| {corpus}, sentences 1, 2 | {name} | {part.words()} |"
            if name == "nothing":
                alone[corpus] = told


def complete(clips: np.ndarray, corpus: str) -> np.ndarray:
    """Which clips, in order of their names, are of a sentence that is said in all emotions."""
    return np.array([str(c).split("-")[1] in SENTENCES[corpus] for c in np.unique(clips)])


def familiarity_rows(heard: Sequence[Answers], unheard: Sequence[Answers]) -> Iterator[str]:
    """Whether unfamiliarity tells of left-out corpora, and of errors."""
    one, other = joined(heard), joined(unheard)
    both = joined([one, other])
    is_out = np.repeat([False, True], [len(one.labels), len(other.labels)])
    told = roc_auc_score(is_out, both.unfamiliarity)
    yield f"left-out corpora told from left-out speakers by unfamiliarity: AUROC {told:.3f}"
    for name, answers in (("left-out corpora", other), ("left-out speakers and corpora", both)):
        wrong = answers.probs.argmax(axis=1) != answers.labels
        by_far = roc_auc_score(wrong, answers.unfamiliarity)
        by_doubt = roc_auc_score(wrong, -answers.probs.max(axis=1))
        yield (
            f"{name}: AUROC for errors {by_far:.3f} by unfamiliarity, {by_doubt:.3f} by the top "
            "probability"
        )


def knowings(channel: Channel) -> dict[str, Knowing]:
    known = Acquaintances(channel.samples)
    nothing = np.zeros(0, dtype=np.int64)

    def person(row: int) -> KnownRows:
        return known.of_person(row), known.of_setting(row)

    def setting(row: int) -> KnownRows:
        return nothing, known.of_setting(row)

    return {"nothing": nobody, "the setting": setting, "the person": person}


def fold_rows(data: CompactData, voices: Channel, alone: dict[str, Answers]) -> Iterator[str]:
    """The second table; `alone` takes what is said of each corpus."""
    yield "| corpus | mean recall | ECE | largest | unfamiliar |\n|---|---|---|---|---|"
    samples = voices.samples
    folds = np.array([fold_of(data.clips[str(clip)]) for clip in samples.clips])
    for corpus in ARCHIVES:
        own = voices.speakers_of(corpus)
        told = []
        for fold in range(NUM_FOLDS):
            out = frozenset(str(s) for s in np.unique(samples.speakers[folds == fold]))
            rows = np.flatnonzero((folds == fold) & (samples.corpora == corpus))
            told.append(answer(voices, voices.sure_head(out, own), rows))
        alone[corpus] = joined(told)
        yield f"| {corpus} | {alone[corpus].words()} |"


def joined(parts: Sequence[Answers]) -> Answers:
    names = ("labels", "speakers", "unfamiliarity")
    probs = [part.probs for part in parts]
    rest = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return Answers(np.concatenate(probs), *rest)


def tables(data: CompactData, voices: Channel) -> Iterator[str]:
    """Markdown, a line at a time."""
    unheard: dict[str, Answers] = {}
    heard: dict[str, Answers] = {}
    yield from unheard_rows(voices, unheard)
    yield ""
    yield from fold_rows(data, voices, heard)
    yield ""
    yield from familiarity_rows(list(heard.values()), list(unheard.values()))


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the tables here too")
    arguments = parse_with_corpora(parser)
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    _, voices = make_channels(data, arguments.work)
    lines = []
    for line in tables(data, voices):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
