"""The command line: one function behind each command."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from facevoice.cli.analyze import EXIT_DONE, EXIT_SOME_FAILED, add_analyze_command
from facevoice.cli.data import add_corpus_commands, data_app
from facevoice.cli.evaluate import add_evaluation_commands
from facevoice.cli.export import add_export_command
from facevoice.cli.hub import add_hub_commands
from facevoice.cli.render import add_render_command
from facevoice.cli.report import add_picture_commands
from facevoice.cli.train import add_training_commands
from facevoice.cli.web import add_web_command
from facevoice.records import VERSION

app = typer.Typer(
    name="facevoice",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

add_analyze_command(app)
add_picture_commands(app)
add_corpus_commands(data_app)
app.add_typer(data_app, name="data")
add_evaluation_commands(app)
add_training_commands(app)
add_export_command(app)
add_hub_commands(app)
add_render_command(app)
add_web_command(app)


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
