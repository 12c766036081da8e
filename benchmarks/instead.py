"""The scripts of docs/instead.md, each as a process of its own: what they print and take.

    python benchmarks/instead.py [--runs 3] [--peer-python PEER/bin/python]

Run in a clone, whose sample clips they read. Wall and CPU seconds (user + system, all threads and
children) are those of whole processes, start-up included: the medians of the rounds, in each of
which every script runs once. Those of other tools are run by the interpreter of `--peer-python`,
which `benchmarks/peers.py` says how to make, and left out without it.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

from peers import Cost, run_process

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "instead.md"
OTHER = re.compile(r"^from fer\b", re.MULTILINE)


def scripts(peer_python: Path | None) -> list[list[str]]:
    """A command for each script of the page that can be run."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    pythons = [peer_python if OTHER.search(script) else Path(sys.executable) for script in found]
    return [
        [str(python), "-c", script]
        for python, script in zip(pythons, found, strict=True)
        if python is not None
    ]


def main() -> None:
    """Read the arguments, run the rounds, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=3, help="rounds")
    parser.add_argument("--peer-python", type=Path, help="interpreter in which fer works")
    options = parser.parse_args()
    commands = scripts(options.peer_python)
    costs: list[list[Cost]] = [[] for _ in commands]
    printed = [""] * len(commands)
    for _ in range(options.runs):
        for place, command in enumerate(commands):
            cost, printed[place] = run_process(command)
            costs[place].append(cost)
    for command, each, text in zip(commands, costs, printed, strict=True):
        wall_s = statistics.median(cost.wall_s for cost in each)
        cpu_s = statistics.median(cost.cpu_s for cost in each)
        first = next(line for line in command[2].splitlines() if line.startswith("from"))
        print(f"{first}: {wall_s:.1f} s, {cpu_s:.1f} CPU-s of {options.runs} runs\n{text}")


if __name__ == "__main__":
    main()
