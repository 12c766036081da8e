"""What calls of match and conflict are worth, measured on people whom nothing was fitted to.

A comparison of two posteriors can be tested on the face of one person and the voice of another, so
seven people on film and 36 voices give far more pairs than the six who have both. Persons weigh
alike, and so do emotions, conflicts and matches. A corpus without calm has neutral only, so calm
counts as neutral.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from recipes.compact_data import FILMED_SPEAKER, CompactData
from recipes.crossfit import ByClip, folded_posteriors, mean_by_clip
from recipes.fitting import fit_sharpness, power
from recipes.voice_data import NUM_FOLDS

from facevoice.interpret import measure_curve
from facevoice.models.heads import ConflictHead, Posteriors
from facevoice.records import DecisionCurve, Emotion

NUM_PAIRS = 10_000
SEED = 0

Cells = Mapping[tuple[str, Emotion], list[np.ndarray]]
"""Posteriors (8,) by person and emotion."""


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Faces and voices, each as they are read without having met the person."""

    faces: Cells
    voices: Cells

    @classmethod
    def of(cls, data: CompactData) -> Strangers:
        """Faces of the javanese speakers and the filmed RAVDESS speaker; all voices."""
        faces, _ = data.faces.posteriors(frozenset())
        faces = {**faces, **read_faces(data, frozenset({f"ravdess/{FILMED_SPEAKER}"}))}
        return cls(_cells(data, faces), _cells(data, read_voices(data)))

    def without(self, speaker: str) -> Strangers:
        """All but one person."""
        faces, voices = (
            {key: rows for key, rows in cells.items() if key[0] != speaker}
            for cells in (self.faces, self.voices)
        )
        return Strangers(faces, voices)


def read_faces(data: CompactData, speakers: frozenset[str]) -> ByClip:
    """Posteriors of these speakers' clips, by what was fitted without them."""
    _, sharpness = data.faces.posteriors(speakers)
    rows = np.isin(data.faces.samples.speakers, list(speakers))
    probs = power(data.faces.head(speakers)(data.faces.samples.embeddings[rows]), sharpness)
    return mean_by_clip(data.faces.clip_ids[rows], probs)


def read_voices(data: CompactData) -> ByClip:
    """Posteriors of all voices, each by a network and a head that never heard them."""
    if data.tuned is not None:
        return data.tuned.all_posteriors(data.tuned.sharpness())
    _, probs = folded_posteriors(data.voices, NUM_FOLDS)
    sharpness = fit_sharpness(probs, data.voices.samples)
    return mean_by_clip(data.voices.clip_ids, power(probs, sharpness))


def _cells(data: CompactData, posteriors: ByClip) -> Cells:
    cells: dict[tuple[str, Emotion], list[np.ndarray]] = defaultdict(list)
    for clip_id, probs in posteriors.items():
        clip = data.clips[clip_id]
        emotion = clip.labels.intended
        if emotion is not None:
            merged = Emotion.NEUTRAL if emotion.is_flat else emotion
            cells[str(clip.speaker_key), merged].append(probs)
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
    """A face and a voice: first whose, then which emotions, then which clips."""
    while True:
        (face, shown), (voice, heard) = (
            _draw_cell(cells, rng) for cells in (strangers.faces, strangers.voices)
        )
        if not is_conflict:
            heard = shown
        seen, said = strangers.faces[face, shown], strangers.voices.get((voice, heard), [])
        if said and (shown is not heard) == is_conflict:
            return seen[rng.integers(len(seen))], said[rng.integers(len(said))]


def _draw_cell(cells: Cells, rng: np.random.Generator) -> tuple[str, Emotion]:
    people = sorted({person for person, _ in cells})
    person = people[rng.integers(len(people))]
    emotions = sorted(emotion for who, emotion in cells if who == person)
    return person, emotions[rng.integers(len(emotions))]
