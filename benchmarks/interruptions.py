"""Ctrl-C, SIGTERM and SIGHUP at any moment of any command: what the process says and leaves behind.

python -m benchmarks.interruptions --trials 20                     every command and signal
python -m benchmarks.interruptions --commands web one --signals SIGINT --until 8

Starts the real command in a session of its own, waits for a moment between 0 and --until seconds,
evenly spread, and signals it: the whole process group, as a terminal does, or the process alone, as
`kill` does; in a third of the trials again soon after. As it should be: exit code 130, one line on
the error stream that begins with "Interrupted", nobody of the session left, a store that SQLite
finds whole, no temporary file. Counted apart: commands that were done already, and signals that
came before Python had begun to run facevoice, when nobody can take them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.long_videos import repeat_video

EXAMPLES = Path(__file__).parents[1] / "examples"
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
SOONEST_AGAIN_S, LATEST_AGAIN_S = 0.05, 2.5
MOST_WAIT_S = 60.0
# The processes that help an interpreter to end take a moment after it has.
REST_S = 3.0


@dataclass
class Bench:
    """Films, and the commands to be interrupted; every trial writes to a folder of its own."""

    root: Path
    films: Path = field(init=False)
    report: Path = field(init=False)

    def __post_init__(self) -> None:
        self.films = self.root / "films"
        self.films.mkdir()
        for number in range(6):
            sample = ("smile_glad_voice", "smile_frightened_voice")[number % 2]
            repeat_video(EXAMPLES / f"{sample}.mp4", self.films / f"{number}.mp4", 6)
        made = self.root / "made"
        run = ["analyze", str(EXAMPLES / "smile_glad_voice.mp4"), "--out", str(made), "-q"]
        subprocess.run([sys.executable, "-m", "facevoice", *run], check=True)
        self.report = made / "smile_glad_voice.json"

    def words(self, name: str, out: Path) -> list[str]:
        """The command of that name, which writes below `out`."""
        film, films = str(self.films / "0.mp4"), str(self.films)
        return {
            "one": ["analyze", film, "--out", str(out), "--jobs", "1"],
            "many": ["analyze", films, "--out", str(out), "--jobs", "2", "-q"],
            "parquet": [
                *("analyze", films, "--out", str(out), "--jobs", "3"),
                *("--format", "json,csv,html,parquet"),
            ],
            "together": ["analyze", films, "--out", str(out), "--same-person", "--jobs", "2"],
            "profile": ["profile", films, "--out", str(out / "me.json"), "--jobs", "2"],
            "render": ["render", film, "--out", str(out / "film.mp4")],
            "report": ["report", str(self.report)],
            "web": ["web", "--port", "0"],
            "ray": ["analyze", films, "--out", str(out), "--backend", "ray"],
        }[name]


COMMANDS = ("one", "many", "parquet", "together", "profile", "render", "report", "web")


@dataclass(frozen=True)
class Trial:
    """What is sent, when, and to whom."""

    command: str
    signal: str
    delay_s: float
    again_s: float | None
    to_group: bool


@dataclass(frozen=True)
class Seen:
    """What came of a trial: a class of outcomes, and what is wrong, if anything."""

    kind: str
    wrong: str = ""


def try_once(bench: Bench, trial: Trial) -> Seen:
    """Run the command and interrupt it."""
    place = Path(tempfile.mkdtemp(dir=bench.root))
    out, scratch, told = place / "out", place / "tmp", place / "stderr"
    scratch.mkdir()
    out.mkdir()
    with (place / "stdout").open("wb") as stdout, told.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "facevoice", *bench.words(trial.command, out)],
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "TMPDIR": str(scratch), "HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
    time.sleep(trial.delay_s)
    done, guarded = process.poll() is not None, is_guarded(process.pid)
    send(process, trial)
    if trial.again_s is not None:
        time.sleep(trial.again_s)
        send(process, trial)
    code, wrong = end(process)
    said = told.read_text(encoding="utf-8", errors="replace")
    wrong += [f"the store is not whole: {s}" for s in map(store_problem, out.rglob("*.db")) if s]
    # Gradio makes folders where its files would be.
    wrong += [
        f"temporary file: {path}"
        for path in scratch.rglob("*")
        if path.is_file() or path.name.startswith("facevoice-")
    ]
    shutil.rmtree(place)
    if done:
        kind = "done before"
        wrong += [] if code == 0 else [f"exit code {code}: {said[-300:]}"]
    elif not guarded:
        kind = "before facevoice"
    elif code == 0 and not said:
        kind = "done at that moment"
    else:
        kind = "interrupted"
        wrong += [] if code == 130 else [f"exit code {code}"]
        if not said.startswith("Interrupted") or said.count("\n") != 1:
            wrong.append(f"said: {said[-1500:]!r}")
    return Seen(kind, "; ".join(wrong))


def end(process: subprocess.Popen[bytes]) -> tuple[int, list[str]]:
    """Wait for a process and all of its session: its exit code, and what was wrong with that."""
    wrong = []
    try:
        code = process.wait(MOST_WAIT_S)
    except subprocess.TimeoutExpired:
        wrong.append(f"didn't end within {MOST_WAIT_S:.0f} s")
        process.kill()
        code = process.wait()
    ended_s = time.monotonic()
    while (left := others(process.pid)) and time.monotonic() < ended_s + REST_S:
        time.sleep(0.05)
    for pid in left:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        wrong.append(f"left behind: {command[:200]}")
        os.kill(pid, signal.SIGKILL)
    return code, wrong


def send(process: subprocess.Popen[bytes], trial: Trial) -> None:
    """Signal the process, or its group."""
    number = getattr(signal, trial.signal)
    if process.poll() is not None:
        return
    if trial.to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)


def is_guarded(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM, which Python has not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def others(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def store_problem(path: Path) -> str:
    """What SQLite finds wrong with a store; "" for nothing."""
    with sqlite3.connect(path) as db:
        (answer,) = db.execute("PRAGMA integrity_check").fetchone()
    return "" if answer == "ok" else str(answer)


def plan(options: argparse.Namespace) -> list[Trial]:
    """All trials, in an order by chance."""
    chance = random.Random(options.seed)
    trials = []
    for command in options.commands:
        for name in options.signals:
            for number in range(options.trials):
                share = (number + chance.random()) / options.trials
                again_s = chance.uniform(SOONEST_AGAIN_S, LATEST_AGAIN_S)
                trials.append(
                    Trial(
                        command,
                        name,
                        share * options.until,
                        again_s if chance.random() < 1 / 3 else None,
                        to_group=chance.random() < 2 / 3,
                    )
                )
    chance.shuffle(trials)
    return trials


def print_table(results: Sequence[tuple[Trial, Seen]]) -> None:
    """A row for each command and signal."""
    kinds = ("interrupted", "done at that moment", "done before", "before facevoice")
    print(f"| command | signal | trials | wrong | {' | '.join(kinds)} |")
    print("|---|---|" + "---|" * (len(kinds) + 2))
    rows: dict[tuple[str, str], Counter[str]] = {}
    for trial, seen in results:
        for key in ((trial.command, trial.signal), ("all", "")):
            count = rows.setdefault(key, Counter())
            count["trials"] += 1
            count["wrong"] += bool(seen.wrong)
            count[seen.kind] += 1
    for (command, name), count in sorted(rows.items(), key=lambda row: (not row[0][1], row[0])):
        cells = [count[kind] for kind in ("trials", "wrong", *kinds)]
        print(f"| {command} | {name} | {' | '.join(map(str, cells))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=20, help="of each command and signal")
    parser.add_argument("--commands", nargs="+", default=COMMANDS, choices=(*COMMANDS, "ray"))
    parser.add_argument("--signals", nargs="+", default=SIGNALS, choices=SIGNALS)
    parser.add_argument("--until", type=float, default=4.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    options: Any = parser.parse_args()
    results: list[tuple[Trial, Seen]] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for trial in plan(options):
            seen = try_once(bench, trial)
            results.append((trial, seen))
            if seen.wrong:
                print(f"{trial}: {seen.kind}: {seen.wrong}", flush=True)
    print_table(results)


if __name__ == "__main__":
    main()
