"""What a checkpoint says of itself besides its weights, as records; JSON in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facevoice.errors import ConfigError, WeightsError
from facevoice.labels import Modality
from facevoice.models.network_config import NetworkConfig
from facevoice.results import Thresholds
from facevoice.toml_settings import build_settings, plain_settings, require


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures by which logits are divided, fitted on validation speakers; 1 changes nothing.

    Guo et al. (2017), On calibration of modern neural networks.
    """

    emotion: float = 1.0
    face: float = 1.0
    voice: float = 1.0
    conflict: float = 1.0

    def __post_init__(self) -> None:
        for head in dataclasses.fields(self):
            value = getattr(self, head.name)
            require(0 < value < 1e6, f"temperature of {head.name}", value, "above 0")


@dataclass(frozen=True, slots=True)
class UsedEmbeddings:
    """What made the embeddings of a channel: id@revision, width, and the corpora that it saw.

    corpora_known: whether `training_corpora` is all that it saw.
    """

    backbone: str
    dim: int
    training_corpora: tuple[str, ...] = ()
    corpora_known: bool = False


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part of the split: how many clips and pairs, and whose (`corpus/speaker`)."""

    num_clips: int
    num_pairs: int
    speakers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataRecord:
    """What the network was trained, chosen and tested on.

    features_sha256: of clip ids, labels and embeddings; split_sha256: of the clip ids of each part;
    source_sha256: of the manifest or feature file; targets: what each head learnt.
    """

    corpora: tuple[str, ...]
    source: str
    source_sha256: str
    features_sha256: str
    split: str
    split_sha256: str
    train: PartRecord
    validation: PartRecord
    test: PartRecord
    emotion_target: str = "intended"
    face_target: str = "intended"
    voice_target: str = "intended"
    conflict_target: str = "intended"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of merit: of which part and corpus, called what."""

    part: str
    corpus: str
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """How the run went: the kept epoch, steps done, and versions that made it."""

    best_epoch: int
    num_steps: int
    num_parameters: int
    facevoice_version: str
    torch_version: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """Everything in a checkpoint folder but the weights.

    settings: the resolved settings of the run, as in `config.toml`;
    thresholds: None where the network tells no conflict.
    """

    network: NetworkConfig
    settings: Mapping[str, Any]
    calibration: Calibration
    thresholds: Thresholds | None
    backbones: Mapping[Modality, UsedEmbeddings]
    data: DataRecord
    training: TrainingRecord
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if set(self.backbones) != set(self.network.modalities):
            raise WeightsError("a checkpoint names one backbone for each of its modalities")
        for modality, used in self.backbones.items():
            if used.dim != self.network.dim(modality):
                raise WeightsError(
                    f"{used.backbone} has width {used.dim}, the network wants "
                    f"{self.network.dim(modality)}"
                )


def to_plain(info: CheckpointInfo) -> dict[str, dict[str, Any]]:
    """By file of the folder."""
    return {
        "calibration.json": plain_settings(info.calibration),
        "thresholds.json": {} if info.thresholds is None else plain_settings(info.thresholds),
        "backbones.json": {m.value: plain_settings(b) for m, b in info.backbones.items()},
        "data.json": plain_settings(info.data),
        "metrics.json": {**plain_settings(info.training), "notes": list(info.notes)},
    }


def from_plain(
    network: NetworkConfig, settings: Mapping[str, Any], files: Mapping[str, dict[str, Any]]
) -> CheckpointInfo:
    """From what `to_plain` gave.

    Raises:
        WeightsError: a file has a name too much or too little, or a value out of range.
    """
    try:
        thresholds = files["thresholds.json"]
        metrics = dict(files["metrics.json"])
        notes = metrics.pop("notes")
        return CheckpointInfo(
            network=network,
            settings=settings,
            calibration=_whole(Calibration, files["calibration.json"], "calibration.json"),
            thresholds=_whole(Thresholds, thresholds, "thresholds.json") if thresholds else None,
            backbones={
                Modality(name): _whole(UsedEmbeddings, used, "backbones.json")
                for name, used in files["backbones.json"].items()
            },
            data=_whole(DataRecord, files["data.json"], "data.json"),
            training=_whole(TrainingRecord, metrics, "metrics.json"),
            notes=tuple(notes),
        )
    except (ConfigError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"the checkpoint does not say what it must: {error}") from error


def _whole(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """A record of which no field may be left out."""
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values]
    if missing:
        raise WeightsError(f"{where}: missing {', '.join(missing)}")
    return build_settings(kind, values, where)
