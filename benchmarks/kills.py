"""Kill -9 at random points: a store, a long file, a batch. Nothing reported done may be lost.

python -m benchmarks.kills store --trials 200
python -m benchmarks.kills file --trials 100
python -m benchmarks.kills batch --trials 100

`store` kills a process that writes to one. `file` and `batch` kill the command with all its
processes, once to three times, let it go on to the end, and hold every file below --out against
those of a run that nobody disturbed: the same bytes, or where a file was broken off within, numbers
that differ by no more than the seam allows. --isolated does so with the decoders in a process of
their own. Fails if anything is lost, altered or beyond that.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.interruptions import others
from benchmarks.long_videos import repeat_video

from facevoice.records import FaceView, MediaInfo, WindowView
from facevoice.store import PerceptionKey, Store

EXAMPLES = Path(__file__).parents[1] / "examples"
WINDOWS = 12
SEAM = 1e-3
NOT_THERE = float("inf")
COUNTED = (
    *("kills", "failed", "lost", "altered", "reports", "not the same bytes"),
    *("beyond the seam", "tables that differ"),
)
MUST_BE_0 = ("failed", "lost", "altered", "torn", "beyond the seam", "tables that differ")
KEPT = Path(tempfile.gettempdir()) / "facevoice-kills"
SPAWN = multiprocessing.get_context("fork")


def _view(perception: int, number: int) -> WindowView:
    values = np.random.default_rng([perception, number]).standard_normal(3072).astype(np.float32)
    return WindowView(
        2.0 * number, 2.0 * number + 4, (FaceView(0, 1.0, values[:519]),), values, 1.0
    )


def _key(perception: int) -> PerceptionKey:
    return PerceptionKey(f"{perception:064x}", "recipe", "face@1", "voice@1")


def _write(path: Path, first: int, told: Connection) -> None:
    store = Store(path)
    for perception in range(first, first + 100_000):
        with store.writer(_key(perception), MediaInfo(Path("x"), 24.0, None, None)) as writer:
            for number in range(WINDOWS):
                writer.add(_view(perception, number))
                writer.commit()
            writer.finish()
        told.send(perception)


def kill_stores(trials: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Writers of one store, killed; counts what was done, lost, torn and altered."""
    rng = random.Random(seed)
    path = folder / "kills.db"
    done: list[int] = []
    counts: Counter[str] = Counter({"lost": 0, "torn": 0, "altered": 0})
    for trial in range(trials):
        receive, send = SPAWN.Pipe(duplex=False)
        writer = SPAWN.Process(target=_write, args=(path, trial * 100_000, send))
        writer.start()
        send.close()
        receive.poll(30)
        time.sleep(rng.uniform(0, 0.06))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        try:
            while receive.poll():
                done.append(receive.recv())
        except EOFError:
            pass
    with Store(path) as store:
        for perception in done:
            found = store.load(_key(perception))
            whole = found is not None and found.is_complete
            counts["lost"] += not whole
            counts["torn"] += whole and len(found.windows) != WINDOWS
        for trial in range(trials):
            last = max((p for p in done if p // 100_000 == trial), default=trial * 100_000 - 1)
            for perception in (last, last + 1):
                found = store.load(_key(perception))
                for number, view in enumerate(() if found is None else found.windows):
                    expected = _view(perception, number)
                    same = np.array_equal(view.voice, expected.voice) and np.array_equal(
                        view.face, expected.face
                    )
                    counts["altered"] += not same
    counts["perceptions done"] = len(done)
    return counts


def _run(
    source: Path, out: Path, more: list[str], kill_after_s: float | None = None
) -> tuple[bool, int]:
    """Run the command, or kill it; whether it was killed, and the exit code."""
    command = [sys.executable, "-m", "facevoice", "analyze", str(source), "--out", str(out), *more]
    run = subprocess.Popen(
        [*command, "--quiet", "--jobs", "2" if source.is_dir() else "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return False, run.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        while others(run.pid):
            time.sleep(0.01)
        return True, -signal.SIGKILL


def _outputs(folder: Path) -> dict[str, bytes]:
    """All that people see below a folder, but for half-written files of a killed process."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not any(part.startswith(".") for part in name.split("/"))
    }


def _distance(one: Any, other: Any) -> float:
    """Largest difference of two numbers in the same place; infinite if anything else differs."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_distance(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(_distance, one, other), default=0.0)
    return 0.0 if one == other else NOT_THERE


def _differences(whole: dict[str, bytes], found: dict[str, bytes]) -> dict[str, float]:
    """How far each report is from that of the undisturbed run, where its bytes are not the same."""
    return {
        name: _distance(json.loads(content), json.loads(found[name]))
        if name in found
        else NOT_THERE
        for name, content in whole.items()
        if name.endswith(".json") and found.get(name) != content
    }


def kill_runs(
    source: Path, trials: int, folder: Path, more: list[str], seed: int = 0
) -> tuple[Counter[str], list[float]]:
    """The command on a file or a folder, killed and run again; what went wrong, all differences."""
    chance = random.Random(seed)
    began_s = time.monotonic()
    _run(source, folder / "whole", more)
    took_s = time.monotonic() - began_s
    whole = _outputs(folder / "whole")
    counts = Counter(dict.fromkeys(COUNTED, 0))
    differences: list[float] = []
    for trial in range(trials):
        out = folder / f"trial{trial}"
        reported: dict[str, bytes] = {}
        for _ in range(chance.choice((1, 1, 2, 3))):
            began_s = time.monotonic()
            was_killed, code = _run(source, out, more, chance.uniform(0.05, 1.0) * took_s)
            counts["kills"] += was_killed
            if not was_killed:
                took_s = time.monotonic() - began_s
            counts["failed"] += not was_killed and code != 0
            reported |= _outputs(out)
        began_s = time.monotonic()
        counts["failed"] += _run(source, out, more)[1] != 0
        took_s = max(took_s, time.monotonic() - began_s)
        found = _outputs(out)
        counts["lost"] += len(reported.keys() - found.keys()) + len(whole.keys() - found.keys())
        # Tables over all files are made again; what was said of a file stays.
        counts["altered"] += sum(
            found.get(name) != content
            for name, content in reported.items()
            if name.endswith(".json")
        )
        apart = _differences(whole, found)
        differences += apart.values()
        counts["reports"] += sum(name.endswith(".json") for name in whole)
        counts["not the same bytes"] += len(apart)
        counts["beyond the seam"] += sum(value > SEAM for value in apart.values())
        counts["tables that differ"] += not apart and found != whole
        if any(value > SEAM for value in apart.values()):
            shutil.copytree(out, KEPT / f"{folder.name}-{trial}", dirs_exist_ok=True)
        shutil.rmtree(out)
        if (trial + 1) % 10 == 0:
            print(f"{trial + 1} trials: {dict(counts)}", flush=True)
    return counts, differences


def _make_films(what: str, folder: Path) -> Path:
    if what == "file":
        return repeat_video(EXAMPLES / "smile_glad_voice.mp4", folder / "long.mp4", 5)
    films = folder / "films"
    films.mkdir()
    for number in range(8):
        sample = ("smile_glad_voice", "smile_frightened_voice")[number % 2]
        repeat_video(EXAMPLES / f"{sample}.mp4", films / f"{number}.mp4", 1 + number % 3)
    return films


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("store", "file", "batch"))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isolated", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        differences: list[float] = []
        if asked.what == "store":
            counts = kill_stores(asked.trials, folder, asked.seed)
        else:
            films = _make_films(asked.what, folder)
            more = ["--isolated"] if asked.isolated else []
            counts, differences = kill_runs(films, asked.trials, folder, more, asked.seed)
    rows = {"trials": asked.trials, **counts}
    if asked.what != "store":
        rows["largest difference"] = f"{max(differences, default=0.0):.2g}"
    print(f"| what | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    print(f"| {asked.what} | {' | '.join(str(value) for value in rows.values())} |")
    if any(counts[name] for name in MUST_BE_0):
        raise SystemExit("not as it should be")


if __name__ == "__main__":
    main()
