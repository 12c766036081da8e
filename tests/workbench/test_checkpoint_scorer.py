"""A checkpoint on stored windows, and whose clips its training makes void."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.compact import FACE_DIM, VOICE_FEATURES
from facevoice.corpora.manifest import Clip
from facevoice.errors import ConfigError
from facevoice.evaluation.model import find_seen_speakers, held_out_clips
from facevoice.models.checkpoint import DataRecord, PartRecord
from facevoice.records import Modality


def clip(corpus: str, speaker: str | None, number: int = 0) -> Clip:
    return Clip(f"{corpus}/{speaker}-{number}", corpus, speaker)


def record(**parts: tuple[str, ...]) -> DataRecord:
    """Trained on javanese and emodb; parts by name, speakers as corpus/speaker."""
    made = {
        name: PartRecord(len(parts.get(name, ())), 0, parts.get(name, ()))
        for name in ("train", "validation", "test")
    }
    return DataRecord(
        corpora=("javanese", "emodb"),
        source="manifest.parquet",
        source_sha256="0",
        features_sha256="0",
        split="fold 0",
        split_sha256="0",
        **made,
    )


TRAINED = record(train=("javanese/01", "emodb/03"), validation=("javanese/02",))


@pytest.mark.parametrize(
    ("clips", "seen", "held_out", "others", "words"),
    [
        (
            [clip("javanese", "01"), clip("javanese", "05")],
            ("javanese",),
            (),
            ("emodb",),
            "javanese: trained or chosen on 1 of 2 tested speakers",
        ),
        (
            [clip("javanese", "02")],
            ("javanese",),
            (),
            ("emodb",),
            "javanese: trained or chosen on 1 of 1 tested speakers",
        ),
        (
            [clip("javanese", "05"), clip("javanese", "05", 1), clip("javanese", "06")],
            (),
            ("javanese",),
            ("emodb",),
            "javanese: speakers held out of training (2 tested)",
        ),
        (
            [clip("javanese", "05"), clip("javanese", None)],
            ("javanese",),
            (),
            ("emodb",),
            "javanese: clips name no speaker, so some may have been trained on",
        ),
        # Speaker 01 of another corpus is another person.
        ([clip("ravdess", "01")], (), (), ("javanese", "emodb"), ""),
    ],
)
def test_figures_are_void_where_a_tested_speaker_was_trained_on(
    clips: list[Clip],
    seen: tuple[str, ...],
    held_out: tuple[str, ...],
    others: tuple[str, ...],
    words: str,
) -> None:
    found = find_seen_speakers(TRAINED, clips)
    assert (found.seen, found.held_out, found.others) == (seen, held_out, others)
    assert found.words == words
    assert found.training_corpora == (*seen, *others)


def test_each_corpus_is_asked_for_itself() -> None:
    found = find_seen_speakers(TRAINED, [clip("javanese", "05"), clip("emodb", "03")])
    assert (found.seen, found.held_out, found.others) == (("emodb",), ("javanese",), ())


def test_clips_of_new_speakers_are_kept() -> None:
    new = [clip("javanese", "05"), clip("ravdess", "01"), clip("fer2013", None)]
    known = [clip("javanese", "01"), clip("javanese", "02"), clip("javanese", None)]
    assert held_out_clips(TRAINED, [*known, *new]) == new


def test_windows_are_scored_with_one_channel_or_both(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from facevoice.evaluation.model import CheckpointScorer
    from full_models import THRESHOLDS, write_compact_model

    checkpoint = write_compact_model(tmp_path / "both")
    scorer = CheckpointScorer(checkpoint, [clip("javanese", "99")])
    assert scorer.sources == {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
    assert scorer.threshold == THRESHOLDS.conflict_above
    assert scorer.words == "javanese: speakers held out of training (1 tested)"
    heads = scorer.trained_on[-1]
    assert heads.training_corpora == ()
    assert "trained on other speakers of javanese" in heads.name
    assert scorer.trained_on[0].training_corpora == ("fer2013",)
    rng = np.random.default_rng(0)
    face = rng.normal(size=(4, FACE_DIM)).astype(np.float32)
    voice = rng.normal(size=(4, VOICE_FEATURES)).astype(np.float32)
    present = np.array([[True, True], [True, False], [False, True], [False, False]])
    said = scorer.score(face, voice, present)
    assert said.face is not None
    assert said.voice is not None
    assert said.fused is not None
    assert said.conflict is not None
    assert np.isfinite(said.face).all(axis=1).tolist() == [True, True, False, False]
    assert np.isfinite(said.voice).all(axis=1).tolist() == [True, False, True, False]
    assert np.isfinite(said.fused).all(axis=1).tolist() == [True, True, True, False]
    assert np.isfinite(said.conflict).tolist() == [True, False, False, False]
    alone = CheckpointScorer(checkpoint, [], frozenset({Modality.AUDIO}))
    assert set(alone.backbones) == {Modality.AUDIO}
    heard = alone.score(None, voice, present)
    assert heard.face is None
    assert heard.conflict is None
    np.testing.assert_allclose(heard.voice, said.voice)
    video = write_compact_model(tmp_path / "video", modalities=(Modality.VIDEO,))
    with pytest.raises(ConfigError, match="reads video only"):
        CheckpointScorer(video, [], frozenset({Modality.AUDIO}))


def test_the_same_numbers_as_the_trainers_own(tmp_path: Path) -> None:
    """Rows of the scorer are those of the network on the same embeddings."""
    pytest.importorskip("torch")
    from facevoice.evaluation.model import CheckpointScorer
    from facevoice.models.checkpoint import load_checkpoint
    from facevoice.models.model import predict
    from facevoice.records import FeatureSet
    from full_models import write_compact_model

    folder = write_compact_model(tmp_path / "both")
    rng = np.random.default_rng(1)
    face = rng.normal(size=(1, FACE_DIM)).astype(np.float32)
    voice = rng.normal(size=(1, VOICE_FEATURES)).astype(np.float32)
    said = CheckpointScorer(folder, []).score(face, voice, np.ones((1, 2), bool))
    checkpoint = load_checkpoint(folder)
    ids = {m: used.backbone for m, used in checkpoint.info.backbones.items()}
    window = FeatureSet(0.0, 1.0, {Modality.VIDEO: face[0], Modality.AUDIO: voice[0]}, ids)
    expected = predict(checkpoint, [window])[0]
    np.testing.assert_array_equal(said.fused[0], expected.fused)
    assert said.conflict[0] == expected.conflict
    changed = replace(window, backbones={**ids, Modality.AUDIO: "other@1"})
    with pytest.raises(Exception, match="other@1"):
        predict(checkpoint, [changed])
