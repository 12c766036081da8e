"""Formats that the feature store could have had, side by side on the same rows.

Every candidate commits batches that must survive a power cut (fsync before a commit returns),
opens, and reads every row in random order. Those whose package is absent are skipped.

    python benchmarks/feature_store_candidates.py --rows 100000
"""

# ruff: noqa: PLC0415  # a candidate's package is imported where it is used: it may be absent

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np

WIDTH = 1024
BATCH = 64
NUM_WRITERS = 4


def key_of(row: int) -> bytes:
    """32 bytes that look like the hash they stand for, and 16 of times and space."""
    return np.random.default_rng(row).bytes(32) + row.to_bytes(16, "big")


class Candidate(Protocol):
    """One format."""

    def __init__(self, folder: Path) -> None: ...
    def write(self, keys: list[bytes], rows: np.ndarray) -> None:
        """Commit one batch durably."""
        ...

    def read(self, keys: list[bytes]) -> np.ndarray:
        """All rows asked for, float16 (n, WIDTH)."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class Sqlite:
    """One table of blobs; subclasses choose journal and page size."""

    journal, synchronous, page_size = "WAL", "FULL", 16384

    def __init__(self, folder: Path) -> None:
        self.db = sqlite3.connect(folder / "rows.db", timeout=120, isolation_level=None)
        self.db.execute(f"PRAGMA page_size={self.page_size}")
        self.db.execute(f"PRAGMA journal_mode={self.journal}")
        self.db.execute(f"PRAGMA synchronous={self.synchronous}")
        self.db.execute("CREATE TABLE IF NOT EXISTS f(k BLOB NOT NULL UNIQUE, v BLOB NOT NULL)")

    def write(self, keys: list[bytes], rows: np.ndarray) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        values = ((k, r.tobytes()) for k, r in zip(keys, rows, strict=True))
        self.db.executemany("INSERT OR REPLACE INTO f VALUES(?, ?)", values)
        self.db.execute("COMMIT")

    def read(self, keys: list[bytes]) -> np.ndarray:
        rows = np.empty((len(keys), WIDTH), np.float16)
        self.db.execute("BEGIN")
        for i, key in enumerate(keys):
            found = self.db.execute("SELECT v FROM f WHERE k = ?", (key,)).fetchone()
            rows[i] = np.frombuffer(found[0], np.float16)
        self.db.execute("COMMIT")
        return rows

    def close(self) -> None:
        self.db.close()


class SqliteWalNormal(Sqlite):
    """Commits may be lost by a power cut, not by a kill."""

    synchronous = "NORMAL"


class SqliteTruncate(Sqlite):
    """Rollback journal, truncated and synced at each commit."""

    journal = "TRUNCATE"


class SqliteTruncate4k(SqliteTruncate):
    """As above with SQLite's default page size."""

    page_size = 4096


class SqliteTruncate32k(SqliteTruncate):
    """As above with larger pages."""

    page_size = 32768


class Lmdb:
    """Memory-mapped B+ tree, one more dependency."""

    def __init__(self, folder: Path) -> None:
        import lmdb

        self.env = lmdb.open(str(folder), map_size=8 << 30)

    def write(self, keys: list[bytes], rows: np.ndarray) -> None:
        with self.env.begin(write=True) as txn:
            for key, row in zip(keys, rows, strict=True):
                txn.put(key, row.tobytes())

    def read(self, keys: list[bytes]) -> np.ndarray:
        rows = np.empty((len(keys), WIDTH), np.float16)
        with self.env.begin(buffers=True) as txn:
            for i, key in enumerate(keys):
                rows[i] = np.frombuffer(txn.get(key), np.float16)
        return rows

    def close(self) -> None:
        self.env.close()


class Shards:
    """One immutable file per commit, written aside, synced, renamed; an index built at opening."""

    suffix = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: dict[bytes, tuple[Path, int]] = {}
        for path in folder.glob(f"*{self.suffix}"):
            self._add(path, self._keys(path))

    def _add(self, path: Path, keys: list[bytes]) -> None:
        self.index.update((key, (path, i)) for i, key in enumerate(keys))

    def _keys(self, path: Path) -> list[bytes]:
        raise NotImplementedError

    def _save(self, path: Path, keys: list[bytes], rows: np.ndarray) -> None:
        raise NotImplementedError

    def _load(self, path: Path) -> np.ndarray:
        raise NotImplementedError

    def write(self, keys: list[bytes], rows: np.ndarray) -> None:
        name = f"{os.getpid()}-{time.monotonic_ns()}"
        part = self.folder / f"{name}.part"
        self._save(part, keys, rows)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        path = part.rename(self.folder / f"{name}{self.suffix}")
        handle = os.open(self.folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        self._add(path, keys)

    def read(self, keys: list[bytes]) -> np.ndarray:
        rows = np.empty((len(keys), WIDTH), np.float16)
        by_file: dict[Path, list[tuple[int, int]]] = {}
        for i, key in enumerate(keys):
            path, place = self.index[key]
            by_file.setdefault(path, []).append((i, place))
        for path, pairs in by_file.items():
            into, places = zip(*pairs, strict=True)
            rows[list(into)] = self._load(path)[list(places)]
        return rows

    def close(self) -> None:
        self.index.clear()


class SafetensorsShards(Shards):
    """Keys as a second tensor of each shard."""

    suffix = ".safetensors"

    def _save(self, path: Path, keys: list[bytes], rows: np.ndarray) -> None:
        from safetensors.numpy import save_file

        names = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)
        save_file({"keys": names, "rows": rows}, path)

    def _tensor(self, path: Path, name: str) -> np.ndarray:
        from safetensors import safe_open

        with safe_open(path, "np") as file:
            return file.get_tensor(name)

    def _keys(self, path: Path) -> list[bytes]:
        return [key.tobytes() for key in self._tensor(path, "keys")]

    def _load(self, path: Path) -> np.ndarray:
        return self._tensor(path, "rows")


