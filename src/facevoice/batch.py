"""Reports that are done, by what a file holds and by what made them; shared by any number of runs.

A folder of small files: `reports/` (whole reports, all digits), `partial/` (journals of files that
are being analysed, or were when something stopped), `locks/`, and `sources/` (which content an
address held when it was last fetched). Files appear whole or not at all, and a content is worked on
by one process at a time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from filelock import FileLock

from facevoice.errors import (
    ConfigError,
    FacevoiceError,
    MediaError,
    MediaNotFoundError,
    ReportError,
)
from facevoice.files import write_atomically
from facevoice.media.open import file_sha256, probe
from facevoice.media.remote import fetched, identify, is_remote, list_media, public_address
from facevoice.records import (
    VERSION,
    FaceMemory,
    FileError,
    ModelId,
    Prediction,
    Report,
    ResumePoint,
    Status,
    TrackMemory,
)
from facevoice.report.folder import WINDOWS_STEM
from facevoice.report.json import prediction_from_dict, prediction_to_dict, read_report, to_json
from facevoice.settings import AnalyzerConfig
from facevoice.workers import num_cpus, run_ray_tasks, run_tasks

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer, Journal, Step


_LOG = logging.getLogger(__name__)


def recipe_id(config: AnalyzerConfig, models: dict[str, ModelId]) -> str:
    """Sixteen hexadecimal digits that stand for settings, weights and version."""
    recipe = {
        "version": VERSION,
        "settings": config.to_dict(),
        "models": {role: model.sha256 for role, model in sorted(models.items())},
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


class ReportCache:
    """Reports made by one recipe, in a folder.

    Args:
        folder: made where it is missing.
        recipe: from `recipe_id`.

    Raises:
        ConfigError: the folder can't be made.
    """

    def __init__(self, folder: Path, recipe: str) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cache {folder}: can't be made ({error.strerror})") from error
        self._folder = folder
        self._recipe = recipe

    def get(self, sha256: str, path: str) -> Report | None:
        """The report of a content, as that of the file `path`; None if there is none."""
        file = self._file("reports", sha256, "json")
        if not file.is_file():
            return None
        try:
            report = read_report(file)
        except ReportError as error:
            _LOG.warning("%s; the file is analysed again", error)
            return None
        return _renamed(report, path)

    def put(self, sha256: str, report: Report) -> None:
        """Keep a report; what can't be written is not remembered, but not lost either."""
        self._write(self._file("reports", sha256, "json"), to_json(report, exact=True))

    def journal_path(self, sha256: str) -> Path:
        """Where what has come of a content so far is kept."""
        return self._file("partial", sha256, "jsonl")

    @contextmanager
    def locked(self, sha256: str) -> Iterator[None]:
        """Wait until no other process works on a content, and keep others from it.

        Raises:
            OSError: the lock file can't be made.
        """
        file = self._file("locks", sha256, "lock")
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file):
            yield

    def recall(self, source: str) -> str | None:
        """SHA-256 of the content that an address, with its fingerprint, held; None if unknown."""
        file = self._file("sources", hashlib.sha256(source.encode()).hexdigest(), "txt")
        try:
            return file.read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def remember(self, source: str, sha256: str) -> None:
        """Note what an address held, if it can be written."""
        digest = hashlib.sha256(source.encode()).hexdigest()
        self._write(self._file("sources", digest, "txt"), sha256 + "\n")

    def _file(self, kind: str, digest: str, ending: str) -> Path:
        return self._folder / kind / digest[:2] / f"{digest}-{self._recipe}.{ending}"

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, text)
        except OSError as error:
            _LOG.warning("%s: can't be written, so this is not remembered (%s)", path, error)


def _renamed(report: Report, path: str) -> Report:
    """The same report for another file of the same content."""
    media = None if report.media is None else replace(report.media, path=Path(path))
    error = report.error
    if error is not None:
        error = replace(error, message=error.message.replace(report.path, path))
    return replace(report, path=path, media=media, error=error)


