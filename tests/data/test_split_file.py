"""Splits by protocol, out and in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from facevoice.corpora.manifest import Clip
from facevoice.corpora.splits import (
    PROTOCOLS,
    check_split,
    make_splits,
    manifest_digest,
    ravdess_folds,
    read_splits,
    write_splits,
)
from facevoice.errors import CorpusError


def make_clips(corpus: str = "ravdess", num_speakers: int = 24) -> list[Clip]:
    return [
        Clip(
            f"{corpus}/{sentence}-{take}-{speaker:02d}",
            corpus,
            f"{speaker:02d}",
            f"{sentence:02d}",
            take,
            sex="male" if speaker % 2 else "female",
        )
        for speaker in range(1, num_speakers + 1)
        for sentence in (1, 2)
        for take in (1, 2)
    ]


@pytest.mark.parametrize(
    ("protocol", "num_splits"), [("ravdess6", 6), ("leave-one-out", 24), ("speakers", 5)]
)
@pytest.mark.parametrize("sentences", [None, 2])
def test_protocols_keep_speakers_apart_and_survive_the_file(
    protocol: str, num_splits: int, sentences: int | None, tmp_path: Path
) -> None:
    clips = make_clips()
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


def test_the_file_says_how_it_was_made(tmp_path: Path) -> None:
    clips = make_clips()
    write_splits(make_splits(clips, "speakers", num_folds=4, seed=7), tmp_path / "s.json")
    values = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert values["protocol"] == "speakers"
    assert (values["num_folds"], values["seed"], values["num_sentence_folds"]) == (4, 7, None)
    assert values["manifest_sha256"] == manifest_digest(clips[::-1])
    assert values["manifest_sha256"] != manifest_digest(clips[1:])
    assert set(values["splits"][0]) == {"name", "train", "validation", "test"}


def test_ravdess6_takes_its_corpus_and_may_do_without_validation() -> None:
    clips = make_clips()
    mixed = [*make_clips("emodb", 3), *clips]
    splits = make_splits(mixed, "ravdess6", with_validation=False)
    assert splits.splits == ravdess_folds(clips, with_validation=False)
    assert not splits.with_validation
    assert splits.num_folds is None


def test_seeds_deal_differently() -> None:
    clips = make_clips()
    first, same, other = (make_splits(clips, "speakers", seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first.splits != other.splits


def test_published_parts_are_found(tmp_path: Path) -> None:
    clips = make_clips(num_speakers=4)
    for names in (
        ("train", "dev", "test"),
        ("train", "public_test", "private_test"),
        ("train", "train", "public_test"),
    ):
        parts = {"01": names[0], "02": names[0], "03": names[1], "04": names[2]}
        published = [replace(clip, split=parts[clip.speaker or ""]) for clip in clips]
        (split,) = make_splits(published, "published").splits
        assert {clip_id[-2:] for clip_id in split.test} == {"04"}
        assert bool(split.validation) == (names[1] != "train")
    crossing = [
        replace(clip, split="train" if clip.take == 1 else "test", sex=None) for clip in clips
    ]
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both"):
        make_splits(crossing, "published")
    with pytest.raises(CorpusError, match="publish no split"):
        make_splits(clips, "published")


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(CorpusError, match=f"known: {', '.join(PROTOCOLS)}"):
        make_splits(make_clips(), "random")
    with pytest.raises(CorpusError, match="30 folds of 24 speakers"):
        make_splits(make_clips(), "speakers", num_folds=30)
    with pytest.raises(CorpusError, match="3 folds of 2 sentences"):
        make_splits(make_clips(), "speakers", num_sentence_folds=3)


def test_splits_are_checked_against_the_manifest(tmp_path: Path) -> None:
    clips = make_clips()
    path = tmp_path / "s.json"
    write_splits(make_splits(clips, "speakers", num_sentence_folds=2), path)
    extra = Clip("ravdess/9-9-99", "ravdess", "99", "01")
    assert len(read_splits(path, [*clips, extra]).splits) == 10
    with pytest.raises(CorpusError, match=r"s\.json: .* is unknown\. Read it with the manifest"):
        read_splits(path, clips[1:])
    renamed = [replace(clip, speaker="01") for clip in clips]
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both"):
        read_splits(path, renamed)
    reworded = [replace(clip, sentence="01") for clip in clips]
    with pytest.raises(CorpusError, match="also tested"):
        read_splits(path, reworded)


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
