"""Colours: ranges, matrices, depths, samplings, transfer curves, alpha, palettes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorRange, Colorspace

from faults.case import ENCODED, SEEN_ONLY, Case, Expect
from faults.studio import LENGTH_S, Studio

HDR = Expect(("ok",), face=True, voice=True, length_s=LENGTH_S)
"""Light is stored otherwise, so that probabilities may move, but both channels speak."""


def _in(ending: str = ".mkv", sound: str | None = "aac", **how: Any) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        tracks = (studio.pictures(**how), *((studio.sound(codec=sound),) if sound else ()))
        return studio.write(folder / f"clip{ending}", *tracks)

    return make


def _as(matrix: int, full: bool, pix_fmt: str = "yuv420p") -> Callable[[av.VideoFrame], Any]:
    """Converted by a matrix (of `Colorspace`) to full or limited range, and said to be so."""

    def finish(frame: av.VideoFrame) -> av.VideoFrame:
        given_range = ColorRange.JPEG if full else ColorRange.MPEG
        made = frame.reformat(
            format=pix_fmt,
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=given_range,
        )
        made.colorspace, made.color_range = matrix, given_range
        return made

    return finish


def _tagged(**tags: int) -> Callable[[Any], None]:
    def made(stream: Any) -> None:
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)

    return made


BT709 = {"color_primaries": 1, "color_trc": 1, "colorspace": 1}
BT601 = {"color_primaries": 6, "color_trc": 6, "colorspace": 6}
BT2020 = {"color_primaries": 9, "color_trc": 14, "colorspace": 9}
HLG = {"color_primaries": 9, "color_trc": 18, "colorspace": 9}
PQ = {"color_primaries": 9, "color_trc": 16, "colorspace": 9}
FULL, LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)


CASES = (
    Case(
        "bt601-limited",
        "BT.601, limited range",
        _in(finish=_as(Colorspace.ITU601, False), made=_tagged(**BT601, color_range=LIMITED)),
        ENCODED,
    ),
    Case(
        "bt601-full",
        "BT.601, full range, as of phones",
        _in(finish=_as(Colorspace.ITU601, True), made=_tagged(**BT601, color_range=FULL)),
        ENCODED,
        is_quick=True,
    ),
    Case(
        "bt709-limited",
        "BT.709, limited range",
        _in(finish=_as(Colorspace.ITU709, False), made=_tagged(**BT709, color_range=LIMITED)),
        ENCODED,
    ),
    Case(
        "bt709-full",
        "BT.709, full range",
        _in(finish=_as(Colorspace.ITU709, True), made=_tagged(**BT709, color_range=FULL)),
        ENCODED,
    ),
    Case(
        "bt2020",
        "BT.2020, 10 bit",
        _in(pix_fmt="yuv420p10le", codec="libx265", made=_tagged(**BT2020, color_range=LIMITED)),
        HDR,
    ),
    Case(
        "hlg",
        "HDR by HLG, as phones record",
        _in(pix_fmt="yuv420p10le", codec="libx265", made=_tagged(**HLG, color_range=LIMITED)),
        HDR,
        is_quick=True,
    ),
    Case(
        "pq",
        "HDR by PQ",
        _in(pix_fmt="yuv420p10le", codec="libx265", made=_tagged(**PQ, color_range=LIMITED)),
        HDR,
    ),
    Case("10-bit", "10 bit H.264", _in(pix_fmt="yuv420p10le"), ENCODED),
    Case("10-bit-hevc", "10 bit HEVC", _in(pix_fmt="yuv420p10le", codec="libx265"), ENCODED),
    Case("12-bit-hevc", "12 bit HEVC", _in(pix_fmt="yuv420p12le", codec="libx265"), ENCODED),
    Case("16-bit", "16 bit FFV1", _in(pix_fmt="gbrp16le", codec="ffv1"), ENCODED),
    Case("422", "4:2:2", _in(pix_fmt="yuv422p"), ENCODED),
    Case("444", "4:4:4", _in(pix_fmt="yuv444p"), ENCODED),
    Case(
        "410",
        "4:1:0 of an old codec",
        _in(".avi", "libmp3lame", pix_fmt="yuv410p", codec="ffv1"),
        replace(ENCODED, like_plain=0.15),
    ),
    Case(
        "411",
        "4:1:1, as of DV",
        _in(".avi", "libmp3lame", pix_fmt="yuv411p", codec="ffv1"),
        replace(ENCODED, like_plain=0.15),
    ),
    Case(
        "rgb-h264",
        "H.264 in RGB, of a screen recorder",
        _in(pix_fmt="rgb24", codec="libx264rgb"),
        ENCODED,
    ),
    Case(
        "rgb-raw",
        "pictures without compression",
        _in(".avi", "libmp3lame", pix_fmt="bgr24", codec="rawvideo"),
        ENCODED,
    ),
    Case("nv12", "H.264 of a graphics card's layout", _in(pix_fmt="nv12"), ENCODED),
    Case(
        "gray",
        "grey pictures",
        _in(pix_fmt="gray"),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "gray-10",
        "grey pictures of 10 bit",
        _in(pix_fmt="gray10le"),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "alpha", "pictures with transparency", _in(".mov", pix_fmt="argb", codec="qtrle"), ENCODED
    ),
    Case(
        "alpha-prores",
        "ProRes 4444 with transparency",
        _in(".mov", pix_fmt="yuva444p10le", codec="prores_ks"),
        ENCODED,
    ),
    Case(
        "alpha-png", "PNG pictures in QuickTime", _in(".mov", pix_fmt="rgba", codec="png"), ENCODED
    ),
    Case(
        "gif",
        "an animated GIF of 256 colours, without sound",
        _in(".gif", None, pix_fmt="rgb8", codec="gif"),
        replace(SEEN_ONLY, status=("video_only", "no_face"), face=None),
    ),
    Case(
        "mjpeg-full",
        "Motion JPEG, full range by its nature",
        _in(".avi", "libmp3lame", pix_fmt="yuvj420p", codec="mjpeg"),
        ENCODED,
    ),
    Case(
        "unknown-tags",
        "colours of a kind that no standard knows",
        _in(made=_tagged(color_primaries=22, color_trc=17, colorspace=10)),
        Expect(("ok", "truncated", "failed")),
    ),
)
