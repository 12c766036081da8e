"""Upright square face crops of one framing, whatever the pose and size in the picture."""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import numpy as np
from PIL import Image

from facevoice.types import ByteArray, FloatArray

# Median places of eyes, nose tip and mouth corners in FER2013's training pictures, as fractions of
# the picture's side, made mirror-symmetric; measured by recipes/face_template.py.
FER_TEMPLATE: Final[FloatArray] = np.array(
    [[0.311, 0.3842], [0.689, 0.3842], [0.5, 0.6023], [0.3477, 0.7928], [0.6523, 0.7928]],
    np.float32,
)
# Crops show this much more than FER2013's framing, so that a network may choose its own cut.
CROP_MARGIN: Final[float] = 1.25
# Beyond the picture's edge: what networks take for "nothing" after normalisation. Replicated edge
# pixels would draw streaks across the face.
FILL: Final[tuple[int, int, int]] = (127, 127, 127)


def similarity_transform(source: FloatArray, target: FloatArray) -> FloatArray:
    """Rotation, uniform scale and shift that bring points (n, 2) closest to others (n, 2).

    Least squares without reflection, S. Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", IEEE TPAMI 13(4), 1991; in the plane it is one
    division of complex numbers.

    Returns:
        float64 (2, 3): target ≈ matrix[:, :2] @ point + matrix[:, 2].

    Raises:
        ValueError: all source points are one.
    """
    a = source[:, 0] + 1j * source[:, 1].astype(np.float64)
    b = target[:, 0] + 1j * target[:, 1].astype(np.float64)
    spread = float((np.abs(a - a.mean()) ** 2).sum())
    if spread <= 0:
        raise ValueError("similarity_transform: the source points coincide")
    turn = complex((np.conj(a - a.mean()) * (b - b.mean())).sum() / spread)
    shift = complex(b.mean() - turn * a.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_crop(rgb: ByteArray, landmarks_px: FloatArray, crop_px: int) -> ByteArray:
    """Cut a face out of a picture so that its landmarks fall where FER2013's do.

    rgb: uint8 (H, W, 3); landmarks_px: (5, 2) as in `Detections`.

    Returns:
        uint8 (crop_px, crop_px, 3): `CROP_MARGIN` times FER2013's framing; mid-grey beyond the
        picture's edge.

    Raises:
        ValueError: the landmarks are one point.
    """
    template = ((FER_TEMPLATE - 0.5) / CROP_MARGIN + 0.5) * crop_px
    to_picture = _inverse(similarity_transform(landmarks_px, template))
    corners = np.array([[0, 0], [crop_px, 0], [0, crop_px], [crop_px, crop_px]])
    quad = corners @ to_picture[:, :2].T + to_picture[:, 2]
    height, width = rgb.shape[:2]
    left, top = (max(0, floor(v) - 2) for v in quad.min(axis=0))
    right = min(width, ceil(quad[:, 0].max()) + 2)
    bottom = min(height, ceil(quad[:, 1].max()) + 2)
    if right <= left or bottom <= top:
        return np.full((crop_px, crop_px, 3), FILL, np.uint8)
    source = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    to_picture[:, 2] -= (left, top)
    # Bilinear sampling reads four pixels; a face much larger than the crop is averaged first.
    reduction = floor(np.hypot(to_picture[0, 0], to_picture[1, 0]))
    if reduction >= 2:
        source = source.reduce(reduction)
        to_picture /= reduction
    crop = source.transform(
        (crop_px, crop_px),
        Image.Transform.AFFINE,
        to_picture.ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=FILL,
    )
    return np.asarray(crop)


def _inverse(matrix: FloatArray) -> FloatArray:
    linear = np.linalg.inv(matrix[:, :2])
    result: FloatArray = np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)
    return result
