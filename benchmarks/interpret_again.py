"""Wall seconds to interpret a stored hour again: read its perception from the store, judge, sum up.

    python benchmarks/interpret_again.py --minutes 60 --runs 5

The perception is that of a sample, its windows repeated at later times; nothing is decoded.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from facevoice.analyzer import Analyzer
from facevoice.store import Store

SAMPLE = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    analyzer = Analyzer()
    seen = analyzer.perceive(SAMPLE)
    hop_s = analyzer.config.windows.hop_s
    views = [
        replace(seen.windows[n % 2], start_s=n * hop_s, end_s=n * hop_s + 4)
        for n in range(round(asked.minutes * 60 / hop_s))
    ]
    long = replace(seen, windows=tuple(views))
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.db") as store:
        analyzer.perceiver.keep(long, store)
        size_mb = store.path.stat().st_size / 1e6
        times_s = []
        for _ in range(asked.runs):
            began_s = time.perf_counter()
            found = analyzer.recall(SAMPLE, seen.sha256 or "", store)
            if found is None:
                raise SystemExit("the store lost it")
            report = analyzer.interpret(found)
            times_s.append(time.perf_counter() - began_s)
    print(
        f"{len(report.windows)} windows, {size_mb:.1f} MB in the store: "
        f"{statistics.median(times_s):.3f} s (median of {asked.runs})"
    )


if __name__ == "__main__":
    main()
