"""`fit`: the only trainer, for any subset of modalities, on any number of processes.

Everything that a step does follows from (seed, epoch, step): the order of the items, who meets
whom, which channels are hidden, and the seed of dropout. So a run that was killed and goes on ends
in the same weights, bit for bit on one CPU with as many threads.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from facevoice.errors import ConfigError, EvaluationError, WeightsError
from facevoice.evaluation.metrics import auroc, uar
from facevoice.models.fusion import FusionNetwork, Logits
from facevoice.plain import parse_json
from facevoice.records import BoolArray, DoubleArray, FloatArray, IntArray, Modality
from facevoice.training.config import LossSettings, OptimizerSettings, RunSettings, TrainConfig
from facevoice.training.data import UNKNOWN, ClipTargets, FeatureTable, Items, TrainingData
from facevoice.training.losses import (
    TargetTable,
    head_losses,
    restrict_logits,
    total_loss,
    weight_sums,
)

STATE_FILE: Final = "training-state.safetensors"
MIN_ROWS_PER_INPUT: Final = 2
MOST_BYTES: Final = 2**30
"""Standardised tokens are kept in memory up to this size."""
_FORMAT: Final = "facevoice-training-state/2"
_ORDER, _PAIRS, _DROPS, _DROPOUT = 1, 2, 3, 4
_LOG = logging.getLogger(__name__)


# Where a run computes: Accelerate finds devices, processes, precision and trackers.


def create_accelerator(settings: RunSettings, folder: Path, *, cpu: bool = False) -> Any:
    """Accelerate's view of this machine; one process, or one of those its launcher started.

    Raises:
        ConfigError: the precision or a tracker is not to be had here.
    """
    from accelerate import Accelerator

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


def _same_everywhere(accelerator: Any, value: float) -> float:
    """The main process' value: last bits may differ, decisions must not."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast

    shared = torch.tensor([value], dtype=torch.float64, device=accelerator.device)
    return float(broadcast(shared)[0])


# The network at its start, fitted to what the training clips look like, and its inputs.


def build_network(config: TrainConfig, data: TrainingData) -> tuple[TrainConfig, FusionNetwork]:
    """The network at its start: weights by the seed, inputs by the training clips' statistics.

    Where training clips are too few to whiten inputs, they are standardised, which the returned
    settings say: with fewer rows than twice the inputs, the smallest variances are chance, and
    whitening makes them as large as the others.
    """
    shape, rows = config.network, data.rows("train")
    parts = {m: data.table.arrays[m].take(rows) for m in shape.modalities}
    for modality, part in parts.items():
        num_rows, dim = int(part.lengths.sum()), shape.dim(modality)
        if shape.input_norm == "whiten" and num_rows < MIN_ROWS_PER_INPUT * dim:
            told = "%d training rows are too few to whiten %d inputs (%s): they are standardised"
            _LOG.warning(told, num_rows, dim, modality)
            shape = replace(shape, input_norm="standardize")
    torch.manual_seed(config.run.seed)
    network = FusionNetwork(shape)
    for modality, part in parts.items():
        network.fit_inputs(modality, torch.from_numpy(part.tokens[part.mask].astype(np.float32)))
    return replace(config, network=shape), network


class FeatureInputs:
    """Stored embeddings in memory, on the device; a batch is two index operations.

    standardize: the network's first step, the same in each epoch: done once, if what comes out has
    room; else half precision is kept in memory and widened batch by batch.
    """

    chunk = 1024  # items that are validated at once

    def __init__(
        self,
        table: FeatureTable,
        modalities: Sequence[Modality],
        device: torch.device,
        standardize: Callable[[Modality, Tensor], Tensor] | None = None,
    ) -> None:
        self.device = device
        self.tokens = {m: torch.from_numpy(table.arrays[m].tokens).to(device) for m in modalities}
        self.masks = {m: torch.from_numpy(table.arrays[m].mask).to(device) for m in modalities}
        num_bytes = 4 * sum(tokens.numel() for tokens in self.tokens.values())
        self.standardized = standardize is not None and num_bytes <= MOST_BYTES
        if standardize is not None and self.standardized:
            with torch.no_grad():
                self.tokens = {
                    m: torch.cat([standardize(m, part) for part in torch.split(tokens, self.chunk)])
                    for m, tokens in self.tokens.items()
                }

    def gather(self, items: Items) -> dict[str, Any]:
        """Tokens (B, T, D) and masks bool (B, T) of the channels, by the network's names."""
        found: dict[str, Any] = {"standardized": self.standardized}
        for modality, tokens in self.tokens.items():
            rows, hidden = (
                torch.from_numpy(array).to(self.device) for array in items.side(modality)
            )
            found[modality.value] = tokens[rows].float()
            found[f"{modality.value}_mask"] = self.masks[modality][rows] & ~hidden[:, None]
        return found


