"""Step 6 of the full model: embeddings of windows to posteriors, with torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from facevoice.backbones.onnx import OnnxBackbone
from facevoice.backbones.spec import (
    Backbone,
    BackboneSpec,
    backbone_names,
    create_backbone,
    split_name,
    stack,
)
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.models.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    INDEX_FILE,
    JSON_FILES,
    Checkpoint,
    CheckpointInfo,
    NetworkConfig,
    describe,
    from_plain,
    load_checkpoint,
    read_info,
    read_tuned,
    to_plain,
    tuned_folder,
)
from facevoice.models.heads import CompactModel, Posteriors, load_model, posterior_rows
from facevoice.records import BoolArray, FeatureSet, FloatArray, Modality, ModelId, Thresholds
from facevoice.sessions import load_session_file, read_weights, weights_entry
from facevoice.settings import build_settings, format_toml, plain_settings, read_toml
from facevoice.store import backbone_id

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


# What analysis and evaluation ask of a model, whatever family it is of.
#
# A model takes embeddings and gives posteriors; it names the backbones that must make them. The
# compact heads, a checkpoint run by torch, and an exported network (`models.onnx_fusion`) are such.

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


# A whole exported model as one folder, to be run without torch; nothing in it is unpickled.
#
# EXPORT/
# ├── export.json          format version, SHA-256 of every other file but the card, backbones, parity
# ├── config.toml, calibration.json, thresholds.json, backbones.json, data.json, metrics.json
# │                        as in the checkpoint
# ├── fusion.onnx          fusion and heads, float32
# ├── video/, audio/       exported backbones, see `facevoice.backbones.onnx`; none for those
# │                        that the package brings
# └── README.md            the card, for people; may be edited

FORMAT: Final = "facevoice-export/1"
EXPORT_INDEX: Final = "export.json"
FUSION_FILE: Final = "fusion.onnx"
PRECISIONS: Final = ("fp32", "int8")
_REMEDY: Final = "Export the checkpoint again, or get the folder again."


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

    def source(self, folder: Path, modality: Modality) -> str:
        """What `create_backbone` builds the channel's backbone from."""
        named = self.backbones[modality]
        return str(folder / named) if named in self.sha256s else named

    def file(self, modality: Modality) -> str | None:
        """Path in the folder of the channel's ONNX file; None if the package brings it."""
        named = self.backbones[modality]
        return named if named in self.sha256s else None


def is_export(folder: Path) -> bool:
    """Whether a folder says that it is an export."""
    return (folder / EXPORT_INDEX).is_file()


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Write what the checkpoint says of itself, as it stands in the checkpoint."""
    (folder / CONFIG_FILE).write_text(format_toml(info.settings), encoding="utf-8")
    for name, values in to_plain(info).items():
        (folder / name).write_text(_json_text(values), encoding="utf-8")


def write_index(folder: Path, index: ExportIndex, info: CheckpointInfo) -> None:
    """Write card and index, the index last."""
    card = f"{describe(info)}\n{_card_section(index)}"
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    document = {
        "format": FORMAT,
        "precision": index.precision,
        "checkpoint": index.checkpoint,
        "checkpoint_sha256": index.checkpoint_sha256,
        "facevoice_version": index.facevoice_version,
        "backbones": {modality.value: named for modality, named in index.backbones.items()},
        "parity": [plain_settings(parity) for parity in index.parity],
        "sha256": dict(index.sha256s),
    }
    (folder / EXPORT_INDEX).write_text(_json_text(document), encoding="utf-8")


def read_export(folder: Path) -> tuple[ExportIndex, CheckpointInfo]:
    """Read an export and check it.

    ONNX files of backbones are hashed where they are loaded (`OnnxBackbone`, by its spec.json,
    which is checked here); all other files here.

    Raises:
        WeightsError: a file is absent, damaged, unknown, or of another version.
    """
    index = _read_index(folder)
    wanted = {CONFIG_FILE, FUSION_FILE, *JSON_FILES}
    networks = {index.file(modality) for modality in index.backbones} - {None}
    wanted |= {f"{Path(str(name)).parent}/spec.json" for name in networks}
    missing = sorted(wanted - {*index.sha256s})
    unexpected = sorted({*index.sha256s} - wanted - networks)
    if missing or unexpected:
        raise WeightsError(
            f"{folder}: missing files {missing}, unexpected files {unexpected}. {_REMEDY}"
        )
    contents = {name: _checked(folder, name, index.sha256s[name]) for name in sorted(wanted)}
    for modality in index.backbones:
        _check_network(folder, index, modality)
    try:
        settings = read_toml(folder / CONFIG_FILE)
        network = build_settings(NetworkConfig, settings.get("network"), "[network]")
        plain = {name: json.loads(contents[name]) for name in JSON_FILES}
        info = from_plain(network, settings, plain)
    except (ConfigError, ValueError, WeightsError) as error:
        raise WeightsError(f"{folder}: {error}") from error
    if {*index.backbones} != {*info.network.modalities}:
        raise WeightsError(f"{folder}: names no backbone for each of its channels. {_REMEDY}")
    return index, info


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder but index and card, by its path there."""
    sums = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in (EXPORT_INDEX, CARD_FILE):
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _read_index(folder: Path) -> ExportIndex:
    path = folder / EXPORT_INDEX
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise WeightsError(
                f"{folder}: has format {document['format']!r}, this version reads {FORMAT!r}"
            )
        index = ExportIndex(
            precision=str(document["precision"]),
            checkpoint=str(document["checkpoint"]),
            checkpoint_sha256=str(document["checkpoint_sha256"]),
            facevoice_version=str(document["facevoice_version"]),
            backbones={Modality(m): str(named) for m, named in document["backbones"].items()},
            parity=tuple(build_settings(Parity, row, "parity") for row in document["parity"]),
            sha256s={str(name): str(sha256) for name, sha256 in document["sha256"].items()},
        )
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror}). {_REMEDY}") from error
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"{path}: is damaged ({error!r}). {_REMEDY}") from error
    if index.precision not in PRECISIONS:
        raise WeightsError(f"{path}: precision is {index.precision!r}. {_REMEDY}")
    outside = [
        name for name in index.sha256s if ".." in Path(name).parts or Path(name).is_absolute()
    ]
    if outside:
        raise WeightsError(f"{path}: names files outside its folder: {outside}")
    return index


