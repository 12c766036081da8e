"""Laying half-transparent pieces on a picture, touching no pixel outside them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor, ImageDraw, ImageFont

from facevoice.types import ByteArray, FloatArray

# Alpha in 256ths, so that a shift does the division.
_OPAQUE: Final = 256
_SUPERSAMPLING: Final = 4


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Something to lay on pictures.

    keep (h, w, 3): how much of the picture shines through, 0 to 256; add (h, w, 3): the piece's
    own light, 0 to 255 · 256. Together they never exceed 16 bits.
    """

    keep: npt.NDArray[np.uint16]
    add: npt.NDArray[np.uint16]

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.keep.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.keep.shape[1])

    def cut(self, rows: slice, columns: slice) -> Piece:
        """A part of it."""
        return Piece(self.keep[rows, columns], self.add[rows, columns])

    def stretched(self, height: int, width: int) -> Piece:
        """A single row, column or pixel of it, repeated without taking memory."""
        shape = (height, width, 3)
        return Piece(np.broadcast_to(self.keep, shape), np.broadcast_to(self.add, shape))

    def lay_on(self, picture: ByteArray, top: int, left: int) -> None:
        """Blend it into `picture` (H, W, 3), in place; what reaches beyond its borders is cut."""
        rows = slice(max(0, -top), min(self.height, picture.shape[0] - top))
        columns = slice(max(0, -left), min(self.width, picture.shape[1] - left))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            return
        below = picture[
            top + rows.start : top + rows.stop, left + columns.start : left + columns.stop
        ]
        mixed = below * self.keep[rows, columns]
        mixed += self.add[rows, columns]
        mixed >>= 8
        below[:] = mixed


def solid(color: str, mask: FloatArray, below: Piece | None = None) -> Piece:
    """A piece of one colour (#RRGGBB) with the opacities `mask` (h, w), 0 to 1, over another."""
    alpha = np.round(mask * _OPAQUE)[:, :, None].astype(np.uint32)
    light = np.array(ImageColor.getrgb(color)[:3], np.uint32) * alpha
    keep = np.broadcast_to(_OPAQUE - alpha, light.shape)
    if below is None:
        return Piece(keep.astype(np.uint16), light.astype(np.uint16))
    light = light + (below.add * keep >> 8)
    return Piece((below.keep * keep >> 8).astype(np.uint16), light.astype(np.uint16))


def from_image(image: Image.Image, opacity: FloatArray) -> Piece:
    """An RGB image with the opacities (h, w), 0 to 1, as a piece."""
    alpha = np.round(opacity * _OPAQUE)[:, :, None].astype(np.uint32)
    light = np.asarray(image, np.uint32) * alpha
    keep = np.broadcast_to(_OPAQUE - alpha, light.shape)
    return Piece(keep.astype(np.uint16), light.astype(np.uint16))


@lru_cache(maxsize=16)
def letters(size_px: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that films look the same on every machine."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size_px))


def rounded_mask(width: int, height: int, radius: float, inset: float = 0.0) -> FloatArray:
    """Opacities (height, width) of a rectangle with rounded corners, `inset` px smaller all round.

    Smooth at the edges.
    """
    scale = _SUPERSAMPLING
    large = Image.new("L", (width * scale, height * scale))
    edge = inset * scale
    box = (edge, edge, width * scale - 1 - edge, height * scale - 1 - edge)
    if box[2] > box[0] and box[3] > box[1]:
        ImageDraw.Draw(large).rounded_rectangle(box, max(0.0, radius - inset) * scale, fill=255)
    return np.asarray(np.asarray(large.reduce(scale)) / 255, np.float32)
