"""Synthetic runs whose figures can be computed by other means."""

from __future__ import annotations

from typing import Any

import numpy as np
from pandas import DataFrame

from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.pairs import Pair, PairKind
from facevoice.evaluation.predictions import (
    DataFile,
    RunInfo,
    Target,
    UsedBackbone,
    conflict_predictions,
    emotion_predictions,
)
from facevoice.records import Emotion

CORPUS = "cremad"
CLASSES = (
    Emotion.NEUTRAL,
    Emotion.HAPPY,
    Emotion.SAD,
    Emotion.ANGRY,
    Emotion.FEARFUL,
    Emotion.DISGUST,
)


def make_info(**changes: Any) -> RunInfo:
    fields = {
        "name": "toy",
        "title": "A toy run",
        "model": "posteriors drawn at random around the truth",
        "corpora": (CORPUS,),
        "protocol": "3 folds, no speaker in two of them",
        "command": "python make_toy.py --seed 0",
        "emotion_target": Target.INTENDED,
        "conflict_target": Target.CONSTRUCTED_CONFLICT,
        "score_is_probability": True,
        "backbones": (UsedBackbone("compact-face@1", ("fer2013",)), UsedBackbone("v@2", None)),
        "data": (DataFile("manifest.parquet", "0" * 64),),
    }
    return RunInfo(**{**fields, **changes})


def make_clips(num_speakers: int = 12, clips_a_class: int = 3, seed: int = 0) -> list[Clip]:
    rng = np.random.default_rng(seed)
    clips = []
    for number in range(num_speakers):
        person = {
            "sex": ("female", "male")[number % 2],
            "age": 20 + 5 * number % 55,
            "race": ("A", "B", "B")[number % 3],
            "ethnicity": None if number == 0 else "N",
        }
        for emotion in CLASSES:
            for take in range(1, clips_a_class + 1):
                seen, heard = (
                    emotion if rng.random() < 0.7 else rng.choice(np.array(CLASSES))
                    for _ in range(2)
                )
                clips.append(
                    Clip(
                        clip_id=f"{CORPUS}/{number:02}_{emotion}_{take}",
                        corpus=CORPUS,
                        speaker=f"{number:02}",
                        sentence="s",
                        take=take,
                        language="en",
                        labels=Labels(
                            intended=emotion, face=Emotion(seen), voice=Emotion(heard), both=emotion
                        ),
                        **person,
                    )
                )
    return clips


def make_posteriors(clips: list[Clip], skill: float, seed: int) -> np.ndarray:
    """(n, 8) softmax of noise with `skill` added at the truth; calm gets its share too."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(clips), 8))
    for row, clip in enumerate(clips):
        assert clip.labels.intended is not None
        logits[row, clip.labels.intended.position] += skill
    values = np.exp(logits)
    return values / values.sum(axis=1, keepdims=True)


def make_emotions(
    num_speakers: int = 12, skill: float = 1.5, seed: int = 0, **changes: Any
) -> DataFrame:
    clips = make_clips(num_speakers)
    parts = {
        channel: make_posteriors(clips, skill, seed * 10 + place)
        for place, channel in enumerate(("face", "voice", "fused"))
    }
    parts["voice"][::10] = np.nan
    folds = [str(int(clip.speaker or 0) % 3) for clip in clips]
    return emotion_predictions(clips, **{"fold": folds, **parts, **changes})


def make_pairs(clips: list[Clip]) -> list[Pair]:
    """Each face with its own sound, another take of the emotion, and one of another emotion."""
    pairs = []
    for place, clip in enumerate(clips):
        mates = [c for c in clips if c.speaker == clip.speaker and c is not clip]
        same = next(c for c in mates if c.labels.intended == clip.labels.intended)
        others = [c for c in mates if c.labels.intended != clip.labels.intended]
        other = others[place % len(others)]
        for voice, kind in (
            (clip, PairKind.ORIGINAL),
            (same, PairKind.MATCH),
            (other, PairKind.CONFLICT),
        ):
            emotions = (clip.labels.intended, voice.labels.intended)
            assert emotions[0] is not None and emotions[1] is not None
            pairs.append(
                Pair(
                    clip.clip_id,
                    voice.clip_id,
                    kind,
                    clip.speaker_key or "",
                    "s",
                    *emotions,
                )
            )
    return pairs


def make_conflicts(
    num_speakers: int = 12, skill: float = 1.0, seed: int = 1, **changes: Any
) -> DataFrame:
    clips = make_clips(num_speakers)
    pairs = make_pairs(clips)
    rng = np.random.default_rng(seed)
    conflict = np.array([pair.is_conflict for pair in pairs])
    scores = 1 / (1 + np.exp(-(skill * conflict + rng.normal(-skill / 2, 1, len(pairs)))))
    folds = [str(int(pair.speaker.split("/")[1]) % 3) for pair in pairs]
    columns = {
        "fold": folds,
        "baseline_differs": rng.random(len(pairs)) < 0.4 + 0.2 * conflict,
        "threshold": [0.4 + 0.05 * int(fold) for fold in folds],
        "clarity": rng.random(len(pairs)),
    }
    index = {clip.clip_id: clip for clip in clips}
    return conflict_predictions(pairs, index, scores, **{**columns, **changes})
