"""By the hand of strangers: sizes that lie, too many of everything, texts that are programs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from faults.case import AS_PLAIN, Case, Expect, refused
from faults.film import Pictures, Sound
from faults.names import into_folder
from faults.studio import VOICE_HZ, Studio, find_box, resize_box

TYPED = Expect(
    ("failed", "ok", "truncated", "no_face", "audio_only", "video_only", "no_face_no_speech")
)
"""Any status will do, so long as it is one, and nothing is invented."""
NOTHING_THERE = replace(TYPED, face=False, voice=False)
MARKUP = "<script>alert(1)</script>"
ESCAPE = "\x1b[2J\x1b]0;owned\x07"
FORMULA = '=HYPERLINK("http://127.0.0.1/","x")'


def _bytes(content: Callable[[Studio], bytes], name: str = "clip.mp4") -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        (folder / name).write_bytes(content(studio))
        return folder / name

    return make


def _fast(studio: Studio) -> bytes:
    options = {"movflags": "faststart"}
    return studio.once("fast.mp4", lambda path: studio.write(path, options=options))


def _box(kind: bytes, size: int) -> Any:
    return _bytes(lambda studio: resize_box(_fast(studio), kind, size))


def _wide_box(size: int) -> Any:
    """A box in front whose length is given by eight bytes."""
    head = struct.pack(">I4sQ", 1, b"free", size)
    return _bytes(lambda studio: head + _fast(studio))


def _nested(depth: int) -> bytes:
    """Boxes within boxes, as deep as it gets."""
    content = b""
    for _ in range(depth):
        content = struct.pack(">I4s", len(content) + 8, b"moov") + content
    return struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 512) + content


def _count(kind: bytes, count: int, offset: int = 8) -> Any:
    """A table of the index that states another number of rows."""

    def content(studio: Studio) -> bytes:
        given = bytearray(_fast(studio))
        at = find_box(bytes(given), kind) + 4 + offset
        given[at : at + 4] = struct.pack(">I", count)
        return bytes(given)

    return _bytes(content)


def _filled(kind: bytes, byte: int, offset: int = 12, size: int = 64) -> Any:
    """A table of the index whose rows are all of one byte."""

    def content(studio: Studio) -> bytes:
        given = bytearray(_fast(studio))
        at = find_box(bytes(given), kind) + 4 + offset
        given[at : at + size] = bytes([byte]) * size
        return bytes(given)

    return _bytes(content)


def _ebml(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack(">Q", len(content) | 1 << 56) + content


MKV_HEAD = _ebml(b"\x1a\x45\xdf\xa3", _ebml(b"\x42\x82", b"matroska"))


def _mkv_of_tracks(count: int) -> bytes:
    """A Matroska file of nothing but tracks."""
    track = b"\xae\x8e\xd7\x82%s\x83\x81\x02\x86\x85A_AAC"
    tracks = b"".join(track % struct.pack(">H", 1 + k % 65_535) for k in range(count))
    return MKV_HEAD + _ebml(b"\x18\x53\x80\x67", _ebml(b"\x16\x54\xae\x6b", tracks))


def _mkv_nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = _ebml(b"\x1f\x43\xb6\x75", content)
    return MKV_HEAD + _ebml(b"\x18\x53\x80\x67", content)


def _mkv_number(element: bytes, value: bytes) -> Any:
    """The plain Matroska clip with another value for an element."""

    def content(studio: Studio) -> bytes:
        given = studio.plain(".mkv")
        at = given.index(element) + len(element)
        return given[:at] + value + given[at + len(value) :]

    return _bytes(content, "clip.mkv")


def _gif(width: int, height: int) -> bytes:
    """A picture that moves, of this size and one pixel's data."""
    frame = b"!\xf9\x04\x00\x0a\x00\x00\x00," + struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    frame += b"\x02\x02D\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + frame * 3 + b";"


def _png_film(width: int, height: int) -> Any:
    """QuickTime with one PNG picture that is large and packs to almost nothing."""

    def make(studio: Studio, folder: Path) -> Path:
        rows = zlib.compress(bytes((width + 1) * height), 9)
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        chunks = b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
        )
        path = folder / "clip.mov"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("png", rate=25)
            stream.width = stream.height = 64
            stream.pix_fmt = "gray"
            for number in range(3):
                packet = av.Packet(b"\x89PNG\r\n\x1a\n" + chunks)
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts = packet.dts = number
                packet.is_keyframe = True
                output.mux(packet)
        return path

    return make


def _told(ending: str = ".mkv", **metadata: str) -> Any:
    """Texts about the file and its tracks."""

    def make(studio: Studio, folder: Path) -> Path:
        named = {"title": metadata.get("title", ""), "language": metadata.get("language", "eng")}
        sound, other = studio.sound(metadata=named), replace(studio.sound(), metadata=named)
        tracks = (studio.pictures(metadata=named), sound, other)
        return studio.write(folder / f"clip{ending}", *tracks, metadata=metadata)

    return make


