"""Thousands of broken media files through `Analyzer.analyze`: nothing may crash, hang or invent.

python -m benchmarks.fuzz --files 5000 --seed 17 --out FOLDER [--jobs 2] [--no-isolated]

Each file is remade by its number alone (`--only NUMBER`), and analysed in a process that is
watched. It fails by a crash, an exception that is no `FacevoiceError`, more than 20 s, more than
1 GB of memory, or an invented result: emotion from a window in which a plain decode finds neither
picture nor sound, a probability that is none, times that run backwards, or a length that what can
be decoded doesn't account for. Results are kept line by line in FOLDER/results.jsonl; the same
command goes on where it ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import multiprocessing
import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import av
from benchmarks.fuzz_files import Seed, break_file, make_seeds

from facevoice import Analyzer
from facevoice.errors import FacevoiceError

LIMIT_S = 20.0
LIMIT_BYTES = 1_000_000_000
# Beyond this the machine is in danger: the process meets an error of memory.
_ADDRESSES_BYTES = 12_000_000_000
_FILES_PER_PROCESS = 250
_START_S = 120.0
_STEP_S = 0.05
# Windows are compared with what decodes within this around them.
_SLACK_S = 0.6
# Where nothing is decoded before this, the stated start is none.
_LATE_S = 60.0
# What is reported may be longer than what decodes by so much, and by this factor.
_EMPTY_S = 60.0
_FACTOR = 10.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class Plain:
    """What a plain decode finds: when pictures are shown and sound is heard, and how much."""

    pictures_s: list[float] = field(default_factory=list)
    sounds_s: list[tuple[float, float]] = field(default_factory=list)
    is_timed: bool = True
    content_s: float = 0.0


def decode_plainly(path: Path) -> Plain:
    """Everything of every stream that PyAV decodes, on the clock of the earliest stream."""
    plain = Plain()
    heard_s: dict[int, float] = {}
    with (
        contextlib.suppress(av.FFmpegError, ValueError),
        av.open(f"file:{path}", metadata_errors="replace") as container,
    ):
        kinds = [s for s in container.streams if s.type in ("video", "audio")]
        kinds = [s for s in kinds if s.codec_context is not None]
        starts_s = [float(s.start_time * s.time_base) for s in kinds if s.start_time is not None]
        origin_s = min(starts_s, default=0.0)
        for packet in _all_packets(container, kinds):
            with contextlib.suppress(av.FFmpegError, ValueError):
                for frame in packet.decode():
                    index = packet.stream.index
                    known_s = heard_s.get(index, 0.0)
                    is_known = frame.pts is not None and packet.stream.time_base is not None
                    plain.is_timed = plain.is_timed and is_known
                    start_s = known_s
                    if is_known:
                        start_s = float(frame.pts * packet.stream.time_base) - origin_s
                    if packet.stream.type == "video":
                        plain.pictures_s.append(start_s)
                        lasts_s = 1 / float(packet.stream.average_rate or 25)
                    else:
                        lasts_s = frame.samples / max(1, frame.sample_rate)
                        plain.sounds_s.append((start_s, start_s + lasts_s))
                    heard_s[index] = known_s + lasts_s
    plain.content_s = max(heard_s.values(), default=0.0)
    first_s = min([*plain.pictures_s, *(start_s for start_s, _ in plain.sounds_s)], default=0.0)
    if first_s > _LATE_S:
        plain.pictures_s = [shown_s - first_s for shown_s in plain.pictures_s]
        plain.sounds_s = [(start_s - first_s, end_s - first_s) for start_s, end_s in plain.sounds_s]
    return plain


def _all_packets(container: Any, streams: list[Any]) -> Iterator[Any]:
    with contextlib.suppress(av.FFmpegError, IndexError):
        yield from container.demux(streams)


def find_inventions(report: Any, plain: Plain) -> list[str]:
    """What a report says without ground."""
    found = []
    last_s = -math.inf
    for window in report.windows:
        if not (math.isfinite(window.start_s) and last_s <= window.start_s < window.end_s):
            found.append(f"times {last_s} {window.start_s} {window.end_s}")
        last_s = window.start_s
        low_s, high_s = window.start_s - _SLACK_S, window.end_s + _SLACK_S
        if window.face is not None:
            shown = any(low_s <= s <= high_s for s in plain.pictures_s)
            if not (shown if plain.is_timed else plain.pictures_s):
                found.append(f"face without picture at {window.start_s}")
        if window.voice is not None:
            heard = any(s <= high_s and e >= low_s for s, e in plain.sounds_s)
            if not (heard if plain.is_timed else plain.sounds_s):
                found.append(f"voice without sound at {window.start_s}")
        for channel in (window.face, window.voice, window.fused):
            probs = () if channel is None else tuple(channel.probs)
            if probs and not (all(0 <= p <= 1 for p in probs) and abs(sum(probs) - 1) < 1e-3):
                found.append(f"probabilities {probs}")
        if window.conflict is not None and not 0 <= window.conflict <= 1:
            found.append(f"conflict {window.conflict}")
    duration_s = 0.0 if report.media is None else report.media.duration_s
    if not duration_s <= max(_EMPTY_S, _FACTOR * plain.content_s):
        found.append(f"{duration_s:.1f} s reported of {plain.content_s:.1f} s")
    return found


def _analyze_one(analyzer: Any, path: Path) -> dict[str, Any]:
    try:
        report = analyzer.analyze(path)
    except FacevoiceError as error:
        return {"kind": error.kind, "detail": str(error).replace(str(path), path.name)[:300]}
    except Exception as error:  # noqa: BLE001  What else may come is what is looked for.
        where = traceback.format_exc().strip().splitlines()[-7:]
        return {"kind": "untyped", "detail": f"{type(error).__name__}: {error}", "trace": where}
    inventions = find_inventions(report, decode_plainly(path))
    told = {"kind": report.status.value, "duration_s": report.media.duration_s}
    return told if not inventions else {**told, "invented": inventions[:5]}


def _work(connection: Connection, isolated: bool) -> None:
    """Analyse the files whose paths come, until None does."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES_BYTES, _ADDRESSES_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()
    av.logging.set_level(av.logging.PANIC)
    analyzer = Analyzer(num_threads=1)
    if isolated:
        analyzer = analyzer.in_isolation()
    connection.send("ready")
    while (path := connection.recv()) is not None:
        # The peak of this file alone.
        for pid in _family(os.getpid()):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
        began_s = time.monotonic()
        told = _analyze_one(analyzer, path)
        told["seconds"] = round(time.monotonic() - began_s, 3)
        told["peak_mb"] = round(_memory_bytes(os.getpid(), "VmHWM") / 1e6)
        connection.send(told)


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [pid, *(int(child) for child in told.split())]
    return [pid]


