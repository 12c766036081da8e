"""Who does the jobs: threads that take one after the other, each file read in isolation."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup, BatchPlan, Progress, analyze_files, failed_report
from facevoice.errors import FacevoiceError, StoppedError, TooLongError
from facevoice.media.public import FetchBounds, fetch_public
from facevoice.records import FileError, Prediction, Report, Status
from facevoice.report import window_to_jsonl
from facevoice.service.database import DatabaseError
from facevoice.service.jobs import LEASE_S, MAX_ATTEMPTS, Job, Jobs
from facevoice.service.limits import KeyLimits, ServiceOptions
from facevoice.texts import shown

_LOG = logging.getLogger(__name__)

_IDLE_S: Final = 1.0
# Files are fetched beside the work: a server that is slow keeps nobody from it.
_NUM_FETCHERS: Final = 4
_TELL_S: Final = 0.5
_SWEEP_S: Final = 30.0
# What lies there without a job came to lie there for one that is yet to be added, or was killed.
_ORPHAN_S: Final = 24 * 3600.0
# Windows take a few seconds; who waits for longer is left, and its job begun again another time.
_PATIENCE_S: Final = 20.0
_PERCEPTION: Final = "perception.db"
FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
"""Numbers of errors that say that there is no room."""
_JOBS: Final = "jobs"


class JobFiles:
    """A folder for each job, with its file and what was perceived so far; nothing else is kept."""

    def __init__(self, root: Path) -> None:
        self._root = root / _JOBS
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make(self, number: str, name: str) -> Path:
        """A new folder, and where in it the file is to lie."""
        folder = self._root / number
        folder.mkdir(mode=0o700)
        return self.media(number, name)

    def media(self, number: str, name: str) -> Path:
        """Where a job's file lies: only the ending is the stranger's."""
        ending = PurePosixPath(name).suffix.lower()
        is_plain = ending[1:].isascii() and ending[1:].isalnum() and len(ending) < 10
        return self._root / number / f"media{ending if is_plain else ''}"

    def perception(self, number: str) -> Path:
        """Where the windows of a job are kept until it is answered."""
        return self._root / number / _PERCEPTION

    def remove(self, number: str) -> None:
        """Delete all that is there of a job."""
        shutil.rmtree(self._root / number, ignore_errors=True)

    def sweep(self, jobs: Jobs, older_than_s: float) -> None:
        """Delete folders whose job needs them no more; without a job, but for new ones."""
        for folder in self._root.iterdir():
            with suppress(OSError):  # it goes meanwhile
                is_old = time.time() - folder.stat().st_mtime >= older_than_s
                if (is_old or jobs.exists(folder.name)) and not jobs.is_at_work(folder.name):
                    self.remove(folder.name)


def bring_to_disk(path: Path) -> None:
    """Wait until a file and its folder would outlive a power cut."""
    for one in (path, path.parent, path.parent.parent):
        number = os.open(one, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@dataclass(slots=True)
class Tally:
    """What this process has done, for its metrics."""

    num_answered: dict[str, int] = field(default_factory=dict)
    """Jobs by outcome, or by the kind of their error."""
    media_s: float = 0.0
    work_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, report: Report, work_s: float) -> None:
        """Count a job."""
        said = "insufficient" if report.summary is None else report.summary.outcome.value
        what = said if report.error is None else report.error.kind
        with self.lock:
            self.num_answered[what] = self.num_answered.get(what, 0) + 1
            self.media_s += 0.0 if report.media is None else report.media.duration_s
            self.work_s += work_s


class Workers:
    """Threads that work on the jobs until they are stopped.

    Args:
        jobs, files: what there is to do, and where its files lie.
        setup: what `analyzer` was built from.
        analyzer: reads in isolation.
        options: of the service.
        limits_of: what the owner of a job may ask for.
        tally: counts what is done.
    """

    def __init__(
        self,
        jobs: Jobs,
        files: JobFiles,
        setup: AnalyzerSetup,
        analyzer: Analyzer,
        options: ServiceOptions,
        limits_of: Callable[[str], KeyLimits],
        tally: Tally,
    ) -> None:
        self._jobs, self._files = jobs, files
        self._setup, self._analyzer = setup, analyzer
        self._options, self._limits_of = options, limits_of
        self._tally = tally
        self._stopping = threading.Event()
        self._added = threading.Event()
        works: list[_Work] = [self._do] * options.num_at_once
        works += [self._fetch] * _NUM_FETCHERS
        self._threads = [
            *(threading.Thread(target=self._work, args=(work,), daemon=True) for work in works),
            threading.Thread(target=self._look_after, args=(LEASE_S / 6, jobs.renew), daemon=True),
            threading.Thread(target=self._look_after, args=(_SWEEP_S, self._sweep), daemon=True),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def is_working(self) -> bool:
        """Whether all threads that were started are there."""
        return not self._stopping.is_set() and all(t.is_alive() for t in self._threads)

    def nudge(self) -> None:
        """Say that a job was added."""
        self._added.set()

    def stop(self) -> None:
        """End; jobs that run wait again, and go on another time where they are."""
        self._stopping.set()
        self._added.set()
        deadline_s = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline_s - time.monotonic()))

    def _work(self, work: _Work) -> None:
        while not self._stopping.is_set():
            try:
                job = self._jobs.claim(to_fetch=work == self._fetch)
                if job is None:
                    self._added.wait(_IDLE_S)
                    self._added.clear()
                    continue
                self._go_on(job, work)
            except Exception as error:  # noqa: BLE001 - others' jobs must go on
                # It waits again, and is begun a few times before it is given up.
                _log("a job could not be worked on", error)
                self._stopping.wait(_IDLE_S)

    def _go_on(self, job: Job, work: _Work) -> None:
        """Do a part of a job; what is left of one that is gone, or answered, is deleted."""
        begun_s = time.monotonic()
        limits = self._limits_of(job.owner)
        try:
            if job.attempt > MAX_ATTEMPTS:
                problem = f"was begun {MAX_ATTEMPTS} times and never brought to an end."
                report: Report | None = self._failed(
                    job, "gave_up", f"{shown(job.name)}: {problem} Try another copy."
                )
            else:
                report = work(job, _Voice(self._jobs, job, self._stopping, limits.max_length_s))
            if report is None:
                self._jobs.note_fetched(job)
                self.nudge()
            else:
                work_s = time.monotonic() - begun_s
                self._jobs.answer(job, report, partial(self._tally.add, report, work_s))
        except StoppedError:
            if self._stopping.is_set():
                self._jobs.put_back(job)
        finally:
            self._jobs.let_go(job)
            # Another process may have taken it over, so that it is not for us to say.
            if not self._jobs.is_at_work(job.id):
                self._files.remove(job.id)

    def _fetch(self, job: Job, voice: _Voice) -> Report | None:
        """Fetch the file of a job; a report if that can't be had."""
        limits = self._limits_of(job.owner)
        options = self._options
        bounds = FetchBounds(limits.max_bytes, options.fetch_s, not options.private_addresses)
        path = self._files.media(job.id, job.name)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            fetch_public(str(job.address), path, bounds, on_bytes=lambda _: voice.check())
        except FacevoiceError as error:
            return self._failed(job, error.kind, str(error))
        except OSError as error:
            if error.errno not in FULL:
                raise
            problem = f"{shown(job.name)}: the server has no room for it. Try again later."
            return self._failed(job, "disk_full", problem)
        bring_to_disk(path)
        return None

    def _do(self, job: Job, voice: _Voice) -> Report:
        """The report of a job's file: that of the command, under the name that the client gave."""
        path = self._files.media(job.id, job.name)
        plan = BatchPlan(
            self._setup,
            store=self._files.perception(job.id),
            jobs=1,
            streams=True,
            names={str(path): job.name},
        )
        with closing(
            analyze_files(
                [path],
                plan,
                analyzer=self._analyzer,
                on_progress=voice.hear_progress,
                on_window=voice.hear_window,
            )
        ) as results:
            result = next(results)
        if not result.was_streamed:  # it was perceived whole before the process died
            for window in result.stream:
                voice.hear_window(job.name, window)
        if result.report.status is not Status.FAILED:
            voice.tell_all()
        return result.report

    def _failed(self, job: Job, kind: str, message: str) -> Report:
        return failed_report(job.name, FileError(kind, message), self._analyzer.config)

    def _look_after(self, every_s: float, what: Callable[[], None]) -> None:
        while not self._stopping.wait(every_s):
            try:
                what()
            except Exception as error:  # noqa: BLE001 - tried again soon
                _log("the jobs could not be looked after", error)

    def _sweep(self) -> None:
        for number in self._jobs.delete_old(self._options.keep_s):
            self._files.remove(number)
        self._files.sweep(self._jobs, _ORPHAN_S)


