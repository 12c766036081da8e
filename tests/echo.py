"""A model that repeats what it is given, for the tests of all that asks a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facevoice.models.heads import Embeddings, Posteriors
from facevoice.people.baseline import NOTHING, Known, Usual
from facevoice.records import DecisionCurve, DoubleArray, Modality, ModelId
from facevoice.settings import SENSITIVITIES

_HITS = (1.0, 0.97, 0.9, 0.75, 0.6, 0.3, 0.0)
# From the middle on, just enough calls are right for each level in turn.
_RIGHT = (0.5, 0.51, 0.52, *(level + 0.005 for level in sorted(SENSITIVITIES.values())), 1.0)
_ALARMS = tuple(hits * (1 - right) / right for hits, right in zip(_HITS, _RIGHT, strict=True))
CURVE = DecisionCurve(
    (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0), _HITS, _ALARMS, _HITS[::-1], _ALARMS[::-1]
)
"""Cautious, balanced, sensitive: a match up to 0.1, 0.3, 0.5, a conflict from 0.9, 0.7, 0.5 on."""


class EchoModel:
    """Takes embeddings for the posteriors; conflict: how much they differ."""

    name = "echo"
    heads = ModelId("echo", "e" * 64)
    backbones = {Modality.VIDEO: "f", Modality.AUDIO: "v"}  # noqa: RUF012
    curve: DecisionCurve | None = CURVE
    adapts = False

    def __init__(self, conflict: float | None = None) -> None:
        self._conflict = conflict

    def predict(
        self,
        rows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        return [self._one(row) for row in rows]

    def _one(self, given: Embeddings) -> Posteriors:
        face, voice = given.get(Modality.VIDEO), given.get(Modality.AUDIO)
        if face is None or voice is None:
            return Posteriors(face, voice, face if voice is None else voice, None)
        conflict = 1 - float(np.minimum(face, voice).sum())
        return Posteriors(
            face, voice, (face + voice) / 2, conflict if self._conflict is None else self._conflict
        )


class ComparingModel(EchoModel):
    """Takes as much of what is usual out of the posteriors as windows are known, up to half.

    asked: what each window was compared with, pass by pass.
    """

    name = "comparing"
    adapts = True

    def __init__(self, conflict: float | None = None) -> None:
        super().__init__(conflict)
        self.asked: list[list[Known]] = []

    def predict(
        self,
        rows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        told = list(known or [NOTHING] * len(rows))
        self.asked.append(told)
        return [
            self._one(
                {
                    modality: _less(probs, one.person.get(modality))
                    for modality, probs in row.items()
                }
            )
            for row, one in zip(rows, told, strict=True)
        ]


def _less(probs: DoubleArray, usual: Usual | None) -> DoubleArray:
    if usual is None:
        return probs
    share = usual.num_windows / (2 * usual.num_windows + 2)
    left = np.maximum(probs - share * usual.mean, 0) + 1e-3
    return left / left.sum()


class TellModel(EchoModel):
    """Says of each window in turn what it is given, but for channels that the window lacks."""

    def __init__(self, said: Sequence[Posteriors], curve: DecisionCurve | None = CURVE) -> None:
        super().__init__()
        self._said = said
        self.curve = curve

    def predict(
        self,
        rows: Sequence[Embeddings],
        known: Sequence[Known] | None = None,
        unclear: Sequence[float] | None = None,
    ) -> list[Posteriors]:
        return [_where(row, said) for row, said in zip(rows, self._said, strict=True)]


def _where(row: Embeddings, said: Posteriors) -> Posteriors:
    face = said.face if Modality.VIDEO in row else None
    voice = said.voice if Modality.AUDIO in row else None
    if face is None or voice is None:
        return Posteriors(face, voice, face if voice is None else voice, None)
    return said
