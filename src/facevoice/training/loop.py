"""Where a run computes: Accelerate finds devices, processes, precision and trackers."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from facevoice.errors import (
    ConfigError,
    EvaluationError,
    MissingExtraError,
    WeightsError,
)
from facevoice.evaluation.metrics import auroc, uar
from facevoice.models.fusion import FusionNetwork, Logits, Noise
from facevoice.models.heads import restrict_logits
from facevoice.records import (
    BoolArray,
    DoubleArray,
    FloatArray,
    Modality,
)
from facevoice.training.config import (
    LossSettings,
    OptimizerSettings,
    RunSettings,
    TrainConfig,
)
from facevoice.training.data import (
    UNKNOWN,
    ClipTargets,
    IntArray,
    Items,
    NetworkInputs,
    TrainingData,
    balanced_weights,
    join_items,
)
from facevoice.training.losses import BatchTargets, head_losses, total_loss

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


# AdamW, its learning rate, and a moving average of the weights.

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


# The network at its start, fitted to what the training clips look like.


MIN_ROWS_PER_INPUT: Final = 2


def suit_inputs(config: TrainConfig, data: TrainingData) -> TrainConfig:
    """Standardised inputs instead of whitened ones where the training clips are too few.

    With fewer rows than twice the inputs, the smallest variances are chance, and whitening makes
    them as large as the others.
    """
    if config.network.input_norm != "whiten":
        return config
    rows = data.rows("train")
    for modality in config.network.modalities:
        num_rows = int(data.table.arrays[modality].take(rows).mask.sum())
        if num_rows < MIN_ROWS_PER_INPUT * config.network.dim(modality):
            _LOG.warning(
                "%d training rows are too few to whiten %d inputs (%s): they are standardised",
                num_rows,
                config.network.dim(modality),
                modality,
            )
            return replace(config, network=replace(config.network, input_norm="standardize"))
    return config


def build_network(config: TrainConfig, data: TrainingData) -> FusionNetwork:
    """The network at its start: weights by the seed, inputs by the training clips' statistics."""
    torch.manual_seed(config.run.seed)
    network = FusionNetwork(config.network)
    rows = data.rows("train")
    for modality in config.network.modalities:
        part = data.table.arrays[modality].take(rows)
        network.fit_inputs(modality, torch.from_numpy(part.tokens[part.mask].astype(np.float32)))
    return network


# The training state on disk: one safetensors file, whole or not at all, nothing pickled.

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


# What the validation part says after an epoch: one number to compare, and the parts of it.

CHUNK: Final = 1024


