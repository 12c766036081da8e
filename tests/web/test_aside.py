from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from facevoice.web.page import Done, work_aside


def test_gives_progress_and_the_result_last() -> None:
    seen = threading.Event()

    def work(tell: Callable[[int], None]) -> str:
        tell(1)
        assert seen.wait(10)
        tell(2)
        return "whole"

    running = work_aside(work)
    assert next(running) == 1
    seen.set()
    assert list(running)[-1] == Done("whole")


def test_progress_that_nobody_fetched_gives_way_to_newer() -> None:
    def work(tell: Callable[[int], None]) -> str:
        for k in range(1000):
            tell(k)
        return "whole"

    given = list(work_aside(work))
    assert given[-1] == Done("whole")
    assert len(given) < 10


def test_errors_come_out_where_the_result_is_awaited() -> None:
    def work(tell: Callable[[int], None]) -> str:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        list(work_aside(work))


def test_closing_ends_the_work_before_it_returns() -> None:
    ended = threading.Event()

    def work(tell: Callable[[int], None]) -> str:
        try:
            while True:
                tell(1)
                time.sleep(0.01)
        finally:
            ended.set()

    running = work_aside(work)
    assert next(running) == 1
    running.close()
    assert ended.is_set()
