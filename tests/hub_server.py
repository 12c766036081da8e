"""A local server that speaks the model hub's protocol, with repositories given as bytes.

Speaks what `huggingface_hub` asks when it reads: `/api/models/{id}[/revision/{rev}]`,
`/api/models/{id}/tree/{commit}`, and HEAD, GET (with Range) of `/{id}/resolve/{rev}/{file}`. Small
text files lie in Git (ETag: Git's SHA-1), the rest in large-file storage (ETag: SHA-256).
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

IN_GIT = (".json", ".md", ".txt")


def git_sha1(content: bytes) -> str:
    """Git's name for a file's content."""
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


@dataclass
class HubRepository:
    """Commits with their files, and branches that point at commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: Mapping[str, bytes], *, ref: str = "main") -> str:
        """Add a commit to a branch; returns its hash."""
        names = [f"{name} {git_sha1(content)}" for name, content in sorted(files.items())]
        sha = git_sha1("\n".join([ref, str(len(self.commits)), *names]).encode())
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha


class HubServer:
    """`url` is what `HF_ENDPOINT` or `endpoint` is set to; `asked` lists method and path."""

    def __init__(self) -> None:
        self.repositories: dict[str, HubRepository] = {}
        self.asked: list[str] = []
        self.broken: dict[str, bytes] = {}  # file name → bytes that are sent instead
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def repository(self, name: str) -> HubRepository:
        return self.repositories.setdefault(name, HubRepository())

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def log_message(self, *_arguments: object) -> None:
                pass

            def _answer(self) -> None:
                path = unquote(self.path.partition("?")[0])
                server.asked.append(f"{self.command} {path}")
                parts = path.strip("/").split("/")
                if parts[:2] == ["api", "models"]:
                    self._api("/".join(parts[2:4]), parts[4:])
                elif "resolve" in parts:
                    self._resolve("/".join(parts[:2]), parts[3:])
                else:
                    self._error(404, "EntryNotFound")

            def _api(self, name: str, rest: list[str]) -> None:
                found = self._find(name, "/".join(rest[1:]) or "main")
                if found is None:
                    return
                sha, files = found
                if rest[:1] == ["tree"]:
                    self._send_json([server.tree_entry(n, c) for n, c in sorted(files.items())])
                else:
                    siblings = [{"rfilename": n} for n in sorted(files)]
                    info = {"_id": "1", "id": name, "modelId": name, "sha": sha}
                    self._send_json({**info, "private": False, "tags": [], "siblings": siblings})

            def _resolve(self, name: str, rest: list[str]) -> None:
                # A revision may hold slashes (refs/pr/1), a file of ours does not.
                found = self._find(name, "/".join(rest[:-1]))
                if found is None:
                    return
                sha, files = found
                if rest[-1] not in files:
                    self._error(404, "EntryNotFound")
                    return
                content = files[rest[-1]]
                headers = {
                    "ETag": f'"{server.etag(rest[-1], content)}"',
                    "X-Repo-Commit": sha,
                    "Accept-Ranges": "bytes",
                }
                self._send(server.broken.get(rest[-1], content), headers)

            def _find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
                repository = server.repositories.get(name)
                if repository is None:  # the hub does not tell strangers what exists
                    self._error(401, "RepoNotFound")
                    return None
                if repository.gated:
                    self._error(403, "GatedRepo")
                    return None
                sha = repository.refs.get(revision, revision)
                if sha not in repository.commits:
                    self._error(404, "RevisionNotFound")
                    return None
                return sha, repository.commits[sha]

            def _error(self, status: int, code: str) -> None:
                self._send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

            def _send_json(self, document: object) -> None:
                self._send(json.dumps(document).encode(), {"Content-Type": "application/json"})

            def _send(self, body: bytes, headers: Mapping[str, str], status: int = 200) -> None:
                wanted = self.headers.get("Range")
                if wanted and status == 200:
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    headers = {**headers, "Content-Range": f"bytes {start}-/{len(body)}"}
                    body, status = body[start:], 206
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")  # a stopped server must not go on answering
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        return Handler

    @staticmethod
    def etag(name: str, content: bytes) -> str:
        if name.endswith(IN_GIT):
            return git_sha1(content)
        return hashlib.sha256(content).hexdigest()

    @classmethod
    def tree_entry(cls, name: str, content: bytes) -> dict[str, object]:
        size, oid = len(content), git_sha1(content)
        entry: dict[str, object] = {"type": "file", "path": name, "size": size, "oid": oid}
        if not name.endswith(IN_GIT):
            sha256 = cls.etag(name, content)
            entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        return entry
