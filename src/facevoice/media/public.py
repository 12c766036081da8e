"""Files by addresses that strangers name: from the public internet only, within bounds.

Who can make a server fetch an address could make it ask machines that only it reaches: its own,
those of its network, the cloud's service of credentials. So what counts is the number that a socket
is connected to, checked as it is made: a name that is answered otherwise a moment later, and a
server that leads elsewhere, come to the same check. A server that answers is a stranger too: no
more is read than is taken, compressed bytes are never unpacked.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from facevoice.errors import (
    FetchFailedError,
    MediaNotFoundError,
    MissingExtraError,
    PrivateAddressError,
    TooLargeError,
    UnreadableMediaError,
)
from facevoice.media.remote import public_address
from facevoice.texts import shown

if TYPE_CHECKING:
    import aiohttp

_SCHEMES: Final = ("http", "https")
_MAX_URL: Final = 4096
_MAX_REDIRECTS: Final = 5
_PIECE_BYTES: Final = 1 << 16
_SILENCE_S: Final = 30.0
_PAUSES_S: Final = (0.5, 2.0)
# Networks whose numbers carry one of IPv4 in their last bits.
_EMBEDDING: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
# Not public, whatever the registry that Python knows says: special and site-local networks, among
# them the services of credentials of two clouds (192.0.0.192, 168.63.129.16).
_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "fec0::/10", "3fff::/20"),
    )
)
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "facevoice"}

ByteCallback = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FetchBounds:
    """What may be fetched.

    max_bytes: of the file; max_s: for all tries together; is_public: only from numbers of the
    public internet.
    """

    max_bytes: int
    max_s: float = 600.0
    is_public: bool = True


def is_public_number(text: str) -> bool:
    """Whether a number of IP belongs to the public internet, also one that is wrapped in another.

    Raises:
        ValueError: it is no such number.
    """
    number = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address):
        inner = number.ipv4_mapped or number.sixtofour or (number.teredo or (None, None))[1]
        if any(number in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
        if inner is not None:
            return is_public_number(str(inner))
    is_special = number.is_multicast or number.is_reserved or number.is_unspecified
    is_special = is_special or any(number in network for network in _PRIVATE)
    return number.is_global and not (number.is_private or is_special)


def check_public(url: str, *, is_public: bool = True) -> None:
    """Refuse at once what can't be fetched: other kinds of addresses, and private numbers.

    No name is looked up, which may take long: where it leads is seen when `fetch_public` connects.

    Args:
        url: as a stranger wrote it.
        is_public: False to let private networks pass.

    Raises:
        UnreadableMediaError: it isn't http:// or https://, or no such address.
        PrivateAddressError: it leads into a private network.
    """
    host, port = _split(url)
    if not is_public:
        return
    try:
        # Also what C libraries take for numbers, such as 2130706433 and 0x7f.1.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        found = []
    is_local = host.rstrip(".").rpartition(".")[2] == "localhost"
    if is_local or not all(is_public_number(str(where[0])) for *_, where in found):
        raise _private(url)


def _split(url: str) -> tuple[str, int]:
    """Host and port of an address that may be fetched."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme.lower() not in _SCHEMES or len(url) > _MAX_URL or url != shown(url):
        said = shown(url)[:100]
        problem = "is no address that is fetched."
        raise UnreadableMediaError(said, problem, "Give one with http:// or https://.")
    if parts.username is not None or parts.password is not None:
        problem = "names a user or password, which would be kept with the job."
        raise UnreadableMediaError(public_address(url), problem, "Give a signed address instead.")
    return host, port or (443 if parts.scheme.lower() == "https" else 80)


def fetch_public(
    url: str, target: Path, bounds: FetchBounds, on_bytes: ByteCallback | None = None
) -> None:
    """Fetch a file to `target`, whole or with an error; what is there before is replaced.

    A connection that drops is tried again a few times.

    Args:
        url: as a stranger wrote it.
        target: where to write.
        bounds: see there.
        on_bytes: hears how many came so far; what it raises ends the work.

    Raises:
        MissingExtraError: aiohttp is not installed.
        PrivateAddressError: it, or one that its server leads to, is in a private network.
        TooLargeError: there are more bytes than are taken.
        MediaNotFoundError, UnreadableMediaError, FetchFailedError: the server doesn't give it.
    """
    try:
        import aiohttp  # noqa: F401 - only what names the extra is said here
    except ImportError as error:
        raise MissingExtraError("Reading http:// and https:// addresses", "serve") from error
    _split(url)
    deadline_s = time.monotonic() + bounds.max_s
    for pause_s in (*_PAUSES_S, None):
        try:
            asyncio.run(_fetch(url, target, bounds, deadline_s, on_bytes or (lambda _: None)))
            return
        except FetchFailedError:
            if pause_s is None or time.monotonic() + pause_s > deadline_s:
                raise
            time.sleep(pause_s)


