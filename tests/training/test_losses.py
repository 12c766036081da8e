"""The loss says what the labels say and no more; checked against plain sums in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facevoice.models.fusion import Logits
from facevoice.records import Emotion
from facevoice.training.config import LossSettings
from facevoice.training.losses import (
    BatchTargets,
    conflict_loss,
    emotion_loss,
    head_losses,
    total_loss,
)

EIGHT = np.ones(8, dtype=bool)
SIX = np.array([e not in (Emotion.CALM, Emotion.SURPRISED) for e in Emotion])
NEUTRAL, CALM, HAPPY, SURPRISED = (
    e.position for e in (Emotion.NEUTRAL, Emotion.CALM, Emotion.HAPPY, Emotion.SURPRISED)
)


def loss_of(logits: np.ndarray, shares: np.ndarray, emotions: np.ndarray, smoothing: float = 0.0):
    values = emotion_loss(
        torch.tensor(logits[None]).float(),
        torch.tensor(shares[None]).float(),
        torch.tensor(emotions[None]),
        smoothing,
    )
    return float(values[0])


def one_hot(position: int) -> np.ndarray:
    return np.eye(8)[position]


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=8) * 2


def test_with_all_eight_emotions_it_is_cross_entropy(logits: np.ndarray) -> None:
    probs = np.exp(logits) / np.exp(logits).sum()
    for position in range(8):
        expected = -np.log(probs[position])
        assert loss_of(logits, one_hot(position), EIGHT) == pytest.approx(expected, rel=1e-5)


def test_neutral_in_a_corpus_without_calm_means_neutral_or_calm(logits: np.ndarray) -> None:
    possible = SIX.copy()
    possible[CALM] = True
    mass = np.exp(logits) * possible
    probs = mass / mass.sum()
    neutral = loss_of(logits, one_hot(NEUTRAL), SIX)
    assert neutral == pytest.approx(-np.log(probs[NEUTRAL] + probs[CALM]), rel=1e-5)
    happy = loss_of(logits, one_hot(HAPPY), SIX)
    assert happy == pytest.approx(-np.log(probs[HAPPY]), rel=1e-5)  # certainly not calm


def test_what_a_corpus_lacks_is_neither_learnt_nor_unlearnt(logits: np.ndarray) -> None:
    leaf = torch.tensor(logits[None]).float().requires_grad_()
    target, six = torch.tensor(one_hot(HAPPY)[None]).float(), torch.tensor(SIX[None])
    emotion_loss(leaf, target, six, 0.1).sum().backward()
    assert leaf.grad[0, SURPRISED] == 0
    assert leaf.grad[0, CALM] != 0


def test_votes_are_shares(logits: np.ndarray) -> None:
    shares = 0.75 * one_hot(HAPPY) + 0.25 * one_hot(NEUTRAL)
    expected = 0.75 * loss_of(logits, one_hot(HAPPY), SIX)
    expected += 0.25 * loss_of(logits, one_hot(NEUTRAL), SIX)
    assert loss_of(logits, shares, SIX) == pytest.approx(expected, rel=1e-5)


def test_smoothing_spreads_over_the_corpus_own_emotions(logits: np.ndarray) -> None:
    every = np.mean([loss_of(logits, one_hot(k), SIX) for k in np.flatnonzero(SIX)])
    expected = 0.9 * loss_of(logits, one_hot(HAPPY), SIX) + 0.1 * every
    assert loss_of(logits, one_hot(HAPPY), SIX, 0.1) == pytest.approx(expected, rel=1e-5)


def test_an_unlabelled_item_costs_nothing(logits: np.ndarray) -> None:
    assert loss_of(logits, np.zeros(8), EIGHT, 0.1) == 0
    assert loss_of(logits, np.zeros(8), SIX, 0.1) == 0


def test_conflict_is_cross_entropy_of_a_probability() -> None:
    logits = torch.tensor([[0.3, 1.1]])
    p = float(logits.softmax(dim=1)[0, 1])
    found = float(conflict_loss(logits, torch.tensor([0.25]))[0])
    assert found == pytest.approx(-0.25 * np.log(p) - 0.75 * np.log(1 - p), rel=1e-5)


def make_targets(batch: int) -> BatchTargets:
    generator = torch.Generator().manual_seed(0)

    def shares() -> torch.Tensor:
        return torch.nn.functional.one_hot(
            torch.randint(0, 8, (batch,), generator=generator), 8
        ).float()

    def weights() -> torch.Tensor:
        return torch.rand(batch, generator=generator) * (torch.arange(batch) % 3 > 0)

    every = torch.ones(batch, 8, dtype=torch.bool)
    return BatchTargets(
        shares(), shares(), shares(), (torch.arange(batch) % 2).float(),
        weights(), weights(), weights(), weights(), every, every,
    )  # fmt: skip


def test_parts_of_a_step_add_up_to_the_whole_step() -> None:
    targets, settings = (
        make_targets(12),
        LossSettings(emotion=1.0, face=0.5, voice=2.0, conflict=3.0),
    )
    generator = torch.Generator().manual_seed(1)
    heads = [torch.randn(12, width, generator=generator) for width in (8, 8, 8, 2)]
    sums = targets.weight_sums()
    whole = total_loss(head_losses(Logits(*heads), targets, 0.1), sums, settings)
    parts = [
        total_loss(
            head_losses(Logits(*(h[rows] for h in heads)), targets.take(rows), 0.1), sums, settings
        )
        for rows in (slice(0, 5), slice(5, 12))
    ]
    assert float(sum(parts)) == pytest.approx(float(whole), rel=1e-5)


def test_items_that_do_not_count_and_heads_that_are_not_there() -> None:
    targets, generator = make_targets(6), torch.Generator().manual_seed(1)
    emotion = torch.randn(6, 8, generator=generator)
    found = head_losses(Logits(emotion, None, None, None), targets, 0.0)
    assert set(found) == {"emotion"}
    nobody = targets.counted(torch.zeros(6, dtype=torch.bool))
    assert float(head_losses(Logits(emotion, None, None, None), nobody, 0.0)["emotion"]) == 0
    assert nobody.weight_sums() == dict.fromkeys(("emotion", "face", "voice", "conflict"), 0.0)
    assert (
        float(total_loss({"emotion": torch.zeros(())}, nobody.weight_sums(), LossSettings())) == 0
    )
