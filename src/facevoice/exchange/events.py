"""Tables of events: BIDS' `*_events.tsv` with its sidecar, and tables by anybody, read.

BIDS (Brain Imaging Data Structure) wants onset and duration in seconds first, tabs, `n/a` for what
is missing, and a JSON file beside the table that says what each column means.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import AnnotationError
from facevoice.exchange.tiers import Document, Span, Tier, checked, read_text
from facevoice.texts import cell_text, safe_cell, shown

EVENT_COLUMNS: Final = (
    *("onset", "duration", "trial_type", "face", "voice", "conflict", "strength", "person"),
    *("reasons", "text"),
    *("reviewed", "reviewed_outcome", "reviewed_face", "reviewed_voice"),
    *("review_note", "reviewer"),
)
_MISSING: Final = "n/a"
_EMPTY: Final = frozenset({"", _MISSING, "na", "nan", "none", "null", "-", "–"})
# What tables of strangers call these, without signs and capitals. ELAN exports a time in up to
# three units: "Begin Time - ss.msec", "… - hh:mm:ss.ms" and "… - msec".
_ELAN_UNITS: Final = ("ssmsec", "hhmmssms", "msec")
_STARTS: Final = (
    *("starts", "start", "onset", "begin", "begintime", "starttime"),
    *(f"begintime{unit}" for unit in _ELAN_UNITS),
)
_ENDS: Final = (
    *("ends", "end", "offset", "stop", "endtime", "stoptime"),
    *(f"endtime{unit}" for unit in _ELAN_UNITS),
)
_LENGTHS: Final = (
    *("duration", "durations", "length"),
    *(f"duration{unit}" for unit in _ELAN_UNITS),
)
_TIMES: Final = frozenset((*_STARTS, *_ENDS, *_LENGTHS))
_IN_MILLISECONDS: Final = frozenset(("begintimemsec", "endtimemsec", "durationmsec"))
_TIERS: Final = ("tier", "channel", "tiername")
_LABELS: Final = ("label", "annotation", "value", "emotion")
_PEOPLE: Final = ("person", "participant", "speaker")
_FILES: Final = ("file", "path", "filename")
# Columns of our own tables that are no label of a stretch.
_NO_LABELS: Final = frozenset(
    {
        *("status", "moment", "conflict", "strength", "num_windows", "reasons", "text"),
        *("face_coverage", "speech_coverage", "face_known", "voice_known"),
        *("face_unfamiliarity", "voice_unfamiliarity"),
        *("reviewed", "review_note", "reviewer"),
    }
)
_PROBS: Final = re.compile(r"(face|voice|fused)_[a-z]+")
_CLOCK: Final = re.compile(r"(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d{1,9})?)")
_NUMBER: Final = re.compile(r"-?\d{1,12}(?:[.,]\d{1,18})?(?:[eE][-+]?\d{1,2})?")
_MAX_ROWS: Final = 2_000_000
_MAX_COLUMNS: Final = 1000


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the table; None where something isn't known.

    conflict, strength: in [0, 1]; the last six: what a person says of it.
    """

    start_s: float
    end_s: float
    outcome: str
    face: str | None = None
    voice: str | None = None
    conflict: float | None = None
    strength: float | None = None
    person: str | None = None
    reasons: tuple[str, ...] = ()
    text: str | None = None
    reviewed: str | None = None
    reviewed_outcome: str | None = None
    reviewed_face: str | None = None
    reviewed_voice: str | None = None
    review_note: str | None = None
    reviewer: str | None = None


def to_events(events: Iterable[Event]) -> str:
    """Rows of `EVENT_COLUMNS` in tabs, times in milliseconds, probabilities with six digits."""
    lines = ["\t".join(EVENT_COLUMNS)]
    for one in events:
        start_ms, end_ms = round(one.start_s * 1000), round(one.end_s * 1000)
        times = (f"{start_ms / 1000:.3f}", f"{(end_ms - start_ms) / 1000:.3f}")
        shares = (
            _MISSING if share is None else f"{share:.6f}" for share in (one.conflict, one.strength)
        )
        texts = (one.person, "|".join(one.reasons) or None, one.text)
        words = (one.reviewed, one.reviewed_outcome, one.reviewed_face, one.reviewed_voice)
        cells = (
            *(one.outcome, one.face, one.voice, *shares, *texts),
            *(*words, one.review_note, one.reviewer),
        )
        lines.append("\t".join((*times, *(_cell(cell) for cell in cells))))
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    return safe_cell(text) if text else _MISSING


def describe_events(
    levels: Mapping[str, Mapping[str, str]], generated_by: Mapping[str, str], notice: str
) -> str:
    """The sidecar: what each column means; levels: of a column, {word: what it means}."""
    told: dict[str, dict[str, Any]] = {
        "onset": {"Description": "Beginning, from the start of the recording", "Units": "s"},
        "duration": {"Description": "Length", "Units": "s"},
        "trial_type": {"LongName": "Outcome", "Description": "Whether face and voice go together"},
        "face": {"Description": "Emotion that the face shows for most of the time"},
        "voice": {"Description": "Emotion that the voice has for most of the time"},
        "conflict": {"Description": "Mean calibrated probability that face and voice differ"},
        "strength": {"Description": "Mean probability of what the outcome says"},
        "person": {"Description": "Whose face and voice they are"},
        "reasons": {"Description": "Why it isn't clear, or what to bear in mind, joined by |"},
        "text": {"Description": "What is said meanwhile"},
        "reviewed": {"Description": "What a person who saw this row says of it"},
        "reviewed_outcome": {"Description": "What the outcome is, as far as that person tells"},
        "reviewed_face": {"Description": "The same of the face"},
        "reviewed_voice": {"Description": "The same of the voice"},
        "review_note": {"Description": "What that person adds"},
        "reviewer": {"Description": "Who that is"},
    }
    for column, words in levels.items():
        told[column]["Levels"] = dict(words)
    about = {"Notice": notice, "GeneratedBy": [dict(generated_by)]}
    return json.dumps({**told, **about}, indent=2, ensure_ascii=False) + "\n"


