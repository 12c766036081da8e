"""What is asked, and what is refused: typed errors, whatever is wrong; nobody works on the jobs."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docs.invented_report import invent_interview
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from typer.main import get_command
from typer.testing import CliRunner

from facevoice.batch import AnalyzerSetup
from facevoice.cli.app import app as commands
from facevoice.errors import ConfigError
from facevoice.report import FORMATS, from_json, to_json
from facevoice.service import KeyLimits, ServiceOptions, load_keys, new_key
from facevoice.service.app import build_app
from facevoice.service.keys import Keyring
from facevoice.service.service import Service
from facevoice.settings import AnalyzerConfig
from service.services import header, keyring

DOCS = Path(__file__).parents[2] / "docs" / "service.md"
BYTES = {"Content-Type": "application/octet-stream"}


class Desk:
    """A service on whose jobs nobody works, and who asks it."""

    def __init__(self, folder: Path, keys: Keyring, **options: Any) -> None:
        self.folder = folder
        setup = AnalyzerSetup(AnalyzerConfig())
        self.service = Service(setup, ServiceOptions(folder, **options), keys)
        self.app = build_app(self.service)
        self._client = TestClient(
            self.app, base_url="http://127.0.0.1", raise_server_exceptions=False
        )

    def ask(self, method: str, path: str, name: str | None = "anna", **more: Any) -> Any:
        headers = {**({} if name is None else header(name)), **more.pop("headers", {})}
        return self._client.request(method, path, headers=headers, **more)

    def send(self, content: Any = b"film", name: str = "talk.mp4", user: str = "anna") -> Any:
        path, params = "/v1/jobs/file", {"name": name}
        return self.ask("POST", path, user, params=params, content=content, headers=BYTES)

    def name(self, address: str) -> Any:
        return self.ask("POST", "/v1/jobs/address", json={"address": address})

    def kept(self) -> list[str]:
        return [path.name for path in (self.folder / "jobs").iterdir()]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    few = KeyLimits(max_size_mb=0.001, max_jobs=3, max_streams=1)
    made = Desk(tmp_path / "data", keyring(anna=few))
    yield made
    made.service.close()


def refused(answer: Any, status: int, kind: str) -> dict[str, str]:
    """The error, which has the one form of errors."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error: dict[str, str] = answer.json()["error"]
    assert error["kind"] == kind
    assert error["message"]
    assert error["remedy"]
    return error


