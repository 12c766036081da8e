"""What is known of a published file before it is fetched, and how its bytes are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath

from facevoice.errors import DownloadError


class Phase(StrEnum):
    """What is being done with a file; `planned` stands for all files of the corpus together."""

    LISTED = "listed"
    PLANNED = "planned"
    RUNNING = "running"
    WAITING = "waiting"
    CHECKING = "checking"
    UNPACKING = "unpacking"
    DONE = "done"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file is. `total_bytes` is None while the server has not said."""

    file: str
    phase: Phase
    done_bytes: int
    total_bytes: int | None
    note: str = ""


ProgressCallback = Callable[[Progress], None]
"""Called from several threads at once."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file's bytes are right now; signed addresses live for minutes only."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


Locate = Callable[[bool], Location]
"""Gives a location; with True, a new one, because the last was refused."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file and what is known of it before it is fetched."""

    name: str
    """Path below the corpus' folder, with `/`."""
    url: str
    """Its address; for messages and records where `locate` is given."""
    size_bytes: int | None = None
    """Published size."""
    checksum: str | None = None
    """Published checksum: `md5:…`, `sha256:…` or `git-sha1:…` (a Git blob's name)."""
    locate: Locate | None = None
    """For files whose address must be asked for."""
    unpack_into: str | None = None
    """An archive's folder, below the corpus' folder."""
    unpack_ratio: float = 0.0
    """Unpacked over packed size, roughly; for the disk-space check."""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.name).parts
        unsafe = not parts or ".." in parts or "\\" in self.name or "\0" in self.name
        if unsafe or self.name.startswith("/") or PureWindowsPath(self.name).drive:
            raise DownloadError(repr(self.name), self.url, "the server lists an unsafe file name.")


def mismatch(file: RemoteFile, size_bytes: int, digests: Mapping[str, str]) -> str | None:
    """What is wrong with bytes of this size and these digests; None where they are the file."""
    if file.size_bytes is not None and size_bytes != file.size_bytes:
        return f"{size_bytes} bytes came, {file.size_bytes} are published"
    if file.checksum is not None:
        algorithm, _, published = file.checksum.partition(":")
        if digests[algorithm] != published.lower():
            return f"the {algorithm} checksum is {digests[algorithm]}, published is {published}"
    return None


def compute_digests(path: Path, checksum: str | None = None) -> dict[str, str]:
    """The file's sha256, and the digest by the algorithm of `checksum`, in lower-case hex.

    Raises:
        DownloadError: `checksum` names an algorithm that we don't know.
    """
    with path.open("rb") as stream:
        blocks = iter(lambda: stream.read(1 << 20), b"")
        return digest_blocks(path.name, blocks, path.stat().st_size, checksum)


def digest_blocks(
    name: str, blocks: Iterable[bytes], size_bytes: int, checksum: str | None
) -> dict[str, str]:
    """`compute_digests` of bytes that come in blocks; `name` is for messages.

    Raises:
        DownloadError: `checksum` names an algorithm that we don't know.
    """
    algorithm = "sha256" if checksum is None else checksum.partition(":")[0]
    hashes = {"sha256": hashlib.sha256()}
    if algorithm == "git-sha1":
        # The name of a Git blob: sha1 over a short header and the content.
        hashes[algorithm] = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False)
    elif algorithm != "sha256":
        try:
            hashes[algorithm] = hashlib.new(algorithm, usedforsecurity=False)
        except ValueError as error:
            raise DownloadError(
                name, "", f"its published checksum is of an unknown kind ({algorithm})."
            ) from error
    for block in blocks:
        for one in hashes.values():
            one.update(block)
    return {algorithm: one.hexdigest() for algorithm, one in hashes.items()}
