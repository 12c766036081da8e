from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from facevoice.workers import draw_ahead


def test_items_come_in_order_from_another_thread() -> None:
    threads: set[int] = set()

    def numbers() -> Iterator[int]:
        for number in range(100):
            threads.add(threading.get_ident())
            yield number

    assert list(draw_ahead(numbers(), 3)) == list(range(100))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_no_more_than_the_depth_is_drawn_ahead() -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            drawn.append(number)
            yield number

    items = draw_ahead(numbers(), 4)
    assert next(items) == 0
    deadline = time.monotonic() + 120
    while len(drawn) < 6 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    # One is used, four wait, and one is in hand.
    assert len(drawn) == 6
    items.close()


def test_errors_come_after_the_items_before_them() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("gone")

    items = draw_ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="gone"):
        next(items)


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    before = threading.active_count()
    items = draw_ahead(endless(), 2)
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert closed.is_set()
    assert threading.active_count() == before
