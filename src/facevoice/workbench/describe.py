"""A manifest's description, drawn for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from facevoice.data.description import TARGETS, TRAITS, CorpusSummary, Description, Tally

_BAR_WIDTH: Final = 20
_TITLES: Final = {
    "intended": "Intended emotion: what the speaker was asked to express",
    "face": "Face: what people saw in the silent picture",
    "voice": "Voice: what people heard in the sound alone",
    "both": "Both: what people perceived in picture and sound together",
    "congruence": "Congruence: whether face and voice match",
    "split": "Published split",
}


def draw(description: Description) -> Group:
    """Tables of corpora, of each target's labels, of speakers, and of published splits."""
    parts = [*_titled("Corpora", _corpora_table(description.corpora))]
    if any(corpus.num_timed for corpus in description.corpora):
        parts += _titled("Durations in seconds", _lengths_table(description.corpora))
    for target in TARGETS:
        tallies = [tally for tally in description.labels if tally.field == target]
        if tallies:
            parts += _titled(_TITLES[target], _count_table(tallies))
    people = [tally for trait in TRAITS for tally in description.people if tally.field == trait]
    if people:
        parts += _titled("Speakers, as far as published", _people_table(people))
    if description.splits:
        parts += _titled(_TITLES["split"], _count_table(description.splits))
    return Group(*parts)


def _titled(title: str, table: Table) -> list[RenderableType]:
    return [Text(title, style="bold"), table, Text()]


def _corpora_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table()
    table.add_column("corpus")
    for name in ("clips", "speakers", "sentences", "takes", "film", "sound", "both"):
        table.add_column(name, justify="right")
    for corpus in corpora:
        table.add_row(
            corpus.corpus,
            _number(corpus.num_clips),
            _number(corpus.num_speakers),
            _number(corpus.num_sentences),
            _number(corpus.max_takes),
            _number(corpus.num_film),
            _number(corpus.num_sound),
            _number(corpus.num_both),
        )
    if len(corpora) > 1:
        table.add_row(
            "all",
            _number(sum(corpus.num_clips for corpus in corpora)),
            _number(sum(corpus.num_speakers for corpus in corpora)),
            "",
            "",
            _number(sum(corpus.num_film for corpus in corpora)),
            _number(sum(corpus.num_sound for corpus in corpora)),
            _number(sum(corpus.num_both for corpus in corpora)),
            style="bold",
        )
    return table


def _lengths_table(corpora: Sequence[CorpusSummary]) -> Table:
    table = _table()
    table.add_column("corpus")
    for name in ("clips probed", "shortest", "median", "longest", "hours in all"):
        table.add_column(name, justify="right")
    for corpus in corpora:
        lengths_s = (corpus.min_s, corpus.median_s, corpus.max_s)
        cells = ["–" if length_s is None else f"{length_s:.2f}" for length_s in lengths_s]
        hours = f"{corpus.total_s / 3600:.2f}" if corpus.num_timed else "–"
        table.add_row(corpus.corpus, _number(corpus.num_timed), *cells, hours)
    if len(corpora) > 1:
        num_timed = sum(corpus.num_timed for corpus in corpora)
        hours = f"{sum(corpus.total_s for corpus in corpora) / 3600:.2f}"
        table.add_row("all", _number(num_timed), "", "", "", hours, style="bold")
    return table


def _count_table(tallies: Sequence[Tally]) -> Table:
    """One row a value, one column a corpus, and a bar over all of them."""
    corpora = list(dict.fromkeys(tally.corpus for tally in tallies))
    values = list(dict.fromkeys(tally.value for tally in tallies))
    counts = {(tally.value, tally.corpus): tally.num_clips for tally in tallies}
    table = _table()
    table.add_column("")
    for corpus in corpora:
        table.add_column(corpus, justify="right")
    if len(corpora) > 1:
        table.add_column("all", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    sums = {value: sum(counts.get((value, c), 0) for c in corpora) for value in values}
    for value in _in_order(values, tallies):
        cells = [_number(counts.get((value, corpus), 0)) for corpus in corpora]
        if len(corpora) > 1:
            cells.append(_number(sums[value]))
        share = sums[value] / sum(sums.values())
        bar = _bar(sums[value] / max(sums.values()))
        table.add_row(value or "not told", *cells, f"{share:.1%}", bar)
    return table


def _people_table(tallies: Sequence[Tally]) -> Table:
    table = _table()
    for name in ("", "corpus", "value"):
        table.add_column(name)
    table.add_column("speakers", justify="right")
    table.add_column("clips", justify="right")
    table.add_column("")
    last: tuple[str, str] | None = None
    for tally in tallies:
        group = (tally.field, tally.corpus)
        same = [t for t in tallies if (t.field, t.corpus) == group]
        bar = _bar(tally.num_clips / max(t.num_clips for t in same))
        names = ("", "") if group == last else group
        if last is not None and names != ("", ""):
            table.add_section()
        value = tally.value or "not told"
        table.add_row(*names, value, _number(tally.num_speakers), _number(tally.num_clips), bar)
        last = group
    return table


def _in_order(values: Iterable[str | None], tallies: Sequence[Tally]) -> list[str | None]:
    """Each corpus lists its values in their own order; one that has most of them leads."""
    by_corpus: dict[str, list[str | None]] = {}
    for tally in tallies:
        by_corpus.setdefault(tally.corpus, []).append(tally.value)
    longest = max(by_corpus.values(), key=len)
    order = [*longest, *(value for value in values if value not in longest)]
    return sorted(order, key=lambda value: value is None)


def _table() -> Table:
    return Table(box=None, pad_edge=False)


def _bar(share: float) -> Text:
    return Text("█" * max(round(share * _BAR_WIDTH), 1 if share else 0), style="cyan")


def _number(count: int) -> str:
    return f"{count:,}" if count else "–"
