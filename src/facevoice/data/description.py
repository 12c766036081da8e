"""What a manifest holds, counted: how much of what, how it is balanced, who is in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from facevoice.data.clips import Clip
from facevoice.labels import EMOTIONS, Outcome

TARGETS: Final = ("intended", "face", "voice", "both", "congruence")
"""The labels of a clip; never mixed."""
TRAITS: Final = ("sex", "age", "race", "ethnicity")
"""What corpora publish of their speakers; ages are counted by decade."""


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """One corpus in numbers.

    num_speakers, num_sentences: of those that the corpus names; max_takes: the highest take;
    num_film, num_sound: clips with a picture, with sound; num_both: with the two;
    num_timed: clips whose duration is known, to which total, least, median and greatest refer
    (None where there are none).
    """

    corpus: str
    num_clips: int
    num_speakers: int
    num_sentences: int
    max_takes: int
    num_film: int
    num_sound: int
    num_both: int
    num_timed: int
    total_s: float
    min_s: float | None
    median_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many clips (and speakers) of a corpus have `value` in `field`; None: not told."""

    field: str
    value: str | None
    corpus: str
    num_clips: int
    num_speakers: int


@dataclass(frozen=True, slots=True)
class Description:
    """A manifest in numbers.

    labels: counts per target (field) and corpus, of clips that have the label at all;
    people: per trait, of corpora that tell it of anybody;
    splits: per published part (field "split"), of corpora that publish one.
    """

    corpora: tuple[CorpusSummary, ...]
    labels: tuple[Tally, ...]
    people: tuple[Tally, ...]
    splits: tuple[Tally, ...]

    @property
    def num_clips(self) -> int:
        """All clips."""
        return sum(corpus.num_clips for corpus in self.corpora)


def describe(clips: Iterable[Clip]) -> Description:
    """Count what a manifest holds."""
    by_corpus: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_corpus[clip.corpus].append(clip)
    names = sorted(by_corpus)
    labels = [
        tally
        for target in TARGETS
        for name in names
        for tally in _tally(target, name, by_corpus[name], _label_of(target))
        if tally.value is not None
    ]
    people = [
        tally
        for trait in TRAITS
        for name in names
        for tally in _told(_tally(trait, name, by_corpus[name], _trait_of(trait)))
    ]
    splits = [
        tally
        for name in names
        for tally in _told(_tally("split", name, by_corpus[name], lambda clip: clip.split))
    ]
    return Description(
        corpora=tuple(_summarize(name, by_corpus[name]) for name in names),
        labels=tuple(labels),
        people=tuple(people),
        splits=tuple(splits),
    )


def _summarize(name: str, clips: Sequence[Clip]) -> CorpusSummary:
    lengths_s = [clip.duration_s for clip in clips if clip.duration_s is not None]
    return CorpusSummary(
        corpus=name,
        num_clips=len(clips),
        num_speakers=len({clip.speaker for clip in clips} - {None}),
        num_sentences=len({clip.sentence for clip in clips} - {None}),
        max_takes=max((clip.take or 0 for clip in clips), default=0),
        num_film=sum(clip.video_path is not None for clip in clips),
        num_sound=sum(clip.audio_path is not None for clip in clips),
        num_both=sum(None not in (clip.video_path, clip.audio_path) for clip in clips),
        num_timed=len(lengths_s),
        total_s=sum(lengths_s),
        min_s=min(lengths_s, default=None),
        median_s=median(lengths_s) if lengths_s else None,
        max_s=max(lengths_s, default=None),
    )


def _tally(
    field: str, corpus: str, clips: Sequence[Clip], value_of: Callable[[Clip], str | None]
) -> list[Tally]:
    counts: dict[str | None, int] = defaultdict(int)
    speakers: dict[str | None, set[str]] = defaultdict(set)
    for clip in clips:
        value = value_of(clip)
        counts[value] += 1
        if clip.speaker is not None:
            speakers[value].add(clip.speaker)
    order = sorted(counts, key=_rank)
    return [Tally(field, value, corpus, counts[value], len(speakers[value])) for value in order]


def _told(tallies: list[Tally]) -> list[Tally]:
    """Nothing where the corpus tells it of nobody."""
    return tallies if any(tally.value is not None for tally in tallies) else []


def _label_of(target: str) -> Callable[[Clip], str | None]:
    def label(clip: Clip) -> str | None:
        value = getattr(clip.labels, target)
        return None if value is None else str(value)

    return label


def _trait_of(trait: str) -> Callable[[Clip], str | None]:
    def decade(clip: Clip) -> str | None:
        if clip.age is None:
            return None
        first = clip.age // 10 * 10
        return f"{first}–{first + 9}"

    def value(clip: Clip) -> str | None:
        told: str | None = getattr(clip, trait)
        return told

    return decade if trait == "age" else value


_WORDS: Final = [*map(str, EMOTIONS), *map(str, Outcome)]


def _rank(value: str | None) -> tuple[bool, int, str]:
    """Emotions and outcomes in their own order, other words by the alphabet, None last."""
    text = value or ""
    return (value is None, _WORDS.index(text) if text in _WORDS else len(_WORDS), text)
