"""What the validation part says after an epoch: one number to compare, and the parts of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol

import numpy as np
import torch
from torch import nn

from facevoice.data.loaders import NetworkInputs
from facevoice.data.targets import UNKNOWN, ClipTargets, IntArray, Items
from facevoice.errors import EvaluationError
from facevoice.evaluation.metrics import auroc, uar
from facevoice.models.network import Logits
from facevoice.models.posteriors import restrict_logits
from facevoice.training.config import LossSettings
from facevoice.training.epochs import Epoch, TargetTable
from facevoice.training.losses import head_losses
from facevoice.types import DoubleArray, FloatArray

CHUNK: Final = 1024


class Gatherer(Protocol):
    """What gives the network's inputs by row: a `FeatureDataset` or a `WindowDataset`."""

    def gather(self, face_rows: IntArray, voice_rows: IntArray) -> NetworkInputs:
        """Faces of some rows with voices of others."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ItemLogits:
    """Logits of all heads of m items, numpy; None where the network lacks a head."""

    emotion: FloatArray
    face: FloatArray | None
    voice: FloatArray | None
    conflict: FloatArray | None

    def tensors(self) -> Logits:
        """As the network gave them."""
        heads = (self.face, self.voice, self.conflict)
        others = [None if head is None else torch.from_numpy(head) for head in heads]
        return Logits(torch.from_numpy(self.emotion), *others)


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Means over the corpora; NaN where a figure is not defined.

    emotion_uar, face_uar, voice_uar: over the clips as they are; conflict_auroc: over pairs (or
    judged clips); loss: all heads, weighed as in training.
    """

    emotion_uar: float
    face_uar: float
    voice_uar: float
    conflict_auroc: float
    loss: float

    def monitored(self, monitor: str) -> float:
        """The number that is compared; higher is better."""
        if monitor == "loss":
            return -self.loss
        if monitor == "uar" or np.isnan(self.conflict_auroc):
            return self.emotion_uar
        return (self.emotion_uar + self.conflict_auroc) / 2

    def as_dict(self) -> dict[str, float]:
        """By name, without what is not defined."""
        values = {field.name: float(getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, value in values.items() if not np.isnan(value)}


def compute_logits(
    network: nn.Module, data: Gatherer, items: Items, chunk: int = CHUNK
) -> ItemLogits:
    """All heads on all items, without dropout, in chunks of `chunk`."""
    was_training = network.training
    network.eval()
    parts: list[Logits] = []
    with torch.no_grad():
        for places in _chunks(len(items), chunk):
            batch = data.gather(items.face_rows[places], items.voice_rows[places])
            parts.append(network(*batch.inputs(), **batch.options()))
    network.train(was_training)
    joined: dict[str, FloatArray | None] = {}
    for name in Logits._fields:
        heads = [getattr(part, name) for part in parts]
        missing = any(head is None for head in heads)
        joined[name] = None if missing else torch.cat(heads).float().cpu().numpy()
    return ItemLogits(**joined)  # type: ignore[arg-type]


def score_validation(
    network: nn.Module,
    data: Gatherer,
    originals: Items,
    pairs: Items,
    table: TargetTable,
    settings: LossSettings,
    chunk: int = CHUNK,
) -> ValidationScores:
    """Figures of merit on the validation part, and its loss."""
    targets = table.targets
    clips = compute_logits(network, data, originals, chunk)
    paired = compute_logits(network, data, pairs, chunk) if len(pairs) else None
    loss = _loss(clips, originals, table, settings, ("emotion", "face", "voice"))
    judged, logits = (pairs, paired) if paired is not None else (originals, clips)
    loss += _loss(logits, judged, table, settings, ("conflict",))
    rows = originals.face_rows
    uars = {
        head: _mean_uar(getattr(clips, head), getattr(targets, head)[rows], targets, rows)
        for head in ("emotion", "face", "voice")
    }
    return ValidationScores(
        emotion_uar=uars["emotion"],
        face_uar=uars["face"],
        voice_uar=uars["voice"],
        conflict_auroc=_mean_auroc(logits.conflict, judged, targets),
        loss=loss,
    )


def _loss(
    logits: ItemLogits,
    items: Items,
    table: TargetTable,
    settings: LossSettings,
    heads: Sequence[str],
) -> float:
    batch = table.gather(Epoch.whole(items))
    tensors = logits.tensors()
    sums, weights = head_losses(tensors, batch, 0.0), batch.weight_sums()
    parts = [
        getattr(settings, head) * float(sums[head]) / max(weights[head], 1e-12)
        for head in heads
        if head in sums
    ]
    return float(sum(parts))


def _mean_uar(
    logits: FloatArray | None, shares: FloatArray, targets: ClipTargets, rows: IntArray
) -> float:
    """UAR against the likeliest target, mean over the corpora."""
    if logits is None:
        return float("nan")
    said = restrict_logits(logits, targets.emotions[rows]).argmax(axis=1)
    known = shares.any(axis=1)
    truth = shares.argmax(axis=1)
    values = []
    for corpus in np.unique(targets.corpora[rows]):
        chosen = known & (targets.corpora[rows] == corpus)
        if chosen.any():
            values.append(uar(truth[chosen], said[chosen]))
    return float(np.mean(values)) if values else float("nan")


def _mean_auroc(logits: FloatArray | None, items: Items, targets: ClipTargets) -> float:
    """AUROC of conflict against match, mean over the corpora that have both."""
    if logits is None:
        return float("nan")
    scores: DoubleArray = (logits[:, 1] - logits[:, 0]).astype(np.float64)
    corpora = targets.corpora[items.face_rows]
    values = []
    for corpus in np.unique(corpora):
        chosen = (corpora == corpus) & (items.conflict != UNKNOWN)
        try:
            values.append(auroc(items.conflict[chosen] > 0.5, scores[chosen]))
        except EvaluationError:
            continue  # this corpus has only one of the two
    return float(np.mean(values)) if values else float("nan")


def _chunks(size: int, chunk: int) -> Iterator[IntArray]:
    for start in range(0, size, chunk):
        yield np.arange(start, min(start + chunk, size))
