"""One published file to disk: goes on after a drop, and is called done only when it is sound.

Bytes go to `NAME.part`; `NAME.part.json` says what they are part of. The file takes its name only
after its size and checksum were verified, so a file under its own name is a whole file.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.data.http import HttpClient, RefusedError, TransientError
from facevoice.data.remote import (
    Location,
    Phase,
    Progress,
    ProgressCallback,
    RemoteFile,
    compute_digests,
    digest_blocks,
    mismatch,
)
from facevoice.errors import ChecksumError, DownloadError

if TYPE_CHECKING:
    import requests

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
