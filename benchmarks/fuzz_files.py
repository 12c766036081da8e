"""Media files to be broken, and the ways to break them: each number names one broken file.

`make_seeds` encodes a talking portrait with a spoken sample into every container and codec that
PyAV writes and reads; `break_file` alters or splices them by a random generator alone.
"""

from __future__ import annotations

import contextlib
import heapq
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from benchmarks.priority import take_usual_turns
from PIL import Image
from tests.portraits import paint_talking

from facevoice.media.sound import read_sound

VOICE = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"
RATE_HZ = 16_000
FILM_S = 1.6
FILM_HZ = 10
SIDE_PX = 192
# Name, container, codecs of picture and sound, options of the container.
_KINDS: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
    ("h264.mp4", "mp4", "libx264", "aac", {}),
    ("fast.mp4", "mp4", "libx264", "aac", {"movflags": "faststart"}),
    ("pieces.mp4", "mp4", "libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ("hevc.mp4", "mp4", "libx265", "aac", {}),
    ("av1.mp4", "mp4", "libsvtav1", "libopus", {}),
    ("mpeg4.mp4", "mp4", "mpeg4", "libmp3lame", {}),
    ("alac.mov", "mov", "libx264", "alac", {}),
    ("prores.mov", "mov", "prores_ks", "pcm_s16le", {}),
    ("mjpeg.mov", "mov", "mjpeg", "pcm_s24le", {}),
    ("phone.3gp", "3gp", "mpeg4", "aac", {}),
    ("h264.mkv", "matroska", "libx264", "libopus", {}),
    ("live.mkv", "matroska", "libx264", "aac", {"live": "1"}),
    ("ffv1.mkv", "matroska", "ffv1", "flac", {}),
    ("ac3.mkv", "matroska", "mpeg2video", "ac3", {}),
    ("vp9.webm", "webm", "libvpx-vp9", "libopus", {}),
    ("vp8.webm", "webm", "libvpx", "vorbis", {}),
    ("live.webm", "webm", "libvpx", "libopus", {"live": "1"}),
    ("mpeg4.avi", "avi", "mpeg4", "libmp3lame", {}),
    ("mjpeg.avi", "avi", "mjpeg", "pcm_s16le", {}),
    ("msmpeg4.avi", "avi", "msmpeg4", "adpcm_ima_wav", {}),
    ("huff.avi", "avi", "huffyuv", "pcm_u8", {}),
    ("h264.ts", "mpegts", "libx264", "aac", {}),
    ("mpeg2.ts", "mpegts", "mpeg2video", "mp2", {}),
    ("mpeg1.mpg", "mpeg", "mpeg1video", "mp2", {}),
    ("mpeg2.vob", "vob", "mpeg2video", "ac3", {}),
    ("h264.flv", "flv", "libx264", "aac", {}),
    ("flv1.flv", "flv", "flv", "libmp3lame", {}),
    ("wmv2.wmv", "asf", "wmv2", "wmav2", {}),
    ("mpeg2.mxf", "mxf", "mpeg2video", "pcm_s16le", {}),
    ("mpeg4.nut", "nut", "mpeg4", "libmp3lame", {}),
    ("vp8.ogv", "ogg", "libvpx", "libopus", {}),
    ("rv10.rm", "rm", "rv10", "ac3", {}),
    ("vp9.ivf", "ivf", "libvpx-vp9", "", {}),
    ("moving.gif", "gif", "gif", "", {}),
    ("raw.h264", "h264", "libx264", "", {}),
    ("raw.hevc", "hevc", "libx265", "", {}),
    ("raw.m4v", "m4v", "mpeg4", "", {}),
    ("raw.mjpeg", "mjpeg", "mjpeg", "", {}),
    ("raw.obu", "obu", "libsvtav1", "", {}),
    ("plain.wav", "wav", "", "pcm_s16le", {}),
    ("float.wav", "wav", "", "pcm_f32le", {}),
    ("adpcm.wav", "wav", "", "adpcm_ms", {}),
    ("long.w64", "w64", "", "pcm_s16le", {}),
    ("sound.aiff", "aiff", "", "pcm_s16be", {}),
    ("sound.caf", "caf", "", "pcm_s16be", {}),
    ("sound.flac", "flac", "", "flac", {}),
    ("sound.mp3", "mp3", "", "libmp3lame", {}),
    ("sound.aac", "adts", "", "aac", {}),
    ("sound.m4a", "ipod", "", "aac", {}),
    ("sound.ac3", "ac3", "", "ac3", {}),
    ("sound.eac3", "eac3", "", "eac3", {}),
    ("sound.opus", "opus", "", "libopus", {}),
    ("sound.ogg", "ogg", "", "vorbis", {}),
    ("sound.oga", "ogg", "", "flac", {}),
    ("phone.amr", "amr", "", "libopencore_amrnb", {}),
    ("sound.au", "au", "", "pcm_mulaw", {}),
    ("sound.voc", "voc", "", "pcm_u8", {}),
    ("sound.tta", "tta", "", "tta", {}),
    ("sound.wv", "wv", "", "wavpack", {}),
    ("sound.sbc", "sbc", "", "sbc", {}),
    ("sound.mka", "matroska", "", "pcm_s16le", {}),
    ("sound.wma", "asf", "", "wmav2", {}),
)
_FORMATS = {
    "libsvtav1": "yuv420p",
    "prores_ks": "yuv422p10le",
    "mjpeg": "yuvj420p",
    "huffyuv": "yuv422p",
    "gif": "rgb8",
}
_OPTIONS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
    "libvpx": {"cpu-used": "8", "deadline": "realtime"},
    "vorbis": {"strict": "experimental"},
}
# Frame rates and sample rates that codecs insist on.
_FILM_HZ = {"mpeg1video": 25, "mpeg2video": 25}
_SOUND_HZ = {"libopencore_amrnb": 8000, "libopus": 48_000, "ac3": 48_000, "eac3": 48_000}
_RATES_HZ = {"mxf": 48_000, "vob": 48_000, "flv": 44_100, "asf": 44_100}


