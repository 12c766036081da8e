"""One film in, the same film with what was said of it out: an annotated MP4."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.packet import Packet

from facevoice.errors import (
    ConfigError,
    NoStreamError,
    RenderCancelledError,
    RenderError,
    UnreadableMediaError,
)
from facevoice.media.probe import probe
from facevoice.media.source import DamageLog, Source, open_source
from facevoice.render.overlay import Overlay
from facevoice.render.pictures import (
    MIN_HEIGHT_PX,
    PictureEncoder,
    common_ticks_hz,
    even_size,
    read_pictures,
)
from facevoice.render.sound import add_sound
from facevoice.results import Report
from facevoice.trace import Trace
from facevoice.types import ByteArray, Frame, MediaInfo, VideoInfo


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
