"""Wav2Vec2 and its kin (XLS-R, WavLM, HuBERT) on the sound of a window, frozen.

An embedding is the mean over time of the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from facevoice.errors import WeightsError
from facevoice.features.backbone import BackboneSpec
from facevoice.features.frozen import LayerTap, choose_device, frozen_run
from facevoice.features.hub_files import CheckpointFiles
from facevoice.features.inputs import VoiceInput, pool_tokens
from facevoice.results import ModelId
from facevoice.types import SAMPLE_RATE_HZ, FloatArray, Window

TOKENS_PER_SECOND: Final[int] = 10


class Wav2Vec2:
    """A speech encoder; embedding (D,), tokens (about ten a second, D), layers (L, D).

    Sound of different length is run together only by networks that were trained with an attention
    mask (`return_attention_mask` of their preprocessor). The others normalise over time inside
    the network, where padding would leak into every frame: they get equal lengths only.

    Args:
        network: a transformers `Wav2Vec2Model`, `WavLMModel` or `HubertModel` in evaluation mode.
        voice_input: how sound becomes samples.
        spec, model: what is said of it.
        takes_mask: whether lengths may differ within a batch.
        num_threads: on the CPU.
        device: "auto", "cpu", "cuda", ….
        batch_size: windows run at once; by default 1 on the CPU, where more gains nothing.
    """

    def __init__(
        self,
        network: Any,
        voice_input: VoiceInput,
        spec: BackboneSpec,
        model: ModelId,
        *,
        takes_mask: bool,
        num_threads: int = 1,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.input = voice_input
        self.spec = spec
        self.model = model
        self.takes_mask = takes_mask
        self._device = choose_device(device)
        self._num_threads = num_threads
        self._batch_size = batch_size or (1 if self._device.type == "cpu" else 8)
        self.network = network.to(self._device)
        self.tap = LayerTap(self.network)
        self.frames_per_token = frames_per_token(network.config.conv_stride)

    @property
    def num_layers(self) -> int:
        """Rows of `embed_layers`."""
        return self.tap.num_layers

    @property
    def num_tokens(self) -> None:
        """Tokens grow with the window's length."""
        return

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows with sound.

        Returns:
            float32 (B, D).

        Raises:
            ValueError: a window has no sound.
        """
        sounds = [self.input.prepare(window) for window in windows]
        embeddings = np.empty((len(windows), self.spec.dim), dtype=np.float32)
        for rows in self._batches([len(sound) for sound in sounds]):
            layers, num_frames = self._run([sounds[row] for row in rows])
            for position, row in enumerate(rows):
                valid = layers[-1][position, : num_frames[position]]
                embeddings[row] = valid.mean(dim=0).cpu().numpy()
        return embeddings

    def embed_tokens(self, window: Window) -> FloatArray:
        """Means over consecutive frames of the last layer: float32 (about ten a second, D)."""
        layers, _ = self._run([self.input.prepare(window)])
        return pool_tokens(layers[-1][0].cpu().numpy(), self.frames_per_token)

    def embed_layers(self, window: Window) -> FloatArray:
        """Means over time of every layer: float32 (L, D); the last row is the embedding."""
        layers, _ = self._run([self.input.prepare(window)])
        return np.stack([layer[0].mean(dim=0).cpu().numpy() for layer in layers])

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Rows to run together: by length, so that little is padded, or nothing."""
        batch: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
            full = len(batch) == self._batch_size
            fits = self.takes_mask or not batch or lengths[batch[0]] == lengths[row]
            if batch and (full or not fits):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _run(self, sounds: Sequence[FloatArray]) -> tuple[list[Any], list[int]]:
        """Layers (B, T, D), and how many of the T frames are those of each sound."""
        import torch

        lengths = [len(sound) for sound in sounds]
        samples = np.zeros((len(sounds), max(lengths)), dtype=np.float32)
        for row, sound in enumerate(sounds):
            samples[row, : len(sound)] = sound
        arguments = {}
        if min(lengths) < max(lengths):
            mask = np.arange(max(lengths)) < np.array(lengths)[:, np.newaxis]
            arguments["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        with frozen_run(self._num_threads):
            layers = self.tap(torch.from_numpy(samples).to(self._device), **arguments)
        config = self.network.config
        num_frames = [count_frames(n, config.conv_kernel, config.conv_stride) for n in lengths]
        return layers, num_frames


def count_frames(num_samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that the unpadded convolutions before the encoder make of that many samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    return num_samples


def fewest_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that make one frame."""
    num_samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        num_samples = (num_samples - 1) * stride + kernel
    return num_samples


def frames_per_token(strides: Sequence[int]) -> int:
    """Frames that make up one token of a tenth of a second."""
    return max(1, round(SAMPLE_RATE_HZ / int(np.prod(strides)) / TOKENS_PER_SECOND))


def load_wav2vec2(
    files: CheckpointFiles, network: Any, spec: BackboneSpec, *, num_threads: int, device: str
) -> Wav2Vec2:
    """Put a loaded encoder to work on sound.

    Raises:
        WeightsError: its settings are not usable here.
    """
    config = network.config
    if getattr(config, "add_adapter", False):
        raise WeightsError(
            f"{files.origin}: has an adapter behind its encoder (add_adapter), which is no "
            "backbone here. Take the checkpoint that it was made from."
        )
    values = files.read_json("preprocessor_config.json")
    min_samples = fewest_samples(config.conv_kernel, config.conv_stride)
    try:
        voice_input = VoiceInput.from_config(values, min_samples)
    except ValueError as error:
        raise WeightsError(
            f"{files.folder / 'preprocessor_config.json'}: not usable here ({error})."
        ) from error
    num_frames = frames_per_token(config.conv_stride)
    step_ms = 1000 * num_frames * int(np.prod(config.conv_stride)) // SAMPLE_RATE_HZ
    full_spec = replace(
        spec,
        preprocessing=voice_input.version,
        input_form=voice_input.description,
        token_form=f"one every {step_ms} ms, each the mean over {num_frames} frames",
    )
    return Wav2Vec2(
        network,
        voice_input,
        full_spec,
        ModelId(files.origin, files.sha256),
        takes_mask=bool(values.get("return_attention_mask", False))
        and config.feat_extract_norm == "layer",
        num_threads=num_threads,
        device=device,
    )
