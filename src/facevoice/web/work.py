"""What the server allows, whose turn it is, and whose files are whose; needs no gradio."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition, Event, Lock, Thread
from typing import Final, Generic, TypeVar

from facevoice.errors import ConfigError, FacevoiceError, StoppedError
from facevoice.records import PeopleEdits, Person
from facevoice.settings import WindowConfig

P = TypeVar("P")
R = TypeVar("R")

JUDGED: Final = 0
"""Of a person of a clip: is judged, as themselves."""
LEFT_OUT: Final = -1
"""Of a person of a clip: isn't judged."""

# How soon a stop is noticed, and how often a page hears of progress.
_TICK_S: Final = 0.25
# Gradio makes a folder and moves an upload into it right away.
_EMPTY_FOR_S: Final = 10.0
_STALLED_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class WebOptions:
    """Limits of the page; a limit that is met says so in words that people understand."""

    samples: Path | None = None
    """Folder of clips to choose from."""
    max_size_mb: int = 500
    """Largest upload."""
    max_length_s: float = 3600.0
    """Longest clip that is analysed."""
    keep_s: float = 3600.0
    """Uploads and results are deleted when their user leaves, at the latest after this time."""
    num_at_once: int = 1
    """What works at the same time, of all clips, videos and live windows; see `Turns`."""
    max_waiting: int = 20
    """Clips and videos that may wait for their turn; more are sent away."""
    max_live: int = 2
    """Live sessions at the same time; 0 leaves the live mode out."""
    max_live_s: float = 600.0
    """Longest live session."""
    live_windows: WindowConfig = field(default_factory=lambda: WindowConfig(4.0, 0.5))
    """Windows of the live mode."""
    talk_s: float = 10.0
    """For how long the live mode listens to somebody who talks normally, to get to know them."""

    def __post_init__(self) -> None:
        for name in ("max_size_mb", "max_length_s", "keep_s", "num_at_once", "max_waiting"):
            value = getattr(self, name)
            if value <= 0:
                raise ConfigError(f"{name} = {value!r} is not allowed: must be above 0")
        if self.max_live < 0:
            raise ConfigError(f"max_live = {self.max_live!r} is not allowed: must not be below 0")
        if self.talk_s < self.live_windows.length_s:
            raise ConfigError(
                f"talk_s = {self.talk_s!r} is not allowed: must not be shorter than a live window, "
                f"{self.live_windows.length_s:g} s"
            )
        if self.samples is not None and not self.samples.is_dir():
            raise ConfigError(f"samples: {self.samples} is no folder; name one with clips in it")


def to_edits(
    people: Sequence[Person], names: Sequence[object], roles: Sequence[object]
) -> PeopleEdits:
    """What a page says of its people: a name, "" for none, and a role for each.

    A role is JUDGED, LEFT_OUT, or the number of somebody who is the same. What is said of who is
    really somebody else counts for nothing; two who are each the other are the first one.
    """
    role_of = {
        person.number: role
        for person, role in zip(people, roles, strict=False)
        if isinstance(role, int)
    }
    same = {number: _who_is(number, role_of) for number in role_of}
    own = {number for number, who in same.items() if number == who}
    called = {
        person.number: str(name or "").strip() for person, name in zip(people, names, strict=False)
    }
    return PeopleEdits(
        names={number: name for number, name in called.items() if name and number in own},
        merged={number: who for number, who in same.items() if number != who},
        left_out=frozenset(number for number in own if role_of[number] == LEFT_OUT),
    )


def _who_is(number: int, role_of: Mapping[int, int]) -> int:
    """Who somebody is at last, where each may be the same as another one."""
    passed = [number]
    while (role := role_of.get(passed[-1], JUDGED)) > 0:
        if role in passed:
            return min(passed[passed.index(role) :])
        passed.append(role)
    return passed[-1]


class BusyError(FacevoiceError):
    """Too many wait already."""


