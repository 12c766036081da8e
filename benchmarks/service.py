"""The service under many clients: all answered once and as by the command, also over a kill.

    python -m benchmarks.service                     # 200 requests by 10 clients, a kill midway
    python -m benchmarks.service --minutes 30        # and then memory over so long

Films are those of examples/, one without sound and faces, and broken ones: every request in
`--broken` sends one of these. Midway the service is killed by SIGKILL and started again; clients
go on with what they had asked, under the words (Idempotency-Key) that they had given.

Ends with 1 where not each request is answered, by one job, as by `facevoice analyze`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import numpy as np
import psutil

SAMPLES = Path(__file__).parents[1] / "examples"
KEY = "fv_of-the-benchmark"
START_S = 300.0
PAUSE_S = 0.5
JOB_S = 1800.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--broken", type=int, default=5, help="one request in so many")
    parser.add_argument("--at-once", type=int, default=2, help="files worked on together")
    parser.add_argument("--minutes", type=float, default=0.0, help="and then watch memory")
    parser.add_argument("--database", help="postgresql://… in place of SQLite")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facevoice-") as place:
        films = make_films(Path(place, "films"))
        expected = ask_command(films)
        service = Served(Path(place, "data"), asked.at_once, asked.database)
        with service.running():
            figures = {"answers": ask_all(service, films, expected, asked)}
            if asked.minutes:
                figures["memory"] = watch(service, films, asked.clients, asked.minutes)
    print(json.dumps(figures, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n")
    answers = figures["answers"]
    counts = [answers[name] for name in ("answered", "jobs_of_the_service", "different_jobs")]
    if counts != [asked.requests] * 3 or answers["other_than_the_command"]:
        sys.exit("Not all requests were answered once, and as by the command.")


def make_films(folder: Path) -> dict[str, Path]:
    """Good and broken films by name."""
    folder.mkdir()
    good = sorted(SAMPLES.glob("*.mp4"))
    films = {path.name: folder / path.name for path in good}
    for path in good:
        (folder / path.name).write_bytes(path.read_bytes())
    whole = good[0].read_bytes()
    cut = bytearray(whole)
    rng = random.Random(0)
    for _ in range(200):
        cut[rng.randrange(len(cut) // 4, len(cut))] = rng.randrange(256)
    broken = {
        "cut.mp4": whole[: len(whole) // 40],
        "text.mp4": b"This is no film.\n" * 100,
        "noise.mp4": random.Random(1).randbytes(20_000),
        "hurt.mp4": bytes(cut),
    }
    for name, content in broken.items():
        films[name] = folder / name
        films[name].write_bytes(content)
    films["silent.mp4"] = _silent(folder / "silent.mp4")
    return films


def _silent(path: Path) -> Path:
    """A film without sound and faces: analysed, and insufficient."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((120, 160, 3), np.uint8))
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def ask_command(films: dict[str, Path]) -> dict[str, str]:
    """What `facevoice analyze --format json` says of each film, in its folder."""
    folder = next(iter(films.values())).parent
    command = [sys.executable, "-m", "facevoice", "analyze", *films, "--format", "json", "-q"]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    reports = [json.loads(line) for line in told.stdout.splitlines()]
    if len(reports) != len(films):
        raise RuntimeError(told.stderr)
    return {report["file"]["path"]: json.dumps(report, sort_keys=True) for report in reports}


