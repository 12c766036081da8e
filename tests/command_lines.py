"""Checks command lines in documents against the commands that there are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import typer

from facevoice.cli.app import app

PROGRAM = "facevoice"


def problems(line: str) -> Iterator[str]:
    """What is wrong with `facevoice …`: unknown command or option, a value or operand missing."""
    words = shlex.split(line, comments=True)
    if not words or words[0] != PROGRAM:
        yield f"{line}: is no command of {PROGRAM}"
        return
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        name = rest.pop(0)
        if name not in command.commands:
            yield f"{line}: no command {name!r}"
            return
        command = command.commands[name]
    yield from _check_parameters(line, command, rest)


def _check_parameters(line: str, command: Any, words: list[str]) -> Iterator[str]:
    options = {
        name: parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    operands = []
    given = set()
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            operands.append(word)
            continue
        name, equals, _ = word.partition("=")
        if name in ("--help", "-h"):
            return
        if name not in options:
            yield f"{line}: no option {name!r}"
            continue
        given.add(options[name].name)
        if not options[name].is_flag and not equals:
            if not words:
                yield f"{line}: {name} has no value"
                return
            words.pop(0)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    least = sum(p.required for p in arguments)
    most = None if any(p.nargs == -1 for p in arguments) else len(arguments)
    if len(operands) < least or (most is not None and len(operands) > most):
        yield f"{line}: {len(operands)} operands, not {least} to {most}"
    missing = [p.opts[0] for p in options.values() if p.required and p.name not in given]
    if missing:
        yield f"{line}: {', '.join(sorted(set(missing)))} must be given"
