"""`facevoice render`: a video with what was said of it drawn on its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from facevoice.batch import AnalyzerSetup, Progress, ProgressCallback
from facevoice.cli.analyze import ConfigOption
from facevoice.cli.options import (
    BackbonesOption,
    CheckpointOption,
    Screen,
    complain,
    open_screen,
    progress_bar,
)
from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError, RenderError
from facevoice.records import MediaInfo, Report, WindowView
from facevoice.report import (
    MIN_HEIGHT_PX,
    check_video_target,
    probe_video,
    render_video,
    summarize_in_words,
)
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer


EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130

_PHASES: Final = ("reading", "drawing")


def add_render_command(app: typer.Typer) -> None:
    """Register `render`."""
    app.command()(render)


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.mp4", help="What to write. Default: NAME.facevoice.mp4 in this folder."
        ),
    ] = None,
    height: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=MIN_HEIGHT_PX,
            help="Make pictures smaller that have more rows than this. Default: 1080.",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    backbones: BackbonesOption = None,
    config: ConfigOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that is to be written.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no sentence and no progress, only errors.")
    ] = False,
) -> None:
    """Analyse a video and draw on it, moment by moment, what its face and voice express.

    Writes an MP4 with the sound of the video: a frame around the face, the emotions of face, voice
    and both, and whether they match; below, the outcomes over the whole length.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    target = Path(f"{file.stem}.facevoice.mp4") if out is None else out
    screen = open_screen(data_on_stdout=False, progress=True, quiet=quiet, verbose=False)
    _check_usage(file, target, overwrite)
    try:
        info = probe_video(file)
        settings = AnalyzerConfig() if config is None else AnalyzerConfig.from_toml(config)
        analyzer = create_analyzer(AnalyzerSetup(settings, checkpoint, tuple(backbones or ())))
        report = _run(analyzer, info, target, height, screen)
    except (ConfigError, MissingExtraError) as error:
        _stop_usage(str(error), error)
    except FacevoiceError as error:
        complain(str(error))
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt as error:
        complain(f"Interrupted: {target} was not written.")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    screen.say(summarize_in_words(report))
    screen.say(f"Written to {target}")


def create_analyzer(setup: AnalyzerSetup) -> Analyzer:
    """Build the analyzer."""
    return setup.build()


def _check_usage(file: Path, target: Path, overwrite: bool) -> None:
    try:
        check_video_target(file, target)
    except (ConfigError, RenderError) as error:
        _stop_usage(str(error), error)
    if target.exists() and not overwrite:
        _stop_usage(f"{target}: exists already; replace it with --overwrite or name another --out")


def _run(
    analyzer: Analyzer, info: MediaInfo, target: Path, height: int | None, screen: Screen
) -> Report:
    with progress_bar(screen.progress) as show:
        tell = _phase(show, info, 0)

        def on_view(view: WindowView) -> None:
            if tell is not None:
                tell(view.end_s)

        perception = analyzer.perceive(info.path, on_view=on_view)
        report, tell = analyzer.interpret(perception), _phase(show, info, 1)
        render_video(report, perception.trace, target, on_progress=tell, height_px=height)
    return report


def _phase(
    show: ProgressCallback | None, info: MediaInfo, phase: int
) -> Callable[[float], None] | None:
    """Shows the seconds done of one of the two passes over the file."""
    if show is None:
        return None

    def on_progress(done_s: float) -> None:
        show(
            Progress(
                path=f"{_PHASES[phase]} {info.path.name}",
                num_done=phase,
                num_files=len(_PHASES),
                done_s=done_s,
                duration_s=info.duration_s,
                media_s=phase * info.duration_s + done_s,
            )
        )

    return on_progress


def _stop_usage(message: str, cause: Exception | None = None) -> NoReturn:
    complain(f"Error: {message}\nTry 'facevoice render --help'.")
    raise typer.Exit(EXIT_USAGE) from cause
