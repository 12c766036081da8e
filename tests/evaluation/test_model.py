"""A model on a table of clips: predictions by `interpret`, and what its training makes void."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echo import EchoModel
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.pairs import PAIR_PLANS, make_pairs
from facevoice.errors import ConfigError, EvaluationError
from facevoice.evaluation.model import (
    find_seen_speakers,
    held_out_clips,
    load_tested,
    plan_pairs,
    predict_conflicts,
    predict_emotions,
)
from facevoice.interpret import join
from facevoice.models.checkpoint import DataRecord, PartRecord
from facevoice.records import (
    AudioInfo,
    Emotion,
    FaceView,
    MediaInfo,
    Modality,
    Perception,
    VideoInfo,
    WindowView,
)
from facevoice.settings import AnalyzerConfig

TAKES = (1, 2, 3)
ACTED = (Emotion.NEUTRAL, Emotion.SAD, Emotion.HAPPY, Emotion.ANGRY)
MEDIA = MediaInfo(
    Path("a"), 3.0, VideoInfo(9, 9, 25.0, 0.0, 0, "h264"), AudioInfo(16_000, 1, 0.0, "opus")
)


def make_clip(speaker: str, emotion: Emotion, take: int, seconds: float = 3.0) -> Clip:
    name = f"{speaker}-01-{emotion.position:02d}_{take:02d}"
    return Clip(
        clip_id=f"javanese/{name}",
        corpus="javanese",
        speaker=speaker,
        sentence="01",
        take=take,
        video_path=Path(f"{name}.mp4") if take == 1 else None,
        audio_path=Path(f"{name}.ogg"),
        duration_s=seconds,
        labels=Labels(intended=emotion),
    )


class Reader:
    """What `ClipReader` gives, with the intended emotion for an embedding."""

    def __init__(self, coverage: float = 0.9, num_faces: int = 1, num_voices: int = 1) -> None:
        self._coverage = coverage
        self._num = {Modality.VIDEO: num_faces, Modality.AUDIO: num_voices}

    def channel(
        self, clip: Clip, modality: Modality, limit_s: float | None = None
    ) -> Perception | None:
        is_video = modality is Modality.VIDEO
        if is_video and clip.video_path is None:
            return None
        row = np.full(8, 0.02, np.float32)
        row[clip.labels.intended.position] = 1 - 7 * 0.02
        views = tuple(
            WindowView(
                2.0 * n,
                2.0 * n + 3,
                (FaceView(0, self._coverage, row),) if is_video else (),
                None if is_video else row,
                0.0 if is_video else self._coverage,
            )
            for n in range(self._num[modality])
        )
        return Perception(MEDIA, "c" * 64, AnalyzerConfig(), {}, views)

    def perception(self, clip: Clip) -> Perception | None:
        face = self.channel(clip, Modality.VIDEO)
        voice = self.channel(clip, Modality.AUDIO)
        return voice if face is None else join(face, voice)


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(s, e, t) for s in ("01", "02") for e in ACTED for t in TAKES]


def probs(table, channel):
    return table[[f"{channel}_{e.value}" for e in Emotion]].to_numpy()


def test_every_clip_gets_the_posterior_of_each_channel_that_it_has(clips):
    table = predict_emotions(clips, Reader(), EchoModel())
    assert len(table) == len(clips)
    filmed = np.array([clip.video_path is not None for clip in clips])
    assert np.isfinite(probs(table, "face")).all(axis=1).tolist() == filmed.tolist()
    assert np.isfinite(probs(table, "voice")).all()
    heard = probs(table, "voice").argmax(axis=1)
    assert heard.tolist() == [clip.labels.intended.position for clip in clips]


def test_conflicts_score_above_matches_and_carry_the_threshold(clips):
    pairs = make_pairs(clips, replace(PAIR_PLANS["javanese"], voice_takes=frozenset({2, 3})))
    table = predict_conflicts(clips, pairs, {}, Reader(), EchoModel())
    assert table is not None
    assert len(table) == len(pairs)
    is_conflict = table.kind == "conflict"
    assert table.score[is_conflict].min() > table.score[~is_conflict].max()
    assert (table.baseline_differs.astype(bool) == is_conflict).all()
    assert (table.threshold == 0.7).all()


def test_a_channel_seen_too_seldom_gives_no_answer(clips):
    poor = Reader(coverage=0.1)
    with pytest.raises(EvaluationError, match="no channel has posteriors"):
        predict_emotions(clips, poor, EchoModel())
    pairs = make_pairs(clips, PAIR_PLANS["javanese"])
    assert predict_conflicts(clips, pairs, {}, poor, EchoModel()) is None


def test_a_voice_that_ends_sooner_is_compared_where_both_are(clips):
    pairs = make_pairs(clips, PAIR_PLANS["javanese"])
    short = predict_conflicts(clips, pairs, {}, Reader(num_faces=3), EchoModel())
    alike = predict_conflicts(clips, pairs, {}, Reader(), EchoModel())
    assert short.score.tolist() == alike.score.tolist()


def test_nothing_stored_is_an_error(clips):
    class Empty:
        def perception(self, _: Clip) -> None:
            return None

    with pytest.raises(EvaluationError, match="extract them first"):
        predict_emotions(clips, Empty(), EchoModel())


def test_pairs_are_planned_with_one_length_for_a_sentence(clips, make_shared_clip):
    long = make_shared_clip("long.wav", video=False, duration_s=3.0)
    short = make_shared_clip("short.wav", video=False, duration_s=1.5)
    clips = [replace(clip, audio_path=long) for clip in clips]
    clips[3] = replace(clips[3], audio_path=short, duration_s=1.5)
    pairs, limits_s = plan_pairs(clips)
    assert {pair.kind.value for pair in pairs} == {"match", "conflict", "original"}
    same = {limits_s[c.clip_id] for c in clips if c.speaker == clips[3].speaker}
    assert len(same) == 1
    assert same.pop() <= 1.5
    assert plan_pairs([replace(c, video_path=None) for c in clips]) == ((), {})


def test_the_package_says_what_it_learnt_from():
    tested = load_tested(None, [])
    assert tested.sources == {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
    seen = {corpus for used in tested.trained_on for corpus in used.training_corpora or ()}
    assert {"ravdess", "javanese", "emodb", "fer2013"} <= seen
    alone = load_tested(None, [], frozenset({Modality.AUDIO}))
    assert set(alone.backbones) == {Modality.AUDIO}
    assert "fer2013" not in {c for u in alone.trained_on[:-1] for c in u.training_corpora or ()}


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


def test_a_checkpoint_says_whose_speakers_it_knows(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from full_models import CURVE, write_compact_model

    checkpoint = write_compact_model(tmp_path / "both")
    tested = load_tested(checkpoint, [clip("javanese", "99")])
    assert tested.sources == {Modality.VIDEO: "compact-face", Modality.AUDIO: "compact-voice"}
    assert tested.model.curve == CURVE
    assert tested.words == "javanese: speakers held out of training (1 tested)"
    heads = tested.trained_on[-1]
    assert heads.training_corpora == ()
    assert "trained on other speakers of javanese" in heads.name
    assert tested.trained_on[0].training_corpora == ("fer2013",)
    video = write_compact_model(tmp_path / "video", modalities=(Modality.VIDEO,))
    with pytest.raises(ConfigError, match="reads video only"):
        load_tested(video, [], frozenset({Modality.AUDIO}))
