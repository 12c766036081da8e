"""The command line: one function behind each command."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from facevoice.batch import FileAnalyzer, FoundFile, ProgressCallback, analyze_paths, find_files
from facevoice.cli_checkpoint import BackbonesOption, CheckpointOption
from facevoice.cli_corpus import add_corpus_commands
from facevoice.cli_data import data_app
from facevoice.cli_evaluate import add_evaluation_commands
from facevoice.cli_export import add_export_command
from facevoice.cli_hub import add_hub_commands
from facevoice.cli_train import add_training_commands
from facevoice.config import AnalyzerConfig, WindowConfig
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.labels import Status
from facevoice.report import FORMATS, ReportFolder, to_csv, to_json
from facevoice.results import Report
from facevoice.screen import Screen, complain, open_screen, progress_bar, tally
from facevoice.version import VERSION

EXIT_DONE: Final = 0
EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

app = typer.Typer(
    name="facevoice",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

add_corpus_commands(data_app)
app.add_typer(data_app, name="data")
add_evaluation_commands(app)
add_training_commands(app)
add_export_command(app)
add_hub_commands(app)

_WINDOWS: Final = WindowConfig()
_Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH", help="Video or audio files, or folders of them.")
]
_Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Write NAME.json and NAME.csv per file and windows.csv over all."
    ),
]
_Formats = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="LIST",
        help="json, csv or both (json,csv). With --out: what to write, by default both. "
        "Without: print that one format to standard output (JSON: one report per line).",
    ),
]
_Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings as TOML; see configs/default.toml.")
]
_WindowSeconds = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help=f"Length of a window. Default: {_WINDOWS.length_s:g}."),
]
_HopSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help=f"Step between windows. Default: {_WINDOWS.hop_s:g}, or half of --window.",
    ),
]
_Threads = Annotated[
    int, typer.Option(metavar="N", min=1, help="Threads that each network may use.")
]
_Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no tables and no progress, only errors.")
]
_Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all windows and what is going on.")
]
_ShowProgress = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")
]


def main() -> None:
    """Entry point of the `facevoice` command."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"facevoice {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """Which emotion a face shows, which the voice carries, and whether they match or conflict."""


@app.command()
def analyze(
    paths: _Paths,
    out: _Out = None,
    formats: _Formats = None,
    config: _Config = None,
    checkpoint: CheckpointOption = None,
    backbones: BackbonesOption = None,
    window: _WindowSeconds = None,
    hop: _HopSeconds = None,
    threads: _Threads = 1,
    quiet: _Quiet = False,
    verbose: _Verbose = False,
    progress: _ShowProgress = True,
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
        analyzer = create_analyzer(settings, threads, checkpoint, backbones or ())
    except (ConfigError, MissingExtraError) as error:
        _stop_usage(str(error))
    except FacevoiceError as error:
        _stop(str(error), EXIT_SOME_FAILED)
    raise typer.Exit(_run(paths, analyzer, screen, out, wanted))


@app.command()
def models() -> None:
    """List the weights that come with the package: licence, SHA-256, size, whether intact."""
    console = Console(highlight=False)
    folder = resources.files("facevoice") / "weights"
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    all_intact = True
    for name, entry in sorted(index.items()):
        path = folder / entry["file"]
        content = path.read_bytes() if path.is_file() else None
        intact = content is not None and hashlib.sha256(content).hexdigest() == entry["sha256"]
        all_intact = all_intact and intact
        size = "missing" if content is None else f"{len(content) / 1e6:.2f} MB"
        state = "intact" if intact else "NOT INTACT: reinstall facevoice"
        console.print(Text(f"{name}  {entry['license']}, {size}, {state}", overflow="fold"))
        console.print(Text(f"  sha256 {entry['sha256']}", style="dim"))
    raise typer.Exit(EXIT_DONE if all_intact else EXIT_SOME_FAILED)


def create_analyzer(
    config: AnalyzerConfig,
    num_threads: int,
    checkpoint: Path | None = None,
    backbones: Sequence[str] = (),
) -> FileAnalyzer:
    """Build the analyzer; imported here so that `--help` need not load the networks."""
    from facevoice.pipeline import Analyzer

    return Analyzer(config, checkpoint=checkpoint, backbones=backbones, num_threads=num_threads)


def _settings(config: Path | None, window_s: float | None, hop_s: float | None) -> AnalyzerConfig:
    settings = AnalyzerConfig() if config is None else AnalyzerConfig.from_toml(config)
    length_s = settings.windows.length_s if window_s is None else window_s
    if hop_s is None:
        hop_s = settings.windows.hop_s if window_s is None else window_s / 2
    return dataclasses.replace(settings, windows=WindowConfig(length_s=length_s, hop_s=hop_s))


def _parse_formats(formats: str | None, out: Path | None) -> tuple[str, ...]:
    if formats is None:
        return FORMATS if out is not None else ()
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in formats.split(",")))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown:
        _stop_usage(f"--format {formats}: unknown {unknown[0]!r}; known: {', '.join(FORMATS)}")
    if out is None and len(wanted) > 1:
        _stop_usage("--format takes one format for standard output; several need --out DIR")
    return wanted


def _run(
    paths: list[Path],
    analyzer: FileAnalyzer,
    screen: Screen,
    out: Path | None,
    wanted: tuple[str, ...],
) -> int:
    files = find_files(paths)
    reports: list[Report] = []
    with ExitStack() as stack:
        try:
            folder = None if out is None else stack.enter_context(ReportFolder(out, wanted))
        except OSError as error:
            _stop_usage(f"--out {out}: can't be written ({error.strerror})")
        on_progress = stack.enter_context(progress_bar(screen.progress))
        try:
            _analyze_all(files, analyzer, screen, folder, wanted, reports, on_progress)
        except KeyboardInterrupt:
            screen.complain(f"Interrupted: {len(reports)} of {len(files)} files are done and kept.")
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            # The reader of standard output has seen enough; spare it the complaint at exit too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_SOME_FAILED
        except OSError as error:
            screen.complain(f"Results can't be written: {error}")
            return EXIT_SOME_FAILED
    if len(reports) > 1:
        screen.say(tally(reports))
    if out is not None:
        screen.say(f"Written to {out}")
    failed = any(report.status is Status.FAILED for report in reports)
    return EXIT_SOME_FAILED if failed else EXIT_DONE


def _analyze_all(
    files: list[FoundFile],
    analyzer: FileAnalyzer,
    screen: Screen,
    folder: ReportFolder | None,
    wanted: tuple[str, ...],
    reports: list[Report],
    on_progress: ProgressCallback | None,
) -> None:
    """Fill `reports` one by one, so that an interruption leaves those that are done."""
    done = analyze_paths([file.path for file in files], analyzer, on_progress)
    for file, report in zip(files, done, strict=True):
        if folder is not None:
            folder.write(report, file.name)
        elif wanted:
            _print_data(report, wanted[0], first=not reports)
        reports.append(report)
        screen.show(report)


def _print_data(report: Report, name: str, *, first: bool) -> None:
    text = to_json(report, indent=None) + "\n" if name == "json" else to_csv([report], header=first)
    sys.stdout.write(text)
    sys.stdout.flush()


def _stop(message: str, code: int) -> NoReturn:
    complain(message)
    raise typer.Exit(code)


def _stop_usage(message: str) -> NoReturn:
    _stop(f"Error: {message}\nTry 'facevoice analyze --help'.", EXIT_USAGE)
