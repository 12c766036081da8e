"""What a manifest holds, counted and drawn: how much of what, how it is balanced, who is in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Final

from facevoice.corpora.manifest import Clip
from facevoice.records import EMOTIONS, Outcome

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

_TITLES: Final = {
    "intended": "Intended emotion: what the speaker was asked to express",
    "face": "Face: what people saw in the silent picture",
    "voice": "Voice: what people heard in the sound alone",
    "both": "Both: what people perceived in picture and sound together",
    "congruence": "Congruence: whether face and voice match",
}
_TRAITS: Final = ("sex", "age", "race", "ethnicity")
_WORDS: Final = [*map(str, EMOTIONS), *map(str, Outcome)]
_BAR_WIDTH: Final = 20


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
    people: per trait, of corpora that tell it of anybody; ages are counted by decade;
    splits: per published part (field "split"), of corpora that publish one.
    """

    corpora: tuple[CorpusSummary, ...]
    labels: tuple[Tally, ...]
    people: tuple[Tally, ...]
    splits: tuple[Tally, ...]


def describe(clips: Iterable[Clip]) -> Description:
    """Count what a manifest holds."""
    corpora: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.corpus):
        corpora[clip.corpus].append(clip)

    def tally(*fields: str) -> tuple[Tally, ...]:
        return tuple(
            t for f in fields for name, own in corpora.items() for t in _tally(f, name, own)
        )

    return Description(
        corpora=tuple(_summarize(name, own) for name, own in corpora.items()),
        labels=tuple(t for t in tally(*_TITLES) if t.value is not None),
        people=tally(*_TRAITS),
        splits=tally("split"),
    )


def _summarize(name: str, clips: Sequence[Clip]) -> CorpusSummary:
    lengths_s = [clip.duration_s for clip in clips if clip.duration_s is not None]
    return CorpusSummary(
        corpus=name,
        num_clips=len(clips),
        num_speakers=len({clip.speaker for clip in clips} - {None}),
        num_sentences=len({clip.sentence for clip in clips} - {None}),
        max_takes=max(clip.take or 0 for clip in clips),
        num_film=sum(clip.video_path is not None for clip in clips),
        num_sound=sum(clip.audio_path is not None for clip in clips),
        num_both=sum(None not in (clip.video_path, clip.audio_path) for clip in clips),
        num_timed=len(lengths_s),
        total_s=sum(lengths_s),
        min_s=min(lengths_s, default=None),
        median_s=median(lengths_s) if lengths_s else None,
        max_s=max(lengths_s, default=None),
    )


def _tally(field: str, corpus: str, clips: Sequence[Clip]) -> list[Tally]:
    """Counts by value, None last; nothing where the corpus tells it of nobody."""
    members: dict[str | None, list[Clip]] = defaultdict(list)
    for clip in clips:
        value = _value(clip, field)
        members[None if value is None else str(value)].append(clip)
    if set(members) == {None}:
        return []
    return [
        Tally(field, value, corpus, len(own), len({clip.speaker for clip in own} - {None}))
        for value, own in sorted(members.items(), key=lambda item: _rank(item[0]))
    ]


def _value(clip: Clip, field: str) -> object:
    if field == "age" and clip.age is not None:
        decade = clip.age // 10 * 10
        return f"{decade}–{decade + 9}"
    return getattr(clip.labels if field in _TITLES else clip, field)


def _rank(value: str | None) -> tuple[bool, int, str]:
    """Emotions and outcomes in their own order, other words by the alphabet, None last."""
    text = value or ""
    return (value is None, _WORDS.index(text) if text in _WORDS else len(_WORDS), text)


