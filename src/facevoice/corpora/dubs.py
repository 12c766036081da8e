"""How loud a sound is to people: integrated loudness by ITU-R BS.1770.

FFmpeg measures the same (filter `ebur128`), but hands its result on in a way that PyAV shows from
version 18 only; the tests compare the two.
"""

from __future__ import annotations

import contextlib
import csv
import heapq
import io
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame

from facevoice.corpora.manifest import Clip, clips_by_id
from facevoice.corpora.pairs import PAIR_COLUMNS, PairKind, TimedPair, pair_row
from facevoice.corpora.prepare import thread_pool, voice_source
from facevoice.errors import ConfigError, CorpusError, EvaluationError, MediaError, NoStreamError
from facevoice.evaluation.audits import AuditResult, audit_features, audit_scores
from facevoice.media.frames import read_frames
from facevoice.media.open import frame_rate_hz, open_source, packet_end_s, probe, ticks_to_s
from facevoice.media.sound import read_sound, sounding_span_s
from facevoice.people.detect import FaceDetector, align_crop, create_detector
from facevoice.records import SAMPLE_RATE_HZ, ByteArray, DoubleArray, FloatArray, Frame
from facevoice.settings import FacesConfig

BLOCK_S: Final = 0.4
"""Loudness is that of blocks of this length; a shorter sound has none."""
_STEP_S: Final = 0.1
_MOMENT_S: Final = 0.02
_ABSOLUTE_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_LU: Final = -10.0
# Long enough for the weighting filter to die away before the transform wraps around.
_PADDING_S: Final = 0.5


def integrated_loudness_lufs(samples: FloatArray, rate_hz: int) -> float | None:
    """Loudness of a mono sound (N,), full scale ±1; None where all is silence or it is too short.

    ITU-R BS.1770-4, annex 1: mean square of the K-weighted sound in blocks of 400 ms, each 100 ms
    after the last; of the blocks above −70 LUFS, those are averaged that are not more than 10 LU
    below their mean.
    """
    block, step = round(BLOCK_S * rate_hz), round(_STEP_S * rate_hz)
    if len(samples) < block:
        return None
    power = np.concatenate([[0.0], np.cumsum(_weigh(samples, rate_hz) ** 2)])
    starts = np.arange(0, len(samples) - block + 1, step)
    blocks = np.maximum(power[starts + block] - power[starts], 0.0) / block
    blocks = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
    if not len(blocks):
        return None
    gate = blocks.mean() * 10 ** (_RELATIVE_GATE_LU / 10)
    return _lufs(float(blocks[blocks > gate].mean()))


def peak_dbfs(samples: FloatArray) -> float | None:
    """The largest sample in dB of full scale; None where all is silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    return 20 * math.log10(peak) if peak > 0 else None


def _lufs(power: float) -> float:
    return -0.691 + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _weigh(samples: FloatArray, rate_hz: int) -> DoubleArray:
    """The K-weighted sound, by its frequency response."""
    size = 1 << (len(samples) + round(_PADDING_S * rate_hz)).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * _k_weighting(size, rate_hz)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(samples)], np.float64)


def _k_weighting(size: int, rate_hz: int) -> DoubleArray:
    """Response of the two filters of BS.1770, which states them as coefficients at 48 kHz.

    For other rates they are designed anew by the bilinear transform: a high shelf of 4 dB (the
    head) and a high pass at 38 Hz, with the parameters that give the stated coefficients at 48 kHz.
    """
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    gain, lift = 10 ** (3.999843853973347 / 20), 10 ** (3.999843853973347 * 0.4996667741545416 / 20)
    k, q = math.tan(math.pi * 1681.974450955533 / rate_hz), 0.7071752369554196
    shelf = _section(
        delay,
        (gain + lift * k / q + k * k, 2 * (k * k - gain), gain - lift * k / q + k * k),
        (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k),
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    poles = (1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k)
    # As in the standard, the zeros are not scaled by the first pole coefficient.
    high_pass = _section(delay, (poles[0], -2 * poles[0], poles[0]), poles)
    response: DoubleArray = shelf * high_pass
    return response


def _section(
    delay: DoubleArray, zeros: tuple[float, float, float], poles: tuple[float, float, float]
) -> DoubleArray:
    top = zeros[0] + zeros[1] * delay + zeros[2] * delay**2
    bottom = poles[0] + poles[1] * delay + poles[2] * delay**2
    ratio: DoubleArray = top / bottom
    return ratio


# How every dub is made, whatever face and voice express.

# Containers round the ends of their streams; so much may be missing (and is silence, or the last
# picture standing still).
MAX_MISSING_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class DubRule:
    """How every dub is made: matches, conflicts and originals alike.

    Picture and sound are both cut to the same length, counted from their starts. The pictures keep
    their own times. The sound is the mean of its channels at 16 kHz, all that analysis ever hears.
    """

    loudness_lufs: float = -23.0
    """Integrated loudness of the voice (ITU-R BS.1770), reached by one constant gain."""
    peak_dbfs: float = -1.0
    """The gain is lowered where the largest sample would exceed this."""
    fade_ms: float = 20.0
    """Sound fades in and out so long, so that no cut clicks."""
    audio_codec: str = "aac"
    """FFmpeg's name of the encoder; must suit MP4."""
    audio_bit_rate_bps: int = 64_000
    """Of the sound."""
    video_codec: str = "libx264"
    """FFmpeg's name of the encoder; must suit MP4 and know `crf` and `preset`."""
    video_crf: int = 18
    """Quality of the pictures; lower is better and larger."""
    video_preset: str = "veryfast"
    """Speed of the video encoder."""
    max_side_px: int = 640
    """Pictures are scaled down until their longer side is at most this."""

    def __post_init__(self) -> None:
        checks = {
            "loudness_lufs from -70 to 0": -70 < self.loudness_lufs < 0,
            "peak_dbfs from -30 to 0": -30 <= self.peak_dbfs <= 0,
            "fade_ms from 0 to 200": 0 <= self.fade_ms <= 200,
            "audio_bit_rate_bps from 8000 to 512000": 8000 <= self.audio_bit_rate_bps <= 512_000,
            "video_crf from 0 to 51": 0 <= self.video_crf <= 51,
            "max_side_px of at least 16": self.max_side_px >= 16,
        }
        for allowed, fine in checks.items():
            if not fine:
                value = getattr(self, allowed.split()[0])
                raise ConfigError(f"dub rule: needs {allowed}, got {value}")


