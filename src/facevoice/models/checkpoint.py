"""A trained network as a folder that anyone can check and nobody needs to unpickle.

CHECKPOINT/
├── checkpoint.json      format version, SHA-256 of every other file but the card; what tuned
│                        backbones were made from, with the SHA-256 of their files
├── config.toml          all settings of the run; [network] builds the network
├── model.safetensors    the weights
├── calibration.json     temperatures of the heads
├── thresholds.json      worth of calls at each threshold; empty where no conflict is told
├── backbones.json       what makes the embeddings, and which corpora that has seen
├── data.json            what it was trained on: hashes, split, speakers, targets
├── metrics.json         its figures, and what made it
├── backbones/MODALITY/  backbones that were trained along, if any, in the hub's form
└── README.md            the card, for people; may be edited

Reading what it says of itself needs no torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.files import file_sha256, whole_folder
from facevoice.models.network import NetworkConfig
from facevoice.plain import parse_json, parse_toml
from facevoice.records import NOTICE, DecisionCurve, Modality
from facevoice.sessions import inside, read_checked, read_json
from facevoice.settings import build_settings, format_toml, plain_settings, require

if TYPE_CHECKING:
    from torch import Tensor

    from facevoice.models.fusion import FusionNetwork

_FORMAT: Final = "facevoice-checkpoint/1"
INDEX_FILE: Final = "checkpoint.json"
CONFIG_FILE: Final = "config.toml"
WEIGHTS_FILE: Final = "model.safetensors"
CARD_FILE: Final = "README.md"
INFO_FILES: Final = (
    CONFIG_FILE,
    "calibration.json",
    "thresholds.json",
    "backbones.json",
    "data.json",
    "metrics.json",
)
"""What a checkpoint or an export says of itself."""
HASHED_FILES: Final = (*INFO_FILES, WEIGHTS_FILE)
BACKBONE_FILES: Final = ("config.json", "preprocessor_config.json", "model.safetensors")
"""Of a tuned backbone, all but its card."""

_AGAIN: Final = "Get the checkpoint again."


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
            # Training looks between 0.05 and 20; far below, logits would overflow.
            is_told = 1e-3 <= value <= 1e6
            require(is_told, f"temperature of {head.name}", value, "between 0.001 and a million")


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
    curve: what calls are worth at each threshold, None where the network tells no conflict.
    """

    network: NetworkConfig
    settings: Mapping[str, Any]
    calibration: Calibration
    curve: DecisionCurve | None
    backbones: Mapping[Modality, UsedEmbeddings]
    data: DataRecord
    training: TrainingRecord
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if set(self.backbones) != set(self.network.modalities):
            raise WeightsError("a checkpoint names one backbone for each of its modalities")
        for modality, used in self.backbones.items():
            if used.dim != self.network.dim(modality):
                raise WeightsError(
                    f"{used.backbone} has width {used.dim}, the network wants "
                    f"{self.network.dim(modality)}"
                )


@dataclass(frozen=True, slots=True)
class TunedBackbone:
    """What a backbone that was trained along was made from.

    base: id@revision of the backbone at the start; base_corpora: the corpora that it had seen,
    None where that is not known; tuned_on: corpora of the clips that changed it or chose when to
    stop; sha256: by file of its folder, all but the card.
    """

    base: str
    base_corpora: tuple[str, ...] | None
    tuned_on: tuple[str, ...]
    sha256: Mapping[str, str]


def format_info(info: CheckpointInfo) -> dict[str, bytes]:
    """Content of `INFO_FILES`, by name."""
    documents = {
        "calibration.json": plain_settings(info.calibration),
        "thresholds.json": {} if info.curve is None else plain_settings(info.curve),
        "backbones.json": {m.value: plain_settings(b) for m, b in info.backbones.items()},
        "data.json": plain_settings(info.data),
        "metrics.json": {**plain_settings(info.training), "notes": list(info.notes)},
    }
    config = {CONFIG_FILE: format_toml(info.settings).encode()}
    return config | {name: json_bytes(values) for name, values in documents.items()}


