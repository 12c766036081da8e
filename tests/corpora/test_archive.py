"""Safe, atomic unpacking."""

from __future__ import annotations

import stat
import threading
import types
import zipfile
from pathlib import Path

import pytest

from facevoice import files
from facevoice.corpora import archive
from facevoice.corpora.archive import MARKER_NAME, corpus_root, unpack
from facevoice.errors import CorpusError


def make_zip(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {MARKER_NAME}


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def test_unpacks_once(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"a/b.txt": b"x" * 10, "c.txt": b"y", "empty/": b""})
    into = tmp_path / "work" / "c"
    assert unpack(path, into) == into
    assert names(into) == {"a/b.txt", "c.txt"}
    assert (into / "a/b.txt").read_bytes() == b"x" * 10
    assert (into / "empty").is_dir()
    assert visible(into.parent) == ["c"]
    (into / "c.txt").unlink()
    assert names(unpack(path, into)) == {"a/b.txt"}
    assert names(unpack(path, into, anew=True)) == {"a/b.txt", "c.txt"}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil.txt", 0),
        ("a/../../evil.txt", 0),
        ("/evil.txt", 0),
        ("C:/evil.txt", 0),
        ("a\\..\\evil.txt", 0),
        ("GOOD.txt", 0),
        (MARKER_NAME, 0),
        ("link", stat.S_IFLNK),
        ("pipe", stat.S_IFIFO),
    ],
)
def test_an_unsafe_entry_is_refused(name: str, mode: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as packed:
        packed.writestr("good.txt", b"fine")
        info = zipfile.ZipInfo("x")
        info.filename = name  # past the constructor, which would tidy it
        info.create_system = 3
        info.external_attr = (mode | 0o777) << 16
        packed.writestr(info, b"/etc/passwd")
    with pytest.raises(
        CorpusError, match=r"c\.zip: entry .*(leaves|unsafe|twice|reserved|link).*; not unpacked"
    ):
        unpack(tmp_path / "c.zip", tmp_path / "work" / "c")
    assert visible(tmp_path / "work") == []
    assert not (tmp_path / "evil.txt").exists()


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = make_zip(tmp_path / "c.zip", {"zeros": bytes(5_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CorpusError, match="zip bomb"):
        unpack(bomb, tmp_path / "c")
    many = make_zip(tmp_path / "many.zip", {f"{i}": b"x" for i in range(11)})
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(CorpusError, match="11 bytes, more than 10"):
        unpack(many, tmp_path / "many")
    monkeypatch.setattr(archive, "MAX_FILES", 10)
    with pytest.raises(CorpusError, match="11 entries, more than 10"):
        unpack(many, tmp_path / "many")


def test_too_full_a_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"x" * 100})
    usage = types.SimpleNamespace(free=50)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CorpusError, match="needs 100 bytes"):
        unpack(path, tmp_path / "c")


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"a.txt": b"first", "b.txt": b"HELLOHELLO"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"HELLOHELLO", b"HELLOJELLO"))
    with pytest.raises(CorpusError, match=r"c\.zip: can't be unpacked .*'b\.txt'"):
        unpack(path, tmp_path / "work" / "c")
    assert visible(tmp_path / "work") == []
    path.write_bytes(content[:40])
    with pytest.raises(CorpusError, match="no readable archive"):
        unpack(path, tmp_path / "c")
    with pytest.raises(CorpusError, match="no such archive"):
        unpack(tmp_path / "absent.zip", tmp_path / "c")


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"1"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for anew in (False, True):
        with pytest.raises(CorpusError, match="was not unpacked from"):
            unpack(path, tmp_path / "mine", anew=anew)
    assert (tmp_path / "mine" / "thesis.txt").exists()
    unpack(path, tmp_path / "c")
    other = make_zip(tmp_path / "other.zip", {"a": b"2"})
    with pytest.raises(CorpusError, match="was not unpacked from"):
        unpack(other, tmp_path / "c")
    assert (unpack(other, tmp_path / "c", anew=True) / "a").read_bytes() == b"2"


def test_a_run_that_was_cut_off_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"1", "b": b"2"})
    (tmp_path / f"{files._prefix(tmp_path / 'c')}x.part").mkdir()  # what a kill left

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", stop)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, tmp_path / "c")
    assert visible(tmp_path) == ["c.zip"]
    assert names(unpack(path, tmp_path / "c")) == {"a", "b"}


def test_several_at_once_agree(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {f"{i}/{i}": bytes([i]) * 1000 for i in range(50)})
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(unpack(path, tmp_path / "w" / "c")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [tmp_path / "w" / "c"] * 4
    assert len(names(tmp_path / "w" / "c")) == 50
    assert visible(tmp_path / "w") == ["c"]


def test_corpus_root_takes_a_folder_or_an_archive(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_zip(tmp_path / "two.zip", {"a": b"1"})
    assert corpus_root(tmp_path, "one") == tmp_path / "one"
    assert corpus_root(tmp_path, "two", work=tmp_path / "w") == tmp_path / "w" / "two"
    assert (tmp_path / "w" / "two" / "a").read_bytes() == b"1"
    with pytest.raises(CorpusError, match=r"neither a folder three nor three\.zip"):
        corpus_root(tmp_path, "three")
