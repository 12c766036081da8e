"""What it is worth to know a person: javanese films, one speaker of six left out at a time.

    python -m benchmarks.knowing --corpora CORPORA --work WORK [--draws 5] [--out FILE]

A speaker's pairs, matches re-paired like conflicts, are judged by heads, doubt, fusion and conflict
model that were fitted without this speaker (`recipes.crossfit`), with 0, 1, 3, 6, 12 or all other
windows of the person known. Up to 12 come from the speaker's other films, face and voice alike,
drawn with emotions balanced, 70 % neutral, 70 % one of them at random, or all of the very emotion
that is judged; "all" are all other films and all other takes of the voice. Face, voice, both: mean
recall over the six emotions of the 144 films; conflict AUROC over all pairs, and over conflicts of
opposite valence against matches; ECE of the conflict probability; "bare": AUROC of bare soft
agreement in place of the conflict model. Means over draws, also of their intervals: 95 %, bootstrap
over speakers. Then RAVDESS speaker 05 on film, by faces' heads that learnt from no
film of RAVDESS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import FILMED_SPEAKER, CompactData, make_all_pairs, read_data
from recipes.crossfit import (
    Channel,
    Family,
    Judge,
    Knowing,
    KnownRows,
    clip_posteriors,
    everything,
    make_channels,
    nobody,
    pair_posteriors,
)
from recipes.fitting import MOODS, Acquaintances, draw_known, restrict

from facevoice.corpora.pairs import Pair, PairBin
from facevoice.evaluation.bootstrap import auroc_measure, interval, uar_measure
from facevoice.evaluation.metrics import ece, reliability
from facevoice.models.heads import ChannelHead
from facevoice.records import DoubleArray

NUM_KNOWN: Final = (0, 1, 3, 6, 12)
SAME: Final = "the judged one"
ALL: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """All pairs and films of all speakers, judged with one draw of what is known."""

    pairs: list[Pair]
    conflict: list[float]
    bare: list[float]
    films: list[Pair]
    face: list[DoubleArray]
    voice: list[DoubleArray]
    fused: list[DoubleArray]


def knowing_of(channel: Channel, films: frozenset[str], num: int, mood: str, seed: int) -> Knowing:
    """From a row of `channel` to the rows of other clips that are known."""
    samples, known = channel.samples, Acquaintances(channel.samples)

    def draw(row: int) -> KnownRows:
        others = known.of_person(row)
        if num != ALL:
            others = others[np.isin(samples.clips[others], sorted(films))]
            if mood == SAME:
                others = others[samples.labels[others] == samples.labels[row]]
            # Face and voice of one film know the same others.
            rng = np.random.default_rng([seed, *samples.clips[row].encode()])
            order = np.argsort(samples.clips[others])
            others = draw_known(others[order], samples.labels, num, mood, rng)
        return others, others

    return draw


def judge_all(
    data: CompactData,
    family: Family,
    judges: dict[str, Judge],
    originals: Sequence[Pair],
    num: int,
    mood: str = "balanced",
    seed: int = 0,
) -> Drawn:
    """Every pair and film of every speaker, by what was fitted without the speaker."""
    drawn = Drawn([], [], [], [], [], [], [])
    films = frozenset(str(c) for c in data.faces.clips)
    for speaker, judge in judges.items():
        face, voice = (
            clip_posteriors(
                channel,
                head,
                speaker,
                knowing_of(channel, films, num, mood, seed) if num else nobody,
            )
            for channel, head in ((family.faces, judge.face), (family.voices, judge.voice))
        )
        own = [pair for pair in family.pairs if pair.speaker == speaker]
        f, v = pair_posteriors(own, face, voice)
        drawn.pairs.extend(own)
        drawn.conflict.extend(judge.joint.conflict(f, v).tolist())
        drawn.bare.extend((1 - (f * v).sum(axis=1)).tolist())
        shown = [pair for pair in originals if pair.speaker == speaker]
        f, v = pair_posteriors(shown, face, voice)
        drawn.films.extend(shown)
        drawn.face.extend(f)
        drawn.voice.extend(v)
        drawn.fused.extend(judge.joint.fusion(f, v))
    return drawn


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What one draw is worth, figure by figure, with the intervals of those that have one."""

    values: dict[str, float]
    spans: dict[str, tuple[float, float]]


