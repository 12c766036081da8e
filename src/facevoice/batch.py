"""Many files: analysed in this process, in several, or over a cluster; in order.

One file's failure is its report's, never the batch's. What is perceived goes into the store, so a
batch that is run again does nothing twice, and goes on within the file where it broke off.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from facevoice.errors import (
    ConfigError,
    FacevoiceError,
    MediaError,
    MediaNotFoundError,
    StoppedError,
)
from facevoice.files import file_sha256
from facevoice.finding import find_media, identity
from facevoice.media.open import is_remote
from facevoice.media.remote import fetched, identify, public_address
from facevoice.people.baseline import NOBODY, NOTHING, Known, Others
from facevoice.records import (
    VERSION,
    FileError,
    MediaInfo,
    Perception,
    Prediction,
    Report,
    Status,
    WindowView,
)
from facevoice.settings import AnalyzerConfig
from facevoice.store import Store
from facevoice.texts import shown
from facevoice.workers import num_cpus, run_tasks

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer
    from facevoice.interpret import StreamJudge

_LOG = logging.getLogger(__name__)

BACKENDS: Final = ("local", "ray")
# Asking a server what an address holds is waiting, mostly.
_ASKERS: Final = 16


@dataclass(frozen=True, slots=True)
class AnalyzerSetup:
    """What it takes to build the same analyzer in any process: the arguments of `Analyzer`.

    isolated: whether to read files in isolation; see `Analyzer.in_isolation`.
    """

    config: AnalyzerConfig
    checkpoint: Path | None = None
    backbones: tuple[str, ...] = ()
    num_threads: int | None = None
    isolated: bool = False

    def build(self) -> Analyzer:
        """Load the networks; see `Analyzer` for what is raised."""
        # Here, so that commands that analyse nothing need not load the networks' runtime.
        from facevoice.analyzer import Analyzer

        analyzer = Analyzer(
            self.config,
            checkpoint=self.checkpoint,
            backbones=self.backbones,
            num_threads=self.num_threads,
        )
        return analyzer.in_isolation() if self.isolated else analyzer


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
_Watch = Callable[[float, float | None], None]
"""Hears how much of a file is done, and how long that is if it is known."""
WindowCallback = Callable[[str, Prediction], None]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How files are to be analysed.

    analyzer: what to build in every process; store: the file that remembers what was perceived,
    None for none; again: take nothing from it; jobs: processes, None to choose by files and
    processors; backend: one of `BACKENDS`; address: of the Ray cluster, None for the one that Ray
    finds, or else a local one; streams: also say what windows say as they come, see `FileResult`.

    names: what reports call files, by path, where that isn't the path. others: what each file is
    compared with from elsewhere; same_person, same_setting: the files
    show one person, or share room, microphone and camera, and inform each other.
    """

    analyzer: AnalyzerSetup
    store: Path | None = None
    again: bool = False
    jobs: int | None = None
    backend: str = "local"
    address: str | None = None
    streams: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    others: Others = NOBODY
    same_person: bool = False
    same_setting: bool = False

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            known = ", ".join(BACKENDS)
            raise ConfigError(f"unknown backend {self.backend!r}; known: {known}")
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"jobs = {self.jobs}: at least 1")

    def num_jobs(self, num_files: int) -> int:
        """Processes of this machine for so many files: each costs more to start than one saves."""
        return self.jobs or max(1, min(num_cpus(), num_files // 2))

    def works_here(self, num_files: int) -> bool:
        """Whether the calling process does all the work itself."""
        return self.backend == "local" and min(self.num_jobs(num_files), num_files) <= 1


@dataclass(frozen=True, slots=True, eq=False)
class FileResult:
    """What became of a file.

    known: whether the store held it; was_streamed: whether each of its windows was told as soon as
    it was done; stream: what was told, or would have been: windows compared with those before them
    only, of a plan that streams; told: what it tells other files, where that is asked for;
    perception: of a worker that has no store of its own.
    """

    report: Report
    known: bool = False
    was_streamed: bool = False
    stream: tuple[Prediction, ...] = ()
    told: Known | None = None
    perception: Perception | None = None


def analyze_files(
    paths: Sequence[str | Path],
    plan: BatchPlan,
    *,
    on_progress: ProgressCallback | None = None,
    on_window: WindowCallback | None = None,
    analyzer: Analyzer | None = None,
) -> Generator[FileResult, None, None]:
    """Analyse files; gives one result a file, in the order of `paths`.

    A file that fails gives a report with status `failed` and its error; the others still come.
    Whoever does the work, the reports are the same. Who doesn't want them all closes the generator
    (`contextlib.closing`), which ends the processes.

    Args:
        paths: files or addresses, as `find_files` gives them.
        plan: how to go about it.
        on_progress: called now and then.
        on_window: called with the file and each window as soon as that is done, where one process
            does it all and the files don't inform each other.
        analyzer: does the work where one process does it all; by default built from the plan.

    Raises:
        ConfigError: a setting is wrong, or a process can't be started.
        StoreError: the store can't be opened.
        WeightsError, MissingExtraError: see `Analyzer`; the extra `ray` may be missing too.
    """
    tasks = [
        _Task(index, str(path), called=plan.names.get(str(path)))
        for index, path in enumerate(paths)
    ]
    job = _Job(plan.others, again=plan.again, streams=plan.streams)
    if plan.same_person or plan.same_setting:
        yield from _analyze_together(tasks, plan, job, on_progress, analyzer)
    else:
        yield from _run(tasks, plan, job, on_progress, on_window, analyzer)


def _analyze_together(
    tasks: Sequence[_Task],
    plan: BatchPlan,
    job: _Job,
    on_progress: ProgressCallback | None,
    analyzer: Analyzer | None,
) -> Iterator[FileResult]:
    """First perceive all files, then interpret each by what all others tell.

    What they tell is kept, of each a few statistics; their perceptions wait in the store.
    """
    analyzer = analyzer or plan.analyzer.build()
    with tempfile.TemporaryDirectory(prefix="facevoice-") as folder:
        kept = plan.store or Path(folder, "store.db")
        plan = replace(plan, store=kept)
        failed: dict[int, FileResult] = {}
        known: set[int] = set()
        told: dict[str, Known] = {}
        ask = replace(job, tells=True, streams=False)
        with closing(_run(tasks, plan, ask, on_progress, None, analyzer)) as results:
            for task, result in zip(tasks, results, strict=True):
                if result.told is None:
                    failed[task.index] = result
                    continue
                if result.known:
                    known.add(task.index)
                told[result.report.sha256 or task.path] = Known(
                    result.told.person if plan.same_person else {},
                    result.told.setting if plan.same_setting else {},
                )
        others = _join(plan.others, told)
        with Store(kept, is_strict=False) as store:
            worker = _Worker(analyzer, replace(job, others=others, again=False), store)
            for task in tasks:
                result = failed.get(task.index) or worker(task)
                yield replace(result, known=task.index in known)


def _run(
    tasks: Sequence[_Task],
    plan: BatchPlan,
    job: _Job,
    on_progress: ProgressCallback | None,
    on_window: WindowCallback | None,
    analyzer: Analyzer | None,
) -> Generator[FileResult, None, None]:
    """The result of each task, in order, whoever does the work."""
    if plan.works_here(len(tasks)):
        worker = _Worker(analyzer or plan.analyzer.build(), job, _open(plan.store))
        yield from _one_by_one(tasks, worker, on_progress, on_window)
        return
    start = _run_on_ray if plan.backend == "ray" else _run_locally
    with closing(start(tasks, plan, job)) as results:
        yield from _in_order(results, plan, len(tasks), on_progress)


def _join(others: Others, told: Mapping[str, Known]) -> Others:
    """With what files tell of each other; recordings of the person may be among them."""
    both = dict(others.told)
    for sha256, known in told.items():
        before = both.get(sha256, NOTHING)
        both[sha256] = Known(before.person or known.person, known.setting)
    return Others(others.profile, both)


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """What recordings of a person tell, and what was wrong with those that tell nothing."""

    others: Others
    problems: tuple[str, ...]


def meet(
    paths: Sequence[str | Path],
    plan: BatchPlan,
    *,
    neutral: Sequence[str | Path] = (),
    on_progress: ProgressCallback | None = None,
    analyzer: Analyzer | None = None,
) -> Meeting:
    """Get to know a person by recordings, along with what the plan knows of that person.

    Args:
        paths: files or addresses where the person leads, as `find_media` gives them.
        plan: how to go about it; what is perceived goes into its store.
        neutral: more of them, which are known to show nothing but neutral; one that is in both
            is one of these.
        on_progress, analyzer: as of `analyze_files`, which raises the same.
    """
    calm = {identity(path) for path in neutral}
    rest = [path for path in paths if identity(path) not in calm]
    tasks = [
        _Task(index, str(path), is_neutral=index >= len(rest))
        for index, path in enumerate([*rest, *neutral])
    ]
    told = dict(plan.others.told)
    problems: list[str] = []
    job = _Job(again=plan.again, tells=True)
    with closing(_run(tasks, plan, job, on_progress, None, analyzer)) as results:
        for task, result in zip(tasks, results, strict=True):
            error = result.report.error
            if error is not None:
                problems.append(error.message)
            elif result.told is None or not result.told.person:
                problems.append(
                    f"{shown(task.name)}: shows too little of a face, and of speech, to tell."
                )
            else:
                told[result.report.sha256 or task.path] = Known(person=result.told.person)
    return Meeting(Others(plan.others.profile, told), tuple(problems))


def analyze_paths(
    paths: Iterable[str | Path], analyzer: Analyzer, on_progress: ProgressCallback | None = None
) -> Iterator[Report]:
    """Analyse files and folders in this process, remembering nothing; see `analyze_files`.

    Gives one report a file, in the order of `find_media`.
    """
    tasks = [_Task(index, str(path)) for index, path in enumerate(find_media(paths))]
    for result in _one_by_one(tasks, _Worker(analyzer, _Job()), on_progress):
        yield result.report


@dataclass(frozen=True, slots=True)
class _Task:
    """A file of a batch: its place in the order, its path or address.

    is_neutral: whether it is known to show nothing else; called: see `BatchPlan.names`.
    """

    index: int
    path: str
    is_neutral: bool = False
    called: str | None = None

    @property
    def name(self) -> str:
        """What reports and people may see: of an address no user, password and query."""
        if self.called is not None:
            return self.called
        return public_address(self.path) if is_remote(self.path) else self.path


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What workers do with each file.

    others: see `BatchPlan`; again: take nothing from the store; tells, streams, hands_over: give
    what the file tells others, what its windows say as they come, and its perception, for the
    process that keeps it.
    """

    others: Others = NOBODY
    again: bool = False
    tells: bool = False
    streams: bool = False
    hands_over: bool = False


_TaskResults = Generator[tuple[_Task, FileResult | None], None, None]


class _Worker:
    """Analyses one file after the other; never raises for a file.

    Args:
        analyzer: does the work.
        job: what to do.
        store: asked first, and given what is perceived; None for none.
    """

    def __init__(self, analyzer: Analyzer, job: _Job, store: Store | None = None) -> None:
        self._analyzer = analyzer
        self._job = job
        self._store = store

    def __call__(
        self,
        task: _Task,
        on_progress: _Watch | None = None,
        on_window: Callable[[Prediction], None] | None = None,
    ) -> FileResult:
        """The report of a file; one that fails gives a report with status `failed`."""
        try:
            known = self.recall(task)
            if known is not None:
                return known
            if not is_remote(task.path):
                return self._read(Path(task.path), task, on_progress, on_window)
            fingerprint = None if self._store is None else identify(task.path)
            with fetched(task.path) as path:
                result = self._read(path, task, on_progress, on_window)
            if fingerprint is not None and self._store is not None and result.report.sha256:
                self._store.remember_source(task.path, fingerprint, result.report.sha256)
            return result
        except FacevoiceError as error:
            return self._failed(task, FileError(error.kind, str(error)))
        except (BrokenPipeError, StoppedError):
            raise  # Whoever waits for it has seen enough; nothing is wrong with the file.
        except Exception as error:  # noqa: BLE001 - told in the report
            # One file's surprise must not cost the results of all the others. (Of an address, what
            # led to it may hold what is secret.)
            _LOG.error("%s: unexpected error", shown(task.name), exc_info=not is_remote(task.path))
            reason = str(error).replace(task.path, task.name)
            message = f"{shown(task.name)}: unexpected {type(error).__name__}: {reason}"
            return self._failed(task, FileError("internal", message))

    def recall(self, task: _Task) -> FileResult | None:
        """The report of a file that the store holds whole; None if it doesn't."""
        if self._store is None or self._job.again:
            return None
        if is_remote(task.path):
            fingerprint = identify(task.path)
            content = fingerprint and self._store.recall_source(task.path, fingerprint)
        else:
            try:
                path = Path(task.path)
                content = self._store.content_of(path) if path.is_file() else None
            except OSError:
                return None  # Reading it says what is wrong.
        perception = self._analyzer.recall(task.path, content, self._store) if content else None
        if perception is None:
            return None
        return replace(self._interpret(perception, task), known=True)

    def keep(self, task: _Task, result: FileResult) -> None:
        """Put what another process perceived into the store."""
        perception = result.perception
        if self._store is None or perception is None or perception.sha256 is None:
            return
        self._analyzer.perceiver.keep(perception, self._store)
        fingerprint = identify(task.path) if is_remote(task.path) else None
        if fingerprint is not None:
            self._store.remember_source(task.path, fingerprint, perception.sha256)

    def _read(
        self,
        path: Path,
        task: _Task,
        on_progress: _Watch | None,
        on_window: Callable[[Prediction], None] | None,
    ) -> FileResult:
        """Analyse the file at `path`, which reports call by the task's name."""
        if os.path.isdir(path):  # noqa: PTH112 - a name may be too long for `Path.is_dir`
            raise MediaNotFoundError(
                path, "the folder holds no media file.", "Name files to analyse them anyway."
            )
        try:
            judge: StreamJudge | None = None
            duration_s = 0.0

            def begin(media: MediaInfo) -> None:
                nonlocal judge, duration_s
                duration_s = media.duration_s
                if on_window is not None:
                    judge = self._analyzer.stream_judge(media, known=self._known_to(path))

            def tell(view: WindowView) -> None:
                if on_window is not None and judge is not None:
                    on_window(judge(view))
                if on_progress is not None:
                    on_progress(view.end_s, duration_s)

            perception = self._analyzer.perceive(
                path, on_media=begin, on_view=tell, store=self._store, again=self._job.again
            )
        except MediaError as error:
            message = str(error).replace(str(path), task.name)
            return self._failed(task, FileError(error.kind, message))
        handed = perception if self._job.hands_over else None
        result = self._interpret(perception, task)
        return replace(result, was_streamed=on_window is not None, perception=handed)

    def _known_to(self, path: Path) -> Known:
        """What a file is compared with, which is to be known before it is read."""
        others = self._job.others
        return others.known_to(file_sha256(path) if others.told else None)

    def _interpret(self, perception: Perception, task: _Task) -> FileResult:
        analyzer, job = self._analyzer, self._job
        known = job.others.known_to(perception.sha256)
        report = _named(analyzer.interpret(perception, known=known), task.name)
        stream: tuple[Prediction, ...] = ()
        if job.streams:
            judge = analyzer.stream_judge(perception.media, known=known)
            stream = tuple(judge(view) for view in perception.windows)
        told = analyzer.know(perception, neutral=task.is_neutral) if job.tells else None
        return FileResult(report, stream=stream, told=told)

    def _failed(self, task: _Task, error: FileError) -> FileResult:
        return FileResult(failed_report(task.name, error, self._analyzer.config))


def _named(report: Report, name: str) -> Report:
    """The same report under the name that people know the file by."""
    if report.path == name:
        return report
    media = None if report.media is None else replace(report.media, path=Path(name))
    return replace(report, path=name, media=media)


def failed_report(path: str, error: FileError, config: AnalyzerConfig) -> Report:
    """The report of a file that could not be analysed."""
    return Report(
        path=path,
        sha256=None,
        media=None,
        status=Status.FAILED,
        error=error,
        windows=(),
        summary=None,
        outcome_counts={},
        models={},
        config=config,
        facevoice_version=VERSION,
    )


def _open(path: Path | None) -> Store | None:
    # A full disk must not cost the analysis, only the way back into it.
    return None if path is None else Store(path, is_strict=False)


def _one_by_one(
    tasks: Sequence[_Task],
    worker: _Worker,
    on_progress: ProgressCallback | None = None,
    on_window: WindowCallback | None = None,
) -> Iterator[FileResult]:
    media_s = 0.0
    for task in tasks:
        watch_window = None if on_window is None else partial(on_window, task.name)
        result = worker(task, _watch(task, len(tasks), media_s, on_progress), watch_window)
        media_s += _fresh_media_s(result)
        yield result


def _watch(
    task: _Task, num_files: int, media_s: float, on_progress: ProgressCallback | None
) -> _Watch | None:
    if on_progress is None:
        return None

    def watch(done_s: float, duration_s: float | None) -> None:
        on_progress(
            Progress(task.name, task.index, num_files, done_s, duration_s, media_s + done_s)
        )

    watch(0.0, None)
    return watch


def _in_order(
    results: _TaskResults, plan: BatchPlan, num_files: int, on_progress: ProgressCallback | None
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


def _died(task: _Task, plan: BatchPlan) -> FileResult:
    message = (
        f"{shown(task.name)}: the processes that worked on it died; it may crash a decoder, or "
        "memory is short"
    )
    error = FileError("worker_died", message)
    return FileResult(failed_report(task.name, error, plan.analyzer.config))


def _fresh_media_s(result: FileResult) -> float:
    media = result.report.media
    return 0.0 if result.known or media is None else media.duration_s


def _run_locally(tasks: Sequence[_Task], plan: BatchPlan, job: _Job) -> _TaskResults:
    """Each task with its result as it gets done, in processes that share the store."""
    jobs = min(plan.num_jobs(len(tasks)), len(tasks))
    threads = plan.analyzer.num_threads or max(1, num_cpus() // jobs)
    setup = replace(plan.analyzer, num_threads=threads), job, plan.store
    return run_tasks(tasks, _build_worker, setup, jobs)


def _build_worker(
    setup: tuple[AnalyzerSetup, _Job, Path | None],
) -> Callable[[_Task], FileResult]:
    analyzer, job, store = setup
    return _Worker(analyzer.build(), job, _open(store))


def _run_on_ray(tasks: Sequence[_Task], plan: BatchPlan, job: _Job) -> _TaskResults:
    """Each task with its result, those in the store first, the others as they get done.

    Machines of a cluster share no file that SQLite may be trusted with, so the workers hand their
    perceptions back and the store is written here.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: the cluster can't be reached, or an analyzer not be built there.
    """
    from facevoice.workers import run_ray_tasks

    threads = plan.analyzer.num_threads or 1
    remote = replace(plan.analyzer, num_threads=threads)
    keeper = None
    rest = list(tasks)
    if plan.store is not None:
        keeper = _Worker(plan.analyzer.build(), job, _open(plan.store))
        with ThreadPoolExecutor(_ASKERS) as pool:
            found = list(pool.map(partial(_recall_or_none, keeper), tasks))
        rest = [task for task, known in zip(tasks, found, strict=True) if known is None]
        for task, known in zip(tasks, found, strict=True):
            if known is not None:
                yield task, known
    running = run_ray_tasks(
        rest,
        _build_worker,
        (remote, replace(job, hands_over=keeper is not None), None),
        address=plan.address,
        num_cpus=float(threads),
    )
    with closing(running) as results:
        for task, result in results:
            if keeper is not None and result is not None:
                keeper.keep(task, result)
                result = replace(result, perception=None)  # noqa: PLW2901
            yield task, result


def _recall_or_none(keeper: _Worker, task: _Task) -> FileResult | None:
    try:
        return keeper.recall(task)
    except (FacevoiceError, OSError):
        return None  # The worker says what is wrong.
