"""Multi-task loss with masks: what nobody labelled, or a channel does not show, costs nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from facevoice.models.fusion import Logits
from facevoice.training.config import LossSettings
from facevoice.training.data import CALM, NEUTRAL

_NEVER = -1e4


@dataclass(frozen=True, slots=True, eq=False)
class BatchTargets:
    """Targets of a batch.

    emotion, face, voice: shares (B, 8); conflict (B,): 0 to 1, whatever where its weight is 0;
    *_weight (B,): 0 where a head is not asked;
    face_emotions, voice_emotions: bool (B, 8), those that the clips' corpora have; of the face's
    clip for the fused emotion too.
    """

    emotion: Tensor
    face: Tensor
    voice: Tensor
    conflict: Tensor
    emotion_weight: Tensor
    face_weight: Tensor
    voice_weight: Tensor
    conflict_weight: Tensor
    face_emotions: Tensor
    voice_emotions: Tensor

    def take(self, rows: slice | Tensor) -> BatchTargets:
        """Some rows."""
        return BatchTargets(*(getattr(self, name)[rows] for name in self.__slots__))

    def counted(self, counts: Tensor) -> BatchTargets:
        """The same with weight 0 where `counts` (B,) bool is False."""
        names = ("emotion_weight", "face_weight", "voice_weight", "conflict_weight")
        return replace(self, **{name: getattr(self, name) * counts for name in names})

    def to(self, device: torch.device) -> BatchTargets:
        """On a device."""
        return BatchTargets(*(getattr(self, name).to(device) for name in self.__slots__))

    def weight_sums(self) -> dict[str, float]:
        """By head, over this batch; divide by those of the whole step, whoever computes it."""
        names = ("emotion", "face", "voice", "conflict")
        return {name: float(getattr(self, f"{name}_weight").double().sum()) for name in names}


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
    folds = emotions[:, NEUTRAL] & ~emotions[:, CALM]
    calm = torch.zeros_like(emotions)
    calm[:, CALM] = folds
    log_probs = logits.float().masked_fill(~(emotions | calm), _NEVER).log_softmax(dim=-1)
    either = torch.logaddexp(log_probs[:, NEUTRAL], log_probs[:, CALM])
    neutral = torch.where(folds, either, log_probs[:, NEUTRAL])
    known = shares.sum(dim=-1, keepdim=True)
    spread = emotions / emotions.sum(dim=-1, keepdim=True).clamp(min=1)
    wanted = (1 - smoothing) * shares + smoothing * known * spread
    others = (wanted * log_probs.masked_fill(~emotions, 0.0)).sum(dim=-1)
    return -(others + wanted[:, NEUTRAL] * (neutral - log_probs[:, NEUTRAL]))


def conflict_loss(logits: Tensor, conflict: Tensor) -> Tensor:
    """Cross-entropy (B,) of match and conflict (B, 2) against the probability of conflict (B,)."""
    log_probs = logits.float().log_softmax(dim=-1)
    return -(conflict * log_probs[:, 1] + (1 - conflict) * log_probs[:, 0])


def head_losses(logits: Logits, targets: BatchTargets, smoothing: float) -> dict[str, Tensor]:
    """Weighted sums over the batch, by head; heads that the network lacks are left out."""
    faces, voices = targets.face_emotions, targets.voice_emotions
    items: dict[str, Tensor] = {
        "emotion": emotion_loss(logits.emotion, targets.emotion, faces, smoothing)
    }
    if logits.face is not None:
        items["face"] = emotion_loss(logits.face, targets.face, faces, smoothing)
    if logits.voice is not None:
        items["voice"] = emotion_loss(logits.voice, targets.voice, voices, smoothing)
    if logits.conflict is not None:
        items["conflict"] = conflict_loss(logits.conflict, targets.conflict)
    return {name: (loss * getattr(targets, f"{name}_weight")).sum() for name, loss in items.items()}


def total_loss(
    sums: dict[str, Tensor], weight_sums: dict[str, float], settings: LossSettings
) -> Tensor:
    """Σ_h λ_h Σ_i w_i l_i / Σ_i w_i: mean loss of each head over the whole step, weighed.

    Args:
        sums: weighted sums of the losses over the rows in this process.
        weight_sums: sums of the weights over the whole step.
        settings: λ of each head.
    """
    parts = [
        getattr(settings, name) * total / max(weight_sums[name], 1e-12)
        for name, total in sums.items()
    ]
    return torch.stack(parts).sum()
