"""The service as its users meet it: a process that is asked over HTTP, dies, and comes again."""

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
        assert client.get(f"{path}/report").text == expected
        assert list((service.folder / "jobs").iterdir()) == []  # nothing but the report is kept
        _, number, data = next(iter(events(client, job["id"], **{"Last-Event-ID": "0"})))
        assert (number, data["start_s"]) == ("1", 2.0)
        assert client.get(f"{path}/windows", headers={"Last-Event-ID": "end"}).status_code == 204
        assert other.get(path).status_code == other.get(f"{path}/report").status_code == 404
        assert other.delete(path).status_code == 404
        assert other.get("/v1/jobs").json() == {"jobs": []}
        assert client.delete(path).status_code == 204
        assert client.get(path).json()["error"]["kind"] == "not_found"
        assert job["id"].encode() not in (service.folder / "jobs.db").read_bytes()


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


def test_what_was_at_work_is_answered_once_however_it_ended(
    service: ServiceProcess, expected: str
) -> None:
    with service.client() as client:
        first = send(client, SAMPLE, **{"Idempotency-Key": "one"})
        assert next(events(client, first["id"]))[2]["state"] in ("waiting", "running")
        assert service.end() == 130
    assert "go on when the service starts again" in "".join(service.lines)
    service.start()
    with service.client() as client:
        states = (data.get("state") for _, _, data in events(client, first["id"]))
        assert "running" in states
        second = send(client, SAMPLE, **{"Idempotency-Key": "two"})
        service.kill()
    service.start()
    with service.client() as client:
        # Who never saw the answer asks again, and gets the same job.
        assert send(client, SAMPLE, **{"Idempotency-Key": "two"})["id"] == second["id"]
        for job in (first, second):
            assert wait_for(client, job["id"])["state"] == "done"
            assert client.get(f"/v1/jobs/{job['id']}/report").text == expected
        done = client.get("/v1/jobs", params={"state": "done"}).json()["jobs"]
        assert [job["id"] for job in done] == [second["id"], first["id"]]
