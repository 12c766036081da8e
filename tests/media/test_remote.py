"""Inputs behind addresses: web servers, object stores, and whatever may go wrong on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs

from facevoice.errors import MediaNotFoundError, UnreadableMediaError
from facevoice.media.remote import fetched, identify, is_remote, list_media, public_address
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
    with pytest.raises(UnreadableMediaError, match="no part of fsspec"):
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


def test_any_file_system_of_fsspec_will_do() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/remote/a.mp4", b"12345")
    try:
        assert list_media("memory://remote", ENDINGS) == ["memory:///remote/a.mp4"]
        with fetched("memory://remote/a.mp4") as path:
            assert path.read_bytes() == b"12345"
    finally:
        memory.rm("/remote", recursive=True)


def test_temporary_copies_lie_where_one_wants_them(server: FileServer, tmp_path: Path) -> None:
    with fetched(f"{server.url}/films/a.mp4", tmp_path) as path:
        assert path.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
