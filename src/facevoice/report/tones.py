"""High dynamic range (PQ and HLG in BT.2020 colours) as pictures for usual screens, BT.709.

Recommendations of the ITU: BT.2100 for both curves, BT.2408 for the 203 cd/m² that a usual screen's
white stands for. Up to most of that, light stays what it was, so that faces look as they did; what
is brighter is pressed together below the screen's white, in its own hue.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from facevoice.records import ByteArray, DoubleArray


class Curve(IntEnum):
    """The transfer curves of high dynamic range, by their number in ITU-T H.273."""

    PQ = 16
    HLG = 18


_WHITE_NITS: Final = 203.0
_HLG_PEAK_NITS: Final = 1000.0
_HLG_GAMMA: Final = 1.2
_SCREEN_GAMMA: Final = 2.4  # BT.1886
# Light up to this share of white stays as it is.
_KNEE: Final = 0.7
_BT2020_TO_BT709: Final = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
_BT2020_LUMINANCE: Final = (0.2627, 0.6780, 0.0593)
# Points of the table along each colour; Pillow mixes those around.
_NUM_POINTS: Final = 65


def to_usual_tones(rgb: ByteArray, curve: Curve) -> ByteArray:
    """A picture (H, W, 3) of BT.2020 RGB on a curve as BT.709 for usual screens."""
    return np.asarray(Image.fromarray(rgb).filter(_table(curve)), np.uint8)


@cache
def _table(curve: Curve) -> ImageFilter.Color3DLUT:
    steps = np.linspace(0, 1, _NUM_POINTS)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")  # red changes first
    signal = np.stack([red, green, blue], axis=-1)
    light = _pq_light(signal) if curve is Curve.PQ else _hlg_light(signal)
    shown = _press(_in_bt709(light)) ** (1 / _SCREEN_GAMMA)
    return ImageFilter.Color3DLUT(_NUM_POINTS, shown.ravel().tolist())


def _pq_light(signal: DoubleArray) -> DoubleArray:
    """Light on the screen as a share of white."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = signal ** (1 / m2)
    share: DoubleArray = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return share * 10_000 / _WHITE_NITS


def _hlg_light(signal: DoubleArray) -> DoubleArray:
    """Light on the screen as a share of white: the scene's, brighter where that has luminance."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance: DoubleArray = (scene * _BT2020_LUMINANCE).sum(axis=-1, keepdims=True)
    return np.asarray(scene * luminance ** (_HLG_GAMMA - 1) * _HLG_PEAK_NITS / _WHITE_NITS)


def _in_bt709(light: DoubleArray) -> DoubleArray:
    """Colours that BT.709 doesn't hold lose what is negative of them."""
    rows = [(light * row).sum(axis=-1) for row in _BT2020_TO_BT709]
    return np.asarray(np.maximum(np.stack(rows, axis=-1), 0))


def _press(light: DoubleArray) -> DoubleArray:
    """All light in [0, 1), that below the knee as it is."""
    brightest = light.max(axis=-1, keepdims=True)
    over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    wanted = _KNEE + (1 - _KNEE) * (1 - np.exp(-over))
    scale = np.where(over > 0, wanted / np.maximum(brightest, _KNEE), 1.0)
    return np.asarray(light * scale)
