"""How work is shared out: steps of one file over threads, tasks over processes or a Ray cluster.

`run_tasks` and `run_ray_tasks` keep one contract: any process or machine may die without costing
more than its time. Every machine of a cluster needs facevoice, the same version, and can reach what
the tasks name.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread, current_thread, main_thread
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from facevoice.errors import ConfigError, MissingExtraError
from facevoice.interrupts import held, ignore

_LOG = logging.getLogger(__name__)

_QUOTA_FILE: Final = Path("/sys/fs/cgroup/cpu.max")
# How soon a thread notices that nobody wants its items any more.
_POLL_S: Final = 0.1
# Forked children would inherit threads and locks of the networks' runtimes in any state.
_SPAWN: Final = multiprocessing.get_context("spawn")
_TRIES: Final = 2
_JOIN_S: Final = 5.0
_RAY_TRIES: Final = 3
# Tasks handed to Ray for each that can run, so that no processor waits for the next.
_IN_FLIGHT: Final = 2
# How long to wait for a result before looking whether machines have come or gone.
_LOOK_EVERY_S: Final = 10.0
_REACH_S: Final = 10.0
_M_ARENA_MAX: Final = -8  # of glibc's malloc.h
_NUM_ARENAS: Final = 2

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
E = TypeVar("E")


def num_cpus() -> int:
    """Processors that this process may use, at least 1.

    Heeds the process's affinity and, on Linux, the quota of its container (cgroup version 2), which
    `os.cpu_count` doesn't know.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _quota(_QUOTA_FILE) or allowed or 1))


