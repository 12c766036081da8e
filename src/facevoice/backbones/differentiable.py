"""Backbones run with gradients: the rows that `embed`, `+layers` and `+tokens` store, as tensors.

Values equal those of the frozen run up to rounding: the same inputs, layers and means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from facevoice.backbones.huggingface import VideoMae, Wav2Vec2, count_frames, pool_tokens
from facevoice.backbones.spec import NUM_AUDIO_TOKENS, Backbone, spread_tokens
from facevoice.errors import ConfigError, MissingExtraError

Run = Callable[[Sequence[Tensor]], Tensor]
"""Inputs of W windows, as `input.prepare` makes them, to rows (W, R, D)."""

# What attends and what is attended to: the two projections that Hu et al. (2021) found to matter.
_PROJECTIONS: Final = {
    "videomae": ("query", "value"),
    "wav2vec2": ("q_proj", "v_proj"),
    "hubert": ("q_proj", "v_proj"),
}
_ADAPTER: Final = "lora_"
_BASE: Final = ".base_layer."


def tunable(backbone: Backbone) -> VideoMae | Wav2Vec2:
    """The backbone, if torch runs it.

    Raises:
        ConfigError: it has no layers that could be trained.
    """
    if not isinstance(backbone, VideoMae | Wav2Vec2):
        raise ConfigError(
            f"backbone {backbone.spec.name!r} can't be trained along; [finetune] takes VideoMAE, "
            "Wav2Vec2, WavLM and HuBERT checkpoints that torch runs"
        )
    return backbone


def runner(backbone: VideoMae | Wav2Vec2, rows: str | None) -> Run:
    """What runs the backbone on windows; rows: "layers", "tokens", or None for embeddings."""
    run = _run_faces if isinstance(backbone, VideoMae) else _run_voices

    def rows_of(inputs: Sequence[Tensor]) -> Tensor:
        return run(backbone, rows, inputs)  # type: ignore[arg-type]

    return rows_of


def free_layers(backbone: VideoMae | Wav2Vec2, num_layers: int) -> None:
    """Let the last layers, and the normalisation behind them, take gradients.

    Raises:
        ConfigError: there are fewer.
    """
    layers = encoder_layers(backbone.network)
    if num_layers > len(layers):
        raise ConfigError(
            f"backbone {backbone.spec.name!r} has {len(layers)} layers, so the last {num_layers} "
            "can't be trained; lower finetune.video_layers or finetune.audio_layers"
        )
    for layer in layers[len(layers) - num_layers :]:
        layer.requires_grad_(True)
    norm = _final_norm(backbone)
    if norm is not None:
        norm.requires_grad_(True)


def add_adapters(backbone: VideoMae | Wav2Vec2, rank: int, alpha: float) -> None:
    """Put low-rank adapters beside the query and value projections of every layer; only they train.

    Hu et al. (2021), LoRA. At first they add nothing.

    Raises:
        ConfigError: its attention goes around the projections, so adapters would do nothing.
        MissingExtraError: peft is not installed.
    """
    family = backbone.network.config.model_type
    if family not in _PROJECTIONS:
        raise ConfigError(
            f"finetune.lora_rank: the attention of {family} reads its projections' weights past "
            "any adapter; set finetune.audio_layers instead"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("low-rank adapters", "train") from error
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # any number scales
        lora_dropout=0.0,
        bias="none",
        target_modules=list(_PROJECTIONS[family]),
    )
    inject_adapter_in_model(config, backbone.network)
    for name, parameter in backbone.network.named_parameters():
        parameter.requires_grad_(_ADAPTER in name)


def compute_twice(backbone: VideoMae | Wav2Vec2) -> None:
    """Keep no inner values of layers for the backward pass, but compute them again: less memory.

    Chen et al. (2016), Training deep nets with sublinear memory cost.
    """
    for layer in encoder_layers(backbone.network):
        layer.forward = partial(
            checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False
        )


def merged_weights(backbone: VideoMae | Wav2Vec2) -> dict[str, Tensor]:
    """Weights on the CPU under the names of the family, adapters added to what they stand beside.

    W + (alpha / rank) · B A; the network stays as it is.
    """
    network = backbone.network
    weights = {
        name.replace(_BASE, "."): tensor.detach().cpu().clone()
        for name, tensor in network.state_dict().items()
        if _ADAPTER not in name
    }
    for name, module in network.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
            for adapter in module.active_adapters:
                weights[f"{name}.weight"] += module.get_delta_weight(adapter).detach().cpu()
    return weights


def encoder_layers(network: Any) -> nn.ModuleList:
    """The layers of an encoder, first to last."""
    encoder = network.encoder
    layers: nn.ModuleList = encoder.layers if hasattr(encoder, "layers") else encoder.layer
    return layers


def _final_norm(backbone: VideoMae | Wav2Vec2) -> nn.Module | None:
    """What normalises the last layer's output; None where each layer does so itself."""
    network = backbone.network
    if isinstance(backbone, VideoMae):
        norm: nn.Module | None = network.layernorm
        return norm
    # Without `do_stable_layer_norm` the encoder's own norm stands before its first layer.
    return network.encoder.layer_norm if network.config.do_stable_layer_norm else None


