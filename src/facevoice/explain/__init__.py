"""Why a moment is told as it is: what of face and voice moved the answer, by hiding it."""

from __future__ import annotations

from facevoice.explain.face import FaceExplanation
from facevoice.explain.hiding import Answers, Part
from facevoice.explain.moment import (
    Explanation,
    check_time,
    explain_moment,
    explain_strongest,
    place_at,
)
from facevoice.explain.page import to_page, to_section
from facevoice.explain.pictures import draw_face, draw_voice
from facevoice.explain.voice import VoiceExplanation
from facevoice.explain.words import effect_words, explain_in_words, to_document, to_json

__all__ = [
    "Answers",
    "Explanation",
    "FaceExplanation",
    "Part",
    "VoiceExplanation",
    "check_time",
    "draw_face",
    "draw_voice",
    "effect_words",
    "explain_in_words",
    "explain_moment",
    "explain_strongest",
    "place_at",
    "to_document",
    "to_json",
    "to_page",
    "to_section",
]
