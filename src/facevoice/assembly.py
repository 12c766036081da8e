"""A model together with the backbones that it was trained on: compact, checkpoint, or export."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from facevoice.errors import ConfigError, WeightsError
from facevoice.features.backbone import Backbone, BackboneSpec, backbone_names, create_backbone
from facevoice.features.extract import backbone_id
from facevoice.features.onnx_backbone import OnnxBackbone
from facevoice.features.stacked import split_name, stack
from facevoice.labels import Modality
from facevoice.models.checkpoint import load_model
from facevoice.models.checkpoint_folder import INDEX_FILE, read_info
from facevoice.models.checkpoint_info import CheckpointInfo
from facevoice.models.compact import CompactModel
from facevoice.models.export_folder import is_export, read_export
from facevoice.models.family import CheckpointModel, CompactFamily, Model
from facevoice.models.network_config import NetworkConfig
from facevoice.models.onnx_fusion import load_fusion
from facevoice.models.tuned import read_tuned, tuned_folder
from facevoice.results import ModelId
from facevoice.sessions import read_weights, weights_entry

_ROLES: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}
_REVISION: Final = re.compile(r"[0-9a-f]{12}")
_FOLDER: Final = "folder:"


@dataclass(frozen=True, slots=True, eq=False)
class Assembly:
    """A model and its backbones.

    sources: by channel, what `create_backbone` builds the same backbone from again;
    info: what the checkpoint says of itself, None for the compact family.
    """

    model: Model
    backbones: Mapping[Modality, Backbone]
    sources: Mapping[Modality, str]
    info: CheckpointInfo | None

    @property
    def modalities(self) -> frozenset[Modality]:
        """Channels that the model reads."""
        return frozenset(self.backbones)

    @property
    def tells_conflict(self) -> bool:
        """Whether the model compares face and voice."""
        return self.model.thresholds is not None

    @property
    def models(self) -> dict[str, ModelId]:
        """Everything with weights, by its role in a report."""
        roles = {_ROLES[m]: backbone.model for m, backbone in self.backbones.items()}
        return {**roles, "heads": self.model.heads}


def assemble(
    checkpoint: Path | None = None,
    backbones: Sequence[str] = (),
    *,
    num_threads: int = 1,
) -> Assembly:
    """Load a model and every backbone that it needs, and check that they belong together.

    Args:
        checkpoint: a checkpoint, the output of a training run that holds one, or an exported
            folder; None for the compact model of the package.
        backbones: names for `create_backbone`, at most one a channel, in place of those that the
            checkpoint names: for backbones that lie in a folder. They must have the same weights.
        num_threads: threads that each network may use.

    Raises:
        WeightsError: the checkpoint is damaged, or a backbone is not the one that it was trained
            on; both are named.
        ConfigError: backbones are named that it doesn't need, or must be named and are not.
        MissingExtraError: it is run by torch, which is not installed.
    """
    if checkpoint is None:
        if backbones:
            raise ConfigError("backbones can be named for a checkpoint only; none was named")
        return _assemble_compact(num_threads)
    folder = find_checkpoint(checkpoint)
    if is_export(folder):
        if backbones:
            raise ConfigError(f"{folder}: an exported folder brings its backbones; name none")
        return _assemble_export(folder, num_threads)
    model = CheckpointModel.load(folder)
    loaded = build_backbones(folder, model.info, backbones, num_threads=num_threads)
    return Assembly(
        model,
        {m: backbone for m, (_, backbone) in loaded.items()},
        {m: source for m, (source, _) in loaded.items()},
        model.info,
    )


def find_checkpoint(folder: Path) -> Path:
    """The folder itself, or the checkpoint in it, if a training run left it.

    Raises:
        WeightsError: there is none.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; name a checkpoint or an exported folder")
    for place in (folder, folder / "checkpoint"):
        if is_export(place) or (place / INDEX_FILE).is_file():
            return place
    raise WeightsError(
        f"{folder}: is neither a checkpoint (no {INDEX_FILE}) nor an exported folder (no "
        "export.json)"
    )


def read_model_info(folder: Path) -> CheckpointInfo:
    """What a checkpoint or an export says of itself; loads no network.

    Raises:
        WeightsError: it is neither, or damaged.
    """
    found = find_checkpoint(folder)
    return read_export(found)[1] if is_export(found) else read_info(found)