def read_table(path: Path) -> Document:
    """The tiers of a table with a header: commas, semicolons or tabs; any order of columns.

    Times are columns called start and end, or onset and duration, in seconds or as 0:01:02.5, or
    those of ELAN's tab-delimited export.
    Either each further column is a tier of its name (face, voice, …), or one column names the tier
    of each row (tier) and another one its label. A column `person` tells whom a row is about.

    Raises:
        AnnotationError: it can't be read, or has no such columns.
    """
    remarks: list[str] = []
    lines = read_text(path, remarks).splitlines()
    (_, header), *rows = _filled_rows(path, lines)
    columns = _Columns(path, header)
    spans: dict[tuple[str, str | None], list[Span]] = {}
    files: set[str] = set()
    for number, row in rows:
        if len(row) < len(header):
            row = [*row, *[""] * (len(header) - len(row))]  # noqa: PLW2901 - a short row is filled
        start_s, end_s = columns.times(number, row)
        files.update(row[k] for k in columns.files)
        for name, person, label in columns.labels(row):
            spans.setdefault((name, person), []).append(Span(start_s, end_s, label))
    if len(files) > 1:
        raise AnnotationError(
            path,
            f"holds rows of {len(files)} files ({', '.join(sorted(map(shown, files))[:3])}, …).",
            "Keep the rows of one file.",
        )
    tiers = tuple(Tier(name, tuple(own), person) for (name, person), own in spans.items())
    last_s = max((span.end_s for tier in tiers for span in tier.spans), default=0.0)
    return checked(Document(tiers, str(path), last_s, remarks=tuple(remarks)), path)


def _filled_rows(path: Path, lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """The header and all rows that say something, numbered as spreadsheets number them."""
    delimiter = max("\t;,", key=next((line for line in lines if line.strip()), "").count)
    if sum(1 for line in lines if line.strip()) > _MAX_ROWS:
        raise AnnotationError(path, f"has over {_MAX_ROWS:,} rows, which no annotation has.")
    rows = enumerate(csv.reader(lines, delimiter=delimiter), start=1)
    try:
        found = [(number, row) for number, row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise AnnotationError(path, f"is no table that can be read ({error}).") from error
    if not found:
        raise AnnotationError(path, "is empty.", "Save the annotation again.")
    return found


class _Columns:
    """What the columns of a table are."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        if len(header) > _MAX_COLUMNS:
            raise AnnotationError(path, f"has {len(header):,} columns, which no annotation has.")
        self._path = path
        self._names = [shown(name.strip().lstrip("\ufeff")) for name in header]
        plain = [re.sub(r"[^a-z]", "", name.lower()) for name in self._names]
        self._in_ms = {k for k, name in enumerate(plain) if name in _IN_MILLISECONDS}

        def find(known: Sequence[str]) -> int | None:
            return next((plain.index(word) for word in known if word in plain), None)

        start, self._end, self._length = find(_STARTS), find(_ENDS), find(_LENGTHS)
        if start is None or (self._end is None and self._length is None):
            raise AnnotationError(
                path,
                f"has no columns of times; its columns are {', '.join(self._names)[:200]}.",
                "Call them start and end (or onset and duration), in seconds.",
            )
        self._start = start
        self._person = find(_PEOPLE)
        self.files = [k for k, name in enumerate(plain) if name in _FILES][:1]
        self._tier, self._label = find(_TIERS), find(_LABELS)
        self._wide = [
            k
            for k, name in enumerate(self._names)
            if k not in (self._person, *self.files)
            and plain[k] not in _TIMES
            and name not in _NO_LABELS
            and not _PROBS.fullmatch(name)
        ]

    def times(self, number: int, row: Sequence[str]) -> tuple[float, float]:
        """Start and end in seconds, of a row by its number in the file."""
        start_s = self._seconds(number, row, self._start)
        if self._end is not None:
            return start_s, self._seconds(number, row, self._end)
        return start_s, start_s + self._seconds(number, row, self._length or 0)

    def _seconds(self, number: int, row: Sequence[str], column: int) -> float:
        word = row[column].strip()
        clock = _CLOCK.fullmatch(word)
        if clock is not None:
            hours, minutes, seconds = clock.groups()
            whole = int(hours or 0) * 3600 + int(minutes) * 60
            return whole + float(seconds.replace(",", "."))
        if not _NUMBER.fullmatch(word):
            raise AnnotationError(
                self._path,
                f"row {number}: {shown(word)[:40]!r} is no time.",
                "Times are in seconds (12.5) or as 0:00:12.5.",
            )
        time = float(word.replace(",", "."))
        return time / 1000 if column in self._in_ms else time

    def labels(self, row: Sequence[str]) -> Iterable[tuple[str, str | None, str]]:
        """Tier, person and label of what a row says."""
        person = None if self._person is None else _said(row[self._person])
        if self._tier is not None and self._label is not None:
            tier, label = _said(row[self._tier]), _said(row[self._label])
            if tier and label:
                yield tier, person, label
            return
        for k in self._wide:
            label = _said(row[k])
            if label:
                yield self._names[k], person, label


def _said(cell: str) -> str | None:
    # Our own tables have ' before what spreadsheets would take for a formula.
    text = shown(cell.strip())
    return None if text.lower() in _EMPTY else cell_text(text)
