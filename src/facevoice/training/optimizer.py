"""AdamW, its learning rate, and a moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from facevoice.training.config import OptimizerSettings
from facevoice.training.resume import kept_weights, put_weights

_BACKBONES = "backbones."


def build_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) on what is trained.

    Weight matrices decay; biases, norms and absent vectors, all with one axis or none, do not.
    Parameters under `backbones.` have the backbones' rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith(_BACKBONES), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    rates = {True: settings.backbone_learning_rate, False: settings.learning_rate}
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": rates[in_backbone],
                "highest_rate": rates[in_backbone],
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ],
        lr=settings.learning_rate,
        eps=settings.epsilon,
        fused=True,
    )


def rate_at(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Share of the highest rate at a step: linear warm-up, then half a cosine to `final_rate`.

    Loshchilov & Hutter (2017), SGDR.
    """
    warmup = round(settings.warmup * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    low = settings.final_rate
    return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group's rate to `share` of its highest."""
    for group in optimizer.param_groups:
        group["lr"] = group["highest_rate"] * share


class Average:
    """Moving average of the trained weights, a ← d a + (1 − d) w, d = min(decay, (1+t) / (10+t)).

    Polyak & Juditsky (1992); the shorter memory at first as in Tan & Le (2019), EfficientNet.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        if decay:
            self.weights = {name: p.detach().clone() for name, p in _trained(network)}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step (counted from 0)."""
        if self.decay:
            decay = min(self.decay, (1 + step) / (10 + step))
            named = list(_trained(network))
            averages = [self.weights[name] for name, _ in named]
            torch._foreach_lerp_(averages, [p.detach() for _, p in named], 1 - decay)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """Put the averages into the network for a while."""
        if not self.decay:
            yield
            return
        own = kept_weights(network)
        put_weights(network, {**own, **self.weights})
        try:
            yield
        finally:
            put_weights(network, own)


def _trained(network: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in network.named_parameters() if p.requires_grad)
