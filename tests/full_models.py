"""The full model in small: tiny VideoMAE and Wav2Vec2 folders, and a checkpoint on top of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import backbone_id
from facevoice.models.checkpoint import Calibration, UsedEmbeddings
from facevoice.models.network import NetworkConfig
from facevoice.records import DecisionCurve, Modality
from facevoice.settings import plain_settings
from tiny_checkpoints import NUM_LAYERS, write_checkpoint
from tiny_models import make_info, write_model

KINDS = {Modality.VIDEO: "videomae", Modality.AUDIO: "wav2vec2-large"}
COMPACT = {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
# Random heads are unsure of everything; this makes them speak up, so that differences show.
SHARP = Calibration(emotion=0.1, face=0.1, voice=0.1, conflict=0.1)
CURVE = DecisionCurve(
    probs=(0.0, 0.4999, 0.5001, 1.0),
    conflict_hits=(1.0, 0.9, 0.9, 0.0),
    conflict_alarms=(1.0, 0.9, 0.1, 0.0),
    match_hits=(0.0, 0.9, 0.9, 1.0),
    match_alarms=(0.0, 0.1, 0.9, 1.0),
)
"""Nearly everything is called."""


@dataclass(frozen=True, slots=True)
class FullModel:
    """A checkpoint folder, and the folders of its backbones by channel."""

    checkpoint: Path
    folders: dict[Modality, Path]

    @property
    def names(self) -> list[str]:
        """For --backbone."""
        return [str(folder) for folder in self.folders.values()]


def write_full_model(
    folder: Path,
    *,
    fusion: str = "concat",
    video: str = "",
    audio: str = "",
    modalities: tuple[Modality, ...] = tuple(Modality),
) -> FullModel:
    """A checkpoint on tiny backbones; video, audio: "+tokens", "+layers" or nothing."""
    ends = {Modality.VIDEO: video, Modality.AUDIO: audio}
    folders = {m: write_checkpoint(KINDS[m], folder / f"tiny-{m}") for m in modalities}
    names = {m: f"{path}{ends[m]}" for m, path in folders.items()}
    layers = NUM_LAYERS + 1 if audio == "+layers" else 0
    return FullModel(
        _write(folder / "checkpoint", names, fusion=fusion, audio_layers=layers), folders
    )


def write_compact_model(
    folder: Path, *, modalities: tuple[Modality, ...] = tuple(Modality), **changes: Any
) -> Path:
    """A checkpoint on the compact backbones; `changes` as in `make_info`, and `fusion`."""
    return _write(folder, {m: COMPACT[m] for m in modalities}, **changes)


def _write(
    folder: Path,
    names: dict[Modality, str],
    *,
    fusion: str = "concat",
    audio_layers: int = 0,
    **changes: Any,
) -> Path:
    used = {}
    for modality, name in names.items():
        backbone = create_backbone(name, device="cpu")
        used[modality] = UsedEmbeddings(backbone_id(backbone), backbone.spec.row_dim)
    network = NetworkConfig(
        modalities=tuple(used),
        fusion=fusion,
        input_norm="standardize",  # whitening would be 38 MB for the voice
        **{f"{modality}_dim": embeddings.dim for modality, embeddings in used.items()},
        fused_dim=16,
        head_dim=8,
        interaction_dim=4,
        attention_dim=16,
        attention_heads=2,
        audio_layers=audio_layers,
    )
    info = make_info(
        network=network,
        settings={"network": plain_settings(network)},
        calibration=SHARP,
        curve=CURVE if len(used) == 2 else None,
        **{"backbones": used, "corpora": ("javanese",), **changes},
    )
    return write_model(folder, info)
