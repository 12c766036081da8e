"""Git LFS: what a pointer file says, and where the objects' bytes are.

Source: the Git LFS specification (pointer files) and its Batch and Basic Transfer APIs.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from facevoice.data.http import HttpClient
from facevoice.data.remote import Location, RemoteFile
from facevoice.errors import DownloadError

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