def _run_faces(backbone: VideoMae, rows: str | None, inputs: Sequence[Tensor]) -> Tensor:
    layers = backbone.tap(torch.stack(list(inputs)))
    last: Tensor = layers[-1]
    if rows == "layers":
        return torch.stack([layer.mean(dim=1) for layer in layers], dim=1)
    if rows == "tokens":
        steps = last.reshape(len(inputs), backbone.num_tokens, -1, last.shape[-1])
        return steps.mean(dim=2)
    return last.mean(dim=1, keepdim=True)


def _run_voices(backbone: Wav2Vec2, rows: str | None, inputs: Sequence[Tensor]) -> Tensor:
    lengths = [len(sound) for sound in inputs]
    found: dict[int, Tensor] = {}
    for places in _together(lengths, mixed=backbone.takes_mask):
        sounds = [inputs[place] for place in places]
        samples = nn.utils.rnn.pad_sequence(sounds, batch_first=True)
        sizes = torch.tensor([lengths[place] for place in places], device=samples.device)
        options = {}
        if int(sizes.min()) < int(sizes.max()):
            steps = torch.arange(samples.shape[1], device=samples.device)
            options["attention_mask"] = (steps < sizes[:, None]).long()
        layers = backbone.tap(samples, **options)
        for row, place in enumerate(places):
            found[place] = _voice_rows(backbone, rows, layers, row, lengths[place])
    return torch.stack([found[place] for place in range(len(inputs))])


def _together(lengths: Sequence[int], *, mixed: bool) -> list[list[int]]:
    """Places that may run in one batch: all, or those of equal length (see `Wav2Vec2`)."""
    groups: dict[int, list[int]] = {}
    for place, length in enumerate(lengths):
        groups.setdefault(0 if mixed else length, []).append(place)
    return list(groups.values())


def _voice_rows(
    backbone: Wav2Vec2, rows: str | None, layers: Sequence[Tensor], row: int, num_samples: int
) -> Tensor:
    config = backbone.network.config
    num_frames = count_frames(num_samples, config.conv_kernel, config.conv_stride)
    if rows == "layers":
        return torch.stack([layer[row, :num_frames].mean(dim=0) for layer in layers])
    last = layers[-1][row, :num_frames]
    if rows == "tokens":
        # Both steps are linear in the frames, so what they make of the identity is their matrix.
        eye = np.eye(num_frames, dtype=np.float32)
        means = spread_tokens(pool_tokens(eye, backbone.frames_per_token), NUM_AUDIO_TOKENS)
        return torch.from_numpy(means).to(last) @ last
    return last.mean(dim=0, keepdim=True)
