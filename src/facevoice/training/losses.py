"""Multi-task loss with masks: what nobody labelled, or a channel does not show, costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facevoice.models.fusion import Logits
from facevoice.records import BoolArray, DoubleArray, Emotion, FloatArray, IntArray, Modality
from facevoice.training.config import LossSettings
from facevoice.training.data import UNKNOWN, ClipTargets, FeatureTable, Items

_NEUTRAL, _CALM = Emotion.NEUTRAL.position, Emotion.CALM.position
_NEVER = -1e4


def restrict_logits(logits: FloatArray | DoubleArray, emotions: BoolArray) -> DoubleArray:
    """Log-probabilities (n, 8) given that the emotion is one that the corpus has, bool (n, 8).

    Where it has neutral but no calm, calm counts as neutral: its speakers were not asked to act the
    two apart.
    """
    logs = logits.astype(np.float64)
    folds = emotions[:, _NEUTRAL] & ~emotions[:, _CALM]
    logs[folds, _NEUTRAL] = np.logaddexp(logs[folds, _NEUTRAL], logs[folds, _CALM])
    logs = np.where(emotions, logs, -1e9)
    restricted: DoubleArray = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return restricted


class HeadTargets(NamedTuple):
    """What one head is to say of a batch.

    wanted: shares (B, 8) over the emotions, or the probability of conflict (B,); whatever where
    its weight is 0;
    weight (B,): 0 where the head is not asked;
    emotions bool (B, 8): those that the clips' corpora have; all, for conflict.
    """

    wanted: Tensor
    weight: Tensor
    emotions: Tensor

    def take(self, rows: Tensor, counts: Tensor, device: torch.device) -> HeadTargets:
        """Some rows on a device; those that don't count (bool) weigh nothing."""
        weight = self.weight[rows] * counts
        kept = (self.wanted[rows], weight, self.emotions[rows])
        return HeadTargets(*(tensor.to(device) for tensor in kept))


def emotion_loss(logits: Tensor, shares: Tensor, emotions: Tensor, smoothing: float) -> Tensor:
    """−Σ_k q_k log p_k (B,), over the emotions that an item may have.

    In a corpus with neutral but no calm, calm may occur, and p of neutral is that of "neutral or
    calm"; other emotions that the corpus lacks take no part. q are the shares, smoothed over the
    corpus' own emotions (Szegedy et al. 2016, Rethinking the Inception architecture).

    Args:
        logits: (B, 8).
        shares: (B, 8), rows that sum to 1, or 0 where nothing is known.
        emotions: bool (B, 8), those that the item's corpus has.
        smoothing: share of q that is spread.
    """
    folds = emotions[:, _NEUTRAL] & ~emotions[:, _CALM]
    calm = torch.zeros_like(emotions)
    calm[:, _CALM] = folds
    log_probs = logits.float().masked_fill(~(emotions | calm), _NEVER).log_softmax(dim=-1)
    either = torch.logaddexp(log_probs[:, _NEUTRAL], log_probs[:, _CALM])
    neutral = torch.where(folds, either, log_probs[:, _NEUTRAL])
    known = shares.sum(dim=-1, keepdim=True)
    spread = emotions / emotions.sum(dim=-1, keepdim=True).clamp(min=1)
    wanted = (1 - smoothing) * shares + smoothing * known * spread
    others = (wanted * log_probs.masked_fill(~emotions, 0.0)).sum(dim=-1)
    return -(others + wanted[:, _NEUTRAL] * (neutral - log_probs[:, _NEUTRAL]))


def conflict_loss(logits: Tensor, conflict: Tensor) -> Tensor:
    """Cross-entropy (B,) of match and conflict (B, 2) against the probability of conflict (B,)."""
    log_probs = logits.float().log_softmax(dim=-1)
    return -(conflict * log_probs[:, 1] + (1 - conflict) * log_probs[:, 0])


