"""Containers: every one that can be written, cut short, patched together, or not one at all."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from faults.case import AS_PLAIN, CUT, ENCODED, HEARD_ONLY, REFUSED, Case, Expect, refused
from faults.film import Sound, remux
from faults.studio import LENGTH_S, Studio, cut, find_box, resize_box

FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
FASTSTART = {"movflags": "faststart"}
INDEX_LOST = refused("index is missing", "cut off")
TEXT = refused("but text", "give the recording itself")
PLAYLIST = refused("is a playlist", "Give the recording that it names")
NO_MEDIA = refused("is not a video or audio file", "Check that it plays")


def _copied(ending: str, **how: Any) -> Callable[[Studio, Path], Path]:
    """The plain clip's packets in another container."""

    def make(studio: Studio, folder: Path) -> Path:
        source = studio.plain_file(folder.parent / "source.mp4")
        path = remux(source, folder / f"clip{ending}", **how)
        source.unlink()
        return path

    return make


def _encoded(
    ending: str, video: dict[str, Any], audio: dict[str, Any], **how: Any
) -> Callable[[Studio, Path], Path]:
    def make(studio: Studio, folder: Path) -> Path:
        tracks = (studio.pictures(**video), studio.sound(**audio))
        return studio.write(folder / f"clip{ending}", *tracks, **how)

    return make


def _heard(ending: str, codec: str, rate_hz: int = 24_000, **how: Any) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        sound = studio.sound(rate_hz, codec=codec, **how)
        return studio.write(folder / f"clip{ending}", sound)

    return make


def _bytes(name: str, content: Callable[[Studio], bytes]) -> Callable[[Studio, Path], Path]:
    def make(studio: Studio, folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content(studio))
        return path

    return make


def _cut(ending: str, share: float) -> Callable[[Studio, Path], Path]:
    return _bytes(f"clip{ending}", lambda studio: cut(studio.plain(ending), share))


def _variant(studio: Studio, name: str, **options: str) -> bytes:
    return studio.once(name, lambda path: studio.write(path, options=options))


def _fast(studio: Studio) -> bytes:
    return _variant(studio, "fast.mp4", **FASTSTART)


def _fragments(studio: Studio) -> bytes:
    return _variant(studio, "fragments.mp4", **FRAGMENTED)


def _named(name: str, ending: str) -> Callable[[Studio, Path], Path]:
    """The plain clip of one container by the name of another."""
    return _bytes(name, lambda studio: studio.plain(ending))


def _picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(file, form)
    return file.getvalue()


def _zip(studio: Studio) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("clip.mp4", studio.plain())
    return file.getvalue()


def _unknown_sizes(studio: Studio) -> bytes:
    """Matroska whose segment and clusters don't say how long they are, as live recorders write."""
    return studio.once("live.mkv", lambda path: studio.write(path, options={"live": "1"}))


def _two(first: str, second: str) -> Callable[[Studio], bytes]:
    return lambda studio: studio.plain(first) + studio.plain(second)


def _shifted_edit(studio: Studio, folder: Path) -> Path:
    """Sound half a second before the picture, which MP4 tells by edit lists."""
    voice = np.concatenate([np.zeros(12_000, np.float32), studio.glad])
    pictures = studio.pictures(times_s=[0.5 + k / 25 for k in range(len(studio.frames))])
    return studio.write(folder / "clip.mp4", pictures, Sound(voice, 24_000))


def _cut_at(share: float) -> Expect:
    return replace(CUT, length_s=LENGTH_S * share)


