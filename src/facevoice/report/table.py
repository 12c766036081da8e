"""What many files came to: counted as they come, none of them kept."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from facevoice.errors import MissingExtraError
from facevoice.records import (
    EMOTIONS,
    ChannelPosterior,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    top_emotion,
)
from facevoice.report.json import round_probs
from facevoice.report.words import percent

if TYPE_CHECKING:
    from pandas import DataFrame


class Tally:
    """Counts of files, windows, seconds and failures."""

    def __init__(self) -> None:
        self.num_files = 0
        self.num_known = 0
        self.num_failed = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._windows: Counter[Outcome] = Counter()
        self._seconds: Counter[Outcome] = Counter()
        self._failures: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()

    def add(self, report: Report, *, known: bool = False) -> None:
        """Count a report; `known`: it was there before."""
        self.num_files += 1
        self.num_known += known
        if report.status is Status.FAILED:
            self.num_failed += 1
            self._failures["unknown" if report.error is None else report.error.kind] += 1
            return
        self._windows.update(report.outcome_counts)
        if report.status is not Status.OK:
            self._statuses[report.status.value] += 1
        if report.summary is not None:
            outcome = report.summary.outcome
            self._outcomes[outcome] += 1
            self._seconds[outcome] += 0 if report.media is None else round(report.media.duration_s)

    def line(self) -> str:
        """How many files came to which outcome, in a line."""
        counts = {outcome.value: self._outcomes[outcome] for outcome in Outcome}
        counts["failed"] = self.num_failed
        cells = [f"{number} {name}" for name, number in counts.items() if number]
        known = f" ({self.num_known} done before)" if self.num_known else ""
        return f"{count_noun(self.num_files, 'file')}{known}: {', '.join(cells)}"

    def table(self) -> Table:
        """Files, windows and minutes by outcome; then what is to be known of single files."""
        table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
        table.add_column("")
        for heading in ("files", "windows", "minutes"):
            table.add_column(heading, justify="right")
        for outcome in Outcome:
            minutes = f"{self._seconds[outcome] / 60:.1f}"
            files, windows = str(self._outcomes[outcome]), str(self._windows[outcome])
            table.add_row(outcome.value, files, windows, minutes)
        if self._statuses or self._failures:
            table.add_section()
        for status, number in self._statuses.most_common():
            table.add_row(f"of these {status}", str(number))
        for kind, number in self._failures.most_common():
            table.add_row(f"failed: {kind}", str(number))
        return table


def count_noun(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# Reports as tables: CSV with one row per window, and one for the console.

_CHANNELS: Final = ("face", "voice", "fused")

CSV_COLUMNS: Final[tuple[str, ...]] = (
    "file",
    "status",
    "start_s",
    "end_s",
    "outcome",
    "conflict",
    "face",
    "voice",
    "fused",
    "face_coverage",
    "speech_coverage",
    "reasons",
    *(f"{channel}_{emotion.value}" for channel in _CHANNELS for emotion in EMOTIONS),
)
"""Columns of every CSV; face, voice, fused name the likeliest emotion, `reasons` is joined by |."""

OUTCOME_STYLES: Final[dict[Outcome, str]] = {
    Outcome.MATCH: "bold blue",
    Outcome.CONFLICT: "bold yellow",
    Outcome.FLAT: "cyan",
    Outcome.INSUFFICIENT: "dim",
}
"""Console styles: told apart by colour-blind people too, and never without the word."""

# What stands where a channel gives no answer; the first reason found wins.
FACE_GAPS: Final[dict[Reason, str]] = {
    Reason.NO_VIDEO_STREAM: "no picture",
    Reason.NO_FACE: "no face",
    Reason.FACE_TOO_SELDOM: "seen seldom",
    Reason.TOO_SHORT: "too short",
}
VOICE_GAPS: Final[dict[Reason, str]] = {
    Reason.NO_AUDIO_STREAM: "no sound",
    Reason.NO_SPEECH: "no speech",
    Reason.SPEECH_TOO_SHORT: "little speech",
    Reason.TOO_SHORT: "too short",
}
GAP: Final = "–"
_HOUR_S: Final = 3600.0


def csv_rows(report: Report) -> Iterator[dict[str, str]]:
    """One row per window, keyed by `CSV_COLUMNS`; what is missing is empty. Six digits."""
    for window in report.windows:
        row = {
            "file": report.path,
            "status": report.status.value,
            "start_s": _number(window.start_s),
            "end_s": _number(window.end_s),
            "outcome": window.outcome.value,
            "conflict": "" if window.conflict is None else _number(window.conflict),
            "face_coverage": _number(window.face_coverage),
            "speech_coverage": _number(window.speech_coverage),
            "reasons": "|".join(reason.value for reason in window.reasons),
        }
        for channel in _CHANNELS:
            row.update(_posterior_cells(channel, getattr(window, channel)))
        yield row


def to_csv(reports: Iterable[Report], *, header: bool = True) -> str:
    """All windows of the reports as CSV text (RFC 4180, but lines end in a bare line feed)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    for report in reports:
        writer.writerows(csv_rows(report))
    return text.getvalue()


