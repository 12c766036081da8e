"""Unpacking corpora safely: nothing outside the folder, no bombs, all or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from facevoice.errors import CorpusError

MARKER_NAME: Final = ".facevoice-unpacked.json"
"""Lies in a folder that was unpacked to the end; tells from which archive."""

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may ask for. The defaults hold the largest published corpora."""

    max_total_bytes: int = 200 * 2**30
    """All files together, unpacked."""
    max_files: int = 1_000_000
    """Number of entries."""
    max_ratio: float = 100.0
    """Unpacked over packed size of the whole; real media are below 2, tables below 20."""


DEFAULT_LIMITS: Final = ArchiveLimits()


def unpack(zip_path: Path, into: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> Path:
    """Unpack a zip archive to the folder `into` and return it; does nothing if that was done.

    Files are written to a temporary folder beside `into`, which takes its name only when all are
    there: a folder with the completion marker is whole. Several processes may do this at once.

    Raises:
        CorpusError: the archive is absent, damaged, encrypted, unsafe (a path that leaves the
            folder, a link, a name twice) or beyond `limits`; the disk is too full; or `into`
            exists and does not come from this archive.
    """
    members, digest = _read_directory(zip_path)
    if into.exists():
        _check_marker(into, zip_path, digest)
        return into
    _check_members(zip_path, members, limits)
    total_bytes = sum(member.file_size for member in members)
    into.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(into.parent).free < total_bytes:
        raise CorpusError(
            f"{zip_path}: needs {total_bytes} bytes in {into.parent}, which has not that much "
            "space left; choose another folder"
        )
    part = Path(tempfile.mkdtemp(prefix=f".{into.name}.", suffix=".part", dir=into.parent))
    try:
        _extract(zip_path, members, part)
        marker = {"archive": zip_path.name, "directory_sha256": digest, "files": len(members)}
        (part / MARKER_NAME).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        part.chmod(0o755)  # mkdtemp makes it private
        try:
            part.rename(into)
        except OSError:
            # Another process was first; its result counts if it is the same archive.
            _check_marker(into, zip_path, digest)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return into


def corpus_root(
    root: Path, name: str, work: Path | None = None, limits: ArchiveLimits = DEFAULT_LIMITS
) -> Path:
    """The folder of the corpus `name`: `root/name`, or `root/name.zip` unpacked to `work/name`.

    A folder is taken as it is. `work` is `root` where none is given.

    Raises:
        CorpusError: neither exists, or the archive can't be unpacked (see `unpack`).
    """
    folder, archive = root / name, root / f"{name}.zip"
    if folder.is_dir():
        return folder
    if archive.is_file():
        return unpack(archive, (work or root) / name, limits)
    raise CorpusError(
        f"{root}: holds neither a folder {name} nor {archive.name}; download it first"
    )


def _read_directory(zip_path: Path) -> tuple[list[zipfile.ZipInfo], str]:
    """The archive's entries, and a hash over their names, sizes and checksums."""
    try:
        with zipfile.ZipFile(zip_path) as archive:
            members = archive.infolist()
    except FileNotFoundError as error:
        raise CorpusError(f"{zip_path}: no such archive") from error
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise CorpusError(
            f"{zip_path}: is no readable zip archive ({error}); get it again"
        ) from error
    listing = sorted((member.filename, member.file_size, member.CRC) for member in members)
    return members, hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _check_marker(into: Path, zip_path: Path, digest: str) -> None:
    marker = into / MARKER_NAME
    try:
        known = json.loads(marker.read_text(encoding="utf-8"))["directory_sha256"]
    except FileNotFoundError as error:
        raise CorpusError(
            f"{into}: exists, but was not unpacked by facevoice; remove it or choose another folder"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{marker}: is damaged; remove {into} and unpack again") from error
    if known != digest:
        raise CorpusError(
            f"{into}: holds another archive than {zip_path}; remove it or choose another folder"
        )


def _check_members(
    zip_path: Path, members: Sequence[zipfile.ZipInfo], limits: ArchiveLimits
) -> None:
    if len(members) > limits.max_files:
        raise CorpusError(f"{zip_path}: {len(members)} entries, more than {limits.max_files}")
    total_bytes = sum(member.file_size for member in members)
    if total_bytes > limits.max_total_bytes:
        raise CorpusError(
            f"{zip_path}: unpacks to {total_bytes} bytes, more than {limits.max_total_bytes}"
        )
    packed_bytes = max(1, zip_path.stat().st_size)
    if total_bytes > limits.max_ratio * packed_bytes:
        raise CorpusError(
            f"{zip_path}: unpacks to {total_bytes / packed_bytes:.0f} times its size, more than "
            f"{limits.max_ratio:g}: likely a zip bomb"
        )
    seen: set[str] = set()
    for member in members:
        problem = _member_problem(member)
        # Compared as a case-blind file system would: the second would overwrite the first.
        key = member.filename.rstrip("/").casefold()
        if problem is None and key in seen:
            problem = "occurs twice"
        if problem is not None:
            raise CorpusError(f"{zip_path}: entry {member.filename!r} {problem}; not unpacked")
        seen.add(key)


def _member_problem(member: zipfile.ZipInfo) -> str | None:
    # orig_filename: zipfile cuts a name at its first NUL and turns separators around.
    name = member.orig_filename
    mode = member.external_attr >> 16
    if "\0" in name or "\\" in name or not name.strip("/"):
        return "has an unsafe name"
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        return "leaves the folder"
    if path.name == MARKER_NAME:
        return "has a reserved name"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    return None


def _extract(zip_path: Path, members: Sequence[zipfile.ZipInfo], part: Path) -> None:
    with zipfile.ZipFile(zip_path) as archive:
        for member in members:
            target = part / PurePosixPath(member.filename)
            try:
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                # zipfile stops at the size that the directory states and checks the CRC there,
                # so what was allowed above is what is written.
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK_BYTES)
            except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
                raise CorpusError(
                    f"{zip_path}: entry {member.filename!r} can't be unpacked ({error}); "
                    "get the archive again, or free some space"
                ) from error
            except Exception as error:
                # zlib.error, lzma.LZMAError … share no base class but this.
                raise CorpusError(
                    f"{zip_path}: entry {member.filename!r} is damaged ({error}); get it again"
                ) from error
