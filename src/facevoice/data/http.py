"""One careful HTTP client for all corpora: time limits, retries, and the waits servers ask for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from facevoice.errors import DownloadError, MissingExtraError
from facevoice.version import VERSION

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

BLOCK_BYTES: Final = 1 << 18
RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
AGAIN: Final = "Run the same command again: it goes on where it stopped."


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """How patient the client is. All times in seconds."""

    connect_s: float = 20.0
    """To open a connection."""
    stall_s: float = 60.0
    """A transfer that brings fewer than `stall_bytes` in this time counts as dropped."""
    stall_bytes: int = 16_384
    """See `stall_s`."""
    max_failures: int = 6
    """Give up after this many failures in a row that brought nothing new."""
    backoff_s: float = 1.0
    """Wait after the first failure; doubled after each further one, less up to half at random."""
    max_backoff_s: float = 60.0
    """Longest wait of our own choice."""
    max_wait_s: float = 900.0
    """Longest wait that a server may ask for; beyond it we give up and say when to come back."""


class TransientError(Exception):
    """A try failed in a way that another may not. Stays inside this package."""

    def __init__(self, problem: str, wait_s: float | None = None, progressed: bool = False) -> None:
        self.problem = problem
        self.wait_s = wait_s
        self.progressed = progressed
        super().__init__(problem)


class RefusedError(Exception):
    """The server answered, and asking again will not help. Stays inside this package."""

    def __init__(self, status: int, detail: str = "") -> None:
        self.status = status
        self.detail = detail
        super().__init__(f"HTTP {status}" + (f" ({detail})" if detail else ""))


class CancelledError(Exception):
    """Another file failed for good, or the user stopped the run. Stays inside this package."""


class HttpClient:
    """Sends requests from many threads; one instance per run.

    `stop` ends waits and transfers early; what has arrived stays on disk for the next run.
    """

    def __init__(
        self,
        policy: HttpPolicy | None = None,
        on_wait: Callable[[str, str], None] = lambda _file, _note: None,
    ) -> None:
        self.policy = policy or HttpPolicy()
        self._on_wait = on_wait
        self.stop = threading.Event()
        self._local = threading.local()
        self._not_before: dict[str, float] = {}
        self._random = random.Random()  # noqa: S311  (jitter, no secret)

    def retry(
        self,
        file: str,
        url: str,
        attempt: Callable[[], T],
        on_wait: Callable[[str], None] | None = None,
    ) -> T:
        """Call `attempt` until it succeeds, waiting longer after each failure in a row.

        `on_wait` hears why and how long; without it, the client's own does.

        Raises:
            DownloadError: too many failures in a row, a refusal, or too long a wait asked for.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except RefusedError as error:
                raise DownloadError(file, url, f"the server answers {error}.") from error
            except TransientError as error:
                failures = 1 if error.progressed else failures + 1
                if failures >= self.policy.max_failures:
                    problem = f"{error.problem}, for the {failures}th time in a row."
                    raise DownloadError(file, url, problem, AGAIN) from error
                wait_s = self._wait_s(file, url, error, failures)
                note = f"{error.problem}; trying again in {wait_s:.0f} s"
                if on_wait is None:
                    self._on_wait(file, note)
                else:
                    on_wait(note)
                self._sleep(wait_s)

    def _wait_s(self, file: str, url: str, error: TransientError, failures: int) -> float:
        doubled_s = self.policy.backoff_s * 2 ** (failures - 1)
        own_s: float = min(self.policy.max_backoff_s, doubled_s) * self._random.uniform(0.5, 1.0)
        if error.wait_s is None:
            return own_s
        if error.wait_s > self.policy.max_wait_s:
            raise DownloadError(
                file,
                url,
                f"{error.problem}: the server asks to wait {error.wait_s / 60:.0f} minutes.",
                AGAIN.replace("Run", "After that, run"),
            ) from error
        wait_s = error.wait_s + self._random.uniform(0, min(1.0, 0.1 * error.wait_s))
        # The limit counts for the host, so other threads keep away from it as well.
        host = urlsplit(url).netloc
        self._not_before[host] = max(self._not_before.get(host, 0.0), time.monotonic() + wait_s)
        return wait_s

    def _sleep(self, wait_s: float) -> None:
        if self.stop.wait(wait_s):
            raise CancelledError

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one GET and read the answer's head; the caller streams and closes it.

        Raises:
            TransientError: no answer, or one that asks for patience.
            RefusedError: any other answer that is no success and not 416.
        """
        return self._send("GET", url, headers, stream=True)

    def json(
        self, file: str, url: str, headers: Mapping[str, str] | None = None, body: Any = None
    ) -> Any:
        """The JSON document at `url`; POSTs `body` when there is one. `file` is for messages.

        Raises:
            DownloadError: it can't be had.
        """
        method = "GET" if body is None else "POST"

        def attempt() -> Any:
            with self._send(method, url, headers or {}, json=body) as response:
                try:
                    return response.json()
                except ValueError as error:
                    raise TransientError("the answer is no JSON") from error

        return self.retry(file, url, attempt)

    def stream(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes, undecoded.

        Raises:
            TransientError: the connection broke, fell silent, or trickles.
            CancelledError: `stop` was set.
        """
        from urllib3.exceptions import HTTPError

        window_start_s, window_bytes = time.monotonic(), 0
        while True:
            if self.stop.is_set():
                raise CancelledError
            try:
                block: bytes = response.raw.read1(BLOCK_BYTES)
            except (HTTPError, OSError) as error:
                raise TransientError(f"the transfer broke off ({_name(error)})") from error
            if not block:
                return
            yield block
            window_bytes += len(block)
            passed_s = time.monotonic() - window_start_s
            if passed_s >= self.policy.stall_s:
                if window_bytes < self.policy.stall_bytes:
                    raise TransientError(f"only {window_bytes} bytes came in {passed_s:.0f} s")
                window_start_s, window_bytes = time.monotonic(), 0

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], **more: Any
    ) -> requests.Response:
        requests = import_requests()
        pause_s = self._not_before.get(urlsplit(url).netloc, 0.0) - time.monotonic()
        if pause_s > 0:
            self._sleep(pause_s)
        limits = (self.policy.connect_s, self.policy.stall_s)
        try:
            response = self._session().request(
                method, url, headers=dict(headers), timeout=limits, **more
            )
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
            requests.exceptions.TooManyRedirects,
        ) as error:
            raise DownloadError(url, "", f"the address can't be used ({_name(error)}).") from error
        except requests.exceptions.RequestException as error:
            raise TransientError(f"no answer ({_name(error)})") from error
        if response.ok or response.status_code == 416:
            return response
        with response:
            _raise_for(response)
        return response

    def _session(self) -> requests.Session:
        # A session of `requests` is not meant to be shared by threads.
        if not hasattr(self._local, "session"):
            self._local.session = import_requests().Session()
            self._local.session.headers["User-Agent"] = f"facevoice/{VERSION}"
        session: requests.Session = self._local.session
        return session


