"""The options of `facevoice analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from facevoice.config import WindowConfig

CACHE_NAME: Final = ".facevoice"
"""Folder below --out that remembers what is done."""

_WINDOWS: Final = WindowConfig()
PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Video or audio files, folders of them, or addresses (https://…, s3://…).",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write NAME.json and NAME.csv per file and windows.csv over all. What is done there "
        "already is not done again, and what was interrupted goes on.",
    ),
]
FormatsOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="LIST",
        help="Of json, csv, jsonl, html, parquet, joined by commas. With --out: what to write, by "
        "default json,csv; html is a page per file, parquet one dataset over all. Without: print "
        "json, csv or jsonl to standard output (json: a report a line; jsonl: each window as soon "
        "as it is done).",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings as TOML; see configs/default.toml.")
]
WindowSecondsOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help=f"Length of a window. Default: {_WINDOWS.length_s:g}."),
]
HopSecondsOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help=f"Step between windows. Default: {_WINDOWS.hop_s:g}, or half of --window.",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Threads that one file may use. Default: as many as there are processors, shared "
        "among --jobs; with Ray, one.",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Files worked on at once, each by a process. Default: as many as there are "
        "processors, or 1 for few files.",
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="local: this machine; ray: a Ray cluster (needs the extra ray).",
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of the Ray cluster, such as HOST:6379 or ray://HOST:10001. Default: RAY_ADDRESS, or "
        "a cluster that runs on this machine, or a new one.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Remember here, by content and settings, what is done; may be shared among runs, and "
        f"with Ray must be visible to all machines. Default: {CACHE_NAME} below --out.",
    ),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Analyse again what is done already, from the start.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no tables and no progress, only errors.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show all windows and what is going on.")
]
ShowProgressOption = Annotated[
    bool, typer.Option("--progress/--no-progress", help="Show a progress bar on a terminal.")
]
