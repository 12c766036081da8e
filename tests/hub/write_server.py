"""`HubServer` that also takes what `huggingface_hub` sends: repositories, branches, commits, files.

Speaks `POST /api/repos/create`, `/api/validate-yaml`, `/api/{models|spaces}/{id}/branch/{name}`,
`/preupload/{rev}`, `/commit/{rev}` (lines of JSON; with `create_pr=1` to a pull request), the LFS
batch endpoint, and `verify`. A commit goes in whole or not at all; large files must have arrived
whole before. Spaces are kept as `spaces/owner/name`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_server import HubRepository, HubServer, git_sha1

IN_LARGE_STORAGE = (".safetensors", ".onnx", ".npz", ".mp4", ".bin", ".pkl")
START = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}


@dataclass
class Fault:
    """What the next `times` requests with this method and part of a path get instead.

    status: with the hub's error code and message; 0: the connection breaks.
    """

    method: str
    path: str
    status: int
    code: str = ""
    message: str = ""
    times: int = 1_000


class HubWriteServer(HubServer):
    """`tokens` says who may write where; `stored` holds large files by SHA-256."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[str, ...]] = {"writer": ("someone", "team"), "reader": ()}
        self.owners = {"someone", "team", "stranger"}
        self.private: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.messages: list[str] = []
        super().__init__()

    def head(self, name: str, branch: str = "main") -> dict[str, bytes]:
        """Files of a branch."""
        repository = self.repositories[name]
        return repository.commits[repository.refs[branch]]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return _make_handler(self, super()._handler())


