"""Models: from embeddings of windows to posteriors, together with the backbones that they need.

Three kinds answer alike: the compact heads of the package, a checkpoint run by torch, and a folder
that was exported from one and needs no torch:

EXPORT/
├── export.json          format version, SHA-256 of every other file but the card, backbones, parity
├── config.toml, calibration.json, thresholds.json, backbones.json, data.json, metrics.json
│                        as in the checkpoint
├── fusion.onnx          fusion and heads, float32
├── video/, audio/       exported backbones, see `facevoice.backbones.onnx`; none for those
│                        that the package brings
└── README.md            the card, for people; may be edited
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from facevoice.backbones.onnx import OnnxBackbone
from facevoice.backbones.registry import backbone_names, create_backbone, split_name, stack
from facevoice.backbones.spec import Backbone, backbone_id
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.models.checkpoint import (
    INDEX_FILE,
    INFO_FILES,
    Checkpoint,
    CheckpointInfo,
    is_checkpoint,
    load_checkpoint,
    parse_info,
    read_info,
    read_tuned,
    tuned_folder,
)
from facevoice.models.heads import (
    Assembly,
    Embeddings,
    Posteriors,
    load_compact,
    tempered_posteriors,
)
from facevoice.models.network import NetworkConfig
from facevoice.people.baseline import Known
from facevoice.records import BoolArray, FloatArray, Modality, ModelId
from facevoice.sessions import frozen_run, inside, open_session, read_checked, read_json
from facevoice.settings import build_settings

EXPORT_FORMAT: Final = "facevoice-export/1"
EXPORT_INDEX: Final = "export.json"
FUSION_FILE: Final = "fusion.onnx"

_CHUNK: Final = 256
_HEADS: Final = ("emotion", "face", "voice", "conflict")
_REMEDY: Final = "Export the checkpoint again, or get the folder again."

NetworkInputs = Mapping[str, FloatArray | BoolArray]


class _TrainedModel:
    """What a checkpoint in torch and an export share: inputs, temperatures, worth of calls."""

    adapts = False  # Networks are trained on windows as they are.

    def __init__(self, name: str, sha256: str, info: CheckpointInfo) -> None:
        self.name = name
        self.info = info
        self.heads = ModelId(name, sha256)
        self.backbones: Mapping[Modality, str] = {
            modality: used.backbone for modality, used in info.backbones.items()
        }
        self.curve = info.curve

    def predict(
        self,
        windows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        """See `Model`."""
        said: list[Posteriors] = []
        for start in range(0, len(windows), _CHUNK):
            inputs = _network_inputs(windows[start : start + _CHUNK], self.info.network)
            masks = {m: inputs[f"{m}_mask"] for m in self.info.network.modalities}
            present = {m: np.asarray(mask.any(axis=1)) for m, mask in masks.items()}
            said += tempered_posteriors(self._logits(inputs), present, self.info.calibration)
        if self.curve is None:  # then no conflict was ever learnt
            return [replace(row, conflict=None) for row in said]
        return said

    def _logits(self, inputs: NetworkInputs) -> Mapping[str, FloatArray | None]:
        raise NotImplementedError


class CheckpointModel(_TrainedModel):
    """A loaded checkpoint, run by torch with so many threads."""

    def __init__(self, name: str, checkpoint: Checkpoint, *, num_threads: int = 1) -> None:
        super().__init__(name, checkpoint.sha256, checkpoint.info)
        self.checkpoint = checkpoint
        self._num_threads = num_threads

    @classmethod
    def load(cls, folder: Path, *, num_threads: int = 1) -> CheckpointModel:
        """Load a checkpoint; see `load_checkpoint` for what is raised."""
        try:
            return cls(_name(folder), load_checkpoint(folder), num_threads=num_threads)
        except MissingExtraError as error:
            raise MissingExtraError(
                "a checkpoint that is run by torch (a folder made by `facevoice export` is not)",
                "full",
            ) from error

    def _logits(self, inputs: NetworkInputs) -> Mapping[str, FloatArray | None]:
        import torch

        with frozen_run(self._num_threads):
            logits = self.checkpoint.network(**{n: torch.from_numpy(a) for n, a in inputs.items()})
            return {h: None if x is None else x.numpy() for h, x in logits._asdict().items()}


class ExportedModel(_TrainedModel):
    """Fusion and heads of an exported folder, run by onnxruntime; WeightsError if they are not."""

    def __init__(self, path: Path, sha256: str, info: CheckpointInfo, num_threads: int = 1) -> None:
        super().__init__(_name(path.parent), sha256, info)
        content = read_checked(path, sha256, _REMEDY)
        self._session = open_session(content, str(path), num_threads)
        self._outputs = [output.name for output in self._session.get_outputs()]
        wanted = {f"{m}{end}" for m in info.network.modalities for end in ("", "_mask")}
        found = {given.name for given in self._session.get_inputs()}
        if found != wanted or "emotion" not in self._outputs or not {*_HEADS} >= {*self._outputs}:
            raise WeightsError(
                f"{path}: takes {sorted(found)} and gives {self._outputs}, which is no network of "
                f"{' and '.join(info.network.modalities)}; export the checkpoint again"
            )

    def _logits(self, inputs: NetworkInputs) -> Mapping[str, FloatArray | None]:
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))


def _network_inputs(windows: Sequence[Embeddings], config: NetworkConfig) -> NetworkInputs:
    """What the network takes, in torch and as ONNX, by the name of its input.

    `video`, `audio`: tokens float32 (B, T, D); `video_mask`, `audio_mask`: which of them are there,
    bool (B, T). T is that of the longest, at least 1.
    """
    inputs: dict[str, FloatArray | BoolArray] = {}
    for modality in config.modalities:
        dim = config.dim(modality)
        rows = [_token_rows(window.get(modality), dim) for window in windows]
        shape = (len(rows), max([1, *map(len, rows)]))
        tokens = np.zeros((*shape, dim), dtype=np.float32)
        mask = np.zeros(shape, dtype=np.bool_)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = row
            mask[place, : len(row)] = True
        inputs[modality.value], inputs[f"{modality}_mask"] = tokens, mask
    return inputs


def _token_rows(embedding: FloatArray | None, dim: int) -> FloatArray:
    """(T, D) of one embedding, or of the T · D numbers that a stacked backbone gives."""
    if embedding is None:
        return np.zeros((0, dim), dtype=np.float32)
    if embedding.size % dim or (embedding.ndim > 1 and embedding.shape[-1] != dim):
        raise WeightsError(
            f"an embedding has shape {embedding.shape}, the network wants (T, {dim})"
        )
    return embedding.reshape(-1, dim)


def _name(folder: Path) -> str:
    """A checkpoint's folder; the run's, where training has called it `checkpoint`."""
    resolved = folder.resolve()
    return resolved.parent.name if resolved.name == "checkpoint" else resolved.name


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported model is from the checkpoint in torch, measured on windows.

    precision: of the backbones' weights; windows: what was looked at, for people;
    max_difference, mean_difference: of probabilities, over all heads and windows;
    num_outcomes_changed: windows that get another outcome.
    """

    precision: str
    windows: str
    num_windows: int
    max_difference: float
    mean_difference: float
    num_outcomes_changed: int


