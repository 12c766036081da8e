"""The commands under `facevoice data` that work on corpora: from prepare to extract."""

from __future__ import annotations

import typer

from facevoice.cli_corpus.features import extract
from facevoice.cli_corpus.pairs import pairs
from facevoice.cli_corpus.table import describe, prepare, split

__all__ = ["add_corpus_commands"]


def add_corpus_commands(app: typer.Typer) -> None:
    """Add the commands to `facevoice data`."""
    for command in (prepare, describe, split, pairs, extract):
        app.command()(command)
