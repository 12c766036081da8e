"""facevoice train and predict, from a feature file to figures; unseen speakers only."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from facevoice.cli.app import app

if find_spec("torch") is None:
    pytest.skip("training needs torch", allow_module_level=True)

from facevoice.evaluation.predictions import read_run
from facevoice.models.checkpoint import read_info
from training_builders import cremad_ids, make_table, ravdess_ids, write_feature_file

QUICK = (
    "--set", "network.fused_dim=16", "--set", "network.head_dim=8",
    "--set", "network.channel_dim=8", "--set", "train.learning_rate=0.01",
    "--set", "split.num_folds=3", "--set", "run.trackers=[]",
    "--num-epochs", "2", "--batch-size", "64", "--cpu",
)  # fmt: skip


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ids = ravdess_ids(4) + cremad_ids(3)
    return write_feature_file(tmp_path_factory.mktemp("data") / "made.npz", make_table(ids))


def test_a_feature_file_becomes_a_checkpoint_and_a_run(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    done = run("train", "--features", features, "--out", out, *QUICK)
    assert done.exit_code == 0, done.output
    assert "conflict_auroc" in done.stdout
    info = read_info(out / "checkpoint")
    assert (info.network.video_dim, info.network.audio_dim) == (12, 16)
    assert info.settings["train"]["num_epochs"] == 2
    assert info.data.source == "made.npz"
    assert set(info.data.train.speakers).isdisjoint(info.data.test.speakers)
    written = read_run(out / "predictions")
    assert set(written.emotions.speaker) == set(info.data.test.speakers)
    assert written.conflicts is not None
    assert written.info.backbones[0].training_corpora is None
    others = write_feature_file(tmp_path / "more.npz", make_table(ravdess_ids(6), seed=2))
    done = run("predict", out / "checkpoint", "--features", others, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    tested = set(read_run(tmp_path / "run").emotions.speaker)
    assert tested.isdisjoint({*info.data.train.speakers, *info.data.validation.speakers})
    assert {"ravdess/05", "ravdess/06"} <= tested


@pytest.mark.parametrize(("kind", "head"), [("video", "face"), ("audio", "voice")])
def test_one_channel_by_its_name(kind: str, head: str, features: Path, tmp_path: Path) -> None:
    done = run("train", "--features", features, "--out", tmp_path, "--model-type", kind, *QUICK)
    assert done.exit_code == 0, done.output
    assert f"{head}_uar" in done.stdout
    assert "conflict" not in done.stdout
    assert read_run(tmp_path / "predictions").conflicts is None


def test_small_mode_says_what_it_is_worth(features: Path, tmp_path: Path) -> None:
    done = run("train", "--features", features, "--out", tmp_path, "--small", *QUICK)
    assert done.exit_code == 0, done.output
    assert "worth nothing" in " ".join(done.stderr.split())
    card = (tmp_path / "checkpoint" / "README.md").read_text()
    assert "worth nothing" in card
    metrics = json.loads((tmp_path / "checkpoint" / "metrics.json").read_text())
    assert metrics["notes"]


def test_the_same_command_goes_on_and_other_settings_do_not(features: Path, tmp_path: Path) -> None:
    words = ("train", "--features", features, "--out", tmp_path, "-q", *QUICK)
    assert run(*words).exit_code == 0
    assert run(*words).exit_code == 0
    other = run(*words, "--learning-rate", "0.02")
    assert other.exit_code == 1
    assert "belongs to another run" in " ".join(other.stderr.split())
    assert run(*words, "--learning-rate", "0.02", "--fresh").exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "either a table"),
        (["nothing.jsonl"], 2, "no such table"),
        (["--features", "nothing.npz"], 1, "no feature file"),
        (["--features", "{features}", "--set", "train.speed=9"], 2, "train.speed"),
        (["--features", "{features}", "--config", "nothing.toml"], 2, "can't be read"),
        (["--features", "{features}", "--model-type", "smell"], 2, "choose one of multimodal"),
        (["--features", "{features}", "--set", "targets.face=perceived"], 1, "perceived face"),
    ],
)
def test_wrong_use_is_told_apart_from_failure(
    words: list[str], code: int, message: str, features: Path, tmp_path: Path
) -> None:
    given = [word.format(features=features) for word in words]
    done = run("train", *given, "--out", tmp_path / "out", "--cpu")
    assert done.exit_code == code, done.output
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out" / "checkpoint").exists()
