"""Whatever the posteriors: outcome, sentence, table, JSON and page never say two things."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from draws import draw_reports
from facevoice.interpret import go_together
from facevoice.records import (
    EMOTIONS,
    Emotion,
    Moment,
    Outcome,
    Prediction,
    Reason,
    Report,
    top_emotion,
)
from facevoice.report import build_table, from_json, to_json
from facevoice.report.page import WINDOW_FIELDS, to_view
from facevoice.report.words import (
    EMOTION_WORDS,
    conflict_words,
    describe_in_words,
    describe_moment,
    summarize_in_words,
)

NUM_ROWS = 20_000
WINDOWS_A_FILE = 2000

SAYS = {
    Outcome.MATCH: "Face and voice match:",
    Outcome.CONFLICT: "Face and voice conflict:",
    Outcome.UNDECIDED: "Undecided, leans",
    Outcome.FLAT: "nothing to compare",
    Outcome.INSUFFICIENT: "Face and voice can't be compared",
}
CONFLICT_FIGURE = re.compile(r"conflict\W+\d+%|\d+% conflict|leans")
CHANNELS = {"face": "looks", "voice": "sounds"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a sentence says: which outcomes; by channel the emotion; the figures after it."""

    outcomes: list[Outcome]
    emotions: dict[str, Emotion]
    figures: str


def read_sentence(sentence: str) -> Told:
    found = {
        channel: re.findall(rf"the {channel} {verb} (\w+) \(\d+%\)", sentence, re.IGNORECASE)
        for channel, verb in CHANNELS.items()
    }
    assert all(len(names) <= 1 for names in found.values()), sentence
    words = {word: emotion for emotion, word in EMOTION_WORDS.items()}
    emotions = {channel: words[names[0]] for channel, names in found.items() if names}
    outcomes = [outcome for outcome, mark in SAYS.items() if mark in sentence]
    return Told(outcomes, emotions, " ".join(re.findall(r"leans[^:]*|conflict: \d+%", sentence)))


def check_words(window: Prediction) -> None:
    """One sentence says one outcome, and shows what goes with it."""
    sentence, outcome = describe_in_words(window), window.outcome
    told = read_sentence(sentence)
    assert told.outcomes == [outcome], sentence
    channels = {"face": window.face, "voice": window.voice}
    assert told.emotions == {
        name: top_emotion(posterior)[0] for name, posterior in channels.items() if posterior
    }
    check_shown(outcome, window.reasons, told.emotions.get("face"), told.emotions.get("voice"))
    if outcome in (Outcome.FLAT, Outcome.INSUFFICIENT):
        assert not CONFLICT_FIGURE.search(sentence), sentence
        assert conflict_words(window) == "–"
        return
    assert window.conflict is not None
    assert conflict_words(window).endswith("%")
    if outcome is Outcome.UNDECIDED:
        check_lean(told.figures, window.conflict)
    else:
        assert told.figures == f"conflict: {conflict_words(window)}"
        assert window.conflict >= 0.5 if outcome is Outcome.CONFLICT else window.conflict <= 0.5


def check_shown(
    outcome: Outcome, reasons: Sequence[Reason], face: Emotion | None, voice: Emotion | None
) -> None:
    if outcome is Outcome.INSUFFICIENT:
        assert face is None or voice is None
        return
    assert face is not None
    assert voice is not None
    flat = {
        emotion
        for reason, emotion in ((Reason.FACE_FLAT, face), (Reason.VOICE_FLAT, voice))
        if reason in reasons
    }
    assert bool(flat) is (outcome is Outcome.FLAT)
    assert flat <= {Emotion.NEUTRAL, Emotion.CALM}
    if outcome is Outcome.MATCH:
        assert go_together(face, voice)
    if outcome is Outcome.CONFLICT:
        assert face is not voice
        assert {face, voice} != {Emotion.NEUTRAL, Emotion.CALM}


def check_lean(words: str, conflict: float) -> None:
    found = re.fullmatch(r"leans (to conflict|to match|neither way), (\d+)%", words)
    assert found is not None, words
    shown = {"to conflict": conflict, "to match": 1 - conflict, "neither way": 0.5}[found[1]]
    assert abs(100 * shown - int(found[2])) <= 1.0 + 1e-9  # from 1 to 99, in whole per cent
    assert shown > 0.5 or found[1] == "neither way"
    assert found[1] != "neither way" or abs(conflict - 0.5) < 0.0051


