"""Who is who in a file, and who speaks: from tracks of faces, and voices, to people.

A face is followed while it is in the picture; when it comes back it is another track. Tracks that
look alike are one person. Whose voice a window holds is told by how the mouths that are seen move,
and by whose the same voice was in other windows: so a voice stays its person's while the face is
hidden, and one that never moves a mouth is that of somebody off screen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np

from facevoice.errors import ConfigError
from facevoice.people.identity import IDENTITY_DIM, People, group_tracks, identify
from facevoice.people.speaker import NOBODY_LOGIT, is_still
from facevoice.people.voices import NO_VOICE, VoiceBook, group_voices
from facevoice.records import (
    NO_EDITS,
    FaceView,
    FloatArray,
    PeopleEdits,
    Person,
    Reason,
    WindowView,
)

NOBODY: Final = 0
"""In place of a person: whoever speaks is never seen."""

# A voice heard for less than this is not much of a witness.
_PRIOR_S: Final = 3.0
# Odds before anything is heard or seen: a lone face speaks for itself, more often than not; people
# who aren't in the picture speak less often than those who are.
_ALONE: Final = 4.0
_HIDDEN: Final = 0.2
# Log-odds that a lone face speaks whose mouth is still, and that nobody does of several of whom one
# was seen or heard too little to tell.
_STILL: Final = -4.0
_UNLIKELY: Final = -2.0
# From here on, it is clear who speaks.
_CLEAR: Final = 0.5
_NUM_PASSES: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """Who is judged in a window.

    view: the judged face first, faces numbered by person, the speaker known;
    reason: why its voice isn't held against its face, or what to bear in mind;
    is_main: whether it tells what the file says at that time; others are of further people.
    """

    view: WindowView
    reason: Reason | None = None
    is_main: bool = True


class Cast:
    """The people of a file, as far as it is known.

    Args:
        views: as perceived, all of them.
        mode: as `DecisionConfig.people`.
        edits: what a user knows better.

    Raises:
        ConfigError: an edit names somebody who isn't there, or merges two who are seen at once.
    """

    def __init__(
        self, views: Sequence[WindowView], mode: str, edits: PeopleEdits = NO_EDITS
    ) -> None:
        self._mode = mode
        self._left_out = edits.left_out
        names = _group(views)
        self._numbers = _edited(names, edits, views)
        self._names = {n: name.strip() for n, name in edits.names.items() if name.strip()}
        for number in (*self._names, *self._left_out):
            _check_number(number, self._numbers.values())
        self._views = [_numbered(view, self._numbers) for view in views]

    def scenes(self) -> list[Scene]:
        """Who is judged in each window, in order of time; the main one of a window first."""
        voices = group_voices(
            [view.voice_print for view in self._views], [_speech_s(view) for view in self._views]
        ).tolist()
        chances = _who_speaks(self._views, voices)
        told = zip(self._views, voices, chances, strict=True)
        found: list[Scene] = []
        for view, voice, who in told:
            main = _stage(view, voice, who, self._mode, self._left_out)
            found.append(main)
            if self._mode == "all":
                found += _further(main, self._left_out)
        return found

    def people(self, sample_rate_hz: float) -> tuple[Person, ...]:
        """Who is seen, without what they say; faces were sampled so often."""
        return tuple(
            Person(
                number,
                self._names.get(number, f"Person {number}"),
                tuple(sorted(t for t, person in self._numbers.items() if person == number)),
                len(_times(self._views, number)) / sample_rate_hz,
                0.0,
                _portrait(self._views, number),
                number in self._left_out,
            )
            for number in sorted(set(self._numbers.values()))
        )


class StreamCast:
    """The same of windows as they come; nobody's number ever changes.

    Who was taken for a new person stays one, and what is heard later tells nothing of before.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._people = People()
        self._voices = VoiceBook()
        self._numbers: dict[int, int] = {}
        self._portraits: dict[int, FaceView] = {}
        self._votes: dict[int, dict[int, float]] = {}

    def __call__(self, view: WindowView) -> Scene:
        """Who is judged in the next window."""
        together = _seen_together([view])
        for face in view.faces:
            if face.portrait is not None:
                self._portraits[face.person] = face
            if len(self._portraits) == 2 and face.person not in self._numbers:
                self._introduce()
            beside = together.get(face.person, set())
            identity = _identity(face) if len(self._portraits) > 1 else face.identity
            number = self._people.name(face.person, identity, beside, face.quality)
            self._numbers[face.person] = number + 1
        numbered = _numbered(view, self._numbers)
        voice = self._voices.add(view.voice_print, _speech_s(view))
        votes = self._votes.setdefault(voice, {}) if voice != NO_VOICE else {}
        who = _weigh(numbered, votes, set(self._numbers.values()))
        _vote(votes, who, _speech_s(view))
        return _stage(numbered, voice, who, self._mode, frozenset())

    def tracks_of(self, number: int | None) -> tuple[int, ...]:
        """The tracks that were of a person so far."""
        return tuple(track for track, one in self._numbers.items() if one == number)

    def _introduce(self) -> None:
        """Tell who the first one is, now that somebody else turns up."""
        for track in self._numbers.keys() & self._portraits.keys():
            face = self._portraits[track]
            self._people.name(track, _identity(face), (), face.quality)


