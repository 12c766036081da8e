"""Torch's side of stored windows: batches of what the backbones take, gathered by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facevoice.data.feature_table import FeatureTable
from facevoice.data.loaders import FeatureDataset
from facevoice.data.targets import IntArray
from facevoice.data.window_cache import ClipWindows
from facevoice.errors import CorpusError
from facevoice.labels import Modality
from facevoice.types import BoolArray, FloatArray, Window

Prepare = Callable[[Window], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class ChannelWindows:
    """One channel of a batch: each clip once, however many items show it.

    inputs: of all windows, clip by clip: frames (F, 3, S, S), or samples (N,) of any N;
    clips (W,): whose window it is, 0 to C − 1; weights (W,): of the windows of a clip, sum 1;
    positions (W,): number of the window within its clip;
    items (B,): the clip of each item; present bool (B,): whether the item shows the channel;
    num_tokens: T of stored embeddings, to which all batches are filled up: dropout draws for it.
    """

    inputs: tuple[Tensor, ...]
    clips: Tensor
    weights: Tensor
    positions: Tensor
    items: Tensor
    present: Tensor
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class ChannelTokens:
    """One channel of a batch that no backbone is run for: stored tokens (B, T, D), mask (B, T)."""

    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Inputs of a network that brings its backbones: both channels, or one."""

    video: ChannelWindows | ChannelTokens | None
    audio: ChannelWindows | ChannelTokens | None

    def inputs(self) -> tuple[ChannelWindows | ChannelTokens | None, ...]:
        """In the order of the network's arguments."""
        return (self.video, self.audio)

    def options(self) -> dict[str, bool]:
        """The network's named arguments: none."""
        return {}


class WindowDataset(Dataset[WindowBatch]):
    """Windows of some channels and stored embeddings of the others, by row.

    Args:
        table: clips, and what was stored of them: says which clip shows which channel.
        modalities: that the network looks at.
        prepare: by channel whose backbone is run, how a window becomes its input.
        windows: of all clips that show such a channel.
        device: takes the batches.

    Raises:
        CorpusError: a clip has embeddings of a channel, but no windows.
    """

    def __init__(
        self,
        table: FeatureTable,
        modalities: tuple[Modality, ...],
        prepare: Mapping[Modality, Prepare],
        windows: ClipWindows,
        device: torch.device,
    ) -> None:
        self.prepare, self.windows, self.device = prepare, windows, device
        self.modalities = modalities
        self.clip_ids = [clip.clip_id for clip in table.clips]
        self.present = {m: table.arrays[m].lengths > 0 for m in prepare}
        self.num_tokens = {m: table.arrays[m].tokens.shape[1] for m in prepare}
        for modality, there in self.present.items():
            lacking = [
                self.clip_ids[row]
                for row in np.flatnonzero(there)
                if (self.clip_ids[row], modality) not in windows.keys
            ]
            if lacking:
                raise CorpusError(
                    f"{len(lacking)} clips have {modality} features but no windows, such as "
                    f"{lacking[0]!r}"
                )
        stored = tuple(m for m in modalities if m not in prepare)
        self.stored = FeatureDataset(table, stored, device)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, row: int) -> WindowBatch:
        rows = np.array([row], dtype=np.int64)
        return self.gather(rows, rows)

    def gather(
        self,
        face_rows: IntArray,
        voice_rows: IntArray,
        dropped: Mapping[Modality, BoolArray] | None = None,
    ) -> WindowBatch:
        """Faces of some rows with voices of others, (B,) each; `dropped` (B,) channels masked."""
        rows = {Modality.VIDEO: face_rows, Modality.AUDIO: voice_rows}
        parts: dict[Modality, ChannelWindows | ChannelTokens] = {}
        known = self.stored.gather(face_rows, voice_rows, dropped)
        stored = {
            Modality.VIDEO: (known.video, known.video_mask),
            Modality.AUDIO: (known.audio, known.audio_mask),
        }
        for modality in self.modalities:
            if modality in self.prepare:
                there = self.present[modality][rows[modality]]
                if dropped is not None:
                    there = there & ~dropped[modality]
                parts[modality] = self._windows(modality, rows[modality], there)
            else:
                tokens, mask = stored[modality]
                if tokens is not None and mask is not None:
                    parts[modality] = ChannelTokens(tokens, mask)
        return WindowBatch(parts.get(Modality.VIDEO), parts.get(Modality.AUDIO))

    def _windows(self, modality: Modality, rows: IntArray, there: BoolArray) -> ChannelWindows:
        distinct, places = np.unique(rows[there], return_inverse=True)
        items = np.zeros(len(rows), dtype=np.int64)
        items[there] = places
        inputs: list[Tensor] = []
        clips: list[int] = []
        weights: list[float] = []
        positions: list[int] = []
        for clip, row in enumerate(distinct):
            found = self.windows.read(self.clip_ids[row], modality)
            shares = np.array([_weight(window, modality) for window in found])
            for position, window in enumerate(found):
                inputs.append(torch.from_numpy(self.prepare[modality](window)).to(self.device))
                clips.append(clip)
                positions.append(position)
            weights += (shares / shares.sum()).tolist()
        return ChannelWindows(
            inputs=tuple(inputs),
            clips=torch.tensor(clips, dtype=torch.int64, device=self.device),
            weights=torch.tensor(weights, dtype=torch.float32, device=self.device),
            positions=torch.tensor(positions, dtype=torch.int64, device=self.device),
            items=torch.from_numpy(items).to(self.device),
            present=torch.from_numpy(there).to(self.device),
            num_tokens=self.num_tokens[modality],
        )


def _weight(window: Window, modality: Modality) -> float:
    """Seconds of the window that show the channel, as stored embeddings of a clip are averaged."""
    is_video = modality is Modality.VIDEO
    coverage = window.face_coverage if is_video else window.speech_coverage
    return coverage * window.duration_s
