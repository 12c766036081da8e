"""A publisher for tests: one real HTTP server in a thread that behaves like Zenodo, Dataverse,
GitHub (trees, raw files, LFS) and a plain web server, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

BLOCK_BYTES = 4096


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. Several may be given; each is used once, in order."""

    status: int | None = None  # answer with this status instead
    headers: Mapping[str, str] = field(default_factory=dict)  # and these headers
    body: bytes = b"{}"
    content_type: str = "application/json"
    drop_after: int | None = None  # close the connection after so many bytes of the body
    silent_after: int | None = None  # stay silent after so many bytes, until the server closes
    ignore_range: bool = False  # answer 200 with everything
    ignore_if_range: bool = False  # answer 206 although the validator does not fit
    flip_byte: bool = False  # damage one byte
    cut_to: int | None = None  # publish this much less, with a fitting Content-Length
    extra: bytes = b""  # and this more
    no_length: bool = False  # close-delimited body
    pause_s: float = 0.0  # after every block
    block_bytes: int = BLOCK_BYTES


@dataclass
class Resource:
    """Bytes at a path, with validators."""

    content: bytes
    etag: str | None
    last_modified: str | None = None
    needs: tuple[str, str] | None = None  # header that a request must carry


@dataclass(frozen=True)
class Seen:
    """One request as it came, and how many bytes of body went out."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Publisher:
    """Start with `with publisher() as server:`; then publish, add faults, look at `seen`."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.dynamic: dict[str, Callable[[Seen], tuple[int, Any]]] = {}
        self.faults: dict[str, deque[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.seen: list[Seen] = []
        self.sent_bytes: dict[str, int] = {}
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._link_number = 0
        self._objects: dict[str, bytes] = {}
        self._server = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.lfs_errors: dict[str, dict[str, Any]] = {}
        self.lfs_expires_in: float | None = 3600

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    # what is published

    def publish(self, path: str, content: bytes, **more: Any) -> str:
        etag = '"' + hashlib.md5(content, usedforsecurity=False).hexdigest() + '"'
        self.resources[path] = Resource(content, more.pop("etag", etag), **more)
        return self.url + path

    def publish_json(self, path: str, document: Any) -> None:
        self.publish(path, json.dumps(document).encode())

    def publish_zenodo(self, record: str, files: Mapping[str, bytes]) -> None:
        listed = []
        for key, content in files.items():
            path = f"/api/records/{record}/files/{key}/content"
            self.publish(path, content)
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            listed.append(
                {
                    "key": key,
                    "size": len(content),
                    "checksum": f"md5:{digest}",
                    # As the real API: absolute, whatever name the mirror goes by.
                    "links": {"self": f"https://zenodo.example{path}"},
                }
            )
        self.publish_json(f"/api/records/{record}", {"id": int(record), "files": listed})

    def publish_dataverse(self, doi: str, files: Mapping[str, bytes]) -> None:
        listed = []
        for number, (name, content) in enumerate(files.items(), start=101):
            self.publish(f"/api/access/datafile/{number}", content)
            folder, _, filename = name.rpartition("/")
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            file = {
                "id": number,
                "filename": filename,
                "filesize": len(content),
                "md5": digest,
                "checksum": {"type": "MD5", "value": digest},
            }
            listed.append({"label": filename, "directoryLabel": folder, "dataFile": file})
        path = f"/api/datasets/:persistentId/versions/:latest-published/files?persistentId={doi}"
        self.publish_json(path, {"status": "OK", "data": listed})

    def publish_repository(
        self, repository: str, ref: str, files: Mapping[str, bytes], lfs: Mapping[str, bytes]
    ) -> None:
        """`files` lie in Git as they are, `lfs` as pointers to objects."""
        blobs = dict(files)
        for path, content in lfs.items():
            oid = hashlib.sha256(content).hexdigest()
            self._objects[oid] = content
            blobs[path] = (
                f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\n"
                f"size {len(content)}\n"
            ).encode()
        for path, content in blobs.items():
            self.publish(f"/raw/{repository}/{ref}/{path}", content)
        self._publish_trees(f"/repos/{repository}/git/trees", ref, blobs)
        self.dynamic[f"/{repository}.git/info/lfs/objects/batch"] = self._lfs_batch

    def _publish_trees(self, base: str, ref: str, blobs: Mapping[str, bytes]) -> None:
        trees: dict[str, list[dict[str, Any]]] = {"": []}
        for path, content in blobs.items():
            folder, _, name = path.rpartition("/")
            if folder not in trees:
                trees[folder] = []
                sha = hashlib.sha1(folder.encode(), usedforsecurity=False).hexdigest()
                trees[""].append({"path": folder, "type": "tree", "sha": sha})
            blob = b"blob %d\0" % len(content) + content
            sha = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
            entry = {"path": name, "type": "blob", "sha": sha, "size": len(content)}
            trees[folder].append(entry)
        for folder, entries in trees.items():
            name = hashlib.sha1(folder.encode(), usedforsecurity=False).hexdigest()
            document = {"tree": entries, "truncated": False}
            self.publish_json(f"{base}/{name if folder else ref}", document)

    def _lfs_batch(self, request: Seen) -> tuple[int, Any]:
        question = json.loads(request.body)
        fits = request.headers.get("Accept") == "application/vnd.git-lfs+json"
        if not fits or question["operation"] != "download" or len(question["objects"]) > 100:
            return 422, {"message": "not a batch request"}
        self._link_number += 1
        answers = []
        for item in question["objects"]:
            oid = item["oid"]
            if oid in self.lfs_errors:
                answers.append({**item, "error": self.lfs_errors[oid]})
                continue
            path = f"/objects/{oid}?signature=secret{self._link_number}"
            self.publish(path, self._objects[oid], needs=("X-Lfs-Key", "k1"))
            link: dict[str, Any] = {"href": self.url + path, "header": {"X-Lfs-Key": "k1"}}
            if self.lfs_expires_in is not None:
                link["expires_in"] = self.lfs_expires_in
            answers.append({**item, "authenticated": True, "actions": {"download": link}})
        return 200, {"transfer": "basic", "objects": answers}

    def expire_links(self) -> None:
        """Signed addresses handed out so far answer 403 from now on."""
        for path in [path for path in self.resources if path.startswith("/objects/")]:
            self.always[path] = Fault(status=403, body=b"<Error/>", content_type="text/xml")

    # what goes wrong, and what was asked

    def fail(self, path: str, *faults: Fault) -> None:
        """Use one of `faults` on each of the next requests whose path matches the pattern."""
        self.faults.setdefault(path, deque()).extend(faults)

    def asked(self, pattern: str) -> list[Seen]:
        with self._lock:
            return [one for one in self.seen if re.search(pattern, one.path)]

    def next_fault(self, path: str) -> Fault:
        with self._lock:
            for pattern, queue in self.faults.items():
                if queue and re.search(pattern, path):
                    return queue.popleft()
            for pattern, fault in self.always.items():
                if pattern == path or re.fullmatch(pattern, path):
                    return fault
        return Fault()

    def note(self, request: Seen) -> None:
        with self._lock:
            self.seen.append(request)

    def count(self, path: str, num_bytes: int) -> None:
        with self._lock:
            self.sent_bytes[path] = self.sent_bytes.get(path, 0) + num_bytes


@contextmanager
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Clients that go away, or are killed, are what this server is for."""


def _handler_of(owner: Publisher) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        publisher = owner

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    publisher: Publisher

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        path = unquote(self.path)
        request = Seen(self.command, path, dict(self.headers.items()), body)
        self.publisher.note(request)
        fault = self.publisher.next_fault(path)
        try:
            if fault.status is not None:
                kind = {"Content-Type": fault.content_type}
                self._send(fault.status, fault.body, {**kind, **fault.headers})
            elif path in self.publisher.dynamic:
                status, document = self.publisher.dynamic[path](request)
                self._send(
                    status, json.dumps(document).encode(), {"Content-Type": "application/json"}
                )
            elif path in self.publisher.resources:
                self._send_resource(path, self.publisher.resources[path], fault)
            else:
                self._send(
                    404, b'{"message": "no such page"}', {"Content-Type": "application/json"}
                )
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_resource(self, path: str, resource: Resource, fault: Fault) -> None:
        if resource.needs and self.headers.get(resource.needs[0]) != resource.needs[1]:
            self._send(401, b"", {})
            return
        content = resource.content
        if fault.cut_to is not None:
            content = content[: fault.cut_to]
        content += fault.extra
        start = self._start(resource, fault)
        if start is not None and start >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start or 0 :]
        for name, value in (("ETag", resource.etag), ("Last-Modified", resource.last_modified)):
            if value:
                self.send_header(name, value)
        if fault.no_length:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.flip_byte:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self._send_body(path, body, fault)

    def _start(self, resource: Resource, fault: Fault) -> int | None:
        wanted = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        if not wanted.startswith("bytes=") or fault.ignore_range:
            return None
        fits = condition in (None, resource.etag, resource.last_modified)
        return int(wanted[6:].rstrip("-")) if fits or fault.ignore_if_range else None

    def _send_body(self, path: str, body: bytes, fault: Fault) -> None:
        limit = len(body)
        for cut in (fault.drop_after, fault.silent_after):
            limit = limit if cut is None else min(limit, cut)
        sent = 0
        while sent < limit and not self.publisher.closing.is_set():
            block = body[sent : min(limit, sent + fault.block_bytes)]
            self.wfile.write(block)
            self.publisher.count(urlsplit(path).path, len(block))
            sent += len(block)
            time.sleep(fault.pause_s)
        if fault.silent_after is not None:
            self.publisher.closing.wait(20)
        if sent < len(body) or fault.no_length:
            self.close_connection = True
