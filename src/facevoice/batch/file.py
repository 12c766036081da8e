"""One file of a batch: found in the cache or analysed, and never an exception."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from facevoice.batch.cache import ReportCache, recipe_id
from facevoice.batch.journal import FileJournal
from facevoice.config import AnalyzerConfig
from facevoice.errors import FacevoiceError, MediaError, MediaNotFoundError
from facevoice.labels import Status
from facevoice.media.probe import file_sha256
from facevoice.media.remote import fetched, identify, is_remote, public_address
from facevoice.results import FileError, ModelId, Prediction, Report
from facevoice.version import VERSION

if TYPE_CHECKING:
    from facevoice.pipeline import Analyzer, Journal

logger = logging.getLogger(__name__)

# Errors that lie in the content: another try gives the same.
_LASTING: Final = frozenset({"empty_media", "unreadable_media", "no_stream"})


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is to hear of a file while it is analysed: seconds of media done, and every window."""

    on_progress: Callable[[float], None] | None = None
    on_window: Callable[[Prediction], None] | None = None


_UNWATCHED: Final = Watch()


class FileAnalyzer(Protocol):
    """What a batch needs of an analyzer; `facevoice.pipeline.Analyzer` is one."""

    @property
    def config(self) -> AnalyzerConfig:
        """The settings it works with; a failed file's report names them too."""

    @property
    def models(self) -> dict[str, ModelId]:
        """The weights that it works with."""

    def analyze(
        self,
        path: str | Path,
        *,
        on_progress: Callable[[float], None] | None = None,
        on_window: Callable[[Prediction], None] | None = None,
        journal: Journal | None = None,
        sha256: str | None = None,
    ) -> Report:
        """Analyse one file; may raise `FacevoiceError`."""


@dataclass(frozen=True, slots=True)
class AnalyzerSetup:
    """What it takes to build the same analyzer in any process: the arguments of `Analyzer`."""

    config: AnalyzerConfig
    checkpoint: Path | None = None
    backbones: tuple[str, ...] = ()
    num_threads: int | None = None

    def build(self) -> Analyzer:
        """Load the networks; see `Analyzer` for what is raised."""
        # Here, so that commands that analyse nothing need not load the networks' runtime.
        from facevoice.pipeline import Analyzer

        return Analyzer(
            self.config,
            checkpoint=self.checkpoint,
            backbones=self.backbones,
            num_threads=self.num_threads,
        )


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a process of a batch needs to know once.

    cache: a folder for what is done; None to remember nothing; again: take nothing from it.
    """

    analyzer: AnalyzerSetup
    cache: Path | None
    again: bool = False


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file of a batch: its place in the order, and its path or address."""

    index: int
    path: str

    @property
    def name(self) -> str:
        """What reports and people may see: of an address no user, password and query."""
        return public_address(self.path) if is_remote(self.path) else self.path


