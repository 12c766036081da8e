"""Sound of a file as 16 kHz mono float32, in one pass, in bounded memory, on the media clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from facevoice.errors import NoStreamError
from facevoice.media.clocks import MAX_PAUSE_S, ticks_to_s
from facevoice.media.open import (
    STATING_FORMATS,
    DamageCallback,
    DamageLog,
    Source,
    decode,
    open_source,
    read_packets,
    undecodable,
)
from facevoice.records import MEAN, SAMPLE_RATE_HZ, AudioBlock, FloatArray, MediaInfo

AnyArray = npt.NDArray[Any]

CENTRE: Final = "centre"
LOW_FREQUENCY: Final = "low frequency"

# Containers round timestamps, so smaller steps than this are no gaps or overlaps.
_JITTER_S: Final = 0.05
# A silence is filled in pieces, so that a long one takes no more memory than a short one.
_FILL_S: Final = 1.0
# Loudness is that of moments of this length.
_MOMENT_S: Final = 0.02
# Reading less than this between two places costs no more than seeking.
_SEEK_FROM_S: Final = 60.0
# Louder float samples, and those that are no numbers, are damage, and silence. Not sound on another
# scale, though: programs also write 32-bit integers as they are.
_LOUDEST: Final = 2.0**31
_NOTHING: Final = np.zeros(0, np.float32)
_STEREO: Final = 2
# FFmpeg's names of channels (libavutil/channel_layout.h).
_CHANNEL_NAMES: Final = {
    "FL": "left",
    "FR": "right",
    "FC": "centre",
    "LFE": LOW_FREQUENCY,
    "BL": "back left",
    "BR": "back right",
    "BC": "back centre",
    "SL": "side left",
    "SR": "side right",
    "FLC": "left of centre",
    "FRC": "right of centre",
}


def read_audio(
    media: str | Path | MediaInfo,
    *,
    block_s: float = 1.0,
    on_damage: DamageCallback | None = None,
) -> Iterator[AudioBlock]:
    """The file's sound, mono at 16 kHz, sample k sounding at k / 16000 s.

    Of a path, it is the mean of all channels of the track that `probe` chooses; of a `MediaInfo`,
    the track and channel that it names. Where the channels change within a file, and that one is
    missing, their mean stands in.

    Media time 0 is the start of the earlier stream; where sound starts later, or is missing for
    more than 50 ms (and at most an hour), zeros stand in; where packets overlap by more than
    50 ms, the later one loses its beginning. Full scale is ±1; louder float samples stay louder.
    Damaged packets are skipped; a file that breaks off gives what there is.

    Args:
        media: a video or audio file, or what was said of it.
        block_s: length of the blocks; the last one may be shorter.
        on_damage: called with a message once per kind of damage met.

    Raises:
        ValueError: `block_s` is shorter than a sample.
        NoStreamError: no sound inside.
        UnreadableMediaError: nothing of the sound can be decoded.
        MediaNotFoundError, EmptyMediaError: see `probe`.
    """
    block_size = round(block_s * SAMPLE_RATE_HZ)
    if block_size < 1:
        raise ValueError(f"block_s = {block_s}: must hold at least one sample at 16 kHz")
    channel = media.audio.channel if isinstance(media, MediaInfo) and media.audio else MEAN
    with open_source(media) as source:
        if source.audio is None:
            raise NoStreamError(source.path, "holds no sound.", "Read its video only.")
        rest = _NOTHING
        num_given = 0
        damage = DamageLog(source.path, on_damage)
        for piece in _resampled(source, source.audio, channel, damage):
            rest = np.concatenate([rest, piece])
            while len(rest) >= block_size:
                yield AudioBlock(num_given / SAMPLE_RATE_HZ, rest[:block_size].copy())
                num_given, rest = num_given + block_size, rest[block_size:]
        if len(rest):
            yield AudioBlock(num_given / SAMPLE_RATE_HZ, rest)


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """What a frame holds: values (planes, n, width) as stored, one of planes and width being 1.

    Channels lie one after the other, or side by side in one plane.
    """

    values: AnyArray
    zero: float
    full_scale: float

    def scale(self, values: AnyArray) -> FloatArray:
        """As float32, integers so that full scale is ±1."""
        return np.asarray((values - self.zero) / self.full_scale, np.float32)


def _samples(frame: AudioFrame) -> _Samples:
    packed = frame.format.packed
    kind = {"u": "u", "s": "i", "f": "f", "d": "f"}[packed.name[0]]
    dtype = np.dtype(f"{kind}{packed.bytes}")
    num_channels = frame.layout.nb_channels
    # With more than eight planar channels, PyAV lists planes that don't exist behind the real ones.
    num_planes, width = (num_channels, 1) if frame.format.is_planar else (1, num_channels)
    count = frame.samples * width
    planes = [np.frombuffer(bytes(p), dtype, count) for p in frame.planes[:num_planes]]
    full_scale = 1.0 if kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
    values = np.stack(planes).reshape(num_planes, -1, width)
    if kind == "f":
        is_sound = np.abs(values) <= _LOUDEST  # not true of NaN either
        values = values if is_sound.all() else np.where(is_sound, values, 0)
    return _Samples(values, full_scale if kind == "u" else 0.0, full_scale)


def _to_mono(frame: AudioFrame, channel: str) -> FloatArray:
    """One channel of a frame as float32 (n,), or the mean of all."""
    samples = _samples(frame)
    names = () if channel == MEAN else name_channels(frame)
    if channel not in names:
        return samples.scale(samples.values.mean(axis=(0, 2), dtype=np.float64))
    planes = np.moveaxis(samples.values, 2, 1).reshape(len(names), -1)
    return samples.scale(planes[names.index(channel)].astype(np.float64))


def name_channels(frame: AudioFrame) -> tuple[str, ...]:
    """What people call a frame's channels; "channel 1" and so on where they have no place."""
    known = [_CHANNEL_NAMES.get(channel.name) for channel in frame.layout.channels]
    count = frame.layout.nb_channels
    if count == _STEREO:
        return "left", "right"
    if len(known) != count or None in known:
        return tuple(f"channel {number}" for number in range(1, count + 1))
    return tuple(name for name in known if name is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A piece of a track as it is: samples (C, N) of the channels `names`."""

    names: tuple[str, ...]
    rate_hz: int
    samples: FloatArray


def read_stretches(media: MediaInfo, spans_s: Iterable[tuple[float, float]]) -> Iterator[Stretch]:
    """The channels of the chosen track from each start to end in media time, roughly.

    They begin and end with packets. What is damaged or lies behind the end is left out, and so is
    what has other channels than the stretch began with. A long file is not read between them where
    its container can be sought in.
    """
    with open_source(media) as source:
        stream = source.audio
        if stream is None:
            return
        seeks = media.duration_s > _SEEK_FROM_S and source.is_of(STATING_FORMATS)
        packets = source.demux(stream)
        for start_s, end_s in spans_s:
            try:
                if seeks:
                    ticks = math.floor((start_s + source.origin_s) / (stream.time_base or 1))
                    source.container.seek(ticks, stream=stream)
                    packets = source.demux(stream)
                # What was heard before this has nothing to do with it.
                if stream.codec_context.is_open:
                    stream.codec_context.flush_buffers()
                frames = list(_frames_within(source, stream, packets, start_s, end_s))
            except av.FFmpegError:
                continue
            if frames:
                kinds = [(frame.layout.name, frame.sample_rate) for frame in frames]
                alike = [f for f, kind in zip(frames, kinds, strict=True) if kind == kinds[0]]
                samples = np.concatenate([_channels(frame) for frame in alike], axis=1)
                if not samples.size:
                    continue
                yield Stretch(name_channels(frames[0]), frames[0].sample_rate, samples)


def _channels(frame: AudioFrame) -> FloatArray:
    samples = _samples(frame)
    num_channels = frame.layout.nb_channels
    return samples.scale(np.moveaxis(samples.values, 2, 1).reshape(num_channels, -1))


def _frames_within(
    source: Source,
    stream: AudioStream,
    packets: Iterator[Packet[AudioStream]],
    start_s: float,
    end_s: float,
) -> Iterator[AudioFrame]:
    base = stream.time_base or Fraction(1)
    start, end = (math.ceil((time_s + source.origin_s) / base) for time_s in (start_s, end_s))
    heard_s = 0.0  # for packets that carry no time
    for packet in packets:
        place = packet.dts if packet.pts is None else packet.pts
        if place is None:
            place = start + math.floor(heard_s / base)
        if place < start or packet.size == 0 or packet.is_corrupt:
            continue
        try:
            for frame in stream.decode(packet):
                heard_s += frame.samples / frame.sample_rate
                yield frame
        except av.FFmpegError:
            continue
        if place + (packet.duration or 0) >= end:
            return


def _resampled(
    source: Source, stream: AudioStream, channel: str, damage: DamageLog
) -> Iterator[FloatArray]:
    rate_hz = SAMPLE_RATE_HZ
    resampler: soxr.ResampleStream | None = None
    for samples, samples_rate_hz in _on_clock(source, stream, channel, damage):
        if samples_rate_hz != rate_hz:
            if resampler is not None:
                yield resampler.resample_chunk(_NOTHING, last=True)
            rate_hz = samples_rate_hz
            is_wanted = rate_hz == SAMPLE_RATE_HZ
            resampler = None if is_wanted else soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1)
        yield samples if resampler is None else resampler.resample_chunk(samples)
    if resampler is not None:
        yield resampler.resample_chunk(_NOTHING, last=True)


def _on_clock(
    source: Source, stream: AudioStream, channel: str, damage: DamageLog
) -> Iterator[tuple[FloatArray, int]]:
    """Mono samples with their rate, without gap or overlap from media time 0 on."""
    given_s = 0.0
    for frame, start_s in _timed_frames(source, stream, damage):
        samples, rate_hz = _to_mono(frame, channel), frame.sample_rate
        lead_s = start_s - given_s if start_s is not None else 0.0
        if lead_s > MAX_PAUSE_S or lead_s < -1.0:
            damage.note("order", f"sound leaps by {lead_s:.1f} s at {given_s:.1f} s")
        if lead_s <= MAX_PAUSE_S and (given_s == 0.0 or abs(lead_s) > _JITTER_S):
            shift = round(lead_s * rate_hz)
            for start in range(0, shift, fill_size := max(1, round(_FILL_S * rate_hz))):
                yield np.zeros(min(fill_size, shift - start), np.float32), rate_hz
            samples = samples[max(0, -shift) :]
            given_s += max(0, shift) / rate_hz
        given_s += len(samples) / rate_hz
        if len(samples):
            yield samples, rate_hz


def _timed_frames(
    source: Source, stream: AudioStream, damage: DamageLog
) -> Iterator[tuple[AudioFrame, float | None]]:
    """Decoded frames with their start in media time, None where they carry none."""
    has_data = has_sound = False
    for packet in read_packets(source, stream, damage):
        has_data = has_data or packet is not None
        for frame in decode(source, stream, packet, damage):
            has_sound = True
            start_s = ticks_to_s(frame.pts, stream.time_base)
            yield frame, None if start_s is None else start_s - source.origin_s
    if has_data and not has_sound:
        raise undecodable(source, stream)


def read_sound(path: Path, start_s: float = 0.0, length_s: float = math.inf) -> FloatArray:
    """The sound (N,) at 16 kHz from `start_s` on, at most `length_s` of it; see `read_audio`."""
    start = round(start_s * SAMPLE_RATE_HZ)
    end = math.inf if length_s == math.inf else start + round(length_s * SAMPLE_RATE_HZ)
    pieces = [_NOTHING]
    position = 0
    for block in read_audio(path):
        last = max(0, int(min(end - position, len(block.samples))))
        pieces.append(block.samples[max(0, start - position) : last])
        position += len(block.samples)
        if position >= end:
            break
    return np.concatenate(pieces)


def sounding_span_s(
    samples: FloatArray, rate_hz: int, floor_db: float = -25.0
) -> tuple[float, float] | None:
    """Start and end of all that is louder than `floor_db` below the loudest moment.

    Moments are means over 20 ms. In a noisy recording it is all of it; None where all is silence.
    """
    size = round(_MOMENT_S * rate_hz)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    starts = np.arange(0, max(1, len(samples) - size + 1), max(1, size // 4))
    ends = np.minimum(starts + size, len(samples))
    moments = power[ends] - power[starts]
    if not moments.max(initial=0.0) > 0:
        return None
    loud = np.flatnonzero(moments >= moments.max() * 10 ** (floor_db / 10))
    return float(starts[loud[0]] / rate_hz), float(ends[loud[-1]] / rate_hz)
