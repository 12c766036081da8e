"""What the pretrained networks want to see and hear, made with numpy and Pillow alone.

The numbers come from a checkpoint's `preprocessor_config.json`, and the result equals that of
transformers' own processors (VideoMAEImageProcessorPil, Wav2Vec2FeatureExtractor): tests compare
them. One code serves the torch and the ONNX backbones, so they see the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.types import SAMPLE_RATE_HZ, FloatArray, Window

DEFAULT_SIDE_PX: Final[int] = 224
_BYTE_SCALE: Final[float] = 1 / 255
_VARIANCE_FLOOR: Final[float] = 1e-7


@dataclass(frozen=True, slots=True)
class FaceInput:
    """Aligned crops of one window as a network's frames.

    num_frames: how many, spread evenly over the window;
    resize_px, side_px: crops are resized to the first and cut centrally to the second;
    resample: number of Pillow's filter (2 bilinear, 3 bicubic);
    mean, std: of the three colours, on the scale 0 to 1.
    """

    num_frames: int
    resize_px: int
    side_px: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_config(cls, values: Mapping[str, Any], num_frames: int) -> FaceInput:
        """From the content of `preprocessor_config.json`; both forms that were published.

        Raises:
            ValueError: it asks for something else than resize, central cut and normalisation.
        """
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not values.get(step, True):
                raise ValueError(f"{step} is off, which is not supported")
        resize_px = _side(values.get("size", DEFAULT_SIDE_PX))
        side_px = resize_px
        if values.get("do_center_crop", True):
            side_px = _side(values.get("crop_size", DEFAULT_SIDE_PX))
        if side_px > resize_px:
            raise ValueError(f"it cuts {side_px} px out of {resize_px} px")
        if abs(values.get("rescale_factor", _BYTE_SCALE) - _BYTE_SCALE) > 1e-9:
            raise ValueError(f"rescale_factor is {values['rescale_factor']}, not 1/255")
        mean, std = values["image_mean"], values["image_std"]
        return cls(
            num_frames=num_frames,
            resize_px=resize_px,
            side_px=side_px,
            resample=int(values.get("resample", Image.Resampling.BILINEAR)),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
        )

    @property
    def version(self) -> str:
        """Name for `BackboneSpec.preprocessing`; another input form has another name."""
        return f"frames-1-{_digest(asdict(self))}"

    @property
    def description(self) -> str:
        """For people."""
        return (
            f"{self.num_frames} aligned face crops spread over the window, "
            f"{self.side_px}×{self.side_px} px, "
            f"mean {'/'.join(f'{x:g}' for x in self.mean)}, "
            f"std {'/'.join(f'{x:g}' for x in self.std)}"
        )

    def prepare(self, window: Window) -> FloatArray:
        """Normalised frames float32 (num_frames, 3, side_px, side_px).

        Raises:
            ValueError: the window has no faces, or its crops are not square.
        """
        if window.faces is None:
            raise ValueError(f"window at {window.start_s:g} s has no faces")
        height, width = window.faces.shape[1:3]
        if height != width:
            raise ValueError(f"crops must be square, these are {height}×{width}")
        picked = spread_frames(window, self.num_frames)
        pictures = {index: self._picture(window.faces[index]) for index in sorted({*picked})}
        return np.stack([pictures[index] for index in picked])

    def _picture(self, crop: npt.NDArray[np.uint8]) -> FloatArray:
        image = Image.fromarray(crop)
        resized = image.resize(
            (self.resize_px, self.resize_px), resample=Image.Resampling(self.resample)
        )
        margin = (self.resize_px - self.side_px) // 2
        end = margin + self.side_px
        pixels = np.asarray(resized)[margin:end, margin:end].astype(np.float32) * np.float32(
            _BYTE_SCALE
        )
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)


def spread_frames(window: Window, num_frames: int) -> list[int]:
    """Which crops stand for `num_frames` moments spread over the window.

    The moments are the centres of equal slices of the window; for each the crop nearest in time
    is taken, the earlier of two that are equally near. Where there are fewer crops than moments,
    or none for a while, the nearest is repeated. Without timestamps, crops count as evenly spread.
    """
    if window.faces is None:
        raise ValueError(f"window at {window.start_s:g} s has no faces")
    num_crops = len(window.faces)
    centres = (np.arange(num_frames) + 0.5) / num_frames
    if window.face_timestamps_s is None:
        seen = (np.arange(num_crops) + 0.5) / num_crops
    else:
        seen = (window.face_timestamps_s - window.start_s) / window.duration_s
    # Rounded, so that equally near stays equally near whatever the window's start is.
    distances = np.abs(seen[np.newaxis] - centres[:, np.newaxis]).round(9)
    return [int(index) for index in distances.argmin(axis=1)]


@dataclass(frozen=True, slots=True)
class VoiceInput:
    """Sound of one window as a network's samples.

    normalize: to zero mean and unit variance;
    min_samples: shorter sound is filled up with silence, for one step of the network.
    """

    normalize: bool
    min_samples: int

    @classmethod
    def from_config(cls, values: Mapping[str, Any], min_samples: int) -> VoiceInput:
        """From the content of `preprocessor_config.json`.

        Raises:
            ValueError: it wants another sample rate than 16 kHz, or more than one value a sample.
        """
        rate_hz = values.get("sampling_rate", SAMPLE_RATE_HZ)
        if rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(f"it wants {rate_hz} Hz, not {SAMPLE_RATE_HZ} Hz")
        if values.get("feature_size", 1) != 1:
            raise ValueError(f"it wants {values['feature_size']} values a sample, not 1")
        return cls(normalize=bool(values.get("do_normalize", True)), min_samples=min_samples)

    @property
    def version(self) -> str:
        """Name for `BackboneSpec.preprocessing`; another input form has another name."""
        return f"wave-1-{_digest(asdict(self))}"

    @property
    def description(self) -> str:
        """For people."""
        scale = "zero mean and unit variance" if self.normalize else "as recorded"
        return f"mono samples at {SAMPLE_RATE_HZ} Hz, {scale}"

    def prepare(self, window: Window) -> FloatArray:
        """Samples float32 (N,), N at least `min_samples`.

        Raises:
            ValueError: the window has no sound.
        """
        if window.samples is None or len(window.samples) == 0:
            raise ValueError(f"window at {window.start_s:g} s has no sound")
        samples = window.samples.astype(np.float32, copy=False)
        if self.normalize:
            scale = np.sqrt(samples.var() + np.float32(_VARIANCE_FLOOR))
            samples = (samples - samples.mean()) / scale
        missing = self.min_samples - len(samples)
        return np.pad(samples, (0, missing)) if missing > 0 else samples


def pool_tokens(frames: FloatArray, frames_per_token: int) -> FloatArray:
    """Means of blocks of consecutive frames (T, D): (ceil(T / frames_per_token), D).

    The last block may be shorter.
    """
    starts = np.arange(0, len(frames), frames_per_token)
    lengths = np.minimum(frames_per_token, len(frames) - starts)
    sums = np.add.reduceat(frames, starts, axis=0, dtype=np.float32)
    tokens: FloatArray = (sums / lengths[:, np.newaxis]).astype(np.float32)
    return tokens


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        sides = {size[key] for key in ("shortest_edge", "height", "width") if size.get(key)}
        if len(sides) != 1:
            raise ValueError(f"it wants pictures that are not square: {dict(size)}")
        return int(sides.pop())
    return int(size)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
