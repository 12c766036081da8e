"""The training state on disk: one safetensors file, whole or not at all, nothing pickled."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from facevoice.errors import WeightsError

FORMAT: Final = "facevoice-training-state/1"
STATE_FILE: Final = "training-state.safetensors"
MOMENTS: Final = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True)
class Progress:
    """How far a run has come.

    epoch, step: the next step to do, counted within its epoch; total_steps: done so far;
    best_*: of the best validation so far; bad_epochs: validations since;
    scaler: of fp16's loss scaling; history: validations, one an epoch.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    best_value: float | None = None
    best_epoch: int = -1
    bad_epochs: int = 0
    is_done: bool = False
    scaler: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class TrainingState:
    """Everything that the next step depends on, on the CPU."""

    weights: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    average: dict[str, Tensor]
    best: dict[str, Tensor]
    progress: Progress


def save_state(path: Path, state: TrainingState, identity: Mapping[str, str]) -> None:
    """Write the state; `identity` names what it belongs to (settings, data, versions)."""
    tensors: dict[str, Tensor] = {}
    for group in ("weights", "average", "best"):
        for name, tensor in getattr(state, group).items():
            tensors[f"{group}/{name}"] = tensor
    for name, moments in state.optimizer.items():
        for moment, tensor in moments.items():
            tensors[f"optimizer/{moment}/{name}"] = tensor
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {
        "format": FORMAT,
        "identity": json.dumps(dict(identity), sort_keys=True),
        "progress": json.dumps(asdict(state.progress)),
    }
    part = path.with_name(f"{path.name}.part")
    save_file(tensors, part, metadata=metadata)
    replace_synced(part, path)


def load_state(path: Path, identity: Mapping[str, str]) -> TrainingState:
    """Read what `save_state` wrote.

    Raises:
        WeightsError: damaged, of another format, or of a run with other settings or data.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise WeightsError(f"{path}: is no training state of format {FORMAT}")
        saved = json.loads(metadata["identity"])
        progress = Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: is no sound training state ({error}); remove it to start over"
        ) from error
    differing = sorted(key for key in identity if saved.get(key) != identity[key])
    if differing:
        raise WeightsError(
            f"{path}: belongs to another run ({', '.join(differing)} differ); name another "
            "folder, or start over with --fresh"
        )
    state = TrainingState({}, {}, {}, {}, progress)
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        if group == "optimizer":
            moment, _, parameter = rest.partition("/")
            state.optimizer.setdefault(parameter, {})[moment] = tensor
        else:
            getattr(state, group)[rest] = tensor
    return state


def replace_synced(part: Path, path: Path) -> None:
    """Give a finished file its name, once its bytes are on the disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def trained_names(network: nn.Module) -> list[str]:
    """Names of what is trained, in the optimizer's order."""
    return [name for name, parameter in network.named_parameters() if parameter.requires_grad]


def kept_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of trained parameters and of all buffers; frozen backbones can be had again."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    return {
        name: tensor.detach().cpu().clone()
        for name, tensor in network.state_dict().items()
        if name not in frozen
    }


def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what `kept_weights` gave.

    Raises:
        WeightsError: names or shapes differ.
    """
    own = network.state_dict()
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    missing = sorted(set(own) - frozen - set(weights))
    unexpected = sorted(set(weights) - set(own))
    if missing or unexpected:
        raise WeightsError(f"training state: missing {missing}, unexpected {unexpected}")
    with torch.no_grad():
        for name, tensor in weights.items():
            if own[name].shape != tensor.shape:
                raise WeightsError(
                    f"training state: {name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
                )
            own[name].copy_(tensor)


def optimizer_moments(
    optimizer: torch.optim.Optimizer, network: nn.Module
) -> dict[str, dict[str, Tensor]]:
    """AdamW's moments by parameter name; nothing before the first step."""
    parameters = dict(network.named_parameters())
    moments: dict[str, dict[str, Tensor]] = {}
    for name in trained_names(network):
        state = optimizer.state.get(parameters[name], {})
        if state:
            moments[name] = {moment: state[moment].detach().cpu().clone() for moment in MOMENTS}
    return moments


def put_moments(
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    moments: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Put back what `optimizer_moments` gave.

    Raises:
        WeightsError: they are of other parameters.
    """
    parameters = dict(network.named_parameters())
    names = trained_names(network)
    if moments and set(moments) != set(names):
        differing = sorted(set(moments) ^ set(names))
        raise WeightsError(f"training state: moments of other parameters: {differing}")
    for name, saved in moments.items():
        parameter = parameters[name]
        state: dict[str, Any] = {}
        for moment, tensor in saved.items():
            # The fused step counter lives beside its parameter; all three are float32.
            state[moment] = tensor.clone().to(parameter.device)
        optimizer.state[parameter] = state
