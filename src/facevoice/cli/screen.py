"""What the command line shows to people: lines, complaints, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final

from rich.console import Console, RenderableType
from rich.logging import RichHandler
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Display
from rich.text import Text

from facevoice.batch import Progress, ProgressCallback

_LABEL_WIDTH: Final = 34

Show = Callable[[str, float | None, float | None, str], None]
"""Moves a bar: what is at work, how much is done, of how much, and how to say both."""


class Screen:
    """Where people's text, errors, log messages and progress go, and how much of them.

    Args:
        quiet: only errors.
        verbose: log messages of all kinds too.
        log_level: of the messages shown otherwise.
        progress: whether bars may be shown; they never are in a file or pipe.
        data_on_stdout: keep text out of standard output.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        verbose: bool = False,
        log_level: int = logging.WARNING,
        progress: bool = True,
        data_on_stdout: bool = False,
    ) -> None:
        errors = Console(stderr=True, highlight=False)
        text = errors if data_on_stdout else Console(highlight=False)
        # All that reaches the terminal shares one console there, or progress and the rest would
        # overwrite each other.
        terminal = next((console for console in (text, errors) if console.is_terminal), None)
        if terminal is not None and errors.is_terminal:
            errors = terminal
        log = logging.getLogger("facevoice")
        log.handlers[:] = [RichHandler(console=errors, show_path=False, show_time=False)]
        log.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else log_level)
        log.propagate = False
        self.quiet = quiet
        self.verbose = verbose
        self._text = text
        self._errors = errors
        self._bars = terminal if progress and not quiet else None

    def say(self, *what: RenderableType, style: str = "") -> None:
        """Show lines and tables, unless quiet."""
        for one in what if not self.quiet else ():
            self._text.print(Text(one, style, overflow="fold") if isinstance(one, str) else one)

    def complain(self, message: str) -> None:
        """Say what went wrong, also when quiet."""
        self._errors.print(Text(message, style="bold red", overflow="fold"))

    @contextmanager
    def bar(self) -> Iterator[Show | None]:
        """A live bar for the `with` block; None where none may be shown."""
        if self._bars is None:
            yield None
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Display(*columns, console=self._bars, transient=True) as display:
            task = display.add_task("", total=None, note="")

            def show(what: str, done: float | None, total: float | None, note: str) -> None:
                if done is not None and done < display.tasks[0].completed:
                    display.reset(task)  # The next file begins.
                label = what if len(what) <= _LABEL_WIDTH else f"{what[: _LABEL_WIDTH - 1]}…"
                display.update(task, description=label, completed=done, total=total, note=note)

            yield show


def complain(message: str) -> None:
    """Say on standard error what went wrong, where no `Screen` is open."""
    Console(stderr=True, highlight=False).print(Text(message, style="bold red", overflow="fold"))


def steps(show: Show | None, what: str = "") -> Callable[..., None]:
    """Moves a bar by `(num_done, num_all)`, and by `(num_done, num_all, what)`."""

    def step(num_done: int, num_all: int, now: str = what) -> None:
        if show is not None:
            show(now, num_done, num_all, f"{num_done}/{num_all}")

    return step


def passes(
    show: Show | None, names: Sequence[str], duration_s: float
) -> Iterator[Callable[[float], None]]:
    """For each pass over one file in turn, what moves a bar by the seconds done."""
    tell = media(show)
    for number, name in enumerate(names):

        def on_progress(done_s: float, number: int = number, name: str = name) -> None:
            if tell is not None:
                media_s = number * duration_s + done_s
                tell(Progress(name, number, len(names), done_s, duration_s, media_s))

        yield on_progress


def media(show: Show | None) -> ProgressCallback | None:
    """Moves a bar by the media seconds of each file, and says how fast they pass."""
    if show is None:
        return None
    begun_s = time.monotonic()

    def on_progress(progress: Progress) -> None:
        number = progress.num_done + (progress.done_s is not None)
        what = f"{number}/{progress.num_files} {PurePath(progress.path).name}"
        speed = progress.media_s / max(time.monotonic() - begun_s, 1e-3)
        told = f"{speed:.1f}× real time" if speed > 0 else ""
        if progress.done_s is None:  # Several files are worked on at once.
            show(what, progress.num_done, progress.num_files, told)
            return
        total_s = progress.duration_s
        done_s = progress.done_s if total_s is None else min(progress.done_s, total_s)
        length = "?" if total_s is None else f"{total_s:.0f}"
        show(what, done_s, total_s, f"{done_s:.0f}/{length} s {told}")

    return on_progress
