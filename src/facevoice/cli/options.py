"""What the command line shows to people: progress, tables, sentences, complaints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.batch import Progress, ProgressCallback
from facevoice.corpora.manifest import Clip, read_manifest
from facevoice.corpora.prepare import ClipProblem
from facevoice.errors import ConfigError, FacevoiceError
from facevoice.records import Report, Status
from facevoice.report import OUTCOME_STYLES, Tally, build_table, count_noun, summarize_in_words

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


# Options that name a trained model, the same for every command that runs one.

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="DIR",
        help="A checkpoint made by `train`, or a folder made by `export`, which needs no torch. "
        "Default: the compact model of the package.",
    ),
]
BackbonesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="In place of a backbone that the checkpoint names, such as a folder with the same "
        "weights; once a channel.",
    ),
]


# What the commands on corpora say to people, and how they end.

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_NAME_WIDTH_CONSOLE: Final = 34

Manifest = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="A table made by `data prepare`.")
]
Corpora = Annotated[
    list[str] | None,
    typer.Option("--corpus", metavar="NAME", help="Only this corpus; may be given again."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]
Step = Callable[[int, int, str], None]


def read_table(manifest: Path, corpora: list[str] | None) -> tuple[Clip, ...]:
    """The clips of a table, perhaps of some corpora only.

    Raises:
        CorpusError: the table is absent or damaged; names file and line.
        ConfigError: a corpus is not in the table.
    """
    clips = read_manifest(manifest)
    if not corpora:
        return clips
    known = sorted({clip.corpus for clip in clips})
    unknown = [name for name in corpora if name not in known]
    if unknown:
        raise ConfigError(f"--corpus {unknown[0]}: the table holds {', '.join(known)}")
    return tuple(clip for clip in clips if clip.corpus in corpora)


@contextmanager
def told_errors(after_interrupt: str = "Nothing was changed.") -> Iterator[None]:
    """End the command with a message and an exit code instead of a traceback."""
    try:
        yield
    except ConfigError as error:
        complain(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    except OSError as error:
        complain(f"{error.filename or 'A file'}: can't be read or written ({error.strerror})")
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        complain(f"Interrupted. {after_interrupt}")
        raise typer.Exit(EXIT_INTERRUPTED) from error


@contextmanager
def step_bar(console: Console, quiet: bool) -> Iterator[Step]:
    """A live bar on a terminal, nothing elsewhere; gives `step(num_done, num_all, what)`."""
    if quiet or not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        task = display.add_task("reading names", total=None)

        def step(num_done: int, num_all: int, what: str) -> None:
            label = (
                what if len(what) <= _NAME_WIDTH_CONSOLE else f"{what[: _NAME_WIDTH_CONSOLE - 1]}…"
            )
            display.update(task, description=label, completed=num_done, total=num_all)

        yield step


def say(console: Console, line: str) -> None:
    """One paragraph."""
    console.print(Text(line, overflow="fold"))


def count(number: int, noun: str) -> str:
    """1 clip, 1,200 clips."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show_problems(problems: Sequence[ClipProblem], verdict: str) -> None:
    """Each problem on standard error, and on how many clips the verdict was passed."""
    if not problems:
        return
    for problem in problems:
        complain(f"{problem.clip_id}: {problem.message} [{problem.kind}]")
    complain(f"{verdict}: {count(len({problem.clip_id for problem in problems}), 'clip')}.")
