from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from builders import make_failed_report, make_report
from facevoice.interpret import shown_spans
from facevoice.records import (
    ChannelPosterior,
    DecisionCurve,
    Emotion,
    Outcome,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
)
from facevoice.report import (
    describe_in_words,
    describe_known,
    describe_point,
    summarize_in_words,
    vocabulary,
)
from facevoice.report.words import (
    EMOTION_COLORS,
    EMOTION_WORDS,
    NOT_COMPARED,
    OUTCOME_COLORS,
    chance_words,
    channel_words,
    conflict_words,
    describe_moment,
    duration_words,
    ink_on,
    names_of,
    num_known,
    percent,
    strength_words,
)
from facevoice.settings import DecisionConfig
from made_reports import (
    BLIND,
    CONFLICT,
    CURVE,
    DEAF,
    FLAT,
    MATCH,
    UNDECIDED,
    decided,
    in_a_row,
    make_window,
)

ANGRY, CALM, FEARFUL, HAPPY = Emotion.ANGRY, Emotion.CALM, Emotion.FEARFUL, Emotion.HAPPY
NEUTRAL, SAD, DISGUST = Emotion.NEUTRAL, Emotion.SAD, Emotion.DISGUST
LOOKS_HAPPY = "the face looks happy (91%)"


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", [*OUTCOME_COLORS.values(), *EMOTION_COLORS.values()])
def test_words_on_every_color_are_readable(color: str) -> None:
    high, low = sorted((luminance(ink_on(color)), luminance(color)), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_in_the_dark_colors_stand_out_and_words_on_them_are_readable() -> None:
    words = vocabulary()
    ground = luminance("#14181C")  # see page.css
    for item in (*words["emotions"], *words["outcomes"]):
        color, ink = luminance(item["dark"]), luminance(item["dark_ink"])
        high, low = max(color, ink), min(color, ink)
        assert (high + 0.05) / (low + 0.05) >= 4.5, item["name"]
        # What is insufficient is as quiet as on white.
        is_quiet = item["name"] == Outcome.INSUFFICIENT
        assert is_quiet or (color + 0.05) / (ground + 0.05) >= 3, item["name"]
    assert len({item["dark"] for item in words["emotions"]}) == len(Emotion)


def test_everything_has_its_own_look_and_words() -> None:
    words = vocabulary()
    assert [item["name"] for item in words["emotions"]] == [EMOTION_WORDS[e] for e in Emotion]
    assert [item["name"] for item in words["outcomes"]] == list(Outcome)
    assert [item["name"] for item in words["reasons"]] == list(Reason)
    for key in ("color", "shape", "words"):
        assert len({item[key] for item in words["outcomes"]}) == len(Outcome)
    assert len({item["color"] for item in words["emotions"]}) == len(Emotion)
    assert len({item["words"] for item in words["reasons"]}) == len(Reason)
    assert {item["name"] for item in words["outcomes"] if item["counts"]} == {
        *("match", "conflict", "undecided")
    }
    about = {item["name"]: item["about"] for item in words["reasons"]}
    assert (about["no_face"], about["no_speech"], about["too_short"]) == ("face", "voice", None)


@pytest.mark.parametrize(
    ("window", "sentence", "moment"),
    [
        (
            MATCH,
            f"Face and voice match: {LOOKS_HAPPY} and the voice sounds happy (55%). "
            "Probability of conflict: 4%.",
            "face happy, voice happy: match, 96%",
        ),
        (
            make_window(Emotion.SURPRISED, FEARFUL, 0.1),
            "Face and voice match: the face looks surprised (91%) and the voice sounds fearful "
            "(55%), which go together. Probability of conflict: 10%.",
            "face surprised, voice fearful: match, 90%",
        ),
        (
            CONFLICT,
            f"Face and voice conflict: {LOOKS_HAPPY}, but the voice sounds sad (55%). "
            "Probability of conflict: 90%.",
            "face happy, voice sad: conflict, 90%",
        ),
        (
            UNDECIDED,
            f"Undecided, leans to conflict, 64%: {LOOKS_HAPPY} and the voice sounds sad (55%).",
            "face happy, voice sad: leans to conflict, 64%",
        ),
        (
            make_window(HAPPY, HAPPY, 0.5),
            f"Undecided, leans neither way, 50%: {LOOKS_HAPPY} and the voice sounds happy (55%).",
            "face happy, voice happy: leans neither way, 50%",
        ),
        (
            make_window(HAPPY, SAD, 0.1),
            f"Undecided, leans to match, 90%: {LOOKS_HAPPY} and the voice sounds sad (55%). "
            "The likeliest emotions differ, so it is not called a match.",
            "face happy, voice sad: leans to match, 90%",
        ),
        (
            make_window(HAPPY, HAPPY, 0.9),
            f"Undecided, leans to conflict, 90%: {LOOKS_HAPPY} and the voice sounds happy (55%). "
            "The likeliest emotions agree, so it is not called a conflict.",
            "face happy, voice happy: leans to conflict, 90%",
        ),
        (
            FLAT,
            f"No clear emotion in the voice, so nothing to compare: {LOOKS_HAPPY}, "
            "the voice sounds neutral (55%).",
            "face happy, voice neutral",
        ),
        (
            make_window(NEUTRAL, ANGRY, 0.5),
            "No clear emotion in the face, so nothing to compare: the face looks neutral (91%), "
            "the voice sounds angry (55%).",
            "face neutral, voice angry",
        ),
        (
            make_window(NEUTRAL, CALM, 0.1),
            "No clear emotion in the face or the voice, so nothing to compare: the face looks "
            "neutral (91%), the voice sounds calm (55%).",
            "face neutral, voice calm",
        ),
        (
            BLIND,
            "Face and voice can't be compared: no face is seen. The voice sounds sad (55%).",
            "no face is seen; voice sad",
        ),
        (
            make_window(None, None, None, Reason.NO_VIDEO_STREAM, Reason.NO_SPEECH),
            "Face and voice can't be compared: the file has no picture and no speech is heard.",
            "the file has no picture and no speech is heard",
        ),
        (
            replace(make_window(HAPPY, SAD, None, Reason.SEVERAL_FACES), voice=None),
            "Face and voice can't be compared: there is never enough of both at once. "
            "The face looks happy (91%). Several faces are seen at once; the most prominent one "
            "is read.",
            "face happy",
        ),
    ],
)
def test_a_window_says_one_thing_and_why(window: Prediction, sentence: str, moment: str) -> None:
    report = decided(window)
    assert summarize_in_words(report) == sentence
    assert describe_moment(report.moments[0]) == moment


def test_a_model_that_compares_nothing_says_so() -> None:
    report = decided(make_window(HAPPY, SAD, None, Reason.MODEL_WITHOUT_CONFLICT), curve=None)
    assert summarize_in_words(report) == (
        "Face and voice can't be compared: this model was not made to compare them. "
        "The face looks happy (91%) and the voice sounds sad (55%)."
    )
    assert describe_point(report) == "This model does not compare face and voice."


def test_a_short_file_has_one_answer_and_says_where_windows_differ() -> None:
    report = decided(*in_a_row([CONFLICT, CONFLICT, MATCH]), status=Status.TRUNCATED)
    assert summarize_in_words(report).endswith(
        "Of 3 windows: 1 match, 2 conflict. "
        "The file is damaged or ends early: only the part that decodes was read."
    )
    assert "Of 2 windows" not in summarize_in_words(decided(*in_a_row([MATCH, MATCH])))
    both = summarize_in_words(decided(*in_a_row([BLIND, DEAF])))
    assert both.startswith("Face and voice can't be compared: there is never enough of both")


def test_a_long_file_leads_with_its_strongest_conflicts() -> None:
    crowd = replace(CONFLICT, conflict=0.97, reasons=(Reason.SEVERAL_FACES,))
    report = decided(*in_a_row([CONFLICT, MATCH, crowd, crowd, FLAT, FLAT, CONFLICT]))
    assert summarize_in_words(report) == (
        "Conflict for 10 s (3 times), match for 2 s (once), flat for 4 s (once). "
        "Strongest conflicts: 0:05–0:09 face happy, voice sad (97%); "
        "0:00–0:03 face happy, voice sad (90%); 0:13–0:16 face happy, voice sad (90%). "
        "At times several faces are seen at once; the most prominent one is read."
    )
    assert summarize_in_words(decided(*in_a_row([MATCH] * 3 + [UNDECIDED]))) == (
        "Match for 7 s (once), undecided for 3 s (once). No conflict is called."
    )


def test_files_without_an_answer() -> None:
    assert summarize_in_words(make_failed_report()) == (
        "Could not be analysed: clips/broken.mp4: the file is empty."
    )
    assert summarize_in_words(make_report(status=Status.NO_FACE_NO_SPEECH)) == (
        "Nothing to say: no part of the file could be read."
    )


WINDOWS = [MATCH, CONFLICT, UNDECIDED, FLAT, BLIND, DEAF]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.FAILED])
def test_every_file_gives_whole_plain_sentences(status: Status) -> None:
    files = [[window] for window in WINDOWS]
    files += [in_a_row(pair) for pair in product(WINDOWS, repeat=2)]
    files.append(in_a_row(WINDOWS))
    for windows in files:
        text = summarize_in_words(decided(*windows, status=status))
        assert text[0].isupper()
        assert text.endswith(".")
        assert ".." not in text
        assert not [word for word in ("None", "_", "carries", "reads as", "  ") if word in text]


