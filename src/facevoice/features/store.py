"""Embeddings on disk, each extracted once: step 5's memory, for training and for analysis."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from facevoice.errors import StoreError
from facevoice.features.store_file import StoreFile
from facevoice.features.store_keys import FeatureKey
from facevoice.features.store_records import Embedding, Record, decode, encode
from facevoice.features.store_table import FIRST_ID, delete, insert, select, select_after
from facevoice.types import BoolArray

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
