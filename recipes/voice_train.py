"""Fine-tuning of the compact voice network: sampling, loss, the loop, and a step back."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from recipes.fitting import PartialLabels, Samples, fit_voice_head
from recipes.voice_augment import training_mel
from recipes.voice_net import EMBEDDING_DIM, VoiceNet
from torch import Tensor, nn

from facevoice.backbones.compact import FRAMES_PER_SECOND
from facevoice.corpora.manifest import Clip
from facevoice.records import NUM_EMOTIONS, FloatArray

BATCH = 32


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """The recipe; the same for every part and for the final network."""

    epochs: int = 7
    lr: float = 7e-5  # of the last block; each one below has `lr_decay` of that above
    lr_decay: float = 0.8
    head_lr: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 0.1  # share of all steps
    label_smoothing: float = 0.1
    dropout: float = 0.3
    averaging: float = 0.99
    step_back: float = 0.75  # how much of the way from the published weights is kept
    takes_per_cell: int = 2  # javanese takes are near-identical
    corpus_power: float = 0.75  # a corpus weighs as its number of speakers to this power
    max_frames: int = 4 * FRAMES_PER_SECOND
    bfloat16: bool = False
    seed: int = 0


class TunedHead(nn.Module):
    """Standardised embedding to log-odds (B, 8); what the tuning is steered by."""

    shift: Tensor
    scale: Tensor

    def __init__(self, start: Samples, dropout: float) -> None:
        super().__init__()
        fitted = fit_voice_head(start)
        self.register_buffer("shift", torch.from_numpy(fitted.mean).float())
        self.register_buffer("scale", torch.from_numpy(fitted.scale).float())
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(EMBEDDING_DIM, NUM_EMOTIONS)
        self.linear.weight.data.copy_(torch.from_numpy(fitted.weight))
        self.linear.bias.data.copy_(torch.from_numpy(fitted.bias))

    def forward(self, embedding: Tensor) -> Tensor:
        return self.linear(self.dropout((embedding - self.shift) / self.scale))


def pad(mels: Sequence[FloatArray]) -> tuple[Tensor, Tensor]:
    """mel (B, 80, T) and frames in use (B,)."""
    num_frames = torch.tensor([mel.shape[1] for mel in mels])
    batch = torch.zeros(len(mels), 80, int(num_frames.max()))
    for row, mel in zip(batch, mels, strict=True):
        row[:, : mel.shape[1]] = torch.from_numpy(np.ascontiguousarray(mel))
    return batch, num_frames


def embed(net: VoiceNet, mels: Sequence[FloatArray]) -> np.ndarray:
    """Embeddings (n, 3072) of mels; like lengths share a batch."""
    net.eval()
    order = np.argsort([mel.shape[1] for mel in mels])
    found = np.empty((len(mels), EMBEDDING_DIM), dtype=np.float32)
    with torch.no_grad():
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            found[rows] = net(*pad([mels[i] for i in rows])).numpy()
    return found


def epoch_batches(lengths: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """One epoch's batches; like lengths share a batch, to save padding."""
    order, batches = rng.permutation(len(lengths)), []
    for start in range(0, len(order), 8 * BATCH):
        chunk = order[start : start + 8 * BATCH]
        chunk = chunk[np.argsort(lengths[chunk])]
        batches += [chunk[i : i + BATCH] for i in range(0, len(chunk), BATCH)]
    return [batches[i] for i in rng.permutation(len(batches))]


def draw_clips(clips: Sequence[Clip], takes: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of one epoch's clips: all, but of near-identical javanese takes only a few."""
    cells: dict[object, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        key = (clip.speaker, clip.sentence, clip.labels.intended)
        cells[key if clip.corpus == "javanese" else index].append(index)
    return np.concatenate([rng.permutation(members)[:takes] for members in cells.values()])


def partial_loss(
    logits: Tensor, labels: PartialLabels, weights: Tensor, smoothing: float
) -> Tensor:
    """-log Σ_targets p over the classes that a clip may be; smoothed over these."""
    possible = torch.from_numpy(labels.possible)
    log_probs = logits.masked_fill(~possible, -1e4).log_softmax(dim=1)
    inside = log_probs.masked_fill(~torch.from_numpy(labels.targets), -1e4)
    hit = -inside.logsumexp(dim=1)
    spread = -(log_probs * possible).sum(dim=1) / possible.sum(dim=1)
    losses = (1 - smoothing) * hit + smoothing * spread
    return (losses * weights).sum() / weights.sum()


def make_optimizer(net: VoiceNet, head: TunedHead, config: TuneConfig) -> torch.optim.AdamW:
    """AdamW over the head and all blocks but the first; front-end and first block stay."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    groups = [{"params": list(head.linear.parameters()), "lr": config.head_lr}]
    for depth, block in enumerate(reversed(net.blocks[1:])):
        for parameter in block.parameters():
            parameter.requires_grad_(True)
        groups.append(
            {"params": list(block.parameters()), "lr": config.lr * config.lr_decay**depth}
        )
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def clip_weights(samples: Samples, power: float) -> Tensor:
    """Classes of a corpus weigh alike, and a corpus as its speakers to `power`; mean 1."""
    weights = samples.balanced_weights()
    for corpus in np.unique(samples.corpora):
        rows = samples.corpora == corpus
        weights[rows] *= len(np.unique(samples.speakers[rows])) ** (power - 1)
    return torch.from_numpy(weights / weights.mean()).float()


def fit(
    net: VoiceNet,
    head: TunedHead,
    clips: Sequence[Clip],
    sounds: Sequence[FloatArray],
    samples: Samples,
    config: TuneConfig,
) -> Iterator[tuple[int, float]]:
    """Tune `net` in place on all clips; yields (epoch, mean loss).

    samples: one row a clip, for labels and corpora. At the end `net` holds averaged weights, a
    part of the way back to where it started (Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models").
    """
    rng = np.random.default_rng(config.seed + 1)
    torch.manual_seed(config.seed)
    start, average = copy.deepcopy(net), copy.deepcopy(net)
    optimizer = make_optimizer(net, head, config)
    num_drawn = len(draw_clips(clips, config.takes_per_cell, np.random.default_rng(0)))
    num_steps = config.epochs * math.ceil(num_drawn / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step / num_steps, config.warmup)
    )
    for epoch in range(1, config.epochs + 1):
        net.train()
        head.train()
        drawn = draw_clips(clips, config.takes_per_cell, rng)
        part = samples.where(drawn)
        weights = clip_weights(part, config.corpus_power)
        mels = [training_mel(sounds[i], rng, config.max_frames) for i in drawn]
        losses = []
        for batch in epoch_batches(np.array([mel.shape[1] for mel in mels]), rng):
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
                with torch.no_grad():
                    x, real = net.lower(*pad([mels[i] for i in batch]))
                embedding = net.upper(x, real)
            labels = PartialLabels.of(part.labels[batch], part.emotions[batch])
            logits = head(embedding.float())
            loss = partial_loss(logits, labels, weights[batch], config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*net.parameters(), *head.parameters()], 1.0)
            optimizer.step()
            schedule.step()
            _move(average, net, 1 - config.averaging)
            losses.append(loss.item())
        yield epoch, float(np.mean(losses))
    _move(average, start, 1 - config.step_back)
    net.load_state_dict(average.state_dict())


def _move(net: nn.Module, towards: nn.Module, share: float) -> None:
    """Move weights by a share of their distance to another's."""
    with torch.no_grad():
        for mine, other in zip(net.parameters(), towards.parameters(), strict=True):
            mine.lerp_(other, share)


def _rate(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))
