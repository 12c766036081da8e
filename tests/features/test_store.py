"""The feature store against a dictionary, many processes, kills, damaged bytes and old files."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facevoice.backbones.spec import BackboneSpec
from facevoice.errors import FacevoiceError, StoreError
from facevoice.records import Modality, ModelId, Window
from facevoice.settings import FacesConfig
from facevoice.store import (
    FeatureKey,
    FeatureStore,
    cached_extract,
    extract,
    feature_key,
    whole_us,
    window_recipes,
)

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "feature_store.py"
FORK = multiprocessing.get_context("fork")


def key_of(number: int, backbone: str = "voice@1", preprocessing: str = "p1") -> FeatureKey:
    sha256 = hashlib.sha256(str(number // 3).encode()).hexdigest()
    start_s = number % 3 * 2.0
    return FeatureKey.at(sha256, start_s, start_s + 4.0, backbone, preprocessing)


def vector(number: int, dim: int = 16, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(dim).astype(dtype)


def same(left: np.ndarray | None, right: np.ndarray | None) -> bool:
    if left is None or right is None:
        return left is right
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "features.db"


@pytest.fixture
def store(path: Path) -> Iterator[FeatureStore]:
    with FeatureStore.open(path) as opened:
        yield opened


# --- keys -----------------------------------------------------------------------------------------

CLOCKS_HZ = (1000, 1024, 12288, 12800, 15360, 16_000, 22_050, 44_100, 48_000, 90_000, 30_000 / 1001)


@given(st.sampled_from(CLOCKS_HZ), st.integers(0, 2 * 3600 * 1000), st.floats(-3e-10, 3e-10))
@settings(max_examples=300)
def test_float_noise_never_makes_two_keys(clock_hz: float, tick: int, noise_s: float) -> None:
    time_s = tick / clock_hz
    assert whole_us(time_s + noise_s) == whole_us(time_s)


def test_times_computed_in_two_ways_give_one_key() -> None:
    summed = sum([0.1] * 3)
    assert summed != 0.3
    assert FeatureKey.at("0" * 64, summed, 4, "b", "p") == FeatureKey.at("0" * 64, 0.3, 4, "b", "p")
    assert whole_us(1.000_002) == 1_000_002
    assert whole_us(-0.5) == -500_000


@pytest.mark.parametrize(
    "change",
    [
        {"file_sha256": "0" * 63},
        {"file_sha256": "G" * 64},
        {"file_sha256": "A" * 64},
        {"end_us": 0},
        {"start_us": 5_000_000},
        {"end_us": 2**63},
        {"backbone": ""},
        {"preprocessing": ""},
    ],
)
def test_a_key_that_names_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"file_sha256|window|empty"):
        replace(key_of(0), **change)


def test_times_that_are_no_times_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        FeatureKey.at("0" * 64, 0.0, float("nan"), "b", "p")


# --- against a dictionary -------------------------------------------------------------------------

KEYS = st.builds(
    key_of, st.integers(0, 11), st.sampled_from(["a@1", "a@2", "é\0@1"]), st.sampled_from("pq")
)
EMBEDDINGS = st.none() | hnp.arrays(
    st.sampled_from([np.float16, np.float32]),
    hnp.array_shapes(min_dims=1, max_dims=2, max_side=5),
    elements={"allow_nan": False, "allow_infinity": False},
)


class StoreAgainstDict(RuleBasedStateMachine):
    """Whatever is done, the store says what a dictionary says, also when opened anew."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(os.environ["FACEVOICE_TEST_FOLDER"]) / os.urandom(8).hex()
        self.folder.mkdir()
        self.store = FeatureStore.open(self.folder / "features.db")
        self.oracle: dict[FeatureKey, np.ndarray | None] = {}

    @rule(items=st.lists(st.tuples(KEYS, EMBEDDINGS), max_size=8))
    def put_many(self, items: list[tuple[FeatureKey, np.ndarray | None]]) -> None:
        assert self.store.put_many(iter(items)) == len(items)
        self.oracle.update(items)

    @rule(backbone=st.sampled_from(["a@1", "a@2"]), preprocessing=st.sampled_from([None, "p"]))
    def drop(self, backbone: str, preprocessing: str | None) -> None:
        gone = [
            k
            for k in self.oracle
            if k.backbone == backbone and preprocessing in (None, k.preprocessing)
        ]
        assert self.store.drop(backbone, preprocessing) == len(gone)
        for key in gone:
            del self.oracle[key]

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule(read_only=st.booleans())
    def open_anew(self, read_only: bool) -> None:
        self.store.close()
        with FeatureStore.open(self.folder / "features.db", read_only=read_only) as opened:
            assert set(opened.keys()) == set(self.oracle)
        self.store = FeatureStore.open(self.folder / "features.db")

    @rule(keys=st.lists(KEYS, max_size=100))
    def read(self, keys: list[FeatureKey]) -> None:
        found = list(self.store.iter_many(keys))
        assert all(same(f, self.oracle.get(k)) for k, f in zip(keys, found, strict=True))
        assert self.store.missing(keys) == [k for k in keys if k not in self.oracle]

    @precondition(lambda self: any(e is not None for e in self.oracle.values()))
    @rule(data=st.data())
    def read_one_array(self, data: st.DataObject) -> None:
        shapes = sorted({e.shape for e in self.oracle.values() if e is not None})
        shape = data.draw(st.sampled_from(shapes))
        fitting = [k for k, e in self.oracle.items() if e is None or e.shape == shape]
        wanted = data.draw(st.lists(st.sampled_from(fitting), max_size=20))
        array, mask = self.store.get_many(wanted)
        expected = [self.oracle[k] for k in wanted]
        assert mask.tolist() == [e is not None for e in expected]
        assert array.flags.c_contiguous
        assert array.shape == ((len(wanted), *shape) if mask.any() else (len(wanted), 0))
        for row, embedding in zip(array, expected, strict=True):
            assert np.array_equal(row, 0 * row if embedding is None else embedding)

    @invariant()
    def as_many(self) -> None:
        assert len(self.store) == len(self.oracle)

    def teardown(self) -> None:
        assert self.store.verify().is_sound
        self.store.close()


