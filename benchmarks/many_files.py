"""Ten thousand tiny files in one call, 2 % of them broken, killed and run again five times.

    python -m benchmarks.many_files [--files 10000 --broken 200 --kills 5 --jobs N] [--json FILE]

Makes clips (0.2 to 1 s, each of another content: talking portraits, moving patterns, sound or
picture alone) in a tree of folders, and among them files that are empty, text, noise, a still
picture, cut off, nothing but a title, or a link to nothing. Runs `facevoice analyze` on the tree,
kills it with all its processes (SIGKILL) at random moments, as often as asked, and lets it end.
Memory is that of all its processes together, asked every second.

Then checks, and fails if one of these does not hold: a report for every file and no other; an error
of a kind for every broken one and for no other; every report that was on disk at a kill is there,
the same byte for byte; as many rows of the table over all files as windows; of files by chance
(--compare), the same bytes as a run without a kill into another folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from benchmarks.figures import keep
from benchmarks.interruptions import family

EXAMPLES = Path(__file__).parents[1] / "examples"
NUM_BASES = 20
NUM_FOLDERS = 7
SIDE_PX, RATE_HZ, SOUND_HZ = 96, 25, 16_000
LONG_ENOUGH = 1000  # files, for memory to show where it goes
NEVER = ("internal", "worker_died", "decoder_crashed", "over_limit")


def make_tree(root: Path, num_files: int, num_broken: int) -> set[Path]:
    """Write the files; returns the broken ones."""
    chosen = {n: k for k, n in enumerate(random.Random(0).sample(range(num_files), num_broken))}
    bases = [make_base(root.parent / f"base{n}.mp4", n) for n in range(NUM_BASES)]
    broken = set()
    for n in range(num_files):
        path = root / f"day{n % NUM_FOLDERS}" / f"clip{n:05}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if n in chosen:
            write_broken(path, chosen[n], bases[0])
            broken.add(path)
        else:
            # A box that no reader looks into makes every file another content.
            box = b"\x00\x00\x00\x0cfree" + n.to_bytes(4, "big")
            path.write_bytes(bases[n % NUM_BASES] + box)
    return broken


def make_base(path: Path, number: int) -> bytes:
    """A clip: every fifth a part of a sample, else a moving pattern, a tone, or both."""
    if number % 5 == 0:
        source = EXAMPLES / ("smile_glad_voice.mp4" if number % 2 else "smile_frightened_voice.mp4")
        start_s = 0.4 + 0.15 * number
        pictures, sound = read_part(source, start_s, start_s + 0.6 + 0.02 * number)
    else:
        times = np.arange(round((0.2 + 0.02 * number) * RATE_HZ)) / RATE_HZ
        pictures = [paint(number, time_s) for time_s in times]
        ticks = np.arange(len(times) * SOUND_HZ // RATE_HZ) / SOUND_HZ
        sound = 0.3 * np.sin(2 * np.pi * (150 + 20 * number) * ticks)
    write_clip(path, pictures if number % 5 != 1 else [], sound if number % 5 != 2 else None)
    return path.read_bytes()


def read_part(source: Path, start_s: float, end_s: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures and sound of a sample between two times."""
    pictures, sounds = [], []
    resampler = av.AudioResampler("fltp", "mono", SOUND_HZ)
    with av.open(str(source)) as film:
        for frame in film.decode(video=0, audio=0):
            if not start_s <= (frame.time or 0.0) < end_s:
                continue
            if isinstance(frame, av.VideoFrame):
                pictures.append(frame.to_ndarray(format="rgb24"))
            else:
                sounds += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return pictures, np.concatenate(sounds)