def _checked(folder: Path, name: str, sha256: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{folder / name}: can't be read ({error.strerror}). {_REMEDY}"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise WeightsError(
            f"{folder / name}: is not the file that was written (its SHA-256 differs). {_REMEDY}"
        )
    return content


def _check_network(folder: Path, index: ExportIndex, modality: Modality) -> None:
    """That the backbone's own record, by which it is hashed, says what the index says."""
    name = index.file(modality)
    if name is None:
        return
    path = folder / name
    try:
        named = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        sha256 = named["files"][path.name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.parent / 'spec.json'}: is damaged ({error!r})") from error
    if sha256 != index.sha256s[name]:
        raise WeightsError(f"{path}: {EXPORT_INDEX} and spec.json differ on its SHA-256. {_REMEDY}")


def _card_section(index: ExportIndex) -> str:
    lines = [
        "## Export",
        "",
        f"Exported from `{index.checkpoint}` ({index.checkpoint_sha256[:12]}); backbones in "
        f"{index.precision}, fusion and heads in fp32. Runs without torch: "
        "`facevoice analyze FILM --checkpoint DIR`.",
        "",
        "Differences of probabilities to the checkpoint in torch, measured when it was exported:",
        "",
        "| precision | windows | largest | mean | other outcomes |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.precision} | {p.num_windows} ({p.windows}) | {p.max_difference:.1e} | "
        f"{p.mean_difference:.1e} | {p.num_outcomes_changed} |"
        for p in index.parity
    ]
    return "\n".join(lines) + "\n"


def _json_text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


# An exported model's fusion and heads, run by onnxruntime; needs no torch.

HEADS: Final = ("emotion", "face", "voice", "conflict")


class OnnxFusion:
    """Fusion and heads out of an export; see `facevoice.models.model.Model`.

    Args:
        path: the ONNX file; sha256: what it must have.
        name: short.
        info: what the checkpoint says of itself.

    Raises:
        WeightsError: the file is missing, damaged, or has no such inputs and outputs.
    """

    def __init__(
        self, path: Path, sha256: str, name: str, info: CheckpointInfo, *, num_threads: int = 1
    ) -> None:
        self._session, self.heads = load_session_file(
            path, name=name, sha256=sha256, num_threads=num_threads
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        wanted = {
            f"{modality.value}{end}"
            for modality in info.network.modalities
            for end in ("", "_mask")
        }
        found = {given.name for given in self._session.get_inputs()}
        if found != wanted or "emotion" not in self._outputs or not {*HEADS} >= {*self._outputs}:
            raise WeightsError(
                f"{path}: takes {sorted(found)} and gives {self._outputs}, which is no network of "
                f"{' and '.join(info.network.modalities)}; export the checkpoint again"
            )
        self.name = name
        self.info = info
        self.backbones = trained_on(info)
        self.thresholds = info.thresholds

    def predict(self, features: Sequence[FeatureSet]) -> list[Posteriors]:
        """See `Model`."""
        rows: list[Posteriors] = []
        for start in range(0, len(features), _CHUNK):
            chunk = [as_tokens(f, self.info) for f in features[start : start + _CHUNK]]
            inputs, present = gather_inputs(chunk, self.info.network)
            logits = self._run(inputs)
            rows += posterior_rows(logits, present, self.info.calibration)
        return without_doubt(rows, self.thresholds)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, FloatArray | None]:
        found = dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))
        return {head: found.get(head) for head in HEADS}


def load_fusion(folder: Path, *, num_threads: int = 1) -> tuple[OnnxFusion, ExportIndex]:
    """Load an exported folder's fusion and heads, and what the folder says of its backbones.

    Raises:
        WeightsError: a file is absent, damaged, or not the one that was written.
    """
    index, info = read_export(folder)
    fusion = OnnxFusion(
        folder / FUSION_FILE,
        index.sha256s[FUSION_FILE],
        checkpoint_name(folder),
        info,
        num_threads=num_threads,
    )
    return fusion, index


# A model together with the backbones that it was trained on: compact, checkpoint, or export.

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
        modality: _checked_assembly(folder, info, modality, *built[modality])
        for modality in info.backbones
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
        loaded[modality] = _checked_assembly(folder, model.info, modality, source, backbone)
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


def _checked_assembly(
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
