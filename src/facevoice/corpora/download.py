"""What is known of a published file before it is fetched, and how its bytes are checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import stat
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from errno import ENOSPC
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from facevoice.corpora.sources import (
    Archive,
    ByHand,
    CorpusSource,
    DataverseDataset,
    GitHubFolder,
    GitHubRepository,
    KaggleDataset,
    Part,
    PlainArchive,
    ZenodoRecord,
    find_source,
)
from facevoice.errors import (
    ChecksumError,
    ConfigError,
    CorpusError,
    DiskSpaceError,
    DownloadError,
    FacevoiceError,
    ManualDownloadError,
    MissingExtraError,
    shown_address,
)
from facevoice.records import VERSION

if TYPE_CHECKING:
    import requests


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


# One careful HTTP client for all corpora: time limits, retries, and the waits servers ask for.

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


# Git LFS: what a pointer file says, and where the objects' bytes are.
#
# Source: the Git LFS specification (pointer files) and its Batch and Basic Transfer APIs.

MAX_POINTER_BYTES: Final = 1024
"""A pointer file is smaller than this, by the specification."""
BATCH_SIZE: Final = 100
"""Objects per question to the server; what the reference client asks for."""

_MEDIA_TYPE: Final = "application/vnd.git-lfs+json"
# version https://git-lfs.github.com/spec/v1 | oid sha256:18b0…6879 | size 73567
_POINTER: Final = re.compile(
    r"version https://git-lfs\.github\.com/spec/v1\n"
    r"(?:ext-\d-.+\n)*oid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>\d+)\n?"
)
_LIFETIME_S: Final = 600.0
_MARGIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Pointer:
    """What stands in Git for a large file: sha256 and size of the real one."""

    oid: str
    size_bytes: int


def parse_pointer(content: bytes) -> Pointer | None:
    """The pointer that `content` is, or None where it is a file of its own."""
    if len(content) >= MAX_POINTER_BYTES:
        return None
    match = _POINTER.fullmatch(content.decode("utf-8", errors="replace"))
    return Pointer(match["oid"], int(match["size"])) if match else None


class LfsServer:
    """Asks one repository's LFS server for download addresses, many at a time, when needed."""

    def __init__(
        self,
        client: HttpClient,
        repository_url: str,
        pointers: Iterable[Pointer],
        clock: Callable[[], float] = time.monotonic,
        remedy: str = "",
    ) -> None:
        self._client = client
        self._url = f"{repository_url}.git/info/lfs/objects/batch"
        self._clock = clock
        self._remedy = remedy
        self._lock = threading.Lock()
        self._links: dict[str, tuple[Location, float]] = {}
        self._problems: dict[str, str] = {}
        unique = list({pointer.oid: pointer for pointer in pointers}.values())
        self._batch_of: dict[str, list[Pointer]] = {}
        for start in range(0, len(unique), BATCH_SIZE):
            batch = unique[start : start + BATCH_SIZE]
            self._batch_of.update((pointer.oid, batch) for pointer in batch)

    def remote_file(self, name: str, pointer: Pointer) -> RemoteFile:
        """The object as a file to fetch; `pointer` is one of those given at the start."""
        return RemoteFile(
            name=name,
            url=self._url,
            size_bytes=pointer.size_bytes,
            checksum=f"sha256:{pointer.oid}",
            locate=lambda renew: self.locate(name, pointer.oid, renew),
        )

    def locate(self, name: str, oid: str, renew: bool = False) -> Location:
        """Where the object is now; `name` is for messages.

        Raises:
            DownloadError: the server does not have it or does not give it.
        """
        with self._lock:
            location, until_s = self._links.get(oid, (None, 0.0))
            if renew or location is None or self._clock() >= until_s:
                self._ask(name, self._batch_of[oid])
                location, _ = self._links.get(oid, (None, 0.0))
            if location is None:
                problem = self._problems.get(oid, "the LFS server left the object out.")
                raise DownloadError(name, self._url, problem, self._remedy)
            return location

    def _ask(self, name: str, batch: list[Pointer]) -> None:
        for pointer in batch:
            self._links.pop(pointer.oid, None)
        body = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": one.oid, "size": one.size_bytes} for one in batch],
        }
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        try:
            answer = self._client.json(name, self._url, headers, body)
        except DownloadError as error:
            raise DownloadError(
                name, self._url, error.problem, error.remedy or self._remedy
            ) from error
        try:
            self._take(answer)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DownloadError(
                name, self._url, "the LFS server's answer is not what the protocol says."
            ) from error

    def _take(self, answer: dict[str, Any]) -> None:
        for item in answer["objects"]:
            oid = item["oid"]
            if "error" in item:
                error = item["error"]
                self._problems[oid] = f"the LFS server says {error['code']}: {error['message']}."
                continue
            link = item["actions"]["download"]
            location = Location(str(link["href"]), dict(link.get("header") or {}))
            self._links[oid] = (location, self._clock() + _lifetime_s(link) - _MARGIN_S)


