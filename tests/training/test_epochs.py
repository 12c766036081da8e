"""What a step presents follows from seed, epoch and step alone."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.records import Emotion, Modality
from facevoice.training.config import LossSettings
from facevoice.training.data import Items, TrainingData, original_items, prepare_data
from facevoice.training.loop import Epoch, TargetTable, plan_epoch, rank_rows, some
from training_builders import make_table, quick_config

BOTH = tuple(Modality)


def make_pairs(size: int, first: int = 100) -> Items:
    rows = np.arange(first, first + size)
    conflict = (rows % 2).astype(np.float32)
    return Items(rows, rows + 1000, conflict == 0, conflict)


def plan(epoch: int = 0, *, seed: int = 0, ratio: float = 1.0, dropout: float = 0.5) -> Epoch:
    return plan_epoch(
        original_items(np.arange(30)),
        [make_pairs(40), make_pairs(20, 200)],
        ratio=ratio,
        modality_dropout=dropout,
        modalities=BOTH,
        seed=seed,
        epoch=epoch,
    )


def items_of(plan: Epoch) -> list[tuple[int, int]]:
    return list(zip(plan.items.face_rows.tolist(), plan.items.voice_rows.tolist(), strict=True))


def test_the_same_seed_and_epoch_give_the_same_items() -> None:
    first, second = plan(3), plan(3)
    assert items_of(first) == items_of(second)
    for modality in Modality:
        assert np.array_equal(first.dropped[modality], second.dropped[modality])
    assert items_of(plan(3, seed=1)) != items_of(first)
    assert items_of(plan(4)) != items_of(first)


def test_an_epoch_has_every_clip_once_and_the_wanted_number_of_pairs() -> None:
    found = items_of(plan(ratio=1.0))
    assert sorted(face for face, voice in found if face == voice) == list(range(30))
    pairs = [face for face, voice in found if face != voice]
    assert len([face for face in pairs if face < 200]) == 20
    assert len([face for face in pairs if face >= 200]) == 10
    assert len(items_of(plan(ratio=0.0))) == 30
    assert len(items_of(plan(ratio=99.0))) == 90


def test_epochs_go_through_all_pairs_before_any_comes_twice() -> None:
    seen = [face for epoch in range(2) for face, voice in items_of(plan(epoch)) if face != voice]
    assert sorted(seen) == [*range(100, 140), *range(200, 220)]
    third = [face for face, voice in items_of(plan(2)) if face != voice]
    assert len(set(third)) == 30


def test_an_item_loses_at_most_one_channel() -> None:
    found = plan(dropout=0.9)
    both = found.dropped[Modality.VIDEO] & found.dropped[Modality.AUDIO]
    assert not both.any()
    assert found.dropped[Modality.VIDEO].sum() > 5
    assert found.dropped[Modality.AUDIO].sum() > 5
    assert not any(drops.any() for drops in plan(dropout=0.0).dropped.values())


def test_steps_cut_the_epoch_without_gap_or_overlap() -> None:
    whole = plan()
    assert whole.num_steps(8) == 8
    joined = [item for step in range(8) for item in items_of(whole.step(step, 8))]
    assert joined == items_of(whole)
    assert len(whole.step(7, 8)) == 4


@pytest.mark.parametrize(("size", "parts"), [(10, 3), (8, 2), (1, 4), (5, 5)])
def test_parts_of_a_step_count_every_item_once_and_are_alike_long(size: int, parts: int) -> None:
    cuts = [rank_rows(size, part, parts) for part in range(parts)]
    counted = np.concatenate([places[counts] for places, counts in cuts])
    assert sorted(counted.tolist()) == list(range(size))
    assert len({len(places) for places, _ in cuts}) == 1
    assert all(0 <= places.min() <= places.max() < size for places, _ in cuts)


def test_validation_takes_the_same_pairs_each_time() -> None:
    pairs = make_pairs(40)
    assert len(some(pairs, 100)) == 40
    first, second = some(pairs, 15), some(pairs, 15)
    assert np.array_equal(first.face_rows, second.face_rows)
    assert len(set(first.face_rows.tolist())) == 15


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return prepare_data(make_table(), quick_config())


def target_table(data: TrainingData, settings: LossSettings | None = None) -> TargetTable:
    return TargetTable.build(
        data.targets, data.rows("train"), data.present(), settings or LossSettings()
    )


def test_emotions_of_a_corpus_count_alike(data: TrainingData) -> None:
    rows = data.rows("train")
    batch = target_table(data).gather(Epoch.whole(original_items(rows)))
    labels = batch.emotion.numpy().argmax(axis=1)
    weights = batch.emotion_weight.numpy()
    ravdess = data.targets.corpora[rows] == "ravdess"
    for corpus in (ravdess, ~ravdess):
        mass = [weights[corpus & (labels == k)].sum() for k in np.unique(labels[corpus])]
        assert np.allclose(mass, mass[0], rtol=1e-4)
    assert weights.mean() == pytest.approx(1.0, rel=1e-4)
    plain = target_table(data, LossSettings(class_weights="none", corpus_power=0.0))
    flat = plain.gather(Epoch.whole(original_items(rows))).emotion_weight.numpy()
    assert flat[ravdess].sum() == pytest.approx(flat[~ravdess].sum(), rel=1e-4)
    assert len(np.unique(flat[ravdess])) == 1


def test_what_a_head_is_asked(data: TrainingData) -> None:
    (ravdess, *_) = data.pair_items("train")
    drops = np.zeros(len(ravdess), dtype=np.bool_)
    drops[:4] = True
    epoch = Epoch(ravdess, {Modality.VIDEO: drops, Modality.AUDIO: np.zeros_like(drops)})
    batch = target_table(data).gather(epoch)
    conflict = ravdess.conflict == 1
    assert np.array_equal(batch.emotion_weight.numpy() == 0, conflict)
    assert np.array_equal(batch.face_weight.numpy() == 0, drops)
    assert (batch.voice_weight.numpy() > 0).all()
    assert np.array_equal(batch.conflict_weight.numpy() == 0, drops)
    clips = data.table.clips
    for place in (0, 5, len(ravdess) - 1):
        face, voice = clips[ravdess.face_rows[place]], clips[ravdess.voice_rows[place]]
        assert Emotion.HAPPY in Emotion
        assert batch.face[place].argmax() == face.labels.intended.position
        assert batch.voice[place].argmax() == voice.labels.intended.position


def test_a_clip_without_sound_is_never_asked_for_its_voice(data: TrainingData) -> None:
    present = {**data.present()}
    silent = present[Modality.AUDIO].copy()
    silent[data.rows("train")[:3]] = False
    present[Modality.AUDIO] = silent
    table = TargetTable.build(data.targets, data.rows("train"), present, LossSettings())
    batch = table.gather(Epoch.whole(original_items(data.rows("train")[:5])))
    assert (batch.voice_weight.numpy() == 0).tolist() == [True] * 3 + [False] * 2
    assert (batch.emotion_weight.numpy() > 0).all()
