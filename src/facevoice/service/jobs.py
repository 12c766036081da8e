"""Jobs: asked for once, worked on until they are answered, answered once, and gone in the end.

A job waits, runs, and is done or failed; one with an address is fetched before, which is a run of
its own. Who runs it holds it by a lease, which is renewed as long as the process lives; a job whose
process died, or stumbled, waits again, and what it had perceived is still there. Only who holds it
can answer it.
"""

from __future__ import annotations

import secrets
import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from facevoice.records import Report, Status
from facevoice.report import from_json, to_json
from facevoice.service.database import Database, Session
from facevoice.service.limits import KeyLimits
from facevoice.service.refusals import NotDoneError, NotFoundError, TooManyJobsError

LEASE_S: Final = 60.0
"""A process that says nothing for so long counts as dead."""
MAX_ATTEMPTS: Final = 3
"""So often is a job begun that is never brought to an end."""
_MAX_LISTED: Final = 1000
_AT_WORK: Final = "('waiting', 'running')"
_TO_ANALYSE: Final = """SELECT id FROM facevoice_job AS one
    LEFT JOIN facevoice_turn AS turn ON turn.owner = one.owner
    WHERE state = 'waiting' AND address IS NULL
    ORDER BY coalesce(turn.begun_s, 0), created_s, id LIMIT 1"""
_TO_FETCH: Final = """SELECT id FROM facevoice_job AS one
    WHERE state = 'waiting' AND address IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM facevoice_job AS other
        WHERE other.owner = one.owner AND other.state = 'running' AND other.address IS NOT NULL)
    ORDER BY created_s, id LIMIT 1"""


