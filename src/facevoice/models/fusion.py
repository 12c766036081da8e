"""Fusions of any subset of channels into one embedding; a missing channel is a mask, never zeros.

B batch, T tokens of a channel, D width. A single vector is the case T = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from facevoice.labels import Modality
from facevoice.models.network_config import NetworkConfig

_LEVELS = 256


@dataclass(slots=True)
class Noise:
    """Where dropout's masks come from in a training step.

    They are drawn by numpy for the step's whole batch of `num_items`, then cut to the rows in this
    process: so they are the same on every device and for any number of processes.
    """

    generator: np.random.Generator | None = None
    rows: np.ndarray | None = None
    num_items: int = 0

    def start(self, seed: tuple[int, ...], rows: np.ndarray, num_items: int) -> None:
        """Begin a forward pass over `rows` (B,) of a batch of `num_items`."""
        self.generator = np.random.Generator(np.random.SFC64(seed))
        self.rows = rows
        self.num_items = num_items


class KeyedDropout(nn.Module):
    """Dropout by `Noise`; outside the trainer (no generator) torch's own.

    The rate is rounded to a 256th: one random byte a unit is drawn, which is quick.
    """

    def __init__(self, rate: float, noise: Noise) -> None:
        super().__init__()
        self.level = round(rate * _LEVELS)
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape whose first axis is the batch."""
        if not self.training or self.level == 0:
            return x
        if self.noise.generator is None or self.noise.rows is None:
            return nn.functional.dropout(x, self.level / _LEVELS)
        shape = (self.noise.num_items, *x.shape[1:])
        draws = self.noise.generator.integers(0, _LEVELS, size=shape, dtype=np.uint8)
        kept = torch.from_numpy((draws >= self.level)[self.noise.rows]).to(x.device)
        return x * kept * (_LEVELS / (_LEVELS - self.level))


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """Tokens (B, T, D) of one modality and which of them are there, bool (B, T)."""

    tokens: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """Whether the item has the modality at all, bool (B, 1)."""
        return self.mask.any(dim=1, keepdim=True)

    def mean(self) -> Tensor:
        """Mean of the tokens that are there (B, D); zeros where there is none."""
        weights = self.mask.unsqueeze(-1).to(self.tokens.dtype)
        return (self.tokens * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def hidden_layer(in_dim: int, out_dim: int, config: NetworkConfig, noise: Noise) -> nn.Sequential:
    """Linear, normalisation if wanted, GELU, dropout."""
    norm = nn.LayerNorm(out_dim) if config.layer_norm else nn.Identity()
    return nn.Sequential(
        nn.Linear(in_dim, out_dim), norm, nn.GELU(), KeyedDropout(config.dropout, noise)
    )


class _AbsentVectors(nn.Module):
    """What stands for a channel that is not there: a vector that is learnt."""

    def __init__(self, dims: Mapping[Modality, int]) -> None:
        super().__init__()
        self.vectors = nn.ParameterDict(
            {modality.value: nn.Parameter(torch.zeros(dim)) for modality, dim in dims.items()}
        )

    def forward(self, modality: Modality, present: Tensor, x: Tensor) -> Tensor:
        return torch.where(present, x, self.vectors[modality.value].to(x.dtype))


class ConcatFusion(nn.Module):
    """MLP on the concatenated means of the channels."""

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        dims = {modality: config.dim(modality) for modality in config.modalities}
        self.absent = _AbsentVectors(dims)
        self.mlp = nn.Sequential(
            hidden_layer(sum(dims.values()), config.fused_dim, config, noise),
            hidden_layer(config.fused_dim, config.fused_dim, config, noise),
        )

    def forward(self, channels: Mapping[Modality, Channel]) -> Tensor:
        """Fused embedding (B, fused_dim)."""
        parts = [self.absent(m, c.present, c.mean()) for m, c in channels.items()]
        fused: Tensor = self.mlp(torch.cat(parts, dim=1))
        return fused


class GatedFusion(nn.Module):
    """Gated multimodal unit: z = Σ_m g_m ∘ tanh(W_m x_m), the gates sum to 1 in each dimension.

    Arevalo et al. (2017), Gated multimodal units for information fusion; softmax over the channels
    that are there in place of one sigmoid. An absent channel's gate is 0, and the others' sum to 1
    without it, so nothing needs to stand for it.
    """

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        dims = {modality: config.dim(modality) for modality in config.modalities}
        self.project = nn.ModuleDict(
            {m.value: nn.Linear(dim, config.fused_dim) for m, dim in dims.items()}
        )
        self.gate = nn.Linear(config.fused_dim * len(dims), config.fused_dim * len(dims))
        self.out = hidden_layer(config.fused_dim, config.fused_dim, config, noise)
        self.dropout = KeyedDropout(config.dropout, noise)

    def forward(self, channels: Mapping[Modality, Channel]) -> Tensor:
        """Fused embedding (B, fused_dim)."""
        hidden, present = [], []
        for modality, channel in channels.items():
            hidden.append(torch.tanh(self.project[modality.value](channel.mean())))
            present.append(channel.present)
        stacked = torch.stack(hidden, dim=1)  # (B, M, fused_dim)
        gates = self.gate(stacked.flatten(1)).view(stacked.shape)
        gates = gates.masked_fill(~torch.stack(present, dim=1), -1e4).softmax(dim=1)
        fused: Tensor = self.out(self.dropout((gates * stacked).sum(dim=1)))
        return fused


class _AttentionBlock(nn.Module):
    """Pre-norm attention of queries to keys, then a feed-forward layer, both residual."""

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        dim = config.attention_dim
        self.num_heads = config.attention_heads
        self.norm_query, self.norm_key = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_forward = nn.LayerNorm(dim)
        self.forward_layer = nn.Sequential(
            nn.Linear(dim, 2 * dim),
            nn.GELU(),
            KeyedDropout(config.dropout, noise),
            nn.Linear(2 * dim, dim),
        )
        self.dropout = KeyedDropout(config.dropout, noise)

    def forward(self, x: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
        """x (B, T, D) asks keys (B, S, D), of which key_mask (B, S) are there."""
        query = self._split(self.query(self.norm_query(x)))
        key, value = (
            self._split(part) for part in self.key_value(self.norm_key(keys)).chunk(2, dim=-1)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        scores = scores.masked_fill(~key_mask[:, None, None, :], -1e4)
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(mixed))
        result: Tensor = x + self.dropout(self.forward_layer(self.norm_forward(x)))
        return result

    def _split(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        return x.view(batch, tokens, self.num_heads, dim // self.num_heads).transpose(1, 2)


class _SelfAttention(nn.Module):
    """Layers in which the tokens of one channel attend to each other."""

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_AttentionBlock(config, noise) for _ in range(config.attention_layers)]
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, T, D), of which mask (B, T) are there."""
        for block in self.blocks:
            tokens = block(tokens, tokens, mask)
        return tokens


class AttentionFusion(nn.Module):
    """Tokens of each channel attend to each other in time, then to the other channel's.

    A channel that is not there is one token, which is learnt. Means of the tokens are projected to
    the fused embedding. Times are sinusoidal, as in Vaswani et al. (2017).
    """

    def __init__(self, config: NetworkConfig, noise: Noise) -> None:
        super().__init__()
        dim = config.attention_dim
        names = [modality.value for modality in config.modalities]
        self.absent = _AbsentVectors(dict.fromkeys(config.modalities, dim))
        self.project = nn.ModuleDict(
            {m.value: nn.Linear(config.dim(m), dim) for m in config.modalities}
        )
        self.within = nn.ModuleDict({name: _SelfAttention(config, noise) for name in names})
        self.across = nn.ModuleDict(
            {name: _AttentionBlock(config, noise) for name in names if config.is_multimodal}
        )
        self.norm = nn.LayerNorm(dim * len(names))
        self.out = hidden_layer(dim * len(names), config.fused_dim, config, noise)

    def forward(self, channels: Mapping[Modality, Channel]) -> Tensor:
        """Fused embedding (B, fused_dim)."""
        inner = {modality: self._within(modality, c) for modality, c in channels.items()}
        means = []
        for modality, channel in inner.items():
            tokens = channel.tokens
            for other, keys in inner.items():
                if other is not modality:
                    tokens = self.across[modality.value](tokens, keys.tokens, keys.mask)
            means.append(Channel(tokens, channel.mask).mean())
        fused: Tensor = self.out(self.norm(torch.cat(means, dim=1)))
        return fused

    def _within(self, modality: Modality, channel: Channel) -> Channel:
        tokens = self.project[modality.value](channel.tokens)
        tokens = tokens + _times(tokens.shape[1], tokens.shape[2]).to(tokens)
        tokens = self.absent(modality, channel.present.unsqueeze(-1), tokens)
        first = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0) == 0
        mask = channel.mask | (first & ~channel.present)
        return Channel(self.within[modality.value](tokens, mask), mask)


def _times(num_tokens: int, dim: int) -> Tensor:
    """Sinusoidal place codes (T, D)."""
    places = torch.arange(num_tokens, dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(1e4) / dim))
    return torch.cat([torch.sin(places * rates), torch.cos(places * rates)], dim=1)


class LateFusion(nn.Module):
    """Product of experts: Σ_m w_m log p_m + b over the channels that are there, w_m > 0.

    Hinton (2002), Training products of experts by minimizing contrastive divergence.
    """

    def __init__(self, config: NetworkConfig, num_classes: int) -> None:
        super().__init__()
        self.log_weights = nn.ParameterDict(
            {m.value: nn.Parameter(torch.zeros(())) for m in config.modalities}
        )
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(
        self, logits: Mapping[Modality, Tensor], present: Mapping[Modality, Tensor]
    ) -> Tensor:
        """Fused logits (B, K) from the channels' logits (B, K) each."""
        total: Tensor = self.bias
        for modality, values in logits.items():
            weighted = self.log_weights[modality.value].exp() * values.log_softmax(dim=-1)
            total = total + torch.where(present[modality], weighted, torch.zeros_like(weighted))
        return total
