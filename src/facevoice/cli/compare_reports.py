"""`facevoice compare-reports`: two answers side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from facevoice.agreement.reports import (
    Side,
    describe_side_by_side,
    lay_side_by_side,
    to_values,
    write_side_by_side_page,
)
from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import Quiet, argument, flag, option, takes_analyzer, tells_errors
from facevoice.cli.screen import Screen, passes
from facevoice.cli.stdin import refuse_stdin
from facevoice.errors import ConfigError
from facevoice.media import probe
from facevoice.media.open import is_remote
from facevoice.media.remote import public_address
from facevoice.report import check_page_target, read_report
from facevoice.settings import AnalyzerConfig
from facevoice.texts import safe_json, shown


@tells_errors("compare-reports", interrupted="Nothing is written.")
@takes_analyzer
def compare_reports(
    first: Annotated[
        Path, argument("FIRST", "A report that `analyze` wrote as JSON, or a video or audio file.")
    ],
    second: Annotated[
        Path, argument("SECOND", "The other; options of the analysis are for videos.")
    ],
    *,
    out: Annotated[
        Path, option("FILE.html", "The page. Default: comparison.html in the current folder.")
    ] = Path("comparison.html"),
    setup: AnalyzerSetup,
    as_json: Annotated[
        bool, flag("Print agreement and differences as JSON to standard output.", "--json")
    ] = False,
    overwrite: Annotated[
        bool, flag("Replace --out even if it is no page that facevoice made.", "--overwrite")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Lay two reports on one clock: where they say the same, where not, and why that may be.

    Two settings, two models, with and without what is known of the person, or two takes.
    """
    for file in (first, second):
        if is_remote(str(file)):
            raise ConfigError(f"{public_address(str(file))}: fetch the file first, then name it")
        refuse_stdin(str(file), "compare-reports")
    if setup != AnalyzerSetup(AnalyzerConfig()) and all(map(_is_report, (first, second))):
        raise ConfigError(
            "options of the analysis are for videos, but both are reports: name a video in place "
            "of its report"
        )
    screen = Screen(quiet=quiet, data_on_stdout=as_json)
    check_page_target(out, overwrite=overwrite)
    names = _names(first, second)
    sides = [
        _side(setup, path, name, screen) for path, name in zip((first, second), names, strict=True)
    ]
    found = lay_side_by_side(*sides)
    write_side_by_side_page(found, out, overwrite=overwrite)
    if as_json:
        typer.echo(safe_json(json.dumps(to_values(found), ensure_ascii=False, indent=2)))
    screen.say(describe_side_by_side(found), *found.remarks, f"Written to {shown(str(out))}")


def _names(first: Path, second: Path) -> tuple[str, str]:
    """What to call them: by their names, with their folders where those are the same."""
    if first.name != second.name:
        return first.name, second.name
    return str(first), str(second)


def _is_report(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _side(setup: AnalyzerSetup, path: Path, name: str, screen: Screen) -> Side:
    if _is_report(path):
        return Side(name, read_report(path))
    info = None if setup.isolated else probe(path)
    analyzer = setup.build()
    info = info or analyzer.perceiver.probe(path)
    with screen.bar() as show:
        (reading,) = passes(show, (path.name,), info.duration_s)
        perception = analyzer.perceive(path, on_view=lambda view: reading(view.end_s))
    return Side(name, analyzer.interpret(perception), perception.trace)
