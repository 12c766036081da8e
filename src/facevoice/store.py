"""Perceptions on disk: the only cache there is.

Analysis, resume, batches, training and the web app all keep and find here what a pass over a file
found, by its content, the settings of perception, and the backbones with their revision.

One SQLite file. Rollback journal rather than write-ahead log: SQLite 3.7.0 to 3.51.2, which most
Pythons carry, can corrupt a database when several processes write and checkpoint such a log at the
same instant (https://www.sqlite.org/wal.html#walresetbug). What was committed outlives a killed
process and a power cut. Not for network file systems, whose locks can't be relied on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from facevoice.codec import media_values, read_media, read_view, view_values
from facevoice.errors import StoreError
from facevoice.files import file_sha256
from facevoice.plain import parse_json
from facevoice.records import MediaInfo, Modality, ModelId, WindowView
from facevoice.settings import AUTO, AnalyzerConfig

_LOG = logging.getLogger(__name__)

# Counted up when decoding, tracking, cropping, resampling or a record changes what windows hold.
PERCEPTION_VERSION: Final = 4

_APPLICATION_ID: Final = 0x46565052  # "FVPR"
_SCHEMA_VERSION: Final = 1
_PAGE_BYTES: Final = 32_768
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Windows wait so long for the next commit, which costs a write to disk.
_COMMIT_EVERY_S: Final = 1.0
_SCHEMA: Final = (
    """CREATE TABLE perception(
        id INTEGER PRIMARY KEY,
        content TEXT NOT NULL,
        recipe TEXT NOT NULL,
        face TEXT NOT NULL,
        voice TEXT NOT NULL,
        head BLOB NOT NULL,
        is_complete INTEGER NOT NULL,
        UNIQUE (content, recipe, face, voice))""",
    """CREATE TABLE window(
        perception INTEGER NOT NULL REFERENCES perception(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        view BLOB NOT NULL,
        PRIMARY KEY (perception, number))""",
    # What names a file or an address, what changes when its content does, and the content.
    "CREATE TABLE source(name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, content TEXT NOT NULL)",
    # What a backbone was, for those who read embeddings without its weights.
    "CREATE TABLE backbone(id TEXT PRIMARY KEY, spec TEXT NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_AGAIN: Final = "Delete it; what it held is computed again."
_REMEDIES: Final = {
    "SQLITE_BUSY": ("is locked by another process.", "Try again when that is done."),
    "SQLITE_CORRUPT": ("is damaged.", _AGAIN),
    "SQLITE_NOTADB": ("is not a store of facevoice.", "Choose another path."),
    "SQLITE_IOERR": ("can't be read or written.", "Check that the disk has room and is sound."),
    "SQLITE_FULL": ("can't grow: the disk is full.", "Make room and run the command again."),
    "SQLITE_READONLY": ("can't be written.", "Check its permissions."),
    "SQLITE_CANTOPEN": ("can't be opened.", "Check that its folder exists and may be entered."),
}


@dataclass(frozen=True, slots=True)
class PerceptionKey:
    """What names a perception.

    content: SHA-256 of the file; recipe: stands for settings, detector, voice activity network and
    the end of the part that was read; face, voice: the backbones as id@revision/preprocessing, ""
    for none.
    """

    content: str
    recipe: str
    face: str
    voice: str

    @classmethod
    def of(
        cls,
        sha256: str,
        settings: AnalyzerConfig,
        models: Mapping[str, ModelId],
        backbones: Mapping[Modality, str],
        end_s: float | None = None,
    ) -> PerceptionKey:
        """The key of a content under these settings and networks; `end_s` as in `perceive`."""
        recipe = {
            "version": PERCEPTION_VERSION,
            "faces": asdict(settings.faces),
            "speech": asdict(settings.speech),
            "windows": asdict(settings.windows),
            # Nothing where it is found by looking: most files have but one track.
            **({} if settings.sound.track == AUTO else {"track": settings.sound.track}),
            "models": {role: models[role].sha256 for role in ("detector", "speech")},
            # Whole microseconds, so that noise in the last bits of a time does not matter.
            "end_us": None if end_s is None else round(end_s * 1e6),
        }
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        return cls(
            sha256,
            digest[:32],
            backbones.get(Modality.VIDEO, ""),
            backbones.get(Modality.AUDIO, ""),
        )


@dataclass(frozen=True, slots=True, eq=False)
class StoredPerception:
    """Windows as far as a pass came, and what the decoders complained of by then."""

    media: MediaInfo
    damage: tuple[str, ...]
    windows: tuple[WindowView, ...]
    is_complete: bool


class Store:
    """A store's file, for any number of threads and processes of one machine.

    Args:
        path: made with its folder where it is missing, unless `must_exist`.
        must_exist: a missing file is an error.
        is_strict: whether windows that can't be written are an error; else that is logged, and
            costs no more than reading the file again another time.
        timeout_s: how long to wait for others' writing.

    Raises:
        StoreError: no such file, another kind of file, of another version, damaged or locked.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        must_exist: bool = False,
        is_strict: bool = True,
        timeout_s: float = 60.0,
    ) -> None:
        self.path = Path(path)
        self.is_strict = is_strict
        self._timeout_s = timeout_s
        if must_exist and not self.path.is_file():
            raise StoreError(self.path, "does not exist.", "Make it by `facevoice data extract`.")
        self._open()

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
        """Close the file; what was committed stays."""
        if self._pid == os.getpid():
            with self._lock:
                self._db.close()

    def load(self, key: PerceptionKey) -> StoredPerception | None:
        """What is stored under a key; a complete one with a backbone more serves as well.

        A window whose bytes are damaged counts as missing, and so do all behind it.
        """
        with self._transaction() as db:
            row = db.execute(
                """SELECT id, head, is_complete FROM perception
                WHERE content = ?1 AND recipe = ?2 AND (face = ?3 OR ?3 = '')
                    AND (voice = ?4 OR ?4 = '') AND (is_complete OR (face = ?3 AND voice = ?4))
                ORDER BY is_complete DESC, face = ?3 AND voice = ?4 DESC LIMIT 1""",
                (key.content, key.recipe, key.face, key.voice),
            ).fetchone()
            if row is None:
                return None
            stored = db.execute(
                "SELECT number, view FROM window WHERE perception = ? ORDER BY number", row[:1]
            ).fetchall()
        head = _read_head(row[1])
        if head is None:
            return None
        views: list[WindowView] = []
        for number, content in stored:
            view = _read_window(content, f"{row[0]} {number}")
            if view is None or number != len(views):
                break
            if views and view.start_s <= views[-1].start_s:
                break
            views.append(view)
        is_whole = bool(row[2]) and len(views) == len(stored) > 0
        return StoredPerception(*head, tuple(views), is_whole)

    def has(self, key: PerceptionKey) -> bool:
        """Whether a perception that serves the key is stored whole."""
        with self._transaction() as db:
            row = db.execute(
                """SELECT 1 FROM perception WHERE content = ?1 AND recipe = ?2 AND is_complete
                AND (face = ?3 OR ?3 = '') AND (voice = ?4 OR ?4 = '') LIMIT 1""",
                (key.content, key.recipe, key.face, key.voice),
            ).fetchone()
        return row is not None

    @contextmanager
    def writer(
        self, key: PerceptionKey, media: MediaInfo, num_known: int = 0
    ) -> Iterator[ViewWriter]:
        """Takes the windows of a perception from number `num_known` on; all that came is kept.

        An exception ends it with what was added so far, to go on from there another time. Where
        another process has brought the same perception to its end meanwhile, it stays whole: one
        key gives the same windows to all.
        """
        writer = ViewWriter(self, key, media, num_known)
        try:
            yield writer
        finally:
            writer.commit()

    def content_of(self, path: Path) -> str:
        """SHA-256 of a file's content; read anew only where its size or times have changed.

        Raises:
            OSError: there is no such file, or it can't be read.
        """
        status = path.stat()
        fingerprint = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        name = os.fsencode(os.path.realpath(path)).hex()
        content = self.recall_source(name, fingerprint)
        if content is None:
            content = file_sha256(path)
            self.remember_source(name, fingerprint, content)
        return content

    def recall_source(self, name: str, fingerprint: str) -> str | None:
        """The content that a file or an address with this fingerprint held; None if unknown."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT content FROM source WHERE name = ? AND fingerprint = ?", (name, fingerprint)
            ).fetchone()
        is_known = row is not None and isinstance(row[0], str) and _SHA256.fullmatch(row[0])
        return row[0] if is_known else None

    def remember_source(self, name: str, fingerprint: str, content: str) -> None:
        """Note what a file or an address held."""
        with self.forgiven("The file is read again."), self._transaction("IMMEDIATE") as db:
            db.execute("REPLACE INTO source VALUES (?, ?, ?)", (name, fingerprint, content))

    def remember_backbone(self, backbone: str, spec: Mapping[str, Any]) -> None:
        """Note what a backbone of stored embeddings is."""
        with self._transaction("IMMEDIATE") as db:
            db.execute("REPLACE INTO backbone VALUES (?, ?)", (backbone, json.dumps(spec)))

    def backbones(self) -> dict[str, dict[str, Any]]:
        """What `remember_backbone` noted, by id."""
        with self._transaction() as db:
            rows = db.execute("SELECT * FROM backbone ORDER BY id").fetchall()
        try:
            specs = {str(name): parse_json(str(spec)) for name, spec in rows}
            return msgspec.convert(specs, dict[str, dict[str, Any]])
        except (ValueError, msgspec.ValidationError) as error:
            raise StoreError(self.path, *_REMEDIES["SQLITE_CORRUPT"]) from error

    def write_views(
        self,
        key: PerceptionKey,
        first: int,
        views: Sequence[WindowView],
        head: Mapping[str, Any],
        is_complete: bool,
    ) -> None:
        """Commit windows; for `ViewWriter`."""
        # All at once: of a short file, waiting for the disk would take longer than reading it.
        with self._transaction("IMMEDIATE") as db:
            number = _number_of(db, key, head)
            db.executemany(
                "REPLACE INTO window VALUES (?, ?, ?)",
                [
                    (number, place, _encode(view_values(view), f"{number} {place}"))
                    for place, view in enumerate(views, start=first)
                ],
            )
            db.execute(
                "UPDATE perception SET head = ?1, is_complete = ?2 WHERE id = ?3 "
                "AND (?2 OR NOT is_complete)",
                (_encode(head, "head"), int(is_complete), number),
            )
            if is_complete:
                db.execute(
                    "DELETE FROM window WHERE perception = ? AND number >= ?",
                    (number, first + len(views)),
                )

    def _open(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()
        with self._errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(self._db)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        # In a transaction: between two questions, another process may have made it a store.
        with _begun(db, "DEFERRED"):
            is_store = self._is_store(db)
        if not is_store:
            with _begun(db, "IMMEDIATE"):
                # Another process may have been first.
                if not self._is_store(db):
                    for statement in _SCHEMA:
                        db.execute(statement)
        # Only now: a foreign database must not be changed by asking what it is.
        db.execute("PRAGMA journal_mode = TRUNCATE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")

    def _is_store(self, db: sqlite3.Connection) -> bool:
        """True for a store of this version, False for an empty file."""
        application = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if application == _APPLICATION_ID and version == _SCHEMA_VERSION:
            # Views and triggers of others would run in place of what is asked.
            found = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master") if sql}
            if found != {sql for sql in _SCHEMA if sql.startswith("CREATE")}:
                raise StoreError(self.path, "holds other tables than a store.", _AGAIN)
            return True
        if application == _APPLICATION_ID:
            raise StoreError(
                self.path,
                f"is of version {version}, this facevoice reads {_SCHEMA_VERSION}.",
                "Use the facevoice that wrote it, or another path.",
            )
        if application or version or db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(self.path, "is not a store of facevoice.", "Choose another path.")
        return False

    @contextmanager
    def _transaction(self, mode: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """All or nothing; for one thread at a time."""
        if self._pid != os.getpid():
            self._open()  # SQLite connections don't survive a fork.
        with self._lock, self._errors(), _begun(self._db, mode):
            yield self._db

    @contextmanager
    def forgiven(self, consequence: str) -> Iterator[None]:
        """Where nobody is strict, log what can't be written; see `is_strict`."""
        try:
            yield
        except StoreError as error:
            if self.is_strict:
                raise
            _LOG.warning("%s %s", error, consequence)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            known = next((r for start, r in _REMEDIES.items() if name.startswith(start)), None)
            problem, remedy = known or ("can't be used.", "")
            raise StoreError(self.path, f"{problem} ({error})", remedy) from error
        except OSError as error:
            raise StoreError(self.path, f"can't be made ({error.strerror}).", "") from error


