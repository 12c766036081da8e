"""Tokens that enter the network's last block, computed once and kept in files.

Everything below the last block stays as published, so these tokens are the same for every fold:
all training runs share them, and none of them knows a speaker.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from recipes.voice_augment import training_mel
from recipes.voice_data import Samples, VoiceClip, cut_windows
from recipes.voice_net import WIDTH, VoiceNet
from torch import Tensor

from facevoice.features.mel import voice_mel

BATCH_SIZE = 16


@dataclass(frozen=True, slots=True, eq=False)
class TokenSet:
    """Token sequences of different length, end to end, each with the clip that it belongs to."""

    tokens: npt.NDArray[np.float16]  # (sum of lengths, 512)
    starts: npt.NDArray[np.int64]  # (n + 1,)
    clips: npt.NDArray[np.int64]  # (n,) index into the list of all clips

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)

    def batch(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Padded tokens (B, L, 512) and which of them are real (B, L, 1)."""
        length = int(self.lengths[rows].max())
        x, real = torch.zeros(len(rows), length, WIDTH), torch.zeros(len(rows), length, 1)
        for i, row in enumerate(rows):
            part = self.tokens[self.starts[row] : self.starts[row + 1]]
            x[i, : len(part)] = torch.from_numpy(part.astype(np.float32))
            real[i, : len(part)] = 1.0
        return x, real


def augmented_tokens(
    net: VoiceNet,
    clips: Sequence[VoiceClip],
    sounds: Sequence[Samples],
    cache: Path,
    *,
    takes_per_cell: int,
    max_frames: int,
    seed: int,
) -> TokenSet:
    """One augmented version of the clips; of javanese's near-identical takes only a sample."""
    if cache.is_file():
        return _load(cache)
    rng = np.random.default_rng(seed)
    cells: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        cells[clip.cell].append(index)
    drawn: list[int] = []
    for cell, members in cells.items():
        limit = takes_per_cell if cell[0] == "javanese" else len(members)
        drawn += rng.permutation(members)[:limit].tolist()
    mels = [training_mel(sounds[i], rng, max_frames) for i in drawn]
    return _encode(net, mels, drawn, cache)


def plain_tokens(net: VoiceNet, sounds: Sequence[Samples], cache: Path) -> TokenSet:
    """Every window of every clip, as the product hears it."""
    if cache.is_file():
        return _load(cache)
    owners, mels = [], []
    for index, sound in enumerate(sounds):
        for window in cut_windows(sound):
            owners.append(index)
            mels.append(voice_mel(window))
    return _encode(net, mels, owners, cache)


def _encode(net: VoiceNet, mels: Sequence[Samples], owners: Sequence[int], cache: Path) -> TokenSet:
    order = np.argsort([mel.shape[1] for mel in mels])
    parts: list[npt.NDArray[np.float16]] = [np.zeros((0, WIDTH), np.float16)] * len(mels)
    net.eval()
    for first in range(0, len(order), BATCH_SIZE):
        rows = order[first : first + BATCH_SIZE]
        num_frames = torch.tensor([mels[i].shape[1] for i in rows])
        batch = torch.zeros(len(rows), 80, int(num_frames.max()))
        for row, i in zip(batch, rows, strict=True):
            row[:, : mels[i].shape[1]] = torch.from_numpy(mels[i])
        with torch.no_grad():
            x, real = net.lower(batch, num_frames)
        for i, sequence, used in zip(rows, x, real[:, :, 0] > 0, strict=True):
            parts[i] = sequence[used].numpy().astype(np.float16)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    result = TokenSet(np.concatenate(parts), starts, np.array(owners))
    np.savez(cache, tokens=result.tokens, starts=result.starts, clips=result.clips)
    return result


def _load(cache: Path) -> TokenSet:
    with np.load(cache) as stored:
        return TokenSet(stored["tokens"], stored["starts"], stored["clips"])
