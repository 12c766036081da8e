"""What the command line shows to people: lines, complaints, progress."""

from __future__ import annotations

import codecs
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.logging import RichHandler
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Display
from rich.segment import Segment
from rich.text import Text

from facevoice.batch import Progress, ProgressCallback
from facevoice.texts import shown, shown_lines

_LABEL_WIDTH: Final = 34
_PLAIN: Final = {
    **{"–": "-", "—": "-", "…": "...", "×": "x", "·": ".", "→": "->", "’": "'"},
    **dict.fromkeys("“”", '"'),
}

Show = Callable[[str, float | None, float | None, str], None]
"""Moves a bar: what is at work, how much is done, of how much, and how to say both."""


class _Console(Console):
    """One that nothing rules which is printed on it: escapes are shown, whoever wrote them."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=shown_lines(segment.text))


def _console(*, stderr: bool = False) -> Console:
    return _Console(stderr=stderr, highlight=False)


class _OneLine(logging.Filter):
    """A message is a line, whatever names it holds."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = shown(record.getMessage()), ()
        return True


def let_print_anything() -> None:
    """Let standard output and error take any text: what they can't print, they show otherwise.

    Signs by their like in ASCII, all else escaped, as `shown` does.
    """
    codecs.register_error("facevoice.shown", _replace)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="facevoice.shown")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    told = [_PLAIN.get(sign) or _escaped(sign) for sign in signs]
    return "".join(told), error.end


def _escaped(sign: str) -> str:
    return shown(sign) if shown(sign) != sign else sign.encode("ascii", "backslashreplace").decode()


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
        errors = _console(stderr=True)
        text = errors if data_on_stdout else _console()
        # All that reaches the terminal shares one console there, or progress and the rest would
        # overwrite each other.
        terminal = next((console for console in (text, errors) if console.is_terminal), None)
        if terminal is not None and errors.is_terminal:
            errors = terminal
        log = logging.getLogger("facevoice")
        handler = RichHandler(console=errors, show_path=False, show_time=False)
        handler.addFilter(_OneLine())
        log.handlers[:] = [handler]
        log.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else log_level)
        log.propagate = False
        self.quiet = quiet
        self.verbose = verbose
        self._text = text
        self._errors = errors
        self._bars = terminal if progress and not quiet else None

    def say(self, *what: RenderableType, style: str = "") -> None:
        """Show lines and tables, unless quiet."""
        try:
            for one in what if not self.quiet else ():
                self._text.print(Text(one, style, overflow="fold") if isinstance(one, str) else one)
        except OSError as error:
            error.filename = error.filename or "standard output"
            raise

    def complain(self, message: str) -> None:
        """Say what went wrong, also when quiet."""
        _print_error(self._errors, message)

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
                what = shown(what)
                label = what if len(what) <= _LABEL_WIDTH else f"{what[: _LABEL_WIDTH - 1]}…"
                display.update(task, description=label, completed=done, total=total, note=note)

            yield show


def complain(message: str) -> None:
    """Say on standard error what went wrong, where no `Screen` is open."""
    _print_error(_console(stderr=True), message)


def _print_error(console: Console, message: str) -> None:
    """In a file or pipe one line, so that paths in it can be searched for."""
    text = Text(message, style="bold red", overflow="fold")
    console.print(text, soft_wrap=not console.is_terminal)


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
