"""The picture of one clip with the sound of another, made by one rule whatever the two express."""

from __future__ import annotations

import contextlib
import heapq
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.codec.context import Flags
from av.container import OutputContainer

from facevoice.errors import ConfigError
from facevoice.media.audio import read_audio
from facevoice.media.dub_pictures import Pictures, encode_pictures, too_short
from facevoice.media.dub_rule import MAX_MISSING_S, DubRule, add_stream, check_length
from facevoice.media.loudness import integrated_loudness_lufs, peak_dbfs
from facevoice.types import SAMPLE_RATE_HZ, FloatArray

__all__ = ["Dub", "DubRule", "Pictures", "encode_pictures", "join_dub", "read_sound", "write_dub"]

_AUDIO_FRAME: Final = 1024


@dataclass(frozen=True, slots=True)
class Dub:
    """A dub that was written.

    gain_db: by which the voice was made louder; 0 where it is silent;
    loudness_before_lufs, loudness_lufs, peak_dbfs: of the cut voice before encoding, None where it
    is silent; below the rule's loudness only where the peak did not allow more.
    """

    path: Path
    length_s: float
    num_frames: int
    gain_db: float
    loudness_before_lufs: float | None
    loudness_lufs: float | None
    peak_dbfs: float | None


def write_dub(
    face_path: str | Path,
    voice_path: str | Path,
    out_path: str | Path,
    length_s: float,
    rule: DubRule | None = None,
    *,
    face_start_s: float = 0.0,
    voice_start_s: float = 0.0,
) -> Dub:
    """Write an MP4 of `face_path`'s pictures and `voice_path`'s sound, whole or not at all.

    The bytes depend on nothing but the pictures, the sound, the rule and the encoders' versions:
    no date, no name and nothing else of the sources gets into the file.

    Args:
        face_path: a file with pictures; its own sound is not read.
        voice_path: a file with sound; may be the same.
        out_path: ends in .mp4; an older file is replaced.
        length_s: to which both are cut, at least 0.4 s.
        rule: see `DubRule`.
        face_start_s, voice_start_s: media time at which each clip begins in its file.

    Raises:
        ConfigError: the length is too short, the ending is not .mp4, or an encoder is unknown.
        NoStreamError: no pictures in the one, or no sound in the other.
        MediaError: a file ends more than 50 ms before `length_s`, or can't be read; named.
    """
    pictures = encode_pictures(face_path, length_s, rule, start_s=face_start_s)
    return join_dub(pictures, voice_path, out_path, rule, voice_start_s=voice_start_s)


def join_dub(
    pictures: Pictures,
    voice_path: str | Path,
    out_path: str | Path,
    rule: DubRule | None = None,
    *,
    voice_start_s: float = 0.0,
) -> Dub:
    """`write_dub` with pictures that are encoded already (by the same rule)."""
    rule, out_path, length_s = rule or DubRule(), Path(out_path), pictures.length_s
    if out_path.suffix.lower() != ".mp4":
        raise ConfigError(f"{out_path}: dubs are MP4 files; let the name end in .mp4")
    check_length(length_s)
    voice = _read_voice(Path(voice_path), voice_start_s, length_s)
    voice, gain_db, before_lufs = _even_out(voice, rule)
    part = out_path.with_name(out_path.name + ".part")
    out_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        _mux(part, pictures, voice, rule)
        part.replace(out_path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
    return Dub(
        path=out_path,
        length_s=length_s,
        num_frames=pictures.num_frames,
        gain_db=gain_db,
        loudness_before_lufs=before_lufs,
        loudness_lufs=integrated_loudness_lufs(voice, SAMPLE_RATE_HZ),
        peak_dbfs=peak_dbfs(voice),
    )


def read_sound(path: Path, start_s: float = 0.0, length_s: float = math.inf) -> FloatArray:
    """The file's sound (N,) at 16 kHz from `start_s` on, at most `length_s` of it.

    Raises:
        NoStreamError, MediaError: see `read_audio`.
    """
    start = round(start_s * SAMPLE_RATE_HZ)
    end = math.inf if length_s == math.inf else start + round(length_s * SAMPLE_RATE_HZ)
    pieces: list[FloatArray] = [np.zeros(0, np.float32)]
    position = 0
    for block in read_audio(path):
        last = max(0, int(min(end - position, len(block.samples))))
        pieces.append(block.samples[max(0, start - position) : last])
        position += len(block.samples)
        if position >= end:
            break
    return np.concatenate(pieces)


def _read_voice(path: Path, start_s: float, length_s: float) -> FloatArray:
    samples = read_sound(path, start_s, length_s)
    wanted = round(length_s * SAMPLE_RATE_HZ)
    if len(samples) < wanted - MAX_MISSING_S * SAMPLE_RATE_HZ:
        raise too_short(path, "sound", len(samples) / SAMPLE_RATE_HZ, length_s)
    return np.pad(samples, (0, wanted - len(samples)))


def _even_out(voice: FloatArray, rule: DubRule) -> tuple[FloatArray, float, float | None]:
    """Faded and brought to the rule's loudness; the gain, and the loudness before."""
    before_lufs = integrated_loudness_lufs(voice, SAMPLE_RATE_HZ)
    voice = voice.copy()
    count = min(round(rule.fade_ms / 1000 * SAMPLE_RATE_HZ), len(voice) // 2)
    if count:
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
        voice[:count] *= ramp
        voice[-count:] *= ramp[::-1]
    faded_lufs, peak = integrated_loudness_lufs(voice, SAMPLE_RATE_HZ), peak_dbfs(voice)
    if faded_lufs is None or peak is None:
        return voice, 0.0, before_lufs
    gain_db = min(rule.loudness_lufs - faded_lufs, rule.peak_dbfs - peak)
    return np.asarray(voice * 10 ** (gain_db / 20), np.float32), gain_db, before_lufs


def _mux(path: Path, pictures: Pictures, voice: FloatArray, rule: DubRule) -> None:
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        av.open(io.BytesIO(pictures.content)) as source,
        av.open(str(path), "w", format="mp4", options=options) as output,
    ):
        video = output.add_stream_from_template(source.streams.video[0])
        audio = _add_audio(output, rule)
        streams = [_copied(source, video), _encoded(audio, voice)]
        for packet in heapq.merge(*streams, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)


def _add_audio(output: OutputContainer, rule: DubRule) -> Any:
    stream = add_stream(output, rule.audio_codec, "audio_codec", SAMPLE_RATE_HZ)
    stream.layout = "mono"
    stream.bit_rate = rule.audio_bit_rate_bps
    stream.codec_context.flags |= Flags.bitexact
    return stream


def _copied(source: Any, stream: Any) -> Iterator[Any]:
    for packet in source.demux(video=0):
        if packet.size > 0:  # The demuxer ends with an empty one.
            packet.stream = stream
            yield packet


def _encoded(stream: Any, voice: FloatArray) -> Iterator[Any]:
    for start in range(0, len(voice), _AUDIO_FRAME):
        piece = np.ascontiguousarray(voice[None, start : start + _AUDIO_FRAME])
        frame = AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
        frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)
