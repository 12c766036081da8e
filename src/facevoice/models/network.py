"""What shape the full model's trainable network has; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from facevoice.records import Modality
from facevoice.settings import require

FUSIONS: Final = ("concat", "gated", "attention", "late")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network on top of the backbones: input widths, fusion, heads."""

    # What the network looks at: both, or one for a baseline without fusion and conflict.
    modalities: tuple[Modality, ...] = (Modality.VIDEO, Modality.AUDIO)
    # concat: MLP on both embeddings; gated: a gate weighs the channels, dimension by dimension;
    # attention: tokens of each channel attend to each other and to the other channel's;
    # late: weighted product of the channels' posteriors.
    fusion: str = "concat"
    video_dim: int = 768  # width of the video backbone's embeddings
    audio_dim: int = 1024  # width of the audio backbone's embeddings
    # standardize: each input to mean 0 and variance 1 over the training set; whiten: all inputs of
    # a channel to unit covariance too, where the training rows are at least twice as many.
    input_norm: str = "whiten"
    # Added to the variances when embeddings are whitened: directions that vary less are left small.
    video_shrinkage: float = 0.05
    audio_shrinkage: float = 3.0
    fused_dim: int = 512  # width of the fused embedding
    head_dim: int = 256  # hidden width of the fused emotion head and of the plain conflict head
    channel_dim: int = 256  # hidden width of the face and voice heads; 0 makes them linear
    # plain: looks at the fused embedding; agreement: at how well the channels' posteriors agree.
    conflict_head: str = "agreement"
    agreement_dim: int = 64  # hidden width of the agreement head
    # If above 0, the agreement head also looks at products and differences of the channels,
    # projected to this width.
    interaction_dim: int = 0
    dropout: float = 0.6  # share of hidden units dropped in training
    input_dropout: float = 0.3  # share of inputs dropped in training
    layer_norm: bool = True  # normalise the hidden layers of the fusion
    attention_dim: int = 256  # width of the tokens in attention
    attention_heads: int = 4
    attention_layers: int = 1  # of self-attention in each channel, before the channels meet
    # If above 0, the audio rows of a clip are this many backbone layers, not moments; their mix is
    # learnt.
    audio_layers: int = 0

    def __post_init__(self) -> None:
        known = bool(self.modalities) and len(set(self.modalities)) == len(self.modalities)
        require(known, "modalities", [str(m) for m in self.modalities], "video, audio, or both")
        for name, choices in (
            ("fusion", FUSIONS),
            ("input_norm", ("standardize", "whiten")),
            ("conflict_head", ("plain", "agreement")),
        ):
            require(getattr(self, name) in choices, name, getattr(self, name), ", ".join(choices))
        for names, low, high in (
            (("video_shrinkage", "audio_shrinkage"), 1e-12, 100),
            (("video_dim", "audio_dim", "fused_dim", "head_dim", "agreement_dim"), 1, 65536),
            (("channel_dim", "interaction_dim"), 0, 65536),
            (("dropout", "input_dropout"), 0, 1 - 1e-9),
            (("attention_layers",), 0, 12),
            (("audio_layers",), 0, 100),
        ):
            for name in names:
                value = getattr(self, name)
                require(low <= value <= high, name, value, f"{low:g}–{high:g}")
        divides = self.attention_heads > 0 and self.attention_dim % self.attention_heads == 0
        require(
            divides and self.attention_dim % 2 == 0,
            "attention_dim",
            self.attention_dim,
            "even, and a multiple of attention_heads",
        )
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
        is_video = modality is Modality.VIDEO
        return replace(self, video_dim=dim) if is_video else replace(self, audio_dim=dim)

    def shrinkage(self, modality: Modality) -> float:
        """Shrinkage of a channel's whitening."""
        return self.video_shrinkage if modality is Modality.VIDEO else self.audio_shrinkage