def _quota(file: Path) -> int | None:
    """Processors that a container may use, rounded down; None where there is no limit."""
    try:
        granted, period = file.read_text(encoding="ascii").split()
        return max(1, int(granted) // int(period))
    except (OSError, ValueError):  # "max", or not such a system
        return None


def draw_ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """The same items, drawn by a thread up to `depth` ahead of their use.

    The thread starts with the first item asked for and ends with the last one, with an error of
    `items`, which is raised here, or when the generator is closed; then `items` is closed too.
    What `items` does must release the interpreter's lock (decoders and networks do), or nothing
    is won.
    """
    queue: Queue[tuple[T] | BaseException | None] = Queue(depth)
    unwanted = Event()
    thread = Thread(target=_draw, args=(items, queue, unwanted), daemon=True)
    thread.start()
    try:
        while isinstance(entry := queue.get(), tuple):
            yield entry[0]
        if entry is not None:
            raise entry
    finally:
        unwanted.set()
        thread.join()


def _draw(
    items: Iterator[T], queue: Queue[tuple[T] | BaseException | None], unwanted: Event
) -> None:
    end: BaseException | None = None
    try:
        for value in items:
            if not _hand_over(queue, (value,), unwanted):
                break
    except BaseException as error:  # noqa: BLE001 - raised where the items are used
        end = error
    finally:
        if isinstance(items, Generator):
            items.close()
        _hand_over(queue, end, unwanted)


def _hand_over(queue: Queue[E], entry: E, unwanted: Event) -> bool:
    while not unwanted.is_set():
        try:
            queue.put(entry, timeout=_POLL_S)
        except Full:
            continue
        return True
    return False


def run_tasks(
    tasks: Sequence[T], build: Callable[[S], Callable[[T], R]], setup: S, jobs: int
) -> Generator[tuple[T, R | None], None, None]:
    """Each task with its result, in the order in which they are done.

    Every process builds its worker once; tasks are handed out one by one. When a process dies on a
    task (a decoder crashed, somebody killed it), the task is tried once more in a new process.
    Temporary files of the processes go with the last of them, however that ends.

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
    with tempfile.TemporaryDirectory(prefix="facevoice-", ignore_cleanup_errors=True) as scratch:
        workers = [_Worker(build, setup, scratch) for _ in range(min(jobs, len(tasks)))]
        yield from _hand_out(waiting, workers)


def _hand_out(
    waiting: deque[tuple[T, int]], workers: Sequence[_Worker]
) -> Generator[tuple[T, Any], None, None]:
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
    """One process, which ends with this one, the pipe to it, and where its temporary files are."""

    def __init__(
        self, build: Callable[[Any], Callable[[Any], Any]], setup: object, scratch: str
    ) -> None:
        self._build = build
        self._setup = setup
        self._scratch = scratch
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
        # A process that is half started, or interrupted while it loads, has much to complain of.
        with held():
            _start_tracker()
            self.connection, end = _SPAWN.Pipe()
            log_level = logging.getLogger("facevoice").getEffectiveLevel()
            arguments = (end, self._build, self._setup, self._scratch, log_level)
            process: Any = _SPAWN.Process(target=_serve, args=arguments, daemon=True)
            with held():
                process.start()
            self._process = process
            # Without this copy, the pipe ends when the process does.
            end.close()
            # It minds no SIGTERM, by which `multiprocessing` would end it.
            atexit.register(self.stop)
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
            atexit.unregister(self.stop)

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


def _start_tracker() -> None:
    """Start the helper of `multiprocessing`; when it does so itself, it lets signals in again."""
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()


def _serve(
    connection: Connection,
    build: Callable[[Any], Callable[[Any], Any]],
    setup: object,
    scratch: str,
    log_level: int,
) -> None:
    # Ctrl-C goes to all processes of a terminal; the parent decides what becomes of its workers.
    ignore()
    Thread(target=_end_with_parent, daemon=True).start()
    tempfile.tempdir = scratch
    logging.getLogger("facevoice").setLevel(log_level)
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


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_ray_tasks(
    tasks: Sequence[T],
    build: Callable[[S], Callable[[T], R]],
    setup: S,
    *,
    address: str | None = None,
    num_cpus: float = 1.0,
) -> Generator[tuple[T, R | None], None, None]:
    """Each task with its result, in the order in which they are done.

    Every process of the cluster builds its worker once. When a process or its machine dies on a
    task, Ray tries the task again elsewhere.

    Args:
        tasks: picklable; none runs twice unless a process died on it, or its result was lost.
        build: a module's function; `build(setup)` is called in each process.
        setup: picklable.
        address: of the cluster; None for RAY_ADDRESS, or else one that runs on this machine, or
            else a new one of this machine alone.
        num_cpus: processors that a task takes.

    Returns:
        An iterator; the result is None where the processes died on a task three times.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: no cluster answers or lets us in, or a worker can't be built there.
    """
    if not tasks:
        return
    with _connected(address) as ray:
        blob = pickle.dumps((build, setup))
        work = ray.remote(_work).options(
            num_cpus=num_cpus, max_retries=_RAY_TRIES - 1, retry_exceptions=False
        )
        running: dict[Any, T] = {}
        waiting = iter(tasks)
        try:
            while _fill(ray, work, blob, waiting, running, num_cpus):
                ready, _ = ray.wait(list(running), timeout=_LOOK_EVERY_S)
                for reference in ready:
                    yield running.pop(reference), _receive(ray, reference)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _fill(
    ray: Any,
    work: Any,
    blob: bytes,
    waiting: Iterator[Any],
    running: dict[Any, Any],
    num_cpus: float,
) -> bool:
    """Hand out tasks until there are enough; whether any is running."""
    limit = max(2, int(_IN_FLIGHT * ray.cluster_resources().get("CPU", 1.0) / num_cpus))
    while len(running) < limit:
        try:
            task = next(waiting)
        except StopIteration:
            break
        running[work.remote(blob, task)] = task
    return bool(running)


def _receive(ray: Any, reference: Any) -> Any:
    try:
        problem, result = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of the worker's, which is to give a result whatever happens
    except ray.exceptions.RayError as error:
        _LOG.debug("a task was given up: %s", error)
        return None
    if problem is not None:
        raise ConfigError(f"a worker of the Ray cluster can't start: {problem}")
    return result


def _work(blob: bytes, task: Any) -> tuple[str | None, Any]:
    """What runs on the cluster: why no worker could be built, and the result."""
    try:
        worker = _worker(blob)
    except Exception as error:  # noqa: BLE001 - told to the driver, which raises it
        return f"{type(error).__name__}: {error}", None
    return None, worker(task)


@functools.lru_cache(maxsize=1)
def _worker(blob: bytes) -> Callable[[Any], Any]:
    build, setup = pickle.loads(blob)  # noqa: S301 - from the driver, which runs code here anyhow
    built: Callable[[Any], Any] = build(setup)
    return built


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; if that was done here, it is undone."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("The Ray backend", "ray") from error
    if ray.is_initialized():
        yield ray
        return
    on_terminate = signal.getsignal(signal.SIGTERM)
    _connect(ray, address)
    if current_thread() is main_thread() and on_terminate is not None:
        signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in place.
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    # A cluster that is started here tells nobody of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    wanted = address or os.environ.get("RAY_ADDRESS") or None
    try:
        _reach(ray, wanted)
        ray.init(address=wanted or "auto", **quiet)
    except ray.exceptions.RayError as error:
        where = wanted or "this machine"
        raise ConfigError(f"the Ray cluster at {where} lets nobody in: {error}") from error
    except (OSError, RuntimeError, ValueError) as error:
        if wanted is not None:
            raise ConfigError(
                f"no Ray cluster answers at {wanted} ({error}); start one with `ray start --head`, "
                "or check the address"
            ) from error
        # Without "local", Ray would take the address that a killed cluster left behind.
        ray.init(address="local", include_dashboard=False, **quiet)


def _reach(ray: Any, address: str | None) -> None:
    """Raise OSError if nothing listens there: Ray itself would try for minutes."""
    if address in (None, "auto"):
        address = ray._private.services.canonicalize_bootstrap_address("auto")
    parts = urlsplit(address if address and "://" in address else f"//{address or ''}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _REACH_S).close()


def keep_memory_together() -> None:
    """For servers: else each of many threads fills an arena of its own, and gives none back."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library than glibc
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _NUM_ARENAS)
