"""Clocks: uneven, restarting, missing, absurd; lengths that headers state wrongly."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from faults.case import AS_PLAIN, ENCODED, Case, Expect
from faults.film import remux
from faults.studio import LENGTH_S, VOICE_HZ, Studio

BOTH = Expect(("ok",), face=True, voice=True, length_s=LENGTH_S)
# Segment, cluster and group of blocks of Matroska; its blocks, alone or in a group.
MASTERS = (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xa0")
BLOCKS = (b"\xa3", b"\xa1")
BOTH_DAMAGED = replace(BOTH, status=("ok", "truncated"))


def _at(times_s: Callable[[int], float], *, ending: str = ".mkv", **how: Any) -> Any:
    """The portrait's pictures at other times, in step with the voice."""

    def make(studio: Studio, folder: Path) -> Path:
        times = [times_s(k) for k in range(len(studio.frames))]
        times = [time_s for time_s in times if time_s < LENGTH_S]
        frames = [studio.frames[min(round(t * 25), len(studio.frames) - 1)] for t in times]
        pictures = studio.pictures(frames=frames, times_s=times, **how)
        return studio.write(folder / f"clip{ending}", pictures, studio.sound())

    return make


def _rate(rate_hz: Fraction | float, ending: str = ".mp4") -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        rate = Fraction(rate_hz).limit_denominator(1001)
        times = [float(k / rate) for k in range(round(LENGTH_S * rate))]
        frames = [studio.frames[min(round(t * 25), len(studio.frames) - 1)] for t in times]
        pictures = studio.pictures(frames=frames, rate_hz=rate)
        return studio.write(folder / f"clip{ending}", pictures, studio.sound())

    return make


def _shifted(shift_s: float, *, ending: str = ".mkv", options: dict[str, str] | None = None) -> Any:
    """Both streams begin elsewhere than at 0."""

    def make(studio: Studio, folder: Path) -> Path:
        times = [shift_s + k / 25 for k in range(len(studio.frames))]
        tracks = (studio.pictures(times_s=times), studio.sound(start_s=shift_s))
        return studio.write(folder / f"clip{ending}", *tracks, options=options)

    return make


def _stamped(change: Callable[[Any, int], bool | None], *, ending: str = ".mkv", **how: Any) -> Any:
    """Packets' timestamps changed; `change` gets each with its number in its stream."""

    def make(studio: Studio, folder: Path) -> Path:
        source = studio.plain_file(folder.parent / "source.mkv")
        counts: dict[int, int] = {}

        def count(packet: Any) -> bool | None:
            number = counts[packet.stream_index] = counts.get(packet.stream_index, -1) + 1
            return change(packet, number)

        path = remux(source, folder / f"clip{ending}", change=count, **how)
        source.unlink()
        return path

    return make


def _is_video(packet: Any) -> bool:
    return bool(packet.stream.type == "video")


def _move(packet: Any, ticks: int) -> None:
    packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks


def _leap(packet: Any, number: int) -> None:
    """Five seconds pass after 2 s, in both streams."""
    if float(packet.pts * packet.time_base) >= 2.0:
        _move(packet, round(5 / packet.time_base))


def _pictures_leap(packet: Any, number: int) -> bool:
    """No pictures for two seconds in the middle."""
    return not (_is_video(packet) and 0.8 <= float(packet.pts * packet.time_base) < 2.8)


def _sound_leaps(packet: Any, number: int) -> bool:
    return _is_video(packet) or not 0.8 <= float(packet.pts * packet.time_base) < 2.0


def _drift(packet: Any, number: int) -> None:
    """The pictures' clock runs 2 % fast."""
    if _is_video(packet):
        packet.pts, packet.dts = round(packet.pts * 1.02), round(packet.dts * 1.02)


def _one_wild(packet: Any, number: int) -> None:
    """One picture is stamped 90,000 seconds later."""
    if _is_video(packet) and number == 40:
        packet.pts += round(90_000 / packet.time_base)


def _short(num_frames: int, sound_s: float) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        frames = studio.frames[20 : 20 + num_frames]
        start = round(0.8 * VOICE_HZ)
        samples = studio.glad[start : start + round(sound_s * VOICE_HZ)]
        sound = replace(studio.sound(), samples=samples)
        return studio.write(folder / "clip.mp4", studio.pictures(frames=frames), sound)

    return make


def _lying_mkv(factor: float) -> Any:
    """Matroska whose header states another length."""

    def make(studio: Studio, folder: Path) -> Path:
        content = studio.plain(".mkv")
        at = content.index(b"\x44\x89\x88") + 3
        (length,) = struct.unpack(">d", content[at : at + 8])
        path = folder / "clip.mkv"
        path.write_bytes(content[:at] + struct.pack(">d", length * factor) + content[at + 8 :])
        return path

    return make


