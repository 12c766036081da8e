"""Backbones that were trained along with a checkpoint: whole folders in it, listed with hashes.

CHECKPOINT/backbones/MODALITY/     config.json, preprocessor_config.json, model.safetensors, a card
CHECKPOINT/checkpoint.json         "tuned": what each was made from, and the SHA-256 of its files
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from facevoice.errors import WeightsError
from facevoice.labels import Modality

TUNED_FOLDER: Final = "backbones"
TUNED_KEY: Final = "tuned"
CONFIG: Final = "config.json"
PREPROCESSOR: Final = "preprocessor_config.json"
WEIGHTS: Final = "model.safetensors"
_FILES: Final = (CONFIG, PREPROCESSOR, WEIGHTS)


@dataclass(frozen=True, slots=True)
class TunedBackbone:
    """What a tuned backbone was made from.

    base: id@revision of the backbone at the start; base_corpora: the corpora that it had seen,
    None where that is not known; tuned_on: corpora of the clips that changed it or chose when to
    stop; sha256: by file of its folder, all but the card.
    """

    base: str
    base_corpora: tuple[str, ...] | None
    tuned_on: tuple[str, ...]
    sha256: Mapping[str, str]


def hash_backbone(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a backbone's folder."""
    sums = {}
    for name in _FILES:
        with (folder / name).open("rb") as file:
            sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def move_backbones(
    folder: Path, tuned: Mapping[Modality, tuple[Path, TunedBackbone]]
) -> dict[str, Any]:
    """Move folders of tuned backbones into a checkpoint; returns what its index says of them."""
    for modality, (source, _) in tuned.items():
        target = folder / TUNED_FOLDER / modality.value
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)
    return {modality.value: asdict(record) for modality, (_, record) in tuned.items()}


def parse_tuned(folder: Path, index: Mapping[str, Any]) -> dict[Modality, TunedBackbone]:
    """What a checkpoint's index says of tuned backbones, whose files are there.

    Raises:
        WeightsError: it is damaged, or a file is not there.
    """
    found = {}
    try:
        for name, values in index.get(TUNED_KEY, {}).items():
            corpora = values["base_corpora"]
            found[Modality(name)] = TunedBackbone(
                base=str(values["base"]),
                base_corpora=None if corpora is None else tuple(corpora),
                tuned_on=tuple(values["tuned_on"]),
                sha256={file: str(values["sha256"][file]) for file in _FILES},
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder}: its list of tuned backbones is damaged ({error})") from error
    for modality in found:
        for file in _FILES:
            path = folder / TUNED_FOLDER / modality.value / file
            if not path.is_file():
                raise WeightsError(
                    f"{path}: is missing. The {modality} backbone was trained along with this "
                    "checkpoint and nobody else has it: copy the whole folder (the hub's commands "
                    "do not carry such checkpoints)"
                )
    return found


def read_tuned(folder: Path, index_file: str) -> dict[Modality, TunedBackbone]:
    """The tuned backbones of a checkpoint, by channel; empty where there are none.

    Raises:
        WeightsError: see `parse_tuned`.
    """
    try:
        index = json.loads((folder / index_file).read_text(encoding="utf-8"))
        return parse_tuned(folder, index)
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / index_file}: is damaged ({error})") from error


def tuned_folder(folder: Path, modality: Modality, record: TunedBackbone) -> Path:
    """The folder of a tuned backbone, all its hashes checked.

    Raises:
        WeightsError: a file is not the one that was written.
    """
    path = folder / TUNED_FOLDER / modality.value
    try:
        sums = hash_backbone(path)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})") from error
    for name, expected in record.sha256.items():
        if sums[name] != expected:
            raise WeightsError(
                f"{path / name}: is not the file that was written (its SHA-256 differs); get the "
                "checkpoint again"
            )
    return path
