from __future__ import annotations

import pytest

from facevoice.records import Emotion, Outcome, Prediction
from facevoice.report.words import (
    EMOTION_COLORS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    ink_on,
    shown_spans,
)


def window(start_s: float, end_s: float) -> Prediction:
    return Prediction(start_s, end_s, None, None, None, None, Outcome.INSUFFICIENT, (), 0.0, 0.0)


def luminance(color: str) -> float:
    """Relative luminance by WCAG 2.2."""
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", [*OUTCOME_COLORS.values(), *EMOTION_COLORS.values()])
def test_words_on_every_color_are_readable(color: str) -> None:
    assert contrast(ink_on(color), color) >= 4.5


def test_every_outcome_and_emotion_has_its_own_color_and_words() -> None:
    assert set(OUTCOME_COLORS) == set(OUTCOME_WORDS) == set(Outcome)
    assert set(EMOTION_COLORS) == set(Emotion)
    assert len(set(OUTCOME_COLORS.values())) == len(Outcome)
    assert len(set(EMOTION_COLORS.values())) == len(Emotion)


def test_each_moment_belongs_to_the_window_whose_middle_is_nearest() -> None:
    spans = shown_spans([window(0, 4), window(2, 6), window(4, 7)], 7.2)
    assert spans == [(0.0, 3.0), (3.0, 4.75), (4.75, 7.2)]


def test_spans_of_one_window_and_of_none() -> None:
    assert shown_spans([window(0, 2)], 2.5) == [(0.0, 2.5)]
    assert shown_spans([], 3.0) == []
