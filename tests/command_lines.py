"""Commands and scripts of the documents, and whether there are such commands."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from facevoice.cli.app import app

PROGRAM: Final = "facevoice"
ROOT: Final = Path(__file__).parents[1]
# Stands for what the reader puts there.
PLACEHOLDER: Final = r"…|\b[A-Z]+\b"
_MADE: Final = ("cli.md", "CHANGELOG.md")
PAGES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"))
    if path.name not in _MADE
)
"""All documents but what is made from the commands, or tells of former ones."""

_USAGE_ERROR: Final[Any] = typer.BadParameter.__base__
# A block, and for a script what stands in the block behind it; a line in a sentence.
_STEP: Final = re.compile(
    r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$(?:\n\n```\n(?P<told>.*?)^```$)?"
    r"|`(?P<inline>(?:accelerate launch -m )?facevoice [^`]+)`",
    re.MULTILINE | re.DOTALL,
)
_COMMAND: Final = re.compile(
    r"""^(?:accelerate\ launch\ -m\ |[A-Z_]+=\S+\ |eval\ "\$\()?   # what may stand before it
    (facevoice\ .*?)(?:\)"|\ >\ .*)?(?:\s+\#.*)?$                     # and behind it""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Step:
    """A command of facevoice, or a script, with what it is said to print ("": nothing is said)."""

    page: str
    kind: str
    """`command` on a line of its own, `mention` within a sentence, or the script's language."""
    text: str
    told: str = ""


def steps_of(page: str) -> Iterator[Step]:
    """Commands and scripts of a page, in the order they stand in."""
    for found in _STEP.finditer((ROOT / page).read_text(encoding="utf-8")):
        if found["kind"]:
            yield Step(page, found["kind"], found["text"], found["told"] or "")
            continue
        if found["inline"]:
            yield from _commands(page, "mention", found["inline"].replace("\n", " "))
        else:
            told = list(_commands(page, "command", found["told"] or ""))
            first = "" if told else found["told"] or ""
            yield from (*_commands(page, "command", found["text"], first), *told)


def _commands(page: str, kind: str, text: str, told: str = "") -> Iterator[Step]:
    for line in text.replace("\\\n", " ").splitlines():
        command = _COMMAND.match(line)
        if command:
            yield Step(page, kind, command[1], told)


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@functools.cache
def _program() -> Any:
    return typer.main.get_command(app)


def problems(line: str) -> Iterator[str]:
    """What is wrong with `facevoice …`: unknown command or option, a value or operand missing."""
    words = words_of(line)
    command: Any = _program()
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