@dataclass(frozen=True, slots=True)
class Seed:
    """A sound file that others are made of."""

    name: str
    content: bytes


def make_seeds(folder: Path) -> list[Seed]:
    """Encode every kind into `folder`, unless it is there; those that PyAV can't write are left."""
    folder.mkdir(parents=True, exist_ok=True)
    sound = read_sound(VOICE, 0.2, FILM_S)
    seeds = []
    for name, container, video, audio, options in _KINDS:
        path = folder / name
        if not path.exists():
            part = folder / f"part-{name}"
            try:
                _encode(part, container, video, audio, options, sound)
            except (av.FFmpegError, ValueError) as error:
                print(f"{name}: can't be made here ({error})")
                part.unlink(missing_ok=True)
                continue
            part.rename(path)
        seeds.append(Seed(name, path.read_bytes()))
    return seeds


def _encode(
    path: Path, container: str, video: str, audio: str, options: dict[str, str], sound: np.ndarray
) -> None:
    packets: list[Iterator[Any]] = []
    with av.open(str(path), "w", format=container, options=options) as output:
        if video:
            rate = _FILM_HZ.get(video, FILM_HZ)
            stream: Any = output.add_stream(video, rate=rate)
            stream.width = stream.height = SIDE_PX
            stream.pix_fmt = _FORMATS.get(video, "yuv420p")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = _OPTIONS.get(video, {})
            if video in ("mpeg1video", "mpeg2video", "mpeg4", "wmv2", "msmpeg4", "flv", "rv10"):
                stream.codec_context.qmin = stream.codec_context.qmax = 4
            packets.append(_pictures(stream, rate))
        if audio:
            rate_hz = _RATES_HZ.get(container) or _SOUND_HZ.get(audio, RATE_HZ)
            stream = output.add_stream(audio, rate=rate_hz, layout=_layout(audio))
            stream.codec_context.options = _OPTIONS.get(audio, {})
            if audio == "wmav2":
                stream.bit_rate = 64_000
            packets.append(_sounds(stream, sound, rate_hz))
        for packet in heapq.merge(*packets, key=_dts_s):
            output.mux(packet)
    take_usual_turns()


def _layout(audio: str) -> str:
    return "stereo" if audio in ("vorbis", "mp2", "ac3", "wmav2") else "mono"


def _dts_s(packet: Any) -> float:
    return float((packet.dts or 0) * packet.time_base)


def _pictures(stream: Any, rate_hz: int) -> Iterator[Any]:
    for index in range(round(FILM_S * rate_hz)):
        whole = paint_talking(index, index / rate_hz)[20:212, 56:248]
        small = np.asarray(Image.fromarray(whole).resize((SIDE_PX, SIDE_PX)))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(small), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, rate_hz)
        yield from stream.encode(frame.reformat(format=stream.pix_fmt))
    yield from stream.encode(None)


def _sounds(stream: Any, sound: np.ndarray, rate_hz: int) -> Iterator[Any]:
    layout = stream.codec_context.layout.name
    num_channels = stream.codec_context.channels
    heard = np.interp(
        np.arange(round(FILM_S * rate_hz)) / rate_hz, np.arange(len(sound)) / RATE_HZ, sound
    )
    samples = np.tile(heard.astype(np.float32), (num_channels, 1))
    for start in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), start
        yield from stream.encode(frame)
    yield from stream.encode(None)