def _make_handler(server: HubWriteServer, reading: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(reading):  # type: ignore[misc]
        def do_HEAD(self) -> None:  # noqa: N802
            self._unless_faulty(self._answer)

        do_GET = do_HEAD  # noqa: N815

        def do_POST(self) -> None:  # noqa: N802
            self.body = self._read_body()
            self._unless_faulty(self._post)

        def do_PUT(self) -> None:  # noqa: N802
            self.body = self._read_body()
            self._unless_faulty(self._put)

        def _unless_faulty(self, answer: Any) -> None:
            for fault in server.faults:
                if fault.times and fault.method == self.command and fault.path in self.path:
                    fault.times -= 1
                    server.asked.append(f"{self.command} {self.path} → {fault.status}")
                    if not fault.status:
                        self.close_connection = True
                        self.connection.close()
                        return
                    self._refuse(fault.status, fault.code, fault.message)
                    return
            answer()

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        # Reading: spaces beside models, private repositories.

        def _answer(self) -> None:
            path = unquote(self.path.partition("?")[0])
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "spaces"]:
                server.asked.append(f"{self.command} {path}")
                self._api("spaces/" + "/".join(parts[2:4]), parts[4:])
            else:
                super()._answer()

        def _api(self, name: str, rest: list[str]) -> None:
            if rest[:1] == ["tree"]:
                super()._api(name, rest)
                return
            found = self._find(name, "/".join(rest[1:]) or "main")
            if found is not None:
                sha, files = found
                info: dict[str, Any] = {"_id": "1", "id": name.removeprefix("spaces/"), "sha": sha}
                info |= {"private": name in server.private, "tags": []}
                self._send_json({**info, "siblings": [{"rfilename": n} for n in sorted(files)]})

        def _find(self, name: str, revision: str) -> Any:
            if name in server.private and self._writable() is None:
                self._refuse(401, "RepoNotFound", "Repository not found")
                return None
            return super()._find(name, revision)

        def _send(self, body: bytes, headers: Any, status: int = 200) -> None:
            super()._send(body, headers, status)
            if self.command not in ("GET", "HEAD"):
                self.wfile.write(body)

        # Writing.

        def _writable(self) -> tuple[str, ...] | None:
            """The owners whom this request's token may write for; None: no such token."""
            given = self.headers.get("Authorization", "").removeprefix("Bearer ")
            return server.tokens.get(given)

        def _may_write(self, owner: str) -> bool:
            owners = self._writable()
            if owners is None:
                said = "Invalid credentials in Authorization header"
                self._refuse(401, "", said)
            elif owner not in owners:
                said = f'You don\'t have the rights to write to the namespace "{owner}"'
                self._refuse(403, "", said)
            return owners is not None and owner in owners

        def _post(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path).strip("/").split("/")
            server.asked.append(f"POST /{'/'.join(path)}")
            if path == ["api", "repos", "create"]:
                self._create(json.loads(self.body))
            elif path == ["api", "validate-yaml"]:
                self._send_json({"errors": [], "warnings": []})
            elif path[-3:] == ["lfs", "objects", "batch"]:
                self._batch(json.loads(self.body))
            elif path[0] == "verify":
                self._send(b"", {})
            elif path[0] == "api":
                prefix = "" if path[1] == "models" else "spaces/"
                name = prefix + "/".join(path[2:4])
                wants_pr = "create_pr" in parse_qs(parts.query)
                self._change(name, path[4], "/".join(path[5:]), wants_pr)
            else:
                self._refuse(404, "", "Not found")

        def _create(self, asked: dict[str, Any]) -> None:
            owner = asked["organization"]
            if owner not in server.owners:
                self._refuse(404, "", f"No such namespace: {owner}")
                return
            if not self._may_write(owner):
                return
            name = f"{owner}/{asked['name']}"
            if asked.get("type") == "space":
                assert asked["sdk"] == "gradio"
                name = f"spaces/{name}"
            if name in server.repositories:
                held = json.dumps(
                    {"error": "You already created it", "url": f"{server.url}/{name}"}
                )
                self._send(held.encode(), {"Content-Type": "application/json"}, 409)
                return
            server.repository(name).commit(START)
            if asked.get("visibility") == "private" or asked.get("private"):
                server.private.add(name)
            self._send_json({"url": f"{server.url}/{name}", "name": name, "id": name})

        def _change(self, name: str, action: str, revision: str, wants_pr: bool) -> None:
            owner = name.removeprefix("spaces/").partition("/")[0]
            # Anybody who is known may propose.
            if (self._writable() is None or not wants_pr) and not self._may_write(owner):
                return
            repository = server.repositories.get(name)
            if repository is None:
                self._refuse(404, "RepoNotFound", "Repository not found")
            elif action == "branch":
                if revision in repository.refs:
                    self._refuse(409, "", "Reference already exists")
                    return
                repository.refs[revision] = repository.refs["main"]
                self._send_json({})
            elif revision not in repository.refs:
                self._refuse(404, "RevisionNotFound", "Invalid rev id")
            elif action == "preupload":
                self._preupload(repository, revision)
            elif action == "commit":
                self._take_commit(name, repository, revision, wants_pr)

        def _preupload(self, repository: HubRepository, revision: str) -> None:
            held = repository.commits[repository.refs[revision]]
            files = []
            for file in json.loads(self.body)["files"]:
                path = file["path"]
                large = path.endswith(IN_LARGE_STORAGE) or file["size"] > 10_000_000
                mode = "lfs" if large else "regular"
                entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
                if path in held:
                    sha256 = hashlib.sha256(held[path]).hexdigest()
                    entry["oid"] = sha256 if large else git_sha1(held[path])
                files.append(entry)
            self._send_json({"files": files})

        def _batch(self, asked: dict[str, Any]) -> None:
            objects = []
            for each in asked["objects"]:
                oid, size = each["oid"], each["size"]
                found: dict[str, Any] = {"oid": oid, "size": size}
                if oid not in server.stored:
                    signed = "X-Amz-Signature=very-secret"
                    upload: dict[str, Any] = {"href": f"{server.url}/upload/{oid}?{signed}"}
                    verify = {"href": f"{server.url}/verify/{oid}"}
                    found["actions"] = {"upload": upload, "verify": verify}
                objects.append(found)
            self._send_json({"transfer": "basic", "objects": objects})

        def _put(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/").split("/")
            server.asked.append(f"PUT /{'/'.join(path)}")
            assert hashlib.sha256(self.body).hexdigest() == path[1]
            server.stored[path[1]] = self.body
            self._send(b"", {})

        def _take_commit(
            self, name: str, repository: HubRepository, revision: str, wants_pr: bool
        ) -> None:
            lines = [json.loads(line) for line in self.body.splitlines()]
            header, changes = lines[0]["value"], lines[1:]
            at = repository.refs[revision]
            if header.get("parentCommit", at) != at:
                self._refuse(412, "", "A commit has happened since. Please refresh and try again.")
                return
            files = dict(repository.commits[at])
            for change in changes:
                value = change["value"]
                if change["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif change["key"] == "lfsFile":
                    files[value["path"]] = server.stored[value["oid"]]
            number = sum(ref.startswith("refs/pr/") for ref in repository.refs) + 1
            ref = f"refs/pr/{number}" if wants_pr else revision
            sha = repository.commit(files, ref=ref)
            server.messages.append(header["summary"])
            url = f"{server.url}/{name}"
            answer = {"commitUrl": f"{url}/commit/{sha}", "commitOid": sha, "success": True}
            self._send_json({**answer, "pullRequestUrl": f"{url}/discussions/{number}"})

        def _refuse(self, status: int, code: str, message: str) -> None:
            headers = {"Content-Type": "application/json", "X-Error-Message": message}
            if code:
                headers["X-Error-Code"] = code
            self._send(json.dumps({"error": message}).encode(), headers, status)

    return Handler