def _memory_bytes(pid: int, name: str) -> int:
    """Of the process, or of one that it started, whichever takes more."""
    found = [0]
    for member in _family(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{member}/status").read_text(encoding="utf-8").splitlines()
            found += [1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return max(found)


class _Watched:
    """A process that analyses files, replaced when it ends or is ended."""

    def __init__(self, isolated: bool, limit_s: float) -> None:
        self._isolated, self._limit_s = isolated, limit_s
        self._process: Any = None
        self._connection: Connection | None = None
        self._num_files = 0

    def analyze(self, path: Path) -> dict[str, Any]:
        """What became of a file."""
        if self._connection is None or self._num_files >= _FILES_PER_PROCESS:
            self.stop()
            self._connection = self._start()
        connection = self._connection
        self._num_files += 1
        began_s = time.monotonic()
        connection.send(path)
        peak = 0
        while not connection.poll(_STEP_S):
            peak = max(peak, _memory_bytes(self._process.pid, "VmRSS"))
            seconds = time.monotonic() - began_s
            if seconds > self._limit_s or peak > LIMIT_BYTES:
                self.stop(kill=True)
                kind = "memory" if peak > LIMIT_BYTES else "hang"
                return {"kind": kind, "seconds": round(seconds, 1), "peak_mb": peak // 10**6}
        try:
            return connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self.stop()
            seconds = round(time.monotonic() - began_s, 1)
            return {"kind": "crash", "detail": f"exit {code}", "seconds": seconds, "peak_mb": 0}

    def _start(self) -> Connection:
        connection, far = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(far, self._isolated), daemon=False)
        self._process.start()
        far.close()
        self._num_files = 0
        if not connection.poll(_START_S) or connection.recv() != "ready":
            raise RuntimeError("the process that analyses files didn't start")
        return connection

    def stop(self, *, kill: bool = False) -> None:
        """End the process."""
        if self._connection is None:
            return
        if kill:
            self._process.kill()
        else:
            with contextlib.suppress(OSError):
                self._connection.send(None)
        self._process.join()
        self._connection = None


def failures(told: dict[str, Any]) -> list[str]:
    """In which ways a file failed; what isolation catches counts too."""
    kind = {"decoder_crashed": "crash", "over_limit": "hang"}.get(told["kind"], told["kind"])
    found = [kind] if kind in ("crash", "untyped", "hang", "memory") else []
    found += ["invented"] if told.get("invented") else []
    found += ["memory"] if told["peak_mb"] > LIMIT_BYTES / 1e6 and "memory" not in found else []
    return found


def run(
    out: Path,
    num_files: int,
    seed: int,
    jobs: int = 1,
    *,
    isolated: bool = True,
    limit_s: float = LIMIT_S,
) -> list[dict[str, Any]]:
    """Analyse the files that have no result yet; all results, in order of their numbers."""
    seeds = make_seeds(out / "seeds")
    results = out / "results.jsonl"
    known = {told["number"]: told for told in _read_results(results)}
    missing = [number for number in range(num_files) if number not in known]
    with (
        ThreadPoolExecutor(jobs) as pool,
        results.open("a", encoding="utf-8") as file,
    ):
        shares = [missing[k::jobs] for k in range(jobs)]
        watched = [_Watched(isolated, limit_s) for _ in shares]
        tried = partial(_share, seeds=seeds, seed=seed, out=out, file=file)
        for told in pool.map(tried, shares, watched):
            known.update((one["number"], one) for one in told)
    return [known[number] for number in sorted(known) if number < num_files]


def _share(
    numbers: list[int], watched: _Watched, *, seeds: list[Seed], seed: int, out: Path, file: Any
) -> list[dict[str, Any]]:
    share = []
    try:
        for number in numbers:
            name, content, recipe = break_file(seeds, seed, number)
            path = out / name
            path.write_bytes(content)
            told = {"number": number, "recipe": recipe, **watched.analyze(path)}
            if failures(told):
                (out / "failed").mkdir(exist_ok=True)
                path.rename(out / "failed" / name)
            else:
                path.unlink()
            file.write(json.dumps(told) + "\n")
            file.flush()
            share.append(told)
    finally:
        watched.stop()
    return share


def _read_results(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def show(results: list[dict[str, Any]], took_s: float) -> None:
    """Print the table."""
    if not results:
        return
    statuses = Counter(told["kind"] for told in results)
    failed = Counter(kind for told in results for kind in failures(told))
    slowest = max(results, key=lambda told: told["seconds"])
    largest = max(results, key=lambda told: told["peak_mb"])
    print(f"| files tried | {len(results):,} |\n|---|---|")
    for name in ("crash", "untyped", "hang", "memory", "invented"):
        print(f"| {name} | {failed[name]} |")
    print(f"| slowest | {slowest['seconds']:.1f} s (number {slowest['number']}) |")
    print(f"| most memory | {largest['peak_mb']} MB (number {largest['number']}) |")
    print(f"| this run | {took_s:.0f} s |")
    print("| statuses | " + ", ".join(f"{n} {k}" for k, n in statuses.most_common()) + " |")
    for told in results:
        if failures(told):
            print(json.dumps(told))


def main() -> None:
    """Run, and print the table and every failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--isolated",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="decode in a child process, as `analyze --isolated` does",
    )
    parser.add_argument("--only", type=int, help="write this one file, and say what was done to it")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.only is not None:
        seeds = make_seeds(asked.out / "seeds")
        name, content, recipe = break_file(seeds, asked.seed, asked.only)
        (asked.out / name).write_bytes(content)
        print(f"{asked.out / name}: {recipe}")
        return
    began_s = time.monotonic()
    results = run(asked.out, asked.files, asked.seed, asked.jobs, isolated=asked.isolated)
    show(results, time.monotonic() - began_s)


if __name__ == "__main__":
    main()
