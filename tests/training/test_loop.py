"""The trainer: it learns, goes on exactly where it was killed, and splits over processes."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facevoice.errors import WeightsError
from facevoice.evaluation.predictions import Channel, posteriors_of, read_run
from facevoice.interpret import precision_at
from facevoice.models.checkpoint import CheckpointInfo, load_checkpoint
from facevoice.models.model import CheckpointModel
from facevoice.models.network import FUSIONS
from facevoice.records import Modality, Outcome
from facevoice.training import loop
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable, TokenArray
from facevoice.training.loop import STATE_FILE
from facevoice.training.run import predict_table, train
from training_builders import SOURCE, make_table, quick_config, train_without_dropout

# Little data: less to keep it from learning by heart, and more steps.
EAGER = (
    "network.fused_dim=32",
    "network.head_dim=16",
    "network.channel_dim=16",
    "network.interaction_dim=8",
    "network.dropout=0.1",
    "network.input_dropout=0",
    "loss.label_smoothing=0",
    "pairs.ratio=2",
    "train.learning_rate=0.02",
    "train.num_epochs=16",
    "train.patience=0",
)
SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def table() -> FeatureTable:
    return make_table()


def run(config: TrainConfig, table: FeatureTable, out: Path, **options: Any) -> CheckpointInfo:
    return train(config, table, out, SOURCE, cpu=True, **options)


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def figure(run: CheckpointInfo, corpus: str, name: str, part: str = "test") -> float:
    (value,) = (
        f.value for f in run.training.figures if (f.part, f.corpus, f.name) == (part, corpus, name)
    )
    return value


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert set(first) == set(second)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_learns_emotion_and_conflict(fusion: str, tmp_path: Path) -> None:
    done = run(quick_config(*EAGER, f"network.fusion={fusion}"), make_table(noise=0.3), tmp_path)
    for corpus in ("ravdess", "cremad"):
        assert figure(done, corpus, "emotion_uar") > 0.8
        assert figure(done, corpus, "face_uar") > 0.7
        assert figure(done, corpus, "voice_uar") > 0.7
    assert figure(done, "ravdess", "conflict_auroc") > 0.75
    assert done.curve is not None
    for outcome in (Outcome.CONFLICT, Outcome.MATCH):
        precision = precision_at(done.curve, 0.5, outcome)
        assert precision is not None
        assert precision > 0.6


@pytest.mark.parametrize("channel", ["video", "audio"])
def test_one_channel_is_a_setting(channel: str, tmp_path: Path) -> None:
    config = quick_config(*EAGER, f"network.modalities=['{channel}']")
    done = run(config, make_table(noise=0.3), tmp_path)
    assert figure(done, "ravdess", "emotion_uar") > 0.7
    names = {f.name for f in done.training.figures}
    head = "face" if channel == "video" else "voice"
    assert names == {"emotion_uar", f"{head}_uar"}
    assert load_checkpoint(tmp_path / "checkpoint").info.curve is None


class KilledError(Exception):
    """Stands for a kill: nothing after it runs."""


def kill_after(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    step: Callable[..., Any] = loop._Trainer.step
    left = [num_steps]

    def dying(trainer: Any, batch: Any) -> Any:
        if not left[0]:
            raise KilledError
        left[0] -= 1
        return step(trainer, batch)

    monkeypatch.setattr(loop._Trainer, "step", dying)


@pytest.mark.parametrize("killed_after", [1, 4, 9])
def test_a_killed_run_ends_in_the_same_weights(
    killed_after: int, table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("train.ema=0.9", "train.accumulate=2")
    run(quick_config(*settings, "run.save_every_steps=50"), table, tmp_path / "whole")
    often = quick_config(*settings, "run.save_every_steps=3")  # which may change on the way
    with monkeypatch.context() as patch:
        kill_after(patch, killed_after)
        with pytest.raises(KilledError):
            run(often, table, tmp_path / "killed")
    run(often, table, tmp_path / "killed")
    assert_same(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))
    states = [load_file(tmp_path / name / STATE_FILE) for name in ("killed", "whole")]
    assert_same(*states)


def test_a_finished_run_is_not_trained_again_and_is_no_other_run(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(quick_config(), table, tmp_path)
    weights = weights_of(tmp_path)
    kill_after(monkeypatch, 0)
    assert run(quick_config(), table, tmp_path) == first
    assert_same(weights_of(tmp_path), weights)
    with pytest.raises(WeightsError, match=r"belongs to another run \(settings differ\)"):
        run(quick_config("train.learning_rate=0.02"), table, tmp_path)
    with pytest.raises(WeightsError, match=r"belongs to another run \(data differ\)"):
        run(quick_config(), make_table(seed=1), tmp_path)
    with pytest.raises(KilledError):
        run(quick_config(), table, tmp_path, fresh=True)


def test_a_damaged_state_is_an_error_and_no_pickle_is_read(
    table: FeatureTable, tmp_path: Path
) -> None:
    run(quick_config(), table, tmp_path)
    state = tmp_path / STATE_FILE
    whole = state.read_bytes()
    torch.save({"weights": torch.zeros(1)}, state)
    with pytest.raises(WeightsError, match="no sound training state"):
        run(quick_config(), table, tmp_path)
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="no sound training state"):
        run(quick_config(), table, tmp_path)


def test_accumulated_parts_equal_the_whole_batch(table: FeatureTable, tmp_path: Path) -> None:
    settings = ("train.num_epochs=1", "network.dropout=0", "network.input_dropout=0")
    run(quick_config(*settings), table, tmp_path / "whole")
    run(quick_config(*settings, "train.accumulate=5"), table, tmp_path / "parts")
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert max(float((whole[n] - parts[n]).abs().max()) for n in whole) < 1e-4


def test_it_stops_early_and_keeps_the_best(table: FeatureTable, tmp_path: Path) -> None:
    noise = make_table(noise=50.0)
    config = quick_config("train.num_epochs=40", "train.patience=2")
    done = run(config, noise, tmp_path)
    steps_an_epoch = done.training.num_steps // (done.training.best_epoch + 3)
    assert (
        done.training.num_steps
        == steps_an_epoch * (done.training.best_epoch + 3)
        < steps_an_epoch * 40
    )


def test_a_loss_that_is_not_finite_stops_the_run(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = loop.total_loss
    monkeypatch.setattr(loop, "total_loss", lambda *given: total(*given) * float("inf"))
    with pytest.raises(WeightsError, match="not finite at epoch 0, step 0"):
        run(quick_config(), table, tmp_path)


def test_few_clips_are_standardised_instead_of_whitened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = quick_config("network.input_norm=whiten", "train.num_epochs=1")
    assert run(config, make_table(), tmp_path / "many").network.input_norm == "whiten"
    monkeypatch.setattr(loop, "MIN_ROWS_PER_INPUT", 1000)
    with caplog.at_level(logging.WARNING, logger="facevoice"):
        assert run(config, make_table(), tmp_path / "few").network.input_norm == "standardize"
    assert "too few to whiten" in caplog.text


def test_predictions_are_what_the_written_checkpoint_says(tmp_path: Path) -> None:
    """Scored = shipped: of clips, of pairs, and as it is loaded again."""
    table = make_table(num_tokens=2)
    info = run(quick_config("network.fusion=attention"), table, tmp_path)
    written = read_run(tmp_path / "predictions")
    model = CheckpointModel.load(tmp_path / "checkpoint")
    rows = table.rows(list(written.emotions["clip_id"]))
    (said,) = model.predict([clip_of(table, rows[3], rows[3])])
    assert said.fused is not None and said.voice is not None
    found = posteriors_of(written.emotions, Channel.FUSED)
    assert np.abs(found[3] - said.fused).max() < 1e-6
    pair = written.conflicts.iloc[5]
    face, voice = table.rows([pair["face_clip_id"], pair["voice_clip_id"]])
    (said,) = model.predict([clip_of(table, face, voice)])
    assert pair["score"] == pytest.approx(said.conflict, abs=1e-6)
    assert set(written.emotions["speaker"]) == set(info.data.test.speakers)
    silent = replace(table, arrays={**table.arrays, Modality.AUDIO: without(table, rows)})
    model_says = predict_table(model, silent, tmp_path / "silent", SOURCE)
    assert model_says == (len(rows), 0)
    heard = posteriors_of(read_run(tmp_path / "silent").emotions, Channel.VOICE)
    assert np.isnan(heard).all()


def clip_of(table: FeatureTable, face: int, voice: int) -> dict[Modality, np.ndarray]:
    rows = {Modality.VIDEO: face, Modality.AUDIO: voice}
    return {m: a.tokens[rows[m], : a.lengths[rows[m]]] for m, a in table.arrays.items()}


def without(table: FeatureTable, rows: np.ndarray) -> TokenArray:
    audio = table.arrays[Modality.AUDIO]
    lengths = audio.lengths.copy()
    lengths[rows] = 0
    return replace(audio, lengths=lengths)


def test_progress_is_tracked(table: FeatureTable, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(quick_config("run.trackers=['tensorboard']", "run.log_every_steps=2"), table, tmp_path)
    events = EventAccumulator(str(tmp_path / "logs" / "facevoice")).Reload()
    assert [e.step for e in events.Scalars("train/loss")][:3] == [2, 4, 6]
    assert len(events.Scalars("validation/emotion_uar")) == 2


def test_two_processes_compute_what_one_does(tmp_path: Path) -> None:
    train_without_dropout(tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(2):
        world = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(SCRIPT), str(tmp_path / "two")],
                env={**os.environ, **world},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    assert ["processes: 2" in text for text in said] == [True, True]
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert set(one) == set(two)
    # Sums are taken in another order, so last bits differ; AdamW's first steps magnify them.
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3
