"""Where jobs are kept: SQLite for one process, Postgres where several share them.

Both understand the statements of `jobs`, and both let one writer at a time: a transaction sees all
that those before it did.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from filelock import FileLock, Timeout

from facevoice.errors import ConfigError, FacevoiceError, MissingExtraError
from facevoice.files import write_atomically

SCHEMA_VERSION: Final = 1
# A server that is asked and is silent for so long is given up.
_SILENCE_S: Final = 20
# After one that could not be had, nobody tries again for so long: who asks should not queue up.
_PAUSE_S: Final = 2.0
# Any number will do, as long as nobody else in the database takes it.
_LOCK: Final = 0x46565351
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS facevoice_job(
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        once TEXT,
        name TEXT NOT NULL,
        address TEXT,
        state TEXT NOT NULL,
        created_s DOUBLE PRECISION NOT NULL,
        started_s DOUBLE PRECISION,
        finished_s DOUBLE PRECISION,
        attempt INTEGER NOT NULL DEFAULT 0,
        worker TEXT,
        lease_s DOUBLE PRECISION,
        duration_s DOUBLE PRECISION,
        done_s DOUBLE PRECISION NOT NULL DEFAULT 0,
        num_windows INTEGER NOT NULL DEFAULT 0,
        outcome TEXT,
        error_kind TEXT,
        error_message TEXT,
        report BYTEA,
        UNIQUE (owner, once))""",
    "CREATE INDEX IF NOT EXISTS facevoice_job_state ON facevoice_job(state, created_s)",
    "CREATE INDEX IF NOT EXISTS facevoice_job_owner ON facevoice_job(owner, created_s)",
    "CREATE INDEX IF NOT EXISTS facevoice_job_finished ON facevoice_job(finished_s)",
    # When an owner's last job was begun; kept when that is deleted, or its owner would come first.
    "CREATE TABLE IF NOT EXISTS facevoice_turn(owner TEXT PRIMARY KEY, begun_s DOUBLE PRECISION)",
    """CREATE TABLE IF NOT EXISTS facevoice_window(
        job TEXT NOT NULL REFERENCES facevoice_job(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (job, number))""",
    "CREATE TABLE IF NOT EXISTS facevoice_schema(version INTEGER PRIMARY KEY)",
)


class DatabaseError(FacevoiceError):
    """The jobs can't be read or written."""


