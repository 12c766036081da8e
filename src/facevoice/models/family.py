"""What analysis and evaluation ask of a model, whatever family it is of.

A model takes embeddings and gives posteriors; it names the backbones that must make them. The
compact heads, a checkpoint run by torch, and an exported network (`models.onnx_fusion`) are such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from facevoice.errors import MissingExtraError
from facevoice.labels import Modality
from facevoice.models.checkpoint_folder import Checkpoint, load_checkpoint
from facevoice.models.checkpoint_info import CheckpointInfo
from facevoice.models.compact import CompactModel, Posteriors
from facevoice.models.predict import predict
from facevoice.results import ModelId, Thresholds
from facevoice.types import FeatureSet

COMPACT: Final = "compact"
_TORCH: Final = "a checkpoint that is run by torch (a folder made by `facevoice export` is not)"


class Model(Protocol):
    """From embeddings of windows to posteriors."""

    @property
    def name(self) -> str:
        """Short, as it stands in a report's settings."""
        ...

    @property
    def heads(self) -> ModelId:
        """What the trained part is, and the SHA-256 of its weights."""
        ...

    @property
    def backbones(self) -> Mapping[Modality, str]:
        """By channel, what must make the embeddings: a name, or id@revision."""
        ...

    @property
    def thresholds(self) -> Thresholds | None:
        """Where outcomes change; None if the model tells no conflict."""
        ...

    def predict(self, features: Sequence[FeatureSet]) -> list[Posteriors]:
        """Posteriors of each window; a missing modality leaves its own and the conflict None.

        Raises:
            WeightsError: an embedding has another width than the model was trained with.
        """
        ...


class CompactFamily:
    """The heads of the package."""

    name = COMPACT

    def __init__(self, model: CompactModel, heads: ModelId) -> None:
        self._model = model
        self.heads = heads
        self.backbones: Mapping[Modality, str] = {
            Modality.VIDEO: "compact-face",
            Modality.AUDIO: "compact-voice",
        }
        self.thresholds: Thresholds | None = model.thresholds

    def predict(self, features: Sequence[FeatureSet]) -> list[Posteriors]:
        """See `Model`."""
        return [self._model(window) for window in features]


class CheckpointModel:
    """A checkpoint, run by torch.

    Args:
        name: short.
        checkpoint: a loaded one.
    """

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name = name
        self.checkpoint = checkpoint
        self.info = checkpoint.info
        self.heads = ModelId(name, checkpoint.sha256)
        self.backbones = trained_on(checkpoint.info)
        self.thresholds = checkpoint.info.thresholds

    @classmethod
    def load(cls, folder: Path) -> CheckpointModel:
        """Load a checkpoint.

        Raises:
            WeightsError: see `load_checkpoint`.
            MissingExtraError: torch is not installed; says what runs without it.
        """
        try:
            return cls(checkpoint_name(folder), load_checkpoint(folder))
        except (MissingExtraError, ModuleNotFoundError) as error:
            raise MissingExtraError(_TORCH, "full") from error

    def predict(self, features: Sequence[FeatureSet]) -> list[Posteriors]:
        """See `Model`."""
        rows = [as_tokens(window, self.info) for window in features]
        return without_doubt(predict(self.checkpoint, rows), self.thresholds)


def trained_on(info: CheckpointInfo) -> dict[Modality, str]:
    """id@revision of the backbone of each channel."""
    return {modality: used.backbone for modality, used in info.backbones.items()}


def checkpoint_name(folder: Path) -> str:
    """A checkpoint's folder; the run's, where training has called it `checkpoint`."""
    resolved = folder.resolve()
    return resolved.parent.name if resolved.name == "checkpoint" else resolved.name


def as_tokens(features: FeatureSet, info: CheckpointInfo) -> FeatureSet:
    """Embeddings as rows (T, D) of the channels that the network has.

    Tokens and layers come from backbones and stores flattened (T · D,), see `BackboneSpec`; whether
    the backbones are the right ones is checked where they are loaded, so here they count as such.
    """
    wanted = trained_on(info)
    rows = {
        modality: embedding.reshape(-1, info.network.dim(modality))
        if embedding.size % info.network.dim(modality) == 0
        else embedding
        for modality, embedding in features.embeddings.items()
        if modality in wanted
    }
    return replace(features, embeddings=rows, backbones={m: wanted[m] for m in rows})


def without_doubt(
    posteriors: Sequence[Posteriors], thresholds: Thresholds | None
) -> list[Posteriors]:
    """No conflict where there are no thresholds: then none was ever learnt."""
    if thresholds is not None:
        return list(posteriors)
    return [replace(row, conflict=None) for row in posteriors]
