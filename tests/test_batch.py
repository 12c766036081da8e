"""Many files: failing, in parallel, killed, over a cluster; always the same reports."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from benchmarks.long_videos import repeat_video

from facevoice.batch import (
    AnalyzerSetup,
    BatchPlan,
    Progress,
    analyze_files,
    analyze_paths,
)
from facevoice.errors import ConfigError, EmptyMediaError, MediaNotFoundError, StoreError
from facevoice.finding import find_media
from facevoice.records import MediaInfo, ModelId, Report, Status, WindowView
from facevoice.report import to_json
from facevoice.settings import AnalyzerConfig, WindowConfig
from facevoice.store import Store
from file_server import FileServer
from made_reports import MATCH, decided

EXAMPLES = Path(__file__).parent.parent / "examples"
SETUP = AnalyzerSetup(AnalyzerConfig())


class ScriptedAnalyzer:
    """Fails on files by what their name says, reports all others."""

    config = AnalyzerConfig(windows=WindowConfig(length_s=2.0, hop_s=1.0))
    models: ClassVar = {"voice": ModelId("v", "0" * 64)}

    def perceive(
        self,
        path: str | Path,
        *,
        on_media: Callable[[MediaInfo], None],
        on_view: Callable[[WindowView], None],
        **_: object,
    ) -> SimpleNamespace:
        path = Path(path)
        if not path.exists():
            raise MediaNotFoundError(path, "no such file.")
        if "empty" in path.name:
            raise EmptyMediaError(path, "the file is empty.")
        if "crash" in path.name:
            raise RuntimeError("boom")
        on_media(MediaInfo(path, 1.0, None, None))
        on_view(WindowView(0.0, 1.5))
        return SimpleNamespace(path=path, sha256=None)

    def interpret(self, perception: SimpleNamespace, **_: object) -> Report:
        return decided(MATCH, path=str(perception.path))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_failing_files_are_reported_and_the_rest_still_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["empty.mp4", "good1.mp4", "crash.mp4", "good2.mp4"]
    touch(*(tmp_path / name for name in names))
    folder = tmp_path / "nothing_here"
    folder.mkdir()
    paths = [tmp_path / "gone.mp4", folder, *(tmp_path / name for name in names)]
    with caplog.at_level(logging.ERROR, logger="facevoice"):
        reports = list(analyze_paths(paths, ScriptedAnalyzer()))
    assert [report.path for report in reports] == [str(path) for path in paths]
    kinds = [None if report.error is None else report.error.kind for report in reports]
    assert kinds == [
        "media_not_found",
        "media_not_found",
        "empty_media",
        None,
        "internal",
        None,
    ]
    assert [r.status is Status.FAILED for r in reports] == [k is not None for k in kinds]
    assert "holds no media file" in reports[1].error.message
    assert "RuntimeError: boom" in reports[4].error.message
    assert all(report.config == ScriptedAnalyzer.config for report in reports if report.error)
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError]


def test_interruption_is_not_taken_for_a_failing_file(tmp_path: Path) -> None:
    class Interrupted(ScriptedAnalyzer):
        def perceive(self, path: str | Path, **_: object) -> SimpleNamespace:
            raise KeyboardInterrupt

    touch(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        list(analyze_paths([tmp_path], Interrupted()))


def test_progress_names_file_and_seconds(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    clip = make_clip("clip.mp4", duration_s=1.0)
    seen: list[Progress] = []
    paths = [tmp_path / "gone.mp4", clip]
    list(analyze_paths(paths, ScriptedAnalyzer(), seen.append))
    assert seen[0] == Progress(str(paths[0]), 0, 2, 0.0, None, 0.0)
    of_clip = [(p.path, p.num_done, p.done_s) for p in seen[1:]]
    assert of_clip == [(str(clip), 1, 0.0), (str(clip), 1, 1.5)]
    assert seen[-1].duration_s == 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films, the same one twice, and three files that are broken in ways of their own."""
    root = tmp_path_factory.mktemp("batch")
    shutil.copy(EXAMPLES / "smile_glad_voice.mp4", root / "a.mp4")
    shutil.copy(EXAMPLES / "smile_frightened_voice.mp4", root / "b.mp4")
    (root / "copies").mkdir()
    shutil.copy(root / "a.mp4", root / "copies" / "again.mp4")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a film " * 100)
    content = (root / "b.mp4").read_bytes()
    (root / "zcut.mp4").write_bytes(content[: len(content) // 2])
    return root


@pytest.fixture(scope="module")
def serial(folder: Path) -> list[str]:
    results = analyze_files(find_media([folder]), BatchPlan(SETUP, jobs=1))
    return [to_json(result.report) for result in results]


def test_parallel_gives_what_serial_gives_in_order(folder: Path, serial: list[str]) -> None:
    plan = BatchPlan(SETUP, jobs=2)
    results = list(analyze_files(find_media([folder]), plan))
    assert [to_json(result.report) for result in results] == serial
    errors = [None if r.report.error is None else r.report.error.kind for r in results]
    assert errors == [None, None, None, "empty_media", "unreadable_media", None]
    assert results[5].report.status == "truncated"


def test_processes_share_a_store_and_do_nothing_twice(
    folder: Path, serial: list[str], tmp_path: Path
) -> None:
    plan = BatchPlan(SETUP, jobs=2, store=tmp_path / "store.db")
    first = list(analyze_files(find_media([folder]), plan))
    assert [to_json(result.report) for result in first] == serial
    again = list(analyze_files(find_media([folder]), plan))
    # All but the two that are no media.
    assert [result.known for result in again] == [True, True, True, False, False, True]
    assert [to_json(result.report) for result in again] == serial
    anew = BatchPlan(SETUP, jobs=1, store=tmp_path / "store.db", again=True)
    assert not any(result.known for result in analyze_files([folder / "a.mp4"], anew))


@pytest.mark.parametrize(
    ("settings", "words"), [({"backend": "moon"}, "known: local, ray"), ({"jobs": 0}, "at least 1")]
)
def test_wrong_plans_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BatchPlan(SETUP, **settings)  # type: ignore[arg-type]


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facevoice", "analyze", str(folder), "--out", str(out)]
    command += ["--jobs", "2", "--quiet", "--window", "4"]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, start_new_session=True)


def num_windows(path: Path) -> int:
    """How many windows a store holds that another process writes."""
    if not path.is_file() or not path.stat().st_size:
        return 0
    try:
        with Store(path) as store, store._transaction() as db:
            return int(db.execute("SELECT count(*) FROM window").fetchone()[0])
    except StoreError:
        return 0  # being made


def test_a_killed_batch_goes_on_within_a_file(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number, name in enumerate(("smile_glad_voice", "smile_frightened_voice"), start=1):
        repeat_video(EXAMPLES / f"{name}.mp4", films / f"film{number}.mp4", number + 1)
    process = start(films, tmp_path / "out")
    store = tmp_path / "out" / ".facevoice.db"
    # Whether the fourth window comes before the end is up to the machine; nothing below is.
    while process.poll() is None and num_windows(store) < 4:
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    reported = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    done = start(films, tmp_path / "out")
    assert done.communicate(timeout=300)[1] == ""
    assert done.returncode == 0
    fresh = start(films, tmp_path / "fresh")
    fresh.communicate(timeout=300)
    for name in ("film1.json", "film2.json", "film1.csv", "windows.csv", "moments.csv"):
        expected = (tmp_path / "fresh" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == expected
    assert all(path.read_bytes() == content for path, content in reported.items())
    windows = json.loads((tmp_path / "out" / "film2.json").read_text())["windows"]
    assert len(windows) == 7  # of three times 5.1 s


def test_what_is_secret_in_an_address_is_shown_to_nobody(tmp_path: Path) -> None:
    url = "http://me:hidden@127.0.0.1:9/film.mp4?token=hidden"
    seen: list[Progress] = []
    told: list[str] = []
    plan = BatchPlan(SETUP, jobs=1, store=tmp_path / "store.db")
    (result,) = analyze_files(
        [url], plan, on_progress=seen.append, on_window=lambda path, _: told.append(path)
    )
    assert result.report.path == "http://127.0.0.1:9/film.mp4"
    assert seen
    assert "hidden" not in f"{seen} {told} {to_json(result.report)}"


def test_a_lone_file_over_a_cluster_needs_no_analyzer_here() -> None:
    assert BatchPlan(SETUP).works_here(1)
    assert not BatchPlan(SETUP, backend="ray").works_here(1)
    assert not BatchPlan(SETUP, jobs=2).works_here(2)
    assert BatchPlan(SETUP, jobs=2).works_here(1)


@pytest.mark.parametrize(
    ("num_files", "cpus", "jobs"), [(127, 64, 63), (3, 64, 1), (1, 2, 1), (200, 64, 64)]
)
def test_processes_are_as_many_as_pay(
    monkeypatch: pytest.MonkeyPatch, num_files: int, cpus: int, jobs: int
) -> None:
    """127 files on 64 processors got one process."""
    monkeypatch.setattr("facevoice.batch.num_cpus", lambda: cpus)
    assert BatchPlan(SETUP).num_jobs(num_files) == jobs


def test_a_store_that_can_not_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = BatchPlan(SETUP, jobs=1, store=tmp_path / "file" / "store.db")
    with pytest.raises(StoreError, match="can't be made"):
        list(analyze_files([EXAMPLES / "smile_frightened_voice.mp4"], plan))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray_cluster import ray_cluster

    with ray_cluster(1) as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films, two of which are broken."""
    root = tmp_path_factory.mktemp("films")
    for number in range(4):
        name = "smile_glad_voice" if number % 2 else "smile_frightened_voice"
        content = (EXAMPLES / f"{name}.mp4").read_bytes()
        box = b"\x00\x00\x00\x09free" + bytes([number])  # read by nobody, makes another content
        (root / f"film{number}.mp4").write_bytes(content + box)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a film " * 100)
    return root


@pytest.fixture(scope="module")
def films_serial(films: Path) -> list[str]:
    results = analyze_files(find_media([films]), BatchPlan(SETUP, jobs=1))
    return [to_json(result.report) for result in results]


@pytest.mark.usefixtures("no_hang")
def test_a_machine_dies_and_the_reports_are_the_same(
    cluster: Any, films: Path, films_serial: list[str], tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    plan = BatchPlan(SETUP, store=tmp_path / "store.db", backend="ray", address=cluster.address)

    def kill() -> None:
        # The first report is there, so both machines are at work.
        deadline = time.monotonic() + 300
        while not num_windows(tmp_path / "store.db") and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    results = list(analyze_files(find_media([films]), plan))
    killer.join()
    assert [to_json(result.report) for result in results] == films_serial
    again = list(analyze_files(find_media([films]), plan))
    assert [to_json(result.report) for result in again] == films_serial
    assert [result.known for result in again] == [result.report.error is None for result in again]


@pytest.mark.usefixtures("no_hang")
def test_films_inform_each_other_over_a_cluster_as_in_one_process(
    cluster: Any, films: Path
) -> None:
    files = find_media([films])
    here = BatchPlan(SETUP, jobs=1, same_person=True, same_setting=True)
    there = replace(here, jobs=None, backend="ray", address=cluster.address)
    one, other = (
        [to_json(result.report) for result in analyze_files(files, plan)] for plan in (here, there)
    )
    assert one == other
    assert "Compared with this person's usual face and voice" in "".join(one)


@pytest.mark.usefixtures("no_hang")
def test_addresses_are_read_on_the_machines_and_known_again(
    cluster: Any, films: Path, films_serial: list[str], tmp_path: Path
) -> None:
    with FileServer().running() as server:
        content = (films / "film0.mp4").read_bytes()
        server.files = {"/films/film0.mp4": content}
        url = f"{server.url}/films/film0.mp4?token=secret"
        plan = BatchPlan(SETUP, store=tmp_path / "store.db", backend="ray", address=cluster.address)
        (result, absent) = analyze_files([url, f"{server.url}/films/gone.mp4"], plan)
        assert not result.known
        assert result.report.path == f"{server.url}/films/film0.mp4"
        expected = films_serial[find_media([films]).index(films / "film0.mp4")]
        shown = to_json(result.report)
        assert shown == expected.replace(str(films / "film0.mp4"), result.report.path)
        assert absent.report.error is not None
        assert absent.report.error.kind == "media_not_found"
        num_fetched = server.num_fetched("/films/film0.mp4")
        assert num_fetched > 0
        (again,) = analyze_files([url], plan)
        assert again.known
        assert server.num_fetched("/films/film0.mp4") == num_fetched
        server.files["/films/film0.mp4"] = (films / "film1.mp4").read_bytes()
        (changed,) = analyze_files([url], plan)
        assert not changed.known


def test_one_process_reads_addresses_too(films: Path, tmp_path: Path) -> None:
    with FileServer().running() as server:
        server.files = {"/films/film0.mp4": (films / "film0.mp4").read_bytes()}
        url = f"{server.url}/films/film0.mp4"
        plan = BatchPlan(SETUP, store=tmp_path / "store.db", jobs=1)
        (first,) = analyze_files([url], plan)
        (again,) = analyze_files([url], plan)
        assert (first.known, again.known) == (False, True)
        shutil.copy(films / "film0.mp4", tmp_path / "local.mp4")
        (local,) = analyze_files([tmp_path / "local.mp4"], plan)
        assert local.known  # the same content under a path