def parse_info(contents: Mapping[str, bytes], folder: Path) -> CheckpointInfo:
    """From what `format_info` gave; WeightsError, naming `folder`, if a value is not as it must."""
    try:
        settings = parse_toml(contents[CONFIG_FILE])
        files = {name: parse_json(contents[name]) for name in INFO_FILES if name != CONFIG_FILE}
        metrics = files["metrics.json"]
        notes = tuple(metrics.pop("notes"))
        return CheckpointInfo(
            network=build_settings(NetworkConfig, settings.get("network"), "[network]"),
            settings=settings,
            calibration=_whole(Calibration, files["calibration.json"], "calibration.json"),
            curve=_read_curve(files["thresholds.json"]),
            backbones={
                Modality(name): _whole(UsedEmbeddings, used, "backbones.json")
                for name, used in files["backbones.json"].items()
            },
            data=_whole(DataRecord, files["data.json"], "data.json"),
            training=_whole(TrainingRecord, metrics, "metrics.json"),
            notes=notes,
        )
    except (ConfigError, WeightsError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{folder}: does not say of itself what it must: {error}") from error


def _read_curve(values: Mapping[str, Any]) -> DecisionCurve | None:
    if not values:
        return None
    if "conflict_above" in values:  # Of earlier versions, which kept two numbers and no measure.
        return DecisionCurve()
    curve: DecisionCurve = _whole(DecisionCurve, values, "thresholds.json")
    return curve


def _whole(kind: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """A record of which no field may be left out."""
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in values]
    if missing:
        raise WeightsError(f"{where}: missing {', '.join(missing)}")
    return build_settings(kind, values, where)


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """JSON for people to read; refuses what is not finite."""
    return f"{json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False)}\n".encode()


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint: network in evaluation mode on the CPU; sha256 of the weights file."""

    network: FusionNetwork
    info: CheckpointInfo
    sha256: str


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check all of it.

    Raises:
        WeightsError: a file is absent, damaged or not the one that was written; the format is
            another; a weight is missing, too much, of another shape, or not finite (all listed).
        MissingExtraError: torch is not installed.
    """
    files = read_files(folder)
    info = parse_info(files, folder)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load

        from facevoice.models.fusion import FusionNetwork
    except ImportError as error:
        raise MissingExtraError("the full model", "full") from error
    try:
        weights = load(files[WEIGHTS_FILE])
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{folder / WEIGHTS_FILE}: is damaged ({error})") from error
    _check_weights(weights, info.network, folder / WEIGHTS_FILE)
    network = FusionNetwork(info.network)
    network.load_state_dict(weights, strict=True)
    network.requires_grad_(False)
    sha256 = hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    return Checkpoint(network.eval(), info, sha256)


def read_info(folder: Path) -> CheckpointInfo:
    """What a checkpoint says of itself, without torch; WeightsError as for `load_checkpoint`."""
    return parse_info(read_files(folder), folder)


def read_files(folder: Path) -> dict[str, bytes]:
    """All files but the card; WeightsError if one is absent, changed or unknown."""
    index = _read_index(folder)
    _parse_tuned(folder, index)
    hashes = index["sha256"]
    return {name: read_checked(inside(folder, name), hashes[name], _AGAIN) for name in hashes}


def read_tuned(folder: Path) -> dict[Modality, TunedBackbone]:
    """The backbones that were trained along; WeightsError if a file of theirs is not there."""
    return _parse_tuned(folder, _read_index(folder))


def tuned_folder(folder: Path, modality: Modality, record: TunedBackbone) -> Path:
    """The folder of a tuned backbone; WeightsError if a file is not the one that was written."""
    path = _tuned_path(folder, modality)
    try:
        sums = hash_backbone(path)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})") from error
    for name, found in sums.items():
        if found != (expected := record.sha256.get(name)):
            raise WeightsError(f"{path / name}: SHA-256 is {found}, not {expected}. {_AGAIN}")
    return path


