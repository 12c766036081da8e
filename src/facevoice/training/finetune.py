"""Tuned backbones on disk, in the form in which backbones are published."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from facevoice.backbones.differentiable import (
    add_adapters,
    compute_twice,
    free_layers,
    merged_weights,
    runner,
    tunable,
)
from facevoice.backbones.huggingface import FaceInput, VideoMae, Wav2Vec2
from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, split_name
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError, WeightsError
from facevoice.models.checkpoint import (
    CONFIG,
    PREPROCESSOR,
    WEIGHTS,
    CheckpointInfo,
    TunedBackbone,
    UsedEmbeddings,
    hash_backbone,
    save_checkpoint,
)
from facevoice.models.fusion import FusionNetwork, Logits
from facevoice.records import SAMPLE_RATE_HZ, Modality
from facevoice.store import backbone_id
from facevoice.training.config import FinetuneSettings, TrainConfig
from facevoice.training.data import (
    ChannelTokens,
    ChannelWindows,
    ClipWindows,
    FeatureTable,
    TrainingData,
    WindowDataset,
)

_FUSION: Final = "fusion."


def fusion_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a `FinetuneNetwork`'s weights, those of the fusion under their own names."""
    return {n.removeprefix(_FUSION): t for n, t in weights.items() if n.startswith(_FUSION)}


def save_tuned(
    folder: Path, network: FinetuneNetwork, weights: Mapping[str, Tensor], info: CheckpointInfo
) -> CheckpointInfo:
    """Write a checkpoint that brings the backbones that were trained along, in place of another.

    Args:
        folder: of the checkpoint.
        network: holds the weights that are kept.
        weights: of the whole network, from the trainer.
        info: what the checkpoint says of itself, of the backbones as they were before.

    Returns:
        The same with the tuned backbones' names, for predictions of the run's own test part. None
        of its speakers was tuned on, so there the corpora are those that the bases had seen.

    Raises:
        WeightsError: see `save_checkpoint`; or a tuned weight is not finite.
    """
    with TemporaryDirectory(prefix=".backbones.", dir=folder.parent) as scratch:
        tuned = write_backbones(network, Path(scratch), info.data.corpora)
        used = {
            modality: used_tuned(info.backbones[modality], network.rows[modality], path, record)
            for modality, (path, record) in tuned.items()
        }
        own = replace(info, backbones={**info.backbones, **used})
        save_checkpoint(folder, fusion_weights(weights), own, overwrite=True, tuned=tuned)
    bases = {
        m: replace(info.backbones[m], backbone=embeddings.backbone)
        for m, embeddings in own.backbones.items()
    }
    return replace(info, backbones=bases)


def write_backbones(
    network: FinetuneNetwork, folder: Path, tuned_on: tuple[str, ...]
) -> dict[Modality, tuple[Path, TunedBackbone]]:
    """Write every tuned backbone to a folder of its own, adapters merged.

    Args:
        network: with the weights that are kept.
        folder: takes the folders.
        tuned_on: corpora of the clips that it was trained and chosen on.

    Raises:
        WeightsError: a weight is not finite.
    """
    written = {}
    for modality, backbone in network.tuned.items():
        target = folder / modality.value
        target.mkdir(parents=True)
        corpora = backbone.spec.training_corpora
        known = None if corpora == UNKNOWN_CORPORA else corpora
        _write(backbone, target, tuned_on)
        record = TunedBackbone(backbone_id(backbone), known, tuned_on, hash_backbone(target))
        written[modality] = (target, record)
    return written


def used_tuned(
    used: UsedEmbeddings, rows: str | None, path: Path, tuned: TunedBackbone
) -> UsedEmbeddings:
    """What a checkpoint says of the embeddings of a tuned backbone.

    Its id is the one that the backbone has when it is named by its folder, and its corpora are
    those of its base and those that it was tuned on.
    """
    end = "" if rows is None else f"+{rows}"
    corpora = (*(tuned.base_corpora or ()), *tuned.tuned_on)
    return replace(
        used,
        backbone=f"folder:{path.name}{end}@{tuned.sha256[WEIGHTS][:12]}",
        training_corpora=tuple(dict.fromkeys(corpora)),
        corpora_known=tuned.base_corpora is not None,
    )


def _write(backbone: VideoMae | Wav2Vec2, folder: Path, tuned_on: tuple[str, ...]) -> None:
    weights = {name: tensor.contiguous() for name, tensor in merged_weights(backbone).items()}
    broken = sorted(name for name, t in weights.items() if not bool(torch.isfinite(t).all()))
    if broken:
        raise WeightsError(
            f"{backbone.spec.name}: tuned weights are not finite ({', '.join(broken[:5])}); lower "
            "train.backbone_learning_rate"
        )
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    backbone.network.config.save_pretrained(folder)
    text = json.dumps(_preprocessor(backbone), indent=2)
    (folder / PREPROCESSOR).write_text(f"{text}\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(backbone, tuned_on), encoding="utf-8")
    for name in (WEIGHTS, CONFIG, PREPROCESSOR):
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def _preprocessor(backbone: VideoMae | Wav2Vec2) -> dict[str, Any]:
    """What `from_config` of its input reads back as the same input."""
    given = backbone.input
    if isinstance(given, FaceInput):
        return {
            "do_resize": True,
            "size": {"shortest_edge": given.resize_px},
            "do_center_crop": True,
            "crop_size": {"height": given.side_px, "width": given.side_px},
            "do_rescale": True,
            "do_normalize": True,
            "resample": given.resample,
            "image_mean": list(given.mean),
            "image_std": list(given.std),
        }
    return {
        "do_normalize": given.normalize,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "sampling_rate": SAMPLE_RATE_HZ,
        "return_attention_mask": isinstance(backbone, Wav2Vec2) and backbone.takes_mask,
    }


def _card(backbone: VideoMae | Wav2Vec2, tuned_on: tuple[str, ...]) -> str:
    spec = backbone.spec
    corpora = "not known" if spec.training_corpora == UNKNOWN_CORPORA else None
    before = corpora or ", ".join(spec.training_corpora) or "none"
    return (
        f"---\nlicense: other\nlicense_name: {json.dumps(spec.license, ensure_ascii=False)}\n---\n"
        f"# {backbone_id(backbone)}, trained along with a facevoice network\n\n"
        f"Tuned on {', '.join(tuned_on)}; before that, its base was trained on: {before}. Figures "
        "on these corpora say nothing of new data, but for speakers that the checkpoint around it "
        "held out. The licence of the base holds on, and the terms of the corpora with it.\n"
    )


# The network that brings its backbones: windows in, logits out, and a part of it all trained.


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
