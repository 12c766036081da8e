"""Serial, parallel, cached and killed batches over real files."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmarks.long_videos import repeat_video

from facevoice.batch import (
    AnalyzerSetup,
    BatchPlan,
    FileJournal,
    Progress,
    analyze_files,
    find_media,
)
from facevoice.errors import ConfigError
from facevoice.report import to_json
from facevoice.settings import AnalyzerConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
SETUP = AnalyzerSetup(AnalyzerConfig())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films, the same one twice, and three files that are broken in ways of their own."""
    root = tmp_path_factory.mktemp("batch")
    shutil.copy(EXAMPLES / "smile_glad_voice.mp4", root / "a.mp4")
    shutil.copy(EXAMPLES / "smile_sad_voice.mp4", root / "b.mp4")
    (root / "copies").mkdir()
    shutil.copy(root / "a.mp4", root / "copies" / "again.mp4")
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("not a film " * 100)
    content = (root / "b.mp4").read_bytes()
    (root / "zcut.mp4").write_bytes(content[: len(content) // 2])
    return root


@pytest.fixture(scope="module")
def serial(folder: Path) -> list[str]:
    results = analyze_files(find_media([folder]), BatchPlan(SETUP, jobs=1))
    return [to_json(result.report, exact=True) for result in results]


def test_parallel_gives_what_serial_gives_in_order(folder: Path, serial: list[str]) -> None:
    plan = BatchPlan(SETUP, jobs=2)
    results = list(analyze_files(find_media([folder]), plan))
    assert [to_json(result.report, exact=True) for result in results] == serial
    errors = [None if r.report.error is None else r.report.error.kind for r in results]
    assert errors == [None, None, None, "empty_media", "unreadable_media", None]
    assert results[5].report.status == "truncated"


def test_processes_share_a_cache_and_do_nothing_twice(
    folder: Path, serial: list[str], tmp_path: Path
) -> None:
    plan = BatchPlan(SETUP, jobs=2, cache=tmp_path / "cache")
    first = list(analyze_files(find_media([folder]), plan))
    assert [to_json(result.report, exact=True) for result in first] == serial
    # Only the copy was known, whichever of the two came first.
    assert sum(result.known for result in first) == 1
    again = list(analyze_files(find_media([folder]), plan))
    assert all(result.known for result in again)
    assert [to_json(result.report, exact=True) for result in again] == serial
    assert not list((tmp_path / "cache").rglob("*.jsonl"))


def test_a_damaged_report_in_the_cache_is_made_again(
    folder: Path, serial: list[str], tmp_path: Path
) -> None:
    plan = BatchPlan(SETUP, jobs=1, cache=tmp_path)
    list(analyze_files([folder / "a.mp4"], plan))
    (file,) = tmp_path.glob("reports/*/*.json")
    file.write_text(file.read_text()[:500])
    (result,) = analyze_files([folder / "a.mp4"], plan)
    assert not result.known
    assert to_json(result.report, exact=True) == serial[0]


@pytest.mark.parametrize(
    ("settings", "words"), [({"backend": "moon"}, "known: local, ray"), ({"jobs": 0}, "at least 1")]
)
def test_wrong_plans_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BatchPlan(SETUP, **settings)  # type: ignore[arg-type]


def start(folder: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "facevoice", "analyze", str(folder), "--out", str(out)]
    command += ["--jobs", "2", "--quiet", "--window", "4"]
    return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, start_new_session=True)


def test_a_killed_batch_goes_on_within_a_file(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for number, name in enumerate(("smile_glad_voice", "smile_sad_voice"), start=1):
        repeat_video(EXAMPLES / f"{name}.mp4", films / f"film{number}.mp4", 4 * number)
    process = start(films, tmp_path / "out")
    deadline = time.monotonic() + 60
    journals: list[Path] = []
    while time.monotonic() < deadline:
        journals = list((tmp_path / "out" / ".facevoice" / "partial").rglob("*.jsonl"))
        if any(path.read_bytes().count(b'"window"') > 4 for path in journals):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert journals
    assert not list((tmp_path / "out").glob("*.json"))
    done = start(films, tmp_path / "out")
    assert done.communicate(timeout=120)[1] == ""
    assert done.returncode == 0
    fresh = start(films, tmp_path / "fresh")
    fresh.communicate(timeout=120)
    for name in ("film1.json", "film2.json", "film1.csv", "windows.csv"):
        expected = (tmp_path / "fresh" / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == expected
    windows = json.loads((tmp_path / "out" / "film2.json").read_text())["windows"]
    assert len(windows) > 20


def test_what_is_secret_in_an_address_is_shown_to_nobody(tmp_path: Path) -> None:
    url = "http://me:hidden@127.0.0.1:9/film.mp4?token=hidden"
    seen: list[Progress] = []
    told: list[str] = []
    plan = BatchPlan(SETUP, jobs=1, cache=tmp_path)
    (result,) = analyze_files(
        [url], plan, on_progress=seen.append, on_window=lambda path, _: told.append(path)
    )
    assert result.report.path == "http://127.0.0.1:9/film.mp4"
    assert seen
    assert "hidden" not in f"{seen} {told} {to_json(result.report)}"


def test_a_lone_file_over_a_cluster_needs_no_analyzer_here() -> None:
    assert BatchPlan(SETUP).works_here(1)
    assert not BatchPlan(SETUP, backend="ray").works_here(1)
    assert not BatchPlan(SETUP, jobs=2).works_here(2)
    assert BatchPlan(SETUP, jobs=2).works_here(1)


def test_a_cache_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    plan = BatchPlan(SETUP, jobs=1, cache=tmp_path / "file")
    with pytest.raises(ConfigError, match="can't be made"):
        list(analyze_files([EXAMPLES / "smile_sad_voice.mp4"], plan))


def test_a_full_disk_costs_the_memory_and_not_the_result(
    folder: Path, serial: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    class FullFile(io.BytesIO):
        def write(self, _: object) -> int:
            fail()
            return 0

    def enter(journal: FileJournal) -> FileJournal:
        journal._file = FullFile()
        return journal

    monkeypatch.setattr("facevoice.batch.write_atomically", fail)
    monkeypatch.setattr(FileJournal, "__enter__", enter)
    (result,) = analyze_files([folder / "a.mp4"], BatchPlan(SETUP, jobs=1, cache=tmp_path))
    assert to_json(result.report, exact=True) == serial[0]
    monkeypatch.undo()
    (again,) = analyze_files([folder / "a.mp4"], BatchPlan(SETUP, jobs=1, cache=tmp_path))
    assert not again.known
