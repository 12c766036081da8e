"""Checks command lines in documents against the commands that there are."""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Iterator
from typing import Any, Final

import typer

from facevoice.cli.app import app

PROGRAM: Final = "facevoice"
_USAGE_ERROR: Final[Any] = typer.BadParameter.__base__


def problems(line: str) -> Iterator[str]:
    """What is wrong with `facevoice …`: unknown command or option, a value or operand missing."""
    words = shlex.split(line, comments=True)
    command: Any = typer.main.get_command(app)
    if words[:1] != [PROGRAM]:
        yield f"{line}: is no command of {PROGRAM}"
    while hasattr(command, "commands") and words[1:] and not words[1].startswith("-"):
        name = words.pop(1)
        if name not in command.commands:
            yield f"{line}: no command {name!r}"
            return
        command = command.commands[name]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            command.make_context(PROGRAM, words[1:])  # Reads the words and runs nothing.
    except typer.Exit:
        return  # --help
    except _USAGE_ERROR as error:
        yield f"{line}: {error.format_message()}"