WRITTEN = (
    Case("mp4-h264-aac", "MP4 as most programs write it", _copied(".mp4"), AS_PLAIN, is_quick=True),
    Case(
        "mp4-faststart", "index first, as for the web", _copied(".mp4", options=FASTSTART), AS_PLAIN
    ),
    Case(
        "mp4-fragmented",
        "MP4 in fragments, as of streams",
        _copied(".mp4", options=FRAGMENTED),
        AS_PLAIN,
    ),
    Case("mov", "QuickTime", _copied(".mov"), AS_PLAIN),
    Case("m4v", "MP4 as iTunes names it", _copied(".m4v", container="ipod"), AS_PLAIN),
    Case("f4v", "MP4 as Flash names it", _copied(".f4v", container="f4v"), AS_PLAIN),
    Case(
        "3gp",
        "of an old phone: H.263 at 176 × 144, AMR at 8 kHz",
        _encoded(
            ".3gp",
            {"codec": "h263", "size_px": (176, 144)},
            {"codec": "libopencore_amrnb", "rate_hz": 8000, "bits": 12_200},
        ),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case("3g2", "of an old phone, H.264 and AAC", _copied(".3g2", container="3g2"), AS_PLAIN),
    Case("ismv", "Smooth Streaming", _copied(".ismv", container="ismv"), AS_PLAIN),
    Case("mkv", "Matroska", _copied(".mkv"), AS_PLAIN, is_quick=True),
    Case(
        "mkv-unknown-sizes",
        "Matroska whose segment and clusters tell no length",
        _bytes("clip.mkv", _unknown_sizes),
        AS_PLAIN,
    ),
    Case("webm-vp8-opus", "WebM of a browser", _named("clip.webm", ".webm"), ENCODED),
    Case(
        "webm-vp9",
        "WebM with VP9",
        _encoded(".webm", {"codec": "libvpx-vp9"}, {"codec": "libopus"}),
        ENCODED,
    ),
    Case(
        "webm-no-duration",
        "WebM whose header states no length, as browsers record",
        _encoded(".webm", {"codec": "libvpx"}, {"codec": "libopus"}, options={"live": "1"}),
        ENCODED,
        seen_in="dmlc/decord#88, muaz-khan/RecordRTC#274",
        is_quick=True,
    ),
    Case(
        "mp4-av1-opus",
        "MP4 with AV1 and Opus",
        _encoded(".mp4", {"codec": "libsvtav1"}, {"codec": "libopus"}),
        ENCODED,
    ),
    Case(
        "mp4-hevc",
        "MP4 with HEVC, as phones record",
        _encoded(".mp4", {"codec": "libx265"}, {}),
        ENCODED,
        seen_in="meta-pytorch/torchcodec#179",
    ),
    Case(
        "avi-mpeg4-mp3",
        "AVI, which has no timestamps",
        _named("clip.avi", ".avi"),
        ENCODED,
        seen_in="vapoursynth/bestsource#127",
    ),
    Case(
        "avi-mjpeg-pcm",
        "AVI of a photo camera",
        _encoded(
            ".avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, {"codec": "pcm_s16le", "bits": None}
        ),
        ENCODED,
    ),
    Case("ts", "transport stream", _copied(".ts"), AS_PLAIN),
    Case(
        "m2ts",
        "transport stream of a camcorder",
        _copied(".m2ts", options={"mpegts_m2ts_mode": "1"}),
        AS_PLAIN,
    ),
    Case(
        "mpg",
        "MPEG-1 with Layer II",
        _encoded(".mpg", {"codec": "mpeg1video"}, {"codec": "mp2", "rate_hz": 48_000}),
        ENCODED,
    ),
    Case(
        "vob",
        "DVD: MPEG-2 with AC-3",
        _encoded(".vob", {"codec": "mpeg2video"}, {"codec": "ac3", "rate_hz": 48_000}),
        ENCODED,
    ),
    Case("flv", "Flash video", _named("clip.flv", ".flv"), ENCODED),
    Case(
        "wmv",
        "Windows Media",
        _encoded(".wmv", {"codec": "wmv2"}, {"codec": "wmav2", "rate_hz": 44_100}),
        ENCODED,
    ),
    Case(
        "asf-mpeg4",
        "ASF with MPEG-4",
        _encoded(".asf", {"codec": "msmpeg4"}, {"codec": "libmp3lame"}),
        ENCODED,
    ),
    Case(
        "mxf",
        "MXF of a broadcaster: MPEG-2 and PCM",
        _encoded(
            ".mxf", {"codec": "mpeg2video"}, {"codec": "pcm_s16le", "rate_hz": 48_000, "bits": None}
        ),
        ENCODED,
    ),
    Case("nut", "NUT", _copied(".nut"), AS_PLAIN),
    Case(
        "rm",
        "RealMedia",
        _encoded(".rm", {"codec": "rv20"}, {"codec": "ac3", "rate_hz": 44_100}),
        ENCODED,
    ),
    Case(
        "ogv",
        "Ogg with VP8 and FLAC",
        _encoded(".ogv", {"codec": "libvpx"}, {"codec": "flac", "bits": None}),
        ENCODED,
    ),
    Case(
        "mov-prores",
        "QuickTime with ProRes and 24-bit PCM, of an editor",
        _encoded(
            ".mov",
            {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
            {"codec": "pcm_s24le", "bits": None},
        ),
        ENCODED,
    ),
    Case(
        "mkv-ffv1-flac",
        "Matroska of an archive: FFV1 and FLAC",
        _encoded(".mkv", {"codec": "ffv1"}, {"codec": "flac", "bits": None}),
        ENCODED,
    ),
    Case(
        "mov-alac",
        "QuickTime with Motion JPEG and ALAC",
        _encoded(
            ".mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, {"codec": "alac", "bits": None}
        ),
        ENCODED,
    ),
)

SOUND_FILES = tuple(
    Case(ending[1:] + suffix, told, _heard(ending, codec, rate_hz, **how), HEARD_ONLY)
    for ending, suffix, told, codec, rate_hz, how in (
        (".wav", "", "PCM", "pcm_s16le", 24_000, {"bits": None}),
        (".w64", "", "Wave64 of an editor", "pcm_s16le", 24_000, {"bits": None}),
        (".aiff", "", "PCM of a Mac", "pcm_s16be", 24_000, {"bits": None}),
        (".caf", "", "Apple's container", "pcm_s16le", 24_000, {"bits": None}),
        (".au", "", "Sun's sound file", "pcm_mulaw", 8_000, {"bits": None}),
        (".flac", "", "FLAC", "flac", 24_000, {"bits": None}),
        (".ogg", "", "Opus in Ogg, of a messenger", "libopus", 24_000, {}),
        (".mp3", "", "MP3", "libmp3lame", 24_000, {}),
        (".m4a", "", "AAC in MP4, of a phone's recorder", "aac", 24_000, {}),
        (".aac", "", "AAC without container or timestamps", "aac", 24_000, {}),
        (".ac3", "", "AC-3 without container", "ac3", 48_000, {}),
        (".amr", "", "AMR of an old phone", "libopencore_amrnb", 8_000, {"bits": 12_200}),
        (".wma", "", "Windows Media Audio", "wmav2", 44_100, {}),
        (".tta", "", "True Audio", "tta", 24_000, {"bits": None}),
        (".wv", "", "WavPack", "wavpack", 24_000, {"bits": None}),
        (".mka", "", "Matroska with Vorbis's successor alone", "libopus", 24_000, {}),
    )
)

CUT_OFF = (
    *(
        Case(
            f"{ending[1:]}-cut-{round(100 * share)}",
            f"{told}, cut off after {round(100 * share)} % of its bytes",
            _cut(ending, share),
            expects,
            seen_in=seen_in,
            is_quick=is_quick,
        )
        for ending, share, told, expects, seen_in, is_quick in (
            (".mp4", 0.02, "MP4 with its index behind", INDEX_LOST, "", False),
            (".mp4", 0.3, "MP4 with its index behind", INDEX_LOST, "", False),
            (
                ".mp4",
                0.6,
                "MP4 with its index behind",
                INDEX_LOST,
                "jhj0517/Whisper-WebUI#415, epic-kitchens/epic-kitchens-download-scripts#23",
                True,
            ),
            (".mp4", 0.9, "MP4 with its index behind", INDEX_LOST, "anthwlock/untrunc#17", False),
            (".mkv", 0.02, "Matroska", Expect(("failed", "truncated"), length_s=None), "", False),
            (".mkv", 0.3, "Matroska", _cut_at(0.3), "", False),
            (".mkv", 0.6, "Matroska", CUT, "", True),
            (".mkv", 0.8, "Matroska", _cut_at(0.8), "", False),
            (".webm", 0.3, "WebM", _cut_at(0.3), "", False),
            (".webm", 0.6, "WebM", CUT, "", False),
            (".webm", 0.8, "WebM", _cut_at(0.8), "", False),
            (".avi", 0.3, "AVI", _cut_at(0.3), "", False),
            (".avi", 0.6, "AVI", CUT, "", False),
            (".avi", 0.9, "AVI", _cut_at(0.9), "", False),
            (".flv", 0.3, "Flash video", _cut_at(0.3), "", False),
            (".flv", 0.6, "Flash video", CUT, "", False),
            (
                ".ts",
                0.3,
                "transport stream, which states no length",
                replace(_cut_at(0.3), status=("ok", "truncated")),
                "",
                False,
            ),
            (
                ".ts",
                0.6,
                "transport stream, which states no length",
                replace(CUT, status=("ok", "truncated")),
                "",
                False,
            ),
        )
    ),
    Case(
        "mp4-fast-cut-5",
        "MP4 with its index in front, cut off soon behind it",
        _bytes("clip.mp4", lambda s: cut(_fast(s), 0.05)),
        Expect(("failed", "truncated")),
    ),
    Case(
        "mp4-fast-cut-30",
        "MP4 with its index in front, cut off at 30 %",
        _bytes("clip.mp4", lambda s: cut(_fast(s), 0.3)),
        _cut_at(0.3),
    ),
    Case(
        "mp4-fast-cut-60",
        "MP4 with its index in front, cut off at 60 %",
        _bytes("clip.mp4", lambda s: cut(_fast(s), 0.6)),
        CUT,
    ),
    Case(
        "mp4-fast-cut-90",
        "MP4 with its index in front, cut off at 90 %",
        _bytes("clip.mp4", lambda s: cut(_fast(s), 0.9)),
        _cut_at(0.9),
    ),
    Case(
        "mp4-fragments-cut-60",
        "MP4 in fragments, cut off in one of them",
        _bytes("clip.mp4", lambda s: cut(_fragments(s), 0.6)),
        Expect(("ok", "truncated", "failed")),
    ),
    Case(
        "mp4-index-cut",
        "MP4 cut off within its index",
        _bytes("clip.mp4", lambda s: s.plain()[: find_box(s.plain(), b"moov") + 300]),
        refused("Get the whole file"),
    ),
    Case(
        "wav-cut",
        "WAV cut off at 60 %",
        _bytes("clip.wav", lambda s: cut(_wav(s), 0.6)),
        Expect(("truncated",), face=False, voice=True, length_s=0.6 * LENGTH_S),
    ),
    Case(
        "wav-endless",
        "WAV whose header states 4 GB, as a pipe writes it",
        _bytes("clip.wav", lambda s: _endless(_wav(s))),
        HEARD_ONLY,
        seen_in="Borewit/music-metadata#707, naudio/NAudio#688",
    ),
    Case(
        "mp3-cut",
        "MP3 cut off at 60 %",
        _bytes("clip.mp3", lambda s: cut(_mp3(s), 0.6)),
        Expect(
            ("audio_only", "truncated"),
            face=False,
            voice=True,
            length_s=0.6 * LENGTH_S,
            within_s=0.3,
        ),
    ),
)


def _wav(studio: Studio) -> bytes:
    make = _heard(".wav", "pcm_s16le", bits=None)
    return studio.once("clip.wav", lambda path: make(studio, path.parent))


def _mp3(studio: Studio) -> bytes:
    make = _heard(".mp3", "libmp3lame")
    return studio.once("clip.mp3", lambda path: make(studio, path.parent))


def _endless(wav: bytes) -> bytes:
    at = wav.index(b"data") + 4
    endless = struct.pack("<I", 0xFFFFFFFF)
    return wav[:4] + endless + wav[8:at] + endless + wav[at + 4 :]


PATCHED = (
    Case(
        "header-cut",
        "MP4 without its first 32 bytes",
        _bytes("clip.mp4", lambda s: s.plain()[32:]),
        Expect(("failed", "ok", "truncated")),
    ),
    Case(
        "header-zeros",
        "MP4 with zeros over its first 64 bytes",
        _bytes("clip.mp4", lambda s: bytes(64) + s.plain()[64:]),
        Expect(("failed",)),
    ),
    Case(
        "mkv-header-cut",
        "Matroska without its first 64 bytes",
        _bytes("clip.mkv", lambda s: s.plain(".mkv")[64:]),
        Expect(("failed",)),
    ),
    Case(
        "trailing-zeros",
        "MP4 with 1 MB of zeros behind, as of a file system's rescue",
        _bytes("clip.mp4", lambda s: s.plain() + bytes(1 << 20)),
        AS_PLAIN,
    ),
    Case(
        "trailing-noise",
        "MP4 with noise behind",
        _bytes("clip.mp4", lambda s: s.plain() + np.random.default_rng(0).bytes(100_000)),
        AS_PLAIN,
    ),
    Case(
        "mkv-trailing-noise",
        "Matroska with noise behind",
        _bytes("clip.mkv", lambda s: s.plain(".mkv") + np.random.default_rng(0).bytes(100_000)),
        replace(AS_PLAIN, status=("ok", "truncated")),
    ),
    Case(
        "mkv-hole",
        "Matroska with zeros in its middle",
        _bytes("clip.mkv", lambda s: _hole(s.plain(".mkv"))),
        Expect(("truncated",), face=True, voice=True),
        seen_in="dmlc/decord#83",
    ),
    Case(
        "ts-hole",
        "transport stream with zeros in its middle",
        _bytes("clip.ts", lambda s: _hole(s.plain(".ts"))),
        Expect(("truncated",), length_s=LENGTH_S, within_s=0.3),
        seen_in="OpenBMB/MiniCPM-V#507",
    ),
    Case(
        "mp4-hole",
        "MP4 with zeros in the middle of its pictures",
        _bytes("clip.mp4", lambda s: _hole(s.plain())),
        Expect(("truncated",), length_s=LENGTH_S),
        seen_in="dmlc/decord#248",
    ),
    Case(
        "two-mp4-joined",
        "two MP4 files end to end: players show the first",
        _bytes("clip.mp4", _two(".mp4", ".mp4")),
        Expect(("ok", "truncated"), like_plain=0.05, length_s=LENGTH_S),
    ),
    Case(
        "two-ts-joined",
        "two transport streams end to end: both are read, times count on",
        _bytes("clip.ts", _two(".ts", ".ts")),
        Expect(("ok",), face=True, voice=True, length_s=2 * LENGTH_S, within_s=0.3),
    ),
    Case(
        "two-mkv-joined",
        "two Matroska files end to end",
        _bytes("clip.mkv", _two(".mkv", ".mkv")),
        Expect(("ok", "truncated"), face=True, voice=True),
    ),
    Case(
        "edit-list",
        "picture half a second after the sound, told by an edit list",
        _shifted_edit,
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S + 0.5),
    ),
    Case(
        "free-boxes",
        "MP4 with 1,000 empty boxes in front",
        _bytes("clip.mp4", lambda s: _with_free_boxes(_fast(s))),
        Expect(("ok", "failed", "truncated")),
    ),
    Case(
        "mdat-size-0",
        "the box of pictures says 0: up to the end",
        _bytes("clip.mp4", lambda s: resize_box(_fast(s), b"mdat", 0)),
        AS_PLAIN,
    ),
)


def _hole(content: bytes) -> bytes:
    at, size = len(content) // 2, len(content) // 20
    return content[:at] + bytes(size) + content[at + size :]


def _with_free_boxes(content: bytes) -> bytes:
    start = struct.unpack(">I", content[:4])[0]
    return content[:start] + struct.pack(">I4s", 8, b"free") * 1000 + content[start:]


NAMED = (
    Case(
        "wrong-ending",
        "Matroska by the name of an MP4",
        _named("clip.mp4", ".mkv"),
        AS_PLAIN,
        is_quick=True,
    ),
    Case(
        "wrong-ending-sound", "a film by the name of an MP3", _named("clip.mp3", ".mp4"), AS_PLAIN
    ),
    Case("no-ending", "MP4 without an ending", _named("clip", ".mp4"), AS_PLAIN),
    Case("double-ending", "MP4 called .mp4.txt", _named("clip.mp4.txt", ".mp4"), AS_PLAIN),
    Case(
        "upper-case-ending", "MP4 called .MP4, as cameras do", _named("CLIP.MP4", ".mp4"), AS_PLAIN
    ),
    Case(
        "part-ending",
        "a whole download still called .part",
        _named("clip.mp4.part", ".mp4"),
        AS_PLAIN,
    ),
)

NO_FILMS = (
    Case(
        "empty",
        "a file of no bytes",
        _bytes("clip.mp4", lambda _: b""),
        refused("empty", "Copy or download it again", kinds=("empty_media",)),
        is_quick=True,
    ),
    Case("one-byte", "a file of one byte", _bytes("clip.mp4", lambda _: b"\x00"), NO_MEDIA),
    Case(
        "zeros",
        "1 MB of zeros",
        _bytes("clip.mp4", lambda _: bytes(1 << 20)),
        NO_MEDIA,
    ),
    Case(
        "noise",
        "1 MB of noise",
        _bytes("clip.mp4", lambda _: np.random.default_rng(1).bytes(1 << 20)),
        REFUSED,
    ),
    Case(
        "text",
        "a text called .mp4",
        _bytes("clip.mp4", lambda _: b"no film\n" * 200),
        TEXT,
        is_quick=True,
    ),
    Case(
        "html",
        "a web page saved in place of the video",
        _bytes("clip.mp4", lambda _: b"<!doctype html><html><body>404</body></html>"),
        refused("but a web page", "give the recording itself"),
    ),
    Case("zip", "a film within a ZIP archive", _bytes("clip.mp4", _zip), REFUSED),
    Case(
        "playlist",
        "a playlist, which names other files",
        _bytes("clip.mp4", lambda _: b"#EXTM3U\n#EXTINF:4,\n/etc/hostname\n"),
        PLAYLIST,
        is_quick=True,
    ),
    Case(
        "hls-playlist",
        "a playlist of a stream",
        _bytes(
            "clip.m3u8",
            lambda _: (
                b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
            ),
        ),
        PLAYLIST,
    ),
    Case(
        "concat-script",
        "FFmpeg's list of files",
        _bytes("clip.mp4", lambda _: b"ffconcat version 1.0\nfile '/etc/hostname'\n"),
        PLAYLIST,
    ),
    Case(
        "jpeg-as-mp4",
        "a photo called .mp4",
        _bytes("clip.mp4", lambda _: _picture("JPEG")),
        refused("picture"),
    ),
    Case(
        "png",
        "a picture",
        _bytes("still.png", lambda _: _picture("PNG")),
        refused("picture"),
        seen_in="opencv/opencv#23808",
        is_quick=True,
    ),
    Case(
        "svg",
        "a drawing",
        _bytes("picture.svg", lambda _: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        REFUSED,
    ),
    Case(
        "pdf",
        "a document",
        _bytes("paper.pdf", lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n"),
        REFUSED,
    ),
    Case(
        "json",
        "a report of facevoice's own, named as a film",
        _bytes("clip.mp4", lambda _: b'{"schema": "facevoice.report"}'),
        TEXT,
    ),
    Case(
        "subtitles",
        "subtitles by the name of a film",
        _bytes("clip.mp4", lambda _: b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"),
        REFUSED,
    ),
)

CASES = (*WRITTEN, *SOUND_FILES, *CUT_OFF, *PATCHED, *NAMED, *NO_FILMS)
