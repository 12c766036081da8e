"""What the command line shows to people: progress, tables, sentences, complaints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.batch import Progress, ProgressCallback
from facevoice.labels import Status
from facevoice.report import build_table, summarize_in_words
from facevoice.report.table import OUTCOME_STYLES
from facevoice.report.tally import Tally, count_noun
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

    def show_line(self, report: Report) -> None:
        """Show one of many files in a line; of a failed file why, also when quiet."""
        if report.status is Status.FAILED:
            self.complain(summarize_in_words(report))
        elif not self.quiet and report.summary is not None:
            outcome = report.summary.outcome
            line = Text(f"{report.path}  ", overflow="fold")
            line.append(outcome.value, style=OUTCOME_STYLES[outcome])
            line.append(f", {count_noun(len(report.windows), 'window')}")
            self.text.print(line)

    def show_tally(self, tally: Tally) -> None:
        """Show what all files came to, as a line and a table."""
        if self.quiet:
            return
        self.text.print(Text(tally.line(), overflow="fold"))
        self.text.print()
        self.text.print(tally.table())

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
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        task = display.add_task("", total=None, note="")
        begun_s = time.monotonic()
        current = ""

        def show(progress: Progress) -> None:
            nonlocal current
            if progress.done_s is not None and progress.path != current:
                current = progress.path
                display.reset(task)
            completed, total, done = _amounts(progress)
            speed = progress.media_s / max(time.monotonic() - begun_s, 1e-3)
            number = progress.num_done + (progress.done_s is not None)
            display.update(
                task,
                description=f"{number}/{progress.num_files} {_short_name(progress)}",
                completed=completed,
                total=total,
                note=f"{done}{speed:.1f}× real time" if speed > 0 else done,
            )

        yield show


def _amounts(progress: Progress) -> tuple[float, float | None, str]:
    """Completed and total for the bar, and how to say it: of one file seconds, else files."""
    if progress.done_s is None:
        return progress.num_done, progress.num_files, ""
    total = progress.duration_s
    done_s = progress.done_s if total is None else min(progress.done_s, total)
    return done_s, total, f"{done_s:.0f}/{'?' if total is None else f'{total:.0f}'} s "


def complain(message: str) -> None:
    """Say on standard error what went wrong; for commands that open no `Screen`."""
    Console(stderr=True, highlight=False).print(Text(message, style="bold red", overflow="fold"))


def _short_name(progress: Progress) -> str:
    name = PurePath(progress.path).name
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
