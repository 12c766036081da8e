"""Training the backbones themselves: windows in, logits out, and a part of it all trained.

At the start, windows say what the stored embeddings of them say, up to rounding: the same inputs,
layers and means.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from facevoice.backbones.huggingface import (
    FaceInput,
    VideoMae,
    Wav2Vec2,
    encoder_layers,
    pool_tokens,
)
from facevoice.backbones.registry import (
    NUM_AUDIO_TOKENS,
    create_backbone,
    split_name,
    spread_tokens,
    stack,
)
from facevoice.backbones.spec import UNKNOWN_CORPORA, Backbone, backbone_id
from facevoice.corpora.extract import RAW, ClipReader, extract_clips, identify
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError, CorpusError, WeightsError
from facevoice.models.checkpoint import (
    BACKBONE_FILES,
    CheckpointInfo,
    TunedBackbone,
    hash_backbone,
    save_checkpoint,
)
from facevoice.models.fusion import FusionNetwork, Logits
from facevoice.records import (
    SAMPLE_RATE_HZ,
    BoolArray,
    ByteArray,
    FloatArray,
    IntArray,
    Modality,
    Window,
    WindowView,
)
from facevoice.store import Store
from facevoice.training.config import FinetuneSettings, TrainConfig
from facevoice.training.data import (
    FOLDER,
    FeatureTable,
    Items,
    TrainingData,
    stack_tokens,
    stored_name,
)
from facevoice.training.loop import FeatureInputs

# What attends and what is attended to: the two projections that Hu et al. (2021) found to matter.
_PROJECTIONS: Final = {
    "videomae": ("query", "value"),
    "wav2vec2": ("q_proj", "v_proj"),
    "hubert": ("q_proj", "v_proj"),
}
_, _PREPROCESSOR, _WEIGHTS = BACKBONE_FILES
_ADAPTER: Final = "lora_"
_BASE: Final = ".base_layer."

_Tunable = VideoMae | Wav2Vec2
WindowReader = Callable[[Clip], Sequence[Window]]
"""Gives the windows of a clip that show the channel, in order of time."""


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """What training of backbones needs besides stored embeddings.

    sources: by channel, what `create_backbone` builds the backbone that made the embeddings from;
    open_windows: makes the windows of a channel of these clips ready to be read;
    checkpointing: compute layers again in the backward pass, to save memory.
    """

    sources: Mapping[Modality, str]
    open_windows: Callable[[Modality, Sequence[Clip]], WindowReader]
    checkpointing: bool = False


def open_tuning(
    config: TrainConfig,
    table: FeatureTable,
    store: Path,
    names: Sequence[str] = (),
    *,
    jobs: int = 1,
    checkpointing: bool = False,
) -> Tuning:
    """Find the backbones that are to be trained; their windows go into the store, once.

    `table` was read from the `store`; `names` are backbones as they were named, folders among them;
    `jobs` processes cut windows.

    Raises:
        ConfigError: a backbone lies in a folder that was not named, or the settings don't fit.
    """
    named = {stored_name(name): split_name(name)[0] for name in names}
    sources = {}
    for modality in _tuned_modalities(config):
        if modality not in table.arrays:
            continue  # `prepare_data` says so
        stored = table.arrays[modality].backbone.rpartition("@")[0]
        sources[modality] = named.get(stored, split_name(stored)[0])
        if sources[modality].startswith(FOLDER):
            raise ConfigError(
                f"the {modality} embeddings are of {stored}, which lies in a folder; to train it, "
                "name that folder by --backbone DIR"
            )

    def open_windows(modality: Modality, clips: Sequence[Clip]) -> WindowReader:
        raw = identify(RAW[modality])
        wanted = frozenset({modality})
        report = extract_clips(clips, store, backbones=[raw.name], modalities=wanted, jobs=jobs)
        if report.problems:
            raise CorpusError(
                f"windows of {len(report.problems)} files can't be cut; the first: "
                f"{report.problems[0].message}"
            )
        return partial(_read_windows, ClipReader(Store(store), [raw]), modality)

    return Tuning(sources, open_windows, checkpointing)


def _read_windows(reader: ClipReader, modality: Modality, clip: Clip) -> list[Window]:
    """Crops and samples are stored in place of embeddings."""
    perception = reader.channel(clip, modality)
    return [
        Window(
            view.start_s,
            view.end_s,
            cast("ByteArray | None", view.face),
            view.voice,
            view.face_coverage,
            view.speech_coverage,
            face_timestamps_s=view.faces[0].times_s if view.faces else None,
        )
        for view in (() if perception is None else perception.windows)
        if view.channel(modality) is not None and _coverage(view, modality) > 0
    ]


def _coverage(window: Window | WindowView, modality: Modality) -> float:
    is_video = modality is Modality.VIDEO
    return window.face_coverage if is_video else window.speech_coverage


def _tuned_modalities(config: TrainConfig) -> tuple[Modality, ...]:
    """The channels whose backbone is trained; the others' stored embeddings are taken."""
    if config.finetune.lora_rank:
        return config.network.modalities
    layers = config.finetune.num_layers
    for modality, number in layers.items():
        if number and modality not in config.network.modalities:
            raise ConfigError(
                f"finetune.{modality}_layers is {number}, but network.modalities has no {modality}"
            )
    return tuple(m for m in config.network.modalities if layers[m])