def _seen_together(views: Sequence[WindowView]) -> dict[int, set[int]]:
    """With whom each track was seen at the same moment."""
    found: dict[int, set[int]] = {}
    for view in views:
        times = {f.person: set(() if f.times_s is None else f.times_s.tolist()) for f in view.faces}
        for one, other in combinations(times, 2):
            if times[one] & times[other]:
                found.setdefault(one, set()).add(other)
                found.setdefault(other, set()).add(one)
    return found


def _group(views: Sequence[WindowView]) -> dict[int, int]:
    """Whose each track is, people numbered from 1 in order of appearance."""
    portraits: dict[int, list[FaceView]] = {}
    for view in views:
        for face in sorted(view.faces, key=_first_seen):
            known = portraits.setdefault(face.person, [])
            if face.portrait is not None or face.identity is not None:
                known.append(face)
    if len(portraits) < 2:  # Nobody need be told from anybody.
        return dict.fromkeys(portraits, 1)
    places = {track: place for place, track in enumerate(portraits)}
    people = group_tracks(
        [
            np.array([_identity(f) for f in found], np.float32).reshape(-1, IDENTITY_DIM)
            for found in portraits.values()
        ],
        [np.array([f.quality for f in found]) for found in portraits.values()],
        ((places[a], places[b]) for a, beside in _seen_together(views).items() for b in beside),
    )
    return {track: int(people[place]) + 1 for track, place in places.items()}


def _identity(face: FaceView) -> FloatArray | None:
    if face.identity is None and face.portrait is not None:
        return identify(face.portrait)
    return face.identity


def _first_seen(face: FaceView) -> float:
    return np.inf if face.times_s is None else float(face.times_s[0])


def _edited(
    numbers: Mapping[int, int], edits: PeopleEdits, views: Sequence[WindowView]
) -> dict[int, int]:
    """Tracks' people, some of them merged."""
    together = _seen_together(views)
    edited = dict(numbers)
    for number, into in edits.merged.items():
        for one in (number, into):
            _check_number(one, numbers.values())
        tracks = {t for t, person in edited.items() if person == number}
        others = {t for t, person in edited.items() if person == into}
        if number != into and any(together.get(track, set()) & others for track in tracks):
            raise ConfigError(
                f"people {number} and {into} are seen at the same time: they can't be one person"
            )
        edited |= dict.fromkeys(tracks, into)
    return edited


def _check_number(number: int, known: object) -> None:
    numbers = sorted(set(known))  # type: ignore[call-overload]
    if number not in numbers:
        there = ", ".join(map(str, numbers)) or "nobody"
        raise ConfigError(f"there is no person {number} in this file; there is: {there}")


def _numbered(view: WindowView, numbers: Mapping[int, int]) -> WindowView:
    """With people in place of tracks; of two tracks of one person the more prominent one."""
    faces: dict[int, FaceView] = {}
    for face in view.faces:
        person = numbers[face.person]
        faces.setdefault(person, replace(face, person=person))
    return replace(view, faces=tuple(faces.values()))


# Who speaks.


def _who_speaks(views: Sequence[WindowView], voices: Sequence[int]) -> list[dict[int, float]]:
    """How likely each person, or nobody who is seen, speaks in each window.

    Mouths tell of their own window, and voices of all the others in which they are heard: what one
    pass finds is what the next one goes by.
    """
    people = {face.person for view in views for face in view.faces}
    chances = [_weigh(view, {}, people) for view in views]
    for _ in range(_NUM_PASSES):
        votes: dict[int, dict[int, float]] = {}
        for view, voice, who in zip(views, voices, chances, strict=True):
            if voice != NO_VOICE:
                _vote(votes.setdefault(voice, {}), who, _speech_s(view))
        again = []
        for view, voice, who in zip(views, voices, chances, strict=True):
            others = dict(votes.get(voice, {}))
            _vote(others, who, -_speech_s(view))
            again.append(_weigh(view, others, people))
        chances = again
    return chances


def _vote(votes: dict[int, float], who: Mapping[int, float], seconds: float) -> None:
    for person, share in who.items():
        votes[person] = votes.get(person, 0.0) + share * seconds


