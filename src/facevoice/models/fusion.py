"""The full model's trainable network: standardise, fuse any subset of channels, four heads.

A missing channel is a mask, never zeros. B batch, T tokens of a channel, D width; a single vector
is the case T = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from facevoice.models.network import NetworkConfig
from facevoice.records import EMOTIONS, NUM_EMOTIONS, Modality


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
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


def _hidden_layer(in_dim: int, out_dim: int, config: NetworkConfig) -> nn.Sequential:
    """Linear, normalisation if wanted, GELU, dropout."""
    norm = nn.LayerNorm(out_dim) if config.layer_norm else nn.Identity()
    return nn.Sequential(nn.Linear(in_dim, out_dim), norm, nn.GELU(), nn.Dropout(config.dropout))


class _AbsentVectors(nn.Module):
    """What stands for a channel that is not there: a vector that is learnt."""

    def __init__(self, dims: Mapping[Modality, int]) -> None:
        super().__init__()
        self.vectors = nn.ParameterDict(
            {modality.value: nn.Parameter(torch.zeros(dim)) for modality, dim in dims.items()}
        )

    def forward(self, modality: Modality, present: Tensor, x: Tensor) -> Tensor:
        return torch.where(present, x, self.vectors[modality.value].to(x.dtype))


class _ConcatFusion(nn.Module):
    """MLP on the concatenated means of the channels."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dims = {modality: config.dim(modality) for modality in config.modalities}
        self.absent = _AbsentVectors(dims)
        self.mlp = nn.Sequential(
            _hidden_layer(sum(dims.values()), config.fused_dim, config),
            _hidden_layer(config.fused_dim, config.fused_dim, config),
        )

    def forward(self, channels: Mapping[Modality, _Channel]) -> Tensor:
        parts = [self.absent(m, c.present, c.mean()) for m, c in channels.items()]
        fused: Tensor = self.mlp(torch.cat(parts, dim=1))
        return fused


class _GatedFusion(nn.Module):
    """Gated multimodal unit: z = Σ_m g_m ∘ tanh(W_m x_m), the gates sum to 1 in each dimension.

    Arevalo et al. (2017), Gated multimodal units for information fusion; softmax over the channels
    that are there in place of one sigmoid. An absent channel's gate is 0, and the others' sum to 1
    without it, so nothing needs to stand for it.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dims = {modality: config.dim(modality) for modality in config.modalities}
        self.project = nn.ModuleDict(
            {m.value: nn.Linear(dim, config.fused_dim) for m, dim in dims.items()}
        )
        self.gate = nn.Linear(config.fused_dim * len(dims), config.fused_dim * len(dims))
        self.out = _hidden_layer(config.fused_dim, config.fused_dim, config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, channels: Mapping[Modality, _Channel]) -> Tensor:
        hidden = [torch.tanh(self.project[m.value](c.mean())) for m, c in channels.items()]
        stacked = torch.stack(hidden, dim=1)  # (B, M, fused_dim)
        gates = self.gate(stacked.flatten(1)).view(stacked.shape)
        present = torch.stack([channel.present for channel in channels.values()], dim=1)
        gates = gates.masked_fill(~present, -1e4).softmax(dim=1)
        fused: Tensor = self.out(self.dropout((gates * stacked).sum(dim=1)))
        return fused


class _AttentionBlock(nn.Module):
    """Pre-norm attention of queries to keys, then a feed-forward layer, both residual."""

    def __init__(self, config: NetworkConfig) -> None:
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
            nn.Dropout(config.dropout),
            nn.Linear(2 * dim, dim),
        )
        self.dropout = nn.Dropout(config.dropout)

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

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_AttentionBlock(config) for _ in range(config.attention_layers)]
        )

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, T, D), of which mask (B, T) are there."""
        for block in self.blocks:
            tokens = block(tokens, tokens, mask)
        return tokens


