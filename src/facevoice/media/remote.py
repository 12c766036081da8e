"""Files behind an address: found, told apart by their content, fetched whole.

Through fsspec: https://, s3://, gs:// and abfs://; none of its file systems of this computer, of
archives or of chains of them. Credentials and endpoints are those of its own settings
(docs/batch.md). Addresses may carry secrets in their
queries, so messages and reports name `public_address` only.
"""

from __future__ import annotations

import functools
import itertools
import logging
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

from facevoice.errors import (
    FetchFailedError,
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
MAX_BYTES: Final = 50 << 30
"""No larger file is fetched, whatever the server says of it."""
MAX_S: Final = 4 * 3600.0
"""So long may a file take, with all tries."""
_WEB: Final = ("http", "https")
_SCHEMES: Final = (*_WEB, "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")
# A web server that connects, or sends, nothing for so long is given up.
_SILENCE_S: Final = 60.0
# So long may one request take, of which a file needs many where the server gives parts.
_REQUEST_S: Final = 3600.0
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
def fetched(url: str, folder: Path | None = None, max_s: float = MAX_S) -> Iterator[Path]:
    """The file as a temporary copy in `folder` (None: the system's), which is gone afterwards.

    It is fetched in pieces. A connection that drops is taken up again a few times, where it broke
    off if the server allows. A file that changes meanwhile is begun anew: parts of both would make
    one that never was.

    Raises:
        MissingExtraError: see `list_media`.
        MediaNotFoundError: there is no such file.
        UnreadableMediaError: it may not be read, or did not come whole, or not within `max_s`.
    """
    deadline_s = time.monotonic() + max_s
    with tempfile.TemporaryDirectory(prefix="facevoice-", dir=folder) as place:
        target = Path(place) / f"media{PurePosixPath(urlsplit(url).path).suffix}"
        copy = _Copy(target, deadline_s)
        for pause_s in (*_PAUSES_S, None):
            try:
                with _explained(url):
                    _in_time(lambda: copy.complete(*_open_system(url)), deadline_s)
                break
            except FetchFailedError as reason:
                if pause_s is None:
                    raise
                _LOG.debug("%s; once more in %g s", reason, pause_s)
                time.sleep(pause_s)
        yield target


def _in_time(work: Callable[[], None], deadline_s: float) -> None:
    """Work in a thread of its own, which is left to itself at the deadline.

    File systems can't be told to stop: a server that sends a byte now and then is never silent.

    Raises:
        _TooSlowError: the deadline came first.
    """
    done: Future[None] = Future()

    def carry_out() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed on
            done.set_exception(error)
        else:
            done.set_result(None)

    Thread(target=carry_out, daemon=True).start()
    if not wait([done], max(0.0, deadline_s - time.monotonic())).done:
        raise _TooSlowError
    done.result()


@dataclass(slots=True)
class _Copy:
    """What has come so far of a file, and the mark of the content that it is a part of."""

    path: Path
    deadline_s: float
    mark: str | None = None

    def complete(self, system: Any, root: str) -> None:
        """Fetch what is lacking."""
        info = system.info(root)
        size, mark = info.get("size"), _mark(info)
        if mark is None or mark != self.mark:
            self.path.unlink(missing_ok=True)
            self.mark = mark
        if size is not None and size > MAX_BYTES:
            raise _TooLargeError
        if time.monotonic() > self.deadline_s:
            raise _TooSlowError  # whoever waited has cleared the place away
        done = self.path.stat().st_size if self.path.exists() else 0
        with system.open(root, "rb") as source, self.path.open("ab") as target:
            if done:
                try:
                    source.seek(done)
                except (ValueError, OSError):
                    target.truncate(0)  # this server sends whole files only
            self._copy(source, target, done)
        got = self.path.stat().st_size
        if size is not None and got != size:
            raise _IncompleteError(f"{got} of {size} bytes came")
        # Pieces are asked for one by one, so that even without a break they may be of two files.
        if mark != _mark(system.info(root)):
            raise _IncompleteError("it changed meanwhile")

    def _copy(self, source: Any, target: Any, done: int) -> None:
        """All that comes, up to the bounds."""
        while piece := source.read(_PIECE_BYTES):
            done += len(piece)
            if done > MAX_BYTES:
                raise _TooLargeError
            if time.monotonic() > self.deadline_s:
                raise _TooSlowError
            target.write(piece)


def _mark(info: dict[str, Any]) -> str | None:
    for name in _MARKS:
        if info.get(name):
            return f"{name}={info[name]}"
    changed = next((info[name] for name in _TIMES if info.get(name)), None)
    return None if changed is None else f"size={info.get('size')} changed={changed}"


def _open_system(url: str) -> tuple[Any, str]:
    scheme = urlsplit(url).scheme.lower()
    if scheme not in _SCHEMES or "::" in url:
        raise UnreadableMediaError(
            public_address(url),
            f"{scheme}:// addresses are not read.",
            f"Known: {', '.join(f'{name}://' for name in _SCHEMES)}.",
        )
    try:
        import fsspec

        # Listings and sizes are asked for anew: files come and change while a batch runs.
        more = {"client_kwargs": _web_client()} if scheme in _WEB else {}
        system, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **more)
    except ImportError as error:
        addresses = f"Reading {urlsplit(url).scheme}:// addresses (beside fsspec's part for them)"
        raise MissingExtraError(addresses, "remote") from error
    return system, root


