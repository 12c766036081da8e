"""What names one stored embedding: content, time, backbone and preprocessing."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from facevoice.backbones.spec import Backbone
from facevoice.errors import StoreError
from facevoice.records import BoolArray, FeatureSet, FloatArray, Modality, ModelId, Window
from facevoice.settings import FacesConfig

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_US_PER_S: Final = 1_000_000
_MAX_US: Final = 2**62

# Times that occur are fractions of sample rates, frame rates and container clocks, so many lie
# exactly halfway between two microseconds (1/16000 s is 62.5 µs). Rounding from 0.618 on instead
# of 0.5 puts the border where no such fraction falls; float noise below 1 ns never crosses it.
_ROUND_UP_FROM: Final = 0.618034


@dataclass(frozen=True, slots=True, order=True)
class FeatureKey:
    """The name of one embedding of one modality (a backbone serves exactly one).

    file_sha256: of the whole media file, 64 lower-case hex digits;
    start_us, end_us: the window in whole microseconds of media time;
    backbone: id@revision;
    preprocessing: version of everything between the file's bytes and the backbone's input.

    Raises:
        ValueError: a field breaks these rules.
    """

    file_sha256: str
    start_us: int
    end_us: int
    backbone: str
    preprocessing: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.file_sha256):
            raise ValueError(f"file_sha256 is not 64 lower-case hex digits: {self.file_sha256!r}")
        if not -_MAX_US <= self.start_us <= self.end_us <= _MAX_US:
            raise ValueError(f"window out of range: {self.start_us} to {self.end_us} µs")
        if self.end_us == self.start_us:
            raise ValueError(f"window from {self.start_us} µs has no length")
        if not self.backbone or not self.preprocessing:
            raise ValueError("backbone and preprocessing must not be empty")

    @classmethod
    def at(
        cls, file_sha256: str, start_s: float, end_s: float, backbone: str, preprocessing: str
    ) -> FeatureKey:
        """Key of the window from `start_s` to `end_s`; float noise in the times does not matter.

        Raises:
            ValueError: a field breaks the rules, or a time is not finite.
        """
        return cls(file_sha256, whole_us(start_s), whole_us(end_s), backbone, preprocessing)


def whole_us(time_s: float) -> int:
    """Seconds as whole microseconds, the same for all floats within 1 ns of a media time.

    Raises:
        ValueError: `time_s` is not finite.
    """
    if not math.isfinite(time_s):
        raise ValueError(f"time is not finite: {time_s}")
    return math.floor(time_s * _US_PER_S + (1 - _ROUND_UP_FROM))


# One stored embedding as bytes with a checksum, and back; damaged bytes never pass for data.

Embedding = npt.NDArray[np.floating[Any]]

_DTYPES: Final[dict[int, np.dtype[Any]]] = {2: np.dtype("<f2"), 4: np.dtype("<f4")}
NO_EMBEDDING: Final = 0

# (item_bytes, num_tokens, checksum, bytes): the columns of the feature table after its key.
Row = tuple[int, int | None, int, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A sound record: the embedding, or None for a window known to have none."""

    embedding: Embedding | None


def encode(key: FeatureKey, embedding: Embedding | None) -> Row:
    """The row for an embedding, exactly as given.

    Args:
        key: covered by the checksum, so that a row can't pass for another's.
        embedding: float16 or float32, (D,) or (T, D), finite; None for "there is none".

    Raises:
        ValueError: another type or shape, empty, or not finite.
    """
    if embedding is None:
        return NO_EMBEDDING, None, _checksum(key, NO_EMBEDDING, None, b""), b""
    kind = _DTYPES.get(embedding.dtype.itemsize)
    if embedding.dtype.kind != "f" or kind is None:
        raise ValueError(f"embedding must be float16 or float32, not {embedding.dtype}")
    if embedding.ndim not in (1, 2) or embedding.size == 0:
        raise ValueError(f"embedding must be (D,) or (T, D) and not empty: {embedding.shape}")
    if not np.isfinite(embedding).all():
        raise ValueError(f"embedding of {key} holds values that are not finite")
    content = np.ascontiguousarray(embedding, dtype=kind).tobytes()
    num_tokens = len(embedding) if embedding.ndim == 2 else None
    return kind.itemsize, num_tokens, _checksum(key, kind.itemsize, num_tokens, content), content


