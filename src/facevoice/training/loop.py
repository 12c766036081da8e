"""`fit`: the only trainer, for any subset of modalities, on any number of processes.

Everything that a step does follows from (seed, epoch, step): the order of the items, who meets
whom, which channels are dropped, and dropout itself. So a run that was killed and goes on ends in
the same weights, bit for bit on one CPU with as many threads; and several processes compute what
one would, up to the order of sums.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from facevoice.data.loaders import NetworkInputs
from facevoice.data.targets import IntArray, join_items
from facevoice.errors import WeightsError
from facevoice.labels import Modality
from facevoice.models.fusion import Noise
from facevoice.training.config import TrainConfig
from facevoice.training.data import TrainingData
from facevoice.training.devices import parallel, same_everywhere, start_trackers
from facevoice.training.epochs import Epoch, TargetTable, plan_epoch, rank_rows, some
from facevoice.training.losses import head_losses, total_loss
from facevoice.training.optimizer import Average, build_optimizer, rate_at, set_rates
from facevoice.training.resume import (
    STATE_FILE,
    Progress,
    TrainingState,
    kept_weights,
    load_state,
    optimizer_moments,
    put_moments,
    put_weights,
    save_state,
)
from facevoice.training.validation import CHUNK, ValidationScores, score_validation
from facevoice.types import BoolArray

_LOG = logging.getLogger(__name__)

DROPOUT: Final = 4
LOGS: Final = "logs"


class TrainingInputs(Protocol):
    """What gives the network's inputs by row: a `FeatureDataset` or a `WindowDataset`."""

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> NetworkInputs:
        """Faces of some rows with voices of others; channels in `dropped` are masked."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """What a run found: the kept weights (trained parameters and buffers), and how it went."""

    weights: dict[str, Tensor]
    progress: Progress
    last: dict[str, Tensor]


def fit(
    config: TrainConfig,
    data: TrainingData,
    network: nn.Module,
    inputs: TrainingInputs,
    accelerator: Any,
    folder: Path,
    *,
    identity: Mapping[str, str],
    fresh: bool = False,
) -> FitResult:
    """Train a network; goes on where an earlier run in `folder` stopped.

    Args:
        config: all settings.
        data: clips, targets, split and pairs.
        network: gives `Logits`, and has its dropout's `Noise` as attribute `noise`.
        inputs: the network's inputs by row.
        accelerator: from `create_accelerator`.
        folder: takes the training state and the trackers' logs.
        identity: what the state belongs to; other settings or data can't go on from it.
        fresh: start over even if there is a state.

    Returns:
        The weights of the best validation (without early stopping, the last).

    Raises:
        WeightsError: the state is damaged or of another run, or the loss is not finite.
    """
    trainer = _Trainer(config, data, network, inputs, accelerator, folder / STATE_FILE, identity)
    if fresh and accelerator.is_main_process:
        trainer.path.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    _LOG.info(
        "process %d of %d, on %s",
        accelerator.process_index + 1,
        accelerator.num_processes,
        accelerator.device,
    )
    trainer.restore()
    start_trackers(accelerator, config, trainer.progress.total_steps)
    trainer.run()
    return FitResult(trainer.best, trainer.progress, kept_weights(trainer.network))


class _Trainer:
    """The state of a run, and one method a scale: run, epoch, step, part of a step."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        network: nn.Module,
        inputs: TrainingInputs,
        accelerator: Any,
        path: Path,
        identity: Mapping[str, str],
    ) -> None:
        self.config, self.data, self.inputs = config, data, inputs
        self.accelerator, self.path, self.identity = accelerator, path, identity
        self.network = network
        self.noise: Noise = network.noise  # type: ignore[assignment]
        self.optimizer = build_optimizer(network, config.train)
        self.model, self.prepared = accelerator.prepare(network, self.optimizer)
        self.average = Average(network, config.train.ema)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        judged = config.targets.conflict == "perceived"
        self.originals = data.originals("train", judged=judged)
        self.pairs = data.pair_items("train")
        self.held = data.originals("validation", judged=judged)
        empty = self.held.take(np.zeros(0, dtype=np.int64))
        self.held_pairs = empty
        for items in data.pair_items("validation") if config.pairs.ratio else ():
            self.held_pairs = join_items(self.held_pairs, some(items, len(self.held)))
        self.table = TargetTable.build(
            data.targets, data.rows("train"), data.present(), config.loss
        )
        steps = self.plan(0).num_steps(config.train.batch_size)
        self.num_steps = steps * config.train.num_epochs

    def plan(self, epoch: int) -> Epoch:
        """The items of an epoch."""
        return plan_epoch(
            self.originals,
            self.pairs,
            ratio=self.config.pairs.ratio,
            modality_dropout=self.config.loss.modality_dropout,
            modalities=self.config.network.modalities,
            seed=self.config.run.seed,
            epoch=epoch,
        )

    def restore(self) -> None:
        """Go on from the saved state, if there is one."""
        if not self.path.exists():
            return
        state = load_state(self.path, self.identity)
        put_weights(self.network, state.weights)
        put_moments(self.optimizer, self.network, state.optimizer)
        self.average.weights = {
            name: tensor.to(self.accelerator.device) for name, tensor in state.average.items()
        }
        self.best, self.progress = state.best, state.progress
        if self.accelerator.scaler is not None and self.progress.scaler:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)
        _LOG.info("going on at epoch %d, step %d", self.progress.epoch, self.progress.step)

    def save(self) -> None:
        """Write the state, from the main process."""
        if not self.accelerator.is_main_process:
            return
        if self.accelerator.scaler is not None:
            self.progress.scaler = self.accelerator.scaler.state_dict()
        state = TrainingState(
            kept_weights(self.network),
            optimizer_moments(self.optimizer, self.network),
            self.average.weights,
            self.best,
            self.progress,
        )
        save_state(self.path, state, self.identity)

    def run(self) -> None:
        """All epochs that are left."""
        self.network.train()
        while not self.progress.is_done and self.progress.epoch < self.config.train.num_epochs:
            self.epoch()

    def epoch(self) -> None:
        """The steps of an epoch that are left, then validation."""
        progress, settings = self.progress, self.config
        plan = self.plan(progress.epoch)
        num_steps = plan.num_steps(settings.train.batch_size)
        while progress.step < num_steps:
            loss = self.step(plan.step(progress.step, settings.train.batch_size))
            progress.step += 1
            progress.total_steps += 1
            if progress.total_steps % settings.run.log_every_steps == 0:
                self.accelerator.log({"train/loss": float(loss)}, step=progress.total_steps)
            if progress.total_steps % settings.run.save_every_steps == 0:
                self.save()
        scores = self.validate()
        self.keep_best(scores)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.is_done |= progress.epoch >= settings.train.num_epochs
        self.save()
        figures = {f"validation/{name}": value for name, value in scores.as_dict().items()}
        self.accelerator.log(figures, step=progress.total_steps)

    def step(self, batch: Epoch) -> Tensor:
        """One step of the optimizer; returns the loss over this process' rows."""
        targets = self.table.gather(batch)
        sums = targets.weight_sums()
        num_processes = self.accelerator.num_processes
        parts = self.config.train.accumulate
        rate = rate_at(self.progress.total_steps, self.num_steps, self.config.train)
        set_rates(self.optimizer, rate)
        seed = (self.config.run.seed, DROPOUT, self.progress.epoch, self.progress.step)
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(parts):
            number = self.accelerator.process_index * parts + part
            places, counted = rank_rows(len(batch), number, num_processes * parts)
            self.noise.start(seed, places, len(batch))
            rows = batch.take(places)
            inputs = self.inputs.gather(rows.items.face_rows, rows.items.voice_rows, rows.dropped)
            wanted = targets.take(torch.from_numpy(places)).counted(torch.from_numpy(counted))
            with parallel(self.accelerator, self.model, is_last=part == parts - 1):
                logits = self.model(*inputs.inputs(), **inputs.options())
                losses = head_losses(
                    logits,
                    wanted.to(self.accelerator.device),
                    self.config.loss.label_smoothing,
                )
                loss = total_loss(losses, sums, self.config.loss)
                # Gradients are averaged over the processes, but the loss is a sum over all rows.
                self.accelerator.backward(loss * num_processes)
            total += loss.detach()
        if not math.isfinite(float(total)):
            raise WeightsError(
                f"the loss is not finite at epoch {self.progress.epoch}, step "
                f"{self.progress.step}; lower train.learning_rate"
            )
        if self.config.train.max_gradient_norm:
            self.accelerator.clip_grad_norm_(
                self.model.parameters(), self.config.train.max_gradient_norm
            )
        self.prepared.step()
        self.prepared.zero_grad()
        self.average.update(self.network, self.progress.total_steps)
        return total

    def validate(self) -> ValidationScores:
        """Figures on the validation part, with the averaged weights if there are any."""
        with self.average.in_place_of(self.network):
            return score_validation(
                self.network,
                self.inputs,
                self.held,
                self.held_pairs,
                self.table,
                self.config.loss,
                CHUNK if not self.config.finetune.is_on else self.config.train.batch_size,
            )

    def keep_best(self, scores: ValidationScores) -> None:
        """Remember the weights of the best validation, and whether to stop."""
        progress, patience = self.progress, self.config.train.patience
        value = same_everywhere(self.accelerator, scores.monitored(self.config.train.monitor))
        progress.history.append({"epoch": progress.epoch, **scores.as_dict()})
        better = progress.best_value is None or value > progress.best_value or patience == 0
        if better:
            progress.best_value, progress.best_epoch, progress.bad_epochs = value, progress.epoch, 0
            with self.average.in_place_of(self.network):
                self.best = kept_weights(self.network)
        else:
            progress.bad_epochs += 1
            progress.is_done = progress.bad_epochs >= patience
        _LOG.info("epoch %d: %s%s", progress.epoch, asdict(scores), " (best)" if better else "")
