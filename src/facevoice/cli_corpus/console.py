"""What the commands on corpora say to people, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.data.clips import Clip
from facevoice.data.manifest import read_manifest
from facevoice.errors import ConfigError, FacevoiceError
from facevoice.screen import complain
from facevoice.workbench.problems import ClipProblem

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_NAME_WIDTH: Final = 34

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
            label = what if len(what) <= _NAME_WIDTH else f"{what[: _NAME_WIDTH - 1]}…"
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
