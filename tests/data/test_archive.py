"""Safe, atomic unpacking."""

from __future__ import annotations

import stat
import threading
import zipfile
from pathlib import Path

import pytest

from facevoice.corpora import download as archive_module
from facevoice.corpora.download import MARKER_NAME, ArchiveLimits, corpus_root, unpack
from facevoice.errors import CorpusError


def make_zip(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {MARKER_NAME}


def test_unpacks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "c.zip", {"a/b.txt": b"x" * 10, "c.txt": b"y", "empty/": b""})
    into = tmp_path / "work" / "c"
    assert unpack(path, into) == into
    assert names(into) == {"a/b.txt", "c.txt"}
    assert (into / "a/b.txt").read_bytes() == b"x" * 10
    assert (into / "empty").is_dir()
    assert [p.name for p in into.parent.iterdir()] == ["c"]

    def fail(*_: object) -> None:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(archive_module, "_extract", fail)
    assert unpack(path, into) == into


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "C:/evil.txt", "a\\..\\evil.txt"]
)
def test_paths_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.txt", b"fine")
        info = zipfile.ZipInfo("x")
        info.filename = name  # past the constructor, which would tidy it
        archive.writestr(info, b"bad")
    with pytest.raises(CorpusError, match=r"c\.zip: entry .*(leaves|unsafe)"):
        unpack(path, tmp_path / "work" / "c")
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system = 3
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, b"/etc/passwd")
    with pytest.raises(CorpusError, match="link or a special file"):
        unpack(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_names_that_occur_twice_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"A.txt": b"1", "a.TXT": b"2"})
    with pytest.raises(CorpusError, match="occurs twice"):
        unpack(path, tmp_path / "c")


def test_the_marker_can_not_be_forged(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {MARKER_NAME: b"{}"})
    with pytest.raises(CorpusError, match="reserved name"):
        unpack(path, tmp_path / "c")


def test_bombs_are_refused(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "c.zip", {"zeros": bytes(5_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CorpusError, match="zip bomb"):
        unpack(bomb, tmp_path / "c")
    unpack(bomb, tmp_path / "c", ArchiveLimits(max_ratio=5000))
    many = make_zip(tmp_path / "many.zip", {f"{i}": b"x" for i in range(11)})
    with pytest.raises(CorpusError, match="11 entries, more than 10"):
        unpack(many, tmp_path / "many", ArchiveLimits(max_files=10))
    with pytest.raises(CorpusError, match="11 bytes, more than 10"):
        unpack(many, tmp_path / "many", ArchiveLimits(max_total_bytes=10))


def test_too_full_a_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"x" * 100})
    usage = archive_module.shutil._ntuple_diskusage(1000, 950, 50)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CorpusError, match="needs 100 bytes"):
        unpack(path, tmp_path / "c")


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"a.txt": b"first", "b.txt": b"HELLOHELLO"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"HELLOHELLO", b"HELLOJELLO"))
    with pytest.raises(CorpusError, match=r"c\.zip: entry 'b\.txt'"):
        unpack(path, tmp_path / "work" / "c")
    assert list((tmp_path / "work").iterdir()) == []
    path.write_bytes(content[:40])
    with pytest.raises(CorpusError, match="no readable zip"):
        unpack(path, tmp_path / "c")
    with pytest.raises(CorpusError, match="no such archive"):
        unpack(tmp_path / "absent.zip", tmp_path / "c")


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"1"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match="was not unpacked by facevoice"):
        unpack(path, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    unpack(path, tmp_path / "c")
    other = make_zip(tmp_path / "other.zip", {"a": b"2"})
    with pytest.raises(CorpusError, match="another archive"):
        unpack(other, tmp_path / "c")
    (tmp_path / "c" / MARKER_NAME).write_text("nonsense")
    with pytest.raises(CorpusError, match="is damaged"):
        unpack(path, tmp_path / "c")


def test_a_run_that_was_cut_off_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "c.zip", {"a": b"1", "b": b"2"})

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archive_module.shutil, "copyfileobj", stop)
        with pytest.raises(KeyboardInterrupt):
            unpack(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()
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
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["c"]


def test_corpus_root_takes_a_folder_or_an_archive(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    make_zip(tmp_path / "two.zip", {"a": b"1"})
    assert corpus_root(tmp_path, "one") == tmp_path / "one"
    assert corpus_root(tmp_path, "two", work=tmp_path / "w") == tmp_path / "w" / "two"
    assert (tmp_path / "w" / "two" / "a").read_bytes() == b"1"
    with pytest.raises(CorpusError, match=r"neither a folder three nor three\.zip"):
        corpus_root(tmp_path, "three")
