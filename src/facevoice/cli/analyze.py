"""The options of `facevoice analyze`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from facevoice.batch import (
    BACKENDS,
    AnalyzerSetup,
    BatchPlan,
    FileResult,
    FoundFile,
    analyze_files,
    find_files,
)
from facevoice.cli.options import (
    BackbonesOption,
    CheckpointOption,
    Screen,
    complain,
    open_screen,
    progress_bar,
)
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.records import Prediction, Report
from facevoice.report import (
    DEFAULT_FORMATS,
    FORMATS,
    ReportFolder,
    Tally,
    to_csv,
    to_json,
    to_jsonl,
    window_to_jsonl,
)
from facevoice.settings import AnalyzerConfig, WindowConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer

CACHE_NAME: Final = ".facevoice.db"
"""Folder below --out that remembers what is done."""

_WINDOWS: Final = WindowConfig()
PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Video or audio files, folders of them, or addresses (https://…, s3://…).",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write NAME.json and NAME.csv per file and windows.csv over all. What is done there "
        "already is not done again, and what was interrupted goes on.",
    ),
]
FormatsOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="LIST",
        help="Of json, csv, jsonl, html, parquet, joined by commas. With --out: what to write, by "
        "default json,csv; html is a page per file, parquet one dataset over all. Without: print "
        "json, csv or jsonl to standard output (json: a report a line; jsonl: each window as soon "
        "as it is done).",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings as TOML; see configs/default.toml.")
]
WindowSecondsOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help=f"Length of a window. Default: {_WINDOWS.length_s:g}."),
]
HopSecondsOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help=f"Step between windows. Default: {_WINDOWS.hop_s:g}, or half of --window.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Threads that one file may use. Default: as many as there are processors, shared "
        "among --jobs; with Ray, one.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Files worked on at once, each by a process. Default: as many as there are "
        "processors, or 1 for few files.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="local: this machine; ray: a Ray cluster (needs the extra ray).",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of the Ray cluster, such as HOST:6379 or ray://HOST:10001. Default: RAY_ADDRESS, or "
        "a cluster that runs on this machine, or a new one.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Remember here, by content and settings, what is done; may be shared among runs, and "
        f"with Ray must be visible to all machines. Default: {CACHE_NAME} below --out.",
    ),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Analyse again what is done already, from the start.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no tables and no progress, only errors.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all windows and what is going on.")
]
ShowProgressOption = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")
]


# `facevoice analyze`: from paths and options to reports on the screen and on disk.

EXIT_DONE: Final = 0
EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

# Of more files than this, each is shown in a line.
_MAX_TABLES: Final = 8
# Formats that standard output can't carry.
_FILES_ONLY: Final = frozenset(["parquet", "html"])


def add_analyze_command(app: typer.Typer) -> None:
    """Add the command to the root of the command line."""
    app.command()(analyze)


def analyze(
    paths: PathsArgument,
    out: OutOption = None,
    formats: FormatsOption = None,
    config: ConfigOption = None,
    checkpoint: CheckpointOption = None,
    backbones: BackbonesOption = None,
    window: WindowSecondsOption = None,
    hop: HopSecondsOption = None,
    jobs: JobsOption = None,
    threads: ThreadsOption = None,
    cache: CacheOption = None,
    again: AgainOption = False,
    backend: BackendOption = BACKENDS[0],
    address: AddressOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
    progress: ShowProgressOption = True,
) -> None:
    """Analyse videos: face, voice, and whether they match.

    Exit codes: 0 all done, 1 some files failed, 2 wrong usage, 130 interrupted.
    """
    if quiet and verbose:
        _stop_usage("--quiet and --verbose exclude each other")
    wanted = _parse_formats(formats, out)
    screen = open_screen(
        data_on_stdout=bool(wanted) and out is None,
        progress=progress,
        quiet=quiet,
        verbose=verbose,
    )
    try:
        settings = _settings(config, window, hop)
        setup = AnalyzerSetup(settings, checkpoint, tuple(backbones or ()), threads)
        plan = BatchPlan(
            analyzer=setup,
            store=cache or (None if out is None else out / CACHE_NAME),
            again=again,
            jobs=jobs,
            backend=backend,
            address=address,
        )
        code = _run(paths, plan, _Output(screen, out, wanted))
    except (ConfigError, MissingExtraError) as error:
        _stop_usage(str(error))
    except FacevoiceError as error:
        _stop(str(error), EXIT_SOME_FAILED)
    raise typer.Exit(code)


def create_analyzer(setup: AnalyzerSetup) -> Analyzer:
    """Build the analyzer that does all the work where one process does."""
    return setup.build()


def _settings(config: Path | None, window_s: float | None, hop_s: float | None) -> AnalyzerConfig:
    settings = AnalyzerConfig() if config is None else AnalyzerConfig.from_toml(config)
    length_s = settings.windows.length_s if window_s is None else window_s
    if hop_s is None:
        hop_s = settings.windows.hop_s if window_s is None else window_s / 2
    return dataclasses.replace(settings, windows=WindowConfig(length_s=length_s, hop_s=hop_s))


def _parse_formats(formats: str | None, out: Path | None) -> tuple[str, ...]:
    if formats is None:
        return DEFAULT_FORMATS if out is not None else ()
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in formats.split(",")))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown:
        _stop_usage(f"--format {formats}: unknown {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if out is None and len(wanted) > 1:
        _stop_usage("--format takes one format for standard output; several need --out DIR")
    if out is None and wanted[0] in _FILES_ONLY:
        _stop_usage(f"--format {wanted[0]} needs --out DIR")
    return wanted


@dataclass(frozen=True, slots=True)
class _Output:
    """Where results go: the screen, a folder (None: standard output), in which formats."""

    screen: Screen
    out: Path | None
    formats: tuple[str, ...]

    @property
    def streams_windows(self) -> bool:
        """Whether windows are printed as soon as they are done."""
        return self.out is None and self.formats == ("jsonl",)


def _run(paths: Sequence[str], plan: BatchPlan, output: _Output) -> int:
    screen, out = output.screen, output.out
    files = find_files(paths)
    tally = Tally()
    try:
        with ExitStack() as stack:
            folder = None if out is None else stack.enter_context(_open(out, output.formats))
            for file, result in _results(files, plan, output, stack):
                _deliver(file, result, output, folder, tally, num_files=len(files))
    except KeyboardInterrupt:
        screen.complain(_interruption(tally, len(files), plan.store))
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of standard output has seen enough; spare it the complaint at exit too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_SOME_FAILED
    except OSError as error:
        screen.complain(f"Results can't be written: {error}")
        return EXIT_SOME_FAILED
    if tally.num_files > 1:
        screen.show_tally(tally)
    if out is not None:
        screen.say(f"Written to {out}")
    return EXIT_SOME_FAILED if tally.num_failed else EXIT_DONE


def _open(out: Path, formats: tuple[str, ...]) -> ReportFolder:
    try:
        return ReportFolder(out, formats)
    except OSError as error:
        _stop_usage(f"--out {out}: can't be written ({error.strerror})")


def _results(
    files: Sequence[FoundFile], plan: BatchPlan, output: _Output, stack: ExitStack
) -> Iterator[tuple[FoundFile, FileResult]]:
    on_progress = stack.enter_context(progress_bar(output.screen.progress))
    results = analyze_files(
        [file.path for file in files],
        plan,
        on_progress=on_progress,
        on_window=_print_window if output.streams_windows else None,
        analyzer=create_analyzer(plan.analyzer) if plan.works_here(len(files)) else None,
    )
    return zip(files, results, strict=True)


def _deliver(
    file: FoundFile,
    result: FileResult,
    output: _Output,
    folder: ReportFolder | None,
    tally: Tally,
    *,
    num_files: int,
) -> None:
    report = result.report
    if folder is not None:
        folder.write(report, file.name)
    elif output.formats and not result.was_streamed:
        _print_data(report, output.formats[0], first=tally.num_files == 0)
    tally.add(report, known=result.known)
    if num_files > _MAX_TABLES and not output.screen.verbose:
        output.screen.show_line(report)
    else:
        output.screen.show(report)


def _interruption(tally: Tally, num_files: int, cache: Path | None) -> str:
    kept = f"{tally.num_files} of {num_files} files are done and kept"
    return f"Interrupted: {kept}." if cache is None else f"Interrupted: {kept}. Run again to go on."


def _print_window(path: str, window: Prediction) -> None:
    sys.stdout.write(window_to_jsonl(path, window))
    sys.stdout.flush()


def _print_data(report: Report, name: str, *, first: bool) -> None:
    if name == "json":
        text = to_json(report, indent=None) + "\n"
    else:
        text = to_jsonl(report) if name == "jsonl" else to_csv([report], header=first)
    sys.stdout.write(text)
    sys.stdout.flush()


def _stop(message: str, code: int) -> NoReturn:
    complain(message)
    raise typer.Exit(code)


def _stop_usage(message: str) -> NoReturn:
    _stop(f"Error: {message}\nTry 'facevoice analyze --help'.", EXIT_USAGE)
