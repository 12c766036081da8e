"""A trained network as a folder that anyone can check and nobody needs to unpickle.

CHECKPOINT/
├── checkpoint.json      format version, SHA-256 of every other file but the card
├── config.toml          all settings of the run; [network] builds the network
├── model.safetensors    the weights
├── calibration.json     temperatures of the heads
├── thresholds.json      where outcomes change; empty where no conflict is told
├── backbones.json       what makes the embeddings, and which corpora that has seen
├── data.json            what it was trained on: hashes, split, speakers, targets
├── metrics.json         its figures, and what made it
├── backbones/           those that were trained along, if any; see `facevoice.models.tuned`
└── README.md            the card, for people; may be edited
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.labels import Modality
from facevoice.models.card import describe
from facevoice.models.checkpoint_info import CheckpointInfo, from_plain, to_plain
from facevoice.models.network_config import NetworkConfig
from facevoice.models.tuned import TUNED_KEY, TunedBackbone, move_backbones, parse_tuned
from facevoice.toml_settings import build_settings, format_toml, read_toml
from facevoice.whole_folder import whole_folder

if TYPE_CHECKING:
    from torch import Tensor

    from facevoice.models.network import FusionNetwork

FORMAT: Final = "facevoice-checkpoint/1"
INDEX_FILE: Final = "checkpoint.json"
CONFIG_FILE: Final = "config.toml"
WEIGHTS_FILE: Final = "model.safetensors"
CARD_FILE: Final = "README.md"
JSON_FILES: Final = (
    "calibration.json",
    "thresholds.json",
    "backbones.json",
    "data.json",
    "metrics.json",
)
HASHED_FILES: Final = (CONFIG_FILE, WEIGHTS_FILE, *JSON_FILES)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded checkpoint: network in evaluation mode on the CPU, and what it says of itself.

    sha256: of the weights file.
    """

    network: FusionNetwork
    info: CheckpointInfo
    sha256: str


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, Tensor],
    info: CheckpointInfo,
    *,
    overwrite: bool = False,
    tuned: Mapping[Modality, tuple[Path, TunedBackbone]] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all; with `overwrite`, one that is there is replaced.

    Args:
        folder: of the checkpoint.
        weights: of the fusion network.
        info: what it says of itself.
        overwrite: see above.
        tuned: folders of backbones that were trained along, which are moved into it.

    Raises:
        WeightsError: the folder holds something else, the weights don't fit the network, or are
            not finite.
    """
    _check_target(folder, overwrite)
    _check_weights(weights, info.network, str(folder))
    with whole_folder(folder) as part:
        _write_files(part, weights, info, tuned or {})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check all of it.

    Raises:
        WeightsError: a file is absent, damaged or not the one that was written; the format is
            another; a weight is missing, too much, of another shape, or not finite (all listed).
        MissingExtraError: torch is not installed.
    """
    files = read_files(folder)
    info = read_info(folder)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise MissingExtraError("the full model", "full") from error
    from facevoice.models.network import FusionNetwork

    try:
        weights = load(files[WEIGHTS_FILE])
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{folder / WEIGHTS_FILE}: is damaged ({error})") from error
    _check_weights(weights, info.network, str(folder / WEIGHTS_FILE))
    network = FusionNetwork(info.network)
    network.load_state_dict(weights, strict=True)
    network.requires_grad_(False)
    sha256 = hashlib.sha256(files[WEIGHTS_FILE]).hexdigest()
    return Checkpoint(network.eval(), info, sha256)


def read_info(folder: Path) -> CheckpointInfo:
    """What a checkpoint says of itself; needs no torch.

    Raises:
        WeightsError: as for `load_checkpoint`.
    """
    files = read_files(folder)
    try:
        settings = read_toml(folder / CONFIG_FILE)
        network = build_settings(NetworkConfig, settings.get("network"), "[network]")
        plain = {name: json.loads(files[name]) for name in JSON_FILES}
        return from_plain(network, settings, plain)
    except (ConfigError, ValueError) as error:
        raise WeightsError(f"{folder}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from error


def read_files(folder: Path) -> dict[str, bytes]:
    """All files but the card, their hashes checked.

    Raises:
        WeightsError: a file is absent, changed, or unknown to this version.
    """
    if not (folder / INDEX_FILE).is_file():
        raise WeightsError(f"{folder}: holds no {INDEX_FILE}, so it is no checkpoint")
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        version, hashes = index["format"], dict(index["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / INDEX_FILE}: is damaged ({error})") from error
    if version != FORMAT:
        raise WeightsError(f"{folder}: has format {version!r}, this version reads {FORMAT!r}")
    if set(hashes) != set(HASHED_FILES):
        missing = sorted(set(HASHED_FILES) - set(hashes))
        unexpected = sorted(set(hashes) - set(HASHED_FILES))
        raise WeightsError(f"{folder}: missing files {missing}, unexpected files {unexpected}")
    parse_tuned(folder, index)
    contents: dict[str, bytes] = {}
    for name, sha256 in hashes.items():
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise WeightsError(f"{folder / name}: can't be read ({error.strerror})") from error
        if hashlib.sha256(contents[name]).hexdigest() != sha256:
            raise WeightsError(
                f"{folder / name}: is not the file that was written (its SHA-256 differs); get "
                "the checkpoint again"
            )
    return contents


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / INDEX_FILE).is_file()):
        raise WeightsError(f"{folder}: holds something else than a checkpoint; name another folder")
    if any(folder.iterdir()) and not overwrite:
        raise WeightsError(f"{folder}: holds a checkpoint already; name another, or overwrite it")


def _check_weights(weights: Mapping[str, Tensor], config: NetworkConfig, where: str) -> None:
    import torch

    from facevoice.models.network import FusionNetwork

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


def _write_files(
    folder: Path,
    weights: Mapping[str, Tensor],
    info: CheckpointInfo,
    tuned: Mapping[Modality, tuple[Path, TunedBackbone]],
) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    contents: dict[str, bytes] = {
        CONFIG_FILE: format_toml(info.settings).encode(),
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
    }
    for name, values in to_plain(info).items():
        contents[name] = _json_bytes(values)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[CARD_FILE] = describe(info).encode()
    index: dict[str, Any] = {"format": FORMAT, "sha256": hashes}
    if tuned:
        index[TUNED_KEY] = move_backbones(folder, tuned)
    contents[INDEX_FILE] = _json_bytes(index)
    for name, content in contents.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _json_bytes(values: Mapping[str, Any]) -> bytes:
    text = json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False)
    return f"{text}\n".encode()
