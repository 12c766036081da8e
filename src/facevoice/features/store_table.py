"""The tables of a feature store, and every statement that touches their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from facevoice.features.store_keys import FeatureKey
from facevoice.features.store_records import Row

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