def decode(key: FeatureKey, row: tuple[object, ...]) -> Record | None:
    """The record in a row of the table, writable and in this machine's byte order.

    Returns:
        None when the row is damaged: its checksum does not fit it, or does not fit the key.
    """
    item_bytes, num_tokens, checksum, content = row
    if not isinstance(item_bytes, int) or not isinstance(content, bytes):
        return None
    if not (num_tokens is None or isinstance(num_tokens, int)):
        return None
    if checksum != _checksum(key, item_bytes, num_tokens, content):
        return None
    if item_bytes == NO_EMBEDDING:
        return Record(None)
    kind = _DTYPES[item_bytes]
    values = np.frombuffer(content, kind).astype(kind.newbyteorder("="), copy=True)
    return Record(values if num_tokens is None else values.reshape(num_tokens, -1))


def _checksum(key: FeatureKey, item_bytes: int, num_tokens: int | None, content: bytes) -> int:
    head = repr(
        (
            key.file_sha256,
            key.start_us,
            key.end_us,
            key.backbone,
            key.preprocessing,
            item_bytes,
            num_tokens,
        )
    )
    return zlib.crc32(content, zlib.crc32(head.encode()))


# The SQLite file under a feature store: opening, schema, transactions, errors.
#
# Rollback journal rather than write-ahead log: SQLite 3.7.0 to 3.51.2, which most Pythons carry, can
# corrupt a database when several processes write and checkpoint a write-ahead log at the same
# instant (https://www.sqlite.org/wal.html#walresetbug), and such a log can't be shared between
# machines. The journal is truncated and synced at each commit, so that a commit that returned
# outlives both a killed process and a power cut.

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


# The tables of a feature store, and every statement that touches their rows.

APPLICATION_ID: Final = 0x46565354  # "FVST", where `file` and SQLite itself look for it
SCHEMA_VERSION: Final = 1

