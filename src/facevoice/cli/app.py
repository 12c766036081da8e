"""The command line: one function behind each command, and what each is for."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.completion import completion_init
from typer.core import TyperGroup

from facevoice.cli.agree import agree
from facevoice.cli.analyze import analyze
from facevoice.cli.compare_reports import compare_reports
from facevoice.cli.completion import COMPLETE_VARIABLE, completion
from facevoice.cli.convert import convert
from facevoice.cli.data import describe, download, extract, pairs, prepare, split
from facevoice.cli.doctor import doctor
from facevoice.cli.evaluate import compare, evaluate
from facevoice.cli.explain import explain
from facevoice.cli.export import export
from facevoice.cli.hub import pull, push, space
from facevoice.cli.mcp import mcp
from facevoice.cli.models import models
from facevoice.cli.options import TYPED, check_named
from facevoice.cli.person import profile
from facevoice.cli.render import render
from facevoice.cli.report import report
from facevoice.cli.review import review
from facevoice.cli.serve import serve
from facevoice.cli.train import predict, train
from facevoice.cli.web import web
from facevoice.finding import MEDIA_EXTENSIONS
from facevoice.media.open import is_remote
from facevoice.records import VERSION
from facevoice.texts import shown

_CORPORA: Final = "Corpora and evaluation"
_COMMANDS: Final = {
    "Use": (analyze, profile, web, serve, mcp, models, doctor, completion),
    "Look": (report, render, explain, review, convert, agree, compare_reports),
    _CORPORA: (evaluate, compare),
    "Train and publish": (train, predict, export, push, pull, space),
}


class _Commands(TyperGroup):
    """Lists commands by what they are for, and guesses what a file without a command is for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in _COMMANDS}
        width = max(map(len, self.commands))
        for name, command in self.commands.items():
            told = command.get_short_help_str(formatter.width - 6 - width)
            panel = getattr(command, "rich_help_panel", None)
            sections.setdefault(str(panel or "Commands"), []).append((name.ljust(width), told))
        for section, rows in sections.items():
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        TYPED.set(shlex.join(["facevoice", *args]))
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and _is_input(args[0]):
            command = "report" if args[0].endswith(".json") else "analyze"
            meant = shlex.join(["facevoice", command, *args])
            ctx.fail(f"{shown(args[0])} is no command; did you mean: {shown(meant)}")
        found: Any = super().resolve_command(ctx, args)
        name, command, rest = found
        if command is not None:
            check_named(command, rest)
        return name, command, rest


def _is_input(word: str) -> bool:
    is_media = Path(word).suffix.lower() in MEDIA_EXTENSIONS
    return is_remote(word) or is_media or os.path.exists(word)  # noqa: PTH110 - a name may be long


def _group(**options: Any) -> typer.Typer:
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )


app = _group(name="facevoice", cls=_Commands)
_data = _group(name="data", help="Get corpora and make them ready.")
for _command in (download, prepare, describe, split, pairs, extract):
    _data.command()(_command)
app.add_typer(_data, rich_help_panel=_CORPORA)
for _section, _functions in _COMMANDS.items():
    for _command in _functions:
        app.command(rich_help_panel=_section)(_command)


if COMPLETE_VARIABLE in os.environ:  # A shell asks, by what `facevoice completion` wrote.
    completion_init()


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
    """Which emotion a face shows, which the voice has, and whether they match or conflict.

    Exit codes: 0 all done, 1 something failed and is named, 2 wrong usage, 130 interrupted
    (by Ctrl-C, SIGTERM or SIGHUP).
    """
