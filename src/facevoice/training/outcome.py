"""What a trained network says of a part of the split: figures, and a run for `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from torch import nn

from facevoice.data.pairs import Pair
from facevoice.data.targets import Items, join_items, original_items
from facevoice.errors import EvaluationError
from facevoice.evaluation.metrics import auroc, best_threshold, uar
from facevoice.evaluation.predictions import (
    ConflictPredictions,
    DataFile,
    EmotionPredictions,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
    write_run,
)
from facevoice.labels import Modality
from facevoice.models.checkpoint_info import Calibration, CheckpointInfo, Figure
from facevoice.models.posteriors import restrict_logits, temper
from facevoice.toml_settings import build_settings
from facevoice.training.config import TrainConfig
from facevoice.training.data import TrainingData
from facevoice.training.validation import CHUNK, Gatherer, ItemLogits, compute_logits
from facevoice.types import BoolArray, DoubleArray

_PERCEIVED: Final = {
    "emotion": Target.PERCEIVED_BOTH,
    "face": Target.PERCEIVED_FACE,
    "voice": Target.PERCEIVED_VOICE,
}


@dataclass(frozen=True, slots=True, eq=False)
class PartOutcome:
    """Logits of a part's clips and, where there are any, of its pairs."""

    part: str
    clip_items: Items
    clip_logits: ItemLogits
    pairs: tuple[Pair, ...]
    pair_items: Items
    pair_logits: ItemLogits | None


def score_part(
    network: nn.Module, inputs: Gatherer, data: TrainingData, part: str, config: TrainConfig
) -> PartOutcome:
    """Run the network over a part."""
    chunk = config.train.batch_size if config.finetune.is_on else CHUNK
    originals = data.originals(part, judged=config.targets.conflict == "perceived")
    pairs = tuple(pair for found in data.pairs[part].values() for pair in found)
    items = original_items(np.zeros(0, dtype=np.int64))
    for found in data.pair_items(part):
        items = join_items(items, found)
    return PartOutcome(
        part=part,
        clip_items=originals,
        clip_logits=compute_logits(network, inputs, originals, chunk),
        pairs=pairs,
        pair_items=items,
        pair_logits=compute_logits(network, inputs, items, chunk) if len(items) else None,
    )


def part_figures(
    outcome: PartOutcome, data: TrainingData, calibration: Calibration
) -> Iterator[Figure]:
    """UAR of each emotion head and AUROC of conflict, by corpus."""
    targets, rows = data.targets, outcome.clip_items.face_rows
    corpora = targets.corpora[rows]
    present = data.present()
    heads: dict[str, BoolArray] = {
        "emotion": np.ones(len(rows), dtype=np.bool_),
        "face": present[Modality.VIDEO][rows],
        "voice": present[Modality.AUDIO][rows],
    }
    for corpus in np.unique(corpora):
        for head, there in heads.items():
            logits = getattr(outcome.clip_logits, head)
            shares = getattr(targets, head)[rows]
            chosen = there & (corpora == corpus) & shares.any(axis=1)
            if logits is None or not chosen.any():
                continue
            said = restrict_logits(logits[chosen], targets.emotions[rows][chosen]).argmax(axis=1)
            value = uar(shares[chosen].argmax(axis=1), said)
            yield Figure(outcome.part, str(corpus), f"{head}_uar", value)
    if outcome.pair_logits is not None and outcome.pair_logits.conflict is not None:
        items = outcome.pair_items
        scores = conflict_probs(outcome.pair_logits, calibration)
        for corpus in np.unique(targets.corpora[items.face_rows]):
            chosen = targets.corpora[items.face_rows] == corpus
            value = auroc(items.conflict[chosen] > 0.5, scores[chosen])
            yield Figure(outcome.part, str(corpus), "conflict_auroc", value)


def conflict_probs(logits: ItemLogits, calibration: Calibration) -> DoubleArray:
    """Probability (m,) that face and voice differ.

    Raises:
        EvaluationError: the network tells no conflict.
    """
    if logits.conflict is None:
        raise EvaluationError("the network has one channel only, so it tells no conflict")
    return temper(logits.conflict, calibration.conflict)[:, 1]


