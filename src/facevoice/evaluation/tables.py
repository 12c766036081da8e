"""The two tables of predictions, column by column, checked when they are built.

Texts are object arrays with None where something is not known; emotions are `Emotion.position`, −1
where not known; numbers are float64, NaN where not known; yes or no is 1 or 0, −1 where not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np

from facevoice.data.clips import Clip
from facevoice.data.pairs import PairBin, PairKind
from facevoice.errors import EvaluationError
from facevoice.evaluation.checks import IntArray
from facevoice.evaluation.columns import (
    UNKNOWN,
    TextArray,
    check_emotions,
    check_keys,
    check_posteriors,
    check_words,
    refuse_rows,
    text_array,
)
from facevoice.evaluation.run_info import EMOTION_TARGETS, Channel, Target
from facevoice.types import BoolArray, DoubleArray

_OLDEST: Final = 130

TRUTH_COLUMNS: Final[dict[Target, str]] = {
    Target.INTENDED: "truth_intended",
    Target.PERCEIVED_FACE: "truth_face",
    Target.PERCEIVED_VOICE: "truth_voice",
    Target.PERCEIVED_BOTH: "truth_both",
}
"""The column that holds the truth of each emotion target."""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """What both tables share: equal lengths, and rows by index."""

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        for name, length in lengths.items():
            if length != len(self):
                first = fields(self)[0].name
                raise EvaluationError(
                    f"column {name} has {length} rows, column {first} has {len(self)}"
                )

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def take(self, rows: IntArray | BoolArray) -> Self:
        """The rows at these places, or where the mask says so."""
        parts = {}
        for field in fields(self):
            value = getattr(self, field.name)
            parts[field.name] = value.take(rows) if isinstance(value, _Table) else value[rows]
        return type(self)(**parts)


@dataclass(frozen=True, slots=True, eq=False)
class Groups(_Table):
    """Whom each row is about. (n,) each; age in years."""

    sex: TextArray
    age: DoubleArray
    race: TextArray
    ethnicity: TextArray
    language: TextArray
    intensity: TextArray

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        refuse_rows(
            (self.age <= 0) | (self.age > _OLDEST), "age", self.age, "give years, or nothing"
        )

    @classmethod
    def unknown(cls, size: int) -> Groups:
        """Nothing known of any of `size` rows."""
        none = np.full(size, None, dtype=object)
        return cls(none, np.full(size, np.nan), none, none, none, none)

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> Groups:
        """What the corpus says of each clip's speaker."""
        ages = [np.nan if clip.age is None else float(clip.age) for clip in clips]
        return cls(
            sex=text_array(clip.sex for clip in clips),
            age=np.asarray(ages, dtype=np.float64),
            race=text_array(clip.race for clip in clips),
            ethnicity=text_array(clip.ethnicity for clip in clips),
            language=text_array(clip.language for clip in clips),
            intensity=text_array(clip.intensity for clip in clips),
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmotionPredictions(_Table):
    """One row a clip, n rows.

    clip_id: unique; corpus: where it is from; speaker: `corpus/speaker`, None where nobody is
    named; fold: the fold in which it was tested;
    truth_intended, truth_face, truth_voice, truth_both: the truth of each target;
    face, voice, fused: (n, 8) posteriors in the order of `Emotion`, a row of NaN where the channel
    is missing or the model gave no answer.
    """

    clip_id: TextArray
    corpus: TextArray
    speaker: TextArray
    fold: TextArray
    truth_intended: IntArray
    truth_face: IntArray
    truth_voice: IntArray
    truth_both: IntArray
    face: DoubleArray
    voice: DoubleArray
    fused: DoubleArray
    groups: Groups

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        check_keys("clip_id", self.clip_id, self.corpus, self.speaker)
        for column in TRUTH_COLUMNS.values():
            check_emotions(column, getattr(self, column))
        for channel in Channel:
            check_posteriors(channel, self.posteriors(channel))
        if all(np.isnan(self.posteriors(channel)).all() for channel in Channel):
            raise EvaluationError("no channel has posteriors; fill face_*, voice_* or fused_*")
        if not self.targets:
            names = ", ".join(TRUTH_COLUMNS.values())
            raise EvaluationError(f"no truth is given; fill at least one of {names}")

    def truth(self, target: Target) -> IntArray:
        """Emotions (n,) that the clips have by this target."""
        values: IntArray = getattr(self, TRUTH_COLUMNS[target])
        return values

    def posteriors(self, channel: Channel) -> DoubleArray:
        """(n, 8), NaN where there are none."""
        values: DoubleArray = getattr(self, channel.value)
        return values

    @property
    def targets(self) -> tuple[Target, ...]:
        """Those of which at least one clip has the truth."""
        return tuple(t for t in EMOTION_TARGETS if (self.truth(t) != UNKNOWN).any())


@dataclass(frozen=True, slots=True, eq=False)
class ConflictPredictions(_Table):
    """One row a pair of a face and a voice (or a clip, for perceived conflicts), n rows.

    item_id: unique; face_clip_id, voice_clip_id: equal where a clip keeps its own sound;
    kind: `match`, `conflict` or `original`, see `PairKind`; bin: see `PairBin`, or None;
    face_emotion, voice_emotion: by the run's target;
    score: higher speaks for conflict, a probability if the run says so;
    baseline_differs: whether the likeliest emotion of the face and that of the voice differ;
    threshold: at and above it the score counts as conflict; fixed on this fold's validation part;
    clarity: how clear both channels are, for example the smaller of their highest posteriors.
    """

    item_id: TextArray
    corpus: TextArray
    face_clip_id: TextArray
    voice_clip_id: TextArray
    speaker: TextArray
    fold: TextArray
    kind: TextArray
    bin: TextArray
    face_emotion: IntArray
    voice_emotion: IntArray
    score: DoubleArray
    baseline_differs: IntArray
    threshold: DoubleArray
    clarity: DoubleArray
    groups: Groups

    def __post_init__(self) -> None:
        _Table.__post_init__(self)
        check_keys("item_id", self.item_id, self.corpus, self.speaker)
        for column in ("face_emotion", "voice_emotion"):
            check_emotions(column, getattr(self, column))
        check_words("kind", self.kind, [*PairKind], needed=True)
        check_words("bin", self.bin, [*PairBin], needed=False)
        refuse_rows(
            ~np.isfinite(self.score), "score", self.score, "leave such items out, and say so"
        )
        for column in ("threshold", "clarity"):
            values = getattr(self, column)
            refuse_rows(np.isinf(values), column, values, "give a finite number, or nothing")
        wrong = ~np.isin(self.baseline_differs, (UNKNOWN, 0, 1))
        refuse_rows(
            wrong, "baseline_differs", self.baseline_differs, "give true, false, or nothing"
        )

    def of_kind(self, *kinds: PairKind) -> ConflictPredictions:
        """The rows of these kinds."""
        return self.take(np.isin(self.kind.astype(str), [kind.value for kind in kinds]))

    @property
    def is_conflict(self) -> BoolArray:
        """(n,) whether the row is a conflict."""
        return np.asarray(self.kind.astype(str) == PairKind.CONFLICT.value, dtype=np.bool_)
