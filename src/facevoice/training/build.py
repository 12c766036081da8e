"""The network at its start, fitted to what the training clips look like."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import numpy as np
import torch

from facevoice.models.network import FusionNetwork
from facevoice.training.config import TrainConfig
from facevoice.training.data import TrainingData

_LOG = logging.getLogger(__name__)

MIN_ROWS_PER_INPUT: Final = 2


def suit_inputs(config: TrainConfig, data: TrainingData) -> TrainConfig:
    """Standardised inputs instead of whitened ones where the training clips are too few.

    With fewer rows than twice the inputs, the smallest variances are chance, and whitening makes
    them as large as the others.
    """
    if config.network.input_norm != "whiten":
        return config
    rows = data.rows("train")
    for modality in config.network.modalities:
        num_rows = int(data.table.arrays[modality].take(rows).mask.sum())
        if num_rows < MIN_ROWS_PER_INPUT * config.network.dim(modality):
            _LOG.warning(
                "%d training rows are too few to whiten %d inputs (%s): they are standardised",
                num_rows,
                config.network.dim(modality),
                modality,
            )
            return replace(config, network=replace(config.network, input_norm="standardize"))
    return config


def build_network(config: TrainConfig, data: TrainingData) -> FusionNetwork:
    """The network at its start: weights by the seed, inputs by the training clips' statistics."""
    torch.manual_seed(config.run.seed)
    network = FusionNetwork(config.network)
    rows = data.rows("train")
    for modality in config.network.modalities:
        part = data.table.arrays[modality].take(rows)
        network.fit_inputs(modality, torch.from_numpy(part.tokens[part.mask].astype(np.float32)))
    return network
