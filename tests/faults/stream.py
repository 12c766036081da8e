"""Streams: too few, too many, of the wrong kind, or there for a part of the time only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from faults.case import AS_PLAIN, HEARD_ONLY, SEEN_ONLY, Case, Expect, refused
from faults.film import Pictures, Sound, remux
from faults.studio import LENGTH_S, VOICE_HZ, Studio

NOBODY_SEEN = Expect(("no_face",), face=False, voice=True, outcomes=("insufficient",))
NOTHING_SAID = Expect(("no_speech",), face=True, voice=False, outcomes=("insufficient",))


def _tracks(*made: Callable[[Studio], Pictures | Sound], ending: str = ".mkv", **how: Any) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        return studio.write(folder / f"clip{ending}", *(one(studio) for one in made), **how)

    return make


def _film(studio: Studio) -> Pictures:
    return studio.pictures()


def _voice(studio: Studio) -> Sound:
    return studio.sound()


def _voice_as(**how: Any) -> Callable[[Studio], Sound]:
    return lambda studio: studio.sound(**how)


def _silence(**how: Any) -> Callable[[Studio], Sound]:
    return lambda studio: replace(studio.sound(**how), samples=np.zeros_like(studio.glad))


def _other_voice(**how: Any) -> Callable[[Studio], Sound]:
    return lambda studio: replace(studio.sound(**how), samples=studio.frightened)


def _still(studio: Studio) -> Pictures:
    """A cover: one picture, flagged as one."""
    first = studio.frames[:1]
    return Pictures(first, "mjpeg", pix_fmt="yuvj420p", disposition=Disposition.attached_pic)


def _grey(**how: Any) -> Callable[[Studio], Pictures]:
    def make(studio: Studio) -> Pictures:
        frames = [np.full((240, 240, 3), 90 + k % 3, np.uint8) for k in range(90)]
        return Pictures(frames, **how)

    return make


def _part(first_s: float, last_s: float) -> Callable[[Studio], Pictures]:
    """The pictures of a part of the time, at their times."""

    def make(studio: Studio) -> Pictures:
        places = [k for k in range(len(studio.frames)) if first_s <= k / 25 < last_s]
        frames = [studio.frames[k] for k in places]
        return studio.pictures(frames=frames, times_s=[k / 25 for k in places])

    return make


def _words(first_s: float, last_s: float) -> Callable[[Studio], Sound]:
    """The voice of a part of the time, at its time."""

    def make(studio: Studio) -> Sound:
        first, last = round(first_s * VOICE_HZ), round(last_s * VOICE_HZ)
        return replace(studio.sound(), samples=studio.glad[first:last], start_s=first_s)

    return make


SUBTITLES = "1\n00:00:00,500 --> 00:00:03,000\nOh, that's wonderful!\n"


def _subtitled(studio: Studio, folder: Path, *tracks: Pictures | Sound) -> Path:
    """These tracks with subtitles beside them."""
    source = folder.parent / "source.srt"
    source.write_text(SUBTITLES)
    path = folder / "clip.mkv"
    with av.open(str(source)) as text, av.open(str(path), "w") as output:
        packets = [packet for track in tracks for packet in track.add_to(output)]
        copy = output.add_stream_from_template(text.streams[0])
        for packet in text.demux():
            if packet.dts is not None:
                packet.stream = copy
                packets.append(packet)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)
    source.unlink()
    return path


def _attached(studio: Studio, folder: Path) -> Path:
    """A font beside the film, as subtitled films have it."""
    path = folder / "clip.mkv"
    with av.open(str(path), "w") as output:
        packets = [studio.pictures().add_to(output), studio.sound().add_to(output)]
        output.add_attachment("font.ttf", "application/x-truetype-font", bytes(5000))
        for packet in sorted(
            (p for one in packets for p in one), key=lambda p: p.dts * p.time_base
        ):
            output.mux(packet)
    return path


def _unknown_codecs(*names: bytes) -> Any:
    """Codecs of Matroska called by names that nobody knows."""

    def make(studio: Studio, folder: Path) -> Path:
        path, content = folder / "clip.mkv", studio.plain(".mkv")
        for name in names:
            content = content.replace(name, name[:2] + b"Z" * len(name[2:]))
        path.write_bytes(content)
        return path

    return make


def _only(kind: str, ending: str) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        source = studio.plain_file(folder.parent / "source.mp4")
        path = remux(source, folder / f"clip{ending}", kinds=(kind,))
        source.unlink()
        return path

    return make


def _no_packets(studio: Studio, folder: Path) -> Path:
    """A recording that was stopped at once: streams are declared, nothing is in them."""
    source = studio.plain_file(folder.parent / "source.mp4")
    path = remux(source, folder / "clip.mkv", change=lambda _: False)
    source.unlink()
    return path


def _many_tracks(studio: Studio, folder: Path) -> Path:
    short = studio.glad[: VOICE_HZ // 2]
    silent = [Sound(np.zeros_like(short), VOICE_HZ) for _ in range(30)]
    return studio.write(folder / "clip.mkv", studio.pictures(), studio.sound(), *silent)


def _both_streams(kind: str) -> Any:
    def make(studio: Studio, folder: Path) -> Path:
        path = folder / "clip.mkv"
        film = studio.pictures()
        thumb = replace(film, frames=[f[::8, ::8] for f in film.frames], codec="mpeg4")
        first, second = (film, thumb) if kind == "film first" else (_grey()(studio), film)
        return studio.write(path, first, second, studio.sound())

    return make


HEARS_THE_VOICE = replace(AS_PLAIN, outcomes=("match",))

CASES = (
    Case(
        "no-sound",
        "a film without sound",
        _only("video", ".mp4"),
        SEEN_ONLY,
        seen_in="thewh1teagle/vibe#1127",
    ),
    Case(
        "no-pictures",
        "sound alone in a film's container",
        _only("audio", ".mp4"),
        HEARD_ONLY,
        is_quick=True,
    ),
    Case("no-packets", "streams are declared, and nothing is in them", _no_packets, refused()),
    Case(
        "cover-first",
        "sound with a cover picture",
        _tracks(_still, _voice, ending=".mp4"),
        HEARD_ONLY,
        seen_in="opencast/opencast#3694",
    ),
    Case(
        "cover-mp3",
        "an MP3 with a cover picture",
        _tracks(_still, _voice_as(codec="libmp3lame"), ending=".mp3"),
        HEARD_ONLY,
        seen_in="simonh10/ffprobe#1",
    ),
    Case(
        "cover-in-film",
        "a film with a cover picture",
        _tracks(_film, _voice, _still, ending=".mp4"),
        AS_PLAIN,
        seen_in="UltraStar-Deluxe/USDX#948",
    ),
    Case(
        "silent-first-track",
        "two sound tracks, the first one silent, as screen recorders write",
        _tracks(_film, _silence(), _voice_as(disposition=Disposition(0))),
        HEARS_THE_VOICE,
        seen_in="SubtitleEdit/subtitleedit#6110",
        is_quick=True,
    ),
    Case(
        "silent-default-track",
        "the silent track is flagged as the default one",
        _tracks(
            _film, _silence(disposition=Disposition.default), _voice_as(disposition=Disposition(0))
        ),
        HEARS_THE_VOICE,
    ),
    Case(
        "second-is-default",
        "the second sound track is flagged as the default one",
        _tracks(
            _film,
            _other_voice(disposition=Disposition(0)),
            _voice_as(disposition=Disposition.default),
        ),
        HEARS_THE_VOICE,
        seen_in="SubtitleEdit/subtitleedit#9183",
    ),
    Case(
        "commentary-first",
        "the first track is flagged as a comment",
        _tracks(_film, _other_voice(disposition=Disposition.comment), _voice),
        HEARS_THE_VOICE,
        seen_in="lisamelton/other_video_transcoding#187",
        is_quick=True,
    ),
    Case(
        "commentary-by-title",
        "the first track is called a commentary",
        _tracks(
            _film,
            _other_voice(metadata={"title": "Director's commentary"}, disposition=Disposition(0)),
            _voice_as(disposition=Disposition(0)),
        ),
        HEARS_THE_VOICE,
    ),
    Case(
        "description-first",
        "the first track tells what is seen, for those who don't see it",
        _tracks(_film, _other_voice(disposition=Disposition.visual_impaired), _voice),
        HEARS_THE_VOICE,
    ),
    Case(
        "thirty-tracks",
        "thirty silent sound tracks beside the voice",
        _many_tracks,
        HEARS_THE_VOICE,
    ),
    Case(
        "track-asked-missing",
        "a track is asked for that is not there",
        lambda s, f: [str(s.plain_file(f / "clip.mp4")), "--audio-track", "3"],
        refused("no sound track number 3", "It has these", kinds=("no_stream",)),
    ),
    Case(
        "language-asked-missing",
        "a language is asked for that is not there",
        lambda s, f: [str(s.plain_file(f / "clip.mp4")), "--audio-track", "fra"],
        refused("in the language", "It has these", kinds=("no_stream",)),
    ),
    Case(
        "subtitled",
        "a film with subtitles inside",
        lambda s, f: _subtitled(s, f, s.pictures(), s.sound()),
        AS_PLAIN,
    ),
    Case(
        "subtitles-alone",
        "subtitles alone in a film's container",
        _subtitled,
        refused("holds neither video nor audio", kinds=("no_stream",)),
    ),
    Case(
        "timecode-track",
        "a track of time codes, as of professional cameras",
        _tracks(
            lambda studio: studio.pictures(metadata={"timecode": "10:00:00:00"}),
            _voice,
            ending=".mov",
        ),
        AS_PLAIN,
    ),
    Case("attachment", "a font is attached", _attached, AS_PLAIN),
    Case(
        "unknown-video-codec",
        "pictures of a codec that nobody knows: the sound is heard",
        _unknown_codecs(b"V_MPEG4/ISO/AVC"),
        Expect(("audio_only", "truncated"), face=False, voice=True),
        is_quick=True,
    ),
    Case(
        "unknown-audio-codec",
        "sound of a codec that nobody knows: the pictures are seen",
        _unknown_codecs(b"A_AAC"),
        Expect(("video_only", "truncated"), face=True, voice=False),
    ),
    Case(
        "unknown-codecs",
        "nobody knows either codec",
        _unknown_codecs(b"V_MPEG4/ISO/AVC", b"A_AAC"),
        refused("can't be decoded", "Convert it to MP4"),
    ),
    Case(
        "two-videos",
        "a film and its thumbnail as a second film",
        _both_streams("film first"),
        AS_PLAIN,
    ),
    Case(
        "two-videos-screen-first",
        "a screen recording and a camera: the first one is read",
        _both_streams("screen first"),
        NOBODY_SEEN,
    ),
    Case(
        "nobody-seen",
        "a grey picture and a voice",
        _tracks(_grey(), _voice),
        NOBODY_SEEN,
    ),
    Case(
        "nothing-said",
        "a face and silence",
        _tracks(_film, _silence()),
        NOTHING_SAID,
    ),
    Case(
        "nobody-and-nothing",
        "a grey picture and silence",
        _tracks(_grey(), _silence()),
        Expect(("no_face_no_speech",), face=False, voice=False, outcomes=("insufficient",)),
    ),
    Case(
        "pictures-late",
        "pictures begin after 2 s",
        _tracks(_part(2.0, 9.0), _voice),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "sound-late",
        "sound begins after 2 s",
        _tracks(_film, _words(2.0, LENGTH_S)),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "pictures-end",
        "pictures end after 2 s",
        _tracks(_part(0.0, 2.0), _voice),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "sound-ends",
        "sound ends after 2 s",
        _tracks(_film, _words(0.0, 2.0)),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "never-together",
        "the voice ends before the face is seen",
        _tracks(_part(2.4, 9.0), _words(0.0, 2.0)),
        Expect(("ok",), face=True, voice=True, length_s=LENGTH_S),
    ),
    Case(
        "one-picture",
        "one picture under the whole voice",
        _tracks(_part(0.0, 0.04), _voice),
        Expect(("no_face", "ok", "audio_only"), voice=True, outcomes=("insufficient",)),
    ),
)