# The inputs: batches of what the backbones take, gathered by row.


@dataclass(frozen=True, slots=True, eq=False)
class ChannelWindows:
    """One channel of a batch: each clip once, however many items show it.

    inputs: of all windows, clip by clip: frames (F, 3, S, S), or samples (N,) of any N;
    counts: windows of each clip; weights (W,): of each window within its clip, sum 1;
    items (B,): the clip of each item; present bool (B,): whether the item shows the channel.
    """

    inputs: tuple[Tensor, ...]
    counts: tuple[int, ...]
    weights: Tensor
    items: Tensor
    present: Tensor


class WindowInputs(FeatureInputs):
    """Windows of the tuned channels and stored embeddings of the others, by row."""

    def __init__(
        self, table: FeatureTable, network: FinetuneNetwork, tuning: Tuning, device: torch.device
    ) -> None:
        stored = [m for m in network.fusion.config.modalities if m not in network.tuned]
        super().__init__(table, stored, device)
        self.clips = table.clips
        self.prepare = {m: backbone.input.prepare for m, backbone in network.tuned.items()}
        self.present = {modality: table.present(modality) for modality in network.tuned}
        self._read = {
            modality: tuning.open_windows(modality, [self.clips[n] for n in np.flatnonzero(there)])
            for modality, there in self.present.items()
        }

    def read(self, row: int, modality: Modality) -> Sequence[Window]:
        """The windows of a clip's channel; CorpusError if there are none."""
        windows = self._read[modality](self.clips[row])
        if not windows:
            raise CorpusError(
                f"clip {self.clips[row].clip_id!r} has {modality} features but no window that "
                "shows it; its film may have changed: extract it again"
            )
        return windows

    def gather(self, items: Items) -> dict[str, Any]:
        """The arguments of a `FinetuneNetwork`."""
        found = super().gather(items)
        for modality, present in self.present.items():
            rows, hidden = items.side(modality)
            found[modality.value] = self._gather(modality, rows, present[rows] & ~hidden)
        return found

    def _gather(self, modality: Modality, rows: IntArray, there: BoolArray) -> ChannelWindows:
        distinct, places = np.unique(rows[there], return_inverse=True)
        items = np.zeros(len(rows), dtype=np.int64)
        items[there] = places
        clips = [self.read(int(row), modality) for row in distinct]
        prepare = self.prepare[modality]
        weights = [torch.from_numpy(_weights(windows, modality)) for windows in clips]
        return ChannelWindows(
            inputs=tuple(torch.from_numpy(prepare(w)).to(self.device) for c in clips for w in c),
            counts=tuple(len(windows) for windows in clips),
            weights=torch.cat(weights or [torch.zeros(0)]).to(self.device),
            items=torch.from_numpy(items).to(self.device),
            present=torch.from_numpy(there).to(self.device),
        )


def _weights(windows: Sequence[Window], modality: Modality) -> FloatArray:
    """Share of each window (W,) by seconds that show the channel, as stored clips are averaged."""
    seconds = np.array([_coverage(w, modality) * w.duration_s for w in windows])
    weights: FloatArray = (seconds / seconds.sum()).astype(np.float32)
    return weights


def _pool(rows: Tensor, weights: Tensor, kind: str | None) -> Tensor:
    """Rows of a clip's windows (W, R, D) as the clip's (T, D): joined tokens, or weighted means."""
    if kind == "tokens":
        return rows.flatten(0, 1)
    return (rows * weights[:, None, None]).sum(dim=0)


# The network.