def build_table(report: Report, *, max_windows: int | None = None) -> Table:
    """The windows of a report as a console table that fits into 80 columns.

    `max_windows` cuts long tables; what was left out is said in the caption.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("time", no_wrap=True)
    for heading in ("face", "voice", "both"):
        table.add_column(heading, no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("conflict", justify="right", no_wrap=True)
    shown = report.windows[:max_windows]
    for window in shown:
        table.add_row(*_cells(window, _time_span(window)))
    if report.summary is not None and len(report.windows) > 1:
        table.add_section()
        table.add_row(*_cells(report.summary, "all of it"))
    hidden = len(report.windows) - len(shown)
    if hidden:
        table.caption = f"… and {hidden} more windows: --verbose shows and --out writes them all"
        table.caption_justify = "left"
    return table


def channel_words(
    posterior: ChannelPosterior | None, reasons: tuple[Reason, ...], gaps: dict[Reason, str]
) -> str:
    """What a channel says in two words: the likeliest emotion in per cent, or why there is none.

    `gaps` is `FACE_GAPS`, `VOICE_GAPS`, or empty where no reason is to be given.
    """
    if posterior is None:
        return next((text for reason, text in gaps.items() if reason in reasons), GAP)
    emotion, prob = top_emotion(posterior)
    return f"{emotion.value} {percent(prob)}"


def _number(value: float) -> str:
    return f"{value:.6f}"


def _posterior_cells(channel: str, posterior: ChannelPosterior | None) -> dict[str, str]:
    names = [f"{channel}_{emotion.value}" for emotion in EMOTIONS]
    if posterior is None:
        return {channel: "", **dict.fromkeys(names, "")}
    probs = (_number(prob) for prob in round_probs(posterior.probs))
    return {channel: top_emotion(posterior)[0].value, **dict(zip(names, probs, strict=True))}


def _cells(prediction: Prediction, time: str) -> tuple[str | Text, ...]:
    outcome = prediction.outcome
    return (
        time,
        _emotion_cell(prediction.face, prediction.reasons, FACE_GAPS),
        _emotion_cell(prediction.voice, prediction.reasons, VOICE_GAPS),
        _emotion_cell(prediction.fused, (), {}),
        Text(outcome.value, style=OUTCOME_STYLES[outcome]),
        GAP if prediction.conflict is None else percent(prediction.conflict),
    )


def _emotion_cell(
    posterior: ChannelPosterior | None, reasons: tuple[Reason, ...], gaps: dict[Reason, str]
) -> Text:
    words = channel_words(posterior, reasons, gaps)
    return Text(words, style="dim" if posterior is None else "")


def _time_span(window: Prediction) -> str:
    if window.end_s < _HOUR_S:
        return f"{_clock(window.start_s, 1)}–{_clock(window.end_s, 1)}"
    # Beyond an hour, tenths and the hour of the end would push the table past 80 columns.
    end_s = window.end_s % _HOUR_S
    return f"{_clock(window.start_s, 0)}–{_clock(end_s, 0, minute_digits=2)}"


def _clock(seconds: float, digits: int, *, minute_digits: int = 1) -> str:
    tenths = round(seconds, digits) * 10
    minutes, second = divmod(round(tenths) / 10, 60)
    hours, minute = divmod(int(minutes), 60)
    second_text = f"{second:0{3 + digits if digits else 2}.{digits}f}"
    if hours:
        return f"{hours}:{minute:02}:{second_text}"
    return f"{minute:0{minute_digits}}:{second_text}"


# A report as a pandas table.

_CHANNELS_FRAME = ("face", "voice", "fused")


def to_pandas(report: Report) -> DataFrame:
    """One row per window; columns are those of the CSV, numbers with all their digits.

    file, reasons (joined by |): text; status, outcome, face, voice, fused: categories that list
    every value there is, so that groups of several files agree; all others: float64, times in
    seconds, NaN where a channel or the conflict is missing. A report without windows gives no rows
    and the same columns.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("a report as a pandas table", "plot") from error
    rows = [_row(report, window) for window in report.windows]
    emotions = pd.CategoricalDtype([emotion.value for emotion in EMOTIONS])
    dtypes: dict[str, Any] = {
        **dict.fromkeys(CSV_COLUMNS, "float64"),
        **dict.fromkeys(_CHANNELS_FRAME, emotions),
        **dict.fromkeys(("file", "reasons"), "str"),
        "status": pd.CategoricalDtype([status.value for status in Status]),
        "outcome": pd.CategoricalDtype([outcome.value for outcome in Outcome]),
    }
    # Column by column: what is missing in all rows must still be NaN of the right type.
    columns = {n: pd.Series([r.get(n) for r in rows], dtype=dtypes[n]) for n in CSV_COLUMNS}
    return pd.DataFrame(columns)


