"""What users say of people: in a report, without the video, and in its JSON."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echo import EchoModel
from facevoice.errors import ConfigError
from facevoice.interpret import interpret
from facevoice.records import FaceView, PeopleEdits, Report, WindowView
from facevoice.report import from_json, to_json
from facevoice.settings import DecisionConfig
from perceptions import HAPPY, SAD, perception, view


def with_portrait(seen: WindowView, number: int) -> WindowView:
    """With a picture, and looks unlike those of any other number."""
    looks = np.eye(128, dtype=np.float32)[number]
    known = {"portrait": bytes([number]), "identity": looks, "quality": 1.0}
    return replace(seen, faces=tuple(replace(face, **known) for face in seen.faces))


def beside(seen: WindowView, track: int) -> WindowView:
    """With a second face, seen at the same time."""
    return replace(seen, faces=(*seen.faces, FaceView(track, 1.0, seen.face)), num_faces=2)


def made(*views: WindowView, people: str = "speaking") -> Report:
    """The report of a file of these windows; every track is somebody else."""
    found = perception(*views)
    settings = replace(found.settings, decision=DecisionConfig(people=people))
    return interpret(replace(found, settings=settings), EchoModel())


@pytest.fixture
def three() -> Report:
    """Three people, one after the other."""
    return made(
        *(
            with_portrait(view(face, HAPPY, span_s=(4 * k, 4 * k + 4), person=k), k)
            for k, face in enumerate((HAPPY, SAD, HAPPY))
        )
    )


def persons(report: Report) -> list[int | None]:
    return [window.person for window in report.windows]


def test_a_renamed_person_stays_who_it_is(three: Report) -> None:
    report = three.rename(2, "Ben")
    assert [person.name for person in report.people] == ["Person 1", "Ben", "Person 3"]
    assert persons(report) == persons(three) == [1, 2, 3]
    assert [p.name for p in three.people] == ["Person 1", "Person 2", "Person 3"]


def test_merged_people_are_one_with_the_second_ones_name(three: Report) -> None:
    report = three.rename(1, "Anna").merge(3, into=1)
    assert persons(report) == [1, 2, 1]
    anna, ben = report.people
    assert (anna.name, anna.tracks, anna.portrait) == ("Anna", (0, 2), b"\0")
    assert anna.seen_s == pytest.approx(three.people[0].seen_s + three.people[2].seen_s)
    assert anna.speaking_s == pytest.approx(three.people[0].speaking_s + three.people[2].speaking_s)
    assert ben.number == 2
    assert [moment.person for moment in report.moments] == [1, 2, 1]


def test_two_seen_at_once_can_not_be_merged() -> None:
    report = made(beside(view(HAPPY, HAPPY, people=2), 1), people="all")
    with pytest.raises(ConfigError, match=r"Person 1 and Person 2 are seen at the same time"):
        report.merge(2, into=1)


@pytest.mark.parametrize("change", ["rename", "merge", "merge into"])
def test_edits_that_name_nobody_say_who_is_there(three: Report, change: str) -> None:
    edit = {
        "rename": lambda: three.rename(4, "Dora"),
        "merge": lambda: three.merge(4, into=1),
        "merge into": lambda: three.merge(1, into=4),
    }[change]
    with pytest.raises(ConfigError, match=r"no person 4 in this report; there is: 1, 2, 3"):
        edit()


def test_json_keeps_people(three: Report) -> None:
    edits = PeopleEdits({1: "Anna"}, {}, frozenset({2}))
    views = [view(HAPPY, HAPPY, span_s=(4 * k, 4 * k + 4), person=k) for k in range(3)]
    left_out = interpret(perception(*views), EchoModel(), edits=edits)
    everybody = made(beside(view(HAPPY, HAPPY, people=2), 1), people="all")
    assert [person.is_left_out for person in left_out.people] == [False, True, False]
    assert all(person.windows for person in everybody.people)
    for report in (three, left_out, everybody):
        again = from_json(to_json(report))
        assert to_json(again) == to_json(report)
        for person, same in zip(report.people, again.people, strict=True):
            assert (person.number, person.name, person.tracks, person.portrait) == (
                same.number,
                same.name,
                same.tracks,
                same.portrait,
            )
            assert (person.is_left_out, len(person.windows)) == (
                same.is_left_out,
                len(same.windows),
            )
