"""The service as its users meet it: a process that they ask over HTTP, that dies and comes again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from facevoice import Analyzer
from facevoice.batch import analyze_paths
from facevoice.report import to_json
from service.services import KEYS, SAMPLE, ServiceProcess, events, send, serving, wait_for

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with serving(tmp_path_factory.mktemp("service") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command says of the sample, in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SAMPLE.parent)
        (report,) = analyze_paths([SAMPLE.name], Analyzer(num_threads=1))
    return to_json(report) + "\n"


def test_a_file_is_answered_as_by_the_command(service: ServiceProcess, expected: str) -> None:
    with service.client() as client, service.client("bob") as other:
        job = send(client, SAMPLE)
        told = list(events(client, job["id"]))
        windows = [data for name, _, data in told if name == "window"]
        assert [window["start_s"] for window in windows] == [0.0, 2.0]
        name, number, last = told[-1]
        assert (name, number, last["state"], last["outcome"]) == ("job", "end", "done", "match")
        path = f"/v1/jobs/{job['id']}"
        assert client.get(f"{path}/report").text == expected
        # Nothing but the report is kept.
        assert [p.name for p in (service.folder / "jobs").iterdir()] == []
        resumed = [data for name, _, data in events(client, job["id"], **{"Last-Event-ID": "0"})]
        assert resumed[0]["start_s"] == 2.0
        assert client.get(f"{path}/windows", headers={"Last-Event-ID": "end"}).status_code == 204
        assert other.get(path).status_code == other.get(f"{path}/report").status_code == 404
        assert other.delete(path).status_code == 404
        assert other.get("/v1/jobs").json() == {"jobs": []}
        assert client.delete(path).status_code == 204
        assert client.get(path).json()["error"]["kind"] == "not_found"
        database = (service.folder / "jobs.db").read_bytes()
        assert job["id"].encode() not in database


def test_a_broken_file_fails_alone(service: ServiceProcess, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(SAMPLE.read_bytes()[:2000])
    with service.client() as client:
        job = wait_for(client, send(client, broken)["id"])
        assert (job["state"], job["error"]["kind"]) == ("failed", "unreadable_media")
        assert "broken.mp4" in job["error"]["message"]
        assert str(service.folder) not in job["error"]["message"]
        report = client.get(f"/v1/jobs/{job['id']}/report").json()
        assert (report["status"], report["file"]["path"]) == ("failed", "broken.mp4")


def test_what_a_killed_service_was_at_is_answered_once(
    service: ServiceProcess, expected: str
) -> None:
    with service.client() as client:
        before = client.get("/metrics").status_code
        first = send(client, SAMPLE, **{"Idempotency-Key": "one"})
        second = send(client, SAMPLE, **{"Idempotency-Key": "two"})
        names = (name for name, _, data in events(client, first["id"]))
        assert next(names) == "job"
        service.kill()
    service.start()
    with service.client() as client:
        assert before == 403
        # Who never saw the answer asks again, and gets the same job.
        again = send(client, SAMPLE, **{"Idempotency-Key": "two"})
        assert again["id"] == second["id"]
        for job in (first, second):
            assert wait_for(client, job["id"])["state"] == "done"
            assert client.get(f"/v1/jobs/{job['id']}/report").text == expected
        ids = [job["id"] for job in client.get("/v1/jobs", params={"state": "done"}).json()["jobs"]]
        assert ids == [second["id"], first["id"]]


def test_it_ends_in_order_and_goes_on(service: ServiceProcess) -> None:
    with service.client() as client:
        job = send(client, SAMPLE)
        told = events(client, job["id"])
        assert next(told)[0] == "job"
        assert service.end() == 130
        assert "go on when the service starts again" in "".join(service.lines)
    service.start()
    with service.client() as client:
        done = wait_for(client, job["id"])
        assert (done["state"], done["num_windows"]) == ("done", 2)


def test_the_client_of_the_docs_works(
    service: ServiceProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "service.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(script.splitlines()) <= 12
    monkeypatch.setenv("FACEVOICE_URL", service.url)
    monkeypatch.setenv("FACEVOICE_KEY", KEYS["anna"])
    monkeypatch.chdir(SAMPLE.parent)
    exec(compile(script.replace("talk.mp4", SAMPLE.name), "service.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert "0.0 4.0 match" in printed
    assert "Face and voice match" in printed
