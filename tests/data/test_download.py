"""One file over a real connection to a local server that misbehaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from data.servers import Fault, Publisher, publisher
from facevoice.corpora.download import (
    HttpClient,
    HttpPolicy,
    Location,
    Phase,
    Progress,
    RemoteFile,
    compute_digests,
    fetch,
    requested_wait_s,
)
from facevoice.errors import ChecksumError, DownloadError

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
PATH = "/files/film.zip"
QUICK = HttpPolicy(connect_s=20, stall_s=30, max_failures=4, backoff_s=0.001, max_backoff_s=0.002)


class ImpatientClient(HttpClient):
    """Notes the waits instead of waiting."""

    def __init__(self, policy: HttpPolicy = QUICK, forget_hosts: bool = True) -> None:
        super().__init__(policy)
        self.forget_hosts = forget_hosts
        self.waits_s: list[float] = []

    def _sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        if self.forget_hosts:
            self._not_before.clear()


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publisher() as started:
        started.publish(PATH, CONTENT)
        yield started


def md5_of(content: bytes) -> str:
    return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()


def film(server: Publisher, **more: object) -> RemoteFile:
    file = RemoteFile("film.zip", server.url + PATH, len(CONTENT), md5_of(CONTENT))
    return replace(file, **more)  # type: ignore[arg-type]


def bring(
    file: RemoteFile, folder: Path, client: HttpClient | None = None
) -> tuple[dict[str, str], list[Progress]]:
    seen: list[Progress] = []
    return fetch(client or ImpatientClient(), file, folder, seen.append), seen


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_takes_its_name_and_leaves_nothing_else(
    server: Publisher, tmp_path: Path
) -> None:
    digests, seen = bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert names(tmp_path) == ["film.zip"]
    assert digests["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)
    assert seen[-1] == Progress("film.zip", Phase.CHECKING, len(CONTENT), len(CONTENT))
    assert server.asked(PATH)[0].headers["Accept-Encoding"] == "identity"


def test_a_dropped_connection_resumes_where_it_broke(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(drop_after=40_000))
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    second = server.asked(PATH)[1].headers
    assert second["Range"] == "bytes=40000-"
    assert second["If-Range"] == server.resources[PATH].etag
    assert server.sent_bytes[PATH] == len(CONTENT)


def test_drops_may_be_many_as_long_as_each_try_brings_something(
    server: Publisher, tmp_path: Path
) -> None:
    server.fail(PATH, *[Fault(drop_after=8_192)] * 12)
    client = ImpatientClient()
    bring(film(server), tmp_path, client)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert len(server.asked(PATH)) == 13 > QUICK.max_failures
    assert max(client.waits_s) <= QUICK.backoff_s  # progress resets the doubling


def test_it_gives_up_when_nothing_comes_and_the_part_stays(
    server: Publisher, tmp_path: Path
) -> None:
    server.fail(PATH, Fault(drop_after=8_192), *[Fault(drop_after=0)] * 10)
    with pytest.raises(DownloadError, match=r"4th time in a row.*goes on where it stopped"):
        bring(film(server), tmp_path)
    assert names(tmp_path) == ["film.zip.part", "film.zip.part.json"]
    server.faults.clear()
    bring(film(server), tmp_path)
    assert server.sent_bytes[PATH] == len(CONTENT)


def test_a_server_that_ignores_range_makes_it_start_over(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(drop_after=40_000), Fault(ignore_range=True))
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert server.sent_bytes[PATH] == 40_000 + len(CONTENT)


def test_a_server_that_cannot_resume_and_always_drops_does_not_keep_us(
    server: Publisher, tmp_path: Path
) -> None:
    server.always[PATH] = Fault(drop_after=40_000, ignore_range=True)
    with pytest.raises(DownloadError, match=r"closed after 40000 of 102400 bytes|broke off"):
        bring(film(server), tmp_path)
    assert len(server.asked(PATH)) <= 1 + QUICK.max_failures


def test_damaged_bytes_twice_are_an_error_and_are_not_kept(
    server: Publisher, tmp_path: Path
) -> None:
    server.fail(PATH, Fault(flip_byte=True), Fault(flip_byte=True))
    with pytest.raises(ChecksumError, match=r"film\.zip from 127\.0\.0\.1.*md5 checksum"):
        bring(film(server), tmp_path)
    assert names(tmp_path) == []
    assert len(server.asked(PATH)) == 2


def test_damaged_bytes_once_are_fetched_anew(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(flip_byte=True))
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert "Range" not in server.asked(PATH)[1].headers


@pytest.mark.parametrize("fault", [Fault(cut_to=50_000), Fault(extra=b"more")])
def test_another_size_than_published_is_an_error(
    server: Publisher, tmp_path: Path, fault: Fault
) -> None:
    server.fail(PATH, fault)
    with pytest.raises(DownloadError, match="but 102400 are published"):
        bring(film(server), tmp_path)
    assert names(tmp_path) == []


def test_a_body_without_length_is_checked_by_size_and_checksum(
    server: Publisher, tmp_path: Path
) -> None:
    server.fail(PATH, Fault(no_length=True, cut_to=50_000), Fault(no_length=True))
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT


def test_a_body_that_does_not_end_is_cut_off(server: Publisher, tmp_path: Path) -> None:
    server.always[PATH] = Fault(no_length=True, extra=bytes(3_000_000))
    with pytest.raises(DownloadError, match="more than the 102400 bytes announced"):
        bring(film(server), tmp_path)
    assert names(tmp_path) == []


def test_retry_after_in_seconds_is_honoured(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(status=429, headers={"Retry-After": "7"}))
    client = ImpatientClient()
    bring(film(server), tmp_path, client)
    assert 7 <= client.waits_s[0] <= 8


def test_retry_after_as_a_date_is_honoured(server: Publisher, tmp_path: Path) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    server.fail(PATH, Fault(status=503, headers={"Retry-After": date}))
    client = ImpatientClient()
    bring(film(server), tmp_path, client)
    assert 27 <= client.waits_s[0] <= 31


def test_retry_after_holds_for_all_files_of_the_host(server: Publisher, tmp_path: Path) -> None:
    other = RemoteFile("other", server.publish("/other", b"other"))
    server.fail(PATH, Fault(status=429, headers={"Retry-After": "50"}))
    client = ImpatientClient(forget_hosts=False)
    bring(film(server), tmp_path, client)
    before = len(client.waits_s)
    bring(other, tmp_path, client)
    assert 45 < client.waits_s[before] <= 51


def test_a_wait_too_long_is_an_error_that_says_how_long(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadError, match=r"asks to wait 120 minutes. After that, run the same"):
        bring(film(server), tmp_path)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "Sat, 01 Jan 2000 00:00:10 GMT"}, 10.0),
        ({"Retry-After": "Sat, 01 Jan 1999 00:00:10 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "946684860"}, 60.0),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "946684860"}, None),
        ({}, None),
    ],
)
def test_waits_are_read_from_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert requested_wait_s(headers, now_s=946_684_800.0) == wait_s


def test_server_errors_are_retried_with_doubled_waits(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(status=500), Fault(status=502), Fault(status=504))
    client = ImpatientClient(replace(QUICK, backoff_s=8.0, max_backoff_s=20.0))
    bring(film(server), tmp_path, client)
    assert len(client.waits_s) == 3
    for wait_s, full_s in zip(client.waits_s, (8.0, 16.0, 20.0), strict=True):
        assert full_s / 2 <= wait_s <= full_s


def test_a_missing_file_is_an_error_at_once_without_the_secret_query(
    server: Publisher, tmp_path: Path
) -> None:
    file = film(server, url=f"{server.url}/gone?token=secret")
    with pytest.raises(DownloadError) as caught:
        bring(file, tmp_path)
    assert len(server.seen) == 1
    host = server.url.removeprefix("http://")
    assert str(caught.value).startswith(f"film.zip from {host}/gone: the server answers HTTP 404")
    assert "secret" not in str(caught.value)


def test_no_server_at_all_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with publisher() as server:
        file = film(server)
    with pytest.raises(DownloadError, match=r"no answer .*ConnectionError.*same command again"):
        bring(file, tmp_path)


def test_a_file_that_changed_between_tries_is_not_mixed(server: Publisher, tmp_path: Path) -> None:
    unknown = film(server, checksum=None, size_bytes=None)
    server.fail(PATH, Fault(drop_after=40_000), *[Fault(drop_after=0)] * 9)
    with pytest.raises(DownloadError):
        bring(unknown, tmp_path)
    server.faults.clear()
    changed = bytes(reversed(CONTENT))
    server.publish(PATH, changed)
    bring(unknown, tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == changed


def test_a_changed_etag_on_a_part_starts_over(server: Publisher, tmp_path: Path) -> None:
    unknown = film(server, checksum=None, size_bytes=None)
    server.fail(PATH, Fault(drop_after=40_000), *[Fault(drop_after=0)] * 9)
    with pytest.raises(DownloadError):
        bring(unknown, tmp_path)
    server.faults.clear()
    changed = bytes(reversed(CONTENT))
    server.publish(PATH, changed)
    server.fail(PATH, Fault(ignore_if_range=True))
    bring(unknown, tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == changed


def test_last_modified_serves_where_there_is_no_strong_etag(
    server: Publisher, tmp_path: Path
) -> None:
    date = "Sat, 01 Jan 2000 00:00:00 GMT"
    server.publish(PATH, CONTENT, etag='W/"weak"', last_modified=date)
    server.fail(PATH, Fault(drop_after=40_000))
    bring(film(server, checksum=None), tmp_path)
    assert server.asked(PATH)[1].headers["If-Range"] == date
    assert (tmp_path / "film.zip").read_bytes() == CONTENT


def test_without_validator_and_checksum_nothing_is_resumed(
    server: Publisher, tmp_path: Path
) -> None:
    server.publish(PATH, CONTENT, etag=None)
    server.fail(PATH, Fault(drop_after=40_000))
    bring(film(server, checksum=None), tmp_path)
    assert "Range" not in server.asked(PATH)[1].headers
    assert (tmp_path / "film.zip").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "left", [CONTENT + b"too long", b"\xff" * 5_000, b""], ids=["too long", "wrong", "empty"]
)
def test_a_damaged_part_of_an_earlier_run_does_no_harm(
    server: Publisher, tmp_path: Path, left: bytes
) -> None:
    server.fail(PATH, Fault(drop_after=5_000), *[Fault(drop_after=0)] * 9)
    with pytest.raises(DownloadError):
        bring(film(server), tmp_path)
    server.faults.clear()
    (tmp_path / "film.zip.part").write_bytes(left)
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["{", "[]", '{"known": 1}'])
def test_a_part_with_a_torn_note_is_not_trusted(
    server: Publisher, tmp_path: Path, note: str
) -> None:
    (tmp_path / "film.zip.part").write_bytes(b"x" * 100)
    (tmp_path / "film.zip.part.json").write_text(note)
    bring(film(server), tmp_path)
    assert "Range" not in server.asked(PATH)[0].headers
    assert (tmp_path / "film.zip").read_bytes() == CONTENT


def test_a_whole_part_needs_no_request(server: Publisher, tmp_path: Path) -> None:
    bring(film(server), tmp_path)
    (tmp_path / "film.zip").rename(tmp_path / "film.zip.part")
    known = {"url": None, "size_bytes": len(CONTENT), "checksum": md5_of(CONTENT)}
    note = {"known": known, "validator": None}
    (tmp_path / "film.zip.part.json").write_text(json.dumps(note))
    bring(film(server), tmp_path)
    assert len(server.seen) == 1
    assert names(tmp_path) == ["film.zip"]


def test_silence_counts_as_a_drop(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(silent_after=20_000))
    bring(film(server), tmp_path, ImpatientClient(replace(QUICK, stall_s=0.3, max_failures=50)))
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert server.asked(PATH)[1].headers["Range"].startswith("bytes=")


def test_a_trickle_counts_as_a_drop(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(block_bytes=1, pause_s=0.02))
    client = ImpatientClient(replace(QUICK, stall_s=0.3, stall_bytes=1000, max_failures=50))
    _, seen = bring(film(server), tmp_path, client)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    notes = [one.note for one in seen if one.phase is Phase.WAITING]
    assert "bytes came in" in notes[0]


def test_a_refused_address_is_asked_for_anew_once(server: Publisher, tmp_path: Path) -> None:
    asked: list[bool] = []

    def locate(renew: bool) -> Location:
        asked.append(renew)
        return Location(server.url + (PATH if renew else "/expired"), {"X-Key": "k"})

    bring(film(server, locate=locate), tmp_path)
    assert asked == [False, True]
    assert server.asked(PATH)[0].headers["X-Key"] == "k"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\b", "C:/x", "", "a\0b"])
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(DownloadError, match="unsafe file name"):
        RemoteFile(name, "http://host/x")


def test_the_name_of_a_git_blob_is_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello world\n")
    # What `git hash-object` says of a file that holds "hello world".
    expected = "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"
    assert compute_digests(tmp_path / "hello", "git-sha1:x")["git-sha1"] == expected
    with pytest.raises(DownloadError, match="unknown kind"):
        compute_digests(tmp_path / "hello", "rot13:x")


_CHILD = """
import sys
from pathlib import Path
from facevoice.corpora.download import fetch
from facevoice.corpora.download import HttpClient
from facevoice.corpora.download import RemoteFile
url, size, checksum, folder = sys.argv[1:]
fetch(HttpClient(), RemoteFile("film.zip", url, int(size), checksum), Path(folder), lambda _: None)
"""


def test_a_killed_process_is_continued(server: Publisher, tmp_path: Path) -> None:
    server.fail(PATH, Fault(pause_s=0.05))
    arguments = [server.url + PATH, str(len(CONTENT)), md5_of(CONTENT), str(tmp_path)]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *arguments])
    part = tmp_path / "film.zip.part"
    deadline_s = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size >= 8_192):
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    kept_bytes = part.stat().st_size
    assert not (tmp_path / "film.zip").exists()
    bring(film(server), tmp_path)
    assert (tmp_path / "film.zip").read_bytes() == CONTENT
    assert server.asked(PATH)[1].headers["Range"] == f"bytes={kept_bytes}-"
