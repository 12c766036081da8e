"""Torch's side of a feature table: whole arrays in memory, batches gathered by row.

With embeddings computed before, a batch is two index operations; worker processes would only cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from facevoice.data.feature_table import FeatureTable
from facevoice.data.targets import IntArray
from facevoice.labels import Modality
from facevoice.types import BoolArray

MOST_BYTES: Final = 2**30
"""Standardised tokens are kept in memory up to this size."""
_CHUNK: Final = 1024


class NetworkInputs(Protocol):
    """A batch of what a network takes: a `Batch`, or a `WindowBatch`."""

    def inputs(self) -> tuple[Any, ...]:
        """In the order of the network's arguments."""
        ...

    def options(self) -> dict[str, bool]:
        """The network's named arguments."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs of the network: tokens (B, T, D) and masks bool (B, T) of both channels or of one."""

    video: Tensor | None
    video_mask: Tensor | None
    audio: Tensor | None
    audio_mask: Tensor | None
    standardized: bool = False

    def inputs(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """In the order of the network's arguments."""
        return (self.video, self.video_mask, self.audio, self.audio_mask)

    def options(self) -> dict[str, bool]:
        """The network's named arguments."""
        return {"standardized": self.standardized}


class FeatureDataset(Dataset[Batch]):
    """Faces and voices by row, in memory, on the device.

    standardize: the network's first step, the same in each epoch: done once, if what comes out has
    room; else half precision is kept in memory and widened batch by batch.
    """

    def __init__(
        self,
        table: FeatureTable,
        modalities: tuple[Modality, ...],
        device: torch.device,
        standardize: Callable[[Modality, Tensor], Tensor] | None = None,
    ) -> None:
        self.tokens = {m: torch.from_numpy(table.arrays[m].tokens).to(device) for m in modalities}
        num_bytes = 4 * sum(tokens.numel() for tokens in self.tokens.values())
        self.standardized = standardize is not None and num_bytes <= MOST_BYTES
        if standardize is not None and self.standardized:
            self.tokens = {m: _in_chunks(standardize, m, t) for m, t in self.tokens.items()}
        self.masks = {m: torch.from_numpy(table.arrays[m].mask).to(device) for m in modalities}
        self._num_clips = len(table)
        self.device = device

    def __len__(self) -> int:
        return self._num_clips

    def __getitem__(self, row: int) -> Batch:
        rows = torch.tensor([row]).numpy()
        return self.gather(rows, rows)

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> Batch:
        """Faces of some rows with voices of others, (B,) each; `dropped` (B,) channels masked."""
        rows = {Modality.VIDEO: face_rows, Modality.AUDIO: voice_rows}
        parts: dict[Modality, tuple[Tensor, Tensor]] = {}
        for modality, tokens in self.tokens.items():
            index = torch.from_numpy(rows[modality]).to(self.device)
            mask = self.masks[modality][index]
            if dropped is not None:
                mask = mask & ~torch.from_numpy(dropped[modality]).to(self.device)[:, None]
            parts[modality] = (tokens[index].float(), mask)
        video, video_mask = parts.get(Modality.VIDEO, (None, None))
        audio, audio_mask = parts.get(Modality.AUDIO, (None, None))
        return Batch(video, video_mask, audio, audio_mask, self.standardized)


@torch.no_grad()
def _in_chunks(
    standardize: Callable[[Modality, Tensor], Tensor], modality: Modality, tokens: Tensor
) -> Tensor:
    chunks = torch.split(tokens, _CHUNK)
    return torch.cat([standardize(modality, chunk) for chunk in chunks])
