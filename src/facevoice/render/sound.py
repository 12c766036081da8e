"""The sound of a film for an MP4: as it is where MP4 may hold it, else as AAC."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from facevoice.media.decode import decode_audio, read_packets
from facevoice.media.source import MAX_PAUSE_S, DamageLog, Source, ticks_to_s
from facevoice.types import FloatArray

_COPIED_CODECS: Final = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
# Of MPEG-2.5 sound, which is slower, the muxer says that it is no standard in MP4.
_MIN_MP3_RATE_HZ: Final = 16_000
_AAC_RATES_HZ: Final = (
    *(7350, 8000, 11_025, 12_000, 16_000, 22_050, 24_000),
    *(32_000, 44_100, 48_000, 64_000, 88_200, 96_000),
)
_AAC_LAYOUTS: Final = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"})
_AAC_FRAME: Final = 1024
_BITS_PER_SAMPLE_AND_CHANNEL: Final = 2
_MAX_BIT_RATE_BPS: Final = 512_000
# Containers round timestamps: smaller steps than this are no gaps or overlaps.
_JITTER_S: Final = 0.05


def add_sound(
    source: Source, stream: AudioStream, output: OutputContainer, damage: DamageLog
) -> Iterator[Packet[Any]]:
    """Add the sound of `source` to `output`; gives its packets, in order, at media time.

    Damaged packets are left out.
    """
    if _may_be_copied(stream):
        return _copied(source, stream, output.add_stream_from_template(stream), damage)
    rate_hz = min(_AAC_RATES_HZ, key=lambda rate: abs(rate - stream.codec_context.sample_rate))
    layout = stream.codec_context.layout.name
    layout = layout if layout in _AAC_LAYOUTS else "stereo"
    encoder: Any = output.add_stream("aac", rate=rate_hz, layout=layout)
    bits = rate_hz * encoder.codec_context.channels * _BITS_PER_SAMPLE_AND_CHANNEL
    encoder.bit_rate = min(bits, _MAX_BIT_RATE_BPS)
    return _encoded(encoder, _on_clock(source, stream, rate_hz, layout, damage), rate_hz, layout)


def _may_be_copied(stream: AudioStream) -> bool:
    codec = stream.codec_context.codec.canonical_name
    if codec == "mp3" and stream.codec_context.sample_rate < _MIN_MP3_RATE_HZ:
        return False
    return codec in _COPIED_CODECS


def _copied(
    source: Source, stream: AudioStream, target: Any, damage: DamageLog
) -> Iterator[Packet[Any]]:
    base = stream.time_base or Fraction(1, stream.codec_context.sample_rate)
    origin, longest_pause = round(source.origin_s / base), round(MAX_PAUSE_S / base)
    following: int | None = None  # tick at which the packet before ends
    last: int | None = None
    for packet in read_packets(source, stream, damage):
        if packet is None or packet.is_corrupt:
            continue
        tick = packet.pts if packet.pts is not None else packet.dts
        tick = (following or 0) if tick is None else tick - origin
        if last is not None and not last < tick <= (following or last) + longest_pause:
            damage.note("order", "sound that leaps in time was left out")
            continue
        last, following = tick, tick + (packet.duration or 0)
        packet.pts = packet.dts = tick
        packet.stream = target
        yield packet


def _encoded(
    encoder: Any, pieces: Iterator[tuple[int, FloatArray]], rate_hz: int, layout: str
) -> Iterator[Packet[Any]]:
    for start, samples in _framed(pieces):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, start
        frame.time_base = Fraction(1, rate_hz)
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _framed(pieces: Iterator[tuple[int, FloatArray]]) -> Iterator[tuple[int, FloatArray]]:
    """Sound that goes on without gaps, cut into the encoder's frames; the last may be shorter."""
    start: int | None = None
    rest: FloatArray | None = None
    for first, samples in pieces:
        start = first if start is None else start
        rest = samples if rest is None else np.concatenate([rest, samples], axis=1)
        whole = rest.shape[1] // _AAC_FRAME * _AAC_FRAME
        for offset in range(0, whole, _AAC_FRAME):
            yield start + offset, rest[:, offset : offset + _AAC_FRAME]
        start, rest = start + whole, rest[:, whole:]
    if start is not None and rest is not None and rest.shape[1]:
        yield start, rest


def _on_clock(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[int, FloatArray]]:
    """Samples (channels, n) with the number of the first; silence stands where sound is missing."""
    position: int | None = None
    fill = max(1, rate_hz)
    for start_s, samples in _decoded(source, stream, rate_hz, layout, damage):
        start = position if start_s is None else round(start_s * rate_hz)
        if position is None:
            position = start or 0
        lead = 0 if start is None else start - position
        if abs(lead) <= _JITTER_S * rate_hz:
            lead = 0
        elif not -rate_hz <= lead <= MAX_PAUSE_S * rate_hz:
            damage.note("order", f"sound leaps in time at {position / rate_hz:.1f} s")
            lead = 0 if lead > 0 else lead
        for offset in range(0, lead, fill):
            silence = np.zeros((len(samples), min(fill, lead - offset)), np.float32)
            yield position, silence
            position += silence.shape[1]
        kept = samples[:, max(0, -lead) :]
        yield position, kept
        position += kept.shape[1]


def _decoded(
    source: Source, stream: AudioStream, rate_hz: int, layout: str, damage: DamageLog
) -> Iterator[tuple[float | None, FloatArray]]:
    """Start in media time (None: unknown) and samples (channels, n) of every decoded frame."""
    resampler: AudioResampler | None = None
    kind: tuple[object, ...] = ()
    for packet in read_packets(source, stream, damage):
        for frame in decode_audio(source, packet, damage):
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != kind:
                resampler, kind = AudioResampler("fltp", layout, rate_hz), now
            start_s = ticks_to_s(frame.pts, stream.time_base)
            for ready in _resampled(resampler, frame, damage):
                yield None if start_s is None else start_s - source.origin_s, ready
                start_s = None
    if resampler is not None:
        for ready in _resampled(resampler, None, damage):
            yield None, ready


def _resampled(
    resampler: AudioResampler, frame: AudioFrame | None, damage: DamageLog
) -> list[FloatArray]:
    try:
        ready = resampler.resample(frame)
    except (av.FFmpegError, ValueError):
        damage.note("packets", "sound that can't be converted was left out")
        return []
    return [np.asarray(part.to_ndarray(), np.float32) for part in ready]
