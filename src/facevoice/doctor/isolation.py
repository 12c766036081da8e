"""What a process that reads files by strangers could still do here: it is tried, not looked up."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facevoice.errors import FacevoiceError
from facevoice.sandbox import Limits, Message, Sandbox, Work


@dataclass(frozen=True, slots=True)
class Rights:
    """What is left to the process: making sockets, reading files elsewhere."""

    network: bool
    files: bool


def try_isolation() -> Rights | str:
    """What an isolated process can do; or why there is none."""
    with tempfile.TemporaryDirectory() as inside, tempfile.TemporaryDirectory() as outside:
        foreign = Path(outside) / "foreign"
        foreign.write_bytes(b"")
        try:
            child = Sandbox("facevoice.doctor.isolation:serve_trial", {}, Limits())
            try:
                [told] = child.work({"foreign": str(foreign)}, Path(inside) / "own")
            finally:
                child.close()
        except FacevoiceError as error:
            return str(error)
    return Rights(bool(told["network"]), bool(told["files"]))


def serve_trial(_: Message) -> Work:
    """What the child runs."""

    def work(task: Message, tell: Callable[[Message], None]) -> None:
        tell(
            {
                "network": _works(lambda: socket.socket().close()),
                "files": _works(lambda: Path(task["foreign"]).read_bytes()),
            }
        )

    return work


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True
