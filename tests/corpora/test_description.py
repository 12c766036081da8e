"""A manifest in numbers."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from facevoice.corpora.description import CorpusSummary, Description, Tally, describe
from facevoice.corpora.manifest import Clip, Labels
from facevoice.records import Emotion, Outcome


@pytest.fixture
def description() -> Description:
    film, sound = Path("a.mp4"), Path("a.wav")
    return describe(
        [
            Clip(
                "cremad/1", "cremad", "1001", "DFA", 1, video_path=film, audio_path=sound,
                duration_s=2.0, sex="male", age=29,
                labels=Labels(Emotion.SAD, Emotion.SAD, None, Outcome.FLAT, Emotion.CALM),
            ),
            Clip(
                "cremad/2", "cremad", "1001", "DFA", 3, video_path=film, duration_s=4.0,
                sex="male", age=29, labels=Labels(Emotion.HAPPY),
            ),
            Clip("cremad/3", "cremad", "1002", "TIE", 1, labels=Labels(Emotion.SAD), age=30),
            Clip(
                "fer2013/4", "fer2013", None, video_path=film,
                labels=Labels(face=Emotion.SAD), split="test",
            ),
            Clip("fer2013/5", "fer2013", None, video_path=film, split="train"),
        ]
    )  # fmt: skip


def test_corpora_are_summed_up(description: Description) -> None:
    assert description.corpora == (
        CorpusSummary("cremad", 3, 2, 2, 3, 2, 1, 1, 2, 6.0, 2.0, 3.0, 4.0),
        CorpusSummary("fer2013", 2, 0, 0, 0, 2, 0, 0, 0, 0, None, None, None),
    )


def test_targets_are_counted_apart_and_in_order(description: Description) -> None:
    assert description.labels == (
        Tally("intended", "happy", "cremad", 1, 1),
        Tally("intended", "sad", "cremad", 2, 2),
        Tally("face", "sad", "cremad", 1, 1),
        Tally("face", "sad", "fer2013", 1, 0),
        Tally("both", "calm", "cremad", 1, 1),
        Tally("congruence", "flat", "cremad", 1, 1),
    )


def test_people_are_counted_where_anything_is_told(description: Description) -> None:
    assert description.people == (
        Tally("sex", "male", "cremad", 2, 1),
        Tally("sex", None, "cremad", 1, 1),
        Tally("age", "20–29", "cremad", 2, 1),
        Tally("age", "30–39", "cremad", 1, 1),
    )
    assert description.splits == (
        Tally("split", "test", "fer2013", 1, 0),
        Tally("split", "train", "fer2013", 1, 0),
    )


def test_it_is_plain_data_and_nothing_is_no_error(description: Description) -> None:
    assert json.loads(json.dumps(asdict(description)))["corpora"][0]["corpus"] == "cremad"
    assert describe([]) == Description((), (), (), ())
