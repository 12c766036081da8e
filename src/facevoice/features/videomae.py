"""VideoMAE (Tong et al. 2022) on the face crops of a window, frozen.

It has no class token: an embedding is the mean of the patch tokens of the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from facevoice.errors import WeightsError
from facevoice.features.backbone import BackboneSpec
from facevoice.features.frozen import LayerTap, choose_device, frozen_run
from facevoice.features.hub_files import CheckpointFiles
from facevoice.features.inputs import FaceInput
from facevoice.results import ModelId
from facevoice.types import FloatArray, Window


class VideoMae:
    """A VideoMAE encoder; embedding (D,), tokens (num_frames / tubelet, D), layers (L, D).

    One token is the mean of the patches of one tubelet step (two frames).

    Args:
        network: a transformers `VideoMAEModel` in evaluation mode.
        face_input: how crops become frames.
        spec, model: what is said of it.
        num_threads: on the CPU.
        device: "auto", "cpu", "cuda", ….
        batch_size: windows run at once; by default 1 on the CPU, where more gains nothing.
    """

    def __init__(
        self,
        network: Any,
        face_input: FaceInput,
        spec: BackboneSpec,
        model: ModelId,
        *,
        num_threads: int = 1,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.input = face_input
        self.spec = spec
        self.model = model
        self._device = choose_device(device)
        self._num_threads = num_threads
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 8)
        self.network = network.to(self._device)
        self.tap = LayerTap(self.network)
        self._num_steps: int = face_input.num_frames // network.config.tubelet_size

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.tap.num_layers

    @property
    def num_tokens(self) -> int:
        """Rows of `embed_tokens`."""
        return self._num_steps

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with faces.

        Returns:
            float32 (B, D).

        Raises:
            ValueError: a window has no faces.
        """
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for start in range(0, len(windows), self._batch_size):
            batch = windows[start : start + self._batch_size]
            embeddings[start : start + len(batch)] = self._run(batch)[-1].mean(dim=1).cpu().numpy()
        return embeddings

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over the patches of each tubelet step: float32 (num_frames / tubelet, D)."""
        last = self._run([window])[-1][0]
        steps = last.reshape(self._num_steps, -1, last.shape[-1])
        tokens: FloatArray = steps.mean(dim=1).cpu().numpy()
        return tokens

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over the patches of every layer: float32 (L, D); the last row is the embedding."""
        return np.stack([layer[0].mean(dim=0).cpu().numpy() for layer in self._run([window])])

    def _run(self, windows: Sequence[Window]) -> list[Any]:
        import torch

        frames = torch.from_numpy(np.stack([self.input.prepare(w) for w in windows]))
        with frozen_run(self._num_threads):
            return self.tap(frames.to(self._device))


def load_videomae(
    files: CheckpointFiles, network: Any, spec: BackboneSpec, *, num_threads: int, device: str
) -> VideoMae:
    """Put a loaded encoder to work on faces.

    Raises:
        WeightsError: its own settings do not fit each other.
    """
    config = network.config
    try:
        face_input = FaceInput.from_config(
            files.read_json("preprocessor_config.json"), config.num_frames
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{files.folder / 'preprocessor_config.json'}: not usable here ({error!r})."
        ) from error
    if face_input.side_px != config.image_size:
        raise WeightsError(
            f"{files.origin}: preprocessor_config.json makes {face_input.side_px} px, config.json "
            f"wants {config.image_size} px. Take both from one revision."
        )
    num_steps = config.num_frames // config.tubelet_size
    full_spec = replace(
        spec,
        preprocessing=face_input.version,
        input_form=face_input.description,
        token_form=f"{num_steps} a window, each the mean over the patches of one tubelet step "
        f"({config.tubelet_size} frames)",
    )
    model = ModelId(files.origin, files.sha256)
    return VideoMae(network, face_input, full_spec, model, num_threads=num_threads, device=device)
