"""A batch over a Ray cluster; what is done is remembered here, where the batch was started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.batch.cache import ReportCache, recipe_id
from facevoice.batch.file import FileResult, FileTask, WorkerSetup, build_file_worker
from facevoice.errors import MediaError
from facevoice.media.remote import identify, is_remote, public_address
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
    cache = _open_cache(plan)
    sources = _ask_sources(tasks) if cache is not None else {}
    rest = []
    for task in tasks:
        known = None if cache is None or plan.again else _recall(cache, task, sources)
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


def _open_cache(plan: BatchPlan) -> ReportCache | None:
    if plan.cache is None:
        return None
    models = plan.analyzer.build().models
    return ReportCache(plan.cache, recipe_id(plan.analyzer.config, models))


def _ask_sources(tasks: Sequence[FileTask]) -> dict[int, str]:
    """By index of its task, an address with what tells whether its content has changed."""
    with ThreadPoolExecutor(_ASKERS) as pool:
        found = zip(tasks, pool.map(_source, tasks), strict=True)
        return {task.index: source for task, source in found if source is not None}


def _source(task: FileTask) -> str | None:
    try:
        if is_remote(task.path):
            fingerprint = identify(task.path)
            return None if fingerprint is None else f"{task.path} {fingerprint}"
        stat = Path(task.path).stat()
        return f"{os.path.realpath(task.path)} {stat.st_size} {stat.st_mtime_ns}"
    except (MediaError, OSError):
        return None  # The worker says what is wrong.


def _recall(cache: ReportCache, task: FileTask, sources: dict[int, str]) -> FileResult | None:
    source = sources.get(task.index)
    sha256 = None if source is None else cache.recall(source)
    name = public_address(task.path) if is_remote(task.path) else task.path
    report = None if sha256 is None else cache.get(sha256, name)
    if report is None:
        return None
    return FileResult(report, known=True, sha256=sha256, source=source)


def _keep(cache: ReportCache, task: FileTask, result: FileResult, sources: dict[int, str]) -> None:
    if not result.is_lasting or result.sha256 is None:
        return
    cache.put(result.sha256, result.report)
    if task.index in sources:
        cache.remember(sources[task.index], result.sha256)
