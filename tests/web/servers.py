"""The web app on a free port of this machine, with a folder of its own for uploads."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevoice.analyzer import Analyzer
from facevoice.web import WebOptions, launch_app


@dataclass(frozen=True)
class Server:
    url: str
    uploads: Path

    def files(self, name: str) -> list[Path]:
        """Files of this name that the server keeps."""
        return [path for path in self.uploads.rglob(name) if path.is_file()]


@contextmanager
def serve(
    analyzer: Analyzer, uploads: Path, options: WebOptions, **launch: Any
) -> Iterator[Server]:
    # Gradio reads its folder when components are made.
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    port = free_port()
    app = launch_app(
        analyzer,
        options,
        wait=False,
        server_name="127.0.0.1",
        server_port=port,
        quiet=True,
        **launch,
    )
    try:
        yield Server(f"http://127.0.0.1:{port}/", uploads)
    finally:
        app.close()
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
