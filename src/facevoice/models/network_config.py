"""What shape the full model's trainable network has; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from facevoice.labels import Modality
from facevoice.toml_settings import require

FUSIONS: Final = ("concat", "gated", "attention", "late")
INPUT_NORMS: Final = ("standardize", "whiten")
CONFLICT_HEADS: Final = ("plain", "agreement")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network on top of the backbones: input widths, fusion, heads."""

    modalities: tuple[Modality, ...] = (Modality.VIDEO, Modality.AUDIO)
    """What the network looks at: both, or one for a baseline without fusion and conflict."""
    fusion: str = "concat"
    """concat: MLP on both embeddings; gated: a gate weighs the channels, dimension by dimension;
    attention: tokens of each channel attend to each other and to the other channel's;
    late: weighted product of the channels' posteriors."""
    video_dim: int = 768
    """Width of the video backbone's embeddings."""
    audio_dim: int = 1024
    """Width of the audio backbone's embeddings."""
    input_norm: str = "whiten"
    """standardize: each input to mean 0 and variance 1 over the training set; whiten: all inputs of
    a channel to unit covariance too, where the training rows are at least twice as many."""
    video_shrinkage: float = 0.05
    """Added to the variances when video embeddings are whitened: directions that vary less are
    left small."""
    audio_shrinkage: float = 3.0
    """The same for audio embeddings."""
    fused_dim: int = 512
    """Width of the fused embedding."""
    head_dim: int = 256
    """Hidden width of the fused emotion head and of the plain conflict head."""
    channel_dim: int = 256
    """Hidden width of the face and voice heads; 0 makes them linear."""
    conflict_head: str = "agreement"
    """plain: looks at the fused embedding; agreement: at how well the channels' posteriors agree.
    """
    agreement_dim: int = 64
    """Hidden width of the agreement head."""
    interaction_dim: int = 0
    """If above 0, the agreement head also looks at products and differences of the channels,
    projected to this width."""
    dropout: float = 0.6
    """Share of hidden units dropped in training."""
    input_dropout: float = 0.3
    """Share of inputs dropped in training."""
    layer_norm: bool = True
    """Normalise the hidden layers of the fusion."""
    attention_dim: int = 256
    """Width of the tokens in attention."""
    attention_heads: int = 4
    """Heads of the attention."""
    attention_layers: int = 1
    """Layers of self-attention in each channel, before the channels meet."""
    audio_layers: int = 0
    """If above 0, the audio rows of a clip are this many backbone layers, not moments; their mix
    is learnt."""

    def __post_init__(self) -> None:
        known = bool(self.modalities) and len(set(self.modalities)) == len(self.modalities)
        require(known, "modalities", [str(m) for m in self.modalities], "video, audio, or both")
        require(self.fusion in FUSIONS, "fusion", self.fusion, ", ".join(FUSIONS))
        norms = ", ".join(INPUT_NORMS)
        require(self.input_norm in INPUT_NORMS, "input_norm", self.input_norm, norms)
        for name in ("video_shrinkage", "audio_shrinkage"):
            require(0 < getattr(self, name) <= 100, name, getattr(self, name), "above 0, to 100")
        heads = ", ".join(CONFLICT_HEADS)
        require(self.conflict_head in CONFLICT_HEADS, "conflict_head", self.conflict_head, heads)
        for name in ("video_dim", "audio_dim", "fused_dim", "head_dim", "agreement_dim"):
            require(1 <= getattr(self, name) <= 65536, name, getattr(self, name), "1–65536")
        for name in ("channel_dim", "interaction_dim"):
            require(0 <= getattr(self, name) <= 65536, name, getattr(self, name), "0–65536")
        for name in ("dropout", "input_dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 to below 1")
        divides = self.attention_heads > 0 and self.attention_dim % self.attention_heads == 0
        require(
            divides and self.attention_dim % 2 == 0,
            "attention_dim",
            self.attention_dim,
            "even, and a multiple of attention_heads",
        )
        require(0 <= self.attention_layers <= 12, "attention_layers", self.attention_layers, "0–12")
        require(0 <= self.audio_layers <= 100, "audio_layers", self.audio_layers, "0–100")
        if self.fusion == "late":
            plain_allowed = self.conflict_head != "plain" or len(self.modalities) == 1
            require(plain_allowed, "conflict_head", "plain", "late fusion has no embedding for it")

    @property
    def is_multimodal(self) -> bool:
        """Whether both channels are there, and so a conflict can be told."""
        return len(self.modalities) == len(Modality)

    def dim(self, modality: Modality) -> int:
        """Width of a channel's embeddings."""
        return self.video_dim if modality is Modality.VIDEO else self.audio_dim

    def with_dim(self, modality: Modality, dim: int) -> NetworkConfig:
        """The same for embeddings of another width."""
        if modality is Modality.VIDEO:
            return replace(self, video_dim=dim)
        return replace(self, audio_dim=dim)

    def shrinkage(self, modality: Modality) -> float:
        """Shrinkage of a channel's whitening."""
        return self.video_shrinkage if modality is Modality.VIDEO else self.audio_shrinkage
