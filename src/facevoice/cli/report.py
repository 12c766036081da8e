"""The command that shows a report as a page: report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from facevoice.batch import AnalyzerSetup, Progress
from facevoice.batch import ProgressCallback as BatchProgressCallback
from facevoice.cli.options import (
    BackbonesOption,
    CheckpointOption,
    Screen,
    open_screen,
    progress_bar,
)
from facevoice.errors import ConfigError, FacevoiceError, MediaError, MissingExtraError
from facevoice.media.open import probe
from facevoice.media.remote import is_remote, public_address
from facevoice.records import MediaInfo, Report, Status, WindowView
from facevoice.report import (
    check_page_target,
    read_report,
    summarize_in_words,
    write_report_page,
)
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer


EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

_REPORT_SUFFIX: Final = ".json"


def add_picture_commands(app: typer.Typer) -> None:
    """Register `report`."""
    app.command()(report)


def report(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A video or audio file, or a report that `analyze` wrote as JSON (its page has no "
            "waveform and no face boxes).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="The page. Default: NAME.html in the current folder."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings as TOML; see configs/default.toml."),
    ] = None,
    checkpoint: CheckpointOption = None,
    backbones: BackbonesOption = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace --out even if it is no page that facevoice made."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show nothing but errors, and no progress.")
    ] = False,
) -> None:
    """Show what a video says as one page: timeline, details, and the video to watch along.

    The page is one file that opens in any browser and loads nothing from elsewhere.

    Exit codes: 0 done, 1 the file can't be analysed (then nothing is written), 2 wrong usage,
    130 interrupted.
    """
    screen = open_screen(data_on_stdout=False, progress=True, quiet=quiet, verbose=False)
    if is_remote(file):
        address = public_address(file)
        _stop(screen, f"Error: {address}: fetch the file first, then name it", EXIT_USAGE)
    path = Path(file)
    target = Path(f"{path.stem or 'report'}.html") if out is None else out
    try:
        check_page_target(target, overwrite=overwrite)
        if path.suffix.lower() == _REPORT_SUFFIX:
            _check_unneeded(config, checkpoint)
            made = read_report(path)
            write_report_page(made, target, overwrite=overwrite)
        else:
            info = probe(path)  # Says what is wrong before any network is loaded.
            settings = AnalyzerConfig() if config is None else AnalyzerConfig.from_toml(config)
            setup = AnalyzerSetup(settings, checkpoint, tuple(backbones or ()))
            made = _analyze(info, target, create_analyzer(setup), screen, overwrite=overwrite)
    except (ConfigError, MissingExtraError) as error:
        _stop(screen, f"Error: {error}\nTry 'facevoice report --help'.", EXIT_USAGE)
    except MediaError as error:
        _stop(screen, f"Could not be analysed: {error}", EXIT_FAILED)
    except FacevoiceError as error:
        _stop(screen, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        _stop(screen, "Interrupted: nothing is written.", EXIT_INTERRUPTED)
    _tell(screen, made, target)


def create_analyzer(setup: AnalyzerSetup) -> Analyzer:
    """Build the analyzer that reads the video."""
    return setup.build()


def _check_unneeded(config: Path | None, checkpoint: Path | None) -> None:
    for name, value in (("--config", config), ("--checkpoint", checkpoint)):
        if value is not None:
            raise ConfigError(f"{name} is for videos; a report is shown as it was analysed")


def _analyze(
    info: MediaInfo, target: Path, analyzer: Analyzer, screen: Screen, *, overwrite: bool
) -> Report:
    with progress_bar(screen.progress) as on_progress:
        watch = None if on_progress is None else _watch(info, on_progress)
        perception = analyzer.perceive(info.path, on_view=watch)
    report = analyzer.interpret(perception)
    write_report_page(report, target, perception.trace, overwrite=overwrite)
    return report


def _watch(info: MediaInfo, on_progress: BatchProgressCallback) -> Callable[[WindowView], None]:
    def watch(view: WindowView) -> None:
        on_progress(Progress(str(info.path), 0, 1, view.end_s, info.duration_s, view.end_s))

    return watch


def _tell(screen: Screen, made: Report, target: Path) -> None:
    if made.status is Status.FAILED:
        screen.complain(summarize_in_words(made))
    else:
        screen.say(summarize_in_words(made))
    screen.say(f"Written to {target}")


def _stop(screen: Screen, message: str, code: int) -> NoReturn:
    screen.complain(message)
    raise typer.Exit(code)
