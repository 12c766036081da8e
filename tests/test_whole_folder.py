"""Whole or not at all."""

from __future__ import annotations

import pytest

from facevoice.files import whole_folder


def test_a_folder_takes_the_place_of_what_was_there(tmp_path):
    target = tmp_path / "deep" / "run"
    for content in ("first", "second"):
        with whole_folder(target) as part:
            (part / f"{content}.txt").write_text(content)
            assert not (target / f"{content}.txt").exists()
        assert [file.name for file in target.iterdir()] == [f"{content}.txt"]
    assert [file.name for file in target.parent.iterdir()] == ["run"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_a_failure_changes_nothing(tmp_path):
    target = tmp_path / "run"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(KeyError), whole_folder(target) as part:
        (part / "new.txt").write_text("new")
        raise KeyError("stopped")
    assert [file.name for file in target.iterdir()] == ["old.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["run"]