def _lifetime_s(link: dict[str, Any]) -> float:
    """Seconds that a link lives; `expires_in` is preferred over `expires_at`, as specified."""
    if "expires_in" in link:
        return float(link["expires_in"])
    if "expires_at" in link:
        until = datetime.fromisoformat(str(link["expires_at"]))
        return (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return _LIFETIME_S


# What the hosts of corpora list: Zenodo records, Dataverse datasets, GitHub folders.

DEFAULT_HOSTS: Final[Mapping[str, str]] = {
    "zenodo": "https://zenodo.org",
    "github": "https://github.com",
    "github_api": "https://api.github.com",
    "github_raw": "https://raw.githubusercontent.com",
    "dataverse": "https://borealisdata.ca",
    "emodb": "http://emodb.bilderbar.info",
}


@dataclass(frozen=True, slots=True)
class Hosts:
    """Base addresses, for mirrors and tests.

    The default of each is public; FACEVOICE_<NAME>_URL in the environment, or an explicit entry,
    replaces it.
    """

    bases: Mapping[str, str] = field(default_factory=dict)
    github_token: str | None = None

    @classmethod
    def from_environment(cls, explicit: Mapping[str, str] | None = None) -> Hosts:
        """Bases from the environment, under those given; GITHUB_TOKEN raises GitHub's limits.

        Raises:
            ConfigError: a name is unknown or an address is none.
        """
        found = {
            name: os.environ[f"FACEVOICE_{name.upper()}_URL"]
            for name in DEFAULT_HOSTS
            if os.environ.get(f"FACEVOICE_{name.upper()}_URL")
        }
        found.update(explicit or {})
        for name, base in found.items():
            if name not in DEFAULT_HOSTS:
                known = ", ".join(DEFAULT_HOSTS)
                raise ConfigError(f"base address {name!r} is unknown; known are {known}")
            if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
                raise ConfigError(f"base address {name} = {base!r} is no http or https address")
        return cls(found, os.environ.get("GITHUB_TOKEN") or None)

    def base(self, name: str) -> str:
        """The base address, without a slash at the end."""
        return self.bases.get(name, DEFAULT_HOSTS[name]).rstrip("/")

    def rebase(self, name: str, url: str) -> str:
        """`url` as a host gave it, turned to our base where that was replaced by a mirror."""
        if name not in self.bases:
            return url
        base, given = urlsplit(self.base(name)), urlsplit(url)
        if given.netloc == base.netloc:
            return url
        return urlunsplit(
            (base.scheme, base.netloc, base.path.rstrip("/") + given.path, given.query, "")
        )


@dataclass(frozen=True, slots=True)
class BlobEntry:
    """A file in a Git tree: its name in its folder, its blob's sha1, its size."""

    name: str
    sha1: str
    size_bytes: int


def list_zenodo(client: HttpClient, hosts: Hosts, record: str) -> list[RemoteFile]:
    """The files of a Zenodo record, with published sizes and md5 sums.

    Raises:
        DownloadError: the record can't be read.
    """
    url = f"{hosts.base('zenodo')}/api/records/{record}"
    answer = client.json(f"record {record}", url)
    with _understood(f"record {record}", url):
        return [
            RemoteFile(
                name=item["key"],
                url=hosts.rebase("zenodo", item["links"]["self"]),
                size_bytes=int(item["size"]),
                checksum=_checked(item["checksum"]),
            )
            for item in answer["files"]
        ]


def list_dataverse(client: HttpClient, hosts: Hosts, doi: str) -> list[RemoteFile]:
    """The files of a Dataverse dataset's latest version, with sizes and checksums.

    Raises:
        DownloadError: the dataset can't be read.
    """
    base = hosts.base("dataverse")
    url = f"{base}/api/datasets/:persistentId/versions/:latest-published/files?persistentId={doi}"
    answer = client.json(f"dataset {doi}", url)
    with _understood(f"dataset {doi}", url):
        return [_dataverse_file(base, item) for item in answer["data"]]


def _dataverse_file(base: str, item: dict[str, Any]) -> RemoteFile:
    file = item["dataFile"]
    algorithm = file["checksum"]["type"].lower().replace("-", "")
    folder = item.get("directoryLabel", "")
    return RemoteFile(
        name=f"{folder}/{file['filename']}" if folder else file["filename"],
        url=f"{base}/api/access/datafile/{int(file['id'])}",
        size_bytes=int(file["filesize"]),
        checksum=_checked(f"{algorithm}:{file['checksum']['value']}"),
    )


def list_github(
    client: HttpClient, hosts: Hosts, repository: str, ref: str, folders: tuple[str, ...]
) -> dict[str, list[BlobEntry]]:
    """The files directly in each of `folders` ("" is the root) of a repository at `ref`.

    Folder by folder, since the recursive listing of a large repository comes cut off.

    Raises:
        DownloadError: a folder is absent, its listing is cut off, or the host refuses.
    """
    subject = f"{repository} at {ref}"
    base = f"{hosts.base('github_api')}/repos/{repository}/git/trees"
    headers = {"Accept": "application/vnd.github+json"}
    if hosts.github_token:
        headers["Authorization"] = f"Bearer {hosts.github_token}"

    def read(tree: str) -> list[dict[str, Any]]:
        url = f"{base}/{quote(tree)}"
        answer = client.json(subject, url, headers)
        with _understood(subject, url):
            if answer.get("truncated"):
                raise DownloadError(subject, url, "the host cuts the list of files off.")
            return list(answer["tree"])

    root = read(ref)
    listing: dict[str, list[BlobEntry]] = {}
    for folder in folders:
        tree = root
        for part in filter(None, folder.split("/")):
            found = [one for one in tree if one.get("path") == part and one.get("type") == "tree"]
            if not found:
                raise DownloadError(subject, base, f"has no folder {folder!r} any more.")
            tree = read(str(found[0]["sha"]))
        with _understood(subject, base):
            listing[folder] = [
                BlobEntry(one["path"], one["sha"], int(one["size"]))
                for one in tree
                if one["type"] == "blob"
            ]
    return listing


def raw_file(
    hosts: Hosts, repository: str, ref: str, path: str, entry: BlobEntry, name: str
) -> RemoteFile:
    """A file as it lies in Git (an LFS file's pointer), checked by its blob's sha1."""
    return RemoteFile(
        name=name,
        url=f"{hosts.base('github_raw')}/{repository}/{ref}/{quote(path)}",
        size_bytes=entry.size_bytes,
        checksum=f"git-sha1:{entry.sha1}",
    )


def single_file(hosts: Hosts, host: str, path: str, name: str) -> RemoteFile:
    """A file of which nothing but the address is published."""
    return RemoteFile(name=name, url=f"{hosts.base(host)}{path}")


def _checked(checksum: str) -> str:
    algorithm, _, digest = checksum.partition(":")
    if not algorithm or len(digest) < 32:
        raise ValueError(f"no checksum: {checksum!r}")
    return checksum


@contextmanager
def _understood(subject: str, url: str) -> Iterator[None]:
    """Turn a document of another shape than documented into a DownloadError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DownloadError(
            subject, url, f"the host's list is not as documented ({error!r})."
        ) from error


# One published file to disk: goes on after a drop, and is called done only when it is sound.
#
# Bytes go to `NAME.part`; `NAME.part.json` says what they are part of. The file takes its name only
# after its size and checksum were verified, so a file under its own name is a whole file.

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def fetch(
    client: HttpClient, file: RemoteFile, folder: Path, progress: ProgressCallback
) -> dict[str, str]:
    """Bring `file` to `folder / file.name`, going on from what an earlier run left.

    Gives the file's digests, by algorithm: sha256, and the published one.

    Raises:
        ChecksumError: twice, all bytes came but were not the published ones.
        DownloadError: it can't be had.
        OSError: the disk can't be written.
    """
    target = folder / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    problem: str | None = None
    for _ in range(2):
        _transfer(client, file, part, progress)
        size_bytes = part.path.stat().st_size
        progress(Progress(file.name, Phase.CHECKING, size_bytes, size_bytes))
        digests = compute_digests(part.path, file.checksum)
        problem = mismatch(file, size_bytes, digests)
        if problem is None:
            part.finish()
            return digests
        # Damaged bytes are of no use to another try either.
        part.discard()
    raise ChecksumError(
        file.name,
        file.url,
        f"{problem}, twice.",
        "Nothing of it was kept. Try another network or a mirror; if it stays so, the publisher "
        "may have changed the file.",
    )


def read_small(client: HttpClient, file: RemoteFile) -> bytes:
    """The content of a small file of known size, checked, kept in memory only.

    Raises:
        DownloadError: it can't be had, or not as published.
    """

    def attempt() -> bytes:
        content = b""
        with client.get(file.url, {"Accept-Encoding": "identity"}) as response:
            for block in client.stream(response):
                content += block
                if len(content) > (file.size_bytes or 0):
                    break
        digests = digest_blocks(file.name, [content], len(content), file.checksum)
        problem = mismatch(file, len(content), digests)
        if problem is not None:
            raise TransientError(problem)
        return content

    return client.retry(file.name, file.url, attempt)


def write_atomically(path: Path, text: str, to_disk: bool = True) -> None:
    """Replace the text of `path` so that a kill leaves the old or the new, never a mixture.

    `to_disk` waits until it would survive a power cut as well.
    """
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as stream:
        stream.write(text)
        if to_disk:
            stream.flush()
            os.fsync(stream.fileno())
    new.replace(path)


class _Part:
    """What has arrived of one file, and the note that says what it is part of."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.note_path = target.with_name(f"{target.name}.part.json")

    def resume_point(self, file: RemoteFile) -> tuple[int, str | None]:
        """Bytes that may be kept, and the validator for If-Range; (0, None) to start anew."""
        try:
            note = json.loads(self.note_path.read_text(encoding="utf-8"))
            have_bytes = self.path.stat().st_size
            validator, known = note["validator"], note["known"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0, None
        # Without a published checksum only the server can tell that the file is still the same.
        vouched = file.checksum is not None or isinstance(validator, str)
        too_long = file.size_bytes is not None and have_bytes > file.size_bytes
        if known != _identity(file) or too_long or not vouched:
            return 0, None
        return have_bytes, validator

    def begin(self, file: RemoteFile, validator: str | None) -> None:
        """Write the note; before the first byte, so that bytes without a note don't exist."""
        note = {"known": _identity(file), "validator": validator}
        # After a power cut the checksum finds out; no need to wait for the disk here.
        write_atomically(self.note_path, json.dumps(note) + "\n", to_disk=False)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)

    def finish(self) -> None:
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())
        self.path.replace(self.target)
        self.note_path.unlink(missing_ok=True)


