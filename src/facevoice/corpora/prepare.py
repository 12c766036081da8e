"""One validated table of several corpora: names read, files probed, both forms written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from facevoice.corpora.corpus import PICTURE_EXTENSIONS
from facevoice.corpora.gather import CorpusPlace, SkippedKind, gather
from facevoice.corpora.manifest import Clip, write_manifest
from facevoice.errors import (
    FacevoiceError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media.open import probe

T = TypeVar("T")
R = TypeVar("R")
ProgressCallback = Callable[[int, int], None]

_LOG = logging.getLogger(__name__)

DAMAGED: Final = "damaged"
"""Kind of a problem that costs only a part of a file."""


@dataclass(frozen=True, slots=True)
class ClipProblem:
    """Why a clip's file could not be used: `kind` as in `FacevoiceError.kind`, and the message."""

    clip_id: str
    path: Path | None
    kind: str
    message: str


def describe_problem(clip_id: str, path: Path | None, error: Exception) -> ClipProblem:
    """Put an exception on record; one that nobody foresaw is also logged with its traceback."""
    if isinstance(error, FacevoiceError):
        return ClipProblem(clip_id, path, error.kind, str(error))
    if isinstance(error, OSError):
        return ClipProblem(clip_id, path, "os", f"{path}: can't be read ({error.strerror})")
    _LOG.error("%s: unexpected error", path, exc_info=error)
    message = f"{path}: unexpected {type(error).__name__}: {error}"
    return ClipProblem(clip_id, path, "internal", message)


def thread_map(
    work: Callable[[T], R],
    items: Sequence[T],
    jobs: int,
    on_progress: ProgressCallback | None = None,
) -> list[R]:
    """Results in order, made by threads: for work that decoders do outside Python's lock.

    After an error or Ctrl-C, nothing begins that has not begun.
    """
    pool = ThreadPoolExecutor(jobs)
    results: list[R] = []
    try:
        for result in pool.map(work, items):
            results.append(result)
            if on_progress is not None:
                on_progress(len(results), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return results


@dataclass(frozen=True, slots=True)
class ProbedClips:
    """Clips with their durations, and those that can't be used.

    clips: those all of whose files can be read; problems: one for every other;
    damages: files that end before their header says, used as they are;
    num_files: how many were read;
    num_silent: films without sound that the corpus' names promise; their clips are picture only.
    """

    clips: tuple[Clip, ...]
    problems: tuple[ClipProblem, ...] = ()
    damages: tuple[ClipProblem, ...] = ()
    num_files: int = 0
    num_silent: int = 0


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare_manifest` wrote, and what it left out."""

    paths: tuple[Path, ...]
    probed: ProbedClips
    skipped: tuple[SkippedKind, ...]
    notes: tuple[str, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The clips of the table."""
        return self.probed.clips


def prepare_manifest(
    places: Sequence[CorpusPlace],
    out: Path,
    *,
    work: Path | None = None,
    probe_files: bool = True,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> Preparation:
    """Write one table of several corpora, as Parquet and as JSON Lines.

    Both files are written whole or not at all. Paths are relative to the table's folder where they
    lie below it.

    Args:
        places: folders or zip archives of corpora.
        out: the table; its suffix is replaced by .parquet and .jsonl.
        work: where archives are unpacked; by default the folder `unpacked` beside `out`.
        probe_files: read every file's length (see `probe_clips`); else durations stay unknown.
        jobs, on_progress: see `probe_clips`.

    Raises:
        CorpusError: see `gather`.
        MissingExtraError: pyarrow is not installed.
    """
    gathering = gather(places, work or out.parent / "unpacked")
    probed = ProbedClips(gathering.clips)
    if probe_files:
        probed = probe_clips(gathering.clips, jobs=jobs, on_progress=on_progress)
    paths = tuple(out.with_suffix(suffix) for suffix in (".parquet", ".jsonl"))
    for path in paths:
        write_manifest(probed.clips, path, root=path.parent.absolute())
    return Preparation(paths, probed, gathering.skipped, gathering.notes)


def probe_clips(
    clips: Sequence[Clip], *, jobs: int = 1, on_progress: ProgressCallback | None = None
) -> ProbedClips:
    """Read the length of every clip's files, in parallel.

    A clip lasts as long as both its picture and its sound do. Lengths that the corpus states are
    kept. Still pictures are checked and have no length. `jobs` files are read at once;
    `on_progress` is called with the numbers of files done and of all files.
    """
    paths = list(dict.fromkeys(path for clip in clips for path in clip.paths))
    found = dict(zip(paths, thread_map(_look, paths, jobs, on_progress), strict=True))
    usable: list[Clip] = []
    problems: list[ClipProblem] = []
    damages: list[ClipProblem] = []
    num_silent = 0
    for clip in clips:
        bad = next(_broken(clip, found), None)
        if bad is not None:
            problems.append(bad)
            continue
        facts = {path: fact for path in clip.paths if isinstance(fact := found[path], _Facts)}
        damages += [
            ClipProblem(clip.clip_id, path, DAMAGED, f"{path}: {fact.damage}")
            for path, fact in facts.items()
            if fact.damage
        ]
        sound = clip.audio_path
        if sound is not None and not facts[sound].has_audio:
            num_silent += 1
            sound = None
        lengths_s = [fact.duration_s for fact in facts.values() if fact.duration_s is not None]
        duration_s = clip.duration_s or min(lengths_s, default=None)
        usable.append(replace(clip, audio_path=sound, duration_s=duration_s))
    return ProbedClips(tuple(usable), tuple(problems), tuple(damages), len(paths), num_silent)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a file was found to hold; damage: what probing complained of, None if nothing."""

    duration_s: float | None
    has_video: bool
    has_audio: bool
    damage: str | None = None


def _look(path: Path) -> _Facts | Exception:
    damages: list[str] = []
    try:
        if not path.exists():
            return MediaNotFoundError(path, "does not exist.")
        if path.suffix.lower() in PICTURE_EXTENSIONS:
            _check_picture(path)
            return _Facts(None, has_video=True, has_audio=False)
        info = probe(path, on_damage=damages.append)
    except Exception as error:  # noqa: BLE001 - one bad file must not stop the others
        return error
    if not info.duration_s > 0:
        return UnreadableMediaError(path, "has no length; nothing of it can be played.")
    return _Facts(info.duration_s, info.has_video, info.has_audio, next(iter(damages), None))


def _check_picture(path: Path) -> None:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableMediaError(path, f"is no readable picture ({error}).") from error


def _broken(clip: Clip, found: Mapping[Path, _Facts | Exception]) -> Iterator[ClipProblem]:
    """Why the clip can't be used: a file that can't be read, or lacks what it stands for."""
    for path in clip.paths:
        fact = found[path]
        error: Exception | None = None
        if isinstance(fact, Exception):
            error = fact
        elif path == clip.video_path and not fact.has_video:
            error = NoStreamError(path, "holds no video, though it is named as a film.")
        elif path != clip.video_path and not fact.has_audio:
            error = NoStreamError(path, "holds no sound, though it is named as a sound file.")
        if error is not None:
            yield describe_problem(clip.clip_id, path, error)
