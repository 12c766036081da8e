"""`facevoice explain`: sentences, tables, JSON and a folder of pictures; what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from conftest import ClipMaker
from facevoice import Analyzer
from facevoice.cli import app as cli
from facevoice.perceive import Perceiver

EXAMPLE = Path(__file__).parents[2] / "examples" / "smile_frightened_voice.mp4"
SHORT = ("--window", "0.6", "--hop", "0.6")  # hides less, so that the test is quick


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    """What was said on both outputs."""
    result = CliRunner().invoke(cli.app, ["explain", *(str(a) for a in arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, " ".join(result.stderr.split())


def test_the_smile_is_what_makes_the_face_happy(tmp_path: Path) -> None:
    out = tmp_path / "why"
    said = json.loads(run(EXAMPLE, "--at", "0:02", "--json", "--out", out, *SHORT)[0])
    assert said["face"]["emotion"] == "happy"
    first = said["face"]["parts"][0]
    assert first["name"] == "mouth" and first["stands_out"]
    assert first["prob_without"] < said["face"]["prob"] - 0.2
    assert said["words"][0].startswith("The mouth moved the face's answer most: without it, happy")
    names = sorted(path.name for path in out.iterdir())
    assert names == ["explain.html", "explanation.json", "face.png", "voice.png"]
    assert json.loads((out / "explanation.json").read_text()) == said
    for name in ("face.png", "voice.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
    page = (out / "explain.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "<script" not in page
    assert "isn't empty" in run(EXAMPLE, "--at", "1", "--out", out, code=2)[1]


def test_what_is_explained_is_what_the_report_says() -> None:
    analyzer = Analyzer()
    perception = analyzer.perceive(EXAMPLE)
    report = analyzer.interpret(perception)
    for place in range(len(report.windows)):
        question = analyzer.question_at(perception, place)
        (said,) = question.ask([question.window])
        told = report.windows[place]
        assert told.face is not None and told.voice is not None
        assert said.face == pytest.approx(told.face.probs, abs=1e-9)
        assert said.voice == pytest.approx(told.voice.probs, abs=1e-9)
        assert said.conflict == pytest.approx(told.conflict, abs=1e-9)


def test_a_channel_that_is_not_read_is_told_so(make_clip: ClipMaker) -> None:
    said = run(make_clip("blocks.mp4", duration_s=1.0), "--at", "0.5")[0]
    assert "The face can't be explained here, since it is not read: no face." in said
    assert "The voice can't be explained here, since it is not read: no speech." in said


def test_times_that_make_no_sense_are_refused(
    make_clip: ClipMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip("short.wav", samples="noise", duration_s=1.0)
    with monkeypatch.context() as unread:
        unread.delattr(Perceiver, "perceive")  # At once, not after a pass over the file.
        assert "there is no moment at 3600 s" in run(clip, "--at", "1:00:00", code=2)[1]
    assert "write minutes and seconds" in run(clip, "--at", "soon", code=2)[1]


def test_what_analyze_kept_is_not_read_again(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip("blocks.mp4", duration_s=1.0)
    out = tmp_path / "results"
    done = CliRunner().invoke(cli.app, ["analyze", str(clip), "--out", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(Perceiver, "views", lambda *_, **__: pytest.fail("read again"))
    said = run(clip, "--at", "0.5", "--store", out / ".facevoice.db")[0]
    assert "The face can't be explained here" in said


def test_the_report_page_shows_the_strongest_moments(tmp_path: Path) -> None:
    page = tmp_path / "talk.html"
    asked = ["report", str(EXAMPLE), "--explain", "--out", str(page), "--window", "2"]
    result = CliRunner().invoke(cli.app, [*asked, "--quiet"])
    assert result.exit_code == 0, result.output
    written = page.read_text(encoding="utf-8")
    body = written.partition("</main>")[2]
    assert 1 <= body.count('<section class="fv-why"') <= 3
    assert body.index("fv-why") < body.index("<script")


def test_a_report_without_strong_moments_says_so(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip, page = make_clip("blocks.mp4", duration_s=1.0), tmp_path / "blocks.html"
    result = CliRunner().invoke(cli.app, ["report", str(clip), "--explain", "--out", str(page)])
    assert result.exit_code == 0, result.output
    assert "Nothing is explained: no moment of this file stands out." in result.output
    assert "fv-why" not in page.read_text(encoding="utf-8")