def import_requests() -> Any:
    """The `requests` package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import requests
    except ImportError as error:
        raise MissingExtraError("downloading corpora", "data") from error
    return requests


def requested_wait_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """The wait in seconds that an answer asks for, or None; `now_s` is Unix time.

    Retry-After (RFC 9110 §10.2.3) is a number of seconds or a date; where it is absent, an
    exhausted X-RateLimit-Remaining with X-RateLimit-Reset (Unix time) says the same.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
        except (ValueError, TypeError):
            return None
    reset = headers.get("X-RateLimit-Reset", "")
    if headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
        return max(0.0, float(reset) - now_s)
    return None


def _raise_for(response: requests.Response) -> None:
    status = response.status_code
    wait_s = requested_wait_s(response.headers, time.time())
    # Some hosts say 403 where they mean "too many requests".
    if status in RETRY_STATUSES or (status == 403 and wait_s is not None):
        raise TransientError(f"the server answers HTTP {status}", wait_s)
    raise RefusedError(status, _detail(response))


def _detail(response: requests.Response) -> str:
    """A short reason, where the answer is a JSON document with a message."""
    if "json" not in response.headers.get("Content-Type", ""):
        return ""
    requests = import_requests()
    try:
        message = response.json().get("message", "")
    except (ValueError, AttributeError, requests.exceptions.RequestException):
        return ""
    return str(message)[:200]


def _name(error: Exception) -> str:
    return type(error).__name__