def check_length(length_s: float) -> None:
    """Make sure that a dub of this length can have a loudness.

    Raises:
        ConfigError: it is too short.
    """
    if not BLOCK_S <= length_s < math.inf:
        raise ConfigError(f"length of a dub {length_s} s: needs at least {BLOCK_S} s")


def add_stream(
    output: OutputContainer, codec: str, setting: str, rate_hz: int | None = None
) -> Any:
    """A new stream of `output`; `setting` is the rule's name of the codec, for messages.

    Raises:
        ConfigError: the encoder is unknown, or not for this container.
    """
    try:
        return output.add_stream(codec, rate=rate_hz)
    except (av.FFmpegError, ValueError) as error:
        raise ConfigError(
            f"dub rule: {setting} = {codec!r} is no encoder that MP4 can take here ({error})"
        ) from error


# The pictures of a dub, encoded once for all voices that they meet.

TICKS_HZ: Final = 90_000
# All frames are wanted: the film is asked so often that none of them lies between two times.
_ASK_HZ: Final = 1000


@dataclass(frozen=True, slots=True)
class Pictures:
    """A face, cut and encoded: an MP4 without sound, in memory."""

    path: Path
    length_s: float
    num_frames: int
    content: bytes


def encode_pictures(
    path: str | Path, length_s: float, rule: DubRule | None = None, *, start_s: float = 0.0
) -> Pictures:
    """The pictures of `path` from `start_s` on, upright, at their own times, `length_s` long.

    The first one is there from the very beginning, also where the film starts a little later.

    Raises:
        ConfigError: the length is too short, or the encoder unknown.
        NoStreamError: no pictures inside.
        MediaError: the pictures end more than 50 ms before `length_s`, or can't be read.
    """
    rule, path = rule or DubRule(), Path(path)
    check_length(length_s)
    file = io.BytesIO()
    frames = _read_pictures(path, start_s, length_s, rule.max_side_px)
    first = next(frames)
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as output:
        stream = _add_video(output, first[1], rule)
        packets = list(_encode(stream, first, frames))
        # Without a length of its own, the last picture would be shown as long as the one before.
        packets[-1].duration = max(1, round(length_s * TICKS_HZ) - packets[-1].pts)
        output.mux(packets)
    return Pictures(path, length_s, len(packets), file.getvalue())


def too_short(path: Path, what: str, has_s: float, length_s: float) -> MediaError:
    """The error for a stream that ends too early."""
    return MediaError(
        path,
        f"its {what} ends after {max(0.0, has_s):.2f} s of the {length_s:.2f} s wanted.",
        "Prepare the manifest again, so that durations are those of the files.",
    )


