"""What the service does, whoever asks: takes files and addresses, and knows whose they are."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from anyio import to_thread

from facevoice.batch import AnalyzerSetup
from facevoice.media.public import check_public
from facevoice.media.remote import public_address
from facevoice.records import Report
from facevoice.service.database import open_database
from facevoice.service.jobs import Job, Jobs, JobState, new_id
from facevoice.service.keys import Keyring, Pace, User
from facevoice.service.limits import ServiceOptions
from facevoice.service.refusals import (
    BodyTooLargeError,
    DiskFullError,
    ForbiddenError,
    InvalidRequestError,
    TooManyRequestsError,
    UnavailableError,
)
from facevoice.service.work import FULL, JobFiles, Tally, Workers, bring_to_disk

_WRITE_BYTES: Final = 1 << 20
# An upload to which nothing comes for so long is given up, and one that takes so long in all.
_SILENCE_S: Final = 60.0
_UPLOAD_S: Final = 2 * 3600.0
_MAX_NAME: Final = 255


class Service:
    """Takes jobs and answers them; made once for a process.

    Args:
        setup: what is analysed with; always in isolation.
        options: where and how.
        keyring: who may ask.

    Raises:
        ConfigError, DatabaseError, MissingExtraError: see `open_database`.
    """

    def __init__(self, setup: AnalyzerSetup, options: ServiceOptions, keyring: Keyring) -> None:
        self.options, self.keyring = options, keyring
        self._database = open_database(options.folder, options.database)
        self.jobs = Jobs(self._database)
        self._files = JobFiles(options.folder)
        if self._database.is_alone:
            self._files.sweep(self.jobs, 0.0)
        self._setup = setup
        self._workers: Workers | None = None
        self.tally = Tally()
        self.pace = Pace()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._arriving: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    def start(self) -> None:
        """Load the networks, and begin to work on the jobs; harmless when repeated.

        Raises:
            WeightsError, MissingExtraError: see `Analyzer`.
        """
        if self._workers is not None:
            return
        analyzer = self._setup.build()
        self._workers = Workers(
            self.jobs,
            self._files,
            self._setup,
            analyzer if self._setup.isolated else analyzer.in_isolation(),
            self.options,
            self.keyring.limits_of,
            self.tally,
        )
        self._workers.start()

    def close(self) -> None:
        """End; jobs that run wait, and go on when the service starts again."""
        self.stopping.set()
        if self._workers is not None:
            self._workers.stop()
        self._database.close()

    async def take_file(
        self, user: User, name: str, pieces: AsyncIterator[bytes], once: str | None
    ) -> tuple[Job, bool]:
        """A job for a file that is being sent; whether it is a new one.

        Raises:
            InvalidRequestError, TooManyJobsError, BodyTooLargeError, DiskFullError,
            UnavailableError: it isn't taken, and nothing of it is left.
        """
        _check_name(name)
        known = await to_thread.run_sync(self.jobs.find_once, user.name, once)
        if known is not None:
            return known, False
        job = _new_job(user, name)
        with self._one_more(user) as num_before:
            await to_thread.run_sync(self.jobs.check_room, user.name, user.limits, num_before)
            try:
                path = await to_thread.run_sync(self._files.make, job.id, name)
                await _receive(pieces, path, user.limits.max_bytes)
                added = await to_thread.run_sync(self._add, user, job, once)
            except OSError as error:
                await to_thread.run_sync(self._files.remove, job.id)
                if error.errno in FULL:
                    told = "The server has no room for the file."
                    raise DiskFullError(told, "Try again later.", 60.0) from error
                raise
            except BaseException:
                self._files.remove(job.id)  # Where who asks has gone, nothing is awaited.
                raise
        if added.id != job.id:
            await to_thread.run_sync(self._files.remove, job.id)
        return added, added.id == job.id

    def take_address(self, user: User, address: str, once: str | None) -> tuple[Job, bool]:
        """A job for a file that is to be fetched; whether it is a new one.

        Raises:
            ForbiddenError: the key may name no addresses.
            MediaError: the address can't be fetched; see `check_public`.
            TooManyJobsError, UnavailableError: it isn't taken.
        """
        if not user.limits.may_fetch:
            raise ForbiddenError("This key may name no addresses.", "Send the file instead.")
        known = self.jobs.find_once(user.name, once)
        if known is not None:
            return known, False
        check_public(address, is_public=not self.options.private_addresses)
        job = _new_job(user, public_address(address), address)
        added = self._add(user, job, once)
        return added, added.id == job.id

    def report(self, user: User, number: str) -> Report:
        """See `Jobs.report`."""
        return self.jobs.report(user.name, number)

    def delete(self, user: User, number: str) -> None:
        """Delete a job with all that there is of it."""
        self.jobs.delete(user.name, number)
        self._files.remove(number)

    @contextmanager
    def stream(self, user: User) -> Iterator[None]:
        """While a stream is open.

        Raises:
            TooManyRequestsError: the key holds as many open as it may.
        """
        with self._lock:
            if self._streams[user.name] >= user.limits.max_streams:
                told = f"{user.limits.max_streams} streams of this key are open already."
                raise TooManyRequestsError(told, "Close one of them.", 5.0)
            self._streams[user.name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams[user.name] -= 1

    def check_ready(self) -> None:
        """Whether jobs can be taken and worked on.

        Raises:
            UnavailableError, DatabaseError: they can't.
        """
        self.jobs.count()
        if self._workers is None or not self._workers.is_working:
            raise UnavailableError("The service ends, or has not begun.", "Try again soon.", 5.0)

    def _add(self, user: User, job: Job, once: str | None) -> Job:
        if self.stopping.is_set():
            raise UnavailableError("The service is ending.", "Try again soon.", 5.0)
        added = self.jobs.add(job, user.limits, once)
        if self._workers is not None:
            self._workers.nudge()
        return added

    @contextmanager
    def _one_more(self, user: User) -> Iterator[int]:
        """While a file is being sent, it counts as a job; gives how many came before it."""
        with self._lock:
            num_before = self._arriving[user.name]
            self._arriving[user.name] += 1
        try:
            yield num_before
        finally:
            with self._lock:
                self._arriving[user.name] -= 1


def _new_job(user: User, name: str, address: str | None = None) -> Job:
    return Job(new_id(), user.name, name, address, JobState.WAITING, round(time.time(), 3))


def _check_name(name: str) -> None:
    is_one = not set("/\\\0") & set(name) and name not in ("", ".", "..")
    if not is_one or len(name) > _MAX_NAME or not name.isprintable():
        remedy = "Give the name of a file without its folders, such as talk.mp4."
        raise InvalidRequestError("name: this is no name of a file.", remedy)


async def _receive(pieces: AsyncIterator[bytes], path: Path, max_bytes: int) -> None:
    """Write what comes to `path`, in pieces that are large enough to be worth a thread."""
    done, held = 0, bytearray()
    end_s = time.monotonic() + _UPLOAD_S
    with path.open("wb") as file:
        while (piece := await _next(pieces, end_s)) is not None:
            done += len(piece)
            if done > max_bytes:
                raise too_large(max_bytes)
            held += piece
            if len(held) >= _WRITE_BYTES:
                await to_thread.run_sync(file.write, bytes(held))
                held.clear()
        await to_thread.run_sync(file.write, bytes(held))
    await to_thread.run_sync(bring_to_disk, path)


async def _next(pieces: AsyncIterator[bytes], end_s: float) -> bytes | None:
    try:
        async with asyncio.timeout(min(_SILENCE_S, max(0.0, end_s - time.monotonic()))):
            return await anext(pieces, None)
    except TimeoutError as error:
        told = f"It comes too slowly: nothing for {_SILENCE_S:g} s, or not all in two hours."
        raise InvalidRequestError(told, "Send it again, or name an address.") from error


def too_large(max_bytes: int) -> BodyTooLargeError:
    """The refusal of a file that is larger than may be sent."""
    told = f"The file is larger than {max_bytes / 1e6:g} MB, the most that this key may send."
    return BodyTooLargeError(told, "Cut or compress it.")