def test_its_description_is_valid_openapi(desk: Desk) -> None:
    described = desk.ask("GET", "/openapi.json", None).json()
    validate(described)
    for path, methods in described["paths"].items():
        for method, said in methods.items():
            assert said["summary"], (method, path)
            assert said["description"], (method, path)
            if path.startswith("/v1"):
                assert said["security"] == [{"key": []}]
                more = ("404", "409", "501") if path.endswith("/report") else ()
                for status in ("401", "403", "422", "429", "500", "503", *more):
                    schema = said["responses"][status]["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}
    # The page that shows it asks no other server for anything.
    page = desk.ask("GET", "/docs", None).text
    assert "https://" not in page


@pytest.mark.parametrize("key", [None, "Bearer", "Bearer fv_wrong", "Basic YTpi", "Bearer \xff"])
def test_nobody_gets_in_without_a_key(desk: Desk, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": key.encode("latin-1")}
    answer = desk.ask("GET", "/v1/jobs", None, headers=headers)
    refused(answer, 401, "invalid_key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert desk.ask("GET", "/health/live", None).json()["status"] == "ok"
    refused(desk.ask("GET", "/health/ready", None), 503, "unavailable")  # nobody works


def test_nothing_is_left_of_a_file_that_is_too_large(desk: Desk) -> None:
    refused(desk.send(bytes(1001)), 413, "too_large")
    refused(desk.send(iter([bytes(600), bytes(600)])), 413, "too_large")  # its length isn't told
    assert desk.kept() == []
    assert desk.send(bytes(1000)).status_code == 202
    assert len(desk.kept()) == 1


def test_no_long_body_is_held_in_memory(desk: Desk) -> None:
    long = b'{"address": "' + bytes(20_000)
    for content in (long, iter([long])):
        answer = desk.ask("POST", "/v1/jobs/address", None, content=content)
        refused(answer, 413, "too_large")


def test_one_job_too_many_is_refused(desk: Desk) -> None:
    for _ in range(3):
        assert desk.send().status_code == 202
    answer = desk.send()
    refused(answer, 429, "too_many_jobs")
    assert int(answer.headers["Retry-After"]) > 0
    refused(desk.name("http://1.1.1.1/a.mp4"), 429, "too_many_jobs")
    assert len(desk.kept()) == 3
    assert desk.send(user="bob").status_code == 202
    for job in desk.ask("GET", "/v1/jobs").json()["jobs"]:
        assert desk.ask("DELETE", f"/v1/jobs/{job['id']}").status_code == 204
    assert len(desk.kept()) == 1


def test_who_asks_too_often_is_asked_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands_still = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr("facevoice.service.keys.time", stands_still)
    desk = Desk(tmp_path, keyring(anna=KeyLimits(requests_per_minute=9)))
    answers = [desk.ask("GET", "/v1/jobs") for _ in range(4)]
    assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
    refused(answers[3], 429, "too_many_requests")
    assert 1 <= int(answers[3].headers["Retry-After"]) <= 7
    assert desk.ask("GET", "/v1/jobs", "bob").status_code == 200
    desk.service.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost:8000",
        "stairs.LOCALHOST.",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "10.1.2.3",
        "0.0.0.0",  # noqa: S104
        "2130706433",
        "0x7f.1",
        "100.64.0.1",
        "224.0.0.1",
    ],
)
def test_private_addresses_are_refused(desk: Desk, host: str) -> None:
    refused(desk.name(f"http://{host}/secret.mp4"), 422, "private_address")
    assert desk.ask("GET", "/v1/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "s3://bucket/a.mp4",
        "ftp://1.1.1.1/a",
        "a.mp4",
        "http://",
        "http://[x/",
    ],
)
def test_other_kinds_of_addresses_are_refused(desk: Desk, address: str) -> None:
    refused(desk.name(address), 422, "unreadable_media")
    refused(desk.name("http://me:secret@1.1.1.1/a.mp4"), 422, "unreadable_media")


def test_secrets_of_an_address_are_not_shown(desk: Desk) -> None:
    job = desk.name("https://1.1.1.1/a.mp4?token=SECRET")
    assert job.json()["name"] == "https://1.1.1.1/a.mp4"
    assert "SECRET" not in job.text + desk.ask("GET", "/v1/jobs").text


def test_requests_that_are_wrong_say_what_is(desk: Desk) -> None:
    refused(desk.send(name="../up.mp4"), 422, "invalid_request")
    refused(desk.send(name="a\nb.mp4"), 422, "invalid_request")
    refused(desk.ask("POST", "/v1/jobs/file", content=b"x", headers=BYTES), 422, "invalid_request")
    form = {"data": {"a": "b"}, "params": {"name": "a.mp4"}}
    refused(desk.ask("POST", "/v1/jobs/file", **form), 422, "invalid_request")
    refused(desk.ask("POST", "/v1/jobs/address", json={}), 422, "invalid_request")
    path, json_bytes = "/v1/jobs/address", {"Content-Type": "application/json"}
    named = b'{"address": "https://1.1.1.1/a.mp4"}'
    as_curl = {"Content-Type": "application/x-www-form-urlencoded"}
    wrong = [b"", b"{", b"[" * 10_000, b"\xff", b"9" * 5000, b"[]", b"null"]
    for content, headers in ((named, as_curl), *((each, json_bytes) for each in wrong)):
        answer = desk.ask("POST", path, content=content, headers=headers)
        error = refused(answer, 422, "invalid_request")
        assert error["message"] == "The body is not the JSON object that is asked for."
        assert "Content-Type: application/json" in error["remedy"]
    alone = b'{"address": "https://1.1.1.1/\\ud800.mp4"}'  # half of a character
    answer = desk.ask("POST", path, content=alone, headers=json_bytes)
    assert refused(answer, 422, "invalid_request")["message"].startswith("address: ")
    refused(desk.ask("GET", "/v1/jobs", params={"state": "odd"}), 422, "invalid_request")
    refused(desk.ask("GET", "/v1/jobs/0"), 404, "not_found")
    refused(desk.ask("GET", "/v2"), 404, "not_found")
    refused(desk.ask("PUT", "/v1/jobs"), 405, "wrong_method")
    job = desk.send().json()["id"]
    answer = desk.ask("GET", f"/v1/jobs/{job}/report")
    refused(answer, 409, "not_done")
    assert "Retry-After" in answer.headers
    refused(desk.ask("GET", "/metrics"), 403, "forbidden")