class ViewWriter:
    """Where the windows of one perception go, from `Store.writer`."""

    def __init__(self, store: Store, key: PerceptionKey, media: MediaInfo, first: int) -> None:
        self._store = store
        self._key = key
        self._media = media
        self._next = first
        self._held: list[WindowView] = []
        self._damage: Sequence[str] = ()
        self._last_s = time.monotonic()
        self._is_open = True

    def add(self, view: WindowView, damage: Sequence[str] = ()) -> None:
        """Take the next window, and all complaints so far."""
        if not self._is_open:
            return
        self._held.append(view)
        self._damage = damage
        if time.monotonic() - self._last_s >= _COMMIT_EVERY_S:
            self.commit()

    def commit(self) -> None:
        """Bring to disk what was added."""
        if self._held:
            self._write(is_complete=False)

    def finish(self, damage: Sequence[str] = ()) -> None:
        """That was the last window: the perception is whole."""
        self._damage = damage
        if self._is_open:
            self._write(is_complete=True)

    def _write(self, *, is_complete: bool) -> None:
        head = _head(self._media, self._damage)
        held, self._held = self._held, []
        self._is_open = False
        with self._store.forgiven("What comes now is not kept."):
            self._store.write_views(self._key, self._next, held, head, is_complete)
            self._is_open = True
        self._next += len(held)
        self._last_s = time.monotonic()