def test_a_probability_of_conflict_stands_only_where_it_counts() -> None:
    for window in WINDOWS:
        report = decided(window)
        (said,), (moment,) = report.windows, report.moments
        shown = (conflict_words(said), strength_words(moment))
        assert (shown == ("–", "–")) is (said.outcome in NOT_COMPARED)
        assert ("conflict" in describe_moment(moment)) is (
            said.outcome in {Outcome.CONFLICT, Outcome.UNDECIDED}
        )
    assert conflict_words(decided(MATCH).windows[0]) == "4%"
    assert strength_words(decided(MATCH).moments[0]) == "96%"


@pytest.mark.parametrize(
    ("reason", "channel", "words"),
    [
        (Reason.NO_FACE, "face", "no face"),
        (Reason.FACE_TOO_SELDOM, "face", "rarely seen"),
        (Reason.SPEECH_TOO_SHORT, "voice", "little speech"),
        (Reason.TOO_SHORT, "voice", "too short"),
        (Reason.TOO_SHORT, "fused", "–"),
    ],
)
def test_a_channel_without_emotion_says_why(reason: Reason, channel: str, words: str) -> None:
    assert channel_words(make_window(None, None, None, reason), channel) == words


def meaning(share: float, curve: DecisionCurve | None = CURVE) -> str:
    decision = DecisionConfig(expected_conflicts=share)
    return describe_point(decided(MATCH, curve=curve, decision=decision))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            0.5,
            "expect about eight to be real where as many windows conflict as match, "
            "and about two where one window in 20 conflicts.",
        ),
        (
            0.05,
            "expect about two to be real where one window in 20 conflicts, "
            "and about eight where as many windows conflict as match.",
        ),
        (0.4, "where 40% of the windows conflict"),
        (1 / 3, "where one window in 3 conflicts"),
        (0.99, "expect nearly all to be real where 99% of the windows conflict"),
    ],
)
def test_a_setting_says_how_many_of_its_conflicts_are_real(share: float, words: str) -> None:
    text = meaning(share)
    assert text.startswith("Of ten conflicts called at this setting, expect ")
    assert words in text
    assert text.endswith("Measured on actors whom the model had not met.")


