"""What a file gives away without looking at emotion: lengths, loudness, silences, sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import NoStreamError
from facevoice.media.dub import read_sound
from facevoice.media.loudness import integrated_loudness_lufs, peak_dbfs, sounding_span_s
from facevoice.media.source import frame_rate_hz, open_source, packet_end_s, ticks_to_s
from facevoice.types import SAMPLE_RATE_HZ, DoubleArray, FloatArray

SILENCE_DB: Final = -100.0
"""Stands for the loudness and the peak of silence."""


@dataclass(frozen=True, slots=True)
class PacketTraces:
    """The encoded data of one stream: how it was coded, how long it lasts, how large it is.

    parameters: codec, profile, pixel or sample format and size or rate, as text.
    """

    parameters: str
    duration_s: float
    num_packets: int
    bit_rate_bps: float
    packet_bytes_mean: float
    packet_bytes_std: float


@dataclass(frozen=True, slots=True)
class SoundTraces:
    """What a sound shows of its recording.

    loudness_lufs, peak_dbfs: −100 where all is silence;
    lead_s, trail_s: silence before the first and after the last loud moment, `sounding_span_s`.
    """

    duration_s: float
    loudness_lufs: float
    peak_dbfs: float
    lead_s: float
    trail_s: float


@dataclass(frozen=True, slots=True)
class DubTraces:
    """Everything that a dub (or any other file) shows of how it was made; None without the stream.

    sound: the decoded sound.
    """

    file_bytes: int
    video: PacketTraces | None
    audio: PacketTraces | None
    sound: SoundTraces | None


def measure_dub(path: Path) -> DubTraces:
    """Measure a dub, or a source before it was dubbed.

    Raises:
        MediaError: it can't be read.
    """
    packets = _measure_packets(path)
    sound = None if packets["audio"] is None else measure_sound(read_sound(path))
    return DubTraces(path.stat().st_size, packets["video"], packets["audio"], sound)


def measure_sound(samples: FloatArray) -> SoundTraces:
    """Measure a sound, (N,) mono 16 kHz."""
    duration_s = len(samples) / SAMPLE_RATE_HZ
    loudness_lufs = integrated_loudness_lufs(samples, SAMPLE_RATE_HZ)
    loudest_dbfs = peak_dbfs(samples)
    start_s, end_s = sounding_span_s(samples, SAMPLE_RATE_HZ) or (duration_s, duration_s)
    return SoundTraces(
        duration_s=duration_s,
        loudness_lufs=SILENCE_DB if loudness_lufs is None else loudness_lufs,
        peak_dbfs=SILENCE_DB if loudest_dbfs is None else loudest_dbfs,
        lead_s=start_s,
        trail_s=duration_s - end_s,
    )


def measure_film_sound(path: Path, start_s: float = 0.0, length_s: float = math.inf) -> SoundTraces:
    """The sound that a film has of its own, or silence where it has none.

    Raises:
        MediaError: it can't be read.
    """
    try:
        samples = read_sound(path, start_s, length_s)
    except NoStreamError:
        samples = np.zeros(0, np.float32)
    return measure_sound(samples)


def _measure_packets(path: Path) -> dict[str, PacketTraces | None]:
    with open_source(path) as source:
        sizes: dict[str, list[int]] = {"video": [], "audio": []}
        spans_s: dict[str, tuple[float, float]] = {}
        for packet in source.demux(*source.streams):
            if packet.size == 0:
                continue
            kind = packet.stream.type
            sizes[kind].append(packet.size)
            start_s = ticks_to_s(packet.pts, packet.time_base)
            end_s = packet_end_s(packet)
            if start_s is not None and end_s is not None:
                first_s, last_s = spans_s.get(kind, (start_s, end_s))
                spans_s[kind] = (min(first_s, start_s), max(last_s, end_s))
        streams = {"video": source.video, "audio": source.audio}
        return {
            kind: None
            if stream is None
            else _summarize(_parameters(stream), np.array(sizes[kind], float), spans_s.get(kind))
            for kind, stream in streams.items()
        }


def _summarize(
    parameters: str, sizes: DoubleArray, span_s: tuple[float, float] | None
) -> PacketTraces:
    duration_s = 0.0 if span_s is None else span_s[1] - max(0.0, span_s[0])
    return PacketTraces(
        parameters=parameters,
        duration_s=duration_s,
        num_packets=len(sizes),
        bit_rate_bps=8 * float(sizes.sum()) / duration_s if duration_s > 0 else 0.0,
        packet_bytes_mean=float(sizes.mean()) if len(sizes) else 0.0,
        packet_bytes_std=float(sizes.std()) if len(sizes) else 0.0,
    )


def _parameters(stream: Any) -> str:
    context = stream.codec_context
    name = f"{context.codec.canonical_name} {context.profile}"
    if stream.type == "video":
        rate = round(frame_rate_hz(stream))
        return f"{name} {stream.width}x{stream.height} {context.pix_fmt} {rate} Hz"
    return f"{name} {context.format.name} {context.sample_rate} Hz {context.layout.name}"