def _row(report: Report, window: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        # Names that are no valid text, which file systems allow, can't be stored as text.
        "file": report.path.encode("utf-8", "replace").decode("utf-8"),
        "status": report.status.value,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "outcome": window.outcome.value,
        "conflict": window.conflict,
        "face_coverage": window.face_coverage,
        "speech_coverage": window.speech_coverage,
        "reasons": "|".join(reason.value for reason in window.reasons),
    }
    for channel in _CHANNELS_FRAME:
        posterior = getattr(window, channel)
        if posterior is not None:
            row[channel] = top_emotion(posterior)[0].value
            for emotion, prob in zip(EMOTIONS, posterior.probs.tolist(), strict=True):
                row[f"{channel}_{emotion.value}"] = prob
    return row


# Reports as a Parquet dataset for pandas, DuckDB, Spark: one table of windows, one of files.
#
#     DIR/windows/outcome=conflict/part-0.parquet …   a row a window, partitioned by outcome
#     DIR/files.parquet                               a row a file, failed ones too
#
# Columns of windows are those of the CSV (`facevoice.report.table.CSV_COLUMNS`), numbers with all
# their digits. Read it with `pandas.read_parquet("DIR/windows")`, or in DuckDB
# `select * from read_parquet('DIR/windows/**/*.parquet', hive_partitioning = true)`.

DATASET_NAME: Final = "dataset"
# Rows held before they are written; a row takes about 300 bytes.
_ROWS_HELD: Final = 20_000
# Rows in one file, so that readers can share the work.
_ROWS_PER_PART: Final = 2_000_000


class ParquetDataset:
    """A dataset that grows report by report, in bounded memory; `finish` gives it its place.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OSError: the folder can't be written.
    """

    def __init__(self, target: Path) -> None:
        self._arrow, self._parquet = _import_parquet()
        self._target = target
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part = target.with_name(f".{target.name}.part")
        shutil.rmtree(self._part, ignore_errors=True)  # of a run that was killed
        self._part.mkdir()
        self._windows = _window_schema(self._arrow)
        self._num_parts: Counter[str] = Counter()
        self._parts: dict[str, _Table] = {}
        files = self._part / "files.parquet"
        self._files = _Table(self._arrow, self._parquet, files, _file_schema(self._arrow))

    def add(self, report: Report) -> None:
        """Take a report."""
        self._files.add(_file_row(report))
        for window in report.windows:
            self._part_for(window.outcome).add(_window_row(report, window))

    def finish(self) -> None:
        """Close all files; the dataset then takes the place of what lay at its path."""
        for table in (*self._parts.values(), self._files):
            table.close()
        old = self._part.with_suffix(".old")
        if self._target.exists():
            self._target.replace(old)
        self._part.replace(self._target)
        shutil.rmtree(old, ignore_errors=True)

    def _part_for(self, outcome: Outcome) -> _Table:
        table = self._parts.get(outcome.value)
        if table is not None and table.num_rows < _ROWS_PER_PART:
            return table
        if table is not None:
            table.close()
        folder = self._part / "windows" / f"outcome={outcome.value}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part-{self._num_parts[outcome.value]}.parquet"
        self._num_parts[outcome.value] += 1
        table = self._parts[outcome.value] = _Table(self._arrow, self._parquet, path, self._windows)
        return table


