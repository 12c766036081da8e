"""What every corpus reader has in common: how it is described, asked, and looked up on disk."""

from __future__ import annotations

import csv
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from facevoice.corpora.manifest import Clip
from facevoice.errors import CorpusError
from facevoice.records import Emotion

T = TypeVar("T")

VIDEO_EXTENSIONS: Final = frozenset(
    {".mp4", ".flv", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"}
)
# Lossless first: where a corpus ships the same sound twice, the better copy is read.
AUDIO_EXTENSIONS: Final = (".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".mp3", ".mka", ".aif")
PICTURE_EXTENSIONS: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp"})


def emotion_codes(text: str) -> dict[str, Emotion]:
    """What a corpus calls which emotion, from words like "happy ps=surprised"."""
    pairs = (word.partition("=") for word in text.split())
    return {code: Emotion(emotion or code) for code, _, emotion in pairs}


@dataclass(frozen=True, slots=True)
class CorpusInfo:
    """What a corpus is: its emotions (those of the eight that it has), terms and origin."""

    name: str
    title: str
    language: str | None
    license: str
    emotions: tuple[Emotion, ...]
    urls: tuple[str, ...]
    citation: str


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A media file that a reader leaves out, and why: the kind of reason, perhaps `: ` and more."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class CorpusScan:
    """Everything that a reader found under a folder, clips in order of their id."""

    clips: tuple[Clip, ...]
    skipped: tuple[SkippedFile, ...]


class Corpus(ABC):
    """A reader: parsing rules, label map and addresses, nothing else. It decodes no media."""

    info: ClassVar[CorpusInfo]
    pattern: ClassVar[str]
    """What a path looks like, for messages."""

    @abstractmethod
    def scan(self, root: Path) -> CorpusScan:
        """Read the names under `root`; files that are left out are listed with the reason.

        Raises:
            CorpusError: `root` is no folder, or holds nothing of this corpus.
        """

    def clips(self, root: Path) -> Iterator[Clip]:
        """The clips of `scan`."""
        yield from self.scan(root).clips

    @classmethod
    def clip(cls, key: str, **facts: Any) -> Clip:
        """A clip of this corpus; `key` is its id without the corpus."""
        facts = {"speaker": None, "language": cls.info.language, **facts}
        return Clip(clip_id=f"{cls.info.name}/{key}", corpus=cls.info.name, **facts)

    def finish(self, root: Path, clips: Iterable[Clip], skipped: list[SkippedFile]) -> CorpusScan:
        """Put a scan together.

        Raises:
            CorpusError: no clip was found.
        """
        found = tuple(sorted(clips, key=lambda clip: clip.clip_id))
        if not found:
            seen = f"; {len(skipped)} other files, for example {skipped[0].path}" if skipped else ""
            raise CorpusError(
                f"{root}: holds no clip of {self.info.title} (names like {self.pattern}){seen}"
            )
        return CorpusScan(found, tuple(sorted(skipped, key=lambda file: str(file.path))))


class StemReader(Corpus):
    """A reader whose labels stand in the file names; several files of one id make one clip.

    Files whose name does not follow the pattern, and further copies of a file, are not an error
    (people keep notes and re-encoded copies beside a corpus): they are listed as skipped.
    """

    extensions: ClassVar[frozenset[str]] = VIDEO_EXTENSIONS | frozenset(AUDIO_EXTENSIONS)
    """Files with other extensions are not looked at."""

    name: ClassVar[re.Pattern[str]]
    """What a file is called, its suffix left out."""

    def parse(self, path: Path) -> Clip | str:
        """The clip that `path` belongs to, without paths; or the reason to leave it out."""
        match = self.name.fullmatch(path.stem)
        return self.read(match, path) if match else f"the name is not like {self.pattern}"

    @abstractmethod
    def read(self, match: re.Match[str], path: Path) -> Clip | str:
        """`parse` of a path whose name fits."""

    def preference(self, path: Path) -> tuple[int, ...]:
        """Among copies of the same picture or sound, the lowest is read."""
        return ()

    def is_silent(self, path: Path) -> bool:
        """Whether the corpus publishes this film without sound."""
        return False

    def scan(self, root: Path) -> CorpusScan:
        """See `Corpus.scan`."""
        known: dict[str, Clip] = {}
        files: dict[str, list[Path]] = {}
        skipped: list[SkippedFile] = []
        for path in media_files(root, self.extensions):
            parsed = self.parse(path)
            if isinstance(parsed, str):
                skipped.append(SkippedFile(path, parsed))
                continue
            first = known.setdefault(parsed.clip_id, parsed)
            if first != parsed:
                raise CorpusError(
                    f"{path}: says something else of clip {parsed.clip_id!r} than "
                    f"{files[parsed.clip_id][0]}; remove one of the two"
                )
            files.setdefault(parsed.clip_id, []).append(path)
        clips = [self._join(clip, files[key], skipped) for key, clip in known.items()]
        return self.finish(root, clips, skipped)

    def _join(self, clip: Clip, paths: list[Path], skipped: list[SkippedFile]) -> Clip:
        ranked = sorted(paths, key=lambda path: (*self.preference(path), *_default_rank(path)))
        sounds = [path for path in ranked if path.suffix.lower() in AUDIO_EXTENSIONS]
        films = [path for path in ranked if path.suffix.lower() not in AUDIO_EXTENSIONS]
        for copies in (sounds, films):
            skipped += [another_copy(path, copies[0]) for path in copies[1:]]
        film, sound = (next(iter(copies), None) for copies in (films, sounds))
        if sound is None and film is not None and film.suffix.lower() in VIDEO_EXTENSIONS:
            sound = None if self.is_silent(film) else film
        return replace(clip, video_path=film, audio_path=sound)


def another_copy(path: Path, read: Path) -> SkippedFile:
    """A file that is left out because `read` holds the same."""
    return SkippedFile(path, f"another copy is read: {read}")


def _default_rank(path: Path) -> tuple[int, int, str]:
    suffix = path.suffix.lower()
    rank = AUDIO_EXTENSIONS.index(suffix) if suffix in AUDIO_EXTENSIONS else 0
    return (len(path.parts), rank, str(path))


def media_files(root: Path, extensions: Iterable[str]) -> Iterator[Path]:
    """Files below `root` with one of the (lower-case) extensions, in a stable order.

    Hidden files and folders, and the resource forks that macOS leaves in archives, are passed over.

    Raises:
        CorpusError: `root` is no folder.
    """
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; unpack or download the corpus there first")
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith((".", "__MACOSX"))
        )
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in extensions:
                yield Path(folder, name)


def read_table(table: Path, build: Callable[[dict[str, str]], T], expected: str) -> Iterator[T]:
    """What `build` makes of each row of a CSV file; `expected` says in words what a row holds.

    Raises:
        CorpusError: the file can't be read, or a row is not as expected; names the line.
    """
    try:
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            rows = csv.DictReader(lines)
            for row in rows:
                try:
                    yield build(row)
                except (KeyError, ValueError, AttributeError, TypeError) as error:
                    raise CorpusError(
                        f"{table}:{rows.line_num}: expected {expected}, got {row}"
                    ) from error
    except OSError as error:
        raise CorpusError(f"{table}: can't be read ({error.strerror})") from error
    except csv.Error as error:
        raise CorpusError(f"{table}: is no table ({error}); get it again") from error
