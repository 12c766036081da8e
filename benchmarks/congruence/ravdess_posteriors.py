"""RAVDESS, all 1,440 clips: congruence from the posteriors of two published models.

The face model reads OpenFace action units, the voice model is a fine-tuned wav2vec 2.0; both give
out-of-fold posteriors over subject-wise 5 folds (GitHub cristinalunaj/MMEmotionRecognition, MIT).
What is fitted here (a logistic model on soft evidence, a threshold) is fitted on the other folds.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.congruence.common import PairScores, conflict_table, crossfit_conflict

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.manifest import Clip
from facevoice.corpora.pairs import PAIR_PLANS, Pair, make_pairs, original_pairs
from facevoice.corpora.ravdess import Ravdess
from facevoice.evaluation.predictions import Run, RunInfo, Target, emotion_predictions
from facevoice.models.heads import softmax
from facevoice.records import EMOTIONS, Emotion

NUM_FOLDS = 5
ARCHIVE = "ravdess_posteriors"
FACE_FILE = "data/posteriors/avg_MLP80_AUs/posteriors/test_fold{fold}.csv"
VOICE_FILE = "data/posteriors/wav2Vec/posteriors/20211020_094500/fold{fold}/posteriors_test.csv"
# The face model's columns follow the corpus' codes, the voice model's follow the alphabet.
FACE_COLUMNS = EMOTIONS
VOICE_COLUMNS = tuple(sorted(EMOTIONS))


@dataclass(frozen=True, slots=True, eq=False)
class PublishedPosteriors:
    """Posteriors (8,) of face and voice, and the fold, by file stem."""

    face: dict[str, np.ndarray]
    voice: dict[str, np.ndarray]
    fold: dict[str, int]


def read_posteriors(root: Path) -> PublishedPosteriors:
    found = PublishedPosteriors({}, {}, {})
    for fold in range(NUM_FOLDS):
        for stem, values in read_rows(root / FACE_FILE.format(fold=fold)):
            found.face[stem] = in_order(values, FACE_COLUMNS)
            found.fold[stem] = fold
        for stem, values in read_rows(root / VOICE_FILE.format(fold=fold)):
            # The voice file holds logits.
            found.voice[stem] = softmax(in_order(values, VOICE_COLUMNS))
            if found.fold[stem] != fold:
                raise SystemExit(f"{stem}: in fold {found.fold[stem]} by face, {fold} by voice")
    if set(found.face) != set(found.voice):
        raise SystemExit(f"{root}: face and voice files hold different clips")
    for channel in (found.face, found.voice):
        check_order(channel)
    return found


def read_rows(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter=";"):
            values = np.array([float(row[f"embs{k}"]) for k in range(len(EMOTIONS))])
            yield row.get("video_name") or row["name"], values


def in_order(values: np.ndarray, columns: tuple[Emotion, ...]) -> np.ndarray:
    return values[[columns.index(emotion) for emotion in EMOTIONS]]


def check_order(posteriors: dict[str, np.ndarray]) -> None:
    """Each emotion's column must be highest, on average, on clips of that emotion."""
    labels = np.array([int(stem.split("-")[2]) - 1 for stem in posteriors])
    probs = np.array(list(posteriors.values()))
    means = np.array([probs[labels == k].mean(axis=0) for k in range(len(EMOTIONS))])
    if (means.argmax(axis=0) != np.arange(len(EMOTIONS))).any():
        raise SystemExit(f"columns are not in the order supposed:\n{means.round(2)}")


def run(corpora: Path, work: Path, command: str) -> Run:
    found = read_posteriors(corpus_root(corpora, ARCHIVE, work=work))
    reader = Ravdess()
    clips: list[Clip] = []
    for stem in sorted(found.face):
        clip = reader.parse(Path(f"{stem}.mp4"))
        if isinstance(clip, str):
            raise SystemExit(f"{stem}: {clip}")
        clips.append(clip)
    stem_of = {clip.clip_id: stem for clip, stem in zip(clips, sorted(found.face), strict=True)}
    plan = replace(PAIR_PLANS["ravdess"], need_files=False)
    pairs, originals = make_pairs(clips, plan), original_pairs(clips, plan)
    everything: tuple[Pair, ...] = (*pairs, *originals)
    scores = PairScores(
        everything,
        face=np.array([found.face[stem_of[p.face_clip_id]] for p in everything]),
        voice=np.array([found.voice[stem_of[p.voice_clip_id]] for p in everything]),
        folds=np.array([found.fold[stem_of[p.face_clip_id]] for p in everything]),
    )
    info = RunInfo(
        name="ravdess-posteriors",
        title="RAVDESS: the posteriors of two published models",
        model="face: MLP on OpenFace action units; voice: fine-tuned wav2vec 2.0; conflict: "
        "logistic model on soft evidence of disagreement",
        corpora=("ravdess",),
        emotion_target=Target.INTENDED,
        conflict_target=Target.CONSTRUCTED_CONFLICT,
        protocol="all 24 speakers, the models' own 5 subject-wise folds; conflict model and "
        "threshold fitted on the other four folds; pairs say the same with the same intensity in "
        "another take, matches and conflicts alike",
        command=command,
        score_is_probability=True,
    )
    folds = [found.fold[stem_of[clip.clip_id]] for clip in clips]
    emotions = emotion_predictions(
        clips,
        fold=[str(fold) for fold in folds],
        face=np.array([found.face[stem_of[clip.clip_id]] for clip in clips]),
        voice=np.array([found.voice[stem_of[clip.clip_id]] for clip in clips]),
    )
    return Run(info, emotions, conflict_table(scores, crossfit_conflict(scores), clips))
