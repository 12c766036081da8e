"""Write docs/cli.md from what the commands say of themselves (the source of --help).

python docs/make_cli.py            writes docs/cli.md
python docs/make_cli.py --check    exits 1 if it is not up to date
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from facevoice.cli.app import app

TARGET = Path(__file__).with_name("cli.md")
HEAD = """# The command line

Made by `python docs/make_cli.py` from the commands themselves; don't edit by hand.
`facevoice COMMAND --help` says the same.
"""
EXIT_CODES = """
## Exit codes

| code | meaning |
|---|---|
| 0 | all done |
| 1 | something failed and is named; all else was done (other files analysed, other clips kept) |
| 2 | wrong usage: unknown option, setting out of range, folder that can't be written |
| 130 | interrupted (Ctrl-C, SIGTERM or SIGHUP); what was written stays |
"""


def describe_commands() -> str:
    """The whole page as Markdown."""
    return "\n".join([HEAD, *_sections("facevoice", typer.main.get_command(app))]) + EXIT_CODES


def _sections(title: str, command: Any) -> Iterator[str]:
    yield _section(title, command)
    for name, inner in getattr(command, "commands", {}).items():
        yield from _sections(f"{title} {name}", inner)


def _section(title: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    operands = [f"{_metavar(p)}..." if p.nargs == -1 else _metavar(p) for p in arguments]
    if hasattr(command, "commands"):
        operands = ["COMMAND"]
    usage = " ".join([title, "[OPTIONS]", *operands])
    help_text = "\n\n".join(part.strip() for part in (command.help or "").split("\n\n"))
    lines = [f"## `{title}`", "", help_text, "", "```", usage, "```", ""]
    if arguments or options:
        lines += ["| option | default | meaning |", "|---|---|---|"]
        lines += [f"| `{_metavar(p)}` | | {p.help} |" for p in arguments]
        lines += [_option_row(p) for p in options]
        lines.append("")
    return "\n".join(lines)


def _option_row(option: Any) -> str:
    shown = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if not option.is_flag:
        shown += f" `{_metavar(option)}`"
    default = "" if option.is_flag or option.default is None else str(option.default)
    return f"| {shown} | {default} | {option.help} |"


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def main() -> int:
    """Write the page, or compare it."""
    text = describe_commands()
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