def build_backbones(
    folder: Path, info: CheckpointInfo, names: Sequence[str] = (), *, num_threads: int = 1
) -> dict[Modality, tuple[str, Backbone]]:
    """By channel, the backbone that a checkpoint was trained on, and the name it was built by.

    Args:
        folder: of the checkpoint, for messages.
        info: what it says of itself.
        names: see `assemble`.
        num_threads: threads that each network may use.

    Raises:
        WeightsError, ConfigError, MissingExtraError: see `assemble`.
    """
    built: dict[Modality, tuple[str, Backbone]] = {}
    for name in names:
        plain, rows = split_name(name)
        backbone = create_backbone(plain, num_threads=num_threads)
        modality = backbone.spec.modality
        if modality not in info.backbones or modality in built:
            problem = "named twice" if modality in built else "not used"
            raise ConfigError(f"{folder}: backbone {name!r} is of {modality}, which is {problem}")
        wanted = split_name(info.backbones[modality].backbone.rpartition("@")[0])[1]
        if rows not in (None, wanted):
            raise ConfigError(f"{folder}: was not trained on the {rows} of {plain}; leave +{rows}")
        built[modality] = (plain, backbone)
    tuned = read_tuned(folder, INDEX_FILE)
    for modality, used in info.backbones.items():
        if modality not in built:
            own = tuned.get(modality)
            if own is None:
                plain = split_name(_creatable(folder, used.backbone))[0]
            else:
                plain = str(tuned_folder(folder, modality, own))
            built[modality] = (plain, create_backbone(plain, num_threads=num_threads))
    return {
        modality: _checked(folder, info, modality, *built[modality]) for modality in info.backbones
    }


def load_compact_model() -> tuple[CompactModel, ModelId]:
    """Load the shipped heads, checked by their SHA-256.

    Raises:
        WeightsError: missing or damaged.
    """
    entry = weights_entry("heads")
    return load_model(read_weights("heads")), ModelId(entry.name, entry.sha256)


def _assemble_compact(num_threads: int) -> Assembly:
    model = CompactFamily(*load_compact_model())
    built = {m: create_backbone(n, num_threads=num_threads) for m, n in model.backbones.items()}
    return Assembly(model, built, model.backbones, None)


def _assemble_export(folder: Path, num_threads: int) -> Assembly:
    model, index = load_fusion(folder, num_threads=num_threads)
    loaded = {}
    for modality in model.backbones:
        source = index.source(folder, modality)
        if index.file(modality) is None and source not in backbone_names():
            raise WeightsError(
                f"{folder}: its {modality} backbone {source!r} is neither in the folder nor in "
                "facevoice; export the checkpoint again"
            )
        backbone = create_backbone(source, num_threads=num_threads)
        loaded[modality] = _checked(folder, model.info, modality, source, backbone)
    return Assembly(
        model,
        {m: backbone for m, (_, backbone) in loaded.items()},
        {m: source for m, (source, _) in loaded.items()},
        model.info,
    )


def _creatable(folder: Path, wanted: str) -> str:
    """The name in id@revision, if something can be built from it."""
    name, _, revision = wanted.rpartition("@")
    if not _REVISION.fullmatch(revision):
        raise WeightsError(
            f"{folder}: was trained on embeddings of {wanted}, a file that does not say which "
            "weights made it, so it can't be run on films. Train on a store of `facevoice data "
            "extract`"
        )
    if name.startswith(_FOLDER):
        raise ConfigError(
            f"{folder}: was trained on backbone {wanted}, from a folder; name it by --backbone DIR"
        )
    return name


def _checked(
    folder: Path, info: CheckpointInfo, modality: Modality, source: str, backbone: Backbone
) -> tuple[str, Backbone]:
    """The backbone, stacked as in training, if it has the weights and widths that it had there."""
    wanted = info.backbones[modality].backbone
    name, _, revision = wanted.rpartition("@")
    if revision not in _revisions(backbone) or backbone.spec.modality is not modality:
        raise WeightsError(
            f"{folder}: was trained on {modality} embeddings of {wanted}, but {source} is "
            f"{backbone_id(backbone)}. Name the right one by --backbone, such as "
            "hub:OWNER/NAME@REVISION or a folder"
        )
    rows = split_name(name)[1]
    if rows is not None:
        source, backbone = f"{source}+{rows}", stack(backbone, rows)
    _check_shape(folder, info.network, backbone.spec)
    return source, backbone


def _revisions(backbone: Backbone) -> set[str]:
    """Of its weights, and of those that it was exported from: both say the same, but rounded."""
    sums = {backbone.model.sha256}
    if isinstance(backbone, OnnxBackbone):
        sums.add(backbone.record.source.sha256)
    return {sha256[:12] for sha256 in sums}


def _check_shape(folder: Path, network: NetworkConfig, spec: BackboneSpec) -> None:
    wanted, problem = network.dim(spec.modality), None
    if spec.row_dim != wanted:
        problem = f"rows of {spec.row_dim} numbers, the network wants {wanted}"
    elif spec.modality is Modality.AUDIO and network.audio_layers not in (0, spec.num_rows):
        problem = f"{spec.num_rows} layers, the network mixes {network.audio_layers}"
    if problem is not None:
        raise WeightsError(f"{folder}: backbone {spec.name} gives {problem}")
