from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import ClassVar

import pytest

from builders import make_prediction, make_report
from facevoice.batch import MEDIA_EXTENSIONS, Progress, analyze_paths, find_files, find_media
from facevoice.errors import EmptyMediaError, MediaNotFoundError
from facevoice.records import ModelId, Report, Status
from facevoice.settings import AnalyzerConfig, WindowConfig


class ScriptedAnalyzer:
    """Fails on files by what their name says, reports all others."""

    config = AnalyzerConfig(windows=WindowConfig(length_s=2.0, hop_s=1.0))
    models: ClassVar = {"voice": ModelId("v", "0" * 64)}

    def analyze(
        self,
        path: str | Path,
        *,
        on_progress: Callable[[float], None] | None = None,
        **_: object,
    ) -> Report:
        path = Path(path)
        if not path.exists():
            raise MediaNotFoundError(path, "no such file.")
        if "empty" in path.name:
            raise EmptyMediaError(path, "the file is empty.")
        if "crash" in path.name:
            raise RuntimeError("boom")
        if on_progress is not None:
            on_progress(1.5)
        return make_report(make_prediction(), path=str(path))


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_files_keep_their_order_and_come_once(tmp_path: Path) -> None:
    b, a = tmp_path / "b.mp4", tmp_path / "a.odd"
    touch(b, a)
    assert find_media([b, str(a), tmp_path / "." / "b.mp4", b]) == [b, a]


def test_folders_are_searched_through_sorted_for_media_only(tmp_path: Path) -> None:
    wanted = [tmp_path / "a.MP4", tmp_path / "deep" / "er" / "c.wav", tmp_path / "z.mkv"]
    touch(*wanted, tmp_path / "notes.txt", tmp_path / ".hidden.mp4", tmp_path / "report.json")
    assert find_media([tmp_path]) == wanted
    assert find_media([tmp_path / "z.mkv", tmp_path]) == [wanted[2], wanted[0], wanted[1]]


def test_links_that_lead_back_do_not_run_for_ever(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.mp4")
    try:
        (tmp_path / "in" / "up").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no symbolic links")
    assert find_media([tmp_path]) == [tmp_path / "in" / "a.mp4"]


def test_missing_paths_and_empty_folders_are_kept(tmp_path: Path) -> None:
    empty = tmp_path / "empty_folder"
    empty.mkdir()
    assert find_media([tmp_path / "gone.mp4", empty]) == [tmp_path / "gone.mp4", empty]


def test_extensions_are_lower_case_with_dot() -> None:
    assert all(e.startswith(".") and e == e.lower() for e in MEDIA_EXTENSIONS)
    assert {".mp4", ".mov", ".mkv", ".webm", ".avi", ".wav", ".mp3"} <= MEDIA_EXTENSIONS


def test_names_mirror_the_folder_searched(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4", tmp_path / "b.v2.mp4")
    names = [file.name for file in find_files([tmp_path])]
    assert names == [PurePath("b.v2"), PurePath("x/a"), PurePath("y/a")]


def test_clashing_names_are_told_apart_and_stable(tmp_path: Path) -> None:
    files = [tmp_path / "x" / "a.mp4", tmp_path / "y" / "A.mp4", tmp_path / "y" / "a.wav"]
    windows = tmp_path / "windows.mp4"
    touch(*files, windows)
    names = [file.name.as_posix() for file in find_files([*files, windows])]
    assert len({name.casefold() for name in names}) == 4
    assert [name.split("-")[0] for name in names] == ["a", "A", "a", "windows"]
    assert all(len(name.split("-")[1]) == 8 for name in names)
    assert names == [file.name.as_posix() for file in find_files([*files, windows])]
    assert find_files([files[0]])[0].name == PurePath("a")


def test_failing_files_are_reported_and_the_rest_still_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["empty.mp4", "good1.mp4", "crash.mp4", "good2.mp4"]
    touch(*(tmp_path / name for name in names))
    folder = tmp_path / "nothing_here"
    folder.mkdir()
    paths = [tmp_path / "gone.mp4", folder, *(tmp_path / name for name in names)]
    with caplog.at_level(logging.ERROR, logger="facevoice"):
        reports = list(analyze_paths(paths, ScriptedAnalyzer()))
    assert [report.path for report in reports] == [str(path) for path in paths]
    kinds = [None if report.error is None else report.error.kind for report in reports]
    assert kinds == [
        "media_not_found",
        "media_not_found",
        "empty_media",
        None,
        "internal",
        None,
    ]
    assert [r.status is Status.FAILED for r in reports] == [k is not None for k in kinds]
    assert "holds no media file" in reports[1].error.message
    assert "RuntimeError: boom" in reports[4].error.message
    assert all(report.config == ScriptedAnalyzer.config for report in reports if report.error)
    assert [record.exc_info[0] for record in caplog.records] == [RuntimeError]


def test_interruption_is_not_taken_for_a_failing_file(tmp_path: Path) -> None:
    class Interrupted(ScriptedAnalyzer):
        def analyze(self, path: str | Path, **_: object) -> Report:
            raise KeyboardInterrupt

    touch(tmp_path / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        list(analyze_paths([tmp_path], Interrupted()))


def test_progress_names_file_and_seconds(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    clip = make_clip("clip.mp4", duration_s=1.0)
    seen: list[Progress] = []
    paths = [tmp_path / "gone.mp4", clip]
    list(analyze_paths(paths, ScriptedAnalyzer(), seen.append))
    assert seen[0] == Progress(str(paths[0]), 0, 2, 0.0, None, 0.0)
    of_clip = [(p.path, p.num_done, p.done_s) for p in seen[1:]]
    assert of_clip == [(str(clip), 1, 0.0), (str(clip), 1, 1.5)]
    assert seen[1].duration_s == pytest.approx(1.0, abs=0.1)


def test_relative_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.mp4")
    monkeypatch.chdir(tmp_path)
    assert find_media(["."]) == [Path("a.mp4")]
    assert os.fspath(find_files(["a.mp4", "./a.mp4"])[0].name) == "a"
