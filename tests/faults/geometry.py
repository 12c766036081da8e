"""Pictures of all shapes: turned, mirrored, tiny, huge, stretched, changing size."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from faults.case import AS_PLAIN, ENCODED, Case, Expect
from faults.film import RATE_HZ, Picture, Pictures
from faults.studio import LENGTH_S, Studio

NO_FACE = Expect(
    ("no_face",), face=False, voice=True, outcomes=("insufficient",), length_s=LENGTH_S
)
FOUND = Expect(("ok",), face=True, voice=True, length_s=LENGTH_S)


def _drawn(change: Callable[[Picture], Picture], *, ending: str = ".mp4", **how: Any) -> Any:
    """The portrait's pictures, each changed."""

    def make(studio: Studio, folder: Path) -> Path:
        pictures = studio.pictures(frames=[change(frame) for frame in studio.frames], **how)
        return studio.write(folder / f"clip{ending}", pictures, studio.sound())

    return make


def _resized(width: int, height: int) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))

    return change


def _on_canvas(width: int, height: int, level: int = 0) -> Callable[[Picture], Picture]:
    """The portrait in the middle of a larger picture."""

    def change(picture: Picture) -> Picture:
        canvas = np.full((height, width, 3), level, np.uint8)
        rows, columns = min(height, len(picture)), min(width, picture.shape[1])
        top, left = (height - rows) // 2, (width - columns) // 2
        canvas[top : top + rows, left : left + columns] = picture[:rows, :columns]
        return canvas

    return change


