"""The one visual and verbal language of console, plots, pages and films: colours, shapes, words.

The outcomes' colours are Okabe and Ito's (2008), the emotions' Paul Tol's muted scheme (2021): told
apart by colour-blind people. A colour never stands without its word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from facevoice.records import (
    ChannelPosterior,
    Emotion,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    Thresholds,
    top_emotion,
)


class _Look(NamedTuple):
    color: str
    shape: str
    console: str
    words: str


_LOOKS: Final = {
    Outcome.MATCH: _Look("#0072B2", "disc", "bold blue", "face and voice express the same emotion"),
    Outcome.CONFLICT: _Look(
        "#D55E00", "diamond", "bold yellow", "face and voice express different emotions"
    ),
    Outcome.FLAT: _Look("#8A9BA8", "bar", "cyan", "at least one of them carries no clear emotion"),
    Outcome.INSUFFICIENT: _Look("#D5D9DD", "ring", "dim", "not enough evidence to tell"),
}
OUTCOME_COLORS: Final = {outcome: look.color for outcome, look in _LOOKS.items()}
OUTCOME_STYLES: Final = {outcome: look.console for outcome, look in _LOOKS.items()}

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

INK: Final = "#1F2933"
SOFT_INK: Final = "#55616B"

_REASON_WORDS: Final[dict[Reason, str]] = {
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

# What stands where a channel gives no answer; the first reason found wins.
_GAPS: Final[dict[str, dict[Reason, str]]] = {
    "face": {
        Reason.NO_VIDEO_STREAM: "no picture",
        Reason.NO_FACE: "no face",
        Reason.FACE_TOO_SELDOM: "seen seldom",
        Reason.TOO_SHORT: "too short",
    },
    "voice": {
        Reason.NO_AUDIO_STREAM: "no sound",
        Reason.NO_SPEECH: "no speech",
        Reason.SPEECH_TOO_SHORT: "little speech",
        Reason.TOO_SHORT: "too short",
    },
}
GAP: Final = "–"

# Beside a file's length and number of windows.
_STATUS_WORDS: Final[dict[Status, str]] = {
    Status.NO_FACE: "no face seen",
    Status.NO_SPEECH: "no speech heard",
    Status.NO_FACE_NO_SPEECH: "no face seen, no speech heard",
    Status.AUDIO_ONLY: "sound only",
    Status.VIDEO_ONLY: "picture only",
    Status.TRUNCATED: "damaged or cut off",
}
_TOO_CLOSE: Final = "too close to call"


def vocabulary(counts: Mapping[Outcome, int] | None = None) -> dict[str, Any]:
    """All colours, shapes and words for scripts, so that none of them stands there again.

    emotions: [{name, color, ink}]; outcomes: [{name, color, ink, shape, words, count}], the count
    from `counts`; reasons: [{name, words, about}], about the channel ("face", "voice") that is
    missing, or None; channels: [{key, label}]; statuses: {name: words}.
    """
    return {
        "emotions": [
            {"name": emotion.value, "color": color, "ink": ink_on(color)}
            for emotion, color in EMOTION_COLORS.items()
        ],
        "outcomes": [
            {
                "name": outcome.value,
                "color": look.color,
                "ink": ink_on(look.color),
                "shape": look.shape,
                "words": look.words,
                "count": (counts or {}).get(outcome, 0),
            }
            for outcome, look in _LOOKS.items()
        ],
        "reasons": [
            {"name": r.value, "words": _REASON_WORDS[r], "about": _about(r)} for r in Reason
        ],
        "channels": [{"key": key, "label": label} for key, label in CHANNEL_WORDS.items()],
        "statuses": {status.value: words for status, words in _STATUS_WORDS.items()},
    }


def conflict_zones(thresholds: Thresholds) -> list[tuple[float, float, str, str]]:
    """What a probability of conflict means: (low, high, words, colour), from 0 to 1."""
    low, high = thresholds.match_below, thresholds.conflict_above
    match, conflict = Outcome.MATCH, Outcome.CONFLICT
    return [
        (0.0, low, match.value, OUTCOME_COLORS[match]),
        (low, high, _TOO_CLOSE, OUTCOME_COLORS[Outcome.FLAT]),
        (high, 1.0, conflict.value, OUTCOME_COLORS[conflict]),
    ]


def _about(reason: Reason) -> str | None:
    if reason is Reason.TOO_SHORT:
        return None
    return next((channel for channel, gaps in _GAPS.items() if reason in gaps), None)


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


def summarize_in_words(report: Report) -> str:
    """What the face shows, what the voice carries, whether they agree, how sure, and why not."""
    if report.status is Status.FAILED:
        detail = "no reason was recorded" if report.error is None else report.error.message
        return f"Could not be analysed: {detail.rstrip('.')}."
    if report.summary is None:
        return "Nothing to say: the file holds no window that could be read."
    parts = [describe_in_words(report.summary)]
    counts = [f"{report.outcome_counts.get(outcome, 0)} {outcome.value}" for outcome in Outcome]
    counts = [words for words in counts if not words.startswith("0 ")]
    if len(report.windows) > 1 and counts:
        parts.append(f"Of {len(report.windows)} windows: {', '.join(counts)}.")
    if report.status is Status.TRUNCATED:
        parts.append("The file is damaged or ends early: only the part that decodes was read.")
    if any(Reason.SEVERAL_FACES in p.reasons for p in (report.summary, *report.windows)):
        parts.append("Several faces were seen: the leading one was read.")
    return " ".join(parts)


def describe_in_words(prediction: Prediction) -> str:
    """What one window, or a whole, says; without what only a report knows."""
    outcome, conflict = prediction.outcome, prediction.conflict
    readings = ", ".join(
        f"the {channel} reads as {_reading(posterior, '{} ({})')}"
        for channel, posterior in (("face", prediction.face), ("voice", prediction.voice))
        if posterior is not None
    )
    chance = "" if conflict is None else f"; probability of conflict {percent(conflict)}"
    if outcome in (Outcome.MATCH, Outcome.CONFLICT):
        return f"Face and voice {_sureness(prediction)} {outcome.value}: {readings}{chance}."
    if Reason.UNDECIDED in prediction.reasons and conflict is not None:
        opening = f"{_TOO_CLOSE.capitalize()} whether face and voice match or conflict"
        return f"{opening}: {readings}{chance}."
    opening = (
        "Neither match nor conflict"
        if outcome is Outcome.FLAT
        else "Not enough to compare face and voice"
    )
    return f"{opening}: {_causes(prediction)}" + (f"; {readings}." if readings else ".")


def channel_words(prediction: Prediction, channel: str) -> str:
    """What "face", "voice" or "fused" says: its likeliest emotion in per cent, or why none."""
    posterior: ChannelPosterior | None = getattr(prediction, channel)
    if posterior is not None:
        return _reading(posterior, "{} {}")
    gaps = _GAPS.get(channel, {})
    return next((words for reason, words in gaps.items() if reason in prediction.reasons), GAP)


def percent(prob: float) -> str:
    """A probability for people: whole per cent from 1 to 99, since nothing here is certain."""
    return f"{min(max(round(prob * 100), 1), 99)}%"


def count_noun(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _reading(posterior: ChannelPosterior, form: str) -> str:
    emotion, prob = top_emotion(posterior)
    return form.format(emotion.value, percent(prob))


def _sureness(prediction: Prediction) -> str:
    if prediction.conflict is None:
        return "may"
    is_conflict = prediction.outcome is Outcome.CONFLICT
    prob = prediction.conflict if is_conflict else 1.0 - prediction.conflict
    return "very likely" if prob >= 0.9 else "probably" if prob >= 0.7 else "may"


def _causes(prediction: Prediction) -> str:
    named = [_REASON_WORDS[reason] for reason in prediction.reasons if reason not in _NOT_A_CAUSE]
    if named:
        *others, last = named
        return f"{', '.join(others)} and {last}" if others else last
    if prediction.outcome is Outcome.FLAT:
        return "at least one of the two carries no clear emotion"
    if prediction.face is not None and prediction.voice is not None:
        return "no window holds enough of both"
    return "one of the two is missing"