class _AttentionFusion(nn.Module):
    """Tokens of each channel attend to each other in time, then to the other channel's.

    A channel that is not there is one token, which is learnt. Means of the tokens are projected to
    the fused embedding. Times are sinusoidal, as in Vaswani et al. (2017).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim = config.attention_dim
        names = [modality.value for modality in config.modalities]
        self.absent = _AbsentVectors(dict.fromkeys(config.modalities, dim))
        self.project = nn.ModuleDict(
            {m.value: nn.Linear(config.dim(m), dim) for m in config.modalities}
        )
        self.within = nn.ModuleDict({name: _SelfAttention(config) for name in names})
        self.across = nn.ModuleDict(
            {name: _AttentionBlock(config) for name in names if config.is_multimodal}
        )
        self.norm = nn.LayerNorm(dim * len(names))
        self.out = _hidden_layer(dim * len(names), config.fused_dim, config)

    def forward(self, channels: Mapping[Modality, _Channel]) -> Tensor:
        inner = {modality: self._within(modality, c) for modality, c in channels.items()}
        means = []
        for modality, channel in inner.items():
            tokens = channel.tokens
            for other, keys in inner.items():
                if other is not modality:
                    tokens = self.across[modality.value](tokens, keys.tokens, keys.mask)
            means.append(_Channel(tokens, channel.mask).mean())
        fused: Tensor = self.out(self.norm(torch.cat(means, dim=1)))
        return fused

    def _within(self, modality: Modality, channel: _Channel) -> _Channel:
        tokens = self.project[modality.value](channel.tokens)
        tokens = tokens + _times(tokens.shape[1], tokens.shape[2]).to(tokens)
        tokens = self.absent(modality, channel.present.unsqueeze(-1), tokens)
        first = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0) == 0
        mask = channel.mask | (first & ~channel.present)
        return _Channel(self.within[modality.value](tokens, mask), mask)


def _times(num_tokens: int, dim: int) -> Tensor:
    """Sinusoidal place codes (T, D)."""
    places = torch.arange(num_tokens, dtype=torch.float32).unsqueeze(1)
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(1e4) / dim))
    return torch.cat([torch.sin(places * rates), torch.cos(places * rates)], dim=1)


class _LateFusion(nn.Module):
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
            total = total + weighted.masked_fill(~present[modality], 0.0)
        return total


_TINY = 1e-6
_NULL = 1e-9
_NUM_EVIDENCE = 5
# Rough place and size of each measure, so that all are of one order: log agreement, log sharpness,
# divergence, gaps of valence and of arousal.
_EVIDENCE_CENTRE = [-1.8, -2.5, 0.12, 0.25, 0.25]
_EVIDENCE_SPREAD = [1.0, 1.0, 0.2, 0.5, 0.5]


class _Standardize(nn.Module):
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


class _LayerMix(nn.Module):
    """Learnt weighted mean of backbone layers, (B, L, D) → (B, 1, D).

    Peters et al. (2018), Deep contextualized word representations.
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(num_layers))

    def forward(self, layers: Tensor) -> Tensor:
        return (layers * self.scores.softmax(dim=0)[:, None]).sum(dim=1, keepdim=True)


class _ChannelHead(nn.Module):
    """Emotion from one channel alone, (B, D) → (B, 8)."""

    def __init__(self, dim: int, config: NetworkConfig) -> None:
        super().__init__()
        width = config.channel_dim
        self.hidden = _hidden_layer(dim, width, config) if width else nn.Dropout(config.dropout)
        self.out = nn.Linear(width or dim, NUM_EMOTIONS)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.hidden(x))
        return logits


class _ConflictHead(nn.Module):
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

    def __init__(self, config: NetworkConfig) -> None:
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
        self.mlp = nn.Sequential(_hidden_layer(dim, hidden_dim, config), nn.Linear(hidden_dim, 2))
        # Neutral and calm count as one class, as in `conflict_evidence`.
        clear = [emotion for emotion in EMOTIONS if not emotion.is_flat]
        merge = [[float(e.is_flat), *(float(e is other) for other in clear)] for e in EMOTIONS]
        affect = [[emotion.valence, emotion.arousal] for emotion in EMOTIONS]
        numbers = (merge, affect, _EVIDENCE_CENTRE, _EVIDENCE_SPREAD)
        for name, values in zip(("_merge", "_affect", "_centre", "_spread"), numbers, strict=True):
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


class Logits(NamedTuple):
    """What the heads say: emotion, face, voice (B, 8), conflict (B, 2) as match, conflict.

    None for what the network does not have. Where a channel of an item is masked, its own head and
    the conflict head say nothing of that item, whatever the numbers.
    """

    emotion: Tensor
    face: Tensor | None
    voice: Tensor | None
    conflict: Tensor | None


