"""Finds the files to analyse, and names their outputs."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from facevoice.errors import MediaError
from facevoice.media.remote import is_remote, list_media
from facevoice.report.folder import WINDOWS_STEM

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
