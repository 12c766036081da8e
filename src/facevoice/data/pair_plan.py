"""What a pair of a face and a voice is, and which faces may meet which voices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from facevoice.data.clips import Clip, require_speaker
from facevoice.errors import CorpusError
from facevoice.labels import Emotion


class PairKind(StrEnum):
    """How face and voice came together."""

    CONFLICT = "conflict"
    MATCH = "match"
    ORIGINAL = "original"


class PairBin(StrEnum):
    """How far apart the two emotions of a pair are.

    neutral_vs_x: exactly one of them is flat (neutral or calm);
    opposite_valence: one is pleasant, the other unpleasant;
    same_valence: all other differences. Surprise has no valence of its own (it goes with either),
    so that its conflicts with emotions are here, among the hard ones, never with the opposites;
    same_emotion: matches and originals.
    """

    NEUTRAL_VS_X = "neutral_vs_x"
    SAME_VALENCE = "same_valence"
    OPPOSITE_VALENCE = "opposite_valence"
    SAME_EMOTION = "same_emotion"


@dataclass(frozen=True, slots=True)
class Pair:
    """The face of one clip with the voice of another (or, as original, of the same).

    sentence: what the face says; the voice says the same unless the plan allows another sentence.
    speaker: name over all corpora, `corpus/speaker`.
    """

    face_clip_id: str
    voice_clip_id: str
    kind: PairKind
    bin: PairBin
    speaker: str
    sentence: str
    face_emotion: Emotion
    voice_emotion: Emotion

    @property
    def is_conflict(self) -> bool:
        """Whether face and voice were intended to differ."""
        return self.kind is PairKind.CONFLICT

    @property
    def pair_id(self) -> str:
        """Unique name: kind and the two clips."""
        return f"{self.kind}:{self.face_clip_id}+{self.voice_clip_id}"


@dataclass(frozen=True, slots=True)
class PairPlan:
    """Which faces meet which voices; one rule for matches and conflicts.

    face_takes, voice_takes: the takes to draw from, None for all;
    same_sentence: face and voice say the same, in different takes; else they say different things
    (for corpora with one take a sentence, and for scores that don't look at lips);
    same_intensity: face and voice were acted with the same intensity;
    voices_per_face: number of voice cells that each face meets in matches (and again in
    conflicts), None for all;
    need_files: only clips that have the picture, or the sound, on disk.
    """

    face_takes: frozenset[int] | None = None
    voice_takes: frozenset[int] | None = None
    same_sentence: bool = True
    same_intensity: bool = True
    voices_per_face: int | None = None
    need_files: bool = True

    def __post_init__(self) -> None:
        if self.voices_per_face is not None and self.voices_per_face < 1:
            raise CorpusError(f"voices_per_face = {self.voices_per_face}: must be at least 1")


PAIR_PLANS: Final[Mapping[str, PairPlan]] = {
    # Only take 1 has a picture; its own sound is never used, so no pair is in its original splice.
    "javanese": PairPlan(face_takes=frozenset({1}), voice_takes=frozenset(range(2, 8))),
    "ravdess": PairPlan(),
    # One take of nearly every sentence and emotion: control takes must say something else.
    "cremad": PairPlan(same_sentence=False, same_intensity=False, voices_per_face=2),
}
"""The plan that fits each corpus."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a face or a voice was recorded; everything about it but the emotion."""

    speaker: str
    sentence: str
    take: int
    intensity: str | None


def pair_bin(face: Emotion, voice: Emotion) -> PairBin:
    """How far apart two emotions are; see `PairBin`."""
    if face == voice:
        return PairBin.SAME_EMOTION
    if face.is_flat != voice.is_flat:
        return PairBin.NEUTRAL_VS_X
    if face.valence * voice.valence < 0:
        return PairBin.OPPOSITE_VALENCE
    return PairBin.SAME_VALENCE


def cell_of(clip: Clip) -> Cell:
    """The clip's cell.

    Raises:
        CorpusError: it names no speaker.
    """
    return Cell(require_speaker(clip), clip.sentence or "", clip.take or 0, clip.intensity)


def cell_key(cell: Cell) -> tuple[str, str, int, str]:
    """For sorting cells."""
    return (cell.speaker, cell.sentence, cell.take, cell.intensity or "")


def may_meet(face: Cell, voice: Cell, plan: PairPlan) -> bool:
    """Whether the plan lets these cells meet; knows nothing of emotion, hence nothing of class."""
    if plan.same_intensity and face.intensity != voice.intensity:
        return False
    if plan.same_sentence:
        return face.sentence == voice.sentence and face.take != voice.take
    return face.sentence != voice.sentence