class FinetuneNetwork(nn.Module):
    """A fusion network and the backbones of some of its channels, which are changed in place.

    Dropout, layer drop and masking of the backbones stay off: few layers or adapters at a low rate
    need little of it.

    Args:
        fusion: at its start; its input statistics are those of the untuned embeddings.
        backbones: loaded; rows: by channel, "layers", "tokens" or None: what is taken of them.
        config: says which part of them is trained.
        checkpointing: see `Tuning`.

    Raises:
        ConfigError: a backbone can't be trained, or not like that.
    """

    def __init__(
        self,
        fusion: FusionNetwork,
        backbones: Mapping[Modality, Backbone],
        rows: Mapping[Modality, str | None],
        config: TrainConfig,
        *,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.rows = dict(rows)
        self.tuned = {m: _tunable(backbone) for m, backbone in backbones.items()}
        torch.manual_seed(config.run.seed)  # of the adapters' first weights
        for modality, backbone in self.tuned.items():
            backbone.network.requires_grad_(False)
            if config.finetune.lora_rank:
                _add_adapters(backbone, config.finetune)
            else:
                _free_layers(backbone, config.finetune.num_layers[modality])
            for layer in encoder_layers(backbone.network) if checkpointing else ():
                # Chen et al. (2016), Training deep nets with sublinear memory cost. That of
                # transformers works in training mode only.
                layer.forward = partial(
                    checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
                )
        # Under this name the optimizer gives them their own rate.
        self.backbones = nn.ModuleDict({m.value: b.network for m, b in self.tuned.items()})
        self.train()

    def train(self, mode: bool = True) -> FinetuneNetwork:
        """Only the fusion changes: backbones are always in evaluation mode."""
        super().train(mode)
        self.backbones.eval()
        return self

    def forward(self, **given: Any) -> Logits:
        """Logits of a batch: the fusion's arguments, but `ChannelWindows` of tuned channels."""
        for modality in self.tuned:
            tokens, mask = self.tokens(modality, given[modality.value])
            given |= {modality.value: tokens, f"{modality.value}_mask": mask}
        logits: Logits = self.fusion(**given)
        return logits

    def tokens(self, modality: Modality, channel: ChannelWindows) -> tuple[Tensor, Tensor]:
        """What a store would give of the items: tokens (B, T, D) and mask bool (B, T)."""
        if not channel.inputs:  # No item shows the channel.
            mask = channel.present[:, None]
            none = channel.weights.new_zeros(*mask.shape, self.fusion.config.dim(modality))
            # Still, every process must have a gradient to exchange.
            parameters = self.backbones[modality.value].parameters()
            return sum((0.0 * p.sum() for p in parameters if p.requires_grad), none), mask
        kind = self.rows[modality]
        rows = _run(self.tuned[modality], kind, channel.inputs).float()
        parts = (torch.split(part, list(channel.counts)) for part in (rows, channel.weights))
        clips = [_pool(part, weights, kind) for part, weights in zip(*parts, strict=True)]
        lengths = torch.tensor([len(clip) for clip in clips], device=rows.device)
        tokens = pad_sequence(clips, batch_first=True)
        mask = torch.arange(tokens.shape[1], device=rows.device) < lengths[:, None]
        return tokens[channel.items], mask[channel.items] & channel.present[:, None]

    def finish(self, data: TrainingData, inputs: WindowInputs) -> FeatureTable:
        """Merge adapters, W + (alpha / rank) · B A, and embed clips as analysis will.

        Returns:
            The table with the new embeddings of validation and test.
        """
        layers: list[Any] = [m for m in self.backbones.modules() if hasattr(m, "lora_A")]
        for layer in layers:
            layer.merge()
        arrays = dict(data.table.arrays)
        rows = np.concatenate([data.rows("validation"), data.rows("test")])
        for modality, backbone in self.tuned.items():
            kind, array = self.rows[modality], arrays[modality]
            shipped = backbone if kind is None else stack(backbone, kind)
            found: list[FloatArray | None] = [None] * len(data.table)
            for row in rows[data.table.present(modality)[rows]]:
                windows = inputs.read(int(row), modality)
                said = torch.from_numpy(shipped.embed(windows)).reshape(len(windows), -1, array.dim)
                weights = torch.from_numpy(_weights(windows, modality))
                found[row] = _pool(said, weights, kind).numpy()
            tokens = stack_tokens(found, array.dim, array.backbone)
            arrays[modality] = replace(tokens, training_corpora=array.training_corpora)
        return replace(data.table, arrays=arrays)


def start_finetune(
    config: TrainConfig,
    data: TrainingData,
    fusion: FusionNetwork,
    tuning: Tuning | None,
    device: torch.device,
) -> tuple[FinetuneNetwork, WindowInputs]:
    """The network of a run at its start, and its inputs: windows of all clips of the run.

    Raises:
        ConfigError: there is nothing to cut windows from; a backbone is not the one that made the
            embeddings; or see `FinetuneNetwork`.
        CorpusError: windows can't be cut.
    """
    if tuning is None:
        raise ConfigError(
            "[finetune] trains backbones on the films themselves: name a table of clips, not a "
            "file of embeddings"
        )
    backbones, rows = {}, {}
    for modality in _tuned_modalities(config):
        backbones[modality] = create_backbone(tuning.sources[modality], device=str(device))
        stored, _, revision = data.table.arrays[modality].backbone.rpartition("@")
        rows[modality] = split_name(stored)[1]
        found = backbone_id(backbones[modality])
        if found.rpartition("@")[2] != revision:
            raise ConfigError(
                f"the stored {modality} embeddings are of {stored}@{revision}, but the backbone to "
                f"be trained is {found}; name the right one by --backbone"
            )
    network = FinetuneNetwork(fusion, backbones, rows, config, checkpointing=tuning.checkpointing)
    inputs = WindowInputs(data.table, network, tuning, device)
    inputs.chunk = config.train.batch_size
    return network, inputs


# Backbones run with gradients, and which part of them is trained.


def _tunable(backbone: Backbone) -> _Tunable:
    if not isinstance(backbone, VideoMae | Wav2Vec2):
        raise ConfigError(
            f"backbone {backbone.spec.name!r} can't be trained along; [finetune] takes VideoMAE, "
            "Wav2Vec2, WavLM and HuBERT checkpoints that torch runs"
        )
    return backbone


def _run(backbone: _Tunable, kind: str | None, inputs: Sequence[Tensor]) -> Tensor:
    """Rows (W, R, D) of windows; those of one length run together, so that nothing is padded."""
    lengths = [len(given) for given in inputs]
    found: dict[int, Tensor] = {}
    for length in dict.fromkeys(lengths):
        places = [place for place, other in enumerate(lengths) if other == length]
        layers = backbone.tap(torch.stack([inputs[place] for place in places]))
        for row, place in enumerate(places):
            found[place] = _rows_of(backbone, kind, [layer[row] for layer in layers])
    return torch.stack([found[place] for place in range(len(inputs))])


def _rows_of(backbone: _Tunable, kind: str | None, layers: Sequence[Tensor]) -> Tensor:
    """(R, D) of one window's layers (T, D), as `embed`, `+layers` and `+tokens` give them."""
    last = layers[-1]
    if kind == "layers":
        return torch.stack([layer.mean(dim=0) for layer in layers])
    if kind == "tokens":
        if isinstance(backbone, VideoMae):
            num_rows, frames = backbone.num_tokens, len(last) // backbone.num_tokens
        else:
            num_rows, frames = NUM_AUDIO_TOKENS, backbone.frames_per_token
        return torch.from_numpy(_token_means(len(last), frames, num_rows)).to(last) @ last
    return last.mean(dim=0, keepdim=True)


@lru_cache(maxsize=8)
def _token_means(num_frames: int, frames_per_token: int, num_rows: int) -> FloatArray:
    """(R, T): pooling and spreading are linear, so this is what they make of the identity."""
    eye = np.eye(num_frames, dtype=np.float32)
    return spread_tokens(pool_tokens(eye, frames_per_token), num_rows)


def _free_layers(backbone: _Tunable, num_layers: int) -> None:
    """Let the last layers, and what normalises their output, take gradients."""
    network, layers = backbone.network, encoder_layers(backbone.network)
    if num_layers > len(layers):
        raise ConfigError(
            f"backbone {backbone.spec.name!r} has {len(layers)} layers, so the last {num_layers} "
            "can't be trained; lower finetune.video_layers or finetune.audio_layers"
        )
    for layer in layers[len(layers) - num_layers :]:
        layer.requires_grad_(True)
    if isinstance(backbone, VideoMae):
        if network.layernorm is not None:
            network.layernorm.requires_grad_(True)
    # Without `do_stable_layer_norm` the encoder's own norm stands before its first layer.
    elif network.config.do_stable_layer_norm:
        network.encoder.layer_norm.requires_grad_(True)


def _add_adapters(backbone: _Tunable, settings: FinetuneSettings) -> None:
    """Put low-rank adapters beside the query and value projections of every layer; only they train.

    Hu et al. (2021), LoRA. At first they add nothing.
    """
    family = backbone.network.config.model_type
    if family not in _PROJECTIONS:
        raise ConfigError(
            f"finetune.lora_rank: the attention of {family} reads its projections' weights past "
            "any adapter; set finetune.audio_layers instead"
        )
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # any number scales
        target_modules=list(_PROJECTIONS[family]),
    )
    inject_adapter_in_model(config, backbone.network)
    for name, parameter in backbone.network.named_parameters():
        parameter.requires_grad_(_ADAPTER in name)