def write_predictions(
    folder: Path,
    tested: PartOutcome,
    held: PartOutcome | None,
    data: TrainingData,
    info: CheckpointInfo,
    command: str,
) -> None:
    """Write a part's predictions as a run, thresholds fixed on `held`; replaces an earlier run.

    Raises:
        EvaluationError: the folder holds something else.
    """
    emotions = clip_predictions(tested, data, info)
    conflicts = pair_predictions(tested, held, data, info)
    write_run(
        folder,
        run_info(folder.parent.name, info, command, has_pairs=conflicts is not None),
        emotions,
        conflicts,
        overwrite=True,
    )


def clip_predictions(
    outcome: PartOutcome, data: TrainingData, info: CheckpointInfo
) -> EmotionPredictions:
    """Posteriors of a part's clips, NaN where a channel is missing."""
    rows = outcome.clip_items.face_rows
    clips = [data.table.clips[row] for row in rows]
    present = data.present()
    there = {"face": present[Modality.VIDEO][rows], "voice": present[Modality.AUDIO][rows]}
    columns: dict[str, DoubleArray] = {}
    for column, head in (("fused", "emotion"), ("face", "face"), ("voice", "voice")):
        logits = getattr(outcome.clip_logits, head)
        if logits is not None:
            probs = temper(logits, getattr(info.calibration, head))
            if column in there:
                probs = np.where(there[column][:, None], probs, np.nan)
            columns[column] = probs
    return emotion_predictions(clips, fold=[data.split.name] * len(clips), **columns)


def pair_predictions(
    outcome: PartOutcome, held: PartOutcome | None, data: TrainingData, info: CheckpointInfo
) -> ConflictPredictions | None:
    """Conflict scores of a part's pairs, None where none can be told."""
    logits = outcome.pair_logits
    if logits is None or logits.conflict is None or logits.face is None or logits.voice is None:
        return None
    threshold = np.nan
    if held is not None and held.pair_logits is not None:
        try:
            threshold = best_threshold(
                held.pair_items.conflict > 0.5, conflict_probs(held.pair_logits, info.calibration)
            )
        except EvaluationError:
            threshold = np.nan  # one class only: no threshold can be fixed
    face = temper(logits.face, info.calibration.face)
    voice = temper(logits.voice, info.calibration.voice)
    items = outcome.pair_items
    face = np.exp(restrict_logits(np.log(face), data.targets.emotions[items.face_rows]))
    voice = np.exp(restrict_logits(np.log(voice), data.targets.emotions[items.voice_rows]))
    return conflict_predictions(
        outcome.pairs,
        {clip.clip_id: clip for clip in data.table.clips},
        conflict_probs(logits, info.calibration),
        fold=[data.split.name] * len(outcome.pairs),
        baseline_differs=face.argmax(axis=1) != voice.argmax(axis=1),
        threshold=np.full(len(outcome.pairs), threshold),
        clarity=np.minimum(face.max(axis=1), voice.max(axis=1)),
    )


def run_info(
    name: str,
    info: CheckpointInfo,
    command: str,
    *,
    has_pairs: bool,
) -> RunInfo:
    """What stands beside the figures of the run."""
    channels = " and ".join(info.network.modalities)
    perceived = info.data.emotion_target == "perceived"
    config = build_settings(TrainConfig, info.settings)
    kind = "embeddings trained along" if config.finetune.is_on else "frozen embeddings"
    return RunInfo(
        name=name or "training",
        title=f"{info.network.fusion} fusion of {channels}",
        model=(
            f"facevoice network on {kind} of {channels}, {info.network.fusion} fusion, "
            f"{info.training.num_parameters:,} trained parameters"
        ),
        corpora=info.data.corpora,
        protocol=(
            f"speaker-independent: {info.data.split}; epoch, temperatures and thresholds from the "
            "validation speakers"
        ),
        command=command,
        emotion_target=_PERCEIVED["emotion"] if perceived else Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT if has_pairs else None,
        score_is_probability=True,
        backbones=tuple(
            UsedBackbone(used.backbone, used.training_corpora if used.corpora_known else None)
            for used in info.backbones.values()
        ),
        data=(DataFile(info.data.source, info.data.source_sha256),),
        notes=info.notes,
    )