class Gatherer(Protocol):
    """What gives the network's inputs by row: a `FeatureDataset` or a `WindowDataset`."""

    def gather(self, face_rows: IntArray, voice_rows: IntArray) -> NetworkInputs:
        """Faces of some rows with voices of others."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ItemLogits:
    """Logits of all heads of m items, numpy; None where the network lacks a head."""

    emotion: FloatArray
    face: FloatArray | None
    voice: FloatArray | None
    conflict: FloatArray | None

    def tensors(self) -> Logits:
        """As the network gave them."""
        heads = (self.face, self.voice, self.conflict)
        others = [None if head is None else torch.from_numpy(head) for head in heads]
        return Logits(torch.from_numpy(self.emotion), *others)


@dataclass(frozen=True, slots=True)
class ValidationScores:
    """Means over the corpora; NaN where a figure is not defined.

    emotion_uar, face_uar, voice_uar: over the clips as they are; conflict_auroc: over pairs (or
    judged clips); loss: all heads, weighed as in training.
    """

    emotion_uar: float
    face_uar: float
    voice_uar: float
    conflict_auroc: float
    loss: float

    def monitored(self, monitor: str) -> float:
        """The number that is compared; higher is better."""
        if monitor == "loss":
            return -self.loss
        if monitor == "uar" or np.isnan(self.conflict_auroc):
            return self.emotion_uar
        return (self.emotion_uar + self.conflict_auroc) / 2

    def as_dict(self) -> dict[str, float]:
        """By name, without what is not defined."""
        values = {field.name: float(getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, value in values.items() if not np.isnan(value)}


def compute_logits(
    network: nn.Module, data: Gatherer, items: Items, chunk: int = CHUNK
) -> ItemLogits:
    """All heads on all items, without dropout, in chunks of `chunk`."""
    was_training = network.training
    network.eval()
    parts: list[Logits] = []
    with torch.no_grad():
        for places in _chunks(len(items), chunk):
            batch = data.gather(items.face_rows[places], items.voice_rows[places])
            parts.append(network(*batch.inputs(), **batch.options()))
    network.train(was_training)
    joined: dict[str, FloatArray | None] = {}
    for name in Logits._fields:
        heads = [getattr(part, name) for part in parts]
        missing = any(head is None for head in heads)
        joined[name] = None if missing else torch.cat(heads).float().cpu().numpy()
    return ItemLogits(**joined)  # type: ignore[arg-type]


def score_validation(
    network: nn.Module,
    data: Gatherer,
    originals: Items,
    pairs: Items,
    table: TargetTable,
    settings: LossSettings,
    chunk: int = CHUNK,
) -> ValidationScores:
    """Figures of merit on the validation part, and its loss."""
    targets = table.targets
    clips = compute_logits(network, data, originals, chunk)
    paired = compute_logits(network, data, pairs, chunk) if len(pairs) else None
    loss = _loss(clips, originals, table, settings, ("emotion", "face", "voice"))
    judged, logits = (pairs, paired) if paired is not None else (originals, clips)
    loss += _loss(logits, judged, table, settings, ("conflict",))
    rows = originals.face_rows
    uars = {
        head: _mean_uar(getattr(clips, head), getattr(targets, head)[rows], targets, rows)
        for head in ("emotion", "face", "voice")
    }
    return ValidationScores(
        emotion_uar=uars["emotion"],
        face_uar=uars["face"],
        voice_uar=uars["voice"],
        conflict_auroc=_mean_auroc(logits.conflict, judged, targets),
        loss=loss,
    )


def _loss(
    logits: ItemLogits,
    items: Items,
    table: TargetTable,
    settings: LossSettings,
    heads: Sequence[str],
) -> float:
    batch = table.gather(Epoch.whole(items))
    tensors = logits.tensors()
    sums, weights = head_losses(tensors, batch, 0.0), batch.weight_sums()
    parts = [
        getattr(settings, head) * float(sums[head]) / max(weights[head], 1e-12)
        for head in heads
        if head in sums
    ]
    return float(sum(parts))


def _mean_uar(
    logits: FloatArray | None, shares: FloatArray, targets: ClipTargets, rows: IntArray
) -> float:
    """UAR against the likeliest target, mean over the corpora."""
    if logits is None:
        return float("nan")
    said = restrict_logits(logits, targets.emotions[rows]).argmax(axis=1)
    known = shares.any(axis=1)
    truth = shares.argmax(axis=1)
    values = []
    for corpus in np.unique(targets.corpora[rows]):
        chosen = known & (targets.corpora[rows] == corpus)
        if chosen.any():
            values.append(uar(truth[chosen], said[chosen]))
    return float(np.mean(values)) if values else float("nan")


def _mean_auroc(logits: FloatArray | None, items: Items, targets: ClipTargets) -> float:
    """AUROC of conflict against match, mean over the corpora that have both."""
    if logits is None:
        return float("nan")
    scores: DoubleArray = (logits[:, 1] - logits[:, 0]).astype(np.float64)
    corpora = targets.corpora[items.face_rows]
    values = []
    for corpus in np.unique(corpora):
        chosen = (corpora == corpus) & (items.conflict != UNKNOWN)
        try:
            values.append(auroc(items.conflict[chosen] > 0.5, scores[chosen]))
        except EvaluationError:
            continue  # this corpus has only one of the two
    return float(np.mean(values)) if values else float("nan")


def _chunks(size: int, chunk: int) -> Iterator[IntArray]:
    for start in range(0, size, chunk):
        yield np.arange(start, min(start + chunk, size))


# `fit`: the only trainer, for any subset of modalities, on any number of processes.
#
# Everything that a step does follows from (seed, epoch, step): the order of the items, who meets
# whom, which channels are dropped, and dropout itself. So a run that was killed and goes on ends in
# the same weights, bit for bit on one CPU with as many threads; and several processes compute what
# one would, up to the order of sums.


DROPOUT: Final = 4
LOGS: Final = "logs"


class TrainingInputs(Protocol):
    """What gives the network's inputs by row: a `FeatureDataset` or a `WindowDataset`."""

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> NetworkInputs:
        """Faces of some rows with voices of others; channels in `dropped` are masked."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """What a run found: the kept weights (trained parameters and buffers), and how it went."""

    weights: dict[str, Tensor]
    progress: Progress
    last: dict[str, Tensor]


def fit(
    config: TrainConfig,
    data: TrainingData,
    network: nn.Module,
    inputs: TrainingInputs,
    accelerator: Any,
    folder: Path,
    *,
    identity: Mapping[str, str],
    fresh: bool = False,
) -> FitResult:
    """Train a network; goes on where an earlier run in `folder` stopped.

    Args:
        config: all settings.
        data: clips, targets, split and pairs.
        network: gives `Logits`, and has its dropout's `Noise` as attribute `noise`.
        inputs: the network's inputs by row.
        accelerator: from `create_accelerator`.
        folder: takes the training state and the trackers' logs.
        identity: what the state belongs to; other settings or data can't go on from it.
        fresh: start over even if there is a state.

    Returns:
        The weights of the best validation (without early stopping, the last).

    Raises:
        WeightsError: the state is damaged or of another run, or the loss is not finite.
    """
    trainer = _Trainer(config, data, network, inputs, accelerator, folder / STATE_FILE, identity)
    if fresh and accelerator.is_main_process:
        trainer.path.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    _LOG.info(
        "process %d of %d, on %s",
        accelerator.process_index + 1,
        accelerator.num_processes,
        accelerator.device,
    )
    trainer.restore()
    start_trackers(accelerator, config, trainer.progress.total_steps)
    trainer.run()
    return FitResult(trainer.best, trainer.progress, kept_weights(trainer.network))


class _Trainer:
    """The state of a run, and one method a scale: run, epoch, step, part of a step."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        network: nn.Module,
        inputs: TrainingInputs,
        accelerator: Any,
        path: Path,
        identity: Mapping[str, str],
    ) -> None:
        self.config, self.data, self.inputs = config, data, inputs
        self.accelerator, self.path, self.identity = accelerator, path, identity
        self.network = network
        self.noise: Noise = network.noise  # type: ignore[assignment]
        self.optimizer = build_optimizer(network, config.train)
        self.model, self.prepared = accelerator.prepare(network, self.optimizer)
        self.average = Average(network, config.train.ema)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        judged = config.targets.conflict == "perceived"
        self.originals = data.originals("train", judged=judged)
        self.pairs = data.pair_items("train")
        self.held = data.originals("validation", judged=judged)
        empty = self.held.take(np.zeros(0, dtype=np.int64))
        self.held_pairs = empty
        for items in data.pair_items("validation") if config.pairs.ratio else ():
            self.held_pairs = join_items(self.held_pairs, some(items, len(self.held)))
        self.table = TargetTable.build(
            data.targets, data.rows("train"), data.present(), config.loss
        )
        steps = self.plan(0).num_steps(config.train.batch_size)
        self.num_steps = steps * config.train.num_epochs

    def plan(self, epoch: int) -> Epoch:
        """The items of an epoch."""
        return plan_epoch(
            self.originals,
            self.pairs,
            ratio=self.config.pairs.ratio,
            modality_dropout=self.config.loss.modality_dropout,
            modalities=self.config.network.modalities,
            seed=self.config.run.seed,
            epoch=epoch,
        )

    def restore(self) -> None:
        """Go on from the saved state, if there is one."""
        if not self.path.exists():
            return
        state = load_state(self.path, self.identity)
        put_weights(self.network, state.weights)
        put_moments(self.optimizer, self.network, state.optimizer)
        self.average.weights = {
            name: tensor.to(self.accelerator.device) for name, tensor in state.average.items()
        }
        self.best, self.progress = state.best, state.progress
        if self.accelerator.scaler is not None and self.progress.scaler:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)
        _LOG.info("going on at epoch %d, step %d", self.progress.epoch, self.progress.step)

    def save(self) -> None:
        """Write the state, from the main process."""
        if not self.accelerator.is_main_process:
            return
        if self.accelerator.scaler is not None:
            self.progress.scaler = self.accelerator.scaler.state_dict()
        state = TrainingState(
            kept_weights(self.network),
            optimizer_moments(self.optimizer, self.network),
            self.average.weights,
            self.best,
            self.progress,
        )
        save_state(self.path, state, self.identity)

    def run(self) -> None:
        """All epochs that are left."""
        self.network.train()
        while not self.progress.is_done and self.progress.epoch < self.config.train.num_epochs:
            self.epoch()

    def epoch(self) -> None:
        """The steps of an epoch that are left, then validation."""
        progress, settings = self.progress, self.config
        plan = self.plan(progress.epoch)
        num_steps = plan.num_steps(settings.train.batch_size)
        while progress.step < num_steps:
            loss = self.step(plan.step(progress.step, settings.train.batch_size))
            progress.step += 1
            progress.total_steps += 1
            if progress.total_steps % settings.run.log_every_steps == 0:
                self.accelerator.log({"train/loss": float(loss)}, step=progress.total_steps)
            if progress.total_steps % settings.run.save_every_steps == 0:
                self.save()
        scores = self.validate()
        self.keep_best(scores)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.is_done |= progress.epoch >= settings.train.num_epochs
        self.save()
        figures = {f"validation/{name}": value for name, value in scores.as_dict().items()}
        self.accelerator.log(figures, step=progress.total_steps)

    def step(self, batch: Epoch) -> Tensor:
        """One step of the optimizer; returns the loss over this process' rows."""
        targets = self.table.gather(batch)
        sums = targets.weight_sums()
        num_processes = self.accelerator.num_processes
        parts = self.config.train.accumulate
        rate = rate_at(self.progress.total_steps, self.num_steps, self.config.train)
        set_rates(self.optimizer, rate)
        seed = (self.config.run.seed, DROPOUT, self.progress.epoch, self.progress.step)
        total = torch.zeros((), device=self.accelerator.device)
        for part in range(parts):
            number = self.accelerator.process_index * parts + part
            places, counted = rank_rows(len(batch), number, num_processes * parts)
            self.noise.start(seed, places, len(batch))
            rows = batch.take(places)
            inputs = self.inputs.gather(rows.items.face_rows, rows.items.voice_rows, rows.dropped)
            wanted = targets.take(torch.from_numpy(places)).counted(torch.from_numpy(counted))
            with parallel(self.accelerator, self.model, is_last=part == parts - 1):
                logits = self.model(*inputs.inputs(), **inputs.options())
                losses = head_losses(
                    logits,
                    wanted.to(self.accelerator.device),
                    self.config.loss.label_smoothing,
                )
                loss = total_loss(losses, sums, self.config.loss)
                # Gradients are averaged over the processes, but the loss is a sum over all rows.
                self.accelerator.backward(loss * num_processes)
            total += loss.detach()
        if not math.isfinite(float(total)):
            raise WeightsError(
                f"the loss is not finite at epoch {self.progress.epoch}, step "
                f"{self.progress.step}; lower train.learning_rate"
            )
        if self.config.train.max_gradient_norm:
            self.accelerator.clip_grad_norm_(
                self.model.parameters(), self.config.train.max_gradient_norm
            )
        self.prepared.step()
        self.prepared.zero_grad()
        self.average.update(self.network, self.progress.total_steps)
        return total

    def validate(self) -> ValidationScores:
        """Figures on the validation part, with the averaged weights if there are any."""
        with self.average.in_place_of(self.network):
            return score_validation(
                self.network,
                self.inputs,
                self.held,
                self.held_pairs,
                self.table,
                self.config.loss,
                CHUNK if not self.config.finetune.is_on else self.config.train.batch_size,
            )

    def keep_best(self, scores: ValidationScores) -> None:
        """Remember the weights of the best validation, and whether to stop."""
        progress, patience = self.progress, self.config.train.patience
        value = same_everywhere(self.accelerator, scores.monitored(self.config.train.monitor))
        progress.history.append({"epoch": progress.epoch, **scores.as_dict()})
        better = progress.best_value is None or value > progress.best_value or patience == 0
        if better:
            progress.best_value, progress.best_epoch, progress.bad_epochs = value, progress.epoch, 0
            with self.average.in_place_of(self.network):
                self.best = kept_weights(self.network)
        else:
            progress.bad_epochs += 1
            progress.is_done = progress.bad_epochs >= patience
        _LOG.info("epoch %d: %s%s", progress.epoch, asdict(scores), " (best)" if better else "")


