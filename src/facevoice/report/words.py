"""The one visual and verbal language of console, plots, pages and films: colours, shapes, words.

The outcomes' colours are Okabe and Ito's (2008), the emotions' Paul Tol's muted scheme (2021): told
apart by colour-blind people. A colour never stands without its word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from facevoice.interpret import at_equal_numbers, precision_at, shown_spans
from facevoice.media.tracks import name_track
from facevoice.records import (
    ChannelChoice,
    ChannelPosterior,
    Emotion,
    MediaInfo,
    Moment,
    OperatingPoint,
    Outcome,
    Prediction,
    Reason,
    Report,
    SoundTrack,
    Status,
    TrackChoice,
    top_emotion,
)
from facevoice.texts import clock, shown


class _Look(NamedTuple):
    color: str
    shape: str
    console: str
    words: str


_LOOKS: Final = {
    Outcome.MATCH: _Look("#0072B2", "disc", "bold blue", "face and voice go together"),
    Outcome.CONFLICT: _Look(
        "#D55E00", "diamond", "bold yellow", "face and voice express different emotions"
    ),
    Outcome.UNDECIDED: _Look(
        "#B48EAD", "half", "magenta", "both express something, but it is too close to call"
    ),
    Outcome.FLAT: _Look(
        "#8A9BA8", "bar", "cyan", "one of them shows no clear emotion: nothing to compare"
    ),
    Outcome.INSUFFICIENT: _Look(
        "#D5D9DD", "ring", "dim", "no face and voice of the same person to compare"
    ),
}
OUTCOME_COLORS: Final = {outcome: look.color for outcome, look in _LOOKS.items()}
OUTCOME_STYLES: Final = {outcome: look.console for outcome, look in _LOOKS.items()}

NOT_COMPARED: Final = frozenset({Outcome.FLAT, Outcome.INSUFFICIENT})
"""Beside these, a probability of conflict counts for nothing."""

UNFAMILIAR: Final = frozenset({Reason.UNFAMILIAR_FACE, Reason.UNFAMILIAR_VOICE})
"""Nor beside these reasons."""

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

# What would be lost on a dark ground, or would be the brightest there though it is the quietest.
_ON_DARK: Final = {
    "#0072B2": "#2C94D2",
    "#D5D9DD": "#47515A",
    "#C4C9CE": "#8A949C",
    "#332288": "#857CE0",
    "#882255": "#CC6677",
    "#AA4499": "#BC5CAC",
}

EMOTION_WORDS: Final[dict[Emotion, str]] = {
    emotion: "disgusted" if emotion is Emotion.DISGUST else emotion.value for emotion in Emotion
}
"""What a face looks and a voice sounds."""

CHANNEL_WORDS: Final[dict[str, str]] = {"face": "Face", "voice": "Voice", "fused": "Both"}

INK: Final = "#1F2933"
SOFT_INK: Final = "#55616B"

_REASON_WORDS: Final[dict[Reason, str]] = {
    Reason.NO_VIDEO_STREAM: "the file has no picture",
    Reason.NO_AUDIO_STREAM: "the file has no sound",
    Reason.NO_FACE: "no face is seen",
    Reason.FACE_TOO_SMALL: (
        "the face is too small to read; the setting faces.max_side_px = 1280 (--config) makes it "
        "larger"
    ),
    Reason.FACE_TILTED: "a face is seen, but not which way up it is, so it is not read",
    Reason.FACE_TOO_SELDOM: "the face is rarely seen",
    Reason.NO_SPEECH: "no speech is heard",
    Reason.SPEECH_TOO_SHORT: "too little speech is heard",
    Reason.TOO_SHORT: "this stretch is too short",
    Reason.FACE_FLAT: "the face shows no clear emotion",
    Reason.VOICE_FLAT: "the voice shows no clear emotion",
    Reason.EMOTIONS_DIFFER: "the likeliest emotions differ, so it is not called a match",
    Reason.EMOTIONS_AGREE: "the likeliest emotions agree, so it is not called a conflict",
    Reason.SEVERAL_FACES: "several faces are seen at once; the most prominent one is read",
    Reason.VOICE_OFF_SCREEN: "the voice comes from somebody off screen",
    Reason.SPEAKER_UNCLEAR: "several people are seen, and it isn't clear who speaks",
    Reason.OTHER_SPEAKS: "somebody else speaks",
    Reason.UNFAMILIAR_FACE: (
        "the face is unlike any that facevoice has learnt from, so its answer isn't trusted"
    ),
    Reason.UNFAMILIAR_VOICE: (
        "the voice is unlike any that facevoice has learnt from, so its answer isn't trusted"
    ),
    Reason.SPEECH_OVERLAPS: "several people seem to speak at once, so the voice counts for less",
    Reason.NOISY: "there seems to be music or noise with the voice, so it counts for less",
    Reason.MODEL_WITHOUT_CONFLICT: "this model was not made to compare them",
}
"""What each reason says, as a clause."""

# Face and voice are both read, but not held against each other; in three words where room is small.
_APART: Final[dict[Reason, str]] = {
    Reason.VOICE_OFF_SCREEN: "voice off screen",
    Reason.SPEAKER_UNCLEAR: "unclear who speaks",
}

# These explain why there is no answer; the others only tell what to bear in mind.
_MISSING: Final = frozenset(Reason) - {
    *(Reason.FACE_FLAT, Reason.VOICE_FLAT, Reason.SEVERAL_FACES),
    *(Reason.EMOTIONS_DIFFER, Reason.EMOTIONS_AGREE),
    *(Reason.SPEECH_OVERLAPS, Reason.NOISY),
    *UNFAMILIAR,
}

# What stands where a channel gives no answer; the first reason found wins.
_GAPS: Final[dict[str, dict[Reason, str]]] = {
    "face": {
        Reason.NO_VIDEO_STREAM: "no picture",
        Reason.NO_FACE: "no face",
        Reason.FACE_TOO_SMALL: "too small",
        Reason.FACE_TILTED: "tilted",
        Reason.FACE_TOO_SELDOM: "rarely seen",
        Reason.TOO_SHORT: "too short",
    },
    "voice": {
        Reason.NO_AUDIO_STREAM: "no sound",
        Reason.NO_SPEECH: "no speech",
        Reason.SPEECH_TOO_SHORT: "little speech",
        Reason.OTHER_SPEAKS: "not speaking",
        Reason.TOO_SHORT: "too short",
    },
}
GAP: Final = "–"

_TRACK_WORDS: Final = {
    TrackChoice.ONLY: "the only one",
    TrackChoice.ASKED: "as you asked",
    TrackChoice.DEFAULT: "the default one",
    TrackChoice.ORIGINAL: "the original one",
    TrackChoice.FIRST: "the first main one",
    TrackChoice.SOUNDING: "because the one that players choose is silent",
    TrackChoice.SPOKEN: "because the one that players choose has no speech",
}
_CHANNEL_WORDS: Final = {
    ChannelChoice.OTHERS_SILENT: "there is no sound elsewhere",
    ChannelChoice.INVERTED: "the channels would cancel each other out",
    ChannelChoice.DELAYED: "the other one repeats it a little later",
    ChannelChoice.CLEAREST: "speech is much clearer there",
    ChannelChoice.CENTRE: "the speech is there",
}

# Beside a file's length and number of windows.
STATUS_WORDS: Final[dict[Status, str]] = {
    Status.NO_FACE: "no face seen",
    Status.NO_SPEECH: "no speech heard",
    Status.NO_FACE_NO_SPEECH: "no face seen, no speech heard",
    Status.AUDIO_ONLY: "sound only",
    Status.VIDEO_ONLY: "picture only",
    Status.TRUNCATED: "damaged or cut off",
}
# Beside "failed"; kinds are those of `FileError`.
ERROR_WORDS: Final[dict[str, str]] = {
    "media_not_found": "no such file",
    "empty_media": "the file is empty",
    "unreadable_media": "can't be read as video or sound",
    "no_stream": "neither picture nor sound inside",
    "fetch_failed": "could not be fetched",
    "private_address": "its address leads into a private network",
    "too_large": "it is larger than is taken",
    "too_long": "it is longer than is taken",
    "disk_full": "the service has no room for it",
    "gave_up": "the service died on it each time",
    "decoder_crashed": "crashes the decoder",
    "over_limit": "takes too much memory or time",
    "worker_died": "crashed while it was worked on",
    "config": "a setting doesn't fit it",
    "missing_extra": "an optional part isn't installed",
    "profile": "the person's profile can't be used",
    "store": "the store can't be used",
    "transcript": "its words can't be read",
    "weights": "the model can't be used",
    "not_written": "its report can't be written",
    "internal": "a fault of facevoice itself; please report it",
}
"""Why a file failed, in few words; no kind is shown to people by its name."""

# Of files with one channel only: why nothing is compared, and how the other one tells.
_LONE: Final = {
    Status.AUDIO_ONLY: ("There is no picture", "voice", "sounds"),
    Status.VIDEO_ONLY: ("There is no sound", "face", "looks"),
}
_MAX_TOLD: Final = 3
# A share of conflicts for comparison, and one so near to one window in so many that it is said so.
_RARE: Final = 0.05
_NEAR: Final = 0.05
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SURE: Final = 0.95
# Conflicts are what people look for.
_FIRST_TOLD: Final = (Outcome.CONFLICT, *(o for o in Outcome if o is not Outcome.CONFLICT))


def vocabulary() -> dict[str, Any]:
    """All colours, shapes and words for scripts, so that none of them stands there again.

    emotions: [{name, color, ink, dark, dark_ink, valence, arousal}], dark: on a dark ground;
    outcomes: [{name, color, ink, dark, dark_ink, shape, words, counts}], whether
    the probability of conflict counts beside it; reasons: [{name, words, about, apart}], about the
    channel ("face", "voice") that is missing, or None; apart: in few words, why both are read but
    not compared, or None; channels: [{key, label}]; statuses: {name: words}.
    """
    return {
        "emotions": [
            {
                "name": EMOTION_WORDS[emotion],
                **_colors(color),
                "valence": emotion.valence,
                "arousal": emotion.arousal,
            }
            for emotion, color in EMOTION_COLORS.items()
        ],
        "outcomes": [
            {
                "name": outcome.value,
                **_colors(look.color),
                "shape": look.shape,
                "words": look.words,
                "counts": outcome not in NOT_COMPARED,
            }
            for outcome, look in _LOOKS.items()
        ],
        "reasons": [
            {
                "name": r.value,
                "words": _REASON_WORDS[r],
                "about": _about(r),
                "apart": _APART.get(r),
            }
            for r in Reason
        ],
        "channels": [{"key": key, "label": label} for key, label in CHANNEL_WORDS.items()],
        "statuses": {status.value: words for status, words in STATUS_WORDS.items()},
    }


def _colors(color: str) -> dict[str, str]:
    dark = _ON_DARK.get(color, color)
    return {"color": color, "ink": ink_on(color), "dark": dark, "dark_ink": ink_on(dark)}


def conflict_zones(point: OperatingPoint) -> list[tuple[float, float, str, str]]:
    """What a probability of conflict means: (low, high, words, colour), from 0 to 1."""
    edges = (0.0, point.match_below, point.conflict_above, 1.0)
    kinds = (Outcome.MATCH, Outcome.UNDECIDED, Outcome.CONFLICT)
    return [
        (low, high, outcome.value, OUTCOME_COLORS[outcome])
        for (low, high), outcome in zip(pairwise(edges), kinds, strict=True)
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


def summarize_in_words(report: Report) -> str:
    """What a whole file says: one answer for a short file, counts and moments for a long one."""
    if report.status is Status.FAILED:
        detail = "no reason was recorded" if report.error is None else report.error.message
        return f"Could not be analysed: {detail.rstrip('.')}."
    if not report.windows:
        return "Nothing to say: no part of the file could be read."
    if report.summary is not None:
        parts = [describe_in_words(report.summary)]
        outcomes = {window.outcome for window in report.windows}
        if outcomes != {report.summary.outcome}:
            parts.append(f"Of {_counts(report)}.")
    elif report.status in _LONE:
        parts = [_alone(report, *_LONE[report.status])]
    else:
        parts = [f"{_headline(report)} {_strongest(report)}".rstrip()]
    parts += [_describe_people(report), describe_known(report.windows)]
    if report.status is Status.TRUNCATED:
        parts.append("The file is damaged or ends early: only the part that decodes was read.")
    if report.summary is None and any(Reason.SEVERAL_FACES in w.reasons for w in report.windows):
        parts.append("At times several faces are seen at once; the most prominent one is read.")
    return " ".join(part for part in parts if part)


def _alone(report: Report, why: str, channel: str, verb: str) -> str:
    """What the one channel that a long file has tells over its time, instead of that each window is
    insufficient.
    """
    seconds: dict[Emotion, float] = {}
    end_s = max(window.end_s for window in report.windows)
    for window, (start, end) in zip(
        report.windows, shown_spans(report.windows, end_s), strict=True
    ):
        emotion = _top(getattr(window, channel))
        if emotion is not None:
            seconds[emotion] = seconds.get(emotion, 0.0) + end - start
    told = [
        f"{EMOTION_WORDS[emotion]} for {duration_words(spent)}"
        for emotion, spent in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    said = f"The {channel} {verb} {', '.join(told)}." if told else f"No {channel} can be read."
    return f"{why}, so face and voice can't be compared. {said}"


def _describe_people(report: Report) -> str:
    """Who is seen and how long each speaks, where it is more than one; who speaks off screen.

    "2 people are seen: Anna speaks for 40 s, Person 2 for 12 s."
    """
    parts = []
    if names_of(report):
        shown = [person for person in report.people if not person.is_left_out]
        first, *others = sorted(shown, key=lambda person: (-person.speaking_s, person.number))
        told = [f"{first.name} speaks for {duration_words(first.speaking_s)}"]
        told += [f"{p.name} {_speaking(p.speaking_s)}" for p in others[:_MAX_TOLD]]
        more = f", and {len(others) - _MAX_TOLD} more" if len(others) > _MAX_TOLD else ""
        if report.config.decision.people == "leading" or not first.speaking_s:
            told, more = [person.name for person in shown[: _MAX_TOLD + 1]], ""
        parts.append(f"{len(shown)} people are seen: {', '.join(told)}{more}.")
    apart = {Reason.VOICE_OFF_SCREEN: "the voice comes from somebody off screen"}
    apart[Reason.SPEAKER_UNCLEAR] = "it isn't clear who speaks"
    for reason, words in apart.items() if report.summary is None else ():
        seconds = sum(m.end_s - m.start_s for m in report.moments if reason in m.reasons)
        if seconds:
            parts.append(f"For {duration_words(seconds)}, {words}.")
    return " ".join(parts)


def error_words(kind: str) -> str:
    """Why a file failed, in few words, also of a kind that only other versions know."""
    return ERROR_WORDS.get(kind, f"for another reason ({shown(kind.replace('_', ' '))})")


def names_of(report: Report) -> dict[int, str]:
    """What people are called, by their numbers; empty where only one is seen, or none."""
    names = {person.number: person.name for person in report.people if not person.is_left_out}
    return names if len(names) > 1 else {}


def _speaking(seconds: float) -> str:
    return f"for {duration_words(seconds)}" if round(seconds) else "hardly or not at all"


def describe_sound(media: MediaInfo | None) -> str:
    """Which of several sound tracks, and which channel of it, is heard and why; "" if all is.

    "Of two sound tracks, number 2 is heard, the default one; the other one is 1 (commentary)."
    """
    audio = None if media is None else media.audio
    if audio is None:
        return ""
    parts = []
    if audio.others:
        own = SoundTrack(
            audio.track,
            audio.codec,
            audio.num_channels,
            audio.language,
            audio.title,
            audio.role,
        )
        count = len(audio.others) + 1
        number = _NUMBERS[count - 1] if count <= len(_NUMBERS) else str(count)
        named = name_track(own)
        by_number = sorted(audio.others, key=lambda track: track.number)
        others = ", ".join(name_track(track) for track in by_number)
        rest = "the other one is" if count == 2 else "the others are"
        parts.append(
            f"Of {number} sound tracks, number {named} is heard, "
            f"{_TRACK_WORDS[audio.chosen]}; {rest} {others}."
        )
    if audio.channel_chosen is not None:
        why = _CHANNEL_WORDS[audio.channel_chosen]
        is_numbered = audio.channel.startswith("channel ")
        named = audio.channel if is_numbered else f"the {audio.channel} channel"
        parts.append(f"Only {named} is heard, because {why}.")
    return " ".join(parts)


def describe_known(windows: Sequence[Prediction]) -> str:
    """What windows rest on: how much of their person they were compared with; "" if with nothing.

    "Compared with this person's usual face and voice, from 12 windows."
    """
    counts = {name: _num_known(windows, name) for name in ("face", "voice")}
    told = {name: number for name, number in counts.items() if number is not None}
    known = {name: count_noun(number, "window") for name, number in told.items() if number}
    if not known:
        return "This person isn't known yet." if told else ""
    if len(set(known.values())) == 1:
        usual = f"{' and '.join(known)}, from {next(iter(known.values()))}"
    else:
        usual = f"face, from {known['face']}, and voice, from {known['voice']}"
    missing = "".join(f"; the {name} isn't known yet" for name in told if name not in known)
    several = len({window.person for window in windows} - {None}) > 1
    whose = "each person's" if several else "this person's"
    return f"Compared with {whose} usual {usual}{missing}."


def _num_known(windows: Sequence[Prediction], channel: str) -> int | None:
    """The middle window's; None where nothing is read, or nothing is compared."""
    found: list[ChannelPosterior | None] = [getattr(window, channel) for window in windows]
    numbers = sorted(n for n in map(num_known, found) if n is not None)
    return numbers[len(numbers) // 2] if numbers else None


def num_known(channel: ChannelPosterior | None) -> int | None:
    """With how many windows one was compared, for people: something is never told as nothing."""
    number = None if channel is None else channel.num_known
    return None if number is None else max(round(number), int(number > 0))


def describe_in_words(prediction: Prediction) -> str:
    """What one window, or a short file, says; without what only a report knows."""
    told = [
        f"the {channel} {verb} {_reading(posterior, '{} ({})')}"
        for channel, verb, posterior in (
            ("face", "looks", prediction.face),
            ("voice", "sounds", prediction.voice),
        )
        if posterior is not None
    ]
    words = _sentence(prediction, told)
    if Reason.SEVERAL_FACES in prediction.reasons:
        words += " Several faces are seen at once; the most prominent one is read."
    return words


def describe_moment(moment: Moment, names: Mapping[int, str] | None = None) -> str:
    """What a moment says in a few words: "face happy, voice sad: conflict, 78%".

    With names, those of `names_of`, it leads with whose face and voice they are: "Anna: face …".
    """
    return f"{_whose(moment, names or {})}{_describe_moment(moment)}"


def _whose(moment: Moment, names: Mapping[int, str]) -> str:
    """Where nothing is compared, windows of several people may lie in one moment."""
    name = names.get(moment.person or 0)
    return "" if name is None or moment.outcome is Outcome.INSUFFICIENT else f"{name}: "


def _describe_moment(moment: Moment) -> str:
    if moment.outcome is Outcome.INSUFFICIENT:
        why = _clauses(moment.reasons, _MISSING)
        return "; ".join(part for part in (why, _shown(moment)) if part)
    if moment.outcome in NOT_COMPARED:
        return _shown(moment)
    if UNFAMILIAR & set(moment.reasons):
        return f"{_shown(moment)}: {_strange(moment.reasons)}"
    name = "" if moment.outcome is Outcome.UNDECIDED else f"{moment.outcome.value}, "
    return f"{_shown(moment)}: {name}{strength_words(moment)}"


def strength_words(moment: Moment) -> str:
    """How probable a moment's outcome is: "78%", or where it leans; a dash where none counts."""
    if moment.conflict is None or not _counts_for(moment):
        return GAP
    if moment.outcome is Outcome.UNDECIDED:
        return lean_words(moment.conflict)
    return percent(moment.conflict if moment.outcome is Outcome.CONFLICT else 1 - moment.conflict)


def lean_words(conflict: float) -> str:
    """Where an undecided window leans, and how much: "leans to conflict, 64%"."""
    if percent(conflict) == percent(1 - conflict):
        return "leans neither way, 50%"
    side, prob = ("conflict", conflict) if conflict > 1 / 2 else ("match", 1 - conflict)
    return f"leans to {side}, {percent(prob)}"


def describe_point(report: Report) -> str:
    """What the chosen operating point means for the calls of a report, in a sentence or two."""
    point, curve, decision = report.point, report.curve, report.config.decision
    if report.status in _LONE:
        return "One channel alone has nothing to be compared with: no match or conflict is called."
    if point is None or curve is None:
        return "This model does not compare face and voice."
    share = decision.expected_conflicts
    other_share = _RARE if share == 1 / 2 else 1 / 2
    threshold = at_equal_numbers(point.conflict_above, share)
    here, other = (
        precision_at(curve, threshold, Outcome.CONFLICT, of) for of in (share, other_share)
    )
    if not curve.probs:
        return (
            f"A conflict is called where its probability is {percent(point.conflict_above)} or "
            f"more, a match where it is {percent(point.match_below)} or less; how many such calls "
            "are right was not measured."
        )
    if here is None or other is None:
        return (
            f"Hardly any conflict is called at this setting {_where(share)}: its probability must "
            f"be {percent(point.conflict_above)} or more."
        )
    return (
        f"Of ten conflicts called at this setting, expect {_in_ten(here)} to be real "
        f"{_where(share)}, and {_in_ten(other)} {_where(other_share)}. "
        "Measured on actors whom the model had not met."
    )


def channel_words(prediction: Prediction, channel: str) -> str:
    """What "face", "voice" or "fused" says: its likeliest emotion in per cent, or why none."""
    posterior: ChannelPosterior | None = getattr(prediction, channel)
    if posterior is not None:
        return _reading(posterior, "{} {}")
    return gap_words(prediction.reasons, channel)


def gap_words(reasons: Collection[Reason], channel: str) -> str:
    """Why "face" or "voice" says nothing, in two words, or a dash."""
    gaps = _GAPS.get(channel, {})
    return next((words for reason, words in gaps.items() if reason in reasons), GAP)


def conflict_words(prediction: Prediction) -> str:
    """The probability of conflict where it counts; see `NOT_COMPARED`, `UNFAMILIAR`."""
    if prediction.conflict is None or not _counts_for(prediction):
        return GAP
    return percent(prediction.conflict)


def chance_words(prediction: Prediction) -> str:
    """The same with its name: "conflict: 87%", "leans to match, 64%".

    Where none counts, why the voice isn't held against the face that is read, or nothing.
    """
    apart = next((words for reason, words in _APART.items() if reason in prediction.reasons), "")
    if apart:
        return apart
    if prediction.conflict is None or not _counts_for(prediction):
        return ""
    if prediction.outcome is Outcome.UNDECIDED:
        return lean_words(prediction.conflict)
    return f"conflict: {percent(prediction.conflict)}"


def _counts_for(said: Prediction | Moment) -> bool:
    """Whether the probability of conflict counts for anything."""
    return said.outcome not in NOT_COMPARED and not UNFAMILIAR & set(said.reasons)


def percent(prob: float) -> str:
    """A probability for people: whole per cent from 1 to 99, since nothing here is certain."""
    return f"{min(max(round(prob * 100), 1), 99)}%"


def count_noun(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration_words(seconds: float) -> str:
    """`8 s`, `2 min 10 s`, `3 h 2 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    parts = [(hours, "h"), (minute, "min"), (second if not hours else 0, "s")]
    return " ".join(f"{number:,} {unit}" for number, unit in parts if number) or "0 s"


def _reading(posterior: ChannelPosterior, form: str) -> str:
    emotion, prob = top_emotion(posterior)
    return form.format(EMOTION_WORDS[emotion], percent(prob))


def _sentence(said: Prediction, told: Sequence[str]) -> str:
    """See `describe_in_words`; `told`: what each channel shows, those that are read."""
    outcome, reasons, conflict = said.outcome, said.reasons, said.conflict
    if outcome is Outcome.INSUFFICIENT or conflict is None:
        rest = f" {_capital(' and '.join(told))}." if told else ""
        why = _clauses(reasons, _MISSING) or "there is never enough of both at once"
        strange = f" {_capital(_strange(reasons))}." if UNFAMILIAR & set(reasons) else ""
        return f"Face and voice can't be compared: {why}.{rest}{strange}"
    seen, heard = told
    if UNFAMILIAR & set(reasons):
        return f"Undecided: {_strange(reasons)}. {_capital(seen)} and {heard}."
    if outcome is Outcome.FLAT:
        flat = {Reason.FACE_FLAT: "face", Reason.VOICE_FLAT: "voice"}
        where = " or ".join(f"the {name}" for reason, name in flat.items() if reason in reasons)
        return f"No clear emotion in {where}, so nothing to compare: {seen}, {heard}."
    chance = f"Probability of conflict: {percent(conflict)}."
    if outcome is Outcome.MATCH:
        akin = "" if _top(said.face) is _top(said.voice) else ", which go together"
        return f"Face and voice match: {seen} and {heard}{akin}. {chance}"
    if outcome is Outcome.CONFLICT:
        return f"Face and voice conflict: {seen}, but {heard}. {chance}"
    why = _clauses(reasons, {Reason.EMOTIONS_AGREE, Reason.EMOTIONS_DIFFER})
    because = f" {_capital(why)}." if why else ""
    return f"Undecided, {lean_words(conflict)}: {seen} and {heard}.{because}"


def _strange(reasons: Collection[Reason]) -> str:
    if set(reasons) >= UNFAMILIAR:
        return (
            "face and voice are unlike any that facevoice has learnt from, so their answers aren't "
            "trusted"
        )
    return _clauses([reason for reason in reasons if reason in UNFAMILIAR], UNFAMILIAR)


def _top(posterior: ChannelPosterior | None) -> Emotion | None:
    return None if posterior is None else top_emotion(posterior)[0]


def _clauses(reasons: Sequence[Reason], of: Collection[Reason]) -> str:
    named = [_REASON_WORDS[reason] for reason in reasons if reason in of]
    if not named:
        return ""
    *others, last = named
    return f"{', '.join(others)} and {last}" if others else last


def _counts(report: Report) -> str:
    counts = [(report.outcome_counts.get(outcome, 0), outcome) for outcome in Outcome]
    listed = ", ".join(f"{number} {outcome.value}" for number, outcome in counts if number)
    return f"{count_noun(len(report.windows), 'window')}: {listed}"


def _headline(report: Report) -> str:
    """For how long, and how often, each outcome holds in a long file."""
    parts = []
    for outcome in _FIRST_TOLD:
        moments = [m for m in report.moments if m.outcome is outcome]
        if moments:
            seconds = sum(m.end_s - m.start_s for m in moments)
            parts.append(f"{outcome.value} for {duration_words(seconds)} ({_times(len(moments))})")
    return f"{_capital(', '.join(parts))}."


def _spell(number: int) -> str:
    return _NUMBERS[number - 1] if number <= len(_NUMBERS) else f"{number:,}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _strongest(report: Report) -> str:
    conflicts, names = strongest_conflicts(report.moments)[:_MAX_TOLD], names_of(report)
    if not conflicts:
        return "No conflict is called."
    told = "; ".join(
        f"{clock(m.start_s)}–{clock(m.end_s)} {_whose(m, names)}{_shown(m)} ({strength_words(m)})"
        for m in conflicts
    )
    return f"Strongest {'conflicts' if len(conflicts) > 1 else 'conflict'}: {told}."


def strongest_conflicts(moments: Sequence[Moment]) -> list[Moment]:
    """Moments of conflict, the strongest first; of equals the longer one."""
    conflicts = [moment for moment in moments if moment.outcome is Outcome.CONFLICT]
    return sorted(conflicts, key=lambda m: (-(m.strength or 0.0), m.start_s - m.end_s, m.start_s))


def _shown(moment: Moment) -> str:
    """The emotions of a moment: "face happy, voice sad"; nothing where none is read."""
    channels = (("face", moment.face), ("voice", moment.voice))
    shown = ((channel, emotion) for channel, emotion in channels if emotion is not None)
    return ", ".join(f"{channel} {EMOTION_WORDS[emotion]}" for channel, emotion in shown)


def _in_ten(precision: float) -> str:
    if precision >= _SURE:
        return "nearly all"
    number = round(precision * 10)
    return f"about {_NUMBERS[number - 1]}" if number else "hardly any"


def _where(share: float) -> str:
    if share == 1 / 2:
        return "where as many windows conflict as match"
    whole = round(1 / share)
    if whole > 1 and abs(share * whole - 1) < _NEAR:
        return f"where one window in {whole} conflicts"
    return f"where {percent(share)} of the windows conflict"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
