"""Where a run computes: Accelerate finds devices, processes, precision and trackers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facevoice.errors import ConfigError, MissingExtraError
from facevoice.training.config import RunSettings, TrainConfig

_LOG = logging.getLogger(__name__)


def create_accelerator(settings: RunSettings, folder: Path, *, cpu: bool = False) -> Any:
    """Accelerate's view of this machine; one process, or one of those its launcher started.

    Raises:
        MissingExtraError: accelerate is not installed.
        ConfigError: the precision or a tracker is not to be had here.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtraError("training", "train") from error
    precision = settings.precision
    if precision == "auto":
        has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported() and not cpu
        precision = "bf16" if has_bf16 else "no"
    try:
        return Accelerator(
            cpu=cpu,
            mixed_precision=precision,
            log_with=list(settings.trackers) or None,
            project_dir=folder,
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(f"run.precision or run.trackers: {error}") from error


def start_trackers(accelerator: Any, config: TrainConfig, first_step: int) -> None:
    """Open the trackers; what a killed run logged beyond `first_step` is dropped."""
    if not config.run.trackers:
        return
    extra = {"tensorboard": {"purge_step": first_step}} if first_step else {}
    accelerator.init_trackers("facevoice", init_kwargs=extra)


def is_small(config: TrainConfig, accelerator: Any) -> bool:
    """Whether to take the few clips of small mode; see `RunSettings.size`."""
    if config.run.size == "auto":
        return config.finetune.is_on and accelerator.device.type == "cpu"
    return config.run.size == "small"


@contextmanager
def parallel(accelerator: Any, model: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Forward and backward of one part of a step; gradients are exchanged after the last."""
    with ExitStack() as stack:
        if not is_last:
            stack.enter_context(accelerator.no_sync(model))
        stack.enter_context(accelerator.autocast())
        yield


def same_everywhere(accelerator: Any, value: float) -> float:
    """The main process' value: last bits may differ, decisions must not."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    shared = torch.tensor([value], dtype=torch.float64, device=accelerator.device)
    return float(broadcast(shared)[0])
