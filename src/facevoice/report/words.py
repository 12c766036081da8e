"""One visual language for console, plots, pages and pictures: colours, words, the moment shown.

The outcomes' colours are Okabe and Ito's (2008), the emotions' Paul Tol's muted scheme (2021): told
apart by colour-blind people. A colour never stands without its word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from facevoice.records import (
    ChannelPosterior,
    Emotion,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    top_emotion,
)

OUTCOME_COLORS: Final[dict[Outcome, str]] = {
    Outcome.MATCH: "#0072B2",
    Outcome.CONFLICT: "#D55E00",
    Outcome.FLAT: "#8A9BA8",
    Outcome.INSUFFICIENT: "#D5D9DD",
}

OUTCOME_WORDS: Final[dict[Outcome, str]] = {
    Outcome.MATCH: "face and voice express the same emotion",
    Outcome.CONFLICT: "face and voice express different emotions",
    Outcome.FLAT: "at least one of them carries no clear emotion",
    Outcome.INSUFFICIENT: "not enough evidence to tell",
}

EMOTION_COLORS: Final[dict[Emotion, str]] = {
    Emotion.NEUTRAL: "#C4C9CE",
    Emotion.CALM: "#44AA99",
    Emotion.HAPPY: "#DDCC77",
    Emotion.SAD: "#332288",
    Emotion.ANGRY: "#882255",
    Emotion.FEARFUL: "#AA4499",
    Emotion.DISGUST: "#999933",
    Emotion.SURPRISED: "#88CCEE",
}

CHANNEL_WORDS: Final[dict[str, str]] = {"face": "Face", "voice": "Voice", "fused": "Both"}


def ink_on(color: str) -> str:
    """Black or white, whichever reads better on `color` (#RRGGBB): the larger WCAG 2.2 contrast."""
    channels = (int(color[k : k + 2], 16) / 255 for k in (1, 3, 5))
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#111111" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#FFFFFF"


def shown_spans(windows: Sequence[Prediction], end_s: float) -> list[tuple[float, float]]:
    """From when to when each window stands for what is shown; together they cover 0 to `end_s`.

    Windows overlap: each moment belongs to the window whose middle is nearest.
    """
    middles = [(window.start_s + window.end_s) / 2 for window in windows]
    borders = [(a + b) / 2 for a, b in pairwise(middles)]
    edges = [0.0, *borders, max(end_s, borders[-1] if borders else 0.0)]
    return list(pairwise(edges)) if windows else []


# A report in one or a few plain sentences, for people who have read no manual.

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