def test_a_setting_that_nobody_measured_says_so() -> None:
    report = decided(MATCH, curve=DecisionCurve())
    above, below = report.point.conflict_above, report.point.match_below
    assert describe_point(report) == (
        f"A conflict is called where its probability is {above:.0%} or more, a match where it is "
        f"{below:.0%} or less; how many such calls are right was not measured."
    )


def test_of_several_people_it_is_said_who_and_how_long_each_speaks() -> None:
    windows = [
        replace(window, person=person)
        for window, person in zip(
            in_a_row([MATCH, CONFLICT, MATCH, DEAF, MATCH]), (1, 2, 1, 1, 1), strict=True
        )
    ]
    people = tuple(
        Person(number, name, (number,), 10.0, spoken_s)
        for number, name, spoken_s in ((1, "Anna", 7.6), (2, "Ben", 2.0), (3, "Person 3", 0.0))
    )
    report = replace(decided(*windows), people=people)
    told = summarize_in_words(report)
    assert "Strongest conflict: 0:03–0:05 Ben: face happy, voice sad (90%)." in told
    assert (
        "3 people are seen: Anna speaks for 8 s, Ben for 2 s, Person 3 hardly or not at all."
        in told
    )
    names = names_of(report)
    assert describe_moment(report.moments[1], names) == (
        "Ben: face happy, voice sad: conflict, 90%"
    )
    # Where nothing is compared, it may be several people's.
    [deaf] = [moment for moment in report.moments if moment.outcome is Outcome.INSUFFICIENT]
    assert describe_moment(deaf, names) == describe_moment(deaf)
    # A lone person, or the only one who isn't left out, needs no name.
    others = tuple(replace(person, is_left_out=person.number > 1) for person in people)
    assert names_of(replace(report, people=others)) == {}
    told = summarize_in_words(replace(report, people=others))
    assert "Anna" not in told
    assert "people are seen" not in told


