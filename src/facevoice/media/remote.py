"""Files behind an address: found, told apart by their content, fetched whole.

Through fsspec: https://, s3://, gs://, abfs:// and whatever else it has a part for. Credentials and
endpoints are those of its own settings (docs/batch.md). Addresses may carry secrets in their
queries, so messages and reports name `public_address` only.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from facevoice.errors import (
    MediaError,
    MediaNotFoundError,
    MissingExtraError,
    UnreadableMediaError,
    shown_address,
)

_LOG = logging.getLogger(__name__)

# Two letters at least: "C:" is a drive.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Users, passwords and queries in others' messages, which may name an address in another spelling or
# one to which the server led.
_SECRETS: Final = re.compile(r"(?<=://)[^\s/?#]*@|\?\S+")
_PIECE_BYTES: Final = 1 << 20
_PAUSES_S: Final = (0.5, 1.0, 2.0)
# What file systems call a mark that changes with the content, best first.
_MARKS: Final = ("ETag", "etag", "md5Hash", "content-md5", "Content-MD5", "checksum", "Digest")
_TIMES: Final = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created")


def is_remote(path: str) -> bool:
    """Whether this is an address rather than a path."""
    return _SCHEME.match(path) is not None


def public_address(url: str) -> str:
    """The address without user, password and query."""
    return f"{urlsplit(url).scheme}://{shown_address(url)}"


def list_media(url: str, extensions: Collection[str]) -> list[str]:
    """Addresses of the media files below a folder, or that match a pattern; sorted.

    The address of a single file gives itself, whatever its ending; so does every web address, for
    the web has no folders.

    Raises:
        MissingExtraError: fsspec, or its part for this kind of address, is not installed.
        MediaError: the place can't be read.
    """
    if urlsplit(url).scheme.lower() in ("http", "https"):
        return [url]
    try:
        system, root = _open_system(url)
        if any(sign in root for sign in "*?["):
            found = system.glob(root)
        elif system.isdir(root):
            found = system.find(root)
        else:
            return [url]
    except Exception as error:
        raise _explain(url, error) from error
    return sorted(
        system.unstrip_protocol(path)
        for path in found
        if PurePosixPath(path).suffix.lower() in extensions
    )


def identify(url: str) -> str | None:
    """What changes when the content does, without fetching it; None if nothing tells.

    Raises:
        MissingExtraError: see `list_media`.
        MediaError: there is no such file, or it can't be read.
    """
    try:
        system, root = _open_system(url)
        info = system.info(root)
    except Exception as error:
        raise _explain(url, error) from error
    return _mark(info)


def _mark(info: dict[str, Any]) -> str | None:
    for name in _MARKS:
        if info.get(name):
            return f"{name}={info[name]}"
    changed = next((info[name] for name in _TIMES if info.get(name)), None)
    return None if changed is None else f"size={info.get('size')} changed={changed}"


@contextmanager
def fetched(url: str, folder: Path | None = None) -> Iterator[Path]:
    """The file as a temporary copy in `folder` (None: the system's), which is gone afterwards.

    It is fetched in pieces. A connection that drops is taken up again a few times, where it broke
    off if the server allows. A file that changes meanwhile is begun anew: parts of
    both would make one that never was.

    Raises:
        MissingExtraError: see `list_media`.
        MediaNotFoundError: there is no such file.
        UnreadableMediaError: it may not be read, or did not come whole.
    """
    with tempfile.TemporaryDirectory(prefix="facevoice-", dir=folder) as place:
        target = Path(place) / f"media{PurePosixPath(urlsplit(url).path).suffix}"
        copy = _Copy(target)
        for pause_s in (*_PAUSES_S, None):
            try:
                _fetch(url, copy)
                break
            except Exception as error:
                reason = _explain(url, error)
                if pause_s is None or not _may_pass(reason):
                    raise reason from error
                _LOG.debug("%s; once more in %g s", reason, pause_s)
                time.sleep(pause_s)
        yield target


@dataclass(slots=True)
class _Copy:
    """What has come so far, and the mark of the content that it is a part of."""

    path: Path
    mark: str | None = None


def _fetch(url: str, copy: _Copy) -> None:
    """Fetch what is lacking of a file."""
    system, root = _open_system(url)
    info = system.info(root)
    size, mark = info.get("size"), _mark(info)
    if mark is None or mark != copy.mark:
        copy.path.unlink(missing_ok=True)
        copy.mark = mark
    done = copy.path.stat().st_size if copy.path.exists() else 0
    with system.open(root, "rb") as source, copy.path.open("ab") as target:
        if done:
            try:
                source.seek(done)
            except (ValueError, OSError):
                target.truncate(0)  # this server sends whole files only
        while piece := source.read(_PIECE_BYTES):
            target.write(piece)
    got = copy.path.stat().st_size
    if size is not None and got != size:
        raise _IncompleteError(f"{got} of {size} bytes came")
    # Pieces are asked for one by one, so that even without a break they may be of two files.
    if mark != _mark(system.info(root)):
        raise _IncompleteError("it changed meanwhile")


class _IncompleteError(Exception):
    """What came is not the file: too few bytes, too many, or of two files."""


def _open_system(url: str) -> tuple[Any, str]:
    scheme = urlsplit(url).scheme
    try:
        import fsspec

        # Listings and sizes are asked for anew: files come and change while a batch runs.
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise MissingExtraError(
            f"Reading {scheme}:// addresses (beside fsspec's own part for them)", "remote"
        ) from error
    return system, root


def _explain(url: str, error: Exception) -> MediaError | MissingExtraError:
    """The typed error for whatever a file system raised; each kind has errors of its own."""
    if isinstance(error, MediaError | MissingExtraError):
        return error
    shown = public_address(url)
    cause = error.__cause__
    if isinstance(cause, Exception) and type(cause).__module__.startswith("aiohttp"):
        # fsspec says "not found" of whatever a web server answers, and of servers that don't.
        error = cause
    if isinstance(error, FileNotFoundError) or getattr(error, "status", None) in (404, 410):
        return MediaNotFoundError(shown, "no such file.", "Check the address.")
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        scheme = urlsplit(url).scheme
        return UnreadableMediaError(
            shown, f"no part of fsspec reads {scheme}:// addresses.", "Check the address."
        )
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403):
        return UnreadableMediaError(shown, "may not be read.", "Check address and credentials.")
    reason = _SECRETS.sub("", str(error).replace(url, shown))
    if not isinstance(error, _IncompleteError):
        reason = f"{type(error).__name__}: {reason}"
    return _BrokenOffError(
        shown,
        f"could not be fetched ({reason}).",
        "Check address, credentials and network, and try again.",
    )


class _BrokenOffError(UnreadableMediaError):
    """It may come whole another time."""

    @property
    def kind(self) -> str:
        """Not that of a file whose content can't be read: this may pass."""
        return "fetch_failed"


def _may_pass(error: Exception) -> bool:
    return isinstance(error, _BrokenOffError)
