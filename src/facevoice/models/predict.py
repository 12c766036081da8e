"""Step 6 of the full model: embeddings of windows to posteriors, with torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import WeightsError
from facevoice.labels import Modality
from facevoice.models.checkpoint_folder import Checkpoint
from facevoice.models.compact import Posteriors
from facevoice.models.network_config import NetworkConfig
from facevoice.models.posteriors import posterior_rows
from facevoice.types import BoolArray, FeatureSet, FloatArray

_CHUNK: Final = 256


def predict(checkpoint: Checkpoint, features: Sequence[FeatureSet]) -> list[Posteriors]:
    """Posteriors of windows.

    Args:
        checkpoint: a loaded one.
        features: embeddings (D,) or tokens (T, D) of any subset of the modalities.

    Returns:
        One a window. A missing modality leaves its own posterior and the conflict None.

    Raises:
        WeightsError: an embedding has another width, or comes from another backbone, than the
            checkpoint was trained with.
    """
    rows: list[Posteriors] = []
    for start in range(0, len(features), _CHUNK):
        rows += _predict_chunk(checkpoint, features[start : start + _CHUNK])
    return rows


def pad_tokens(
    embeddings: Sequence[npt.NDArray[Any] | None], dim: int
) -> tuple[FloatArray, BoolArray]:
    """Tokens (B, T, D) and which of them are there (B, T); T is that of the longest, at least 1.

    Raises:
        WeightsError: an embedding has another width.
    """
    rows = [np.zeros((0, dim)) if e is None else _rows(e, dim) for e in embeddings]
    for row in rows:
        if row.ndim != 2 or row.shape[1] != dim:
            raise WeightsError(f"an embedding has shape {row.shape}, the network wants (T, {dim})")
    longest = max([1, *(len(row) for row in rows)])
    tokens = np.zeros((len(rows), longest, dim), dtype=np.float32)
    mask = np.zeros((len(rows), longest), dtype=np.bool_)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
        mask[place, : len(row)] = True
    return tokens, mask


def _rows(embedding: npt.NDArray[Any], dim: int) -> npt.NDArray[Any]:
    """(T, D) of (D,), of (T, D), or of the T · D numbers that a stacked backbone gives."""
    stacked = embedding.ndim == 1 and embedding.size % dim == 0
    return embedding.reshape(-1, dim) if stacked else np.atleast_2d(embedding)


def check_backbones(checkpoint: Checkpoint, features: Sequence[FeatureSet]) -> None:
    """Make sure that embeddings come from the backbones that the checkpoint was trained with.

    Raises:
        WeightsError: another backbone, or another revision; both are named.
    """
    for window in features:
        for modality, backbone in window.backbones.items():
            wanted = checkpoint.info.backbones.get(modality)
            if wanted is not None and wanted.backbone != backbone:
                raise WeightsError(
                    f"{modality} embeddings come from {backbone}, but the checkpoint was trained "
                    f"on those of {wanted.backbone}"
                )


def gather_inputs(
    features: Sequence[FeatureSet], config: NetworkConfig
) -> tuple[dict[str, FloatArray | BoolArray], dict[Modality, BoolArray]]:
    """What the network takes, in torch and as ONNX: tokens and masks by the name of its input.

    Returns:
        `video`, `audio` float32 (B, T, D) and `video_mask`, `audio_mask` bool (B, T), those of the
        network's modalities; and by modality which windows show it, (B,).

    Raises:
        WeightsError: an embedding has another width.
    """
    inputs: dict[str, FloatArray | BoolArray] = {}
    present: dict[Modality, BoolArray] = {}
    for modality in config.modalities:
        embeddings = [window.embeddings.get(modality) for window in features]
        tokens, mask = pad_tokens(embeddings, config.dim(modality))
        inputs[modality.value], inputs[f"{modality.value}_mask"] = tokens, mask
        present[modality] = np.asarray(mask.any(axis=1), dtype=np.bool_)
    return inputs, present


def _predict_chunk(checkpoint: Checkpoint, features: Sequence[FeatureSet]) -> list[Posteriors]:
    import torch

    check_backbones(checkpoint, features)
    arrays, present = gather_inputs(features, checkpoint.info.network)
    with torch.inference_mode():
        logits = checkpoint.network(**{n: torch.from_numpy(a) for n, a in arrays.items()})
    said = {
        head: None if values is None else values.numpy()
        for head, values in logits._asdict().items()
    }
    return posterior_rows(said, present, checkpoint.info.calibration)