class FusionNetwork(nn.Module):
    """From both channels' embeddings, any subset of them, to the logits of all heads."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        dims = {modality: config.dim(modality) for modality in config.modalities}
        whiten = config.input_norm == "whiten"
        self.standardize = nn.ModuleDict(
            {m.value: _Standardize(dim, whiten=whiten) for m, dim in dims.items()}
        )
        self.input_dropout = nn.Dropout(config.input_dropout)
        mixed = config.audio_layers and Modality.AUDIO in dims
        self.layer_mix = _LayerMix(config.audio_layers) if mixed else None
        self.channel_heads = nn.ModuleDict(
            {m.value: _ChannelHead(d, config) for m, d in dims.items()}
        )
        self.fusion: nn.Module
        self.emotion_head: nn.Module
        if config.fusion == "late":
            self.fusion = _LateFusion(config, NUM_EMOTIONS)
            self.emotion_head = nn.Identity()
        else:
            kinds = {"concat": _ConcatFusion, "gated": _GatedFusion, "attention": _AttentionFusion}
            self.fusion = kinds[config.fusion](config)
            self.emotion_head = nn.Sequential(
                _hidden_layer(config.fused_dim, config.head_dim, config),
                nn.Linear(config.head_dim, NUM_EMOTIONS),
            )
        self.conflict_head = _ConflictHead(config) if config.is_multimodal else None

    def forward(
        self,
        video: Tensor | None = None,
        video_mask: Tensor | None = None,
        audio: Tensor | None = None,
        audio_mask: Tensor | None = None,
        *,
        standardized: bool = False,
    ) -> Logits:
        """Logits of a batch.

        Args:
            video: (B, T, D) tokens; not used where the network has no such modality.
            video_mask: bool (B, T), which tokens are there; none of them, if the channel is absent.
            audio: (B, S, D) tokens, or layers where the network mixes layers.
            audio_mask: bool (B, S).
            standardized: the tokens are what `standardized_tokens` gave.
        """
        given = {Modality.VIDEO: (video, video_mask), Modality.AUDIO: (audio, audio_mask)}
        channels = {m: self._channel(m, *given[m], standardized) for m in self.config.modalities}
        means = {modality: channel.mean() for modality, channel in channels.items()}
        heads = {m: self.channel_heads[m.value](mean) for m, mean in means.items()}
        face, voice = heads.get(Modality.VIDEO), heads.get(Modality.AUDIO)
        fused: Tensor | None = None
        if self.config.fusion == "late":
            emotion = self.fusion(heads, {m: c.present for m, c in channels.items()})
        else:
            fused = self.fusion(channels)
            emotion = self.emotion_head(fused)
        conflict = None
        if self.conflict_head is not None and face is not None and voice is not None:
            # An absent channel's posterior is uniform: it says nothing.
            silent = (heads[m].masked_fill(~channels[m].present, 0.0) for m in Modality)
            conflict = self.conflict_head(fused, *silent, *(means[m] for m in Modality))
        return Logits(emotion, face, voice, conflict)

    def fit_inputs(self, modality: Modality, embeddings: Tensor) -> None:
        """Take a channel's statistics from the training set's embeddings (n, D)."""
        standardize = self.standardize[modality.value]
        if isinstance(standardize, _Standardize):
            standardize.fit(embeddings, self.config.shrinkage(modality))

    def standardized_tokens(self, modality: Modality, tokens: Tensor) -> Tensor:
        """Tokens (..., D) as the fusion sees them; the same in each epoch, so do it once."""
        result: Tensor = self.standardize[modality.value](tokens.float())
        return result

    def _channel(
        self, modality: Modality, tokens: Tensor | None, mask: Tensor | None, standardized: bool
    ) -> _Channel:
        if tokens is None or mask is None:
            raise ValueError(f"the network looks at {modality}, but no such tokens were given")
        if not standardized:
            tokens = self.standardized_tokens(modality, tokens)
        if modality is Modality.AUDIO and self.layer_mix is not None:
            tokens, mask = self.layer_mix(tokens), mask.any(dim=1, keepdim=True)
        # Padding and absent channels may hold anything, also what is not finite.
        tokens = torch.where(mask.unsqueeze(-1), tokens, torch.zeros_like(tokens))
        return _Channel(self.input_dropout(tokens), mask)


def count_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