# Embeddings are little-endian. item_bytes 2 or 4 is float16 or float32; 0 marks a window that is
# known to have no embedding. num_tokens is NULL for a vector, T for a (T, D) matrix.
SCHEMA: Final = (
    """CREATE TABLE space(
        id INTEGER PRIMARY KEY,
        backbone TEXT NOT NULL,
        preprocessing TEXT NOT NULL,
        UNIQUE (backbone, preprocessing))""",
    """CREATE TABLE feature(
        id INTEGER PRIMARY KEY,
        file_sha256 BLOB NOT NULL,
        space INTEGER NOT NULL,
        start_us INTEGER NOT NULL,
        end_us INTEGER NOT NULL,
        item_bytes INTEGER NOT NULL,
        num_tokens INTEGER,
        checksum INTEGER NOT NULL,
        embedding BLOB NOT NULL,
        UNIQUE (file_sha256, space, start_us, end_us))""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

FIRST_ID: Final = -(2**63)

_INSERT: Final = """INSERT INTO feature(
        file_sha256, space, start_us, end_us, item_bytes, num_tokens, checksum, embedding)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (file_sha256, space, start_us, end_us) DO UPDATE SET
        item_bytes = excluded.item_bytes, num_tokens = excluded.num_tokens,
        checksum = excluded.checksum, embedding = excluded.embedding"""
_SELECT: Final = """SELECT item_bytes, num_tokens, checksum, embedding FROM feature
    WHERE file_sha256 = ? AND space = ? AND start_us = ? AND end_us = ?"""
_SELECT_AFTER: Final = """SELECT feature.id, file_sha256, start_us, end_us, backbone, preprocessing,
        item_bytes, num_tokens, checksum, embedding
    FROM feature LEFT JOIN space ON space.id = feature.space
    WHERE feature.id > ? ORDER BY feature.id LIMIT ?"""
_DELETE: Final = """DELETE FROM feature WHERE space IN (
    SELECT id FROM space WHERE backbone = ?1 AND (?2 IS NULL OR preprocessing = ?2))"""

StoredRow = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row with its key; None where damage made its columns no key."""

    id: int
    key: FeatureKey | None
    row: StoredRow


def insert(db: sqlite3.Connection, rows: Sequence[tuple[FeatureKey, Row]]) -> None:
    """Write rows within a transaction, over those of the same keys."""
    spaces = _Spaces(db)
    db.executemany(_INSERT, ((*_name(key, spaces.find_or_add(key)), *row) for key, row in rows))


def select(db: sqlite3.Connection, keys: Sequence[FeatureKey]) -> list[StoredRow | None]:
    """The rows of these keys, within a transaction; None where there is none."""
    spaces = _Spaces(db)
    rows: list[StoredRow | None] = []
    for key in keys:
        space = spaces.find(key)
        found = None if space is None else db.execute(_SELECT, _name(key, space)).fetchone()
        rows.append(found)
    return rows


def select_after(db: sqlite3.Connection, last_id: int, num_rows: int) -> list[NamedRow]:
    """Up to `num_rows` rows in order of their ids, which grow with age."""
    found = db.execute(_SELECT_AFTER, (last_id, num_rows)).fetchall()
    return [NamedRow(row[0], _key_of(*row[1:6]), row[6:]) for row in found]


def delete(db: sqlite3.Connection, backbone: str, preprocessing: str | None) -> int:
    """Delete the rows of one backbone, or of one preprocessing of it; returns how many."""
    return db.execute(_DELETE, (backbone, preprocessing)).rowcount


class _Spaces:
    """Ids of (backbone, preprocessing), remembered within one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._ids: dict[tuple[str, str], int] = {}

    def find(self, key: FeatureKey) -> int | None:
        name = (key.backbone, key.preprocessing)
        if name not in self._ids:
            row = self._db.execute(
                "SELECT id FROM space WHERE backbone = ? AND preprocessing = ?", name
            ).fetchone()
            if row is None:
                return None
            self._ids[name] = row[0]
        return self._ids[name]

    def find_or_add(self, key: FeatureKey) -> int:
        space = self.find(key)
        if space is None:
            name = (key.backbone, key.preprocessing)
            self._db.execute("INSERT INTO space(backbone, preprocessing) VALUES (?, ?)", name)
            space = self.find(key)
        if space is None:
            raise sqlite3.DatabaseError("a row written a moment ago is not found")
        return space


def _name(key: FeatureKey, space: int) -> tuple[bytes, int, int, int]:
    return bytes.fromhex(key.file_sha256), space, key.start_us, key.end_us


def _key_of(
    file_sha256: Any, start_us: Any, end_us: Any, backbone: Any, preprocessing: Any
) -> FeatureKey | None:
    try:
        return FeatureKey(file_sha256.hex(), start_us, end_us, backbone, preprocessing)
    except (ValueError, TypeError, AttributeError):
        return None


# Embeddings on disk, each extracted once: step 5's memory, for training and for analysis.

_LOG = logging.getLogger(__name__)

# A reader holds off writers' commits while it reads, so it lets go after this many rows.
_CHUNK: Final = 64


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What `FeatureStore.verify` found: sound and damaged records, and faults of the file."""

    num_sound: int
    num_damaged: int
    faults: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.num_damaged and not self.faults


class FeatureStore:
    """One file of embeddings, named by `FeatureKey`; many processes may use it at once.

    What a returned `put` or `put_many` wrote outlives a killed process and a power cut. A batch is
    there as a whole or not at all. Every record carries a checksum over its key and content; a
    damaged record is missing, never data. Threads may share a store; a forked child may go on
    using its parent's.
    """

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    @classmethod
    def open(
        cls, path: Path | str, *, read_only: bool = False, busy_timeout_s: float = 60.0
    ) -> Self:
        """Open a store, and make it when absent.

        Args:
            path: one file; SQLite puts `<path>-journal` beside it, which belongs to it.
            read_only: never change a record; the store must exist.
            busy_timeout_s: how long to wait for other processes before giving up.

        Raises:
            StoreError: absent (read-only), no feature store, of another version, or damaged.
        """
        path = Path(path)
        if read_only and not path.exists():
            raise StoreError(path, "does not exist.", "Extract features into it first")
        return cls(StoreFile(path, read_only=read_only, busy_timeout_s=busy_timeout_s))

    @property
    def read_only(self) -> bool:
        """Whether it was opened so that no record can be changed."""
        return self._file.read_only

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        self._file.close()

    def __len__(self) -> int:
        """Number of records, those of windows known to have no embedding included."""
        with self._file.connection() as db:
            return int(db.execute("SELECT count(*) FROM feature").fetchone()[0])

    def put(self, key: FeatureKey, embedding: Embedding | None) -> None:
        """Store one embedding; see `put_many`, which is much faster for several."""
        self.put_many([(key, embedding)])

    def put_many(self, items: Iterable[tuple[FeatureKey, Embedding | None]]) -> int:
        """Store a batch; on return all of it is on disk, on an exception none of it.

        Args:
            items: embeddings float16 or float32, (D,) or (T, D), kept exactly as given; None says
                that the window has none (no face, no speech), so that it is not missing any more.
                A key that is there already is overwritten.

        Returns:
            How many items were stored.

        Raises:
            ValueError: an embedding of another type or shape, or not finite.
            StoreError: read-only, locked for longer than the timeout, disk full or damaged.
        """
        # Taken whole before the lock: `items` may be a generator that runs a backbone.
        rows = [(key, encode(key, embedding)) for key, embedding in items]
        if not rows:
            return 0
        with self._file.transaction("IMMEDIATE") as db:
            insert(db, rows)
        return len(rows)

    def get(self, key: FeatureKey) -> Embedding | None:
        """The embedding (D,) or (T, D) as it was put; None when missing, damaged or put as None.

        Raises:
            StoreError: the file is locked or damaged in its structure.
        """
        return next(self.iter_many([key]))

    def get_many(self, keys: Sequence[FeatureKey]) -> tuple[Embedding, BoolArray]:
        """Embeddings of equal shape as one array.

        Returns:
            array (n, D) or (n, T, D) in the order of `keys`, rows of zeros where there is nothing,
            float16 if all that was found is, else float32; (n, 0) when nothing was found;
            mask (n,), True where there is an embedding.

        Raises:
            StoreError: embeddings differ in shape (use `iter_many`), or as for `get`.
        """
        array: Embedding | None = None
        mask = np.zeros(len(keys), dtype=np.bool_)
        for i, embedding in enumerate(self.iter_many(keys)):
            if embedding is None:
                continue
            if array is None:
                array = np.zeros((len(keys), *embedding.shape), embedding.dtype)
            if embedding.shape != array.shape[1:]:
                raise StoreError(
                    self._file.path,
                    f"embeddings of shape {array.shape[1:]} and {embedding.shape} don't fit into "
                    f"one array ({keys[i]}).",
                    "Ask for one backbone at a time; read token matrices with iter_many",
                )
            if embedding.dtype.itemsize > array.dtype.itemsize:
                array = array.astype(embedding.dtype)
            array[i] = embedding
            mask[i] = True
        return (np.zeros((len(keys), 0), np.float32) if array is None else array), mask

    def iter_many(self, keys: Iterable[FeatureKey]) -> Iterator[Embedding | None]:
        """`get` for each key in turn, as fast as `get_many` and for any shapes.

        Raises:
            StoreError: as for `get`.
        """
        for record in self._read(keys):
            yield record.embedding if record is not None else None

    def missing(self, keys: Iterable[FeatureKey]) -> list[FeatureKey]:
        """The keys that still have to be extracted, in order; records are checked, not just found.

        Raises:
            StoreError: as for `get`.
        """
        wanted = list(keys)
        return [k for k, r in zip(wanted, self._read(wanted), strict=True) if r is None]

    def keys(self) -> Iterator[FeatureKey]:
        """All keys of sound records, oldest first.

        Raises:
            StoreError: as for `get`.
        """
        return (key for key, record in self._scan() if key is not None and record is not None)

    def merge(self, other: FeatureStore) -> int:
        """Copy all sound records of another store into this one, batch by batch.

        Returns:
            How many were copied.

        Raises:
            StoreError: one of the two is locked, damaged in its structure, or can't be written.
        """
        num_copied = 0
        batch: list[tuple[FeatureKey, Embedding | None]] = []
        for key, record in other._scan():
            if key is not None and record is not None:
                batch.append((key, record.embedding))
            if len(batch) == _CHUNK:
                num_copied += self.put_many(batch)
                batch = []
        return num_copied + self.put_many(batch)

    def drop(self, backbone: str, preprocessing: str | None = None) -> int:
        """Delete what an outdated backbone (or one preprocessing of it) gave; see `compact`.

        Returns:
            How many records were deleted.
        """
        with self._file.transaction("IMMEDIATE") as db:
            return delete(db, backbone, preprocessing)

    def compact(self) -> None:
        """Give the room of dropped records back to the disk; needs as much free room meanwhile.

        Safe to kill at any moment. Other processes wait while it runs.
        """
        with self._file.connection() as db:
            db.execute("VACUUM")

    def verify(self) -> StoreCheck:
        """Read everything: the file's structure and every record's checksum.

        Raises:
            StoreError: so damaged that not all records can be reached.
        """
        with self._file.connection() as db:
            faults = tuple(str(row[0]) for row in db.execute("PRAGMA integrity_check(20)"))
        sound = [record is not None for _, record in self._scan()]
        return StoreCheck(sum(sound), len(sound) - sum(sound), faults if faults != ("ok",) else ())

    def _read(self, keys: Iterable[FeatureKey]) -> Iterator[Record | None]:
        wanted = list(keys)
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            with self._file.transaction() as db:
                rows = select(db, chunk)
            records = [decode(k, r) if r else None for k, r in zip(chunk, rows, strict=True)]
            self._warn(sum(r is not None for r in rows) - sum(r is not None for r in records))
            yield from records

    def _scan(self) -> Iterator[tuple[FeatureKey | None, Record | None]]:
        """All records by age; the record is None where damaged, and the key perhaps too."""
        last_id = FIRST_ID
        while True:
            with self._file.connection() as db:
                named = select_after(db, last_id, _CHUNK)
            if not named:
                return
            if named[-1].id <= last_id:
                raise StoreError(self._file.path, "is damaged in its structure (order of rows).")
            last_id = named[-1].id
            records = [decode(n.key, n.row) if n.key is not None else None for n in named]
            self._warn(sum(r is None for r in records))
            yield from ((n.key, r) for n, r in zip(named, records, strict=True))

    def _warn(self, num_damaged: int) -> None:
        if num_damaged:
            _LOG.warning("%s: %d damaged records count as missing", self._file.path, num_damaged)


# Step 5: one embedding per modality of a window, where the window has that modality.


def extract(
    window: Window,
    backbones: Mapping[Modality, Backbone],
    modalities: frozenset[Modality] = frozenset(Modality),
) -> FeatureSet:
    """Embed one window.

    Args:
        window: what the backbones see.
        backbones: at most one per modality.
        modalities: those with enough evidence to be worth embedding.

    Returns:
        Embeddings of the modalities that the window has, a backbone serves and `modalities` names.
    """
    embeddings: dict[Modality, FloatArray] = {}
    names: dict[Modality, str] = {}
    for modality, backbone in backbones.items():
        if modality in _present(window) & modalities:
            embeddings[modality] = backbone.embed([window])[0]
            names[modality] = backbone_id(backbone)
    return FeatureSet(window.start_s, window.end_s, embeddings, names)


def cached_extract(
    window: Window,
    file_sha256: str,
    backbones: Mapping[Modality, Backbone],
    store: FeatureStore,
    recipes: Mapping[Modality, str],
    modalities: frozenset[Modality] = frozenset(Modality),
) -> FeatureSet:
    """`extract` with a memory: what the store holds is not computed again, what it lacks is put.

    Args:
        window: what the backbones see.
        file_sha256: of the file that the window was cut from.
        backbones: at most one per modality.
        store: asked first; a read-only one is only asked.
        recipes: how the window was made, from `window_recipes`.
        modalities: those with enough evidence to be worth embedding.

    Returns:
        The same as `extract`, bit for bit, unless somebody put float16 into the store.

    Raises:
        StoreError: the store can't be read or written.
    """
    wanted = {m: b for m, b in backbones.items() if m in _present(window) & modalities}
    keys = {
        m: feature_key(file_sha256, window.start_s, window.end_s, b, recipes[m])
        for m, b in wanted.items()
    }
    found = dict(zip(keys, store.iter_many(keys.values()), strict=True))
    fresh = extract(window, {m: b for m, b in wanted.items() if found[m] is None}, modalities)
    if not store.read_only:
        store.put_many((keys[m], embedding) for m, embedding in fresh.embeddings.items())
    embeddings: dict[Modality, FloatArray] = {}
    for modality, stored in found.items():
        embeddings[modality] = (
            fresh.embeddings[modality] if stored is None else stored.astype(np.float32, copy=False)
        )
    names = {m: backbone_id(b) for m, b in wanted.items()}
    return FeatureSet(window.start_s, window.end_s, embeddings, names)


def feature_key(
    file_sha256: str, start_s: float, end_s: float, backbone: Backbone, recipe: str
) -> FeatureKey:
    """The store's key for a window of a file, known before anything is decoded.

    Raises:
        ValueError: no SHA-256, or no window.
    """
    preprocessing = f"{recipe}/{backbone.spec.preprocessing}"
    return FeatureKey.at(file_sha256, start_s, end_s, backbone_id(backbone), preprocessing)


def backbone_id(backbone: Backbone) -> str:
    """Name and revision: the first 12 hex digits of its weights' SHA-256."""
    return f"{backbone.spec.name}@{backbone.model.sha256[:12]}"


def window_recipes(faces: FacesConfig, detector: ModelId) -> dict[Modality, str]:
    """How a window's faces and samples are made, so that other settings never share embeddings.

    Count the number in a recipe up when decoding, tracking, cropping or resampling changes.
    """
    settings = json.dumps(asdict(faces), sort_keys=True).encode()
    digest = hashlib.sha256(settings).hexdigest()
    return {
        Modality.VIDEO: f"faces-1-{detector.sha256[:12]}-{digest[:12]}",
        Modality.AUDIO: "mono16k-1",
    }


def _present(window: Window) -> frozenset[Modality]:
    has = {Modality.VIDEO: window.faces is not None, Modality.AUDIO: window.samples is not None}
    return frozenset(modality for modality, present in has.items() if present)