# AdamW, its learning rate, and weights by name.


def _build_optimizer(network: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) on what is trained.

    Weight matrices decay; biases, norms and absent vectors, all with one axis or none, do not.
    Parameters under `backbones.` have the backbones' rate.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in _trained(network):
        key = (name.startswith("backbones."), parameter.ndim > 1)
        groups.setdefault(key, []).append(parameter)
    rates, decay = (settings.learning_rate, settings.backbone_learning_rate), settings.weight_decay
    options = [
        {"params": part, "highest_rate": rates[tuned], "weight_decay": decay * decays}
        for (tuned, decays), part in groups.items()
    ]
    return torch.optim.AdamW(options, settings.learning_rate, eps=settings.epsilon, fused=True)


def _rate_at(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Share of the highest rate at a step: linear warm-up, then half a cosine to `final_rate`.

    Loshchilov & Hutter (2017), SGDR.
    """
    warmup = round(settings.warmup * num_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, num_steps - warmup))
    low = settings.final_rate
    return low + (1 - low) * (1 + math.cos(math.pi * done)) / 2


def _trained(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in network.named_parameters() if p.requires_grad]


def _kept_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copies of trained parameters and of all buffers; frozen backbones can be had again."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    state = network.state_dict()
    return {name: t.detach().cpu().clone() for name, t in state.items() if name not in frozen}


def put_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put what `fit` kept into a network; WeightsError if names or shapes differ."""
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"training state: {error}") from error
    missing = sorted(set(missing) - frozen)
    if missing or unexpected:
        raise WeightsError(f"training state: missing {missing}, unexpected {unexpected}")


@torch.no_grad()
def _update_average(
    average: Mapping[str, Tensor], network: nn.Module, decay: float, step: int
) -> None:
    """a ← d a + (1 − d) w, d = min(decay, (1+t) / (10+t)), after a step t (counted from 0).

    Polyak & Juditsky (1992); the shorter memory at first as in Tan & Le (2019), EfficientNet.
    """
    decay = min(decay, (1 + step) / (10 + step))
    weights = dict(_trained(network))
    trained = [weights[name].detach() for name in average]
    if average:
        torch._foreach_lerp_(list(average.values()), trained, 1 - decay)


# The training state on disk: one safetensors file, whole or not at all. Accelerate's own saving
# pickles the optimizer and the random states, writes several files one after the other, and keeps
# frozen backbones in each.


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


