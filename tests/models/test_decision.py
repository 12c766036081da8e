"""Outcomes and reasons, from posteriors and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.interpret import choose_outcome, decide, weigh_evidence
from facevoice.models.heads import Posteriors
from facevoice.records import EMOTIONS, Modality, Outcome, Reason, Thresholds, Window
from facevoice.settings import DecisionConfig

THRESHOLDS = Thresholds(conflict_above=0.7, match_below=0.3, flat_above=0.6, clear_above=0.25)


def probs(**given: float) -> np.ndarray:
    rest = (1 - sum(given.values())) / (8 - len(given))
    return np.array([given.get(e.value, rest) for e in EMOTIONS])


def window(
    *,
    faces: bool = True,
    sound: bool = True,
    face: float = 1.0,
    speech: float = 0.8,
    tracks: int = 1,
) -> Window:
    return Window(
        start_s=0.0,
        end_s=4.0,
        faces=np.zeros((20, 8, 8, 3), np.uint8) if faces else None,
        samples=np.zeros(64_000, np.float32) if sound else None,
        face_coverage=face if faces else 0.0,
        speech_coverage=speech if sound else 0.0,
        num_tracks=tracks if faces else 0,
    )


@pytest.mark.parametrize(
    ("conflict", "outcome", "reasons"),
    [
        (0.9, Outcome.CONFLICT, ()),
        (0.7, Outcome.CONFLICT, ()),
        (0.3, Outcome.MATCH, ()),
        (0.1, Outcome.MATCH, ()),
        (0.5, Outcome.INSUFFICIENT, (Reason.UNDECIDED,)),
    ],
)
def test_conflict_probability_decides_between_clear_channels(
    conflict: float, outcome: Outcome, reasons: tuple[Reason, ...]
) -> None:
    happy, sad = probs(happy=0.8), probs(sad=0.8)
    found = choose_outcome(Posteriors(happy, sad, happy, conflict), THRESHOLDS)
    assert found == (outcome, reasons)


def test_a_neutral_or_blurred_channel_is_flat_whatever_the_conflict_probability() -> None:
    happy, neutral, blurred = probs(happy=0.8), probs(neutral=0.5, calm=0.2), probs()
    assert choose_outcome(Posteriors(neutral, happy, happy, 0.99), THRESHOLDS) == (
        Outcome.FLAT,
        (Reason.FACE_FLAT,),
    )
    assert choose_outcome(Posteriors(happy, blurred, happy, 0.01), THRESHOLDS) == (
        Outcome.FLAT,
        (Reason.VOICE_FLAT,),
    )


def test_missing_channel_is_insufficient() -> None:
    happy = probs(happy=0.8)
    assert choose_outcome(Posteriors(happy, None, happy, None), THRESHOLDS)[0] == (
        Outcome.INSUFFICIENT
    )


@pytest.mark.parametrize(
    ("seen", "modalities", "reasons"),
    [
        (window(), {Modality.VIDEO, Modality.AUDIO}, ()),
        (window(faces=False), {Modality.AUDIO}, (Reason.NO_FACE,)),
        (window(face=0.1), {Modality.AUDIO}, (Reason.FACE_TOO_SELDOM,)),
        (window(sound=False), {Modality.VIDEO}, (Reason.NO_SPEECH,)),
        (window(speech=0.0), {Modality.VIDEO}, (Reason.NO_SPEECH,)),
        (window(speech=0.05), {Modality.VIDEO}, (Reason.SPEECH_TOO_SHORT,)),
        (window(faces=False, sound=False), set(), (Reason.NO_FACE, Reason.NO_SPEECH)),
        (window(tracks=2), {Modality.VIDEO, Modality.AUDIO}, (Reason.SEVERAL_FACES,)),
    ],
)
def test_evidence(seen: Window, modalities: set[Modality], reasons: tuple[Reason, ...]) -> None:
    evidence = weigh_evidence(seen, DecisionConfig())
    assert evidence.modalities == modalities
    assert evidence.reasons == reasons


def test_a_very_short_window_is_not_scored() -> None:
    short = Window(0.0, 0.2, None, np.zeros(3200, np.float32), 0.0, 1.0)
    assert weigh_evidence(short, DecisionConfig()).reasons == (Reason.TOO_SHORT,)


def test_decide_carries_coverage_and_reasons() -> None:
    seen = window(tracks=2, face=0.5)
    evidence = weigh_evidence(seen, DecisionConfig())
    happy = probs(happy=0.8)
    found = decide(seen, evidence, Posteriors(happy, happy, happy, 0.05), THRESHOLDS)
    assert found.outcome is Outcome.MATCH
    assert found.reasons == (Reason.SEVERAL_FACES,)
    assert found.face is not None
    assert found.voice is not None
    assert (found.face.coverage, found.voice.coverage) == (0.5, 0.8)