def _speech_s(view: WindowView) -> float:
    return view.speech_coverage * view.duration_s


def _weigh(view: WindowView, votes: Mapping[int, float], people: set[int]) -> dict[int, float]:
    """How likely each is to speak, by the mouths of a window and by the voice's other windows."""
    everybody = sorted(people | {NOBODY})
    num_hidden = len(people) - len(view.faces)
    evidence = np.array([_mouth(view, person, num_hidden) for person in everybody])
    seconds = np.array([max(votes.get(person, 0.0), 0.0) for person in everybody])
    shares = (seconds + _PRIOR_S / len(everybody)) / (seconds.sum() + _PRIOR_S)
    logits = evidence + np.log(shares)
    chances = np.exp(logits - logits.max())
    return dict(zip(everybody, (chances / chances.sum()).tolist(), strict=True))


def _mouth(view: WindowView, person: int, num_hidden: int) -> float:
    """Log-odds, but for a constant, that a person speaks, by what is seen in a window."""
    if person == NOBODY:
        return _nobody(view)
    face = next((face for face in view.faces if face.person == person), None)
    if face is None:
        return float(np.log(_HIDDEN / num_hidden))
    if len(view.faces) > 1:
        return face.speaking or 0.0
    return float(np.log(_ALONE)) + (_STILL if is_still(face.moving) else 0.0)


def _nobody(view: WindowView) -> float:
    """The same of nobody who is seen: never where little is known of one who may be it."""
    if len(view.faces) < 2:
        return 0.0
    return NOBODY_LOGIT if all(face.speaking for face in view.faces) else _UNLIKELY


# Who is judged.


def _stage(
    view: WindowView,
    voice: int,
    who: Mapping[int, float],
    mode: str,
    left_out: frozenset[int],
) -> Scene:
    """The main scene of a window."""
    seen = view.faces
    faces = tuple(face for face in seen if face.person not in left_out)
    view = replace(view, faces=faces)
    # A face too rarely seen to be read may be a passer-by's, or that of who speaks.
    is_choice = len(seen) > 1 and any(face.speaking is not None for face in seen)
    several = Reason.SEVERAL_FACES if view.num_faces > 1 and not is_choice else None
    if mode == "leading":
        return Scene(replace(view, speaker=view.person), several)
    if view.voice is None:
        return Scene(view, several)
    speaker = max(who, key=lambda person: who[person])
    stranger = NOBODY - 2 - voice  # a number for each voice, and one for those without
    if speaker in left_out and any(face.person == speaker for face in seen):
        return Scene(replace(view, speaker=speaker, voice=None), Reason.OTHER_SPEAKS)
    if all(face.person != speaker for face in faces):
        known = stranger if speaker == NOBODY else speaker
        return Scene(replace(view, speaker=known), Reason.VOICE_OFF_SCREEN if faces else None)
    told = _first(view, speaker)
    if who[speaker] < _CLEAR and not is_choice:
        # One face behind the other, or no mouth was looked at: the leading one, as for one alone.
        return Scene(replace(view, speaker=view.person), several)
    if who[speaker] < _CLEAR:
        return Scene(replace(told, speaker=stranger), Reason.SPEAKER_UNCLEAR)
    return Scene(replace(told, speaker=speaker), several)


def _further(main: Scene, left_out: frozenset[int]) -> Iterator[Scene]:
    """Scenes of those in a window who aren't its main person; only what is theirs is judged."""
    for face in main.view.faces[1:]:
        view = _first(main.view, face.person)
        speaks = view.speaker == face.person
        yield Scene(
            view if speaks else replace(view, voice=None),
            None if speaks or main.view.voice is None else Reason.OTHER_SPEAKS,
            is_main=False,
        )


def _first(view: WindowView, person: int) -> WindowView:
    """With a person's face before the others."""
    return replace(view, faces=tuple(sorted(view.faces, key=lambda face: face.person != person)))


def _times(views: Sequence[WindowView], person: int) -> set[float]:
    """At which sampled times a person is seen."""
    faces = (face for view in views for face in view.faces if face.person == person)
    return {t for face in faces if face.times_s is not None for t in face.times_s.tolist()}


def _portrait(views: Sequence[WindowView], person: int) -> bytes | None:
    """The largest one."""
    faces = [f for v in views for f in v.faces if f.person == person and f.portrait is not None]
    return max(faces, key=_size, default=FaceView(person, 0.0)).portrait


def _size(face: FaceView) -> float:
    if face.boxes_xyxy_rel is None:
        return 0.0
    return float((face.boxes_xyxy_rel[:, 2:] - face.boxes_xyxy_rel[:, :2]).prod(axis=1).mean())
