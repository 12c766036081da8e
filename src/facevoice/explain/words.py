"""An explanation in plain words, as rows of a table, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from facevoice.explain.face import SURROUNDINGS, FaceExplanation
from facevoice.explain.hiding import Part
from facevoice.explain.moment import Explanation
from facevoice.explain.voice import VoiceExplanation
from facevoice.records import VERSION, Modality
from facevoice.report.words import EMOTION_WORDS, gap_words, percent
from facevoice.texts import safe_json

EXPLANATION_VERSION: Final = 1
CAVEAT: Final = (
    "This tells what moved the networks' answer, not whether the answer is right. Parts were "
    "hidden one by one, so what only works together may be missed."
)
CHANNELS: Final = {Modality.VIDEO: "face", Modality.AUDIO: "voice"}
_PLURAL: Final = frozenset({"brows", SURROUNDINGS})
_DIGITS: Final = 4


def explain_in_words(explanation: Explanation) -> tuple[str, ...]:
    """Sentences: whose face it is, what moved its answer, the voice's, and that on conflict."""
    face, voice = explanation.face, explanation.voice
    whose = [] if explanation.person is None else [f"The face is that of {explanation.person}."]
    told = [
        *whose,
        _missing(explanation, "face") if face is None else _face_words(face),
        _missing(explanation, "voice") if voice is None else _voice_words(voice),
    ]
    if explanation.prediction.conflict is not None:
        told.append(_conflict_words(explanation, explanation.prediction.conflict))
    return tuple(told)


def place_words(part: Part) -> str:
    """Where a part is, as it stands in a sentence: "the mouth", "the stretch from 4.0 to 4.4 s"."""
    if part.kind == "region":
        return f"the {part.name}"
    if part.kind == "stretch":
        return f"the stretch from {part.name}"
    start = "" if part.name.startswith("below") else "from "
    return f"the frequencies {start}{part.name}"


def effect_words(part: Part) -> str:
    """What a part does, in two or three words, for tables."""
    if not part.stands_out:
        return "may be chance"
    return "speaks for it" if part.effect > 0 else "speaks against it"


def to_document(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain values: parts with probabilities and effects, maps as rows."""
    said = explanation.prediction
    channel = explanation.conflict_channel
    face, voice = explanation.face, explanation.voice
    return {
        "explanation_version": EXPLANATION_VERSION,
        "facevoice_version": VERSION,
        "path": explanation.path,
        "at_s": explanation.at_s,
        "start_s": said.start_s,
        "end_s": said.end_s,
        "person": explanation.person,
        "outcome": said.outcome.value,
        "reasons": [reason.value for reason in said.reasons],
        "conflict": _rounded(said.conflict),
        "conflict_moved_by": None if channel is None else CHANNELS[channel],
        "words": list(explain_in_words(explanation)),
        "face": None if face is None else _channel(face) | {"num_crops": face.num_crops},
        "voice": None
        if voice is None
        else _channel(voice) | {"edges_s": list(voice.edges_s), "edges_hz": list(voice.edges_hz)},
        "caveat": CAVEAT,
    }


def to_json(explanation: Explanation) -> str:
    """`to_document` as text."""
    text = json.dumps(to_document(explanation), ensure_ascii=False, indent=2, allow_nan=False)
    return safe_json(text) + "\n"


def _channel(one: FaceExplanation | VoiceExplanation) -> dict[str, Any]:
    conflict = one.conflict_heat
    return {
        "emotion": one.emotion.value,
        "prob": _rounded(one.before.emotion),
        "parts": [_part(part) for part in one.parts],
        "heat": _rows(one.heat),
        "conflict_heat": None if conflict is None else _rows(conflict),
    }


def _part(part: Part) -> dict[str, Any]:
    where = {
        name: value
        for name in ("start_s", "end_s", "low_hz", "high_hz")
        if (value := getattr(part, name)) is not None
    }
    return {
        "name": part.name,
        "kind": part.kind,
        **where,
        "prob_without": _rounded(part.without.emotion),
        "conflict_without": _rounded(part.without.conflict),
        "effect": _rounded(part.effect),
        "conflict_effect": _rounded(part.conflict_effect),
        "stands_out": part.stands_out,
        "conflict_stands_out": part.conflict_stands_out,
    }


def _rows(heat: Any) -> list[list[float]]:
    rows: list[list[float]] = heat.round(3).tolist()
    return rows


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), _DIGITS)


def _missing(explanation: Explanation, channel: str) -> str:
    why = gap_words(explanation.prediction.reasons, channel)
    return f"The {channel} can't be explained here, since it is not read: {why}."


def _face_words(face: FaceExplanation) -> str:
    emotion, part = EMOTION_WORDS[face.emotion], _first(face.parts, "region", _stands_out)
    if part is None:
        return (
            f"No part of the face stands out: hiding as much at random may change {emotion} just "
            f"as far. The largest effect is that of {_largest(face)}."
        )
    told = f"{_capital(place_words(part))} moved the face's answer most: {_change(part, face)}."
    if part.name == SURROUNDINGS:
        told += " They are no part of the face, so mind this answer."
    return told


def _voice_words(voice: VoiceExplanation) -> str:
    emotion = EMOTION_WORDS[voice.emotion]
    stretch = _first(voice.parts, "stretch", _stands_out)
    band = _first(voice.parts, "band", _stands_out)
    told: list[str] = []
    for part in (stretch, band):
        if part is not None:
            of = "it" if told else "the voice's answer"
            told.append(f"{_capital(place_words(part))} moved {of} most: {_change(part, voice)}.")
    if not told:
        told.append(
            f"No stretch and no band of the voice stands out: hiding as much at random may change "
            f"{emotion} just as far. The largest effect is that of {_largest(voice)}."
        )
    return " ".join(told)


def _largest(one: FaceExplanation | VoiceExplanation) -> str:
    part = one.parts[0]
    return f"{place_words(part)}: {_change(part, one)}"


def _change(part: Part, one: FaceExplanation | VoiceExplanation) -> str:
    it = "them" if part.name in _PLURAL or part.kind == "band" else "it"
    emotion = EMOTION_WORDS[one.emotion]
    before, after = percent(one.before.emotion), percent(part.without.emotion)
    if before == after:
        return f"without {it}, {emotion} stays at {after}"
    verb = "falls" if part.effect > 0 else "rises"
    return f"without {it}, {emotion} {verb} from {before} to {after}"


def _conflict_words(explanation: Explanation, conflict: float) -> str:
    channel = explanation.conflict_channel
    if channel is None:
        return (
            f"Conflict ({percent(conflict)}): neither a part of the face nor one of the voice "
            "changes it further than hiding as much at random may."
        )
    part = max(
        (p for p in explanation.parts[channel] if p.conflict_stands_out),
        key=lambda p: abs(p.conflict_effect or 0),
    )
    others = set(explanation.parts) - {channel}
    more = f" more than the {CHANNELS[others.pop()]}" if others else ""
    after = percent(conflict if part.without.conflict is None else part.without.conflict)
    verb = "falls" if (part.conflict_effect or 0) > 0 else "rises"
    return (
        f"The {CHANNELS[channel]} moved the probability of conflict{more}: without "
        f"{place_words(part)}, it {verb} from {percent(conflict)} to {after}."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _stands_out(part: Part) -> bool:
    return part.stands_out


def _first(parts: Sequence[Part], kind: str, wanted: Callable[[Part], bool]) -> Part | None:
    return next((part for part in parts if part.kind == kind and wanted(part)), None)
