"""From a feature table to parts, pairs and targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facevoice.corpora.cremad import Votes
from facevoice.corpora.manifest import Labels
from facevoice.corpora.pairs import PAIR_PLANS
from facevoice.corpora.splits import Split, check_split
from facevoice.errors import CorpusError
from facevoice.records import Emotion, Modality, Outcome
from facevoice.training.data import (
    UNKNOWN,
    FeatureTable,
    make_targets,
    parse_clip_id,
    prepare_data,
    read_feature_file,
    stack_tokens,
)
from pair_checks import check_pairs
from training_builders import (
    cremad_ids,
    make_clips,
    make_table,
    quick_config,
    ravdess_ids,
    write_feature_file,
)

INTENDED = dict.fromkeys(("emotion", "face", "voice", "conflict"), "intended")
PERCEIVED = dict.fromkeys(INTENDED, "perceived")


def test_parts_share_no_speaker_and_pairs_no_part() -> None:
    table = make_table()
    data = prepare_data(table, quick_config())
    check_split(data.split, table.clips)
    speakers = {clip.clip_id: clip.speaker_key for clip in table.clips}
    for part, ids in data.split.parts().items():
        assert {key.partition("/")[0] for key in ids} == {"ravdess", "cremad"}
        for corpus, pairs in data.pairs[part].items():
            check_pairs(pairs, table.clips, replace(PAIR_PLANS[corpus], need_files=False))
            assert {pair.face_clip_id for pair in pairs} <= set(ids)
            assert all(speakers[p.face_clip_id] == speakers[p.voice_clip_id] for p in pairs)
    assert sum(len(pairs) for pairs in data.pairs["train"].values()) > 50


def test_folds_of_speakers() -> None:
    table = make_table(ravdess_ids(6) + cremad_ids(6))
    speakers = {clip.clip_id: clip.speaker_key for clip in table.clips}
    parts = [prepare_data(table, quick_config(f"split.fold={n}")).split for n in (0, 1, 2)]
    tested = [{speakers[key] for key in split.test} for split in parts]
    assert set.union(*tested) == set(speakers.values())
    assert sum(map(len, tested)) == 12
    nobody = prepare_data(table, quick_config("split.fold=-1"))
    assert nobody.split.test == ()
    assert len(nobody.split.train) == 2 * len(nobody.split.validation)
    assert nobody.pairs["test"] == {}
    two = prepare_data(make_table(ravdess_ids(2)), quick_config()).split
    assert {key[-2:] for key in two.train} == {"01"}
    assert {key[-2:] for key in two.validation} == {"02"}
    assert two.test == ()
    with pytest.raises(CorpusError, match=r"one speaker only \(ravdess/01\)"):
        prepare_data(make_table(ravdess_ids(1)), quick_config())


def test_a_given_split_that_crosses_speakers_is_refused() -> None:
    table = make_table(ravdess_ids(2))
    ids = [clip.clip_id for clip in table.clips]
    with pytest.raises(CorpusError, match="speaker ravdess/01 is in both"):
        prepare_data(
            table, quick_config(), split=Split("mine", tuple(ids[::2]), (), tuple(ids[1::2]))
        )


def test_small_mode_takes_two_speakers_and_a_hundred_clips() -> None:
    table = make_table(ravdess_ids(5) + cremad_ids(20))
    chosen = [c.clip_id for c in prepare_data(table, quick_config("run.size=small")).table.clips]
    assert {key[-2:] for key in chosen if key.startswith("ravdess")} == {"01", "02"}
    assert len([key for key in chosen if key.startswith("cremad")]) == 100


def test_clips_without_a_channel_are_no_pair_of_it() -> None:
    table = make_table(ravdess_ids(3))
    audio = table.arrays[Modality.AUDIO]
    lengths = audio.lengths.copy()
    lengths[::3] = 0
    arrays = {**table.arrays, Modality.AUDIO: replace(audio, lengths=lengths)}
    partly = FeatureTable(table.clips, arrays)
    silent = {clip.clip_id for clip, length in zip(table.clips, lengths, strict=True) if not length}
    pairs = prepare_data(partly, quick_config()).pairs["train"]["ravdess"]
    assert pairs
    assert not {pair.voice_clip_id for pair in pairs} & silent
    assert {pair.face_clip_id for pair in pairs} & silent
    assert not partly.present(Modality.AUDIO)[::3].any()


def test_what_does_not_fit_the_settings_is_named() -> None:
    table = make_table()
    video = {Modality.VIDEO: table.arrays[Modality.VIDEO]}
    with pytest.raises(CorpusError, match="no audio features"):
        prepare_data(FeatureTable(table.clips, video), quick_config())
    with pytest.raises(
        CorpusError, match=r"video features have width 12, network\.video_dim says 9"
    ):
        prepare_data(table, quick_config("network.video_dim=9"))
    nothing = {
        m: replace(a, lengths=np.zeros(len(table), np.int64)) for m, a in table.arrays.items()
    }
    with pytest.raises(CorpusError, match="no clip has features of video or audio"):
        prepare_data(FeatureTable(table.clips, nothing), quick_config())
    with pytest.raises(CorpusError, match="no clip has a perceived face"):
        prepare_data(table, quick_config("targets.face=perceived"))
    table.arrays[Modality.VIDEO].tokens[7, 0, 3] = np.nan
    with pytest.raises(CorpusError, match=table.clips[7].clip_id):
        prepare_data(table, quick_config())


def test_targets_of_a_corpus_without_calm() -> None:
    targets = make_targets(make_clips(cremad_ids(1) + ravdess_ids(1)), INTENDED)
    cremad = targets.corpora == "cremad"
    assert not targets.emotions[cremad][:, [1, 7]].any()
    assert (targets.emotion.sum(axis=1) == 1).all()
    assert (targets.conflict == UNKNOWN).all()


def test_perceived_targets_are_votes_where_there_are_votes_else_labels() -> None:
    happy, sad, third = make_clips(["1001_IEO_HAP_XX", "1001_IEO_SAD_XX", "1001_IEO_ANG_XX"])
    labelled = replace(
        sad,
        labels=Labels(Emotion.SAD, Emotion.NEUTRAL, Emotion.SAD, Outcome.CONFLICT, Emotion.SAD),
    )
    judged = replace(third, labels=replace(third.labels, congruence=Outcome.FLAT))
    counts = np.array([[0, 0, 0, 3, 1, 0]])  # A D F H N S
    votes = Votes(("1001_IEO_HAP_XX",), counts, counts[:, ::-1], counts)
    targets = make_targets([happy, labelled, judged], PERCEIVED, votes)
    assert targets.face[0, Emotion.HAPPY.position] == 0.75
    assert targets.face[0, Emotion.NEUTRAL.position] == 0.25
    assert targets.voice[0, Emotion.HAPPY.position] == 0
    assert targets.face[1].argmax() == Emotion.NEUTRAL.position
    assert targets.voice[1].argmax() == Emotion.SAD.position
    assert not targets.face[2].any()
    assert targets.conflict.tolist() == [UNKNOWN, 1.0, UNKNOWN]


def test_feature_files_are_read_and_named_by_the_corpora(tmp_path: Path) -> None:
    table = make_table(ravdess_ids(1) + cremad_ids(1))
    path = write_feature_file(tmp_path / "made.npz", table)
    read = read_feature_file(path)
    assert read.clips == table.clips
    for modality, array in read.arrays.items():
        assert array.tokens.dtype == np.float16
        assert array.lengths.tolist() == [1] * len(table)
        assert np.allclose(array.tokens, table.arrays[modality].tokens, atol=0.01)
        assert array.training_corpora is None


def write(path: Path, **columns: object) -> Path:
    np.savez(path, **columns)  # type: ignore[arg-type]
    return path


def test_feature_files_that_are_not(tmp_path: Path) -> None:
    ids, rows = np.array(["1001_IEO_HAP_XX", "1001_IEO_SAD_XX"]), np.zeros((2, 5), np.float32)
    path = tmp_path / "f.npz"
    with pytest.raises(CorpusError, match="no feature file"):
        read_feature_file(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(CorpusError, match="no feature file"):
        read_feature_file(path)
    with pytest.raises(CorpusError, match="no feature file"):
        read_feature_file(write(path, clip_id=np.array([{}], dtype=object), video_768=rows[:1]))
    with pytest.raises(CorpusError, match="has no column video_768 or audio_1024"):
        read_feature_file(write(path, clip_id=ids, video=rows))
    with pytest.raises(CorpusError, match="for 2 clips"):
        read_feature_file(write(path, clip_id=ids, video_768=rows[:1]))
    with pytest.raises(CorpusError, match="none of its 1 clip ids"):
        read_feature_file(write(path, clip_id=np.array(["holiday"]), video_768=rows[:1]))
    with pytest.raises(CorpusError, match="occurs twice"):
        read_feature_file(write(path, clip_id=ids[[0, 0]], video_768=rows))
    rows[1, 2] = np.inf
    with pytest.raises(CorpusError, match="video_768 of '1001_IEO_SAD_XX' has numbers"):
        read_feature_file(write(path, clip_id=ids, video_768=rows))


def test_a_row_of_nan_says_that_the_channel_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.ones((2, 5), np.float32)
    rows[0] = np.nan
    ids = np.array(["1001_IEO_HAP_XX", "1064_TIE_SAD_XX", "1001_IEO_SAD_XX"])
    table = read_feature_file(
        write(
            tmp_path / "f.npz", clip_id=ids, video_768=rows[[0, 1, 1]], audio_1024=rows[[1, 1, 0]]
        )
    )
    assert "1064_TIE_SAD_XX is left out" in caplog.text
    assert len(table) == 2
    assert table.arrays[Modality.VIDEO].lengths.tolist() == [0, 1]
    assert table.arrays[Modality.AUDIO].lengths.tolist() == [1, 0]
    assert np.isfinite(table.arrays[Modality.VIDEO].tokens).all()


def test_ids_of_clips_and_of_files_are_the_same_clips() -> None:
    for key in ("03-01-06-01-02-01-12", "01-01-06-01-02-01-12", "ravdess/01-06-01-02-01-12"):
        clip = parse_clip_id(key)
        assert not isinstance(clip, str) and clip.clip_id == "ravdess/01-06-01-02-01-12"
    assert parse_clip_id("1064_TIE_SAD_XX") == "called broken by the corpus itself"
    assert isinstance(parse_clip_id("holiday"), str)


def test_tokens_are_padded_and_checked() -> None:
    rows = [np.ones((2, 4), np.float16), None, np.ones(4, np.float16)]
    array = stack_tokens(rows, 4, "x@1")
    assert array.tokens.shape == (3, 2, 4) and array.tokens.dtype == np.float16
    assert array.mask.tolist() == [[True, True], [False, False], [True, False]]
    with pytest.raises(CorpusError, match=r"not \(T, 5\)"):
        stack_tokens(rows, 5, "x@1")
