"""`facevoice render`: a video with what was said of it drawn on its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import (
    LeftOut,
    Merges,
    Names,
    Overwrite,
    Quiet,
    argument,
    edits_of,
    option,
    takes_analyzer,
    tells_errors,
)
from facevoice.cli.screen import Screen, passes
from facevoice.cli.stdin import refuse_stdin
from facevoice.errors import ConfigError, RenderError
from facevoice.finding import RENDERED_SUFFIX, output_name
from facevoice.media import probe
from facevoice.records import PeopleEdits, Report
from facevoice.report import (
    MIN_HEIGHT_PX,
    check_video_target,
    render_video,
    require_video,
    summarize_in_words,
)
from facevoice.texts import shown


@tells_errors("render", interrupted="The film was not written.")
@takes_analyzer
def render(
    file: Annotated[Path, argument("FILE", "A video.")],
    *,
    out: Annotated[
        Path | None,
        option("FILE.mp4", "What to write. Default: NAME.facevoice.mp4 in this folder."),
    ] = None,
    height: Annotated[
        int | None,
        option(
            "PX",
            "Make pictures smaller that have more rows than this. Default: 1080.",
            min=MIN_HEIGHT_PX,
        ),
    ] = None,
    setup: AnalyzerSetup,
    names: Names = None,
    merges: Merges = None,
    left_out: LeftOut = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Analyse a video and draw on it, moment by moment, what its face and voice express.

    Writes an MP4 with the sound of the video: a frame around the face, the emotions of face, voice
    and both, and whether they match; below, the outcomes over the whole length.
    """
    refuse_stdin(file, "render")
    target = Path(f"{output_name(file)}{RENDERED_SUFFIX}") if out is None else out
    screen = Screen(quiet=quiet)
    try:
        check_video_target(file, target)
    except RenderError as error:
        raise ConfigError(str(error)) from error
    if target.exists() and not overwrite:
        remedy = "replace it with --overwrite or name another --out"
        raise ConfigError(f"{target}: exists already; {remedy}")
    edits = edits_of(names, merges, left_out)
    report = _render(setup, file, target, height, screen, edits)
    screen.say(summarize_in_words(report), f"Written to {shown(str(target))}")


def _render(
    setup: AnalyzerSetup,
    file: Path,
    target: Path,
    height_px: int | None,
    screen: Screen,
    edits: PeopleEdits,
) -> Report:
    # At once, since loading networks takes a while; in isolation, a child does it.
    info = None if setup.isolated else require_video(probe(file))
    analyzer = setup.build()
    info = info or require_video(analyzer.perceiver.probe(file))
    with screen.bar() as show:
        names = (f"reading {file.name}", f"drawing {file.name}")
        reading, drawing = passes(show, names, info.duration_s)
        perception = analyzer.perceive(file, on_view=lambda view: reading(view.end_s))
        report = analyzer.interpret(perception, edits=edits)
        render_video(
            report,
            perception.trace,
            target,
            on_progress=drawing,
            height_px=height_px,
            isolated=setup.isolated,
        )
    return report