def paint(number: int, time_s: float) -> np.ndarray:
    """uint8 (SIDE_PX, SIDE_PX, 3): stripes that move."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    waves = np.sin((rows * (number % 3) + columns) / (5 + number) + 9 * time_s)
    return np.repeat((waves * 100 + 128).astype(np.uint8)[..., None], 3, axis=2)


def write_clip(path: Path, pictures: list[np.ndarray], sound: np.ndarray | None) -> None:
    """Encode them as an MP4."""
    with av.open(str(path), "w") as file:
        packets = []
        if pictures:
            stream = file.add_stream("libx264", rate=RATE_HZ, options={"preset": "ultrafast"})
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for picture in pictures:
                packets += stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
            packets += stream.encode(None)
        if sound is not None:
            voice = file.add_stream("aac", rate=SOUND_HZ, layout="mono")
            for start in range(0, len(sound), 1024):
                part = np.ascontiguousarray(sound[None, start : start + 1024], np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = SOUND_HZ, Fraction(1, SOUND_HZ)
                frame.pts = start
                packets += voice.encode(frame)
            packets += voice.encode(None)
        file.mux(packets)


def write_broken(path: Path, number: int, good: bytes) -> None:
    """One of eight ways to be no film."""
    mark = number.to_bytes(2, "big")
    noise = random.Random(number).randbytes
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: b"this is a letter, not a film\n" * 50 + mark,
        lambda: noise(5000),
        lambda: good[: 300 + number],
        lambda: good[: len(good) // 2 + number],
        lambda: b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom" + mark,
        lambda: b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + noise(200),
    )
    if number % (len(kinds) + 1) == len(kinds):
        path.symlink_to(path.with_suffix(".gone"))
    else:
        path.write_bytes(kinds[number % (len(kinds) + 1)]())


@dataclass
class Run:
    """The command at work, in a session of its own, and the memory of all its processes."""

    words: list[str]
    out: Path
    samples: list[tuple[float, int, float]] = field(default_factory=list)
    """Seconds since the start, reports on disk, MB."""

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "facevoice", "analyze", *self.words]
        command += ["--out", str(self.out), "-q", "--format", "json,csv"]
        self.began_s = time.monotonic()
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    def watch(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Sample memory until the run ends (False), or what was asked for holds (True)."""
        while self.process.poll() is None:
            if until():
                return True
            took_s = time.monotonic() - self.began_s
            self.samples.append((took_s, count_reports(self.out), self.memory_mb()))
            time.sleep(1.0)
        return False

    def kill(self) -> None:
        """End all its processes at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        while family(self.process.pid):
            time.sleep(0.01)

    def memory_mb(self) -> float:
        """Memory of all its processes; what they share counts once."""
        total_kb = 0
        for one in family(self.process.pid):
            try:
                lines = (
                    Path(f"/proc/{one.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
                )
            except OSError:
                continue  # It has ended.
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total_kb / 1024


def count_reports(out: Path) -> int:
    """How many files have a report."""
    return sum(1 for _ in out.glob("day*/[!.]*.json"))


def reports_of(out: Path) -> dict[Path, bytes]:
    """The reports of files that are there."""
    return {path: path.read_bytes() for path in out.glob("day*/[!.]*.json")}


def run_with_kills(
    tree: Path, out: Path, options: argparse.Namespace
) -> tuple[dict[Path, bytes], list[Run]]:
    """Run to the end, killed on the way; the reports that were there at a kill, and all runs."""
    chance = random.Random(1)
    seen: dict[Path, bytes] = {}
    runs = []
    words = [str(tree), "--jobs", str(options.jobs), *(["--isolated"] if options.isolated else [])]
    for share in sorted(chance.uniform(0.02, 0.98) for _ in range(options.kills)):
        run = Run(words, out)
        more_s = run.began_s + chance.uniform(1, 8)
        goal = share * options.files
        if run.watch(lambda: count_reports(out) >= goal and time.monotonic() > more_s):  # noqa: B023
            run.kill()
        runs.append(run)
        seen |= reports_of(out)
        took_s = time.monotonic() - run.began_s
        print(f"killed after {took_s:.0f} s, with {len(seen)} reports on disk", flush=True)
    run = Run(words, out)
    run.watch()
    took_s = time.monotonic() - run.began_s
    print(f"the last run: exit code {run.process.returncode}, {took_s:.0f} s", flush=True)
    return seen, [*runs, run]


def check(tree: Path, out: Path, broken: set[Path], seen: dict[Path, bytes]) -> None:
    """Print what came out; stop if anything is lost, invented or altered."""
    kinds: Counter[str] = Counter()
    files = {path: path.relative_to(tree).with_suffix(".json") for path in tree.rglob("*.mp4")}
    now = reports_of(out)
    with (out / "windows.csv").open(encoding="utf-8", newline="") as table:
        rows = Counter(row["file"] for row in csv.DictReader(table))
    wrong = []
    for path, name in files.items():
        report = json.loads(now.get(out / name, b'{"error": null, "file": {}, "windows": []}'))
        kind = None if report["error"] is None else report["error"]["kind"]
        kinds[kind or "result"] += 1
        is_right = (kind is not None) == (path in broken) and kind not in NEVER
        is_right &= report["file"].get("path") == str(path)
        is_right &= rows[str(path)] == len(report["windows"])
        wrong += [] if is_right else [path]
    wrong += sorted(now.keys() - {out / name for name in files.values()})
    altered = [path for path, content in seen.items() if now.get(path) != content]
    print(f"{len(files)} files: {dict(kinds)}; wrong {len(wrong)}, altered {len(altered)}")
    if wrong or altered:
        raise SystemExit(f"not as it should be: {[*wrong, *altered][:5]}")


def compare(tree: Path, out: Path, other: Path, options: argparse.Namespace) -> None:
    """Files by chance, in a run without a kill: the same bytes."""
    files = random.Random(2).sample(sorted(tree.rglob("*.mp4")), options.compare)
    began_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    Run([*map(str, files), "--jobs", str(options.jobs)], other).watch()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    names = [path.relative_to(tree) for path in files]
    differing = [
        name
        for name in names
        for ending in (".json", ".csv")
        if (out / name).with_suffix(ending).read_bytes()
        != (other / name.name).with_suffix(ending).read_bytes()
    ]
    print(
        f"{len(files)} files by chance without a kill: {len(differing)} differ; "
        f"{time.monotonic() - began_s:.0f} s, {cpu_s:.0f} s of a processor"
    )
    if differing:
        raise SystemExit(f"differing: {differing[:5]}")


def slope_mb(run: Run) -> float:
    """MB that memory grows by per thousand files, from the second fifth of a run on."""
    late = [(done / 1000, mb) for _, done, mb in run.samples[len(run.samples) // 5 :]]
    return statistics.linear_regression(*zip(*late, strict=True)).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--broken", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--compare", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--isolated", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree, out, other = (Path(folder) / name for name in ("tree", "out", "other"))
        broken = make_tree(tree, options.files, options.broken)
        began_s = time.monotonic()
        seen, runs = run_with_kills(tree, out, options)
        took_s = time.monotonic() - began_s
        peak_mb = max(mb for run in runs for _, _, mb in run.samples)
        print(
            f"all runs: {took_s:.0f} s, {options.files / took_s:.1f} files a second; at most "
            f"{peak_mb:.0f} MB"
        )
        for run in runs:
            first, last = run.samples[0][1], run.samples[-1][1]
            if last - first >= LONG_ENOUGH:
                print(f"from {first} to {last} reports: {slope_mb(run):+.2f} MB a thousand files")
        keep(options.json, "batch", {"samples": [run.samples for run in runs], "took_s": took_s})
        check(tree, out, broken, seen)
        compare(tree, out, other, options)


if __name__ == "__main__":
    main()
