"""A batch over a Ray cluster gives what one process gives, whatever dies meanwhile."""

from __future__ import annotations

import faulthandler
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from facevoice.batch import AnalyzerSetup, BatchPlan, analyze_files, find_media
from facevoice.report import to_json
from facevoice.settings import AnalyzerConfig
from file_server import FileServer
from ray_cluster import ray_cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
SETUP = AnalyzerSetup(AnalyzerConfig())


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(150, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster(1) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films, two of which are broken."""
    root = tmp_path_factory.mktemp("films")
    for number in range(4):
        name = "smile_glad_voice" if number % 2 else "smile_sad_voice"
        content = (EXAMPLES / f"{name}.mp4").read_bytes()
        box = b"\x00\x00\x00\x09free" + bytes([number])  # read by nobody, makes another content
        (root / f"film{number}.mp4").write_bytes(content + box)
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a film " * 100)
    return root


@pytest.fixture(scope="module")
def serial(folder: Path) -> list[str]:
    results = analyze_files(find_media([folder]), BatchPlan(SETUP, jobs=1))
    return [to_json(result.report, exact=True) for result in results]


def test_a_machine_dies_and_the_reports_are_the_same(
    cluster: Any, folder: Path, serial: list[str], tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    plan = BatchPlan(SETUP, cache=tmp_path, backend="ray", address=cluster.address)

    def kill() -> None:
        # The first report is there, so both machines are at work.
        deadline = time.monotonic() + 90
        while not list(tmp_path.rglob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    results = list(analyze_files(find_media([folder]), plan))
    killer.join()
    assert [to_json(result.report, exact=True) for result in results] == serial
    again = list(analyze_files(find_media([folder]), plan))
    assert [to_json(result.report, exact=True) for result in again] == serial
    assert all(result.known for result in again)


def test_addresses_are_read_on_the_machines_and_known_again(
    cluster: Any, folder: Path, serial: list[str], tmp_path: Path
) -> None:
    with FileServer().running() as server:
        content = (folder / "film0.mp4").read_bytes()
        server.files = {"/films/film0.mp4": content}
        url = f"{server.url}/films/film0.mp4?token=secret"
        plan = BatchPlan(SETUP, cache=tmp_path, backend="ray", address=cluster.address)
        (result, absent) = analyze_files([url, f"{server.url}/films/gone.mp4"], plan)
        assert not result.known
        assert result.report.path == f"{server.url}/films/film0.mp4"
        expected = serial[find_media([folder]).index(folder / "film0.mp4")]
        shown = to_json(result.report, exact=True)
        assert shown == expected.replace(str(folder / "film0.mp4"), result.report.path)
        assert absent.report.error is not None
        assert absent.report.error.kind == "media_not_found"
        num_fetched = server.num_fetched("/films/film0.mp4")
        assert num_fetched > 0
        (again,) = analyze_files([url], plan)
        assert again.known
        assert server.num_fetched("/films/film0.mp4") == num_fetched
        server.files["/films/film0.mp4"] = (folder / "film1.mp4").read_bytes()
        (changed,) = analyze_files([url], plan)
        assert not changed.known


def test_one_process_reads_addresses_too(folder: Path, tmp_path: Path) -> None:
    with FileServer().running() as server:
        server.files = {"/films/film0.mp4": (folder / "film0.mp4").read_bytes()}
        url = f"{server.url}/films/film0.mp4"
        plan = BatchPlan(SETUP, cache=tmp_path, jobs=1)
        (first,) = analyze_files([url], plan)
        (again,) = analyze_files([url], plan)
        assert (first.known, again.known) == (False, True)
        shutil.copy(folder / "film0.mp4", tmp_path / "local.mp4")
        (local,) = analyze_files([tmp_path / "local.mp4"], plan)
        assert local.known  # the same content under a path