class Served:
    """`facevoice serve` in a folder."""

    def __init__(self, folder: Path, at_once: int, database: str | None) -> None:
        self._folder, self._at_once = folder, at_once
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        self._env = {**os.environ, "FACEVOICE_SERVICE_KEYS": f"bench:{digest}"}
        if database:
            self._env["FACEVOICE_DATABASE"] = database
        self.url = ""

    def start(self) -> None:
        options = ["--data", str(self._folder), "--at-once", str(self._at_once), "--threads", "1"]
        options += ["--max-jobs", "1000", "--rate", "100000", "--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "facevoice", "serve", *options],
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = self._process.stdout or ()
        for line in lines:
            found = re.search(r"Serving (http://[\w.:]+)/", line)
            if found:
                self.url = found[1]
                break
        # What it says later is read on, or it would wait for a reader.
        threading.Thread(target=Counter, args=(lines,), daemon=True).start()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self._process.terminate()
            self._process.wait(60)

    def memory_mb(self) -> tuple[float, float, int]:
        """Own memory of the service, with its children's, and how many files it holds open."""
        own = psutil.Process(self._process.pid)
        mine = own.memory_full_info().uss / 1e6
        children = 0.0
        for child in own.children(recursive=True):
            try:
                children += child.memory_full_info().uss / 1e6
            except psutil.Error:
                continue
        return mine, mine + children, own.num_fds()


class Client:
    """Asks one thing after the other; where nobody answers, it asks again."""

    def __init__(self, service: Served) -> None:
        self._service = service
        self._http = httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        self.num_again = 0

    def ask(self, method: str, path: str, **more: object) -> httpx.Response:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                answer = self._http.request(method, self._service.url + path, **more)
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline_s:
                raise TimeoutError(path)
            self.num_again += 1
            time.sleep(PAUSE_S)

    def answer(self, film: Path, word: str) -> tuple[str, str]:
        """The id of a film's job, and its report."""
        headers = {"Content-Type": "video/mp4", "Idempotency-Key": word}
        sent = {"params": {"name": film.name}, "content": film.read_bytes(), "headers": headers}
        answer = self.ask("POST", "/v1/jobs/file", **sent)
        answer.raise_for_status()
        number = answer.json()["id"]
        deadline_s = time.monotonic() + JOB_S
        while time.monotonic() < deadline_s:
            state = self.ask("GET", f"/v1/jobs/{number}").json()["state"]
            if state in ("done", "failed"):
                return number, self.ask("GET", f"/v1/jobs/{number}/report").text
            time.sleep(PAUSE_S)
        raise TimeoutError(number)


def ask_all(
    service: Served, films: dict[str, Path], expected: dict[str, str], asked: argparse.Namespace
) -> dict[str, object]:
    """Ask as many clients do, kill the service midway; what was answered, and how well."""
    good = [name for name, said in expected.items() if json.loads(said)["status"] != "failed"]
    broken = [name for name in expected if name not in good]
    rng = random.Random(asked.requests)
    names = [rng.choice(broken if k % asked.broken == 0 else good) for k in range(asked.requests)]
    done, lock = Counter[str](), threading.Lock()
    ids: list[str] = []
    wrong: list[str] = []
    clients = threading.local()
    num_again = []

    def work(place: int) -> None:
        if not hasattr(clients, "own"):
            clients.own = Client(service)
            num_again.append(clients.own)
        name = names[place]
        number, report = clients.own.answer(films[name], f"request-{place}")
        with lock:
            ids.append(number)
            done[json.loads(report)["status"]] += 1
            if json.dumps(json.loads(report), sort_keys=True) != expected[name]:
                wrong.append(name)

    begun_s = time.monotonic()
    with ThreadPoolExecutor(asked.clients) as pool:
        futures = [pool.submit(work, place) for place in range(asked.requests)]
        while sum(done.values()) < asked.requests // 2 and not all(f.done() for f in futures):
            time.sleep(PAUSE_S)
        service.kill()
        killed_at = sum(done.values())
        service.start()
        for future in futures:
            future.result()
    took_s = time.monotonic() - begun_s
    listed = Client(service).ask("GET", "/v1/jobs", params={"limit": "1000"}).json()["jobs"]
    return {
        "requests": asked.requests,
        "clients": asked.clients,
        "answered": sum(done.values()),
        "by_status": dict(done),
        "answered_at_the_kill": killed_at,
        "jobs_of_the_service": len(listed),
        "different_jobs": len({*ids}),
        "other_than_the_command": sorted(wrong),
        "asked_again": sum(client.num_again for client in num_again),
        "minutes": round(took_s / 60, 1),
    }


def watch(
    service: Served, films: dict[str, Path], num_clients: int, minutes: float
) -> dict[str, object]:
    """Memory while clients ask, delete and ask again: slopes over the last two thirds."""
    end_s = time.monotonic() + 60 * minutes
    names = sorted(films)

    def work(seed: int) -> int:
        client, rng, number = Client(service), random.Random(seed), 0
        while time.monotonic() < end_s:
            job, _ = client.answer(films[rng.choice(names)], f"{seed}-{number}")
            client.ask("GET", f"/v1/jobs/{job}/report", params={"format": "html"})
            client.ask("DELETE", f"/v1/jobs/{job}")
            number += 1
        return number

    rows: list[tuple[float, float, float, int]] = []
    begun_s = time.monotonic()
    with ThreadPoolExecutor(num_clients) as pool:
        futures = [pool.submit(work, seed) for seed in range(num_clients)]
        while time.monotonic() < end_s:
            time.sleep(5)
            rows.append(((time.monotonic() - begun_s) / 60, *service.memory_mb()))
        num_jobs = sum(future.result() for future in futures)
    table = np.array(rows[len(rows) // 3 :])
    slopes = [float(np.polyfit(table[:, 0], table[:, k], 1)[0]) for k in (1, 2, 3)]
    return {
        "minutes": minutes,
        "jobs": num_jobs,
        "service_mb": [round(float(table[0, 1]), 1), round(float(table[-1, 1]), 1)],
        "service_mb_per_minute": round(slopes[0], 3),
        "with_children_mb_per_minute": round(slopes[1], 3),
        "open_files_per_minute": round(slopes[2], 3),
    }


if __name__ == "__main__":
    main()
