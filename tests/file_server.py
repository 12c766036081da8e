"""A local server of files: over plain HTTP as web servers do it, and as an object store (S3).

Paths are `/bucket/key`. HTTP: GET and HEAD with Range, ETag, Last-Modified, 404, 403 for keys with
"secret". S3 (path style): ListObjectsV2, and the same objects. Signatures are not looked at.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class FileServer:
    """`files` by path, and how they are sent.

    drops: how often a file's connection is yet to break off midway; drips: files of which a byte
    comes now and then.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.drops: Counter[str] = Counter()
        self.drips: set[str] = set()
        self.no_ranges = False
        self.asked: list[tuple[str, str, str]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[FileServer]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def num_fetched(self, path: str) -> int:
        """How often content of a file was asked for."""
        return sum(method == "GET" and found == path for method, found, _ in self.asked)

    def _handler(server) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                parts = urlsplit(self.path)
                path = unquote(parts.path)
                wanted = self.headers.get("Range", "")
                server.asked.append((self.command, path, wanted))
                if "list-type" in parts.query:
                    self._list(path.strip("/"), parse_qs(parts.query))
                elif "secret" in path:
                    self._send(403, b"<Error><Code>AccessDenied</Code></Error>", {})
                elif path not in server.files:
                    self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
                else:
                    self._send_file(path, wanted, with_body=with_body)

            def _send_file(self, path: str, wanted: str, *, with_body: bool) -> None:
                content = server.files[path]
                headers = {
                    "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
                    "Last-Modified": "Thu, 01 Oct 2026 10:00:00 GMT",
                    "Content-Type": "video/mp4",
                }
                if not server.no_ranges:
                    headers["Accept-Ranges"] = "bytes"
                match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
                status, part = 200, content
                if match and not server.no_ranges:
                    first = int(match[1])
                    last = min(int(match[2] or len(content) - 1), len(content) - 1)
                    if first >= len(content):
                        self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                        return
                    status, part = 206, content[first : last + 1]
                    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
                if not with_body:
                    self._send(status, b"", headers, length=len(part))
                elif server.drops[path] > 0:
                    server.drops[path] -= 1
                    self._send(status, part[: len(part) // 2], headers, length=len(part))
                    self.close_connection = True
                elif path in server.drips:
                    self._send(status, b"", headers, length=len(part))
                    self._drip(part)
                else:
                    self._send(status, part, headers)

            def _drip(self, content: bytes) -> None:
                with suppress(ConnectionError):
                    for byte in content:
                        self.wfile.write(bytes([byte]))
                        time.sleep(0.02)

            def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
                prefix = query.get("prefix", [""])[0]
                delimiter = query.get("delimiter", [""])[0]
                keys = sorted(
                    path.removeprefix(f"/{bucket}/")
                    for path in server.files
                    if path.startswith(f"/{bucket}/{prefix}")
                )
                folders, rows = set(), []
                for key in keys:
                    rest = key[len(prefix) :]
                    if delimiter and delimiter in rest:
                        folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                        continue
                    content = server.files[f"/{bucket}/{key}"]
                    tag = hashlib.md5(content, usedforsecurity=False).hexdigest()
                    rows.append(
                        f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
                        f'<ETag>"{tag}"</ETag><LastModified>2026-10-01T10:00:00.000Z'
                        "</LastModified><StorageClass>STANDARD</StorageClass></Contents>"
                    )
                commons = "".join(
                    f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>"
                    for f in sorted(folders)
                )
                text = (
                    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
                    f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>'
                    f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
                    f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(rows)}"
                    f"{commons}</ListBucketResult>"
                )
                self._send(200, text.encode(), {"Content-Type": "application/xml"})

            def _send(
                self, status: int, body: bytes, headers: dict[str, str], length: int | None = None
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        return Handler
