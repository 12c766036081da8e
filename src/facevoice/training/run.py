"""A whole run: data, network, fit, calibration, checkpoint, predictions of the test part.

OUT/
├── checkpoint/                     see `facevoice.models.checkpoint_folder`; brings its backbones
│                                   where [finetune] trained them
├── predictions/                    the test part, for `facevoice evaluate`; absent without one
├── training-state.safetensors      to go on after a kill
└── logs/                           of the trackers
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from facevoice.data.feature_table import FeatureTable
from facevoice.data.loaders import FeatureDataset
from facevoice.data.splits import Split
from facevoice.data.votes import Votes
from facevoice.data.window_loader import WindowDataset
from facevoice.labels import Modality
from facevoice.models.checkpoint_folder import save_checkpoint
from facevoice.models.checkpoint_info import (
    Calibration,
    CheckpointInfo,
    DataRecord,
    Figure,
    PartRecord,
    TrainingRecord,
    UsedEmbeddings,
)
from facevoice.models.network import count_parameters
from facevoice.results import Thresholds
from facevoice.toml_settings import plain_settings
from facevoice.training.build import build_network, suit_inputs
from facevoice.training.calibrate import choose_thresholds, fit_temperatures
from facevoice.training.config import SMALL_WARNING, TrainConfig, small
from facevoice.training.data import PARTS, TrainingData, prepare_data, split_digest
from facevoice.training.devices import create_accelerator, is_small
from facevoice.training.epochs import TargetTable
from facevoice.training.finetune import FinetuneNetwork, Tuning, start_finetune
from facevoice.training.loop import FitResult, fit
from facevoice.training.outcome import PartOutcome, part_figures, score_part, write_predictions
from facevoice.training.resume import put_weights
from facevoice.training.tuned_backbone import save_tuned
from facevoice.version import VERSION

_LOG = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint"
PREDICTIONS: Final = "predictions"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the features come from: the name of the manifest or feature file, and its SHA-256."""

    name: str
    sha256: str
    command: str

    @classmethod
    def of(cls, path: Path, command: str) -> Source:
        """Hash a file."""
        with path.open("rb") as file:
            return cls(path.name, hashlib.file_digest(file, "sha256").hexdigest(), command)


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a run left: its checkpoint, the test predictions if any, and its figures."""

    checkpoint: Path
    predictions: Path | None
    figures: tuple[Figure, ...]
    best_epoch: int
    num_steps: int
    num_parameters: int


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is no setting of the model.

    cpu: compute on the CPU even if there is a GPU; fresh: don't go on from a saved state;
    keep: settings that small mode leaves as they are, such as train.batch_size.
    """

    cpu: bool = False
    fresh: bool = False
    keep: tuple[str, ...] = ()


def train(
    config: TrainConfig,
    table: FeatureTable,
    out: Path,
    source: Source,
    *,
    votes: Votes | None = None,
    split: Split | None = None,
    options: RunOptions | None = None,
    tuning: Tuning | None = None,
) -> TrainedRun:
    """Train on a feature table and write everything to `out`; run again, it goes on.

    Args:
        config: all settings.
        table: clips, and what the backbones said of them.
        out: folder to write.
        source: of the table, for the checkpoint.
        votes: for targets that people perceived.
        split: in place of one by the settings.
        options: what is no setting of the model.
        tuning: backbones and windows, where [finetune] trains the backbones themselves.

    Raises:
        CorpusError: the data don't suit the settings.
        ConfigError: a setting can't be had on this machine.
        WeightsError: `out` holds the state of another run.
    """
    options = options or RunOptions()
    out.mkdir(parents=True, exist_ok=True)
    accelerator = create_accelerator(config.run, out / "logs", cpu=options.cpu)
    if is_small(config, accelerator):
        _LOG.warning(SMALL_WARNING)
        config = small(config, options.keep)
    data = prepare_data(table, config, votes=votes, split=split)
    config = suit_inputs(config, data)
    fusion, identity = build_network(config, data), run_identity(config, data)
    network: nn.Module = fusion
    inputs: FeatureDataset | WindowDataset
    if config.finetune.is_on:
        network, inputs = start_finetune(config, data, fusion, tuning, accelerator.device)
        identity["windows"] = inputs.windows.digest()
    else:
        inputs = FeatureDataset(
            data.table, config.network.modalities, accelerator.device, fusion.standardized_tokens
        )
    result = fit(
        config, data, network, inputs, accelerator, out, identity=identity, fresh=options.fresh
    )
    put_weights(network, result.weights)
    finish = _Finish(config, data, network, inputs, result, source)
    done = finish.write(out) if accelerator.is_main_process else None
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return done or finish.summary(out, (), data.split.test != ())


