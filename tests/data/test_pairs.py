"""Nothing but emotion may tell conflicts from matches."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facevoice.corpora.download import corpus_root
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.pairs import (
    PAIR_PLANS,
    Pair,
    PairBin,
    PairKind,
    PairPlan,
    check_pairs,
    common_lengths,
    make_pairs,
    original_pairs,
    pair_bin,
    pairs_in_split,
)
from facevoice.corpora.splits import leave_one_speaker_out, sentence_disjoint, speaker_folds
from facevoice.errors import CorpusError
from facevoice.evaluation.metrics import auroc
from facevoice.records import EMOTIONS, Emotion

SIX = (
    Emotion.NEUTRAL,
    Emotion.SAD,
    Emotion.HAPPY,
    Emotion.SURPRISED,
    Emotion.FEARFUL,
    Emotion.ANGRY,
)


def make_clip(
    speaker: int, sentence: int, emotion: Emotion, take: int, intensity: str | None = None
) -> Clip:
    name = f"{speaker:02d}-{sentence:02d}-{emotion}-{intensity}_{take:02d}"
    path = Path(name)
    return Clip(
        clip_id=f"fake/{name}",
        corpus="fake",
        speaker=f"{speaker:02d}",
        sentence=f"{sentence:02d}",
        take=take,
        video_path=path,
        audio_path=path,
        intensity=intensity,
        labels=Labels(intended=emotion),
    )


def make_javanese(num_speakers: int = 3, num_sentences: int = 2) -> list[Clip]:
    clips = [
        make_clip(speaker, sentence, emotion, take)
        for speaker in range(num_speakers)
        for sentence in range(num_sentences)
        for emotion in SIX
        for take in range(1, 8)
    ]
    return [clip if clip.take == 1 else replace(clip, video_path=None) for clip in clips]


def make_holes(seed: int, kept: float, filed: float, num_speakers: int = 2) -> list[Clip]:
    """A corpus with holes of every kind: cells, takes, intensities and files missing at random."""
    rng = np.random.default_rng(seed)
    clips = [
        make_clip(speaker, sentence, emotion, take, intensity)
        for speaker in range(1, num_speakers + 1)
        for sentence in (1, 2)
        for emotion in EMOTIONS
        for take in (1, 2, 3)
        for intensity in (None, "normal", "strong")
        if rng.random() < kept
    ]
    return [
        replace(
            clip,
            video_path=clip.video_path if rng.random() < filed else None,
            audio_path=clip.audio_path if rng.random() < filed else None,
        )
        for clip in clips
    ]


any_clips = st.builds(
    make_holes,
    seed=st.integers(0, 10_000),
    kept=st.sampled_from([0.1, 0.5, 0.9]),
    filed=st.sampled_from([0.5, 0.9, 1.0]),
)
any_plan = st.builds(
    PairPlan,
    face_takes=st.sampled_from([None, frozenset({1}), frozenset({1, 2})]),
    voice_takes=st.sampled_from([None, frozenset({2, 3})]),
    same_sentence=st.booleans(),
    same_intensity=st.booleans(),
    voices_per_face=st.sampled_from([None, 1, 2]),
)


@settings(max_examples=100, deadline=None)
@given(clips=any_clips, plan=any_plan, seed=st.integers(0, 99))
def test_one_rule_for_both_classes_whatever_the_corpus(
    clips: list[Clip], plan: PairPlan, seed: int
) -> None:
    try:
        pairs = make_pairs(clips, plan, seed)
    except CorpusError as error:
        assert "no pair can be made" in str(error)
        return
    by_id = {clip.clip_id: clip for clip in clips}
    for pair in pairs:
        face, voice = by_id[pair.face_clip_id], by_id[pair.voice_clip_id]
        assert face.speaker == voice.speaker
        assert pair.speaker == face.speaker_key
        assert face.video_path is not None
        assert voice.audio_path is not None
        assert face.clip_id != voice.clip_id
        if plan.same_sentence:
            assert face.sentence == voice.sentence
            assert face.take != voice.take
        else:
            assert face.sentence != voice.sentence
        if plan.same_intensity:
            assert face.intensity == voice.intensity
        assert plan.face_takes is None or face.take in plan.face_takes
        assert plan.voice_takes is None or voice.take in plan.voice_takes
        assert pair.is_conflict == (pair.face_emotion != pair.voice_emotion)
        assert not (pair.is_conflict and pair.face_emotion.is_flat and pair.voice_emotion.is_flat)
        assert pair.bin is pair_bin(pair.face_emotion, pair.voice_emotion)
    assert len({pair.pair_id for pair in pairs}) == len(pairs)
    check_pairs(pairs, clips, plan)


@settings(max_examples=40, deadline=None)
@given(clips=any_clips, plan=any_plan, noise=st.integers(0, 99))
def test_whatever_looks_at_one_channel_or_at_how_cells_meet_is_blind(
    clips: list[Clip], plan: PairPlan, noise: int
) -> None:
    try:
        pairs = make_pairs(clips, plan)
    except CorpusError:
        return
    by_id = {clip.clip_id: clip for clip in clips}
    rng = np.random.default_rng(noise)
    value = dict(zip(by_id, rng.normal(size=len(by_id)), strict=True))
    conflict = [pair.is_conflict for pair in pairs]
    assert auroc(conflict, [value[pair.face_clip_id] for pair in pairs]) == pytest.approx(0.5)
    assert auroc(conflict, [value[pair.voice_clip_id] for pair in pairs]) == pytest.approx(0.5)

    def meeting(pair: Pair) -> tuple[object, ...]:
        face, voice = by_id[pair.face_clip_id], by_id[pair.voice_clip_id]
        cells = [(clip.sentence, clip.take, clip.intensity) for clip in (face, voice)]
        return (pair.speaker, *cells)

    meetings = {
        kind: Counter(meeting(pair) for pair in pairs if pair.kind is kind)
        for kind in (PairKind.MATCH, PairKind.CONFLICT)
    }
    assert meetings[PairKind.MATCH] == meetings[PairKind.CONFLICT]


@settings(max_examples=30, deadline=None)
@given(clips=any_clips, seed=st.integers(0, 9))
def test_pairs_do_not_hang_on_order_or_on_other_speakers(clips: list[Clip], seed: int) -> None:
    plan = PairPlan()
    try:
        pairs = make_pairs(clips, plan, seed)
    except CorpusError:
        return
    assert make_pairs(list(reversed(clips)), plan, seed) == pairs
    speaker = pairs[0].speaker
    alone = make_pairs([clip for clip in clips if clip.speaker_key == speaker], plan, seed)
    assert alone == tuple(pair for pair in pairs if pair.speaker == speaker)


@pytest.mark.parametrize(
    ("face", "voice", "expected"),
    [
        (Emotion.NEUTRAL, Emotion.HAPPY, PairBin.NEUTRAL_VS_X),
        (Emotion.SAD, Emotion.CALM, PairBin.NEUTRAL_VS_X),
        (Emotion.HAPPY, Emotion.CALM, PairBin.NEUTRAL_VS_X),
        (Emotion.HAPPY, Emotion.ANGRY, PairBin.OPPOSITE_VALENCE),
        (Emotion.DISGUST, Emotion.HAPPY, PairBin.OPPOSITE_VALENCE),
        (Emotion.SAD, Emotion.ANGRY, PairBin.SAME_VALENCE),
        (Emotion.HAPPY, Emotion.SURPRISED, PairBin.SAME_VALENCE),
        (Emotion.SURPRISED, Emotion.FEARFUL, PairBin.SAME_VALENCE),
        (Emotion.SURPRISED, Emotion.NEUTRAL, PairBin.NEUTRAL_VS_X),
        (Emotion.SAD, Emotion.SAD, PairBin.SAME_EMOTION),
    ],
)
def test_bins(face: Emotion, voice: Emotion, expected: PairBin) -> None:
    assert pair_bin(face, voice) is expected
    assert pair_bin(voice, face) is expected


def test_a_full_corpus_gives_all_it_can() -> None:
    clips = make_javanese()
    plan = PAIR_PLANS["javanese"]
    pairs = make_pairs(clips, plan)
    # 36 faces meet 6 takes each, once in a match and once in a conflict.
    assert Counter(pair.kind for pair in pairs) == {PairKind.MATCH: 216, PairKind.CONFLICT: 216}
    emotions = Counter((p.face_emotion, p.voice_emotion) for p in pairs if p.is_conflict)
    assert len(emotions) == 30
    by_face = Counter(pair.face_clip_id for pair in pairs if pair.is_conflict)
    assert set(by_face.values()) == {6}
    few = make_pairs(clips, replace(plan, voices_per_face=2))
    assert Counter(pair.kind for pair in few) == {PairKind.MATCH: 72, PairKind.CONFLICT: 72}
    assert make_pairs(clips, plan, seed=1) != pairs


def test_originals_are_the_faces_with_their_own_sound() -> None:
    clips = make_javanese()
    originals = original_pairs(clips, PAIR_PLANS["javanese"])
    assert len(originals) == 36
    assert all(pair.face_clip_id == pair.voice_clip_id for pair in originals)
    assert {pair.kind for pair in originals} == {PairKind.ORIGINAL}
    assert not any(pair.is_conflict for pair in originals)
    check_pairs(originals, clips, PAIR_PLANS["javanese"])
    with pytest.raises(CorpusError, match="both picture and sound"):
        original_pairs([replace(c, audio_path=None) for c in clips], PAIR_PLANS["javanese"])


def test_pairs_stay_inside_the_parts_of_a_split() -> None:
    clips = make_javanese(num_speakers=4, num_sentences=4)
    plan = PAIR_PLANS["javanese"]
    for fold in leave_one_speaker_out(clips):
        split = sentence_disjoint(fold, clips, {"00", "01"})
        pairs = pairs_in_split(clips, split, plan)
        for name, ids in split.parts().items():
            used = {
                key
                for pair in getattr(pairs, name)
                for key in (pair.face_clip_id, pair.voice_clip_id)
            }
            assert used
            assert used <= set(ids)
        assert pairs.test == make_pairs([c for c in clips if c.clip_id in split.test], plan)


@settings(max_examples=40, deadline=None)
@given(
    clips=st.builds(
        make_holes,
        seed=st.integers(0, 10_000),
        kept=st.sampled_from([0.3, 0.9]),
        filed=st.sampled_from([0.7, 1.0]),
        num_speakers=st.integers(4, 6),
    ),
    plan=any_plan,
    num_folds=st.integers(3, 4),
    sentences=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_speaker_take_or_pair_leaks(
    clips: list[Clip], plan: PairPlan, num_folds: int, sentences: bool, seed: int
) -> None:
    assume(len({clip.speaker for clip in clips}) >= 4)
    index = {clip.clip_id: clip for clip in clips}
    tested: list[str] = []
    for fold in speaker_folds(clips, num_folds, seed):
        tested += fold.test
        try:
            narrow = sentences and plan.same_sentence
            split = sentence_disjoint(fold, clips, {"01"}) if narrow else fold
        except CorpusError:
            continue  # a part that would come out empty is refused
        parts = split.parts()
        owners = {name: {index[key].speaker_key for key in ids} for name, ids in parts.items()}
        for one, other in itertools.combinations(parts, 2):
            assert not set(parts[one]) & set(parts[other])
            assert not owners[one] & owners[other]
        try:
            pairs = pairs_in_split(clips, split, plan, seed)
        except CorpusError:
            continue  # a part without any pair is refused, not filled up from another
        for name, ids in parts.items():
            for pair in getattr(pairs, name):
                face, voice = index[pair.face_clip_id], index[pair.voice_clip_id]
                assert {face.clip_id, voice.clip_id} <= set(ids)
                assert face.speaker == voice.speaker
                assert (face.sentence, face.take) != (voice.sentence, voice.take)
                assert pair.is_conflict == (face.labels.intended != voice.labels.intended)
    assert sorted(tested) == sorted(index)


@pytest.mark.parametrize("same_sentence", [True, False])
def test_cut_to_common_lengths_all_that_meets_lasts_as_long(same_sentence: bool) -> None:
    rng = np.random.default_rng(0)
    clips = [replace(clip, duration_s=rng.uniform(2, 5)) for clip in make_javanese()]
    plan = replace(PAIR_PLANS["javanese"], same_sentence=same_sentence)
    lengths = common_lengths(clips, plan)
    for pair in make_pairs(clips, plan):
        assert lengths[pair.face_clip_id] == lengths[pair.voice_clip_id]
    assert all(lengths[clip.clip_id] <= clip.duration_s for clip in clips if clip.duration_s)
    assert len(set(lengths.values())) == (6 if same_sentence else 3)
    with pytest.raises(CorpusError, match="duration is not known"):
        common_lengths(make_javanese(), plan)


def test_no_pair_is_an_error() -> None:
    plan = PairPlan()
    with pytest.raises(CorpusError, match="no pair can be made"):
        make_pairs([make_clip(1, 1, Emotion.SAD, 1), make_clip(1, 1, Emotion.SAD, 2)], plan)
    flat = [make_clip(1, 1, e, t) for e in (Emotion.NEUTRAL, Emotion.CALM) for t in (1, 2)]
    with pytest.raises(CorpusError, match="no pair can be made"):
        make_pairs(flat, plan)
    with pytest.raises(CorpusError, match="names no speaker"):
        make_pairs([replace(clip, speaker=None) for clip in make_javanese()], plan)
    with pytest.raises(CorpusError, match="at least 1"):
        PairPlan(voices_per_face=0)


def test_tampered_pairs_are_found() -> None:
    clips = make_javanese()
    plan = PAIR_PLANS["javanese"]
    pairs = list(make_pairs(clips, plan))
    conflict = next(pair for pair in pairs if pair.is_conflict)
    other = next(c.clip_id for c in clips if c.speaker_key != conflict.speaker)
    own = conflict.face_clip_id
    cases = {
        "crosses speakers": replace(conflict, voice_clip_id=other),
        "is unknown": replace(conflict, voice_clip_id="fake/none"),
        "breaks the plan": replace(
            conflict, voice_clip_id=own, voice_emotion=conflict.face_emotion,
            kind=PairKind.MATCH, bin=PairBin.SAME_EMOTION,
        ),
        "bin is wrong": replace(conflict, bin=PairBin.SAME_EMOTION),
        "contradict": replace(conflict, kind=PairKind.MATCH),
        "labels are not": replace(conflict, face_emotion=conflict.voice_emotion),
    }  # fmt: skip
    for message, pair in cases.items():
        with pytest.raises(CorpusError, match=message):
            check_pairs([pair], clips, plan)
    with pytest.raises(CorpusError, match="not used equally often"):
        check_pairs([pair for pair in pairs if pair != conflict], clips, plan)


@pytest.mark.corpora
def test_real_javanese(corpora_dir: Path, tmp_path: Path) -> None:
    root = corpus_root(corpora_dir, "javanese", work=tmp_path)
    clips = tuple(create_corpus("javanese").clips(root))
    pairs = make_pairs(clips, PAIR_PLANS["javanese"])
    check_pairs(pairs, clips, PAIR_PLANS["javanese"])
    assert Counter(pair.kind for pair in pairs) == {PairKind.MATCH: 864, PairKind.CONFLICT: 864}
    assert len(original_pairs(clips, PAIR_PLANS["javanese"])) == 144
