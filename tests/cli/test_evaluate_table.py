"""`facevoice evaluate MANIFEST` from films to figures, through the real networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from facevoice.cli.app import app
from facevoice.evaluation.predictions import Channel, has_answer, read_run

SAMPLES = Path(__file__).parents[2] / "examples"
# 05 fearful, 03 happy, as in the names of the javanese corpus.
FILMS = {"05": "smile_frightened_voice.mp4", "03": "smile_glad_voice.mp4"}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    films = folder / "javanese"
    films.mkdir()
    for speaker in ("01", "02"):
        for emotion, sample in FILMS.items():
            for take in ("01", "02"):
                shutil.copy(SAMPLES / sample, films / f"{speaker}-01-{emotion}_{take}.mp4")
    path = folder / "manifest.parquet"
    made = CliRunner().invoke(
        app, ["data", "prepare", f"javanese={films}", "--out", str(path), "--quiet"]
    )
    assert made.exit_code == 0, made.output
    return path


@pytest.fixture(scope="module")
def evaluated(table) -> Path:
    out = table.with_name("run")
    done = CliRunner().invoke(
        app, ["evaluate", str(table), "--out", str(out), "--resamples", "100"]
    )
    assert done.exit_code == 0, done.output
    assert "contaminated" in done.output
    return out


def test_predictions_and_pages_are_written(table, evaluated):
    run = read_run(evaluated)
    assert len(run.emotions) == 8
    assert has_answer(run.emotions, Channel.FUSED).all()
    assert sorted(set(run.conflicts.kind)) == ["conflict", "match", "original"]
    assert np.isfinite(run.conflicts.threshold).all()
    assert run.info.command == f"facevoice evaluate {table} --out {evaluated} --resamples 100"
    assert (evaluated / "index.html").is_file()
    scores = json.loads((evaluated / "scores.json").read_text("utf-8"))
    assert scores["emotions"][0]["contaminated"]


def test_a_second_run_reads_the_store_and_needs_leave_to_replace(table, evaluated):
    again = ["evaluate", str(table), "--out", str(evaluated), "--resamples", "100"]
    refused = CliRunner().invoke(app, again)
    assert refused.exit_code == 1
    assert "holds a run already" in " ".join(refused.output.split())
    before = (evaluated / "conflicts.parquet").read_bytes()
    replaced = CliRunner().invoke(app, [*again, "--overwrite"])
    assert replaced.exit_code == 0, replaced.output
    assert (evaluated / "conflicts.parquet").read_bytes() == before


def test_one_channel_gives_no_conflicts(table):
    out = table.with_name("voice")
    words = ["--model-type", "audio", "--resamples", "100"]
    done = CliRunner().invoke(app, ["evaluate", str(table), "--out", str(out), *words])
    assert done.exit_code == 0, done.output
    run = read_run(out)
    assert run.conflicts is None
    assert not has_answer(run.emotions, Channel.FACE).any()
    assert has_answer(run.emotions, Channel.VOICE).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--out DIR is needed"),
        (["--out", "x", "--model-type", "smell"], "choose one of multimodal, video, audio"),
        (["--out", "x", "--corpus", "savee"], "the table holds javanese"),
    ],
)
def test_wrong_usage_is_explained(table, words, message):
    result = CliRunner().invoke(app, ["evaluate", str(table), *words])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_only_test_clips_of_a_split_are_scored(table):
    splits = table.with_name("splits.json")
    folds = ["--protocol", "speakers", "--folds", "2", "--no-validation"]
    made = CliRunner().invoke(app, ["data", "split", str(table), *folds, "--out", str(splits)])
    assert made.exit_code == 0, made.output
    out = table.with_name("part")
    words = ["--split", str(splits), "--resamples", "100"]
    done = CliRunner().invoke(app, ["evaluate", str(table), "--out", str(out), *words])
    assert done.exit_code == 0, done.output
    assert "speakers" in read_run(out).info.protocol
