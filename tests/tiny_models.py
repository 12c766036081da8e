"""Small checkpoints of random weights, whole and loadable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from echo import CURVE
from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import backbone_id
from facevoice.models.checkpoint import (
    Calibration,
    CheckpointInfo,
    DataRecord,
    Figure,
    PartRecord,
    TrainingRecord,
    UsedEmbeddings,
    save_checkpoint,
)
from facevoice.models.network import NetworkConfig
from facevoice.records import Modality
from facevoice.settings import plain_settings

DEFAULT_NAMES = {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
FACE = UsedEmbeddings("compact-face@2dc8933cf824", 12, ("fer2013",), True)
VOICE = UsedEmbeddings("compact-voice@9915c5169dba", 16, (), True)
FIGURES = (
    Figure("validation", "cremad", "emotion_uar", 0.61),
    Figure("test", "cremad", "emotion_uar", 0.57654),
    Figure("test", "cremad", "conflict_auroc", 0.66),
    Figure("test", "ravdess", "emotion_uar", 0.63),
)


def make_info(**changes: Any) -> CheckpointInfo:
    """What a checkpoint of both channels, trained on two corpora, says of itself."""
    shape = {"video_dim": FACE.dim, "audio_dim": VOICE.dim, "fused_dim": 16, "head_dim": 8}
    network = changes.pop("network", NetworkConfig(**shape, interaction_dim=4))
    corpora = changes.pop("corpora", ("cremad", "ravdess"))
    parts = {
        part: PartRecord(6, 2, tuple(f"{corpus}/{k}{i}" for corpus in corpora for i in (1, 2)))
        for k, part in enumerate(("train", "validation", "test"))
    }
    info = CheckpointInfo(
        network=network,
        settings={"network": plain_settings(network), "run": {"size": "full"}},
        calibration=Calibration(),
        curve=CURVE,
        backbones=changes.pop("backbones", {Modality.VIDEO: FACE, Modality.AUDIO: VOICE}),
        data=DataRecord(
            corpora=corpora,
            source="manifest.parquet",
            source_sha256="1" * 64,
            features_sha256="2" * 64,
            split="fold 0 of 5, seed 0",
            split_sha256="3" * 64,
            **parts,
        ),
        training=TrainingRecord(3, 90, 4321, "0.1.0", "2.13.0", FIGURES),
    )
    return replace(info, **changes)


def make_runnable_info() -> CheckpointInfo:
    """One whose widths are those of the compact backbones, so that clips can be analysed."""
    models = {m: create_backbone(name) for m, name in DEFAULT_NAMES.items()}
    dims = {m: backbone.spec.dim for m, backbone in models.items()}
    network = NetworkConfig(
        video_dim=dims[Modality.VIDEO], audio_dim=dims[Modality.AUDIO], fused_dim=16, head_dim=8
    )
    used = {
        m: UsedEmbeddings(backbone_id(backbone), dims[m], backbone.spec.training_corpora, True)
        for m, backbone in models.items()
    }
    return make_info(network=network, backbones=used)


def write_model(folder: Path, info: CheckpointInfo | None = None, *, seed: int = 0) -> Path:
    """A whole checkpoint in `folder`, which is returned."""
    import torch

    from facevoice.models.fusion import FusionNetwork

    torch.manual_seed(seed)
    info = info or make_info()
    save_checkpoint(folder, FusionNetwork(info.network).state_dict(), info, overwrite=True)
    return folder
