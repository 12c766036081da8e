"""The network that brings its backbones: windows in, logits out, and a part of it all trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from facevoice.data.clips import Clip
from facevoice.data.feature_table import FeatureTable
from facevoice.data.window_cache import ClipWindows
from facevoice.data.window_loader import ChannelTokens, ChannelWindows, WindowDataset
from facevoice.errors import ConfigError
from facevoice.features.backbone import Backbone
from facevoice.features.differentiable import (
    add_adapters,
    compute_twice,
    free_layers,
    runner,
    tunable,
)
from facevoice.features.extract import backbone_id
from facevoice.features.stacked import split_name
from facevoice.labels import Modality
from facevoice.models.network import FusionNetwork, Logits
from facevoice.training.config import FinetuneSettings, TrainConfig
from facevoice.training.data import TrainingData


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What training of backbones needs besides stored embeddings.

    backbones: by channel that is tuned, loaded on the CPU, those that made the embeddings;
    cut_windows: gives the windows of the clips that are wanted of each channel;
    checkpointing: compute layers again in the backward pass, to save memory.
    """

    backbones: Mapping[Modality, Backbone]
    cut_windows: Callable[[Mapping[Modality, Sequence[Clip]]], ClipWindows]
    checkpointing: bool = False


def tuned_modalities(config: TrainConfig) -> tuple[Modality, ...]:
    """The channels whose backbone is trained; the others' stored embeddings are taken.

    Raises:
        ConfigError: layers of a channel are to be trained that the network does not look at.
    """
    settings = config.finetune
    if settings.lora_rank:
        return config.network.modalities
    layers = num_layers(settings)
    for modality, number in layers.items():
        if number and modality not in config.network.modalities:
            raise ConfigError(
                f"finetune.{modality}_layers is {number}, but network.modalities has no {modality}"
            )
    return tuple(m for m in config.network.modalities if layers[m])


def num_layers(settings: FinetuneSettings) -> dict[Modality, int]:
    """By channel, how many last layers are trained."""
    return {Modality.VIDEO: settings.video_layers, Modality.AUDIO: settings.audio_layers}