def _told_into_folder(title: str) -> Any:
    """A title of file and tracks; reports, tables and a page go into a folder."""

    def make(studio: Studio, folder: Path) -> list[str]:
        out = ["--out", str(folder.parent / "out"), "--format", "json,csv,html"]
        return [str(_told(title=title)(studio, folder)), *out]

    return make


def _not_utf_8(studio: Studio, folder: Path) -> Path:
    """Texts of an AVI in another coding, as old programs wrote them."""
    tracks = (studio.pictures(codec="mpeg4"), studio.sound(codec="libmp3lame"))
    path = studio.write(folder / "clip.avi", *tracks, metadata={"title": "AAAABBBB"})
    path.write_bytes(path.read_bytes().replace(b"AAAABBBB", b"caf\xe9\xff\xfe\x80B"))
    return path


def _chapters(studio: Studio, folder: Path) -> Path:
    path = folder / "clip.mkv"
    with av.open(str(path), "w") as output:
        packets = [studio.pictures().add_to(output), studio.sound().add_to(output)]
        output.set_chapters(
            [
                {
                    "id": k,
                    "start": 10 * k,
                    "end": 10 * k + 10,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": MARKUP},
                }
                for k in range(1000)
            ]
        )
        for packet in sorted(
            (p for one in packets for p in one), key=lambda p: p.dts * p.time_base
        ):
            output.mux(packet)
    return path


def _many_tracks(count: int) -> Any:
    """QuickTime with so many sound tracks of one packet each."""

    def make(studio: Studio, folder: Path) -> Path:
        short = np.zeros(1024, np.float32)
        sounds = [Sound(short, VOICE_HZ, codec="pcm_s16le", bits=None)] * count
        return studio.write(folder / "clip.mov", studio.pictures(), studio.sound(), *sounds)

    return make


