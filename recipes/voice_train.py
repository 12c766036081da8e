"""Fine-tuning of the compact voice network: sampling, the loop, scores of held-out clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from recipes.voice_data import CLASSES, VoiceClip, corpus_classes
from recipes.voice_net import EMBEDDING_DIM, VoiceNet
from recipes.voice_tokens import TokenSet
from torch import Tensor
from torch.nn import functional as F

from facevoice.features.mel import FRAMES_PER_SECOND


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The recipe; the same for every fold and for the final network."""

    epochs: int = 3
    versions: int = 2  # augmented versions of the corpora that the epochs take in turn
    batch_size: int = 16
    lr: float = 1e-4  # of the last block; everything below stays as published
    head_lr: float = 3e-4
    weight_decay: float = 0.02
    warmup: float = 0.1  # share of all steps
    label_smoothing: float = 0.1
    takes_per_cell: int = 2  # javanese takes are near-identical
    max_frames: int = 5 * FRAMES_PER_SECOND // 2
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ClipScores:
    """Clip-level results: mean embedding and log of the mean posterior over the windows."""

    embedding: npt.NDArray[np.float32]  # (n, 1024)
    log_probs: npt.NDArray[np.float32]  # (n, 8)


# ---- sampling ---------------------------------------------------------------------------------


def epoch_batches(
    rows: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    batch_size: int,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.int64]]:
    """One epoch's batches of ``rows``; like lengths share a batch, to save padding."""
    order, batches = rng.permutation(rows), []
    for start in range(0, len(order), 8 * batch_size):
        chunk = order[start : start + 8 * batch_size]
        chunk = chunk[np.argsort(lengths[chunk])]
        batches += [chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size)]
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
    net: VoiceNet,
    tokens: TokenSet,
    rows: npt.NDArray[np.int64],
    clips: Sequence[VoiceClip],
    config: TrainConfig,
) -> None:
    """Set the standardisation, and fit the head to the published encoder's embeddings."""
    rows = rows[np.argsort(tokens.lengths[rows])]
    with torch.no_grad():
        features = torch.cat(
            [
                net.pool(*tokens.batch(rows[i : i + config.batch_size]))
                for i in range(0, len(rows), config.batch_size)
            ]
        )
    net.shift.copy_(features.mean(dim=0))
    net.scale.copy_(features.std(dim=0) + 1e-4)
    features = (features - net.shift) / net.scale
    heard = [clips[i] for i in tokens.clips[rows]]
    weights = torch.from_numpy(class_weights(heard))
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    optimizer = torch.optim.AdamW(net.head.parameters(), lr=2e-3, weight_decay=3.0)
    for _ in range(150):
        optimizer.zero_grad()
        masked_loss(net.head(features), heard, weights, config.label_smoothing).backward()
        optimizer.step()


def make_optimizer(net: VoiceNet, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the last block and the head."""
    groups = [
        {"params": list(net.blocks[-1].parameters()), "lr": config.lr},
        {"params": list(net.head.parameters()), "lr": config.head_lr},
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def fit(
    net: VoiceNet,
    versions: Sequence[TokenSet],
    clips: Sequence[VoiceClip],
    allowed: npt.NDArray[np.bool_],
    config: TrainConfig,
) -> Iterator[tuple[int, float]]:
    """Train on the clips that are ``allowed``, in place; yields (epoch, mean loss).

    Epoch 0 is the published encoder with a fitted head. Later epochs take one augmented version
    of the clips each, in turn.
    """
    kept = [np.flatnonzero(allowed[tokens.clips]) for tokens in versions]
    start_head(net, versions[0], kept[0], clips, config)
    yield 0, float("nan")
    rng = np.random.default_rng(config.seed + 1)
    torch.manual_seed(config.seed)
    optimizer = make_optimizer(net, config)
    num_steps = config.epochs * -(-len(kept[0]) // config.batch_size)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate(step / num_steps, config.warmup)
    )
    for epoch in range(1, config.epochs + 1):
        net.train()
        tokens, rows = versions[epoch % len(versions)], kept[epoch % len(versions)]
        all_weights = class_weights([clips[i] for i in tokens.clips[rows]])
        weight_of = dict(zip(rows.tolist(), all_weights.tolist(), strict=True))
        losses = []
        for batch in epoch_batches(rows, tokens.lengths, config.batch_size, rng):
            _, logits = net.classify(net.pool(*tokens.batch(batch)))
            weights = torch.tensor([weight_of[row] for row in batch.tolist()])
            heard = [clips[i] for i in tokens.clips[batch]]
            loss = masked_loss(logits, heard, weights, config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        yield epoch, float(np.mean(losses))


def _rate(progress: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to nothing."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / (1.0 - warmup))))


# ---- scores -----------------------------------------------------------------------------------


def score_tokens(
    net: VoiceNet, tokens: TokenSet, clip_ids: Sequence[int], batch_size: int = 16
) -> ClipScores:
    """Run the network on every window of the clips and average within each clip."""
    place = {clip: i for i, clip in enumerate(clip_ids)}
    rows = np.flatnonzero(np.isin(tokens.clips, clip_ids))
    rows = rows[np.argsort(tokens.lengths[rows])]
    embedding = np.zeros((len(place), EMBEDDING_DIM), dtype=np.float32)
    probs = np.zeros((len(place), len(CLASSES)), dtype=np.float32)
    owners = np.array([place[clip] for clip in tokens.clips[rows].tolist()])
    net.eval()
    for start in range(0, len(rows), batch_size):
        part = slice(start, start + batch_size)
        with torch.no_grad():
            emb, logits = net.classify(net.pool(*tokens.batch(rows[part])))
        np.add.at(embedding, owners[part], emb.numpy())
        np.add.at(probs, owners[part], logits.softmax(dim=1).numpy())
    count = np.bincount(owners, minlength=len(place))[:, None].astype(np.float32)
    return ClipScores(embedding / count, np.log(probs / count + 1e-12))


def save_checkpoint(net: VoiceNet, path: Path) -> None:
    torch.save(net.state_dict(), path)


def load_checkpoint(path: Path) -> VoiceNet:
    net = VoiceNet()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()
