"""What calls of match and conflict are worth, measured on people whom nothing was fitted to.

A comparison of two posteriors can be tested on the face of one person and the voice of another, so
seven people on film and the voices of five corpora give far more pairs than the six who have both.
Faces are judged without their person, voices without their whole corpus, since that is what users'
voices are; nothing of a person is known for two clips in five, more or less of the others, as heads
learn it. On film persons weigh alike, of voices corpora and then persons; so do emotions, conflicts
and matches. A corpus without calm has neutral only, so calm counts as neutral.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from recipes.crossfit import Channel, clip_posteriors
from recipes.fitting import Acquaintances

from facevoice.interpret import measure_curve
from facevoice.models.heads import ConflictHead, Posteriors
from facevoice.records import EMOTIONS, DecisionCurve, Emotion

NUM_PAIRS = 10_000
SEED = 0

Cells = Mapping[tuple[str, Emotion], list[np.ndarray]]
"""Posteriors (8,) by person and emotion; persons are named CORPUS/SPEAKER."""


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Faces and voices, each as they are read without having met the person."""

    faces: Cells
    voices: Cells

    @classmethod
    def of(cls, faces: Channel, voices: Channel) -> Strangers:
        """All faces; all voices."""
        nobody: frozenset[str] = frozenset()
        return cls(_cells(faces, nobody), _cells(voices, nobody))

    def without(self, speaker: str) -> Strangers:
        """All but one person."""
        faces, voices = (
            {key: rows for key, rows in cells.items() if key[0] != speaker}
            for cells in (self.faces, self.voices)
        )
        return Strangers(faces, voices)


def _cells(channel: Channel, apart: frozenset[str]) -> Cells:
    """Clips of each group, by a head without the group."""
    cells: dict[tuple[str, Emotion], list[np.ndarray]] = defaultdict(list)
    samples = channel.samples
    known, rng = Acquaintances(samples), np.random.default_rng(SEED)
    emotions = dict(zip(samples.clips.tolist(), samples.labels.tolist(), strict=True))
    for group in channel.groups:
        head = channel.sure_head(group, apart)
        for speaker in sorted(group):
            told = clip_posteriors(channel, head, speaker, lambda row: known.draw(row, rng))
            for clip, probs in told.items():
                emotion = EMOTIONS[emotions[clip]]
                merged = Emotion.NEUTRAL if emotion.is_flat else emotion
                cells[speaker, merged].append(probs)
    return dict(cells)


def measure(strangers: Strangers, conflict: ConflictHead) -> DecisionCurve:
    """The curve of a conflict model on pairs drawn at random, half of them conflicts."""
    rng = np.random.default_rng(SEED)
    pairs = [_draw(strangers, rng, is_conflict=bool(k % 2)) for k in range(NUM_PAIRS)]
    faces, voices = (np.array(rows) for rows in zip(*pairs, strict=True))
    probs = conflict(faces, voices)
    said = [Posteriors(*row, None, float(p)) for *row, p in zip(faces, voices, probs, strict=True)]
    return measure_curve(said, np.arange(NUM_PAIRS) % 2 == 1)


def _draw(
    strangers: Strangers, rng: np.random.Generator, *, is_conflict: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A face and a voice: of which corpora, whose, which emotions, then which clips."""
    while True:
        face, shown = _draw_cell(strangers.faces, rng)
        voice, heard = _draw_cell(_of_one_corpus(strangers.voices, rng), rng)
        if not is_conflict:
            heard = shown
        seen, said = strangers.faces[face, shown], strangers.voices.get((voice, heard), [])
        if said and (shown is not heard) == is_conflict:
            return seen[rng.integers(len(seen))], said[rng.integers(len(said))]


def _of_one_corpus(cells: Cells, rng: np.random.Generator) -> Cells:
    corpora = sorted({person.split("/")[0] for person, _ in cells})
    corpus = corpora[rng.integers(len(corpora))]
    return {key: rows for key, rows in cells.items() if key[0].split("/")[0] == corpus}


def _draw_cell(cells: Cells, rng: np.random.Generator) -> tuple[str, Emotion]:
    people = sorted({person for person, _ in cells})
    person = people[rng.integers(len(people))]
    emotions = sorted(emotion for who, emotion in cells if who == person)
    return person, emotions[rng.integers(len(emotions))]
