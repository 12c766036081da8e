"""Tasks in processes that may die."""

from __future__ import annotations

import logging
import multiprocessing
from contextlib import closing
from pathlib import Path

import pytest

from facevoice.errors import ConfigError
from facevoice.workers import run_tasks
from worker_tasks import build_log_level, build_square


def test_results_come_with_their_tasks_and_nobody_stays() -> None:
    results = dict(run_tasks(range(8), build_square, 3, jobs=2))
    assert results == {task: 3 * task * task for task in range(8)}
    assert multiprocessing.active_children() == []


def test_a_task_on_which_a_process_died_is_tried_once_more(tmp_path: Path) -> None:
    fragile = tmp_path / "died"
    tasks: list[int | Path] = [1, fragile, 2, -1, 3]
    results = list(run_tasks(tasks, build_square, 1, jobs=2))
    assert dict(results) == {1: 1, fragile: 7, 2: 4, -1: None, 3: 9}
    assert len(results) == len(tasks)


def test_the_last_task_may_kill_the_only_process() -> None:
    assert list(run_tasks([-1], build_square, 1, jobs=1)) == [(-1, None)]


def test_a_worker_that_cannot_be_built_ends_the_run() -> None:
    with pytest.raises(ConfigError, match="nothing to multiply by"):
        list(run_tasks([1, 2], build_square, 0, jobs=2))
    assert multiprocessing.active_children() == []


def test_processes_log_no_more_than_their_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("facevoice"), "level", logging.ERROR)
    assert list(run_tasks([1], build_log_level, None, jobs=1)) == [(1, logging.ERROR)]


def test_stopping_early_ends_the_processes() -> None:
    with closing(run_tasks(range(100), build_square, 1, jobs=2)) as results:
        next(results)
    assert multiprocessing.active_children() == []


def test_no_tasks_start_no_process() -> None:
    assert list(run_tasks([], build_square, 0, jobs=4)) == []