def check_moment(moment: Moment) -> None:
    words, outcome = describe_moment(moment), moment.outcome
    check_shown(outcome, moment.reasons, moment.face, moment.voice)
    for name, emotion in (("face", moment.face), ("voice", moment.voice)):
        assert emotion is None or f"{name} {emotion.value}" in words
    named = {o for o in (Outcome.MATCH, Outcome.CONFLICT) if re.search(rf": {o.value}\b", words)}
    assert named == {outcome} & {Outcome.MATCH, Outcome.CONFLICT}, words
    if outcome is Outcome.UNDECIDED:
        check_lean(words.rpartition(": ")[2], moment.conflict)
    else:
        assert "leans" not in words
    if outcome in (Outcome.FLAT, Outcome.INSUFFICIENT):
        assert "%" not in words


def test_twenty_thousand_posteriors_never_say_two_things() -> None:
    counts = dict.fromkeys(Outcome, 0)
    for report in draw_reports(NUM_ROWS, WINDOWS_A_FILE):
        assert len(report.windows) == sum(report.outcome_counts.values())
        for window in report.windows:
            counts[window.outcome] += 1
            check_words(window)
        for moment in report.moments:
            check_moment(moment)
        assert [m.outcome for m in report.moments] == [
            report.windows[m.first].outcome for m in report.moments
        ]
    assert sum(counts.values()) == NUM_ROWS
    assert min(counts.values()) > NUM_ROWS / 100  # each outcome was met often


@pytest.mark.parametrize("windows_a_file", [1, 2, 3, 100])
def test_table_json_page_and_sentence_say_the_same(windows_a_file: int) -> None:
    for report in draw_reports(max(300, 10 * windows_a_file), windows_a_file, seed=1):
        check_table(report)
        check_json(report)
        check_view(report)
        assert (report.summary is None) is (windows_a_file > 3)
        if report.summary is not None:
            check_words(report.summary)
            sentence = summarize_in_words(report)
            assert read_sentence(sentence).outcomes == [report.summary.outcome]
            assert sentence.startswith(describe_in_words(report.summary))
        if windows_a_file == 1:
            assert report.summary.outcome is report.windows[0].outcome
            assert [m.outcome for m in report.moments] == [report.summary.outcome]


def check_table(report: Report) -> None:
    columns = {str(c.header): list(c.cells) for c in build_table(report).columns}
    windows = [*report.windows]
    if report.summary is not None and len(windows) > 1:
        windows.append(report.summary)
    assert [str(cell) for cell in columns["outcome"]] == [w.outcome.value for w in windows]
    assert [str(cell) for cell in columns["conflict"]] == [conflict_words(w) for w in windows]


def check_json(report: Report) -> None:
    text = to_json(report)
    check_again(report, from_json(text))
    document = json.loads(text)
    assert [w["outcome"] for w in document["windows"]] == [w.outcome for w in report.windows]
    assert [m["outcome"] for m in document["moments"]] == [m.outcome for m in report.moments]
    summary = document["summary"]
    assert (summary and summary["outcome"]) == (report.summary and report.summary.outcome)


def check_again(report: Report, again: Report) -> None:
    """The numbers of JSON warrant the same words, but for a per cent that rounding has moved."""
    for window, read in zip(report.windows, again.windows, strict=True):
        words, others = describe_in_words(window), describe_in_words(read)
        assert re.sub(r"\d+%", "", others) == re.sub(r"\d+%", "", words)
    shown, other = to_view(report), to_view(again)
    for name in ("outcomes", "reasons"):
        assert other["points"][other["chosen"]][name] == shown["points"][shown["chosen"]][name]


def check_view(report: Report) -> None:
    shown = to_view(report)
    point, outcomes = shown["points"][shown["chosen"]], list(Outcome)
    wanted = [outcomes.index(window.outcome) for window in report.windows]
    rows = [dict(zip(WINDOW_FIELDS, row, strict=True)) for row in shown["windows"]]
    assert point["outcomes"] == wanted == [row["outcome"] for row in rows]
    assert point["sentence"] == [json.loads(to_json(report))["sentence"]]
    assert [outcomes[m["outcome"]] for m in point["moments"]] == [m.outcome for m in report.moments]
    for row, window in zip(rows, report.windows, strict=True):
        for channel in CHANNELS:
            posterior = getattr(window, channel)
            # The page takes the first of the largest.
            likeliest = None if posterior is None else EMOTIONS[int(np.argmax(row[channel]))]
            assert likeliest is (posterior and top_emotion(posterior)[0])
    for level in shown["points"]:
        for row, place, reasons in zip(rows, level["outcomes"], level["reasons"], strict=True):
            face, voice = (row[c] and EMOTIONS[int(np.argmax(row[c]))] for c in CHANNELS)
            check_shown(outcomes[place], [list(Reason)[r] for r in reasons], face, voice)
