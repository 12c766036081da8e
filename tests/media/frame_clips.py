"""Clips of many codecs and containers, and a plain reader of them to compare with."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from benchmarks.priority import take_usual_turns

WIDTH, HEIGHT, FPS = 64, 48, 25
ROUNDING_S = 0.0006
# Codecs of which `read_frames` promises to know which pictures others refer to.
KNOWN_CODECS = {"h264", "hevc"}

_TEXTURE = np.random.default_rng(0).integers(0, 255, (HEIGHT + 60, WIDTH + 60, 3), np.uint8)


def paint(index: int) -> np.ndarray:
    """A texture that moves to and fro, with something new every second; no two are alike."""
    shift = abs(index * 3 % 120 - 60)
    picture = _TEXTURE[shift : shift + HEIGHT, index % 7 : index % 7 + WIDTH].copy()
    picture[10:30, 10:50] = (index // FPS * 50 % 256, index % 256, index * 7 % 256)
    return picture


X264 = "scenecut=0:log-level=none"
X265 = "log-level=none:scenecut=0:pools=none:frame-threads=1"
X264_BF8 = {"preset": "medium", "bf": "8", "x264-params": f"b-adapt=0:b-pyramid=normal:{X264}"}

# name: codec, file name's ending, encoder's options, container's options
RECIPES: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    "x264-mp4": ("libx264", ".mp4", {"preset": "medium", "g": "250"}, {}),
    "x264-short-gop-mp4": ("libx264", ".mp4", {"preset": "fast", "g": "12"}, {}),
    "x264-gop30-mkv": ("libx264", ".mkv", {"preset": "fast", "g": "30", "bf": "2"}, {}),
    "x264-bf8-mp4": ("libx264", ".mp4", {**X264_BF8, "g": "50"}, {}),
    "x264-open-gop-mkv": (
        "libx264",
        ".mkv",
        {"preset": "medium", "g": "20", "bf": "8", "x264-params": f"open-gop=1:b-adapt=0:{X264}"},
        {},
    ),
    "x264-intra-refresh-mkv": (
        "libx264",
        ".mkv",
        {"preset": "fast", "g": "30", "x264-params": f"intra-refresh=1:{X264}"},
        {},
    ),
    "x264-ts": ("libx264", ".ts", {"preset": "medium", "g": "20"}, {}),
    "x264-open-gop-ts": (
        "libx264",
        ".ts",
        {"preset": "medium", "g": "20", "bf": "3", "x264-params": f"open-gop=1:b-adapt=0:{X264}"},
        {},
    ),
    "x264-no-b-avi": ("libx264", ".avi", {"preset": "fast", "g": "25", "bf": "0"}, {}),
    "x264-raw": ("libx264", ".h264", {"preset": "fast", "g": "25", "bf": "2"}, {}),
    "x264-interlaced-mp4": (
        "libx264",
        ".mp4",
        {"preset": "fast", "g": "25", "flags": "+ildct+ilme", "x264-params": f"tff=1:{X264}"},
        {},
    ),
    "x264-fragmented-mp4": (
        "libx264",
        ".mp4",
        {"preset": "fast", "g": "25"},
        {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    ),
    "x265-open-gop-mp4": (
        "libx265",
        ".mp4",
        {"preset": "superfast", "x265-params": f"keyint=20:open-gop=1:bframes=4:{X265}"},
        {},
    ),
    "x265-ts": (
        "libx265",
        ".ts",
        {"preset": "superfast", "x265-params": f"keyint=20:open-gop=1:bframes=4:{X265}"},
        {},
    ),
    "x265-layers-mp4": (
        "libx265",
        ".mp4",
        {
            "preset": "superfast",
            "x265-params": f"keyint=32:temporal-layers=3:bframes=7:b-adapt=0:b-pyramid=1:{X265}",
        },
        {},
    ),
    "vp9-webm": ("libvpx-vp9", ".webm", {"cpu-used": "8", "g": "25", "deadline": "realtime"}, {}),
    "vp9-alt-ref-mkv": (
        "libvpx-vp9",
        ".mkv",
        {"cpu-used": "5", "g": "40", "auto-alt-ref": "1", "lag-in-frames": "16"},
        {},
    ),
    "vp8-webm": ("libvpx", ".webm", {"cpu-used": "8", "g": "25", "deadline": "realtime"}, {}),
    "mpeg4-mp4": ("mpeg4", ".mp4", {"bf": "2", "g": "12"}, {}),
    "mpeg4-avi": ("mpeg4", ".avi", {"bf": "2", "g": "12"}, {}),
    "mpeg2-ts": ("mpeg2video", ".ts", {"bf": "2", "g": "12"}, {}),
    "mpeg1-mkv": ("mpeg1video", ".mkv", {"bf": "2", "g": "12"}, {}),
    "mjpeg-avi": ("mjpeg", ".avi", {}, {}),
    "mjpeg-mp4": ("mjpeg", ".mp4", {}, {}),
    "prores-mov": ("prores_ks", ".mov", {}, {}),
    "av1-mp4": ("libsvtav1", ".mp4", {"preset": "12", "g": "25"}, {}),
    "ffv1-mkv": ("ffv1", ".mkv", {"g": "10"}, {}),
}


@dataclass(frozen=True, eq=False)
class Shown:
    start_s: float
    duration_s: float
    rgb: np.ndarray
    is_reference: bool


def write_clip(folder: Path, recipe: str, duration_s: float, name: str | None = None) -> Path:
    """Encode a clip by recipe, at 25 pictures a second and without sound."""
    codec, suffix, options, muxer = RECIPES[recipe]
    path = folder / f"{name or recipe}{suffix}"
    with av.open(str(path), "w", options=muxer) as output:
        # MPEG-1 and MPEG-2 take no time base but their frame rate.
        stream = output.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(codec, "yuv420p")
        stream.codec_context.thread_count = 1
        for index in range(round(duration_s * FPS)):
            picture = av.VideoFrame.from_ndarray(paint(index), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    take_usual_turns()
    return path


def reference_pts(path: Path) -> list[int | None]:
    """Timestamps of the pictures that FFmpeg's decoder can't leave out."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        return [picture.pts for picture in container.decode(stream)]


