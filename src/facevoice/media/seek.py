"""Opening a video near an asked time rather than at its start, where that is safe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import av
from av.packet import Packet
from av.video.stream import VideoStream

from facevoice.media.plan import MAX_REORDER
from facevoice.media.references import TraitReader
from facevoice.media.source import Source, open_source, ticks_to_s

VideoPackets: TypeAlias = "Iterator[Packet[VideoStream]]"

# Reading so much without decoding it costs no more than seeking.
_MIN_LEAP_S: Final = 10.0
_LEAD_S: Final = 2.0
# Formats with an index of keyframes and timestamps that count from the file's start.
_INDEXED_FORMATS: Final = frozenset(["mov", "matroska"])


@contextmanager
def open_near(
    path: Path, time_s: float | None, tolerance_s: float
) -> Iterator[tuple[Source, VideoPackets | None]]:
    """Open a file, and where possible go to a keyframe at least two seconds before `time_s`.

    Decoding from there gives the same pictures and timestamps as decoding from the start. Where
    that is not sure, the file is opened anew at its start.

    Args:
        path: a media file.
        time_s: the first time of interest, None if there is none.
        tolerance_s: how much earlier a picture may be that is of interest as well.

    Yields:
        The file, and its video's packets from the keyframe on; None in their place at its start.

    Raises:
        MediaError: see `open_source`.
    """
    with open_source(path) as source:
        target_s = _target_s(source, time_s, tolerance_s)
        if source.video is None or target_s is None:
            yield source, None
            return
        packets = _packets_from(source, source.video, target_s)
        if packets is not None:
            yield source, packets
            return
    with open_source(path) as source:
        yield source, None


def _target_s(source: Source, time_s: float | None, tolerance_s: float) -> float | None:
    """Media time before which a keyframe is sought, None if it's better to begin at the start."""
    stream, duration = source.video, source.container.duration
    formats = source.container.format.name.split(",")
    if time_s is None or stream is None or duration is None or stream.start_time is None:
        return None
    # A fragmented MP4 states no number of frames; its index is only found piece by piece.
    if _INDEXED_FORMATS.isdisjoint(formats) or ("mov" in formats and not stream.frames):
        return None
    target_s = min(time_s - _LEAD_S - tolerance_s, duration / av.time_base)
    is_far = math.isfinite(target_s) and target_s + _LEAD_S > source.start_s(stream) + _MIN_LEAP_S
    return target_s if is_far else None


def _packets_from(source: Source, stream: VideoStream, target_s: float) -> VideoPackets | None:
    """Packets from a keyframe at or before `target_s` on; None if it can't be relied upon."""
    time_base = stream.time_base
    if time_base is None:
        return None
    source.keep_only(stream)
    try:
        ticks = math.floor((target_s + source.origin_s) / time_base)
        source.container.seek(ticks, stream=stream)
        packets = source.demux(stream)
        seen = list(itertools.islice((p for p in packets if p.size > 0), 2 * MAX_REORDER))
    except av.FFmpegError:
        return None
    # Without timestamps on all of them, it's not known when the pictures are shown.
    if not seen or any(packet.pts is None for packet in seen):
        return None
    start_s = ticks_to_s(seen[0].pts, time_base)
    if start_s is None or start_s - source.origin_s > target_s:
        return None
    if not TraitReader(stream)(seen[0]).is_entry:
        return None
    return itertools.chain(seen, packets)
