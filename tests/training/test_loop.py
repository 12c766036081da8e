"""The trainer: it learns, goes on exactly where it was killed, and splits over processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facevoice.errors import CorpusError, WeightsError
from facevoice.models.checkpoint import FUSIONS, load_checkpoint
from facevoice.records import Modality
from facevoice.training import loop
from facevoice.training.config import TrainConfig
from facevoice.training.data import FeatureTable
from facevoice.training.run import RunOptions, TrainedRun, train
from training_builders import SOURCE, make_table, quick_config

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


def run(config: TrainConfig, table: FeatureTable, out: Path, **options: Any) -> TrainedRun:
    return train(config, table, out, SOURCE, options=RunOptions(cpu=True, **options))


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


def figure(run: TrainedRun, corpus: str, name: str, part: str = "test") -> float:
    (value,) = (f.value for f in run.figures if (f.part, f.corpus, f.name) == (part, corpus, name))
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


@pytest.mark.parametrize("channel", ["video", "audio"])
def test_one_channel_is_a_setting(channel: str, tmp_path: Path) -> None:
    config = quick_config(*EAGER, f"network.modalities=['{channel}']")
    done = run(config, make_table(noise=0.3), tmp_path)
    assert figure(done, "ravdess", "emotion_uar") > 0.7
    names = {f.name for f in done.figures}
    head = "face" if channel == "video" else "voice"
    assert names == {"emotion_uar", f"{head}_uar"}
    assert load_checkpoint(done.checkpoint).info.thresholds is None


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


@pytest.mark.parametrize("killed_after", [1, 4, 5, 7, 9])
def test_a_killed_run_ends_in_the_same_weights(
    killed_after: int, table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quick_config("train.ema=0.9", "run.save_every_steps=3", "train.accumulate=2")
    run(config, table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_after(patch, killed_after)
        with pytest.raises(KilledError):
            run(config, table, tmp_path / "killed")
    run(config, table, tmp_path / "killed")
    assert_same(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))
    last = [
        load_file(tmp_path / name / "training-state.safetensors") for name in ("killed", "whole")
    ]
    assert_same(*last)


def test_saving_more_often_changes_nothing_and_may_be_changed_on_the_way(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(quick_config(), table, tmp_path / "whole")
    with monkeypatch.context() as patch:
        kill_after(patch, 7)
        with pytest.raises(KilledError):
            run(quick_config("run.save_every_steps=1"), table, tmp_path / "killed")
    run(quick_config("run.save_every_steps=50"), table, tmp_path / "killed")
    assert_same(weights_of(tmp_path / "killed"), weights_of(tmp_path / "whole"))


def test_a_finished_run_is_not_trained_again(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(quick_config(), table, tmp_path)
    weights = weights_of(tmp_path)
    kill_after(monkeypatch, 0)
    second = run(quick_config(), table, tmp_path)
    assert_same(weights_of(tmp_path), weights)
    assert second.figures == first.figures
    with pytest.raises(KilledError):
        run(quick_config(), table, tmp_path, fresh=True)


def test_the_state_of_another_run_is_refused(table: FeatureTable, tmp_path: Path) -> None:
    run(quick_config(), table, tmp_path)
    with pytest.raises(WeightsError, match=r"belongs to another run \(settings differ\)"):
        run(quick_config("train.learning_rate=0.02"), table, tmp_path)
    with pytest.raises(WeightsError, match=r"belongs to another run \(data differ\)"):
        run(quick_config(), make_table(seed=1), tmp_path)
    run(quick_config("train.learning_rate=0.02"), table, tmp_path, fresh=True)


def test_a_damaged_state_is_an_error_and_no_pickle_is_read(
    table: FeatureTable, tmp_path: Path
) -> None:
    run(quick_config(), table, tmp_path)
    state = tmp_path / "training-state.safetensors"
    whole = state.read_bytes()
    torch.save({"weights": torch.zeros(1)}, state)
    with pytest.raises(WeightsError, match="no sound training state"):
        run(quick_config(), table, tmp_path)
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="no sound training state"):
        run(quick_config(), table, tmp_path)


def test_seeds_differ_and_repeat(table: FeatureTable, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(quick_config("train.num_epochs=1", f"run.seed={seed}"), table, tmp_path / name)
    assert_same(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    first, other = weights_of(tmp_path / "a"), weights_of(tmp_path / "c")
    assert not torch.equal(first["emotion_head.1.weight"], other["emotion_head.1.weight"])


def test_accumulated_parts_equal_the_whole_batch(table: FeatureTable, tmp_path: Path) -> None:
    run(quick_config("train.num_epochs=1"), table, tmp_path / "whole")
    run(quick_config("train.num_epochs=1", "train.accumulate=5"), table, tmp_path / "parts")
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert max(float((whole[n] - parts[n]).abs().max()) for n in whole) < 1e-4


def test_it_stops_early_and_keeps_the_best(table: FeatureTable, tmp_path: Path) -> None:
    noise = make_table(noise=50.0)
    config = quick_config("train.num_epochs=40", "train.patience=2")
    done = run(config, noise, tmp_path)
    steps_an_epoch = done.num_steps // (done.best_epoch + 3)
    assert done.num_steps == steps_an_epoch * (done.best_epoch + 3) < steps_an_epoch * 40


def test_a_loss_that_is_not_finite_stops_the_run(
    table: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = loop.total_loss
    monkeypatch.setattr(loop, "total_loss", lambda *given: total(*given) * float("inf"))
    with pytest.raises(WeightsError, match="not finite at epoch 0, step 0"):
        run(quick_config(), table, tmp_path)


def test_embeddings_that_are_not_finite_are_named(tmp_path: Path) -> None:
    broken = make_table()
    broken.arrays[Modality.VIDEO].tokens[7, 0, 3] = np.nan
    with pytest.raises(CorpusError, match=broken.clips[7].clip_id):
        run(quick_config(), broken, tmp_path)


def test_progress_is_tracked(table: FeatureTable, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(quick_config("run.trackers=['tensorboard']", "run.log_every_steps=2"), table, tmp_path)
    events = EventAccumulator(str(tmp_path / "logs" / "facevoice")).Reload()
    assert [e.step for e in events.Scalars("train/loss")][:3] == [2, 4, 6]
    assert len(events.Scalars("validation/emotion_uar")) == 2


@pytest.mark.parametrize("fusion", ["attention"])
def test_two_processes_compute_what_one_does(fusion: str, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT)]
    subprocess.run([*command, str(tmp_path / "one"), fusion], check=True, capture_output=True)
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
                [*command, str(tmp_path / "two"), fusion],
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
