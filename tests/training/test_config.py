"""Settings of training: checked, readable, and the same in files, in words and in code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from facevoice.errors import ConfigError
from facevoice.models.network import FUSIONS
from facevoice.records import Modality
from facevoice.settings import plain_settings
from facevoice.training.config import SMALL_BATCH, SMALL_EPOCHS, TrainConfig, small

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_full_file_holds_every_setting_with_its_default_and_a_comment() -> None:
    path = CONFIGS / "train-concat.toml"
    assert tomllib.loads(path.read_text()) == plain_settings(TrainConfig())
    lines = path.read_text().splitlines()
    settings = [i for i, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(settings) > 50
    assert [lines[i] for i in settings if not lines[i - 1].startswith("#")] == []


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("train-*.toml")), ids=lambda path: path.stem)
def test_the_files_are_read(path: Path) -> None:
    config = TrainConfig.load(path)
    name = path.stem.removeprefix("train-")
    if name in FUSIONS:
        assert config.network.fusion == name
    if name in ("video", "audio"):
        assert config.network.modalities == (Modality(name),)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    config = TrainConfig.load(
        None, ["train.learning_rate=5e-5", "network.modalities=['audio']", "run.trackers=[]"]
    )
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    assert TrainConfig.load(path) == config
    assert config.train.learning_rate == 5e-5
    assert config.network.modalities == (Modality.AUDIO,)
    assert TrainConfig.load(path, ["train.learning_rate=0.1"]).train.learning_rate == 0.1


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.learning_rate=-1", r"learning_rate = -1\.0 is not allowed"),
        ("train.learning_rate=fast", "is not a number"),
        ("train.num_epochs=2.5", "is not a whole number"),
        ("train.epochs=2", "unknown setting 'train.epochs'; known: num_epochs"),
        ("trian.num_epochs=2", "unknown setting 'trian'"),
        ("network.modalities='video'", "is not a list"),
        ("network.modalities=['smell']", "known: video, audio"),
        ("network.layer_norm=1", "is not true or false"),
        ("run.seed=true", "is not a whole number"),
        ("split.fold=5", "-1 to 4"),
        ("train.accumulate=1000", "1 to train.batch_size"),
        ("targets.face=imagined", "intended, perceived"),
        ("finetune={lora_rank = 4, video_layers = 1}", "lora_rank"),
        ("train.num_epochs", "write SECTION.NAME=VALUE"),
        ("train.num_epochs.x=1", "no section|expected a table|not a whole number"),
    ],
)
def test_wrong_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.load(None, [assignment])


def test_small_mode_changes_what_was_not_asked_for() -> None:
    config = TrainConfig.load(None, ["train.accumulate=4"])
    assert (small(config).train.num_epochs, small(config).train.batch_size) == (
        SMALL_EPOCHS,
        SMALL_BATCH,
    )
    kept = small(config, ("train.batch_size",)).train
    assert (kept.num_epochs, kept.batch_size, kept.accumulate) == (SMALL_EPOCHS, 256, 4)


def test_settings_need_no_torch() -> None:
    modules = "facevoice.training.config, facevoice.training.data, facevoice.cli.train"
    code = f"import {modules}, sys; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
