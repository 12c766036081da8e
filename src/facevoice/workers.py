"""Tasks in parallel processes, any of which may be killed without losing more than its time."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from facevoice.errors import ConfigError

_LOG = logging.getLogger(__name__)

# Forked children would inherit threads and locks of the networks' runtimes in any state.
_SPAWN: Final = multiprocessing.get_context("spawn")
_TRIES: Final = 2
_JOIN_S: Final = 5.0

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


def run_tasks(
    tasks: Sequence[T], build: Callable[[S], Callable[[T], R]], setup: S, jobs: int
) -> Generator[tuple[T, R | None], None, None]:
    """Each task with its result, in the order in which they are done.

    Every process builds its worker once; tasks are handed out one by one. When a process dies on a
    task (a decoder crashed, somebody killed it), the task is tried once more in a new process.

    Args:
        tasks: picklable; none is handed out twice unless a process died on it.
        build: a module's function; `build(setup)` is called in each process.
        setup: picklable.
        jobs: number of processes, at least 1.

    Returns:
        An iterator; the result is None where two processes died on a task.

    Raises:
        ConfigError: a process can't be started, or its worker not be built.
    """
    waiting = deque((task, 0) for task in tasks)
    workers = [_Worker(build, setup) for _ in range(min(jobs, len(tasks)))]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.take(waiting)
        while busy := [worker for worker in workers if worker.is_busy]:
            ready = wait([worker.connection for worker in busy])
            for worker in [w for w in busy if w.connection in ready]:
                task, num_tries = worker.task, worker.num_tries
                died, result = worker.receive()
                if not died:
                    yield task, result
                elif num_tries < _TRIES:
                    waiting.append((task, num_tries))
                else:
                    yield task, None
                if died and waiting:
                    worker.start()
                worker.take(waiting)
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process and the pipe to it; the process ends when the pipe does."""

    def __init__(self, build: Callable[[Any], Callable[[Any], Any]], setup: object) -> None:
        self._build = build
        self._setup = setup
        self._process: Any = None
        self._is_ready = False
        self.connection: Connection
        self.task: Any = None
        self.num_tries = 0

    @property
    def is_busy(self) -> bool:
        """Whether it has a task."""
        return self.num_tries > 0

    def start(self) -> None:
        """Start the process; `take` waits for it."""
        self.connection, end = _SPAWN.Pipe()
        arguments = (end, self._build, self._setup)
        self._process = _SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        # Without this copy, the pipe ends when the process does.
        end.close()
        self._is_ready = False

    def take(self, waiting: deque[tuple[Any, int]]) -> None:
        """Begin the next task, if there is one."""
        if not waiting:
            return
        if not self._is_ready:
            self._wait_until_ready()
        self.task, num_tries = waiting.popleft()
        self.num_tries = num_tries + 1
        try:
            self.connection.send(self.task)
        except OSError:
            _LOG.debug("a worker died between two tasks")  # `receive` will find out

    def receive(self) -> tuple[bool, Any]:
        """Whether the process died, and else its result."""
        self.num_tries = 0
        try:
            return False, self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return True, None

    def stop(self) -> None:
        """End the process, in the midst of a task if need be."""
        if self._process is not None:
            self.connection.close()
            self._process.kill()
            self._process.join(_JOIN_S)
            self._process = None

    def _wait_until_ready(self) -> None:
        try:
            problem = self.connection.recv()
        except (EOFError, OSError) as error:
            raise ConfigError(
                "a worker process ended while it started. Scripts must guard their main part by "
                "`if __name__ == '__main__':`; or take jobs = 1"
            ) from error
        if problem is not None:
            raise ConfigError(f"a worker process can't start: {problem}")
        self._is_ready = True


def _serve(
    connection: Connection, build: Callable[[Any], Callable[[Any], Any]], setup: object
) -> None:
    # Ctrl-C goes to all processes of a terminal; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work = build(setup)
    except Exception as error:  # noqa: BLE001 - told to the parent, who raises it
        connection.send(f"{type(error).__name__}: {error}")
        return
    connection.send(None)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return  # The parent is gone or has had enough.
        result = work(task)
        try:
            connection.send(result)
        except OSError:
            return
