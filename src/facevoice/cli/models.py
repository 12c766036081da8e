"""`facevoice models`: the weights that come with the package."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

import typer

from facevoice.cli.options import EXIT_FAILED, tells_errors
from facevoice.cli.screen import Screen


@tells_errors("models")
def models() -> None:
    """List the weights that come with the package: licence, SHA-256, size, whether intact."""
    screen = Screen()
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
        screen.say(f"{name}  {entry['license']}, {size}, {state}")
        screen.say(f"  sha256 {entry['sha256']}", style="dim")
    if not all_intact:
        raise typer.Exit(EXIT_FAILED)
