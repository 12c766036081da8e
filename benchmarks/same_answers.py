"""Whether two versions say the same: compares the JSON reports of the same files, window by window.

git worktree add ../before COMMIT
PYTHONPATH=../before/src python -m facevoice analyze FILES --out old --format json
python -m facevoice analyze FILES --out new --format json
python benchmarks/same_answers.py old new
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS = ("face", "voice", "fused")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Reports below a folder by their relative path."""
    return {
        str(path.relative_to(folder)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.json"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def numbers(said: dict[str, Any]) -> dict[str, float]:
    """All probabilities of a window or a summary."""
    found = {
        f"{channel} {name}": prob
        for channel in CHANNELS
        if said[channel] is not None
        for name, prob in said[channel]["probs"].items()
    }
    return found if said["conflict"] is None else {**found, "conflict": said["conflict"]}


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[float]:
    """Of each probability; infinite where only one version says anything."""
    before, after = numbers(old), numbers(new)
    for name in before.keys() | after.keys():
        both = name in before and name in after
        yield abs(before[name] - after[name]) if both else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--show", type=int, default=5, help="files with the largest differences")
    asked = parser.parse_args()
    old, new = read(asked.old), read(asked.new)
    if old.keys() != new.keys():
        print(f"only in one: {sorted(old.keys() ^ new.keys())[:10]}")
    windows: list[float] = []
    summaries: list[float] = []
    largest: dict[str, float] = {}
    outcomes = files = statuses = sums = 0
    for name in old.keys() & new.keys():
        one, other = old[name], new[name]
        statuses += one["status"] != other["status"]
        files += len(one["windows"]) != len(other["windows"])
        for a, b in zip(one["windows"], other["windows"], strict=False):
            found = max(differences(a, b), default=0.0)
            windows.append(found)
            largest[name] = max(found, largest.get(name, 0.0))
            outcomes += (a["outcome"], a["reasons"]) != (b["outcome"], b["reasons"])
        if one["summary"] is not None and other["summary"] is not None:
            summaries.append(max(differences(one["summary"], other["summary"]), default=0.0))
            sums += one["summary"]["outcome"] != other["summary"]["outcome"]
    print(f"{len(old.keys() & new.keys())} files, {len(windows)} windows")
    for what, values in (("windows", windows), ("summaries", summaries)):
        shares = np.percentile(values, [50, 90, 99, 100])
        print(
            f"{what}: largest difference of a probability: median {shares[0]:.2g}, "
            f"90 % {shares[1]:.2g}, 99 % {shares[2]:.2g}, largest {shares[3]:.2g}"
        )
    print(
        f"another outcome or reason: {outcomes} windows, {sums} summaries; another status: "
        f"{statuses} files; another number of windows: {files} files"
    )
    for name in sorted(largest, key=lambda n: -largest[n])[: asked.show]:
        print(f"  {largest[name]:.2g}  {name}")


if __name__ == "__main__":
    main()
