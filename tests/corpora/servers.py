"""A publisher for tests: one real HTTP server in a thread that behaves like Zenodo, Dataverse,
GitHub (trees, raw files, LFS media) and a plain web server, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from facevoice.corpora.sources import HOSTS


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. Several may be given; each is used once, in order."""

    status: int | None = None  # answer with this status instead
    headers: Mapping[str, str] = field(default_factory=dict)  # and these headers
    message: str = ""  # and this JSON message
    drop_after: int | None = None  # close the connection after so many bytes of the body
    ignore_range: bool = False  # answer 200 with everything
    flip_byte: bool = False  # damage one byte
    extra: bytes = b""  # publish this more, in a body whose end is the connection's


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]


class Publisher:
    """Start with `with publisher() as server:`; then publish, add faults, look at `seen`."""

    def __init__(self) -> None:
        self.resources: dict[str, bytes] = {}
        self.faults: dict[str, deque[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        self.http = _QuietServer(("127.0.0.1", 0), type("Of", (_Handler,), {"publisher": self}))
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.bases = {name: f"{self.url}/{name}" for name in HOSTS}

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    # what is published

    def publish_json(self, path: str, document: Any) -> None:
        self.resources[path] = json.dumps(document).encode()

    def publish_zenodo(self, record: str, files: Mapping[str, bytes]) -> None:
        path = f"/zenodo/api/records/{record}"
        self.resources.update({f"{path}/files/{key}/content": files[key] for key in files})
        listed = [
            {"key": key, "size": len(content), "checksum": f"md5:{digest(content)}"}
            for key, content in files.items()
        ]
        self.publish_json(path, {"id": int(record), "files": listed})

    def publish_dataverse(self, doi: str, files: Mapping[str, bytes]) -> None:
        listed = []
        for number, (name, content) in enumerate(files.items(), start=101):
            self.resources[f"/dataverse/api/access/datafile/{number}"] = content
            file = {
                "id": number,
                "filename": name.rpartition("/")[2],
                "filesize": len(content),
                "checksum": {"type": "SHA-256", "value": digest(content, "sha256")},
            }
            listed.append({"directoryLabel": name.rpartition("/")[0], "dataFile": file})
        query = f"versions/:latest-published/files?persistentId={doi}"
        self.publish_json(f"/dataverse/api/datasets/:persistentId/{query}", {"data": listed})

    def publish_repository(
        self,
        repository: str,
        ref: str,
        files: Mapping[str, bytes],
        lfs: Mapping[str, bytes] | None = None,
    ) -> None:
        """`files` lie in Git as they are, `lfs` as pointers to objects."""
        blobs = dict(files)
        for path, content in (lfs or {}).items():
            self.resources[f"/github_media/{repository}/{ref}/{path}"] = content
            blobs[path] = (
                "version https://git-lfs.github.com/spec/v1\n"
                f"oid sha256:{digest(content, 'sha256')}\nsize {len(content)}\n"
            ).encode()
        trees: dict[str, list[dict[str, Any]]] = {"": []}
        for path, content in blobs.items():
            self.resources[f"/github_raw/{repository}/{ref}/{path}"] = content
            folder, _, name = path.rpartition("/")
            if folder not in trees:
                trees[folder] = []
                trees[""].append({"path": folder, "type": "tree", "sha": f"tree-{folder}"})
            sha = digest(b"blob %d\0" % len(content) + content, "sha1")
            entry = {"path": name, "type": "blob", "sha": sha, "size": len(content)}
            trees[folder].append(entry)
        for folder, entries in trees.items():
            path = f"/github_api/repos/{repository}/git/trees/{f'tree-{folder}' if folder else ref}"
            self.publish_json(path, {"tree": entries, "truncated": False})

    # what goes wrong, and what was asked

    def fail(self, path: str, *faults: Fault) -> None:
        """Use one of `faults` on each of the next requests whose path matches the pattern."""
        self.faults.setdefault(path, deque()).extend(faults)

    def asked(self, pattern: str) -> list[Seen]:
        with self._lock:
            return [one for one in self.seen if re.search(pattern, one.path)]

    def note(self, request: Seen) -> Fault:
        """Write down what was asked; gives what shall go wrong with it."""
        with self._lock:
            self.seen.append(request)
            for pattern, queue in self.faults.items():
                if queue and re.search(pattern, request.path):
                    return queue.popleft()
            for pattern, fault in self.always.items():
                if re.search(pattern, request.path):
                    return fault
        return Fault()


def digest(content: bytes, algorithm: str = "md5") -> str:
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


@contextmanager
def publisher() -> Iterator[Publisher]:
    server = Publisher()
    threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.stop()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Clients that go away, or are killed, are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    publisher: Publisher

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(self.path)
        fault = self.publisher.note(Seen(path, dict(self.headers.items())))
        if fault.status is not None:
            self._send(fault.status, json.dumps({"message": fault.message}).encode(), fault.headers)
        elif path in self.publisher.resources:
            self._send_resource(path, fault)
        else:
            self._send(404, b'{"message": "no such page"}', {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_resource(self, path: str, fault: Fault) -> None:
        content = self.publisher.resources[path] + fault.extra
        wanted = "" if fault.ignore_range else self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        if wanted and start >= len(content):
            self._send(416, b"", {})
            return
        body = content[start:]
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not fault.extra:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault.flip_byte:
            body = body[:-1] + bytes([body[-1] ^ 1])
        sent = body[: fault.drop_after]
        self.wfile.write(sent)
        self.close_connection = bool(fault.extra) or len(sent) < len(body)
