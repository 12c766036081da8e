"""Many files: in this process, in several, or over a cluster; in order, and losing none."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from facevoice.batch.file import (
    AnalyzerSetup,
    FileAnalyzer,
    FileResult,
    FileTask,
    FileWorker,
    Watch,
    WorkerSetup,
    build_file_worker,
    make_failed_report,
    make_file_worker,
)
from facevoice.batch.find import find_media
from facevoice.errors import ConfigError, MediaError
from facevoice.machine import num_cpus
from facevoice.media.probe import probe
from facevoice.media.remote import is_remote
from facevoice.results import FileError, Prediction, Report
from facevoice.workers import run_tasks

BACKENDS: Final = ("local", "ray")

TaskResults = Generator[tuple[FileTask, FileResult | None], None, None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is.

    path: of the file at work, or done last; num_done of num_files are done;
    done_s of duration_s of the file's media are done, None where unknown or where several files
    are worked on at once; media_s: seconds of media done in all, without what was known before.
    """

    path: str
    num_done: int
    num_files: int
    done_s: float | None
    duration_s: float | None
    media_s: float


ProgressCallback = Callable[[Progress], None]
WindowCallback = Callable[[str, Prediction], None]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How files are to be analysed.

    analyzer: what to build in every process; cache: see `WorkerSetup`; again: take nothing from it;
    shared: whether all machines of a cluster see the cache;
    jobs: processes, None to choose by files and processors; backend: one of `BACKENDS`;
    address: of the Ray cluster, None for the one that Ray finds, or else a local one.
    """

    analyzer: AnalyzerSetup
    cache: Path | None = None
    again: bool = False
    shared: bool = False
    jobs: int | None = None
    backend: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise ConfigError(f"unknown backend {self.backend!r}; known: {known}")
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs = {self.jobs}: at least 1")

    def num_jobs(self, num_files: int) -> int:
        """Processes of this machine for so many files."""
        return min(self.jobs or choose_jobs(num_files), max(1, num_files))

    def works_here(self, num_files: int) -> bool:
        """Whether the calling process does all the work itself."""
        return self.backend == BACKENDS[0] and self.num_jobs(num_files) == 1


def analyze_files(
    paths: Sequence[str | Path],
    plan: BatchPlan,
    *,
    on_progress: ProgressCallback | None = None,
    on_window: WindowCallback | None = None,
    analyzer: FileAnalyzer | None = None,
) -> Iterator[FileResult]:
    """Analyse files; gives one result a file, in the order of `paths`.

    A file that fails gives a report with status `failed` and its error; the others still come.
    With a cache, what is done already is not done again, and files on which work broke off are
    gone on with; whoever does the work, the reports are the same.

    Args:
        paths: files or addresses, as `find_files` gives them.
        plan: how to go about it.
        on_progress: called now and then.
        on_window: called with the file and each window as soon as that is done, where one process
            does it all and nothing was known of the file.
        analyzer: does the work where one process does it all; by default built from the plan.

    Raises:
        ConfigError: a setting is wrong, the cache can't be made, or a process not be started.
        WeightsError, MissingExtraError: see `Analyzer`; the extra `ray` may be missing too.
    """
    tasks = [FileTask(index, str(path)) for index, path in enumerate(paths)]
    if plan.works_here(len(tasks)):
        setup = WorkerSetup(plan.analyzer, plan.cache, plan.again)
        worker = make_file_worker(analyzer or plan.analyzer.build(), setup)
        yield from _one_by_one(tasks, worker, on_progress, on_window)
        return
    with closing(_start(tasks, plan)) as results:
        yield from _in_order(results, plan, len(tasks), on_progress)


def analyze_paths(
    paths: Iterable[str | Path],
    analyzer: FileAnalyzer,
    on_progress: ProgressCallback | None = None,
) -> Iterator[Report]:
    """Analyse files and folders in this process, remembering nothing; see `analyze_files`.

    Gives one report a file, in the order of `find_media`.
    """
    tasks = [FileTask(index, str(path)) for index, path in enumerate(find_media(paths))]
    for result in _one_by_one(tasks, FileWorker(analyzer), on_progress):
        yield result.report


def choose_jobs(num_files: int) -> int:
    """Processes for so many files: one as long as starting more would cost more than it saves."""
    cpus = num_cpus()
    return cpus if num_files >= 2 * cpus else 1


def _one_by_one(
    tasks: Sequence[FileTask],
    worker: FileWorker,
    on_progress: ProgressCallback | None = None,
    on_window: WindowCallback | None = None,
) -> Iterator[FileResult]:
    media_s = 0.0
    for task in tasks:
        watch_window = None if on_window is None else partial(on_window, task.name)
        watch = Watch(_watch(task, len(tasks), media_s, on_progress), watch_window)
        result = worker(task, watch)
        media_s += _fresh_media_s(result)
        yield result


def _watch(
    task: FileTask, num_files: int, media_s: float, on_progress: ProgressCallback | None
) -> Callable[[float], None] | None:
    if on_progress is None:
        return None
    duration_s = media_length_s(task.path)
    first_s: float | None = None

    def watch(done_s: float) -> None:
        nonlocal first_s
        # What an interrupted run left counts as done, but not as done now.
        first_s = done_s if first_s is None else first_s
        now_s = media_s + done_s - first_s
        on_progress(Progress(task.name, task.index, num_files, done_s, duration_s, now_s))

    on_progress(Progress(task.name, task.index, num_files, 0.0, duration_s, media_s))
    return watch


def _start(tasks: Sequence[FileTask], plan: BatchPlan) -> TaskResults:
    if plan.backend == "ray":
        from facevoice.batch.cluster import run_on_ray

        return run_on_ray(tasks, plan)
    jobs = plan.num_jobs(len(tasks))
    threads = plan.analyzer.num_threads or max(1, num_cpus() // jobs)
    analyzer = replace(plan.analyzer, num_threads=threads)
    setup = WorkerSetup(analyzer, plan.cache, plan.again)
    return run_tasks(tasks, build_file_worker, setup, jobs)


def _in_order(
    results: TaskResults,
    plan: BatchPlan,
    num_files: int,
    on_progress: ProgressCallback | None,
) -> Iterator[FileResult]:
    waiting: dict[int, FileResult] = {}
    turn = 0
    media_s = 0.0
    for num_done, (task, found) in enumerate(results, start=1):
        result = _died(task, plan) if found is None else found
        media_s += _fresh_media_s(result)
        if on_progress is not None:
            on_progress(Progress(task.name, num_done, num_files, None, None, media_s))
        waiting[task.index] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def _died(task: FileTask, plan: BatchPlan) -> FileResult:
    message = (
        f"{task.name}: the processes that worked on it died; it may crash a decoder, or memory is "
        "short"
    )
    error = FileError("worker_died", message)
    return FileResult(make_failed_report(task.name, error, plan.analyzer.config))


def _fresh_media_s(result: FileResult) -> float:
    media = result.report.media
    return 0.0 if result.known or media is None else media.duration_s


def media_length_s(path: str) -> float | None:
    """Length of a file for the progress bar; None if it can't be told at once."""
    if is_remote(path):
        return None
    try:
        return probe(path).duration_s
    except MediaError:
        return None  # Analysing tells the user why.