class ParquetShards(Shards):
    """Fixed-width binary columns, no compression (noise does not compress)."""

    suffix = ".parquet"

    def _save(self, path: Path, keys: list[bytes], rows: np.ndarray) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "key": pa.array(keys, pa.binary(48)),
                "row": pa.array([r.tobytes() for r in rows], pa.binary(WIDTH * 2)),
            }
        )
        pq.write_table(table, path, compression="none", use_dictionary=False)

    def _keys(self, path: Path) -> list[bytes]:
        import pyarrow.parquet as pq

        return pq.ParquetFile(path).read(["key"])["key"].to_pylist()

    def _load(self, path: Path) -> np.ndarray:
        import pyarrow.parquet as pq

        column = pq.ParquetFile(path).read(["row"])["row"].combine_chunks()
        return np.frombuffer(column.buffers()[1], np.float16).reshape(-1, WIDTH)


CANDIDATES: tuple[type[Candidate], ...] = (
    Sqlite,
    SqliteWalNormal,
    SqliteTruncate4k,
    SqliteTruncate,
    SqliteTruncate32k,
    Lmdb,
    SafetensorsShards,
    ParquetShards,
)


def batches(first: int, stop: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
    rng = np.random.default_rng(first)
    rows = rng.standard_normal((BATCH, WIDTH)).astype(np.float16)
    for start in range(first, stop, BATCH):
        keys = [key_of(row) for row in range(start, min(start + BATCH, stop))]
        yield keys, rows[: len(keys)]


def write_all(kind: type[Candidate], folder: Path, first: int, stop: int) -> None:
    store = kind(folder)
    for keys, rows in batches(first, stop):
        store.write(keys, rows)
    store.close()


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_in_parallel(kind: type[Candidate], folder: Path, num_rows: int) -> None:
    write_all(kind, folder, num_rows, num_rows + 1)
    share = num_rows // NUM_WRITERS
    with ProcessPoolExecutor(NUM_WRITERS, get_context("spawn")) as pool:
        starts = range(0, share * NUM_WRITERS, share)
        for job in [pool.submit(write_all, kind, folder, s, s + share) for s in starts]:
            job.result()


def measure(kind: type[Candidate], num_rows: int, root: Path) -> str:
    with tempfile.TemporaryDirectory(dir=root) as name:
        folder = Path(name)
        write_s = timed(lambda: write_all(kind, folder, 0, num_rows))
        disk = sum(f.stat().st_blocks * 512 for f in folder.iterdir())
        opened: list[Candidate] = []
        open_s = timed(lambda: opened.append(kind(folder)))
        keys = [key_of(row) for row in np.random.default_rng(0).permutation(num_rows).tolist()]
        read_s = timed(lambda: opened[0].read(keys))
        opened[0].close()
    with tempfile.TemporaryDirectory(dir=root) as name:
        small = max(num_rows // 4, NUM_WRITERS)
        parallel_s = timed(lambda: write_in_parallel(kind, Path(name), small))
    return (
        f"{kind.__name__:18} {num_rows / write_s:9.0f} {small / parallel_s:9.0f} "
        f"{open_s * 1000:9.1f} {num_rows / read_s:9.0f} {disk / (num_rows * WIDTH * 2):8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dir", type=Path, help="folder on the disk to measure")
    options = parser.parse_args()
    print(f"{options.rows} rows of {WIDTH} float16, {BATCH} a commit; SQLite", end=" ")
    print(sqlite3.sqlite_version)
    print(f"{'':18} {'rows/s':>9} {'4 writers':>9} {'open ms':>9} {'reads/s':>9} {'disk/raw':>8}")
    for kind in CANDIDATES:
        try:
            print(measure(kind, options.rows, options.dir), flush=True)
        except ImportError as error:
            print(f"{kind.__name__:18} skipped: {error}")


if __name__ == "__main__":
    main()
