"""Laying half-transparent pieces on a picture, touching no pixel outside them."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream
from PIL import Image, ImageColor, ImageDraw, ImageFont

from facevoice.errors import (
    ConfigError,
    NoStreamError,
    RenderCancelledError,
    RenderError,
    UnreadableMediaError,
)
from facevoice.media.frames import read_frames
from facevoice.media.open import (
    MAX_PAUSE_S,
    DamageLog,
    Source,
    decode_audio,
    frame_rate_hz,
    open_source,
    probe,
    read_packets,
    ticks_to_s,
)
from facevoice.records import (
    ByteArray,
    ChannelPosterior,
    FloatArray,
    Frame,
    MediaInfo,
    Prediction,
    Reason,
    Report,
    Trace,
    VideoInfo,
)
from facevoice.report.table import FACE_GAPS, GAP, VOICE_GAPS, channel_words
from facevoice.report.words import (
    CHANNEL_WORDS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    ink_on,
    percent,
    shown_spans,
)
from facevoice.workers import num_cpus

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


# Where the leading face is at any moment, and the frame with a label around it.

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


# The strip at the bottom of the picture: what a window says, and where in the file it stands.

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


# All that is drawn on a picture: frame and label of the face, and the strip below.


class Overlay:
    """Draws what a report says on pictures of one size.

    Args:
        report, trace: of the file.
        width_px, height_px: of the pictures.
        duration_s: of the file.
    """

    def __init__(
        self, report: Report, trace: Trace, width_px: int, height_px: int, duration_s: float
    ) -> None:
        self._windows = report.windows
        end_s = max([duration_s, *(window.end_s for window in report.windows[-1:])])
        spans_s = shown_spans(report.windows, end_s)
        self._ends_s = [end_s for _, end_s in spans_s]
        layout = plan_layout(width_px, height_px)
        self._strip = Strip(layout, report.windows, spans_s, end_s)
        self._faces = FacePath(trace)
        self._frame = FaceFrame(layout.unit)

    def draw(self, picture: ByteArray, time_s: float) -> None:
        """Draw on `picture` (H, W, 3) RGB, in place, what holds at media time `time_s`."""
        index = self._window_at(time_s)
        if index is not None:
            self._draw_face(picture, self._windows[index], time_s)
        self._strip.lay_on(picture, index, time_s)

    def _window_at(self, time_s: float) -> int | None:
        if not self._windows:
            return None
        return min(bisect_right(self._ends_s, time_s), len(self._windows) - 1)

    def _draw_face(self, picture: ByteArray, window: Prediction, time_s: float) -> None:
        found = self._faces.at(time_s)
        if found is None:
            return
        track, (x0, y0, x1, y1) = found
        height, width = picture.shape[:2]
        box = (round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height))
        label = f"face {track + 1}"
        if window.face is not None:
            label += f" · {channel_words(window.face, (), {})}"
        self._frame.draw(picture, box, OUTCOME_COLORS[window.outcome], label)


# The sound of a film for an MP4: as it is where MP4 may hold it, else as AAC.

_COPIED_CODECS: Final = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
# Of MPEG-2.5 sound, which is slower, the muxer says that it is no standard in MP4.
_MIN_MP3_RATE_HZ: Final = 16_000
_AAC_RATES_HZ: Final = (
    *(7350, 8000, 11_025, 12_000, 16_000, 22_050, 24_000),
    *(32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
)
_AAC_LAYOUTS: Final = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
_AAC_FRAME: Final = 1024
_BITS_PER_SAMPLE_AND_CHANNEL: Final = 2
_MAX_BIT_RATE_BPS: Final = 512_000
# Containers round timestamps: smaller steps than this are no gaps or overlaps.
_JITTER_S: Final = 0.05


def add_sound(
    source: Source, stream: AudioStream, output: OutputContainer, damage: DamageLog
) -> Iterator[Packet[Any]]:
    """Add the sound of `source` to `output`; gives its packets, in order, at media time.

    Damaged packets are left out.
    """
    if _may_be_copied(stream):
        return _copied(source, stream, output.add_stream_from_template(stream), damage)
    rate_hz = min(_AAC_RATES_HZ, key=lambda rate: abs(rate - stream.codec_context.sample_rate))
    layout = stream.codec_context.layout.name
    layout = layout if layout in _AAC_LAYOUTS else "stereo"
    encoder: Any = output.add_stream("aac", rate=rate_hz, layout=layout)
    bits = rate_hz * encoder.codec_context.channels * _BITS_PER_SAMPLE_AND_CHANNEL
    encoder.bit_rate = min(bits, _MAX_BIT_RATE_BPS)
    return _encoded(encoder, _on_clock(source, stream, rate_hz, layout, damage), rate_hz, layout)


def _may_be_copied(stream: AudioStream) -> bool:
    codec = stream.codec_context.codec.canonical_name
    if codec == "mp3" and stream.codec_context.sample_rate < _MIN_MP3_RATE_HZ:
        return False
    return codec in _COPIED_CODECS


def _copied(
    source: Source, stream: AudioStream, target: Any, damage: DamageLog
) -> Iterator[Packet[Any]]:
    base = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
    origin, longest_pause = round(source.origin_s / base), round(MAX_PAUSE_S / base)
    following: int | None = None  # tick at which the packet before ends
    last: int | None = None
    for packet in read_packets(source, stream, damage):
        if packet is None or packet.is_corrupt:
            continue
        tick = packet.pts if packet.pts is not None else packet.dts
        tick = (following or 0) if tick is None else tick - origin
        if last is not None and not last < tick <= (following or last) + longest_pause:
            damage.note("order", "sound that leaps in time was left out")
            continue
        last, following = tick, tick + (packet.duration or 0)
        packet.pts = packet.dts = tick
        packet.stream = target
        yield packet


def _encoded(
    encoder: Any, pieces: Iterator[tuple[int, FloatArray]], rate_hz: int, layout: str
) -> Iterator[Packet[Any]]:
    for start, samples in _framed(pieces):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, start
        frame.time_base = Fraction(1, rate_hz)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _framed(pieces: Iterator[tuple[int, FloatArray]]) -> Iterator[tuple[int, FloatArray]]:
    """Sound that goes on without gaps, cut into the encoder's frames; the last may be shorter."""
    start: int | None = None
    rest: FloatArray | None = None
    for first, samples in pieces:
        start = first if start is None else start
        rest = samples if rest is None else np.concatenate([rest, samples], axis=1)
        whole = rest.shape[1] // _AAC_FRAME * _AAC_FRAME
        for offset in range(0, whole, _AAC_FRAME):
            yield start + offset, rest[:, offset : offset + _AAC_FRAME]
        start, rest = start + whole, rest[:, whole:]
    if start is not None and rest is not None and rest.shape[1]:
        yield start, rest