def test_the_jobs_of_a_key_are_listed_page_by_page(desk: Desk) -> None:
    made = [desk.send().json()["id"] for _ in range(3)]
    others = desk.send(user="bob").json()["id"]
    (first,) = listed(desk, limit=1)
    rest = listed(desk, limit=2, before=first)
    assert sorted([first, *rest]) == sorted(made)
    assert listed(desk, before=rest[-1]) == []
    assert listed(desk, before=first, state="waiting") == rest
    assert listed(desk, before=first, state="done") == []
    for unknown in (others, "0"):
        answer = desk.ask("GET", "/v1/jobs", params={"before": unknown})
        refused(answer, 404, "not_found")


def listed(desk: Desk, **asked: Any) -> list[str]:
    jobs = desk.ask("GET", "/v1/jobs", params=asked).json()["jobs"]
    return [job["id"] for job in jobs]


def test_the_same_word_gives_the_same_job(desk: Desk) -> None:
    once = {**BYTES, "Idempotency-Key": "monday"}
    asked = {"params": {"name": "a.mp4"}, "content": b"film", "headers": once}
    first, again = (desk.ask("POST", "/v1/jobs/file", **asked).json() for _ in range(2))
    assert first["id"] == again["id"]
    assert desk.ask("POST", "/v1/jobs/file", "bob", **asked).json()["id"] != first["id"]
    assert len(desk.kept()) == 2


def test_reports_come_in_every_form(desk: Desk) -> None:
    report, _ = invent_interview()
    number = desk.send(name="talk.mp4").json()["id"]
    job = desk.service.jobs.claim()
    assert job is not None
    assert desk.service.jobs.answer(job, report)
    path = f"/v1/jobs/{number}/report"
    for form in FORMATS:
        answer = desk.ask("GET", path, params={"format": form})
        assert answer.status_code == 200, (form, answer.text)
        assert answer.headers["Content-Type"] != "application/octet-stream", form
        assert str(Path.cwd()).encode() not in answer.content
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        if answer.headers["Content-Type"] == "application/zip":
            assert zipfile.ZipFile(io.BytesIO(answer.content)).testzip() is None
            assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        else:
            assert answer.content
    kept = from_json(desk.ask("GET", path).text)
    assert to_json(kept) == to_json(from_json(to_json(report)))
    asked = {"sensitivity": "cautious", "expected_conflicts": "0.05"}
    calmer = from_json(desk.ask("GET", path, params=asked).text)
    assert calmer.config.decision.expected_conflicts == 0.05
    assert calmer.outcome_counts != kept.outcome_counts
    refused(desk.ask("GET", path, params={"format": "docx"}), 422, "invalid_request")
    for asked in ({"sensitivity": "odd"}, {"sensitivity": "nan"}, {"expected_conflicts": "nan"}):
        refused(desk.ask("GET", path, params=asked), 422, "invalid_request")


