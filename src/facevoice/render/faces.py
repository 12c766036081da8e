"""Where the leading face is at any moment, and the frame with a label around it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from facevoice.render.blend import Piece, from_image, letters, rounded_mask, solid
from facevoice.report.look import ink_on
from facevoice.trace import Trace
from facevoice.types import ByteArray

MAX_GAP_S: Final = 0.5
"""Between two sightings further apart, nothing is known of the face."""

# A picture this near to a sighting is the one that was looked at.
_SAME_MOMENT_S: Final = 1e-3
_SHADE: Final = "#000000"
_SHADE_OPACITY: Final = 0.45

BoxPx = tuple[int, int, int, int]


class FacePath:
    """The leading face's box over time, between sightings of the same person only."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def at(self, time_s: float) -> tuple[int, tuple[float, float, float, float]] | None:
        """Track and box (x0, y0, x1, y1 as fractions) at media time `time_s`; None: unknown."""
        times_s, boxes = self._trace.face_times_s, self._trace.boxes_xyxy_rel
        following = int(np.searchsorted(times_s, time_s + _SAME_MOMENT_S, side="right"))
        before = following - 1
        if before < 0:
            return None
        track, since_s = int(self._trace.track_ids[before]), time_s - float(times_s[before])
        if since_s <= _SAME_MOMENT_S:
            return track, _as_box(boxes[before])
        if following == len(times_s) or int(self._trace.track_ids[following]) != track:
            return None
        gap_s = float(times_s[following] - times_s[before])
        if gap_s > MAX_GAP_S + _SAME_MOMENT_S:
            return None
        share = since_s / gap_s
        return track, _as_box(boxes[before] * (1 - share) + boxes[following] * share)


def _as_box(box: object) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = np.asarray(box, np.float64).tolist()
    return x0, y0, x1, y1


class FaceFrame:
    """Draws frames with labels; sizes follow the picture's `unit_px`, about a letter's height."""

    def __init__(self, unit_px: float) -> None:
        self._line_px = max(3, round(unit_px / 7))
        self._radius_px = max(6, round(unit_px * 0.6))
        self._gap_px = max(2, round(unit_px / 5))
        self._font = letters(unit_px * 0.9)
        self._plate = lru_cache(maxsize=64)(self._draw_plate)
        self._ring = lru_cache(maxsize=64)(self._draw_ring)

    def draw(self, picture: ByteArray, box: BoxPx, color: str, label: str) -> None:
        """Draw around `box` (px) into `picture`, in place."""
        x0, y0, x1, y1 = box
        if x1 <= x0 or y1 <= y0:
            return
        self._draw_frame(picture, box, color)
        plate = self._plate(label, color)
        top = y0 - self._gap_px - plate.height
        if top < 0:  # No room above: inside, below the line.
            top = max(0, y0) + self._line_px + self._gap_px
            x0 += self._line_px + self._gap_px
        left = max(self._gap_px, min(x0, picture.shape[1] - plate.width - self._gap_px))
        plate.lay_on(picture, top, left)

    def _draw_frame(self, picture: ByteArray, box: BoxPx, color: str) -> None:
        x0, y0, x1, y1 = box
        radius = max(1, min(self._radius_px, (x1 - x0) // 3, (y1 - y0) // 3))
        ring = self._ring(color, radius)
        corner = ring.width // 2
        wide, high = x1 - x0 - 2 * corner, y1 - y0 - 2 * corner
        first, middle, last = slice(0, corner), slice(corner, corner + 1), slice(corner + 1, None)
        for rows, top in ((first, y0), (last, y1 - corner)):
            ring.cut(rows, first).lay_on(picture, top, x0)
            ring.cut(rows, last).lay_on(picture, top, x1 - corner)
            if wide > 0:
                edge = ring.cut(rows, middle).stretched(corner, wide)
                edge.lay_on(picture, top, x0 + corner)
        edge_px = min(corner, self._line_px + 2 * self._shade_px)
        for columns, left in (
            (slice(0, edge_px), x0),
            (slice(ring.width - edge_px, None), x1 - edge_px),
        ):
            if high > 0:
                edge = ring.cut(middle, columns).stretched(high, edge_px)
                edge.lay_on(picture, y0 + corner, left)

    @property
    def _shade_px(self) -> int:
        return max(1, self._line_px // 3)

    def _draw_ring(self, color: str, radius: int) -> Piece:
        """A small frame: its corners, and a row and a column in the middle to be stretched."""
        shade, line = self._shade_px, self._line_px
        side = 2 * (radius + shade) + 1
        masks = [
            rounded_mask(side, side, radius + shade, inset)
            for inset in (0, shade, shade + line, 2 * shade + line)
        ]
        # A dark rim on both sides keeps the line visible on any ground.
        rim = solid(_SHADE, _SHADE_OPACITY * (masks[0] - masks[3]))
        return solid(color, masks[1] - masks[2], below=rim)

    def _draw_plate(self, text: str, color: str) -> Piece:
        pad = max(3, round(self._font.size * 0.35))
        ascent, descent = self._font.getmetrics()
        width = round(self._font.getlength(text)) + 2 * pad
        height = ascent + descent + max(2, pad // 2)
        image = Image.new("RGB", (width, height), color)
        place = (pad, height / 2)
        ImageDraw.Draw(image).text(place, text, ink_on(color), font=self._font, anchor="lm")
        return from_image(image, rounded_mask(width, height, pad))
