"""The service as its users meet it: a process that is asked over HTTP, dies, and comes again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from benchmarks.long_videos import repeat_video

from facevoice import Analyzer
from facevoice.batch import analyze_paths
from facevoice.report import to_json
from facevoice.service.database import open_database
from facevoice.service.jobs import Jobs
from file_server import FileServer
from service.services import (
    KEYS,
    SAMPLE,
    ServiceProcess,
    events,
    send,
    serving,
    wait_for,
    wait_until,
)

DOCS = Path(__file__).parents[2] / "docs"
# The service finds it, and dies in the midst of a job where that is wanted, however fast it is.
STRIKE = """
import os, signal, sys
def strike(event, arguments):
    is_at_work = event == "sqlite3.connect" and "perception.db" in str(arguments[0])
    if is_at_work and os.path.exists(os.environ["STRIKE"]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(strike)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "sitecustomize.py").write_text(STRIKE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setenv("STRIKE", str(folder / "strike"))
        with serving(folder / "data", "--private-addresses") as running:
            yield running


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command says of the sample, in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SAMPLE.parent)
        (report,) = analyze_paths([SAMPLE.name], Analyzer(num_threads=1))
    return to_json(report) + "\n"


def test_the_client_of_the_docs_gets_what_the_command_says(
    service: ServiceProcess,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (DOCS / "service.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len([line for line in script.splitlines() if line]) <= 10
    monkeypatch.setenv("FACEVOICE_URL", service.url)
    monkeypatch.setenv("FACEVOICE_KEY", KEYS["anna"])
    monkeypatch.chdir(SAMPLE.parent)
    exec(compile(script.replace("talk.mp4", SAMPLE.name), "service.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert "0.0 4.0 match" in printed
    assert "Face and voice match" in printed

    with service.client() as client, service.client("bob") as other:
        (job,) = client.get("/v1/jobs").json()["jobs"]
        path = f"/v1/jobs/{job['id']}"
        assert (job["state"], job["outcome"], job["num_windows"]) == ("done", "match", 2)
        if shutil.which("curl"):
            ask_by_curl(client, re.findall(r"^curl .*$", text, flags=re.MULTILINE), job["id"])
        assert client.get(f"{path}/report").text == expected
        wait_until(lambda: not service.kept())  # nothing but the report is
        _, number, data = next(iter(events(client, job["id"], **{"Last-Event-ID": "0"})))
        assert (number, data["start_s"]) == ("1", 2.0)
        assert client.get(f"{path}/windows", headers={"Last-Event-ID": "end"}).status_code == 204
        assert other.get(path).status_code == other.get(f"{path}/report").status_code == 404
        assert other.delete(path).status_code == 404
        assert other.get("/v1/jobs").json() == {"jobs": []}
        assert client.delete(path).status_code == 204
        assert client.get(path).json()["error"]["kind"] == "not_found"
        assert job["id"].encode() not in (service.folder / "jobs.db").read_bytes()


def ask_by_curl(client: httpx.Client, lines: list[str], number: str) -> None:
    """The lines of the docs, of a job that is done."""
    instead = {"https://example.org": str(client.base_url), "talk.mp4": SAMPLE.name, "ID": number}
    for word, other in instead.items():
        lines = [line.replace(word, other) for line in lines]
    told = [subprocess.check_output(["sh", "-c", f"{line} --silent"], text=True) for line in lines]
    sent, named, windows, report = told
    assert "event: window" in windows
    assert report.startswith("file,")
    assert json.loads(sent)["name"] == SAMPLE.name
    assert json.loads(named)["name"] == f"{client.base_url}/{SAMPLE.name}"
    for made in (sent, named):
        client.delete(f"/v1/jobs/{json.loads(made)['id']}").raise_for_status()


def test_a_broken_file_on_the_web_fails_alone(service: ServiceProcess) -> None:
    web = FileServer()
    web.files["/a/broken.mp4"] = SAMPLE.read_bytes()[:2000]
    with web.running(), service.client() as client:
        for path, kind in (("/a/broken.mp4", "unreadable_media"), ("/b.mp4", "media_not_found")):
            address = {"address": f"{web.url}{path}?token=SECRET"}
            answer = client.post("/v1/jobs/address", json=address).raise_for_status()
            job = wait_for(client, answer.json()["id"])
            assert (job["state"], job["error"]["kind"]) == ("failed", kind)
            assert job["error"]["message"].startswith(f"{web.url}{path}: ")
            assert str(service.folder) not in job["error"]["message"]
            report = client.get(f"/v1/jobs/{job['id']}/report").json()
            assert (report["status"], report["file"]["path"]) == ("failed", f"{web.url}{path}")
    assert b"SECRET" not in (service.folder / "jobs.db").read_bytes()
    wait_until(lambda: not service.kept())


def test_what_was_at_work_is_answered_once_however_it_ended(
    service: ServiceProcess, expected: str, tmp_path: Path
) -> None:
    one = {"Idempotency-Key": "one"}
    strike = Path(os.environ["STRIKE"])
    strike.touch()
    with service.client() as client, suppress(httpx.TransportError):
        send(client, SAMPLE, **one)
    assert service.wait() == -signal.SIGKILL
    strike.unlink()
    service.start()
    film = tmp_path / "film.mp4"  # of eight minutes: its end doesn't come before that of the test
    repeat_video(SAMPLE, film, 100)
    with service.client() as client:
        # Who never saw the answer asks again, and gets the same job.
        first = send(client, SAMPLE, **one)["id"]
        assert wait_for(client, first)["state"] == "done"
        assert client.get(f"/v1/jobs/{first}/report").text == expected
        second = send(client, film)["id"]
        assert "running" in (data.get("state") for _, _, data in events(client, second))
        assert service.end() == 130
    assert "go on when the service starts again" in "".join(service.lines)
    database = open_database(service.folder, None)
    jobs = [Jobs(database).find("anna", number) for number in (first, second)]
    database.close()
    assert [(job.state, job.attempt) for job in jobs] == [("done", 2), ("waiting", 0)]
    said = "".join(service.lines)
    assert not any(word in said for word in ("Traceback", KEYS["anna"], "SECRET"))
