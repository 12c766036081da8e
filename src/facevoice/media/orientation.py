"""Turning stored pictures upright, as their display matrix says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from facevoice.types import ByteArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to lay a picture: transpose first, then mirror rows or columns."""

    transposed: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def rotation_deg(self) -> int:
        """Counter-clockwise turn that makes the picture upright, 0, 90, 180 or 270.

        A mirrored picture (rare) is described without its left-right mirroring.
        """
        if self.transposed:
            return 90 if self.flip_rows else 270
        return 180 if self.flip_rows else 0

    def apply(self, rgb: ByteArray) -> ByteArray:
        """The upright picture of a stored one, (H, W, 3) → (H, W, 3) or (W, H, 3)."""
        if self == Orientation():
            return rgb
        if self.transposed:
            rgb = rgb.transpose(1, 0, 2)
        rgb = rgb[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
        return np.ascontiguousarray(rgb)


def read_orientation(frame: VideoFrame) -> Orientation:
    """Orientation of a decoded frame; matrices between two right angles take the nearer one.

    Layout of the matrix: FFmpeg, libavutil/display.h: a stored point (p, q) is shown at
    (a·p + c·q, b·p + d·q), y downwards.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(data, SideData):
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), dtype="=i4")[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(flip_rows=d < 0, flip_columns=a < 0)
    return Orientation(transposed=True, flip_rows=b < 0, flip_columns=c < 0)