def draw(description: Description) -> Group:
    """Tables of corpora, of each target's labels, of speakers, and of published splits."""
    from rich.console import Group
    from rich.text import Text

    parts = {"Corpora": _corpora_table(description.corpora)}
    if any(corpus.num_timed for corpus in description.corpora):
        parts["Durations in seconds"] = _lengths_table(description.corpora)
    for target, title in _TITLES.items():
        tallies = [tally for tally in description.labels if tally.field == target]
        if tallies:
            parts[title] = _count_table(tallies)
    if description.people:
        parts["Speakers, as far as published"] = _people_table(description.people)
    if description.splits:
        parts["Published split"] = _count_table(description.splits)
    drawn = [(Text(title, style="bold"), table, Text()) for title, table in parts.items()]
    return Group(*(line for part in drawn for line in part))


def _corpora_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table("corpus", "clips", "speakers", "sentences", "takes", "film", "sound", "both")
    names = ["num_clips", "num_speakers", "num_sentences", "max_takes"]
    names += ["num_film", "num_sound", "num_both"]
    for corpus in corpora:
        table.add_row(corpus.corpus, *(_number(getattr(corpus, name)) for name in names))
    if len(corpora) > 1:
        sums = {name: _number(sum(getattr(c, name) for c in corpora)) for name in names}
        # Sentences of two corpora are nowhere the same, and takes are no number of things.
        sums |= {"num_sentences": "", "max_takes": ""}
        table.add_row("all", *sums.values(), style="bold")
    return table


def _lengths_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table("corpus", "clips probed", "shortest", "median", "longest", "hours in all")
    for corpus in corpora:
        lengths_s = (corpus.min_s, corpus.median_s, corpus.max_s)
        cells = ["–" if length_s is None else f"{length_s:.2f}" for length_s in lengths_s]
        hours = f"{corpus.total_s / 3600:.2f}" if corpus.num_timed else "–"
        table.add_row(corpus.corpus, _number(corpus.num_timed), *cells, hours)
    if len(corpora) > 1:
        hours = f"{sum(corpus.total_s for corpus in corpora) / 3600:.2f}"
        num_timed = _number(sum(corpus.num_timed for corpus in corpora))
        table.add_row("all", num_timed, "", "", "", hours, style="bold")
    return table


def _count_table(tallies: Sequence[Tally]) -> Table:
    """One row a value, one column a corpus, and a bar over all of them."""
    corpora = list(dict.fromkeys(tally.corpus for tally in tallies))
    counts = {(tally.value, tally.corpus): tally.num_clips for tally in tallies}
    sums: Counter[str | None] = Counter()
    for tally in tallies:
        sums[tally.value] += tally.num_clips
    all_of_them = ["all"] if len(corpora) > 1 else []
    table = _table("", *corpora, *all_of_them, "share", "")
    table.columns[-1].justify = "left"
    for value in sorted(sums, key=_rank):
        cells = [_number(counts.get((value, corpus), 0)) for corpus in corpora]
        cells += [_number(sums[value])] if all_of_them else []
        bar = _bar(sums[value] / max(sums.values()))
        table.add_row(value or "not told", *cells, f"{sums[value] / sums.total():.1%}", bar)
    return table


def _people_table(tallies: Sequence[Tally]) -> Table:
    table = _table("", "corpus", "value", "speakers", "clips", "")
    for place in (1, 2, 5):
        table.columns[place].justify = "left"
    for names, group in groupby(tallies, key=lambda tally: (tally.field, tally.corpus)):
        own = list(group)
        most = max(tally.num_clips for tally in own)
        for tally in own:
            counts = (_number(tally.num_speakers), _number(tally.num_clips))
            value, bar = tally.value or "not told", _bar(tally.num_clips / most)
            table.add_row(*(names if tally is own[0] else ("", "")), value, *counts, bar)
    return table


def _table(*headers: str) -> Table:
    """A table without lines; all columns but the first are to the right."""
    from rich.table import Table

    table = Table(*headers, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _bar(share: float) -> Text:
    from rich.text import Text

    return Text("█" * max(round(share * _BAR_WIDTH), 1 if share else 0), style="cyan")


def _number(count: int) -> str:
    return f"{count:,}" if count else "–"
