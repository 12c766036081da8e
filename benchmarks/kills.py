"""Kill -9 at random points: a store, a long file, a batch. Nothing reported done may be lost.

python -m benchmarks.kills store --trials 200
python -m benchmarks.kills file --trials 30
python -m benchmarks.kills batch --trials 30
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

import numpy as np
from benchmarks.long_videos import repeat_video

from facevoice.records import FaceView, MediaInfo, WindowView
from facevoice.store import PerceptionKey, Store

EXAMPLES = Path(__file__).parents[1] / "examples"
WINDOWS = 12
SEAM = 1e-3
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
    counts: Counter[str] = Counter()
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


def _start(source: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "facevoice", "analyze", str(source), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--quiet", "--jobs", "2" if source.is_dir() else "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _reports(folder: Path) -> dict[str, dict[str, object]]:
    return {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    }


def _largest(one: dict, other: dict) -> float:
    """Largest difference of any probability of two reports; infinite if their windows differ."""
    if len(one["windows"]) != len(other["windows"]):
        return float("inf")
    largest = 0.0
    for a, b in zip(one["windows"], other["windows"], strict=True):
        for channel in ("face", "voice", "fused"):
            if (a[channel] is None) != (b[channel] is None):
                return float("inf")
            if a[channel] is not None:
                probs, others = a[channel]["probs"], b[channel]["probs"]
                largest = max(largest, *(abs(probs[name] - others[name]) for name in probs))
    return largest


def kill_runs(source: Path, trials: int, folder: Path, seed: int = 0) -> Counter[str]:
    """The command on a file or a folder, killed and run again; counts what went wrong."""
    rng = random.Random(seed)
    began_s = time.monotonic()
    _start(source, folder / "whole").wait()
    took_s = time.monotonic() - began_s
    whole = _reports(folder / "whole")
    counts: Counter[str] = Counter({"files": len(whole), "killed": 0, "lost": 0, "failed": 0})
    differences: list[float] = []
    for trial in range(trials):
        out = folder / f"trial{trial}"
        run = _start(source, out)
        time.sleep(rng.uniform(0.3, 0.9) * took_s)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            counts["killed"] += 1
        run.wait()
        reported = _reports(out)  # every one that is there is whole
        counts["failed"] += _start(source, out).wait() != 0
        found = _reports(out)
        counts["lost"] += len(reported.keys() - found.keys()) + len(whole.keys() - found.keys())
        differences += [_largest(whole[name], found[name]) for name in whole.keys() & found.keys()]
        shutil.rmtree(out)
    counts["beyond the seam"] = sum(value > SEAM for value in differences)
    print(f"largest difference of a probability: {max(differences, default=0):.2g}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("store", "file", "batch"))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.what == "store":
            counts = kill_stores(asked.trials, folder, asked.seed)
        elif asked.what == "file":
            film = repeat_video(EXAMPLES / "smile_glad_voice.mp4", folder / "long.mp4", 9)
            counts = kill_runs(film, asked.trials, folder, asked.seed)
        else:
            films = folder / "films"
            films.mkdir()
            for number in range(8):
                sample = ("smile_glad_voice", "smile_frightened_voice")[number % 2]
                repeat_video(EXAMPLES / f"{sample}.mp4", films / f"{number}.mp4", 1 + number % 3)
            counts = kill_runs(films, asked.trials, folder, asked.seed)
    print(f"{asked.trials} trials: " + ", ".join(f"{n} {what}" for what, n in counts.items()))


if __name__ == "__main__":
    main()
