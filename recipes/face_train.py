"""Training of the compact face network: one cycle of AdamW, mixup, averaged weights."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from recipes.face_data import EMOTIONS, NUM_SHAPES, Faces, Splits, augment
from recipes.face_net import FaceNet
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one run."""

    epochs: float = 60.0
    budget_min: float = 0.0  # over 0: the cycle is laid over this time, not over `epochs`
    batch: int = 128
    peak_rate: float = 0.003
    weight_decay: float = 0.05
    smoothing: float = 0.05
    mixup_share: float = 0.4  # of the batches
    mixup_alpha: float = 0.2
    strength: float = 1.0  # of the augmentation
    balance: float = 0.25  # class weight is (sum of its targets) ** -balance
    averaging: float = 0.998
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 2, 2, 2)
    dropout: float = 0.2
    shape_weight: float = 3.0  # of the blendshapes' part of the loss
    bfloat16: bool = False  # in matrix products; several times faster where the CPU has it
    side_px: int = 48
    # Small views first: (share of the run, side), for three times cheaper early epochs.
    growth: tuple[tuple[float, int], ...] = ((0.45, 32), (0.75, 40), (1.0, 48))
    seed: int = 1

    def side_at(self, progress: float) -> int:
        """Side of the views at a progress in [0, 1)."""
        return next(side_px for until, side_px in self.growth if progress < until)


def rate_at(progress: float, peak: float) -> float:
    """Learning rate of the one-cycle policy: linear up over 15 %, then a half cosine to zero."""
    if progress < 0.15:
        return peak * (0.04 + 0.96 * progress / 0.15)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.15) / 0.85)))


class Averaged:
    """Exponential moving average of a net's weights and buffers."""

    def __init__(self, net: FaceNet, decay: float) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._decay = decay
        self._num_steps = 0

    def update(self, net: FaceNet) -> None:
        """Move the average towards `net`; faster in the first steps."""
        self._num_steps += 1
        decay = min(self._decay, self._num_steps / (self._num_steps + 10))
        with torch.no_grad():
            for mean, value in zip(
                self.net.state_dict().values(), net.state_dict().values(), strict=True
            ):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value, 1 - decay)
                else:
                    mean.copy_(value)


class Progress:
    """How far a run is, 0 to 1, by steps or, with a time budget, by the clock."""

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self._num_steps = recipe.epochs * steps_per_epoch
        self._budget_s = recipe.budget_min * 60
        self._start_s = time.monotonic()
        self.step = 0

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start_s

    @property
    def share(self) -> float:
        if self._budget_s > 0:
            return self.elapsed_s / self._budget_s
        return self.step / self._num_steps


def fit(
    recipe: Recipe,
    splits: Splits,
    folder: Path,
    say: Callable[[str], None],
    on_epoch: Callable[[FaceNet, int], None],
    start: FaceNet | None = None,
) -> FaceNet:
    """Train on `splits.train`; a checkpoint in `folder` after every epoch; the averaged net.

    start: goes on from these weights instead of random ones; its shape must be the recipe's.
    """
    torch.manual_seed(recipe.seed)
    net = FaceNet(len(EMOTIONS), NUM_SHAPES, recipe.widths, recipe.depths, recipe.dropout)
    if start is not None:
        net.load_state_dict(start.state_dict())
    net = net.to(memory_format=torch.channels_last)
    average = Averaged(net, recipe.averaging)
    optimiser = make_optimiser(net, recipe)
    mass = splits.train.targets.sum(dim=0).clamp_min(1.0)
    weights = mass**-recipe.balance
    weights = weights * mass.sum() / (weights * mass).sum()  # 1 for the average picture
    steps_per_epoch = len(splits.train.labels) // recipe.batch
    progress = Progress(recipe, steps_per_epoch)
    held, epoch = splits.validation, 0
    while progress.share < 1:
        losses = train_epoch(net, average, optimiser, splits.train, weights, recipe, progress)
        epoch += 1
        save(average.net, recipe, folder / "last.pt")
        side_px = recipe.side_at(min(progress.share, 1 - 1e-9))
        figures = figures_of(classify(average.net, held, side_px), held.wanted)
        say(
            f"epoch {epoch} progress {min(1.0, progress.share):.3f} time_s {progress.elapsed_s:.0f}"
            f" side_px {side_px} loss {losses:.4f}"
            f" validation accuracy {figures.accuracy:.4f} uar {figures.uar:.4f}"
        )
        on_epoch(average.net, epoch)
    return average.net


