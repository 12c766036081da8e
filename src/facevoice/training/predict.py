"""A trained network over a table of clips, as a run for `evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from facevoice.data.feature_table import FeatureTable
from facevoice.data.loaders import FeatureDataset
from facevoice.data.splits import Split
from facevoice.data.targets import make_targets
from facevoice.errors import CorpusError, WeightsError
from facevoice.models.checkpoint_folder import Checkpoint
from facevoice.toml_settings import build_settings, plain_settings
from facevoice.training.config import TrainConfig
from facevoice.training.data import TrainingData, pairs_by_corpus
from facevoice.training.outcome import score_part, write_predictions
from facevoice.training.run import Source

_LOG = logging.getLogger(__name__)


def predict_table(
    checkpoint: Checkpoint, table: FeatureTable, folder: Path, source: Source
) -> tuple[int, int]:
    """Write predictions of all clips of speakers that the checkpoint has not seen.

    Thresholds are not fixed on these clips, so none is written; use those of the checkpoint.

    Returns:
        How many clips and pairs.

    Raises:
        CorpusError: a channel has no features, or every speaker was trained or chosen on.
        WeightsError: the features come from another backbone.
        EvaluationError: the folder holds something else than a run.
    """
    info = checkpoint.info
    config = build_settings(TrainConfig, info.settings)
    _check_backbones(checkpoint, table)
    seen = {*info.data.train.speakers, *info.data.validation.speakers}
    fresh = [clip.clip_id for clip in table.clips if clip.speaker_key not in seen]
    if len(fresh) < len(table):
        _LOG.warning(
            "%d of %d clips are left out: the checkpoint was trained or chosen on their speakers",
            len(table) - len(fresh),
            len(table),
        )
    if not fresh:
        raise CorpusError("every speaker was trained or chosen on, so there is nothing to test")
    table = table.take(fresh)
    is_multimodal = info.network.is_multimodal
    pairs = pairs_by_corpus(table, fresh, config.pairs.seed) if is_multimodal else {}
    data = TrainingData(
        table=table,
        targets=make_targets(table.clips, plain_settings(config.targets)),
        split=Split("unseen speakers", (), (), tuple(fresh)),
        pairs={"test": pairs},
    )
    inputs = FeatureDataset(table, info.network.modalities, torch.device("cpu"))
    tested = score_part(checkpoint.network, inputs, data, "test", config)
    write_predictions(folder, tested, None, data, info, source.command)
    return len(table), len(tested.pairs)


def _check_backbones(checkpoint: Checkpoint, table: FeatureTable) -> None:
    for modality, used in checkpoint.info.backbones.items():
        if modality not in table.arrays:
            raise CorpusError(f"there are no {modality} features; the checkpoint needs them")
        found = table.arrays[modality]
        # A feature file does not say what made it; its own name is no evidence of anything.
        from_file = found.backbone.endswith("@file") and used.backbone.endswith("@file")
        if not from_file and found.backbone != used.backbone:
            raise WeightsError(
                f"{modality} embeddings come from {found.backbone}, but the checkpoint was trained "
                f"on those of {used.backbone}"
            )
        if found.dim != used.dim:
            raise WeightsError(
                f"{modality} embeddings have width {found.dim}, the checkpoint wants {used.dim}"
            )
