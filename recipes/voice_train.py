"""Fine-tuning of the compact voice network: sampling, the loop, scores of held-out clips."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from recipes.voice_augment import training_mel
from recipes.voice_data import CLASSES, Samples, VoiceClip, corpus_classes, cut_windows
from recipes.voice_net import EMBEDDING_DIM, NUM_BLOCKS, VoiceNet
from torch import Tensor
from torch.nn import functional as F

from facevoice.features.mel import FRAMES_PER_SECOND, voice_mel_batch


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The recipe; the same for every fold and for the final network."""

    epochs: int = 3
    batch_size: int = 16
    lr: float = 1e-4  # of the last block
    layer_decay: float = 0.7  # of the learning rate, block by block towards the input
    head_lr: float = 5e-4
    weight_decay: float = 0.02
    warmup: float = 0.1  # share of all steps
    label_smoothing: float = 0.1
    takes_per_cell: int = 2  # javanese takes are near-identical: a fresh sample in each epoch
    max_frames: int = 5 * FRAMES_PER_SECOND // 2
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """Clip-level results: mean embedding and log of the mean posterior over the windows."""

    embedding: npt.NDArray[np.float32]  # (n, 1024)
    log_probs: npt.NDArray[np.float32]  # (n, 8)


# ---- sampling ---------------------------------------------------------------------------------


def epoch_batches(
    clips: Sequence[VoiceClip],
    sizes: npt.NDArray[np.int64],
    config: TrainConfig,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.int64]]:
    """Indices of one epoch's batches; clips of like length share a batch, to save padding."""
    cells: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        cells[clip.cell].append(index)
    drawn = []
    for cell, members in cells.items():
        limit = config.takes_per_cell if cell[0] == "javanese" else len(members)
        drawn += list(rng.permutation(members)[:limit])
    order = rng.permutation(np.array(drawn, dtype=np.int64))
    batches = []
    for start in range(0, len(order), 8 * config.batch_size):
        chunk = order[start : start + 8 * config.batch_size]
        chunk = chunk[np.argsort(sizes[chunk])]
        batches += [
            chunk[i : i + config.batch_size] for i in range(0, len(chunk), config.batch_size)
        ]
    return [batches[i] for i in rng.permutation(len(batches))]


def class_weights(clips: Sequence[VoiceClip]) -> npt.NDArray[np.float32]:
    """Weight of each clip, so that a corpus's classes weigh the same; mean 1 in each corpus."""
    weights = np.zeros(len(clips), dtype=np.float32)
    corpora, labels = np.array([c.corpus for c in clips]), np.array([c.label for c in clips])
    for corpus in np.unique(corpora):
        inside = corpora == corpus
        present, counts = np.unique(labels[inside], return_counts=True)
        for label, count in zip(present, counts, strict=True):
            weights[inside & (labels == label)] = inside.sum() / (len(present) * count)
    return weights


def _stack(mels: Sequence[Samples]) -> tuple[Tensor, Tensor]:
    num_frames = torch.tensor([mel.shape[1] for mel in mels])
    batch = torch.zeros(len(mels), 80, int(num_frames.max()))
    for row, mel in zip(batch, mels, strict=True):
        row[:, : mel.shape[1]] = torch.from_numpy(mel)
    return batch, num_frames


# ---- training ---------------------------------------------------------------------------------


def masked_loss(
    logits: Tensor, clips: Sequence[VoiceClip], weights: Tensor, smoothing: float
) -> Tensor:
    """Cross-entropy over only those classes that the clip's corpus has; smoothing likewise."""
    present = torch.from_numpy(np.stack([corpus_classes(c.corpus) for c in clips]))
    log_probs = logits.masked_fill(~present, -1e4).log_softmax(dim=1)
    target = F.one_hot(torch.tensor([c.label for c in clips]), len(CLASSES)).float()
    spread = present.float() / present.sum(dim=1, keepdim=True)
    target = (1.0 - smoothing) * target + smoothing * spread
    losses = -(target * log_probs.masked_fill(~present, 0.0)).sum(dim=1)
    return (losses * weights).sum() / weights.sum()


