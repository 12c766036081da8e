"""Every reader on a tiny corpus of empty files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.corpus import Corpus
from facevoice.corpora.gather import corpus_names, create_corpus, register_corpus
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.ravdess import Ravdess
from facevoice.errors import CorpusError
from facevoice.records import EMOTIONS, Emotion


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def only(name: str, root: Path) -> Clip:
    clips = tuple(create_corpus(name).clips(root))
    assert len(clips) == 1
    return clips[0]


def test_all_readers_are_known_and_described() -> None:
    assert corpus_names() == (
        "cremad", "emodb", "fer2013", "iemocap", "javanese", "meld", "ravdess", "savee", "tess",
    )  # fmt: skip
    for name in corpus_names():
        corpus: Corpus = create_corpus(name)
        assert corpus.info.name == name
        assert set(corpus.info.emotions) <= set(EMOTIONS)
        assert len(set(corpus.info.emotions)) == len(corpus.info.emotions) >= 6
        assert corpus.info.license
        assert corpus.info.citation
        assert all(url.startswith("http") for url in corpus.info.urls)


def test_unknown_and_taken_names_are_refused() -> None:
    with pytest.raises(CorpusError, match=r"known: cremad, emodb"):
        create_corpus("nosuch")
    with pytest.raises(CorpusError, match="registered already"):
        register_corpus(Ravdess)


@pytest.mark.parametrize("name", corpus_names())
def test_a_folder_without_the_corpus_is_an_error(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "holiday.mp4", "notes.txt", "me.jpg")
    with pytest.raises(CorpusError, match=f"{tmp_path}.*holds no clip"):
        create_corpus(name).scan(tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        create_corpus(name).scan(tmp_path / "absent")


def test_ravdess_fields(tmp_path: Path) -> None:
    clip = only("ravdess", touch(tmp_path, "Actor_12/03-01-06-02-01-02-12.wav"))
    assert clip == Clip(
        clip_id="ravdess/01-06-02-01-02-12",
        corpus="ravdess",
        speaker="12",
        sentence="01",
        take=2,
        language="en",
        audio_path=tmp_path / "Actor_12/03-01-06-02-01-02-12.wav",
        labels=Labels(intended=Emotion.FEARFUL),
        corpus_label="06",
        intensity="strong",
        sex="female",
    )
    assert clip.speaker_key == "ravdess/12"


@pytest.mark.parametrize(
    ("code", "emotion"),
    [
        ("01", Emotion.NEUTRAL),
        ("02", Emotion.CALM),
        ("03", Emotion.HAPPY),
        ("04", Emotion.SAD),
        ("05", Emotion.ANGRY),
        ("06", Emotion.FEARFUL),
        ("07", Emotion.DISGUST),
        ("08", Emotion.SURPRISED),
    ],
)
def test_ravdess_emotions(code: str, emotion: Emotion, tmp_path: Path) -> None:
    clip = only("ravdess", touch(tmp_path, f"03-01-{code}-01-01-01-01.ogg"))
    assert clip.labels.intended is emotion
    assert clip.sex == "male"


def test_ravdess_wav_and_films_are_one_clip(tmp_path: Path) -> None:
    stem = "01-03-01-02-01-05"
    touch(
        tmp_path,
        f"a/03-{stem}.wav",
        f"b/01-{stem}.mp4",
        f"c/02-{stem}.mp4",
        f"face_crops/01-{stem}.mp4",
    )
    scan = create_corpus("ravdess").scan(tmp_path)
    assert [clip.clip_id for clip in scan.clips] == [f"ravdess/{stem}"]
    assert scan.clips[0].video_path == tmp_path / f"b/01-{stem}.mp4"
    assert scan.clips[0].audio_path == tmp_path / f"a/03-{stem}.wav"
    assert {file.path.parent.name for file in scan.skipped} == {"c", "face_crops"}
    assert all("another copy" in file.reason for file in scan.skipped)


def test_ravdess_film_alone_brings_its_own_sound_unless_silent(tmp_path: Path) -> None:
    touch(tmp_path, "01-01-03-01-02-01-05.mp4", "02-01-04-01-02-01-05.mp4")
    sound, silent = create_corpus("ravdess").clips(tmp_path)
    assert sound.audio_path == sound.video_path == tmp_path / "01-01-03-01-02-01-05.mp4"
    assert silent.audio_path is None
    assert silent.video_path == tmp_path / "02-01-04-01-02-01-05.mp4"


def test_ravdess_song_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "03-01-03-01-02-01-05.wav", "03-02-03-01-02-01-05.wav")
    scan = Ravdess().scan(tmp_path)
    assert len(scan.clips) == 1
    assert [file.reason for file in scan.skipped] == ["sung, not spoken"]
    assert len(Ravdess(song=True).scan(tmp_path).clips) == 2


def test_wrong_names_are_listed_and_hidden_files_passed_over(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "03-01-03-01-02-01-05.wav",
        "03-01-09-01-02-01-05.wav",
        "03-01-03-01-02-01-25.wav",
        "mixdown.WAV",
        "readme.txt",
        "._03-01-03-01-01-01-05.wav",
        "__MACOSX/03-01-03-01-01-01-05.wav",
    )
    scan = create_corpus("ravdess").scan(tmp_path)
    assert len(scan.clips) == 1
    assert [file.path.name for file in scan.skipped] == [
        "03-01-03-01-02-01-25.wav",
        "03-01-09-01-02-01-05.wav",
        "mixdown.WAV",
    ]


def test_the_better_of_two_encodings_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "AudioMP3/1001_DFA_ANG_XX.mp3", "AudioWAV/1001_DFA_ANG_XX.wav")
    assert only("cremad", tmp_path).audio_path == tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav"


def test_javanese_take_one_is_the_films_sound(tmp_path: Path) -> None:
    touch(tmp_path, "audio/05-03-06_01.ogg", "audio/05-03-06_02.ogg", "video/05-03-06_01.mp4")
    first, second = create_corpus("javanese").clips(tmp_path)
    assert first.video_path == tmp_path / "video/05-03-06_01.mp4"
    assert first.audio_path == tmp_path / "audio/05-03-06_01.ogg"
    assert (first.speaker, first.sentence, first.take) == ("05", "03", 1)
    assert second.video_path is None
    assert second.take == 2
    assert second.labels.intended is Emotion.ANGRY
    assert second.language == "jv"


@pytest.mark.parametrize(
    ("stem", "emotion", "take", "sex"),
    [
        ("03a01Fa", Emotion.HAPPY, 1, "male"),
        ("16b10Wb", Emotion.ANGRY, 2, "female"),
        ("08a02Ac", Emotion.FEARFUL, 3, "female"),
        ("09a04Ta", Emotion.SAD, 1, "female"),
        ("10a05Ea", Emotion.DISGUST, 1, "male"),
        ("11b01Nd", Emotion.NEUTRAL, 4, "male"),
        ("12b02La", None, 1, "male"),
    ],
)
def test_emodb(stem: str, emotion: Emotion | None, take: int, sex: str, tmp_path: Path) -> None:
    clip = only("emodb", touch(tmp_path, f"wav/{stem}.ogg"))
    assert (clip.labels.intended, clip.take, clip.sex) == (emotion, take, sex)
    assert (clip.speaker, clip.sentence, clip.language) == (stem[:2], stem[2:5], "de")


def test_emodb_boredom_keeps_its_own_label(tmp_path: Path) -> None:
    assert only("emodb", touch(tmp_path, "12b02La.wav")).corpus_label == "boredom"


def test_fer2013_folders_are_labels_of_the_face(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/surprise/Training_52789098.jpg",
        "train/neutral/Training_52789098.jpg",
        "test/angry/PublicTest_1.jpg",
        "test/fear/PrivateTest_2.png",
        "test/happy/holiday.jpg",
    )
    scan = create_corpus("fer2013").scan(tmp_path)
    assert Counter((clip.split, clip.labels.face) for clip in scan.clips) == {
        ("train", Emotion.SURPRISED): 1,
        ("train", Emotion.NEUTRAL): 1,
        ("public_test", Emotion.ANGRY): 1,
        ("private_test", Emotion.FEARFUL): 1,
    }
    assert all(
        clip.speaker is clip.audio_path is clip.labels.intended is None for clip in scan.clips
    )
    assert [file.path.name for file in scan.skipped] == ["holiday.jpg"]


def test_cremad_fields_demographics_and_broken_clips(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "VideoFlash/1001_IEO_FEA_HI.flv",
        "AudioWAV/1001_IEO_FEA_HI.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
        "AudioWAV/1076_MTI_NEU_XX.wav",
        "VideoFlash/1064_IEO_DIS_MD.flv",
    )
    (tmp_path / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    )
    scan = create_corpus("cremad").scan(tmp_path)
    high, renamed = scan.clips
    assert high.clip_id == "cremad/1001_IEO_FEA_HI"
    assert (high.intensity, high.take) == ("high", 3)
    assert (high.sex, high.age, high.race) == ("male", 51, "Caucasian")
    assert high.ethnicity == "Not Hispanic"
    assert high.labels == Labels(intended=Emotion.FEARFUL)
    assert renamed.clip_id == "cremad/1040_ITH_SAD_XX"
    assert (renamed.sex, renamed.age) == (None, None)
    assert [file.reason for file in scan.skipped] == ["called broken by the corpus itself"] * 2


def test_cremad_damaged_demographics_name_the_line(tmp_path: Path) -> None:
    touch(tmp_path, "1001_IEO_FEA_HI.wav")
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,old,Male,x,y\n"
    )
    with pytest.raises(CorpusError, match=r"VideoDemographics.csv:3: .*'Age': 'old'"):
        create_corpus("cremad").scan(tmp_path)


def test_savee_with_folders_and_flat(tmp_path: Path) -> None:
    touch(tmp_path, "AudioData/DC/sa03.wav", "AudioVisualClip/DC/sa3.avi", "ALL/JK_a15.wav")
    dc, jk = create_corpus("savee").clips(tmp_path)
    assert (dc.clip_id, dc.speaker) == ("savee/DC_sa03", "DC")
    assert dc.video_path == tmp_path / "AudioVisualClip/DC/sa3.avi"
    assert dc.audio_path == tmp_path / "AudioData/DC/sa03.wav"
    assert dc.labels.intended is Emotion.SAD
    assert (jk.speaker, jk.labels.intended, jk.sex) == ("JK", Emotion.ANGRY, "male")


def test_tess_with_its_misspelt_name(tmp_path: Path) -> None:
    touch(tmp_path, "OAF_neutral/OA_bite_neutral.wav", "YAF_pleasant_surprised/YAF_back_ps.wav")
    older, younger = create_corpus("tess").clips(tmp_path)
    assert (older.speaker, older.age, older.labels.intended) == ("OAF", 64, Emotion.NEUTRAL)
    assert (younger.speaker, younger.age, younger.sentence) == ("YAF", 26, "back")
    assert younger.labels.intended is Emotion.SURPRISED


MELD_HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season\n"


def test_meld_joins_tables_and_films(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/train_splits/dia0_utt0.mp4",
        "test/output_repeated_splits_test/dia0_utt0.mp4",
        "test/output_repeated_splits_test/dia9_utt9.mp4",
        "test/output_repeated_splits_test/final_videos_testdia0_utt1.mp4",
    )
    (tmp_path / "train/train_sent_emo.csv").write_bytes(
        MELD_HEADER.encode() + b'1,"it\x92s, well",Joey,joy,positive,0,0,8\n2,b,Ross,fear,n,1,0,8\n'
    )
    (tmp_path / "test_sent_emo.csv").write_text(MELD_HEADER + "1,a,Joey,sadness,negative,0,0,8\n")
    scan = create_corpus("meld").scan(tmp_path)
    test, train = scan.clips
    assert (train.clip_id, train.split) == ("meld/train/dia0_utt0", "train")
    assert (train.speaker, train.labels) == ("Joey", Labels(both=Emotion.HAPPY))
    assert (test.split, test.labels.both) == ("test", Emotion.SAD)
    assert test.audio_path == test.video_path is not None
    reasons = sorted(file.reason for file in scan.skipped)
    assert reasons == [
        "in none of the tables",
        "no film: meld/train/dia1_utt0",
        "the path does not end like train_splits/dia0_utt0.mp4",
    ]


def test_meld_damaged_table_names_the_line(tmp_path: Path) -> None:
    touch(tmp_path, "train_splits/dia0_utt0.mp4")
    (tmp_path / "train_sent_emo.csv").write_text(MELD_HEADER + "1,a,Joey,bored,positive,0,0,8\n")
    with pytest.raises(CorpusError, match=r"train_sent_emo.csv:2: .*bored"):
        create_corpus("meld").scan(tmp_path)


IEMOCAP_TEXT = """\
% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro01_F002\tang\t[2.5000, 2.5000, 2.5000]
"""


def test_iemocap_utterances_lie_inside_dialogue_films(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_M001.wav",
        "Session1/dialog/avi/DivX/Ses01F_impro01.avi",
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
    )
    (tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt").write_text(IEMOCAP_TEXT)
    first, silent, excited = create_corpus("iemocap").clips(tmp_path)
    assert (first.clip_id, first.speaker) == ("iemocap/Ses01F_impro01_F000", "01F")
    assert first.labels == Labels(both=Emotion.NEUTRAL)
    assert first.video_path == tmp_path / "Session1/dialog/avi/DivX/Ses01F_impro01.avi"
    assert first.video_start_s == 6.2901
    assert first.duration_s == pytest.approx(1.9456)
    assert silent.audio_path is None
    assert (excited.labels.both, excited.corpus_label, excited.sex) == (None, "exc", "male")


def test_iemocap_damaged_line_is_named(tmp_path: Path) -> None:
    table = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    touch(tmp_path, str(table.relative_to(tmp_path)))
    table.write_text("[6.2901 - 8.2357]\tSes01F_impro01_F000\tmeh\t[2.5, 2.5, 2.5]\n")
    with pytest.raises(CorpusError, match=r"Ses01F_impro01.txt:1: .*meh"):
        create_corpus("iemocap").scan(tmp_path)


def test_clips_check_themselves() -> None:
    with pytest.raises(CorpusError, match="must begin with"):
        Clip("emodb/x", "ravdess", "01")
    with pytest.raises(CorpusError, match="sex"):
        Clip("emodb/x", "emodb", "01", sex="m")
    with pytest.raises(CorpusError, match="not positive"):
        Clip("emodb/x", "emodb", "01", duration_s=0.0)


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("corpus", "archive", "num_clips", "num_films", "num_sounds"),
    [
        ("ravdess", "ravdess_audio", 1200, 0, 1200),
        ("ravdess", "ravdess_av", 60, 60, 60),
        ("javanese", "javanese", 1008, 144, 1008),
        ("emodb", "emodb", 535, 0, 535),
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
    root = corpus_root(corpora_dir, archive, work=tmp_path)
    scan = create_corpus(corpus).scan(root)
    assert len(scan.clips) == num_clips
    assert sum(clip.video_path is not None for clip in scan.clips) == num_films
    assert sum(clip.audio_path is not None for clip in scan.clips) == num_sounds
    labels = Counter(clip.labels.intended or clip.labels.face for clip in scan.clips)
    assert set(labels) - {None} == set(create_corpus(corpus).info.emotions)
    assert len(scan.skipped) == (5 if archive == "ravdess_av" else 0)
