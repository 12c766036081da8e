"""Nothing leaves the machine: no socket, no look-up of a name, no file but the one asked for.

Telemetry that begins after a minute is looked for by `benchmarks/quiet_process.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from benchmarks import quiet_process

ROOT = Path(__file__).parents[1]

# A socket, a look-up, a file in the home folder and one beside it.
LOUD = """
import os, pathlib, socket, sys
socket.socket().close()
try:
    socket.gethostbyname("facevoice.invalid")
except OSError:
    pass
(pathlib.Path.home() / "deviceid").write_text("me")
(pathlib.Path(sys.argv[2]).parents[1] / "beside").write_text("x")
"""

# In place of strace: any use of the network ends the process.
GUARD = """
import os, socket
def refuse(*_args, **_more):
    os.write(2, b"the network was asked for\\n")
    os._exit(77)
socket.socket.__init__ = socket.getaddrinfo = socket.gethostbyname = refuse
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_analysing_opens_no_socket_looks_up_no_name_and_writes_only_its_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = quiet_process.watch(quiet_process.CLIP, seconds=0)
    assert seen.is_quiet, seen
    monkeypatch.setattr(quiet_process, "CHILD", LOUD)
    loud = quiet_process.watch(quiet_process.CLIP, seconds=0)  # so that silence means something
    assert loud.sockets and loud.lookups
    assert loud.in_home == ["deviceid"]
    assert {Path(name).name for name in loud.written} == {"deviceid", "beside"}


def test_analysing_asks_for_no_network_where_strace_is_not_at_hand(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    for folder in (home, out):
        folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    environment = {
        **{k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH")},
        "HOME": str(home),
        "TMPDIR": str(out),
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT / "src"))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    child = ["-c", quiet_process.CHILD, str(quiet_process.CLIP), str(out / "report.json"), "0"]
    run = subprocess.run(
        [sys.executable, *child], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert [p.name for p in out.iterdir()] == ["report.json"]
    assert list(home.rglob("*")) == []


def test_the_installed_onnxruntime_is_inside_the_bound_that_keeps_telemetry_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (bound,) = [d for d in project["dependencies"] if d.startswith("onnxruntime")]
    assert bound.endswith("<1.29")
    installed = tuple(int(part) for part in version("onnxruntime").split(".")[:2])
    assert (1, 20) <= installed < (1, 29)
