"""What decoders that were taken over would do; run in the child of a `Sandbox`."""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
        "raise its limits": _raise_limits,
        **_on_its_parent(),
        **_on_memory(),
        **_on_files_by_other_ways(inside / "own"),
    }


def _raise_limits() -> None:
    import resource

    endless = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_CPU, (endless, endless))


# Should one of these work, it does its parent no harm.


def _on_its_parent() -> dict[str, Callable[[], Any]]:
    import resource

    parent, user = os.getppid(), os.getuid()
    priority = os.getpriority(os.PRIO_PROCESS, parent)
    return {
        "kill its parent": lambda: os.kill(parent, 0),
        "kill all": lambda: os.kill(0, 0),
        "signal a thread": lambda: _call("tgkill", parent, parent, 0),
        "queue a signal": lambda: _call("sigqueue", parent, 0, 0),
        "signal by a pipe": lambda: _own_a_pipe(parent),
        "hold its parent": lambda: os.pidfd_open(parent),
        "bound its parent": lambda: resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0)),
        "ask for its bounds": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
        "tie its parent": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "slow its parent": lambda: os.setpriority(os.PRIO_PROCESS, parent, priority),
        "slow its user": lambda: os.setpriority(os.PRIO_USER, user, priority),
        "schedule its parent": lambda: os.sched_setscheduler(
            parent, os.SCHED_OTHER, os.sched_param(0)
        ),
        "trace its parent": lambda: _call("ptrace", 0x4206, parent, 0, 0),
        "read its memory": lambda: _call("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "write its memory": lambda: _call("process_vm_writev", parent, 0, 0, 0, 0, 0),
        "read its environment": Path(f"/proc/{parent}/environ").read_bytes,
        "share a room": lambda: _call("unshare", 0x10000000),
        "be another": lambda: _call("personality", 0xFFFFFFFF),
    }


def _own_a_pipe(pid: int) -> None:
    import fcntl

    read_end, _ = os.pipe()
    fcntl.fcntl(read_end, fcntl.F_SETOWN, pid)


def _on_memory() -> dict[str, Callable[[], Any]]:
    """Ways to memory that no limit counts."""
    private, grows = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 0x100
    return {
        "share memory": lambda: mmap.mmap(-1, 1 << 20),
        "grow a stack": lambda: mmap.mmap(-1, 1 << 20, flags=private | grows),
        "make a file in memory": lambda: os.memfd_create("x"),
        "make a segment": lambda: _call("shmget", 0, 1 << 20, 0o600),
        "make a queue": lambda: _call("msgget", 0, 0o600),
        "make a ring": lambda: _call("syscall", 425, 1, ctypes.create_string_buffer(120)),
    }


def _on_files_by_other_ways(own: Path) -> dict[str, Callable[[], Any]]:
    import fcntl

    def on_it(do: Callable[[int], Any]) -> Callable[[], Any]:
        def attempt() -> None:
            with own.open("rb") as file:
                do(file.fileno())

        return attempt

    set_flags = 0x40086602
    return {
        "lock": on_it(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)),
        "lock a part": on_it(lambda fd: fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)),
        "lease": on_it(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
        "type": on_it(_type),
        "mark": on_it(lambda fd: fcntl.ioctl(fd, set_flags, struct.pack("l", 0))),
        "watch": lambda: _call("inotify_init"),
    }


def _type(fd: int) -> None:
    """Type into a terminal; works where it is only told that the file is none."""
    import fcntl
    import termios

    try:
        fcntl.ioctl(fd, termios.TIOCSTI, b"x")
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise


def _call(name: str, *arguments: Any) -> None:
    """A function of the C library."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


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


def _defy() -> None:
    """Spin where the signal that tells of too much processor time is not heard."""
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGXCPU])
    _spin()


def _half() -> None:
    """Send the length of an answer, and one byte of it."""
    os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"x")
    time.sleep(600)


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
    "defy": _defy,
    "sleep": lambda: time.sleep(600),
    "half": _half,
    "bug": _bug,
    "refuse": _refuse,
    "work": lambda: None,
}


def open_doer(_: object) -> Work:
    """Does what it is told."""

    def work(task: Any, tell: Callable[[Any], None]) -> None:
        tell({"begun": task["do"]})
        while task["do"] == "chat":
            time.sleep(0.1)
            tell({"still": "at it"})
        if task["do"] == "deaf":
            tell({"done": True})
            time.sleep(600)  # The next task isn't read.
        DEEDS[task["do"]]()

    return work


def open_never(_: object) -> Work:
    """Can't be opened."""
    raise ValueError("no weights")


def open_reader(setup: Any) -> Work:
    """The real reader, but a decoder dies or lies when a file's name says so."""
    from facevoice import analyzer  # which takes a while, and the others need none

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
