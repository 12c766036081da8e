"""Work for Ray's processes, importable by name there: see `test_ray_workers`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import ray


def build_square(setup: int) -> Callable[[int], int]:
    """Squares numbers times `setup`; dies on -1."""
    if setup == 0:
        raise ValueError("nothing to multiply by")

    def work(task: int) -> int:
        if task == -1:
            os.kill(os.getpid(), 9)
        return task * task * setup

    return work


def build_scribe(folder: Path) -> Callable[[int], str]:
    """Takes a while; notes which machine began with which task."""

    def work(task: int) -> str:
        node: str = ray.get_runtime_context().get_node_id()
        with (folder / "begun").open("a") as file:
            file.write(f"{task} {node}\n")
        time.sleep(1.5)
        return node

    return work


def build_holder(folder: Path) -> Callable[[int], None]:
    """Notes by which process a task is done; all but the first that begins never end."""

    def work(task: int) -> None:
        try:
            (folder / "first").touch(exist_ok=False)
        except FileExistsError:
            (folder / f"{task}.{os.getpid()}").touch()
            time.sleep(600)

    return work
