"""A clip made from nothing, to try an installation by: a drawn face that speaks vowels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from facevoice.records import ByteArray, FloatArray

CLIP_LENGTH_S: Final = 5.0
_RATE_HZ: Final = 25
_SOUND_HZ: Final = 16_000
_SIZE_PX: Final = (320, 240)
_FINER: Final = 2
_NUM_MOUTHS: Final = 8
_SYLLABLES_HZ: Final = 3.0
_FORMANTS_HZ: Final = ((730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (300, 870, 2240))
_FORMANT_WIDTHS_HZ: Final = (80, 100, 140)

# Ellipses, in tenths of the picture's height from its middle: x, y, half width and height, colour.
_Ellipse = tuple[float, float, float, float, tuple[int, int, int]]
_BEHIND: Final[tuple[_Ellipse, ...]] = (
    (0, -0.6, 2.75, 3.5, (58, 40, 30)),
    (0, 3.2, 1.1, 2.0, (196, 148, 122)),
    (0, 5.2, 4.0, 1.6, (60, 70, 110)),
    (0, 0.1, 2.25, 3.0, (222, 176, 148)),
    (-2.2, 0.1, 0.35, 0.7, (206, 158, 132)),
    (2.2, 0.1, 0.35, 0.7, (206, 158, 132)),
)
_EYE: Final[tuple[_Ellipse, ...]] = (
    (0, -1.1, 0.6, 0.12, (62, 44, 34)),
    (0, -0.5, 0.55, 0.42, (200, 152, 126)),
    (0, -0.45, 0.48, 0.24, (245, 242, 238)),
    (0, -0.45, 0.22, 0.23, (70, 50, 40)),
    (0, -0.45, 0.1, 0.1, (10, 8, 8)),
)
_EYE_SIDE: Final = 0.95
_NOSE: Final[tuple[_Ellipse, ...]] = (
    (0, 0.1, 0.2, 0.7, (228, 186, 158)),
    (0, 0.72, 0.48, 0.22, (212, 160, 134)),
    (-0.22, 0.8, 0.1, 0.06, (120, 76, 62)),
    (0.22, 0.8, 0.1, 0.06, (120, 76, 62)),
)


def make_clip(path: Path) -> None:
    """Write five seconds of a face and a voice as MP4, in MPEG-4 and AAC, which every FFmpeg has.

    Raises:
        OSError, ValueError: it can't be written; errors of PyAV are among them.
    """
    with av.open(str(path), "w", format="mp4") as output:
        video = output.add_stream("mpeg4", rate=_RATE_HZ)
        video.width, video.height = _SIZE_PX
        video.pix_fmt, video.bit_rate = "yuv420p", 1_000_000
        audio = output.add_stream("aac", rate=_SOUND_HZ, layout="mono")
        faces = [draw_face(opened) for opened in np.linspace(0, 1, _NUM_MOUTHS)]
        for number in range(round(CLIP_LENGTH_S * _RATE_HZ)):
            mouth = round(float(_opened(number / _RATE_HZ)) * (_NUM_MOUTHS - 1))
            frame = av.VideoFrame.from_ndarray(faces[mouth], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _RATE_HZ)
            output.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(make_voice()[None], format="fltp", layout="mono")
        sound.rate, sound.pts = _SOUND_HZ, 0
        output.mux([*audio.encode(sound), *audio.encode(None), *video.encode(None)])


def draw_face(opened: float) -> ByteArray:
    """A face from the front, uint8 (240, 320, 3); opened: of its mouth, 0 to 1."""
    width, height = (side * _FINER for side in _SIZE_PX)
    unit = height / 10
    image = Image.new("RGB", (width, height), (96, 110, 124))
    draw = ImageDraw.Draw(image)
    eyes: list[_Ellipse] = [
        (x + side, y, across, down, colour)
        for side in (-_EYE_SIDE, _EYE_SIDE)
        for x, y, across, down, colour in _EYE
    ]
    lips = (0, 1.62, 0.95, 0.22 + 0.35 * opened, (176, 84, 82))
    gap = (0, 1.62, 0.75, 0.04 + 0.3 * opened, (92, 30, 34))
    for x, y, across, down, colour in (*_BEHIND, *eyes, *_NOSE, lips, gap):
        middle, reach = np.array([x, y]), np.array([across, down])
        corners = np.array([width, height]) / 2 + unit * np.array([middle - reach, middle + reach])
        draw.ellipse(corners.ravel().tolist(), fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(0.12 * unit))
    return np.asarray(image.resize(_SIZE_PX, Image.Resampling.LANCZOS))


def make_voice() -> FloatArray:
    """Vowels in turn, float32 (n,) at 16 kHz: pulses of a voice, and what a mouth makes of them."""
    times_s = np.arange(round(CLIP_LENGTH_S * _SOUND_HZ)) / _SOUND_HZ
    pitch_hz = 120 + 15 * np.sin(2 * np.pi * 0.4 * times_s) + 8 * np.sin(2 * np.pi * 2.1 * times_s)
    turns = np.cumsum(pitch_hz) / _SOUND_HZ
    pulses = np.diff(np.floor(turns), prepend=0.0)
    vowels = [_shaped(pulses, formants) for formants in _FORMANTS_HZ]
    which = (times_s * _SYLLABLES_HZ).astype(int) % len(vowels)
    voice = np.choose(which, vowels) * _opened(times_s)
    return np.asarray(0.5 * voice / np.abs(voice).max(), np.float32)


def _shaped(pulses: np.ndarray, formants_hz: tuple[int, ...]) -> np.ndarray:
    """Resonances one after the other, by their frequency response."""
    spectrum = np.fft.rfft(pulses)
    step = np.exp(-2j * np.pi * np.fft.rfftfreq(len(pulses), 1 / _SOUND_HZ) / _SOUND_HZ)
    for centre_hz, width_hz in zip(formants_hz, _FORMANT_WIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * width_hz / _SOUND_HZ)
        angle = 2 * np.pi * centre_hz / _SOUND_HZ
        spectrum = spectrum / (1 - 2 * radius * np.cos(angle) * step + radius**2 * step**2)
    return np.fft.irfft(spectrum, len(pulses))


def _opened(time_s: float | np.ndarray) -> np.ndarray:
    """How far the mouth is open, 0 to 1, syllable by syllable."""
    return np.asarray(np.sin(np.pi * ((time_s * _SYLLABLES_HZ) % 1.0)) ** 0.7)