# What has come of a file so far, on disk while it is being analysed.
#
# A text file of one JSON object a line that only grows: `window` lines hold predictions with all
# their digits; now and then a `begin` line before one says how to go on from there. Whatever a kill
# leaves of the last line is passed over.


# So much work, in seconds, may have to be done again.
_BEGIN_EVERY_S: Final = 5.0


class FileJournal:
    """A journal at `path`; `facevoice.analyzer.Journal` says what it is for.

    Use it in a `with` block by one process at a time. `finish` removes it.

    Args:
        path: of the file; made with its folder where it is missing.
        fresh: forget what an earlier run left.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        """Read what an earlier run left, up to the last place where one can go on."""
        self._path = path
        self._file: IO[bytes] | None = None
        self._last_begin_s = -np.inf
        self.predictions: Sequence[Prediction] = ()
        self.start: ResumePoint | None = None
        self.damage: Sequence[str] = ()
        self._num_bytes = 0
        if path.is_file() and not fresh:
            self._read(path.read_bytes())

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab")
        self._file.truncate(self._num_bytes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, step: Step, damage: Sequence[str]) -> None:
        """Take the next window; it is in the file when this returns, if that can be written."""
        now_s = time.monotonic()
        # A window without frames before it gives the face tracker nothing to go on from.
        if now_s - self._last_begin_s >= _BEGIN_EVERY_S and _is_whole(step):
            self._write(
                begin=step.begin.window,
                face_memory=_memory_to_dict(step.begin.face_memory),
                damage=list(damage),
            )
            self._last_begin_s = now_s
        self._write(window=prediction_to_dict(step.prediction, exact=True))

    def finish(self) -> None:
        """The file is done: nothing is left to go on with."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, **entry: Any) -> None:
        if self._file is None:
            return
        try:
            self._file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
            self._file.flush()
        except OSError as error:
            # A full disk must not cost the analysis, only the way back into it.
            _LOG.warning("%s: can't be written any more (%s)", self._path, error)
            self._file = None

    def _read(self, content: bytes) -> None:
        windows: list[Prediction] = []
        place = 0
        for line in content.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                if "window" in entry:
                    windows.append(prediction_from_dict(entry["window"]))
                elif entry["begin"] != len(windows):
                    raise ValueError(f"window {entry['begin']} does not follow {len(windows)}")
                else:
                    memory = _memory_from_dict(entry["face_memory"])
                    self.start = ResumePoint(len(windows), memory)
                    self.damage = tuple(entry["damage"])
                    self.predictions = tuple(windows)
                    self._num_bytes = place
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _LOG.debug("%s: goes on before a line that is no use (%s)", self._path, error)
                return
            place += len(line)


def _is_whole(step: Step) -> bool:
    """Whether one can go on before this window: no faces are known only where no video is."""
    return step.begin.face_memory is not None or step.begin.window == 0 or not step.has_video


def _memory_to_dict(memory: FaceMemory | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "tracks": [
            {
                "track_id": track.track_id,
                "box": track.box.tolist(),
                "looks": track.looks.tolist(),
                "seen_s": track.seen_s,
                "confirmed_s": track.confirmed_s,
                "velocity": track.velocity.tolist(),
            }
            for track in memory.tracks
        ],
        "next_id": memory.next_id,
        "thumbnail": None if memory.thumbnail is None else memory.thumbnail.tolist(),
        "last_s": float(memory.last_s),
        "next_detect_s": float(memory.next_detect_s),
        "alert_until_s": float(memory.alert_until_s),
    }


def _memory_from_dict(values: dict[str, Any] | None) -> FaceMemory | None:
    # float32 numbers come back from JSON as they were: their digits are those of a double.
    if values is None:
        return None
    tracks = tuple(
        TrackMemory(
            track_id=track["track_id"],
            box=np.array(track["box"], np.float32),
            looks=np.array(track["looks"], np.float32),
            seen_s=track["seen_s"],
            confirmed_s=track["confirmed_s"],
            velocity=np.array(track["velocity"], np.float32),
        )
        for track in values["tracks"]
    )
    thumbnail = values["thumbnail"]
    picture = None if thumbnail is None else np.array(thumbnail, np.float32)
    return FaceMemory(**{**values, "tracks": tracks, "thumbnail": picture})