async def _fetch(
    url: str, target: Path, bounds: FetchBounds, deadline_s: float, on_bytes: ByteCallback
) -> None:
    import aiohttp

    left_s = max(0.1, deadline_s - time.monotonic())
    timeout = aiohttp.ClientTimeout(left_s, sock_connect=_SILENCE_S, sock_read=_SILENCE_S)
    connector = aiohttp.TCPConnector(
        socket_factory=_public_socket if bounds.is_public else None, force_close=True
    )
    session = aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trace_configs=[_stay_with_https(aiohttp)],
    )
    try:
        async with (
            session,
            session.get(url, headers=_HEADERS, max_redirects=_MAX_REDIRECTS) as answer,
        ):
            _check_answer(url, answer, bounds.max_bytes)
            await _write(url, answer, target, bounds.max_bytes, on_bytes)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if getattr(error, "filename", None) or getattr(error, "errno", None) in _FULL:
            raise  # The file can't be written.
        raise _explain(url, error, bounds) from error


def _check_answer(url: str, answer: aiohttp.ClientResponse, max_bytes: int) -> None:
    where = public_address(url)
    if answer.status in (404, 410):
        raise MediaNotFoundError(where, "no such file.", "Check the address.")
    if answer.status in (401, 403):
        raise UnreadableMediaError(where, "may not be read.", "Give a signed address.")
    if answer.status != 200:
        problem = f"could not be fetched (its server answers {answer.status})."
        remedy = "Check that it is public, and try again."
        kind = FetchFailedError if answer.status >= 500 else UnreadableMediaError
        raise kind(where, problem, remedy)
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        problem = "its server sends it compressed, which was not asked for."
        raise UnreadableMediaError(where, problem, "Give the address of a plain file.")
    if (answer.content_length or 0) > max_bytes:
        raise _too_large(where, max_bytes)


async def _write(
    url: str,
    answer: aiohttp.ClientResponse,
    target: Path,
    max_bytes: int,
    on_bytes: ByteCallback,
) -> None:
    done = 0
    with target.open("wb") as file:
        async for piece in answer.content.iter_chunked(_PIECE_BYTES):
            done += len(piece)
            if done > max_bytes:
                raise _too_large(public_address(url), max_bytes)
            file.write(piece)
            on_bytes(done)


class _PrivateNumberError(OSError):
    """A socket would be connected into a private network."""


def _public_socket(where: Any) -> socket.socket:
    """A socket for the very number that was just checked."""
    family, kind, protocol, _, number = where
    if not is_public_number(str(number[0])):
        raise _PrivateNumberError("not public")
    return socket.socket(family, kind, protocol)


class _LedAstrayError(OSError):
    """From HTTPS to plain HTTP, where others may read along."""


def _stay_with_https(aiohttp: Any) -> Any:
    async def check(_session: Any, _context: Any, sent: Any) -> None:
        target = sent.response.headers.get("Location", "")
        if sent.url.scheme == "https" and urlsplit(target).scheme.lower() == "http":
            raise _LedAstrayError

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(check)
    return trace


def _explain(url: str, error: Exception, bounds: FetchBounds) -> Exception:
    """What people should know; never what an inner network answered."""
    causes = (error, error.__cause__, getattr(error, "os_error", None))
    if any(isinstance(cause, _PrivateNumberError) for cause in causes):
        return _private(url)
    where = public_address(url)
    if isinstance(error, _LedAstrayError):
        problem = "its server leads from https:// to http://, where others may read along."
        return UnreadableMediaError(where, problem, "Give an address that stays with https://.")
    if type(error).__name__ in ("TooManyRedirects", "NonHttpUrlRedirectClientError"):
        problem = "its server leads on and on, or elsewhere than to a web server."
        return UnreadableMediaError(where, problem, "Give the address of the file itself.")
    if isinstance(error, TimeoutError):
        problem = f"did not come in time ({bounds.max_s:g} s in all)."
        return FetchFailedError(where, problem, "Upload the file instead.")
    problem = f"could not be fetched ({type(error).__name__})."
    return FetchFailedError(where, problem, "Check the address, and try again.")


def _private(url: str) -> PrivateAddressError:
    problem = "leads into a network that isn't public."
    return PrivateAddressError(public_address(url), problem, "Upload the file instead.")


def _too_large(where: str, max_bytes: int) -> TooLargeError:
    problem = f"is larger than {max_bytes / 1e6:.0f} MB, the most that is taken."
    return TooLargeError(where, problem, "Cut or compress it.")
