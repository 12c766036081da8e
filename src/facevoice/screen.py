"""What the command line shows to people: progress, tables, sentences, complaints."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.batch import Progress, ProgressCallback
from facevoice.labels import Outcome, Status
from facevoice.report import build_table, summarize_in_words
from facevoice.report.table import OUTCOME_STYLES
from facevoice.results import Report

_MAX_TABLE_WINDOWS: Final = 40
_NAME_WIDTH: Final = 24


@dataclass(frozen=True, slots=True)
class Screen:
    """Where people's text, errors and progress (None: nowhere) go, and how much of them."""

    text: Console
    errors: Console
    progress: Console | None
    quiet: bool
    verbose: bool

    def show(self, report: Report) -> None:
        """Show one file's table and sentence; of a failed file only why, also when quiet."""
        if report.status is Status.FAILED:
            self.complain(summarize_in_words(report))
            return
        if self.quiet:
            return
        max_windows = None if self.verbose else _MAX_TABLE_WINDOWS
        self.text.print(Text(report.path, style="bold", overflow="fold"))
        self.text.print(build_table(report, max_windows=max_windows))
        self.text.print()
        style = "" if report.summary is None else OUTCOME_STYLES[report.summary.outcome]
        self.text.print(Text(summarize_in_words(report), style=style.replace("dim", "")))
        self.text.print()

    def say(self, message: str) -> None:
        """Say something unless quiet."""
        if not self.quiet:
            self.text.print(Text(message, overflow="fold"))

    def complain(self, message: str) -> None:
        """Say what went wrong, also when quiet."""
        self.errors.print(Text(message, style="bold red", overflow="fold"))


def open_screen(*, data_on_stdout: bool, progress: bool, quiet: bool, verbose: bool) -> Screen:
    """Choose the consoles, and send the package's log messages to the same place."""
    errors = Console(stderr=True, highlight=False)
    # Where standard output carries data, people's text must stay out of it.
    text = errors if data_on_stdout else Console(highlight=False)
    # All that reaches the terminal shares one console there, or progress and the rest would
    # overwrite each other; progress is never written to a file or pipe.
    display = next((console for console in (text, errors) if console.is_terminal), None)
    if display is not None and errors.is_terminal:
        errors = display
    log = logging.getLogger("facevoice")
    log.handlers[:] = [RichHandler(console=errors, show_path=False, show_time=False)]
    log.setLevel(logging.DEBUG if verbose else logging.WARNING)
    log.propagate = False
    return Screen(text, errors, display if progress and not quiet else None, quiet, verbose)


@contextmanager
def progress_bar(console: Console | None) -> Iterator[ProgressCallback | None]:
    """A live bar over the media seconds of each file; gives None where there is no console."""
    if console is None:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[seconds]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        task = display.add_task("", total=None, seconds="")
        current = -1

        def show(progress: Progress) -> None:
            nonlocal current
            if progress.index != current:
                current = progress.index
                display.reset(task)
            total = progress.duration_s
            done_s = progress.done_s if total is None else min(progress.done_s, total)
            display.update(
                task,
                description=f"{progress.index + 1}/{progress.num_files} {_short_name(progress)}",
                completed=done_s,
                total=total,
                seconds=f"{done_s:.0f}/{'?' if total is None else f'{total:.0f}'} s",
            )

        yield show


def tally(reports: list[Report]) -> str:
    """How many files came to which outcome."""
    counts = {
        outcome.value: sum(r.summary is not None and r.summary.outcome is outcome for r in reports)
        for outcome in Outcome
    }
    counts["failed"] = sum(report.status is Status.FAILED for report in reports)
    cells = [f"{number} {name}" for name, number in counts.items() if number]
    return f"{len(reports)} files: {', '.join(cells)}"


def complain(message: str) -> None:
    """Say on standard error what went wrong; for commands that open no `Screen`."""
    Console(stderr=True, highlight=False).print(Text(message, style="bold red", overflow="fold"))


def _short_name(progress: Progress) -> str:
    name = progress.path.name
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