def _on_clock(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[int, FloatArray]]:
    """Samples (channels, n) with the number of the first; silence stands where sound is missing."""
    position: int | None = None
    fill = max(1, rate_hz)
    for start_s, samples in _decoded(source, stream, rate_hz, layout, damage):
        start = position if start_s is None else round(start_s * rate_hz)
        if position is None:
            position = start or 0
        lead = 0 if start is None else start - position
        if abs(lead) <= _JITTER_S * rate_hz:
            lead = 0
        elif not -rate_hz <= lead <= MAX_PAUSE_S * rate_hz:
            damage.note("order", f"sound leaps in time at {position / rate_hz:.1f} s")
            lead = 0 if lead > 0 else lead
        for offset in range(0, lead, fill):
            silence = np.zeros((len(samples), min(fill, lead - offset)), np.float32)
            yield position, silence
            position += silence.shape[1]
        kept = samples[:, max(0, -lead) :]
        yield position, kept
        position += kept.shape[1]


def _decoded(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[float | None, FloatArray]]:
    """Start in media time (None: unknown) and samples (channels, n) of every decoded frame."""
    resampler: AudioResampler | None = None
    kind: tuple[object, ...] = ()
    for packet in read_packets(source, stream, damage):
        for frame in decode_audio(source, packet, damage):
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != kind:
                resampler, kind = AudioResampler("fltp", layout, rate_hz), now
            start_s = ticks_to_s(frame.pts, stream.time_base)
            for ready in _resampled(resampler, frame, damage):
                yield None if start_s is None else start_s - source.origin_s, ready
                start_s = None
    if resampler is not None:
        for ready in _resampled(resampler, None, damage):
            yield None, ready


