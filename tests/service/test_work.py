"""What becomes of jobs when something beside the file goes wrong: nothing of theirs is lost."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from facevoice.batch import AnalyzerSetup
from facevoice.records import WindowView
from facevoice.service import ServiceOptions, work
from facevoice.service import service as of_service
from facevoice.service.database import DatabaseError
from facevoice.service.jobs import Job
from facevoice.service.keys import User
from facevoice.service.limits import KeyLimits
from facevoice.service.refusals import DiskFullError, InvalidRequestError
from facevoice.service.service import Service
from facevoice.settings import AnalyzerConfig
from fake_analyzers import FakeAnalyzer
from made_reports import MATCH
from service.services import PATIENCE_S, keyring, wait_until

ANNA, BOB = User("anna", KeyLimits()), User("bob", KeyLimits())
ADDRESS = "https://1.1.1.1/good.mp4"


class Analyzer(FakeAnalyzer):
    """Finds one window; `at_work` is called before it tells of it."""

    at_work: Callable[[Path], None] = staticmethod(lambda path: None)

    def in_isolation(self) -> Analyzer:
        return self

    def stream_judge(self, *_: object, **__: object) -> Any:
        return lambda _: MATCH

    def perceive(self, path: Any, *, on_media: Any, on_view: Any, **_: object) -> SimpleNamespace:
        type(self).at_work(Path(path))
        on_media(SimpleNamespace(duration_s=4.0))
        on_view(WindowView(0.0, 4.0))
        return SimpleNamespace(path=path, sha256=None, media=None, windows=())


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    def build(setup: AnalyzerSetup) -> Analyzer:
        return Analyzer(setup)

    monkeypatch.setattr(AnalyzerSetup, "build", build)
    monkeypatch.setattr(work, "_IDLE_S", 0.01)
    monkeypatch.setattr(work, "_TELL_S", 0.0)
    made = Service(AnalyzerSetup(AnalyzerConfig()), ServiceOptions(tmp_path), keyring())
    yield made
    made.close()


def send(service: Service, user: User = ANNA) -> Job:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"film"

    job, _ = asyncio.run(service.take_file(user, "good.mp4", pieces(), None))
    return job


def finished(service: Service, job: Job) -> Job:
    wait_until(lambda: service.jobs.find(job.owner, job.id).is_finished)
    return service.jobs.find(job.owner, job.id)


@pytest.mark.parametrize(
    ("num_failures", "state", "error_kind"), [(1, "done", None), (3, "failed", "gave_up")]
)
def test_a_database_that_fails_for_a_while_costs_no_job(
    service: Service,
    num_failures: int,
    state: str,
    error_kind: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("tell", "answer"):
        monkeypatch.setattr(service.jobs, name, _fails(getattr(service.jobs, name), num_failures))
    job = send(service)
    service.start()
    found = finished(service, job)
    assert (found.state, found.error_kind) == (state, error_kind)
    assert found.attempt > num_failures
    assert len(service.jobs.windows(job.id, -1)) == 1


def _fails(call: Callable[..., Any], num_failures: int) -> Callable[..., Any]:
    left = [None] * num_failures

    def tried(*arguments: Any) -> Any:
        if left:
            left.pop()
            raise DatabaseError
        return call(*arguments)

    return tried


def test_files_of_a_job_that_another_process_took_over_are_left_to_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []

    def lose(path: Path) -> None:
        if path.parent.name == lost.id:
            kept.append(path)
            with service._database.writing() as session:
                session.run("UPDATE facevoice_job SET worker = 'another' WHERE id = ?", lost.id)

    monkeypatch.setattr(Analyzer, "at_work", lose)
    lost = send(service)
    service.start()
    finished(service, send(service, BOB))
    assert [path.read_bytes() for path in kept] == [b"film"]
    service.delete(ANNA, lost.id)
    assert not kept[0].exists()


def test_nothing_is_left_of_a_job_that_is_deleted_while_it_is_worked_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(path: Path) -> None:
        if path.parent.name == deleted.id:
            service.delete(ANNA, deleted.id)

    monkeypatch.setattr(Analyzer, "at_work", delete)
    deleted = send(service)
    service.start()
    finished(service, send(service, BOB))
    wait_until(lambda: not list((service.options.folder / "jobs").iterdir()))
    assert not service.jobs.exists(deleted.id)
    assert service.tally.num_answered == {"conflict": 1}


def test_a_job_is_counted_before_it_is_told_done(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, answer = threading.Event(), service.jobs.answer

    def answer_and_wait(*given: Any) -> bool:
        is_ours = answer(*given)
        assert told.wait(PATIENCE_S)
        return is_ours

    monkeypatch.setattr(service.jobs, "answer", answer_and_wait)
    job = send(service)
    service.start()
    finished(service, job)
    assert service.tally.num_answered == {"conflict": 1}
    told.set()


def test_what_a_killed_service_left_of_uploads_is_gone_when_it_starts(tmp_path: Path) -> None:
    upload = tmp_path / "jobs" / "0" / "media.mp4"
    upload.parent.mkdir(parents=True)
    upload.touch()
    options = ServiceOptions(tmp_path)
    first = Service(AnalyzerSetup(AnalyzerConfig()), options, keyring())
    assert not upload.exists()
    job = send(first)
    first.close()
    Service(AnalyzerSetup(AnalyzerConfig()), options, keyring()).close()
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == [job.id]


def test_a_slow_server_keeps_nobody_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes = threading.Event()

    def fetch(_: str, target: Path, *__: object, **___: object) -> None:
        assert comes.wait(PATIENCE_S)
        target.write_bytes(b"film")

    monkeypatch.setattr(work, "fetch_public", fetch)
    slow, _ = service.take_address(ANNA, ADDRESS, None)
    service.start()
    assert finished(service, send(service, BOB)).state == "done"
    assert not service.jobs.find("anna", slow.id).is_finished
    comes.set()
    found = finished(service, slow)
    assert (found.state, found.attempt, found.address) == ("done", 1, None)


def test_a_disk_that_is_full_fails_what_is_fetched(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(_: str, target: Path, *__: object, **___: object) -> None:
        target.write_bytes(b"film")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(work, "fetch_public", fetch)
    job, _ = service.take_address(ANNA, ADDRESS, None)
    service.start()
    found = finished(service, job)
    assert (found.state, found.error_kind) == ("failed", "disk_full")
    assert "no room" in str(found.error_message)


def test_an_upload_that_stalls_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"fi"
        await asyncio.Event().wait()

    monkeypatch.setattr(of_service, "_SILENCE_S", 0.05)
    with pytest.raises(InvalidRequestError, match="too slowly"):
        asyncio.run(service.take_file(ANNA, "good.mp4", pieces(), None))
    assert _left(service) == []


def test_an_upload_that_finds_no_room_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(of_service, "bring_to_disk", fail)
    with pytest.raises(DiskFullError):
        send(service)
    assert _left(service) == []
    monkeypatch.undo()
    send(service)
    assert len(_left(service)) == 1


def _left(service: Service) -> list[Path]:
    assert service.jobs.count()["waiting"] == len(service.jobs.listed("anna"))
    return list((service.options.folder / "jobs").iterdir())
