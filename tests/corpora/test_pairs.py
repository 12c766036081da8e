"""Nothing but emotion may tell conflicts from matches."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facevoice.corpora.archive import corpus_root
from facevoice.corpora.gather import create_corpus
from facevoice.corpora.manifest import Clip, Labels
from facevoice.corpora.pairs import (
    PAIR_PLANS,
    Pair,
    PairBin,
    PairKind,
    PairPlan,
    TimedPair,
    common_lengths,
    find_plan,
    lengths_by_clip,
    make_pairs,
    original_pairs,
    pair_clips,
    pair_manifest,
    spoken_lengths,
    write_pairs,
)
from facevoice.corpora.splits import sentence_disjoint, speaker_folds
from facevoice.errors import ConfigError, CorpusError
from facevoice.evaluation.metrics import auroc
from facevoice.records import EMOTIONS, Emotion
from pair_checks import check_pairs
from spoken_clips import SPEAKERS, make_spoken_clips

SIX = (
    Emotion.NEUTRAL,
    Emotion.SAD,
    Emotion.HAPPY,
    Emotion.SURPRISED,
    Emotion.FEARFUL,
    Emotion.ANGRY,
)


def make_clip(
    speaker: int, sentence: int, emotion: Emotion, take: int, intensity: str | None = None
) -> Clip:
    name = f"{speaker:02d}-{sentence:02d}-{emotion}-{intensity}_{take:02d}"
    path = Path(name)
    return Clip(
        clip_id=f"fake/{name}",
        corpus="fake",
        speaker=f"{speaker:02d}",
        sentence=f"{sentence:02d}",
        take=take,
        video_path=path,
        audio_path=path,
        intensity=intensity,
        labels=Labels(intended=emotion),
    )


def make_javanese(num_speakers: int = 3, num_sentences: int = 2) -> list[Clip]:
    clips = [
        make_clip(speaker, sentence, emotion, take)
        for speaker in range(num_speakers)
        for sentence in range(num_sentences)
        for emotion in SIX
        for take in range(1, 8)
    ]
    return [clip if clip.take == 1 else replace(clip, video_path=None) for clip in clips]


def make_holes(seed: int, kept: float, filed: float, num_speakers: int = 2) -> list[Clip]:
    """A corpus with holes of every kind: cells, takes, intensities and files missing at random."""
    rng = np.random.default_rng(seed)
    clips = [
        make_clip(speaker, sentence, emotion, take, intensity)
        for speaker in range(1, num_speakers + 1)
        for sentence in (1, 2)
        for emotion in EMOTIONS
        for take in (1, 2, 3)
        for intensity in (None, "normal", "strong")
        if rng.random() < kept
    ]
    return [
        replace(
            clip,
            video_path=clip.video_path if rng.random() < filed else None,
            audio_path=clip.audio_path if rng.random() < filed else None,
        )
        for clip in clips
    ]


any_clips = st.builds(
    make_holes,
    seed=st.integers(0, 10_000),
    kept=st.sampled_from([0.1, 0.5, 0.9]),
    filed=st.sampled_from([0.5, 0.9, 1.0]),
)
any_plan = st.builds(
    PairPlan,
    face_takes=st.sampled_from([None, frozenset({1}), frozenset({1, 2})]),
    voice_takes=st.sampled_from([None, frozenset({2, 3})]),
    same_sentence=st.booleans(),
    same_intensity=st.booleans(),
    voices_per_face=st.sampled_from([None, 1, 2]),
)


@settings(max_examples=40, deadline=None)
@given(clips=any_clips, plan=any_plan, seed=st.integers(0, 99))
def test_one_rule_for_both_classes_whatever_the_corpus(
    clips: list[Clip], plan: PairPlan, seed: int
) -> None:
    try:
        pairs = make_pairs(clips, plan, seed)
    except CorpusError as error:
        assert "no pair can be made" in str(error)
        return
    assert len({pair.pair_id for pair in pairs}) == len(pairs)
    check_pairs(pairs, clips, plan)
    # Whatever looks at one channel alone, or at how cells meet, is blind.
    by_id = {clip.clip_id: clip for clip in clips}
    rng = np.random.default_rng(seed)
    value = dict(zip(by_id, rng.normal(size=len(by_id)), strict=True))
    conflict = [pair.is_conflict for pair in pairs]
    assert auroc(conflict, [value[pair.face_clip_id] for pair in pairs]) == pytest.approx(0.5)
    assert auroc(conflict, [value[pair.voice_clip_id] for pair in pairs]) == pytest.approx(0.5)

    def meetings(kind: PairKind) -> Counter[object]:
        met = [(by_id[p.face_clip_id], by_id[p.voice_clip_id]) for p in pairs if p.kind is kind]
        return Counter(
            (f.speaker, f.sentence, f.take, f.intensity, v.sentence, v.take, v.intensity)
            for f, v in met
        )

    assert meetings(PairKind.MATCH) == meetings(PairKind.CONFLICT)
    # Pairs don't hang on the order of clips, or on other speakers.
    assert make_pairs(list(reversed(clips)), plan, seed) == pairs
    speaker = pairs[0].speaker
    alone = make_pairs([clip for clip in clips if clip.speaker_key == speaker], plan, seed)
    assert alone == tuple(pair for pair in pairs if pair.speaker == speaker)


@pytest.mark.parametrize(
    ("face", "voice", "expected"),
    [
        (Emotion.NEUTRAL, Emotion.HAPPY, PairBin.NEUTRAL_VS_X),
        (Emotion.SAD, Emotion.CALM, PairBin.NEUTRAL_VS_X),
        (Emotion.HAPPY, Emotion.CALM, PairBin.NEUTRAL_VS_X),
        (Emotion.HAPPY, Emotion.ANGRY, PairBin.OPPOSITE_VALENCE),
        (Emotion.DISGUST, Emotion.HAPPY, PairBin.OPPOSITE_VALENCE),
        (Emotion.SAD, Emotion.ANGRY, PairBin.SAME_VALENCE),
        (Emotion.HAPPY, Emotion.SURPRISED, PairBin.SAME_VALENCE),
        (Emotion.SURPRISED, Emotion.FEARFUL, PairBin.SAME_VALENCE),
        (Emotion.SURPRISED, Emotion.NEUTRAL, PairBin.NEUTRAL_VS_X),
        (Emotion.SAD, Emotion.SAD, PairBin.SAME_EMOTION),
    ],
)
def test_bins(face: Emotion, voice: Emotion, expected: PairBin) -> None:
    kind = PairKind.MATCH if face is voice else PairKind.CONFLICT
    assert Pair("a", "b", kind, "s", "", face, voice).bin is expected
    assert Pair("a", "b", kind, "s", "", voice, face).bin is expected


def test_a_full_corpus_gives_all_it_can() -> None:
    clips = make_javanese()
    plan = PAIR_PLANS["javanese"]
    pairs = make_pairs(clips, plan)
    # 36 faces meet 6 takes each, once in a match and once in a conflict.
    assert Counter(pair.kind for pair in pairs) == {PairKind.MATCH: 216, PairKind.CONFLICT: 216}
    emotions = Counter((p.face_emotion, p.voice_emotion) for p in pairs if p.is_conflict)
    assert len(emotions) == 30
    by_face = Counter(pair.face_clip_id for pair in pairs if pair.is_conflict)
    assert set(by_face.values()) == {6}
    few = make_pairs(clips, replace(plan, voices_per_face=2))
    assert Counter(pair.kind for pair in few) == {PairKind.MATCH: 72, PairKind.CONFLICT: 72}
    assert make_pairs(clips, plan, seed=1) != pairs


def test_originals_are_the_faces_with_their_own_sound() -> None:
    clips, plan = make_javanese(), PAIR_PLANS["javanese"]
    originals = original_pairs(clips, plan)
    assert len(originals) == 36
    assert {pair.kind for pair in originals} == {PairKind.ORIGINAL}
    check_pairs(originals, clips, plan)
    with pytest.raises(CorpusError, match="both picture and sound"):
        original_pairs([replace(c, audio_path=None) for c in clips], plan)


@settings(max_examples=20, deadline=None)
@given(
    clips=st.builds(
        make_holes,
        seed=st.integers(0, 10_000),
        kept=st.sampled_from([0.3, 0.9]),
        filed=st.sampled_from([0.7, 1.0]),
        num_speakers=st.integers(4, 6),
    ),
    plan=any_plan,
    num_folds=st.integers(3, 4),
    sentences=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_speaker_take_or_pair_leaks(
    clips: list[Clip], plan: PairPlan, num_folds: int, sentences: bool, seed: int
) -> None:
    assume(len({clip.speaker for clip in clips}) >= 4)
    index = {clip.clip_id: clip for clip in clips}
    tested: list[str] = []
    for fold in speaker_folds(clips, num_folds, seed):
        tested += fold.test
        try:
            narrow = sentences and plan.same_sentence
            split = sentence_disjoint(fold, clips, {"01"}) if narrow else fold
            found = pair_clips(clips, plan, split, seed)
        except CorpusError:
            continue  # a part without clips or pairs is refused, not filled up from another
        for name, ids in split.parts().items():
            pairs = [pair for pair, part in found if part == name]
            assert {key for p in pairs for key in (p.face_clip_id, p.voice_clip_id)} <= set(ids)
            members = [index[key] for key in ids]
            check_pairs(pairs, members, plan)
            made = tuple(pair for pair in pairs if pair.kind is not PairKind.ORIGINAL)
            assert made == (make_pairs(members, plan, seed) if members else ())
    assert sorted(tested) == sorted(index)


@pytest.mark.parametrize("same_sentence", [True, False])
def test_cut_to_common_lengths_all_that_meets_lasts_as_long(same_sentence: bool) -> None:
    rng = np.random.default_rng(0)
    clips = [replace(clip, duration_s=rng.uniform(2, 5)) for clip in make_javanese()]
    plan = replace(PAIR_PLANS["javanese"], same_sentence=same_sentence)
    lengths = common_lengths(clips, plan)
    for pair in make_pairs(clips, plan):
        assert lengths[pair.face_clip_id] == lengths[pair.voice_clip_id]
    assert all(lengths[clip.clip_id] <= clip.duration_s for clip in clips if clip.duration_s)
    assert len(set(lengths.values())) == (6 if same_sentence else 3)
    with pytest.raises(CorpusError, match="duration is not known"):
        common_lengths(make_javanese(), plan)


def test_no_pair_is_an_error() -> None:
    plan = PairPlan()
    with pytest.raises(CorpusError, match="no pair can be made"):
        make_pairs([make_clip(1, 1, Emotion.SAD, 1), make_clip(1, 1, Emotion.SAD, 2)], plan)
    flat = [make_clip(1, 1, e, t) for e in (Emotion.NEUTRAL, Emotion.CALM) for t in (1, 2)]
    with pytest.raises(CorpusError, match="no pair can be made"):
        make_pairs(flat, plan)
    with pytest.raises(CorpusError, match="names no speaker"):
        make_pairs([replace(clip, speaker=None) for clip in make_javanese()], plan)
    with pytest.raises(CorpusError, match="no pair can be made"):
        make_pairs(make_javanese(), replace(PAIR_PLANS["javanese"], voices_per_face=0))


def test_pairs_check_themselves() -> None:
    pairs = make_pairs(make_javanese(), PAIR_PLANS["javanese"])
    conflict = next(pair for pair in pairs if pair.is_conflict)
    match = next(pair for pair in pairs if not pair.is_conflict)
    with pytest.raises(CorpusError, match="kind = match, but face and voice are"):
        replace(conflict, kind=PairKind.MATCH)
    with pytest.raises(CorpusError, match="kind = original, but the clips are"):
        replace(match, kind=PairKind.ORIGINAL)


@pytest.mark.corpora
def test_real_javanese(corpora_dir: Path, tmp_path: Path) -> None:
    root = corpus_root(corpora_dir, "javanese", work=tmp_path)
    clips = tuple(create_corpus("javanese").clips(root))
    pairs = make_pairs(clips, PAIR_PLANS["javanese"])
    check_pairs(pairs, clips, PAIR_PLANS["javanese"])
    assert Counter(pair.kind for pair in pairs) == {PairKind.MATCH: 864, PairKind.CONFLICT: 864}
    assert len(original_pairs(clips, PAIR_PLANS["javanese"])) == 144


def timed(kind: PairKind = PairKind.CONFLICT, number: int = 0, part: str | None = "test"):
    face, voice = f"c/{number}-happy", f"c/{number}-sad"
    if kind is PairKind.ORIGINAL:
        voice = face
    conflict = kind is PairKind.CONFLICT
    pair = Pair(
        face_clip_id=face,
        voice_clip_id=voice,
        kind=kind,
        speaker="c/1",
        sentence="é",
        face_emotion=Emotion.HAPPY,
        voice_emotion=Emotion.SAD if conflict else Emotion.HAPPY,
    )
    return TimedPair(pair, 2.0 + number / 7, part)


PAIRS = (
    timed(),
    timed(PairKind.MATCH, 1, None),
    timed(PairKind.ORIGINAL, 2, "train"),
    timed(number=3, part="validation"),
)


def test_both_tables_hold_the_same_plain_rows(tmp_path):
    for suffix in ("jsonl", "parquet"):
        path = tmp_path / "new" / f"pairs.{suffix}"
        assert write_pairs(PAIRS, path) == 4
    assert sorted(file.name for file in path.parent.iterdir()) == ["pairs.jsonl", "pairs.parquet"]
    rows = read_rows(path.with_suffix(".jsonl"))
    assert pyarrow.parquet.read_table(path).to_pylist() == rows
    assert rows[0] == {
        "pair_id": "conflict:c/0-happy+c/0-sad",
        "kind": "conflict",
        "bin": "opposite_valence",
        "face_clip_id": "c/0-happy",
        "voice_clip_id": "c/0-sad",
        "speaker": "c/1",
        "sentence": "é",
        "face_emotion": "happy",
        "voice_emotion": "sad",
        "length_s": 2.0,
        "part": "test",
    }
    assert [row["part"] for row in rows] == ["test", None, "train", "validation"]
    with pytest.raises(CorpusError, match="ends in"):
        write_pairs(PAIRS, tmp_path / "pairs.csv")


def read_rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lengths_by_clip():
    assert lengths_by_clip(PAIRS)["c/1-sad"] == PAIRS[1].length_s
    longer = TimedPair(timed(PairKind.MATCH).pair, 9.0)
    with pytest.raises(CorpusError, match=r"'c/0-happy' is cut to 2\.0 s and to 9\.0 s"):
        lengths_by_clip([PAIRS[0], longer])


@pytest.fixture(scope="module")
def spoken(make_shared_clip) -> tuple[Clip, ...]:
    return make_spoken_clips(make_shared_clip)


def test_lengths_end_before_anybody_has_finished(spoken, make_clip):
    for length_s in spoken_lengths(spoken, PairPlan(), jobs=2).values():
        assert length_s == pytest.approx(0.9, abs=0.03)
    # A silent clip counts with its duration.
    path = make_clip("silent.mp4", duration_s=1.2, samples="silence")
    silent = replace(spoken[0], video_path=path, audio_path=path, duration_s=1.2)
    assert spoken_lengths([silent], PairPlan()) == {silent.clip_id: 1.2}


def test_pairs_of_a_manifest(spoken):
    steps = []
    made = pair_manifest(spoken, on_progress=lambda *step: steps.append(step))
    kinds = Counter(timed.pair.kind for timed in made.pairs)
    assert kinds == {PairKind.MATCH: 12, PairKind.CONFLICT: 12, PairKind.ORIGINAL: 12}
    assert made.notes == ()
    assert steps[-1] == (12, 12)
    # Each speaker's clips are cut alike.
    assert len({(timed.pair.speaker, timed.length_s) for timed in made.pairs}) == len(SPEAKERS)
    other = [replace(c, clip_id=f"tess/{c.take}", corpus="tess") for c in spoken[:2]]
    more = pair_manifest([*spoken, *other])
    assert more.pairs == made.pairs
    assert more.notes[0].startswith("tess: no pair can be made")
    with pytest.raises(CorpusError, match="tess: no pair can be made"):
        pair_manifest(other)
    with pytest.raises(CorpusError, match="no clips"):
        pair_manifest([])
    with pytest.raises(CorpusError, match=r"data prepare"):
        pair_manifest([replace(clip, duration_s=None) for clip in spoken])


def test_plans_by_name():
    assert find_plan("javanese") == PAIR_PLANS["javanese"]
    assert find_plan("javanese", "default") == find_plan("emodb") == PairPlan()
    assert find_plan("javanese", "cremad") == PAIR_PLANS["cremad"]
    with pytest.raises(ConfigError, match="'nobody'"):
        find_plan("javanese", "nobody")
