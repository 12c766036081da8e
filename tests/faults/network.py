"""Addresses: servers that refuse, lead astray, break off or lie. All of them on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

from faults.case import AS_PLAIN, Act, Bench, Case, Expect, Run, refused, run_here
from faults.studio import Studio
from file_server import FileServer

CLIP = "/films/clip.mp4"
SECRET = "signature-of-mine"  # noqa: S105 - what no message may show
FETCH_FAILED = refused("could not be fetched", "Check address", kinds=("fetch_failed",))
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def _content(studio: Studio, folder: Path) -> Path:
    """What the server has to give."""
    return studio.plain_file(folder / "clip.mp4")


def _from_files(
    prepare: Callable[[FileServer], None] = lambda server: None, address: str = CLIP
) -> Act:
    """By a server that does as web servers do, changed by `prepare`."""

    def act(bench: Bench, words: list[str]) -> Run:
        server = FileServer()
        server.files[CLIP] = Path(words[0]).read_bytes()
        prepare(server)
        with server.running(), _without_pauses():
            return run_here(bench, [server.url + address])

    return act


def _from(answer: Answer, address: str = CLIP) -> Act:
    """By a server that answers everything so."""

    def act(bench: Bench, words: list[str]) -> Run:
        content = Path(words[0]).read_bytes()
        with _serving(answer, content) as url, _without_pauses():
            return run_here(bench, [url + address])

    return act


@contextlib.contextmanager
def _serving(answer: Answer, content: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                answer(self, content)

        do_HEAD = do_GET  # noqa: N815 - as the base class has it

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # Clients that hang up are no news.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _without_pauses() -> contextlib.AbstractContextManager[object]:
    """Between tries, which would cost seconds each."""
    return mock.patch("facevoice.media.remote.time.sleep", lambda _: None)


def _at_nobody(bench: Bench, words: list[str]) -> Run:
    """A port at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with _without_pauses():
        return run_here(bench, [f"http://127.0.0.1:{port}{CLIP}"])


def _status(code: int) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        _send(handler, code, b"no")

    return answer


def _send(
    handler: BaseHTTPRequestHandler,
    code: int,
    body: bytes,
    kind: str = "video/mp4",
    length: int | None = None,
    **headers: str,
) -> None:
    handler.send_response(code)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def _redirect_loop(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 302, b"", Location=f"{CLIP}?again")


def _redirect_once(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    if handler.path == CLIP:
        _send(handler, 302, b"", Location="/there.mp4")
    else:
        _send(handler, 200, content)


def _redirect_to_file(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 302, b"", Location="file:///etc/hostname")


def _breaks_off(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 200, content[: len(content) // 2], length=len(content))
    handler.close_connection = True


def _lies_about_length(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 200, content, length=len(content) // 2)
    handler.close_connection = True


def _lies_about_type(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 200, content, kind="text/html")


def _gives_a_page(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 200, b"<!doctype html><html>Log in first</html>")


def _gives_nothing(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    _send(handler, 200, b"")


def _in_chunks(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    """In pieces, without a length."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    if handler.command == "HEAD":
        return
    for start in range(0, len(content), 1000):
        part = content[start : start + 1000]
        handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


def _hangs_up(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def _not_http(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


def _drop(times: int) -> Callable[[FileServer], None]:
    def prepare(server: FileServer) -> None:
        server.drops[CLIP] = times

    return prepare


def _no_ranges(server: FileServer) -> None:
    server.no_ranges = True


def _hiding(act: Act) -> Act:
    """The same, and no message may show the address's secret."""

    def hiding(bench: Bench, words: list[str]) -> Run:
        run = act(bench, words)
        shown = run.stdout + run.stderr
        return replace(run, wrong=("the secret is shown",)) if SECRET in shown else run

    return hiding


CASES = (
    Case("http", "a film behind an address", _content, AS_PLAIN, _from_files(), is_quick=True),
    Case(
        "no-ranges",
        "a server that gives whole files only",
        _content,
        AS_PLAIN,
        _from_files(_no_ranges),
    ),
    Case(
        "breaks-once",
        "the connection breaks off once: taken up again",
        _content,
        AS_PLAIN,
        _from_files(_drop(1)),
    ),
    Case(
        "breaks-always",
        "the connection breaks off each time",
        _content,
        FETCH_FAILED,
        _from(_breaks_off),
        is_quick=True,
    ),
    Case(
        "404",
        "no such file",
        _content,
        refused("no such file", "Check the address", kinds=("media_not_found",)),
        _from_files(address="/films/no.mp4"),
    ),
    Case(
        "403",
        "may not be read",
        _content,
        refused("may not be read", "credentials"),
        _from_files(address="/secret/clip.mp4"),
    ),
    Case(
        "401",
        "asks for a password",
        _content,
        refused("may not be read", "credentials"),
        _from(_status(401)),
    ),
    Case(
        "410",
        "is gone",
        _content,
        refused("no such file", kinds=("media_not_found",)),
        _from(_status(410)),
    ),
    Case("500", "the server is broken", _content, FETCH_FAILED, _from(_status(500)), is_quick=True),
    Case("503", "the server is busy", _content, FETCH_FAILED, _from(_status(503))),
    Case(
        "redirect",
        "led to another place of the same server",
        _content,
        AS_PLAIN,
        _from(_redirect_once),
    ),
    Case("redirect-loop", "led in a circle", _content, FETCH_FAILED, _from(_redirect_loop)),
    Case(
        "redirect-to-file",
        "led to a file of this machine, which is not read",
        _content,
        Expect(("failed",)),
        _from(_redirect_to_file),
        is_quick=True,
    ),
    Case(
        "longer-than-said",
        "more bytes come than the server says: cut off, or refused",
        _content,
        Expect(("failed", "truncated")),
        _from(_lies_about_length),
    ),
    Case("type-lies", "a film called a page", _content, AS_PLAIN, _from(_lies_about_type)),
    Case(
        "page-in-place",
        "a page that asks to log in, called a film",
        _content,
        refused("a web page", "give the recording itself"),
        _from(_gives_a_page),
    ),
    Case(
        "empty-answer",
        "a film of no bytes",
        _content,
        refused("empty", kinds=("empty_media",)),
        _from(_gives_nothing),
    ),
    Case("chunked", "comes in pieces, without a length", _content, AS_PLAIN, _from(_in_chunks)),
    Case("hangs-up", "hangs up without an answer", _content, FETCH_FAILED, _from(_hangs_up)),
    Case(
        "not-http",
        "a server that speaks another language",
        _content,
        FETCH_FAILED,
        _from(_not_http),
    ),
    Case(
        "nobody-listens", "nobody listens there", _content, FETCH_FAILED, _at_nobody, is_quick=False
    ),
    Case(
        "unknown-scheme",
        "an address of a kind that nobody knows",
        lambda s, f: ["nonsense://films/clip.mp4"],
        refused("are not read", "Known: http://"),
    ),
    Case("file-address", "a file by its address", lambda s, f: [_content(s, f).as_uri()], AS_PLAIN),
    Case(
        "secret-in-query",
        "a signed address whose file is gone: the signature is not shown",
        _content,
        Expect(("failed",)),
        _hiding(_from_files(address=f"/films/no.mp4?X-Signature={SECRET}")),
    ),
    Case(
        "secret-and-broken",
        "a signed address that breaks off: the signature is not shown",
        _content,
        Expect(("failed",)),
        _hiding(_from(_breaks_off, f"{CLIP}?X-Signature={SECRET}")),
    ),
)