def _flatten(tree: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, node in tree.items():
        if isinstance(node, Tensor):
            yield str(name), node.detach().cpu().contiguous().clone()
        else:
            yield from ((f"{name}/{rest}", tensor) for rest, tensor in _flatten(node))


def _save_state(
    path: Path, tree: Mapping[str, Any], progress: Progress, identity: Mapping[str, str]
) -> None:
    """Write everything that the next step depends on; `identity` names what it belongs to."""
    metadata = {
        "format": _FORMAT,
        "identity": json.dumps(dict(identity), sort_keys=True),
        "progress": json.dumps(asdict(progress)),
    }
    part = path.with_name(f"{path.name}.part")
    save_file(dict(_flatten(tree)), part, metadata=metadata)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _load_state(path: Path, identity: Mapping[str, str]) -> tuple[dict[str, Any], Progress]:
    """Read what `_save_state` wrote; WeightsError if damaged, or of another format or run."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != _FORMAT:
            raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
        saved = msgspec.convert(parse_json(metadata["identity"]), dict[str, Any])
        progress = msgspec.convert(parse_json(metadata["progress"]), Progress)
    except (SafetensorError, OSError, KeyError, ValueError, msgspec.ValidationError) as error:
        raise WeightsError(
            f"{path}: is no sound training state ({error}); start over with --fresh"
        ) from error
    differing = sorted(key for key in identity if saved.get(key) != identity[key])
    if differing:
        raise WeightsError(
            f"{path}: belongs to another run ({', '.join(differing)} differ); name another "
            "folder, or start over with --fresh"
        )
    tree: dict[str, Any] = {"optimizer": {}, "average": {}, "best": {}}
    for name, tensor in tensors.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = tensor
    return tree, progress


# What each step of each epoch presents: a pure function of settings, seed, epoch and step.


def plan_epoch(originals: Items, pairs: Sequence[Items], config: TrainConfig, epoch: int) -> Items:
    """All originals and, of each corpus' pairs, `pairs.ratio` times as many as it has originals.

    Each epoch draws other pairs; their number is shared out by the corpora's numbers of pairs.
    `loss.modality_dropout` of the items lose one channel, where the network looks at two.
    """
    seed, items = config.run.seed, originals
    total = sum(len(part) for part in pairs)
    wanted = min(round(config.pairs.ratio * len(originals)), total)
    for place, part in enumerate(pairs):
        count = round(wanted * len(part) / total)
        draw = np.random.default_rng([seed, _PAIRS, place, epoch])
        items += part.take(draw.permutation(len(part))[:count])
    order = np.random.default_rng([seed, _ORDER, epoch]).permutation(len(items))
    draws = np.random.default_rng([seed, _DROPS, epoch]).random(len(items))
    share = config.loss.modality_dropout if config.network.is_multimodal else 0.0
    return replace(
        items.take(order), hides_face=draws < share / 2, hides_voice=draws > 1 - share / 2
    )


def part_rows(num_items: int, part: int, num_parts: int) -> tuple[IntArray, BoolArray]:
    """Places of a step's items that one of `num_parts` computes, all parts alike long.

    Returns:
        places (k,), and whether they count (k,): where the items don't divide, some parts compute
        an item once more, without weight, so that all take part in every exchange of gradients.
    """
    size = -(-num_items // num_parts)
    places = np.arange(part * size, (part + 1) * size)
    return np.minimum(places, num_items - 1), places < num_items


# What a network says of a part, and figures of merit.


def compute_logits(network: nn.Module, inputs: FeatureInputs, items: Items) -> Logits:
    """All heads on all items, without dropout, on the CPU."""
    was_training = network.training
    network.eval()
    parts: list[Logits] = []
    with torch.no_grad():
        for start in range(0, len(items), inputs.chunk):
            places = np.arange(start, min(start + inputs.chunk, len(items)))
            parts.append(network(**inputs.gather(items.take(places))))
    network.train(was_training)
    heads: list[Any] = [
        None if found[0] is None else torch.cat(found).float().cpu()
        for found in zip(*parts, strict=True)
    ]
    return Logits(*heads)


def emotion_uars(
    head: str, said: FloatArray | DoubleArray, rows: IntArray, targets: ClipTargets
) -> Iterator[tuple[str, float]]:
    """Corpus and UAR of a head against the likeliest target, of each corpus.

    `said` are logits or log-probabilities (m, 8) of the clips in `rows` (m,), NaN where a channel
    is missing.
    """
    shares, corpora = getattr(targets, head)[rows], targets.corpora[rows]
    known = shares.any(axis=1) & ~np.isnan(said).any(axis=1)
    for corpus in np.unique(corpora[known]):
        chosen = known & (corpora == corpus)
        likely = restrict_logits(said[chosen], targets.emotions[rows][chosen]).argmax(axis=1)
        yield str(corpus), uar(shares[chosen].argmax(axis=1), likely)


def conflict_aurocs(
    scores: DoubleArray, items: Items, targets: ClipTargets
) -> Iterator[tuple[str, float]]:
    """Corpus and AUROC of conflict against match, of each corpus that has both."""
    corpora = targets.corpora[items.face_rows]
    for corpus in np.unique(corpora):
        chosen = (corpora == corpus) & (items.conflict != UNKNOWN) & ~np.isnan(scores)
        try:
            yield str(corpus), auroc(items.conflict[chosen] > 0.5, scores[chosen])
        except EvaluationError:
            continue  # this corpus has only one of the two


def _validate(
    network: nn.Module,
    inputs: FeatureInputs,
    clips: Items,
    pairs: Items,
    table: TargetTable,
    settings: LossSettings,
) -> dict[str, float]:
    """UARs of the clips and AUROC of pairs (or judged clips), means over the corpora; the loss.

    The loss is of all heads, weighed as in training. What is not defined is left out.
    """
    judged = pairs if len(pairs) else clips
    logits = compute_logits(network, inputs, clips)
    if len(pairs):
        logits = logits._replace(conflict=compute_logits(network, inputs, pairs).conflict)
    targets = {**table.gather(clips), "conflict": table.gather(judged)["conflict"]}
    loss = total_loss(head_losses(logits, targets, 0.0), weight_sums(targets), settings)
    rows, values = clips.face_rows, {"loss": [float(loss)]}
    shown = {"emotion": table.seen | table.heard, "face": table.seen, "voice": table.heard}
    for head, there in shown.items():
        said = getattr(logits, head)
        if said is not None:
            said = np.where(there[rows, None], said.numpy(), np.nan)
            found = emotion_uars(head, said, rows, table.targets)
            values[f"{head}_uar"] = [value for _, value in found]
    if logits.conflict is not None:
        scores = (logits.conflict[:, 1] - logits.conflict[:, 0]).double().numpy()
        found = conflict_aurocs(scores, judged, table.targets)
        values["conflict_auroc"] = [value for _, value in found]
    return {name: float(np.mean(each)) for name, each in values.items() if each}


def _monitored(scores: Mapping[str, float], monitor: str) -> float:
    """The number that is compared; higher is better."""
    if monitor == "loss":
        return -scores["loss"]
    found = scores.get("emotion_uar", float("nan"))
    if monitor == "uar" or "conflict_auroc" not in scores:
        return found
    return (found + scores["conflict_auroc"]) / 2


# Training itself.


def fit(
    config: TrainConfig,
    data: TrainingData,
    network: nn.Module,
    inputs: FeatureInputs,
    accelerator: Any,
    folder: Path,
    *,
    identity: Mapping[str, str],
    fresh: bool = False,
) -> tuple[dict[str, Tensor], Progress]:
    """Train a network; goes on where an earlier run in `folder` stopped, unless `fresh`.

    The state in the folder belongs to an `identity`; other settings or data can't go on from it.

    Returns:
        The weights (trained parameters and buffers) of the best validation, or without early
        stopping the last; and how it went.

    Raises:
        WeightsError: the state is damaged or of another run, or the loss is not finite.
    """
    trainer = _Trainer(config, data, network, inputs, accelerator, folder / STATE_FILE, identity)
    if fresh and accelerator.is_main_process:
        trainer.path.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    place = (accelerator.process_index + 1, accelerator.num_processes, accelerator.device)
    _LOG.info("process %d of %d, on %s", *place)
    trainer.restore()
    if config.run.trackers:
        # What a killed run logged beyond its last saved step is dropped.
        first = trainer.progress.total_steps
        extra = {"tensorboard": {"purge_step": first}} if first else {}
        accelerator.init_trackers("facevoice", init_kwargs=extra)
    network.train()
    while not trainer.progress.is_done:
        trainer.epoch()
    return trainer.best, trainer.progress


class _Trainer:
    """The state of a run, and one method a scale: epoch, step, part of a step."""

    def __init__(
        self,
        config: TrainConfig,
        data: TrainingData,
        network: nn.Module,
        inputs: FeatureInputs,
        accelerator: Any,
        path: Path,
        identity: Mapping[str, str],
    ) -> None:
        self.config, self.inputs, self.network = config, inputs, network
        self.accelerator, self.path, self.identity = accelerator, path, identity
        self.optimizer = _build_optimizer(network, config.train)
        self.model, self.prepared = accelerator.prepare(network, self.optimizer)
        self.average: dict[str, Tensor] = {}
        if config.train.ema:
            self.average = {name: p.detach().clone() for name, p in _trained(network)}
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        self.originals = data.originals("train")
        self.pairs = data.pair_items("train")
        self.held = data.originals("validation")
        self.held_pairs = self.held.take(np.zeros(0, dtype=np.int64))
        for items in data.pair_items("validation") if config.pairs.ratio else ():
            # As many as there are clips, always the same, are enough after each epoch.
            rng = np.random.default_rng([len(items), len(self.held)])
            self.held_pairs += items.take(np.sort(rng.permutation(len(items))[: len(self.held)]))
        self.table = TargetTable(data.table, data.targets, data.rows("train"), config.loss)
        num_items = len(plan_epoch(self.originals, self.pairs, config, 0))
        self.num_steps = -(-num_items // config.train.batch_size)

    def restore(self) -> None:
        """Go on from the saved state, if there is one."""
        if not self.path.exists():
            return
        tree, self.progress = _load_state(self.path, self.identity)
        put_weights(self.network, tree["weights"])
        moments = {int(number): named for number, named in tree["optimizer"].items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        device = self.accelerator.device
        self.average = {name: tensor.to(device) for name, tensor in tree["average"].items()}
        self.best = tree["best"]
        if self.accelerator.scaler is not None and self.progress.scaler:
            self.accelerator.scaler.load_state_dict(self.progress.scaler)
        _LOG.info("going on at epoch %d, step %d", self.progress.epoch, self.progress.step)

    def save(self) -> None:
        """Write the state, from the main process."""
        if not self.accelerator.is_main_process:
            return
        if self.accelerator.scaler is not None:
            self.progress.scaler = self.accelerator.scaler.state_dict()
        tree = {
            "weights": _kept_weights(self.network),
            "optimizer": self.optimizer.state_dict()["state"],
            "average": self.average,
            "best": self.best,
        }
        _save_state(self.path, tree, self.progress, self.identity)

    def epoch(self) -> None:
        """The steps of an epoch that are left, then validation."""
        progress, settings = self.progress, self.config
        size = settings.train.batch_size
        plan = plan_epoch(self.originals, self.pairs, settings, progress.epoch)
        while progress.step < self.num_steps:
            first = progress.step * size
            loss = self.step(plan.take(np.arange(first, min(first + size, len(plan)))))
            progress.step += 1
            progress.total_steps += 1
            if progress.total_steps % settings.run.log_every_steps == 0:
                self.accelerator.log({"train/loss": float(loss)}, step=progress.total_steps)
            if progress.total_steps % settings.run.save_every_steps == 0:
                self.save()
        own = _kept_weights(self.network)
        self.network.load_state_dict(self.average, strict=False)
        held, pairs = self.held, self.held_pairs
        scores = _validate(self.network, self.inputs, held, pairs, self.table, settings.loss)
        self.keep_best(scores)
        self.network.load_state_dict(own, strict=False)
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.is_done |= progress.epoch >= settings.train.num_epochs
        self.save()
        figures = {f"validation/{name}": value for name, value in scores.items()}
        self.accelerator.log(figures, step=progress.total_steps)

    def keep_best(self, scores: Mapping[str, float]) -> None:
        """Remember the network's weights if this validation is the best, and whether to stop."""
        progress, patience = self.progress, self.config.train.patience
        value = _same_everywhere(self.accelerator, _monitored(scores, self.config.train.monitor))
        progress.history.append({"epoch": progress.epoch, **scores})
        better = progress.best_value is None or value > progress.best_value or patience == 0
        if better:
            progress.best_value, progress.best_epoch, progress.bad_epochs = value, progress.epoch, 0
            self.best = _kept_weights(self.network)
        else:
            progress.bad_epochs += 1
            progress.is_done = progress.bad_epochs >= patience
        _LOG.info("epoch %d: %s%s", progress.epoch, dict(scores), " (best)" if better else "")

    def step(self, items: Items) -> Tensor:
        """One step of the optimizer; returns the loss over this process' rows."""
        progress, settings, accelerator = self.progress, self.config.train, self.accelerator
        share = _rate_at(progress.total_steps, self.num_steps * settings.num_epochs, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = group["highest_rate"] * share
        total = torch.zeros((), device=accelerator.device)
        for part in range(settings.accumulate):
            total += self.part(items, part)
        if not math.isfinite(float(total)):
            raise WeightsError(
                f"the loss is not finite at epoch {progress.epoch}, step {progress.step}; lower "
                "train.learning_rate"
            )
        if settings.max_gradient_norm:
            accelerator.clip_grad_norm_(self.model.parameters(), settings.max_gradient_norm)
        self.prepared.step()
        self.prepared.zero_grad()
        _update_average(self.average, self.network, settings.ema, progress.total_steps)
        return total

    def part(self, items: Items, part: int) -> Tensor:
        """Forward and backward of one part of a step; gradients are exchanged after the last."""
        accelerator, num_parts = self.accelerator, self.config.train.accumulate
        number = accelerator.process_index * num_parts + part
        places, counted = part_rows(len(items), number, accelerator.num_processes * num_parts)
        targets = self.table.gather(items)
        rows = (torch.from_numpy(places), torch.from_numpy(counted), accelerator.device)
        wanted = {head: target.take(*rows) for head, target in targets.items()}
        progress = self.progress
        seed = (self.config.run.seed, _DROPOUT, progress.epoch, progress.step, number)
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        with ExitStack() as stack:
            if part < num_parts - 1:
                stack.enter_context(accelerator.no_sync(self.model))
            stack.enter_context(accelerator.autocast())
            logits = self.model(**self.inputs.gather(items.take(places)))
            losses = head_losses(logits, wanted, self.config.loss.label_smoothing)
            loss = total_loss(losses, weight_sums(targets), self.config.loss)
            # Gradients are averaged over the processes, but the loss is a sum over all rows.
            accelerator.backward(loss * accelerator.num_processes)
        return loss.detach()
