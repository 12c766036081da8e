"""What reading in isolation costs: the same file in this process and in a child, in turn.

    python -m benchmarks.isolation_cost [--clip FILE] [--runs 9]

Wall-clock seconds of a whole analysis with a loaded analyzer; then of the first one, for which a
child must start. Medians of runs in turn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from facevoice import Analyzer
from facevoice.report import to_json

CLIP = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun_s = time.perf_counter()
    work()
    return time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    here = Analyzer()
    isolated = here.in_isolation()
    same = to_json(here.analyze(given.clip)) == to_json(isolated.analyze(given.clip))
    print(f"{given.clip.name}, {given.runs} runs in turn; the same answer: {same}")
    apart, together, first = [], [], []
    for _ in range(given.runs):
        together.append(seconds(lambda: here.analyze(given.clip)))
        apart.append(seconds(lambda: isolated.analyze(given.clip)))
        first.append(seconds(lambda: here.in_isolation().analyze(given.clip)))
    base = median(together)
    print("| read | seconds | ratio |\n|---|---|---|")
    for name, found in (
        ("in this process", together),
        ("in a child that waits", apart),
        ("in a child that must start", first),
    ):
        print(f"| {name} | {median(found):.2f} | {median(found) / base:.2f} |")


if __name__ == "__main__":
    main()
