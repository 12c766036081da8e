"""Many files: finds them, names their outputs, analyses one after the other, loses none."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Protocol

from facevoice.config import AnalyzerConfig
from facevoice.errors import FacevoiceError, MediaNotFoundError
from facevoice.labels import Status
from facevoice.media.probe import probe
from facevoice.report.folder import WINDOWS_STEM
from facevoice.results import FileError, Report
from facevoice.version import VERSION

logger = logging.getLogger(__name__)

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


class FileAnalyzer(Protocol):
    """What a batch needs of an analyzer; `facevoice.pipeline.Analyzer` is one."""

    @property
    def config(self) -> AnalyzerConfig:
        """The settings it works with; a failed file's report names them too."""

    def analyze(
        self, path: str | Path, *, on_progress: Callable[[float], None] | None = None
    ) -> Report:
        """Analyse one file; may raise `FacevoiceError`."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to analyse, and the relative path without ending that its outputs go by."""

    path: Path
    name: PurePath


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is: `done_s` of `duration_s` (None if unknown) of file `index` (from 0)."""

    path: Path
    index: int
    num_files: int
    done_s: float
    duration_s: float | None


ProgressCallback = Callable[[Progress], None]


def find_media(paths: Iterable[str | Path]) -> list[Path]:
    """Files to analyse: files as given, folders searched through; none twice.

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
    for path in map(Path, paths):
        for file in _search(path):
            found.setdefault(os.path.realpath(file.path), file)
    counts = Counter(_fold(file.name) for file in found.values())
    counts[WINDOWS_STEM] += 1
    return [
        FoundFile(file.path, _add_hash(file)) if counts[_fold(file.name)] > 1 else file
        for file in found.values()
    ]


def analyze_paths(
    paths: Iterable[str | Path],
    analyzer: FileAnalyzer,
    on_progress: ProgressCallback | None = None,
) -> Iterator[Report]:
    """Analyse files and folders; gives one report a file, in the order of `find_media`.

    A file that fails gives a report with status `failed` and its error; the others still come.
    """
    files = find_media(paths)
    for index, path in enumerate(files):
        yield _analyze_file(path, analyzer, _bind_progress(on_progress, path, index, len(files)))


def make_failed_report(path: Path, error: FileError, config: AnalyzerConfig) -> Report:
    """The report of a file that could not be analysed."""
    return Report(
        path=str(path),
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
    digest = hashlib.sha256(os.fsencode(os.path.realpath(file.path))).hexdigest()
    return file.name.with_name(f"{file.name.name}-{digest[:8]}")


def _bind_progress(
    on_progress: ProgressCallback | None, path: Path, index: int, num_files: int
) -> Callable[[float], None] | None:
    if on_progress is None:
        return None
    duration_s = _duration_s(path)
    on_progress(Progress(path, index, num_files, 0.0, duration_s))
    return lambda done_s: on_progress(Progress(path, index, num_files, done_s, duration_s))


def _duration_s(path: Path) -> float | None:
    try:
        return probe(path).duration_s
    except Exception as error:  # noqa: BLE001 - only for the progress bar; analysing tells the user
        logger.debug("%s: length unknown (%s)", path, error)
        return None


def _analyze_file(
    path: Path, analyzer: FileAnalyzer, on_progress: Callable[[float], None] | None
) -> Report:
    try:
        if path.is_dir():
            raise MediaNotFoundError(
                path, "the folder holds no media file.", "Name files to analyse them anyway."
            )
        return analyzer.analyze(path, on_progress=on_progress)
    except FacevoiceError as error:
        return make_failed_report(path, FileError(error.kind, str(error)), analyzer.config)
    except Exception as error:
        # One file's surprise must not cost the results of all the others.
        logger.exception("%s: unexpected error", path)
        message = f"{path}: unexpected {type(error).__name__}: {error}"
        return make_failed_report(path, FileError("internal", message), analyzer.config)