def _identity(file: RemoteFile) -> dict[str, Any]:
    """What must stay the same for old bytes to be part of it; signed addresses change freely."""
    address = None if file.checksum else file.url
    return {"url": address, "size_bytes": file.size_bytes, "checksum": file.checksum}


def _transfer(
    client: HttpClient, file: RemoteFile, part: _Part, progress: ProgressCallback
) -> None:
    """Fill the part file to the end, over as many requests as it takes."""
    refused = False
    best_bytes = 0

    def attempt() -> None:
        nonlocal refused, best_bytes
        start_bytes, _ = part.resume_point(file)
        if start_bytes and start_bytes == file.size_bytes:
            return
        try:
            _request(client, file, part, progress, refused)
        except TransientError as error:
            # Against the best so far: a server that can't resume must not keep us here for ever.
            best_bytes = max(best_bytes, start_bytes)
            have_bytes, _ = part.resume_point(file)
            error.progressed = have_bytes > best_bytes
            raise
        except RefusedError as error:
            # A signed address may have run out; ask for a new one, once.
            if file.locate is None or refused or error.status not in (400, 401, 403, 404, 410):
                raise
            refused = True
            raise TransientError(str(error), wait_s=0.0) from error

    def on_wait(note: str) -> None:
        have_bytes, _ = part.resume_point(file)
        progress(Progress(file.name, Phase.WAITING, have_bytes, file.size_bytes, note))

    client.retry(file.name, file.url, attempt, on_wait)


