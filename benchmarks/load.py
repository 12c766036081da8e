"""Many users of the web app at once: is it right, fair, clean and steady?

    python -m benchmarks.load                                    10 users for 3 minutes
    python -m benchmarks.load --minutes 30 --log FILE --picture docs/pictures/load.png

`facevoice web` runs in a process of its own, with folders of its own for everything it may write.
Users without a browser ask it what its page asks: they upload good clips and broken files, analyse,
change the setting, draw the video, download; stop what goes on, break off an upload, close the page
in the middle, load it again, go live; programs call it too. What each file must come to is told by
the command, `facevoice analyze`, before the load begins.

Ends with 1 where anything of this doesn't hold:

- no error but those that must come (broken files, all live places taken);
- each result and each message as the command's;
- first come, first served: no clip overtakes another, no user waits much longer than others;
- all that was uploaded or made is gone at the end, and nothing is left in the temporary folder;
- memory doesn't grow: a line through the second half of the run, in MB an hour.

Linux only: memory is the proportional set size of the server and all processes that it started.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from benchmarks.load_page import Outcome, Page, Recording, UnexpectedError, go_live
from benchmarks.long_videos import repeat_video
from PIL import Image

from facevoice.media import read_audio
from facevoice.records import SAMPLE_RATE_HZ

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
START_WITHIN_S: Final = 180
SAMPLE_EVERY_S: Final = 3.0
# Where the server might write: its temporary folder, its home, where it was started.
FOLDERS: Final = ("tmp", "home", "work")
KEEP_MINUTES: Final = 3
# The server sweeps once a minute what nobody has given up.
GONE_WITHIN_S: Final = 60 * KEEP_MINUTES + 180
# Of a user's mean wait over all users' median, once each has waited often enough to tell.
MAX_UNFAIR: Final = 2.0
ENOUGH_WAITS: Final = 5
MAX_GROWTH_MB_PER_H: Final = 60.0
# What users do, and how often.
DEEDS: Final = {
    "analyse": 10,
    "broken file": 4,
    "stop": 2,
    "leave in the middle": 2,
    "upload and leave": 1,
    "break off an upload": 1,
    "program": 1,
    "live": 3,
}


@dataclass
class Run:
    """All that was seen: events and samples, which are the lines of the log too."""

    begun: float = field(default_factory=time.monotonic)
    lines: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    log: Any = None

    def note(self, what: str, **more: Any) -> None:
        line = {"t": round(time.monotonic() - self.begun, 2), "what": what, **more}
        self.lines.append(line)
        if self.log is not None:
            print(json.dumps(line), file=self.log, flush=True)

    def of(self, what: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["what"] == what]


# The server, and what it holds.


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", errors="replace")

    def left(self) -> list[str]:
        """Files that it has written anywhere."""
        found = [p for name in FOLDERS for p in (self.folder / name).rglob("*")]
        return sorted(str(p.relative_to(self.folder)) for p in found if p.is_file())


@contextmanager
def served(folder: Path, options: list[str]) -> Iterator[Server]:
    """`facevoice web` with folders of its own."""
    for name in FOLDERS:
        (folder / name).mkdir()
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "facevoice", "web", "--port", "0", *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=folder / "work"
        )
    try:
        yield Server(process, _address(process, folder / "log"), folder)
    finally:
        process.send_signal(signal.SIGTERM)  # a shell lets what it starts aside ignore SIGINT
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text("utf-8")):
            return found[0]
        time.sleep(0.1)
    sys.exit(f"facevoice web did not start:\n{log.read_text('utf-8')}")


def tree(root: int) -> list[int]:
    """A process and all that it started, by their ids."""
    children = defaultdict(list)
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it has ended
        children[int(parent)].append(int(status.parent.name))
    found, new = [], [root]
    while new:
        found += new
        new = [child for parent in new for child in children[parent]]
    return found


def measure(server: Server) -> dict[str, Any]:
    """What the server holds now."""
    memory_kb = threads = open_files = 0
    processes = tree(server.process.pid)
    for process in processes:
        folder = Path("/proc") / str(process)
        try:
            memory_kb += int(re.search(r"Pss:\s+(\d+)", (folder / "smaps_rollup").read_text())[1])  # type: ignore[index]
            threads += len(list((folder / "task").iterdir()))
            open_files += len(list((folder / "fd").iterdir()))
        except (OSError, TypeError):
            continue
    return {
        "memory_mb": round(memory_kb / 1024, 1),
        "processes": len(processes),
        "threads": threads,
        "open_files": open_files,
        "files": len(server.left()),
    }


# Clips, and what they must come to.


@dataclass(frozen=True)
class Clip:
    """A file, and what the command says of it: its report, or what is wrong with it."""

    path: Path
    report: dict[str, Any]

    @property
    def problem(self) -> str | None:
        error = self.report["error"]
        return None if error is None else error["message"].replace(str(self.path), self.path.name)


def make_clips(folder: Path) -> list[Path]:
    """Good clips of a few kinds and lengths, and broken files."""
    folder.mkdir()
    glad, frightened, plain = (
        EXAMPLES / f"smile_{voice}_voice.mp4" for voice in ("glad", "frightened", "plain")
    )
    for source in (glad, frightened, plain):
        shutil.copy(source, folder)
    repeat_video(plain, folder / "half a minute.mp4", 6)
    remux(glad, folder / "glad.mkv", ("video", "audio"))
    remux(frightened, folder / "only heard.m4a", ("audio",))
    remux(plain, folder / "only seen.mp4", ("video",))
    whole = (folder / "glad.mkv").read_bytes()
    (folder / "cut off.mkv").write_bytes(whole[: len(whole) // 2])
    content = bytearray(glad.read_bytes())
    content[40_000:50_000] = random.Random(1).randbytes(10_000)
    (folder / "damaged.mp4").write_bytes(content)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video\n" * 1000)
    (folder / "noise.webm").write_bytes(random.Random(2).randbytes(100_000))
    Image.new("RGB", (320, 240), (90, 120, 60)).save(folder / "picture.png")
    return sorted(folder.iterdir())


def remux(source: Path, target: Path, kinds: tuple[str, ...]) -> None:
    """The same packets in another container."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        streams = [s for s in given.streams if s.type in kinds]
        copies = {s.index: written.add_stream_from_template(s) for s in streams}
        for packet in given.demux(streams):
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                written.mux(packet)


