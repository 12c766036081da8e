"""Ctrl-C, SIGTERM and SIGHUP at chosen moments of real commands (see benchmarks/interruptions.py).

The moment is an event that Python tells its audit hooks of, such as the import of a module, so that
nothing depends on how fast this machine is.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.interruptions import family

from conftest import ClipMaker

# Found by every Python of the command, its workers' too.
STRIKE = """
import os, signal, sys
event, word, name, where, whom = os.environ["STRIKE"].split()
is_worker = "--multiprocessing-fork" in sys.orig_argv
is_armed = is_worker == (where == "worker")
def strike(found, arguments):
    global is_armed
    if is_armed and found == event and word in str(arguments[0]):
        is_armed = False
        number = getattr(signal, name)
        os.killpg(0, number) if whom == "group" else os.kill(os.getppid(), number)
sys.addaudithook(strike)
"""


def start(tmp_path: Path, strike: str, *words: object) -> subprocess.Popen[bytes]:
    """The command, in a session of its own, with whatever strikes it."""
    (tmp_path / "sitecustomize.py").write_text(STRIKE)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    (tmp_path / "temporary").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "facevoice", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "STRIKE": strike,
            "TMPDIR": str(tmp_path / "temporary"),
        },
        start_new_session=True,
    )


def wait_for_all(session: int) -> None:
    deadline_s = time.monotonic() + 120
    while left := family(session):
        assert time.monotonic() < deadline_s, left
        time.sleep(0.02)


@pytest.mark.parametrize(
    "strike",
    [
        "import numpy SIGINT parent group",  # while the command line loads
        "import onnxruntime SIGTERM parent group",  # while the command does
        "import numpy SIGINT worker group",  # while workers load
        "import onnxruntime SIGHUP worker group",
        "open windows.csv.part SIGTERM parent group",  # at the end
    ],
)
def test_a_signal_at_any_moment_ends_in_one_line_and_130(
    tmp_path: Path, strike: str, make_clip: ClipMaker
) -> None:
    clips = [make_clip(f"{number}.mp4", duration_s=0.4) for number in range(2)]
    jobs = 2 if "worker" in strike else 1
    out = tmp_path / "out"
    process = start(tmp_path, strike, "analyze", *clips, "--out", out, "-q", "--jobs", jobs)
    _, said = process.communicate(timeout=300)
    told = said.decode().splitlines()
    assert (process.returncode, len(told)) == (130, 1), told
    assert told[0].startswith("Interrupted"), told
    wait_for_all(process.pid)
    assert list((tmp_path / "temporary").iterdir()) == []
    for store in out.glob("*.db"):
        with sqlite3.connect(store) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, make_clip: ClipMaker) -> None:
    clips = [make_clip(f"{number}.mp4", duration_s=0.4) for number in range(2)]
    strike = "import onnxruntime SIGKILL worker parent"
    process = start(tmp_path, strike, "analyze", *clips, "--jobs", "2")
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said.decode()) == (-signal.SIGKILL, "")
    wait_for_all(process.pid)


def test_what_the_shell_ignores_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        process = start(tmp_path, "import numpy SIGHUP parent group", "--version")
    finally:
        signal.signal(signal.SIGHUP, before)
    said, complained = process.communicate(timeout=300)
    assert (process.returncode, complained) == (0, b"")
    assert said.startswith(b"facevoice ")
