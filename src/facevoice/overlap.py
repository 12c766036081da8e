"""Steps of one file side by side: each draws from the one before in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# How soon a thread notices that nobody wants its items any more.
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def draw_ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The same items, drawn by a thread up to `depth` ahead of their use.

    The thread starts with the first item asked for and ends with the last one, with an error of
    `items`, which is raised here, or when the generator is closed; then `items` is closed too.
    What `items` does must release the interpreter's lock (decoders and networks do), or nothing
    is won.
    """
    queue: Queue[_Item[T] | _End] = Queue(depth)
    unwanted = Event()
    thread = Thread(target=_draw, args=(items, queue, unwanted), daemon=True)
    thread.start()
    try:
        while isinstance(entry := queue.get(), _Item):
            yield entry.value
        if entry.error is not None:
            raise entry.error
    finally:
        unwanted.set()
        _empty(queue)
        thread.join()


def _draw(items: Iterator[T], queue: Queue[_Item[T] | _End], unwanted: Event) -> None:
    end = _End(None)
    try:
        for value in items:
            if not _hand_over(queue, _Item(value), unwanted):
                break
    except BaseException as error:  # noqa: BLE001 - raised where the items are used
        end = _End(error)
    finally:
        if isinstance(items, Generator):
            items.close()
        _hand_over(queue, end, unwanted)


def _hand_over(queue: Queue[_Item[T] | _End], entry: _Item[T] | _End, unwanted: Event) -> bool:
    while not unwanted.is_set():
        try:
            queue.put(entry, timeout=_POLL_S)
        except Full:
            continue
        return True
    return False


def _empty(queue: Queue[_Item[T] | _End]) -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
