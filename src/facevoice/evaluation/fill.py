"""Prediction tables from clips and pairs, so that whoever predicts only adds numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from facevoice.data.clips import Clip
from facevoice.data.pairs import Pair
from facevoice.errors import EvaluationError
from facevoice.evaluation.columns import UNKNOWN, emotion_array, text_array
from facevoice.evaluation.tables import ConflictPredictions, EmotionPredictions, Groups
from facevoice.labels import NUM_EMOTIONS
from facevoice.types import DoubleArray


def emotion_predictions(
    clips: Sequence[Clip],
    *,
    fold: Sequence[str | None] | None = None,
    face: npt.ArrayLike | None = None,
    voice: npt.ArrayLike | None = None,
    fused: npt.ArrayLike | None = None,
) -> EmotionPredictions:
    """The table for these clips, with what the corpus says of them.

    face, voice, fused: (n, 8) posteriors, NaN rows where missing; None: the model has no such part.

    Raises:
        EvaluationError: lengths differ, or a row is no posterior.
    """
    size = len(clips)

    def posteriors(values: npt.ArrayLike | None) -> DoubleArray:
        if values is None:
            return np.full((size, NUM_EMOTIONS), np.nan)
        return np.asarray(values, dtype=np.float64)

    return EmotionPredictions(
        clip_id=text_array(clip.clip_id for clip in clips),
        corpus=text_array(clip.corpus for clip in clips),
        speaker=text_array(clip.speaker_key for clip in clips),
        fold=text_array([None] * size if fold is None else fold),
        truth_intended=emotion_array(clip.labels.intended for clip in clips),
        truth_face=emotion_array(clip.labels.face for clip in clips),
        truth_voice=emotion_array(clip.labels.voice for clip in clips),
        truth_both=emotion_array(clip.labels.both for clip in clips),
        face=posteriors(face),
        voice=posteriors(voice),
        fused=posteriors(fused),
        groups=Groups.of(clips),
    )


def conflict_predictions(
    pairs: Sequence[Pair],
    clips: Mapping[str, Clip],
    scores: npt.ArrayLike,
    *,
    fold: Sequence[str | None] | None = None,
    baseline_differs: npt.ArrayLike | None = None,
    threshold: npt.ArrayLike | None = None,
    clarity: npt.ArrayLike | None = None,
) -> ConflictPredictions:
    """The table for these pairs; groups are those of the face's clip, by id in `clips`.

    scores (n,); baseline_differs (n,) bool; threshold, clarity (n,) or None.

    Raises:
        EvaluationError: lengths differ, a score is not finite, or a face's clip is not in `clips`.
    """
    absent = [pair.face_clip_id for pair in pairs if pair.face_clip_id not in clips]
    if absent:
        raise EvaluationError(f"clip {absent[0]!r} of a pair is not among the clips")
    faces = [clips[pair.face_clip_id] for pair in pairs]
    nan = np.full(len(pairs), np.nan)
    unknown = np.full(len(pairs), UNKNOWN)
    return ConflictPredictions(
        item_id=text_array(pair.pair_id for pair in pairs),
        corpus=text_array(clip.corpus for clip in faces),
        face_clip_id=text_array(pair.face_clip_id for pair in pairs),
        voice_clip_id=text_array(pair.voice_clip_id for pair in pairs),
        speaker=text_array(pair.speaker for pair in pairs),
        fold=text_array([None] * len(pairs) if fold is None else fold),
        kind=text_array(pair.kind.value for pair in pairs),
        bin=text_array(pair.bin.value for pair in pairs),
        face_emotion=emotion_array(pair.face_emotion for pair in pairs),
        voice_emotion=emotion_array(pair.voice_emotion for pair in pairs),
        score=np.asarray(scores, dtype=np.float64),
        baseline_differs=np.asarray(
            unknown if baseline_differs is None else baseline_differs, dtype=np.int64
        ),
        threshold=np.asarray(nan if threshold is None else threshold, dtype=np.float64),
        clarity=np.asarray(nan if clarity is None else clarity, dtype=np.float64),
        groups=Groups.of(faces),
    )