def _log(what: str, error: Exception) -> None:
    """Where it came from too, but for a database that is away: that is said again and again."""
    is_known = isinstance(error, DatabaseError)
    _LOG.error("%s: %s", what, error, exc_info=None if is_known else error)


class _Voice:
    """Tells how a job goes on; ends one that nobody waits for, or that is too long."""

    def __init__(
        self, jobs: Jobs, job: Job, stopping: threading.Event, max_length_s: float
    ) -> None:
        self._jobs, self._job = jobs, job
        self._stopping, self._max_length_s = stopping, max_length_s
        self._lines: list[str] = []
        self._num_told = 0
        self._done_s = 0.0
        self._duration_s: float | None = None
        self._told_at_s = time.monotonic()

    def check(self) -> None:
        """Raise StoppedError where the service ends, or the job is gone."""
        if self._stopping.is_set():
            raise StoppedError
        if time.monotonic() - self._told_at_s >= _TELL_S:
            # Told later where the database can't be reached now; the file is not at fault.
            with suppress(DatabaseError):
                self.tell_all()

    def hear_progress(self, progress: Progress) -> None:
        """How far the file is read."""
        self._done_s, self._duration_s = progress.done_s or 0.0, progress.duration_s
        length_s = max(self._done_s, self._duration_s or 0.0)
        if length_s > self._max_length_s:
            problem = (
                f"lasts {length_s / 60:.1f} minutes; at most {self._max_length_s / 60:g} are taken."
            )
            raise TooLongError(self._job.name, problem, "Cut it.")
        self.check()

    def hear_window(self, name: str, window: Prediction) -> None:
        """What a window says, compared with those before it."""
        self._lines.append(window_to_jsonl(name, window).rstrip("\n"))

    def tell_all(self) -> None:
        """Write down what there is to tell.

        Raises:
            StoppedError: the job isn't ours any more.
            DatabaseError: it can't be written; it is told the next time.
        """
        self._told_at_s = time.monotonic()
        told = (self._num_told, self._lines, self._done_s, self._duration_s)
        if not self._jobs.tell(self._job, *told):
            raise StoppedError
        self._num_told += len(self._lines)
        self._lines = []


_Work = Callable[[Job, _Voice], Report | None]
"""A part of a job: its report, or None where the job is to go on."""
