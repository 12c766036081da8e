"""From stored features and a model to a run's predictions; nothing is decoded here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from facevoice.config import AnalyzerConfig
from facevoice.data.clips import Clip, clips_by_id
from facevoice.data.pair_table import lengths_by_clip
from facevoice.data.pairs import Pair
from facevoice.errors import CorpusError, EvaluationError
from facevoice.evaluation.predictions import (
    ConflictPredictions,
    EmotionPredictions,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
)
from facevoice.labels import NUM_EMOTIONS, Emotion, Modality
from facevoice.models.decision import has_enough_face, has_enough_speech
from facevoice.types import BoolArray, DoubleArray, FloatArray
from facevoice.workbench.pair_making import pair_manifest
from facevoice.workbench.stored_features import ClipFeatures, read_features


@dataclass(frozen=True, slots=True, eq=False)
class WindowPosteriors:
    """What a model says of n windows: (n, 8) each and conflict (n,); None where a part is absent.

    Rows of NaN where the window lacks the channel.
    """

    face: DoubleArray | None
    voice: DoubleArray | None
    fused: DoubleArray | None
    conflict: DoubleArray | None


class Scorer(Protocol):
    """A model of either family, as evaluation uses it: from embeddings to posteriors."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    @property
    def backbones(self) -> Mapping[Modality, str]:
        """The backbone (name or name@revision) of each channel that the model reads."""
        ...

    @property
    def sources(self) -> Mapping[Modality, str]:
        """What `create_backbone` builds each of them from."""
        ...

    @property
    def trained_on(self) -> tuple[UsedBackbone, ...]:
        """Everything with weights, and the corpora that it saw."""
        ...

    @property
    def threshold(self) -> float | None:
        """Conflict is called from here on; fixed on validation speakers."""
        ...

    def score(
        self, face: FloatArray | None, voice: FloatArray | None, present: BoolArray
    ) -> WindowPosteriors:
        """Score windows: face (n, D), voice (n, D), present (n, 2) whether each is there."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class StoredClips:
    """Features of both channels, by clip id."""

    face: Mapping[str, ClipFeatures]
    voice: Mapping[str, ClipFeatures]


def read_channels(
    clips: Sequence[Clip],
    store: Path,
    scorer: Scorer,
    *,
    limits_s: Mapping[str, float] | None = None,
    config: AnalyzerConfig | None = None,
) -> StoredClips:
    """What the store holds of the channels that the model reads.

    Raises:
        StoreError: nothing of a backbone was extracted.
    """
    found: dict[Modality, Mapping[str, ClipFeatures]] = {m: {} for m in Modality}
    for modality, backbone in scorer.backbones.items():
        found[modality] = read_features(
            clips, store, backbone=backbone, limits_s=limits_s, config=config
        )
    return StoredClips(found[Modality.VIDEO], found[Modality.AUDIO])


def predict_emotions(
    clips: Sequence[Clip], stored: StoredClips, scorer: Scorer, config: AnalyzerConfig
) -> EmotionPredictions:
    """One row a clip: the mean of the posteriors of its windows.

    Raises:
        EvaluationError: nothing is stored of any clip.
    """
    kept = [c for c in clips if c.clip_id in stored.face or c.clip_id in stored.voice]
    if not kept:
        raise EvaluationError("no clip has features in the store; extract them first")
    rows: dict[str, list[DoubleArray]] = {"face": [], "voice": [], "fused": []}
    for clip in kept:
        said = _score(stored.face.get(clip.clip_id), stored.voice.get(clip.clip_id), scorer, config)
        for channel, part in rows.items():
            part.append(_mean(getattr(said, channel)))
    face, voice, fused = (np.array(part) for part in rows.values())
    return emotion_predictions(kept, face=face, voice=voice, fused=fused)


def predict_conflicts(
    clips: Sequence[Clip],
    pairs: Sequence[Pair],
    stored: StoredClips,
    scorer: Scorer,
    config: AnalyzerConfig,
) -> ConflictPredictions | None:
    """One row a pair whose face and voice share a window with both; None if no pair does.

    The pair's score is the mean over its windows, as in a report's summary.
    """
    kept: list[Pair] = []
    scores, face_rows, voice_rows = [], [], []
    for pair in pairs:
        face, voice = stored.face.get(pair.face_clip_id), stored.voice.get(pair.voice_clip_id)
        if face is None or voice is None:
            continue
        said = _score(face, voice, scorer, config)
        score = None if said.conflict is None else _mean(said.conflict)
        if score is None or np.isnan(score) or said.face is None or said.voice is None:
            continue
        kept.append(pair)
        scores.append(float(score))
        face_rows.append(_merge_calm(_mean(said.face)))
        voice_rows.append(_merge_calm(_mean(said.voice)))
    if not kept:
        return None
    faces, voices = np.array(face_rows), np.array(voice_rows)
    return conflict_predictions(
        kept,
        clips_by_id(list(clips)),
        scores,
        baseline_differs=faces.argmax(axis=1) != voices.argmax(axis=1),
        threshold=None if scorer.threshold is None else np.full(len(kept), scorer.threshold),
        clarity=np.minimum(faces.max(axis=1), voices.max(axis=1)),
    )


def plan_pairs(clips: Sequence[Clip], jobs: int = 1) -> tuple[tuple[Pair, ...], dict[str, float]]:
    """Pairs and originals of every filmed corpus, and the seconds to cut their clips to, by id.

    The same as `facevoice data pairs` makes. Where none can be made, there are none.

    Raises:
        MediaError: a sound can't be read; named.
    """
    filmed = {clip.corpus for clip in clips if clip.video_path is not None}
    members = [clip for clip in clips if clip.corpus in filmed and clip.speaker is not None]
    if not members:
        return (), {}
    try:
        made = pair_manifest(members, jobs=jobs).pairs
    except CorpusError:
        return (), {}
    return tuple(timed.pair for timed in made), lengths_by_clip(made)


def _score(
    face: ClipFeatures | None,
    voice: ClipFeatures | None,
    scorer: Scorer,
    config: AnalyzerConfig,
) -> WindowPosteriors:
    """Windows of both channels side by side; one that ends sooner lacks its last windows."""
    size = max(len(part.mask) for part in (face, voice) if part is not None)
    present = np.zeros((size, 2), dtype=np.bool_)
    if face is not None:
        present[: len(face.mask), 0] = face.mask & _enough(face, config)
    if voice is not None:
        present[: len(voice.mask), 1] = voice.mask & _enough(voice, config)
    return scorer.score(_padded(face, size), _padded(voice, size), present)


def _enough(features: ClipFeatures, config: AnalyzerConfig) -> BoolArray:
    """(n,) whether a window holds as much of the channel as analysis asks for."""
    lengths_s = features.spans_s[:, 1] - features.spans_s[:, 0]
    if features.modality is Modality.VIDEO:
        rows = [has_enough_face(c, config.decision) for c in features.coverage]
    else:
        rows = [
            has_enough_speech(float(coverage * length_s), float(length_s), config.decision)
            for coverage, length_s in zip(features.coverage, lengths_s, strict=True)
        ]
    return np.array(rows, dtype=np.bool_)


def _padded(features: ClipFeatures | None, size: int) -> FloatArray | None:
    if features is None:
        return None
    rows = np.zeros((size, features.embeddings.shape[1]), dtype=np.float32)
    rows[: len(features.embeddings)] = features.embeddings
    return rows


def _mean(rows: DoubleArray | None) -> DoubleArray:
    """Mean over the windows that have an answer; NaN where none has."""
    if rows is None:
        return np.full(NUM_EMOTIONS, np.nan)
    known = rows[np.isfinite(rows).reshape(len(rows), -1).all(axis=1)]
    if not len(known):
        return np.full(rows.shape[1:], np.nan)
    mean: DoubleArray = known.mean(axis=0)
    return mean / mean.sum() if mean.ndim else mean


def _merge_calm(probs: DoubleArray) -> DoubleArray:
    merged = probs.copy()
    merged[Emotion.NEUTRAL.position] += merged[Emotion.CALM.position]
    merged[Emotion.CALM.position] = 0.0
    return merged
