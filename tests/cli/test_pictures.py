"""`facevoice report` and `facevoice render`: a page and an annotated video of one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from builders import make_failed_report, make_prediction, make_report
from conftest import ClipMaker
from facevoice.batch import AnalyzerSetup, Progress
from facevoice.cli import app as cli
from facevoice.errors import WeightsError
from facevoice.report import is_report_page, to_html, to_json
from films import read_film


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, into which outputs go by default."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    path = tmp_path / "talk.1.json"
    path.write_text(to_json(make_report(make_prediction())), encoding="utf-8")
    return path


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """What was said on both outputs, each in one line."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.stdout.split()), " ".join(result.stderr.split())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_clip_becomes_a_page_with_its_waveform(make_clip: ClipMaker, here: Path) -> None:
    clip = make_clip("talk.1.mp4", duration_s=2.0)
    assert "Written to talk.1.html" in run("report", clip)[0]
    assert names(here) == ["talk.1.html"]
    first = (here / "talk.1.html").read_bytes()
    assert b'"peaks_hz":20' in first
    assert run("report", clip, "--quiet") == ("", "")  # A page made here is replaced.
    assert (here / "talk.1.html").read_bytes() == first
    run("report", make_clip("memo.wav", samples="noise"), "--out", "sound.html", "--quiet")
    assert is_report_page(here / "sound.html")


def test_reports_become_pages_without_waveform(
    report_file: Path, tmp_path: Path, here: Path
) -> None:
    assert "Face and voice match" in run("report", report_file)[0]
    page = (here / "talk.1.html").read_text(encoding="utf-8")
    # A review that is saved there is called as this report, so that it is found beside it.
    assert page == to_html(make_report(make_prediction()), name="talk.1")
    assert '"name":"talk.1.review.json"' in page
    failed = tmp_path / "broken.json"
    failed.write_text(to_json(make_failed_report()), encoding="utf-8")
    assert "the file is empty" in run("report", failed, "--out", "page.html")[1]
    assert names(here) == ["page.html", "talk.1.html"]


def test_a_file_of_others_is_not_replaced(report_file: Path, here: Path) -> None:
    target = here / "talk.1.html"
    target.write_text("<p>mine")
    assert "replace it with --overwrite" in run("report", report_file, code=2)[1]
    assert target.read_text() == "<p>mine"
    run("report", report_file, "--overwrite")
    assert is_report_page(target)


def test_a_video_is_drawn_on_with_its_sound(
    make_clip: ClipMaker, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []

    monkeypatch.setattr("facevoice.cli.screen.media", lambda show: seen.append)
    clip = make_clip("talk.mp4", duration_s=3.0)
    assert "Written to talk.facevoice.mp4" in run("render", clip)[0]
    assert names(here) == ["talk.facevoice.mp4"]
    film, rendered = read_film(clip), read_film(here / "talk.facevoice.mp4")
    assert (rendered.times_s, rendered.packets) == (film.times_s, film.packets)
    assert [p.media_s for p in seen] == sorted(p.media_s for p in seen)
    assert {(p.path, p.num_done, p.num_files) for p in seen} == {
        ("reading talk.mp4", 0, 2),
        ("drawing talk.mp4", 1, 2),
    }


def test_options_of_render(make_clip: ClipMaker, here: Path) -> None:
    arguments = ["render", make_clip(), "--out", "seen.MP4", "--height", "80", "--quiet"]
    assert run(*arguments) == ("", "")
    assert read_film(here / "seen.MP4").pictures[0].shape[0] == 80
    assert "exists already; replace it with --overwrite" in run(*arguments, code=2)[1]
    run(*arguments, "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "gone.mp4"], 1, "gone.mp4: no such file"),
        (["report", "empty.mp4"], 1, "empty.mp4: the file is empty"),
        (["report", "text.mp4"], 1, "text.mp4: is not a video or audio file"),
        (["report", "gone.json"], 1, "gone.json: can't be read"),
        (["report", "list.json"], 1, "list.json: not a facevoice report"),
        (["report", "talk.mp4", "--out", "no/page.html"], 2, "make it first"),
        (["report", "talk.mp4", "--out", "."], 2, "is a folder"),
        (
            ["report", "list.json", "--checkpoint", "x"],
            2,
            "only --sensitivity and --expected-conflicts can be changed",
        ),
        (["report", "talk.mp4", "--config", "wrong.toml"], 2, "length_s"),
        (["report", "https://user:secret@example.org/a.mp4?key=1"], 2, "fetch the file first"),
        (["render", "gone.mp4"], 1, "gone.mp4: no such file"),
        (["render", "text.mp4"], 1, "text.mp4: is not a video or audio file"),
        (["render", "sound.m4a"], 1, "sound.m4a: holds no video to draw on."),
        (["render", "talk.mp4", "--out", "talk.mp4", "--overwrite"], 2, "is the video itself"),
        (["render", "talk.mp4", "--out", "talk.avi"], 2, "let the name end in .mp4"),
        (["render", "talk.mp4", "--out", "no/a.mp4"], 2, "its folder does not exist"),
        (["render", "talk.mp4", "--height", "10"], 2, "--height"),
        (["render", "talk.mp4", "--config", "wrong.toml"], 2, "length_s"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_work(
    make_clip: ClipMaker,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    def fail(setup: AnalyzerSetup) -> Any:
        raise AssertionError("the analysis began")

    monkeypatch.setattr(AnalyzerSetup, "build", fail)
    for name in ("talk.mp4", "sound.m4a"):
        make_clip(name, duration_s=0.2).rename(here / name)
    files = {"empty.mp4": "", "text.mp4": "no film at all\n" * 99, "list.json": "[1, 2]"}
    for name, text in {**files, "wrong.toml": "[windows]\nlength_s = -1\n"}.items():
        (here / name).write_text(text)
    before = {path: path.read_bytes() for path in here.iterdir()}
    _, stderr = run(*arguments, code=code)
    assert said in stderr
    assert "secret" not in stderr
    assert {path: path.read_bytes() for path in here.iterdir()} == before


@pytest.mark.parametrize("name", ["report", "render"])
def test_setup_reaches_the_analyzer_and_failures_write_nothing(
    make_clip: ClipMaker,
    tmp_path: Path,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    setups: list[AnalyzerSetup] = []

    class Stopped:
        def perceive(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    def create(setup: AnalyzerSetup) -> Stopped:
        setups.append(setup)
        if len(setups) > 1:
            raise WeightsError(f"{setup.checkpoint}: no weights")
        return Stopped()

    monkeypatch.setattr(AnalyzerSetup, "build", create)
    settings = tmp_path / "s.toml"
    settings.write_text("[windows]\nlength_s = 6.0\nhop_s = 3.0\n")
    options = ["--config", settings, "--checkpoint", "runs/x", "--backbone", "b"]
    assert "Interrupted" in run(name, make_clip(), *options, code=130)[1]
    assert setups[0].config.windows.length_s == 6.0
    assert (setups[0].checkpoint, setups[0].backbones) == (Path("runs/x"), ("b",))
    assert "runs/x: no weights" in run(name, make_clip(), *options, code=1)[1]
    assert names(here) == []
