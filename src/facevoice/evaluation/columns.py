"""Columns of prediction tables, and the checks that name the row and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from facevoice.errors import EvaluationError
from facevoice.evaluation.checks import IntArray
from facevoice.labels import NUM_EMOTIONS, Emotion
from facevoice.types import BoolArray, DoubleArray

TextArray = npt.NDArray[np.object_]
UNKNOWN: Final = -1
"""Stands for an emotion, or a yes or no, that is not known."""
SUM_TOLERANCE: Final = 1e-2
"""Posteriors may miss the sum of 1 by this much (half precision); they are scaled when scored."""


def text_array(values: Iterable[str | None]) -> TextArray:
    """Texts (n,) with None where not known."""
    items = list(values)
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def emotion_array(values: Iterable[Emotion | None]) -> IntArray:
    """Positions (n,) of emotions, −1 where not known."""
    positions = [UNKNOWN if value is None else value.position for value in values]
    return np.asarray(positions, dtype=np.int64)


def check_keys(name: str, keys: TextArray, corpora: TextArray, speakers: TextArray) -> None:
    """Every row has an id of its own and a corpus; a speaker is named within the corpus.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    first: dict[str, int] = {}
    rows = zip(keys, corpora, speakers, strict=True)
    for row, (key, corpus, speaker) in enumerate(rows, start=1):
        if not key:
            raise EvaluationError(f"row {row}: {name} is empty; give each row an id")
        if key in first:
            raise EvaluationError(
                f"row {row}: {name} {key!r} is already in row {first[key]}; keep one of them"
            )
        if not corpus:
            raise EvaluationError(f"row {row}: corpus is empty; name where {key!r} is from")
        if speaker is not None and not (
            speaker.startswith(f"{corpus}/") and speaker[len(corpus) + 1 :]
        ):
            raise EvaluationError(
                f"row {row}: speaker {speaker!r} must be named as '{corpus}/NAME', since equal "
                "names in two corpora are two people"
            )
        first[key] = row


def check_posteriors(name: str, values: DoubleArray) -> None:
    """Each row (n, 8) is a posterior, or NaN throughout.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    if values.ndim != 2 or values.shape[1] != NUM_EMOTIONS:
        raise EvaluationError(f"{name}: posteriors must be (n, {NUM_EMOTIONS}), got {values.shape}")
    missing = np.isnan(values).all(axis=1)
    with np.errstate(invalid="ignore"):
        fine = (values >= 0).all(axis=1) & (values <= 1 + SUM_TOLERANCE).all(axis=1)
        fine &= np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE
    bad = ~(missing | fine)
    if bad.any():
        row = int(np.argmax(bad))
        raise EvaluationError(
            f"row {row + 1}: {name}_* = {values[row].round(4).tolist()} is no posterior: eight "
            "numbers of at least 0 that sum to 1 (0 for an emotion that the model does not know), "
            "or all empty where the channel is missing"
        )


def check_emotions(name: str, values: IntArray) -> None:
    """Positions of emotions, or −1.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    wrong = (values < UNKNOWN) | (values >= NUM_EMOTIONS)
    refuse_rows(wrong, name, values, "give the place of an emotion, or -1")


def check_words(name: str, values: TextArray, known: Sequence[str], *, needed: bool) -> None:
    """Every value is one of `known`; None is fine unless `needed`.

    Raises:
        EvaluationError: naming the row, counted from 1.
    """
    allowed = set(known) if needed else {*known, None}
    wrong = np.asarray([value not in allowed for value in values], dtype=bool)
    refuse_rows(wrong, name, values, f"write one of {', '.join(known)}")


def refuse_rows(wrong: BoolArray, name: str, values: npt.NDArray[Any], remedy: str) -> None:
    """Name the first row that is wrong.

    Raises:
        EvaluationError: there is one.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        value = values[row].item() if hasattr(values[row], "item") else values[row]
        more = f" (and {int(wrong.sum()) - 1} more rows)" if wrong.sum() > 1 else ""
        raise EvaluationError(f"row {row + 1}: {name} = {value!r}{more}: {remedy}")