# What is done to them.

_NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 16_384, 32_768, 65_536)
_LARGE = (0xFFFFFF, 1_000_000, 90_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 360_000_000)
_HUGE = (2**63 - 1, 2**63, 2**64 - 1, 2**40, 10**12)
_FLOATS = (0.0, -1.0, 1e-9, 1e18, float("nan"), float("inf"), 3.6e5, 3.6e8)
_BOX_PARENTS = frozenset(
    b"moov trak mdia minf stbl edts udta mvex moof traf dinf meta ilst sinf".split()
)
_EBML_PARENTS = frozenset(
    (0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7,
     0x114D9B74, 0x4DBB, 0x1A45DFA3)
)  # fmt: skip
_RIFF_PARENTS = frozenset((b"RIFF", b"LIST", b"RIFX"))


@dataclass(frozen=True, slots=True)
class _Field:
    """A part of a file that a reader takes for a number or a name."""

    what: str
    start: int
    size: int


def break_file(seeds: list[Seed], seed: int, number: int) -> tuple[str, bytes, str]:
    """The broken file of a number: its name, its content, and what was done to which seed."""
    rng = random.Random(f"{seed}/{number}")
    chosen = rng.choice(seeds)
    content, done = bytearray(chosen.content), []
    if rng.random() < 0.15:
        other = rng.choice(seeds)
        content = _splice(rng, content, bytearray(other.content))
        done.append(f"tail of {other.name}")
    for _ in range(rng.choice((0, 1)) if done else rng.choice((1, 1, 1, 2, 3))):
        change = rng.choices(_CHANGES, _WEIGHTS)[0]
        told = change(rng, content)
        done.append(told or change.__name__.strip("_"))
    suffix = Path(chosen.name).suffix
    return f"{number:06d}{suffix}", bytes(content), f"{chosen.name}: {', '.join(done)}"


def _splice(rng: random.Random, head: bytearray, tail: bytearray) -> bytearray:
    return head[: rng.randrange(len(head) + 1)] + tail[rng.randrange(len(tail) + 1) :]


def _place(rng: random.Random, content: bytearray) -> int:
    """A random place, half of the time near one of the ends, where headers are."""
    size = max(1, len(content))
    near = min(size, 2048)
    return rng.choice(
        (
            rng.randrange(size),
            rng.randrange(size),
            rng.randrange(near),
            size - 1 - rng.randrange(near),
        )
    )


def _flip_bits(rng: random.Random, content: bytearray) -> str | None:
    for _ in range(rng.choice((1, 1, 2, 8, 50))):
        if content:
            content[_place(rng, content)] ^= 1 << rng.randrange(8)
    return None


def _random_run(rng: random.Random, content: bytearray) -> str | None:
    start = _place(rng, content)
    size = min(len(content) - start, rng.choice((1, 4, 16, 64, 1024)))
    content[start : start + size] = rng.randbytes(max(0, size))
    return None


