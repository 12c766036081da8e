"""The feature store under load: speed and size at 100,000 rows, and `kill -9` at random moments.

    python benchmarks/feature_store.py --rows 100000
    python benchmarks/feature_store.py --kills 200

A row is one window: a 1024-d float16 embedding of the voice and a 768-d one of the face.
Exits with 1 when a trial lost, tore or altered anything.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from facevoice.store import FeatureKey, FeatureStore

SPACES = (("wav2vec2@rev", "mono16k-1", 1024), ("videomae@rev", "faces-1", 768))
BATCH = 64
NUM_WRITERS = 4
KILL_BATCH = 8
KILL_WIDTH = 256
MOST_BATCHES = 10  # a trial is let run until up to so many are reported in it
LONGEST_WAIT_S = 5.0
LONGEST_DELAY_S = 0.1  # and then for up to so long, so as to end at any point of a commit
FORK = multiprocessing.get_context("fork")

_OPEN = """
import sys, time
from facevoice.store import FeatureStore
start = time.perf_counter()
store = FeatureStore.open(sys.argv[1])
opened_s = time.perf_counter() - start
num_records = len(store)
print(opened_s, time.perf_counter() - start, num_records)
"""


def window_keys(row: int) -> list[FeatureKey]:
    """Keys of one window, ten windows a file."""
    sha256 = hashlib.sha256(str(row // 10).encode()).hexdigest()
    start_s = row % 10 * 2.0
    return [FeatureKey.at(sha256, start_s, start_s + 4, name, prep) for name, prep, _ in SPACES]


def write_rows(path: Path, first: int, stop: int) -> None:
    rng = np.random.default_rng(first)
    with FeatureStore.open(path) as store:
        for start in range(first, stop, BATCH // 2):
            items = []
            for row in range(start, min(start + BATCH // 2, stop)):
                for key, (_, _, dim) in zip(window_keys(row), SPACES, strict=True):
                    items.append((key, rng.standard_normal(dim, np.float32).astype(np.float16)))
            store.put_many(items)


def forget_pages(path: Path) -> None:
    """Drop the file from the page cache, so that opening it reads the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_speed(num_rows: int, folder: Path) -> None:
    path = folder / "features.db"
    write_rows(path, 0, 0)
    start = time.perf_counter()
    share = -(-num_rows // NUM_WRITERS)
    writers = [
        FORK.Process(target=write_rows, args=(path, first, min(first + share, num_rows)))
        for first in range(0, num_rows, share)
    ]
    join(writers)
    write_s = time.perf_counter() - start
    raw = num_rows * sum(dim for _, _, dim in SPACES) * 2
    records = num_rows * len(SPACES)
    print(f"{num_rows} windows, {records} records, SQLite {sqlite3.sqlite_version}")
    print(f"written by {NUM_WRITERS} processes: {records / write_s:,.0f} records/s, every batch ")
    print(f"  of {BATCH} synced; file {path.stat().st_size / 2**20:.0f} MiB, ", end="")
    print(f"{path.stat().st_size / raw:.2f} × the bare numbers")
    forget_pages(path)
    for state in ("cold", "warm"):
        command = [sys.executable, "-c", _OPEN, str(path)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print(
            f"opened in a new process, {state} disk cache: {float(out[0]) * 1000:.1f} ms; ", end=""
        )
        print(f"{float(out[1]) * 1000:.1f} ms with counting its {out[2]} records")
    with FeatureStore.open(path, read_only=True) as store:
        measure_reading(store, num_rows)


def measure_reading(store: FeatureStore, num_rows: int) -> None:
    shuffled = np.random.default_rng(0).permutation(num_rows).tolist()
    print("rows/s by the clock, and per second of CPU where other work shares the machine:")
    for place, (name, _, dim) in enumerate(SPACES):
        for order, rows in (("shuffled", shuffled), ("as written", range(num_rows))):
            keys = [window_keys(row)[place] for row in rows]
            with rate(f"get_many {name}, {order}", num_rows):
                array, mask = store.get_many(keys)
            if not mask.all() or array.shape != (num_rows, dim):
                raise SystemExit(f"read {mask.sum()} of {num_rows} rows")
        with rate(f"missing  {name}, all there", num_rows):
            absent = store.missing(keys)
        if absent:
            raise SystemExit(f"{len(absent)} rows are missing")


@contextmanager
def rate(what: str, num_rows: int) -> Iterator[None]:
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    yield
    taken_s, taken_cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    print(f"  {what:40} {num_rows / taken_s:9,.0f} {num_rows / taken_cpu_s:9,.0f}", flush=True)


def join(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with {process.exitcode}")


# --- kill -9 ------------------------------------------------------------------------------------


@dataclass(slots=True)
class KillCounts:
    """Sums over all trials; the last four must stay 0."""

    batches_done: int = 0
    batches_unreported: int = 0
    journals_left: int = 0
    lost: int = 0
    torn: int = 0
    altered: int = 0
    faults: int = 0


def batch_items(writer: int, batch: int) -> Iterator[tuple[FeatureKey, np.ndarray]]:
    """What batch number `batch` of a writer holds; anyone can work it out again."""
    for item in range(KILL_BATCH):
        name = f"{writer}/{batch}/{item}"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        dtype = np.float16 if item % 2 else np.float32
        seed = [writer, batch, item]
        embedding = np.random.default_rng(seed).standard_normal(KILL_WIDTH, np.float32)
        yield FeatureKey.at(sha256, 0.0, 4.0, f"backbone{item % 2}@1", "p"), embedding.astype(dtype)


def write_until_killed(path: Path, writer: int, first: int, report: Path) -> None:
    """Put batch after batch, and report each one after `put_many` has returned."""
    handle = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with FeatureStore.open(path) as store:
        for batch in range(first, first + 1_000_000):
            store.put_many(batch_items(writer, batch))
            os.write(handle, f"{batch}\n".encode())
            if batch % 50 == 49:
                store.compact()


def next_batch(report: Path) -> int:
    lines = report.read_text().splitlines() if report.exists() else []
    return int(lines[-1]) + 1 if lines else 0


def check_batch(store: FeatureStore, writer: int, batch: int) -> str:
    """ "whole", "none", "torn" or "altered"."""
    items = list(batch_items(writer, batch))
    found = list(store.iter_many([key for key, _ in items]))
    present = [f is not None for f in found]
    for (_, expected), got in zip(items, found, strict=True):
        if got is not None and not (got.dtype == expected.dtype and np.array_equal(got, expected)):
            return "altered"
    return "whole" if all(present) else "torn" if any(present) else "none"


def run_trial(folder: Path, rng: random.Random, counts: KillCounts) -> None:
    path = folder / "features.db"
    reports = [folder / f"{writer}.log" for writer in range(NUM_WRITERS)]
    firsts = [next_batch(report) for report in reports]
    writers = [
        FORK.Process(target=write_until_killed, args=(path, writer, firsts[writer], report))
        for writer, report in enumerate(reports)
    ]
    for process in writers:
        process.start()
    wanted = sum(firsts) + rng.randint(0, MOST_BATCHES)
    until = time.monotonic() + LONGEST_WAIT_S
    while sum(map(next_batch, reports)) < wanted and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, LONGEST_DELAY_S))
    for process in rng.sample(writers, len(writers)):
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(rng.choice((0.0, 0.0, 0.005)))
    for process in writers:
        process.join()
        counts.faults += process.exitcode != -signal.SIGKILL
    journal = path.with_name(path.name + "-journal")
    counts.journals_left += journal.exists() and journal.stat().st_size > 0
    with FeatureStore.open(path) as store:
        for writer, report in enumerate(reports):
            done = next_batch(report)
            counts.batches_done += done - firsts[writer]
            for batch in range(firsts[writer], done + 2):
                state = check_batch(store, writer, batch)
                counts.lost += batch < done and state == "none"
                counts.torn += state == "torn"
                counts.altered += state == "altered"
                counts.batches_unreported += batch >= done and state == "whole"


def check_everything(folder: Path, counts: KillCounts) -> None:
    """At the end, every batch of all trials once more, and the file's structure."""
    with FeatureStore.open(folder / "features.db", read_only=True) as store:
        check = store.verify()
        counts.faults += len(check.faults) + check.num_damaged
        for writer in range(NUM_WRITERS):
            for batch in range(next_batch(folder / f"{writer}.log")):
                state = check_batch(store, writer, batch)
                counts.lost += state == "none"
                counts.torn += state == "torn"
                counts.altered += state == "altered"


def run_kills(num_trials: int, folder: Path, seed: int) -> KillCounts:
    rng = random.Random(seed)
    counts = KillCounts()
    for _ in range(num_trials):
        run_trial(folder, rng, counts)
    check_everything(folder, counts)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the feature store, or try to break it.")
    parser.add_argument("--rows", type=int, help="speed and size at that many windows")
    parser.add_argument("--kills", type=int, help="that many trials of kill -9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure")
    options = parser.parse_args()
    if not options.rows and not options.kills:
        parser.error("give --rows or --kills")
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        if options.rows:
            measure_speed(options.rows, Path(name))
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        if options.kills:
            counts = run_kills(options.kills, Path(name), options.seed)
            print(f"{options.kills} trials, {NUM_WRITERS} writers of batches of {KILL_BATCH}")
            for field in fields(counts):
                print(f"{field.name.replace('_', ' '):20} {getattr(counts, field.name)}")
            if counts.lost or counts.torn or counts.altered or counts.faults:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
