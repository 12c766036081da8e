"""Tasks over a cluster; the machines are all on this one, but Ray does not know that."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

from facevoice.errors import ConfigError, MissingExtraError
from facevoice.workers import run_ray_tasks
from ray_cluster import ray_cluster
from ray_tasks import build_holder, build_scribe, build_square
from service.services import wait_until

pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster(2) as running:
        yield running


def test_every_task_gets_its_result(cluster: Any) -> None:
    results = dict(run_ray_tasks(range(20), build_square, 3, address=cluster.address))
    assert results == {n: n * n * 3 for n in range(20)}


def test_a_task_that_kills_its_process_is_given_up(cluster: Any) -> None:
    results = dict(run_ray_tasks([1, -1, 2], build_square, 1, address=cluster.address))
    assert results == {1: 1, -1: None, 2: 4}


def test_a_worker_that_cannot_be_built_is_said(cluster: Any) -> None:
    with pytest.raises(ConfigError, match="nothing to multiply by"):
        list(run_ray_tasks([1, 2], build_square, 0, address=cluster.address))


def test_a_mistake_of_the_worker_is_not_hidden(cluster: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        list(run_ray_tasks([{}], build_square, 2, address=cluster.address))


def test_a_cluster_on_this_machine_is_found(cluster: Any, tmp_path: Path) -> None:
    ((_, node_id),) = run_ray_tasks([2], build_scribe, tmp_path)
    assert node_id in {node.node_id for node in cluster.list_all_nodes()}


def test_a_cluster_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `ray start` leaves its address behind when it is killed.
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "")
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", list)

    def init(address: str, **_: object) -> None:
        raise InterruptedError(address)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(InterruptedError, match="local"):
        list(run_ray_tasks([1], build_square, 1))


def test_a_cluster_that_lets_nobody_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise ray.exceptions.RayError("no token")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ConfigError, match="at auto lets nobody in: no token"):
        monkeypatch.setattr("facevoice.workers._reach", lambda *_: None)
        list(run_ray_tasks([1], build_square, 1, address="auto"))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"The Ray backend.*pip install .facevoice\[ray\]"):
        list(run_ray_tasks([1], build_square, 1))


def test_nothing_to_do_needs_no_cluster() -> None:
    assert list(run_ray_tasks([], build_square, 1, address="nowhere:1")) == []


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        list(run_ray_tasks([1], build_square, 1, address="127.0.0.1:9"))


def test_stopping_early_leaves_nothing_behind(cluster: Any, tmp_path: Path) -> None:
    def held() -> list[Path]:
        return list(tmp_path.glob("*.*"))

    with closing(run_ray_tasks(range(100), build_holder, tmp_path, address=cluster.address)) as got:
        next(got)
        wait_until(lambda: len(held()) > 0)
    wait_until(lambda: not any(is_alive(int(path.suffix[1:])) for path in held()))
    assert {int(path.stem) for path in held()} < {0, 1, 2, 3}  # handed out before


def is_alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_a_machine_may_die_in_the_midst(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()

    def kill() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            begun = tmp_path / "begun"
            if begun.exists() and node.node_id in begun.read_text():
                break
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(run_ray_tasks(range(12), build_scribe, tmp_path, address=cluster.address))
    killer.join()
    assert sorted(task for task, _ in found) == list(range(12))
    assert all(result is not None for _, result in found)
    begun = [line.split() for line in (tmp_path / "begun").read_text().splitlines()]
    assert len({node_id for _, node_id in begun}) == 3
    # What the dead machine had begun was begun again elsewhere.
    assert len(begun) > 12
    assert node.node_id not in {result for _, result in found[-3:]}
