"""The real Chromium and the fake devices of the tests, for benchmarks of pages."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

# The tests' helpers are not part of the package.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from playwright.sync_api import Browser

from browser import find_chromium, open_browser, watched_page
from fake_devices import file_devices, make_devices
from report.pages import make_long_report, make_trace
from web.servers import free_port

__all__ = [
    "file_devices",
    "free_port",
    "make_devices",
    "make_long_report",
    "make_trace",
    "open_chromium",
    "spread",
    "watched_page",
]


@contextmanager
def open_chromium(*arguments: str) -> Iterator[Browser]:
    """Headless Chromium; ends the benchmark where none is installed."""
    if find_chromium() is None:
        sys.exit("No Chromium is installed (Debian: apt-get install chromium).")
    with open_browser(*arguments) as browser:
        yield browser


def spread(values_ms: Sequence[float]) -> str:
    """Median, 95th percentile and worst in words."""
    median, most = np.quantile(values_ms, [0.5, 0.95])
    return f"median {median:.0f} ms, 95 % below {most:.0f} ms, worst {max(values_ms):.0f} ms"
