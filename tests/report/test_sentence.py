from __future__ import annotations

import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.records import Emotion, Outcome, Reason, Status
from facevoice.report import summarize_in_words
from facevoice.report.words import REASON_WORDS, join_words, percent


@pytest.mark.parametrize(
    ("outcome", "conflict", "sureness"),
    [
        (Outcome.MATCH, 0.04, "very likely match"),
        (Outcome.MATCH, 0.25, "probably match"),
        (Outcome.MATCH, 0.4, "may match"),
        (Outcome.CONFLICT, 0.95, "very likely conflict"),
        (Outcome.CONFLICT, 0.8, "probably conflict"),
        (Outcome.CONFLICT, 0.6, "may conflict"),
    ],
)
def test_match_and_conflict_say_how_sure(outcome: Outcome, conflict: float, sureness: str) -> None:
    window = make_prediction(voice=Emotion.SAD, outcome=outcome, conflict=conflict)
    assert summarize_in_words(make_report(window)) == (
        f"Face and voice {sureness}: the face reads as happy (91%), the voice reads as sad (55%); "
        f"probability of conflict {conflict:.0%}."
    )


def test_flat_names_the_flat_channel() -> None:
    window = make_prediction(
        voice=Emotion.NEUTRAL, outcome=Outcome.FLAT, conflict=0.5, reasons=(Reason.VOICE_FLAT,)
    )
    assert summarize_in_words(make_report(window)) == (
        "Neither match nor conflict: the voice carries no clear emotion; "
        "the face reads as happy (91%), the voice reads as neutral (55%)."
    )


def test_flat_in_both_channels() -> None:
    window = make_prediction(
        outcome=Outcome.FLAT, reasons=(Reason.FACE_FLAT, Reason.VOICE_FLAT), conflict=0.5
    )
    assert (
        "the face shows no clear emotion and the voice carries no clear emotion;"
        in summarize_in_words(make_report(window))
    )


def test_insufficient_says_why_and_what_is_known() -> None:
    window = make_prediction(
        None, outcome=Outcome.INSUFFICIENT, conflict=None, reasons=(Reason.NO_FACE,)
    )
    assert summarize_in_words(make_report(window, status=Status.NO_FACE)) == (
        "Not enough to compare face and voice: no face was seen; the voice reads as happy (55%)."
    )


def test_insufficient_with_neither_channel() -> None:
    window = make_prediction(
        None,
        None,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(Reason.NO_VIDEO_STREAM, Reason.NO_SPEECH),
    )
    assert summarize_in_words(make_report(window, status=Status.AUDIO_ONLY)) == (
        "Not enough to compare face and voice: the file has no picture and no speech was heard."
    )


def test_undecided_is_told_apart_from_missing_evidence() -> None:
    window = make_prediction(
        outcome=Outcome.INSUFFICIENT, conflict=0.5, reasons=(Reason.UNDECIDED,)
    )
    assert summarize_in_words(make_report(window)) == (
        "Too close to call whether face and voice match or conflict: "
        "the face reads as happy (91%), the voice reads as happy (55%); "
        "probability of conflict 50%."
    )


@pytest.mark.parametrize(
    ("face", "voice", "words"),
    [
        (Emotion.HAPPY, Emotion.SAD, "no window holds enough of both"),
        (Emotion.HAPPY, None, "one of the two is missing"),
    ],
)
def test_insufficient_without_recorded_reason(
    face: Emotion, voice: Emotion | None, words: str
) -> None:
    summary = make_prediction(face, voice, outcome=Outcome.INSUFFICIENT, conflict=None)
    assert words in summarize_in_words(make_report(summary))


def test_several_windows_are_counted() -> None:
    match = make_prediction()
    conflict = make_prediction(outcome=Outcome.CONFLICT, conflict=0.9)
    report = make_report(match, match, conflict, summary=match)
    assert summarize_in_words(report).endswith("Of 3 windows: 2 match, 1 conflict.")


def test_failure_gives_the_message() -> None:
    assert summarize_in_words(make_failed_report()) == (
        "Could not be analysed: clips/broken.mp4: the file is empty."
    )


def test_truncated_file_and_several_faces_are_said() -> None:
    window = make_prediction(reasons=(Reason.SEVERAL_FACES,))
    text = summarize_in_words(make_report(window, status=Status.TRUNCATED))
    assert "The file is damaged or ends early" in text
    assert "Several faces were seen" in text


def test_file_without_windows() -> None:
    text = summarize_in_words(make_report(status=Status.NO_FACE_NO_SPEECH))
    assert text == "Nothing to say: the file holds no window that could be read."


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_status_and_outcome_gives_whole_sentences(status: Status, outcome: Outcome) -> None:
    text = summarize_in_words(make_report(make_prediction(outcome=outcome), status=status))
    assert text[0].isupper()
    assert text.endswith(".")
    assert "None" not in text


def test_every_reason_has_words() -> None:
    assert set(REASON_WORDS) == set(Reason)


def test_join_words() -> None:
    assert [join_words("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_percent_never_claims_certainty() -> None:
    assert [percent(p) for p in (0.0, 0.004, 0.125, 0.5, 0.994, 1.0)] == [
        "1%",
        "1%",
        "12%",
        "50%",
        "99%",
        "99%",
    ]
