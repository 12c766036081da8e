"""Tuned backbones on disk, in the form in which backbones are published."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from facevoice.errors import WeightsError
from facevoice.features.backbone import UNKNOWN_CORPORA
from facevoice.features.differentiable import merged_weights
from facevoice.features.extract import backbone_id
from facevoice.features.inputs import FaceInput
from facevoice.features.videomae import VideoMae
from facevoice.features.wav2vec2 import Wav2Vec2
from facevoice.labels import Modality
from facevoice.models.checkpoint_folder import save_checkpoint
from facevoice.models.checkpoint_info import CheckpointInfo, UsedEmbeddings
from facevoice.models.tuned import CONFIG, PREPROCESSOR, WEIGHTS, TunedBackbone, hash_backbone
from facevoice.training.finetune import FinetuneNetwork
from facevoice.types import SAMPLE_RATE_HZ

_FUSION: Final = "fusion."


def fusion_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a `FinetuneNetwork`'s weights, those of the fusion under their own names."""
    return {n.removeprefix(_FUSION): t for n, t in weights.items() if n.startswith(_FUSION)}


def save_tuned(
    folder: Path, network: FinetuneNetwork, weights: Mapping[str, Tensor], info: CheckpointInfo
) -> CheckpointInfo:
    """Write a checkpoint that brings the backbones that were trained along, in place of another.

    Args:
        folder: of the checkpoint.
        network: holds the weights that are kept.
        weights: of the whole network, from the trainer.
        info: what the checkpoint says of itself, of the backbones as they were before.

    Returns:
        The same with the tuned backbones' names, for predictions of the run's own test part. None
        of its speakers was tuned on, so there the corpora are those that the bases had seen.

    Raises:
        WeightsError: see `save_checkpoint`; or a tuned weight is not finite.
    """
    with TemporaryDirectory(prefix=".backbones.", dir=folder.parent) as scratch:
        tuned = write_backbones(network, Path(scratch), info.data.corpora)
        used = {
            modality: used_tuned(info.backbones[modality], network.rows[modality], path, record)
            for modality, (path, record) in tuned.items()
        }
        own = replace(info, backbones={**info.backbones, **used})
        save_checkpoint(folder, fusion_weights(weights), own, overwrite=True, tuned=tuned)
    bases = {
        m: replace(info.backbones[m], backbone=embeddings.backbone)
        for m, embeddings in own.backbones.items()
    }
    return replace(info, backbones=bases)


def write_backbones(
    network: FinetuneNetwork, folder: Path, tuned_on: tuple[str, ...]
) -> dict[Modality, tuple[Path, TunedBackbone]]:
    """Write every tuned backbone to a folder of its own, adapters merged.

    Args:
        network: with the weights that are kept.
        folder: takes the folders.
        tuned_on: corpora of the clips that it was trained and chosen on.

    Raises:
        WeightsError: a weight is not finite.
    """
    written = {}
    for modality, backbone in network.tuned.items():
        target = folder / modality.value
        target.mkdir(parents=True)
        corpora = backbone.spec.training_corpora
        known = None if corpora == UNKNOWN_CORPORA else corpora
        _write(backbone, target, tuned_on)
        record = TunedBackbone(backbone_id(backbone), known, tuned_on, hash_backbone(target))
        written[modality] = (target, record)
    return written


def used_tuned(
    used: UsedEmbeddings, rows: str | None, path: Path, tuned: TunedBackbone
) -> UsedEmbeddings:
    """What a checkpoint says of the embeddings of a tuned backbone.

    Its id is the one that the backbone has when it is named by its folder, and its corpora are
    those of its base and those that it was tuned on.
    """
    end = "" if rows is None else f"+{rows}"
    corpora = (*(tuned.base_corpora or ()), *tuned.tuned_on)
    return replace(
        used,
        backbone=f"folder:{path.name}{end}@{tuned.sha256[WEIGHTS][:12]}",
        training_corpora=tuple(dict.fromkeys(corpora)),
        corpora_known=tuned.base_corpora is not None,
    )


def _write(backbone: VideoMae | Wav2Vec2, folder: Path, tuned_on: tuple[str, ...]) -> None:
    weights = {name: tensor.contiguous() for name, tensor in merged_weights(backbone).items()}
    broken = sorted(name for name, t in weights.items() if not bool(torch.isfinite(t).all()))
    if broken:
        raise WeightsError(
            f"{backbone.spec.name}: tuned weights are not finite ({', '.join(broken[:5])}); lower "
            "train.backbone_learning_rate"
        )
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    backbone.network.config.save_pretrained(folder)
    text = json.dumps(_preprocessor(backbone), indent=2)
    (folder / PREPROCESSOR).write_text(f"{text}\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(backbone, tuned_on), encoding="utf-8")
    for name in (WEIGHTS, CONFIG, PREPROCESSOR):
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def _preprocessor(backbone: VideoMae | Wav2Vec2) -> dict[str, Any]:
    """What `from_config` of its input reads back as the same input."""
    given = backbone.input
    if isinstance(given, FaceInput):
        return {
            "do_resize": True,
            "size": {"shortest_edge": given.resize_px},
            "do_center_crop": True,
            "crop_size": {"height": given.side_px, "width": given.side_px},
            "do_rescale": True,
            "do_normalize": True,
            "resample": given.resample,
            "image_mean": list(given.mean),
            "image_std": list(given.std),
        }
    return {
        "do_normalize": given.normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "sampling_rate": SAMPLE_RATE_HZ,
        "return_attention_mask": isinstance(backbone, Wav2Vec2) and backbone.takes_mask,
    }


def _card(backbone: VideoMae | Wav2Vec2, tuned_on: tuple[str, ...]) -> str:
    spec = backbone.spec
    corpora = "not known" if spec.training_corpora == UNKNOWN_CORPORA else None
    before = corpora or ", ".join(spec.training_corpora) or "none"
    return (
        f"---\nlicense: other\nlicense_name: {json.dumps(spec.license, ensure_ascii=False)}\n---\n"
        f"# {backbone_id(backbone)}, trained along with a facevoice network\n\n"
        f"Tuned on {', '.join(tuned_on)}; before that, its base was trained on: {before}. Figures "
        "on these corpora say nothing of new data, but for speakers that the checkpoint around it "
        "held out. The licence of the base holds on, and the terms of the corpora with it.\n"
    )
