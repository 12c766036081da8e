"""Explanations as pictures: the face under its heat, the voice's spectrogram under its own."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facevoice.explain.face import FaceExplanation
from facevoice.explain.voice import VoiceExplanation
from facevoice.records import ByteArray, DoubleArray
from facevoice.report.words import EMOTION_WORDS, INK, percent

_FOR: Final = (213, 94, 0)  # speaks for the answer: orange
_AGAINST: Final = (0, 114, 178)  # against it: blue
_WHITE: Final = "#FFFFFF"
_STRONGEST_ALPHA: Final = 0.8
_FACE_PX: Final = 360
_PLOT_PX: Final = (640, 300)
_PAD_PX: Final = 16
_LEFT_PX: Final = 64
_LETTER_PX: Final = 14
_LINE_PX: Final = 20
_LEGEND_PX: Final = 12
_LEGEND_ROOM_PX: Final = 52
# Fainter effects than this, in log-odds, would be drawn as if they were something.
_LEAST: Final = 0.1
_MAX_HZ: Final = 8000


def draw_face(face: FaceExplanation) -> bytes:
    """PNG: the middle crop, orange where it speaks for the answer, blue where against it."""
    side = _FACE_PX
    title = f"Face: {EMOTION_WORDS[face.emotion]} {percent(face.before.emotion)}"
    canvas, draw = _canvas(side + 2 * _PAD_PX, side, title)
    picture = Image.fromarray(face.picture).resize((side, side), Image.Resampling.BICUBIC)
    heat = Image.fromarray(face.heat.astype(np.float32)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    limit = _limit(face.heat)
    grey = np.asarray(picture.convert("L").convert("RGB"))
    top = _PAD_PX + _LINE_PX
    canvas.paste(
        Image.fromarray(_heated(grey, np.asarray(heat, np.float64), limit)), (_PAD_PX, top)
    )
    _draw_legend(canvas, draw, (_PAD_PX, top + side + 10), side, limit)
    return _png(canvas)


def draw_voice(voice: VoiceExplanation) -> bytes:
    """PNG: the spectrogram in grey under the effects, time in seconds, frequency in hertz."""
    width, height = _PLOT_PX
    title = f"Voice: {EMOTION_WORDS[voice.emotion]} {percent(voice.before.emotion)}"
    canvas, draw = _canvas(width + _LEFT_PX + _PAD_PX, height + 2 * _LINE_PX, title)
    decibels = voice.spectrogram[::-1]
    shade = np.clip((decibels - decibels.min()) / max(float(np.ptp(decibels)), 1e-6), 0, 1)
    grey = Image.fromarray((255 - 200 * shade).astype(np.uint8)).resize((width, height))
    limit = _limit(voice.heat)
    heat = _stretched(voice.heat, voice.edges_hz, width, height)
    top = _PAD_PX + _LINE_PX
    rgb = np.asarray(grey.convert("RGB"))
    canvas.paste(Image.fromarray(_heated(rgb, heat, limit)), (_LEFT_PX, top))
    _draw_axes(draw, voice, top)
    _draw_legend(canvas, draw, (_LEFT_PX, top + height + 2 * _LINE_PX + 10), width, limit)
    return _png(canvas)


def _stretched(
    heat: DoubleArray, edges_hz: tuple[float, ...], width: int, height: int
) -> DoubleArray:
    """Each band as high as its share of hertz, high ones on top: (height, width)."""
    hertz = (height - 0.5 - np.arange(height)) / height * _MAX_HZ
    rows = np.clip(np.searchsorted(edges_hz, hertz, side="right") - 1, 0, len(heat) - 1)
    columns = np.arange(width) * heat.shape[1] // width
    found: DoubleArray = heat[rows][:, columns]
    return found


def _draw_axes(draw: ImageDraw.ImageDraw, voice: VoiceExplanation, top: int) -> None:
    width, height = _PLOT_PX
    start_s, end_s = voice.edges_s[0], voice.edges_s[-1]
    font = _letters(_LETTER_PX)
    for hertz in (*voice.edges_hz[2:-1], _MAX_HZ):
        y = top + height * (1 - hertz / _MAX_HZ)
        draw.line((_LEFT_PX - 4, y, _LEFT_PX, y), INK)
        draw.text((_LEFT_PX - 7, y), f"{hertz:.0f}", INK, font=font, anchor="rm")
    draw.text((_LEFT_PX - 7, top + height), "Hz", INK, font=font, anchor="rm")
    step = max(1, round(len(voice.edges_s) / 8))
    for edge in voice.edges_s[::step]:
        x = _LEFT_PX + width * (edge - start_s) / (end_s - start_s)
        draw.line((x, top + height, x, top + height + 4), INK)
        draw.text((x, top + height + 7), f"{edge:.1f}", INK, font=font, anchor="ma")
    draw.text((_LEFT_PX + width, top + height + 24), "time in s", INK, font=font, anchor="ra")


def _draw_legend(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, limit: float
) -> None:
    x, y = place
    values = np.tile(np.linspace(-limit, limit, width), (_LEGEND_PX, 1))
    ground = np.full((_LEGEND_PX, width, 3), 235, np.uint8)
    canvas.paste(Image.fromarray(_heated(ground, values, limit)), place)
    font, below = _letters(_LETTER_PX), y + _LEGEND_PX + 4
    draw.text((x, below), f"against it  -{limit:.1f}", INK, font=font, anchor="la")
    draw.text((x + width / 2, below), "0 (log-odds)", INK, font=font, anchor="ma")
    draw.text((x + width, below), f"+{limit:.1f}  for it", INK, font=font, anchor="ra")


def _heated(rgb: ByteArray, heat: DoubleArray, limit: float) -> ByteArray:
    """Colour over a picture (H, W, 3), the stronger the larger the effect (H, W)."""
    alpha = np.clip(np.abs(heat) / limit, 0, 1)[..., None] * _STRONGEST_ALPHA
    colour = np.where(heat[..., None] > 0, np.array(_FOR), np.array(_AGAINST))
    return np.asarray((1 - alpha) * rgb + alpha * colour + 0.5, np.uint8)


def _limit(heat: DoubleArray) -> float:
    return max(_LEAST, float(np.abs(heat).max()))


def _canvas(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    size = width, height + 2 * _PAD_PX + _LINE_PX + _LEGEND_ROOM_PX
    canvas = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((_PAD_PX, _PAD_PX // 2), title, INK, font=_letters(_LETTER_PX + 2))
    return canvas, draw


@lru_cache(maxsize=4)
def _letters(size_px: float) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size_px))


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
