"""One visual language for console, plots, pages and pictures: colours, words, the moment shown.

The outcomes' colours are Okabe and Ito's (2008), the emotions' Paul Tol's muted scheme (2021): told
apart by colour-blind people. A colour never stands without its word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from facevoice.labels import Emotion, Outcome
from facevoice.results import Prediction

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
