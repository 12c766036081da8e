"""Fixtures shared by all tests: tiny clips, synthesised and encoded for real with PyAV."""

from __future__ import annotations

import faulthandler
import heapq
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

TICKS_HZ = 60_000  # video time base: holds 24, 25, 30, 29.97 and milliseconds exactly
INDEX_ROWS, INDEX_COLUMNS = 3, 4  # painted frame index: 12 bits, one block each
AUDIO_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
DEFAULT_CODECS: dict[str, tuple[str | None, str]] = {
    ".mp4": ("libx264", "aac"),
    ".mov": ("libx264", "aac"),
    ".mkv": ("libx264", "aac"),
    ".ts": ("libx264", "aac"),
    ".avi": ("mpeg4", "libmp3lame"),
    ".webm": ("libvpx-vp9", "libopus"),
    ".h264": ("libx264", ""),
    ".wav": (None, "pcm_s16le"),
    ".mp3": (None, "libmp3lame"),
    ".flac": (None, "flac"),
    ".ogg": (None, "libopus"),
    ".m4a": (None, "aac"),
    ".aac": (None, "aac"),
}
FAST = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libvpx-vp9": {"cpu-used": "8", "crf": "20"},
}

Painter = Callable[[int, float], np.ndarray]


def pytest_configure() -> None:
    # A shell lets what it starts aside ignore Ctrl-C, nohup a hang-up, and so would all children.
    for name, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP.
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("FACEVOICE_CORPORA"):
        skip = pytest.mark.skip(reason="FACEVOICE_CORPORA is not set")
        for item in items:
            if item.get_closest_marker("corpora"):
                item.add_marker(skip)


@pytest.fixture
def no_hang() -> Iterator[None]:
    """Ends this process where a cluster hangs; long enough for a machine with much else to do."""
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Whatever a command does to the log ends with its test."""
    log = logging.getLogger("facevoice")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], level, log.propagate = before
    log.setLevel(level)


@pytest.fixture
def corpora_dir() -> Path:
    """The folder of the real corpora; only for tests marked `corpora`."""
    return Path(os.environ["FACEVOICE_CORPORA"])


def _paint_index(index: int, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3): `index` in 12 black or white blocks, most significant bit first.

    Upright only: turned or mirrored pictures read as another number (except 0 and 4095).
    """
    bits = [(index >> k) & 1 for k in range(INDEX_ROWS * INDEX_COLUMNS - 1, -1, -1)]
    grid = np.array(bits, np.uint8).reshape(INDEX_ROWS, INDEX_COLUMNS) * 225 + 15
    rows = np.arange(height) * INDEX_ROWS // height
    columns = np.arange(width) * INDEX_COLUMNS // width
    return np.repeat(grid[rows][:, columns, None], 3, axis=2)


def _read_index(rgb: np.ndarray) -> int:
    """The number that `paint_index` drew, from a picture of any size."""
    height, width = rgb.shape[:2]
    ys = ((np.arange(INDEX_ROWS) + 0.5) * height / INDEX_ROWS).astype(int)
    xs = ((np.arange(INDEX_COLUMNS) + 0.5) * width / INDEX_COLUMNS).astype(int)
    bits = rgb[ys][:, xs].astype(float).mean(axis=2).ravel() > 127
    return int("".join("1" if bit else "0" for bit in bits), 2)


@pytest.fixture
def paint_index() -> Callable[[int, int, int], np.ndarray]:
    """`paint_index(index, width, height) -> uint8 (height, width, 3)`."""
    return _paint_index


@pytest.fixture
def read_index() -> Callable[[np.ndarray], int]:
    """`read_index(rgb) -> int`: the number painted into a picture."""
    return _read_index


def _make_samples(kind: str, n: int, rate_hz: int, channels: int, tone_hz: float) -> np.ndarray:
    if kind == "silence":
        return np.zeros((channels, n))
    if kind == "noise":
        return np.random.default_rng(0).uniform(-0.5, 0.5, (channels, n))
    return np.tile(0.5 * np.sin(2 * np.pi * tone_hz * np.arange(n) / rate_hz), (channels, 1))


