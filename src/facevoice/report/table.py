"""Reports as tables: windows and moments for CSV and pandas, and what the console shows."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from facevoice.errors import MissingExtraError
from facevoice.records import EMOTIONS, Moment, Outcome, Prediction, Report, Status, top_emotion
from facevoice.report.json import round_probs
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_WORDS,
    GAP,
    OUTCOME_STYLES,
    STATUS_WORDS,
    channel_words,
    conflict_words,
    count_noun,
    error_words,
    gap_words,
    names_of,
    strength_words,
    strongest_conflicts,
)
from facevoice.review import Verdict
from facevoice.texts import safe_cell, shown

if TYPE_CHECKING:
    from pandas import DataFrame

_CHANNELS: Final = tuple(CHANNEL_WORDS)
_PROBS: Final = {channel: [f"{channel}_{e.value}" for e in EMOTIONS] for channel in _CHANNELS}

REVIEW_COLUMNS: Final = (
    *("reviewed", "reviewed_outcome", "reviewed_face", "reviewed_voice"),
    *("review_note", "reviewer"),
)
"""What a person says of a moment, empty without a review. reviewed: right, wrong, note (a note
only) or outdated (of another answer than there is now); reviewed_outcome, …: the person's word,
which is the machine's where that is right, empty where they don't tell; see `Verdict`."""
OUTDATED: Final = "outdated"
_VERDICT_WORDS: Final = {True: "right", False: "wrong", None: "note"}
VERDICTS: Final = (*_VERDICT_WORDS.values(), OUTDATED)
"""What `reviewed` may hold."""
Cells = dict[str, str | None]
"""What `REVIEW_COLUMNS` hold for a moment; None where nothing is told."""

CSV_COLUMNS: Final[tuple[str, ...]] = (
    "file",
    "status",
    "moment",
    "start_s",
    "end_s",
    "outcome",
    "conflict",
    *_CHANNELS,
    "face_coverage",
    "speech_coverage",
    "face_known",
    "voice_known",
    "face_unfamiliarity",
    "voice_unfamiliarity",
    "reasons",
    "person",
    "text",
    *REVIEW_COLUMNS,
    *(name for names in _PROBS.values() for name in names),
)
"""Columns of every CSV of windows; moment: its number, from 1; face, voice, fused: the likeliest
emotion; …_known, …_unfamiliarity: as in `ChannelPosterior`; `reasons` is joined by |; person: whose
face is judged, by name; text: the words, where a transcript tells them. Where all people were asked
for, there is a row for each who is seen."""

MOMENT_COLUMNS: Final[tuple[str, ...]] = (
    *("file", "status", "moment", "start_s", "end_s", "outcome", "face", "voice", "conflict"),
    *("strength", "num_windows", "reasons", "person", "text"),
    *REVIEW_COLUMNS,
)
"""Columns of every CSV of moments; see `Moment`."""

_HOUR_S: Final = 3600.0
# Wider than any table.
_ANY_WIDTH: Final = 10_000
# Headings whose cells speak for themselves.
_CLEAR: Final = ("", "who", "outcome", "words")
_MOST_BESIDE: Final = 24
# On a screen of 80 columns, so many characters take four lines beside a moment.
_WORDS_WIDTH: Final = 12
_MAX_WORDS: Final = 60


def window_rows(report: Report) -> Iterator[dict[str, Any]]:
    """Windows by `CSV_COLUMNS`, with all digits; `reasons` is a list, what is missing None.

    Where everybody was asked for, what further people say in a window follows it. Names and words
    are as `texts.shown` shows them.
    """
    numbers = {
        place: number
        for number, moment in enumerate(report.moments, start=1)
        for place in range(moment.first, moment.last + 1)
    }
    called = {person.number: person.name for person in report.people}
    reviewed = review_cells(report)
    for place, window in _all_windows(report):
        row: dict[str, Any] = dict.fromkeys(CSV_COLUMNS)
        row |= {
            "file": shown(report.path),
            "status": report.status.value,
            "moment": numbers.get(place),
            "start_s": window.start_s,
            "end_s": window.end_s,
            "outcome": window.outcome.value,
            "conflict": window.conflict,
            "face_coverage": window.face_coverage,
            "speech_coverage": window.speech_coverage,
            "reasons": [reason.value for reason in window.reasons],
            "person": _shown(called.get(window.person or 0)),
            "text": _shown(report.words_between(window.start_s, window.end_s)),
        }
        number = numbers.get(place)
        # Of further people in this window, the verdict on its moment says nothing.
        if number is not None and window.person == report.moments[number - 1].person:
            row |= reviewed[number - 1]
        for channel, seen in (("face", window.face), ("voice", window.voice)):
            if seen is not None:
                row[f"{channel}_known"] = seen.num_known
                row[f"{channel}_unfamiliarity"] = seen.unfamiliarity
        for channel, names in _PROBS.items():
            posterior = getattr(window, channel)
            if posterior is not None:
                row[channel] = top_emotion(posterior)[0].value
                row |= zip(names, posterior.probs.tolist(), strict=True)
        yield row


def _all_windows(report: Report) -> Iterator[tuple[int, Prediction]]:
    """Every window with its place, and behind it what further people say in it."""
    further: dict[tuple[float, float], list[Prediction]] = {}
    for person in report.people:
        for window in person.windows:
            further.setdefault((window.start_s, window.end_s), []).append(window)
    for place, window in enumerate(report.windows):
        yield place, window
        for other in further.get((window.start_s, window.end_s), ()):
            if other.person != window.person:
                yield place, other


def moment_rows(report: Report) -> Iterator[dict[str, Any]]:
    """Moments by `MOMENT_COLUMNS`, in the form of `window_rows`."""
    called = {person.number: person.name for person in report.people}
    reviewed = review_cells(report)
    for number, moment in enumerate(report.moments, start=1):
        yield {
            "file": shown(report.path),
            "status": report.status.value,
            "moment": number,
            "start_s": moment.start_s,
            "end_s": moment.end_s,
            "outcome": moment.outcome.value,
            "face": None if moment.face is None else moment.face.value,
            "voice": None if moment.voice is None else moment.voice.value,
            "conflict": moment.conflict,
            "strength": moment.strength,
            "num_windows": moment.last - moment.first + 1,
            "reasons": [reason.value for reason in moment.reasons],
            "person": _shown(called.get(moment.person or 0)),
            "text": _shown(report.words_between(moment.start_s, moment.end_s)),
            **reviewed[number - 1],
        }


def review_cells(report: Report) -> list[Cells]:
    """What `REVIEW_COLUMNS` hold for each moment, None where nothing is told."""
    if report.review is None:
        return [dict.fromkeys(REVIEW_COLUMNS) for _ in report.moments]
    verdicts = report.review.placed(report)
    return [_verdict_cells(v, m) for v, m in zip(verdicts, report.moments, strict=True)]


def _verdict_cells(verdict: Verdict | None, moment: Moment) -> Cells:
    if verdict is None:
        return dict.fromkeys(REVIEW_COLUMNS)
    word = _VERDICT_WORDS[verdict.is_right]
    known = verdict.reviewed
    return {
        "reviewed": OUTDATED if verdict.is_outdated(moment) else word,
        "reviewed_outcome": None if known.outcome is None else known.outcome.value,
        "reviewed_face": None if known.face is None else known.face.value,
        "reviewed_voice": None if known.voice is None else known.voice.value,
        "review_note": shown(verdict.note) or None,
        "reviewer": shown(verdict.reviewer) or None,
    }


def _shown(text: str | None) -> str | None:
    return None if text is None else shown(text)


def to_csv(reports: Iterable[Report], *, header: bool = True) -> str:
    """All windows as CSV text (RFC 4180, but lines end in a bare line feed), numbers of six digits.

    What is missing is empty. A text that a spreadsheet would take for a formula has `'` before it.
    """
    rows = (_rounded(row) for report in reports for row in window_rows(report))
    return _csv_text(CSV_COLUMNS, rows, header)


def to_moments_csv(reports: Iterable[Report], *, header: bool = True) -> str:
    """All moments as CSV text, in the form of `to_csv`."""
    rows = (row for report in reports for row in moment_rows(report))
    return _csv_text(MOMENT_COLUMNS, rows, header)


def _csv_text(columns: Sequence[str], rows: Iterable[dict[str, Any]], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        cells = {name: _cell(value) for name, value in row.items()}
        writer.writerow(cells | {"reasons": "|".join(row["reasons"])})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6f}"
    return safe_cell(value) if isinstance(value, str) else value


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose probabilities still sum to one when they are written with six digits."""
    for names in _PROBS.values():
        if row[names[0]] is not None:
            probs = np.array([row[name] for name in names])
            row |= zip(names, round_probs(probs), strict=True)
    return row