def _zero_run(rng: random.Random, content: bytearray) -> str | None:
    start = _place(rng, content)
    size = min(len(content) - start, rng.choice((4, 64, 1024, len(content) // 10 + 1)))
    content[start : start + size] = bytes(max(0, size))
    return None


def _move_piece(rng: random.Random, content: bytearray) -> str | None:
    start = _place(rng, content)
    size = rng.choice((1, 4, 188, 1000, len(content) // 5 + 1))
    piece = content[start : start + size]
    what = rng.choice(("piece removed", "piece twice", "piece moved"))
    if what != "piece twice":
        del content[start : start + size]
    if what != "piece removed":
        place = _place(rng, content)
        content[place:place] = piece
    return what


def _cut_off(rng: random.Random, content: bytearray) -> str | None:
    del content[rng.randrange(len(content) + 1) :]
    return None


def _put_number(rng: random.Random, content: bytearray) -> str | None:
    start, size = _place(rng, content), rng.choice((1, 2, 4, 4, 8))
    content[start : start + size] = _number(rng, size)
    return None


def _lie_in_field(rng: random.Random, content: bytearray) -> str | None:
    fields = list(_fields(content))
    if not fields:
        return _put_number(rng, content)
    kinds = sorted({one.what for one in fields})
    what = rng.choice(kinds)
    one = rng.choice([one for one in fields if one.what == what])
    if one.size in (4, 8) and what.endswith("float"):
        content[one.start : one.start + one.size] = struct.pack(
            ">f" if one.size == 4 else ">d", rng.choice(_FLOATS)
        )
    else:
        content[one.start : one.start + one.size] = _number(rng, one.size)
    return f"lie in {what}"


_CHANGES = (
    _lie_in_field,
    _flip_bits,
    _random_run,
    _zero_run,
    _move_piece,
    _cut_off,
    _put_number,
)
_WEIGHTS = (40, 12, 8, 8, 12, 10, 10)


def _number(rng: random.Random, size: int) -> bytes:
    values = [v for v in (*_NUMBERS, *_LARGE, *_HUGE) if v < 1 << (8 * size)]
    value = rng.choice((*values, rng.randrange(1 << (8 * size))))
    return value.to_bytes(size, rng.choice(("big", "big", "little")))


def _fields(content: bytearray) -> Iterator[_Field]:
    """What a container's header and its pieces state, as far as they are still whole."""
    data = bytes(content)
    with contextlib.suppress(struct.error, IndexError):
        if data[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
            yield from _box_fields(data, 0, len(data))
        elif data[:4] == b"\x1aE\xdf\xa3":
            yield from _ebml_fields(data, 0, len(data))
        elif data[:4] in _RIFF_PARENTS:
            yield from _riff_fields(data, 0, len(data))
        elif data[:4] == b"OggS":
            yield from _ogg_fields(data)
        elif data[:3] == b"FLV":
            yield from _flv_fields(data)
        elif data[:1] == b"G" and data[188:189] == b"G":
            yield from _pes_fields(data)
        else:
            yield from (_Field("header", place, 4) for place in range(0, min(256, len(data)), 2))


def _box_fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        stop = min(end, start + size) if size >= 8 else end
        told = name.decode("latin-1")
        yield _Field(f"{told} size", start, 4)
        yield _Field(f"{told} name", start + 4, 4)
        if name in _BOX_PARENTS:
            yield from _box_fields(data, start + 8, stop)
        elif name == b"stsd":
            yield from _box_fields(data, start + 16, stop)
        elif name != b"mdat":
            yield from (
                _Field(told, place, 4) for place in range(start + 8, min(stop, start + 256) - 3, 2)
            )
        start = stop


def _ebml_fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    while start < end:
        id_size = _vint_size(data[start])
        ident = int.from_bytes(data[start : start + id_size])
        place = start + id_size
        size_size = _vint_size(data[place])
        size = int.from_bytes(data[place : place + size_size]) & ((1 << (7 * size_size)) - 1)
        is_open = size == (1 << (7 * size_size)) - 1
        body = place + size_size
        stop = end if is_open else min(end, body + size)
        yield _Field(f"{ident:X} size", place, size_size)
        yield _Field(f"{ident:X} name", start, id_size)
        if ident in _EBML_PARENTS:
            yield from _ebml_fields(data, body, stop)
        elif ident in (0xA3, 0xA1):
            yield _Field("block", body, 4)
        elif ident in (0x4489, 0xB5, 0x78B5):
            yield _Field(f"{ident:X} float", body, stop - body)
        elif stop > body:
            yield _Field(f"{ident:X}", body, min(8, stop - body))
        start = stop


def _vint_size(first: int) -> int:
    return 9 - max(1, first.bit_length())


def _riff_fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    while start + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, start)
        told = name.decode("latin-1")
        stop = min(end, start + 8 + size + size % 2)
        yield _Field(f"{told} size", start + 4, 4)
        yield _Field(f"{told} name", start, 4)
        if name in _RIFF_PARENTS:
            yield from _riff_fields(data, start + 12, stop)
        elif name in (b"avih", b"strh", b"strf", b"fmt ", b"idx1", b"fact"):
            limit = min(stop, start + 80)
            yield from (_Field(told, place, 4) for place in range(start + 8, limit - 3, 2))
        start = max(stop, start + 8)


def _ogg_fields(data: bytes) -> Iterator[_Field]:
    start = data.find(b"OggS")
    while start >= 0:
        yield _Field("granule", start + 6, 8)
        yield _Field("page number", start + 18, 4)
        yield _Field("segments", start + 26, 1)
        start = data.find(b"OggS", start + 4)


def _flv_fields(data: bytes) -> Iterator[_Field]:
    start = 13
    while start + 11 < len(data):
        size = int.from_bytes(data[start + 1 : start + 4])
        yield _Field("tag kind", start, 1)
        yield _Field("tag size", start + 1, 3)
        yield _Field("tag time", start + 4, 4)
        yield _Field("tag codec", start + 11, 1)
        if data[start] == 18:
            yield from (_Field("script", p, 8) for p in range(start + 11, start + 11 + size, 4))
        start += 15 + size


def _pes_fields(data: bytes) -> Iterator[_Field]:
    for start in range(0, len(data) - 188, 188):
        yield _Field("packet head", start + 1, 3)
        place = data.find(b"\x00\x00\x01", start + 4, start + 60)
        if place >= 0:
            yield _Field("stream id", place + 3, 1)
            yield _Field("times", place + 9, 5)
