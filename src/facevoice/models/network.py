"""The full model's trainable network: standardise, fuse, four heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facevoice.labels import NUM_EMOTIONS, Modality
from facevoice.models.fusion import (
    AttentionFusion,
    Channel,
    ConcatFusion,
    GatedFusion,
    KeyedDropout,
    LateFusion,
    Noise,
    hidden_layer,
)
from facevoice.models.heads import ChannelHead, ConflictHead, LayerMix, Standardize
from facevoice.models.network_config import NetworkConfig


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
        self.noise = Noise()
        dims = {modality: config.dim(modality) for modality in config.modalities}
        whiten = config.input_norm == "whiten"
        self.standardize = nn.ModuleDict(
            {m.value: Standardize(dim, whiten=whiten) for m, dim in dims.items()}
        )
        self.input_dropout = KeyedDropout(config.input_dropout, self.noise)
        mixed = config.audio_layers and Modality.AUDIO in dims
        self.layer_mix = LayerMix(config.audio_layers) if mixed else None
        self.channel_heads = nn.ModuleDict(
            {m.value: ChannelHead(d, config, self.noise) for m, d in dims.items()}
        )
        self.fusion: nn.Module
        self.emotion_head: nn.Module
        if config.fusion == "late":
            self.fusion = LateFusion(config, NUM_EMOTIONS)
            self.emotion_head = nn.Identity()
        else:
            kinds = {"concat": ConcatFusion, "gated": GatedFusion, "attention": AttentionFusion}
            self.fusion = kinds[config.fusion](config, self.noise)
            self.emotion_head = nn.Sequential(
                hidden_layer(config.fused_dim, config.head_dim, config, self.noise),
                nn.Linear(config.head_dim, NUM_EMOTIONS),
            )
        self.conflict_head = ConflictHead(config, self.noise) if config.is_multimodal else None

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
            silent = {m: self._silenced(heads[m], c) for m, c in channels.items()}
            conflict = self.conflict_head(
                fused,
                silent[Modality.VIDEO],
                silent[Modality.AUDIO],
                means[Modality.VIDEO],
                means[Modality.AUDIO],
            )
        return Logits(emotion, face, voice, conflict)

    def fit_inputs(self, modality: Modality, embeddings: Tensor) -> None:
        """Take a channel's statistics from the training set's embeddings (n, D)."""
        standardize = self.standardize[modality.value]
        if isinstance(standardize, Standardize):
            standardize.fit(embeddings, self.config.shrinkage(modality))

    def standardized_tokens(self, modality: Modality, tokens: Tensor) -> Tensor:
        """Tokens (..., D) as the fusion sees them; the same in each epoch, so do it once."""
        result: Tensor = self.standardize[modality.value](tokens.float())
        return result

    def _channel(
        self,
        modality: Modality,
        tokens: Tensor | None,
        mask: Tensor | None,
        standardized: bool,
    ) -> Channel:
        if tokens is None or mask is None:
            raise ValueError(f"the network looks at {modality}, but no such tokens were given")
        if not standardized:
            tokens = self.standardized_tokens(modality, tokens)
        if modality is Modality.AUDIO and self.layer_mix is not None:
            tokens, mask = self.layer_mix(tokens), mask.any(dim=1, keepdim=True)
        # Padding and absent channels may hold anything, also what is not finite.
        tokens = torch.where(mask.unsqueeze(-1), tokens, torch.zeros_like(tokens))
        return Channel(self.input_dropout(tokens), mask)

    @staticmethod
    def _silenced(logits: Tensor, channel: Channel) -> Tensor:
        """An absent channel's posterior is uniform: it says nothing."""
        return torch.where(channel.present, logits, torch.zeros_like(logits))


class HeadsOf(nn.Module):
    """A network that takes its inputs by position and gives only the heads that it has."""

    def __init__(
        self, network: nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.network, self.inputs, self.outputs = network, inputs, outputs

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The logits named in `outputs`."""
        logits = self.network(**dict(zip(self.inputs, values, strict=True)))
        return tuple(getattr(logits, name) for name in self.outputs)


def count_parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
