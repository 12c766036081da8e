"""`facevoice completion`: what makes a shell complete commands, options and files."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer
from typer.completion import get_completion_script

from facevoice.cli.options import tells_errors

COMPLETE_VARIABLE: Final = "_FACEVOICE_COMPLETE"
"""By this variable of the environment a shell asks for completions."""


class Shell(StrEnum):
    """Those that completions are written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@tells_errors("completion")
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Write what makes a shell complete what is typed after `facevoice`.

    bash: eval "$(facevoice completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc,
    after compinit; fish: facevoice completion fish > ~/.config/fish/completions/facevoice.fish
    """
    script = get_completion_script(
        prog_name="facevoice", complete_var=COMPLETE_VARIABLE, shell=shell.value
    )
    typer.echo(script)