def _noise_packets(studio: Studio, folder: Path) -> Path:
    """Both streams' packets are noise of the same length."""
    source = studio.plain_file(folder.parent / "source.mp4")
    rng = np.random.default_rng(0)
    path = folder / "clip.mkv"
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        copies = {s.index: output.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            noise = av.Packet(rng.bytes(packet.size))
            noise.time_base, noise.pts, noise.dts = packet.time_base, packet.pts, packet.dts
            noise.stream, noise.is_keyframe = copies[packet.stream_index], packet.is_keyframe
            output.mux(noise)
    source.unlink()
    return path


def _other_dimensions(width: int, height: int) -> Any:
    """Raw pictures of a size for which the file has no data."""

    def make(studio: Studio, folder: Path) -> Path:
        frames = [np.zeros((16, 16, 3), np.uint8)] * 25
        path = folder / "clip.avi"
        studio.write(path, Pictures(frames, codec="rawvideo", pix_fmt="bgr24"))
        content = path.read_bytes()
        at = content.index(b"strf") + 12
        path.write_bytes(content[:at] + struct.pack("<ii", width, height) + content[at + 8 :])
        return path

    return make


def _ts_of_programs(count: int) -> bytes:
    """Transport packets of so many streams, each of one packet of noise."""
    rng = np.random.default_rng(0)
    return b"".join(
        b"\x47"
        + struct.pack(">H", 0x4000 | pid % 0x1FFF)
        + b"\x10\x00\x00\x01\xe0"
        + rng.bytes(180)
        for pid in range(count)
    )


CASES = (
    Case(
        "box-size-0",
        "the index's box says 0: up to the end",
        _box(b"moov", 0),
        TYPED,
    ),
    Case(
        "box-size-1",
        "the index's box says that its length follows, and none does",
        _box(b"moov", 1),
        TYPED,
    ),
    Case("box-size-7", "the index's box is shorter than its own head", _box(b"moov", 7), TYPED),
    Case("box-size-4-gb", "the index's box says 4 GB", _box(b"moov", 2**32 - 1), TYPED),
    Case("inner-box-huge", "a track's box is longer than the index", _box(b"trak", 2**31), TYPED),
    Case("wide-box-0", "a box of eight bytes of length says 0", _wide_box(0), TYPED),
    Case(
        "wide-box-2^63",
        "a box of eight bytes of length says 2⁶³",
        _wide_box(2**63),
        TYPED,
    ),
    Case(
        "wide-box-max", "a box of eight bytes of length says 2⁶⁴ − 1", _wide_box(2**64 - 1), TYPED
    ),
    Case(
        "nested-boxes",
        "10,000 boxes within each other",
        _bytes(lambda _: _nested(10_000)),
        Expect(("failed",)),
        is_quick=True,
    ),
    Case(
        "nested-ebml",
        "5,000 elements of Matroska within each other",
        _bytes(lambda _: _mkv_nested(5_000), "clip.mkv"),
        Expect(("failed",)),
    ),
    Case(
        "100000-tracks",
        "Matroska of 100,000 tracks",
        _bytes(lambda _: _mkv_of_tracks(100_000), "clip.mkv"),
        Expect(("failed",)),
        is_quick=True,
    ),
    Case(
        "900-tracks",
        "Matroska of 900 tracks without content",
        _bytes(lambda _: _mkv_of_tracks(900), "clip.mkv"),
        Expect(("failed",)),
    ),
    Case("100-tracks", "100 empty sound tracks beside the voice", _many_tracks(100), AS_PLAIN),
    Case(
        "300-tracks",
        "300 empty sound tracks beside the voice, as no recording has",
        _many_tracks(300),
        refused("more than 256 streams", "into a file of their own"),
    ),
    Case(
        "8000-programs",
        "a transport stream of 8,000 streams of noise",
        _bytes(lambda _: _ts_of_programs(8_000), "clip.ts"),
        NOTHING_THERE,
    ),
    Case(
        "sizes-count",
        "the index says 4 billion pictures",
        _count(b"stsz", 2**32 - 1, offset=12),
        TYPED,
        is_quick=True,
    ),
    Case("times-count", "the index says 4 billion times", _count(b"stts", 2**32 - 1), TYPED),
    Case("chunks-count", "the index says 4 billion places", _count(b"stco", 2**32 - 1), TYPED),
    Case("runs-count", "the index says 4 billion runs", _count(b"stsc", 2**32 - 1), TYPED),
    Case("places-wild", "the index's places lie behind the file", _filled(b"stco", 0xFE), TYPED),
    Case(
        "sizes-wild", "the index's pictures are 4 GB each", _filled(b"stsz", 0xFF, offset=16), TYPED
    ),
    Case("times-wild", "the index's times are 4 billion each", _filled(b"stts", 0xFF), TYPED),
    Case("times-zero", "the index's times are all 0", _filled(b"stts", 0, size=8), TYPED),
    Case("edit-wild", "an edit list of wild numbers", _filled(b"elst", 0xFF, size=12), TYPED),
    Case("avcc-wild", "a codec's head of noise", _filled(b"avcC", 0xA5, offset=8, size=24), TYPED),
    Case(
        "esds-wild",
        "a sound codec's head of noise",
        _filled(b"esds", 0xA5, offset=8, size=24),
        TYPED,
    ),
    Case(
        "width-lies",
        "Matroska says 65,535 pixels across, the pictures are of 240",
        _mkv_number(b"\xb0\x81", b"\xff"),
        TYPED,
    ),
    Case(
        "raw-30000",
        "raw pictures of 30,000 × 30,000, for which there are no data",
        _other_dimensions(30_000, 30_000),
        NOTHING_THERE,
        is_quick=True,
    ),
    Case(
        "raw-negative", "raw pictures of a size below 0", _other_dimensions(-16, -16), NOTHING_THERE
    ),
    Case(
        "gif-65535",
        "GIF of 65,535 × 65,535",
        _bytes(lambda _: _gif(65_535, 65_535), "clip.gif"),
        NOTHING_THERE,
    ),
    Case(
        "gif-8000",
        "GIF of 8,000 × 8,000 and one pixel's data",
        _bytes(lambda _: _gif(8_000, 8_000), "clip.gif"),
        NOTHING_THERE,
    ),
    Case(
        "png-12000",
        "a film of PNG pictures of 12,000 × 12,000 that pack to 140 kB",
        _png_film(12_000, 12_000),
        NOTHING_THERE,
    ),
    Case(
        "noise-packets",
        "both streams' packets are noise",
        _noise_packets,
        NOTHING_THERE,
        is_quick=True,
    ),
    Case(
        "timescale-0",
        "the clock ticks 0 times a second",
        _count(b"mdhd", 0, offset=16),
        TYPED,
    ),
    Case(
        "timescale-max",
        "the clock ticks 4 billion times a second",
        _count(b"mdhd", 2**32 - 1, offset=16),
        TYPED,
    ),
    Case("title-markup", "titles of HTML", _told_into_folder(MARKUP), AS_PLAIN, into_folder),
    Case(
        "title-ansi", "titles of escape sequences", _told_into_folder(ESCAPE), AS_PLAIN, into_folder
    ),
    Case(
        "title-formula", "titles like formulas", _told_into_folder(FORMULA), AS_PLAIN, into_folder
    ),
    Case("title-1-mb", "titles of 1 MB", _told(title="x" * (1 << 20)), AS_PLAIN),
    Case("language-odd", "a language that is none", _told(language=MARKUP), AS_PLAIN),
    Case("language-1-mb", "a language of 1 MB", _told(language="x" * (1 << 20)), AS_PLAIN),
    Case("tags-1000", "1,000 tags", _told(**{f"tag{k}": "y" * 500 for k in range(1000)}), AS_PLAIN),
    Case(
        "tags-not-utf-8",
        "texts that are no UTF-8",
        _not_utf_8,
        replace(AS_PLAIN, like_plain=0.08),
        seen_in="PyAV-Org/PyAV#629, imageio/imageio#1059, Zulko/moviepy#2563",
    ),
    Case(
        "tags-unicode",
        "texts of many writings",
        _told(ending=".mp4", title="Žluťoučký кůň 访谈 😀"),
        AS_PLAIN,
        seen_in="PyAV-Org/PyAV#197",
    ),
    Case("chapters", "1,000 chapters with titles of HTML", _chapters, AS_PLAIN),
)