def _restamped(change: Callable[[int, int], int]) -> Any:
    """Matroska whose pictures' times are overwritten: `change(number, time_ms) -> time_ms`."""

    def make(studio: Studio, folder: Path) -> Path:
        content = bytearray(studio.plain(".mkv"))
        places = [at for track, at in _blocks(content, 0, len(content)) if track == 1]
        for number, at in enumerate(places):
            (time_ms,) = struct.unpack_from(">h", content, at)
            struct.pack_into(">h", content, at, change(number, time_ms))
        path = folder / "clip.mkv"
        path.write_bytes(content)
        return path

    return make


def _late_cluster(studio: Studio, folder: Path) -> Path:
    """Matroska, a cluster of which says that it begins a minute later, with all that is in it."""
    path = studio.write(
        folder / "clip.mkv",
        studio.pictures(),
        studio.sound(),
        options={"cluster_time_limit": "800"},
    )
    content = bytearray(path.read_bytes())
    clusters = [found.start() for found in re.finditer(b"\x1f\x43\xb6\x75", content)]
    at = content.index(b"\xe7", clusters[1]) + 1
    size = content[at] & 0x7F
    time_ms = int.from_bytes(content[at + 1 : at + 1 + size])
    content[at + 1 : at + 1 + size] = min(time_ms + 65_000, 256**size - 1).to_bytes(size)
    path.write_bytes(content)
    return path


