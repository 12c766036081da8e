"""What a report says in the files of other tools: ELAN, Praat, players, BIDS, diarisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from facevoice.exchange import (
    Document,
    Event,
    Span,
    Tier,
    describe_events,
    to_eaf,
    to_events,
    to_rttm,
    to_textgrid,
)
from facevoice.interpret import shown_spans
from facevoice.records import (
    EMOTIONS,
    NOTICE,
    VERSION,
    Moment,
    Outcome,
    Prediction,
    Reason,
    Report,
    top_emotion,
)
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_WORDS,
    describe_moment,
    names_of,
    vocabulary,
)
from facevoice.texts import shown
from facevoice.transcript import Line, Transcript, to_srt, to_vtt

OUTCOME_TIER, WORDS_TIER, SAID_TIER = "outcome", "words", "in words"
_EMOTIONS: Final = tuple(emotion.value for emotion in EMOTIONS)
_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)
_OUTCOME: Final = (OUTCOME_TIER, _OUTCOMES)
# Whoever is judged in such a window, it isn't clear that they speak.
_SPEAKERS: Final = {Reason.VOICE_OFF_SCREEN: "off screen", Reason.SPEAKER_UNCLEAR: "unclear"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the timeline, and what a window says that stands for it."""

    start_s: float
    end_s: float
    window: Prediction


def end_of(report: Report) -> float:
    """Until when the timeline of a report goes, in seconds."""
    ends_s = [window.end_s for window in report.windows]
    return max([0.0 if report.media is None else report.media.duration_s, *ends_s])


def stretches_by_person(report: Report) -> dict[str | None, list[Stretch]]:
    """What is said of each person, by name; None where the report knows of one person or none.

    Each window stands for the stretch that is shown of it, so that none overlap. Where several
    people are seen, None holds what belongs to nobody who is seen.
    """
    names = called(report)
    spans = shown_spans(report.windows, end_of(report))
    places = {(w.start_s, w.end_s): span for w, span in zip(report.windows, spans, strict=True)}
    found: dict[str | None, list[Stretch]] = {name: [] for name in (*names.values(), None)}
    judged = set()
    for window, (start_s, end_s) in zip(report.windows, spans, strict=True):
        found[names.get(window.person or 0)].append(Stretch(start_s, end_s, window))
        judged.add((window.start_s, window.end_s, window.person))
    for person in report.people:
        for window in person.windows:
            place = (window.start_s, window.end_s)
            if person.number in names and (*place, person.number) not in judged:
                found[names[person.number]].append(Stretch(*places[place], window))
    for own in found.values():
        own.sort(key=lambda one: one.start_s)
    return {name: own for name, own in found.items() if own}


def called(report: Report) -> dict[int, str]:
    """What people are called, each otherwise, where several are seen; by their numbers.

    As `texts.shown` shows them.
    """
    names = {number: shown(name) for number, name in names_of(report).items()}
    several = [name for name in names.values() if [*names.values()].count(name) > 1]
    return {
        number: f"{name} ({number})" if name in several else name for number, name in names.items()
    }


def label_of(window: Prediction, channel: str) -> str | None:
    """What a window says of "face", "voice", "fused" or "outcome"; None where nothing is read."""
    if channel == OUTCOME_TIER:
        return window.outcome.value
    posterior = getattr(window, channel)
    return None if posterior is None else top_emotion(posterior)[0].value


def to_blank(report: Report) -> Document:
    """The same tiers without what facevoice says, for people who annotate unprimed; with the words.

    Everybody who is seen has all four tiers, whatever was read of them.
    """
    names: list[str | None] = [*called(report).values()] or [None]
    only = shown(report.people[0].name) if len(report.people) == 1 else None
    tiers = [
        Tier(_named(channel, name), (), name or only, labels)
        for name in names
        for channel, labels in (*dict.fromkeys(CHANNEL_WORDS, _EMOTIONS).items(), _OUTCOME)
    ]
    return Document((*tiers, *_words(report)), report.path, end_of(report), report.path)


def to_document(report: Report) -> Document:
    """The tiers of a report: face, voice, fused and outcome of each person, and the words.

    Neighbouring windows of one label are one span, of the stretch that they stand for. Tiers of
    one of several people are called "face@Anna". "in words" tells more of each outcome.
    """
    tiers: list[Tier] = []
    only = shown(report.people[0].name) if len(report.people) == 1 else None
    for name, own in stretches_by_person(report).items():
        who = name or only
        for channel in CHANNEL_WORDS:
            spans = tuple(runs(own, channel))
            if spans:
                tiers.append(Tier(_named(channel, name), spans, who, _EMOTIONS))
        moments = [m for m in report.moments if called(report).get(m.person or 0) == name]
        outcome = _named(OUTCOME_TIER, name)
        spans = tuple(_outcomes(report, moments, own))
        if spans:
            tiers.append(Tier(outcome, spans, who, _OUTCOMES))
        if moments:
            said = tuple(Span(m.start_s, m.end_s, _in_words(m, {})) for m in moments)
            tiers.append(Tier(_named(SAID_TIER, name), said, who, about=outcome))
    tiers += _words(report)
    return Document(tuple(tiers), report.path, end_of(report), report.path)


def _named(channel: str, name: str | None) -> str:
    return channel if name is None else f"{channel}@{name}"