def _request(
    client: HttpClient,
    file: RemoteFile,
    part: _Part,
    progress: ProgressCallback,
    renew: bool,
) -> None:
    location = file.locate(renew) if file.locate else Location(file.url)
    have_bytes, validator = part.resume_point(file)
    headers = {"Accept-Encoding": "identity", **location.headers}
    if have_bytes:
        headers["Range"] = f"bytes={have_bytes}-"
        if validator:
            headers["If-Range"] = validator
    with client.get(location.url, headers) as response:
        start_bytes, total_bytes = _placement(response, have_bytes, validator, part)
        published = file.size_bytes
        if published is not None and total_bytes is not None and total_bytes != published:
            part.discard()
            raise DownloadError(
                file.name,
                file.url,
                f"the server offers {total_bytes} bytes, but {published} are published.",
            )
        part.begin(file, _validator(response))
        total_bytes = total_bytes if published is None else published
        with part.path.open("ab") as sink:
            sink.truncate(start_bytes)
            done_bytes = start_bytes
            progress(Progress(file.name, Phase.RUNNING, done_bytes, total_bytes))
            for block in client.stream(response):
                sink.write(block)
                done_bytes += len(block)
                if total_bytes is not None and done_bytes > total_bytes:
                    part.discard()
                    raise TransientError(f"more than the {total_bytes} bytes announced came")
                progress(Progress(file.name, Phase.RUNNING, done_bytes, total_bytes))
    if total_bytes is not None and done_bytes < total_bytes:
        raise TransientError(f"the connection closed after {done_bytes} of {total_bytes} bytes")


