"""Jobs in either database: taken in turns, answered once, begun again when their process dies."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from docs.invented_report import invent_long, invent_short

from facevoice.errors import ConfigError
from facevoice.report import to_json
from facevoice.service import KeyLimits
from facevoice.service import jobs as of_jobs
from facevoice.service.database import open_database
from facevoice.service.jobs import Job, Jobs, JobState, new_id
from facevoice.service.refusals import TooManyJobsError

Open = Callable[[], Jobs]


def _programs() -> Path | None:
    """Where Postgres keeps its programs: Debian puts them beside each other, off the path."""
    found = shutil.which("initdb") or next(
        iter(sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), reverse=True)), None
    )
    return None if found is None else Path(found).resolve().parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a Postgres of this test's own."""
    programs = _programs()
    if programs is None:
        pytest.skip("no Postgres is installed")
    root = Path(tempfile.mkdtemp(prefix="fv-pg-", dir="/tmp"))
    # Postgres doesn't run as root.
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        try:
            shutil.chown(root, pwd.getpwnam("postgres").pw_uid)
        except KeyError:
            pytest.skip("root can't run Postgres, and there is no user postgres")

    def call(name: str, *arguments: str) -> None:
        command = [str(programs / name), "-D", str(root / "db"), *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL, "cwd": root}
        subprocess.run(command, check=True, **quiet, **user)  # type: ignore[call-overload]

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    call("initdb", "-U", "facevoice", "-A", "trust", "--no-sync")
    options = f"-p {port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-w", "-l", str(root / "log"), "-o", options, "start")
    yield f"postgresql://facevoice@127.0.0.1:{port}/postgres"
    call("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(root)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the database."""
    return str(request.param)


@pytest.fixture
def opened(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the jobs as one more process would; of SQLite, after the one before has died."""
    is_shared = kind == "postgres"
    address = request.getfixturevalue("postgres") if is_shared else None
    databases = []

    def make() -> Jobs:
        if not is_shared and databases:
            databases.pop().close()
        databases.append(open_database(tmp_path, address))
        return Jobs(databases[-1])

    yield make
    with databases[-1].writing() as session:
        for table in ("facevoice_job", "facevoice_turn"):
            session.run(f"DELETE FROM {table}")  # noqa: S608 - a name of this line
    for database in databases:
        database.close()


def add(jobs: Jobs, owner: str = "anna", name: str = "a.mp4", created_s: float = 1.0) -> Job:
    job = Job(new_id(), owner, name, None, JobState.WAITING, created_s)
    return jobs.add(job, KeyLimits())


def test_owners_take_turns(opened: Open) -> None:
    jobs = opened()
    for number in range(3):
        add(jobs, "anna", f"anna-{number}", created_s=number)
    add(jobs, "bob", "bob-0", created_s=9.0)
    taken = [jobs.claim() for _ in range(5)]
    names = [job.name for job in taken if job is not None]
    assert names == ["anna-0", "bob-0", "anna-1", "anna-2"]
    # Who deletes what is done doesn't come first for that.
    for job in jobs.listed("anna"):
        jobs.delete("anna", job.id)
    add(jobs, "bob", "bob-1")
    add(jobs, "anna", "anna-3", created_s=0.0)
    following = jobs.claim()
    assert following is not None
    assert following.name == "bob-1"


def test_a_job_is_answered_once(opened: Open) -> None:
    jobs = opened()
    added = add(jobs)
    job = jobs.claim()
    assert job is not None
    assert jobs.tell(job, 0, ['{"a": 1}', '{"b": "–"}'], 4.0, 8.0)
    assert jobs.windows(job.id, -1) == [(0, '{"a": 1}'), (1, '{"b": "–"}')]
    first, _ = invent_short("match")
    assert jobs.answer(job, first)
    assert not jobs.answer(job, invent_long()[0])
    assert not jobs.tell(job, 2, ["{}"], 8.0, 8.0)
    assert to_json(jobs.report("anna", added.id)) == to_json(first)
    found = jobs.find("anna", added.id)
    assert (found.state, found.outcome, found.attempt) == (JobState.DONE, "match", 1)
    jobs.delete("anna", added.id)
    assert jobs.windows(job.id, -1) == []


def test_who_died_is_not_waited_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_jobs, "LEASE_S", -1.0)  # nobody renews it
    dead = opened()
    add(dead)
    lost = dead.claim()
    assert lost is not None
    assert dead.claim() is None  # its own process knows that it is at work
    monkeypatch.undo()
    alive = opened()
    job = alive.claim()
    assert job is not None
    assert (job.id, job.attempt) == (lost.id, 2)
    assert not alive.answer(lost, invent_short("flat")[0])  # it was the first attempt's
    assert alive.answer(job, invent_short("match")[0])
    assert alive.find("anna", job.id).outcome == "match"


def test_what_is_held_is_left_alone_and_what_is_put_back_goes_on(opened: Open) -> None:
    jobs = opened()
    add(jobs)
    job = jobs.claim()
    assert job is not None
    jobs.renew()
    assert jobs.claim() is None
    jobs.put_back(job)
    again = jobs.claim()
    assert again is not None
    assert again.attempt == 1  # ending in order is not its fault


def test_what_a_thread_stumbled_over_is_begun_again(opened: Open) -> None:
    jobs = opened()
    add(jobs)
    for attempt in (1, 2):
        job = jobs.claim()
        assert job is not None
        assert job.attempt == attempt
        jobs.let_go(job)


def test_many_who_ask_at_once_get_each_job_once(opened: Open, kind: str) -> None:
    jobs = opened()
    added = [add(jobs, f"owner-{number % 3}").id for number in range(20)]
    processes = [opened() for _ in range(3)] if kind == "postgres" else [jobs]
    with ThreadPoolExecutor(9) as pool:
        taken = list(pool.map(lambda number: processes[number % len(processes)].claim(), range(24)))
    assert sorted(job.id for job in taken if job is not None) == sorted(added)


def test_files_are_fetched_beside_the_work(opened: Open) -> None:
    jobs = opened()
    for number, owner in enumerate(("anna", "anna", "bob")):
        job = Job(new_id(), owner, "a.mp4", "https://a.test", JobState.WAITING, float(number))
        jobs.add(job, KeyLimits())
    assert jobs.claim() is None
    first, other = jobs.claim(to_fetch=True), jobs.claim(to_fetch=True)
    assert first is not None
    assert other is not None
    assert (first.owner, other.owner) == ("anna", "bob")  # of each, one at a time
    assert jobs.claim(to_fetch=True) is None
    jobs.note_fetched(first)
    jobs.let_go(first)
    job = jobs.claim()
    assert job is not None
    assert (job.id, job.address, job.attempt) == (first.id, None, 1)
    assert jobs.claim(to_fetch=True) is not None


def test_a_key_has_as_many_jobs_as_it_may(opened: Open) -> None:
    jobs = opened()
    job = add(jobs)
    one_more = replace(job, id=new_id())
    few, kept = KeyLimits(max_jobs=1), KeyLimits(max_kept=1)
    for limits in (few, kept):
        with pytest.raises(TooManyJobsError):
            jobs.add(one_more, limits)
        with pytest.raises(TooManyJobsError):
            jobs.check_room("bob", limits, num_more=1)
    jobs.add(replace(one_more, owner="bob"), few)
    taken = [jobs.claim(), jobs.claim()]
    assert all(one is not None and jobs.answer(one, invent_short("match")[0]) for one in taken)
    with pytest.raises(TooManyJobsError, match="Delete those"):
        jobs.add(replace(one_more, id=new_id()), kept)
    jobs.add(replace(one_more, id=new_id()), few)


def test_pages_of_a_list_lose_none_of_those_that_came_together(opened: Open) -> None:
    jobs = opened()
    made = [add(jobs).id for _ in range(5)]
    first = jobs.listed("anna", limit=2)
    rest = jobs.listed("anna", before=first[-1].id)
    assert [job.id for job in (*first, *rest)] == sorted(made)


def test_a_folder_is_for_one_service(tmp_path: Path) -> None:
    database = open_database(tmp_path, None)
    with pytest.raises(ConfigError, match="another service works there"):
        open_database(tmp_path, None)
    database.close()
    open_database(tmp_path, None).close()
    with pytest.raises(ConfigError, match="postgresql"):
        open_database(tmp_path, "mysql://a")
