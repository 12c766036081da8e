"""Reports in a folder, and the tables over all of them, whoever wrote them and when."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import duckdb
import pandas as pd
import pytest
from pyarrow import dataset

from builders import make_failed_report
from facevoice.errors import MissingExtraError
from facevoice.files import write_atomically
from facevoice.records import EMOTIONS, Person, Report
from facevoice.report import (
    CSV_COLUMNS,
    MOMENT_COLUMNS,
    ReportFolder,
    folder,
    read_report,
    to_csv,
    to_moments_csv,
)
from made_reports import BLIND, CONFLICT, FLAT, MATCH, decided, in_a_row

# Writes three files of 20 windows each, two moments, when it is told to; stays inside until then.
WRITER = """
import sys, time
from pathlib import Path, PurePath
from made_reports import FLAT, MATCH, decided, in_a_row
from facevoice.report import ReportFolder
who, *formats = sys.argv[2].split(",")
with ReportFolder(Path(sys.argv[1]), formats) as folder:
    print("ready", flush=True)
    sys.stdin.readline()
    for k in range(3):
        report = decided(*in_a_row([MATCH] * 15 + [FLAT] * 5), path=f"{who}{k}.mp4")
        folder.write(report, PurePath(f"{who}{k}"))
    print("written", flush=True)
    sys.stdin.readline()
