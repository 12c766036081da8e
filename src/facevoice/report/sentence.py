"""A report in one or a few plain sentences, for people who have read no manual."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from facevoice.labels import Outcome, Reason, Status
from facevoice.results import Prediction, Report, top_emotion
from facevoice.types import ChannelPosterior

REASON_WORDS: Final[dict[Reason, str]] = {
    Reason.NO_VIDEO_STREAM: "the file has no picture",
    Reason.NO_AUDIO_STREAM: "the file has no sound",
    Reason.NO_FACE: "no face was seen",
    Reason.FACE_TOO_SELDOM: "the face was seen too seldom",
    Reason.NO_SPEECH: "no speech was heard",
    Reason.SPEECH_TOO_SHORT: "too little speech was heard",
    Reason.TOO_SHORT: "it is too short",
    Reason.FACE_FLAT: "the face shows no clear emotion",
    Reason.VOICE_FLAT: "the voice carries no clear emotion",
    Reason.UNDECIDED: "face and voice are too close to call",
    Reason.SEVERAL_FACES: "several faces were seen",
    Reason.MODEL_WITHOUT_CONFLICT: "the model does not compare face and voice",
}
"""What each reason says, as a clause."""

# These explain why there is no answer; the others only tell what to bear in mind.
_NOT_A_CAUSE: Final = frozenset({Reason.SEVERAL_FACES})


def summarize_in_words(report: Report) -> str:
    """What the face shows, what the voice carries, whether they agree, how sure, and why not."""
    if report.status is Status.FAILED:
        detail = "no reason was recorded" if report.error is None else report.error.message
        return f"Could not be analysed: {detail.rstrip('.')}."
    if report.summary is None:
        return "Nothing to say: the file holds no window that could be read."
    parts = (_verdict(report.summary), _count_windows(report), _caveats(report))
    return " ".join(part for part in parts if part)


def describe_in_words(prediction: Prediction) -> str:
    """What one window, or a whole, says; without what only a report knows."""
    return _verdict(prediction)


def percent(prob: float) -> str:
    """A probability for people: whole per cent from 1 to 99, since nothing here is certain."""
    return f"{min(max(round(prob * 100), 1), 99)}%"


def join_words(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(words)
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def _verdict(summary: Prediction) -> str:
    readings = _readings(summary)
    if summary.outcome in (Outcome.MATCH, Outcome.CONFLICT):
        sureness = _how_sure(summary)
        chance = (
            ""
            if summary.conflict is None
            else f"; probability of conflict {percent(summary.conflict)}"
        )
        return f"Face and voice {sureness} {summary.outcome.value}: {readings}{chance}."
    if Reason.UNDECIDED in summary.reasons and summary.conflict is not None:
        return (
            f"Too close to call whether face and voice match or conflict: {readings}; "
            f"probability of conflict {percent(summary.conflict)}."
        )
    causes = _causes(summary)
    opening = (
        "Neither match nor conflict"
        if summary.outcome is Outcome.FLAT
        else "Not enough to compare face and voice"
    )
    return f"{opening}: {causes}" + (f"; {readings}." if readings else ".")


def _causes(summary: Prediction) -> str:
    named = [REASON_WORDS[reason] for reason in summary.reasons if reason not in _NOT_A_CAUSE]
    if named:
        return join_words(named)
    if summary.outcome is Outcome.FLAT:
        return "at least one of the two carries no clear emotion"
    if summary.face is not None and summary.voice is not None:
        return "no window holds enough of both"
    return "one of the two is missing"


def _how_sure(summary: Prediction) -> str:
    if summary.conflict is None:
        return "may"
    prob = summary.conflict if summary.outcome is Outcome.CONFLICT else 1.0 - summary.conflict
    if prob >= 0.9:
        return "very likely"
    return "probably" if prob >= 0.7 else "may"


def _readings(summary: Prediction) -> str:
    clauses = [
        f"the {channel} reads as {_name(posterior)}"
        for channel, posterior in (("face", summary.face), ("voice", summary.voice))
        if posterior is not None
    ]
    return ", ".join(clauses)


def _name(posterior: ChannelPosterior) -> str:
    emotion, prob = top_emotion(posterior)
    return f"{emotion.value} ({percent(prob)})"


def _count_windows(report: Report) -> str:
    total = len(report.windows)
    if total < 2:
        return ""
    counts = [
        f"{report.outcome_counts[outcome]} {outcome.value}"
        for outcome in Outcome
        if report.outcome_counts.get(outcome, 0)
    ]
    return f"Of {total} windows: {', '.join(counts)}." if counts else ""


def _caveats(report: Report) -> str:
    caveats = []
    if report.status is Status.TRUNCATED:
        caveats.append("The file is damaged or ends early: only the part that decodes was read.")
    predictions = (report.summary, *report.windows)
    if any(p is not None and Reason.SEVERAL_FACES in p.reasons for p in predictions):
        caveats.append("Several faces were seen: the leading one was read.")
    return " ".join(caveats)
