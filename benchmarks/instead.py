"""The scripts of docs/instead.md, each as a process of its own: what they print and take.

    python benchmarks/instead.py [--runs 3] [--peer-python PEER/bin/python]

Run in a clone, whose sample clips they read. Wall and CPU seconds (user + system, all threads and
children) are those of whole processes, start-up included: the medians of the rounds, in each of
which every script runs once. Those of other tools are run by the interpreter of `--peer-python`,
which `benchmarks/peers.py` says how to make, and left out without it.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from peers import run_process

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "instead.md"
OTHER = re.compile(r"^from fer\b", re.MULTILINE)


def commands(peer_python: Path | None) -> Iterator[tuple[str, list[str]]]:
    """For each script of the page that can be run: what it is, and its command."""
    page = PAGE.read_text(encoding="utf-8")
    for script in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        heading = re.findall(r"^## (.*)", page[: page.index(script)], re.M)[-1]
        if not OTHER.search(script):
            yield f"{heading}: facevoice", [sys.executable, "-c", script]
        elif peer_python is not None:
            yield f"{heading}: fer", [str(peer_python), "-c", script]


def main() -> None:
    """Read the arguments, run the rounds, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=3, help="rounds")
    parser.add_argument("--peer-python", type=Path, help="interpreter in which fer works")
    options = parser.parse_args()
    named = dict(commands(options.peer_python))
    rounds = [{name: run_process(named[name]) for name in named} for _ in range(options.runs)]
    for name in named:
        wall_s, cpu_s = (
            statistics.median(getattr(done[name][0], key) for done in rounds)
            for key in ("wall_s", "cpu_s")
        )
        printed = rounds[-1][name][1]
        print(f"{name}: {wall_s:.1f} s, {cpu_s:.1f} CPU-s\n{printed}")
    load = f"load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"
    print(f"Medians of {options.runs} runs; {load}")


if __name__ == "__main__":
    main()