def test_a_voice_that_is_nobodys_who_is_seen_is_not_compared() -> None:
    for reason, words in (
        (Reason.VOICE_OFF_SCREEN, "voice off screen"),
        (Reason.SPEAKER_UNCLEAR, "unclear who speaks"),
    ):
        window = replace(MATCH, conflict=None, reasons=(reason,), outcome=Outcome.INSUFFICIENT)
        assert chance_words(window) == words
        assert conflict_words(window) == "–"


def test_numbers_for_people() -> None:
    said = [percent(p) for p in (0.0, 0.004, 0.125, 0.5, 0.994, 1.0)]
    assert said == ["1%", "1%", "12%", "50%", "99%", "99%"]
    lengths = [duration_words(s) for s in (0, 8.4, 60, 130, 3600, 10_930)]
    assert lengths == ["0 s", "8 s", "1 min", "2 min 10 s", "1 h", "3 h 2 min"]


def test_each_time_belongs_to_the_window_whose_middle_is_nearest() -> None:
    spans = [(0, 4), (2, 6), (4, 7)]
    windows = [replace(MATCH, start_s=start_s, end_s=end_s) for start_s, end_s in spans]
    assert shown_spans(windows, 7.2) == [(0.0, 3.0), (3.0, 4.75), (4.75, 7.2)]
    assert shown_spans(windows[:1], 4.5) == [(0.0, 4.5)]
    assert shown_spans([], 3.0) == []


def test_every_outcome_has_been_met_above() -> None:
    reports: list[Report] = [decided(window) for window in WINDOWS]
    assert {report.windows[0].outcome for report in reports} == set(Outcome)