def hash_backbone(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a backbone's folder; OSError if one can't be read."""
    return {name: file_sha256(inside(folder, name)) for name in BACKBONE_FILES}


def _tuned_path(folder: Path, modality: Modality) -> Path:
    return folder / "backbones" / modality.value


def _read_index(folder: Path) -> dict[str, Any]:
    if not is_checkpoint(folder):
        raise WeightsError(f"{folder}: holds no {INDEX_FILE}, so it is no checkpoint")
    index = read_json(folder / INDEX_FILE, _AGAIN)
    version, hashes = index.get("format"), index.get("sha256")
    if version != _FORMAT:
        raise WeightsError(f"{folder}: has format {version!r}, this version reads {_FORMAT!r}")
    if not isinstance(hashes, dict) or set(hashes) != set(HASHED_FILES):
        missing = sorted(set(HASHED_FILES) - set(hashes or ()))
        unexpected = sorted(set(hashes or ()) - set(HASHED_FILES))
        raise WeightsError(f"{folder}: missing files {missing}, unexpected files {unexpected}")
    return index


def _parse_tuned(folder: Path, index: Mapping[str, Any]) -> dict[Modality, TunedBackbone]:
    try:
        found: dict[Modality, TunedBackbone] = {
            Modality(name): _whole(TunedBackbone, values, name)
            for name, values in index.get("tuned", {}).items()
        }
    except (ConfigError, WeightsError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder}: its list of tuned backbones is damaged ({error})") from error
    for modality in found:
        for path in (_tuned_path(folder, modality) / file for file in BACKBONE_FILES):
            if not path.is_file():
                raise WeightsError(
                    f"{path}: is missing. The {modality} backbone was trained along with this "
                    "checkpoint and nobody else has it: copy the whole folder (the hub's commands "
                    "do not carry such checkpoints)"
                )
    return found


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    info: CheckpointInfo,
    *,
    overwrite: bool = False,
    tuned: Mapping[Modality, tuple[Path, TunedBackbone]] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all; with `overwrite`, one that is there is replaced.

    weights: of the fusion network; info: what it says of itself; tuned: folders of backbones that
    were trained along, which are moved into it.

    Raises:
        ConfigError: the folder holds something else, or a checkpoint already.
        WeightsError: the weights don't fit the network, or are not finite.
    """
    from safetensors.torch import save

    check_target(folder, is_checkpoint(folder), "a checkpoint", overwrite=overwrite)
    _check_weights(weights, info.network, folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    contents = {**format_info(info), WEIGHTS_FILE: save(tensors, metadata={"format": "pt"})}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    index: dict[str, Any] = {"format": _FORMAT, "sha256": hashes}
    if tuned:
        index["tuned"] = {modality.value: asdict(record) for modality, (_, record) in tuned.items()}
    contents |= {CARD_FILE: describe(info).encode(), INDEX_FILE: json_bytes(index)}
    with whole_folder(folder) as part:
        for modality, (source, _) in (tuned or {}).items():
            target = _tuned_path(part, modality)
            target.parent.mkdir(exist_ok=True)
            shutil.move(source, target)
        for name, content in contents.items():
            with (part / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder says that it is a checkpoint."""
    return (folder / INDEX_FILE).is_file()


def check_target(folder: Path, is_one: bool, what: str, *, overwrite: bool) -> None:
    """ConfigError if a folder holds something else, or `is_one` and must not be overwritten."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_one:
        raise ConfigError(f"{folder}: holds something else than {what}; name another folder")
    if not overwrite:
        raise ConfigError(f"{folder}: holds {what} already; name another, or --overwrite")


def _check_weights(weights: Mapping[str, Tensor], config: NetworkConfig, where: Path) -> None:
    import torch

    from facevoice.models.fusion import FusionNetwork

    with torch.device("meta"):
        wanted = FusionNetwork(config).state_dict()
    problems = {
        "missing": sorted(set(wanted) - set(weights)),
        "unexpected": sorted(set(weights) - set(wanted)),
        "of another shape or type": [
            f"{name} {tuple(tensor.shape)} {tensor.dtype} instead of {tuple(wanted[name].shape)} "
            f"{wanted[name].dtype}"
            for name, tensor in weights.items()
            if name in wanted
            and (tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype)
        ],
        "not finite": [n for n, t in weights.items() if not bool(torch.isfinite(t).all())],
    }
    found = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
    if found:
        raise WeightsError(f"{where}: the weights don't fit the network of config.toml; {found}")


def describe(info: CheckpointInfo) -> str:
    """The card as Markdown with the hub's front matter; every figure is the checkpoint's own."""
    return "\n".join(_lines(info)) + "\n"


def _lines(info: CheckpointInfo) -> Iterator[str]:
    data, network = info.data, info.network
    yield from ("---", "library_name: facevoice", "pipeline_tag: video-classification")
    yield from ("tags:", "- emotion-recognition", "- audio-visual", "- congruence", "---", "")
    channels = " and ".join(network.modalities)
    yield from (f"# facevoice: emotion from {channels}, {network.fusion} fusion", "")
    yield (
        f"{info.training.num_parameters:,} trained parameters on frozen backbones. "
        "Load it with `facevoice.models.checkpoint.load_checkpoint`."
    )
    yield from ("", "## Backbones", "", "| channel | backbone | width | corpora it saw |")
    yield "|---|---|---|---|"
    for modality, used in info.backbones.items():
        seen = ", ".join(used.training_corpora) or ("none" if used.corpora_known else "unknown")
        if used.training_corpora and not used.corpora_known:
            seen += ", and perhaps others"
        yield f"| {modality} | `{used.backbone}` | {used.dim} | {seen} |"
    if not all(used.corpora_known for used in info.backbones.values()):
        yield ""
        yield (
            "It is not known which corpora every backbone saw, so whether the figures below are "
            "contaminated by them is not known either."
        )
    yield from ("", "## Data", "")
    yield f"{', '.join(data.corpora)}; split: {data.split}; speakers never cross parts."
    yield from ("", "| part | speakers | clips | pairs |", "|---|---|---|---|")
    for name in ("train", "validation", "test"):
        part = getattr(data, name)
        yield f"| {name} | {len(part.speakers)} | {part.num_clips} | {part.num_pairs} |"
    yield ""
    yield (
        f"Targets: fused emotion {data.emotion_target}, face {data.face_target}, voice "
        f"{data.voice_target}, conflict {data.conflict_target}."
    )
    if info.training.figures:
        yield from ("", "## Figures", "", "| part | corpus | figure | value |", "|---|---|---|---|")
        for figure in info.training.figures:
            yield f"| {figure.part} | {figure.corpus} | {figure.name} | {figure.value:.3f} |"
    yield from ("", "## Limits", "", NOTICE)
    for note in info.notes:
        yield from ("", note)
