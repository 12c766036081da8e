"""What becomes of a `Report`: JSON, tables, a page, a figure, a film, sentences in plain words."""

from __future__ import annotations

from facevoice.report.folder import (
    DEFAULT_FORMATS,
    FORMATS,
    RESERVED_NAMES,
    RESERVED_STEMS,
    ReportFolder,
)
from facevoice.report.json import from_json, read_report, to_json, to_jsonl, window_to_jsonl
from facevoice.report.page import (
    WINDOW_FIELDS,
    check_page_target,
    is_report_page,
    page_script,
    page_style,
    to_html,
    to_notebook,
    to_view,
    window_view,
    write_report_page,
)
from facevoice.report.plot import plot_report
from facevoice.report.table import (
    CSV_COLUMNS,
    MOMENT_COLUMNS,
    REVIEW_COLUMNS,
    Tally,
    build_moments,
    build_table,
    to_csv,
    to_moments_csv,
    to_pandas,
)
from facevoice.report.video import (
    MIN_HEIGHT_PX,
    check_video_target,
    render_video,
    require_video,
)
from facevoice.report.words import (
    OUTCOME_STYLES,
    count_noun,
    describe_in_words,
    describe_known,
    describe_point,
    describe_sound,
    summarize_in_words,
    vocabulary,
)

__all__ = [
    "CSV_COLUMNS",
    "DEFAULT_FORMATS",
    "FORMATS",
    "MIN_HEIGHT_PX",
    "MOMENT_COLUMNS",
    "OUTCOME_STYLES",
    "RESERVED_NAMES",
    "RESERVED_STEMS",
    "REVIEW_COLUMNS",
    "WINDOW_FIELDS",
    "ReportFolder",
    "Tally",
    "build_moments",
    "build_table",
    "check_page_target",
    "check_video_target",
    "count_noun",
    "describe_in_words",
    "describe_known",
    "describe_point",
    "describe_sound",
    "from_json",
    "is_report_page",
    "page_script",
    "page_style",
    "plot_report",
    "read_report",
    "render_video",
    "require_video",
    "summarize_in_words",
    "to_csv",
    "to_html",
    "to_json",
    "to_jsonl",
    "to_moments_csv",
    "to_notebook",
    "to_pandas",
    "to_view",
    "vocabulary",
    "window_to_jsonl",
    "window_view",
    "write_report_page",
]
