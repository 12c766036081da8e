"""Every reader on a tiny corpus of empty files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.corpus import CorpusScan
from facevoice.corpora.gather import corpus_names, create_corpus, register_corpus
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.ravdess import Ravdess
from facevoice.corpora.splits import make_splits
from facevoice.errors import CorpusError
from facevoice.records import EMOTIONS, Emotion


def scan(name: str, root: Path, *files: str) -> CorpusScan:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return create_corpus(name).scan(root)


def test_all_readers_are_known_and_described() -> None:
    assert corpus_names() == (
        "ased", "cremad", "emodb", "fer2013", "iemocap", "javanese", "meld", "nemo", "ravdess",
        "savee", "tess",
    )  # fmt: skip
    for name in corpus_names():
        info = create_corpus(name).info
        assert info.name == name
        assert set(info.emotions) <= set(EMOTIONS)
        assert len(set(info.emotions)) == len(info.emotions) >= 5
        assert info.license
        assert info.citation
        assert all(url.startswith("http") for url in info.urls)
    with pytest.raises(CorpusError, match=r"known: ased, cremad, emodb"):
        create_corpus("nosuch")
    with pytest.raises(CorpusError, match="registered already"):
        register_corpus(Ravdess)


@pytest.mark.parametrize("name", corpus_names())
def test_a_folder_without_the_corpus_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=f"{tmp_path}.*holds no clip"):
        scan(name, tmp_path, "holiday.mp4", "notes.txt", "me.jpg")
    with pytest.raises(CorpusError, match="no such folder"):
        create_corpus(name).scan(tmp_path / "absent")


def test_every_field_of_a_name_is_read(tmp_path: Path) -> None:
    path = "Actor_12/03-01-06-02-01-02-12.wav"
    (clip,) = scan("ravdess", tmp_path, path).clips
    assert clip == Clip(
        clip_id="ravdess/01-06-02-01-02-12",
        corpus="ravdess",
        speaker="12",
        sentence="01",
        take=2,
        language="en",
        audio_path=tmp_path / path,
        labels=Labels(intended=Emotion.FEARFUL),
        corpus_label="06",
        intensity="strong",
        sex="female",
    )
    assert clip.speaker_key == "ravdess/12"


@pytest.mark.parametrize(
    ("corpus", "file", "speaker", "sentence", "take", "emotion", "rest"),
    [
        ("ravdess", "03-01-01-01-02-01-05.wav", "05", "02", 1, "neutral", {"sex": "male"}),
        ("ravdess", "03-01-02-01-02-01-05.wav", "05", "02", 1, "calm", {"intensity": "normal"}),
        ("ravdess", "03-01-03-01-02-01-05.ogg", "05", "02", 1, "happy", {}),
        ("ravdess", "03-01-04-01-02-01-05.ogg", "05", "02", 1, "sad", {}),
        ("ravdess", "03-01-05-01-02-01-05.ogg", "05", "02", 1, "angry", {}),
        ("ravdess", "03-01-07-01-02-01-05.ogg", "05", "02", 1, "disgust", {}),
        ("ravdess", "03-01-08-01-02-01-05.ogg", "05", "02", 1, "surprised", {}),
        ("javanese", "audio/05-03-06_02.ogg", "05", "03", 2, "angry", {"language": "jv"}),
        ("javanese", "audio/05-03-02_07.ogg", "05", "03", 7, "sad", {}),
        ("emodb", "wav/03a01Fa.ogg", "03", "a01", 1, "happy", {"sex": "male", "age": 31}),
        ("emodb", "wav/16b10Wb.ogg", "16", "b10", 2, "angry", {"sex": "female"}),
        ("emodb", "08a02Ac.wav", "08", "a02", 3, "fearful", {"language": "de"}),
        ("emodb", "12b02La.wav", "12", "b02", 1, None, {"corpus_label": "boredom"}),
        ("ased", "05Angry/a5-03-01-02-50.wav", "50", "a03", 1, "angry", {"sex": "male"}),
        ("ased", "audio/n1-01-02-01-01.ogg", "01", "01", 2, "neutral", {"sex": "female"}),
        ("ased", "f2-02-01-02-25.ogg", "25", "02", 1, "fearful", {"sex": "female"}),
        ("ased", "h3-07-01-02-65.wav", "65", "h07", 1, "happy", {"language": "am"}),
        ("nemo", "samples/EB0_anger_13.wav", "EB0", "13", 1, "angry", {"sex": "female"}),
        ("nemo", "audio/WR0_surprised_9.ogg", "WR0", "9", 1, "surprised", {"age": 23}),
        ("nemo", "MP0_fear_90.wav", "MP0", "90", 1, "fearful", {"language": "pl", "sex": "male"}),
        ("savee", "ALL/JK_a15.wav", "JK", "a15", 1, "angry", {"sex": "male"}),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "OAF", "bite", 1, "neutral", {"age": 64}),
        ("tess", "YAF_pleasant/YAF_back_ps.wav", "YAF", "back", 1, "surprised", {"age": 26}),
        ("cremad", "1001_IEO_FEA_HI.flv", "1001", "IEO", 3, "fearful", {"intensity": "high"}),
        ("cremad", "1040_ITH_SAD_X.wav", "1040", "ITH", 1, "sad", {"intensity": None}),
    ],
)
def test_names_say_who_what_and_how(
    corpus: str,
    file: str,
    speaker: str,
    sentence: str,
    take: int,
    emotion: str | None,
    rest: dict[str, object],
    tmp_path: Path,
) -> None:
    (clip,) = scan(corpus, tmp_path, file).clips
    assert (clip.speaker, clip.sentence, clip.take) == (speaker, sentence, take)
    assert clip.labels == Labels(intended=None if emotion is None else Emotion(emotion))
    assert {name: getattr(clip, name) for name in rest} == rest


def test_sound_and_films_of_a_name_are_one_clip(tmp_path: Path) -> None:
    stem = "01-03-01-02-01-05"
    found = scan(
        "ravdess",
        tmp_path,
        *(f"a/03-{stem}.wav", f"b/01-{stem}.mp4", f"c/02-{stem}.mp4", f"face_crops/01-{stem}.mp4"),
        *("01-01-05-01-02-01-05.mp4", "02-01-04-01-02-01-05.mp4"),
    )
    joined, silent, sounding = found.clips
    assert joined.video_path == tmp_path / f"b/01-{stem}.mp4"
    assert joined.audio_path == tmp_path / f"a/03-{stem}.wav"
    assert {file.path.parent.name for file in found.skipped} == {"c", "face_crops"}
    assert all("another copy" in file.reason for file in found.skipped)
    # A film alone brings its own sound, unless the corpus publishes it without.
    assert sounding.audio_path == sounding.video_path == tmp_path / "01-01-05-01-02-01-05.mp4"
    assert (silent.audio_path, silent.video_path) == (None, tmp_path / "02-01-04-01-02-01-05.mp4")


def test_wrong_names_are_listed_and_hidden_files_passed_over(tmp_path: Path) -> None:
    right, wrong = "03-01-03-01-02-01-05.wav", "03-01-09-01-02-01-05.wav"
    stranger, song = "03-01-03-01-02-01-25.wav", "03-02-03-01-02-01-05.wav"
    hidden = ("readme.txt", "._03-01-03-01-01-01-05.wav", "__MACOSX/03-01-03-01-01-01-05.wav")
    found = scan("ravdess", tmp_path, right, stranger, wrong, song, "mixdown.WAV", *hidden)
    assert len(found.clips) == 1
    assert [file.path.name for file in found.skipped] == [stranger, wrong, song, "mixdown.WAV"]
    assert found.skipped[2].reason == "sung, not spoken"
    assert len(Ravdess(song=True).scan(tmp_path).clips) == 2


def test_names_that_only_look_like_a_clip_are_listed_with_the_reason(tmp_path: Path) -> None:
    found = scan(
        "ased",
        tmp_path / "a",
        *("S4-04-02-01-29.wav", "a5-01-01-01-66.wav", "a5-08-01-01-01.wav", "a3-01-01-01-01.wav"),
    )
    assert [clip.clip_id for clip in found.clips] == ["ased/s4-04-02-01-29"]
    assert {file.path.name: file.reason.partition(":")[0] for file in found.skipped} == {
        "a3-01-01-01-01.wav": "the name is not like a5-03-01-02-50.wav",
        "a5-01-01-01-66.wav": "there is no such speaker",
        "a5-08-01-01-01.wav": "the name is not like a5-03-01-02-50.wav",
    }
    names = ("EB0_anger_1.wav", "XY0_anger_1.wav", "EB0_calm_1.wav", "EB0_anger_100.wav")
    found = scan("nemo", tmp_path / "n", *names)
    assert [clip.clip_id for clip in found.clips] == ["nemo/EB0_anger_1"]
    assert [file.path.name for file in found.skipped] == [names[3], names[2], names[1]]


def test_letter_case_makes_no_second_clip(tmp_path: Path) -> None:
    (clip,) = scan("ased", tmp_path, "s/s4-04-02-01-29.wav", "t/S4-04-02-01-29.ogg").clips
    assert clip.audio_path == tmp_path / "s/s4-04-02-01-29.wav"


def test_the_better_of_two_encodings_is_read(tmp_path: Path) -> None:
    files = ("AudioMP3/1001_DFA_ANG_XX.mp3", "AudioWAV/1001_DFA_ANG_XX.wav")
    (clip,) = scan("cremad", tmp_path, *files).clips
    assert clip.audio_path == tmp_path / files[1]


def test_javanese_and_savee_join_films_and_sounds(tmp_path: Path) -> None:
    files = ("audio/05-03-06_01.ogg", "audio/05-03-06_02.ogg", "video/05-03-06_01.mp4")
    first, second = scan("javanese", tmp_path / "j", *files).clips
    assert first.video_path == tmp_path / "j/video/05-03-06_01.mp4"
    assert first.audio_path == tmp_path / "j/audio/05-03-06_01.ogg"
    assert (first.take, second.take, second.video_path) == (1, 2, None)
    (dc,) = scan("savee", tmp_path / "s", "AudioData/DC/sa03.wav", "Clips/DC/sa3.avi").clips
    assert dc.video_path == tmp_path / "s/Clips/DC/sa3.avi"
    assert dc.audio_path == tmp_path / "s/AudioData/DC/sa03.wav"
    assert (dc.clip_id, dc.labels.intended) == ("savee/DC_sa03", Emotion.SAD)


def test_fer2013_folders_are_labels_of_the_face(tmp_path: Path) -> None:
    found = scan(
        "fer2013",
        tmp_path,
        *("train/surprise/Training_52789098.jpg", "train/neutral/Training_52789098.jpg"),
        *("test/angry/PublicTest_1.jpg", "test/fear/PrivateTest_2.png", "test/happy/holiday.jpg"),
    )
    assert Counter((clip.split, clip.labels.face) for clip in found.clips) == {
        ("train", Emotion.SURPRISED): 1,
        ("train", Emotion.NEUTRAL): 1,
        ("public_test", Emotion.ANGRY): 1,
        ("private_test", Emotion.FEARFUL): 1,
    }
    for clip in found.clips:
        assert clip.speaker is clip.audio_path is clip.labels.intended is clip.language is None
    assert [file.path.name for file in found.skipped] == ["holiday.jpg"]


PEOPLE = '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'


def test_cremad_demographics_and_broken_clips(tmp_path: Path) -> None:
    (tmp_path / "VideoDemographics.csv").write_text(PEOPLE)
    broken = ("AudioWAV/1076_MTI_NEU_XX.wav", "VideoFlash/1064_IEO_DIS_MD.flv")
    files = ("VideoFlash/1001_IEO_FEA_HI.flv", "AudioWAV/1040_ITH_SAD_X.wav")
    found = scan("cremad", tmp_path, *files, *broken)
    known, unknown = found.clips
    assert (known.sex, known.age, known.race) == ("male", 51, "Caucasian")
    assert known.ethnicity == "Not Hispanic"
    assert (unknown.clip_id, unknown.sex) == ("cremad/1040_ITH_SAD_XX", None)
    assert [file.reason for file in found.skipped] == ["called broken by the corpus itself"] * 2
    (tmp_path / "VideoDemographics.csv").write_text(PEOPLE + "1002,old,Male,x,y\n")
    with pytest.raises(CorpusError, match=r"VideoDemographics.csv:3: .*'Age': 'old'"):
        create_corpus("cremad").scan(tmp_path)


MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season\n"


def test_meld_joins_tables_and_films(tmp_path: Path) -> None:
    tested = "test/output_repeated_splits_test"
    (tmp_path / "train").mkdir()
    (tmp_path / "train/train_sent_emo.csv").write_bytes(
        MELD_HEADER.encode() + b'1,"it\x92s, well",Joey,joy,positive,0,0,8\n2,b,Ross,fear,n,1,0,8\n'
    )
    (tmp_path / "test_sent_emo.csv").write_text(MELD_HEADER + "1,a,Joey,sadness,negative,0,0,8\n")
    found = scan(
        "meld",
        tmp_path,
        *("train/train_splits/dia0_utt0.mp4", f"{tested}/dia0_utt0.mp4"),
        *(f"{tested}/dia9_utt9.mp4", f"{tested}/final_videos_testdia0_utt1.mp4"),
    )
    test, train = found.clips
    assert (train.clip_id, train.split) == ("meld/train/dia0_utt0", "train")
    assert (train.speaker, train.labels) == ("Joey", Labels(both=Emotion.HAPPY))
    assert (test.split, test.labels.both) == ("test", Emotion.SAD)
    assert test.audio_path == test.video_path is not None
    assert sorted(file.reason for file in found.skipped) == [
        "in none of the tables",
        "no film: meld/train/dia1_utt0",
        "the path does not end like train_splits/dia0_utt0.mp4",
    ]
    (tmp_path / "test_sent_emo.csv").write_text(MELD_HEADER + "1,a,Joey,bored,positive,0,0,8\n")
    with pytest.raises(CorpusError, match=r"test_sent_emo.csv:2: .*bored"):
        create_corpus("meld").scan(tmp_path)


IEMOCAP_TEXT = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_F002\tang\t[2.5000, 2.5000, 2.5000]
"""


