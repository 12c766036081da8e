"""A Ray cluster of several machines, all of them on this one, for tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).parent


@contextmanager
def ray_cluster(num_nodes: int) -> Iterator[Any]:
    """A cluster of nodes with one processor each; `add_node`, `remove_node`, `address`."""
    from ray.cluster_utils import Cluster

    # Sockets have a limit for the length of their path.
    home = Path(tempfile.mkdtemp(prefix="fv", dir="/tmp"))
    settings = {
        "HOME": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(home),
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        # Dead machines are to be noticed within a test's time.
        "RAY_health_check_initial_delay_ms": "500",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "RAY_ADDRESS": "",
    }
    with mock.patch.dict(os.environ, settings):
        os.environ.pop("RAY_ADDRESS")
        node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            for _ in range(num_nodes - 1):
                cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            import ray

            ray.shutdown()
            cluster.shutdown()
            shutil.rmtree(home, ignore_errors=True)