class JobState(StrEnum):
    """How far a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job but for its report.

    id: random, not to be guessed; owner: name of the key; name: what reports call the file;
    address: where it is to be fetched; attempt: how often it was begun; times are seconds since
    1970; duration_s, done_s: of the media.
    """

    id: str
    owner: str
    name: str
    address: str | None
    state: JobState
    created_s: float
    started_s: float | None = None
    finished_s: float | None = None
    attempt: int = 0
    duration_s: float | None = None
    done_s: float = 0.0
    num_windows: int = 0
    outcome: str | None = None
    error_kind: str | None = None
    error_message: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has its report."""
        return self.state in (JobState.DONE, JobState.FAILED)


_COLUMNS: Final = ", ".join(one.name for one in fields(Job))


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip((one.name for one in fields(Job)), row, strict=True))
    return Job(**values | {"state": JobState(values["state"])})


def new_id() -> str:
    """For a job: 128 random bits."""
    return secrets.token_hex(16)


class Jobs:
    """The jobs of a database; from any thread.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._worker = uuid.uuid4().hex
        self._lock = threading.Lock()
        # By number, what this process works on.
        self._held: dict[str, Job] = {}
        if database.is_alone:
            with database.writing() as session:
                _release(session, "worker IS NOT NULL")

    def check_room(self, owner: str, limits: KeyLimits, num_more: int = 0) -> None:
        """Refuse early what would be one too many, beside `num_more` that are yet to be added.

        Raises:
            TooManyJobsError: as many wait or run, or are kept, as may.
        """
        with self._database.reading() as session:
            _check_room(session, owner, limits, num_more)

    def add(self, job: Job, limits: KeyLimits, once: str | None = None) -> Job:
        """Let a job wait; one that was asked for before under the same `once` is that one.

        Raises:
            TooManyJobsError: as many of its owner wait or run, or are kept, as may.
        """
        with self._database.writing() as session:
            known = _find_once(session, job.owner, once)
            if known is not None:
                return known
            _check_room(session, job.owner, limits)
            session.run(
                "INSERT INTO facevoice_job(id, owner, once, name, address, state, created_s) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(job.id, job.owner, once, job.name, job.address, job.state.value, job.created_s),
            )
        return job

    def find_once(self, owner: str, once: str | None) -> Job | None:
        """The job that was asked for under this word."""
        with self._database.reading() as session:
            return _find_once(session, owner, once)

    def find(self, owner: str, number: str) -> Job:
        """A job of this owner.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.reading() as session:
            return _find(session, owner, number)

    def listed(
        self,
        owner: str,
        state: JobState | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Job]:
        """The owner's jobs, the newest first; with `before`, those that follow on that one.

        Raises:
            NotFoundError: there is no such job as `before`.
        """
        where = "owner = ?"
        values: list[str | float] = [owner]
        if state is not None:
            where, values = f"{where} AND state = ?", [owner, state.value]
        with self._database.reading() as session:
            if before is not None:
                last = _find(session, owner, before)
                where = f"{where} AND (created_s < ? OR (created_s = ? AND id > ?))"
                values += [last.created_s, last.created_s, last.id]
            rows = session.run(
                f"SELECT {_COLUMNS} FROM facevoice_job WHERE {where} "
                f"ORDER BY created_s DESC, id LIMIT {min(limit, _MAX_LISTED):d}",
                *values,
            )
        return [_job(row) for row in rows]

    def report(self, owner: str, number: str) -> Report:
        """The report of a job that is done or failed.

        Raises:
            NotFoundError: there is no such job.
            NotDoneError: it waits or runs.
        """
        with self._database.reading() as session:
            job = _find(session, owner, number)
            rows = session.run("SELECT report FROM facevoice_job WHERE id = ?", job.id)
        if not job.is_finished or rows[0][0] is None:
            told = f"The job is {job.state}: it has no report yet."
            raise NotDoneError(told, "Ask again when it is done.", 2.0)
        return from_json(zlib.decompress(rows[0][0]).decode())

    def windows(self, number: str, after: int) -> list[tuple[int, str]]:
        """The windows of a job behind number `after`, as lines of JSON, as far as they are."""
        with self._database.reading() as session:
            rows = session.run(
                "SELECT number, line FROM facevoice_window WHERE job = ? AND number > ? "
                "ORDER BY number LIMIT 500",
                number,
                after,
            )
        return [(int(place), str(line)) for place, line in rows]

    def delete(self, owner: str, number: str) -> None:
        """Delete a job with its windows and report; who works on it notices.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.writing() as session:
            _find(session, owner, number)
            session.run("DELETE FROM facevoice_job WHERE id = ?", number)

    def delete_old(self, keep_s: float) -> list[str]:
        """Delete what was done longer ago; gives the numbers of the jobs."""
        with self._database.writing() as session:
            rows = session.run(
                "DELETE FROM facevoice_job WHERE finished_s < ? RETURNING id",
                session.now_s() - keep_s,
            )
        return [str(number) for (number,) in rows]

    def exists(self, number: str) -> bool:
        """Whether there is such a job, of anybody."""
        with self._database.reading() as session:
            return bool(session.run("SELECT 1 FROM facevoice_job WHERE id = ?", number))

    def is_at_work(self, number: str) -> bool:
        """Whether there is such a job, and its file is still needed."""
        with self._database.reading() as session:
            return bool(
                session.run(
                    f"SELECT 1 FROM facevoice_job WHERE id = ? AND state IN {_AT_WORK}", number
                )
            )

    def count(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._database.reading() as session:
            rows = session.run("SELECT state, count(*) FROM facevoice_job GROUP BY state")
        return {state.value: 0 for state in JobState} | {str(s): int(n) for s, n in rows}

    def claim(self, *, to_fetch: bool = False) -> Job | None:
        """Take the next job to work on it, until `let_go`; None if none waits.

        Owners take turns: of those who wait, the one whose last job began longest ago is next. Of
        each, one file at a time is fetched.

        Args:
            to_fetch: one whose file is to be fetched first, and no other.
        """
        with self._lock:
            with self._database.writing() as session:
                self._release_lost(session)
                job = self._take(session, _TO_FETCH if to_fetch else _TO_ANALYSE)
                if job is not None and not to_fetch:
                    session.run(
                        "INSERT INTO facevoice_turn VALUES (?, ?) "
                        "ON CONFLICT (owner) DO UPDATE SET begun_s = excluded.begun_s",
                        *(job.owner, job.started_s),
                    )
            if job is not None:
                self._held[job.id] = job
        return job

    def _take(self, session: Session, which: str) -> Job | None:
        rows = session.run(which)
        now_s = session.now_s()
        taken = rows and session.run(
            "UPDATE facevoice_job SET state = 'running', attempt = attempt + 1, "
            "started_s = ?, worker = ?, lease_s = ?, done_s = 0, num_windows = 0 "
            f"WHERE id = ? RETURNING {_COLUMNS}",
            *(now_s, self._worker, now_s + LEASE_S, rows[0][0]),
        )
        return _job(taken[0]) if taken else None

    def let_go(self, job: Job) -> None:
        """Work on it no more: unless it was answered or put back, it waits again."""
        with self._lock:
            if self._held.get(job.id) is job:  # not taken anew by another thread
                del self._held[job.id]

    def _release_lost(self, session: Session) -> None:
        """Jobs of processes that are silent, and those that a thread of ours stumbled over."""
        if not self._database.is_alone:
            _release(session, "lease_s < ? AND worker <> ?", session.now_s(), self._worker)
        ours = "SELECT id FROM facevoice_job WHERE worker = ? AND state = 'running'"
        for (number,) in session.run(ours, self._worker):
            if number not in self._held:
                _release(session, "id = ?", number)

    def renew(self) -> None:
        """Say that this process lives."""
        with self._database.writing() as session:
            session.run(
                "UPDATE facevoice_job SET lease_s = ? WHERE worker = ? AND state = 'running'",
                session.now_s() + LEASE_S,
                self._worker,
            )

    def note_fetched(self, job: Job) -> None:
        """Let a job wait whose file was fetched; where from is forgotten."""
        with self._database.writing() as session:
            if self._give_back(session, job):
                session.run("UPDATE facevoice_job SET address = NULL WHERE id = ?", job.id)

    def tell(
        self, job: Job, first: int, lines: Sequence[str], done_s: float, duration_s: float | None
    ) -> bool:
        """Note the next windows of a job, and how far it is; False if it isn't ours any more."""
        with self._database.writing() as session:
            rows = session.run(
                "UPDATE facevoice_job SET done_s = ?, duration_s = ?, num_windows = ? "
                "WHERE id = ? AND worker = ? AND attempt = ? AND state = 'running' RETURNING id",
                *(done_s, duration_s, first + len(lines), job.id, self._worker, job.attempt),
            )
            for place, line in enumerate(lines if rows else (), start=first):
                session.run(
                    "INSERT INTO facevoice_window VALUES (?, ?, ?) "
                    "ON CONFLICT (job, number) DO UPDATE SET line = excluded.line",
                    *(job.id, place, line),
                )
        return bool(rows)

    def answer(self, job: Job, report: Report, count: Callable[[], None] = lambda: None) -> bool:
        """Give a job its report; False if it isn't ours any more, and so is answered by others.

        `count` is called before anybody can see that it is answered.
        """
        is_failed = report.status is Status.FAILED
        state = JobState.FAILED if is_failed else JobState.DONE
        outcome = None if report.summary is None else report.summary.outcome.value
        kind, message = (report.error.kind, report.error.message) if report.error else (None, None)
        content = zlib.compress(to_json(report, indent=None).encode(), 6)
        duration_s = None if report.media is None else report.media.duration_s
        with self._database.writing() as session:
            rows = session.run(
                "UPDATE facevoice_job SET state = ?, finished_s = ?, outcome = ?, error_kind = ?, "
                "error_message = ?, report = ?, duration_s = ?, done_s = ?, address = NULL "
                "WHERE id = ? AND worker = ? AND attempt = ? AND state = 'running' RETURNING id",
                *(state.value, session.now_s(), outcome, kind, message, content),
                *(duration_s, duration_s or 0.0, job.id, self._worker, job.attempt),
            )
            if rows:
                count()
        return bool(rows)

    def put_back(self, job: Job) -> None:
        """Let a job wait again that was not brought to its end, as of a service that ends."""
        with self._database.writing() as session:
            self._give_back(session, job)

    def _give_back(self, session: Session, job: Job) -> bool:
        """Let it wait as if this attempt had not been, if it is still ours."""
        mine = (job.id, self._worker, job.attempt)
        return bool(_release(session, "id = ? AND worker = ? AND attempt = ?", *mine, fewer=1))


def _release(
    session: Session, where: str, *values: object, fewer: int = 0
) -> list[tuple[Any, ...]]:
    """Let running jobs wait again; `fewer`: attempts that don't count."""
    return session.run(
        "UPDATE facevoice_job SET state = 'waiting', worker = NULL, lease_s = NULL, "
        f"attempt = attempt - {fewer:d} WHERE {where} AND state = 'running' RETURNING id",
        *values,
    )


def _check_room(session: Session, owner: str, limits: KeyLimits, num_more: int = 0) -> None:
    ((at_work, in_all),) = session.run(
        f"SELECT coalesce(sum(CASE WHEN state IN {_AT_WORK} THEN 1 ELSE 0 END), 0), count(*) "
        "FROM facevoice_job WHERE owner = ?",
        owner,
    )
    if at_work + num_more >= limits.max_jobs:
        told = f"{at_work} jobs of this key wait or run already; at most {limits.max_jobs} may."
        raise TooManyJobsError(told, "Wait until some are done, or delete some.", 5.0)
    if in_all + num_more >= limits.max_kept:
        told = f"{in_all} jobs of this key are kept already; at most {limits.max_kept} may be."
        raise TooManyJobsError(told, "Delete those whose reports you have.", 60.0)


def _find(session: Session, owner: str, number: str) -> Job:
    rows = session.run(
        f"SELECT {_COLUMNS} FROM facevoice_job WHERE id = ? AND owner = ?", number, owner
    )
    if not rows:
        remedy = "Check its id; jobs are deleted some time after they are done."
        raise NotFoundError("There is no such job of this key.", remedy)
    return _job(rows[0])


def _find_once(session: Session, owner: str, once: str | None) -> Job | None:
    if once is None:
        return None
    rows = session.run(
        f"SELECT {_COLUMNS} FROM facevoice_job WHERE owner = ? AND once = ?", owner, once
    )
    return _job(rows[0]) if rows else None
