"""`facevoice doctor`: whether an installation is well, and what to do where it isn't."""

from __future__ import annotations

import dataclasses
import json
from itertools import groupby
from typing import Annotated

import typer

from facevoice.cli.options import EXIT_FAILED, flag, tells_errors
from facevoice.cli.screen import Screen
from facevoice.doctor import State, examine

_SIGNS = {State.WELL: "ok", State.MISSING: "--", State.BROKEN: "!!"}


@tells_errors("doctor")
def doctor(
    as_json: Annotated[bool, flag("Write what is found as JSON.", "--json")] = False,
    try_out: Annotated[
        bool, flag("Analyse a clip of 5 s that is made for it.", "--try/--no-try")
    ] = True,
) -> None:
    """See whether facevoice is installed well: packages, weights, decoders, rights, a trial run.

    Says what to do about all that isn't well. Exits with 1 only if files can't be analysed.
    """
    findings = examine(try_out=try_out)
    broken = [finding for finding in findings if finding.state is State.BROKEN]
    if as_json:
        told = {
            "well": not broken,
            "findings": [dataclasses.asdict(finding) for finding in findings],
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        screen = Screen()
        for about, group in groupby(findings, key=lambda finding: finding.about):
            screen.say(about, style="bold")
            for finding in group:
                screen.say(f"  {_SIGNS[finding.state]} {finding.name}: {finding.words}")
                if finding.remedy:
                    screen.say(f"     {finding.remedy}", style="dim")
        screen.say(_verdict([finding.name for finding in broken]))
    if broken:
        raise typer.Exit(EXIT_FAILED)


def _verdict(broken: list[str]) -> str:
    if not broken:
        return "\nAll that is needed is there. Parts marked -- are only for what is said of them."
    return f"\nBroken, marked !! above: {', '.join(broken)}. Do what is said there."
