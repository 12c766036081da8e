"""Nothing leaves the machine, and nothing stays that nobody asked for, in no process of facevoice.

What a process does after a minute, as telemetry would, is told by `benchmarks/quiet_process.py`:
docs/benchmarks/quiet.md.
"""

from __future__ import annotations

import shutil
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from benchmarks.quiet_process import Way, watch, ways

ROOT = Path(__file__).parents[1]

# A look-up, a message, a file in the home folder and one beside it, and one of somebody else read.
LOUD = """
import os, pathlib, socket, sys
try:
    socket.gethostbyname("facevoice.invalid")
except OSError:
    pass
speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
speaker.sendto(b"me", ("127.0.0.1", 9))
(pathlib.Path.home() / "deviceid").write_text("me")
(pathlib.Path(os.getcwd()).parent / "beside").write_text("x")
(pathlib.Path(os.getcwd()).parent / "beside").read_text()
"""
HAS_STRACE = shutil.which("strace") is not None


@pytest.mark.parametrize("hook", [False] * HAS_STRACE + [True])
def test_what_is_watched_would_be_seen(hook: bool) -> None:
    seen = watch(Way("loud", ()), hook=hook, child=LOUD)
    assert seen.sockets
    assert seen.lookups
    assert [Path(name).name for name in seen.written] == ["deviceid", "beside"]
    assert [Path(name).name for name in seen.read] == ["beside"]
    assert seen.left == ["home/deviceid"]


def test_a_batch_by_many_processes_speaks_to_nobody_and_writes_only_what_was_asked_for() -> None:
    seen = watch(ways()["batch"], hook=not HAS_STRACE)
    assert seen.is_quiet, seen
    assert {"out/smile_glad_voice.json", "out/smile_plain_voice.json"} <= set(seen.made)
    assert all(name.startswith("out/") for name in seen.made)


def test_the_web_app_speaks_to_its_visitors_only_and_leaves_nothing() -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    seen = watch(ways()["web"], hook=not HAS_STRACE)
    assert seen.is_quiet, seen
    assert seen.made == []
    assert ("bind", "own address") in seen.calls
    assert any(purpose == "to write: temporary" for _, purpose in seen.calls)  # the upload


def test_the_service_speaks_to_its_clients_only_and_keeps_nothing_of_a_job_that_is_deleted() -> (
    None
):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    seen = watch(ways()["serve"], hook=not HAS_STRACE)
    assert seen.is_quiet, seen
    assert {Path(name).parts[:2] for name in seen.made} <= {
        ("data", name) for name in ("jobs.db", "jobs.db-journal", "lock")
    }
    assert ("bind", "own address") in seen.calls


def test_tools_for_assistants_speak_over_standard_input_only_and_leave_nothing() -> None:
    pytest.importorskip("mcp", reason="needs the extra mcp")
    seen = watch(ways()["mcp"], hook=not HAS_STRACE)
    assert seen.is_quiet, seen
    assert seen.made == []


def test_the_installed_onnxruntime_is_inside_the_bound_that_keeps_telemetry_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (bound,) = [d for d in project["dependencies"] if d.startswith("onnxruntime")]
    assert bound.endswith("<1.29")
    installed = tuple(int(part) for part in version("onnxruntime").split(".")[:2])
    assert (1, 20) <= installed < (1, 29)
