"""A whole exported model as one folder, to be run without torch; nothing in it is unpickled.

EXPORT/
├── export.json          format version, SHA-256 of every other file but the card, backbones, parity
├── config.toml, calibration.json, thresholds.json, backbones.json, data.json, metrics.json
│                        as in the checkpoint
├── fusion.onnx          fusion and heads, float32
├── video/, audio/       exported backbones, see `facevoice.features.onnx_backbone`; none for those
│                        that the package brings
└── README.md            the card, for people; may be edited
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import ConfigError, WeightsError
from facevoice.labels import Modality
from facevoice.models.card import describe
from facevoice.models.checkpoint_folder import CARD_FILE, CONFIG_FILE, JSON_FILES
from facevoice.models.checkpoint_info import CheckpointInfo, from_plain, to_plain
from facevoice.models.network_config import NetworkConfig
from facevoice.toml_settings import build_settings, format_toml, plain_settings, read_toml

FORMAT: Final = "facevoice-export/1"
INDEX_FILE: Final = "export.json"
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
    return (folder / INDEX_FILE).is_file()


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
    (folder / INDEX_FILE).write_text(_json_text(document), encoding="utf-8")


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
        if name not in (INDEX_FILE, CARD_FILE):
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _read_index(folder: Path) -> ExportIndex:
    path = folder / INDEX_FILE
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
        raise WeightsError(f"{path}: {INDEX_FILE} and spec.json differ on its SHA-256. {_REMEDY}")


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