class Session(Protocol):
    """A transaction."""

    def now_s(self) -> float:
        """Seconds since 1970, by the one clock that all processes share."""

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows that a statement gives; `?` stands for the values."""


class Database(Protocol):
    """Takes the statements of `jobs`, from any thread.

    is_alone: whether no other process has it open.
    """

    is_alone: bool

    def reading(self) -> Any:
        """A context with a `Session` that changes nothing."""

    def writing(self) -> Any:
        """A context with a `Session` that changes all or nothing, while nobody else does."""

    def close(self) -> None:
        """Give it up."""


def open_database(folder: Path, address: str | None) -> Database:
    """SQLite in the folder, or what the address names; the folder is made where it is missing.

    Raises:
        ConfigError: another kind of address; another process has the folder, or it can't be made.
        MissingExtraError: psycopg is not installed.
        DatabaseError: it can't be opened.
    """
    if address is None:
        _make_folder(folder)
        return _Sqlite(folder)
    if not address.startswith(("postgresql://", "postgres://")):
        raise ConfigError("--database: give postgresql://…, or leave it out for SQLite")
    database = _Postgres(address)
    _make_folder(folder)  # Not before: a wrong address leaves none behind.
    return database


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"--data {folder}: no folder can be made there ({reason.lower()}); name another"
        ) from error


class _Rows:
    """A transaction of SQLite."""

    _sign = "?"

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def now_s(self) -> float:
        return time.time()

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement.replace("?", self._sign), values)
        return [tuple(row) for row in self._cursor.fetchall()] if self._cursor.description else []


class _PostgresRows(_Rows):
    """A transaction of Postgres, whose clock is that of all processes."""

    _sign = "%s"

    def now_s(self) -> float:
        ((now_s,),) = self.run("SELECT extract(epoch FROM clock_timestamp())::double precision")
        return float(now_s)


def _make_tables(session: Session) -> None:
    for statement in _SCHEMA:
        session.run(statement)
    found = session.run("SELECT version FROM facevoice_schema")
    if not found:
        session.run("INSERT INTO facevoice_schema VALUES (?)", SCHEMA_VERSION)
    elif found[0][0] != SCHEMA_VERSION:
        raise ConfigError(
            f"the jobs are of version {found[0][0]}, this facevoice reads {SCHEMA_VERSION}; use "
            "the facevoice that wrote them, or another folder or database"
        )


class _Sqlite:
    """A file in the folder, which belongs to one process as long as that runs.

    Rollback journal, every commit brought to disk, for the reasons that `facevoice.store` gives.
    """

    is_alone = True

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / "lock", mode=0o600)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise ConfigError(
                f"{folder}: another service works there; give each its own --data, or let them "
                "share the jobs by --database"
            ) from error
        self._mutex = threading.RLock()
        path = folder / "jobs.db"
        if not path.exists():
            write_atomically(path, b"", is_private=True)
        with _sqlite_errors():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            # What is deleted is gone from the file too.
            self._db.execute("PRAGMA secure_delete = ON")
        with self.writing() as session:
            _make_tables(session)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self._begun("DEFERRED") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with self._begun("IMMEDIATE") as session:
            yield session

    @contextmanager
    def _begun(self, mode: str) -> Iterator[Session]:
        with self._mutex, _sqlite_errors():
            self._db.execute(f"BEGIN {mode}")
            try:
                yield _Rows(self._db.cursor())
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._mutex:
            self._db.close()
        self._lock.release()


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"the jobs can't be read or written ({error})") from error


class _Postgres:
    """One connection, made anew when it is lost; one writer at a time by an advisory lock."""

    is_alone = False

    def __init__(self, address: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtraError("Jobs in Postgres", "postgres") from error
        self._psycopg, self._address = psycopg, address
        self._mutex = threading.RLock()
        self._db: Any = None
        self._failed_at_s = -math.inf
        with self.writing() as session:
            _make_tables(session)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        with self._begun() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        with self._begun() as session:
            session.run("SELECT pg_advisory_xact_lock(?)", _LOCK)
            yield session

    @contextmanager
    def _begun(self) -> Iterator[Session]:
        error_kind = self._psycopg.Error
        with self._mutex:
            try:
                db = self._connected()
                with db.transaction(), db.cursor() as cursor:
                    yield _PostgresRows(cursor)
            except error_kind as error:
                # Neither an address nor what it says of it: both may hold a password.
                raise DatabaseError(
                    "the database that --database or FACEVOICE_DATABASE names can't be used "
                    f"({type(error).__name__}); check that it runs, and that its address names the "
                    "right host, port, user, password and database"
                ) from error

    def _connected(self) -> Any:
        """The connection; one that the server has closed meanwhile is made anew."""
        if self._db is not None and not self._db.closed:
            try:
                self._db.execute("SELECT 1")
            except self._psycopg.Error:
                self._db.close()
        if self._db is None or self._db.closed:
            if time.monotonic() - self._failed_at_s < _PAUSE_S:
                raise self._psycopg.OperationalError
            try:
                self._db = self._connect()
            except self._psycopg.Error:
                self._failed_at_s = time.monotonic()
                raise
        return self._db

    def _connect(self) -> Any:
        """A connection on which nobody is waited for without end, be it a process that hangs."""
        db = self._psycopg.connect(
            self._address,
            autocommit=True,
            connect_timeout=_SILENCE_S // 2,
            keepalives_idle=_SILENCE_S // 2,
            keepalives_interval=_SILENCE_S // 4,
            keepalives_count=2,
            tcp_user_timeout=1000 * _SILENCE_S,
        )
        for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
            db.execute(f"SET {setting} = '{_SILENCE_S}s'")
        return db

    def close(self) -> None:
        with self._mutex, suppress(self._psycopg.Error):
            if self._db is not None:
                self._db.close()