"""


def start(root: Path, who: str, *formats: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-c", WRITER, str(root), ",".join([who, *formats])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def write(root: Path, formats: Sequence[str], *reports: Report) -> None:
    with ReportFolder(root, formats) as taking:
        for report in reports:
            taking.write(report, PurePath(report.path).with_suffix(""))


def report_of(path: str, num_windows: int = 1) -> Report:
    report = decided(*in_a_row([replace(MATCH, person=1)] * num_windows), path=path)
    return replace(report, people=(Person(1, "Anna", (0,), 4.0, 2.0),))


def names(root: Path) -> set[str]:
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if not path.parts[0].startswith(".")}


def rows(root: Path) -> Counter[str]:
    """Rows of windows.csv by file; all of them are whole."""
    with (root / "windows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert all(row["fused_surprised"] for row in found)
    return Counter(row["file"] for row in found)


def moments(root: Path) -> Counter[str]:
    """Rows of moments.csv by file."""
    with (root / "moments.csv").open(newline="") as file:
        return Counter(row["file"] for row in csv.DictReader(file))


def stored(root: Path) -> Counter[str]:
    """Rows of the dataset by file; its table of files tells as many."""
    table = pd.read_parquet(root / "dataset" / "windows")
    assert set(table["person"].dropna()) <= {"Anna"}
    windows = Counter(table["file"])
    files = pd.read_parquet(root / "dataset" / "files.parquet").set_index("file")
    told = {name: number for name, number in files["num_windows"].items() if number}
    assert told == windows
    of_moments = Counter(pd.read_parquet(root / "dataset" / "moments.parquet")["file"])
    told = {name: number for name, number in files["num_moments"].items() if number}
    assert told == of_moments
    return windows


def test_default_formats_and_the_table_over_all(tmp_path: Path) -> None:
    root = tmp_path / "new" / "out"
    write(root, ["json", "csv"], report_of("a/talk.1.mp4", 2), make_failed_report("broken.mp4"))
    tables = {"a/talk.1.csv", "broken.csv", "windows.csv", "moments.csv"}
    assert names(root) == {"a/talk.1.json", "broken.json", *tables}
    assert len(read_report(root / "a" / "talk.1.json").windows) == 2
    assert (root / "windows.csv").read_text() == to_csv([report_of("a/talk.1.mp4", 2)])
    assert (root / "moments.csv").read_text() == to_moments_csv([report_of("a/talk.1.mp4", 2)])


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (["json"], {"t.json"}),
        (["csv"], {"t.csv", "windows.csv", "moments.csv"}),
        (["jsonl", "html"], {"t.jsonl", "t.html", "index.html"}),
        (
            ["parquet"],
            {
                "dataset/files.parquet",
                "dataset/moments.parquet",
                "dataset/windows/outcome=match/part-0.parquet",
            },
        ),
    ],
)
def test_only_the_asked_formats(tmp_path: Path, formats: list[str], expected: set[str]) -> None:
    write(tmp_path, formats, report_of("t.mp4"))
    assert names(tmp_path) == expected


def test_unknown_formats_and_missing_extras_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="xml"):
        ReportFolder(tmp_path, ["xml"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match="parquet"):
        ReportFolder(tmp_path, ["parquet"])
    write(tmp_path, ["csv"], report_of("t.mp4"))


def test_a_later_run_keeps_the_files_of_earlier_ones(tmp_path: Path) -> None:
    both = ["csv", "parquet"]
    write(tmp_path, both, report_of("a.mp4", 2), report_of("sub/b.mp4", 3))
    write(tmp_path, both, report_of("c.mp4", 4), report_of("a.mp4", 1))
    assert rows(tmp_path) == stored(tmp_path) == {"a.mp4": 1, "sub/b.mp4": 3, "c.mp4": 4}
    assert moments(tmp_path) == {"a.mp4": 1, "sub/b.mp4": 1, "c.mp4": 1}
    failed = make_failed_report("c.mp4")
    write(tmp_path, both, failed)
    assert rows(tmp_path) == stored(tmp_path) == {"a.mp4": 1, "sub/b.mp4": 3}
    (tmp_path / "sub" / "b.csv").unlink()  # as the handbook says
    write(tmp_path, both, failed)
    assert rows(tmp_path) == moments(tmp_path) == {"a.mp4": 1}


def test_two_processes_may_fill_one_folder(tmp_path: Path) -> None:
    writers = [start(tmp_path, who, "json", "csv", "parquet") for who in "ab"]
    for writer in writers:  # both are inside: now both write, then both end
        assert writer.stdin is not None
        writer.stdin.write("\n\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert (writer.returncode, errors) == (0, "")
    expected = {f"{who}{k}.mp4": 20 for who in "ab" for k in range(3)}
    assert rows(tmp_path) == stored(tmp_path) == expected
    assert moments(tmp_path) == dict.fromkeys(expected, 2)
    assert [path.name for path in tmp_path.rglob("*.part")] == []


def test_the_rows_of_a_killed_run_are_found_by_the_next(tmp_path: Path) -> None:
    writer = start(tmp_path, "a", "csv", "parquet")
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert writer.stdout.readline() == "written\n"
    writer.kill()
    writer.communicate(timeout=120)
    assert not (tmp_path / "windows.csv").exists()
    # What a run leaves that is killed while it makes the tables.
    for name in (".windows.csv.part", ".moments.csv.part"):
        (tmp_path / name).write_text("half")
    for name in (".dataset.part", ".dataset.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "files.parquet").write_bytes(b"half")
    write(tmp_path, ["csv", "parquet"], report_of("b.mp4"))
    assert rows(tmp_path) == stored(tmp_path) == {**{f"a{k}.mp4": 20 for k in range(3)}, "b.mp4": 1}
    assert moments(tmp_path) == {**{f"a{k}.mp4": 2 for k in range(3)}, "b.mp4": 1}
    assert {path.name for path in tmp_path.iterdir() if path.name[0] == "."} == {".tables"}


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    def run() -> None:
        with ReportFolder(tmp_path) as taking:
            taking.write(report_of("t.mp4"), PurePath("t"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert rows(tmp_path) == moments(tmp_path) == {"t.mp4": 1}


def test_tables_of_others_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "budget.csv").write_text("year,amount\n2026,3\n")
    write(tmp_path / "older", ["csv"], report_of("x.mp4"))
    write(tmp_path, ["csv"], report_of("windows/windows.mp4"), report_of("windows/moments.mp4"))
    expected = {"windows/windows.mp4": 1, "windows/moments.mp4": 1}
    assert rows(tmp_path) == moments(tmp_path) == expected


def test_what_can_not_be_read_is_passed_over_and_told(tmp_path: Path) -> None:
    taking = ReportFolder(tmp_path, ["csv", "eaf"])
    taking.write(report_of("t.mp4"), PurePath("t"))
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    os.mkfifo(tmp_path / "pipe.eaf")
    assert [path.name for path, _ in taking.gather()] == ["loop.csv", "pipe.csv"]
    assert rows(tmp_path) == moments(tmp_path) == {"t.mp4": 1}
    with pytest.raises(FileExistsError, match="no facevoice wrote"):
        taking.write(report_of("pipe.mp4"), PurePath("pipe"))
    (tmp_path / "pipe.csv").unlink()
    with pytest.raises(FileExistsError, match="comes from elsewhere"):
        taking.write(report_of("pipe.mp4"), PurePath("pipe"))


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    write_atomically(tmp_path / "t.json", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "t.json", "\ud800")
    assert (tmp_path / "t.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_pandas_and_duckdb_read_the_dataset(tmp_path: Path) -> None:
    report = decided(*in_a_row([replace(CONFLICT, conflict=5 / 6), BLIND]), path="a.mp4")
    write(tmp_path, ["parquet"], report, make_failed_report("broken.mp4"), report_of("b.mp4"))
    windows = pd.read_parquet(tmp_path / "dataset" / "windows")
    assert set(windows.columns) == set(CSV_COLUMNS)
    (first,) = windows[windows["outcome"] == "conflict"].to_dict("records")
    assert (first["voice"], first["conflict"]) == ("sad", 5 / 6)  # with all digits
    assert sum(first[f"voice_{e.value}"] for e in EMOTIONS) == pytest.approx(1.0)
    (second,) = windows[windows["outcome"] == "insufficient"].to_dict("records")
    assert pd.isna(second["face"])
    assert pd.isna(second["conflict"])
    assert list(second["reasons"]) == ["no_face"]
    files = pd.read_parquet(tmp_path / "dataset" / "files.parquet").set_index("file")
    assert files.loc["broken.mp4", "error_kind"] == "empty_media"
    assert files.loc["a.mp4", ["num_conflict", "num_moments"]].tolist() == [1, 2]
    table = dataset.dataset(tmp_path / "dataset" / "windows", partitioning="hive")
    (fragment,) = table.get_fragments(dataset.field("outcome") == "conflict")
    assert "outcome=conflict" in fragment.path
    parts = str(tmp_path / "dataset" / "windows" / "**" / "*.parquet")
    found = duckdb.read_parquet(parts, hive_partitioning=True).filter("outcome = 'conflict'")
    assert found.select("file", "voice").fetchall() == [("a.mp4", "sad")]
    told = duckdb.read_parquet(str(tmp_path / "dataset" / "moments.parquet"))
    told = told.filter("outcome = 'conflict'").select("file", "moment", "face", "strength")
    assert told.fetchall() == [("a.mp4", 1, "happy", 5 / 6)]


def test_only_short_files_have_one_answer(tmp_path: Path) -> None:
    long = decided(*in_a_row([CONFLICT, CONFLICT, FLAT, MATCH]), path="long.mp4")
    short = decided(CONFLICT, path="short.mp4")
    write(tmp_path, ["parquet"], long, short)
    files = pd.read_parquet(tmp_path / "dataset" / "files.parquet").set_index("file")
    answer = ["outcome", "conflict", "face", "voice", "fused"]
    assert files.loc["short.mp4", answer].tolist() == ["conflict", 0.9, "happy", "sad", "happy"]
    assert files.loc["long.mp4", answer].isna().all()
    numbers = ["num_windows", "num_conflict", "num_undecided", "num_flat", "num_moments"]
    assert files.loc["long.mp4", numbers].tolist() == [4, 2, 0, 1, 3]
    told = pd.read_parquet(tmp_path / "dataset" / "moments.parquet")
    assert tuple(told.columns) == MOMENT_COLUMNS
    by_file = told[told["file"] == "long.mp4"]
    assert by_file["outcome"].tolist() == ["conflict", "flat", "match"]
    assert by_file["end_s"].tolist()[:-1] == by_file["start_s"].tolist()[1:]
    windows = pd.read_parquet(tmp_path / "dataset" / "windows")
    numbers = windows[windows["file"] == "long.mp4"].sort_values("start_s")["moment"]
    assert numbers.tolist() == [1, 1, 2, 3]


def test_large_tables_are_cut_into_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_ROWS_PER_PART", 10)
    monkeypatch.setattr(folder, "_ROWS_HELD", 4)
    write(tmp_path, ["parquet"], report_of("long.mp4", 25))
    parts = sorted((tmp_path / "dataset" / "windows" / "outcome=match").iterdir())
    assert [path.name for path in parts] == [f"part-{k}.parquet" for k in range(3)]
    starts_s = pd.read_parquet(tmp_path / "dataset" / "windows")["start_s"]
    assert sorted(starts_s) == list(range(0, 50, 2))
    assert moment_files(tmp_path) == ["long.mp4"]
    many = [decided(*in_a_row([MATCH, FLAT] * 3), path=f"{k}.mp4") for k in range(3)]
    write(tmp_path, ["parquet"], *many)
    assert sorted(moment_files(tmp_path)) == sorted(["long.mp4", *["0.mp4", "1.mp4", "2.mp4"] * 6])


def moment_files(root: Path) -> list[str]:
    return pd.read_parquet(root / "dataset" / "moments.parquet")["file"].tolist()
