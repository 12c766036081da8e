"""Packets and decoded frames of one stream, going on past damage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from facevoice.errors import UnreadableMediaError
from facevoice.media.source import CUT_OFF_S, DamageLog, Source, packet_end_s, ticks_to_s

StreamT = TypeVar("StreamT", VideoStream, AudioStream)


def read_packets(
    source: Source,
    stream: StreamT,
    damage: DamageLog,
    packets: Iterator[Packet[StreamT]] | None = None,
) -> Iterator[Packet[StreamT] | None]:
    """All packets of `stream` that can be read, then None, which drains the decoder.

    With `packets`, which are those from some place in the file on, what lies before is not read.
    """
    source.keep_only(stream)
    end_s = 0.0
    try:
        for packet in source.demux(stream) if packets is None else packets:
            if packet.is_corrupt:
                damage.note("packets", f"damaged {stream.type} data at {_place(source, packet)}")
            if packet.size > 0:  # An empty packet would end the decoding.
                end_s = max(end_s, (packet_end_s(packet) or 0.0) - source.origin_s)
                yield packet
    except av.FFmpegError as error:
        damage.note("reading", f"reading the {stream.type} broke off ({error.strerror})")
    stated_s = source.stated_end_s(stream)
    if stated_s is not None and end_s < stated_s - CUT_OFF_S:
        damage.note("cut off", f"{stream.type} cut off at {end_s:.1f} s of {stated_s:.1f} s")
    yield None


def decode_video(
    source: Source, packet: Packet[VideoStream] | None, damage: DamageLog
) -> list[VideoFrame]:
    """Pictures that come out when `packet` goes in; none for a damaged one."""
    try:
        return source.video.decode(packet) if source.video is not None else []
    except av.FFmpegError:
        damage.note("packets", f"damaged video data at {_place(source, packet)}")
        return []


def decode_audio(
    source: Source, packet: Packet[AudioStream] | None, damage: DamageLog
) -> list[AudioFrame]:
    """Sound that comes out when `packet` goes in; none for a damaged one."""
    try:
        return source.audio.decode(packet) if source.audio is not None else []
    except av.FFmpegError:
        damage.note("packets", f"damaged audio data at {_place(source, packet)}")
        return []


def undecodable(source: Source, stream: VideoStream | AudioStream) -> UnreadableMediaError:
    """The error for a stream of which nothing at all can be decoded."""
    return UnreadableMediaError(
        source.path,
        f"none of its {stream.type} ({stream.codec_context.codec.canonical_name}) can be decoded.",
        "Get the whole file again, or convert it to MP4 (H.264 and AAC).",
    )


def _place(source: Source, packet: Packet[VideoStream] | Packet[AudioStream] | None) -> str:
    start_s = None if packet is None else ticks_to_s(packet.pts, packet.time_base)
    return "its end" if start_s is None else f"{max(0.0, start_s - source.origin_s):.1f} s"