@dataclass(frozen=True, slots=True)
class ExportIndex:
    """What `export.json` says.

    precision: of the backbones' weights, fp32 or int8; the fusion is always fp32;
    checkpoint, checkpoint_sha256: name and weights of what was exported;
    backbones: by channel an ONNX file in the folder, or the name of one that the package brings;
    sha256s: of all files but index and card, by path in the folder.
    """

    precision: str
    checkpoint: str
    checkpoint_sha256: str
    facevoice_version: str
    backbones: Mapping[Modality, str]
    parity: tuple[Parity, ...]
    sha256s: Mapping[str, str]

    @property
    def networks(self) -> frozenset[str]:
        """The ONNX files of backbones, by path in the folder."""
        return frozenset(self.backbones.values()) & frozenset(self.sha256s)


def is_export(folder: Path) -> bool:
    """Whether a folder says that it is an export."""
    return (folder / EXPORT_INDEX).is_file()


def read_export(folder: Path) -> tuple[ExportIndex, CheckpointInfo]:
    """Read an export and check it.

    ONNX files of backbones are hashed where they are loaded (`OnnxBackbone`, by its spec.json,
    which is checked here); all other files here.

    Raises:
        WeightsError: a file is absent, damaged, unknown, or of another version.
    """
    index = _read_index(folder)
    records = {f"{PurePosixPath(name).parent}/spec.json" for name in index.networks}
    wanted = {FUSION_FILE, *INFO_FILES, *records}
    missing = sorted(wanted - {*index.sha256s})
    unexpected = sorted({*index.sha256s} - wanted - index.networks)
    if missing or unexpected:
        raise WeightsError(
            f"{folder}: missing files {missing}, unexpected files {unexpected}. {_REMEDY}"
        )
    contents = {n: read_checked(folder / n, index.sha256s[n], _REMEDY) for n in sorted(wanted)}
    for name in index.networks:
        path = folder / name
        files = read_json(path.parent / "spec.json", _REMEDY).get("files", {})
        if files.get(path.name, {}).get("sha256") != index.sha256s[name]:
            raise WeightsError(
                f"{path}: {EXPORT_INDEX} and spec.json differ on its SHA-256. {_REMEDY}"
            )
    info = parse_info(contents, folder)
    if {*index.backbones} != {*info.network.modalities}:
        raise WeightsError(f"{folder}: names no backbone for each of its channels. {_REMEDY}")
    return index, info