def _video_packets(
    stream: Any, times_s: Sequence[float], paint: Painter, rotation: int
) -> Iterator[Any]:
    for index, time_s in enumerate(times_s):
        # Stored turned by `rotation` clockwise; the display matrix turns it back upright.
        stored = np.ascontiguousarray(np.rot90(paint(index, time_s), -rotation // 90))
        frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
        frame.pts, frame.time_base = round(time_s * TICKS_HZ), Fraction(1, TICKS_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_packets(stream: Any, samples: np.ndarray, offset_s: float, layout: str) -> Iterator[Any]:
    rate_hz = stream.codec_context.sample_rate
    for start in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, start : start + 1024], dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = start + round(offset_s * rate_hz)
        yield from stream.encode(frame)
    yield from stream.encode(None)


class ClipMaker:
    """Encodes tiny media files into one folder; see `__call__`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        name: str = "clip.mp4",
        *,
        width: int = 160,
        height: int = 120,
        fps: float | Fraction = 25,
        duration_s: float = 2.0,
        video: bool = True,
        codec: str | None = None,
        pix_fmt: str | None = None,
        codec_options: dict[str, str] | None = None,
        paint: Painter | None = None,
        rotation: int = 0,
        video_offset_s: float = 0.0,
        frame_times_s: Sequence[float] | None = None,
        audio: bool = True,
        audio_codec: str | None = None,
        samples: str | np.ndarray = "tone",
        tone_hz: float = 440.0,
        sample_rate_hz: int = 48_000,
        num_channels: int = 1,
        audio_offset_s: float = 0.0,
        audio_duration_s: float | None = None,
        cover: bool = False,
        container: str | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        """Write a clip and return its path; the suffix of `name` chooses container and codecs.

        width, height: of the upright picture. `paint(index, time_s) -> uint8 (height, width, 3)`
        draws it; by default the frame's index, readable by `read_index`.
        rotation: degrees counter-clockwise that a player must turn the stored picture.
        frame_times_s: start time of every frame (variable rate); else `fps` × `duration_s`.
        video_offset_s, audio_offset_s: added to all timestamps of one stream.
        samples: "tone" (`tone_hz`, amplitude 0.5), "noise", "silence", or floats in [-1, 1] of
        shape (N,) or (channels, N) at `sample_rate_hz`.
        cover: attach a still cover picture (an audio file stays an audio file).
        """
        path = self.folder / name
        video_codec, default_audio = DEFAULT_CODECS.get(path.suffix, ("libx264", "aac"))
        codec = codec or video_codec
        audio_codec = audio_codec or default_audio
        packets: list[Iterator[Any]] = []
        with av.open(str(path), "w", format=container, options=container_options or {}) as output:
            if video and codec:
                rate = Fraction(fps).limit_denominator(1001)
                stream = output.add_stream(codec, rate=rate)
                turned = rotation % 180 == 90
                stream.width, stream.height = (height, width) if turned else (width, height)
                stream.pix_fmt = pix_fmt or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
                # AVI counts frames; it has no timestamps.
                stream.codec_context.time_base = (
                    1 / rate if path.suffix == ".avi" else Fraction(1, TICKS_HZ)
                )
                stream.codec_context.thread_count = 1
                stream.codec_context.options = {**FAST.get(codec, {}), **(codec_options or {})}
                if rotation:
                    stream.set_display_rotation(rotation)
                if frame_times_s is None:
                    frame_times_s = [float(k / rate) for k in range(round(duration_s * rate))]
                times_s = [time_s + video_offset_s for time_s in frame_times_s]
                painter = paint or (lambda index, _: _paint_index(index, width, height))
                packets.append(_video_packets(stream, times_s, painter, rotation))
            if audio and audio_codec:
                if isinstance(samples, str):
                    n = round((audio_duration_s or duration_s) * sample_rate_hz)
                    samples = _make_samples(samples, n, sample_rate_hz, num_channels, tone_hz)
                samples = np.atleast_2d(samples)
                layout = AUDIO_LAYOUTS[len(samples)]
                stream = output.add_stream(audio_codec, rate=sample_rate_hz, layout=layout)
                packets.append(_audio_packets(stream, samples, audio_offset_s, layout))
            if cover:
                picture = output.add_stream("mjpeg", rate=25)
                picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
                picture.disposition = av.stream.Disposition.attached_pic
                paint_cover: Painter = lambda *_: _paint_index(1, 32, 32)  # noqa: E731
                packets.append(_video_packets(picture, [0.0], paint_cover, 0))
            for packet in heapq.merge(*packets, key=lambda p: float(p.dts * p.time_base)):
                output.mux(packet)
        return path


@pytest.fixture
def make_clip(tmp_path: Path) -> ClipMaker:
    """`make_clip(name, **how) -> Path`: a real encoded clip in the test's own folder."""
    return ClipMaker(tmp_path)


@pytest.fixture(scope="session")
def make_shared_clip(tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    """Like `make_clip`, for fixtures of wider scope; give each clip its own name."""
    return ClipMaker(tmp_path_factory.mktemp("clips"))