def test_store_against_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVOICE_TEST_FOLDER", str(tmp_path))
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        StoreAgainstDict,
        settings=settings(max_examples=25, stateful_step_count=15, deadline=None),
    )


# --- single rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(3), "float16 or float32, not float64"),
        (np.zeros(3, np.int32), "float16 or float32, not int32"),
        (np.zeros((0,), np.float32), "not empty"),
        (np.zeros((1, 2, 3), np.float32), "(T, D)"),
        (np.array([1, np.nan], np.float32), "not finite"),
        (np.array([np.inf], np.float16), "not finite"),
    ],
)
def test_one_bad_embedding_keeps_the_whole_batch_out(
    store: FeatureStore, bad: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        store.put_many([(key_of(0), vector(0)), (key_of(1), bad)])
    assert len(store) == 0


def test_a_generator_that_fails_leaves_nothing_and_no_lock(store: FeatureStore) -> None:
    def items() -> Iterator[tuple[FeatureKey, np.ndarray]]:
        yield key_of(0), vector(0)
        raise RuntimeError("backbone failed")

    with pytest.raises(RuntimeError, match="backbone failed"):
        store.put_many(items())
    assert store.missing([key_of(0)]) == [key_of(0)]
    store.put(key_of(0), vector(1))
    assert same(store.get(key_of(0)), vector(1))


def test_a_window_without_embedding_is_not_missing(store: FeatureStore) -> None:
    store.put(key_of(0), None)
    assert store.get(key_of(0)) is None
    assert store.missing([key_of(0), key_of(1)]) == [key_of(1)]


def test_what_comes_back_may_be_written_to(store: FeatureStore) -> None:
    store.put(key_of(0), vector(0))
    got = store.get(key_of(0))
    assert got is not None
    got[:] = 0
    assert same(store.get(key_of(0)), vector(0))


def test_embeddings_kept_in_another_byte_order_or_layout_are_the_same_numbers(
    store: FeatureStore,
) -> None:
    matrix = np.asfortranarray(vector(0, 12).reshape(3, 4)).astype(">f4")
    store.put(key_of(0), matrix)
    got = store.get(key_of(0))
    assert got is not None
    assert got.dtype == np.float32
    assert np.array_equal(got, matrix)


def test_arrays_of_unlike_shapes_are_refused_and_readable_one_by_one(store: FeatureStore) -> None:
    store.put_many([(key_of(0), vector(0, 4)), (key_of(1), vector(1, 5))])
    with pytest.raises(StoreError, match="iter_many"):
        store.get_many([key_of(0), key_of(1)])
    shapes = [e.shape for e in store.iter_many([key_of(0), key_of(1)]) if e is not None]
    assert shapes == [(4,), (5,)]


def test_merge_takes_what_the_other_has(store: FeatureStore, tmp_path: Path) -> None:
    store.put_many([(key_of(0), vector(0)), (key_of(1), vector(1))])
    with FeatureStore.open(tmp_path / "other.db") as other:
        other.put_many([(key_of(n), vector(n + 100)) for n in range(1, 200)])
        other.put(key_of(200), None)
        assert store.merge(other) == 200
    assert len(store) == 201
    assert same(store.get(key_of(0)), vector(0))
    assert same(store.get(key_of(1)), vector(101))
    assert store.missing([key_of(200)]) == []


def test_compact_gives_room_back(store: FeatureStore, path: Path) -> None:
    store.put_many([(key_of(n, "old@1"), vector(n, 1024)) for n in range(300)])
    store.put(key_of(0, "new@1"), vector(7))
    full = path.stat().st_size
    assert store.drop("old@1") == 300
    store.compact()
    assert path.stat().st_size < full / 5
    assert same(store.get(key_of(0, "new@1")), vector(7))


def test_commits_are_synced_and_no_write_ahead_log_is_used(store: FeatureStore, path: Path) -> None:
    with store._file.connection() as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
    store.put(key_of(0), vector(0))
    assert not path.with_name(path.name + "-wal").exists()


# --- opening --------------------------------------------------------------------------------------


def test_another_schema_version_is_named(path: Path) -> None:
    FeatureStore.open(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreError, match=r"schema version 7, this facevoice reads 1") as caught:
        FeatureStore.open(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, FacevoiceError)
    assert caught.value.kind == "store"


def make_foreign_database(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE other(x)")
    db.close()


@pytest.mark.parametrize(
    "make",
    [make_foreign_database, lambda p: p.write_bytes(b"no database at all" * 100), Path.mkdir],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_store_is_refused_and_left_alone(
    path: Path, make: Callable[[Path], object], read_only: bool
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=re.escape(str(path))):
        FeatureStore.open(path, read_only=read_only)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_reading_an_absent_or_empty_store_says_so(path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        FeatureStore.open(path, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="holds no feature store yet"):
        FeatureStore.open(path, read_only=True)
    with FeatureStore.open(path) as store:
        assert len(store) == 0


def test_a_folder_that_does_not_exist_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder exists"):
        FeatureStore.open(tmp_path / "nowhere" / "features.db")


def test_odd_names_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?mode=ro#é.db"
    with FeatureStore.open(path) as store:
        store.put(key_of(0), vector(0))
    assert path.exists()


def test_a_closed_store_says_so(path: Path) -> None:
    store = FeatureStore.open(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        len(store)


# --- several at once ------------------------------------------------------------------------------


def run_all(processes: Sequence[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def write_share(path: Path, share: int) -> None:
    with FeatureStore.open(path) as store:
        for batch in range(10):
            numbers = range(share * 100 + batch * 10, share * 100 + batch * 10 + 10)
            # Every writer writes the last ten too: they collide.
            items = [(key_of(n), vector(n)) for n in (*numbers, *range(1000, 1010))]
            store.put_many(items)


def test_four_writers_and_a_reader(path: Path) -> None:
    codes = run_all([FORK.Process(target=write_share, args=(path, s)) for s in range(4)])
    assert codes == [0, 0, 0, 0]
    numbers = [*range(400), *range(1000, 1010)]
    with FeatureStore.open(path, read_only=True) as store:
        array, mask = store.get_many([key_of(n) for n in numbers])
        assert mask.all()
        assert np.array_equal(array, [vector(n) for n in numbers])
        assert len(store) == 410
        assert store.verify().is_sound


def test_a_reader_sees_whole_batches_while_others_write(path: Path) -> None:
    FeatureStore.open(path).close()
    writer = FORK.Process(target=write_share, args=(path, 0))
    batches = [[key_of(n) for n in range(first, first + 10)] for first in range(0, 100, 10)]
    with FeatureStore.open(path, read_only=True) as store:
        writer.start()
        seen = set()
        while writer.is_alive():
            seen |= {tuple(store.get_many(batch)[1].tolist()) for batch in batches}
        writer.join()
        assert writer.exitcode == 0
        assert seen <= {(True,) * 10, (False,) * 10}
        assert not store.missing([key for batch in batches for key in batch])


def test_read_only_changes_nothing(store: FeatureStore, path: Path) -> None:
    store.put(key_of(0), vector(0))
    with FeatureStore.open(path, read_only=True) as reader:
        assert reader.read_only
        attempts: list[Callable[[], object]] = [
            lambda: reader.put(key_of(1), vector(1)),
            lambda: reader.drop("voice@1"),
            reader.compact,
        ]
        for attempt in attempts:
            with pytest.raises(StoreError, match="can't be written"):
                attempt()
        assert list(reader.keys()) == [key_of(0)]


def test_a_lock_held_too_long_is_named(store: FeatureStore, path: Path) -> None:
    with (
        store._file.transaction("IMMEDIATE"),
        FeatureStore.open(path, busy_timeout_s=0.05) as other,
    ):
        with pytest.raises(StoreError, match="locked by another process"):
            other.put(key_of(0), vector(0))
        assert other.get(key_of(0)) is None  # reading goes on
    store.put(key_of(0), vector(0))
    assert same(store.get(key_of(0)), vector(0))


def test_threads_share_a_store(store: FeatureStore) -> None:
    failures: list[int] = []

    def work(share: int) -> None:
        for n in range(share * 10, share * 10 + 10):
            store.put(key_of(n), vector(n))
            if not same(store.get(key_of(n)), vector(n)):
                failures.append(n)

    threads = [threading.Thread(target=work, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(store) == 40


def test_a_forked_child_goes_on_with_its_parents_store(store: FeatureStore) -> None:
    store.put(key_of(0), vector(0))

    def child() -> None:
        if not same(store.get(key_of(0)), vector(0)):
            raise SystemExit(3)
        store.put(key_of(1), vector(1))
        store.close()

    assert run_all([FORK.Process(target=child), FORK.Process(target=child)]) == [0, 0]
    assert same(store.get(key_of(1)), vector(1))
    store.put(key_of(2), vector(2))
    assert len(store) == 3


# --- kills ----------------------------------------------------------------------------------------


def test_nothing_reported_done_is_lost_in_twenty_kills(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--kills", "20", "--dir", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    counts = dict(re.findall(r"^([a-z ]+?) +(\d+)$", ended.stdout, re.MULTILINE))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert int(counts["batches done"]) > 0
    assert [counts[name] for name in ("lost", "torn", "altered", "faults")] == ["0"] * 4


def die_while_writing(path: Path) -> None:
    store = FeatureStore.open(path)
    with store._file.transaction("IMMEDIATE") as db:
        db.execute("PRAGMA cache_size = 1")  # changed pages reach the file before the commit
        db.execute("UPDATE feature SET embedding = zeroblob(4096), checksum = 0")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("read_only", [False, True])
def test_half_a_transaction_is_undone_at_the_next_opening(path: Path, read_only: bool) -> None:
    numbers = range(200)
    with FeatureStore.open(path) as store:
        store.put_many([(key_of(n), vector(n, 1024)) for n in numbers])
    before = path.read_bytes()
    assert run_all([FORK.Process(target=die_while_writing, args=(path,))]) == [-signal.SIGKILL]
    assert path.read_bytes() != before
    with FeatureStore.open(path, read_only=read_only) as store:
        array, mask = store.get_many([key_of(n) for n in numbers])
        assert mask.all()
        assert np.array_equal(array, [vector(n, 1024) for n in numbers])
    assert path.read_bytes() == before


# --- damage ---------------------------------------------------------------------------------------


def read_or_fail(path: Path, numbers: range) -> list[np.ndarray | None] | None:
    """All vectors as the store gives them; None when it refuses."""
    try:
        with FeatureStore.open(path, read_only=True) as store:
            return list(store.iter_many([key_of(n) for n in numbers]))
    except StoreError:
        return None


def test_flipped_bytes_are_never_data(path: Path) -> None:
    numbers = range(60)
    with FeatureStore.open(path) as store:
        store.put_many([(key_of(n), vector(n, 512)) for n in numbers])
    sound = path.read_bytes()
    rng = random.Random(0)
    # The header, the schema and index pages, where little damage does most, and all the rest.
    places = [*range(0, 110, 3), *(rng.randrange(len(sound)) for _ in range(150))]
    refused = short = 0
    for place in places:
        damaged = bytearray(sound)
        damaged[place] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        found = read_or_fail(path, numbers)
        if found is None:
            refused += 1
            continue
        short += any(f is None for f in found)
        wrong = [n for n in numbers if found[n] is not None and not same(found[n], vector(n, 512))]
        assert not wrong, f"byte {place} made wrong data"
    assert refused > 10
    assert short > 50


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_never_data(path: Path, share: float) -> None:
    numbers = range(60)
    with FeatureStore.open(path) as store:
        store.put_many([(key_of(n), vector(n, 512)) for n in numbers])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = read_or_fail(path, numbers)
    assert found is None or all(f is None or same(f, vector(n, 512)) for n, f in enumerate(found))


def test_a_damaged_record_is_missing_named_and_mended_by_putting_it_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FeatureStore.open(path) as store:
        store.put_many([(key_of(n), vector(n)) for n in range(3)])
    content = path.read_bytes()
    path.write_bytes(content.replace(vector(1).tobytes(), vector(5).tobytes()))
    with FeatureStore.open(path) as store:
        assert store.get(key_of(1)) is None
        assert "1 damaged records" in caplog.text
        array, mask = store.get_many([key_of(n) for n in range(3)])
        assert mask.tolist() == [True, False, True]
        assert not array[1].any()
        assert store.missing([key_of(n) for n in range(3)]) == [key_of(1)]
        check = store.verify()
        assert (check.num_sound, check.num_damaged, check.is_sound) == (2, 1, False)
        store.put(key_of(1), vector(1))
        assert store.verify().is_sound


def test_a_row_moved_to_another_key_is_damaged(path: Path) -> None:
    with FeatureStore.open(path) as store:
        store.put(key_of(0), vector(0))
    db = sqlite3.connect(path)
    db.execute("UPDATE feature SET start_us = start_us + 1000000")
    db.commit()
    db.close()
    moved = replace(key_of(0), start_us=key_of(0).start_us + 1_000_000)
    with FeatureStore.open(path) as store:
        assert store.get(moved) is None
        assert list(store.keys()) == []


# --- cached_extract -------------------------------------------------------------------------------


class CountingBackbone:
    """Embeds the mean of what it sees, and counts how often it is asked."""

    def __init__(self, modality: Modality, sha256: str = "ab" * 32) -> None:
        self.spec = BackboneSpec(f"mean-{modality}", modality, 4, "none", (), "mean-1")
        self.model = ModelId(self.spec.name, sha256)
        self.num_calls = 0

    def embed(self, windows: Sequence[Window]) -> np.ndarray:
        self.num_calls += 1
        seen = [w.faces if self.spec.modality is Modality.VIDEO else w.samples for w in windows]
        return np.array([[np.mean(s) / 3] * 4 for s in seen if s is not None], np.float32)


@pytest.fixture
def backbones() -> dict[Modality, CountingBackbone]:
    return {modality: CountingBackbone(modality) for modality in Modality}


def make_window(*, faces: bool = True, samples: bool = True) -> Window:
    rng = np.random.default_rng(0)
    return Window(
        start_s=2.0,
        end_s=6.0,
        faces=rng.integers(0, 255, (3, 8, 8, 3), np.uint8) if faces else None,
        samples=rng.standard_normal(100).astype(np.float32) if samples else None,
        face_coverage=1.0,
        speech_coverage=1.0,
    )


SHA256 = "12" * 32
DETECTOR = ModelId("mtcnn", "cd" * 32)
RECIPES = window_recipes(FacesConfig(), DETECTOR)


def test_what_is_stored_is_not_computed_again(
    store: FeatureStore, backbones: dict[Modality, CountingBackbone]
) -> None:
    window = make_window()
    plain = extract(window, backbones)
    for _ in range(3):
        cached = cached_extract(window, SHA256, backbones, store, RECIPES)
        assert cached.backbones == plain.backbones
        assert cached.embeddings.keys() == plain.embeddings.keys()
        assert all(same(cached.embeddings[m], plain.embeddings[m]) for m in Modality)
    assert [b.num_calls for b in backbones.values()] == [2, 2]  # plain and the first cached


def test_a_row_already_there_saves_its_modality_only(
    store: FeatureStore, backbones: dict[Modality, CountingBackbone]
) -> None:
    audio = backbones[Modality.AUDIO]
    key = feature_key(SHA256, 2.0, 6.0, audio, RECIPES[Modality.AUDIO])
    store.put(key, np.full(4, 0.5, np.float16))
    features = cached_extract(make_window(), SHA256, backbones, store, RECIPES)
    assert same(features.embeddings[Modality.AUDIO], np.full(4, 0.5, np.float32))
    assert (backbones[Modality.VIDEO].num_calls, audio.num_calls) == (1, 0)


def test_modalities_without_evidence_are_neither_computed_nor_stored(
    store: FeatureStore, backbones: dict[Modality, CountingBackbone]
) -> None:
    silent = cached_extract(make_window(samples=False), SHA256, backbones, store, RECIPES)
    assert set(silent.embeddings) == {Modality.VIDEO}
    only_audio = frozenset({Modality.AUDIO})
    masked = cached_extract(
        make_window(faces=False, samples=False), SHA256, backbones, store, RECIPES, only_audio
    )
    assert not masked.embeddings
    assert len(store) == 1


def test_other_settings_weights_or_files_never_share_rows(
    store: FeatureStore, backbones: dict[Modality, CountingBackbone]
) -> None:
    window = make_window()
    cached_extract(window, SHA256, backbones, store, RECIPES)
    other_crops = window_recipes(FacesConfig(crop_px=112), DETECTOR)
    other_detector = window_recipes(FacesConfig(), ModelId("mtcnn", "ef" * 32))
    for recipes in (other_crops, other_detector):
        cached_extract(window, SHA256, backbones, store, recipes)
    assert [backbones[m].num_calls for m in (Modality.VIDEO, Modality.AUDIO)] == [3, 1]
    cached_extract(window, "34" * 32, backbones, store, RECIPES)
    newer = {m: CountingBackbone(m, "99" * 32) for m in Modality}
    cached_extract(window, SHA256, newer, store, RECIPES)
    assert [b.num_calls for b in newer.values()] == [1, 1]
    assert len(store) == 4 + 2 + 2


def test_a_read_only_store_is_asked_but_not_written(
    store: FeatureStore, path: Path, backbones: dict[Modality, CountingBackbone]
) -> None:
    with FeatureStore.open(path, read_only=True) as reader:
        features = cached_extract(make_window(), SHA256, backbones, reader, RECIPES)
    assert set(features.embeddings) == set(Modality)
    assert len(store) == 0