def make_optimiser(net: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; norms and biases don't decay."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.peak_rate)


def train_epoch(
    net: FaceNet,
    average: Averaged,
    optimiser: torch.optim.AdamW,
    faces: Faces,
    weights: Tensor,
    recipe: Recipe,
    progress: Progress,
) -> float:
    """One pass over `faces`, or up to the end of the budget; the mean loss."""
    net.train()
    total, count = 0.0, 0
    order = torch.randperm(len(faces.labels))
    for members in order.split(recipe.batch):
        share = progress.share
        if share >= 1 or len(members) < recipe.batch:
            break
        for group in optimiser.param_groups:
            group["lr"] = rate_at(share, recipe.peak_rate)
        batch = faces.take(members)
        loss = step_loss(net, batch, recipe.side_at(share), weights, recipe)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average.update(net)
        progress.step += 1
        total, count = total + loss.item(), count + 1
    return total / max(1, count)


def step_loss(net: FaceNet, faces: Faces, side_px: int, weights: Tensor, recipe: Recipe) -> Tensor:
    """Loss of an augmented batch; in part of the batches of mixed-up pairs.

    Cross-entropy of the emotions, and that of the blendshapes where they are known.
    """
    views = augment(faces.images, side_px, recipe.strength)
    targets, shapes = faces.targets, faces.shapes
    if torch.rand(()) < recipe.mixup_share:
        alpha = torch.tensor(recipe.mixup_alpha)
        share = torch.distributions.Beta(alpha, alpha).sample()
        other = torch.randperm(len(views))
        views = share * views + (1 - share) * views[other]
        targets = share * targets + (1 - share) * targets[other]
        shapes = share * shapes + (1 - share) * shapes[other]
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        _, logits, moved = net(views.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits.float(), targets, weights, label_smoothing=recipe.smoothing)
    known = ~shapes.isnan().any(dim=1)
    if recipe.shape_weight > 0 and known.any():
        missed = F.binary_cross_entropy_with_logits(moved.float()[known], shapes[known])
        loss = loss + recipe.shape_weight * missed
    return loss


@dataclass(frozen=True, slots=True)
class Figures:
    """Scores on one part; `recalls` by emotion name, `confusion[truth][guess]` in counts."""

    accuracy: float
    uar: float
    recalls: dict[str, float]
    confusion: list[list[int]]


def classify(net: FaceNet, faces: Faces, side_px: int, flip: bool = False) -> Tensor:
    """Likeliest class (n,) by `net`; with `flip`, by the mean of both mirror images."""
    net.eval()
    guesses = []
    with torch.no_grad():
        for images in faces.images.split(256):
            batch = F.interpolate(images.float(), side_px, mode="bilinear", antialias=True)
            logits = net(batch)[1]
            if flip:
                logits = logits.log_softmax(1) + net(batch.flip(-1))[1].log_softmax(1)
            guesses.append(logits.argmax(dim=1))
    return torch.cat(guesses)


def figures_of(guess: Tensor, labels: Tensor) -> Figures:
    """Accuracy, mean recall and confusion of class indices (n,); labels below 0 don't count."""
    size = len(EMOTIONS)
    guess, labels = guess[labels >= 0], labels[labels >= 0]
    confusion = torch.bincount(labels * size + guess, minlength=size**2).view(size, size)
    recalls = confusion.diag() / confusion.sum(dim=1)
    return Figures(
        float((guess == labels).float().mean()),
        float(recalls.mean()),
        dict(zip(EMOTIONS, recalls.tolist(), strict=True)),
        confusion.tolist(),
    )


def save(net: FaceNet, recipe: Recipe, path: Path) -> None:
    """Write weights and settings."""
    torch.save({"recipe": asdict(recipe), "weights": net.state_dict()}, path)


def load(path: Path) -> tuple[FaceNet, Recipe]:
    """Read what `save` wrote."""
    held = torch.load(path, weights_only=True)
    recipe = Recipe(**held["recipe"])
    net = FaceNet(len(EMOTIONS), NUM_SHAPES, recipe.widths, recipe.depths, recipe.dropout)
    net.load_state_dict(held["weights"])
    return net.eval(), recipe
