from __future__ import annotations

from dataclasses import replace

import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.records import Emotion, Outcome, Prediction, Reason, Status
from facevoice.report import summarize_in_words, vocabulary
from facevoice.report.words import EMOTION_COLORS, OUTCOME_COLORS, ink_on, percent, shown_spans

HAPPY = "the face reads as happy (91%)"
INSUFFICIENT = Outcome.INSUFFICIENT


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", [*OUTCOME_COLORS.values(), *EMOTION_COLORS.values()])
def test_words_on_every_color_are_readable(color: str) -> None:
    high, low = sorted((luminance(ink_on(color)), luminance(color)), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_everything_has_its_own_look_and_words() -> None:
    words = vocabulary({Outcome.MATCH: 3})
    assert [item["name"] for item in words["emotions"]] == list(Emotion)
    assert [item["name"] for item in words["outcomes"]] == list(Outcome)
    assert [item["name"] for item in words["reasons"]] == list(Reason)
    for key in ("color", "shape", "words"):
        assert len({item[key] for item in words["outcomes"]}) == len(Outcome)
    assert len({item["color"] for item in words["emotions"]}) == len(Emotion)
    assert all(item["words"] for item in words["reasons"])
    assert [item["count"] for item in words["outcomes"]] == [3, 0, 0, 0]
    about = {item["name"]: item["about"] for item in words["reasons"]}
    assert (about["no_face"], about["no_speech"], about["too_short"]) == ("face", "voice", None)


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
        f"Face and voice {sureness}: {HAPPY}, the voice reads as sad (55%); "
        f"probability of conflict {conflict:.0%}."
    )


def unclear(
    face: Emotion | None, voice: Emotion | None, outcome: Outcome, *reasons: Reason
) -> Prediction:
    conflict = None if face is None or voice is None else 0.5
    return make_prediction(face, voice, outcome=outcome, conflict=conflict, reasons=reasons)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (
            unclear(Emotion.HAPPY, Emotion.NEUTRAL, Outcome.FLAT, Reason.VOICE_FLAT),
            "Neither match nor conflict: the voice carries no clear emotion; "
            f"{HAPPY}, the voice reads as neutral (55%).",
        ),
        (
            unclear(None, Emotion.HAPPY, INSUFFICIENT, Reason.NO_FACE),
            "Not enough to compare face and voice: no face was seen; "
            "the voice reads as happy (55%).",
        ),
        (
            unclear(None, None, INSUFFICIENT, Reason.NO_VIDEO_STREAM, Reason.NO_SPEECH),
            "Not enough to compare face and voice: the file has no picture and no speech was "
            "heard.",
        ),
        (
            unclear(Emotion.HAPPY, Emotion.HAPPY, INSUFFICIENT, Reason.UNDECIDED),
            f"Too close to call whether face and voice match or conflict: {HAPPY}, "
            "the voice reads as happy (55%); probability of conflict 50%.",
        ),
        (
            replace(unclear(Emotion.HAPPY, Emotion.HAPPY, INSUFFICIENT), conflict=None),
            "Not enough to compare face and voice: no window holds enough of both; "
            f"{HAPPY}, the voice reads as happy (55%).",
        ),
    ],
)
def test_what_is_not_clear_says_why_and_what_is_known(window: Prediction, words: str) -> None:
    assert summarize_in_words(make_report(window)) == words


def test_windows_are_counted_and_caveats_said() -> None:
    match = make_prediction(reasons=(Reason.SEVERAL_FACES,))
    conflict = make_prediction(outcome=Outcome.CONFLICT, conflict=0.9)
    report = make_report(match, match, conflict, summary=match, status=Status.TRUNCATED)
    assert summarize_in_words(report).endswith(
        "Of 3 windows: 2 match, 1 conflict. "
        "The file is damaged or ends early: only the part that decodes was read. "
        "Several faces were seen: the leading one was read."
    )


def test_files_without_an_answer() -> None:
    assert summarize_in_words(make_failed_report()) == (
        "Could not be analysed: clips/broken.mp4: the file is empty."
    )
    assert summarize_in_words(make_report(status=Status.NO_FACE_NO_SPEECH)) == (
        "Nothing to say: the file holds no window that could be read."
    )


@pytest.mark.parametrize("outcome", Outcome)
def test_every_status_gives_whole_sentences(outcome: Outcome) -> None:
    for status in Status:
        report = make_report(make_prediction(outcome=outcome), status=status)
        text = summarize_in_words(report)
        assert text[0].isupper()
        assert text.endswith(".")
        assert "None" not in text


def test_percent_never_claims_certainty() -> None:
    said = [percent(p) for p in (0.0, 0.004, 0.125, 0.5, 0.994, 1.0)]
    assert said == ["1%", "1%", "12%", "50%", "99%", "99%"]


def test_each_moment_belongs_to_the_window_whose_middle_is_nearest() -> None:
    windows = [make_prediction(start_s=a, end_s=b) for a, b in ((0, 4), (2, 6), (4, 7))]
    assert shown_spans(windows, 7.2) == [(0.0, 3.0), (3.0, 4.75), (4.75, 7.2)]
    assert shown_spans(windows[:1], 4.5) == [(0.0, 4.5)]
    assert shown_spans([], 3.0) == []