# What each step of each epoch presents: a pure function of settings, seed, epoch and step.

ORDER, PAIRS, DROPS = 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """The items of an epoch in order, and which of them (m,) lose a channel."""

    items: Items
    dropped: Mapping[Modality, BoolArray]

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def whole(cls, items: Items) -> Epoch:
        """Items in their order, none of which loses a channel."""
        keeps = np.zeros(len(items), dtype=np.bool_)
        return cls(items, dict.fromkeys(Modality, keeps))

    def num_steps(self, batch_size: int) -> int:
        """Steps of `batch_size` items; the last may have fewer."""
        return -(-len(self) // batch_size)

    def step(self, number: int, batch_size: int) -> Epoch:
        """The items of one step."""
        places = np.arange(number * batch_size, min((number + 1) * batch_size, len(self)))
        return self.take(places)

    def take(self, places: IntArray) -> Epoch:
        """The items at these places."""
        dropped = {modality: drops[places] for modality, drops in self.dropped.items()}
        return Epoch(self.items.take(places), dropped)


def plan_epoch(
    originals: Items,
    pairs: Sequence[Items],
    *,
    ratio: float,
    modality_dropout: float,
    modalities: Sequence[Modality],
    seed: int,
    epoch: int,
) -> Epoch:
    """All originals and, of each corpus' pairs, `ratio` times as many as it has originals.

    Args:
        originals: clips as they are.
        pairs: of each corpus; each epoch draws others, going through all before any comes twice.
        ratio: pairs an original; the number is shared out by the corpora's numbers of pairs.
        modality_dropout: share of items that lose one channel; none where only one is looked at.
        modalities: what the network looks at.
        seed: of the run.
        epoch: from 0.
    """
    items = originals
    total = sum(len(part) for part in pairs)
    wanted = min(round(ratio * len(originals)), total)
    for place, part in enumerate(pairs):
        count = round(wanted * len(part) / total)
        items = join_items(items, part.take(_rotate(len(part), count, (seed, PAIRS, place), epoch)))
    order = np.random.default_rng([seed, ORDER, epoch]).permutation(len(items))
    draws = np.random.default_rng([seed, DROPS, epoch]).random(len(items))
    share = modality_dropout if len(modalities) > 1 else 0.0
    dropped = {Modality.VIDEO: draws < share / 2, Modality.AUDIO: draws > 1 - share / 2}
    return Epoch(items.take(order), dropped)


def some(items: Items, count: int) -> Items:
    """At most `count` of the items, always the same: enough to validate on after each epoch."""
    if len(items) <= count:
        return items
    places = np.random.default_rng([len(items), count]).permutation(len(items))[:count]
    return items.take(np.sort(places))


def _rotate(size: int, count: int, seed: tuple[int, ...], epoch: int) -> IntArray:
    """`count` of `size` places: the next ones of an endless row of permutations."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    first = epoch * count
    rounds = range(first // size, (first + count - 1) // size + 1)
    row = np.concatenate([np.random.default_rng([*seed, r]).permutation(size) for r in rounds])
    start = first - rounds[0] * size
    return np.asarray(row[start : start + count], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class TargetTable:
    """Targets and weights of all clips, from which a step's are gathered.

    present: which clips have the channel (n,).
    """

    targets: ClipTargets
    weights: Mapping[str, FloatArray]
    present: Mapping[Modality, BoolArray]

    @classmethod
    def build(
        cls,
        targets: ClipTargets,
        train_rows: IntArray,
        present: Mapping[Modality, BoolArray],
        settings: LossSettings,
    ) -> TargetTable:
        """Weights are balanced over the training clips only; others get those of their class."""
        weights = {
            head: _weights(getattr(targets, head), targets, train_rows, settings)
            for head in ("emotion", "face", "voice")
        }
        return cls(targets, weights, present)

    def gather(self, epoch: Epoch) -> BatchTargets:
        """Targets of these items; a head is asked only of what the item shows and labels say."""
        items, targets = epoch.items, self.targets
        face, voice = items.face_rows, items.voice_rows
        seen = self.present[Modality.VIDEO][face] & ~epoch.dropped[Modality.VIDEO]
        heard = self.present[Modality.AUDIO][voice] & ~epoch.dropped[Modality.AUDIO]
        shares = {
            "emotion": targets.emotion[face],
            "face": targets.face[face],
            "voice": targets.voice[voice],
        }
        asked = {"emotion": items.same_emotion & (seen | heard), "face": seen, "voice": heard}
        rows = {"emotion": face, "face": face, "voice": voice}
        weights = {
            head: (shares[head] * self.weights[head][rows[head]]).sum(axis=1) * asked[head]
            for head in shares
        }
        conflict_weight = seen & heard & (items.conflict != UNKNOWN)
        return BatchTargets(
            **{head: torch.from_numpy(values) for head, values in shares.items()},
            conflict=torch.from_numpy(items.conflict),
            emotion_weight=torch.from_numpy(weights["emotion"]),
            face_weight=torch.from_numpy(weights["face"]),
            voice_weight=torch.from_numpy(weights["voice"]),
            conflict_weight=torch.from_numpy(conflict_weight.astype(np.float32)),
            face_emotions=torch.from_numpy(targets.emotions[face]),
            voice_emotions=torch.from_numpy(targets.emotions[voice]),
        )


def _weights(
    shares: FloatArray, targets: ClipTargets, rows: IntArray, settings: LossSettings
) -> FloatArray:
    """Weight (n, 8) of each emotion in each clip's corpus, from the training rows."""
    part = ClipTargets(*(getattr(targets, name)[rows] for name in ClipTargets.__slots__))
    trained = balanced_weights(
        shares[rows],
        part,
        classes=settings.class_weights == "balanced",
        corpus_power=settings.corpus_power,
    )
    weights = np.ones(shares.shape, dtype=np.float32)
    for corpus in np.unique(part.corpora):
        first = int(np.flatnonzero(part.corpora == corpus)[0])
        weights[targets.corpora == corpus] = trained[first]
    return weights


def rank_rows(num_items: int, part: int, num_parts: int) -> tuple[IntArray, BoolArray]:
    """Places of a step's items that one of `num_parts` computes, all parts alike long.

    Returns:
        places (k,), and whether they count (k,): where the items don't divide, some parts compute
        an item once more, without weight, so that all take part in every exchange of gradients.
    """
    size = -(-num_items // num_parts)
    places = np.arange(part * size, (part + 1) * size)
    return np.minimum(places, num_items - 1), places < num_items