def _read_index(folder: Path) -> ExportIndex:
    path = folder / EXPORT_INDEX
    document = read_json(path, _REMEDY)
    version = document.pop("format", None)
    if version != EXPORT_FORMAT:
        raise WeightsError(
            f"{folder}: has format {version!r}, this version reads {EXPORT_FORMAT!r}"
        )
    try:
        backbones = {Modality(m): str(named) for m, named in document.pop("backbones").items()}
        parity = tuple(build_settings(Parity, row, "parity") for row in document.pop("parity"))
        sha256s = {str(name): str(sha256) for name, sha256 in document.pop("sha256").items()}
        index = ExportIndex(backbones=backbones, parity=parity, sha256s=sha256s, **document)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"{path}: is damaged ({error!r}). {_REMEDY}") from error
    if index.precision not in ("fp32", "int8"):
        raise WeightsError(f"{path}: precision is {index.precision!r}. {_REMEDY}")
    for name in sha256s:
        inside(folder, name)
    return index


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
        return load_compact(num_threads)
    folder = find_checkpoint(checkpoint)
    model: _TrainedModel
    if is_export(folder):
        if backbones:
            raise ConfigError(f"{folder}: an exported folder brings its backbones; name none")
        model, loaded = _load_export(folder, num_threads)
    else:
        model = CheckpointModel.load(folder, num_threads=num_threads)
        loaded = build_backbones(folder, model.info, backbones, num_threads=num_threads)
    sources = {modality: source for modality, (source, _) in loaded.items()}
    built = {modality: backbone for modality, (_, backbone) in loaded.items()}
    return Assembly(model, built, sources, model.info)


def find_checkpoint(folder: Path) -> Path:
    """The folder itself, or the checkpoint in it that training left; WeightsError if neither."""
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; name a checkpoint or an exported folder")
    for place in (folder, folder / "checkpoint"):
        if is_export(place) or is_checkpoint(place):
            return place
    raise WeightsError(
        f"{folder}: is neither a checkpoint (no {INDEX_FILE}) nor an exported folder (no "
        f"{EXPORT_INDEX})"
    )


