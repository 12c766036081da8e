"""Addresses named by strangers: only what is public is fetched, and no more than is taken."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from facevoice.errors import (
    FetchFailedError,
    MediaError,
    MediaNotFoundError,
    PrivateAddressError,
    TooLargeError,
    UnreadableMediaError,
)
from facevoice.media import public
from facevoice.media.public import FetchBounds, check_public, fetch_public, is_public_number

BOUNDS = FetchBounds(max_bytes=1000, max_s=20.0)
FILM = bytes(900)


class Site:
    """A web server that answers as told, and remembers what it was asked."""

    def __init__(self, host: str, answer: Callable[[Any], None]) -> None:
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(handler) -> None:  # noqa: N805 - `self` is the site
                self.asked.append(handler.path)
                answer(handler)

        self._http = ThreadingHTTPServer((host, 0), Handler)
        self.port = self._http.server_address[1]
        self.url = f"http://{host}:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Site]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield self
        self._http.shutdown()
        self._http.server_close()
        thread.join()


def send(handler: Any, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def half_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 stands for the public internet, 127.0.0.2 for a private network."""
    monkeypatch.setattr(public, "is_public_number", lambda number: number == "127.0.0.1")
    monkeypatch.setattr(public, "_PAUSES_S", (0.01,))


def test_public_numbers_are_told_from_others() -> None:
    for number in ("1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"):
        assert is_public_number(number), number
    for number in (
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0"),  # noqa: S104
        *("100.64.0.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0"),
        *(
            "fc00::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "192.0.0.192",
            "168.63.129.16",
            "fec0::1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
        ),
    ):
        assert not is_public_number(number), number


@pytest.mark.usefixtures("half_public")
def test_a_public_file_is_fetched(tmp_path: Path) -> None:
    target, told = tmp_path / "a.mp4", []
    with Site("127.0.0.1", lambda handler: send(handler, 200, FILM)).running() as site:
        check_public(f"{site.url}/a.mp4")
        fetch_public(f"{site.url}/a.mp4", target, BOUNDS, told.append)
    assert target.read_bytes() == FILM
    assert told[-1] == len(FILM)


@pytest.mark.usefixtures("half_public")
def test_no_server_leads_into_a_private_network(tmp_path: Path) -> None:
    with Site("127.0.0.2", lambda handler: send(handler, 200, b"secret")).running() as inner:
        lead = Site("127.0.0.1", lambda handler: send(handler, 302, Location=f"{inner.url}/x"))
        with lead.running(), pytest.raises(PrivateAddressError, match="isn't public"):
            fetch_public(f"{lead.url}/a.mp4", tmp_path / "a.mp4", BOUNDS)
        assert lead.asked == ["/a.mp4"]
        assert inner.asked == []


@pytest.mark.usefixtures("half_public")
def test_a_name_that_is_answered_otherwise_later_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = ["127.0.0.1", "127.0.0.2"]

    def answer(host: str, port: int, *_: object, **__: object) -> list[Any]:
        number = numbers.pop(0) if len(numbers) > 1 else numbers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port))]

    with Site("127.0.0.2", lambda handler: send(handler, 200, b"secret")).running() as inner:
        monkeypatch.setattr(socket, "getaddrinfo", answer)
        address = f"http://rebind.test:{inner.port}/a.mp4"
        check_public(address)  # still public
        with pytest.raises(PrivateAddressError):
            fetch_public(address, tmp_path / "a.mp4", BOUNDS)
        assert inner.asked == []


def _endless(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        return  # whoever asked has seen enough


def _slow(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)
    except OSError:
        return


@pytest.mark.usefixtures("half_public")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_endless, TooLargeError),
        (lambda handler: send(handler, 200, bytes(1001), Content_Length="1001"), TooLargeError),
        (lambda handler: send(handler, 404), MediaNotFoundError),
        (lambda handler: send(handler, 403), UnreadableMediaError),
        (lambda handler: send(handler, 500), FetchFailedError),
        (lambda handler: send(handler, 200, FILM[:9], Content_Length="900"), FetchFailedError),
        (lambda handler: send(handler, 200, b"x", Content_Encoding="gzip"), UnreadableMediaError),
        (lambda handler: send(handler, 302, Location="/again"), UnreadableMediaError),
        (lambda handler: send(handler, 302, Location="file:///etc/passwd"), UnreadableMediaError),
        (_slow, FetchFailedError),
    ],
)
def test_what_servers_may_do_is_told(
    tmp_path: Path, answer: Callable[[Any], None], error: type[MediaError]
) -> None:
    bounds = FetchBounds(max_bytes=1000, max_s=0.5 if answer is _slow else 20.0)
    with Site("127.0.0.1", answer).running() as site:
        address = f"{site.url}/a.mp4?token=SECRET"
        with pytest.raises(error, match=f"^{site.url}/a.mp4: ") as told:
            fetch_public(address, tmp_path / "a.mp4", bounds)
    assert "SECRET" not in str(told.value)
    assert "passwd" not in str(told.value)