def run_identity(config: TrainConfig, data: TrainingData) -> dict[str, str]:
    """What a saved state belongs to. How often it is saved or logged changes nothing."""
    quiet = {"save_every_steps": 1, "log_every_steps": 1, "trackers": ()}
    settings = replace(config, run=replace(config.run, **quiet))  # type: ignore[arg-type]
    return {
        "settings": hashlib.sha256(settings.to_toml().encode()).hexdigest(),
        "data": data.digest(),
        "torch": torch.__version__,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Finish:
    """From fitted weights to what is left on disk."""

    config: TrainConfig
    data: TrainingData
    network: nn.Module
    inputs: Any
    result: FitResult
    source: Source

    def write(self, out: Path) -> TrainedRun:
        """Checkpoint and predictions."""
        held = score_part(self.network, self.inputs, self.data, "validation", self.config)
        table = TargetTable.build(
            self.data.targets, self.data.rows("train"), self.data.present(), self.config.loss
        )
        calibration = fit_temperatures(
            held.clip_logits, held.clip_items, held.pair_logits, held.pair_items, table
        )
        thresholds = None
        if held.pair_logits is not None:
            thresholds = choose_thresholds(held.pair_logits, held.pairs, calibration)
        figures = list(part_figures(held, self.data, calibration))
        tested = None
        if self.data.split.test:
            tested = score_part(self.network, self.inputs, self.data, "test", self.config)
            figures += part_figures(tested, self.data, calibration)
        info = self.info(calibration, thresholds, tuple(figures))
        if isinstance(self.network, FinetuneNetwork):
            info = save_tuned(out / CHECKPOINT, self.network, self.result.weights, info)
        else:
            save_checkpoint(out / CHECKPOINT, self.result.weights, info, overwrite=True)
        if tested is not None:
            self.predict(out / PREDICTIONS, tested, held, info)
        return self.summary(out, tuple(figures), tested is not None)

    def info(
        self,
        calibration: Calibration,
        thresholds: Thresholds | None,
        figures: tuple[Figure, ...],
    ) -> CheckpointInfo:
        """What the checkpoint says of itself."""
        arrays = self.data.table.arrays
        return CheckpointInfo(
            network=self.config.network,
            settings=plain_settings(self.config),
            calibration=calibration,
            thresholds=thresholds,
            backbones={
                m: _used(self.data, m) for m in self.config.network.modalities if m in arrays
            },
            data=_data_record(self.config, self.data, self.source),
            training=TrainingRecord(
                best_epoch=self.result.progress.best_epoch,
                num_steps=self.result.progress.total_steps,
                num_parameters=count_parameters(self.network),
                facevoice_version=VERSION,
                torch_version=str(torch.__version__),
                figures=figures,
            ),
            notes=(SMALL_WARNING,) if self.config.run.size == "small" else (),
        )

    def predict(
        self, folder: Path, tested: PartOutcome, held: PartOutcome, info: CheckpointInfo
    ) -> None:
        """The test part as a run folder."""
        write_predictions(folder, tested, held, self.data, info, self.source.command)

    def summary(self, out: Path, figures: tuple[Figure, ...], tested: bool) -> TrainedRun:
        """Where everything is."""
        return TrainedRun(
            checkpoint=out / CHECKPOINT,
            predictions=out / PREDICTIONS if tested else None,
            figures=figures,
            best_epoch=self.result.progress.best_epoch,
            num_steps=self.result.progress.total_steps,
            num_parameters=count_parameters(self.network),
        )


def _used(data: TrainingData, modality: Modality) -> UsedEmbeddings:
    array = data.table.arrays[modality]
    known = array.training_corpora is not None
    return UsedEmbeddings(array.backbone, array.dim, array.training_corpora or (), known)


def _data_record(config: TrainConfig, data: TrainingData, source: Source) -> DataRecord:
    clips = {clip.clip_id: clip for clip in data.table.clips}
    parts = {}
    for part in PARTS:
        ids = data.split.parts()[part]
        speakers = sorted({clips[key].speaker_key or key for key in ids})
        num_pairs = sum(len(pairs) for pairs in data.pairs[part].values())
        parts[part] = PartRecord(len(ids), num_pairs, tuple(speakers))
    targets = config.targets
    return DataRecord(
        corpora=tuple(sorted({clip.corpus for clip in data.table.clips})),
        source=source.name,
        source_sha256=source.sha256,
        features_sha256=data.table.digest(),
        split=data.split.name,
        split_sha256=split_digest(data.split),
        **parts,
        emotion_target=targets.emotion,
        face_target=targets.face,
        voice_target=targets.voice,
        conflict_target=targets.conflict,
    )
