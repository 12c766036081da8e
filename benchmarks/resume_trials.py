"""Kill the trainer at random moments and go on; share a run between two processes. Compare weights.

python benchmarks/resume_trials.py --features precomputed.npz --kills 10

Each trial starts `facevoice train` on some speakers of the features, kills it (SIGKILL) after a
random number of seconds, and starts it again, up to three kills a run, until it ends by itself; the
checkpoint's weights must equal those of a run that nobody killed, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

SETTINGS = (
    "train.num_epochs=6",
    "train.batch_size=128",
    "run.save_every_steps=5",
    "run.trackers=[]",
)
# Each process draws its own dropout, so what several compute alike is compared without it.
PLAIN = ("network.dropout=0", "network.input_dropout=0")
STATE = "training-state.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", action="store_true", help="Two processes against one only.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = some_clips(given.features, folder / "features.npz")
        if not given.processes:
            started = time.perf_counter()
            run(features, folder / "whole")
            length_s = time.perf_counter() - started
            print(f"a run that nobody kills takes {length_s:.1f} s", flush=True)
            kill_trials(features, folder, length_s, given.kills, random.Random(given.seed))
        compare_processes(features, folder)


def some_clips(features: Path, target: Path) -> Path:
    """Six speakers of RAVDESS and ten of CREMA-D: quick, and every path is taken."""
    with np.load(features, allow_pickle=False) as file:
        ids = file["clip_id"]
        speakers = [str(key)[-2:] if "-" in str(key) else str(key)[:4] for key in ids]
        chosen = [s in {f"{n:02d}" for n in range(1, 7)} or "1001" <= s <= "1010" for s in speakers]
        np.savez(target, **{name: file[name][np.array(chosen)] for name in file.files})
    return target


def command(features: Path, out: Path, *more: str) -> list[str]:
    settings = [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]
    given = ["train", "--features", str(features), "--out", str(out), "--cpu", "--quiet", *settings]
    return [sys.executable, "-m", "facevoice", *given]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def run(features: Path, out: Path, *more: str) -> None:
    subprocess.run(command(features, out, *more), check=True, env=environment())


def kill_trials(
    features: Path, folder: Path, length_s: float, num_kills: int, rng: random.Random
) -> None:
    expected = load_file(folder / "whole/checkpoint/model.safetensors")
    kills, trial, worst = 0, 0, 0.0
    while kills < num_kills:
        trial += 1
        out = folder / f"trial-{trial}"
        moments: list[str] = []
        for _ in range(3):
            if kills == num_kills:
                break
            process = subprocess.Popen(command(features, out), env=environment())
            try:
                process.wait(timeout=rng.uniform(0.2, 1.0) * length_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                moments.append(progress(out))
            else:
                break
        run(features, out)
        found = load_file(out / "checkpoint/model.safetensors")
        worst = max(worst, difference(expected, found))
        equal = all(torch.equal(expected[name], found[name]) for name in expected)
        parts = sorted(path.name for path in out.rglob("*.part"))
        print(
            f"trial {trial}: killed at {moments}; equal bit for bit: {equal}; left over: {parts}",
            flush=True,
        )
        if not equal:
            raise SystemExit(f"trial {trial}: weights differ by {difference(expected, found)}")
        shutil.rmtree(out)
    print(f"{kills} kills in {trial} runs; largest difference of a weight: {worst}")


def progress(out: Path) -> str:
    """How far the saved state is."""
    if not (out / STATE).exists():
        return "nothing saved"
    with safe_open(out / STATE, framework="np") as file:
        saved = json.loads(file.metadata()["progress"])
    return f"{saved['total_steps']} steps saved"


def compare_processes(features: Path, folder: Path) -> None:
    """The same global batch in one process and in two, without dropout."""
    out = folder / "two"
    run(features, folder / "one", *PLAIN)
    started = time.perf_counter()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    launched = [word for word in command(features, out, *PLAIN)[1:] if word != "--quiet"]
    done = subprocess.run(
        [*launcher, *launched], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode or done.stderr.count("process 1 of 2") != 1:
        raise SystemExit(f"two processes failed: {done.stderr}")
    one = load_file(folder / "one/checkpoint/model.safetensors")
    two = load_file(out / "checkpoint/model.safetensors")
    scale = max(float(tensor.abs().max()) for tensor in one.values())
    print(
        f"two processes: {time.perf_counter() - started:.1f} s; largest difference of a weight "
        f"{difference(one, two):.2e}, largest weight {scale:.2f}"
    )


def difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[name] - second[name]).abs().max()) for name in first)


if __name__ == "__main__":
    main()
