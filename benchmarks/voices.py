"""Whose voice: conversations put together from clips, their windows grouped as in analysis.

    python -m benchmarks.voices --corpora CORPORA --work WORK [--each 2] [--only CORPUS]

Conversations of 1, 2, 4 and 6 speakers of one corpus: 30 turns of 2 to 4 s, each of one or more
clips of one speaker, pauses of 0.2 to 0.5 s between. "acted": emotions change from clip to clip;
"even": each speaker keeps to one emotion. Voice activity, windows, prints and groups are those of
analysis. Thresholds were chosen on other conversations of ravdess, nemo and ased; javanese and
emodb had no part in it. The network has heard none of them.

A window is judged by its middle two seconds, the stretch that it stands for in a report. windows:
of which one speaker has 90 % of the speech there; the others are mixed. EER: of same and different
speakers, over pairs of such windows in one conversation that share no sound. found: voices, in each
conversation. pure: windows in groups whose most frequent speaker is theirs; right: windows in the
one group that stands for their speaker, each group for at most one; none: windows without a voice.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from recipes.arguments import corpora_parser, parse_with_corpora
from recipes.compact_data import read_clips
from recipes.voice_data import ARCHIVES, read_sounds
from scipy.optimize import linear_sum_assignment

from facevoice.corpora.manifest import Clip
from facevoice.people.speech import read_speech
from facevoice.people.voices import (
    LINKS,
    NO_VOICE,
    PRINT_DIM,
    VoiceIdentifier,
    VoiceLinks,
    group_voices,
)
from facevoice.perceive import cut_windows
from facevoice.records import SAMPLE_RATE_HZ, AudioBlock, FloatArray, Window
from facevoice.settings import FacesConfig, SpeechConfig, WindowConfig

JUDGED_ON = ("javanese", "emodb")
CHOSEN_ON = ("ravdess", "nemo", "ased")
NUM_SPEAKERS = (1, 2, 4, 6)
NUM_TURNS = 30
KINDS = ("acted", "even")
_PURE = 0.9
MIXED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """prints (n, 256), zeros for none; seconds of speech (n,); speakers (n,), -1 for mixed."""

    corpus: str
    kind: str
    num_speakers: int
    prints: FloatArray
    seconds: np.ndarray
    speakers: np.ndarray

    def groups(self, links: VoiceLinks = LINKS) -> np.ndarray:
        prints = [row if row.any() else None for row in self.prints]
        return group_voices(prints, self.seconds.tolist(), links)


def make_conversation(
    clips: Sequence[Clip], num_speakers: int, kind: str, rng: np.random.Generator
) -> Conversation:
    """One of the corpus of these clips."""
    people = rng.permutation(sorted({str(c.speaker_key) for c in clips}))[:num_speakers]
    own = {p: [c for c in clips if str(c.speaker_key) == p] for p in people}
    if kind == "even":
        moods = {p: own[p][rng.integers(len(own[p]))].labels.intended for p in people}
        own = {p: [c for c in own[p] if c.labels.intended is moods[p]] for p in people}
    parts: list[FloatArray] = []
    who: list[np.ndarray] = []
    last = -1
    for _ in range(NUM_TURNS):
        last = int(rng.choice([k for k in range(num_speakers) if k != last or num_speakers == 1]))
        turn = _turn(own[people[last]], rng)
        pause = np.zeros(int(rng.uniform(0.2, 0.5) * SAMPLE_RATE_HZ), np.float32)
        parts += [turn, pause]
        who += [np.full(turn.size, last), np.full(pause.size, MIXED)]
    samples, speaking = np.concatenate(parts), np.concatenate(who)
    identifier = VoiceIdentifier()
    rows = [_window(w, speaking, num_speakers, identifier) for w in _windows(samples)]
    prints, seconds, speakers = zip(*rows, strict=True)
    return Conversation(
        clips[0].corpus,
        kind,
        num_speakers,
        np.array(prints, np.float32),
        np.array(seconds),
        np.array(speakers),
    )


def _turn(clips: Sequence[Clip], rng: np.random.Generator) -> FloatArray:
    """2 to 4 s of one speaker, without silent edges."""
    wanted = rng.uniform(2, 4) * SAMPLE_RATE_HZ
    said: list[FloatArray] = []
    while sum(part.size for part in said) < wanted:
        said.append(_trim(read_sounds([clips[rng.integers(len(clips))]])[0]))
    return np.concatenate(said)[: int(4 * SAMPLE_RATE_HZ)]


def _trim(samples: FloatArray) -> FloatArray:
    size = SAMPLE_RATE_HZ // 20
    power = np.convolve(samples**2, np.ones(size) / size, "same")
    loud = np.flatnonzero(power > power.max() * 10**-3.5)
    return samples[loud[0] : loud[-1] + 1]


def _windows(samples: FloatArray) -> Iterator[Window]:
    blocks = read_speech(iter([AudioBlock(0.0, samples)]))
    duration_s = samples.size / SAMPLE_RATE_HZ
    return cut_windows(duration_s, None, blocks, WindowConfig(), FacesConfig(), SpeechConfig())


def _window(
    window: Window, speaking: np.ndarray, num_speakers: int, identifier: VoiceIdentifier
) -> tuple[FloatArray, float, int]:
    """Print, seconds of speech, and who speaks in the middle."""
    found = identifier.print_window(window)
    hop_s, middle_s = WindowConfig().hop_s, (window.start_s + window.end_s) / 2
    first, last = (
        max(0, round(t * SAMPLE_RATE_HZ)) for t in (middle_s - hop_s / 2, middle_s + hop_s / 2)
    )
    counts = np.bincount(speaking[first:last] + 1, minlength=num_speakers + 1)[1:]
    is_pure = counts.max() >= _PURE * max(1, counts.sum())
    return (
        np.zeros(PRINT_DIM, np.float32) if found is None else found,
        window.speech_coverage * window.duration_s,
        int(counts.argmax()) if is_pure else MIXED,
    )


def measure(talk: Conversation, labels: np.ndarray) -> dict[str, float]:
    """Of the windows with one speaker."""
    keep = (talk.speakers != MIXED) & talk.prints.any(axis=1)
    truth, told = talk.speakers[keep], labels[keep]
    given = told != NO_VOICE
    groups = np.unique(told[given])
    table = np.array(
        [[((told == g) & (truth == s)).sum() for s in np.unique(truth)] for g in groups]
    )
    table = table.reshape(len(groups), -1)
    rows, columns = linear_sum_assignment(-table)
    return {
        "windows": float(keep.sum()),
        "pure": table.max(axis=1, initial=0).sum() / max(1, given.sum()),
        "right": table[rows, columns].sum() / keep.sum(),
        "found": float(len(np.unique(labels[labels != NO_VOICE]))),
        "none": float((~given).mean()),
    }


def pairs(talk: Conversation) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of same and of different speakers."""
    keep = np.flatnonzero((talk.speakers != MIXED) & talk.prints.any(axis=1))
    one, other = np.triu_indices(len(keep), 1)
    apart = keep[other] - keep[one] > 1
    cosines = (talk.prints[keep] @ talk.prints[keep].T)[one, other]
    same = talk.speakers[keep][one] == talk.speakers[keep][other]
    return cosines[same & apart], cosines[~same & apart]


