"""From a video, or a report written before, to a page on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.errors import ConfigError
from facevoice.report.folder import write_atomically
from facevoice.report.html import is_report_page, to_html
from facevoice.report.json import read_report
from facevoice.results import Report
from facevoice.trace import TraceRecorder

if TYPE_CHECKING:  # Those who only read reports need not load the networks' runtime.
    from facevoice.pipeline import Analyzer, ProgressCallback

REPORT_SUFFIX: Final = ".json"


def write_report_page(
    path: Path,
    out: Path,
    analyzer: Analyzer | None = None,
    *,
    on_progress: ProgressCallback | None = None,
    overwrite: bool = False,
) -> Report:
    """Write the page of a video, or of a report in JSON, to `out`; all of it or nothing.

    Args:
        path: a video or audio file, or a report that `facevoice analyze` wrote. Such a report
            holds neither face boxes nor the waveform, so its page shows none.
        out: where the page goes; a page that was made here is replaced.
        analyzer: reads the video; not needed for a report.
        on_progress: called with the seconds of media done so far.
        overwrite: whether any other file may be replaced too.

    Raises:
        ConfigError: `out` is another file, a folder, or can't be written.
        MediaError: the video can't be read.
        ReportError: the JSON is no report.
        ValueError: `path` is no report and there is no analyzer.
    """
    check_page_target(out, overwrite=overwrite)
    if is_report_file(path):
        report, trace = read_report(path), None
    elif analyzer is None:
        raise ValueError(f"{path} is no report: an analyzer is needed")
    else:
        recorder = TraceRecorder()
        report = analyzer.analyze(path, on_progress=on_progress, on_read=recorder.add)
        trace = recorder.finish()
    try:
        write_atomically(out, to_html(report, trace))
    except OSError as error:
        raise ConfigError(f"{out}: can't be written ({error.strerror})") from error
    return report


def is_report_file(path: Path) -> bool:
    """Whether a file is taken for a report rather than for media."""
    return path.suffix.lower() == REPORT_SUFFIX


def page_path(path: Path, folder: Path) -> Path:
    """Where the page of a file goes if nothing else is said: `talk.mp4` → `folder/talk.html`."""
    return folder / f"{path.stem or 'report'}.html"


def check_page_target(out: Path, *, overwrite: bool = False) -> None:
    """Make sure, before any work, that a page may be written to `out`.

    Raises:
        ConfigError: see `write_report_page`.
    """
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; name a file, such as {out / 'report.html'}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}; make it first")
    try:
        is_free = overwrite or not out.exists() or is_report_page(out)
    except OSError as error:
        raise ConfigError(f"{out}: can't be read ({error.strerror})") from error
    if not is_free:
        raise ConfigError(
            f"{out}: there is another file of that name, which is no page of facevoice; "
            "choose another with --out, or replace it with --overwrite"
        )