def known(
    window: Prediction, face: float | None, voice: float | None, *reasons: Reason
) -> Prediction:
    """The same, compared with so many windows; unfamiliar where a reason says so."""

    def channel(
        posterior: ChannelPosterior | None, number: float | None, reason: Reason
    ) -> ChannelPosterior | None:
        if posterior is None:
            return None
        strange = 1.5 if reason in reasons else None
        return replace(posterior, num_known=number, unfamiliarity=strange)

    return replace(
        window,
        face=channel(window.face, face, Reason.UNFAMILIAR_FACE),
        voice=channel(window.voice, voice, Reason.UNFAMILIAR_VOICE),
    )


@pytest.mark.parametrize(
    ("window", "counts", "sentence"),
    [
        (MATCH, (None, None), ""),
        (MATCH, (0, 0), "This person isn't known yet."),
        (MATCH, (12.2, 11.8), "Compared with this person's usual face and voice, from 12 windows."),
        (MATCH, (0.2, 1), "Compared with this person's usual face and voice, from 1 window."),
        (
            MATCH,
            (12, 3),
            "Compared with this person's usual face, from 12 windows, and voice, from 3 windows.",
        ),
        (
            MATCH,
            (12, 0),
            "Compared with this person's usual face, from 12 windows; the voice isn't known yet.",
        ),
        (BLIND, (0, 5), "Compared with this person's usual voice, from 5 windows."),
        (BLIND, (None, 0), "This person isn't known yet."),
        (make_window(None, None), (0, 0), ""),
    ],
)
def test_a_report_says_what_it_rests_on(
    window: Prediction, counts: tuple[float | None, float | None], sentence: str
) -> None:
    windows = in_a_row([known(window, *counts)] * 5)
    assert describe_known(windows) == sentence
    for report in (decided(*windows), decided(*windows[:1])):
        told = summarize_in_words(report)
        assert told.endswith(sentence)
        assert sentence or "known" not in told


def test_of_windows_that_know_more_or_less_the_middle_one_tells() -> None:
    windows = [known(MATCH, number, number) for number in (1, 50, 4)]
    assert describe_known(windows).endswith("from 4 windows.")
    assert [num_known(window.voice) for window in windows] == [1, 50, 4]
    assert num_known(known(MATCH, 0.1, 0).face) == 1
    assert num_known(MATCH.face) is num_known(BLIND.face) is None


@pytest.mark.parametrize(
    ("window", "reasons", "sentence", "moment"),
    [
        (
            CONFLICT,
            [Reason.UNFAMILIAR_VOICE],
            "Undecided: the voice is unlike any that facevoice has learnt from, so its answer "
            "isn't trusted. The face looks happy (91%) and the voice sounds sad (55%).",
            "face happy, voice sad: the voice is unlike any that facevoice has learnt from, so "
            "its answer isn't trusted",
        ),
        (
            CONFLICT,
            [Reason.UNFAMILIAR_FACE, Reason.UNFAMILIAR_VOICE],
            "Undecided: face and voice are unlike any that facevoice has learnt from, so their "
            "answers aren't trusted. The face looks happy (91%) and the voice sounds sad (55%).",
            "face happy, voice sad: face and voice are unlike any that facevoice has learnt from, "
            "so their answers aren't trusted",
        ),
        (
            BLIND,
            [Reason.UNFAMILIAR_VOICE],
            "Face and voice can't be compared: no face is seen. The voice sounds sad (55%). The "
            "voice is unlike any that facevoice has learnt from, so its answer isn't trusted.",
            "no face is seen; voice sad",
        ),
    ],
)
def test_what_is_unfamiliar_is_said_in_plain_words_and_leans_nowhere(
    window: Prediction, reasons: list[Reason], sentence: str, moment: str
) -> None:
    report = decided(known(window, None, None, *reasons))
    assert report.summary is not None
    assert describe_in_words(report.summary) == sentence
    assert describe_moment(report.moments[0]) == moment
    assert strength_words(report.moments[0]) == conflict_words(report.windows[0]) == "–"
    assert chance_words(report.windows[0]) == ""
