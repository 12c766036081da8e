"""Who is who and who speaks, of windows made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevoice.errors import ConfigError
from facevoice.people.cast import NOBODY, Cast, Scene, StreamCast
from facevoice.people.identity import IDENTITY_DIM
from facevoice.people.voices import PRINT_DIM
from facevoice.records import FaceView, FloatArray, PeopleEdits, Reason, WindowView
from perceptions import HAPPY

RATE_HZ = 5.0
MOVING, STILL = 0.4, 0.1
ANNA, BEN, CLEO = range(3)  # looks and voices
NO_ONE = None


def unit(place: int, dim: int) -> FloatArray:
    vector = np.zeros(dim, np.float32)
    vector[place] = 1
    return vector


def face(
    track: int,
    looks: int | None = None,
    *,
    moving: float | None = None,
    speaking: float | None = None,
    span_s: tuple[float, float] = (0.0, 4.0),
) -> FaceView:
    """A face that looks like somebody; None where no picture shows who it is."""
    times_s = np.arange(span_s[0], span_s[1], 1 / RATE_HZ)
    return FaceView(
        track,
        1.0,
        HAPPY.astype(np.float32),
        times_s,
        np.tile(np.array([0.4, 0.3, 0.6, 0.7], np.float32), (len(times_s), 1)),
        identity=None if looks is None else unit(looks, IDENTITY_DIM),
        quality=0.0 if looks is None else 1.0,
        moving=moving,
        speaking=speaking,
    )


def window(
    place: int, *faces: FaceView, voice: int | None = None, is_quiet: bool = False
) -> WindowView:
    """The window of that place in a file, 4 s each, one after the other; voice: whose print."""
    start_s = 4.0 * place
    moved = tuple(
        replace(one, times_s=one.times_s + start_s) for one in faces if one.times_s is not None
    )
    return WindowView(
        start_s,
        start_s + 4,
        moved,
        None if is_quiet else HAPPY.astype(np.float32),
        0.0 if is_quiet else 0.8,
        num_faces=len(faces),
        voice_print=None if voice is None else unit(voice, PRINT_DIM),
    )


def stage(*views: WindowView, mode: str = "speaking", edits: PeopleEdits | None = None):
    return Cast(views, mode, edits or PeopleEdits()).scenes()


def told(scenes: Sequence[Scene]) -> list[tuple[int | None, Reason | None]]:
    """Whose face is judged in each scene, and the reason given."""
    return [(scene.view.person, scene.reason) for scene in scenes]


def dialogue() -> list[WindowView]:
    """Anna and Ben side by side, in step in turn."""
    return [
        window(
            place,
            face(0, ANNA, speaking=4.0 if place % 2 else -4.0),
            face(1, BEN, speaking=-4.0 if place % 2 else 4.0),
            voice=ANNA if place % 2 else BEN,
        )
        for place in range(4)
    ]


def test_tracks_that_look_alike_are_one_person_over_cuts_and_absences() -> None:
    views = [
        window(0, face(7, ANNA)),
        window(1, face(8, BEN)),
        window(2),
        window(3, face(11, ANNA)),
        window(4, face(12), is_quiet=True),
    ]
    people = Cast(views, "speaking").people(RATE_HZ)
    assert [(p.number, p.name, p.tracks) for p in people] == [
        (1, "Person 1", (7, 11)),
        (2, "Person 2", (8,)),
        (3, "Person 3", (12,)),  # nothing shows who it is
    ]
    assert [p.seen_s for p in people] == pytest.approx([8, 4, 4])
    assert [who for who, _ in told(stage(*views))] == [1, 2, None, 1, 3]


def test_two_who_are_seen_at_once_are_never_one_person() -> None:
    views = [window(0, face(0, ANNA), face(1, ANNA), is_quiet=True)]
    assert [p.tracks for p in Cast(views, "speaking").people(RATE_HZ)] == [(0,), (1,)]


def test_a_moving_mouth_is_its_voice_and_a_still_one_is_not() -> None:
    moves, is_still = (
        stage(window(0, face(0, ANNA, moving=moving), voice=BEN))[0] for moving in (MOVING, STILL)
    )
    assert (moves.reason, moves.view.speaker) == (None, 1)
    assert is_still.reason is Reason.VOICE_OFF_SCREEN
    assert is_still.view.speaker is not None
    assert is_still.view.speaker < NOBODY


@given(
    moves=st.lists(st.none() | st.floats(0.3, 1.0), min_size=1, max_size=6),
    voices=st.lists(st.sampled_from([ANNA, BEN, NO_ONE]), min_size=6, max_size=6),
)
def test_a_lone_face_whose_mouth_is_never_still_is_always_its_own_voice(moves, voices) -> None:
    views = [
        window(place, face(0, ANNA, moving=moving), voice=voice)
        for place, (moving, voice) in enumerate(zip(moves, voices, strict=False))
    ]
    assert told(stage(*views)) == [(1, None)] * len(views)


def test_a_voice_learnt_stays_its_persons_while_the_face_is_hidden() -> None:
    known = [window(k, face(0, ANNA, moving=MOVING), voice=ANNA) for k in range(16)]
    listens = window(16, face(1, BEN, moving=STILL), voice=ANNA)
    black = window(17, voice=ANNA)
    scenes = stage(*known, listens, black)
    assert told(scenes[16:]) == [(2, Reason.VOICE_OFF_SCREEN), (None, None)]
    assert [scene.view.speaker for scene in scenes] == [1] * 18


def test_of_two_faces_the_one_in_step_is_judged() -> None:
    assert told(stage(*dialogue())) == [(2, None), (1, None), (2, None), (1, None)]


def test_where_none_is_clearly_in_step_nobody_is_held_against_the_voice() -> None:
    pair = face(0, ANNA, speaking=1.0), face(1, BEN, speaking=0.9)
    scene = stage(window(0, *pair))[0]
    assert scene.reason is Reason.SPEAKER_UNCLEAR
    assert scene.view.speaker != scene.view.person


def test_two_out_of_step_with_an_unknown_voice_are_not_judged() -> None:
    pair = face(0, ANNA, speaking=-5.0), face(1, BEN, speaking=-5.0)
    assert stage(window(0, *pair))[0].reason is Reason.VOICE_OFF_SCREEN


def test_a_known_voice_settles_an_unclear_pair() -> None:
    pair = face(0, ANNA, speaking=0.5), face(1, BEN, speaking=0.4)
    known = [window(k, face(1, BEN, moving=MOVING), voice=BEN) for k in range(1, 5)]
    assert told(stage(window(0, *pair, voice=BEN), *known))[0] == (2, None)


def test_those_left_out_are_passed_over_but_keep_their_voice() -> None:
    edits = PeopleEdits(left_out=frozenset({2}))
    scenes = stage(*dialogue(), edits=edits)
    assert told(scenes) == [(1, Reason.OTHER_SPEAKS), (1, None)] * 2
    assert [scene.view.voice is None for scene in scenes] == [True, False] * 2
    people = Cast(dialogue(), "speaking", edits).people(RATE_HZ)
    assert [p.is_left_out for p in people] == [False, True]


def test_merged_people_keep_the_second_number_and_given_names_are_told() -> None:
    views = [window(0, face(0, ANNA)), window(1, face(1, BEN)), window(2, face(2, CLEO))]
    edits = PeopleEdits({1: " Anna "}, {3: 1})
    people = Cast(views, "speaking", edits).people(RATE_HZ)
    assert [(p.number, p.name, p.tracks) for p in people] == [
        (1, "Anna", (0, 2)),
        (2, "Person 2", (1,)),
    ]
    assert [who for who, _ in told(stage(*views, edits=edits))] == [1, 2, 1]


@pytest.mark.parametrize(
    "edits",
    [
        PeopleEdits(names={3: "Anna"}),
        PeopleEdits(merged={3: 1}),
        PeopleEdits(merged={1: 3}),
        PeopleEdits(left_out=frozenset({3})),
    ],
)
def test_edits_that_name_nobody_say_who_is_there(edits: PeopleEdits) -> None:
    with pytest.raises(ConfigError, match=r"no person 3 in this file; there is: 1, 2"):
        Cast(dialogue(), "speaking", edits)


def test_two_who_are_seen_at_once_can_not_be_merged() -> None:
    with pytest.raises(ConfigError, match="people 2 and 1 are seen at the same time"):
        Cast(dialogue(), "speaking", PeopleEdits(merged={2: 1}))


def test_leading_judges_the_first_face_whoever_speaks() -> None:
    several = Reason.SEVERAL_FACES
    listens = window(4, face(0, ANNA, moving=STILL), voice=BEN)
    told_of = told(stage(*dialogue(), listens, mode="leading"))
    assert {who for who, _ in told_of} == {1}
    assert [reason for _, reason in told_of[-1:]] == [None]
    assert {reason for _, reason in told_of[:-1]} <= {None, several}


def test_all_tells_of_everybody_and_holds_the_voice_against_its_person_only() -> None:
    scenes = stage(*dialogue(), mode="all")
    main = [scene for scene in scenes if scene.is_main]
    further = [scene for scene in scenes if not scene.is_main]
    assert told(main) == told(stage(*dialogue()))
    assert told(further) == [(who, Reason.OTHER_SPEAKS) for who in (1, 2, 1, 2)]
    assert all(scene.view.voice is None for scene in further)


def test_a_streams_numbers_never_change() -> None:
    """A track seen without a good picture at first is nobody else when one comes."""
    views = [
        window(0, face(0), is_quiet=True),
        window(1, face(4, BEN, moving=MOVING), voice=BEN),
        window(2, face(0, ANNA, moving=MOVING), voice=ANNA),
        *(window(k, face(9, ANNA, moving=MOVING), voice=ANNA) for k in range(3, 12)),
        window(12, face(4, BEN, moving=STILL), voice=ANNA),
    ]
    cast = StreamCast("speaking")
    scenes = [cast(view) for view in views]
    assert [scene.view.person for scene in scenes] == [1, 2, *[1] * 10, 2]
    assert scenes[-1].reason is Reason.VOICE_OFF_SCREEN
    assert scenes[-1].view.speaker == 1


@given(st.data())
def test_the_order_of_a_windows_faces_changes_nothing(data: st.DataObject) -> None:
    logit = st.floats(-6, 6).map(lambda value: round(value, 2))
    tracks = st.lists(st.sampled_from([3, 5, 8]), unique=True, max_size=3)
    views, shuffled = [], []
    for place in range(data.draw(st.integers(1, 4))):
        faces = [
            face(track, looks=track % 4, moving=data.draw(st.sampled_from([MOVING, STILL])))
            for track in data.draw(tracks)
        ]
        if len(faces) > 1:
            faces = [replace(one, speaking=data.draw(logit)) for one in faces]
        voice = data.draw(st.sampled_from([ANNA, BEN, NO_ONE]))
        views.append(window(place, *faces, voice=voice))
        shuffled.append(window(place, *data.draw(st.permutations(faces)), voice=voice))
    assert named(views) == named(shuffled)


def named(views: Sequence[WindowView]) -> list[tuple[int | None, Reason | None]]:
    """The track judged in each window and the reason; the leading one where the speaker isn't."""
    cast = Cast(views, "speaking")
    tracks = {p.number: p.tracks for p in cast.people(RATE_HZ)}
    return [
        (
            tracks[scene.view.person]
            if scene.view.person is not None and scene.view.person == scene.view.speaker
            else None,
            scene.reason,
        )
        for scene in cast.scenes()
    ]