def _read_pictures(
    path: Path, start_s: float, length_s: float, max_side_px: int
) -> Iterator[tuple[int, ByteArray]]:
    """Tick and picture (even sides) of all frames shown in the clip; the first one at tick 0."""
    info = probe(path)
    if info.video is None:
        raise NoStreamError(path, "holds no video.", "Name a file with pictures for the face.")
    times = (start_s + k / _ASK_HZ for k in range(math.ceil(length_s * _ASK_HZ)))
    tick, end_s = -1, start_s + length_s
    frame: Frame | None = None
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=max_side_px):
        since_s = frame.timestamp_s - start_s
        # Where pictures start later than sound, the first one is there from the beginning.
        tick = max(tick + 1, round(since_s * TICKS_HZ)) if tick >= 0 else 0
        yield tick, _even_sides(frame.rgb)
    shown_s = start_s if frame is None else frame.timestamp_s + 1 / info.video.frame_rate_hz
    if shown_s < end_s - MAX_MISSING_S:
        last = [end_s - MAX_MISSING_S]
        # A film of varying rate may rest on its last picture.
        if next(read_frames(path, last, tolerance_s=0.0, max_side_px=16), None) is None:
            raise too_short(path, "video", shown_s - start_s, length_s)


def _even_sides(rgb: ByteArray) -> ByteArray:
    """H.264 at 4:2:0 wants even sides: the last row or column is repeated."""
    rows, columns = rgb.shape[0] % 2, rgb.shape[1] % 2
    return np.pad(rgb, ((0, rows), (0, columns), (0, 0)), mode="edge") if rows or columns else rgb


def _add_video(output: OutputContainer, picture: ByteArray, rule: DubRule) -> Any:
    stream = add_stream(output, rule.video_codec, "video_codec")
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, TICKS_HZ)
    # More threads would cut the pictures up by the machine's number of processors; no frame waits
    # for a later one, so that both streams begin at 0 in every player.
    context.thread_count, context.max_b_frames = 1, 0
    context.flags |= Flags.bitexact
    context.options = {"crf": str(rule.video_crf), "preset": rule.video_preset}
    return stream


def _encode(
    stream: Any, first: tuple[int, ByteArray], others: Iterable[tuple[int, ByteArray]]
) -> Iterator[Any]:
    for tick, picture in itertools.chain([first], others):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, TICKS_HZ)
        yield from stream.encode(frame)
    yield from stream.encode(None)


# The picture of one clip with the sound of another, made by one rule whatever the two express.

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


# What a file gives away without looking at emotion: lengths, loudness, silences, sizes.

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


# How a mouth moves, and how well that goes with a voice: a score that knows nothing of emotion.
#
# Mouths move at the rate of syllables, and the loudness of speech goes up and down with them:
# C. Chandrasekaran et al., "The natural statistics of audiovisual speech", PLoS Computational Biology
# 5(7), 2009. No network is needed to hear whether a voice belongs to a picture.

MAX_LAG_S: Final = 0.2
"""Voices are tried up to so much earlier and later."""

_MAX_SIDE_PX: Final = 640
_DETECT_PERIOD_S: Final = 0.2
# Without any face for so long, what is between is not guessed.
_MAX_GAP_S: Final = 1.0
# Of an aligned crop: around the mouth, with the lips' whole way.
_CROP_PX: Final = 64
_MOUTH: Final = (slice(40, 56), slice(20, 44))
_CURVE_HZ: Final = 100
_ENVELOPE_S: Final = 0.025
_SMOOTH_MOTION: Final = 15
_SMOOTH_LEVEL: Final = 9
_SMOOTH_BEFORE_CHANGE: Final = 5
_LAG_STEP: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class MouthMotion:
    """Change of the mouth from frame to frame: `strength` (n,) at `times_s` (n,) of the clip.

    Empty where no face was found.
    """

    times_s: DoubleArray
    strength: DoubleArray


def mouth_motion(
    path: Path, detector: FaceDetector, start_s: float = 0.0, length_s: float = math.inf
) -> MouthMotion:
    """The mouth motion of the largest face, at the film's own frame rate.

    The face is sought five times a second; between, its landmarks go straight on, so that the
    detector's trembling is not taken for speech. Motion is the root of the RMS grey difference of
    the aligned mouth in successive frames.

    Args:
        path: a file with pictures.
        detector: finds the face.
        start_s, length_s: the part of the file that is the clip.

    Raises:
        MediaError: the file can't be read.
    """
    times_s: list[float] = []
    strength: list[float] = []
    before: tuple[float, DoubleArray] | None = None
    for time_s, mouth in _mouths(path, detector, start_s, length_s):
        if before is not None and time_s - before[0] <= _DETECT_PERIOD_S:
            difference = float(np.sqrt(np.mean((mouth - before[1]) ** 2)))
            times_s.append((time_s + before[0]) / 2)
            strength.append(math.sqrt(difference))
        before = (time_s, mouth)
    return MouthMotion(np.array(times_s), np.array(strength))


