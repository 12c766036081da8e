"""Files and folders that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to write into; when the block ends well, it takes `target`'s place.

    What lay at `target` before is removed then. If the block fails, nothing has changed.

    Raises:
        OSError: the folder beside `target` can't be written; names `target`.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=_prefix(target), suffix=".part", dir=target.parent))
    except OSError as error:
        error.filename = str(target)
        raise
    try:
        part.chmod(0o755)  # mkdtemp makes it private
        yield part
        if target.exists():
            old = part.with_suffix(".old")
            target.replace(old)
            part.replace(target)
            shutil.rmtree(old)
        else:
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_atomically(path: Path, content: str | bytes, *, is_private: bool = False) -> Path:
    """Write `content` to a hidden neighbour, then rename it to `path`: all of it or nothing.

    A private file is for this user alone.
    """
    with whole_file(path) as part:
        if is_private:
            part.touch(mode=0o600)
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Give a hidden neighbour to write to; when the block ends well, it takes `target`'s place.

    Raises:
        OSError: it can't be written or renamed; names `target`.
    """
    part = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        if error.filename in (None, str(part)):
            error.filename, error.filename2 = str(target), None
        raise
    finally:
        part.unlink(missing_ok=True)


def left_parts(target: Path) -> list[Path]:
    """Hidden neighbours of `target` that a kill left; those of who is at work now among them."""
    return list(target.parent.glob(f"{_prefix(target)}*.part"))


def _prefix(target: Path) -> str:
    # Not the name itself, which may leave no room for more.
    return f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]}."


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content as hexadecimal digits.

    Raises:
        OSError: it can't be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of all that lies in a folder.

    Raises:
        OSError: some of it can't be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = file_sha256(path) if path.is_file() else ""
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + f"\0{content}\0".encode())
    return digest.hexdigest()