def start_head(
    net: VoiceNet, clips: Sequence[VoiceClip], sounds: Sequence[Samples], config: TrainConfig
) -> None:
    """Set the standardisation, and fit the head to the frozen encoder's embeddings."""
    rng = np.random.default_rng(config.seed)
    sizes = np.array([sound.size for sound in sounds])
    pooled, labelled = [], []
    for batch in epoch_batches(clips, sizes, config, rng)[::2]:
        mels = [training_mel(sounds[i], rng, config.max_frames) for i in batch]
        with torch.no_grad():
            pooled.append(net.pool(*_stack(mels)))
        labelled += [clips[i] for i in batch]
    features = torch.cat(pooled)
    net.shift.copy_(features.mean(dim=0))
    net.scale.copy_(features.std(dim=0) + 1e-4)
    features = (features - net.shift) / net.scale
    weights = torch.from_numpy(class_weights(labelled))
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    optimizer = torch.optim.AdamW(net.head.parameters(), lr=2e-3, weight_decay=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        logits = net.head(F.dropout(features, 0.3))
        masked_loss(logits, labelled, weights, config.label_smoothing).backward()
        optimizer.step()


def make_optimizer(net: VoiceNet, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with a lower rate for each block nearer to the input.

    Convolutions and positions stay as published: that saves their backward pass.
    """
    net.conv1.requires_grad_(False)
    net.conv2.requires_grad_(False)
    groups = [
        {
            "params": list(block.parameters()),
            "lr": config.lr * config.layer_decay ** (NUM_BLOCKS - 1 - depth),
        }
        for depth, block in enumerate(net.blocks)
    ]
    groups.append({"params": list(net.head.parameters()), "lr": config.head_lr})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def fit(
    net: VoiceNet, clips: Sequence[VoiceClip], sounds: Sequence[Samples], config: TrainConfig
) -> Iterator[tuple[int, float, float]]:
    """Train in place; yields (epoch, mean loss, seconds) after each epoch."""
    start_head(net, clips, sounds, config)
    rng = np.random.default_rng(config.seed + 1)
    torch.manual_seed(config.seed)
    sizes = np.array([sound.size for sound in sounds])
    weights = class_weights(clips)
    optimizer = make_optimizer(net, config)
    num_steps = config.epochs * len(epoch_batches(clips, sizes, config, rng))
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step / num_steps, config.warmup)
    )
    for epoch in range(1, config.epochs + 1):
        began, losses = time.monotonic(), []
        net.train()
        for batch in epoch_batches(clips, sizes, config, rng):
            mels = [training_mel(sounds[i], rng, config.max_frames) for i in batch]
            _, logits = net(*_stack(mels))
            loss = masked_loss(
                logits,
                [clips[i] for i in batch],
                torch.from_numpy(weights[batch]),
                config.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        yield epoch, float(np.mean(losses)), time.monotonic() - began


def _rate(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


# ---- scores -----------------------------------------------------------------------------------


def score_clips(net: VoiceNet, sounds: Sequence[Samples], batch_size: int = 16) -> ClipScores:
    """Run the network on every window of every clip and average within the clip."""
    owners, windows = [], []
    for index, sound in enumerate(sounds):
        for window in cut_windows(sound):
            owners.append(index)
            windows.append(window)
    order = np.argsort([window.size for window in windows])
    embedding = np.zeros((len(sounds), EMBEDDING_DIM), dtype=np.float32)
    probs = np.zeros((len(sounds), len(CLASSES)), dtype=np.float32)
    net.eval()
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        mel, num_frames = voice_mel_batch([windows[i] for i in batch])
        with torch.no_grad():
            emb, logits = net(torch.from_numpy(mel), torch.from_numpy(num_frames))
        rows = [owners[i] for i in batch]
        np.add.at(embedding, rows, emb.numpy())
        np.add.at(probs, rows, logits.softmax(dim=1).numpy())
    count = np.bincount(owners, minlength=len(sounds))[:, None].astype(np.float32)
    return ClipScores(embedding / count, np.log(probs / count + 1e-12))


def save_checkpoint(net: VoiceNet, path: Path) -> None:
    torch.save(net.state_dict(), path)


def load_checkpoint(path: Path) -> VoiceNet:
    net = VoiceNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()