@functools.cache
def _web_client() -> dict[str, Any]:
    """How web servers are asked: they may not be silent, nor lead from HTTPS to plain HTTP."""
    import aiohttp

    async def check(_session: Any, _context: Any, sent: Any) -> None:
        target = sent.response.headers.get("Location", "")
        if sent.url.scheme == "https" and urlsplit(target).scheme.lower() == "http":
            raise _LedAstrayError

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    timeout = aiohttp.ClientTimeout(_REQUEST_S, sock_connect=_SILENCE_S, sock_read=_SILENCE_S)
    return {"trace_configs": [trace], "timeout": timeout}


class _TooLargeError(Exception):
    """More than is fetched."""


class _TooSlowError(Exception):
    """It took longer than is waited for."""


class _LedAstrayError(Exception):
    """The server leads from HTTPS to plain HTTP, where anybody may read and change what comes."""


class _IncompleteError(Exception):
    """What came is not the file: too few bytes, too many, or of two files."""


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Typed errors for whatever file systems raise; each kind of them has errors of its own."""
    try:
        yield
    except (MissingExtraError, MediaError):
        raise
    except Exception as error:
        raise _explain(url, error) from error


def _explain(url: str, error: Exception) -> MediaError:
    shown = public_address(url)
    cause = error.__cause__
    if isinstance(cause, Exception) and type(cause).__module__.startswith("aiohttp"):
        # fsspec says "not found" of whatever a web server answers, and of servers that don't.
        error = cause
    if isinstance(error, _TooLargeError):
        problem = f"is larger than {MAX_BYTES >> 30} GiB."
        return UnreadableMediaError(shown, problem, "Fetch it yourself, and name the file.")
    if isinstance(error, _TooSlowError):
        problem = "did not come whole in time."
        return UnreadableMediaError(shown, problem, "Fetch it yourself, and name the file.")
    if _LedAstrayError in (type(error), type(cause)):
        problem = "its server leads from https:// to http://, where others may read along."
        return UnreadableMediaError(shown, problem, "Ask for an address that stays with https://.")
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return MediaNotFoundError(shown, "no such file.", "Check the address.")
    if isinstance(error, PermissionError) or status in (401, 403):
        return UnreadableMediaError(shown, "may not be read.", "Check address and credentials.")
    reason = _SECRETS.sub("", str(error).replace(url, shown))
    if not isinstance(error, _IncompleteError):
        reason = f"{type(error).__name__}: {reason}"
    remedy = "Check address, credentials and network, and try again."
    return FetchFailedError(shown, f"could not be fetched ({reason}).", remedy)
