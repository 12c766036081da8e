"""Ctrl-C, SIGTERM and SIGHUP end a command in order: exit code 130, one line, nobody left behind.

The process of a command begins with `take_over`, before anything that takes long to import. From
then on the three signals mean the same:

- While the command line loads there is nothing to put in order: the process ends at once.
- Within `orderly` they raise KeyboardInterrupt, so that each `with` and `finally` does its part.
- Within `held` they wait for the end of the block, and processes that start in it don't get them.
- Afterwards they end what is left of the process.

A signal that the process was told to ignore when it was started, as by nohup, stays ignored. Where
nobody has taken over, as in a program that uses facevoice as a library, nothing changes.

Python itself leads here first, so this module may import only what costs next to nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, Self

EXIT_INTERRUPTED = 130

_NUMBERS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# Who starts a command may hand on a Ctrl-C that the terminal has sent to all already.
_ONE_PRESS_S = 1.0
# When to raise an interruption again that was lost in a place where nothing can be raised.
_AGAIN_S = 0.05
_EARLY = "Interrupted. Nothing was changed.\n"
_LATE = "Interrupted at the end.\n"


class _Guard:
    """What signals mean at present; for the main thread, where Python runs their handlers.

    thread: which that is, None until the signals are taken over; is_orderly: whether they raise;
    num_held: of blocks in which they wait; is_waiting: one does; last_s: when the last one came,
    None before the first; line: what to say where there is nothing to put in order.
    """

    def __init__(self) -> None:
        self.thread: int | None = None
        self.is_orderly = False
        self.num_held = 0
        self.is_waiting = False
        self.last_s: float | None = None
        self.line = _EARLY

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Do what the signals mean at present; for `signal.signal`."""
        if self.num_held:
            self.is_waiting = True
            return
        now_s, before_s = time.monotonic(), self.last_s
        if before_s is not None and now_s - before_s < _ONE_PRESS_S:
            return
        self.last_s = now_s
        if self.is_orderly:
            raise KeyboardInterrupt
        if before_s is None:
            _say(self.line)
        os._exit(EXIT_INTERRUPTED)

    def raise_again(self, number: int, frame: FrameType | None) -> None:
        """For the timer that `hear` sets."""
        if self.is_orderly:
            raise KeyboardInterrupt

    def hear(self, unraisable: Any) -> None:
        """A KeyboardInterrupt was raised where none can be, as while an object is destroyed."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
        elif self.is_orderly and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


_GUARD = _Guard()


def take_over() -> None:
    """From here on the signals end this process in order; for the main thread of a command."""
    _GUARD.thread = get_ident()
    for number in _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _GUARD.handle)
    # The first to be registered is the last to be called: then Python unloads itself.
    atexit.register(_ignore)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _GUARD.raise_again)
    sys.unraisablehook = _GUARD.hear


def ignore() -> None:
    """For a process whose end another one decides: the signals are nothing to it."""
    _ignore()
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _NUMBERS)


def _ignore() -> None:
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


class orderly:  # noqa: N801 - stands behind `with`, as a function would
    """While the block runs, a signal raises KeyboardInterrupt; whatever that became leaves as one.

    A second signal hurries what the first one has begun. No signal raises after the block.
    """

    def __enter__(self) -> Self:
        _GUARD.is_orderly = _GUARD.thread is not None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _GUARD.is_orderly = False
        _GUARD.line = _LATE
        if _GUARD.last_s is not None and not isinstance(error, KeyboardInterrupt):
            # Somebody took it for a failure, or for nothing.
            raise KeyboardInterrupt from error


class held:  # noqa: N801 - stands behind `with`, as a function would
    """While the block runs, signals wait, and processes that it starts are spared them.

    Those should call `ignore` once they run. In another thread than the main one, signals go on
    and the processes are spared.
    """

    def __enter__(self) -> Self:
        self._holds = _GUARD.thread == get_ident()
        _GUARD.num_held += self._holds
        if hasattr(signal, "pthread_sigmask"):
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        if not self._holds:
            return
        _GUARD.num_held -= 1
        if _GUARD.is_waiting and not _GUARD.num_held:
            _GUARD.is_waiting = False
            _GUARD.handle(0, None)


def _say(line: str) -> None:
    try:
        os.write(2, line.encode())
    except OSError:
        return  # Nobody is there to read it.