def _turned(degrees: int) -> Any:
    """Stored turned, with a matrix that turns it back, as phones record."""
    return _drawn(
        lambda frame: np.rot90(frame, -degrees // 90), ending=".mov", rotation_deg=degrees
    )


def _plain_colour(width: int, height: int, **how: Any) -> Any:
    """Grey pictures of a size."""

    def make(studio: Studio, folder: Path) -> Path:
        frames = [np.full((height, width, 3), 100 + k % 2, np.uint8) for k in range(25)]
        times = [k * LENGTH_S / 25 for k in range(25)]
        pictures = Pictures(frames, times_s=times, **how)
        return studio.write(folder / "clip.mkv", pictures, studio.sound())

    return make


def _anamorphic(across: int, down: int) -> Any:
    """Squeezed pictures that players stretch: pixels are `across` : `down`."""
    aspect = Fraction(across, down)
    width = round(240 / aspect) // 2 * 2
    options = {"x264-params": f"sar={across}/{down}"}
    return _drawn(_resized(width, 240), options=options)


def _changing(studio: Studio, folder: Path) -> Path:
    """240 × 240, then 320 × 320 in one stream of H.264, as WebRTC recorders write."""
    path = folder / "clip.ts"
    with av.open(str(path), "w") as output:
        voice = studio.sound().add_to(output)
        stream = output.add_stream("libx264", rate=RATE_HZ)
        stream.width = stream.height = 240
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
        frames = studio.frames
        packets = [*_encoded(frames[:45], 0), *_encoded(frames[45:], 45, side_px=320)]
        for packet in packets:
            packet.stream = stream
        for packet in heapq.merge(packets, voice, key=lambda one: one.dts * one.time_base):
            output.mux(packet)
    return path


def _encoded(frames: list[Picture], first: int, side_px: int = 240) -> list[av.Packet]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width = encoder.height = side_px
    encoder.pix_fmt, encoder.framerate = "yuv420p", Fraction(RATE_HZ)
    encoder.time_base = Fraction(1, RATE_HZ)
    encoder.options = {"preset": "ultrafast", "crf": "18", "tune": "zerolatency"}
    packets = []
    for place, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(_resized(side_px, side_px)(picture), format="rgb24")
        frame.pts, frame.time_base = first + place, Fraction(1, RATE_HZ)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in packets:
        packet.time_base = Fraction(1, RATE_HZ)
    return packets


def _comb(picture: Picture) -> Picture:
    """Odd rows a little aside, as when two fields of a moving picture are woven."""
    woven = picture.copy()
    woven[1::2] = np.roll(picture[1::2], 2, axis=1)
    return woven


CASES = (
    *(
        Case(
            f"turned-{degrees}",
            f"stored turned by {degrees}°, with a matrix that turns it back",
            _turned(degrees),
            AS_PLAIN,
            seen_in=seen_in,
            is_quick=degrees == 90,
        )
        for degrees, seen_in in (
            (90, "opencv/opencv#15499, meta-pytorch/torchcodec#1084, ultralytics/yolov5#1725"),
            (180, "openmpf/openmpf#57"),
            (270, "TadasBaltrusaitis/OpenFace#524"),
        )
    ),
    Case(
        "lying-left",
        "lies on its side without saying so: turned upright, or said to be tilted",
        _drawn(np.rot90),
        Expect(("ok", "no_face"), voice=True, length_s=LENGTH_S),
    ),
    Case(
        "lying-right",
        "lies on its other side without saying so",
        _drawn(lambda f: np.rot90(f, -1)),
        Expect(("ok", "no_face"), voice=True, length_s=LENGTH_S),
    ),
    Case(
        "upside-down",
        "stands on its head without saying so",
        _drawn(lambda f: f[::-1, ::-1]),
        ENCODED,
        seen_in="minio/xray#17",
        is_quick=True,
    ),
    Case(
        "mirrored",
        "mirrored, as of a selfie camera",
        _drawn(lambda f: f[:, ::-1]),
        replace(ENCODED, like_plain=0.15),
    ),
    Case(
        "flipped",
        "rows upside down, as of an old AVI",
        _drawn(lambda f: f[::-1]),
        Expect(("ok", "no_face"), voice=True, length_s=LENGTH_S),
    ),
    Case(
        "1x1",
        "pictures of one pixel",
        _plain_colour(1, 1, codec="ffv1", pix_fmt="bgr0"),
        NO_FACE,
    ),
    Case("2x2", "pictures of four pixels", _plain_colour(2, 2), NO_FACE),
    Case("16x16", "pictures of an icon's size", _plain_colour(16, 16), NO_FACE),
    Case("16x4096", "a stripe upright", _plain_colour(16, 4096), NO_FACE, is_quick=True),
    Case("4096x16", "a stripe across", _plain_colour(4096, 16), NO_FACE),
    Case(
        "odd-size",
        "239 × 237 pixels",
        _drawn(lambda f: f[:237, :239], ending=".mkv", codec="ffv1", pix_fmt="bgr0"),
        ENCODED,
    ),
    Case(
        "odd-size-h264",
        "239 × 237 pixels of H.264",
        _drawn(lambda f: f[:237, :239], pix_fmt="yuv444p"),
        ENCODED,
    ),
    Case(
        "thumbnail",
        "48 × 48 pixels: the face is too small to read, or is not seen",
        _drawn(_resized(48, 48)),
        replace(NO_FACE, reasons=()),
    ),
    Case(
        "960x960", "a large picture", _drawn(lambda f: np.repeat(np.repeat(f, 4, 0), 4, 1)), ENCODED
    ),
    Case(
        "small-in-large",
        "the portrait in the corner of a large screen",
        _drawn(_on_canvas(1280, 720, 235)),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "anamorphic-wide",
        "pixels of 4 : 3, as on DVD",
        _anamorphic(4, 3),
        ENCODED,
        seen_in="huceke/omxplayer#3, google/ExoPlayer#41",
    ),
    Case(
        "anamorphic-narrow", "pixels of 3 : 4", _anamorphic(3, 4), replace(ENCODED, like_plain=0.1)
    ),
    Case(
        "anamorphic-wild",
        "pixels of 10 : 1, which no camera has: taken for square",
        _drawn(lambda f: f, options={"x264-params": "sar=10/1"}),
        AS_PLAIN,
    ),
    Case(
        "anamorphic-absurd",
        "pixels of 1 : 1000, at which the decoder gives one picture of 90",
        _drawn(lambda f: f, options={"x264-params": "sar=1/1000"}),
        Expect(("ok", "no_face", "truncated"), voice=True, length_s=LENGTH_S),
    ),
    Case("letterbox", "black bars above and below", _drawn(_on_canvas(240, 400)), ENCODED),
    Case(
        "pillarbox",
        "black bars on both sides, of a phone held upright",
        _drawn(_on_canvas(426, 240)),
        ENCODED,
    ),
    Case("portrait-phone", "a picture of 9 : 16", _drawn(_on_canvas(270, 480, 60)), ENCODED),
    Case(
        "size-changes",
        "240 × 240 pixels, then 320 × 320",
        _changing,
        replace(FOUND, within_s=0.3),
        seen_in="bvibber/OGVKit#132, PyAV-Org/PyAV#3, OpenShot/libopenshot#382",
        is_quick=True,
    ),
    Case(
        "interlaced",
        "two fields woven into each picture",
        _drawn(_comb, options={"x264-params": "interlaced=1"}),
        replace(ENCODED, like_plain=0.2),
    ),
    Case("black", "all pictures are black", _drawn(np.zeros_like), NO_FACE),
    Case("white", "all pictures are white", _drawn(lambda f: np.full_like(f, 255)), NO_FACE),
    Case(
        "noise",
        "all pictures are noise",
        _drawn(
            lambda f: np.random.default_rng(f[0, 0, 0]).integers(0, 256, f.shape).astype(np.uint8)
        ),
        NO_FACE,
    ),
    Case(
        "dark",
        "the portrait in the dark, at a tenth of its light",
        _drawn(lambda f: f // 10),
        Expect(("ok", "no_face"), voice=True, length_s=LENGTH_S),
    ),
)
