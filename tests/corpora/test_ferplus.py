"""FER+ votes as labels of FER2013's pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.fer2013 import FERPLUS_TABLE, VOTE_EMOTIONS, FerPlusVotes, read_ferplus
from facevoice.corpora.gather import CorpusPlace, create_corpus, gather
from facevoice.errors import CorpusError
from facevoice.records import Emotion

HEADER = (
    "zip_path,fer2013_row,usage,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,"
    "unknown,NF\n"
)
PICTURES = {
    "train/angry/Training_1.jpg": "0,Training,1,0,0,0,8,0,0,1,0,0",
    "train/happy/Training_2.jpg": "1,Training,5,5,0,0,0,0,0,0,0,0",
    "train/sad/Training_3.jpg": "2,Training,2,0,0,2,0,0,0,6,0,0",
    "train/neutral/Training_4.jpg": "3,Training,2,0,0,0,0,0,0,0,0,8",
    "train/neutral/Training_5.jpg": "4,Training,4,0,0,1,0,0,1,0,4,0",
    "test/fear/PublicTest_6.jpg": "28709,PublicTest,1,1,1,3,1,1,1,1,0,0",
    "test/fear/PublicTest_7.jpg": "28710,PublicTest,0,0,4,0,0,1,5,0,0,0",
}
IDS = [path.partition("/")[2].removesuffix(".jpg") for path in PICTURES]


def write_table(folder: Path, pictures: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / FERPLUS_TABLE
    rows = (f"{path},{rest}\n" for path, rest in pictures.items())
    table.write_text(HEADER + "".join(rows), encoding="utf-8")
    return table


@pytest.fixture
def votes(tmp_path: Path) -> FerPlusVotes:
    return read_ferplus(write_table(tmp_path, PICTURES))


def test_votes_are_read_in_the_order_of_the_face_networks_classes(votes: FerPlusVotes) -> None:
    assert tuple(e for e in Emotion if e is not Emotion.CALM) == VOTE_EMOTIONS
    assert votes.clip_ids == tuple(f"fer2013/{key}" for key in IDS)
    assert votes.splits == ("train",) * 5 + ("public_test",) * 2
    assert votes.counts[0].tolist() == [1, 0, 0, 8, 0, 0, 0]
    assert votes.counts[6].tolist() == [0, 0, 0, 0, 5, 1, 4]
    assert votes.others[[0, 3, 4]].tolist() == [[1, 0, 0], [0, 0, 8], [0, 4, 0]]


def test_votes_become_soft_labels_and_majorities(votes: FerPlusVotes) -> None:
    np.testing.assert_allclose(votes.soft_labels[6], [0, 0, 0, 0, 0.5, 0.1, 0.4])
    # Contempt and its like take no part.
    np.testing.assert_allclose(votes.soft_labels[0], np.array([1, 0, 0, 8, 0, 0, 0]) / 9)
    np.testing.assert_allclose(votes.soft_labels.sum(axis=1), 1)
    assert votes.is_left_out.tolist() == [False, False, True, True, True, False, False]
    majority = [None if place < 0 else VOTE_EMOTIONS[place] for place in votes.majority]
    sad, fearful = Emotion.SAD, Emotion.FEARFUL
    assert majority == [Emotion.ANGRY, None, None, None, None, sad, fearful]
    # Picture 6: the three for sadness are all that is left of single votes; 7: five of nine.
    assert votes.is_clear.tolist() == [True, False, False, False, False, True, True]


def test_pictures_that_nobody_could_name_have_no_soft_label(tmp_path: Path) -> None:
    votes = read_ferplus(
        write_table(tmp_path, {"train/sad/Training_1.jpg": "0,Training,0,0,0,0,0,0,0,0,0,10"})
    )
    assert votes.soft_labels.tolist() == [[0.0] * 7]
    assert (votes.is_left_out.tolist(), votes.majority.tolist()) == ([True], [-1])


def test_votes_are_taken_in_the_order_asked_for(votes: FerPlusVotes) -> None:
    keys = (votes.clip_ids[6], votes.clip_ids[0])
    taken = votes.take(keys)
    assert (taken.clip_ids, taken.splits, len(taken)) == (keys, ("public_test", "train"), 2)
    assert taken.majority.tolist() == [VOTE_EMOTIONS.index(e) for e in ("fearful", "angry")]
    with pytest.raises(CorpusError, match="picture 'fer2013/sad/Training_9' has no FER"):
        votes.take(["fer2013/sad/Training_9"])


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("train/angry/Training_1.jpg", "0,PublicTest,9,0,0,0,1,0,0,0,0,0"),
        ("train/angry/Training_1.jpg", "0,Test,9,0,0,0,1,0,0,0,0,0"),
        ("train/angry/Training_1.jpg", "0,Training,9,0,x,0,1,0,0,0,0,0"),
        ("train/angry/Training_1.jpg", "0,Training,11,-1,0,0,0,0,0,0,0,0"),
        ("train/angry/Training_1.jpg", "0,Training,9"),
        ("train/furious/Training_1.jpg", "0,Training,9,0,0,0,1,0,0,0,0,0"),
        ("fer0000001.png", "0,Training,9,0,0,0,1,0,0,0,0,0"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(path: str, rest: str, tmp_path: Path) -> None:
    table = write_table(tmp_path, {"train/sad/Training_9.jpg": "9,Training,9" + ",0" * 9})
    with table.open("a") as stream:
        stream.write(f"{path},{rest}\n")
    with pytest.raises(CorpusError, match=r"ferplus.csv:3: expected zip_path like"):
        read_ferplus(table)


def test_a_table_without_votes_or_with_a_picture_twice_is_named(tmp_path: Path) -> None:
    table = write_table(tmp_path, {})
    with pytest.raises(CorpusError, match=r"ferplus.csv: holds no votes"):
        read_ferplus(table)
    with pytest.raises(CorpusError, match=r"absent.csv: can't be read"):
        read_ferplus(table.with_name("absent.csv"))
    row = "train/angry/Training_1.jpg,0,Training,9" + ",0" * 9 + "\n"
    table.write_text(HEADER + row + row)
    with pytest.raises(CorpusError, match=r"ferplus.csv: .*angry/Training_1' occurs twice"):
        read_ferplus(table)


def test_votes_label_the_pictures_they_are_given_with(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for path in (*PICTURES, "test/sad/PrivateTest_8.jpg"):
        (pictures / path).parent.mkdir(parents=True, exist_ok=True)
        (pictures / path).touch()
    table = write_table(tmp_path / "votes", PICTURES)
    alone = CorpusPlace("fer2013", pictures)
    assert gather([alone], tmp_path).notes == ()
    found = gather([alone, CorpusPlace("fer2013", table.parent)], tmp_path)
    (note,) = found.notes
    assert "label 7 of 8 pictures; of these 4 have no label" in note
    clips = {clip.clip_id.removeprefix("fer2013/"): clip for clip in found.clips}
    assert {key: clips[key].labels.face for key in IDS} == dict(
        zip(IDS, [Emotion.ANGRY, None, None, None, None, Emotion.SAD, Emotion.FEARFUL], strict=True)
    )
    assert clips["fear/PublicTest_6"].corpus_label == "fear"
    # Nobody voted on this one: FER2013's word stands.
    assert clips["sad/PrivateTest_8"].labels.face is Emotion.SAD
    with pytest.raises(CorpusError, match="holds votes only"):
        gather([CorpusPlace("fer2013", table.parent)], tmp_path)


@pytest.mark.corpora
def test_real_votes_cover_every_picture(corpora_dir: Path, tmp_path: Path) -> None:
    votes = read_ferplus(corpus_root(corpora_dir, "ferplus", work=tmp_path) / FERPLUS_TABLE)
    pictures = corpus_root(corpora_dir, "fer2013", work=tmp_path)
    clips = create_corpus("fer2013").scan(pictures).clips
    taken = votes.take([clip.clip_id for clip in clips])
    assert len(votes) == len(taken) == 32298
    assert taken.splits == tuple(clip.split for clip in clips)
    is_test = np.array(votes.splits) == "public_test"
    counts = np.bincount(votes.majority[is_test & (votes.majority >= 0)], minlength=7)
    assert counts.tolist() == [1242, 880, 395, 310, 73, 31, 441]
    assert int((votes.is_left_out & is_test).sum()) == 100