class FinetuneNetwork(nn.Module):
    """A fusion network and the backbones of some of its channels.

    Dropout, layer drop and masking of the backbones stay off: what a step does follows from the
    seed alone, and few layers or adapters at a low rate need little of it.

    Args:
        fusion: at its start; its input statistics are those of the untuned embeddings.
        backbones: loaded; they are changed in place.
        rows: by channel, "layers", "tokens" or None: what the fusion takes of a backbone.
        settings: which part of them is trained.
        seed: of the adapters' first weights.
        checkpointing: see `Tuning`.

    Raises:
        ConfigError: a backbone can't be trained, or not like that.
        MissingExtraError: adapters are wanted and peft is not installed.
    """

    def __init__(
        self,
        fusion: FusionNetwork,
        backbones: Mapping[Modality, Backbone],
        rows: Mapping[Modality, str | None],
        settings: FinetuneSettings,
        *,
        seed: int,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.noise = fusion.noise
        self.rows = dict(rows)
        self.tuned = {m: tunable(backbone) for m, backbone in backbones.items()}
        torch.manual_seed(seed)
        for modality, backbone in self.tuned.items():
            backbone.network.requires_grad_(False)
            if settings.lora_rank:
                add_adapters(backbone, settings.lora_rank, settings.lora_alpha)
            else:
                free_layers(backbone, num_layers(settings)[modality])
            if checkpointing:
                compute_twice(backbone)
        self.runs = {m: runner(backbone, self.rows[m]) for m, backbone in self.tuned.items()}
        # Under this name the optimizer gives them their own rate.
        self.backbones = nn.ModuleDict({m.value: b.network for m, b in self.tuned.items()})
        self.train()

    def train(self, mode: bool = True) -> FinetuneNetwork:
        """Only the fusion changes: backbones are always in evaluation mode."""
        super().train(mode)
        self.backbones.eval()
        return self

    def forward(
        self,
        video: ChannelWindows | ChannelTokens | None = None,
        audio: ChannelWindows | ChannelTokens | None = None,
    ) -> Logits:
        """Logits of a batch (see `data.window_loader.WindowBatch`)."""
        given = {Modality.VIDEO: video, Modality.AUDIO: audio}
        inputs: dict[Modality, tuple[Tensor | None, Tensor | None]] = {}
        for modality, channel in given.items():
            if isinstance(channel, ChannelWindows):
                inputs[modality] = self.tokens(modality, channel)
            elif channel is not None:
                inputs[modality] = (channel.tokens, channel.mask)
        nothing = (None, None)
        logits: Logits = self.fusion(
            *inputs.get(Modality.VIDEO, nothing), *inputs.get(Modality.AUDIO, nothing)
        )
        return logits

    def tokens(self, modality: Modality, channel: ChannelWindows) -> tuple[Tensor, Tensor]:
        """What a store would give of the items: tokens (B, T, D) and mask bool (B, T)."""
        if not channel.inputs:
            return self._nothing(modality, channel)
        rows = self.runs[modality](channel.inputs).float()
        if self.rows[modality] == "tokens":
            return _joined(rows, channel)
        num_clips = int(channel.clips.max()) + 1
        share = rows.new_zeros(num_clips, len(rows))
        share[channel.clips, torch.arange(len(rows), device=rows.device)] = channel.weights
        with torch.autocast(rows.device.type, enabled=False):  # means in full precision
            clips = (share @ rows.flatten(1)).reshape(num_clips, *rows.shape[1:])
        return clips[channel.items], channel.present[:, None].expand(-1, rows.shape[1])

    def _nothing(self, modality: Modality, channel: ChannelWindows) -> tuple[Tensor, Tensor]:
        """No item shows the channel; still, every process must have a gradient to exchange."""
        dim = self.fusion.config.dim(modality)
        tokens = channel.weights.new_zeros(len(channel.present), channel.num_tokens, dim)
        for parameter in self.backbones[modality.value].parameters():
            if parameter.requires_grad:
                tokens = tokens + 0.0 * parameter.sum()
        return tokens, channel.present[:, None].expand(-1, channel.num_tokens)


def start_finetune(
    config: TrainConfig,
    data: TrainingData,
    fusion: FusionNetwork,
    tuning: Tuning | None,
    device: torch.device,
) -> tuple[FinetuneNetwork, WindowDataset]:
    """The network of a run at its start, and its inputs: windows of all clips of the run.

    Raises:
        ConfigError: there is nothing to cut windows from, or see `build_finetune`.
        CorpusError: windows can't be cut.
    """
    if tuning is None:
        raise ConfigError(
            "[finetune] trains backbones on the films themselves: name a table of clips, not a "
            "file of embeddings"
        )
    network = build_finetune(config, data.table, fusion, tuning)
    present, clips = data.present(), data.table.clips
    wanted = {m: [clips[row] for row in np.flatnonzero(present[m])] for m in network.tuned}
    prepare = {m: backbone.input.prepare for m, backbone in network.tuned.items()}
    windows = tuning.cut_windows(wanted)
    return network, WindowDataset(data.table, config.network.modalities, prepare, windows, device)


def build_finetune(
    config: TrainConfig, table: FeatureTable, fusion: FusionNetwork, tuning: Tuning
) -> FinetuneNetwork:
    """The network of a run at its start.

    Raises:
        ConfigError: see `FinetuneNetwork`; or a backbone is not the one that made the embeddings.
    """
    rows = {}
    for modality in tuned_modalities(config):
        stored, _, revision = table.arrays[modality].backbone.rpartition("@")
        rows[modality] = split_name(stored)[1]
        found = backbone_id(tuning.backbones[modality])
        if found.rpartition("@")[2] != revision:
            raise ConfigError(
                f"the stored {modality} embeddings are of {stored}@{revision}, but the backbone to "
                f"be trained is {found}; name the right one by --backbone"
            )
    return FinetuneNetwork(
        fusion,
        {m: tuning.backbones[m] for m in rows},
        rows,
        config.finetune,
        seed=config.run.seed,
        checkpointing=tuning.checkpointing,
    )


def _joined(rows: Tensor, channel: ChannelWindows) -> tuple[Tensor, Tensor]:
    """Tokens of a clip's windows, one window after the other."""
    num_clips, most = int(channel.clips.max()) + 1, channel.num_tokens // rows.shape[1]
    where = (channel.clips, channel.positions)
    clips = rows.new_zeros(num_clips, most, *rows.shape[1:]).index_put(where, rows)
    there = torch.zeros(num_clips, most, dtype=torch.bool, device=rows.device)
    there[where] = True
    mask = there.repeat_interleave(rows.shape[1], dim=1)[channel.items]
    return clips.flatten(1, 2)[channel.items], mask & channel.present[:, None]