def ask_command(paths: list[Path], folder: Path) -> list[Clip]:
    """What `facevoice analyze` says of each file."""
    command = [sys.executable, "-m", "facevoice", "analyze", "--format", "json", *map(str, paths)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    reports = {line["file"]["path"]: line for line in map(json.loads, run.stdout.splitlines())}
    if reports.keys() != {str(path) for path in paths}:
        sys.exit(f"facevoice analyze ended with {run.returncode}:\n{run.stderr}")
    return [Clip(path, reports[str(path)]) for path in paths]


def difference(report: dict[str, Any], expected: dict[str, Any], place: str = "") -> str | None:
    """Where two reports differ: in more than the third decimal, or the file's path."""
    if isinstance(expected, dict) and isinstance(report, dict):
        names = (report.keys() | expected.keys()) - {"path", "num_threads"}
        missing = object()
        pairs = {n: (report.get(n, missing), expected.get(n, missing)) for n in sorted(names)}
    elif isinstance(expected, list) and isinstance(report, list) and len(report) == len(expected):
        pairs = {str(k): pair for k, pair in enumerate(zip(report, expected, strict=True))}
    elif isinstance(expected, float) and isinstance(report, int | float):
        return None if abs(report - expected) < 1e-3 else f"{place}: {report}, not {expected}"
    else:
        return None if report == expected else f"{place}: {report!r}, not {expected!r}"
    found = (difference(one, other, f"{place}/{name}") for name, (one, other) in pairs.items())
    return next((each for each in found if each is not None), None)


# Users.


class User:
    """Does one thing after another until the time is over."""

    def __init__(
        self, name: int, address: str, clips: list[Clip], recording: Recording, run: Run
    ) -> None:
        self._name = name
        self._address = address
        self._good = [clip for clip in clips if clip.problem is None]
        self._broken = [clip for clip in clips if clip.problem is not None]
        self._recording = recording
        self._run = run
        self._dice = random.Random(name)

    async def live_until(self, deadline: float) -> None:
        """Do things; each in a page of its own, as after a reload, or in the one that is open."""
        deeds: dict[str, Callable[[Page], Any]] = {
            "analyse": self._analyse,
            "broken file": self._try_broken,
            "stop": self._stop,
            "leave in the middle": self._leave,
            "upload and leave": self._upload_and_leave,
            "break off an upload": self._break_off,
            "program": self._call,
            "live": self._go_live,
        }
        while time.monotonic() < deadline:
            async with self._page() as page:
                for _ in range(self._dice.randint(1, 3)):
                    (deed,) = self._dice.choices(list(DEEDS), list(DEEDS.values()))
                    await self._do(deed, deeds[deed](page))
                    if deed.startswith(("leave", "upload")) or time.monotonic() > deadline:
                        break
                    await asyncio.sleep(self._dice.expovariate(0.7))

    @asynccontextmanager
    async def _page(self) -> AsyncIterator[Page]:
        page = Page(self._address)
        try:
            await self._do("open", page.open())
            yield page
        finally:
            await page.close()

    async def _do(self, what: str, deed: Any) -> None:
        begun = time.monotonic()
        try:
            told = await deed
        except Exception as error:  # noqa: BLE001 - whatever it is, it is looked for
            told = f"{type(error).__name__}: {error}"
            self._run.note("error", user=self._name, deed=what, told=told[:500])
            return
        spent_s = round(time.monotonic() - begun, 3)
        self._run.note("done", user=self._name, deed=what, spent_s=spent_s, **(told or {}))

    async def _analyse(self, page: Page) -> dict[str, Any]:
        clip = self._dice.choice(self._good)
        outcome = await self._read(page, clip)
        if outcome.files is None:
            raise UnexpectedError(f"{clip.path.name}: {outcome.problem}")
        report = json.loads(await page.download(outcome.files[".json"]))
        if told := difference(report, clip.report):
            raise UnexpectedError(f"{clip.path.name}: another answer than the command's: {told}")
        page_size = len(await page.download(outcome.files[".html"]))
        if page_size < 10_000:
            raise UnexpectedError(f"{clip.path.name}: a page of {page_size} bytes")
        if report["file"]["video"] is not None and self._dice.random() < 0.3:
            await self._draw(page)
        await page.start_anew()
        return {"clip": clip.path.name}

    async def _draw(self, page: Page) -> None:
        outcome = await page.make_film()
        if outcome.files is None:
            raise UnexpectedError(f"no video: {outcome.problem}")
        with av.open(io.BytesIO(await page.download(outcome.files[".mp4"]))) as film:
            if sum(1 for _ in film.decode(video=0)) < 10:
                raise UnexpectedError("a video without pictures")

    async def _try_broken(self, page: Page) -> dict[str, Any]:
        clip = self._dice.choice(self._broken)
        outcome = await self._read(page, clip)
        if outcome.problem != clip.problem:
            raise UnexpectedError(f"{clip.path.name}: {outcome.problem}, and not {clip.problem}")
        return {"clip": clip.path.name, "problem": outcome.problem}

    async def _stop(self, page: Page) -> dict[str, Any]:
        clip = self._dice.choice(self._good)
        reading = asyncio.create_task(self._read(page, clip))
        await asyncio.sleep(self._dice.uniform(0.2, 4))
        await page.stop()
        outcome = await reading
        if outcome.files is None and outcome.problem != "Stopped.":
            raise UnexpectedError(f"{clip.path.name}: {outcome.problem}")
        await page.start_anew()  # or the next one would go on with it
        return {"clip": clip.path.name, "problem": outcome.problem}

    async def _leave(self, page: Page) -> dict[str, Any]:
        clip = self._dice.choice(self._good)
        reading = asyncio.create_task(self._read(page, clip))
        await asyncio.sleep(self._dice.uniform(0.1, 4))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return {"clip": clip.path.name}

    async def _upload_and_leave(self, page: Page) -> None:
        await page.upload(self._dice.choice(self._good).path, choose=self._dice.random() < 0.5)

    async def _break_off(self, page: Page) -> None:
        await page.break_off_upload(self._dice.choice((1, 5_000, 500_000)))

    async def _call(self, page: Page) -> dict[str, Any]:
        clip = self._dice.choice(self._good)
        report = json.loads(await page.call(await page.upload(clip.path, choose=False)))
        if told := difference(report, clip.report):
            raise UnexpectedError(f"{clip.path.name}: another answer than the command's: {told}")
        return {"clip": clip.path.name}

    async def _go_live(self, page: Page) -> dict[str, Any]:
        says_bye = self._dice.random() < 0.7
        told = await go_live(
            self._address,
            page.ticket,
            self._recording,
            self._dice.uniform(2, 15),
            says_bye=says_bye,
        )
        errors = [each["error"] for each in told if "error" in each]
        if any("places are taken" not in error for error in errors):
            raise UnexpectedError(f"live: {errors}")
        if says_bye and not errors and "end" not in (told[-1:] or [{}])[0]:
            raise UnexpectedError(f"live: ended with {told[-1:]}")
        lags_ms = [each["lag_ms"] for each in told if "window" in each]
        num_late = sum("late" in each for each in told)
        return {"lags_ms": lags_ms, "num_late": num_late, "problem": (errors or [None])[0]}

    async def _read(self, page: Page, clip: Clip) -> Outcome:
        await page.upload(clip.path)
        outcome = await page.analyze()
        times = {
            "asked_at": outcome.asked_at,
            "joined_at": outcome.joined_at or outcome.done_at,
            "started_at": outcome.started_at or outcome.done_at,
            "done_at": outcome.done_at,
        }
        job: dict[str, Any] = {name: at - self._run.begun for name, at in times.items()}
        was_read = outcome.started_at is not None and outcome.files is not None
        self._run.jobs.append({**job, "user": self._name, "was_read": was_read})
        self._run.note("job", clip=clip.path.name, **self._run.jobs[-1])
        return outcome


async def put_under_load(server: Server, clips: list[Clip], run: Run, options: Any) -> None:
    """All users at once, the server measured meanwhile."""
    recording = make_recording(EXAMPLES / "smile_glad_voice.mp4")
    deadline = time.monotonic() + 60 * options.minutes
    users = [User(k, server.address, clips, recording, run) for k in range(options.users)]
    work = asyncio.gather(*(user.live_until(deadline) for user in users))
    while not work.done():
        run.note("sample", **measure(server))
        await asyncio.wait([work], timeout=SAMPLE_EVERY_S)
        if server.process.poll() is not None:
            sys.exit(f"the server ended:\n{server.log[-3000:]}")
    await work
    run.note("over", **measure(server))
    waited_from = time.monotonic()
    while server.left() and time.monotonic() < waited_from + GONE_WITHIN_S:
        await asyncio.sleep(1)
    run.note("rest", **measure(server), left=server.left(), spent_s=time.monotonic() - waited_from)


def make_recording(clip: Path) -> Recording:
    """What a camera and a microphone would give of a clip: 5 pictures a second."""
    frames = []
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 5 == 0:
                content = io.BytesIO()
                frame.to_image().save(content, "JPEG", quality=85)
                frames.append(content.getvalue())
    sound = np.concatenate([block.samples for block in read_audio(clip)])
    return Recording(tuple(frames), sound.astype("<f4").tobytes(), SAMPLE_RATE_HZ)


# What is said of it.


def growth(samples: list[dict[str, Any]], until_s: float) -> tuple[float, float, float]:
    """A line through the memory of the second half: MB at its begin, MB an hour, its deviation."""
    half = [s for s in samples if s["t"] >= until_s / 2]
    hours = np.array([s["t"] for s in half]) / 3600
    memory = np.array([s["memory_mb"] for s in half])
    (slope, level), covariance = np.polyfit(hours, memory, 1, cov=True)
    return float(level + slope * hours[0]), float(slope), float(np.sqrt(covariance[0, 0]))


def overtaken(jobs: list[dict[str, Any]]) -> int:
    """How many clips were read though another one surely stood in the line before they came."""
    read = [job for job in jobs if job["was_read"]]
    return sum(
        any(
            other["joined_at"] < job["asked_at"]
            and other["started_at"] > job["started_at"]
            and other["done_at"] > job["done_at"]
            for other in read
        )
        for job in read
    )


def unfairness(jobs: list[dict[str, Any]]) -> float:
    """The longest mean wait of a user over the median user's; NaN where too few waited."""
    waits: defaultdict[int, list[float]] = defaultdict(list)
    for job in jobs:
        if job["was_read"]:
            waits[job["user"]].append(job["started_at"] - job["asked_at"])
    means = [float(np.mean(each)) for each in waits.values() if len(each) >= ENOUGH_WAITS]
    return max(means) / float(np.median(means)) if len(means) > 2 else float("nan")


def latencies(run: Run) -> dict[str, list[float]]:
    """Seconds by what was waited for."""
    read = [job for job in run.jobs if job["was_read"]]
    found = {
        "page opened": [d["spent_s"] for d in run.of("done") if d["deed"] == "open"],
        "clip: its turn came": [job["started_at"] - job["asked_at"] for job in read],
        "clip: from turn to result": [job["done_at"] - job["started_at"] for job in read],
        "live: window to answer": [
            lag / 1000 for d in run.of("done") for lag in d.get("lags_ms", ())
        ],
    }
    return {name: values for name, values in found.items() if values}


def summarize(run: Run, server: Server) -> list[str]:
    """Print what was seen; gives what must not be."""
    done, errors = run.of("done"), run.of("error")
    print("\n| what users did | times | problem told, as it must be | errors |\n|---|---|---|---|")
    for deed in ("open", *DEEDS):
        mine = [d for d in done if d["deed"] == deed]
        told = sum(d.get("problem") is not None for d in mine)
        wrong = sum(e["deed"] == deed for e in errors)
        print(f"| {deed} | {len(mine) + wrong} | {told} | {wrong} |")
    print("\n| seconds | times | median | 95 % below | worst |\n|---|---|---|---|---|")
    for name, values in latencies(run).items():
        low, high = np.quantile(values, (0.5, 0.95))
        print(f"| {name} | {len(values)} | {low:.2f} | {high:.2f} | {max(values):.2f} |")
    samples = run.of("sample")
    level, slope, deviation = growth(samples, samples[-1]["t"])
    (rest,) = run.of("rest")
    late = sum(d.get("num_late", 0) for d in done)
    print(f"\nlive windows left out, since the server was busy: {late}")
    print(f"clips that overtook others: {overtaken(run.jobs)} of {len(run.jobs)}")
    print(f"longest mean wait of a user: {unfairness(run.jobs):.2f} of the median user's")
    print(
        f"memory: {level:.0f} MB at half time, then {slope:+.0f} ± {deviation:.0f} MB an hour; "
        f"most {max(s['memory_mb'] for s in samples):.0f} MB, at rest {rest['memory_mb']:.0f} MB"
    )
    for name in ("processes", "threads", "open_files"):
        print(f"{name}: {samples[0][name]} at first, at rest {rest[name]}")
    print(f"files left {rest['spent_s']:.0f} s after all had gone: {len(rest['left'])}")
    tracebacks = server.log.count("Traceback (most recent call last)")
    print(f"tracebacks in the server's log: {tracebacks}")
    for told, number in Counter(e["told"] for e in errors).most_common(10):
        print(f"ERROR, {number} times: {told}")
    wrong = {
        "errors": len(errors) > 0,
        "files left": len(rest["left"]) > 0,
        "tracebacks": tracebacks > 0,
        "overtaken": overtaken(run.jobs) > 0,
        "unfair": unfairness(run.jobs) > MAX_UNFAIR,
        "memory grows": slope - 2 * deviation > MAX_GROWTH_MB_PER_H,
    }
    return [name for name, holds in wrong.items() if holds]


def draw(run: Run, path: Path) -> None:
    """Memory, latency and errors over the time, as a picture."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only for the picture

    figure = Figure(figsize=(9, 8), layout="constrained")
    top, middle, below = figure.subplots(3, sharex=True)
    samples = run.of("sample")
    minutes = [s["t"] / 60 for s in samples]
    top.plot(minutes, [s["memory_mb"] for s in samples], color="#0072B2", lw=1)
    level, slope, _ = growth(samples, samples[-1]["t"])
    half, end = samples[-1]["t"] / 2, samples[-1]["t"]
    line = [level, level + slope * (end - half) / 3600]
    top.plot([half / 60, end / 60], line, color="#D55E00", label=f"{slope:+.0f} MB an hour")
    top.set(ylabel="memory of all processes, MB", ylim=(0, None))
    top.legend(loc="lower right")
    read = [job for job in run.jobs if job["was_read"]]
    for name, start, colour in (
        ("a clip's turn came", "asked_at", "#E69F00"),
        ("from turn to result", "started_at", "#0072B2"),
    ):
        until = "started_at" if start == "asked_at" else "done_at"
        seconds = [job[until] - job[start] for job in read]
        middle.plot(
            [job["done_at"] / 60 for job in read], seconds, ".", ms=3, color=colour, label=name
        )
    lags = [(d["t"] / 60, lag / 1000) for d in run.of("done") for lag in d.get("lags_ms", ())]
    middle.plot(*zip(*lags, strict=True), ".", ms=2, color="#009E73", label="live answer")
    middle.set(ylabel="seconds", yscale="log")
    middle.legend(loc="best")
    for lines, name, colour in (
        (run.of("done"), "done as it must be", "#009E73"),
        (run.of("error"), "errors", "#D55E00"),
    ):
        times = sorted(each["t"] / 60 for each in lines)
        below.step(
            [0, *times, end / 60],
            [*range(len(times) + 1), len(times)],
            color=colour,
            where="post",
            label=f"{name}: {len(times)}",
        )
    below.set(xlabel="minutes", ylabel="deeds of all users", xlim=(0, None))
    below.legend(loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--log", type=Path, help="all that was seen, as JSON lines")
    parser.add_argument("--picture", type=Path, help="PNG of memory, latency, errors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clips = ask_command(make_clips(folder / "clips"), folder)
        print(f"{len(clips)} files, {sum(c.problem is not None for c in clips)} of them broken")
        with (
            (options.log or Path(os.devnull)).open("w", encoding="utf-8") as log,
            served(folder, ["--keep-minutes", str(KEEP_MINUTES)]) as server,
        ):
            run = Run(log=log)
            try:
                asyncio.run(put_under_load(server, clips, run, options))
                wrong = summarize(run, server)
            finally:
                if options.log is not None:
                    shutil.copy(folder / "log", options.log.with_suffix(".server.log"))
        ended, left = server.process.returncode, server.left()
        print(f"the server ended with {ended}; files left: {left[:10]}")
        if ended != 130 or left:
            wrong.append("not ended well")
    if options.picture is not None:
        draw(run, options.picture)
    print("wrong: " + ", ".join(wrong) if wrong else "all as it must be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
