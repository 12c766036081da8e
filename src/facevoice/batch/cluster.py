"""A batch over a Ray cluster; what is done is remembered here, where the batch was started."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from facevoice.batch.cache import ReportCache
from facevoice.batch.file import (
    FileResult,
    FileTask,
    WorkerSetup,
    build_file_worker,
    open_cache,
    recall,
    source_of,
)
from facevoice.errors import MediaError
from facevoice.ray_workers import run_ray_tasks

if TYPE_CHECKING:
    from facevoice.batch.run import BatchPlan, TaskResults

# Asking a server what an address holds is waiting, mostly.
_ASKERS: Final = 16


def run_on_ray(tasks: Sequence[FileTask], plan: BatchPlan) -> TaskResults:
    """Each task with its result, those known from before first, the others as they get done.

    Machines of a cluster share no folders as a rule, so a file counts as done by its address with
    its fingerprint: size and time of files, ETag or the like of remote ones. Where `plan.shared`
    says that all of them see the cache, content hashes and journals serve as on one machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster can't be reached, or an analyzer not be built there.
    """
    threads = plan.analyzer.num_threads or 1
    analyzer = replace(plan.analyzer, num_threads=threads)
    cache = None if plan.cache is None else open_cache(plan.cache, plan.analyzer.build())
    sources = _ask_sources(tasks) if cache is not None else {}
    rest = []
    for task in tasks:
        known = None
        if cache is not None and task.index in sources and not plan.again:
            known = recall(cache, sources[task.index], task)
        if known is None:
            rest.append(task)
        else:
            yield task, known
    setup = WorkerSetup(analyzer, plan.cache if plan.shared else None, plan.again)
    running = run_ray_tasks(
        rest, build_file_worker, setup, address=plan.address, num_cpus=float(threads)
    )
    with closing(running) as results:
        for task, result in results:
            if cache is not None and result is not None:
                _keep(cache, task, result, sources)
            yield task, result


def _ask_sources(tasks: Sequence[FileTask]) -> dict[int, str]:
    """By index of its task, an address with what tells whether its content has changed."""
    with ThreadPoolExecutor(_ASKERS) as pool:
        found = zip(tasks, pool.map(_source, tasks), strict=True)
        return {task.index: source for task, source in found if source is not None}


def _source(task: FileTask) -> str | None:
    try:
        return source_of(task)
    except (MediaError, OSError):
        return None  # The worker says what is wrong.


def _keep(cache: ReportCache, task: FileTask, result: FileResult, sources: dict[int, str]) -> None:
    if not result.is_lasting or result.sha256 is None:
        return
    cache.put(result.sha256, result.report)
    if task.index in sources:
        cache.remember(sources[task.index], result.sha256)