def head_losses(
    logits: Logits, targets: Mapping[str, HeadTargets], smoothing: float
) -> dict[str, Tensor]:
    """Weighted sums over the batch, by head; heads that the network lacks are left out."""
    sums: dict[str, Tensor] = {}
    for head, (wanted, weight, emotions) in targets.items():
        said = getattr(logits, head)
        if said is None:
            continue
        if head == "conflict":
            loss = conflict_loss(said, wanted)
        else:
            loss = emotion_loss(said, wanted, emotions, smoothing)
        sums[head] = (loss * weight).sum()
    return sums


def weight_sums(targets: Mapping[str, HeadTargets]) -> dict[str, float]:
    """Sum of the weights by head; those of a whole step, whoever computes it, divide its losses."""
    return {head: float(target.weight.double().sum()) for head, target in targets.items()}


def total_loss(
    sums: Mapping[str, Tensor], weights: Mapping[str, float], settings: LossSettings
) -> Tensor:
    """Σ_h λ_h Σ_i w_i l_i / Σ_i w_i: mean loss of each head over the whole step, weighed.

    Args:
        sums: weighted sums of the losses over the rows in this process.
        weights: sums of the weights over the whole step.
        settings: λ of each head.
    """
    parts = [
        getattr(settings, head) * total / max(weights[head], 1e-12) for head, total in sums.items()
    ]
    return torch.stack(parts).sum()


class TargetTable:
    """Targets of all clips, from which a step's are gathered.

    Weights are balanced over the training clips only; others get those of their class.
    """

    def __init__(
        self,
        table: FeatureTable,
        targets: ClipTargets,
        train_rows: IntArray,
        settings: LossSettings,
    ) -> None:
        self.targets = targets
        self.seen = table.present(Modality.VIDEO)
        self.heard = table.present(Modality.AUDIO)
        self._weights = {
            head: _balanced_weights(getattr(targets, head), targets, train_rows, settings)
            for head in ("emotion", "face", "voice")
        }

    def gather(self, items: Items) -> dict[str, HeadTargets]:
        """By head; a head is asked only of what the item shows and labels say."""
        targets, face, voice = self.targets, items.face_rows, items.voice_rows
        seen = self.seen[face] & ~items.hides_face
        heard = self.heard[voice] & ~items.hides_voice
        asked = {
            "emotion": (face, items.same_emotion & (seen | heard)),
            "face": (face, seen),
            "voice": (voice, heard),
        }
        found: dict[str, HeadTargets] = {}
        for head, (rows, is_asked) in asked.items():
            shares = getattr(targets, head)[rows]
            weight = (shares * self._weights[head][rows]).sum(axis=1) * is_asked
            found[head] = HeadTargets(
                *(torch.from_numpy(array) for array in (shares, weight, targets.emotions[rows]))
            )
        weight = (seen & heard & (items.conflict != UNKNOWN)).astype(np.float32)
        found["conflict"] = HeadTargets(
            torch.from_numpy(items.conflict),
            torch.from_numpy(weight),
            torch.ones_like(found["emotion"].emotions),
        )
        return found


def _balanced_weights(
    shares: FloatArray, targets: ClipTargets, rows: IntArray, settings: LossSettings
) -> FloatArray:
    """Weight of each emotion of each clip (n, 8), mean 1 over the training `rows` with a target.

    The emotions of a corpus count alike if wanted; a corpus counts as the number of its speakers to
    `corpus_power`: many clips of one speaker teach little about others.
    """
    weights = np.ones(shares.shape, dtype=np.float64)
    total = 0.0
    for corpus in np.unique(targets.corpora[rows]):
        members = rows[targets.corpora[rows] == corpus]
        mass = shares[members].sum(axis=0)
        counts = np.where(mass > 0, 1.0 / np.maximum(mass, 1e-9), 0.0)
        if settings.class_weights == "none":
            counts = (mass > 0).astype(np.float64)
        worth = len(np.unique(targets.speakers[members])) ** settings.corpus_power
        total += worth * bool(mass.any())
        weights[targets.corpora == corpus] = counts * worth / max((counts * mass).sum(), 1e-12)
    known = float(shares[rows].any(axis=1).sum())
    trained = np.isin(targets.corpora, targets.corpora[rows])
    weights[trained] *= known / max(total, 1e-12)
    return weights.astype(np.float32)
