"""The commands under `facevoice data`: get corpora."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as ProgressDisplay
from rich.text import Text

from facevoice.data.acquire import DownloadOptions, DownloadReport, download_corpus
from facevoice.data.hosts import DEFAULT_HOSTS, Hosts
from facevoice.data.remote import Phase, Progress, ProgressCallback
from facevoice.data.sources import SOURCES
from facevoice.errors import ConfigError, FacevoiceError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_NAME_WIDTH: Final = 34

data_app = typer.Typer(
    name="data",
    help="Get corpora and make them ready.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@data_app.callback()
def data() -> None:
    """Get corpora and make them ready."""


@data_app.command()
def download(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(sorted(SOURCES))}.")
    ],
    root: Annotated[Path, typer.Option(metavar="DIR", help="The corpus goes to DIR/NAME.")] = Path(
        "corpora"
    ),
    subset: Annotated[
        bool,
        typer.Option(
            "--subset", help="The small set for a CPU: 2 speakers of ravdess, 100 clips of cremad."
        ),
    ] = False,
    songs: Annotated[bool, typer.Option("--songs", help="Sung clips too (ravdess).")] = False,
    via: Annotated[
        str | None, typer.Option(metavar="WAY", help="Another way to get it (cremad: kaggle).")
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, max=32, help="Files at once.")] = 4,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST=URL",
            help="Take a mirror; may be given again. Hosts: " + ", ".join(DEFAULT_HOSTS) + ". "
            "FACEVOICE_<HOST>_URL in the environment does the same.",
        ),
    ] = None,
    keep_archives: Annotated[
        bool, typer.Option("--keep-archives", help="Keep archives after unpacking.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read and check all that is there once more.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")] = False,
) -> None:
    """Download a corpus, going on where an earlier run stopped.

    Every file is checked against the published size and checksum before it counts as done. A
    finished download is known by a marker: running the command again does nothing, also offline.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    console = Console(highlight=False)
    try:
        options = DownloadOptions(
            subset=subset,
            songs=songs,
            via=via,
            jobs=jobs,
            keep_archives=keep_archives,
            verify=verify,
            hosts=Hosts.from_environment(_parse_bases(base_url or [])),
        )
        with _bars(console if console.is_terminal and not quiet else None) as progress:
            report = download_corpus(name, root, options, progress)
    except ConfigError as error:
        _complain(str(error))
        raise typer.Exit(EXIT_USAGE) from error
    except FacevoiceError as error:
        _complain(" ".join([str(error), *getattr(error, "__notes__", [])]))
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        _complain("Interrupted; what came is kept. Run the same command again to go on.")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    if not quiet:
        for line in describe_download(report):
            console.print(Text(line, overflow="fold"))


def describe_download(report: DownloadReport) -> list[str]:
    """What a download came to, in sentences."""
    amount = f"{report.num_files} files, {report.total_bytes / 1e6:.1f} MB"
    if report.was_complete:
        lines = [f"{report.corpus} is complete in {report.folder} ({amount}); nothing to do."]
    else:
        lines = [
            f"{report.corpus} is complete in {report.folder} ({amount}; {report.num_fetched} files "
            "fetched now)."
        ]
    if report.left_out:
        lines.append(
            f"Left out, since the corpus itself calls them broken: {', '.join(report.left_out)}."
        )
    if report.note:
        lines.append(report.note)
    return lines


def _complain(message: str) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(Text(message, style="bold red", overflow="fold"))


def _parse_bases(pairs: list[str]) -> dict[str, str]:
    bases = {}
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not equals:
            raise ConfigError(f"--base-url {pair!r} is not allowed: write HOST=URL")
        bases[name] = url
    return bases


@contextmanager
def _bars(console: Console | None) -> Iterator[ProgressCallback]:
    """A bar over all bytes and one for every file under way; nothing without a console."""
    if console is None:
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with ProgressDisplay(*columns, console=console, transient=True) as display:
        yield _Bars(display).show


class _Bars:
    """Keeps the display in step with what the downloading threads report."""

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display
        self._lock = threading.Lock()
        self._all = display.add_task("asking for the list of files", total=None)
        self._tasks: dict[str, TaskID] = {}
        self._done_bytes: dict[str, int] = {}
        self._base_bytes = 0
        self._num_listed = 0

    def show(self, progress: Progress) -> None:
        """Take one report; called from any thread."""
        with self._lock:
            if progress.phase is Phase.LISTED:
                self._num_listed += 1
                self._display.update(self._all, description=f"{self._num_listed} entries listed")
            elif progress.phase is Phase.PLANNED:
                self._base_bytes = progress.done_bytes
                for task in self._tasks.values():
                    self._display.remove_task(task)
                self._tasks.clear()
                self._display.update(
                    self._all,
                    description=f"{progress.file}: {progress.note}",
                    completed=progress.done_bytes,
                    total=progress.total_bytes,
                )
            elif progress.phase is not Phase.PRESENT:
                self._show_file(progress)

    def _show_file(self, progress: Progress) -> None:
        name = progress.file
        if progress.done_bytes or progress.phase is Phase.RUNNING:
            self._done_bytes[name] = progress.done_bytes
        completed = self._base_bytes + sum(self._done_bytes.values())
        self._display.update(self._all, completed=completed)
        if progress.phase is Phase.DONE:
            if name in self._tasks:
                self._display.remove_task(self._tasks.pop(name))
            self._base_bytes += self._done_bytes.pop(name, 0)
            return
        if name not in self._tasks:
            self._tasks[name] = self._display.add_task(name, total=None)
        label = name if len(name) <= _NAME_WIDTH else f"…{name[1 - _NAME_WIDTH :]}"
        if progress.phase is not Phase.RUNNING:
            label += f" ({progress.note or progress.phase.value})"
        self._display.update(
            self._tasks[name],
            description=label,
            completed=progress.done_bytes,
            total=progress.total_bytes,
            refresh=progress.phase is Phase.WAITING,
        )