def to_pandas(report: Report) -> DataFrame:
    """One row per window; columns are those of the CSV, numbers with all their digits.

    file, reasons (joined by |), person, text and those of `REVIEW_COLUMNS` (missing where nothing
    tells them): text; status,
    outcome, face, voice, fused: categories that list every value there is, so that groups of
    several files agree; moment: Int64; all others: float64, times in seconds, NaN where a channel
    or the conflict is missing. A report without windows gives no rows and the same columns.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("a report as a pandas table", "plot") from error
    rows = [row | {"reasons": "|".join(row["reasons"])} for row in window_rows(report)]
    dtypes: dict[str, Any] = {
        **dict.fromkeys(CSV_COLUMNS, "float64"),
        **dict.fromkeys(("file", "reasons", "person", "text", *REVIEW_COLUMNS), "str"),
        **dict.fromkeys(_CHANNELS, pd.CategoricalDtype([e.value for e in EMOTIONS])),
        "status": pd.CategoricalDtype([status.value for status in Status]),
        "outcome": pd.CategoricalDtype([outcome.value for outcome in Outcome]),
        "moment": "Int64",
    }
    # Column by column: what is missing in all rows must still be NaN of the right type.
    return pd.DataFrame(
        {n: pd.Series([row[n] for row in rows], dtype=dtypes[n]) for n in CSV_COLUMNS}
    )


def build_moments(report: Report, *, max_moments: int | None = None) -> Table:
    """The moments of a report as a console table, the strongest conflicts first, then by time.

    `max_moments` cuts long tables; what was left out is said in the caption.
    """
    conflicts = strongest_conflicts(report.moments)[:max_moments]
    others = [m for m in report.moments if m.outcome is not Outcome.CONFLICT]
    others = others[: None if max_moments is None else max_moments - len(conflicts)]
    names = names_of(report)
    who = ("who",) if names else ()
    table = _new_table(_time_heading(report), *who, "face", "voice", "outcome", "probability")
    _add_words(table, report, in_lines=True)
    with_hours = _end_s(report) >= _HOUR_S
    for group in (conflicts, others):
        for moment in group:
            times = (_clock(s, with_hours=with_hours) for s in (moment.start_s, moment.end_s))
            name = [Text(names.get(moment.person or 0, GAP))] if names else []
            cells = (*name, *_moment_cells(moment), *_words_cell(report, moment))
            table.add_row("–".join(times), *cells)
        table.add_section()
    _say_hidden(table, len(report.moments) - len(conflicts) - len(others), "moment")
    return table


def build_table(report: Report, *, max_windows: int | None = None) -> Table:
    """The windows of a report as a console table that fits into 80 columns.

    `max_windows` cuts long tables; what was left out is said in the caption.
    """
    names = names_of(report)
    channels = [*(["who"] if names else []), *(word.lower() for word in CHANNEL_WORDS.values())]
    table = _new_table(_time_heading(report), *channels, "outcome", "conflict")
    _add_words(table, report, in_lines=False)
    shown = report.windows[:max_windows]
    for window in shown:
        name = [Text(names.get(window.person or 0, GAP))] if names else []
        cells = (*name, *_cells(window), *_words_cell(report, window))
        table.add_row(_window_span(window), *cells)
    if report.summary is not None and len(report.windows) > 1:
        table.add_section()
        nobody = [""] if names else []
        table.add_row("all of it", *nobody, *_cells(report.summary))
    _say_hidden(table, len(report.windows) - len(shown), "window")
    return table


class _FittingTable(Table):
    """A table that turns into two columns where it is too narrow for its words: nothing is cut.

    The first column stays; beside it, the cells of the others follow each other.
    """

    def __init__(self) -> None:
        super().__init__(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.update(width=_ANY_WIDTH)
        fits = Measurement.get(console, wide, self).minimum <= options.max_width
        if fits:
            return super().__rich_console__(console, options)
        return self._in_two_columns().__rich_console__(console, options)

    def _in_two_columns(self) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(max_width=_MOST_BESIDE, overflow="fold")
        table.add_column(overflow="fold")
        table.caption, table.caption_justify = self.caption, self.caption_justify
        headings = [str(column.header) for column in self.columns]
        cells = zip(*(column.cells for column in self.columns), strict=True)
        for row, (first, *others) in zip(self.rows, cells, strict=True):
            told = [
                # Not "face no face".
                Text.assemble("" if heading in (*_CLEAR, str(cell)[3:]) else f"{heading} ", cell)
                for heading, cell in zip(headings[1:], others, strict=True)
                if str(cell) not in ("", GAP)
            ]
            table.add_row(first, Text(", ").join(told))
            if row.end_section:
                table.add_row("", "")
        return table


def _new_table(*headings: str) -> Table:
    table = _FittingTable()
    for heading in headings:
        # On a narrow screen, emotions and leanings go into two lines; the rest stays whole.
        folds = heading in ("who", "face", "voice", "both", "probability")
        justify: Literal["left", "right"] = "left"
        if heading in ("conflict", "probability"):
            justify = "right"
        # As a text: in markup, ":m:" is a picture of a letter.
        table.add_column(Text(heading), justify=justify, no_wrap=not folds, overflow="fold")
    return table


def _add_words(table: Table, report: Report, *, in_lines: bool) -> None:
    """A column for what `_words_cell` gives, if it gives any; in one line, or in a few."""
    if report.transcript is not None and report.transcript.lines:
        overflow: Literal["fold", "ellipsis"] = "fold" if in_lines else "ellipsis"
        table.add_column("words", no_wrap=not in_lines, overflow=overflow, min_width=_WORDS_WIDTH)


def _words_cell(report: Report, said: Moment | Prediction) -> list[str | Text]:
    """What is said meanwhile, shortened; no cell where nothing tells."""
    words = report.words_between(said.start_s, said.end_s)
    if words is None:
        return []
    is_long = len(words) > _MAX_WORDS
    return [Text(f"{words[: _MAX_WORDS - 1].rstrip()}…" if is_long else words)]


def _time_heading(report: Report) -> str:
    return "time (min:s)" if _end_s(report) < _HOUR_S else "time (h:min:s)"


def _end_s(report: Report) -> float:
    return max((moment.end_s for moment in report.moments), default=0.0)


def _say_hidden(table: Table, number: int, noun: str) -> None:
    if number:
        told = count_noun(number, f"more {noun}")
        table.caption = f"… and {told} (-v shows all)"
        table.caption_justify = "left"


class Tally:
    """What many files came to: files, windows, seconds and failures, none of them kept."""

    def __init__(self) -> None:
        self.num_files = 0
        self.num_known = 0
        self.num_failed = 0
        self._files: Counter[Outcome] = Counter()
        self._moments: Counter[Outcome] = Counter()
        self._windows: Counter[Outcome] = Counter()
        self._seconds: dict[Outcome, float] = dict.fromkeys(Outcome, 0.0)
        self._remarks: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def add(self, report: Report, *, known: bool = False, is_written: bool = True) -> None:
        """Count a report; `known`: it was there before; one that isn't written has failed."""
        self.num_files += 1
        self.num_known += known
        if report.status is Status.FAILED:
            self.num_failed += 1
            self._failures["unknown" if report.error is None else report.error.kind] += 1
            return
        if not is_written:
            self.num_failed += 1
            self._failures["not_written"] += 1
        self._windows.update(report.outcome_counts)
        if report.status is not Status.OK:
            self._remarks[STATUS_WORDS[report.status]] += 1
        self._files.update({moment.outcome for moment in report.moments})
        for moment in report.moments:
            self._moments[moment.outcome] += 1
            self._seconds[moment.outcome] += moment.end_s - moment.start_s

    def line(self) -> str:
        """How many files there are, and in how many of them each outcome is found."""
        counts = [f"{o.value} in {self._files[o]}" for o in Outcome if self._files[o]]
        if self.num_failed:
            counts.append(f"{self.num_failed} failed")
        known = f" ({self.num_known} not read again)" if self.num_known else ""
        return f"{count_noun(self.num_files, 'file')}{known}: {', '.join(counts)}"

    def table(self) -> Table:
        """Files, moments, windows and minutes by outcome; then what is to be known of files."""
        table = _FittingTable()
        table.add_column("")
        for heading in ("in files", "moments", "windows", "minutes"):
            table.add_column(heading, justify="right", no_wrap=True)
        for outcome in Outcome:
            counts = (self._files[outcome], self._moments[outcome], self._windows[outcome])
            minutes = f"{self._seconds[outcome] / 60:,.1f}"
            table.add_row(outcome.value, *(f"{number:,}" for number in counts), minutes)
        if self._remarks or self._failures:
            table.add_section()
        for words, number in self._remarks.most_common():
            table.add_row(words, f"{number:,}")
        for kind, number in self._failures.most_common():
            table.add_row(f"failed: {error_words(kind)}", f"{number:,}")
        return table


