"""What a step presents follows from seed, epoch and step alone."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.training.data import UNKNOWN, Items
from facevoice.training.loop import part_rows, plan_epoch
from training_builders import quick_config


def make_pairs(size: int, first: int = 100) -> Items:
    rows = np.arange(first, first + size)
    conflict = (rows % 2).astype(np.float32)
    return Items.of(rows, rows + 1000, conflict == 0, conflict)


def plan(epoch: int = 0, *changes: str) -> Items:
    config = quick_config("loss.modality_dropout=0.5", *changes)
    pairs = [make_pairs(40), make_pairs(20, 200)]
    rows = np.arange(30)
    originals = Items.of(rows, rows, rows >= 0, np.full(30, UNKNOWN, np.float32))
    return plan_epoch(originals, pairs, config, epoch)


def rows_of(items: Items) -> list[tuple[int, int]]:
    return list(zip(items.face_rows.tolist(), items.voice_rows.tolist(), strict=True))


def test_the_same_seed_and_epoch_give_the_same_items() -> None:
    first, second = plan(3), plan(3)
    assert rows_of(first) == rows_of(second)
    assert np.array_equal(first.hides_face, second.hides_face)
    assert rows_of(plan(3, "run.seed=1")) != rows_of(first)
    assert rows_of(plan(4)) != rows_of(first)


def test_an_epoch_has_every_clip_once_and_the_wanted_number_of_pairs() -> None:
    found = rows_of(plan())
    assert sorted(face for face, voice in found if face == voice) == list(range(30))
    pairs = [face for face, voice in found if face != voice]
    assert len([face for face in pairs if face < 200]) == 20
    assert len([face for face in pairs if face >= 200]) == 10
    assert len(set(pairs)) == 30
    assert {face for face, _ in rows_of(plan(1))} != {face for face, _ in found}
    assert len(plan(0, "pairs.ratio=0")) == 30
    assert len(plan(0, "pairs.ratio=99")) == 90


def test_an_item_loses_at_most_one_channel() -> None:
    found = plan(0, "loss.modality_dropout=0.9")
    assert not (found.hides_face & found.hides_voice).any()
    assert found.hides_face.sum() > 5
    assert found.hides_voice.sum() > 5
    for changes in ("loss.modality_dropout=0", "network.modalities=['video']"):
        whole = plan(0, changes)
        assert not (whole.hides_face | whole.hides_voice).any()


@pytest.mark.parametrize(("size", "parts"), [(10, 3), (8, 2), (1, 4), (5, 5)])
def test_parts_of_a_step_count_every_item_once_and_are_alike_long(size: int, parts: int) -> None:
    cuts = [part_rows(size, part, parts) for part in range(parts)]
    counted = np.concatenate([places[counts] for places, counts in cuts])
    assert sorted(counted.tolist()) == list(range(size))
    assert len({len(places) for places, _ in cuts}) == 1
    assert all(0 <= places.min() <= places.max() < size for places, _ in cuts)
