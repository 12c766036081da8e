"""A thousand short files in one call, some of them broken, killed and run again three times.

    python benchmarks/thousand_files.py [--files 1000 --broken 20 --kills 3 --jobs N]

Makes short clips (1 to 3 s, every one of another content) in a tree of folders, and among them
files that are empty, text, noise, cut off in their index, or hold nothing but a title. Runs
`facevoice analyze TREE --out OUT`, kills it with all its processes (SIGKILL) at a random moment,
as often as asked, and lets it end. Then checks, and fails if one of these does not hold: a report
for every file; an error of a kind for every broken one and for no other; every report that was on
disk at a kill is there, the same byte for byte; nothing half-written lies about; and the same
bytes, file by file, as a run without a kill into another folder (`--no-compare` leaves that out).
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av

SAMPLES = Path(__file__).parents[1] / "examples"
NUM_BASES = 20


def make_tree(root: Path, num_files: int, num_broken: int) -> set[Path]:
    """Write the files; returns the broken ones."""
    names = [root / f"day{n % 7}" / f"clip{n:04}.mp4" for n in range(num_files)]
    chosen = random.Random(0).sample(range(num_files), num_broken)
    bases = [make_clip(root.parent / f"base{n}.mp4", n) for n in range(NUM_BASES)]
    for n, path in enumerate(names):
        path.parent.mkdir(parents=True, exist_ok=True)
        if n in chosen:
            path.write_bytes(broken_content(chosen.index(n), bases[0]))
        else:
            # A box that no reader looks into makes every file another content.
            box = n.to_bytes(4, "big")
            path.write_bytes(bases[n % NUM_BASES] + b"\x00\x00\x00\x0cfree" + box)
    return {names[n] for n in chosen}


def make_clip(path: Path, number: int) -> bytes:
    """A part of a sample, 1 to 3 s long, video and sound encoded anew."""
    source = SAMPLES / ("smile_glad_voice.mp4" if number % 2 else "smile_frightened_voice.mp4")
    start_s, length_s = 0.15 * number, 1.0 + 2.0 * number / NUM_BASES
    with av.open(str(source)) as given, av.open(str(path), "w") as written:
        video = written.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 320, "yuv420p"
        audio = written.add_stream("aac", rate=16_000, layout="mono")
        for stream, copy in ((given.streams.video[0], video), (given.streams.audio[0], audio)):
            given.seek(0)
            count = 0
            for frame in given.decode(stream):
                if not start_s <= (frame.time or 0.0) < start_s + length_s:
                    continue
                if isinstance(frame, av.VideoFrame):
                    picture = av.VideoFrame.from_ndarray(
                        frame.to_ndarray(format="rgb24"), format="rgb24"
                    )
                    written.mux(copy.encode(picture.reformat(320, 320, "yuv420p")))
                    continue
                frame.pts, frame.time_base = count, Fraction(1, 16_000)
                count += frame.samples
                written.mux(copy.encode(frame))
            written.mux(copy.encode(None))
    return path.read_bytes()


def broken_content(number: int, good: bytes) -> bytes:
    """One of five ways to be no film, every one another content."""
    mark = number.to_bytes(2, "big")
    kinds = (
        b"",
        b"this is a letter, not a film\n" * 50 + mark,
        random.Random(number).randbytes(5000),
        good[: 300 + number],
        b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom" + mark,
    )
    return kinds[number % len(kinds)]


def start(tree: Path, out: Path, jobs: int) -> subprocess.Popen[bytes]:
    """The command, in a process group of its own."""
    command = [sys.executable, "-m", "facevoice", "analyze", str(tree), "--out", str(out), "-q"]
    command += ["--jobs", str(jobs), "--format", "json,csv"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def reports_of(out: Path) -> dict[Path, bytes]:
    """The reports of files that are there."""
    return {path: path.read_bytes() for path in out.rglob("day*/*.json")}


def run_with_kills(tree: Path, out: Path, options: argparse.Namespace) -> dict[Path, bytes]:
    """Run to the end, killed on the way; returns the reports that were there at a kill."""
    chance = random.Random(1)
    seen: dict[Path, bytes] = {}
    goals = sorted(chance.uniform(0.1, 0.9) * options.files for _ in range(options.kills))
    for goal in goals:
        process = start(tree, out, options.jobs)
        while sum(1 for _ in out.rglob("day*/*.json")) < goal and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        seen |= reports_of(out)
        print(f"killed with {len(seen)} reports on disk", flush=True)
    began = time.monotonic()
    code = start(tree, out, options.jobs).wait()
    print(f"last run: exit code {code}, {time.monotonic() - began:.0f} s")
    return seen


def check(tree: Path, out: Path, broken: set[Path], seen: dict[Path, bytes]) -> None:
    """Print what came out; stop if anything is lost, invented or altered."""
    kinds: collections.Counter[str] = collections.Counter()
    wrong = []
    files = sorted(tree.rglob("*.mp4"))
    for path in files:
        report = json.loads((out / path.relative_to(tree)).with_suffix(".json").read_text())
        error = report["error"]
        kinds["result" if error is None else error["kind"]] += 1
        if (error is not None) != (path in broken) or report["file"]["path"] != str(path):
            wrong.append(path)
    now = reports_of(out)
    altered = [path for path, content in seen.items() if now.get(path) != content]
    litter = [p for p in out.rglob("*.part") if not p.name.startswith(".")]
    print(
        f"{len(files)} files: {dict(kinds)}; wrong {len(wrong)}, altered {len(altered)}, left "
        f"behind {len(litter)}"
    )
    if wrong or altered or litter:
        raise SystemExit(f"not as it should be: {[*wrong, *altered, *litter][:5]}")


def compare(out: Path, other: Path) -> None:
    """Every file that people see must be the same."""
    names = [p.relative_to(out) for p in out.rglob("*") if p.is_file()]
    names = [n for n in names if not any(part.startswith(".") for part in n.parts)]
    differing = [n for n in names if (out / n).read_bytes() != (other / n).read_bytes()]
    print(f"{len(names)} files against a run without a kill: {len(differing)} differ")
    if differing:
        raise SystemExit(f"differing: {differing[:5]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--broken", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--no-compare", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, out, other = (Path(folder) / name for name in ("tree", "out", "other"))
        broken = make_tree(tree, options.files, options.broken)
        seen = run_with_kills(tree, out, options)
        check(tree, out, broken, seen)
        if not options.no_compare:
            began = time.monotonic()
            start(tree, other, options.jobs).wait()
            print(f"without a kill: {time.monotonic() - began:.0f} s")
            compare(out, other)


if __name__ == "__main__":
    main()
