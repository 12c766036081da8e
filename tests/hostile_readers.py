"""What decoders that were taken over would do; run in the child of a `Sandbox`."""

from __future__ import annotations

import ctypes
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facevoice import analyzer
from facevoice.errors import UnreadableMediaError
from facevoice.sandbox import Work


def _connect() -> None:
    socket.create_connection(("127.0.0.1", 9), 1)


def _look_up() -> None:
    socket.getaddrinfo("facevoice.invalid", 80)


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def attempts(inside: Path, outside: Path) -> dict[str, Callable[[], Any]]:
    """What it tries, by name; each must fail."""
    return {
        "connect": _connect,
        "look up a name": _look_up,
        "listen": lambda: socket.socket().bind(("127.0.0.1", 0)),
        "run a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "fork": _fork,
        "write": lambda: (inside / "new").write_text("x"),
        "append": lambda: (inside / "own").open("a"),
        "delete": (inside / "own").unlink,
        "rename": lambda: (inside / "own").rename(inside / "other"),
        "make a folder": (inside / "folder").mkdir,
        "make a link": lambda: (inside / "link").symlink_to(outside),
        "change rights": lambda: (inside / "own").chmod(0o777),
        "change times": lambda: os.utime(inside / "own"),
        "shorten": lambda: os.truncate(inside / "own", 0),
        "read another folder": (outside / "secret").read_text,
        "list another folder": lambda: list(outside.iterdir()),
        "read passwords": Path("/etc/passwd").read_text,
        "kill its parent": lambda: os.kill(os.getppid(), 0),
        "raise its limits": _raise_limits,
    }


def _raise_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def open_prober(_: object) -> Work:
    """Tells of each attempt how it failed, None if it worked."""

    def work(task: Any, tell: Callable[[Any], None]) -> None:
        inside, outside = (Path(os.fsdecode(task[name])) for name in ("inside", "outside"))
        for name, attempt in attempts(inside, outside).items():
            try:
                attempt()
                tell({"tried": name, "failed": None})
            except Exception as error:  # noqa: BLE001 - told
                tell({"tried": name, "failed": type(error).__name__})
        # What it is there for still works, in threads that it starts, too.
        read: list[str] = []
        thread = threading.Thread(target=lambda: read.append((inside / "own").read_text()))
        thread.start()
        thread.join()
        tell({"read": read[0], "secrets": "SECRET_KEY" in os.environ})

    return work


def _crash() -> None:
    ctypes.string_at(0)


def _hoard() -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20) * 8))


def _spin() -> None:
    while True:
        pass


def _bug() -> None:
    raise ZeroDivisionError("a mistake")


def _refuse() -> None:
    raise UnreadableMediaError("x", "is a poem.", "Read it aloud.")


DEEDS: dict[str, Callable[[], Any]] = {
    "crash": _crash,
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "hoard": _hoard,
    "spin": _spin,
    "sleep": lambda: time.sleep(600),
    "bug": _bug,
    "refuse": _refuse,
    "work": lambda: None,
}


def open_doer(_: object) -> Work:
    """Does what it is told."""

    def work(task: Any, tell: Callable[[Any], None]) -> None:
        tell({"begun": task["do"]})
        DEEDS[task["do"]]()

    return work


def open_never(_: object) -> Work:
    """Can't be opened."""
    raise ValueError("no weights")


def open_reader(setup: Any) -> Work:
    """The real reader, but a decoder dies or lies when a file's name says so."""
    honest = analyzer.open_reader(setup)

    def work(task: Any, tell: Callable[[Any], None]) -> None:
        num_windows = 0

        def hear(message: Any) -> None:
            nonlocal num_windows
            if "view" in message:
                num_windows += 1
                if "crash" in name and num_windows > 1:
                    os.abort()
                if "late" in name:
                    message["view"]["start_s"] += 0.5
                if "naked" in name:
                    message["view"]["speech_coverage"] = math.nan
                if "foreign" in name:
                    message = {"view": {"__reduce__": ["os.system", "true"]}}
            if "media" in message and "elsewhere" in name:
                message["media"]["path"] = b"/etc/passwd"
            tell(message)

        path = task["path"] if task["do"] == "probe" else task["media"]["path"]
        name = Path(os.fsdecode(path)).name
        honest(task, hear)

    return work
