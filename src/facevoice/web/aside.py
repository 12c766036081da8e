"""Long work in a thread of its own that tells how far it is, for pages that show it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")

_TELL_EVERY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """What the work came to."""

    value: R


class _LeftError(Exception):
    """Nobody waits for the result any more."""


def work_aside(work: Callable[[Callable[[P], None]], R]) -> Iterator[P | Done[R]]:
    """Run `work(tell)`; gives the newest of what it told, now and then, and `Done` at last.

    What `work` raises is raised here. Where the generator is closed, `tell` raises within `work`,
    and the close waits until it has ended.
    """
    outbox: SimpleQueue[P | Done[R] | Exception] = SimpleQueue()
    unwanted = Event()

    def tell(progress: P) -> None:
        if unwanted.is_set():
            raise _LeftError
        outbox.put(progress)

    def run() -> None:
        try:
            outbox.put(Done(work(tell)))
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            outbox.put(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            item = _newest(outbox)
            if isinstance(item, Exception):
                raise item
            yield item
            if isinstance(item, Done):
                return
            time.sleep(_TELL_EVERY_S)
    finally:
        unwanted.set()
        thread.join()


def _newest(outbox: SimpleQueue[P | Done[R] | Exception]) -> P | Done[R] | Exception:
    item = outbox.get()
    try:
        while not isinstance(item, Done | Exception):
            item = outbox.get_nowait()
    except Empty:
        pass
    return item
