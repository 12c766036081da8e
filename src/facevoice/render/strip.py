"""The strip at the bottom of the picture: what a window says, and where in the file it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from facevoice.labels import Reason
from facevoice.render.blend import Piece, from_image, letters, rounded_mask, solid
from facevoice.report.look import CHANNEL_WORDS, OUTCOME_COLORS, OUTCOME_WORDS, ink_on
from facevoice.report.sentence import percent
from facevoice.report.table import FACE_GAPS, GAP, VOICE_GAPS, channel_words
from facevoice.results import Prediction
from facevoice.types import ByteArray, ChannelPosterior, FloatArray

NOTICE: Final = "expressed emotion, estimated by facevoice"

# In place of the tables' dash, which the font does not have.
_NOTHING: Final = "-"
_GROUND: Final = "#0B0D10"
_GROUND_OPACITY: Final = 0.72
_INK: Final = "#FFFFFF"
_QUIET_INK: Final = "#B4BBC2"
_EMPTY: Final = "#3A4046"

# Widths in letter heights of the widest cell, and of all that a picture of one row must hold.
_UNITS_PER_CELL: Final = 12.0
_UNITS_FOR_ONE_ROW: Final = 46.0
# Smaller letters than this share of what the height allows, and the cells go into two rows.
_MIN_SHRINK: Final = 0.85
_UNITS_PER_PICTURE: Final = 28.0
_MIN_UNIT_PX: Final = 9.0


def letter_height_px(width: int, height: int) -> float:
    """The unit of all sizes of the overlay: the letters' size in a picture of so many pixels."""
    wanted = height / _UNITS_PER_PICTURE
    one_row = width / _UNITS_FOR_ONE_ROW
    if one_row >= _MIN_SHRINK * wanted:
        return max(_MIN_UNIT_PX, min(wanted, one_row))
    return max(_MIN_UNIT_PX, min(wanted, width / (2 * _UNITS_PER_CELL)))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a strip, in pixels from its top left corner."""

    width: int
    height: int
    unit: float
    margin: int
    chip_middle: int
    notice_is_below: bool
    cells: tuple[tuple[int, int], ...]
    bar_top: int
    bar_height: int

    @property
    def bar_width(self) -> int:
        """Of the timeline."""
        return self.width - 2 * self.margin


def plan_layout(width: int, height: int) -> Layout:
    """The layout for pictures of `width` × `height` pixels; the same for all windows of a file."""
    unit = letter_height_px(width, height)
    margin = max(4, round(unit * 0.7))
    num_columns = 4 if width >= (_UNITS_FOR_ONE_ROW - 1) * unit else 2
    notice_px = _notice_font(unit).getlength(NOTICE)
    notice_is_below = notice_px + 9.5 * unit + 2 * margin > width
    row = 1.5 * unit
    y = 0.5 * unit
    chip_middle = round(y + 0.7 * unit)
    y += 1.75 * unit
    cells = []
    for index in range(4):
        line, column = divmod(index, num_columns)
        left = margin + (width - 2 * margin) * column // num_columns
        cells.append((left, round(y + line * row + 0.5 * unit)))
    y += row * (4 // num_columns) + 0.1 * unit
    bar_height = max(4, round(unit * 0.36))
    bar_top = round(y)
    bottom = bar_top + bar_height + 0.55 * unit + (1.15 * unit if notice_is_below else 0)
    return Layout(
        width=width,
        height=min(height, round(bottom)),
        unit=unit,
        margin=margin,
        chip_middle=chip_middle,
        notice_is_below=notice_is_below,
        cells=tuple(cells),
        bar_top=bar_top,
        bar_height=bar_height,
    )


class Strip:
    """Draws the strip of one file.

    Args:
        layout: from `plan_layout`.
        windows: of the report.
        spans_s: from when to when each stands for what is shown.
        duration_s: of the file; the timeline's length.
    """

    def __init__(
        self,
        layout: Layout,
        windows: Sequence[Prediction],
        spans_s: Sequence[tuple[float, float]],
        duration_s: float,
    ) -> None:
        self._layout = layout
        self._windows = windows
        self._duration_s = max(duration_s, 1e-3)
        self._font = letters(layout.unit)
        self._small_font = _notice_font(layout.unit)
        self._timeline = self._draw_timeline([end_s for _, end_s in spans_s])
        self._marker = _draw_marker(layout)
        self._index: int | None = None
        self._piece = self._draw(None)

    def lay_on(self, picture: ByteArray, index: int | None, time_s: float) -> None:
        """Lay the strip of window number `index` on `picture`, with the marker at `time_s`."""
        if index != self._index:
            self._piece = self._draw(None if index is None else self._windows[index])
            self._index = index
        layout = self._layout
        top = picture.shape[0] - layout.height
        self._piece.lay_on(picture, top, 0)
        share = min(max(time_s / self._duration_s, 0.0), 1.0)
        left = layout.margin + round(share * (layout.bar_width - 1)) - self._marker.width // 2
        marker_top = layout.bar_top + (layout.bar_height - self._marker.height) // 2
        self._marker.lay_on(picture, top + marker_top, left)

    def _draw(self, window: Prediction | None) -> Piece:
        layout = self._layout
        image = Image.new("RGB", (layout.width, layout.height), _GROUND)
        opacity = np.full((layout.height, layout.width), _GROUND_OPACITY, np.float32)
        draw = ImageDraw.Draw(image)
        if window is not None:
            self._draw_chip(image, opacity, window)
            for (left, middle), (name, words) in zip(layout.cells, _cells(window), strict=True):
                draw.text((left, middle), name, _QUIET_INK, font=self._font, anchor="lm")
                start = left + self._font.getlength(f"{name} ")
                draw.text((start, middle), words, _INK, font=self._font, anchor="lm")
        self._draw_notice(draw)
        bar_rows = slice(layout.bar_top, layout.bar_top + layout.bar_height)
        bar_columns = slice(layout.margin, layout.margin + layout.bar_width)
        mask = rounded_mask(layout.bar_width, layout.bar_height, layout.bar_height / 2)
        image.paste(self._timeline, (layout.margin, layout.bar_top), _as_image(mask))
        np.maximum(opacity, _difference(image), out=opacity)
        opacity[bar_rows, bar_columns] = np.maximum(opacity[bar_rows, bar_columns], mask)
        return from_image(image, opacity)

    def _draw_chip(self, image: Image.Image, opacity: FloatArray, window: Prediction) -> None:
        layout, color = self._layout, OUTCOME_COLORS[window.outcome]
        text, pad = window.outcome.value, round(layout.unit * 0.55)
        width = round(self._font.getlength(text)) + 2 * pad
        height = round(layout.unit * 1.4)
        mask = rounded_mask(width, height, height / 2)
        top = layout.chip_middle - height // 2
        end = layout.margin + width
        image.paste(color, (layout.margin, top, end, top + height), _as_image(mask))
        below = opacity[top : top + height, layout.margin : end]
        np.maximum(below, mask, out=below)
        place = (layout.margin + pad, top + height / 2)
        draw = ImageDraw.Draw(image)
        draw.text(place, text, ink_on(color), font=self._font, anchor="lm")
        # What the word means, where there is room for it.
        meaning, left = OUTCOME_WORDS[window.outcome], layout.margin + width + pad
        notice_px = 0.0 if layout.notice_is_below else self._small_font.getlength(NOTICE) + pad
        right = layout.width - layout.margin - notice_px
        if left + self._small_font.getlength(meaning) <= right:
            place = (left, layout.chip_middle)
            draw.text(place, meaning, _INK, font=self._small_font, anchor="lm")

    def _draw_notice(self, draw: ImageDraw.ImageDraw) -> None:
        layout = self._layout
        if layout.notice_is_below:
            place = (layout.margin, layout.bar_top + layout.bar_height + 0.85 * layout.unit)
            draw.text(place, NOTICE, _QUIET_INK, font=self._small_font, anchor="lm")
        else:
            place = (layout.width - layout.margin, layout.chip_middle)
            draw.text(place, NOTICE, _QUIET_INK, font=self._small_font, anchor="rm")

    def _draw_timeline(self, ends_s: Sequence[float]) -> Image.Image:
        layout = self._layout
        times_s = (np.arange(layout.bar_width) + 0.5) / layout.bar_width * self._duration_s
        colors = [OUTCOME_COLORS[window.outcome] for window in self._windows] or [_EMPTY]
        numbers = np.searchsorted(np.array(ends_s), times_s, side="right")
        numbers = np.minimum(numbers, len(colors) - 1)
        row = np.array([ImageColor.getrgb(color) for color in colors], np.uint8)[numbers]
        return Image.fromarray(np.repeat(row[None], layout.bar_height, axis=0))


def _cells(window: Prediction) -> tuple[tuple[str, str], ...]:
    """What is said of the four, as (name, words)."""
    reasons = window.reasons
    conflict = _NOTHING if window.conflict is None else percent(window.conflict)
    face, voice, both = (CHANNEL_WORDS[name].lower() for name in ("face", "voice", "fused"))
    return (
        (f"{face}:", _words(window.face, reasons, FACE_GAPS)),
        (f"{voice}:", _words(window.voice, reasons, VOICE_GAPS)),
        (f"{both}:", _words(window.fused, (), {})),
        ("conflict:", conflict),
    )


def _words(
    posterior: ChannelPosterior | None, reasons: tuple[Reason, ...], gaps: dict[Reason, str]
) -> str:
    words = channel_words(posterior, reasons, gaps)
    return _NOTHING if words == GAP else words


def _draw_marker(layout: Layout) -> Piece:
    width = max(5, 2 * round(layout.unit * 0.16) + 1)
    height = layout.bar_height + 2 * max(2, round(layout.unit * 0.2))
    radius = width / 2
    rim = solid("#000000", rounded_mask(width, height, radius))
    return solid(_INK, rounded_mask(width, height, radius, max(1, width // 5)), below=rim)


def _difference(image: Image.Image) -> FloatArray:
    """How far each pixel (h, w) differs from the ground, 0 to 1: letters are opaque."""
    ground = np.array(ImageColor.getrgb(_GROUND), np.float32)
    distance = np.abs(np.asarray(image, np.float32) - ground).max(axis=2) / 96
    return np.asarray(np.minimum(distance, 1.0), np.float32)


def _as_image(mask: FloatArray) -> Image.Image:
    return Image.fromarray(np.round(mask * 255).astype(np.uint8))


def _notice_font(unit: float) -> ImageFont.FreeTypeFont:
    return letters(max(_MIN_UNIT_PX, unit * 0.74))