def test_iemocap_utterances_lie_inside_dialogue_films(tmp_path: Path) -> None:
    film = "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
    sounds = [f"Session1/wav/Ses01F_impro01_{name}.wav" for name in ("F000", "M001")]
    table = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    table.parent.mkdir(parents=True)
    table.write_text(IEMOCAP_TEXT)
    first, silent, excited = scan("iemocap", tmp_path, film, *sounds).clips
    assert (first.clip_id, first.speaker) == ("iemocap/Ses01F_impro01_F000", "01F")
    assert first.labels == Labels(both=Emotion.NEUTRAL)
    assert (first.video_path, first.video_start_s) == (tmp_path / film, 6.2901)
    assert first.duration_s == pytest.approx(1.9456)
    assert silent.audio_path is None
    assert (excited.labels.both, excited.corpus_label, excited.sex) == (None, "exc", "male")
    table.write_text("[6.2901 - 8.2357]\tSes01F_impro01_F000\tmeh\t[2.5, 2.5, 2.5]\n")
    with pytest.raises(CorpusError, match=r"Ses01F_impro01.txt:1: .*meh"):
        create_corpus("iemocap").scan(tmp_path)


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("corpus", "archive", "num_clips", "num_films", "num_sounds"),
    [
        ("ravdess", "ravdess_audio", 1200, 0, 1200),
        ("ravdess", "ravdess_av", 60, 60, 60),
        ("javanese", "javanese", 1008, 144, 1008),
        ("emodb", "emodb", 535, 0, 535),
        ("emodb", "emodb_full", 535, 0, 535),
        ("ased", "ased", 2474, 0, 2474),
        ("nemo", "nemo", 2236, 0, 2236),
        ("fer2013", "fer2013", 32298, 32298, 0),
    ],
)
def test_real_corpora(
    corpus: str,
    archive: str,
    num_clips: int,
    num_films: int,
    num_sounds: int,
    corpora_dir: Path,
    tmp_path: Path,
) -> None:
    found = create_corpus(corpus).scan(corpus_root(corpora_dir, archive, work=tmp_path))
    assert len(found.clips) == num_clips
    assert sum(clip.video_path is not None for clip in found.clips) == num_films
    assert sum(clip.audio_path is not None for clip in found.clips) == num_sounds
    labels = {clip.labels.intended or clip.labels.face for clip in found.clips}
    assert labels - {None} == set(create_corpus(corpus).info.emotions)
    assert len(found.skipped) == (5 if archive == "ravdess_av" else 0)


@pytest.mark.corpora
def test_ased_and_nemo_speakers_split_by_sex(corpora_dir: Path, tmp_path: Path) -> None:
    for corpus, num_women, num_men in (("ased", 25, 40), ("nemo", 4, 5)):
        clips = create_corpus(corpus).scan(corpus_root(corpora_dir, corpus, work=tmp_path)).clips
        sex_of = {clip.speaker: clip.sex for clip in clips}
        assert Counter(sex_of.values()) == {"female": num_women, "male": num_men}
        assert all(clip.sex == sex_of[clip.speaker] for clip in clips)
        splits = make_splits(clips, "speakers", num_folds=4)
        tested = [key for split in splits.splits for key in split.test]
        assert sorted(tested) == [clip.clip_id for clip in clips]
        people = {clip.clip_id: (clip.speaker, clip.sex) for clip in clips}
        for split in splits.splits:
            women = {person for key in split.test if (person := people[key])[1] == "female"}
            assert len(women) in (num_women // 4, num_women // 4 + 1)
