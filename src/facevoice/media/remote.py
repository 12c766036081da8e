"""Files behind an address: found, told apart by their content, fetched whole.

Through fsspec: https://, s3://, gs://, abfs:// and whatever else it has a part for. Credentials and
endpoints are those of its own settings (docs/batch.md). Addresses may carry secrets in their
queries, so messages and reports name `public_address` only.
"""

from __future__ import annotations

import itertools
import logging
import re
import shutil
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

# Users, passwords and queries in others' messages, which may name an address in another spelling or
# one to which the server led.
_SECRETS: Final = re.compile(r"(?<=://)[^\s/?#]*@|\?\S+")
_PIECE_BYTES: Final = 1 << 20
_PAUSES_S: Final = (0.5, 1.0, 2.0)
# What file systems call a mark that changes with the content, best first.
_MARKS: Final = ("ETag", "etag", "md5Hash", "content-md5", "Content-MD5", "checksum", "Digest")
_TIMES: Final = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created")


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
    with _explained(url):
        system, root = _open_system(url)
        if any(sign in root for sign in "*?["):
            found = system.glob(root)
        elif system.isdir(root):
            found = system.find(root)
        else:
            return [url]
        is_media = [PurePosixPath(path).suffix.lower() in extensions for path in found]
        return sorted(map(system.unstrip_protocol, itertools.compress(found, is_media)))


def identify(url: str) -> str | None:
    """What changes when the content does, without fetching it; None if nothing tells.

    Raises:
        MissingExtraError: see `list_media`.
        MediaError: there is no such file, or it can't be read.
    """
    with _explained(url):
        system, root = _open_system(url)
        return _mark(system.info(root))


@contextmanager
def fetched(url: str, folder: Path | None = None) -> Iterator[Path]:
    """The file as a temporary copy in `folder` (None: the system's), which is gone afterwards.

    It is fetched in pieces. A connection that drops is taken up again a few times, where it broke
    off if the server allows. A file that changes meanwhile is begun anew: parts of both would make
    one that never was.

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
                with _explained(url):
                    copy.complete(*_open_system(url))
                break
            except _BrokenOffError as reason:
                if pause_s is None:
                    raise
                _LOG.debug("%s; once more in %g s", reason, pause_s)
                time.sleep(pause_s)
        yield target


@dataclass(slots=True)
class _Copy:
    """What has come so far of a file, and the mark of the content that it is a part of."""

    path: Path
    mark: str | None = None

    def complete(self, system: Any, root: str) -> None:
        """Fetch what is lacking."""
        info = system.info(root)
        size, mark = info.get("size"), _mark(info)
        if mark is None or mark != self.mark:
            self.path.unlink(missing_ok=True)
            self.mark = mark
        done = self.path.stat().st_size if self.path.exists() else 0
        with system.open(root, "rb") as source, self.path.open("ab") as target:
            if done:
                try:
                    source.seek(done)
                except (ValueError, OSError):
                    target.truncate(0)  # this server sends whole files only
            shutil.copyfileobj(source, target, _PIECE_BYTES)
        got = self.path.stat().st_size
        if size is not None and got != size:
            raise _IncompleteError(f"{got} of {size} bytes came")
        # Pieces are asked for one by one, so that even without a break they may be of two files.
        if mark != _mark(system.info(root)):
            raise _IncompleteError("it changed meanwhile")


def _mark(info: dict[str, Any]) -> str | None:
    for name in _MARKS:
        if info.get(name):
            return f"{name}={info[name]}"
    changed = next((info[name] for name in _TIMES if info.get(name)), None)
    return None if changed is None else f"size={info.get('size')} changed={changed}"


def _open_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec

        # Listings and sizes are asked for anew: files come and change while a batch runs.
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        addresses = f"Reading {urlsplit(url).scheme}:// addresses (beside fsspec's part for them)"
        raise MissingExtraError(addresses, "remote") from error
    return system, root


class _IncompleteError(Exception):
    """What came is not the file: too few bytes, too many, or of two files."""


class _BrokenOffError(UnreadableMediaError):
    """It may come whole another time."""

    @property
    def kind(self) -> str:
        """Not that of a file whose content can't be read: this may pass."""
        return "fetch_failed"


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Typed errors for whatever file systems raise; each kind of them has errors of its own."""
    try:
        yield
    except MissingExtraError:
        raise
    except Exception as error:
        raise _explain(url, error) from error


def _explain(url: str, error: Exception) -> MediaError:
    shown = public_address(url)
    cause = error.__cause__
    if isinstance(cause, Exception) and type(cause).__module__.startswith("aiohttp"):
        # fsspec says "not found" of whatever a web server answers, and of servers that don't.
        error = cause
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return MediaNotFoundError(shown, "no such file.", "Check the address.")
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        problem = f"no part of fsspec reads {urlsplit(url).scheme}:// addresses."
        return UnreadableMediaError(shown, problem, "Check the address.")
    if isinstance(error, PermissionError) or status in (401, 403):
        return UnreadableMediaError(shown, "may not be read.", "Check address and credentials.")
    reason = _SECRETS.sub("", str(error).replace(url, shown))
    if not isinstance(error, _IncompleteError):
        reason = f"{type(error).__name__}: {reason}"
    remedy = "Check address, credentials and network, and try again."
    return _BrokenOffError(shown, f"could not be fetched ({reason}).", remedy)
