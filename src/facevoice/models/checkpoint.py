"""Heads of the compact family to and from their file; nothing is ever unpickled."""

from __future__ import annotations

import io
from typing import IO
from zipfile import BadZipFile

import numpy as np

from facevoice.errors import WeightsError
from facevoice.labels import NUM_EMOTIONS, Emotion, Modality
from facevoice.models.compact import CompactModel, ConflictHead, LateFusion, LinearHead
from facevoice.results import Thresholds


def save_model(model: CompactModel, file: IO[bytes]) -> None:
    """Write a model as an npz of plain arrays, the same bytes for the same numbers."""
    arrays: dict[str, object] = {
        "fusion.weights": np.array([model.fusion.face_weight, model.fusion.voice_weight]),
        "fusion.bias": model.fusion.bias,
        "conflict.mean": model.conflict.mean,
        "conflict.scale": model.conflict.scale,
        "conflict.weight": model.conflict.weight,
        "conflict.bias": np.array(model.conflict.bias),
        "thresholds": np.array(
            [
                model.thresholds.conflict_above,
                model.thresholds.match_below,
                model.thresholds.flat_above,
                model.thresholds.clear_above,
            ]
        ),
        "emotions": np.array([e.value for e in Emotion]),
    }
    for modality, head in model.heads.items():
        arrays[f"{modality}.mean"] = head.mean
        arrays[f"{modality}.scale"] = head.scale
        arrays[f"{modality}.weight"] = head.weight.astype(np.float32)
        arrays[f"{modality}.bias"] = head.bias
    np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]


def load_model(content: bytes) -> CompactModel:
    """Read what `save_model` wrote.

    Raises:
        WeightsError: the bytes are no such file, or one for other emotions or evidence.
    """
    try:
        return _read_model(content)
    except (ValueError, KeyError, OSError, BadZipFile) as error:
        raise WeightsError(f"heads: not a file of compact heads ({error})") from error


def _read_model(content: bytes) -> CompactModel:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        if [str(e) for e in arrays["emotions"]] != [e.value for e in Emotion]:
            raise WeightsError("heads: made for another list of emotions")
        heads = {
            m: LinearHead(
                arrays[f"{m}.mean"].astype(np.float64),
                arrays[f"{m}.scale"].astype(np.float64),
                arrays[f"{m}.weight"].astype(np.float64),
                arrays[f"{m}.bias"].astype(np.float64),
            )
            for m in Modality
        }
        face_weight, voice_weight = (float(w) for w in arrays["fusion.weights"])
        fusion = LateFusion(face_weight, voice_weight, arrays["fusion.bias"])
        conflict = ConflictHead(
            arrays["conflict.mean"],
            arrays["conflict.scale"],
            arrays["conflict.weight"],
            float(arrays["conflict.bias"]),
        )
        thresholds = Thresholds(*(float(t) for t in arrays["thresholds"]))
    if fusion.bias.shape != (NUM_EMOTIONS,):
        raise WeightsError(f"heads: fusion bias has shape {fusion.bias.shape}")
    return CompactModel(heads, fusion, conflict, thresholds)