def sync_score(
    motion: MouthMotion, samples: FloatArray, length_s: float, max_lag_s: float = MAX_LAG_S
) -> float:
    """How well a mouth and a voice go together, in [-1, 1]; 0 where either has nothing to say.

    The correlation of the motion with the voice's level, and with the level's speed of change, the
    mean of both, at the best lag up to `max_lag_s`.

    Args:
        motion: of the cut picture, times counted from its start.
        samples: (N,) mono 16 kHz from the voice's start.
        length_s: of the cut; nothing beyond it counts.
        max_lag_s: see above.

    Raises:
        ValueError: the cut is not longer than twice the lag.
    """
    num_points, num_lags = int(length_s * _CURVE_HZ), int(max_lag_s * _CURVE_HZ)
    if num_points <= 2 * num_lags:
        raise ValueError(f"length_s = {length_s}: must be more than twice max_lag_s = {max_lag_s}")
    if not len(motion.times_s):
        return 0.0
    grid_s = np.arange(num_points) / _CURVE_HZ
    moves = _smooth(np.interp(grid_s, motion.times_s, motion.strength), _SMOOTH_MOTION)
    level = np.sqrt(_envelope(samples, num_points))
    change = np.abs(np.gradient(_smooth(level, _SMOOTH_BEFORE_CHANGE)))
    curves = [_smooth(level, _SMOOTH_LEVEL), _smooth(change, _SMOOTH_LEVEL)]
    scores = [
        float(np.mean([_correlation(moves, curve, lag) for curve in curves]))
        for lag in range(-num_lags, num_lags + 1, _LAG_STEP)
    ]
    return max(scores)


def moving_span_s(motion: MouthMotion, length_s: float) -> tuple[float, float]:
    """Start and end of all that moves at least half as much as the mouth ever does in the cut.

    Without motion, the end of the cut twice: it never moves.
    """
    grid_s = np.arange(int(length_s * _CURVE_HZ)) / _CURVE_HZ
    if not len(motion.times_s) or not len(grid_s):
        return length_s, length_s
    moves = _smooth(np.interp(grid_s, motion.times_s, motion.strength), _SMOOTH_MOTION)
    if moves.max() - moves.min() <= 1e-9:
        return length_s, length_s
    strong = np.flatnonzero(moves >= (moves.min() + moves.max()) / 2)
    return float(grid_s[strong[0]]), float(grid_s[strong[-1]])


def _mouths(
    path: Path, detector: FaceDetector, start_s: float, length_s: float
) -> Iterator[tuple[float, DoubleArray]]:
    """Time in the clip and grey mouth of each frame that shows a face."""
    count = math.ceil(min(length_s, 86_400.0) * _ASK_HZ)
    times = (start_s + k / _ASK_HZ for k in range(count))
    waiting: list[Frame] = []
    known: tuple[float, FloatArray] | None = None
    next_detect_s = -math.inf
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=_MAX_SIDE_PX):
        waiting.append(frame)
        if frame.timestamp_s < next_detect_s:
            continue
        next_detect_s = frame.timestamp_s + _DETECT_PERIOD_S
        landmarks = _largest_face(frame, detector)
        if landmarks is not None:
            now = (frame.timestamp_s, landmarks)
            if known is None or now[0] - known[0] > _MAX_GAP_S:
                waiting, known = waiting[-1:], now
            yield from _crop(waiting, known, now, start_s)
            waiting, known = [], now
        elif known is None or frame.timestamp_s - known[0] > _MAX_GAP_S:
            waiting = []
    if known is not None:
        yield from _crop(waiting, known, known, start_s)


def _largest_face(frame: Frame, detector: FaceDetector) -> FloatArray | None:
    found = detector.detect(frame.rgb)
    if not len(found):
        return None
    sizes = np.prod(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], axis=1)
    landmarks: FloatArray = found.landmarks_px[int(sizes.argmax())]
    return landmarks


def _crop(
    frames: list[Frame],
    before: tuple[float, FloatArray],
    after: tuple[float, FloatArray],
    start_s: float,
) -> Iterator[tuple[float, DoubleArray]]:
    span_s = after[0] - before[0]
    for frame in frames:
        share = 0.0 if span_s <= 0 else min(1.0, (frame.timestamp_s - before[0]) / span_s)
        landmarks = (1 - share) * before[1] + share * after[1]
        crop = align_crop(frame.rgb, landmarks.astype(np.float32), _CROP_PX)[_MOUTH]
        yield frame.timestamp_s - start_s, crop.mean(axis=2, dtype=np.float64)