def _resampled(
    resampler: AudioResampler, frame: AudioFrame | None, damage: DamageLog
) -> list[FloatArray]:
    try:
        ready = resampler.resample(frame)
    except (av.FFmpegError, ValueError):
        damage.note("packets", "sound that can't be converted was left out")
        return []
    return [np.asarray(part.to_ndarray(), np.float32) for part in ready]


# Pictures of a film, drawn on and encoded again at their own times.

DEFAULT_HEIGHT_PX: Final = 1080
"""Taller films are made smaller."""

MIN_HEIGHT_PX: Final = 64
"""In fewer rows, nothing can be read."""

_CRF: Final = "21"
_PRESET: Final = "veryfast"
_MPEG_RANGE: Final = 1
_FALLBACK_TICKS_HZ: Final = 90_000
_SAME_TICK: Final = 1e-3
_MAX_TICKS_HZ: Final = 1_000_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
_ASK_S: Final = 0.001
# Matrices that the converter knows, by FFmpeg's number; all else is taken for BT.601, both ways.
_MATRICES: Final = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}

Draw = Callable[[ByteArray, float], None]


def read_pictures(
    path: Path,
    info: VideoInfo,
    height_px: int | None,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[Frame]:
    """Every frame of a film, upright, made smaller where it is taller than `height_px`.

    Raises:
        MediaError: see `read_frames`.
    """
    limit_px = DEFAULT_HEIGHT_PX if height_px is None else height_px
    limit_px -= limit_px % 2
    max_side_px = None
    if info.height_px > limit_px:
        max_side_px = round(max(info.width_px, info.height_px) * limit_px / info.height_px)
    times_s = (k * _ASK_S for k in itertools.count())
    return read_frames(
        path,
        times_s,
        tolerance_s=_ASK_S,
        max_side_px=max(1, max_side_px) if max_side_px is not None else None,
        num_threads=num_cpus(),
        on_damage=on_damage,
    )


def common_ticks_hz(source: Source) -> int:
    """Ticks per second in which times of both streams, and so their distance, come out exactly.

    Where that would take more than a million, 90000, which is finer than the sound's samples.
    """
    bases = [stream.time_base for stream in source.streams if stream.time_base is not None]
    ticks_hz = math.lcm(*(base.denominator for base in bases))
    return ticks_hz if 1 < ticks_hz <= _MAX_TICKS_HZ else _FALLBACK_TICKS_HZ


def even_size(rgb: ByteArray) -> tuple[int, int]:
    """Width and height of the film that is written: H.264 at 4:2:0 wants even sides."""
    height, width = rgb.shape[:2]
    return width + width % 2, height + height % 2


@dataclass(frozen=True, slots=True)
class PictureEncoder:
    """The video stream of an MP4 that is written.

    stream: of the output; ticks_s: seconds per tick; matrix: of the colours, None for BT.601.
    """

    stream: Any
    ticks_s: Fraction
    matrix: Colorspace | None

    @classmethod
    def add_to(
        cls, output: OutputContainer, source: Source, video: VideoStream, size_px: tuple[int, int]
    ) -> PictureEncoder:
        """Add a stream for pictures of `size_px` (width, height), coloured as those of `video`."""
        rate = Fraction(frame_rate_hz(video)).limit_denominator(1001)
        stream: Any = output.add_stream("libx264", rate=rate)
        stream.width, stream.height = size_px
        stream.pix_fmt = "yuv420p"
        context, read = stream.codec_context, video.codec_context
        context.time_base = ticks_s = _tick_s(source, video)
        # No frame waits for a later one, so that both streams begin at their times in every player.
        context.max_b_frames = 0
        context.thread_count = num_cpus()
        context.options = {"crf": _CRF, "preset": _PRESET}
        matrix = _MATRICES.get(read.colorspace)
        if matrix is not None:
            context.colorspace, context.color_range = read.colorspace, _MPEG_RANGE
            context.color_primaries, context.color_trc = read.color_primaries, read.color_trc
        return cls(stream, ticks_s, matrix)

    def encode(self, frames: Iterable[Frame], draw: Draw, end_s: float) -> Iterator[Packet[Any]]:
        """Packets of the pictures with what `draw(rgb, time_s)` adds to them.

        The last picture stays until `end_s`, or for as long as one picture does at least.
        """
        held: Packet[Any] | None = None
        for packet in self._encode(frames, draw):
            if held is not None:
                yield held
            held = packet
        if held is not None:
            left = round(end_s / self.ticks_s) - (held.pts or 0)
            held.duration = max(left, round(1 / (self.stream.average_rate * self.ticks_s)), 1)
            yield held

    def _encode(self, frames: Iterable[Frame], draw: Draw) -> Iterator[Packet[Any]]:
        canvas = VideoFrame(self.stream.width, self.stream.height, "rgb24")
        pixels = _pixels(canvas)
        reformatter = VideoReformatter()
        last = -1
        for frame in frames:
            _fill(pixels, frame.rgb)
            draw(pixels, frame.timestamp_s)
            picture = reformatter.reformat(canvas, format="yuv420p", dst_colorspace=self.matrix)
            picture.pts = last = max(last + 1, round(frame.timestamp_s / self.ticks_s))
            picture.time_base = self.ticks_s
            yield from self.stream.encode(picture)
        yield from self.stream.encode(None)


def _tick_s(source: Source, video: VideoStream) -> Fraction:
    """Seconds per tick of the pictures' times: the film's own if its clock's zero falls on one."""
    base = video.time_base
    if base is not None and base.denominator <= _MAX_TICKS_HZ:
        origin = source.origin_s * base.denominator
        if abs(origin - round(origin)) < _SAME_TICK:
            return Fraction(1, base.denominator)
    return Fraction(1, common_ticks_hz(source))


def _pixels(canvas: VideoFrame) -> ByteArray:
    """The memory of an RGB frame as (H, W, 3), to be written to."""
    plane = canvas.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(canvas.height, plane.line_size)
    pixels: ByteArray = rows[:, : 3 * canvas.width].reshape(canvas.height, canvas.width, 3)
    return pixels


def _fill(pixels: ByteArray, rgb: ByteArray) -> None:
    """Copy a picture; an odd last row or column is repeated."""
    height, width = pixels.shape[:2]
    if even_size(rgb) != (width, height):  # The film changes its size on the way.
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        rgb = np.asarray(frame.reformat(width, height).to_ndarray(), np.uint8)
    rows, columns = rgb.shape[:2]
    pixels[:rows, :columns] = rgb
    pixels[rows:, :columns] = rgb[-1:]
    pixels[:, columns:] = pixels[:, columns - 1 : columns]


# One film in, the same film with what was said of it out: an annotated MP4.


def render_video(
    report: Report,
    trace: Trace,
    out: str | Path,
    *,
    on_progress: Callable[[float], None] | None = None,
    height_px: int | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Write an MP4 of `report.path` that shows what the report says, whole or not at all.

    Every frame keeps its time. Sound is copied as it is where MP4 may hold it (AAC, MP3, AC-3,
    E-AC-3, Opus, FLAC, ALAC), and otherwise encoded as AAC at its own rate. Of a damaged file,
    there is what can be decoded. Memory does not grow with the length of the film.

    Args:
        report: of the file, which must still be there.
        trace: from a `TraceRecorder` that followed the same analysis.
        out: ends in .mp4; an older file is replaced.
        on_progress: called with the seconds of media done so far, at most the file's length.
        height_px: pictures are made smaller until they have at most so many rows (even, ≥ 64);
            None for 1080.
        cancelled: asked before each frame whether to stop; nothing is left then.

    Returns:
        `out` as a path.

    Raises:
        ConfigError: `out` doesn't end in .mp4 or is the film itself, or `height_px` is too small.
        NoStreamError: the file holds no video.
        MediaError: the file can't be read.
        RenderCancelledError: `cancelled` said so.
        RenderError: the MP4 can't be written.
    """
    path, out = Path(report.path), Path(out)
    check_target(path, out)
    if height_px is not None and height_px < MIN_HEIGHT_PX:
        raise ConfigError(f"height_px = {height_px}: at least {MIN_HEIGHT_PX}")
    info = probe(path)
    if info.video is None:
        raise no_video(path)
    overlay = _OverlaySetup(report, trace, info, on_progress, cancelled, out)
    part = out.with_name(f".{out.name}.part")
    try:
        with open_source(path) as source:
            _write(part, source, info.video, height_px, overlay)
        part.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise _not_written(out, error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return out


def check_target(path: Path, out: Path) -> None:
    """Make sure before all work that `out` may become an annotated film of `path`.

    Raises:
        ConfigError: it doesn't end in .mp4, or is the film itself.
        RenderError: its folder doesn't exist, or it is a folder.
    """
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"{out}: annotated videos are MP4 files; let the name end in .mp4")
    try:
        if out.exists() and path.exists() and out.samefile(path):
            raise ConfigError(f"{out}: is the video itself; choose another name")
        if out.is_dir():
            raise RenderError(out, "is a folder.", "Name a file.")
        if not out.parent.is_dir():
            raise RenderError(out, "its folder does not exist.", "Make the folder first.")
    except OSError as error:
        raise _not_written(out, error) from error


def no_video(path: Path) -> NoStreamError:
    """The error for a file without pictures."""
    return NoStreamError(
        path, "holds no video to draw on.", "Make a page of it instead: facevoice report."
    )


class _OverlaySetup:
    """What is drawn, and who hears of it; the overlay itself waits for the first frame's size."""

    def __init__(
        self,
        report: Report,
        trace: Trace,
        info: MediaInfo,
        on_progress: Callable[[float], None] | None,
        cancelled: Callable[[], bool] | None,
        out: Path,
    ) -> None:
        self._report = report
        self._trace = trace
        self._duration_s = info.duration_s
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._out = out

    def drawer(self, size_px: tuple[int, int]) -> Callable[[ByteArray, float], None]:
        """Draws on a picture of `size_px` (width, height), tells the progress, and stops."""
        overlay = Overlay(self._report, self._trace, *size_px, self._duration_s)

        def draw(rgb: ByteArray, time_s: float) -> None:
            if self._cancelled is not None and self._cancelled():
                raise RenderCancelledError(self._out, "was cancelled.")
            overlay.draw(rgb, time_s)
            if self._on_progress is not None:
                self._on_progress(min(time_s, self._duration_s))

        return draw


def _write(
    part: Path, source: Source, video: VideoInfo, height_px: int | None, setup: _OverlaySetup
) -> None:
    frames = read_pictures(source.path, video, height_px)
    first = next(frames, None)
    if first is None or source.video is None:
        raise UnreadableMediaError(
            source.path,
            "none of its pictures can be decoded.",
            "Get the whole file again, or convert it to MP4 (H.264 and AAC).",
        )
    options = {
        "movflags": "+faststart",  # so that a browser plays what it has not wholly loaded
        "movie_timescale": str(common_ticks_hz(source)),  # that of the streams' starts
    }
    # The prefix keeps FFmpeg from taking "a:b.mp4" for an address.
    with av.open(f"file:{part}", "w", format="mp4", options=options) as output:
        size_px = even_size(first.rgb)
        encoder = PictureEncoder.add_to(output, source, source.video, size_px)
        end_s = source.stated_end_s(source.video) or 0.0
        draw = setup.drawer(size_px)
        streams = [encoder.encode(_chained(first, frames), draw, end_s)]
        if source.audio is not None:
            damage = DamageLog(source.path, None)
            streams.append(add_sound(source, source.audio, output, damage))
        # In order of time, so that the muxer need not hoard one stream until the other comes.
        for packet in heapq.merge(*streams, key=_time_s):
            output.mux(packet)


def _chained(first: Frame, others: Iterator[Frame]) -> Iterator[Frame]:
    return itertools.chain([first], others)


def _time_s(packet: Packet[Any]) -> float:
    base = packet.time_base
    return float(packet.dts * base) if packet.dts is not None and base is not None else 0.0


def _not_written(out: Path, error: Exception) -> RenderError:
    reason = getattr(error, "strerror", None) or str(error)
    return RenderError(
        out,
        f"can't be written ({reason}).",
        "Check that the folder may be written to and the disk has room.",
    )
