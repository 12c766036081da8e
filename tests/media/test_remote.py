"""Inputs behind addresses: web servers, object stores, and whatever may go wrong on the way."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import s3fs

from facevoice.errors import MediaNotFoundError, MissingExtraError, UnreadableMediaError
from facevoice.media.open import is_remote
from facevoice.media.remote import (
    _LedAstrayError,
    _web_client,
    fetched,
    identify,
    list_media,
    public_address,
)
from file_server import FileServer

FILM = bytes(range(256)) * 20_000
ENDINGS = frozenset({".mp4", ".wav"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    waited = time.sleep
    monkeypatch.setattr("facevoice.media.remote.time.sleep", lambda s: waited(min(s, 0.01)))
    with FileServer().running() as running:
        running.files = {
            "/films/a.mp4": FILM,
            "/films/deep/er/b.WAV": FILM[:1000],
            "/films/notes.txt": b"none",
        }
        yield running


@pytest.fixture
def broken_server() -> Iterator[str]:
    """The address of a server that fails always, sometimes after leading elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            moved = self.path.startswith("/moved")
            self.send_response(302 if moved else 500)
            if moved:
                self.send_header("Location", "/signed.mp4?Signature=SECRET")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def store(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """The same files as an object store, reached as people set it in their environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("https://host/a.mp4", True),
        ("s3://bucket/a.mp4", True),
        ("C:\\films\\a.mp4", False),
        ("films/a.mp4", False),
        ("a:b.mp4", False),
    ],
)
def test_addresses_are_told_from_paths(path: str, expected: bool) -> None:
    assert is_remote(path) is expected


def test_secrets_stay_out_of_what_is_shown() -> None:
    assert public_address("https://me:pw@host/a.mp4?sig=x") == "https://host/a.mp4"


def test_a_web_file_is_fetched_whole_and_gone_afterwards(server: FileServer) -> None:
    with fetched(f"{server.url}/films/a.mp4?token=1") as path:
        assert path.suffix == ".mp4"
        assert path.read_bytes() == FILM
    assert not path.exists()
    assert list_media(f"{server.url}/films/a.mp4", ENDINGS) == [f"{server.url}/films/a.mp4"]


@pytest.mark.parametrize("no_ranges", [False, True])
def test_a_dropped_connection_is_taken_up_again(server: FileServer, no_ranges: bool) -> None:
    server.no_ranges = no_ranges
    server.drops["/films/a.mp4"] = 2
    with fetched(f"{server.url}/films/a.mp4") as path:
        assert path.read_bytes() == FILM


@pytest.mark.parametrize("no_ranges", [False, True])
def test_a_server_that_drips_is_given_up(server: FileServer, no_ranges: bool) -> None:
    server.no_ranges = no_ranges
    server.drips.add("/films/a.mp4")
    told = r"a\.mp4: did not come whole in time\. Fetch it yourself"
    with (
        pytest.raises(UnreadableMediaError, match=told),
        fetched(f"{server.url}/films/a.mp4", max_s=0.5),
    ):
        pass


class Replacing(Counter[str]):
    """Puts another file in place when the second piece is asked for, and may break off there."""

    def __init__(self, server: FileServer, content: bytes, *, breaks: bool) -> None:
        super().__init__()
        self.server, self.content, self.breaks = server, content, breaks
        self.is_done = False

    def __getitem__(self, name: str) -> int:
        if self.server.num_fetched(name) != 2 or self.is_done:
            return 0
        self.is_done = True
        self.server.files[name] = self.content
        return int(self.breaks)


@pytest.mark.parametrize("breaks", [False, True])
def test_a_file_that_is_replaced_meanwhile_never_comes_in_parts(
    server: FileServer, breaks: bool
) -> None:
    # Several pieces of fsspec's, and as many bytes as before: sizes don't tell.
    server.files["/films/a.mp4"], new = FILM * 4, bytes(4 * len(FILM))
    server.drops = drops = Replacing(server, new, breaks=breaks)
    with fetched(f"{server.url}/films/a.mp4") as path:
        assert path.read_bytes() == new
    assert drops.is_done


def test_what_came_before_a_break_is_not_fetched_again(server: FileServer) -> None:
    server.files["/films/a.mp4"] = content = FILM * 4
    server.drops = Replacing(server, content, breaks=True)
    with fetched(f"{server.url}/films/a.mp4") as path:
        assert path.read_bytes() == content
    ranges = [wanted for method, _, wanted in server.asked if method == "GET"]
    assert sum(wanted.startswith("bytes=0-") for wanted in ranges) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/a.mp4?sig=SECRET%2F1%7E%41",  # aiohttp writes it in another way
        "/moved.mp4?sig=x",  # leads to an address with a secret of the server's own
        "/a.mp4?sig=a'SECRET)",
    ],
)
def test_secrets_stay_out_of_messages(
    broken_server: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("facevoice.media.remote._PAUSES_S", ())
    url = f"{broken_server}{path}".replace("//", "//me:SECRET@", 1)
    with pytest.raises(UnreadableMediaError, match="500") as caught:
        identify(url)
    assert "SECRET" not in str(caught.value)
    with pytest.raises(UnreadableMediaError, match="500") as caught, fetched(url):
        pass
    assert "SECRET" not in str(caught.value)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r"Reading s3:// addresses.*\[remote\]"):
        identify("s3://films/a.mp4")


def test_what_never_comes_whole_is_an_error_that_may_pass(server: FileServer) -> None:
    server.drops["/films/a.mp4"] = 10**6
    url = f"{server.url}/films/a.mp4?token=hidden"
    with pytest.raises(UnreadableMediaError, match="could not be fetched") as caught, fetched(url):
        pass
    assert caught.value.kind == "fetch_failed"
    assert "hidden" not in str(caught.value)
    assert f"{server.url}/films/a.mp4" in str(caught.value)


def test_absent_and_forbidden_files_are_told_apart(server: FileServer) -> None:
    with pytest.raises(MediaNotFoundError, match="no such file"), fetched(f"{server.url}/gone.mp4"):
        pass
    with pytest.raises(UnreadableMediaError, match="credentials"):
        identify(f"{server.url}/films/secret.mp4")
    with pytest.raises(UnreadableMediaError, match="could not be fetched"):
        identify("http://127.0.0.1:9/films/a.mp4")
    with pytest.raises(UnreadableMediaError, match="addresses are not read"):
        identify("nowhere://films/a.mp4")


def test_a_content_is_known_by_its_mark_without_fetching(server: FileServer) -> None:
    url = f"{server.url}/films/a.mp4"
    first = identify(url)
    assert first is not None
    assert identify(url) == first
    server.files["/films/a.mp4"] = FILM[:-1]
    assert identify(url) != first
    assert server.num_fetched("/films/a.mp4") == 0


def test_an_object_store_is_searched_and_read(store: FileServer) -> None:
    found = list_media("s3://films", ENDINGS)
    assert found == ["s3://films/a.mp4", "s3://films/deep/er/b.WAV"]
    assert list_media("s3://films/deep/**", ENDINGS) == ["s3://films/deep/er/b.WAV"]
    assert list_media("s3://films/notes.txt", ENDINGS) == ["s3://films/notes.txt"]
    with fetched("s3://films/a.mp4") as path:
        assert path.read_bytes() == FILM
    assert "ETag" in (identify("s3://films/a.mp4") or "")
    with pytest.raises(MediaNotFoundError):
        identify("s3://films/gone.mp4")
    with pytest.raises(UnreadableMediaError):
        identify("s3://films/secret.mp4")


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "local:///etc/passwd",
        "memory://remote/a.mp4",
        "github://owner:name@main/a.mp4",
        "zip://a.mp4::file:///tmp/a.zip",
        "https://host/a.zip::file:///etc/passwd",
        "ftp://host/a.mp4",
        "reference://x",
    ],
)
def test_only_the_web_and_object_stores_are_read(address: str) -> None:
    with pytest.raises(UnreadableMediaError, match="addresses are not read"):
        identify(address)
    refused = pytest.raises(UnreadableMediaError, match=r"addresses are not read\. Known: http://")
    with refused, fetched(address):
        pass


def test_a_file_beyond_all_bounds_is_not_fetched(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("facevoice.media.remote.MAX_BYTES", 4)
    before = server.num_fetched("/films/a.mp4")
    refused = pytest.raises(UnreadableMediaError, match=r"is larger than .* Fetch it yourself")
    with refused, fetched(f"{server.url}/films/a.mp4", tmp_path):
        pass
    assert server.num_fetched("/films/a.mp4") <= before + 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "led_to", "is_refused"),
    [
        ("https://a/x", "http://b/x", True),
        ("https://a/x", "HTTP://b/x", True),
        ("https://a/x", "https://b/x", False),
        ("https://a/x", "/y", False),
        ("http://a/x", "https://b/x", False),
    ],
)
def test_servers_do_not_lead_from_https_to_http(
    asked: str, led_to: str, *, is_refused: bool
) -> None:
    (check,) = _web_client()["trace_configs"][0].on_request_redirect
    answer = SimpleNamespace(headers={"Location": led_to})
    sent = SimpleNamespace(url=SimpleNamespace(scheme=asked.partition(":")[0]), response=answer)
    with pytest.raises(_LedAstrayError) if is_refused else nullcontext():
        asyncio.run(check(None, None, sent))


def test_temporary_copies_lie_where_one_wants_them(server: FileServer, tmp_path: Path) -> None:
    with fetched(f"{server.url}/films/a.mp4", tmp_path) as path:
        assert path.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
