"""facevoice evaluate and facevoice compare, as people type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facevoice.cli.app import app
from facevoice.evaluation.predictions import UsedBackbone, write_run
from run_builders import make_emotions, make_info

runner = CliRunner(env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "a", make_info(), make_emotions(4, face=None, voice=None))
    write_run(
        root / "b",
        make_info(name="dirty", backbones=(UsedBackbone("big@1", ("cremad",)),)),
        make_emotions(4, skill=3.0, face=None, voice=None),
    )
    return root


def test_evaluate_writes_next_to_the_run_and_shows_the_headlines(runs: Path) -> None:
    result = runner.invoke(app, ["evaluate", str(runs / "a"), "--resamples", "100"])
    assert result.exit_code == 0, result.output
    for name in ("scores.json", "scores.md", "index.html"):
        assert (runs / "a" / name).stat().st_size > 1000
    scores = json.loads((runs / "a" / "scores.json").read_text(encoding="utf-8"))
    assert scores["num_resamples"] == 100
    assert "UAR" in result.output and "intended emotion, fused, cremad" in result.output
    uar = scores["emotions"][0]["figures"]["uar"]["value"]
    assert f"{100 * uar:.1f} %" in result.output
    assert str(runs / "a" / "index.html") in result.output


def test_evaluate_writes_elsewhere_and_can_be_quiet(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    result = runner.invoke(
        app, ["evaluate", str(runs / "a"), "--out", str(out), "--resamples", "100", "--quiet"]
    )
    assert (result.exit_code, result.output) == (0, "")
    assert sorted(p.name for p in out.iterdir()) == ["index.html", "scores.json", "scores.md"]
    result = runner.invoke(app, ["evaluate", str(tmp_path)])
    assert result.exit_code == 1
    assert "holds no run.json" in result.stderr


def test_contamination_is_said_and_strict_fails(runs: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(runs / "b"), "--out", str(tmp_path), "--resamples", "100", "-q"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0
    assert "CONTAMINATED: big@1 was itself trained on cremad" in result.stderr
    for path in tmp_path.iterdir():
        path.unlink()
    result = runner.invoke(app, [*command, "--strict"])
    assert result.exit_code == 1
    assert "big@1 was trained on cremad" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_compare_shows_differences(runs: Path, tmp_path: Path) -> None:
    result = runner.invoke(
        app,
        ["compare", str(runs / "a"), str(runs / "b"), "--out", str(tmp_path), "--resamples", "100"],
    )
    assert result.exit_code == 0, result.output
    assert "CONTAMINATED: dirty" in result.stderr
    assert "Intended emotion on cremad: fused" in result.stdout
    assert "72 clips of 4 speakers are in all runs" in result.stdout
    names = ["comparison.json", "comparison.md", "index.html"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    result = runner.invoke(app, ["compare", str(runs / "a")])
    assert result.exit_code == 2
    assert "at least two runs" in result.stderr
