"""How far an exported model's answers are from those of the checkpoint in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.assembly import assemble, build_backbones, find_checkpoint
from facevoice.errors import WeightsError
from facevoice.export.samples import Rows, Samples
from facevoice.labels import Modality
from facevoice.models.compact import Posteriors
from facevoice.models.decision import choose_outcome
from facevoice.models.export_folder import Parity, read_export
from facevoice.models.family import CheckpointModel, Model
from facevoice.types import DoubleArray, FeatureSet

MAX_DIFFERENCE: Final = 1e-3
"""An fp32 export whose probabilities differ from torch's by more is refused."""


def compare_posteriors(
    theirs: Sequence[Posteriors],
    ours: Sequence[Posteriors],
    model: Model,
    precision: str,
    samples: Samples,
) -> Parity:
    """Differences over all probabilities of all windows; theirs is torch's, ours the export's."""
    pairs = list(zip(theirs, ours, strict=True))
    gaps = np.concatenate([np.abs(_numbers(a) - _numbers(b)) for a, b in pairs])
    changed = sum(
        choose_outcome(a, model.thresholds)[0] is not choose_outcome(b, model.thresholds)[0]
        for a, b in pairs
    )
    return Parity(
        precision=precision,
        windows=samples.origin,
        num_windows=len(pairs),
        max_difference=float(gaps.max()),
        mean_difference=float(gaps.mean()),
        num_outcomes_changed=changed,
    )


def refuse_far(where: Path, parity: Parity) -> None:
    """Make sure that an fp32 export says what torch says.

    Raises:
        WeightsError: it differs by more than `MAX_DIFFERENCE`, or is not finite.
    """
    if parity.precision == "fp32" and not parity.max_difference <= MAX_DIFFERENCE:
        raise WeightsError(
            f"{where}: probabilities of the fp32 export differ from torch's by up to "
            f"{parity.max_difference:.1e} ({parity.windows}), more than {MAX_DIFFERENCE:g}; it is "
            "refused. Versions of torch, onnx and onnxruntime may not suit each other"
        )


def feature_sets(samples: Samples, rows: Mapping[Modality, Rows]) -> list[FeatureSet]:
    """Embeddings by channel, put together window by window."""
    sets = []
    for place, window in enumerate(samples.windows):
        embeddings = {m: found[place] for m, found in rows.items()}
        there = {m: e for m, e in embeddings.items() if e is not None}
        sets.append(FeatureSet(window.start_s, window.end_s, there, {}))
    return sets


def check_export(
    checkpoint: Path,
    exported: Path,
    samples: Samples,
    *,
    backbones: Sequence[str] = (),
    num_threads: int = 1,
) -> Parity:
    """Hold an exported folder against its checkpoint: hashes, and probabilities on windows.

    Raises:
        WeightsError: a file is damaged, it was made from another checkpoint, or it is fp32 and
            differs by more than `MAX_DIFFERENCE`.
        ConfigError, MissingExtraError: see `facevoice.assembly.assemble`.
    """
    folder = find_checkpoint(checkpoint)
    model = CheckpointModel.load(folder)
    index = read_export(exported)[0]
    if index.checkpoint_sha256 != model.heads.sha256:
        raise WeightsError(
            f"{exported}: was exported from {index.checkpoint} ({index.checkpoint_sha256[:12]}), "
            f"not from {folder} ({model.heads.sha256[:12]})"
        )
    built = build_backbones(folder, model.info, backbones, num_threads=num_threads)
    rows = {modality: samples.embed(modality, found[1]) for modality, found in built.items()}
    theirs = model.predict(feature_sets(samples, rows))
    del built  # before the others are loaded
    ours = assemble(exported, num_threads=num_threads)
    rows = {modality: samples.embed(modality, found) for modality, found in ours.backbones.items()}
    said = ours.model.predict(feature_sets(samples, rows))
    parity = compare_posteriors(theirs, said, model, index.precision, samples)
    refuse_far(exported, parity)
    return parity


def _numbers(posteriors: Posteriors) -> DoubleArray:
    """All probabilities of a window, one after the other."""
    parts = (posteriors.face, posteriors.voice, posteriors.fused)
    known = [part for part in parts if part is not None]
    if posteriors.conflict is not None:
        known.append(np.array([posteriors.conflict]))
    return np.concatenate(known)
