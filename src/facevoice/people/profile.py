"""A person's baseline as a file: statistics of face and voice, and which networks they fit.

No names, no paths, no pictures, no sound. Even so it is personal data: the means tell one person's
face and voice from another's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from facevoice.errors import ProfileError
from facevoice.files import write_atomically
from facevoice.people.baseline import Baseline, Usual
from facevoice.plain import parse_json, read_bounded
from facevoice.records import EMOTIONS, Emotion, Modality, ModelId

PROFILE_NOTICE: Final = (
    "Statistics of one person's face and voice, by which that person may be recognised: personal "
    "data. Keep it only with their consent, and delete this file to be rid of it."
)
_SCHEMA: Final = "facevoice.profile"
_VERSION: Final = 1
_REMEDY: Final = "Make it again: facevoice profile RECORDING… --out"
_MAX_VALUE: Final = 1e9
# What makes the embeddings of each channel, by its role in a report.
_ROLES: Final = {Modality.VIDEO: ("detector", "face"), Modality.AUDIO: ("voice",)}


def save_profile(baseline: Baseline, path: str | Path, models: Mapping[str, ModelId]) -> None:
    """Write what is usual for a person, readable by nobody else but this user.

    Args:
        baseline: such as `Analyzer.get_to_know` gives.
        path: replaced if it is there.
        models: `Analyzer.models`, which made the embeddings.

    Raises:
        ProfileError: the baseline is empty, or the file can't be written.
    """
    if not baseline:
        raise ProfileError(path, "nothing is known of the person, so nothing is written.")
    document = {
        "schema": _SCHEMA,
        "schema_version": _VERSION,
        "notice": PROFILE_NOTICE,
        "channels": {m.value: _channel(baseline[m], _made_by(m, models)) for m in sorted(baseline)},
    }
    try:
        write_atomically(Path(path), json.dumps(document) + "\n", is_private=True)
    except OSError as error:
        raise ProfileError(path, f"can't be written ({error.strerror}).") from error


def load_profile(path: str | Path, models: Mapping[str, ModelId]) -> Baseline:
    """Read what `save_profile` wrote.

    Args:
        path: of the profile.
        models: those of the analyzer that is to compare with it.

    Raises:
        ProfileError: the file can't be read, is damaged, of another version, or its statistics are
            of embeddings that other networks made.
    """
    values = _read(Path(path))
    try:
        channels = msgspec.convert(values.get("channels"), dict[Modality, _Channel])
        baseline = {modality: channel.usual() for modality, channel in channels.items()}
        if not baseline:
            raise ValueError("no channel")
    except (msgspec.ValidationError, ValueError) as error:
        raise ProfileError(path, f"is damaged ({error}).", _REMEDY) from error
    for modality, channel in channels.items():
        if channel.models != _made_by(modality, models):
            raise ProfileError(
                path,
                f"its {'face' if modality is Modality.VIDEO else 'voice'} was read by other "
                "networks than those of this analysis, so the two can't be compared.",
                f"{_REMEDY} {path}, with the same --checkpoint as here.",
            )
    return baseline


def is_profile(path: str | Path) -> bool:
    """Whether a file says that it is a profile, of whatever version."""
    try:
        return bool(_read(Path(path), any_version=True))
    except ProfileError:
        return False


def _read(path: Path, *, any_version: bool = False) -> dict[str, Any]:
    try:
        values = parse_json(read_bounded(path))
    except OSError as error:
        raise ProfileError(path, f"can't be read ({error.strerror}).") from error
    except ValueError as error:
        raise ProfileError(path, f"is no profile, or damaged ({error}).", _REMEDY) from error
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise ProfileError(path, f'is no profile: "schema" is not "{_SCHEMA}".')
    version = values.get("schema_version")
    if version != _VERSION and not any_version:
        problem = f"has version {version!r}; this facevoice reads {_VERSION}."
        raise ProfileError(path, problem, _REMEDY)
    return values


def _made_by(modality: Modality, models: Mapping[str, ModelId]) -> dict[str, ModelId]:
    return {role: models[role] for role in _ROLES[modality] if role in models}


def _channel(usual: Usual, models: dict[str, ModelId]) -> dict[str, Any]:
    return {
        "models": {role: asdict(model) for role, model in models.items()},
        "num_windows": _number(usual.num_windows),
        "probs": {e.value: _number(p) for e, p in zip(EMOTIONS, usual.probs, strict=True)},
        "mean": [_number(value) for value in usual.mean],
    }


def _number(value: float) -> float:
    """Seven digits: as many as an embedding has."""
    return float(f"{value:.7g}")


@dataclass(frozen=True, slots=True)
class _Channel:
    """What a file holds of a channel."""

    models: dict[str, ModelId]
    num_windows: float
    probs: dict[Emotion, float]
    mean: list[float]

    def usual(self) -> Usual:
        """ValueError if no statistics are so."""
        probs = np.array([self.probs.get(emotion, np.nan) for emotion in EMOTIONS])
        mean = np.array(self.mean)
        is_sound = mean.size > 0 and bool((np.abs(mean) < _MAX_VALUE).all())
        is_sound &= 0 < self.num_windows < _MAX_VALUE
        if not (is_sound and (probs >= 0).all() and abs(probs.sum() - 1) < 1e-3):
            raise ValueError("numbers that no statistics have")
        return Usual(self.num_windows, mean, probs / probs.sum())