def _moment_cells(moment: Moment) -> list[Text | str]:
    """What is shown and heard, the outcome and how probable it is."""
    channels = [
        Text(gap_words(moment.reasons, channel), style="dim")
        if emotion is None
        else EMOTION_WORDS[emotion]
        for channel, emotion in (("face", moment.face), ("voice", moment.voice))
    ]
    badge = Text(moment.outcome.value, style=OUTCOME_STYLES[moment.outcome])
    return [*channels, badge, strength_words(moment)]


def _cells(prediction: Prediction) -> list[Text | str]:
    """The channels, the outcome and the probability of conflict."""
    outcome = prediction.outcome
    channels = [
        Text(
            channel_words(prediction, channel),
            style="dim" if getattr(prediction, channel) is None else "",
        )
        for channel in _CHANNELS
    ]
    badge = Text(outcome.value, style=OUTCOME_STYLES[outcome])
    return [*channels, badge, conflict_words(prediction)]


def _window_span(window: Prediction) -> str:
    """In tenths of a second; beyond an hour in seconds, so that tables fit into 80 columns."""
    start_s, end_s = window.start_s, window.end_s
    if end_s < _HOUR_S:
        return f"{_clock(start_s, 1)}–{_clock(end_s, 1)}"
    start, end = (_clock(time_s, with_hours=True) for time_s in (start_s, end_s))
    hour = f"{start.partition(':')[0]}:"
    return f"{start}–{end.removeprefix(hour)}"


def _clock(seconds: float, digits: int = 0, *, with_hours: bool = False) -> str:
    tenths = round(seconds, digits) * 10
    minutes, second = divmod(round(tenths) / 10, 60)
    hours, minute = divmod(int(minutes), 60)
    second_text = f"{second:0{3 + digits if digits else 2}.{digits}f}"
    if hours or with_hours:
        return f"{hours}:{minute:02}:{second_text}"
    return f"{minute}:{second_text}"
