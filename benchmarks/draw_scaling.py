"""Charts and the page of what analysis costs, from the figures that the benchmarks kept.

    python benchmarks/draw_scaling.py docs/benchmarks/scaling

Reads `figures.json` there, which these write (each with `--json FOLDER/figures.json`): `scaling.py`
(resolution, cores, length), `live_latency.py`, `peers.py`. Writes `scaling.svg` and `tables.md`,
with the plan for 1,000 hours on 1, 10 and 100 machines.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

DARK, LIGHT, WARM = "#1f4e79", "#9dbbd6", "#d08a2e"
PLANNED_HOURS = 1000
MACHINES = (1, 10, 100)
CORES_EACH = 2


def draw(figures: dict[str, Any], path: Path) -> None:
    """All charts as one picture."""
    mpl.rcParams["svg.hashsalt"] = "facevoice"
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    sizes, cores, peers, cpu, memory, latency = figure.subplots(2, 3).flat
    rows = figures["resolution"]
    places = np.arange(len(rows))
    sizes.bar(places - 0.2, [r["decode_cpu_s"] for r in rows], 0.4, color=LIGHT)
    sizes.bar(places + 0.2, [r["cpu_s"] for r in rows], 0.4, color=DARK)
    sizes.set_xticks(places, [r["name"] for r in rows])
    sizes.set_title("CPU seconds a minute of video")
    sizes.legend(["decoding all frames", "whole analysis"], frameon=False, fontsize=8)
    rows = figures["cores"]
    bars = cores.bar([r["name"] for r in rows], [r["real_time"] for r in rows], 0.5, color=DARK)
    cores.bar_label(bars, fmt="%.1f×")
    cores.set_title("times real time, 720p, by cores")
    rows = sorted(figures.get("peers", []), key=lambda row: -row["wall_s"])
    names = [r["name"].replace(" + ", "\n+ ") for r in rows]
    colors = [DARK if r["name"] == "facevoice" else WARM for r in rows]
    peers.bar_label(
        peers.barh(names, [r["wall_s"] for r in rows], 0.5, color=colors), fmt=" %.0f s"
    )
    peers.set_xscale("log")
    peers.margins(x=0.3)
    peers.set_title("seconds a minute of video, 720p")
    rows = figures["length"]
    minutes = [r["media_s"] / 60 for r in rows]
    for axes, value, title in (
        (cpu, "cpu_s", "CPU seconds a minute of video"),
        (memory, "peak_mb", "peak memory, MB"),
    ):
        axes.plot(minutes, [r[value] for r in rows], "o-", color=DARK)
        axes.set_xscale("log")
        axes.set_xticks(minutes, [r["name"] for r in rows])
        axes.minorticks_off()
        axes.set_ylim(0, 1.1 * max(r[value] for r in rows))
        axes.set_title(title)
    latency.hist(figures["latency_ms"], bins=20, color=DARK)
    latency.axvline(np.median(figures["latency_ms"]), color=WARM)
    latency.set_xlim(0, None)
    latency.set_title("live: latency of a window, ms")
    figure.savefig(path, metadata={"Date": None})


def write_tables(figures: dict[str, Any], path: Path) -> None:
    """The same figures as text."""
    lines = [
        "| video | decode | analysis | ratio | × real time | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    for table in ("resolution", "cores", "length"):
        for row in figures[table]:
            name = f"{row['name']} core(s), 720p" if table == "cores" else row["name"]
            decode, ratio = (
                "–" if row[value] is None else f"{row[value]:.2f}"
                for value in ("decode_cpu_s", "cpu_ratio")
            )
            lines.append(
                f"| {name} | {decode} | {row['cpu_s']:.2f} | {ratio} | {row['real_time']:.1f} | "
                f"{row['peak_mb']:.0f} |"
            )
    lines += ["", *plan(figures)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def plan(figures: dict[str, Any]) -> list[str]:
    """What 1,000 hours take on machines like this one, by CPU seconds."""
    lines = [
        f"| 1,000 hours of | core-hours | {' | '.join(f'{n} machines' for n in MACHINES)} |",
        "|---|---|" + "---|" * len(MACHINES),
    ]
    for row in figures["resolution"]:
        core_hours = PLANNED_HOURS * 60 * row["cpu_s"] / 3600
        hours = [core_hours / CORES_EACH / number for number in MACHINES]
        cells = " | ".join(f"{h:.1f} h" for h in hours)
        lines.append(f"| {row['name']} | {core_hours:.0f} | {cells} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    figures = json.loads((options.folder / "figures.json").read_text(encoding="utf-8"))
    draw(figures, options.folder / "scaling.svg")
    write_tables(figures, options.folder / "tables.md")
    print(f"written to {options.folder}")


if __name__ == "__main__":
    main()
