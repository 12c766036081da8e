"""Writes reports into a folder so that a reader never meets half a file."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path, PurePath
from types import TracebackType
from typing import Final, Self

from facevoice.files import write_atomically
from facevoice.records import Report
from facevoice.report.json import to_json, to_jsonl
from facevoice.report.page import to_html
from facevoice.report.table import CSV_COLUMNS, DATASET_NAME, ParquetDataset, csv_rows, to_csv

FORMATS: Final[tuple[str, ...]] = ("json", "csv", "jsonl", "html", "parquet")
DEFAULT_FORMATS: Final[tuple[str, ...]] = ("json", "csv")
WINDOWS_STEM: Final = "windows"
"""`windows.csv` gathers the windows of all files; no single report may take its name."""


class ReportFolder:
    """A folder that takes NAME.json, .csv, .jsonl, .html of each report, and tables over all.

    Use it in a `with` block: windows.csv and dataset/ (Parquet) get their names when the block
    ends, also by an error or an interruption; then they hold the files done so far. Pages have no
    waveform and no face boxes: a report taken from a cache knows of neither.
    """

    def __init__(self, root: Path, formats: Collection[str] = DEFAULT_FORMATS) -> None:
        """Create the folder where it is missing.

        Raises:
            ValueError: a format is not in `FORMATS`.
            MissingExtraError: Parquet is wanted and pyarrow not installed.
            OSError: the folder can't be made or written.
        """
        unknown = set(formats) - set(FORMATS)
        if unknown:
            raise ValueError(f"unknown formats {sorted(unknown)}; known: {', '.join(FORMATS)}")
        self.root = root
        self._formats = frozenset(formats)
        root.mkdir(parents=True, exist_ok=True)
        self._dataset = ParquetDataset(root / DATASET_NAME) if "parquet" in self._formats else None
        self._part = root / f".{WINDOWS_STEM}.csv.part"
        self._file = None
        if "csv" in self._formats:
            self._file = self._part.open("w", encoding="utf-8", newline="")
            self._writer = csv.DictWriter(self._file, CSV_COLUMNS, lineterminator="\n")
            self._writer.writeheader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._part.replace(self.root / f"{WINDOWS_STEM}.csv")
        if self._dataset is not None:
            self._dataset.finish()

    def write(self, report: Report, name: PurePath) -> list[Path]:
        """Write one report under `name`, a relative path without ending; gives the files made.

        Raises:
            OSError: a file can't be written.
        """
        written = []
        base = self.root / name
        base.parent.mkdir(parents=True, exist_ok=True)
        if "json" in self._formats:
            written.append(write_atomically(_add_ending(base, "json"), to_json(report) + "\n"))
        if "jsonl" in self._formats:
            written.append(write_atomically(_add_ending(base, "jsonl"), to_jsonl(report)))
        if "html" in self._formats:
            written.append(write_atomically(_add_ending(base, "html"), to_html(report)))
        if self._dataset is not None:
            self._dataset.add(report)
        if self._file is not None:
            written.append(write_atomically(_add_ending(base, "csv"), to_csv([report])))
            self._writer.writerows(csv_rows(report))
            self._file.flush()
        return written


def _add_ending(base: Path, ending: str) -> Path:
    # Not `with_suffix`: a clip named "take.1" would lose its ".1".
    return base.with_name(f"{base.name}.{ending}")
