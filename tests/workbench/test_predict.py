"""Predictions from stored features: windows joined, channels missing, models of both kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.compact import FACE_DIM, VOICE_FEATURES
from facevoice.corpora.extract import ClipFeatures
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.pairs import PAIR_PLANS, make_pairs
from facevoice.errors import EvaluationError
from facevoice.evaluation.model import (
    CompactScorer,
    StoredClips,
    WindowPosteriors,
    plan_pairs,
    predict_conflicts,
    predict_emotions,
)
from facevoice.records import EMOTIONS, Emotion, Modality
from facevoice.settings import AnalyzerConfig

CONFIG = AnalyzerConfig()
TAKES = (1, 2, 3)
ACTED = (Emotion.NEUTRAL, Emotion.SAD, Emotion.HAPPY, Emotion.ANGRY)


class EchoScorer:
    """Takes the first eight numbers of an embedding for the posterior; conflict: they differ."""

    name = "echo"
    backbones = {Modality.VIDEO: "f", Modality.AUDIO: "v"}  # noqa: RUF012
    trained_on = ()
    threshold = 0.5

    def score(self, face, voice, present):
        def channel(rows, column):
            if rows is None:
                return None
            return np.where(present[:, column : column + 1], rows[:, :8].astype(float), np.nan)

        faces, voices = channel(face, 0), channel(voice, 1)
        if faces is None or voices is None:
            return WindowPosteriors(faces, voices, None, None)
        conflict = 1 - (faces * voices).sum(axis=1)
        return WindowPosteriors(faces, voices, (faces + voices) / 2, conflict)


def make_clip(speaker: str, emotion: Emotion, take: int, seconds: float = 3.0) -> Clip:
    name = f"{speaker}-01-{emotion.position:02d}_{take:02d}"
    return Clip(
        clip_id=f"javanese/{name}",
        corpus="javanese",
        speaker=speaker,
        sentence="01",
        take=take,
        video_path=Path(f"{name}.mp4") if take == 1 else None,
        audio_path=Path(f"{name}.ogg"),
        duration_s=seconds,
        labels=Labels(intended=emotion),
    )


def make_features(clip: Clip, modality: Modality, *, windows: int = 1, coverage: float = 0.9):
    rows = np.full((windows, 8), 0.02, np.float32)
    rows[:, clip.labels.intended.position] = 1 - 7 * 0.02
    starts = 2.0 * np.arange(windows)
    return ClipFeatures(
        clip_id=clip.clip_id,
        modality=modality,
        backbone="x@1",
        spans_s=np.stack([starts, starts + 3], axis=1),
        embeddings=rows,
        mask=np.ones(windows, bool),
        coverage=np.full(windows, coverage, np.float32),
    )


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(s, e, t) for s in ("01", "02") for e in ACTED for t in TAKES]


@pytest.fixture
def stored(clips) -> StoredClips:
    return StoredClips(
        {c.clip_id: make_features(c, Modality.VIDEO) for c in clips if c.video_path},
        {c.clip_id: make_features(c, Modality.AUDIO) for c in clips},
    )


def test_every_clip_gets_the_posterior_of_each_channel_that_it_has(clips, stored):
    table = predict_emotions(clips, stored, EchoScorer(), CONFIG)
    assert len(table) == len(clips)
    filmed = np.array([clip.video_path is not None for clip in clips])
    assert np.isfinite(table.face).all(axis=1).tolist() == filmed.tolist()
    assert np.isfinite(table.voice).all()
    assert (table.voice.argmax(axis=1) == table.truth_intended).all()
    assert np.isnan(table.fused[~filmed]).all()


def test_conflicts_score_above_matches_and_carry_the_threshold(clips, stored):
    pairs = make_pairs(clips, replace(PAIR_PLANS["javanese"], voice_takes=frozenset({2, 3})))
    table = predict_conflicts(clips, pairs, stored, EchoScorer(), CONFIG)
    assert table is not None
    assert len(table) == len(pairs)
    assert table.score[table.is_conflict].min() > table.score[~table.is_conflict].max()
    assert (table.baseline_differs == table.is_conflict).all()
    assert (table.threshold == 0.5).all()


def test_a_channel_seen_too_seldom_gives_no_answer(clips, stored):
    seldom = {
        key: replace(part, coverage=np.full(1, 0.1, np.float32))
        for key, part in stored.face.items()
    }
    poor = StoredClips(seldom, stored.voice)
    table = predict_emotions(clips, poor, EchoScorer(), CONFIG)
    assert np.isnan(table.face).all()
    pairs = make_pairs(clips, PAIR_PLANS["javanese"])
    assert predict_conflicts(clips, pairs, poor, EchoScorer(), CONFIG) is None


def test_a_voice_that_ends_sooner_is_compared_where_both_are(clips):
    face, voice = clips[0], clips[4]
    long = make_features(face, Modality.VIDEO, windows=3)
    short = make_features(voice, Modality.AUDIO, windows=1)
    stored = StoredClips({face.clip_id: long}, {voice.clip_id: short})
    pairs = list(make_pairs(clips, PAIR_PLANS["javanese"]))
    pair = replace(pairs[0], face_clip_id=face.clip_id, voice_clip_id=voice.clip_id)
    table = predict_conflicts(clips, [pair], stored, EchoScorer(), CONFIG)
    expected = 1 - float(long.embeddings[0].astype(float) @ short.embeddings[0].astype(float))
    assert table.score[0] == pytest.approx(expected, abs=1e-6)


def test_nothing_stored_is_an_error(clips):
    with pytest.raises(EvaluationError, match="extract them first"):
        predict_emotions(clips, StoredClips({}, {}), EchoScorer(), CONFIG)


def test_pairs_are_planned_with_one_length_for_a_sentence(clips, make_shared_clip):
    long = make_shared_clip("long.wav", video=False, duration_s=3.0)
    short = make_shared_clip("short.wav", video=False, duration_s=1.5)
    clips = [replace(clip, audio_path=long) for clip in clips]
    clips[3] = replace(clips[3], audio_path=short, duration_s=1.5)
    pairs, limits_s = plan_pairs(clips)
    assert {pair.kind.value for pair in pairs} == {"match", "conflict", "original"}
    same = {limits_s[c.clip_id] for c in clips if c.speaker == clips[3].speaker}
    assert len(same) == 1
    assert same.pop() <= 1.5
    assert plan_pairs([replace(c, video_path=None) for c in clips]) == ((), {})


def test_the_shipped_model_scores_windows_with_one_channel_or_both():
    scorer = CompactScorer()
    rng = np.random.default_rng(0)
    face = rng.normal(size=(3, FACE_DIM)).astype(np.float32)
    voice = rng.normal(size=(3, VOICE_FEATURES)).astype(np.float32)
    present = np.array([[True, True], [True, False], [False, True]])
    said = scorer.score(face, voice, present)
    assert np.isfinite(said.face).all(axis=1).tolist() == [True, True, False]
    assert np.isfinite(said.voice).all(axis=1).tolist() == [True, False, True]
    assert np.allclose(said.fused.sum(axis=1), 1)
    assert np.allclose(said.fused[1], said.face[1])
    assert np.isfinite(said.conflict).tolist() == [True, False, False]
    assert said.face.shape == (3, len(EMOTIONS))
    seen = {corpus for used in scorer.trained_on for corpus in used.training_corpora or ()}
    assert {"ravdess", "javanese", "emodb", "fer2013"} <= seen


def test_one_modality_alone_reads_one_backbone():
    scorer = CompactScorer(frozenset({Modality.AUDIO}))
    assert set(scorer.backbones) == {Modality.AUDIO}
    voice = np.zeros((1, VOICE_FEATURES), np.float32)
    said = scorer.score(None, voice, np.array([[False, True]]))
    assert said.face is None
    assert said.conflict is None
    assert np.allclose(said.fused, said.voice)