def runs(stretches: Iterable[Stretch], channel: str) -> Iterator[Span]:
    """Neighbours of one label as one span."""
    held: Span | None = None
    for one in stretches:
        label = label_of(one.window, channel)
        if held and held.label == label and abs(held.end_s - one.start_s) < 1e-9:
            held = Span(held.start_s, one.end_s, held.label)
            continue
        if held:
            yield held
        held = None if label is None else Span(one.start_s, one.end_s, label)
    if held:
        yield held


def _outcomes(report: Report, moments: Sequence[Moment], own: Iterable[Stretch]) -> list[Span]:
    """A person's moments, and what is said of them while somebody else is judged."""
    spans = [Span(one.start_s, one.end_s, one.outcome.value) for one in moments]
    judged = {id(window) for window in report.windows}
    others = [one for one in own if id(one.window) not in judged]
    rest = [
        one
        for one in others
        # Where nothing is compared, a moment may hold windows of several people.
        if not any(s.start_s <= (one.start_s + one.end_s) / 2 < s.end_s for s in spans)
    ]
    return sorted([*spans, *runs(rest, OUTCOME_TIER)], key=lambda span: span.start_s)


def _in_words(moment: Moment, names: dict[int, str]) -> str:
    # Where neither channel is read and no reason is known, there is nothing else to say.
    return describe_moment(moment, names) or moment.outcome.value


def _words(report: Report) -> Iterator[Tier]:
    lines = () if report.transcript is None else report.transcript.lines
    speakers = dict.fromkeys(line.speaker for line in lines)
    for speaker in speakers:
        spans = (Span(line.start_s, line.end_s, line.text) for line in _of(lines, speaker))
        yield Tier(_named(WORDS_TIER, speaker), tuple(spans), speaker)


def _of(lines: Iterable[Line], speaker: str | None) -> Iterator[Line]:
    return (line for line in lines if line.speaker == speaker)


def to_report_eaf(report: Report, target: Path | None = None, *, blank: bool = False) -> str:
    """For ELAN; `target`: where it will lie, so that it finds the media from there."""
    return to_eaf(to_blank(report) if blank else to_document(report), target)


def to_report_textgrid(report: Report, *, blank: bool = False) -> str:
    """For Praat."""
    return to_textgrid(to_blank(report) if blank else to_document(report))


def _captions(report: Report) -> Transcript:
    """The moments in plain words, as lines that are shown while they last."""
    names = called(report)
    lines = (
        Line(moment.start_s, moment.end_s, _in_words(moment, names))
        for moment in report.moments
        if round(moment.end_s * 1000) > round(moment.start_s * 1000)
    )
    return Transcript(tuple(lines), report.path)


def to_report_srt(report: Report) -> str:
    """Captions of the moments as SubRip, for players."""
    return to_srt(_captions(report))


def to_report_vtt(report: Report) -> str:
    """Captions of the moments as WebVTT, for browsers."""
    return to_vtt(_captions(report), note=f"facevoice {report.facevoice_version}. {NOTICE}")


def to_report_events(report: Report) -> str:
    """The moments as a BIDS table."""
    names = {person.number: person.name for person in report.people}
    return to_events(
        Event(
            start_s=moment.start_s,
            end_s=moment.end_s,
            outcome=moment.outcome.value,
            face=None if moment.face is None else moment.face.value,
            voice=None if moment.voice is None else moment.voice.value,
            conflict=moment.conflict,
            strength=moment.strength,
            person=names.get(moment.person or 0),
            reasons=tuple(reason.value for reason in moment.reasons),
            text=report.words_between(moment.start_s, moment.end_s),
        )
        for moment in report.moments
    )


def to_report_sidecar(report: Report) -> str:
    """What the columns of that table mean, as BIDS wants it."""
    told = vocabulary()
    emotions = {emotion.value: f"looks or sounds {EMOTION_WORDS[emotion]}" for emotion in EMOTIONS}
    levels = {
        "trial_type": {one["name"]: one["words"] for one in told["outcomes"]},
        "face": emotions,
        "voice": emotions,
        "reasons": {one["name"]: one["words"] for one in told["reasons"]},
    }
    return describe_events(levels, {"Name": "facevoice", "Version": VERSION}, NOTICE)


def to_report_rttm(report: Report) -> str:
    """Who speaks: for each person the stretches in which speech is read as theirs.

    "off screen" and "unclear" stand for speech of nobody who is seen, or of nobody in particular;
    times are as fine as windows are apart.
    """
    called_by = {person.number: person.name for person in report.people} | called(report)
    spans: dict[str, list[Span]] = {}
    for start_s, end_s, who in _turns(report, called_by):
        spans.setdefault(who, []).append(Span(start_s, end_s, who))
    return to_rttm(report.path, [Tier(who, tuple(own)) for who, own in spans.items()])


def _turns(report: Report, names: dict[int, str]) -> Iterator[tuple[float, float, str]]:
    spans = shown_spans(report.windows, end_of(report))
    turns = (
        (span, _speaker(window, names)) for window, span in zip(report.windows, spans, strict=True)
    )
    for who, run in groupby(turns, key=lambda turn: turn[1]):
        stretch = [span for span, _ in run]
        if who is not None:
            yield stretch[0][0], stretch[-1][1], who


def _speaker(window: Prediction, names: dict[int, str]) -> str | None:
    if window.voice is None or Reason.OTHER_SPEAKS in window.reasons:
        return None
    apart = next((who for reason, who in _SPEAKERS.items() if reason in window.reasons), None)
    return apart or names.get(window.person or 0, "unknown")