def read_model_info(folder: Path) -> CheckpointInfo:
    """What a checkpoint or an export says of itself; WeightsError if it is neither, or damaged."""
    found = find_checkpoint(folder)
    return read_export(found)[1] if is_export(found) else read_info(found)


def build_backbones(
    folder: Path, info: CheckpointInfo, names: Sequence[str] = (), *, num_threads: int = 1
) -> dict[Modality, tuple[str, Backbone]]:
    """By channel, the name and the backbone that a checkpoint was trained on; see `assemble`."""
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
    tuned = read_tuned(folder)
    for modality, used in info.backbones.items():
        if modality in built:
            continue
        if modality in tuned:
            plain = str(tuned_folder(folder, modality, tuned[modality]))
        else:
            plain = split_name(_creatable(folder, used.backbone))[0]
        built[modality] = (plain, create_backbone(plain, num_threads=num_threads))
    return {m: _checked_backbone(folder, info, *built[m]) for m in info.backbones}


def _load_export(
    folder: Path, num_threads: int
) -> tuple[_TrainedModel, dict[Modality, tuple[str, Backbone]]]:
    index, info = read_export(folder)
    sha256 = index.sha256s[FUSION_FILE]
    model = ExportedModel(folder / FUSION_FILE, sha256, info, num_threads)
    loaded = {}
    for modality, named in index.backbones.items():
        if named not in index.networks and named not in backbone_names():
            raise WeightsError(
                f"{folder}: its {modality} backbone {named!r} is neither in the folder nor in "
                "facevoice; export the checkpoint again"
            )
        source = str(folder / named) if named in index.networks else named
        backbone = create_backbone(source, num_threads=num_threads)
        loaded[modality] = _checked_backbone(folder, info, source, backbone, modality)
    return model, loaded


def _creatable(folder: Path, wanted: str) -> str:
    """The name in id@revision, if something can be built from it."""
    name, _, revision = wanted.rpartition("@")
    if not re.fullmatch(r"[0-9a-f]{12}", revision):
        raise WeightsError(
            f"{folder}: was trained on embeddings of {wanted}, a file that does not say which "
            "weights made it, so it can't be run on films. Train on a store of `facevoice data "
            "extract`"
        )
    if name.startswith("folder:"):
        raise ConfigError(
            f"{folder}: was trained on backbone {wanted}, from a folder; name it by --backbone DIR"
        )
    if split_name(name)[0] not in backbone_names() and not name.startswith("hub:"):
        raise WeightsError(f"{folder}: was trained on backbone {wanted}, which nobody knows")
    return name


def _checked_backbone(
    folder: Path,
    info: CheckpointInfo,
    source: str,
    backbone: Backbone,
    modality: Modality | None = None,
) -> tuple[str, Backbone]:
    """The backbone, stacked as in training, if it has the weights and widths that it had there."""
    modality = modality or backbone.spec.modality
    wanted = info.backbones[modality].backbone
    name, _, revision = wanted.rpartition("@")
    sums = {backbone.model.sha256}
    if isinstance(backbone, OnnxBackbone):  # it says the same as what it was exported from
        sums.add(backbone.record.source.sha256)
    if revision not in {s[:12] for s in sums} or backbone.spec.modality is not modality:
        raise WeightsError(
            f"{folder}: was trained on {modality} embeddings of {wanted}, but {source} is "
            f"{backbone_id(backbone)}. Name the right one by --backbone, such as "
            "hub:OWNER/NAME@REVISION or a folder"
        )
    rows = split_name(name)[1]
    if rows is not None:
        source, backbone = f"{source}+{rows}", stack(backbone, rows)
    spec, dim = backbone.spec, info.network.dim(modality)
    mixed = info.network.audio_layers if modality is Modality.AUDIO else 0
    if spec.row_dim != dim or mixed not in (0, spec.num_rows):
        raise WeightsError(
            f"{folder}: backbone {spec.name} gives {spec.num_rows} rows of {spec.row_dim} numbers, "
            f"the network wants {mixed or 'any number'} of {dim}"
        )
    return source, backbone
