from __future__ import annotations

import csv
from pathlib import Path, PurePath

import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.files import write_atomically
from facevoice.report import ReportFolder, read_report, to_csv


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_both_formats_and_the_table_over_all(tmp_path: Path) -> None:
    report = make_report(make_prediction(), make_prediction(start_s=2, end_s=6))
    with ReportFolder(tmp_path / "new" / "out") as folder:
        folder.write(report, PurePath("a/talk.1"))
        folder.write(make_failed_report(), PurePath("broken"))
    root = tmp_path / "new" / "out"
    assert names(root) == {
        "a/talk.1.json",
        "a/talk.1.csv",
        "broken.json",
        "broken.csv",
        "windows.csv",
    }
    assert len(read_report(root / "a" / "talk.1.json").windows) == 2
    assert (root / "windows.csv").read_bytes() == to_csv([report]).encode()
    assert list(csv.DictReader((root / "broken.csv").open())) == []


@pytest.mark.parametrize(
    ("formats", "expected"), [(["json"], {"t.json"}), (["csv"], {"t.csv", "windows.csv"})]
)
def test_only_the_asked_formats(tmp_path: Path, formats: list[str], expected: set[str]) -> None:
    with ReportFolder(tmp_path, formats) as folder:
        folder.write(make_report(make_prediction()), PurePath("t"))
    assert names(tmp_path) == expected


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xml"):
        ReportFolder(tmp_path, ["xml"])


def test_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    def run() -> None:
        with ReportFolder(tmp_path) as folder:
            folder.write(make_report(make_prediction()), PurePath("t"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert names(tmp_path) == {"t.json", "t.csv", "windows.csv"}
    assert len(list(csv.DictReader((tmp_path / "windows.csv").open()))) == 1


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == {"t.json"}