def _envelope(samples: FloatArray, num_points: int) -> DoubleArray:
    """RMS over 25 ms around each point of the curve; silence beyond the samples."""
    step, half = SAMPLE_RATE_HZ // _CURVE_HZ, round(_ENVELOPE_S * SAMPLE_RATE_HZ / 2)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.arange(num_points) * step
    first, last = ((centres + sign * half).clip(0, len(samples)) for sign in (-1, 1))
    mean: DoubleArray = np.maximum(power[last] - power[first], 0.0) / (2 * half)
    return np.sqrt(mean)


def _smooth(curve: DoubleArray, width: int) -> DoubleArray:
    """Weighted mean over `width` points (odd); beyond its ends, the curve goes on level."""
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(curve, width // 2, "edge"), window / window.sum(), "valid")


def _correlation(moves: DoubleArray, curve: DoubleArray, lag: int) -> float:
    """Pearson's, of what overlaps when the voice is taken `lag` points earlier than it is."""
    x, y = (moves[lag:], curve[: len(curve) - lag]) if lag >= 0 else (moves[:lag], curve[-lag:])
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm > 1e-12 else 0.0


# Audits of dubs: whatever knows nothing of emotion must not tell conflicts from matches.
#
# Every face and every voice is in as many conflicts as matches, so no measure of one channel can
# tell anything. What could is how the two channels' measures go together: each audit therefore gets
# both, their differences, and all their products.

Row = list[float]
Side = Callable[["PairTraces"], Row]


@dataclass(frozen=True, slots=True)
class DubAudits:
    """What the audits found.

    before: of the clips as they were recorded; shows why they are cut and made equally loud;
    after: of the dubs; these must pass;
    beyond: of the dubs with the face's own sound beside them. No dub holds that sound, so that it
    can't give anything away; it tells what would be left if the face's own speech were known;
    sync_check: the synchrony score on originals (high) against matches (low). It must succeed,
    or the synchrony audit would prove nothing;
    parameters: the different coding parameters that the dubs' two streams have.
    """

    before: tuple[AuditResult, ...]
    after: tuple[AuditResult, ...]
    beyond: tuple[AuditResult, ...]
    sync_check: AuditResult
    parameters: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the dubs give nothing away, and the synchrony score works."""
        return all(audit.passed for audit in self.after) and self.sync_check.auroc.low > 0.5


def audit_dubs(traces: Sequence[PairTraces], *, num_resamples: int = 2000) -> DubAudits:
    """Audit dubbed pairs: matches against conflicts, and originals as a check.

    Raises:
        EvaluationError: a kind of pair is missing, or there is only one speaker.
    """
    kinds = np.array([trace.timed.pair.kind.value for trace in traces])
    for kind in PairKind:
        if kind.value not in kinds:
            raise EvaluationError(f"the audits of dubs need pairs of each kind; no {kind} is there")
    spliced = [trace for trace in traces if trace.timed.pair.kind is not PairKind.ORIGINAL]
    is_conflict = np.array([trace.timed.pair.is_conflict for trace in spliced])
    speakers = [trace.timed.pair.speaker for trace in spliced]

    def audit(name: str, face: Side, voice: Side) -> AuditResult:
        features = join_sides(spliced, face, voice)
        return audit_features(name, is_conflict, features, speakers, num_resamples=num_resamples)

    sync = np.array([trace.sync for trace in spliced])
    sync_audit = audit_scores("synchrony", is_conflict, sync, speakers, num_resamples=num_resamples)
    return DubAudits(
        before=tuple(audit(name, *sides) for name, sides in _BEFORE.items()),
        after=(
            *(audit(name, *sides) for name, sides in _AFTER.items()),
            sync_audit,
            audit("all together", _all_of_face, _all_of_voice),
        ),
        beyond=tuple(audit(name, *sides) for name, sides in _BEYOND.items()),
        sync_check=_check_sync(traces, num_resamples),
        parameters=tuple(sorted({_parameters_dub_audits(trace) for trace in traces})),
    )


def join_sides(traces: Sequence[PairTraces], face: Side, voice: Side) -> DoubleArray:
    """Features (n, k): of the face, of the voice, and of every two of them across.

    Measures are standardised, so that differences and products are of like things; a measure that
    is the same everywhere becomes 0.
    """
    a, b = (_standardise(np.array([side(trace) for trace in traces])) for side in (face, voice))
    across = [a[:, i] - b[:, j] for i in range(a.shape[1]) for j in range(b.shape[1])]
    products = [a[:, i] * b[:, j] for i in range(a.shape[1]) for j in range(b.shape[1])]
    return np.concatenate([a, b, np.stack(across, axis=1), np.stack(products, axis=1)], axis=1)


def _standardise(values: DoubleArray) -> DoubleArray:
    spread = values.std(axis=0)
    same = spread <= 1e-9 * np.maximum(1.0, np.abs(values).max(axis=0))
    result: DoubleArray = (values - values.mean(axis=0)) / np.where(same, 1.0, spread)
    return np.where(same, 0.0, result)


def _check_sync(traces: Sequence[PairTraces], num_resamples: int) -> AuditResult:
    wanted = [trace for trace in traces if trace.timed.pair.kind is not PairKind.CONFLICT]
    return audit_scores(
        "synchrony, originals against matches",
        [trace.timed.pair.kind is PairKind.ORIGINAL for trace in wanted],
        [trace.sync for trace in wanted],
        [trace.timed.pair.speaker for trace in wanted],
        limit=1.0,
        num_resamples=num_resamples,
    )


def _coding(packets: PacketTraces | None) -> Row:
    if packets is None:
        return [0.0, 0.0, 0.0]
    return [packets.bit_rate_bps, packets.packet_bytes_mean, packets.packet_bytes_std]


def _duration(packets: PacketTraces | None) -> Row:
    return [0.0 if packets is None else packets.duration_s]


def _loudness(sound: SoundTraces | None) -> Row:
    return [0.0, 0.0] if sound is None else [sound.loudness_lufs, sound.peak_dbfs]


def _silence(sound: SoundTraces | None) -> Row:
    return [0.0, 0.0] if sound is None else [sound.lead_s, sound.trail_s]


def _parameters_dub_audits(trace: PairTraces) -> str:
    streams = (trace.dub.video, trace.dub.audio)
    return "; ".join("none" if s is None else s.parameters for s in streams)


# Name → what is taken of the face and of the voice.
_BEFORE: Final[dict[str, tuple[Side, Side]]] = {
    "lengths of the recordings": (
        lambda t: _duration(t.face_film.video),
        lambda t: _duration(t.voice_file.audio),
    ),
    "loudness of the recordings": (
        lambda t: _loudness(t.face_film.sound),
        lambda t: _loudness(t.voice_file.sound),
    ),
    "silences of the recordings": (
        lambda t: _silence(t.face_film.sound),
        lambda t: _silence(t.voice_file.sound),
    ),
    "coding of the recordings": (
        lambda t: _coding(t.face_film.video),
        lambda t: _coding(t.voice_file.audio),
    ),
}
# What the picture of a dub can tell of loudness is how well it packs; of silences, a still mouth.
_AFTER: Final[dict[str, tuple[Side, Side]]] = {
    "lengths": (lambda t: _duration(t.dub.video), lambda t: _duration(t.dub.audio)),
    "loudness": (lambda t: _coding(t.dub.video), lambda t: _loudness(t.dub.sound)),
    "silences": (lambda t: [t.still_lead_s, t.still_trail_s], lambda t: _silence(t.dub.sound)),
    "coding": (lambda t: _coding(t.dub.video), lambda t: _coding(t.dub.audio)),
}
_BEYOND: Final[dict[str, tuple[Side, Side]]] = {
    "loudness, face's own sound known": (
        lambda t: _loudness(t.face_sound),
        lambda t: _loudness(t.dub.sound),
    ),
    "silences, face's own sound known": (
        lambda t: _silence(t.face_sound),
        lambda t: _silence(t.dub.sound),
    ),
}


def _all_of_face(trace: PairTraces) -> Row:
    still = [trace.still_lead_s, trace.still_trail_s]
    return [*_duration(trace.dub.video), *_coding(trace.dub.video), *still, trace.sync]


def _all_of_voice(trace: PairTraces) -> Row:
    dub = trace.dub
    sound = [*_loudness(dub.sound), *_silence(dub.sound)]
    return [*_duration(dub.audio), *_coding(dub.audio), *sound]


# Pairs as clips to watch: numbered blindly, the key kept apart from them.

CLIPS_FOLDER: Final = "clips"
KEY_FILE: Final = "key.csv"
RULE_FILE: Final = "rule.json"
_MIN_DIGITS: Final = 5

ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class NumberedPair:
    """A pair and the number that its clip goes by; the number tells nothing of the pair."""

    number: int
    file: str
    timed: TimedPair


@dataclass(frozen=True, slots=True)
class DubbingReport:
    """What `dub_pairs` came to: how many clips there are, and how many of them were made now.

    num_quieter: clips made now whose peak did not allow the rule's loudness.
    """

    folder: Path
    num_clips: int
    num_written: int
    num_quieter: int


def number_pairs(
    pairs: Sequence[TimedPair], seed: int = 0, limit: int | None = None
) -> tuple[NumberedPair, ...]:
    """Pairs in a random order, numbered from 1; the first `limit` of them."""
    order = np.random.default_rng([seed, len(pairs)]).permutation(len(pairs))[:limit]
    digits = max(_MIN_DIGITS, len(str(len(order))))
    return tuple(
        NumberedPair(number, f"{number:0{digits}d}.mp4", pairs[index])
        for number, index in enumerate(order.tolist(), start=1)
    )


def dub_pairs(
    pairs: Sequence[NumberedPair],
    clips: Sequence[Clip],
    folder: Path,
    rule: DubRule | None = None,
    *,
    jobs: int = 1,
    on_progress: ProgressCallback | None = None,
) -> DubbingReport:
    """Write `folder`/clips/00001.mp4 …, and the truth into `folder`/key.csv.

    Each clip is written whole or not at all; a later run with the same pairs and rule goes on
    where this one stopped. The clips' folder can be given to viewers as it is.

    Raises:
        CorpusError: the folder holds clips of other pairs or of another rule, or a clip is unknown
            or has no sound or picture.
        MediaError: a file can't be read, or is shorter than the pair's length; named.
    """
    rule = rule or DubRule()
    index = clips_by_id(list(clips))
    _claim(folder, pairs, rule)
    missing = [p for p in pairs if not (folder / CLIPS_FOLDER / p.file).is_file()]
    by_face: dict[tuple[str, float], list[NumberedPair]] = defaultdict(list)
    for pair in missing:
        by_face[pair.timed.pair.face_clip_id, pair.timed.length_s].append(pair)
    num_done, num_quieter = len(pairs) - len(missing), 0

    def dub_face(group: list[NumberedPair]) -> list[Dub]:
        return list(_dub_face(group, index, folder / CLIPS_FOLDER, rule))

    with thread_pool(jobs) as pool:
        for future in as_completed([pool.submit(dub_face, group) for group in by_face.values()]):
            dubs = future.result()
            num_done += len(dubs)
            num_quieter += sum(_is_quieter(dub, rule) for dub in dubs)
            if on_progress is not None:
                on_progress(num_done, len(pairs))
    return DubbingReport(folder, len(pairs), len(missing), num_quieter)


def key_text(pairs: Sequence[NumberedPair]) -> str:
    """The key as CSV: number and file of each clip, and its row of the table of pairs."""
    text = io.StringIO()
    rows = csv.DictWriter(text, ["number", "file", *PAIR_COLUMNS], lineterminator="\n")
    rows.writeheader()
    for pair in pairs:
        rows.writerow({"number": pair.number, "file": pair.file, **pair_row(pair.timed)})
    return text.getvalue()


def _claim(folder: Path, pairs: Sequence[NumberedPair], rule: DubRule) -> None:
    """Put key and rule into the folder; clips that lie there already must be of the same."""
    wanted = {KEY_FILE: key_text(pairs), RULE_FILE: json.dumps(asdict(rule), indent=1) + "\n"}
    clips = folder / CLIPS_FOLDER
    if clips.is_dir() and next(clips.glob("*.mp4"), None) is not None:
        for name, text in wanted.items():
            file = folder / name
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                raise CorpusError(
                    f"{clips}: holds clips that don't belong to these pairs ({name} differs); "
                    "choose another folder, or remove it"
                )
    clips.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        part = folder / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)


def _dub_face(
    group: Sequence[NumberedPair], index: dict[str, Clip], folder: Path, rule: DubRule
) -> Iterator[Dub]:
    """All dubs of one face; its pictures are encoded once."""
    face = _find(index, group[0].timed.pair.face_clip_id)
    if face.video_path is None:
        raise CorpusError(f"clip {face.clip_id!r} has no picture")
    length_s = group[0].timed.length_s
    pictures = encode_pictures(face.video_path, length_s, rule, start_s=face.video_start_s)
    for pair in group:
        voice = _find(index, pair.timed.pair.voice_clip_id)
        path, start_s = voice_source(pair.timed, voice)
        yield join_dub(pictures, path, folder / pair.file, rule, voice_start_s=start_s)


def _find(index: dict[str, Clip], clip_id: str) -> Clip:
    if clip_id not in index:
        raise CorpusError(f"clip {clip_id!r} of a pair is not in the manifest")
    return index[clip_id]


def _is_quieter(dub: Dub, rule: DubRule) -> bool:
    return dub.loudness_lufs is not None and dub.loudness_lufs < rule.loudness_lufs - 0.1


# Measures of dubbed pairs and of what they were made from; each source is measured once.

T = TypeVar("T")
R = TypeVar("R")
ProgressCallback_pair_traces = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class PairTraces:
    """All that was measured of a pair, before and after dubbing.

    face_film: the face's whole film;
    face_sound: the film's own sound, cut like the dub. It is not in the dub, but tells how loud,
    and when, this face was speaking;
    voice_file: the voice's whole file;
    dub: the dubbed clip;
    still_lead_s, still_trail_s: before the mouth begins to move much, and after it stops;
    sync: `sync_score` of the dub.
    """

    timed: TimedPair
    face_film: DubTraces
    face_sound: SoundTraces
    voice_file: DubTraces
    dub: DubTraces
    still_lead_s: float
    still_trail_s: float
    sync: float


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    film: DubTraces
    sound: SoundTraces
    motion: MouthMotion


def trace_pairs(
    pairs: Sequence[NumberedPair],
    clips: Sequence[Clip],
    folder: Path,
    *,
    jobs: int = 1,
    on_progress: ProgressCallback_pair_traces | None = None,
) -> tuple[PairTraces, ...]:
    """Measure the dubs that `dub_pairs` wrote to `folder`, and their sources.

    Raises:
        CorpusError: a clip is unknown, or has no picture or no sound.
        MediaError: a source or a dub can't be read; named.
    """
    index = clips_by_id(list(clips))
    report = on_progress or (lambda *_: None)
    config = FacesConfig()
    detector = create_detector(
        config.detector, min_face_px=config.min_face_px, min_score=config.min_score
    )
    face_keys = sorted({_face_key(pair) for pair in pairs})
    voices = {pair.number: _voice_path(pair, index) for pair in pairs}
    voice_paths = sorted(set(voices.values()))
    files = [folder / CLIPS_FOLDER / pair.file for pair in pairs]
    with thread_pool(jobs) as pool:

        def measure(what: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
            results = []
            for result in pool.map(work, items):
                results.append(result)
                report(len(results), len(items), what)
            return results

        measure_face = partial(_measure_face, index=index, detector=detector)
        faces = dict(zip(face_keys, measure("faces", measure_face, face_keys), strict=True))
        heard = dict(zip(voice_paths, measure("voices", measure_dub, voice_paths), strict=True))
        dubs = measure("dubs", measure_dub, files)

        def score(place: int) -> float:
            motion = faces[_face_key(pairs[place])].motion
            return sync_score(motion, read_sound(files[place]), pairs[place].timed.length_s)

        scores = measure("synchrony", score, range(len(pairs)))
    return tuple(
        _join(pair, faces[_face_key(pair)], heard[voices[pair.number]], dub, sync)
        for pair, dub, sync in zip(pairs, dubs, scores, strict=True)
    )


def _face_key(pair: NumberedPair) -> tuple[str, float]:
    return pair.timed.pair.face_clip_id, pair.timed.length_s


def _join(
    pair: NumberedPair, face: _Face, voice_file: DubTraces, dub: DubTraces, sync: float
) -> PairTraces:
    begins_s, stops_s = moving_span_s(face.motion, pair.timed.length_s)
    return PairTraces(
        timed=pair.timed,
        face_film=face.film,
        face_sound=face.sound,
        voice_file=voice_file,
        dub=dub,
        still_lead_s=begins_s,
        still_trail_s=pair.timed.length_s - stops_s,
        sync=sync,
    )


def _measure_face(key: tuple[str, float], index: dict[str, Clip], detector: FaceDetector) -> _Face:
    clip_id, length_s = key
    clip = _find_pair_traces(index, clip_id)
    if clip.video_path is None:
        raise CorpusError(f"clip {clip_id!r} has no picture")
    path, start_s = clip.video_path, clip.video_start_s
    return _Face(
        film=measure_dub(path),
        sound=measure_film_sound(path, start_s, length_s),
        motion=mouth_motion(path, detector, start_s, length_s),
    )


def _voice_path(pair: NumberedPair, index: dict[str, Clip]) -> Path:
    return voice_source(pair.timed, _find_pair_traces(index, pair.timed.pair.voice_clip_id))[0]


def _find_pair_traces(index: dict[str, Any], clip_id: str) -> Clip:
    if clip_id not in index:
        raise CorpusError(f"clip {clip_id!r} of a pair is not in the manifest")
    clip: Clip = index[clip_id]
    return clip