# Finds the files to analyse, and names their outputs.

MEDIA_EXTENSIONS: Final[frozenset[str]] = frozenset(
    {
        ".3gp",
        ".aac",
        ".aif",
        ".aiff",
        ".avi",
        ".flac",
        ".flv",
        ".m2ts",
        ".m4a",
        ".m4v",
        ".mkv",
        ".mov",
        ".mp3",
        ".mp4",
        ".mpeg",
        ".mpg",
        ".mts",
        ".oga",
        ".ogg",
        ".ogv",
        ".opus",
        ".ts",
        ".wav",
        ".webm",
        ".wma",
        ".wmv",
    }
)
"""Endings by which files are found in folders; a file named outright may have any."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file or an address to analyse, and the relative path without ending of its outputs."""

    path: Path | str
    name: PurePath


def find_media(paths: Iterable[str | Path]) -> list[Path | str]:
    """Files to analyse: files as given, folders searched through; none twice.

    Addresses (https://…, s3://…) stay texts; those of folders, and patterns, are searched through.

    What is not there stays in the list, so that it is reported and not passed over; so does a
    folder that holds no media.
    """
    return [file.path for file in find_files(paths)]


def find_files(paths: Iterable[str | Path]) -> list[FoundFile]:
    """`find_media`, with names for outputs.

    A file from a folder keeps its place below that folder. Names that would clash (also with
    the table over all files, or where upper and lower case are one) get eight hexadecimal
    digits of the path's SHA-256 added.
    """
    found: dict[str, FoundFile] = {}
    for path in paths:
        address = _as_path(str(path))
        files = _search_remote(address) if is_remote(address) else _search(Path(address))
        for file in files:
            found.setdefault(_identity(file.path), file)
    counts = Counter(_fold(file.name) for file in found.values())
    counts[WINDOWS_STEM] += 1
    return [
        FoundFile(file.path, _add_hash(file)) if counts[_fold(file.name)] > 1 else file
        for file in found.values()
    ]


def _as_path(path: str) -> str:
    """The path that a file:// address names; anything else as it is."""
    parts = urlsplit(path)
    return url2pathname(parts.path) if parts.scheme.lower() == "file" else path


def _identity(path: Path | str) -> str:
    return path if isinstance(path, str) else os.path.realpath(path)


def _search_remote(url: str) -> Iterator[FoundFile]:
    try:
        addresses = list_media(url, MEDIA_EXTENSIONS)
    except MediaError:
        addresses = []  # Reading it says what is wrong.
    for address in addresses or [url]:
        yield FoundFile(address, PurePath(PurePosixPath(urlsplit(address).path).stem or "input"))


def _search(path: Path) -> Iterator[FoundFile]:
    files = sorted(_walk(path)) if path.is_dir() else []
    for file in files:
        yield FoundFile(file, file.relative_to(path).with_suffix(""))
    if not files:
        yield FoundFile(path, PurePath(path.stem or "input"))


def _walk(folder: Path) -> Iterator[Path]:
    # `os.walk` doesn't follow links to folders, so a link upwards can't make it run for ever.
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.suffix.lower() in MEDIA_EXTENSIONS and not name.startswith("."):
                yield path


def _fold(name: PurePath) -> str:
    return name.as_posix().casefold()


def _add_hash(file: FoundFile) -> PurePath:
    digest = hashlib.sha256(os.fsencode(_identity(file.path))).hexdigest()
    return file.name.with_name(f"{file.name.name}-{digest[:8]}")


# One file of a batch: found in the cache or analysed, and never an exception.

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
    """What a batch needs of an analyzer; `facevoice.analyzer.Analyzer` is one."""

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
        from facevoice.analyzer import Analyzer

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


# Many files: in this process, in several, or over a cluster; in order, and losing none.

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


# A batch over a Ray cluster; what is done is remembered here, where the batch was started.

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
