"""Corpora in folders and archives, whole and in pieces."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from facevoice.corpora.cremad import BROKEN_CLIPS
from facevoice.corpora.gather import CorpusPlace, Gathering, gather, parse_place
from facevoice.corpora.manifest import Clip
from facevoice.errors import CorpusError
from facevoice.records import Emotion, Outcome

PEOPLE = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n"
VOTES = '"",A,D,F,H,N,S,fileName\n' + "".join(
    f'"{channel}0000{row}",{counts},"{stem}"\n'
    for channel, rows in {
        1: ("9,0,0,0,1,0", "0,0,0,9,1,0", "5,5,0,0,0,0"),
        2: ("0,0,0,10,0,0", "0,0,0,10,0,0", "0,0,0,0,9,0"),
        3: ("2,0,0,8,0,0", "0,0,0,10,0,0", "0,0,0,0,9,0"),
    }.items()
    for row, (counts, stem) in enumerate(
        zip(rows, ("1001_DFA_ANG_XX", "1001_DFA_HAP_XX", "1076_MTI_NEU_XX"), strict=True), start=1
    )
)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def add_ratings(root: Path) -> Path:
    touch(root, "processedResults/tabulatedVotes.csv", "VideoDemographics.csv")
    (root / "processedResults/tabulatedVotes.csv").write_text(VOTES, encoding="utf-8")
    (root / "VideoDemographics.csv").write_text(PEOPLE, encoding="utf-8")
    return root


def by_id(gathering: Gathering) -> dict[str, Clip]:
    return {clip.clip_id: clip for clip in gathering.clips}


def test_places_are_found_and_misses_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "emodb/wav/03a01Fa.wav", "tess.zip", "elsewhere/x")
    assert parse_place("emodb", tmp_path) == CorpusPlace("emodb", tmp_path / "emodb")
    assert parse_place("tess", tmp_path) == CorpusPlace("tess", tmp_path / "tess.zip")
    own = parse_place(f"savee={tmp_path}/elsewhere", tmp_path)
    assert own == CorpusPlace("savee", tmp_path / "elsewhere")
    with pytest.raises(CorpusError, match=r"neither a folder meld nor meld\.zip"):
        parse_place("meld", tmp_path)
    with pytest.raises(CorpusError, match="no such folder or archive of meld"):
        parse_place("meld=/nowhere", tmp_path)
    with pytest.raises(CorpusError, match="no corpus is called 'moo'; known: ased, cremad"):
        parse_place("moo", tmp_path)


def test_archives_are_unpacked_and_corpora_come_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "tess/OAF_back_angry.wav", "tess/note.txt", "tess/x.wav")
    with zipfile.ZipFile(tmp_path / "berlin.zip", "w") as archive:
        archive.writestr("wav/03a01Fa.ogg", b"")
    places = [
        CorpusPlace("tess", tmp_path / "tess"),
        CorpusPlace("emodb", tmp_path / "berlin.zip"),
    ]
    found = gather(places, tmp_path / "work")
    assert [clip.corpus for clip in found.clips] == ["emodb", "tess"]
    assert found.clips[0].audio_path == tmp_path / "work/berlin/wav/03a01Fa.ogg"
    assert [(k.corpus, k.num_files, k.example.name) for k in found.skipped] == [
        ("tess", 1, "x.wav")
    ]
    assert "name" in found.skipped[0].reason
    assert gather(places, tmp_path / "work") == found


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "emodb.zip", "w") as archive:
        archive.writestr("../03a01Fa.ogg", b"")
    with pytest.raises(CorpusError, match="leaves the folder"):
        gather([CorpusPlace("emodb", tmp_path / "emodb.zip")], tmp_path / "work")


def test_pieces_of_a_corpus_are_joined(tmp_path: Path) -> None:
    both, film, sound = (f"{m}-01-06-01-02-01-12" for m in ("01", "02", "03"))
    films = touch(tmp_path / "films", f"{both}.mp4", f"{both[:-2]}14.mp4")
    sounds = touch(tmp_path / "sounds", f"{sound}.wav", f"{sound[:-2]}16.wav")
    more = touch(tmp_path / "more", f"{sound}.ogg", f"{film}.mp4")
    found = gather([CorpusPlace("ravdess", path) for path in (films, sounds, more)], tmp_path)
    clips = by_id(found)
    assert len(clips) == 3
    joined = clips["ravdess/01-06-01-02-01-12"]
    assert joined.video_path == films / f"{both}.mp4"
    assert joined.audio_path == sounds / f"{sound}.wav"
    film_only = clips["ravdess/01-06-01-02-01-14"]
    assert film_only.audio_path == film_only.video_path
    assert clips["ravdess/01-06-01-02-01-16"].video_path is None
    (copies,) = found.skipped
    assert (copies.reason, copies.num_files) == ("another copy is read", 2)
    again = gather([CorpusPlace("ravdess", films), CorpusPlace("ravdess", films)], tmp_path)
    assert len(again.clips) == 2
    assert again.skipped == ()


def test_cremad_brings_its_ratings_people_and_broken_clips(tmp_path: Path) -> None:
    root = add_ratings(touch(tmp_path / "cremad", "AudioWAV/1001_DFA_ANG_XX.wav"))
    touch(root, "AudioWAV/1001_DFA_HAP_XX.wav", "AudioWAV/1076_MTI_NEU_XX.wav")
    touch(root, "AudioWAV/1002_DFA_HAP_XX.wav")
    found = gather([CorpusPlace("cremad", root)], tmp_path)
    clips = by_id(found)
    assert len(clips) == 3
    rated = clips["cremad/1001_DFA_ANG_XX"]
    assert rated.labels.intended is rated.labels.voice is Emotion.ANGRY
    assert rated.labels.face is rated.labels.both is Emotion.HAPPY
    assert rated.labels.congruence is Outcome.CONFLICT
    assert clips["cremad/1001_DFA_HAP_XX"].labels.congruence is Outcome.MATCH
    assert (rated.sex, rated.age, rated.ethnicity) == ("male", 51, "Not Hispanic")
    unrated = clips["cremad/1002_DFA_HAP_XX"]
    assert (unrated.sex, unrated.labels.face) == (None, None)
    assert len(BROKEN_CLIPS) == 4
    assert all(stem in found.notes[0] for stem in BROKEN_CLIPS)
    assert "2 of 3 clips have ratings" in found.notes[1]
    assert [(kind.reason, kind.num_files) for kind in found.skipped] == [
        ("called broken by the corpus itself", 1)
    ]


def test_cremads_ratings_may_come_in_another_archive(tmp_path: Path) -> None:
    media = touch(tmp_path / "media", "1001_DFA_ANG_XX.flv")
    tables = add_ratings(tmp_path / "tables")
    with zipfile.ZipFile(tmp_path / "votes.zip", "w") as archive:
        for name in ("processedResults/tabulatedVotes.csv", "VideoDemographics.csv"):
            archive.write(tables / name, name)
    places = [CorpusPlace("cremad", media), CorpusPlace("cremad", tmp_path / "votes.zip")]
    (clip,) = gather(places, tmp_path / "work").clips
    assert (clip.labels.face, clip.race) == (Emotion.HAPPY, "Caucasian")
    assert clip.video_path == media / "1001_DFA_ANG_XX.flv"


def test_cremads_ratings_alone_stand_without_files(tmp_path: Path) -> None:
    found = gather([CorpusPlace("cremad", add_ratings(tmp_path / "votes"))], tmp_path)
    assert [clip.clip_id for clip in found.clips] == [
        "cremad/1001_DFA_ANG_XX",
        "cremad/1001_DFA_HAP_XX",
    ]
    assert {clip.video_path for clip in found.clips} == {None}
    assert found.clips[0].age == 51
    assert "2 clips of tabulatedVotes.csv (3 rated clips) stand without files" in found.notes[1]


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="holds no clip of CREMA-D"):
        gather([CorpusPlace("cremad", tmp_path)], tmp_path)
