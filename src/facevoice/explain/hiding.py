"""Hiding parts of what a network sees or hears, and what is then said in place of the answer.

Occlusion (Zeiler and Fergus 2014, Visualizing and understanding convolutional networks): what
matters for an answer changes it when it is hidden. Effects are differences of log-odds: of the
answer with everything to be seen less that without the part, so above 0 the part speaks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from facevoice.backbones.spec import Backbone
from facevoice.interpret import Question
from facevoice.models.heads import Posteriors
from facevoice.records import DoubleArray, Emotion, FloatArray, Modality, Window

NUM_RANDOM: Final = 12
"""Random covers that a part must beat: by chance one part in thirteen does."""
_TINY: Final = 1e-6
# Networks of eight bits change a little with any input; below this no effect is told.
_LEAST: Final = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """What is said with something hidden: of the channel's emotion, and of conflict or None."""

    emotion: float
    conflict: float | None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a face or a voice, and what becomes of the answers without it.

    name: in everyday words; kind: "region" of a face, "stretch" or "band" of a voice;
    without: the answers with the part hidden; effect, conflict_effect: in log-odds, above 0 where
    the part speaks for what is told (None where no conflict is); stands_out,
    conflict_stands_out: more than the same area hidden at random places, every time;
    start_s, end_s, low_hz, high_hz: where in the voice, None in a face.
    """

    name: str
    kind: str
    without: Answers
    effect: float
    conflict_effect: float | None
    stands_out: bool
    conflict_stands_out: bool
    start_s: float | None = None
    end_s: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """Asks for one channel's answers with parts of a window hidden.

    emotion: whose probability is asked for; threads: windows embedded at once.
    """

    question: Question
    backbone: Backbone
    modality: Modality
    emotion: Emotion
    num_threads: int = 1

    def ask(self, windows: Iterable[Window]) -> list[Answers]:
        """The answers to each of the windows, in which this channel is a changed one."""
        embeddings = self.embed(windows)
        changed = [{**self.question.window, self.modality: one} for one in embeddings]
        return [self._read(said) for said in self.question.ask(changed)]

    def embed(self, windows: Iterable[Window]) -> list[FloatArray]:
        """Embedded one by one, for a batch may change the last bits."""
        with ThreadPoolExecutor(self.num_threads) as pool:
            return list(pool.map(lambda window: self.backbone.embed([window])[0], windows))

    def _read(self, said: Posteriors) -> Answers:
        probs = said.face if self.modality is Modality.VIDEO else said.voice
        if probs is None:
            raise ValueError("a channel without evidence can't be asked")
        return Answers(float(probs[self.emotion.position]), said.conflict)


def effects(before: Answers, after: Sequence[Answers]) -> tuple[DoubleArray, DoubleArray | None]:
    """Effects (n,) on the emotion, and on conflict where there is one."""
    emotion = _log_odds(before.emotion) - _log_odds([one.emotion for one in after])
    if before.conflict is None:
        return emotion, None
    told = [before.conflict if one.conflict is None else one.conflict for one in after]
    return emotion, _log_odds(before.conflict) - _log_odds(told)


def judge_parts(
    before: Answers, bare: Sequence[Part], random: Sequence[Answers]
) -> tuple[Part, ...]:
    """Parts with their effects, those first that change the emotion most.

    bare: with their answers, effects still unknown; random: with as much hidden here and there.
    """
    limits = [_limit(found) for found in effects(before, random)]
    emotion, conflict = effects(before, [part.without for part in bare])
    told = [
        replace(
            part,
            effect=float(emotion[k]),
            conflict_effect=None if conflict is None else float(conflict[k]),
            stands_out=bool(abs(emotion[k]) > limits[0]),
            conflict_stands_out=conflict is not None and bool(abs(conflict[k]) > limits[1]),
        )
        for k, part in enumerate(bare)
    ]
    return tuple(sorted(told, key=lambda part: -abs(part.effect)))


def bare_part(name: str, kind: str, without: Answers, **where: float) -> Part:
    """A part whose effects are still to be judged."""
    return Part(name, kind, without, 0.0, None, False, False, **where)


def _limit(found: DoubleArray | None) -> float:
    return _LEAST if found is None else max(_LEAST, float(np.abs(found).max()))


def _log_odds(probs: float | Sequence[float]) -> DoubleArray:
    clipped = np.clip(np.asarray(probs, np.float64), _TINY, 1 - _TINY)
    odds: DoubleArray = np.log(clipped / (1 - clipped))
    return odds