@dataclass(frozen=True, slots=True, eq=False)
class FileResult:
    """What became of a file.

    known: whether the report was there before; sha256: of the content, None where it could not be
    read; was_streamed: whether each of its windows was told as soon as it was done.
    """

    report: Report
    known: bool = False
    sha256: str | None = None
    was_streamed: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether the content alone decides, so that another try would give the same."""
        error = self.report.error
        return self.sha256 is not None and (error is None or error.kind in _LASTING)


class FileWorker:
    """Analyses one file after the other.

    Args:
        analyzer: does the work.
        cache: asked first, and given what is done; None for none.
        again: take nothing from the cache.
    """

    def __init__(
        self, analyzer: FileAnalyzer, cache: ReportCache | None = None, *, again: bool = False
    ) -> None:
        self._analyzer = analyzer
        self._cache = cache
        self._again = again

    def __call__(self, task: FileTask, watch: Watch = _UNWATCHED) -> FileResult:
        """The report of a file; one that fails gives a report with status `failed`."""
        try:
            result = (
                self._remote(task, watch)
                if is_remote(task.path)
                else self._local(Path(task.path), task.name, watch)
            )
            told = watch.on_window is not None and not result.known
            return replace(result, was_streamed=told)
        except FacevoiceError as error:
            return self._failed(task.name, FileError(error.kind, str(error)))
        except Exception as error:
            # One file's surprise must not cost the results of all the others. (Of an address, what
            # led to it may hold what is secret.)
            logger.error("%s: unexpected error", task.name, exc_info=not is_remote(task.path))
            reason = str(error).replace(task.path, task.name)
            message = f"{task.name}: unexpected {type(error).__name__}: {reason}"
            return self._failed(task.name, FileError("internal", message))

    def _remote(self, task: FileTask, watch: Watch) -> FileResult:
        source = source_of(task) if self._cache is not None else None
        if self._cache is not None and source is not None and not self._again:
            known = recall(self._cache, source, task)
            if known is not None:
                return known
        with fetched(task.path) as path:
            result = self._local(path, task.name, watch)
        if self._cache is not None and source is not None and result.sha256 is not None:
            self._cache.remember(source, result.sha256)
        return result

    def _local(self, path: Path, name: str, watch: Watch) -> FileResult:
        """Analyse the file at `path`, which reports call `name`."""
        if path.is_dir():
            raise MediaNotFoundError(
                path, "the folder holds no media file.", "Name files to analyse them anyway."
            )
        try:
            sha256 = file_sha256(path) if path.is_file() else None
        except OSError:
            sha256 = None  # Analysing says what is wrong.
        if self._cache is None or sha256 is None:
            report = self._analyze(path, name, watch, sha256, None)
            return FileResult(report, sha256=sha256)
        with self._cache.locked(sha256):
            known = None if self._again else self._cache.get(sha256, name)
            if known is not None:
                return FileResult(known, known=True, sha256=sha256)
            with FileJournal(self._cache.journal_path(sha256), fresh=self._again) as journal:
                report = self._analyze(path, name, watch, sha256, journal)
                result = FileResult(report, sha256=sha256)
                if result.is_lasting:
                    self._cache.put(sha256, report)
                    journal.finish()
        return result

    def _analyze(
        self,
        path: Path,
        name: str,
        watch: Watch,
        sha256: str | None,
        journal: Journal | None,
    ) -> Report:
        try:
            report = self._analyzer.analyze(
                path,
                on_progress=watch.on_progress,
                on_window=watch.on_window,
                journal=journal,
                sha256=sha256,
            )
        except MediaError as error:
            message = str(error).replace(str(path), name)
            return self._failed(name, FileError(error.kind, message), sha256).report
        if report.path == name:
            return report
        media = None if report.media is None else replace(report.media, path=Path(name))
        return replace(report, path=name, media=media)

    def _failed(self, path: str, error: FileError, sha256: str | None = None) -> FileResult:
        return FileResult(make_failed_report(path, error, self._analyzer.config, sha256))


def source_of(task: FileTask) -> str | None:
    """Path or address with what changes when its content does, without reading that.

    Of a file its size and time, of an address its ETag or the like; None if nothing tells.

    Raises:
        MediaError, OSError: there is no such file, or it can't be read.
    """
    if is_remote(task.path):
        fingerprint = identify(task.path)
        return None if fingerprint is None else f"{task.path} {fingerprint}"
    stat = Path(task.path).stat()
    return f"{os.path.realpath(task.path)} {stat.st_size} {stat.st_mtime_ns}"


def recall(cache: ReportCache, source: str, task: FileTask) -> FileResult | None:
    """The result of a source that the cache remembers; None if it doesn't."""
    sha256 = cache.recall(source)
    report = None if sha256 is None else cache.get(sha256, task.name)
    return None if report is None else FileResult(report, known=True, sha256=sha256)


def build_file_worker(setup: WorkerSetup) -> Callable[[FileTask], FileResult]:
    """The worker of one process; see `facevoice.workers.run_tasks`."""
    return make_file_worker(setup.analyzer.build(), setup)


def make_file_worker(analyzer: FileAnalyzer, setup: WorkerSetup) -> FileWorker:
    """A worker with an analyzer that is there already."""
    cache = None if setup.cache is None else open_cache(setup.cache, analyzer)
    return FileWorker(analyzer, cache, again=setup.again)


def open_cache(folder: Path, analyzer: FileAnalyzer) -> ReportCache:
    """The cache in a folder, for what an analyzer says.

    Raises:
        ConfigError: the folder can't be made.
    """
    return ReportCache(folder, recipe_id(analyzer.config, analyzer.models))


def make_failed_report(
    path: str, error: FileError, config: AnalyzerConfig, sha256: str | None = None
) -> Report:
    """The report of a file that could not be analysed."""
    return Report(
        path=path,
        sha256=sha256,
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
