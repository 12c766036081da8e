"""The service as a process of its own, on a free port of this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any

import httpx

from facevoice.service import KeyLimits
from facevoice.service.keys import Keyring, User

SAMPLE = Path(__file__).parents[2] / "examples" / "smile_glad_voice.mp4"
PATIENCE_S = 120.0
KEYS = {"anna": "fv_of-anna", "bob": "fv_of-bob"}


def keyring(**limits: KeyLimits) -> Keyring:
    """Anna and Bob, whose limits may be named."""
    users = {name: User(name, limits.get(name, KeyLimits())) for name in KEYS}
    return Keyring({digest(KEYS[name]): user for name, user in users.items()}, KeyLimits())


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def header(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


class ServiceProcess:
    """`facevoice serve` in a folder; it can be ended, killed, and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self._options = folder, options
        self._env = {
            **os.environ,
            "FACEVOICE_SERVICE_KEYS": " ".join(f"{n}:{digest(key)}" for n, key in KEYS.items()),
        }
        self.url = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "facevoice", "serve", "--data", str(self.folder)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--threads", "1", *self._options],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        found: Queue[str] = Queue()
        threading.Thread(target=self._listen, args=(found,), daemon=True).start()
        self.url = found.get(timeout=PATIENCE_S)
        assert self.url, "".join(self.lines)

    def _listen(self, found: Queue[str]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            for url in re.findall(r"Serving (http://[\w.:]+)/", line):
                found.put(url)
        found.put("")

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """How it ended."""
        return self._process.wait(PATIENCE_S)

    def kept(self) -> list[Path]:
        """What lies there of files."""
        return list((self.folder / "jobs").iterdir())

    def client(self, name: str = "anna") -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=header(name), timeout=PATIENCE_S)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[ServiceProcess]:
    service = ServiceProcess(folder, *options)
    service.start()
    try:
        yield service
    finally:
        with suppress(ProcessLookupError):
            service.kill()


def send(client: httpx.Client, path: Path, **headers: str) -> dict[str, Any]:
    answer = client.post(
        "/v1/jobs/file",
        params={"name": path.name},
        content=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream", **headers},
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def events(client: httpx.Client, job: str, **headers: str) -> Iterator[tuple[str, str, Any]]:
    """Name, id and data of each event of a job."""
    with client.stream("GET", f"/v1/jobs/{job}/windows", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        told: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                told[name] = value
            elif "data" in told:
                yield told.get("event", ""), told.get("id", ""), json.loads(told["data"])
                told = {}


def wait_for(client: httpx.Client, job: str) -> dict[str, Any]:
    """The job once it is finished."""
    told = [data for name, _, data in events(client, job) if name == "job"]
    last: dict[str, Any] = told[-1]
    return last


def wait_until(is_so: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)
