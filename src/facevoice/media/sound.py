"""Sound of a file as 16 kHz mono float32, in one pass, in bounded memory, on the media clock."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from facevoice.errors import NoStreamError
from facevoice.media.open import (
    MAX_PAUSE_S,
    DamageCallback,
    DamageLog,
    Source,
    decode,
    open_source,
    read_packets,
    ticks_to_s,
    undecodable,
)
from facevoice.records import SAMPLE_RATE_HZ, AudioBlock, FloatArray

# Containers round timestamps, so smaller steps than this are no gaps or overlaps.
_JITTER_S: Final = 0.05
# A silence is filled in pieces, so that a long one takes no more memory than a short one.
_FILL_S: Final = 1.0
# Loudness is that of moments of this length.
_MOMENT_S: Final = 0.02
_NOTHING: Final = np.zeros(0, np.float32)


def read_audio(
    path: str | Path, *, block_s: float = 1.0, on_damage: DamageCallback | None = None
) -> Iterator[AudioBlock]:
    """The file's sound: mean of its channels, at 16 kHz, sample k sounding at k / 16000 s.

    Media time 0 is the start of the earlier stream; where sound starts later, or is missing for
    more than 50 ms (and at most an hour), zeros stand in; where packets overlap by more than
    50 ms, the later one loses its beginning. Full scale is ±1; louder float samples stay louder.
    Damaged packets are skipped; a file that breaks off gives what there is.

    Args:
        path: a video or audio file.
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
    with open_source(path) as source:
        if source.audio is None:
            raise NoStreamError(source.path, "holds no sound.", "Read its video only.")
        rest = _NOTHING
        num_given = 0
        for piece in _resampled(source, source.audio, DamageLog(source.path, on_damage)):
            rest = np.concatenate([rest, piece])
            while len(rest) >= block_size:
                yield AudioBlock(num_given / SAMPLE_RATE_HZ, rest[:block_size].copy())
                num_given, rest = num_given + block_size, rest[block_size:]
        if len(rest):
            yield AudioBlock(num_given / SAMPLE_RATE_HZ, rest)


def _to_mono(frame: AudioFrame) -> FloatArray:
    """Mean of a frame's channels as float32 (n,), integers scaled so that full scale is ±1."""
    packed = frame.format.packed
    kind = {"u": "u", "s": "i", "f": "f", "d": "f"}[packed.name[0]]
    dtype = np.dtype(f"{kind}{packed.bytes}")
    num_channels = frame.layout.nb_channels
    # With more than eight planar channels, PyAV lists planes that don't exist behind the real ones.
    num_planes, width = (num_channels, 1) if frame.format.is_planar else (1, num_channels)
    count = frame.samples * width
    planes = [np.frombuffer(bytes(p), dtype, count) for p in frame.planes[:num_planes]]
    full_scale = 1.0 if kind == "f" else 2.0 ** (8 * dtype.itemsize - 1)
    zero = full_scale if kind == "u" else 0.0
    # Channels lie one after the other, or side by side in one plane.
    mean = np.stack(planes).reshape(num_planes, -1, width).mean(axis=(0, 2), dtype=np.float64)
    return np.asarray((mean - zero) / full_scale, np.float32)


def _resampled(source: Source, stream: AudioStream, damage: DamageLog) -> Iterator[FloatArray]:
    rate_hz = SAMPLE_RATE_HZ
    resampler: soxr.ResampleStream | None = None
    for samples, samples_rate_hz in _on_clock(source, stream, damage):
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
    source: Source, stream: AudioStream, damage: DamageLog
) -> Iterator[tuple[FloatArray, int]]:
    """Mono samples with their rate, without gap or overlap from media time 0 on."""
    given_s = 0.0
    for frame, start_s in _timed_frames(source, stream, damage):
        samples, rate_hz = _to_mono(frame), frame.sample_rate
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