# Tuned backbones on disk, in the form in which backbones are published.


def save_tuned(folder: Path, network: FinetuneNetwork, info: CheckpointInfo) -> CheckpointInfo:
    """Write a checkpoint that brings the backbones that were trained along, in place of another.

    `info` is of the backbones as they were before; the network is `finish`ed.

    Returns:
        The same with the tuned backbones' names, for predictions of the run's own test part. None
        of its speakers was tuned on, so there the corpora are those that the bases had seen.

    Raises:
        WeightsError: see `save_checkpoint`; or a tuned weight is not finite.
    """
    own, named = dict(info.backbones), dict(info.backbones)
    with TemporaryDirectory(prefix=".backbones.", dir=folder.parent) as scratch:
        tuned = {}
        for modality, backbone in network.tuned.items():
            path = Path(scratch) / modality.value
            record = _write_backbone(backbone, path, info.data.corpora)
            tuned[modality] = (path, record)
            # The id that the backbone has when it is named by its folder.
            end = "" if network.rows[modality] is None else f"+{network.rows[modality]}"
            name = f"{FOLDER}{path.name}{end}@{record.sha256[_WEIGHTS][:12]}"
            named[modality] = replace(named[modality], backbone=name)
            corpora = tuple(dict.fromkeys((*(record.base_corpora or ()), *record.tuned_on)))
            known = record.base_corpora is not None
            own[modality] = replace(named[modality], training_corpora=corpora, corpora_known=known)
        weights = network.fusion.state_dict()
        save_checkpoint(folder, weights, replace(info, backbones=own), overwrite=True, tuned=tuned)
    return replace(info, backbones=named)


