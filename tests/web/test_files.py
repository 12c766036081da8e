from __future__ import annotations

from pathlib import Path

from facevoice.web.page import SessionFiles


def upload(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"x")
    return path


def test_another_upload_replaces_the_first(tmp_path: Path) -> None:
    files = SessionFiles()
    first, second = upload(tmp_path, "a.mp4"), upload(tmp_path, "b.mp4")
    files.keep_upload("anna", first)
    files.keep_upload("anna", second)
    assert not first.exists()
    assert second.exists()
    files.release("anna")
    assert not second.exists()


def test_an_upload_that_two_share_goes_with_the_last(tmp_path: Path) -> None:
    files = SessionFiles()
    shared = upload(tmp_path, "a.mp4")
    files.keep_upload("anna", shared)
    files.keep_upload("ben", shared)
    files.release("anna")
    assert shared.exists()
    files.release("ben")
    assert not shared.exists()


def test_the_same_upload_again_is_kept(tmp_path: Path) -> None:
    files = SessionFiles()
    path = upload(tmp_path, "a.mp4")
    files.keep_upload("anna", path)
    files.keep_upload("anna", path)
    assert path.exists()


def test_results_of_an_earlier_clip_go_with_the_next() -> None:
    files = SessionFiles()
    first = files.new_folder("anna")
    (first / "a.json").write_text("{}")
    assert files.folder("anna") == first
    second = files.new_folder("anna")
    assert not first.exists()
    assert second.is_dir()
    files.release("anna")
    assert not second.exists()


def test_leaving_without_files_is_harmless(tmp_path: Path) -> None:
    files = SessionFiles()
    files.release("nobody")
    assert files.folder("nobody").is_dir()
    files.release("nobody")


def test_copies_of_samples_are_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "cache").mkdir()
    sample, copy = upload(tmp_path / "samples", "a.mp4"), upload(tmp_path / "cache", "a.mp4")
    own = upload(tmp_path, "b.mp4")
    files = SessionFiles(samples=[sample])
    files.keep_upload("anna", own)
    files.keep_upload("anna", copy)
    assert not own.exists()
    files.release("anna")
    assert copy.exists()


def test_results_lie_where_they_are_served_from(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path / "cache")
    assert files.new_folder("anna").parent == tmp_path / "cache"
