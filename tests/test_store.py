"""The store: what goes in comes out, whoever writes at the same time, dies, or spoils the file."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
import threading
from dataclasses import fields, is_dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from benchmarks.kills import kill_stores
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from facevoice.errors import StoreError
from facevoice.records import (
    AudioInfo,
    FaceView,
    MediaInfo,
    Modality,
    ModelId,
    VideoInfo,
    WindowView,
)
from facevoice.settings import AnalyzerConfig, FacesConfig
from facevoice.store import PerceptionKey, Store

FORK = multiprocessing.get_context("fork")
MODELS = {role: ModelId(role, role[0] * 64) for role in ("detector", "speech")}
MEDIA = MediaInfo(
    Path("café.mp4"),
    9.5,
    VideoInfo(640, 360, 25.0, 0.0, 90, "h264"),
    AudioInfo(44100, 2, 0.1, "aac"),
)


def key_of(number: int = 0, *, face: str = "f@1/a", voice: str = "v@1/b") -> PerceptionKey:
    names = {Modality.VIDEO: face, Modality.AUDIO: voice}
    return PerceptionKey.of(f"{number:064x}", AnalyzerConfig(), MODELS, names)


def _jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    return content.getvalue()


_PORTRAIT = _jpeg()


def _face_of(rng: np.random.Generator, person: int) -> FaceView:
    return FaceView(
        person,
        0.5,
        rng.standard_normal(8).astype(np.float32) if person else None,
        np.sort(rng.random(3)),
        rng.random((3, 4)).astype(np.float32),
        _PORTRAIT,
        rng.standard_normal(128).astype(np.float32),
        -0.5,
        None,
    )


def view_of(number: int) -> WindowView:
    rng = np.random.default_rng(number)
    return WindowView(
        start_s=2.0 * number,
        end_s=2.0 * number + 4,
        faces=tuple(_face_of(rng, person) for person in range(number % 3)),
        voice=rng.standard_normal(16).astype(np.float32),
        speech_coverage=1 / 3,
        num_faces=2,
        speech_spans_s=np.zeros((0, 2)),
        peaks=rng.random(5).astype(np.float32),
        detected_s=0.1 * number,
    )


def same(one: object, other: object) -> bool:
    """Whether two records, or values of theirs, are equal to the last bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if is_dataclass(one) and type(one) is type(other):
        names = [member.name for member in fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return one == other


def put(store: Store, key: PerceptionKey, num_windows: int, *, first: int = 0) -> None:
    with store.writer(key, MEDIA, first) as writer:
        for number in range(first, num_windows):
            writer.add(view_of(number))
        writer.finish(["cut off"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "below" / "store.db")


def test_a_perception_comes_back_as_it_was(store: Store) -> None:
    put(store, key_of(), 5)
    found = store.load(key_of())
    assert found is not None
    assert found.is_complete
    assert (found.media, found.damage) == (MEDIA, ("cut off",))
    assert all(same(view, view_of(n)) for n, view in enumerate(found.windows))
    found.windows[1].voice[0] = 3  # what comes back may be written to
    assert store.load(key_of(1)) is None


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.dtype(t) for t in ("<f4", ">f4", "<f8", ">f8")]),
        st.integers(0, 9),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_any_array_comes_back_in_this_machines_byte_order(values: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as name, Store(Path(name) / "x.db") as store:
        with store.writer(key_of(), MEDIA) as writer:
            writer.add(replace(view_of(1), voice=values))
        (view,) = store.load(key_of()).windows
    assert view.voice.shape == values.shape
    assert view.voice.dtype == values.dtype.newbyteorder("=")
    assert np.array_equal(view.voice, values)


def test_an_unfinished_one_can_be_gone_on_with(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writer(key_of(), MEDIA) as writer:
        for number in range(3):
            writer.add(view_of(number))
        raise RuntimeError
    found = store.load(key_of())
    assert found is not None
    assert not found.is_complete
    assert len(found.windows) == 3
    assert not store.has(key_of())
    put(store, key_of(), 5, first=3)
    whole = store.load(key_of())
    assert whole.is_complete
    assert [view.start_s for view in whole.windows] == [0, 2, 4, 6, 8]
    put(store, key_of(), 2)  # anew: nothing of the old one is left
    assert len(store.load(key_of()).windows) == 2


def test_what_another_process_has_finished_stays_whole(store: Store) -> None:
    with store.writer(key_of(), MEDIA) as late:
        late.add(view_of(0))
        late.commit()
        put(store, key_of(), 4)
        late.add(view_of(1))
        late.commit()  # and is killed
    found = store.load(key_of())
    assert found.is_complete
    assert found.damage == ("cut off",)
    assert len(found.windows) == 4


def test_another_content_setting_network_or_cut_is_another_perception(store: Store) -> None:
    put(store, key_of(), 1)
    others = AnalyzerConfig(faces=FacesConfig(sample_rate_hz=4))
    names = {Modality.VIDEO: "f@1/a", Modality.AUDIO: "v@1/b"}
    content = f"{0:064x}"
    models = {**MODELS, "speech": ModelId("speech", "x" * 64)}
    for key in (
        key_of(1),
        PerceptionKey.of(content, others, MODELS, names),
        PerceptionKey.of(content, AnalyzerConfig(), models, names),
        PerceptionKey.of(content, AnalyzerConfig(), MODELS, names, end_s=3.2),
        key_of(face="f@2/a"),
        key_of(voice="v@1/c"),
    ):
        assert store.load(key) is None
    # Noise in the last bits of a time does not matter.
    ends = [PerceptionKey.of(content, AnalyzerConfig(), MODELS, names, e) for e in (0.1 * 3, 0.3)]
    assert ends[0] == ends[1]


def test_one_channel_is_served_by_both_if_whole(store: Store) -> None:
    with store.writer(key_of(), MEDIA) as writer:
        writer.add(view_of(1))
    assert store.load(key_of(face="")) is None
    put(store, key_of(), 2)
    for key in (key_of(face=""), key_of(voice="")):
        assert store.has(key)
        assert len(store.load(key).windows) == 2
    put(store, key_of(face=""), 3)
    assert len(store.load(key_of(face="")).windows) == 3  # its own comes first


def test_contents_are_read_again_only_when_a_file_changes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a\udcff b.mp4"
    path.write_bytes(b"one")
    first = store.content_of(path)
    monkeypatch.setattr("facevoice.store.file_sha256", lambda _: "fresh")
    assert store.content_of(path) == first
    path.write_bytes(b"two")
    assert store.content_of(path) == "fresh"
    store.remember_source("https://x/y", "etag1", first)
    assert store.recall_source("https://x/y", "etag1") == first
    assert store.recall_source("https://x/y", "etag2") is None


def test_commits_are_synced_and_no_write_ahead_log_is_used(store: Store) -> None:
    put(store, key_of(), 1)
    with store._transaction() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert not list(store.path.parent.glob("*-wal"))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no database at all " * 99, "is not a store"), (None, "is not a store"), (99, "of version")],
)
def test_what_is_no_store_is_refused_and_left_alone(
    tmp_path: Path, content: bytes | int | None, words: str
) -> None:
    path = tmp_path / "x.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if content is not None:
            Store(path).close()
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {content}" if content else "CREATE TABLE t(a)")
        db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=words):
        Store(path)
    assert path.read_bytes() == before


