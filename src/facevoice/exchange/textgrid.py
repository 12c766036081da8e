"""Praat's TextGrid: tiers of intervals that leave no gap, and points, which are passed over.

Praat itself reads such a file as a row of numbers, texts in quotes and flags, whatever stands
between them; so its long and its short form are one here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from facevoice.errors import AnnotationError
from facevoice.exchange.tiers import (
    Document,
    Span,
    Tier,
    checked,
    in_milliseconds,
    read_text,
    without_overlap,
)
from facevoice.texts import shown

_TOKEN: Final = re.compile(r'"((?:[^"]|"")*)"|(<exists>|<absent>)|([^\s"]+)')
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,12}(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?%?")
_MAX_ITEMS: Final = 4_000_000


def to_textgrid(document: Document) -> str:
    """The document in Praat's long form.

    Praat has neither vocabularies nor people: those of tiers stand in their names ("face@Anna").
    Spans that overlap go into further tiers.
    """
    tiers = [lane for tier in document.tiers for lane in without_overlap(tier)]
    ends_ms = [end for tier in tiers for _, end, _ in in_milliseconds(tier.spans)]
    end_ms = max([round(document.duration_s * 1000), *ends_ms, 1])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_seconds(end_ms)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, tier in enumerate(tiers, start=1):
        intervals = list(_without_gaps(in_milliseconds(tier.spans), end_ms))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(tier.name)}",
            "        xmin = 0",
            f"        xmax = {_seconds(end_ms)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (start_ms, stop_ms, label) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {_seconds(start_ms)}",
                f"            xmax = {_seconds(stop_ms)}",
                f"            text = {_quoted(label)}",
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(spans: list[tuple[int, int, str]], end_ms: int) -> Iterator[tuple[int, int, str]]:
    reached = 0
    for start, end, label in spans:
        if start > reached:
            yield reached, start, ""
        yield start, end, label
        reached = end
    if reached < end_ms:
        yield reached, end_ms, ""


def _seconds(time_ms: int) -> str:
    whole, rest = divmod(time_ms, 1000)
    return f"{whole}.{rest:03}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + shown(text).replace('"', '""') + '"'


def read_textgrid(path: Path) -> Document:
    """The intervals of a TextGrid in text, long or short, that have a label.

    Raises:
        AnnotationError: it can't be read, or is no such file.
    """
    remarks: list[str] = []
    values = _Values(path, read_text(path, remarks))
    if values.text() != "ooTextFile" or values.text() != "TextGrid":
        raise AnnotationError(
            path,
            "is no TextGrid in text.",
            "In Praat, choose Save as text file.",
        )
    values.number()
    duration_s = values.number()
    tiers: list[Tier] = []
    for _ in range(values.count() if values.flag() else 0):
        kind, name = values.text(), values.text()
        values.number()
        values.number()
        size = values.count()
        if kind == "IntervalTier":
            rows = [(values.number(), values.number(), values.text()) for _ in range(size)]
            spans = (Span(a, b, shown(label).strip()) for a, b, label in rows)
            named, _, person = name.partition("@")
            found = tuple(span for span in spans if span.label)
            tiers.append(Tier(shown(name), found, shown(person) if named and person else None))
        elif kind == "TextTier":
            for _ in range(size):
                values.number()
                values.text()
            remarks.append(f"tier {shown(name)!r} holds points, not intervals, and is passed over")
        else:
            raise values.broken(f"a tier of the kind {shown(kind)[:40]!r}")
    return checked(Document(tuple(tiers), str(path), duration_s, remarks=tuple(remarks)), path)


class _Values:
    """The numbers, texts and flags of a file, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._found = self._tokens(text)

    def _tokens(self, text: str) -> Iterator[str | float | bool]:
        for match in _TOKEN.finditer(text):
            quoted, flag, word = match.groups()
            if quoted is not None:
                yield quoted.replace('""', '"')
            elif flag is not None:
                yield flag == "<exists>"
            elif _NUMBER.fullmatch(word):
                yield float(word.rstrip("%"))

    def text(self) -> str:
        found = next(self._found, None)
        if not isinstance(found, str):
            raise self.broken("no text")
        return found

    def number(self) -> float:
        found = next(self._found, None)
        if isinstance(found, bool) or not isinstance(found, float):
            raise self.broken("no number")
        return found

    def count(self) -> int:
        found = self.number()
        if not 0 <= found <= _MAX_ITEMS or found != int(found):
            raise self.broken(f"{found:g}")
        return int(found)

    def flag(self) -> bool:
        found = next(self._found, None)
        if not isinstance(found, bool):
            raise self.broken("no flag")
        return found

    def broken(self, found: str) -> AnnotationError:
        return AnnotationError(
            self._path,
            f"is no sound TextGrid: there is {found} where Praat writes something else.",
            "Open it in Praat and choose Save as text file.",
        )
