"""What a media file holds, and how long it really is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import av
from av.video.stream import VideoStream

from facevoice.media.orientation import Orientation, read_orientation
from facevoice.media.source import (
    CUT_OFF_S,
    MAX_PAUSE_S,
    DamageCallback,
    DamageLog,
    Source,
    display_size_px,
    frame_rate_hz,
    open_source,
    packet_end_s,
)
from facevoice.types import AudioInfo, MediaInfo, VideoInfo

_TAIL_S: Final = 1.0
_AGREEMENT_S: Final = 0.1
_PACKETS_TO_FIRST_FRAME: Final = 100


def probe(path: str | Path, *, on_damage: DamageCallback | None = None) -> MediaInfo:
    """Read what a file holds: streams, sizes, rates, starts and length.

    Media time 0 is the earlier of the two streams' starts. The length is not taken on trust:
    the packets at the file's end are read (not decoded), and where they disagree with the header
    by more than 0.1 s, or the header states no length, all packets are.

    Args:
        path: a video or audio file.
        on_damage: called with a message if the file ends over 0.5 s before its header says.

    Raises:
        MediaNotFoundError: no such file.
        EmptyMediaError: zero bytes.
        UnreadableMediaError: a folder, not a media file, or one whose header is damaged.
        NoStreamError: no video or audio inside.
    """
    with open_source(path) as source:
        video, audio = _video_info(source), _audio_info(source)
        stated_s = _stated_end_s(source)
        end_s = None if stated_s is None else _tail_end_s(source, stated_s)
    if stated_s is not None and end_s is not None and abs(end_s - stated_s) <= _AGREEMENT_S:
        # Packets overshoot by the codec's padding, so the header is the finer of the two.
        end_s = stated_s
    else:
        with open_source(path) as source:
            end_s = _last_end_s(source)
        if stated_s is not None and end_s < stated_s - CUT_OFF_S:
            message = f"cut off at {end_s:.1f} s; its header says {stated_s:.1f} s"
            DamageLog(source.path, on_damage).note("cut off", message)
    return MediaInfo(path=source.path, duration_s=end_s, video=video, audio=audio)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content in 64 hexadecimal digits; the file is read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _video_info(source: Source) -> VideoInfo | None:
    stream = source.video
    if stream is None:
        return None
    orientation = _first_orientation(source, stream)
    width_px, height_px = display_size_px(stream, stream.width, stream.height)
    if orientation.transposed:
        width_px, height_px = height_px, width_px
    return VideoInfo(
        width_px=width_px,
        height_px=height_px,
        frame_rate_hz=frame_rate_hz(stream),
        start_s=source.start_s(stream),
        rotation_deg=orientation.rotation_deg,
        codec=stream.codec_context.codec.canonical_name,
    )


def _audio_info(source: Source) -> AudioInfo | None:
    stream = source.audio
    if stream is None:
        return None
    return AudioInfo(
        sample_rate_hz=stream.codec_context.sample_rate,
        num_channels=stream.codec_context.channels,
        start_s=source.start_s(stream),
        codec=stream.codec_context.codec.canonical_name,
    )


def _first_orientation(source: Source, stream: VideoStream) -> Orientation:
    # The matrix reaches Python on decoded frames only. One thread gives the first frame soonest.
    stream.codec_context.thread_count = 1
    try:
        for count, packet in enumerate(source.demux(stream)):
            for frame in packet.decode():
                return read_orientation(frame)
            if count >= _PACKETS_TO_FIRST_FRAME:
                break
    except av.FFmpegError:
        pass  # Damage is for the readers to report; what the header says still holds.
    return Orientation()


def _stated_end_s(source: Source) -> float | None:
    """Media time at which the longer stream ends by the header, None if that doesn't say."""
    container = source.container
    if not source.states_length:
        return None
    ends_s = [source.stated_end_s(s) for s in source.streams]
    known_s = [end_s for end_s in ends_s if end_s is not None]
    if len(known_s) == len(ends_s):
        return max(known_s)
    # The container's own length (Matroska, FLV: the stamp of its end) also counts subtitles.
    if container.duration is None or len(container.streams) > len(source.streams):
        return None
    return container.duration / av.time_base - source.origin_s


def _tail_end_s(source: Source, stated_s: float) -> float | None:
    target_s = max(0.0, stated_s - _TAIL_S)
    try:
        source.container.seek(int((target_s + source.origin_s) * av.time_base))
    except av.FFmpegError:
        return None
    return _last_end_s(source, target_s)


def _last_end_s(source: Source, from_s: float = 0.0) -> float:
    """Media time at which the last packet from here on ends; 0 if there is none."""
    end_s = 0.0
    untimed = dict.fromkeys((s.index for s in source.streams), 0)
    try:
        for packet in source.demux(*source.streams):
            if packet.size == 0 or packet.is_corrupt or packet.is_discard:
                continue
            stamp_s = packet_end_s(packet)
            if stamp_s is None:
                untimed[packet.stream_index] += 1
            elif stamp_s - source.origin_s < max(end_s, from_s) + MAX_PAUSE_S:
                end_s = max(end_s, stamp_s - source.origin_s)
    except av.FFmpegError:
        pass  # Nothing behind this point can be reached, by the readers neither.
    if source.video is not None:
        end_s = max(end_s, untimed[source.video.index] / frame_rate_hz(source.video))
    return end_s
