"""Tasks over a Ray cluster, any machine of which may go without losing more than its time.

The same contract as `facevoice.workers.run_tasks`. Every machine needs facevoice, the same version,
and can reach what the tasks name.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from facevoice.errors import ConfigError, MissingExtraError

_LOG = logging.getLogger(__name__)

_TRIES: Final = 3
# Tasks handed to Ray for each that can run, so that no processor waits for the next.
_IN_FLIGHT: Final = 2
# How long to wait for a result before looking whether machines have come or gone.
_LOOK_EVERY_S: Final = 10.0
_REACH_S: Final = 10.0

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


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
            num_cpus=num_cpus, max_retries=_TRIES - 1, retry_exceptions=False
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
    _connect(ray, address)
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