def _late_sound(studio: Studio, folder: Path) -> Path:
    """An MPEG programme one of whose packets of sound says that it comes six minutes later."""
    path = studio.write(
        folder / "clip.mpg", studio.pictures(codec="mpeg2video"), studio.sound(codec="mp2")
    )
    content = bytearray(path.read_bytes())
    header = re.compile(b"\x00\x00\x01\xc0..\xff*[\x20-\x3f]", re.DOTALL)
    stamps = [found.end() for found in header.finditer(content)]
    # Bit 25 of a 90-kHz clock.
    content[stamps[len(stamps) // 2]] ^= 0b0000_1000
    path.write_bytes(content)
    return path


def _blocks(content: bytearray, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Track and place of the time of each block of Matroska."""
    while at < end:
        width = 9 - content[at].bit_length()
        kind = bytes(content[at : at + width])
        at += width
        width = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + width]) & ((1 << 7 * width) - 1)
        at += width
        if kind in MASTERS:
            yield from _blocks(content, at, min(end, at + size))
        elif kind in BLOCKS:
            yield content[at] & 0x7F, at + 1
        at += size


def _lying_mp4(factor: float) -> Any:
    """MP4 whose movie, track and media headers state another length."""

    def make(studio: Studio, folder: Path) -> Path:
        content = bytearray(studio.plain())
        for kind, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20)):
            at = content.find(kind)
            while at >= 0:
                place = slice(at + offset, at + offset + 4)
                (length,) = struct.unpack(">I", content[place])
                content[place] = struct.pack(">I", min(round(length * factor), 2**32 - 1))
                at = content.find(kind, at + 4)
        path = folder / "clip.mp4"
        path.write_bytes(content)
        return path

    return make


def _joined_restart(studio: Studio, folder: Path) -> Path:
    """Two transport streams whose clocks both begin at 100 s, as of a camcorder."""
    how = {"options": {"mpegts_copyts": "1"}, "ending": ".ts"}
    part = _shifted(100.0, **how)(studio, folder)
    content = part.read_bytes()
    part.write_bytes(content + content)
    return part


def _raw(studio: Studio, folder: Path) -> Path:
    return studio.write(folder / "clip.h264", studio.pictures())


CASES = (
    Case(
        "vfr",
        "pictures at uneven times, as phones record in the dark",
        _at(lambda k: k / 25 + 0.015 * (k % 2)),
        ENCODED,
        seen_in="Breakthrough/PySceneDetect#168, openmpf/openmpf#1313",
        is_quick=True,
    ),
    Case(
        "vfr-slows-down",
        "25, then 5 pictures a second",
        _at(lambda k: k / 25 if k < 40 else 1.6 + (k - 40) / 5),
        ENCODED,
        seen_in="dmlc/decord#26",
    ),
    Case(
        "vfr-mp4",
        "uneven times in MP4",
        _at(lambda k: k / 20 if k % 3 else k / 20 + 0.02, ending=".mp4"),
        ENCODED,
    ),
    Case(
        "1-fps",
        "one picture a second, of a screen share: too few to judge by, or the same face",
        _rate(1),
        Expect(("ok", "no_face"), voice=True, length_s=LENGTH_S, within_s=0.5),
    ),
    Case("5-fps", "five pictures a second, of a bad line", _rate(5), ENCODED),
    Case("240-fps", "240 pictures a second, of slow motion", _rate(240), ENCODED),
    Case("ntsc", "29.97 pictures a second", _rate(Fraction(30_000, 1001)), ENCODED),
    Case(
        "cinema", "23.976 pictures a second", _rate(Fraction(24_000, 1001)), ENCODED, is_quick=False
    ),
    Case("12.5-fps", "12.5 pictures a second", _rate(12.5), ENCODED),
    Case(
        "negative-start",
        "both clocks begin below 0",
        _shifted(-1.0, options={"avoid_negative_ts": "disabled"}),
        replace(BOTH_DAMAGED, length_s=None),
        seen_in="Kitware/dive#1300, WICG/video-rvfc#80",
    ),
    Case(
        "negative-start-mp4",
        "both clocks begin below 0 in MP4",
        _shifted(-0.5, ending=".mp4", options={"avoid_negative_ts": "disabled"}),
        replace(BOTH_DAMAGED, length_s=None),
    ),
    Case(
        "starts-at-10-h",
        "the clock begins at 10 h, as of a broadcast's recorder",
        _shifted(36_000.0),
        AS_PLAIN,
    ),
    Case(
        "starts-at-10-h-ts",
        "the same in a transport stream",
        _shifted(36_000.0, ending=".ts", options={"mpegts_copyts": "1"}),
        AS_PLAIN,
    ),
    Case(
        "clock-wraps",
        "a transport stream's clock runs over after 26.5 h, within the clip",
        _shifted(95_442.0, ending=".ts", options={"mpegts_copyts": "1"}),
        AS_PLAIN,
        seen_in="tvheadend/tvheadend#1876",
    ),
    Case(
        "clock-restarts",
        "two recordings of equal clocks joined: both are read",
        _joined_restart,
        replace(BOTH, length_s=2 * LENGTH_S, within_s=0.3),
    ),
    Case(
        "gap",
        "five seconds without anything in the middle",
        _stamped(_leap),
        replace(BOTH_DAMAGED, length_s=LENGTH_S + 5),
    ),
    Case(
        "pictures-gap",
        "two seconds without pictures in the middle",
        _stamped(_pictures_leap),
        BOTH_DAMAGED,
    ),
    Case(
        "sound-gap", "1.2 seconds without sound in the middle", _stamped(_sound_leaps), BOTH_DAMAGED
    ),
    Case(
        "drift",
        "the pictures' clock runs 2 % fast",
        _stamped(_drift),
        replace(ENCODED, length_s=LENGTH_S * 1.02),
    ),
    Case(
        "one-wild-stamp",
        "one picture is stamped a day late",
        _stamped(_one_wild, ending=".nut"),
        BOTH_DAMAGED,
        is_quick=True,
    ),
    Case(
        "stamps-backwards",
        "a second of pictures whose times run backwards",
        _restamped(lambda k, ms: 2000 - 40 * (k - 25) if 25 <= k < 50 else ms),
        BOTH_DAMAGED,
    ),
    Case(
        "stamps-equal",
        "all pictures at the same time",
        _restamped(lambda k, ms: 0),
        Expect(("ok", "truncated", "no_face"), voice=True, length_s=LENGTH_S),
    ),
    Case(
        "stamps-doubled",
        "every other picture at the time of the one before",
        _restamped(lambda k, ms: ms - 40 * (k % 2)),
        replace(BOTH_DAMAGED, like_plain=0.08),
    ),
    Case(
        "stamps-wild",
        "every tenth picture half a minute late",
        _restamped(lambda k, ms: 32_000 if k % 10 == 9 else ms),
        replace(BOTH_DAMAGED, length_s=None),
    ),
    Case(
        "cluster-late",
        "all of one cluster of Matroska is stamped a minute late",
        _late_cluster,
        BOTH_DAMAGED,
    ),
    Case(
        "sound-late",
        "one packet of an MPEG programme's sound is stamped six minutes late",
        _late_sound,
        BOTH_DAMAGED,
    ),
    Case(
        "one-picture-film",
        "one picture and 0.04 s of sound",
        _short(1, 0.04),
        Expect(outcomes=("insufficient",), face=False, voice=False),
        is_quick=True,
    ),
    Case(
        "0.3-s",
        "a film of 0.3 s: too short to judge",
        _short(8, 0.3),
        Expect(("no_face_no_speech", "ok", "no_speech"), outcomes=("insufficient",), length_s=0.33),
    ),
    Case(
        "1-s",
        "a film of 1 s",
        _short(25, 1.0),
        Expect(("ok", "no_speech"), face=True, length_s=1.0),
    ),
    Case(
        "header-10-times",
        "Matroska's header states ten times the length",
        _lying_mkv(10.0),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "header-tenth", "Matroska's header states a tenth of the length", _lying_mkv(0.1), AS_PLAIN
    ),
    Case(
        "header-nan",
        "Matroska's header states no number for a length",
        _lying_mkv(float("nan")),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "header-negative",
        "Matroska's header states a length below 0",
        _lying_mkv(-1.0),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "header-ages",
        "Matroska's header states a million years",
        _lying_mkv(1e13),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "mp4-header-10-times",
        "MP4's headers state ten times the length",
        _lying_mp4(10.0),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "mp4-header-tenth",
        "MP4's headers state a tenth of the length",
        _lying_mp4(0.1),
        replace(AS_PLAIN, length_s=None),
    ),
    Case(
        "mp4-header-0",
        "MP4's headers state no length",
        _lying_mp4(0.0),
        replace(AS_PLAIN, status=("truncated", "ok")),
    ),
    Case(
        "raw-no-stamps",
        "H.264 without container or timestamps",
        _raw,
        Expect(("video_only",), face=True, voice=False, length_s=LENGTH_S),
    ),
)
