"""Options that name a trained model, the same for every command that runs one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="DIR",
        help="A checkpoint made by `train`, or a folder made by `export`, which needs no torch. "
        "Default: the compact model of the package.",
    ),
]
BackbonesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="In place of a backbone that the checkpoint names, such as a folder with the same "
        "weights; once a channel.",
    ),
]