@contextmanager
def _begun(db: sqlite3.Connection, mode: str) -> Iterator[None]:
    try:
        db.execute(f"BEGIN {mode}")
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _number_of(db: sqlite3.Connection, key: PerceptionKey, head: Mapping[str, Any]) -> int:
    """The row of a perception, which is made where it is missing."""
    db.execute(
        "INSERT INTO perception(content, recipe, face, voice, head, is_complete) "
        "VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
        (key.content, key.recipe, key.face, key.voice, _encode(head, "head")),
    )
    (number,) = db.execute(
        "SELECT id FROM perception WHERE content = ? AND recipe = ? AND face = ? AND voice = ?",
        (key.content, key.recipe, key.face, key.voice),
    ).fetchone()
    return int(number)


def _head(media: MediaInfo, damage: Sequence[str]) -> dict[str, Any]:
    return {**media_values(media), "damage": list(dict.fromkeys(damage))}


def _encode(values: Mapping[str, Any], place: str) -> bytes:
    """Values as bytes behind a checksum of them and their place: damage never passes for data."""
    content = msgspec.msgpack.encode(values)
    return zlib.crc32(content, zlib.crc32(place.encode())).to_bytes(4, "little") + content


def _decode(content: object, place: str) -> Any:
    """What `_encode` made bytes of.

    Raises:
        ValueError: they are others, or damaged.
    """
    if not isinstance(content, bytes) or len(content) < 4:
        raise ValueError("no bytes")
    checksum = zlib.crc32(content[4:], zlib.crc32(place.encode()))
    if checksum != int.from_bytes(content[:4], "little"):
        raise ValueError("another checksum")
    try:
        return msgspec.msgpack.decode(content[4:])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _read_head(content: object) -> tuple[MediaInfo, tuple[str, ...]] | None:
    try:
        values = _decode(content, "head")
        media = read_media(values)
        return media, msgspec.convert(values["damage"], tuple[str, ...])
    except (ValueError, KeyError, msgspec.ValidationError):
        return None


def _read_window(content: object, place: str) -> WindowView | None:
    try:
        return read_view(_decode(content, place))
    except ValueError:
        return None
