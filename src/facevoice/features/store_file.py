"""The SQLite file under a feature store: opening, schema, transactions, errors.

Rollback journal rather than write-ahead log: SQLite 3.7.0 to 3.51.2, which most Pythons carry, can
corrupt a database when several processes write and checkpoint a write-ahead log at the same
instant (https://www.sqlite.org/wal.html#walresetbug), and such a log can't be shared between
machines. The journal is truncated and synced at each commit, so that a commit that returned
outlives both a killed process and a power cut.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from facevoice.errors import StoreError
from facevoice.features.store_table import APPLICATION_ID, SCHEMA, SCHEMA_VERSION

PAGE_BYTES: Final = 32_768  # 15 embeddings of 1024 float16 a page: about a tenth is lost
CACHE_KIB: Final = 32_768  # holds the index of some 300,000 records

_REMEDIES: Final = {
    "SQLITE_BUSY": ("is locked by another process.", "Try again, or allow a longer busy_timeout_s"),
    "SQLITE_CORRUPT": (
        "is damaged in its structure.",
        "Restore it from a copy, or delete it and extract the features again",
    ),
    "SQLITE_NOTADB": ("is not a feature store.", "Choose another path"),
    "SQLITE_FULL": ("the disk is full; nothing of this batch was kept.", "Make room"),
    "SQLITE_READONLY": ("can't be written.", "Check its permissions, or open it for writing"),
    "SQLITE_CANTOPEN": ("can't be opened.", "Check that its folder exists and may be entered"),
}


class StoreFile:
    """One connection to a store's file, usable from several threads and across a fork.

    Args:
        path: the file; made when absent, unless `read_only`.
        read_only: refuse all changes. An unfinished write that a killed process left behind is
            still undone at opening, which needs write permission.
        busy_timeout_s: how long to wait for other processes' transactions.

    Raises:
        StoreError: no feature store, of another version, damaged, locked or absent.
    """

    def __init__(self, path: Path, *, read_only: bool, busy_timeout_s: float) -> None:
        self.path = path
        self.read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._inherited: list[sqlite3.Connection] = []
        self._open()

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        with self.errors():
            mode = "rw" if self.read_only else "rwc"
            self._db = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=self._busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(self._db)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, db: sqlite3.Connection) -> None:
        # Damaged text must come back as text that matches nothing, not as an exception.
        db.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        with _transaction(db, "DEFERRED"):  # one look, not three at different moments
            is_store = self._is_store(db)
        if not is_store:
            if self.read_only:
                raise StoreError(self.path, "holds no feature store yet.", "Extract features first")
            self._create(db)
        # Only now: a foreign database must not be changed by asking what it is.
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = FULL")
        if self.read_only:
            db.execute("PRAGMA query_only = ON")

    def _is_store(self, db: sqlite3.Connection) -> bool:
        """True for a store of this version, False for an empty file."""
        application_id = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application_id == APPLICATION_ID:
            if version == SCHEMA_VERSION:
                return True
            raise StoreError(
                self.path,
                f"has schema version {version}, this facevoice reads {SCHEMA_VERSION}.",
                "Use the facevoice that wrote it, or extract the features again into a new file",
            )
        if application_id or version or db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(self.path, "is not a feature store.", "Choose another path")
        return False

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = FULL")
        with _transaction(db, "IMMEDIATE"):
            # Another process may have been first, between the look and the lock.
            if not self._is_store(db):
                for statement in SCHEMA:
                    db.execute(statement)

    @contextmanager
    def transaction(self, mode: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """All or nothing: commits at the end, rolls back on any exception.

        Raises:
            StoreError: the file is locked, damaged, full or not to be written.
        """
        with self.connection() as db, _transaction(db, mode):
            yield db

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time and outside of any transaction."""
        if self._pid != os.getpid():
            # SQLite connections don't survive a fork, and closing one here would harm the parent.
            self._inherited.append(self._db)
            self._open()
        with self._lock, self.errors():
            yield self._db

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite raises into a StoreError that names the file and the remedy."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            known = next((r for start, r in _REMEDIES.items() if name.startswith(start)), None)
            problem, remedy = known or ("can't be used.", "")
            raise StoreError(self.path, f"{problem} ({error})", remedy) from error

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        if self._pid == os.getpid():
            with self._lock:
                self._db.close()


@contextmanager
def _transaction(db: sqlite3.Connection, mode: str) -> Iterator[None]:
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