def equal_error_rate(same: np.ndarray, different: np.ndarray) -> float:
    levels = np.quantile(np.concatenate([same, different]), np.linspace(0, 1, 1001))
    misses = np.searchsorted(np.sort(same), levels) / same.size
    alarms = 1 - np.searchsorted(np.sort(different), levels) / different.size
    place = int(np.abs(misses - alarms).argmin())
    return float(misses[place] + alarms[place]) / 2


def read_talk(
    arguments: argparse.Namespace, clips: Sequence[Clip], kind: str, number: int, seed: int
) -> Conversation:
    """Made once, then kept in WORK."""
    corpus = clips[0].corpus
    path = arguments.work / f"talk-{corpus}-{kind}-{number}-{seed}.npz"
    if not path.exists():
        rng = np.random.default_rng([seed, number, KINDS.index(kind)])
        talk = make_conversation(clips, number, kind, rng)
        np.savez(path, prints=talk.prints, seconds=talk.seconds, speakers=talk.speakers)
    with np.load(path) as file:
        return Conversation(corpus, kind, number, **dict(file))


def row(talks: Sequence[Conversation]) -> str:
    """A line of the table."""
    same, different = (
        np.concatenate(found) for found in zip(*(pairs(t) for t in talks), strict=True)
    )
    own = [measure(talk, talk.groups()) for talk in talks]
    found = ", ".join(f"{m['found']:.0f}" for m in own)
    eer = f"{100 * equal_error_rate(same, different):.0f} %" if different.size else "–"
    means = [f"{100 * np.mean([m[n] for m in own]):.0f} %" for n in ("pure", "right", "none")]
    windows = f"{sum(m['windows'] for m in own):.0f}"
    first = talks[0]
    cells = (first.corpus, first.kind, str(first.num_speakers), windows, eer, found, *means)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = corpora_parser(__doc__)
    parser.add_argument("--each", type=int, default=2, help="conversations of each sort")
    parser.add_argument("--only", action="append", help="a corpus; may be repeated")
    arguments = parse_with_corpora(parser)
    arguments.work.mkdir(parents=True, exist_ok=True)
    print("| corpus | kind | speakers | windows | EER | found | pure | right | none |")
    print("|---|---|---|---|---|---|---|---|---|")
    for corpus in arguments.only or (*JUDGED_ON, *CHOSEN_ON):
        clips = read_clips(arguments.corpora, arguments.work, corpus, ARCHIVES[corpus])
        for kind in KINDS:
            for number in NUM_SPEAKERS:
                talks = [
                    read_talk(arguments, clips, kind, number, seed)
                    for seed in range(arguments.each)
                ]
                print(row(talks), flush=True)


if __name__ == "__main__":
    main()