class Turns:
    """The one bound on heavy work, whoever asks for it: the page, programs, live sessions.

    Clips and videos take whole jobs, first come, first served. A live session takes a turn for each
    window; so that it needn't wait for the end of a long clip, jobs give way between their windows.
    Never do more than `num_at_once` work at the same time.
    """

    def __init__(self, num_at_once: int = 1, max_waiting: int = 20) -> None:
        self._jobs = _Line(num_at_once, max_waiting)
        # At most as many jobs as there are places stand in it, so live windows wait for one window.
        self._places = _Line(num_at_once)

    @property
    def num_waiting(self) -> int:
        """Who waits for anything."""
        return self._jobs.num_waiting + self._places.num_waiting

    @contextmanager
    def job(self, stopping: Event, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Wait for the turn of a clip or video, and keep it within the block.

        `on_wait` hears its number in the line, from 1, whenever that changes.

        Raises:
            BusyError: too many wait already.
            StoppedError: `stopping` was set meanwhile.
        """
        with self._jobs.place(stopping, on_wait), self._places.place(stopping):
            yield

    def give_way(self) -> None:
        """Within a job, between two of its windows: let those go first who wait by now."""
        self._places.give_way()

    @contextmanager
    def window(self) -> Iterator[None]:
        """Wait for the turn of a live window, and keep it within the block."""
        with self._places.place():
            yield


class _Line:
    """A number of places, and who waits for one: first come, first served."""

    def __init__(self, num_places: int, max_waiting: int | None = None) -> None:
        self._num_free = num_places
        self._max_waiting = max_waiting
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def place(
        self, stopping: Event | None = None, on_wait: Callable[[int], None] = lambda _: None
    ) -> Iterator[None]:
        with self._changed:
            self._take(stopping, on_wait)
        try:
            yield
        finally:
            with self._changed:
                self._leave()

    def give_way(self) -> None:
        with self._changed:
            if self._waiting:
                self._leave()
                self._take(None, lambda _: None)

    def _take(self, stopping: Event | None, on_wait: Callable[[int], None]) -> None:
        if stopping is not None and stopping.is_set():
            raise StoppedError
        must_wait = self._num_free <= len(self._waiting)
        if must_wait and self._max_waiting is not None and self.num_waiting >= self._max_waiting:
            raise BusyError("Too many are waiting. Try again in a few minutes.")
        me, told = object(), 0
        self._waiting.append(me)
        try:
            while not (self._waiting[0] is me and self._num_free > 0):
                if stopping is not None and stopping.is_set():
                    raise StoppedError
                number = self._waiting.index(me) + 1
                if number != told:
                    on_wait(number)
                    told = number
                self._changed.wait(None if stopping is None else _TICK_S)
            self._num_free -= 1
        finally:
            self._waiting.remove(me)
            self._changed.notify_all()

    def _leave(self) -> None:
        self._num_free += 1
        self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """What the work came to."""

    value: R


def work_aside(work: Callable[[Callable[[P], None]], R], stopping: Event) -> Iterator[P | Done[R]]:
    """Run `work(tell)` in a thread; gives the newest of what it told, and `Done` at last.

    What `work` raises is raised here. Where `stopping` is set, or the generator closed, `tell`
    raises `StoppedError` within `work`; that is raised here when the work has ended.
    """
    outbox: SimpleQueue[P | Done[R] | Exception] = SimpleQueue()

    def tell(progress: P) -> None:
        if stopping.is_set():
            raise StoppedError
        outbox.put(progress)

    def run() -> None:
        try:
            outbox.put(Done(work(tell)))
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            outbox.put(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while not isinstance(item := _newest(outbox), Done):
            if isinstance(item, Exception):
                raise item
            yield item
            stopping.wait(_TICK_S)
        yield item
    finally:
        if thread.is_alive():
            stopping.set()
            thread.join()


def _newest(outbox: SimpleQueue[P | Done[R] | Exception]) -> P | Done[R] | Exception:
    item = outbox.get()
    try:
        while not isinstance(item, Done | Exception):
            item = outbox.get_nowait()
    except Empty:
        pass
    return item


class OwnFolder:
    """Where gradio keeps what is uploaded, while a server runs: only its user can read it.

    It lies in GRADIO_TEMP_DIR, else among the system's temporary files. Gradio's own is the same
    for all of its apps, and may be read by everybody on the machine. Make it before gradio is
    imported: that reads the variable, too.

    Args:
        for_all: the process does nothing but serve. Then matplotlib, which gradio loads where it
            is installed, writes there and not into the home folder, and lists no fonts.
    """

    def __init__(self, *, for_all: bool) -> None:
        before = os.environ.get("GRADIO_TEMP_DIR")
        if before:
            Path(before).mkdir(parents=True, exist_ok=True)
        self._path = tempfile.mkdtemp(prefix="facevoice-web-", dir=before or None)
        self._before: dict[str, str | None] = {}
        self._set("GRADIO_TEMP_DIR", self._path)
        if for_all and "matplotlib" not in sys.modules:
            self._set("MPLCONFIGDIR", self._path)
            self._set("MPLBACKEND", "agg")

    def _set(self, name: str, value: str) -> None:
        self._before[name] = os.environ.get(name)
        os.environ[name] = value

    def remove(self) -> None:
        """Delete all that is in it; harmless when repeated."""
        shutil.rmtree(self._path, ignore_errors=True)
        if os.environ.get("GRADIO_TEMP_DIR") != self._path:
            return  # another server's, by now
        for name, value in self._before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class SessionFiles:
    """Uploads and results of each session: they go when it goes.

    Equal uploads share a path: the last session to leave deletes it.

    Args:
        root: folder in which uploads and results are kept, and nothing else.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._lock = Lock()
        self._clips: dict[str, frozenset[_Upload]] = {}
        self._recordings: dict[str, frozenset[_Upload]] = {}
        self._folders: dict[tuple[str, str], Path] = {}

    def own(self, paths: Iterable[str | Path]) -> list[Path]:
        """Those that are files in the root, each once: of others nobody here may know anything."""
        root = self.root.resolve()
        found = dict.fromkeys(Path(path) for path in paths)
        return [p for p in found if p.resolve().is_relative_to(root) and p.is_file()]

    def keep_clips(self, session: str, paths: Iterable[Path]) -> None:
        """Note which uploads `session` uses as its clips; earlier ones are released."""
        self._keep(self._clips, session, paths)

    def keep_recordings(self, session: str, paths: Iterable[Path]) -> None:
        """Note which uploads `session` uses beside its clips; earlier ones are released."""
        self._keep(self._recordings, session, paths)

    def _keep(
        self, uploads: dict[str, frozenset[_Upload]], session: str, paths: Iterable[Path]
    ) -> None:
        with self._lock:
            found = frozenset(_Upload.at(path) for path in self.own(paths))
            before = uploads.pop(session, frozenset())
            if found:
                uploads[session] = found
            self._delete_unused(before)

    def new_folder(self, session: str, purpose: str = "") -> Path:
        """An empty folder for the session's results; its earlier one of the purpose is deleted."""
        with self._lock:
            self._remove_folder((session, purpose))
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="facevoice-", dir=self.root))
            self._folders[session, purpose] = folder
            return folder

    def folder(self, session: str, purpose: str = "") -> Path:
        """The session's folder, made if there is none."""
        return self._folders.get((session, purpose)) or self.new_folder(session, purpose)

    def remove_folders(self, session: str) -> None:
        """Delete the session's results."""
        with self._lock:
            self._remove_folders(session)

    def release(self, session: str) -> None:
        """Delete what only this session used."""
        with self._lock:
            self._remove_folders(session)
            for uploads in (self._clips, self._recordings):
                self._delete_unused(uploads.pop(session, frozenset()))

    def sweep(self, keep_s: float, at_work: Collection[str]) -> None:
        """Delete what is older, but for what sessions `at_work` use, and empty folders.

        So goes what nobody ever chose. Uploads lie in the root until they are whole: of one to
        which nothing has come for a while, nothing will.
        """
        with self._lock:
            kept = {path for session in at_work for path in self._used_by(session)}
            _make_young(kept)  # they stay for as long again
            for name, _, files in os.walk(self.root, topdown=False):
                folder = Path(name)
                is_arriving = folder == self.root
                for path in (folder / file for file in files):
                    with suppress(OSError):  # it goes meanwhile
                        longest_s = min(keep_s, _STALLED_S) if is_arriving else keep_s
                        if path in kept:
                            continue
                        if _age_s(path) > longest_s:
                            path.unlink()
                with suppress(OSError):  # it isn't empty, or goes meanwhile
                    if not is_arriving and _age_s(folder) > _EMPTY_FOR_S:
                        folder.rmdir()
            self._forget_what_is_gone()

    def _used_by(self, session: str) -> set[Path]:
        uploads = [each.get(session, frozenset()) for each in (self._clips, self._recordings)]
        used = {upload.path for each in uploads for upload in each}
        folders = [folder for (name, _), folder in self._folders.items() if name == session]
        return used | {path for folder in folders for path in folder.rglob("*") if path.is_file()}

    def _forget_what_is_gone(self) -> None:
        for uploads in (self._clips, self._recordings):
            for session, files in [*uploads.items()]:
                if not any(upload.path.exists() for upload in files):
                    del uploads[session]
        for key, folder in [*self._folders.items()]:
            if not folder.exists():
                del self._folders[key]

    def _remove_folders(self, session: str) -> None:
        for key in [key for key in self._folders if key[0] == session]:
            self._remove_folder(key)

    def _remove_folder(self, key: tuple[str, str]) -> None:
        folder = self._folders.pop(key, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _delete_unused(self, uploads: frozenset[_Upload]) -> None:
        every = [*self._clips.values(), *self._recordings.values()]
        used = {upload.path for each in every for upload in each}
        for upload in uploads:
            if upload.path not in used:
                upload.delete()


@dataclass(frozen=True, slots=True)
class _Upload:
    """A file, and which of those that have lain there under the same name."""

    path: Path
    inode: int
    written_ns: int

    @classmethod
    def at(cls, path: Path) -> _Upload:
        status = path.stat()
        return cls(path, status.st_ino, status.st_mtime_ns)

    def delete(self) -> None:
        """Delete it, but not what somebody else has just sent and not yet chosen."""
        with suppress(FileNotFoundError):
            if self == _Upload.at(self.path):
                self.path.unlink()


def _age_s(path: Path) -> float:
    # Since it came to lie there: moving a file changes nothing but this time.
    return time.time() - path.lstat().st_ctime


def _make_young(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.chmod(path.stat().st_mode)