def score(drawn: Drawn, num_resamples: int = 1000) -> Scores:
    values: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    labels = np.array([pair.face_emotion.position for pair in drawn.films])
    speakers = np.array([pair.speaker for pair in drawn.films])
    present = np.isin(np.arange(8), labels)[None]
    for name in ("face", "voice", "fused"):
        guesses = restrict(np.array(getattr(drawn, name)), present).argmax(axis=1)
        found = interval(uar_measure(labels, guesses), speakers, num_resamples=num_resamples)
        values[name], spans[name] = found.estimate, (found.low, found.high)
    truth = np.array([pair.is_conflict for pair in drawn.pairs])
    whose = np.array([pair.speaker for pair in drawn.pairs])
    opposite = np.array(
        [not p.is_conflict or p.bin is PairBin.OPPOSITE_VALENCE for p in drawn.pairs]
    )
    for name, scores, rows in (
        ("AUROC", drawn.conflict, np.ones(len(truth), dtype=bool)),
        ("opposite", drawn.conflict, opposite),
        ("bare", drawn.bare, np.ones(len(truth), dtype=bool)),
        ("bare opposite", drawn.bare, opposite),
    ):
        measure = auroc_measure(truth[rows], np.array(scores)[rows])
        found = interval(measure, whose[rows], num_resamples=num_resamples)
        values[name], spans[name] = found.estimate, (found.low, found.high)
    probs = np.array(drawn.conflict)
    called = probs >= 0.5
    values["ECE"] = ece(reliability(np.where(called, probs, 1 - probs), called == truth))
    return Scores(values, spans)


COLUMNS: Final = ("face", "voice", "fused", "AUROC", "opposite", "ECE", "bare", "bare opposite")


def rows(data: CompactData, work: Path, num_draws: int) -> Iterator[str]:
    """Markdown, a line at a time."""
    pairs, originals = make_all_pairs(data)
    faces, voices = make_channels(data, work)
    family = Family(faces, voices, pairs)
    judges = {speaker: family.judge(speaker) for speaker in family.speakers}
    yield f"| known | emotions | {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * (len(COLUMNS) + 2)
    plan = (
        [(0, "–")]
        + [(n, mood) for n in NUM_KNOWN[1:] for mood in (*MOODS, SAME)]
        + [(ALL, "as they are")]
    )
    for num, mood in plan:
        draws = 1 if num in (0, ALL) else num_draws
        found = [
            score(judge_all(data, family, judges, originals, num, mood, seed))
            for seed in range(draws)
        ]
        cells = []
        for name in COLUMNS:
            value = float(np.mean([one.values[name] for one in found]))
            span = mean_span([one.spans[name] for one in found if name in one.spans])
            percent = name in ("face", "voice", "fused")
            cells.append(_words(value, span, percent))
        yield f"| {'all' if num == ALL else num} | {mood} | {' | '.join(cells)} |"
    yield ""
    yield from filmed_rows(faces)


def mean_span(spans: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    if not spans:
        return None
    low, high = np.mean(spans, axis=0).tolist()
    return low, high


def _words(value: float, span: tuple[float, float] | None, percent: bool) -> str:
    def number(x: float) -> str:
        return f"{100 * x:.1f}" if percent else f"{x:.3f}"

    return (
        number(value) if span is None else f"{number(value)} [{number(span[0])}, {number(span[1])}]"
    )


def filmed_rows(faces: Channel) -> Iterator[str]:
    """RAVDESS speaker 05, by a face head that learnt from javanese films only."""
    speaker = f"ravdess/{FILMED_SPEAKER}"
    head: ChannelHead = faces.sure_head(frozenset({speaker}))
    samples = faces.samples
    own = np.flatnonzero(samples.speakers == speaker)
    for name, knowing in (
        ("alone", nobody),
        ("all his other clips known", everything(faces)),
    ):
        probs = faces.posteriors(head, own, knowing)
        guesses = restrict(probs, samples.emotions[own]).argmax(axis=1)
        labels = samples.labels[own]
        recalls = [np.mean(guesses[labels == k] == k) for k in np.unique(labels)]
        told = f"{len(own)} films, 8 emotions, {name}: {100 * np.mean(recalls):.1f}"
        yield f"RAVDESS {FILMED_SPEAKER}, {told}"


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the tables here too")
    arguments = parse_with_corpora(parser)
    data = read_data(arguments.corpora, arguments.work, arguments.jobs)
    lines = []
    for line in rows(data, arguments.work, arguments.draws):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
