from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from builders import make_failed_report, make_prediction, make_report
from conftest import ClipMaker
from facevoice.batch import AnalyzerSetup
from facevoice.cli import app as cli
from facevoice.cli import report as cli_pictures
from facevoice.report import is_report_page, to_html, to_json

runner = CliRunner()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; and the log as it was, afterwards."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    log = logging.getLogger("facevoice")
    before = (log.handlers[:], log.level, log.propagate)
    yield folder
    log.handlers[:], log.level, log.propagate = before[0], before[1], before[2]


@pytest.fixture
def report_file(tmp_path: Path) -> Path:
    path = tmp_path / "talk.1.json"
    path.write_text(to_json(make_report(make_prediction())), encoding="utf-8")
    return path


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    result = runner.invoke(cli.app, ["report", *(str(a) for a in arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_clip_becomes_a_page_with_its_waveform(make_clip: ClipMaker, here: Path) -> None:
    clip = make_clip("talk.1.mp4", duration_s=2.0)
    stdout, stderr = run(clip)
    assert names(here) == ["talk.1.html"]
    page = (here / "talk.1.html").read_text(encoding="utf-8")
    assert '"peaks_hz":20' in page
    assert "Written to talk.1.html" in stdout
    assert stderr == ""
    first = (here / "talk.1.html").read_bytes()
    run(clip, "--quiet")  # A page made here is replaced.
    assert (here / "talk.1.html").read_bytes() == first


def test_sound_alone_becomes_a_page(make_clip: ClipMaker, here: Path) -> None:
    run(make_clip("memo.wav", samples="noise"), "--out", "sound.html", "--quiet")
    assert is_report_page(here / "sound.html")


def test_a_report_becomes_a_page_without_waveform(report_file: Path, here: Path) -> None:
    stdout, _ = run(report_file)
    assert names(here) == ["talk.1.html"]
    assert '"trace":null' in (here / "talk.1.html").read_text(encoding="utf-8")
    assert "very likely match" in stdout


def test_a_report_of_a_failure_becomes_a_page_that_says_so(tmp_path: Path, here: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(to_json(make_failed_report()), encoding="utf-8")
    _, stderr = run(path, "--out", "page.html")
    assert "the file is empty" in stderr
    assert names(here) == ["page.html"]


def test_quiet_says_nothing(report_file: Path) -> None:
    assert run(report_file, "--quiet") == ("", "")


def test_a_file_of_others_is_not_replaced(report_file: Path, here: Path) -> None:
    target = here / "talk.1.html"
    target.write_text("<p>mine")
    _, stderr = run(report_file, code=2)
    assert "talk.1.html" in stderr
    assert "--overwrite" in stderr
    assert target.read_text() == "<p>mine"
    run(report_file, "--overwrite")
    assert is_report_page(target)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.mp4", None, "no such file"),
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"no film at all\n" * 99, "text.mp4"),
        ("gone.json", None, "can't be read"),
        ("list.json", b"[1, 2]", "not a facevoice report"),
    ],
)
def test_what_cannot_be_read_writes_nothing(
    tmp_path: Path, here: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    _, stderr = run(path, code=1)
    assert name in stderr
    assert said in stderr.lower()
    assert names(here) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "missing/page.html"], "make it first"),
        (["--out", "."], "is a folder"),
        (["--checkpoint", "runs/x"], "--checkpoint is for videos"),
    ],
)
def test_wrong_usage_writes_nothing(
    report_file: Path, here: Path, options: list[str], said: str
) -> None:
    assert said in run(report_file, *options, code=2)[1]
    assert names(here) == []


def test_wrong_settings_are_named(make_clip: ClipMaker, tmp_path: Path) -> None:
    settings = tmp_path / "wrong.toml"
    settings.write_text("[windows]\nlength_s = -1\n")
    assert "length_s" in run(make_clip(), "--config", settings, code=2)[1]


def test_an_address_is_not_fetched() -> None:
    _, stderr = run("https://user:secret@example.org/talk.mp4?key=1", code=2)
    assert "fetch the file first" in stderr
    assert "secret" not in stderr
    assert "key=1" not in stderr


def test_interruption_writes_nothing(
    make_clip: ClipMaker, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped:
        def analyze(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli_pictures, "create_analyzer", lambda _: Stopped())
    assert "Interrupted" in run(make_clip(), code=130)[1]
    assert names(here) == []


def test_settings_and_checkpoint_reach_the_analyzer(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups: list[AnalyzerSetup] = []

    class Fake:
        def analyze(self, path: Path, **_: Any) -> Any:
            return make_report(make_prediction(), path=str(path))

    def create(setup: AnalyzerSetup) -> Fake:
        setups.append(setup)
        return Fake()

    monkeypatch.setattr(cli_pictures, "create_analyzer", create)
    settings = tmp_path / "s.toml"
    settings.write_text("[windows]\nlength_s = 6.0\nhop_s = 3.0\n")
    run(make_clip(), "--config", settings, "--checkpoint", "runs/x", "--backbone", "b")
    assert setups[0].config.windows.length_s == 6.0
    assert (setups[0].checkpoint, setups[0].backbones) == (Path("runs/x"), ("b",))


def test_analyze_writes_pages_only_into_a_folder(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("talk.mp4", duration_s=1.0)
    refused = runner.invoke(cli.app, ["analyze", str(clip), "--format", "html"])
    assert refused.exit_code == 2
    assert "--format html needs --out DIR" in refused.stderr
    out = tmp_path / "out"
    done = runner.invoke(
        cli.app, ["analyze", str(clip), "--out", str(out), "--format", "json,html", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    assert (out / "talk.json").is_file()
    assert is_report_page(out / "talk.html")


def test_a_report_and_its_json_give_the_same_page(report_file: Path, here: Path) -> None:
    run(report_file)
    page = (here / "talk.1.html").read_text(encoding="utf-8")
    assert page == to_html(make_report(make_prediction()))
