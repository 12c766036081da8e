from __future__ import annotations

from pathlib import Path, PurePath

import duckdb
import pandas as pd
import pytest
from pyarrow import dataset

from builders import make_failed_report, make_prediction, make_report
from facevoice.records import EMOTIONS, Emotion, Outcome, Reason
from facevoice.report import ReportFolder
from facevoice.report import table as module
from facevoice.report.table import CSV_COLUMNS


def write(root: Path) -> None:
    conflict = make_prediction(voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.87)
    blind = make_prediction(
        None, outcome=Outcome.INSUFFICIENT, conflict=None, reasons=(Reason.NO_FACE,), start_s=2
    )
    with ReportFolder(root, ["parquet"]) as folder:
        folder.write(make_report(conflict, blind, path="a.mp4"), PurePath("a"))
        folder.write(make_failed_report("broken.mp4"), PurePath("broken"))
        folder.write(make_report(make_prediction(), path="b.mp4"), PurePath("b"))


def test_pandas_reads_windows_and_files(tmp_path: Path) -> None:
    write(tmp_path)
    windows = pd.read_parquet(tmp_path / "dataset" / "windows")
    assert set(windows.columns) == set(CSV_COLUMNS)
    assert sorted(zip(windows["file"], windows["outcome"], strict=True)) == [
        ("a.mp4", "conflict"),
        ("a.mp4", "insufficient"),
        ("b.mp4", "match"),
    ]
    (conflict,) = windows[windows["outcome"] == "conflict"].to_dict("records")
    assert conflict["voice"] == "sad"
    assert sum(conflict[f"voice_{e.value}"] for e in EMOTIONS) == pytest.approx(1.0)
    (blind,) = windows[windows["outcome"] == "insufficient"].to_dict("records")
    assert blind["face"] is None or pd.isna(blind["face"])
    assert pd.isna(blind["conflict"])
    assert list(blind["reasons"]) == ["no_face"]
    files = pd.read_parquet(tmp_path / "dataset" / "files.parquet").set_index("file")
    assert files.loc["broken.mp4", "error_kind"] == "empty_media"
    assert files.loc["a.mp4", "num_conflict"] == 1
    assert files.loc["a.mp4", "num_windows"] == 2


def test_duckdb_reads_the_partitions(tmp_path: Path) -> None:
    write(tmp_path)
    parts = str(tmp_path / "dataset" / "windows" / "**" / "*.parquet")
    windows = duckdb.read_parquet(parts, hive_partitioning=True)
    found = windows.filter("outcome = 'conflict'").select("file", "voice", "outcome").fetchall()
    assert found == [("a.mp4", "sad", "conflict")]


def test_partitions_are_skipped_by_readers(tmp_path: Path) -> None:
    write(tmp_path)
    table = dataset.dataset(tmp_path / "dataset" / "windows", partitioning="hive")
    fragments = list(table.get_fragments(dataset.field("outcome") == "conflict"))
    assert len(fragments) == 1
    assert "outcome=conflict" in fragments[0].path


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]
    assert len(pd.read_parquet(tmp_path / "dataset" / "windows")) == 3


def test_large_tables_are_cut_into_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS_PER_PART", 10)
    monkeypatch.setattr(module, "_ROWS_HELD", 4)
    report = make_report(*[make_prediction(start_s=k, end_s=k + 4) for k in range(25)])
    with ReportFolder(tmp_path, ["parquet"]) as folder:
        folder.write(report, PurePath("long"))
    parts = sorted((tmp_path / "dataset" / "windows" / "outcome=match").iterdir())
    assert [p.name for p in parts] == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    starts = pd.read_parquet(tmp_path / "dataset" / "windows")["start_s"]
    assert sorted(starts) == list(range(25))


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / ".dataset.part"
    left.mkdir()
    (left / "files.parquet").write_bytes(b"half")
    write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]
    assert len(pd.read_parquet(tmp_path / "dataset" / "files.parquet")) == 3