def _write_backbone(backbone: _Tunable, folder: Path, tuned_on: tuple[str, ...]) -> TunedBackbone:
    weights = {
        name.replace(_BASE, "."): tensor.detach().cpu().contiguous()
        for name, tensor in backbone.network.state_dict().items()
        if _ADAPTER not in name
    }
    broken = sorted(name for name, t in weights.items() if not bool(torch.isfinite(t).all()))
    if broken:
        raise WeightsError(
            f"{backbone.spec.name}: tuned weights are not finite ({', '.join(broken[:5])}); lower "
            "train.backbone_learning_rate"
        )
    name, known = backbone_id(backbone), backbone.spec.training_corpora
    corpora = None if known == UNKNOWN_CORPORA else known
    before = "not known" if corpora is None else ", ".join(corpora) or "none"
    card = (
        "---\nlicense: other\n"
        f"license_name: {json.dumps(backbone.spec.license, ensure_ascii=False)}\n---\n"
        f"# {name}, trained along with a facevoice network\n\n"
        f"Tuned on {', '.join(tuned_on)}; before that, its base was trained on: {before}. Figures "
        "on these corpora say nothing of new data, but for speakers that the checkpoint around it "
        "held out. The licence of the base holds on, and the terms of the corpora with it.\n"
    )
    folder.mkdir(parents=True)
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    backbone.network.config.save_pretrained(folder)
    (folder / _PREPROCESSOR).write_text(json.dumps(_preprocessor(backbone), indent=2) + "\n")
    (folder / "README.md").write_text(card, encoding="utf-8")
    for file_name in BACKBONE_FILES:
        with (folder / file_name).open("rb+") as file:
            os.fsync(file.fileno())
    return TunedBackbone(name, corpora, tuned_on, hash_backbone(folder))


def _preprocessor(backbone: _Tunable) -> dict[str, Any]:
    """What `from_config` of its input reads back as the same input."""
    given = backbone.input
    if isinstance(given, FaceInput):
        return {
            **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), True),
            "size": {"shortest_edge": given.resize_px},
            "crop_size": {"height": given.side_px, "width": given.side_px},
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
