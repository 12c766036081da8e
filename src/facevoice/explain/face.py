"""Which parts of the face matter: patches and regions of the aligned crops, blurred away.

The crops of a window are aligned by eyes, nose and mouth, so that these lie at the same places in
all of them. Hidden is what lies under a mask, in every crop, by a blur as wide as a sixth of the
crop: skin stays skin, while a grey patch would be a thing that no face has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from facevoice.explain.hiding import (
    NUM_RANDOM,
    Answers,
    Asker,
    Part,
    bare_part,
    effects,
    judge_parts,
)
from facevoice.records import ByteArray, DoubleArray, Emotion, FloatArray, Window

# Boxes x0 y0 x1 y1 as fractions of the crop, in which eyes lie at (0.36, 0.41) and (0.64, 0.41),
# the tip of the nose at (0.5, 0.585), the corners of the mouth at (0.39, 0.71) and (0.61, 0.71):
# `FACE_TEMPLATE` with `CROP_MARGIN` around it. Left and right are those of the picture.
REGIONS: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "forehead": (0.25, 0.10, 0.75, 0.27),
    "brows": (0.24, 0.27, 0.76, 0.36),
    "left eye": (0.26, 0.36, 0.46, 0.47),
    "right eye": (0.54, 0.36, 0.74, 0.47),
    "nose": (0.42, 0.45, 0.58, 0.64),
    "left cheek": (0.20, 0.48, 0.41, 0.68),
    "right cheek": (0.59, 0.48, 0.80, 0.68),
    "mouth": (0.34, 0.64, 0.66, 0.80),
    "chin": (0.33, 0.80, 0.67, 0.94),
}
SURROUNDINGS: Final = "surroundings"
_FACE_RADII: Final = (0.34, 0.45)
# Patches: side and step as fractions of the crop; all within its middle.
_SCALES: Final = ((0.28, 0.14), (0.16, 0.10))
_MIDDLE: Final = (0.10, 0.90)
_MAP_CROPS: Final = 8
_BLUR_SHARE: Final = 1 / 6
_EDGE_SHARE: Final = 1 / 60
_RANDOM_SIDE: Final = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class FaceExplanation:
    """What of a face moved its answer.

    emotion, before: whose probability was asked for, and the answers with all to be seen;
    parts: the regions, those that change the emotion most first;
    picture (S, S, 3): the middle crop; heat, conflict_heat (S, S): effects of the patches over each
    pixel, in log-odds, None where no conflict is told; num_crops: crops of the window.
    """

    emotion: Emotion
    before: Answers
    parts: tuple[Part, ...]
    picture: ByteArray
    heat: DoubleArray
    conflict_heat: DoubleArray | None
    num_crops: int


def explain_face(asker: Asker, window: Window, *, seed: int = 0) -> FaceExplanation:
    """Explain the face of a window that has crops; `seed`: of the random covers."""
    crops = window.faces
    if crops is None:
        raise ValueError(f"window at {window.start_s:g} s has no faces")
    side_px = crops.shape[1]
    cover = Cover(crops)
    regions = region_masks(side_px)
    random = random_masks(side_px, _mean_share(regions), seed)
    masks = [*regions.values(), *random]
    changed = (replace(window, faces=cover(mask)) for mask in masks)
    before, *after = asker.ask([window, *changed])
    split = len(regions)
    bare = [bare_part(name, "region", a) for name, a in zip(regions, after[:split], strict=True)]
    heat, conflict_heat = heat_maps(asker, window)
    return FaceExplanation(
        asker.emotion,
        before,
        judge_parts(before, bare, after[split:]),
        crops[len(crops) // 2],
        heat,
        conflict_heat,
        len(crops),
    )


def heat_maps(asker: Asker, window: Window) -> tuple[DoubleArray, DoubleArray | None]:
    """The mean effect of the patches over each pixel (S, S), on the emotion and on conflict.

    By up to eight crops spread over the window: those between look alike.
    """
    crops = window.faces
    if crops is None:
        raise ValueError(f"window at {window.start_s:g} s has no faces")
    chosen = np.unique(np.linspace(0, len(crops) - 1, _MAP_CROPS).round().astype(int))
    few = crops[chosen]
    cover = Cover(few)
    masks = list(patch_masks(crops.shape[1]))
    shown = (replace(window, faces=faces) for faces in (few, *map(cover, masks)))
    before, *after = asker.ask(shown)
    emotion, conflict = effects(before, after)
    return _spread(masks, emotion), None if conflict is None else _spread(masks, conflict)


class Cover:
    """Hides masked parts of crops (T, S, S, 3), the same in all of them, by a wide blur."""

    def __init__(self, crops: ByteArray) -> None:
        self._crops = crops.astype(np.float32)
        radius = ImageFilter.GaussianBlur(crops.shape[1] * _BLUR_SHARE)
        blurred = [np.asarray(Image.fromarray(crop).filter(radius)) for crop in crops]
        self._change = np.stack(blurred).astype(np.float32) - self._crops
        self._edge = ImageFilter.GaussianBlur(crops.shape[1] * _EDGE_SHARE)

    def __call__(self, mask: FloatArray) -> ByteArray:
        """The crops with what lies under a mask (S, S) in [0, 1] hidden."""
        picture = Image.fromarray((mask * 255).astype(np.uint8)).filter(self._edge)
        soft = np.asarray(picture, np.float32)[None, :, :, None] / 255
        return np.asarray(np.clip(self._crops + soft * self._change + 0.5, 0, 255), np.uint8)


def region_masks(side_px: int) -> dict[str, FloatArray]:
    """Of every region and the surroundings, a mask (S, S)."""
    masks = {name: _box(side_px, *box) for name, box in REGIONS.items()}
    y, x = (np.mgrid[:side_px, :side_px] + 0.5) / side_px - 0.5
    outside = (x / _FACE_RADII[0]) ** 2 + (y / _FACE_RADII[1]) ** 2 > 1
    return {**masks, SURROUNDINGS: outside.astype(np.float32)}


def patch_masks(side_px: int) -> Iterator[FloatArray]:
    """Overlapping squares of both scales, (S, S) each."""
    low, high = _MIDDLE
    for side, step in _SCALES:
        starts = np.arange(low, high - side + 1e-6, step)
        for y in starts:
            for x in starts:
                yield _box(side_px, x, y, x + side, y + side)


def random_masks(side_px: int, share: float, seed: int) -> list[FloatArray]:
    """Small squares here and there on the face, together as large as `share` of the crop."""
    random = np.random.default_rng(seed)
    low, high = _MIDDLE
    masks = []
    for _ in range(NUM_RANDOM):
        mask = np.zeros((side_px, side_px), np.float32)
        while mask.mean() < share:
            x, y = random.uniform(low, high - _RANDOM_SIDE, 2)
            mask = np.maximum(mask, _box(side_px, x, y, x + _RANDOM_SIDE, y + _RANDOM_SIDE))
        masks.append(mask)
    return masks


def _mean_share(regions: Mapping[str, FloatArray]) -> float:
    return float(np.mean([mask.mean() for name, mask in regions.items() if name != SURROUNDINGS]))


def _box(side_px: int, x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    left, top, right, bottom = (round(edge * side_px) for edge in (x0, y0, x1, y1))
    mask = np.zeros((side_px, side_px), np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def _spread(masks: list[FloatArray], effect: DoubleArray) -> DoubleArray:
    """The mean effect of the masks over each pixel; 0 where there is none."""
    covers = np.stack(masks).astype(np.float64)
    total: DoubleArray = np.tensordot(effect, covers, axes=1)
    return np.asarray(total / np.maximum(covers.sum(axis=0), 1), np.float64)