class _Table:
    """One Parquet file."""

    def __init__(self, arrow: Any, parquet: Any, path: Path, schema: Any) -> None:
        self._arrow = arrow
        self._schema = schema
        self._held: list[dict[str, Any]] = []
        self._writer = parquet.ParquetWriter(path, schema, compression="zstd")
        self.num_rows = 0

    def add(self, row: dict[str, Any]) -> None:
        self.num_rows += 1
        self._held.append(row)
        if len(self._held) >= _ROWS_HELD:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._held:
            table = self._arrow.Table.from_pylist(self._held, schema=self._schema)
            self._writer.write_table(table)
            self._held = []


def _window_row(report: Report, window: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "file": report.path,
        "status": report.status.value,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "conflict": window.conflict,
        "face_coverage": window.face_coverage,
        "speech_coverage": window.speech_coverage,
        "reasons": [reason.value for reason in window.reasons],
    }
    for channel in _CHANNELS:
        row.update(_posterior_cells_dataset(channel, getattr(window, channel)))
    return row


def _posterior_cells_dataset(channel: str, posterior: ChannelPosterior | None) -> dict[str, Any]:
    if posterior is None:
        return {}
    probs = zip(EMOTIONS, posterior.probs.tolist(), strict=True)
    cells: dict[str, Any] = {f"{channel}_{emotion.value}": prob for emotion, prob in probs}
    return {channel: top_emotion(posterior)[0].value, **cells}


def _file_row(report: Report) -> dict[str, Any]:
    summary, error = report.summary, report.error
    counts = {f"num_{o.value}": report.outcome_counts.get(o, 0) for o in Outcome}
    return {
        "file": report.path,
        "sha256": report.sha256,
        "status": report.status.value,
        "error_kind": None if error is None else error.kind,
        "error": None if error is None else error.message,
        "duration_s": None if report.media is None else report.media.duration_s,
        "outcome": None if summary is None else summary.outcome.value,
        "conflict": None if summary is None else summary.conflict,
        **{c: _top(getattr(summary, c, None)) for c in _CHANNELS},
        "num_windows": len(report.windows),
        **counts,
        "facevoice_version": report.facevoice_version,
    }


def _top(posterior: ChannelPosterior | None) -> str | None:
    return None if posterior is None else top_emotion(posterior)[0].value


def _window_schema(arrow: Any) -> Any:
    text, number = arrow.string(), arrow.float64()
    names = [f"{channel}_{emotion.value}" for channel in _CHANNELS for emotion in EMOTIONS]
    return arrow.schema(
        [
            ("file", text),
            ("status", text),
            ("start_s", number),
            ("end_s", number),
            ("conflict", number),
            *((channel, text) for channel in _CHANNELS),
            ("face_coverage", number),
            ("speech_coverage", number),
            ("reasons", arrow.list_(text)),
            *((name, number) for name in names),
        ]
    )


def _file_schema(arrow: Any) -> Any:
    text, number, count = arrow.string(), arrow.float64(), arrow.int64()
    return arrow.schema(
        [
            *((n, text) for n in ("file", "sha256", "status", "error_kind", "error")),
            ("duration_s", number),
            ("outcome", text),
            ("conflict", number),
            *((channel, text) for channel in _CHANNELS),
            ("num_windows", count),
            *((f"num_{outcome.value}", count) for outcome in Outcome),
            ("facevoice_version", text),
        ]
    )


def _import_parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet output", "parquet") from error
    return pyarrow, pyarrow.parquet
