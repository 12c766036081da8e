"""--sensitivity and --expected-conflicts: which commands take them, and what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from conftest import ClipMaker
from echo import EchoModel
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup
from facevoice.cli import app as cli
from facevoice.errors import WeightsError
from facevoice.interpret import decide_again, interpret
from facevoice.report import read_report, to_html, to_json
from facevoice.settings import DecisionConfig
from perceptions import perception, probs, view

ANALYSES = ("analyze", "report", "render", "web")
LEVELS = "one of cautious, balanced, sensitive, or a precision above 0.5 and below 1"


def run(*arguments: object, code: int = 0) -> str:
    """What was said, in one line."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, into which outputs go by default."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DecisionConfig]:
    """By what the analyzers that a command wants would decide; none is built."""
    seen: list[DecisionConfig] = []

    def build(setup: AnalyzerSetup) -> NoReturn:
        seen.append(setup.config.decision)
        raise WeightsError("no weights here")

    monkeypatch.setattr(AnalyzerSetup, "build", build)
    return seen


def operands(command: str, clip: Path) -> list[object]:
    more = ["--jobs", 1] if command == "analyze" else []
    return [command, *([] if command == "web" else [clip]), *more]


@pytest.mark.parametrize("command", ANALYSES)
def test_every_analysis_takes_both(
    command: str, make_clip: ClipMaker, asked: list[DecisionConfig], tmp_path: Path
) -> None:
    words = operands(command, make_clip())
    settings = tmp_path / "s.toml"
    settings.write_text("[decision]\nsensitivity = 0.75\nexpected_conflicts = 0.2\n")
    for given in (
        ["--sensitivity", "cautious", "--expected-conflicts", 0.05],
        ["--sensitivity", 0.85],
        ["--config", settings],
        ["--config", settings, "--sensitivity", "sensitive"],
        [],
    ):
        assert "no weights here" in run(*words, *given, code=1)
    assert [(d.sensitivity, d.expected_conflicts) for d in asked] == [
        ("cautious", 0.05),
        (0.85, 0.5),
        (0.75, 0.2),
        ("sensitive", 0.2),
        ("balanced", 0.5),
    ]


@pytest.mark.parametrize("command", ANALYSES)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--sensitivity", "bold"], LEVELS),
        (["--sensitivity", "Cautious"], LEVELS),
        (["--sensitivity", "0.5"], LEVELS),
        (["--sensitivity", "1"], LEVELS),
        (["--sensitivity", "nan"], LEVELS),
        (["--sensitivity", ""], LEVELS),
        (
            ["--expected-conflicts", "0"],
            "expected_conflicts = 0.0 is not allowed: between 0.0001 and 0.9999",
        ),
        (["--expected-conflicts", "1"], "between 0.0001 and 0.9999"),
        (["--expected-conflicts", "nan"], "between 0.0001 and 0.9999"),
        (["--expected-conflicts", "often"], "Invalid value for '--expected-conflicts'"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(
    command: str, given: list[str], message: str, make_clip: ClipMaker, asked: list[DecisionConfig]
) -> None:
    said = run(*operands(command, Path("talk.mp4")), *given, code=2)
    assert message in said
    assert f"facevoice {command} -" in said  # -h or --help
    assert asked == []


def test_another_sensitivity_reads_no_file_again(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, out = make_clip("talk.mp4", duration_s=3.0), tmp_path / "out"
    run("analyze", clip, "--out", out, "--jobs", 1)
    first = read_report(out / "talk.json")

    def perceive(*_: object, **__: object) -> NoReturn:
        pytest.fail("reads the file again")

    monkeypatch.setattr(Analyzer, "perceive", perceive)
    words: dict[str, Any] = {"sensitivity": "cautious", "expected_conflicts": 0.1}
    run(
        *("analyze", clip, "--out", out, "--jobs", 1),
        *("--sensitivity", "cautious", "--expected-conflicts", 0.1),
    )
    second = read_report(out / "talk.json")
    assert second.config.decision == DecisionConfig(**words)
    assert to_json(second) == to_json(decide_again(first, DecisionConfig(**words)))


def write_report(folder: Path, decision: DecisionConfig) -> Path:
    """Of a window whose conflict has the probability 0.8 at equal numbers."""
    seen = perception(view(probs(happy=0.7), probs(angry=0.6)))
    path = folder / "talk.json"
    path.write_text(to_json(interpret(seen, EchoModel(0.8), decision)), encoding="utf-8")
    return path


def test_a_stored_report_is_decided_again(tmp_path: Path, here: Path) -> None:
    path = write_report(tmp_path, DecisionConfig())
    stored = read_report(path)
    assert "Face and voice conflict" in run("report", path)
    page = here / "talk.html"
    assert page.read_text(encoding="utf-8") == to_html(stored, name="talk")
    assert "Undecided" in run("report", path, "--sensitivity", "cautious")
    cautious = decide_again(stored, DecisionConfig(sensitivity="cautious"))
    assert page.read_text(encoding="utf-8") == to_html(cautious, name="talk")
    assert "Undecided" in run("report", path, "--expected-conflicts", 0.2)
    assert "Face and voice conflict" in run(
        "report", path, "--sensitivity", "sensitive", "--expected-conflicts", 0.4
    )
    assert to_json(stored) == path.read_text(encoding="utf-8")


def test_what_is_not_asked_stays_as_the_report_has_it(tmp_path: Path, here: Path) -> None:
    first = DecisionConfig(sensitivity="cautious", expected_conflicts=0.6, min_speech_s=0.3)
    path = write_report(tmp_path, first)
    stored = read_report(path)
    page = here / "talk.html"
    run("report", path)
    assert page.read_text(encoding="utf-8") == to_html(stored, name="talk")
    # Also where the defaults are asked for.
    run("report", path, "--sensitivity", "balanced")
    changed = decide_again(stored, DecisionConfig(expected_conflicts=0.6))
    assert changed.config.decision.min_speech_s == 0.3
    assert page.read_text(encoding="utf-8") == to_html(changed, name="talk")
    run("report", path, "--expected-conflicts", 0.5)
    changed = decide_again(stored, DecisionConfig(sensitivity="cautious"))
    assert page.read_text(encoding="utf-8") == to_html(changed, name="talk")


@pytest.mark.parametrize("words", [["--window", "3"], ["--threads", "1"], ["--checkpoint", "x"]])
def test_nothing_else_of_a_stored_report_can_be_changed(words: list[str], tmp_path: Path) -> None:
    path = write_report(tmp_path, DecisionConfig())
    said = run("report", path, *words, "--sensitivity", "cautious", code=2)
    assert "only --sensitivity and --expected-conflicts can be changed" in said
