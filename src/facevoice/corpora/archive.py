"""Unpack corpora safely: nothing outside the folder, no bombs, all or nothing."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from filelock import FileLock

from facevoice.errors import CorpusError
from facevoice.files import left_parts, whole_folder

# Lies in a folder that was unpacked to the end; tells from which archive.
MARKER_NAME: Final = ".facevoice-unpacked.json"

_DAMAGES: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)

# What an archive may ask for; the largest published corpora stay well below.
MAX_UNPACKED_BYTES: Final = 200 * 2**30
MAX_FILES: Final = 1_000_000
MAX_RATIO: Final = 100.0  # unpacked over packed size; real media are below 2, tables below 20


def corpus_root(root: Path, name: str, work: Path | None = None) -> Path:
    """The folder of the corpus `name`: `root/name`, or `root/name.zip` unpacked to `work/name`.

    A folder is taken as it is. `work` is `root` where none is given.

    Raises:
        CorpusError: neither exists, or the archive can't be unpacked (see `unpack`).
    """
    place = find_place(root, name)
    return place if place.is_dir() else unpack(place, (work or root) / name)


def find_place(root: Path, name: str) -> Path:
    """The folder `root/name`, or else the archive `root/name.zip`.

    Raises:
        CorpusError: neither exists.
    """
    folder, archive = root / name, root / f"{name}.zip"
    if not folder.is_dir() and not archive.is_file():
        raise CorpusError(
            f"{root}: holds neither a folder {name} nor {archive.name}; download it first"
        )
    return folder if folder.is_dir() else archive


def unpack(zip_path: Path, into: Path, *, anew: bool = False) -> Path:
    """Unpack a zip archive to the folder `into` and return it; does nothing if that was done.

    `into` appears only when all is there. Several processes may do this at once. With `anew`,
    what was unpacked there before, also from another archive, is replaced.

    Raises:
        CorpusError: the archive is absent, damaged, encrypted, unsafe (a path that leaves the
            folder, a link, a name twice) or too large; the disk is too full; or `into` exists
            and does not come from this archive.
    """
    members = read_members(zip_path)
    listing = sorted((member.filename, member.file_size, member.CRC) for member in members)
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    into.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(into.with_name(f".{into.name}.lock")):
        known = _unpacked_from(into)
        if known == digest and not anew:
            return into
        if into.exists() and (known is None or not anew):
            raise CorpusError(
                f"{into}: is there already, but was not unpacked from {zip_path}; remove it or "
                "choose another folder"
            )
        _check(zip_path, members, into.parent)
        # What a kill left; we hold the lock, so nobody is at it.
        for rest in left_parts(into):
            shutil.rmtree(rest, ignore_errors=True)
        marker = {"archive": zip_path.name, "directory_sha256": digest, "files": len(members)}
        try:
            with whole_folder(into) as folder, zipfile.ZipFile(zip_path) as archive:
                # zipfile stops at the size that the directory states and checks the CRC there,
                # so what was allowed above is what is written.
                archive.extractall(folder)
                (folder / MARKER_NAME).write_text(json.dumps(marker) + "\n", encoding="utf-8")
        except (*_DAMAGES, OSError) as error:
            raise CorpusError(
                f"{zip_path}: can't be unpacked ({error}); get it again, or free some space"
            ) from error
    return into


def read_members(zip_path: Path) -> list[zipfile.ZipInfo]:
    """The archive's entries.

    Raises:
        CorpusError: it is absent or no readable zip archive.
    """
    try:
        with zipfile.ZipFile(zip_path) as archive:
            return archive.infolist()
    except FileNotFoundError as error:
        raise CorpusError(f"{zip_path}: no such archive") from error
    except (*_DAMAGES, OSError) as error:
        raise CorpusError(f"{zip_path}: is no readable archive ({error}); get it again") from error


def _unpacked_from(into: Path) -> str | None:
    """The digest of the archive that the folder was unpacked from; None where it is not ours."""
    try:
        marker = json.loads((into / MARKER_NAME).read_text(encoding="utf-8"))
        return str(marker["directory_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check(zip_path: Path, members: Sequence[zipfile.ZipInfo], folder: Path) -> None:
    total_bytes = sum(member.file_size for member in members)
    ratio = total_bytes / max(1, zip_path.stat().st_size)
    problem = None
    if len(members) > MAX_FILES:
        problem = f"{len(members)} entries, more than {MAX_FILES}"
    elif total_bytes > MAX_UNPACKED_BYTES:
        problem = f"unpacks to {total_bytes} bytes, more than {MAX_UNPACKED_BYTES}"
    elif ratio > MAX_RATIO:
        problem = (
            f"unpacks to {ratio:.0f} times its size, more than {MAX_RATIO:g}: likely a zip bomb"
        )
    elif shutil.disk_usage(folder).free < total_bytes:
        problem = f"needs {total_bytes} bytes in {folder}, which has not that much space left"
    seen: set[str] = set()
    for member in members:
        # Compared as a case-blind file system would: the second would overwrite the first.
        key = member.filename.rstrip("/").casefold()
        flaw = "occurs twice" if key in seen else _flaw(member)
        if flaw is not None:
            problem = f"entry {member.filename!r} {flaw}"
        seen.add(key)
    if problem is not None:
        raise CorpusError(f"{zip_path}: {problem}; not unpacked")


def _flaw(member: zipfile.ZipInfo) -> str | None:
    # orig_filename: zipfile cuts a name at its first NUL and turns separators around.
    name = member.orig_filename
    path = PurePosixPath(name)
    if "\0" in name or "\\" in name or not name.strip("/"):
        return "has an unsafe name"
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
        return "leaves the folder"
    if path.name == MARKER_NAME:
        return "has a reserved name"
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a special file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    return None
