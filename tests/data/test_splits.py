"""No speaker crosses a split."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.splits import (
    Split,
    check_split,
    leave_one_speaker_out,
    published_split,
    ravdess_folds,
    sentence_disjoint,
    sentence_folds,
    speaker_folds,
)
from facevoice.errors import CorpusError
from facevoice.records import Emotion


def make_clips(
    num_speakers: int = 24, num_sentences: int = 2, corpus: str = "ravdess", females: int = 0
) -> list[Clip]:
    return [
        Clip(
            clip_id=f"{corpus}/{speaker:02d}-{sentence}-{emotion}",
            corpus=corpus,
            speaker=f"{speaker:02d}",
            sentence=f"{sentence}",
            take=1,
            sex="female" if speaker <= females else "male",
            labels=Labels(intended=emotion),
        )
        for speaker in range(1, num_speakers + 1)
        for sentence in range(num_sentences)
        for emotion in (Emotion.HAPPY, Emotion.SAD)
    ]


def speakers(ids: tuple[str, ...]) -> set[str]:
    return {key.split("/")[1][:2] for key in ids}


def test_ravdess_published_folds() -> None:
    clips = make_clips()
    folds = ravdess_folds(clips)
    assert [sorted(speakers(fold.test)) for fold in folds][:2] == [
        ["01", "02", "03", "04"],
        ["05", "06", "07", "08"],
    ]
    assert len(folds) == 6
    assert all(len(speakers(fold.train)) == 16 for fold in folds)
    assert speakers(folds[5].validation) == {"01", "02", "03", "04"}
    for fold in folds:
        check_split(fold, clips)
    plain = ravdess_folds(clips, with_validation=False)
    assert all(len(speakers(fold.train)) == 20 and not fold.validation for fold in plain)
    assert sorted(key for fold in plain for key in fold.test) == sorted(c.clip_id for c in clips)


def test_ravdess_folds_of_a_part_of_the_speakers() -> None:
    folds = ravdess_folds(make_clips(num_speakers=20))
    assert len(folds) == 5
    with pytest.raises(CorpusError, match="is not of RAVDESS"):
        ravdess_folds(make_clips(corpus="emodb"))
    with pytest.raises(CorpusError, match="1 groups of speakers, but 3"):
        ravdess_folds(make_clips(num_speakers=4))


def test_leave_one_speaker_out() -> None:
    clips = make_clips(num_speakers=6)
    folds = leave_one_speaker_out(clips)
    assert [speakers(fold.test) for fold in folds] == [{f"{k:02d}"} for k in range(1, 7)]
    for fold in folds:
        check_split(fold, clips)
        assert len(speakers(fold.validation)) == 1
        assert len(speakers(fold.train)) == 4


@settings(max_examples=30, deadline=None)
@given(
    num_speakers=st.integers(5, 40),
    females=st.integers(0, 40),
    num_folds=st.integers(3, 5),
    seed=st.integers(0, 1000),
)
def test_speaker_folds_are_disjoint_even_and_sex_balanced(
    num_speakers: int, females: int, num_folds: int, seed: int
) -> None:
    clips = make_clips(num_speakers, num_sentences=1, females=min(females, num_speakers))
    folds = speaker_folds(clips, num_folds, seed)
    assert folds == speaker_folds(list(reversed(clips)), num_folds, seed)
    assert sorted(key for fold in folds for key in fold.test) == sorted(c.clip_id for c in clips)
    sex_of = {clip.speaker: clip.sex for clip in clips}
    for sex in ("female", "male"):
        counts = [sum(sex_of[s] == sex for s in speakers(fold.test)) for fold in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(speakers(fold.test)) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        check_split(fold, clips)
        ids = fold.train + fold.validation + fold.test
        assert len(set(ids)) == len(ids) == len(clips)


def test_the_seed_moves_speakers_between_folds() -> None:
    clips = make_clips()
    assert speaker_folds(clips, 5, seed=0) != speaker_folds(clips, 5, seed=1)
    with pytest.raises(CorpusError, match="25 folds of 24 speakers"):
        speaker_folds(clips, 25)


def test_sentence_disjoint() -> None:
    clips = make_clips(num_sentences=4)
    groups = sentence_folds(clips, 2)
    assert sorted(sentence for group in groups for sentence in group) == ["0", "1", "2", "3"]
    for split in ravdess_folds(clips):
        for group in groups:
            narrowed = sentence_disjoint(split, clips, group)
            check_split(narrowed, clips, sentences=True)
            assert len(narrowed.test) == len(split.test) // 2
            assert len(narrowed.train) == len(split.train) // 2
    with pytest.raises(CorpusError, match="is also tested"):
        check_split(ravdess_folds(clips)[0], clips, sentences=True)
    with pytest.raises(CorpusError, match="nothing is left in test"):
        sentence_disjoint(ravdess_folds(clips)[0], clips, {"9"})
    with pytest.raises(CorpusError, match="5 folds of 4 sentences"):
        sentence_folds(clips, 5)


def test_leaks_are_named() -> None:
    clips = make_clips()
    split = ravdess_folds(clips)[0]
    moved = replace(split, train=(*split.train, split.test[0]), test=split.test[1:])
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both train"):
        check_split(moved, clips)
    with pytest.raises(CorpusError, match="in test is unknown"):
        check_split(replace(split, test=("ravdess/none",)), clips)
    with pytest.raises(CorpusError, match="train is empty"):
        check_split(replace(split, train=()), clips)


def test_speakers_of_two_corpora_are_different_people() -> None:
    clips = [*make_clips(2), *make_clips(2, corpus="emodb")]
    ids = [[clip.clip_id for clip in clips if clip.corpus == name] for name in ("ravdess", "emodb")]
    check_split(Split("across", tuple(ids[0]), (), tuple(ids[1])), clips)


def test_corpora_without_speakers_use_their_published_split() -> None:
    clips = [
        Clip(f"fer2013/{split}/{k}", "fer2013", None, split=split)
        for split in ("train", "public_test")
        for k in range(3)
    ]
    split = published_split(clips, test="public_test")
    assert (len(split.train), len(split.validation), len(split.test)) == (3, 0, 3)
    check_split(split, clips)
    with pytest.raises(CorpusError, match="part 'test'"):
        published_split(clips)
    with pytest.raises(CorpusError, match="names no speaker"):
        leave_one_speaker_out(clips)
    with pytest.raises(CorpusError, match="clip fer2013/train/0 is in both"):
        check_split(replace(split, test=split.train[:1]), clips)
