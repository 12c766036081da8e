"""Which of a file's sound tracks is heard, by what the container says of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from av.audio.stream import AudioStream
from av.stream import Disposition

from facevoice.errors import NoStreamError
from facevoice.media.languages import language_of
from facevoice.records import SoundRole, SoundTrack, TrackChoice
from facevoice.settings import AUTO
from facevoice.texts import shown

_PLAUSIBLE_RATES_HZ: Final = range(1_000, 1_000_001)
# Of several flags, the one that comes first here counts.
_FLAGS: Final = {
    SoundRole.DESCRIPTION: Disposition.descriptions | Disposition.visual_impaired,
    SoundRole.COMMENTARY: Disposition.comment,
    SoundRole.MUSIC: Disposition.karaoke
    | Disposition.lyrics
    | Disposition.clean_effects
    | Disposition.non_diegetic,
    SoundRole.HEARING_IMPAIRED: Disposition.hearing_impaired,
    SoundRole.DUB: Disposition.dub,
}
# Many programs write no flags, but name a track for what it is.
_TITLES: Final = {
    SoundRole.DESCRIPTION: r"\bdescripti(on|ve)\b|\baudio.?described\b",
    SoundRole.COMMENTARY: r"\bcomment(ary|aries|ator)\b",
    SoundRole.MUSIC: r"\bkaraoke\b|\bmusic (and|&) effects\b",
}
_ROLE_WORDS: Final = {
    SoundRole.DUB: "dubbed",
    SoundRole.HEARING_IMPAIRED: "for the hard of hearing",
    SoundRole.MUSIC: "music",
    SoundRole.COMMENTARY: "commentary",
    SoundRole.DESCRIPTION: "audio description",
    SoundRole.UNPLAYABLE: "can't be played",
}
# A file may say as much as it likes; of that, people are told so many letters.
_MAX_TITLE: Final = 80
_MAX_CODE: Final = 20
# The first are heard first.
_ORDER: Final = (
    SoundRole.MAIN,
    SoundRole.DUB,
    SoundRole.HEARING_IMPAIRED,
    SoundRole.MUSIC,
    SoundRole.COMMENTARY,
    SoundRole.DESCRIPTION,
    SoundRole.UNPLAYABLE,
)


def order_tracks(streams: Sequence[AudioStream]) -> list[SoundTrack]:
    """What sound streams say of themselves, those first that are to be heard rather than others."""
    tracks = [_describe(number, stream) for number, stream in enumerate(streams, start=1)]
    return sorted(tracks, key=lambda track: _preference(track, streams[track.number - 1]))


def choose_track(
    path: Path, streams: Sequence[AudioStream], asked: int | str
) -> AudioStream | None:
    """The stream that is heard; None where none can be.

    Raises:
        NoStreamError: the one that is asked for, by number or language, is not there or can't be
            played; lists those that are.
    """
    tracks = order_tracks(streams)
    playable = [track for track in tracks if track.role is not SoundRole.UNPLAYABLE]
    if asked != AUTO:
        playable = [track for track in playable if _is_asked(track, asked)]
        if not playable:
            raise _no_such_track(path, tracks, asked)
    return streams[playable[0].number - 1] if playable else None


def why_chosen(
    streams: Sequence[AudioStream], stream: AudioStream, asked: int | str
) -> TrackChoice:
    """Why `choose_track` takes this stream."""
    if asked != AUTO:
        return TrackChoice.ASKED
    if len(streams) == 1:
        return TrackChoice.ONLY
    if stream.disposition & Disposition.default:
        return TrackChoice.DEFAULT
    if stream.disposition & Disposition.original:
        return TrackChoice.ORIGINAL
    return TrackChoice.FIRST


def name_track(track: SoundTrack) -> str:
    """How people would call a track: its number, language, title and what it is for."""
    told = [shown((track.language or "")[:_MAX_CODE]), _name_title(track.title or "")]
    if track.role is not SoundRole.MAIN:
        told.append(_ROLE_WORDS[track.role])
    words = ", ".join(word for word in told if word)
    return f"{track.number} ({words})" if words else str(track.number)


def _name_title(title: str) -> str:
    cut = f"{title[: _MAX_TITLE - 1]}…" if len(title) > _MAX_TITLE else title
    return cut and f"“{shown(cut)}”"


def _describe(number: int, stream: AudioStream) -> SoundTrack:
    context = stream.codec_context
    title = stream.metadata.get("title", "").strip() or None
    return SoundTrack(
        number=number,
        codec="unknown" if context is None else context.codec.canonical_name,
        num_channels=0 if context is None else context.channels,
        language=language_of(stream.metadata.get("language")),
        title=title,
        role=_role(stream, title or ""),
    )


def _role(stream: AudioStream, title: str) -> SoundRole:
    # Streams of an unknown codec have no codec context; damaged ones no credible rate.
    if stream.codec_context is None or stream.sample_rate not in _PLAUSIBLE_RATES_HZ:
        return SoundRole.UNPLAYABLE
    for role, flags in _FLAGS.items():
        named = _TITLES.get(role)
        if stream.disposition & flags or (named and re.search(named, title, re.IGNORECASE)):
            return role
    return SoundRole.MAIN


def _preference(track: SoundTrack, stream: AudioStream) -> tuple[int, bool, bool, bool, int]:
    """Smaller for what is to be heard rather."""
    return (
        _ORDER.index(track.role),
        not stream.disposition & Disposition.default,
        not stream.disposition & Disposition.original,
        re.search(r"\bdialog(ue)?\b", track.title or "", re.IGNORECASE) is None,
        track.number,
    )


def _is_asked(track: SoundTrack, asked: int | str) -> bool:
    if isinstance(asked, int):
        return track.number == asked
    return track.language is not None and track.language == language_of(asked)


def _no_such_track(path: Path, tracks: list[SoundTrack], asked: int | str) -> NoStreamError:
    what = f"number {asked}" if isinstance(asked, int) else f"in the language “{shown(asked)}”"
    if not tracks:
        return NoStreamError(path, f"holds no sound track {what}, for it holds no sound.")
    by_number = sorted(tracks, key=lambda track: track.number)
    listed = ", ".join(name_track(track) for track in by_number)
    return NoStreamError(
        path, f"holds no sound track {what} that can be played.", f"It has these: {listed}."
    )
