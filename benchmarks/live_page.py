"""How long after a frame was taken the live mode's result is on the page, in a real Chromium.

    python benchmarks/live_page.py [--seconds 60 --runs 3]

`facevoice web` runs in a process of its own with its default settings; a headless Chromium on the
same machine opens the page, with a camera of 640×480 at 30 frames/s that shows a portrait and a
microphone that hears the speech of a sample clip. For every result that is shown: from the moment
at which the newest frame within its window was taken from the camera's video, before it is
compressed, to the moment after the page was painted with the result (`live.js`). That contains up
to a frame's wait for the one that shows that the window is over, both ways over the socket,
analysis, drawing. Browser and server share the processors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Page

from chromium import file_devices, free_port, make_devices, open_chromium, spread, watched_page
from figures import keep

START_WITHIN_S = 120
PATIENCE_MS = 60_000


@dataclass
class Run:
    """What one session gave; frames_dropped: by the server, since it came too late with them."""

    latencies_ms: list[float] = field(default_factory=list)
    frames_sent: int = 0
    frames_dropped: int = 0


@contextmanager
def served_page() -> Iterator[str]:
    """The address of `facevoice web`."""
    port = free_port()
    command = [sys.executable, "-m", "facevoice", "web", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not answers(address):
            if server.poll() is not None or time.monotonic() > deadline:
                sys.exit("facevoice web did not start")
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        with urlopen(address, timeout=5):  # noqa: S310 - an address of this machine
            return True
    except URLError:
        return False


def watch_socket(page: Page, run: Run) -> None:
    """Count what goes over the page's sockets into `run`."""

    def received(content: str | bytes) -> None:
        message: dict[str, Any] = json.loads(content)
        run.frames_dropped = message.get("dropped", run.frames_dropped)

    def sent(content: str | bytes) -> None:
        run.frames_sent += isinstance(content, bytes) and content[:1] == b"V"

    def opened(socket: Any) -> None:
        if socket.url.endswith("/facevoice/live"):
            socket.on("framereceived", received)
            socket.on("framesent", sent)

    page.on("websocket", opened)


def measure(page: Page, address: str, seconds: float) -> Run:
    """One session from start to stop."""
    run = Run()
    watch_socket(page, run)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.get_by_role("tab", name="Live").click()
    button = page.locator(".fvw-live button.fvw-button")
    button.click()
    page.get_by_text("Listening").wait_for()
    page.wait_for_timeout(1000 * seconds)
    run.latencies_ms = page.evaluate("window.facevoiceLive.latencies_ms")
    button.click()
    page.get_by_text("Ended.").wait_for()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="see figures.py")
    options = parser.parse_args()
    runs = []
    with (
        tempfile.TemporaryDirectory() as folder,
        served_page() as address,
        open_chromium(*file_devices(make_devices(Path(folder)))) as browser,
    ):
        for number in range(options.runs):
            with watched_page(
                browser,
                permissions=["camera", "microphone"],
                viewport={"width": 1280, "height": 900},
            ) as page:
                run = measure(page, address, options.seconds)
            if not run.latencies_ms:
                sys.exit("no result was shown")
            runs.append(run)
            print(
                f"run {number + 1}: {len(run.latencies_ms)} results in {options.seconds:g} s, "
                f"frame to shown result {spread(run.latencies_ms)}; "
                f"{run.frames_dropped} of {run.frames_sent} frames dropped",
                flush=True,
            )
    medians = [statistics.median(run.latencies_ms) for run in runs]
    print(f"median of {len(runs)} runs' medians: {statistics.median(medians):.0f} ms")
    keep(options.json, "live_page_latencies_ms", [run.latencies_ms for run in runs])


if __name__ == "__main__":
    main()
