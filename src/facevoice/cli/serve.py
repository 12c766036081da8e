"""`facevoice serve`: the service for programs, over HTTP."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from facevoice.batch import AnalyzerSetup
from facevoice.cli.options import flag, option, takes_isolated_analyzer, tells_errors
from facevoice.cli.screen import Screen
from facevoice.service.limits import KeyLimits, ServiceOptions

_LOCAL = "127.0.0.1"
_FOLDER = Path("facevoice-service")
_USUAL = KeyLimits()


@tells_errors("serve", interrupted="Jobs that were running go on when the service starts again.")
@takes_isolated_analyzer
def serve(
    *,
    host: Annotated[
        str, option("ADDRESS", "Where to listen; others than 127.0.0.1 need keys.")
    ] = _LOCAL,
    port: Annotated[int, option("N", "Port; 0 for any that is free.", min=0, max=65535)] = 8000,
    data: Annotated[
        Path, option("DIR", "Folder for uploads and jobs; with --database, shared by all workers.")
    ] = _FOLDER,
    database: Annotated[
        str | None,
        option(
            "URL",
            "postgresql://… where several processes share the jobs. Default: SQLite in --data. The "
            "environment variable is safer: others can read command lines.",
            envvar="FACEVOICE_DATABASE",
        ),
    ] = None,
    keys: Annotated[
        Path | None, option("FILE", "Who may ask, and how much: TOML; see docs/service.md.")
    ] = None,
    new_key: Annotated[
        str | None,
        option("NAME", "Print a new key, and what to put into the file of keys for it; then end."),
    ] = None,
    setup: AnalyzerSetup,
    max_size: Annotated[
        float, option("MB", "Largest file, unless the key sets its own limit.", min=0.001)
    ] = _USUAL.max_size_mb,
    max_minutes: Annotated[
        float, option("N", "Longest file, in minutes, likewise.", min=0.01)
    ] = _USUAL.max_minutes,
    max_jobs: Annotated[
        int, option("N", "Jobs of a key that wait or run together, likewise.", min=1)
    ] = _USUAL.max_jobs,
    rate: Annotated[
        float, option("N", "Requests of a key a minute, likewise.", min=1)
    ] = _USUAL.requests_per_minute,
    keep_hours: Annotated[
        float, option("N", "Jobs and reports are deleted so long after they are done.", min=0.001)
    ] = 24.0,
    at_once: Annotated[int, option("N", "Files worked on together.", min=1)] = 1,
    private_addresses: Annotated[
        bool,
        flag(
            "Fetch addresses of private networks too: only where all users may reach them anyhow.",
            "--private-addresses",
        ),
    ] = False,
) -> None:
    """Serve analyses to programs over HTTP: send a file, follow its windows, fetch its report.

    Files are always read in isolation, and deleted once they are analysed. The page /docs describes
    all requests. SIGTERM or Ctrl-C ends it in order.
    """
    from facevoice.service import load_keys, run
    from facevoice.service import new_key as make_key

    screen = Screen()
    if new_key is not None:
        key, lines = make_key(new_key)
        typer.echo(
            f"The key, which is shown this once:\n\n{key}\n\nFor the file of keys:\n\n{lines}"
        )
        return
    logging.getLogger("facevoice").setLevel(logging.INFO)
    limits = replace(
        _USUAL,
        max_size_mb=max_size,
        max_minutes=max_minutes,
        max_jobs=max_jobs,
        requests_per_minute=rate,
    )
    options = ServiceOptions(
        folder=data,
        database=database,
        limits=limits,
        num_at_once=at_once,
        keep_s=3600 * keep_hours,
        private_addresses=private_addresses,
    )
    keyring = load_keys(keys, os.environ.get("FACEVOICE_SERVICE_KEYS"), limits)
    screen.say("Loading the model…")
    run(
        setup,
        options,
        keyring,
        host=host,
        port=port,
        on_start=lambda address: screen.say(
            f"Serving {address}/v1/jobs; what can be asked: {address}/docs"
        ),
    )
