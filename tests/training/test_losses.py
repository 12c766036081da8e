"""The loss says what the labels say and no more; checked against plain sums in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facevoice.models.fusion import Logits
from facevoice.records import Emotion, Modality
from facevoice.training.config import LossSettings
from facevoice.training.data import TrainingData, prepare_data
from facevoice.training.losses import (
    HeadTargets,
    TargetTable,
    conflict_loss,
    emotion_loss,
    head_losses,
    total_loss,
    weight_sums,
)
from training_builders import make_table, quick_config

EIGHT = np.ones(8, dtype=bool)
SIX = np.array([e not in (Emotion.CALM, Emotion.SURPRISED) for e in Emotion])
NEUTRAL, CALM, HAPPY, SURPRISED = (
    e.position for e in (Emotion.NEUTRAL, Emotion.CALM, Emotion.HAPPY, Emotion.SURPRISED)
)


def loss_of(logits: np.ndarray, shares: np.ndarray, emotions: np.ndarray, smoothing: float = 0.0):
    rows = (torch.tensor(logits[None]).float(), torch.tensor(shares[None]).float())
    return float(emotion_loss(*rows, torch.tensor(emotions[None]), smoothing)[0])


def one_hot(position: int) -> np.ndarray:
    return np.eye(8)[position]


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(size=8) * 2


def test_emotions_are_told_apart_as_far_as_the_corpus_does(logits: np.ndarray) -> None:
    probs = np.exp(logits) / np.exp(logits).sum()
    for position in range(8):
        expected = -np.log(probs[position])
        assert loss_of(logits, one_hot(position), EIGHT) == pytest.approx(expected, rel=1e-5)
    # Neutral in a corpus without calm means neutral or calm; other emotions are not calm.
    possible = SIX.copy()
    possible[CALM] = True
    mass = np.exp(logits) * possible
    probs = mass / mass.sum()
    neutral = loss_of(logits, one_hot(NEUTRAL), SIX)
    assert neutral == pytest.approx(-np.log(probs[NEUTRAL] + probs[CALM]), rel=1e-5)
    happy = loss_of(logits, one_hot(HAPPY), SIX)
    assert happy == pytest.approx(-np.log(probs[HAPPY]), rel=1e-5)
    # What it lacks is neither learnt nor unlearnt.
    leaf = torch.tensor(logits[None]).float().requires_grad_()
    target, six = torch.tensor(one_hot(HAPPY)[None]).float(), torch.tensor(SIX[None])
    emotion_loss(leaf, target, six, 0.1).sum().backward()
    assert leaf.grad[0, SURPRISED] == 0
    assert leaf.grad[0, CALM] != 0


def test_shares_smoothing_and_nothing(logits: np.ndarray) -> None:
    shares = 0.75 * one_hot(HAPPY) + 0.25 * one_hot(NEUTRAL)
    expected = 0.75 * loss_of(logits, one_hot(HAPPY), SIX)
    expected += 0.25 * loss_of(logits, one_hot(NEUTRAL), SIX)
    assert loss_of(logits, shares, SIX) == pytest.approx(expected, rel=1e-5)
    every = np.mean([loss_of(logits, one_hot(k), SIX) for k in np.flatnonzero(SIX)])
    expected = 0.9 * loss_of(logits, one_hot(HAPPY), SIX) + 0.1 * every
    assert loss_of(logits, one_hot(HAPPY), SIX, 0.1) == pytest.approx(expected, rel=1e-5)
    assert loss_of(logits, np.zeros(8), EIGHT, 0.1) == 0


def test_conflict_is_cross_entropy_of_a_probability() -> None:
    logits = torch.tensor([[0.3, 1.1]])
    p = float(logits.softmax(dim=1)[0, 1])
    found = float(conflict_loss(logits, torch.tensor([0.25]))[0])
    assert found == pytest.approx(-0.25 * np.log(p) - 0.75 * np.log(1 - p), rel=1e-5)


def make_targets(batch: int) -> dict[str, HeadTargets]:
    generator = torch.Generator().manual_seed(0)
    every = torch.ones(batch, 8, dtype=torch.bool)
    found = {}
    for head in ("emotion", "face", "voice", "conflict"):
        labels = torch.randint(0, 8, (batch,), generator=generator)
        wanted = torch.nn.functional.one_hot(labels, 8).float()
        weight = torch.rand(batch, generator=generator) * (torch.arange(batch) % 3 > 0)
        found[head] = HeadTargets(labels % 2 if head == "conflict" else wanted, weight, every)
    return found


def test_parts_of_a_step_add_up_to_the_whole_step() -> None:
    targets, settings = make_targets(12), LossSettings(face=0.5, voice=2.0, conflict=3.0)
    generator = torch.Generator().manual_seed(1)
    heads = [torch.randn(12, width, generator=generator) for width in (8, 8, 8, 2)]
    sums = weight_sums(targets)
    whole = total_loss(head_losses(Logits(*heads), targets, 0.1), sums, settings)
    total = 0.0
    for first in (0, 5):
        # The second part has two items of the first again, which don't count.
        rows = torch.arange(first, first + 7)
        counts = (rows > 6) if first else torch.ones(7, dtype=torch.bool)
        part = {h: t.take(rows, counts, torch.device("cpu")) for h, t in targets.items()}
        said = Logits(*(head[rows] for head in heads))
        total += float(total_loss(head_losses(said, part, 0.1), sums, settings))
    assert total == pytest.approx(float(whole), rel=1e-5)


def test_heads_that_are_not_there_and_items_that_say_nothing() -> None:
    emotion = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    targets = make_targets(6)
    assert set(head_losses(Logits(emotion, None, None, None), targets, 0.0)) == {"emotion"}
    nobody = {h: t._replace(weight=torch.zeros(6)) for h, t in targets.items()}
    sums = head_losses(Logits(emotion, None, None, None), nobody, 0.0)
    assert float(total_loss(sums, weight_sums(nobody), LossSettings())) == 0


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return prepare_data(make_table(), quick_config())


def target_table(data: TrainingData, settings: LossSettings | None = None) -> TargetTable:
    return TargetTable(data.table, data.targets, data.rows("train"), settings or LossSettings())


def test_emotions_of_a_corpus_count_alike(data: TrainingData) -> None:
    rows = data.rows("train")
    wanted, weight, _ = target_table(data).gather(data.originals("train"))["emotion"]
    labels, weights = wanted.numpy().argmax(axis=1), weight.numpy()
    ravdess = data.targets.corpora[rows] == "ravdess"
    for corpus in (ravdess, ~ravdess):
        mass = [weights[corpus & (labels == k)].sum() for k in np.unique(labels[corpus])]
        assert np.allclose(mass, mass[0], rtol=1e-4)
    assert weights.mean() == pytest.approx(1.0, rel=1e-4)
    plain = target_table(data, LossSettings(class_weights="none", corpus_power=0.0))
    flat = plain.gather(data.originals("train"))["emotion"].weight.numpy()
    assert flat[ravdess].sum() == pytest.approx(flat[~ravdess].sum(), rel=1e-4)
    assert len(np.unique(flat[ravdess])) == 1


def test_what_a_head_is_asked(data: TrainingData) -> None:
    (ravdess, *_) = data.pair_items("train")
    ravdess.hides_face[:4] = True
    silent = target_table(data)
    silent.heard[ravdess.voice_rows[9]] = False
    found = silent.gather(ravdess)
    conflict, hidden = ravdess.conflict == 1, ravdess.hides_face
    unheard = ~silent.heard[ravdess.voice_rows]
    assert data.table.present(Modality.AUDIO).all()
    assert np.array_equal(found["emotion"].weight.numpy() == 0, conflict | (hidden & unheard))
    assert np.array_equal(found["face"].weight.numpy() == 0, hidden)
    assert np.array_equal(found["voice"].weight.numpy() == 0, unheard)
    assert np.array_equal(found["conflict"].weight.numpy() == 0, hidden | unheard)
    clips = data.table.clips
    for place in (0, 5, len(ravdess) - 1):
        face, voice = clips[ravdess.face_rows[place]], clips[ravdess.voice_rows[place]]
        assert found["face"].wanted[place].argmax() == face.labels.intended.position
        assert found["voice"].wanted[place].argmax() == voice.labels.intended.position