def _placement(
    response: requests.Response, have_bytes: int, validator: str | None, part: _Part
) -> tuple[int, int | None]:
    """Where the body's first byte belongs, and the whole file's size where it is told."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        changed = None not in (validator, _validator(response)) and (
            validator != _validator(response)
        )
        if match is None or int(match[1]) != have_bytes or changed:
            part.discard()
            raise TransientError("the server sent another part than asked for")
        return have_bytes, None if match[3] == "*" else int(match[3])
    if response.status_code == 416:
        # What lies here can't be a part of what is there now.
        part.discard()
        raise TransientError("the server has no such part", wait_s=0.0)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransientError("the server sent the file re-encoded")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(response: requests.Response) -> str | None:
    """What If-Range may hold (RFC 9110 §13.1.5): a strong ETag, else the date of change."""
    etag: str | None = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified")


# Unpacking corpora safely: nothing outside the folder, no bombs, all or nothing.

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


# What was fetched and found sound, per corpus folder: a log of receipts and completion markers.
#
# `.facevoice/receipts.jsonl` grows by one line for every file that was verified (and unpacked);
# `.facevoice/complete-KEY.json` says that everything asked for by KEY was there, with checksums.
# Both survive a kill at any moment: a torn last line is passed over, a marker is written whole.

FOLDER: Final = ".facevoice"


class JsonLog:
    """A file of JSON objects, one a line, that only ever grows; safe to append from threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def read(self) -> Iterator[dict[str, Any]]:
        """The objects in order; lines that a kill left unfinished are passed over."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    item = json.loads(line)
                except ValueError:
                    continue
                if isinstance(item, dict):
                    yield item

    def append(self, items: Iterable[dict[str, Any]]) -> None:
        """Add lines and wait until the disk has them."""
        # The newline in front parts a torn line, left by a kill, from what follows.
        text = "\n" + "".join(json.dumps(item, sort_keys=True) + "\n" for item in items)
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())


@dataclass(frozen=True, slots=True)
class Receipt:
    """A file that was whole and sound when this was written.

    `members`: of an unpacked archive, {path below the corpus folder: [bytes, CRC-32]}.
    """

    file: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    checksum: str | None
    address: str
    members: dict[str, list[int]] | None = None


class Ledger:
    """The receipts and markers of one corpus folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = JsonLog(folder / FOLDER / "receipts.jsonl")
        self._receipts: dict[str, Receipt] = {}
        for item in self._log.read():
            try:
                receipt = Receipt(**item)
            except TypeError:
                continue
            self._receipts[receipt.file] = receipt

    def receipt_of(self, file: RemoteFile, thorough: bool = False) -> Receipt | None:
        """The receipt for what is published as `file` now, if its content is still in place."""
        receipt = self._receipts.get(file.name)
        if receipt is None or (file.checksum and receipt.checksum != file.checksum):
            return None
        if file.size_bytes is not None and receipt.size_bytes != file.size_bytes:
            return None
        return receipt if self.is_in_place(receipt, thorough) else None

    def is_in_place(self, receipt: Receipt, thorough: bool = False) -> bool:
        """Whether the file, or all that was unpacked from it, lies there unchanged.

        By size and time of change; `thorough` reads everything again.
        """
        if receipt.members is None:
            return self._is_unchanged(receipt, thorough)
        for name, (size_bytes, crc) in receipt.members.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != size_bytes:
                return False
            if thorough and _crc32(path) != crc:
                return False
        return True

    def _is_unchanged(self, receipt: Receipt, thorough: bool) -> bool:
        path = self.folder / receipt.file
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != receipt.size_bytes:
            return False
        if thorough or status.st_mtime_ns != receipt.mtime_ns:
            return compute_digests(path)["sha256"] == receipt.sha256
        return True

    def record(
        self, file: RemoteFile, sha256: str, members: dict[str, list[int]] | None = None
    ) -> Receipt:
        """Write down that `file` is sound (and unpacked to `members`)."""
        status = (self.folder / file.name).stat()
        receipt = Receipt(
            file=file.name,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            sha256=sha256,
            checksum=file.checksum,
            address=shown_address(file.url),
            members=members,
        )
        self._log.append([dataclasses.asdict(receipt)])
        self._receipts[file.name] = receipt
        return receipt

    def mark_complete(self, key: str, corpus: str, names: Iterable[str]) -> Path:
        """Write the completion marker of `key` over the files `names`."""
        files = [
            {
                "file": name,
                "size_bytes": self._receipts[name].size_bytes,
                "sha256": self._receipts[name].sha256,
                "published_checksum": self._receipts[name].checksum,
                "address": self._receipts[name].address,
            }
            for name in sorted(names)
        ]
        finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        marker = {"corpus": corpus, "request": key, "finished_utc": finished, "files": files}
        path = self._marker(key)
        write_atomically(path, json.dumps(marker, indent=1) + "\n")
        return path

    def complete_receipts(self, key: str, thorough: bool = False) -> list[Receipt] | None:
        """The receipts under the marker of `key`; None where it is absent or anything is amiss."""
        try:
            marker = json.loads(self._marker(key).read_text(encoding="utf-8"))
            receipts = [self._receipts[item["file"]] for item in marker["files"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not all(self.is_in_place(receipt, thorough) for receipt in receipts):
            return None
        return receipts

    def _marker(self, key: str) -> Path:
        return self.folder / FOLDER / f"complete-{key}.json"


def list_members(archive: Path, into: str) -> dict[str, list[int]]:
    """The files that `archive` unpacks to, below `into`: {path: [bytes, CRC-32]}."""
    with zipfile.ZipFile(archive) as opened:
        return {
            f"{into}/{member.filename}": [member.file_size, member.CRC]
            for member in opened.infolist()
            if not member.is_dir()
        }


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


# Data sets on Kaggle, through kagglehub and the user's own account.

_REMEDY: Final = (
    "Create an API token in Kaggle's settings, then set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and "
    "KAGGLE_KEY."
)


def fetch_kaggle(handle: str, into: Path) -> None:
    """Bring the data set `handle` (owner/name) to the folder `into`.

    kagglehub resumes, checks and unpacks by itself.

    Raises:
        MissingExtraError: kagglehub is not installed.
        DownloadError: no credentials, or kagglehub could not get it.
    """
    kagglehub = _import_kagglehub()
    url = f"https://www.kaggle.com/datasets/{handle}"
    try:
        if kagglehub.config.get_kaggle_credentials() is None:
            raise DownloadError(handle, url, "Kaggle needs an account.", _REMEDY)
        kagglehub.dataset_download(handle, output_dir=str(into))
    except DownloadError:
        raise
    except Exception as error:
        # kagglehub passes on whatever its parts raise; there is no common base.
        raise DownloadError(
            handle,
            url,
            f"kagglehub failed ({type(error).__name__}: {error}).",
            "Check the account's access to the data set, then run the same command again.",
        ) from error


def _import_kagglehub() -> Any:
    try:
        import kagglehub
        import kagglehub.config
    except ImportError as error:
        raise MissingExtraError("downloading from Kaggle", "data") from error
    return kagglehub


# From a wish ("CREMA-D, the small set") to the list of files to fetch.


@dataclass(frozen=True, slots=True)
class Choice:
    """How much of a corpus is wanted."""

    subset: bool = False
    songs: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to fetch, and the clips left out on purpose."""

    files: tuple[RemoteFile, ...]
    kaggle: tuple[KaggleDataset, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class Planner:
    """Asks the hosts what there is; `folder` keeps what was learnt of LFS pointers."""

    client: HttpClient
    hosts: Hosts
    source: CorpusSource
    choice: Choice
    folder: Path
    jobs: int
    progress: ProgressCallback
    _left_out: set[str] = field(default_factory=set)

    def plan(self, parts: tuple[Part, ...]) -> Plan:
        """The files of all `parts`.

        Raises:
            ManualDownloadError: people must fetch the corpus themselves.
            DownloadError: a host can't be asked, or lists something else than expected.
        """
        files: list[RemoteFile] = []
        kaggle: list[KaggleDataset] = []
        for part in parts:
            match part:
                case ZenodoRecord():
                    files += self._zenodo(part)
                case GitHubRepository():
                    files += self._github(part)
                case DataverseDataset():
                    files += self._dataverse(part)
                case PlainArchive():
                    found = single_file(self.hosts, part.host, part.path, part.archive.name)
                    files.append(_as_archive(found, part.archive.name, part.archive.unpack_ratio))
                case KaggleDataset():
                    kaggle.append(part)
                case ByHand():
                    raise ManualDownloadError(
                        self.source.name, "", part.reason, _by_hand(self, part)
                    )
        names = [file.name for file in files]
        if len(set(names)) != len(names) or not (files or kaggle):
            raise DownloadError(
                self.source.name, "", "the hosts list nothing, or a file twice.", self.source.remedy
            )
        return Plan(tuple(files), tuple(kaggle), tuple(sorted(self._left_out)))

    def _zenodo(self, part: ZenodoRecord) -> list[RemoteFile]:
        listed = {file.name: file for file in list_zenodo(self.client, self.hosts, part.record)}
        wanted = [archive for archive in part.archives if self._is_wanted(archive)]
        missing = [archive.name for archive in wanted if archive.name not in listed]
        if missing:
            raise DownloadError(
                missing[0], self.hosts.base("zenodo"), f"record {part.record} does not list it."
            )
        return [
            _as_archive(listed[archive.name], archive.name, archive.unpack_ratio)
            for archive in wanted
        ]

    def _is_wanted(self, archive: Archive) -> bool:
        if archive.is_song and not self.choice.songs:
            return False
        return archive.in_subset or not self.choice.subset

    def _dataverse(self, part: DataverseDataset) -> list[RemoteFile]:
        # Some datasets list every file in two folders; by name they are the same.
        found: dict[str, RemoteFile] = {}
        for file in list_dataverse(self.client, self.hosts, part.doi):
            name = PurePosixPath(file.name).name
            if part.pattern.fullmatch(name):
                found.setdefault(name, replace(file, name=f"{part.into}/{name}"))
        return list(found.values())

    def _github(self, part: GitHubRepository) -> list[RemoteFile]:
        listing = list_github(
            self.client,
            self.hosts,
            part.repository,
            part.ref,
            tuple(folder.path for folder in part.folders),
        )
        chosen = self._choose(part, listing)
        files: list[RemoteFile] = []
        for folder in part.folders:
            for entry in listing[folder.path]:
                if not folder.pattern.fullmatch(entry.name):
                    continue
                stem = PurePosixPath(entry.name).stem
                if folder.is_clips and stem in self.source.left_out:
                    self._left_out.add(stem)
                elif not folder.is_clips or chosen is None or stem in chosen:
                    files.append(self._blob(part, folder, entry))
        return self._through_lfs(part, files) if part.lfs else files

    def _choose(
        self, part: GitHubRepository, listing: Mapping[str, list[BlobEntry]]
    ) -> frozenset[str] | None:
        """The subset's stems, of those that are in all folders of clips; None: all clips."""
        if not self.choice.subset or self.source.pick is None:
            return None
        stems = [
            {PurePosixPath(one.name).stem for one in listing[folder.path]}
            for folder in part.folders
            if folder.is_clips
        ]
        return frozenset(self.source.pick(set.intersection(*stems) - self.source.left_out))

    def _blob(self, part: GitHubRepository, folder: GitHubFolder, entry: BlobEntry) -> RemoteFile:
        path = "/".join(filter(None, (folder.path, entry.name)))
        name = "/".join(filter(None, (folder.into, entry.name)))
        file = raw_file(self.hosts, part.repository, part.ref, path, entry, name)
        return _as_archive(file, name, folder.unpack_ratio) if folder.unpack_ratio else file

    def _through_lfs(self, part: GitHubRepository, files: list[RemoteFile]) -> list[RemoteFile]:
        """Replace pointer files by the objects that they point to."""
        small = [file for file in files if (file.size_bytes or 0) < MAX_POINTER_BYTES]
        pointers = PointerCache(self.folder).read_all(self.client, small, self.jobs, self.progress)
        repository_url = f"{self.hosts.base('github')}/{part.repository}"
        server = LfsServer(
            self.client, repository_url, pointers.values(), remedy=self.source.remedy
        )
        return [
            server.remote_file(file.name, pointers[file.name]) if file.name in pointers else file
            for file in files
        ]


class PointerCache:
    """Remembers what pointer files say, by their blob's sha1, so that no run asks twice."""

    def __init__(self, folder: Path) -> None:
        self._log = JsonLog(folder / FOLDER / "pointers.jsonl")

    def read_all(
        self, client: HttpClient, files: Iterable[RemoteFile], jobs: int, progress: ProgressCallback
    ) -> dict[str, Pointer]:
        """The pointers among `files`, by file name; those that are files of their own are absent.

        Raises:
            DownloadError: one can't be had.
        """
        known: dict[str, Pointer | None] = {
            str(item["blob"]): Pointer(item["oid"], item["size_bytes"]) if item["oid"] else None
            for item in self._log.read()
            if {"blob", "oid", "size_bytes"} <= item.keys()
        }
        files = list(files)
        unknown = [file for file in files if str(file.checksum) not in known]

        def read(file: RemoteFile) -> Pointer | None:
            content = read_small(client, file)
            progress(Progress(file.name, Phase.LISTED, len(content), len(content)))
            pointer = parse_pointer(content)
            self._log.append(
                [
                    {
                        "blob": file.checksum,
                        "oid": pointer.oid if pointer else "",
                        "size_bytes": pointer.size_bytes if pointer else 0,
                    }
                ]
            )
            return pointer

        with ThreadPoolExecutor(jobs, thread_name_prefix="pointer") as pool:
            try:
                found = list(pool.map(read, unknown))
            except BaseException:
                client.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        known.update(zip((str(file.checksum) for file in unknown), found, strict=True))
        pointers = {file.name: known[str(file.checksum)] for file in files}
        return {name: pointer for name, pointer in pointers.items() if pointer is not None}


def _as_archive(file: RemoteFile, name: str, unpack_ratio: float) -> RemoteFile:
    return replace(file, unpack_into=name.removesuffix(".zip"), unpack_ratio=unpack_ratio)


def _by_hand(planner: Planner, part: ByHand) -> str:
    return (
        f"Get it from {part.where} and unpack it to {planner.folder}, then run "
        f"'facevoice data prepare {planner.source.name}' on that folder."
    )


# Files of a plan: fetch in parallel, unpack, and write a receipt for each that is sound.

MAX_FAILED_FILES: Final = 5
"""After so many files that can't be had, the rest is not tried any more."""


@dataclass(frozen=True, slots=True)
class Obtainer:
    """Brings files to one corpus folder and into its ledger."""

    client: HttpClient
    folder: Path
    ledger: Ledger
    jobs: int
    keep_archives: bool
    progress: ProgressCallback

    def obtain_all(self, missing: list[RemoteFile]) -> list[Receipt]:
        """Fetch what is missing, in parallel; one file's failure does not stop the others.

        Raises:
            FacevoiceError: the first failure, once all others are done or too many failed.
        """
        receipts: list[Receipt] = []
        failures: list[FacevoiceError] = []
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="download") as pool:
            try:
                futures = [pool.submit(self._obtain, file) for file in missing]
                for future in as_completed(futures):
                    self._collect(future, receipts, failures)
            except BaseException:
                # Also on Ctrl-C: what is under way stops at once and goes on next time.
                self.client.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        if failures:
            raise _sum_up(failures, len(missing) - len(receipts))
        return receipts

    def _collect(
        self, future: Future[Receipt], receipts: list[Receipt], failures: list[FacevoiceError]
    ) -> None:
        try:
            receipts.append(future.result())
        except CancelledError:
            return
        except FacevoiceError as error:
            failures.append(error)
            if len(failures) >= MAX_FAILED_FILES or isinstance(error, DiskSpaceError):
                self.client.stop.set()

    def _obtain(self, file: RemoteFile) -> Receipt:
        if self.client.stop.is_set():
            raise CancelledError
        try:
            sha256 = (
                self._adopt(file) or fetch(self.client, file, self.folder, self.progress)["sha256"]
            )
            receipt = self._finish(file, sha256)
        except OSError as error:
            kind = DiskSpaceError if error.errno == ENOSPC else DownloadError
            raise kind(file.name, file.url, f"can't be written ({error}).") from error
        self.progress(Progress(file.name, Phase.DONE, receipt.size_bytes, receipt.size_bytes))
        return receipt

    def _adopt(self, file: RemoteFile) -> str | None:
        """The sha256 of a file that lies there whole, though a kill came before its receipt."""
        path = self.folder / file.name
        if file.checksum is None or not path.is_file():
            return None
        digests = compute_digests(path, file.checksum)
        return digests["sha256"] if mismatch(file, path.stat().st_size, digests) is None else None

    def _finish(self, file: RemoteFile, sha256: str) -> Receipt:
        if file.unpack_into is None:
            return self.ledger.record(file, sha256)
        archive = self.folder / file.name
        self.progress(Progress(file.name, Phase.UNPACKING, 0, None))
        members = self._unpack(file, archive, self.folder / file.unpack_into)
        receipt = self.ledger.record(file, sha256, members)
        if not self.keep_archives:
            archive.unlink()
        return receipt

    def _unpack(self, file: RemoteFile, archive: Path, into: Path) -> dict[str, list[int]]:
        if (into / MARKER_NAME).exists():
            # Ours, but with something amiss, or from an older archive.
            shutil.rmtree(into)
        # What a kill in the middle of unpacking left; nobody else is at it, we hold the lock.
        for rest in into.parent.glob(f".{into.name}.*.part"):
            shutil.rmtree(rest, ignore_errors=True)
        try:
            unpack(archive, into)
            return list_members(archive, str(file.unpack_into))
        except CorpusError as error:
            if file.checksum is not None:
                raise
            # Nothing but the archive itself could tell that it is damaged.
            archive.unlink(missing_ok=True)
            raise ChecksumError(
                file.name, file.url, f"{error}.", "Nothing of it was kept; run the command again."
            ) from error


def _sum_up(failures: list[FacevoiceError], num_missing: int) -> FacevoiceError:
    """The first failure, which says how many more files are missing."""
    first = failures[0]
    if num_missing > 1:
        first.add_note(f"{num_missing} files are missing in all.")
    return first


# Get a corpus: plan, check the disk, fetch in parallel, unpack, write down what is sound.
#
# Killed at any moment, the next run goes on: parts of files continue (`download`), whole files are
# known by their receipts (`ledger`), and a finished wish is known by its marker, without a network.

_SPARE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """What to get and how."""

    subset: bool = False
    """The small set for a CPU, where the corpus has one."""
    songs: bool = False
    """Sung clips too (RAVDESS)."""
    via: str | None = None
    """Which of the corpus' ways to take; None: the first."""
    jobs: int = 4
    """Files fetched at once."""
    keep_archives: bool = False
    """Leave archives in place after unpacking."""
    verify: bool = False
    """Read everything again that an earlier run reported done."""
    hosts: Hosts = field(default_factory=Hosts)
    """Base addresses."""


@dataclass(frozen=True, slots=True)
class DownloadReport:
    """What a download came to."""

    corpus: str
    folder: Path
    num_files: int
    num_fetched: int
    total_bytes: int
    left_out: tuple[str, ...]
    note: str
    was_complete: bool


def download_corpus(
    name: str,
    root: Path,
    options: DownloadOptions | None = None,
    progress: ProgressCallback = lambda _: None,
    policy: HttpPolicy | None = None,
) -> DownloadReport:
    """Bring the corpus `name` to `root / name`; does nothing, offline, if that was done.

    Raises:
        ManualDownloadError: people must fetch it themselves; says where.
        DiskSpaceError: too little room.
        ChecksumError: what the server has is not what is published.
        DownloadError: it can't be had, or another run is at it.
        ConfigError: corpus, way or subset don't exist.
        MissingExtraError: the extra `data` is not installed.
        CorpusError: an archive is unsafe to unpack.
    """
    options = options or DownloadOptions()
    source = find_source(name)
    via, parts = _way(source, options)
    folder = root / name
    with _locked(folder, source):
        client = HttpClient(
            policy, lambda file, note: progress(Progress(file, Phase.WAITING, 0, None, note))
        )
        run = _Run(source, folder, options, progress, client)
        key = "-".join(filter(None, (via, "subset" * options.subset, "songs" * options.songs)))
        known = run.ledger.complete_receipts(key, thorough=options.verify)
        if known is not None:
            whole = any(isinstance(part, KaggleDataset) for part in parts)
            left_out = () if whole else tuple(sorted(source.left_out))
            return run.report(known, 0, left_out, was_complete=True)
        return run.carry_out(key, parts)


def _way(source: CorpusSource, options: DownloadOptions) -> tuple[str, tuple[Part, ...]]:
    via = options.via or next(iter(source.via))
    if via not in source.via:
        raise ConfigError(
            f"{source.name} can't be had via {via!r}; it can via {', '.join(source.via)}"
        )
    parts = source.via[via]
    if options.subset and (not source.subset or isinstance(parts[0], KaggleDataset)):
        raise ConfigError(f"{source.name} via {via} has no small set; leave --subset out")
    if options.songs and source.name != "ravdess":
        raise ConfigError(f"{source.name} has no songs; leave --songs out")
    if options.jobs < 1:
        raise ConfigError(f"jobs = {options.jobs} is not allowed: 1 or more")
    return via, parts


@contextmanager
def _locked(folder: Path, source: CorpusSource) -> Iterator[None]:
    """Hold the corpus' lock, which a killed process loses by itself."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise MissingExtraError("downloading corpora", "data") from error
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(str(folder), "", f"can't be written ({error}).") from error
    lock = FileLock(folder / FOLDER / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DownloadError(
            source.name, "", f"another process is fetching to {folder}.", "Let it finish."
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(slots=True)
class _Run:
    source: CorpusSource
    folder: Path
    options: DownloadOptions
    progress: ProgressCallback
    client: HttpClient
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.folder)

    def carry_out(self, key: str, parts: tuple[Part, ...]) -> DownloadReport:
        plan = Planner(
            client=self.client,
            hosts=self.options.hosts,
            source=self.source,
            choice=Choice(self.options.subset, self.options.songs),
            folder=self.folder,
            jobs=self.options.jobs,
            progress=self.progress,
        ).plan(parts)
        receipts, missing = self._take_stock(plan)
        self._check_disk(missing)
        present_bytes = sum(receipt.size_bytes for receipt in receipts)
        to_come = sum(file.size_bytes or 0 for file in missing)
        self.progress(
            Progress(
                self.source.name,
                Phase.PLANNED,
                present_bytes,
                present_bytes + to_come,
                f"{len(missing)} of {len(plan.files)} files to fetch",
            )
        )
        fetched = Obtainer(
            client=self.client,
            folder=self.folder,
            ledger=self.ledger,
            jobs=self.options.jobs,
            keep_archives=self.options.keep_archives,
            progress=self.progress,
        ).obtain_all(missing)
        receipts += fetched
        for dataset in plan.kaggle:
            fetched += (found := self._kaggle(dataset))
            receipts += found
        self.ledger.mark_complete(key, self.source.name, [one.file for one in receipts])
        return self.report(receipts, len(fetched), plan.left_out, was_complete=False)

    def report(
        self,
        receipts: list[Receipt],
        num_fetched: int,
        left_out: tuple[str, ...],
        was_complete: bool,
    ) -> DownloadReport:
        return DownloadReport(
            corpus=self.source.name,
            folder=self.folder,
            num_files=len(receipts),
            num_fetched=num_fetched,
            total_bytes=sum(receipt.size_bytes for receipt in receipts),
            left_out=left_out,
            note=self.source.note,
            was_complete=was_complete,
        )

    def _take_stock(self, plan: Plan) -> tuple[list[Receipt], list[RemoteFile]]:
        """What earlier runs left whole, and what is still to fetch."""
        receipts: list[Receipt] = []
        missing: list[RemoteFile] = []
        for file in plan.files:
            receipt = self.ledger.receipt_of(file, thorough=self.options.verify)
            if receipt is None:
                missing.append(file)
                continue
            receipts.append(receipt)
            if receipt.members is not None and not self.options.keep_archives:
                (self.folder / file.name).unlink(missing_ok=True)
            self.progress(
                Progress(file.name, Phase.PRESENT, receipt.size_bytes, receipt.size_bytes)
            )
        return receipts, missing

    def _check_disk(self, missing: list[RemoteFile]) -> None:
        download = sum(self._bytes_to_come(file) for file in missing)
        unpacked = sum(int((file.size_bytes or 0) * file.unpack_ratio) for file in missing)
        free = shutil.disk_usage(self.folder).free
        if missing and download + unpacked + _SPARE_BYTES > free:
            raise DiskSpaceError(
                self.source.name,
                "",
                f"needs {_size(download)} to download and about {_size(unpacked)} to unpack, but "
                f"{self.folder} has {_size(free)} free.",
                "Free some space, or choose another folder"
                + (" or the small set (--subset)." if self.source.subset else "."),
            )

    def _bytes_to_come(self, file: RemoteFile) -> int:
        for name in (file.name, f"{file.name}.part"):
            path = self.folder / name
            if path.is_file():
                return max(0, (file.size_bytes or 0) - path.stat().st_size)
        return file.size_bytes or 0

    def _kaggle(self, dataset: KaggleDataset) -> list[Receipt]:
        into = self.folder / dataset.into
        self.progress(Progress(dataset.handle, Phase.RUNNING, 0, None))
        fetch_kaggle(dataset.handle, into)
        receipts = []
        for path in sorted(path for path in into.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            file = RemoteFile(name, f"https://www.kaggle.com/datasets/{dataset.handle}")
            receipts.append(self.ledger.record(file, compute_digests(path)["sha256"]))
        return receipts


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"