@pytest.mark.parametrize(
    ("name", "plain", "full"),
    [
        ("talk.mp4", "talk", ""),
        ("über talk.mp4", "_ber_talk", "%C3%BCber%20talk"),
        ("会話.mp4", "_", "%E4%BC%9A%E8%A9%B1"),
        ('a".mp4', "a_", "a%22"),
    ],
)
def test_a_report_is_called_as_its_film(desk: Desk, name: str, plain: str, full: str) -> None:
    number = desk.send(name=name).json()["id"]
    job = desk.service.jobs.claim()
    assert job is not None
    assert desk.service.jobs.answer(job, replace(invent_interview()[0], path=name))
    for form, ending in (("json", "json"), ("textgrid", "TextGrid"), ("eaf", "eaf")):
        answer = desk.ask("GET", f"/v1/jobs/{number}/report", params={"format": form})
        told = f'attachment; filename="{plain}.{ending}"'
        wide = f"; filename*=UTF-8''{full}.{ending}" if full else ""
        assert answer.headers["Content-Disposition"] == told + wide


def test_jobs_are_deleted_when_their_time_is_over(desk: Desk) -> None:
    number = desk.send().json()["id"]
    job = desk.service.jobs.claim()
    assert job is not None
    desk.service.jobs.answer(job, invent_interview()[0])
    assert desk.service.jobs.delete_old(60.0) == []
    time.sleep(0.01)
    assert desk.service.jobs.delete_old(0.0) == [number]
    refused(desk.ask("GET", f"/v1/jobs/{number}"), 404, "not_found")


