"""No speaker crosses a split; splits by protocol, out and in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.corpora.manifest import Clip
from facevoice.corpora.splits import (
    PROTOCOLS,
    Split,
    check_split,
    leave_one_speaker_out,
    make_splits,
    read_splits,
    speaker_folds,
    write_splits,
)
from facevoice.errors import CorpusError


def make_clips(
    num_speakers: int = 24, num_sentences: int = 2, corpus: str = "ravdess", females: int = 0
) -> list[Clip]:
    return [
        Clip(
            clip_id=f"{corpus}/{speaker:02d}-{sentence}-{take}",
            corpus=corpus,
            speaker=f"{speaker:02d}",
            sentence=f"{sentence}",
            take=take,
            sex="female" if speaker <= females else "male",
        )
        for speaker in range(1, num_speakers + 1)
        for sentence in range(num_sentences)
        for take in (1, 2)
    ]


def speakers(ids: tuple[str, ...]) -> set[str]:
    return {key.split("/")[1][:2] for key in ids}


@pytest.mark.parametrize(
    ("protocol", "num_splits"), [("ravdess6", 6), ("leave-one-out", 24), ("speakers", 5)]
)
@pytest.mark.parametrize("sentences", [None, 2])
def test_protocols_keep_speakers_apart_and_survive_the_file(
    protocol: str, num_splits: int, sentences: int | None, tmp_path: Path
) -> None:
    clips = make_clips(num_sentences=4)
    splits = make_splits(clips, protocol, num_sentence_folds=sentences, seed=3)
    assert len(splits.splits) == num_splits * (sentences or 1)
    for split in splits.splits:
        check_split(split, clips, sentences=sentences is not None)
        assert split.validation
    tested = [clip_id for split in splits.splits for clip_id in split.test]
    assert sorted(tested) == sorted(clip.clip_id for clip in clips)
    path = tmp_path / "new" / "splits.json"
    write_splits(splits, path)
    assert read_splits(path, clips) == read_splits(path) == splits
    assert [file.name for file in path.parent.iterdir()] == ["splits.json"]


def test_ravdess_published_folds() -> None:
    clips = make_clips()
    folds = make_splits(clips, "ravdess6").splits
    assert [speakers(fold.test) for fold in folds][:2] == [
        {"01", "02", "03", "04"},
        {"05", "06", "07", "08"},
    ]
    assert all(len(speakers(fold.train)) == 16 for fold in folds)
    assert speakers(folds[5].validation) == {"01", "02", "03", "04"}
    mixed = [*make_clips(3, corpus="emodb"), *clips]
    plain = make_splits(mixed, "ravdess6", with_validation=False)
    assert (plain.with_validation, plain.num_folds) == (False, None)
    assert all(len(speakers(fold.train)) == 20 and not fold.validation for fold in plain.splits)
    assert len(make_splits(make_clips(20), "ravdess6").splits) == 5
    with pytest.raises(CorpusError, match="1 groups of speakers, but 3"):
        make_splits(make_clips(4), "ravdess6")


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


def test_leave_one_speaker_out_and_seeds() -> None:
    clips = make_clips(num_speakers=6)
    folds = leave_one_speaker_out(clips)
    assert [speakers(fold.test) for fold in folds] == [{f"{k:02d}"} for k in range(1, 7)]
    assert {(len(speakers(f.validation)), len(speakers(f.train))) for f in folds} == {(1, 4)}
    first, same, other = (make_splits(clips, "speakers", seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first.splits != other.splits


def test_leaks_are_named() -> None:
    clips = make_clips()
    split = make_splits(clips, "ravdess6").splits[0]
    moved = replace(split, train=(*split.train, split.test[0]), test=split.test[1:])
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both train"):
        check_split(moved, clips)
    with pytest.raises(CorpusError, match="in test is unknown"):
        check_split(replace(split, test=("ravdess/none",)), clips)
    with pytest.raises(CorpusError, match="train is empty"):
        check_split(replace(split, train=()), clips)
    with pytest.raises(CorpusError, match="is also tested"):
        check_split(split, clips, sentences=True)
    # Speakers of two corpora are different people.
    both = [*make_clips(2), *make_clips(2, corpus="emodb")]
    ids = [[clip.clip_id for clip in both if clip.corpus == name] for name in ("ravdess", "emodb")]
    check_split(Split("across", tuple(ids[0]), (), tuple(ids[1])), both)


def test_published_parts_are_found() -> None:
    clips = make_clips(num_speakers=4)
    for names in (
        ("train", "dev", "test"),
        ("train", "public_test", "private_test"),
        ("train", "train", "public_test"),
    ):
        parts = {"01": names[0], "02": names[0], "03": names[1], "04": names[2]}
        published = [replace(clip, split=parts[clip.speaker or ""]) for clip in clips]
        (split,) = make_splits(published, "published").splits
        assert speakers(split.test) == {"04"}
        assert bool(split.validation) == (names[1] != "train")
    crossing = [replace(clip, split="train" if clip.take == 1 else "test") for clip in clips]
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both"):
        make_splits(crossing, "published")
    with pytest.raises(CorpusError, match="no clip of the published part 'test'"):
        make_splits([replace(clip, split="train") for clip in clips], "published")
    nameless = [replace(clip, speaker=None) for clip in crossing]
    split = make_splits(nameless, "published").splits[0]
    with pytest.raises(CorpusError, match="clip ravdess/01-0-1 is in both"):
        check_split(replace(split, test=split.train[:1]), nameless)
    with pytest.raises(CorpusError, match="names no speaker"):
        make_splits(nameless, "leave-one-out")


def test_what_cannot_be_split_is_refused() -> None:
    for wish, message in (
        ({"protocol": "random"}, f"known: {', '.join(PROTOCOLS)}"),
        ({"protocol": "speakers", "num_folds": 30}, "30 folds of 24 speakers"),
        ({"protocol": "speakers", "num_sentence_folds": 3}, "3 folds of 2 sentences"),
        ({"protocol": "published"}, "publish no split"),
    ):
        with pytest.raises(CorpusError, match=message):
            make_splits(make_clips(), **wish)  # type: ignore[arg-type]
    lopsided = [c for c in make_clips(6) if (c.speaker == "01") == (c.sentence == "1")]
    with pytest.raises(CorpusError, match="nothing is left in"):
        make_splits(lopsided, "leave-one-out", num_sentence_folds=2)


def test_the_file_says_how_it_was_made_and_is_checked_against_the_manifest(tmp_path: Path) -> None:
    clips, path = make_clips(), tmp_path / "s.json"
    write_splits(make_splits(clips, "speakers", num_sentence_folds=2, seed=7), path)
    values = json.loads(path.read_text(encoding="utf-8"))
    told = [values[k] for k in ("protocol", "num_folds", "seed", "num_sentence_folds")]
    assert told == ["speakers", 5, 7, 2]
    again, fewer = (make_splits(c, "speakers") for c in (clips[::-1], clips[1:]))
    assert values["manifest_sha256"] == again.manifest_sha256 != fewer.manifest_sha256
    assert set(values["splits"][0]) == {"name", "train", "validation", "test"}
    extra = Clip("ravdess/9-9-99", "ravdess", "99", "01")
    assert len(read_splits(path, [*clips, extra]).splits) == 10
    with pytest.raises(CorpusError, match=r"s\.json: .* is unknown\. Read it with the manifest"):
        read_splits(path, clips[1:])
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both"):
        read_splits(path, [replace(clip, speaker="01") for clip in clips])
    with pytest.raises(CorpusError, match="also tested"):
        read_splits(path, [replace(clip, sentence="01") for clip in clips])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no file of splits"),
        ('{"format": "other"}', "is no file of splits"),
        ('{"format": "facevoice-splits-1"}', "is damaged"),
        ('{"format": "facevoice-splits-1", "splits": [{"name": "x", "train": 3}]}', "is damaged"),
        ('{"format": "facevoice-splits-1", "splits": [], "more": 1}', "is damaged"),
    ],
)
def test_damaged_files_are_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"s\.json: {message}"):
        read_splits(path)
    with pytest.raises(CorpusError, match="can't be read"):
        read_splits(tmp_path / "absent.json")