def test_what_can_not_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Store(tmp_path / "none.db", must_exist=True)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file.x\.db"):
        Store(tmp_path / "file" / "x.db")


def run_all(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def write_some(path: Path, share: int) -> None:
    with Store(path) as store:
        # The first is written by all: they collide.
        for number in (0, *range(10 * share + 1, 10 * share + 6)):
            put(store, key_of(number), 4)


def test_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    codes = run_all([FORK.Process(target=write_some, args=(path, n)) for n in range(4)])
    assert codes == [0, 0, 0, 0]
    with Store(path) as store:
        for share in range(4):
            for number in (0, *range(10 * share + 1, 10 * share + 6)):
                found = store.load(key_of(number))
                assert found.is_complete
                assert all(same(view, view_of(n)) for n, view in enumerate(found.windows))


def test_threads_and_forked_children_share_a_store(store: Store) -> None:
    def work(share: int) -> None:
        for number in range(share * 5, share * 5 + 5):
            put(store, key_of(number), 2)
            assert store.load(key_of(number)).is_complete

    threads = [threading.Thread(target=work, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run_all([FORK.Process(target=put, args=(store, key_of(99), 3))]) == [0]
    assert all(store.has(key_of(number)) for number in (*range(20), 99))


def test_a_lock_held_too_long_is_named(store: Store) -> None:
    with store._transaction("IMMEDIATE"), Store(store.path, timeout_s=0.05) as other:
        with pytest.raises(StoreError, match="locked by another process"):
            put(other, key_of(), 1)
        assert other.load(key_of()) is None  # reading goes on
    put(store, key_of(), 1)


def test_nothing_reported_done_is_lost_in_ten_kills(tmp_path: Path) -> None:
    counts = kill_stores(10, tmp_path)
    assert counts["perceptions done"] > 0
    assert [counts[name] for name in ("lost", "torn", "altered")] == [0, 0, 0]


def die_while_writing(path: Path) -> None:
    store = Store(path)
    with store._transaction("IMMEDIATE") as db:
        db.execute("PRAGMA cache_size = 1")  # changed pages reach the file before the commit
        db.execute("UPDATE window SET view = zeroblob(9000)")
        os.kill(os.getpid(), signal.SIGKILL)


def test_half_a_transaction_is_undone_at_the_next_opening(store: Store) -> None:
    for number in range(20):
        put(store, key_of(number), 20)
    store.close()
    before = store.path.read_bytes()
    dead = run_all([FORK.Process(target=die_while_writing, args=(store.path,))])
    assert dead == [-signal.SIGKILL]
    assert store.path.read_bytes() != before
    with Store(store.path) as again:
        assert all(len(again.load(key_of(number)).windows) == 20 for number in range(20))


def test_flipped_bytes_are_never_data(store: Store) -> None:
    for number in range(6):
        put(store, key_of(number), 20)
    store.close()
    sound = store.path.read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        spoilt = bytearray(sound)
        for place in rng.sample(range(len(sound)), 40):
            spoilt[place] ^= 1 << rng.randrange(8)
        store.path.write_bytes(bytes(spoilt))
        try:
            with Store(store.path) as again:
                found = [again.load(key_of(number)) for number in range(6)]
        except StoreError:
            continue
        for perception in found:
            for number, view in enumerate(() if perception is None else perception.windows):
                assert same(view, view_of(number))


def test_a_damaged_window_is_missing_with_all_behind_it(store: Store) -> None:
    put(store, key_of(), 6)
    with store._transaction("IMMEDIATE") as db:
        db.execute("UPDATE window SET view = zeroblob(100) WHERE number = 4")
    found = store.load(key_of())
    assert not found.is_complete
    assert len(found.windows) == 4


def fill_disk(store: Store) -> None:
    with store._transaction() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_said_or_costs_only_the_memory(tmp_path: Path) -> None:
    strict = Store(tmp_path / "a.db")
    fill_disk(strict)
    with pytest.raises(StoreError, match="disk is full"):
        put(strict, key_of(), 2000)
    lenient = Store(tmp_path / "b.db", is_strict=False)
    fill_disk(lenient)
    put(lenient, key_of(), 2000)
    assert not lenient.has(key_of())