def decode_all(path: Path) -> list[Shown]:
    """Every picture of a file, read by the shortest way there is."""
    references = set(reference_pts(path))
    shown: list[Shown] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        origin_s = float((stream.start_time or 0) * stream.time_base)
        step_s = 1.0 / float(stream.average_rate or stream.guessed_rate)
        # FFmpeg's decoder leaves out pictures of lower layers to which higher ones refer.
        is_known = stream.codec_context.codec.canonical_name in KNOWN_CODECS
        is_known = is_known and "layers" not in path.name
        for picture in container.decode(stream):
            start_s = shown[-1].start_s + step_s if shown else 0.0
            if picture.pts is not None:
                base = stream.time_base
                start_s = picture.pts * base.numerator / base.denominator - origin_s
            if shown and start_s <= shown[-1].start_s:
                continue
            duration_s = float((picture.duration or 0) * stream.time_base) or step_s
            is_reference = not is_known or picture.pts is None or picture.pts in references
            rgb = picture.to_ndarray(format="rgb24")
            shown.append(Shown(start_s, duration_s, rgb, is_reference))
    return shown


def choose(
    shown: list[Shown], times_s: Iterable[float], tolerance_s: float, exact: bool
) -> list[Shown]:
    """The pictures that `read_frames` is to give, by the rules of its description."""
    given: list[Shown] = []
    starts_s = [s.start_s for s in shown]
    for t in times_s:
        index = bisect_right(starts_s, t + ROUNDING_S) - 1
        if index < 0:
            answer = shown[0] if shown[0].start_s - t <= max(ROUNDING_S, tolerance_s) else None
        else:
            answer = shown[index]
            if not exact and not answer.is_reference:
                near = [
                    s for s in shown if s.is_reference and abs(s.start_s - t) <= tolerance_s
                ]  # `min` takes the earlier of equals
                answer = min(near, key=lambda s: abs(s.start_s - t), default=answer)
            if answer is shown[index] and t - answer.start_s > max(answer.duration_s, tolerance_s):
                answer = None
        if answer is not None and (not given or answer is not given[-1]):
            given.append(answer)
    return given


def times_from(start_s: float, end_s: float, rate_hz: float) -> list[float]:
    return [start_s + k / rate_hz for k in range(math.ceil((end_s - start_s) * rate_hz))]
