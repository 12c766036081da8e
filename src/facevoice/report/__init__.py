"""What becomes of a `Report`: JSON, CSV, a page, a console table, one sentence in plain words."""

from __future__ import annotations

from facevoice.report.folder import DEFAULT_FORMATS, FORMATS, ReportFolder
from facevoice.report.json import from_json, read_report, to_json, to_jsonl, window_to_jsonl
from facevoice.report.page import (
    is_report_page,
    page_script,
    page_style,
    to_html,
    write_report_page,
)
from facevoice.report.plot import plot_report
from facevoice.report.table import CSV_COLUMNS, build_table, csv_rows, to_csv, to_pandas
from facevoice.report.words import summarize_in_words

__all__ = [
    "CSV_COLUMNS",
    "DEFAULT_FORMATS",
    "FORMATS",
    "ReportFolder",
    "build_table",
    "csv_rows",
    "from_json",
    "is_report_page",
    "page_script",
    "page_style",
    "plot_report",
    "read_report",
    "summarize_in_words",
    "to_csv",
    "to_html",
    "to_json",
    "to_jsonl",
    "to_pandas",
    "window_to_jsonl",
    "write_report_page",
]