def test_who_has_heard_the_end_of_a_stream_may_open_the_next(desk: Desk) -> None:
    number = desk.send().json()["id"]
    job = desk.service.jobs.claim()
    assert job is not None
    desk.service.jobs.answer(job, invent_interview()[0])
    statuses: list[int] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"/v1/jobs/{number}/windows",
        "query_string": b"",
        "headers": [(n.lower().encode(), v.encode()) for n, v in header("anna").items()],
    }

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def listen(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif b"event: job" in message["body"] and len(statuses) < 2:
            await desk.app({**scope}, receive, listen)

    asyncio.run(desk.app({**scope}, receive, listen))
    assert statuses == [200, 200]


def test_without_keys_only_this_machine_may_ask(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Keyring({}, KeyLimits()))
    assert desk.ask("GET", "/v1/jobs", None).status_code == 200
    for foreign in ({"Host": "evil_.test"}, {"Host": "[x"}, {"Origin": "https://evil.test"}):
        refused(desk.ask("GET", "/v1/jobs", None, headers=foreign), 403, "forbidden")
    assert desk.ask("ODD", "/v1/jobs", None).status_code == 405
    own = {"Origin": "http://127.0.0.1"}
    counted = desk.ask("GET", "/metrics", None, headers=own).text
    assert counted.count("facevoice_jobs{") == 4
    assert "ODD" not in counted
    assert 'facevoice_requests_total{method="GET",path="/v1/jobs",status="200"} 1.0' in counted
    desk.service.close()
    asked = ["--host", "0.0.0.0", "--data", str(tmp_path)]  # noqa: S104
    assert "without keys" in refused_at_start(*asked)


def test_a_fault_of_its_own_is_typed_counted_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    desk = Desk(tmp_path, Keyring({}, KeyLimits()))
    monkeypatch.setattr(desk.service.jobs, "listed", fail)
    answer = desk.ask("GET", "/v1/jobs", None)
    refused(answer, 500, "internal")
    assert "secret" not in answer.text
    counted = desk.ask("GET", "/metrics", None).text
    assert 'facevoice_requests_total{method="GET",path="/v1/jobs",status="500"} 1.0' in counted
    desk.service.close()


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    key, lines = new_key("anna")
    path = tmp_path / "keys.toml"
    path.write_text(lines + "max_minutes = 2.5\nmay_fetch = false\n")
    keys = load_keys(path, "", KeyLimits(max_jobs=7))
    user = keys.find(key)
    assert (user.name, user.limits.max_length_s, user.limits.max_jobs) == ("anna", 150.0, 7)
    assert key not in path.read_text()
    desk = Desk(tmp_path / "data", keys)
    own = {"Authorization": f"Bearer {key}"}
    asked = {"json": {"address": "https://1.1.1.1/a.mp4"}, "headers": own}
    refused(desk.ask("POST", "/v1/jobs/address", None, **asked), 403, "forbidden")
    desk.service.close()
    (documented,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    path.write_text(documented.replace("…", "0" * 64))
    assert load_keys(path, "", KeyLimits()).limits_of("anna").max_kept == 50_000
    for wrong in ("max_minutes = 'x'", "max_minutes = -1", "odd = 1", "sha256 = 'z'", "["):
        path.write_text(f"[anna]\nsha256 = '{'0' * 64}'\n{wrong}")
        with pytest.raises(ConfigError, match=r"keys\.toml"):
            load_keys(path, "", KeyLimits())
    with pytest.raises(ConfigError, match="FACEVOICE_SERVICE_KEYS"):
        load_keys(None, "anna:secret", KeyLimits())


def test_the_table_of_limits_says_what_holds() -> None:
    row = r"^\| `(\w+)` \| ([\w,]+) \| (?:`(--[\w-]+)`)? *\|"
    rows = re.findall(row, DOCS.read_text(), flags=re.MULTILINE)
    told = {name: json.loads(default.replace(",", "")) for name, default, _ in rows}
    assert told == asdict(KeyLimits())
    serve: Any = get_command(commands)
    defaults = {one.opts[0]: one.default for one in serve.commands["serve"].params}
    assert all(defaults[option] == told[name] for name, _, option in rows if option)


def refused_at_start(*asked: str) -> str:
    """What the command says, in one line."""
    told = CliRunner().invoke(commands, ["serve", "--port", "0", *asked])
    assert told.exit_code in (1, 2)
    return " ".join(told.output.split())


@pytest.mark.parametrize("written", [None, "", "# [anna]\n", "  \n"])
def test_who_names_keys_gets_no_open_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None
) -> None:
    """Of a file that was cut off, or of a variable that is empty."""
    asked = ["--data", str(tmp_path / "data")]
    path = tmp_path / "keys.toml"
    if written is None:
        monkeypatch.setenv("FACEVOICE_SERVICE_KEYS", " ")
    else:
        path.write_text(written)
        asked += ["--keys", str(path), "--host", "0.0.0.0"]  # noqa: S104
    said = refused_at_start(*asked)
    assert f"{'FACEVOICE_SERVICE_KEYS' if written is None else path}: holds no key" in said
    assert "--new-key NAME" in said
    assert not (tmp_path / "data").exists()
    assert load_keys(None, None, KeyLimits()).is_open
    key, lines = new_key("anna")
    path.write_text(lines)
    assert load_keys(path, "", KeyLimits()).find(key).name == "anna"


def test_what_keeps_it_from_starting_says_which_option_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    _, lines = new_key("anna")
    Path("keys.toml").write_text(lines)
    for data in ("file/in", "file"):
        assert "file is a file; name a folder" in refused_at_start("--data", data)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused_at_start("--port", str(port))
    assert f"127.0.0.1:{port} can't be used: " in said
    for host in ("no.such..host", "\xe9" * 80):
        said = refused_at_start("--host", host, "--keys", "keys.toml")
        assert "can't be used: " in said
        assert "Choose another --host or --port." in said
    assert "--database" in refused_at_start("--database", "mysql://a")
    assert "--isolated" in refused_at_start("--isolated")  # files always are
    pytest.importorskip("psycopg")
    secret = f"postgresql://anna:SECRET@127.0.0.1:{port}/jobs"
    said = refused_at_start("--database", secret)
    assert "--database or FACEVOICE_DATABASE names can't be used" in said
    assert "SECRET" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "keys.toml"]
