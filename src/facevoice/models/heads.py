"""Parts of the network around the fusion: standardised inputs, and the heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facevoice.labels import EMOTIONS, NUM_EMOTIONS, Modality
from facevoice.models.fusion import KeyedDropout, Noise, hidden_layer
from facevoice.models.network_config import NetworkConfig

_TINY = 1e-6
_NULL = 1e-9
_NUM_EVIDENCE = 5
# Rough place and size of each measure, so that all are of one order: log agreement, log sharpness,
# divergence, gaps of valence and of arousal.
_EVIDENCE_CENTRE = [-1.8, -2.5, 0.12, 0.25, 0.25]
_EVIDENCE_SPREAD = [1.0, 1.0, 0.2, 0.5, 0.5]


class Standardize(nn.Module):
    """(x − mean) / scale with the training set's statistics, kept with the weights.

    With whitening, the result is also turned and scaled to unit covariance, (x' U) / √(λ + s): U, λ
    are the eigenvectors and eigenvalues of the covariance of x', s the shrinkage. Embeddings vary
    most by who is seen or heard, and emotion hides in directions that vary little; gradient steps
    find it only where all directions are alike. Directions that never vary become 0.
    """

    mean: Tensor
    scale: Tensor
    turn: Tensor | None

    def __init__(self, dim: int, *, whiten: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("turn", torch.eye(dim) if whiten else None)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D)."""
        centred = (x - self.mean) / self.scale
        return centred if self.turn is None else centred @ self.turn

    @torch.no_grad()
    def fit(self, x: Tensor, shrinkage: float) -> None:
        """Take the statistics from x (n, D); a dimension that never varies is only centred."""
        values = x.double()
        mean, deviation = values.mean(dim=0), values.std(dim=0, unbiased=False)
        steady = deviation <= _TINY * (1.0 + mean.abs())
        scale = torch.where(steady, torch.ones_like(deviation), deviation)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if self.turn is not None:
            centred = (values - mean) / scale
            variances, directions = torch.linalg.eigh(centred.T @ centred / len(values))
            varies = variances > _NULL * variances.max()
            gains = torch.where(varies, (variances.clamp(min=0) + shrinkage).rsqrt(), 0.0)
            self.turn.copy_(directions * gains)


class LayerMix(nn.Module):
    """Learnt weighted mean of backbone layers, (B, L, D) → (B, 1, D).

    Peters et al. (2018), Deep contextualized word representations.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: Tensor) -> Tensor:
        """The mix."""
        return (layers * self.scores.softmax(dim=0)[:, None]).sum(dim=1, keepdim=True)


class ChannelHead(nn.Module):
    """Emotion from one channel alone, (B, D) → (B, 8)."""

    def __init__(self, dim: int, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        self.hidden = (
            hidden_layer(dim, config.channel_dim, config, noise)
            if config.channel_dim
            else KeyedDropout(config.dropout, noise)
        )
        self.out = nn.Linear(config.channel_dim or dim, NUM_EMOTIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.out(self.hidden(x))
        return logits


class ConflictHead(nn.Module):
    """Match or conflict, (B, 2).

    plain: an MLP on the fused embedding, which must find agreement by itself. agreement: a linear
    model on soft measures of how well the channels' posteriors agree, plus an MLP on those and on
    the posteriors' outer product (and, if wanted, on products and differences of the projected
    channels). It never sees the fused embedding, by which it would only learn speakers by heart.
    """

    _merge: Tensor
    _affect: Tensor
    _centre: Tensor
    _spread: Tensor

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        self.is_plain = config.conflict_head == "plain"
        if self.is_plain:
            dim, hidden_dim = config.fused_dim, config.head_dim
        else:
            dim, hidden_dim = _NUM_EVIDENCE + (NUM_EMOTIONS - 1) ** 2, config.agreement_dim
            self.linear = nn.Linear(_NUM_EVIDENCE, 2)
        self.project = nn.ModuleDict()
        if config.interaction_dim and not self.is_plain:
            self.project = nn.ModuleDict(
                {m.value: nn.Linear(config.dim(m), config.interaction_dim) for m in Modality}
            )
            self.norm = nn.LayerNorm(2 * config.interaction_dim)
            dim += 2 * config.interaction_dim
        self.mlp = nn.Sequential(
            hidden_layer(dim, hidden_dim, config, noise), nn.Linear(hidden_dim, 2)
        )
        # Neutral and calm count as one class, as in `conflict_evidence`.
        clear = [emotion for emotion in EMOTIONS if not emotion.is_flat]
        merge = [[float(e.is_flat), *(float(e is other) for other in clear)] for e in EMOTIONS]
        affect = [[emotion.valence, emotion.arousal] for emotion in EMOTIONS]
        for name, values in (
            ("_merge", merge),
            ("_affect", affect),
            ("_centre", _EVIDENCE_CENTRE),
            ("_spread", _EVIDENCE_SPREAD),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(
        self, fused: Tensor | None, face: Tensor, voice: Tensor, video: Tensor, audio: Tensor
    ) -> Tensor:
        """fused (B, F) or None; face, voice: logits (B, 8); video, audio: embeddings (B, D)."""
        if self.is_plain:
            plain: Tensor = self.mlp(fused)
            return plain
        p, q = face.softmax(dim=-1), voice.softmax(dim=-1)
        merged_p, merged_q = p @ self._merge, q @ self._merge
        evidence = self._evidence(p, q, merged_p, merged_q)
        evidence = (evidence - self._centre) / self._spread
        joint = (merged_p[:, :, None] * merged_q[:, None, :]).clamp(min=_TINY).sqrt().flatten(1)
        parts = [evidence, (NUM_EMOTIONS - 1) * joint - 1]
        if self.project:
            left = self.project[Modality.VIDEO.value](video)
            right = self.project[Modality.AUDIO.value](audio)
            parts.append(self.norm(torch.cat([left * right, (left - right).abs()], dim=1)))
        logits: Tensor = self.linear(evidence) + self.mlp(torch.cat(parts, dim=1))
        return logits

    def _evidence(self, p: Tensor, q: Tensor, merged_p: Tensor, merged_q: Tensor) -> Tensor:
        """(B, 5): the compact family's soft measures of agreement, see `conflict_evidence`."""
        middle = (merged_p + merged_q) / 2
        divergence = (_relative_entropy(merged_p, middle) + _relative_entropy(merged_q, middle)) / 2
        agreement = (merged_p * merged_q).sum(dim=1)
        sharpness = (merged_p**2).sum(dim=1) * (merged_q**2).sum(dim=1)
        gaps = ((p - q) @ self._affect).abs()
        logs = torch.stack([agreement, sharpness], dim=1).clamp(min=_TINY).log()
        return torch.cat([logs, divergence[:, None], gaps], dim=1)


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    return (p * ((p + _TINY) / (q + _TINY)).log()).sum(dim=1)
