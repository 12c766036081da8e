"""A page to try facevoice on: upload a clip, read what face and voice express."""

from __future__ import annotations

from pathlib import Path

import facevoice
from facevoice.web import WebOptions, launch_app

HERE = Path(__file__).resolve().parent
SAMPLES = HERE / "samples"
MODEL = None
REVISION = None


def load_analyzer() -> facevoice.Analyzer:
    """The analyzer with the model of this Space."""
    if MODEL is None:
        return facevoice.Analyzer()
    folder = HERE / MODEL
    if folder.is_dir():
        return facevoice.from_pretrained(folder)
    return facevoice.from_pretrained(MODEL, revision=REVISION)


def choose_options() -> WebOptions:
    """What this Space allows."""
    samples = SAMPLES if SAMPLES.is_dir() else None
    return WebOptions(samples=samples, max_size_mb=100, max_length_s=600)


def tell(addresses: list[str]) -> None:
    """Say where the page is, for who runs this at home and for the Space's log."""
    print(f"Open {' or '.join(addresses)} in a browser.", flush=True)


if __name__ == "__main__":
    launch_app(load_analyzer(), choose_options(), told=tell)
