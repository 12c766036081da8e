"""Reports as a Parquet dataset for pandas, DuckDB, Spark: one table of windows, one of files.

    DIR/windows/outcome=conflict/part-0.parquet …   a row a window, partitioned by outcome
    DIR/files.parquet                               a row a file, failed ones too

Columns of windows are those of the CSV (`facevoice.report.table.CSV_COLUMNS`), numbers with all
their digits. Read it with `pandas.read_parquet("DIR/windows")`, or in DuckDB
`select * from read_parquet('DIR/windows/**/*.parquet', hive_partitioning = true)`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Final

from facevoice.errors import MissingExtraError
from facevoice.labels import EMOTIONS, Outcome
from facevoice.results import Prediction, Report, top_emotion
from facevoice.types import ChannelPosterior

DATASET_NAME: Final = "dataset"
_CHANNELS: Final = ("face", "voice", "fused")
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
        row.update(_posterior_cells(channel, getattr(window, channel)))
    return row


def _posterior_cells(channel: str, posterior: ChannelPosterior | None) -> dict[str, Any]:
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
