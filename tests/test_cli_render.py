from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup, Progress, ProgressCallback
from facevoice.cli import render as cli_render
from facevoice.cli.app import app
from facevoice.errors import WeightsError
from films import read_film

runner = CliRunner()


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Default names are relative to the folder; `open_screen` changes the package's log."""
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("facevoice")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def never_analyzes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(setup: AnalyzerSetup) -> Analyzer:
        raise AssertionError("the analysis began")

    monkeypatch.setattr(cli_render, "create_analyzer", fail)


def said(result: object) -> str:
    """All that was said, without line breaks."""
    return " ".join(getattr(result, "output", "").split())


def test_writes_beside_nothing_else(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("talk.mp4", duration_s=3.0)
    result = runner.invoke(app, ["render", "talk.mp4"])
    assert result.exit_code == 0, result.output
    assert "Written to talk.facevoice.mp4" in said(result)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["talk.facevoice.mp4", "talk.mp4"]
    film, rendered = read_film(clip), read_film(tmp_path / "talk.facevoice.mp4")
    assert rendered.times_s == film.times_s
    assert rendered.packets == film.packets


def test_options(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("talk.mp4")
    out = tmp_path / "sub" / "seen.MP4"
    out.parent.mkdir()
    arguments = ["render", str(clip), "--out", str(out), "--height", "80", "--quiet"]
    result = runner.invoke(app, arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert read_film(out).pictures[0].shape[0] == 80
    again = runner.invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists already; replace it with --overwrite" in said(again)
    assert runner.invoke(app, [*arguments, "--overwrite"]).exit_code == 0


@pytest.mark.usefixtures("never_analyzes")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["talk.mp4", "--out", "talk.mp4"], 2, "is the video itself"),
        (["talk.mp4", "--out", "talk.mp4", "--overwrite"], 2, "is the video itself"),
        (["talk.mp4", "--out", "talk.avi"], 2, "let the name end in .mp4"),
        (["talk.mp4", "--out", "none/a.mp4"], 2, "its folder does not exist"),
        (["talk.mp4", "--height", "10"], 2, "--height"),
        (["talk.mp4", "--config", "none.toml"], 2, "none.toml"),
        (["none.mp4"], 1, "none.mp4: no such file"),
        (["empty.mp4"], 1, "empty.mp4: the file is empty"),
        (["text.mp4"], 1, "text.mp4: is not a video or audio file"),
        (["sound.m4a"], 1, "sound.m4a: holds no video to draw on."),
        ([], 2, "FILE"),
    ],
)
def test_bad_inputs(
    make_clip: ClipMaker, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    content = make_clip("talk.mp4", duration_s=0.2).read_bytes()
    make_clip("sound.m4a", duration_s=0.2)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film")
    before = sorted(tmp_path.iterdir())
    result = runner.invoke(app, ["render", *arguments])
    assert result.exit_code == code, result.output
    assert message in said(result)
    assert "Traceback" not in result.output
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "talk.mp4").read_bytes() == content


def test_wrong_weights_are_named(make_clip: ClipMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(setup: AnalyzerSetup) -> Analyzer:
        raise WeightsError(f"{setup.checkpoint}: no weights")

    make_clip("talk.mp4", duration_s=0.2)
    monkeypatch.setattr(cli_render, "create_analyzer", fail)
    result = runner.invoke(app, ["render", "talk.mp4", "--checkpoint", "mine"])
    assert result.exit_code == 1
    assert "mine: no weights" in said(result)


def test_interrupted_leaves_nothing(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    make_clip("talk.mp4")
    monkeypatch.setattr(cli_render, "render_video", stop)
    result = runner.invoke(app, ["render", "talk.mp4"])
    assert result.exit_code == 130
    assert "Interrupted: talk.facevoice.mp4 was not written" in said(result)
    assert [p.name for p in tmp_path.iterdir()] == ["talk.mp4"]


def test_both_passes_show_their_progress(
    make_clip: ClipMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    @contextmanager
    def bar(console: object) -> Iterator[ProgressCallback]:
        yield seen.append

    make_clip("talk.mp4")
    monkeypatch.setattr(cli_render, "progress_bar", bar)
    assert runner.invoke(app, ["render", "talk.mp4"]).exit_code == 0
    assert {(p.path, p.num_done, p.num_files) for p in seen} == {
        ("reading talk.mp4", 0, 2),
        ("drawing talk.mp4", 1, 2),
    }
    media_s = [p.media_s for p in seen]
    assert media_s == sorted(media_s)
