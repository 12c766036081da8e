"""The loss that tunes the voice against the one that fits heads, and what a step may touch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from recipes.fitting import PartialLabels, Samples
from recipes.voice_augment import training_mel, warp
from recipes.voice_net import EMBEDDING_DIM, VoiceNet
from recipes.voice_train import TuneConfig, TunedHead, embed, fit, partial_loss

from facevoice.backbones.compact import voice_mel
from facevoice.corpora.manifest import Clip, Labels
from facevoice.records import EMOTIONS


def test_loss_without_smoothing_is_that_of_the_heads() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 2, 3, 7])
    emotions = np.ones((4, 8), dtype=bool)
    emotions[:2, [1, 6]] = False  # no calm, no disgust
    partial, weights = PartialLabels.of(labels, emotions), rng.uniform(0.5, 2, 4)
    logits = rng.normal(size=(4, 8))
    expected, slope = partial.loss(logits, weights / weights.sum())
    given = torch.tensor(logits, requires_grad=True)
    found = partial_loss(given, partial, torch.tensor(weights), 0.0)
    found.backward()
    assert found.item() == pytest.approx(expected)
    np.testing.assert_allclose(given.grad, slope, atol=1e-9)


def test_front_end_and_first_block_stay_as_published() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    emotions = [EMOTIONS[k] for k in (0, 2, 3, 4)] * 2
    clips = [
        Clip(f"emodb/{n}", "emodb", f"0{n % 2}", labels=Labels(intended=emotion))
        for n, emotion in enumerate(emotions)
    ]
    sounds = [rng.normal(0, 0.1, 12_000).astype(np.float32) for _ in clips]
    net = VoiceNet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    embeddings = embed(net, [voice_mel(sound) for sound in sounds]).astype(np.float64)
    assert embeddings.shape == (8, EMBEDDING_DIM)
    samples = Samples(
        embeddings,
        np.array([e.position for e in emotions]),
        np.ones((8, 8), dtype=bool),
        np.array([str(c.speaker) for c in clips]),
        np.array(["emodb"] * 8),
    )
    config = TuneConfig(epochs=1, warmup=0.0)
    head = TunedHead(samples, config.dropout)
    assert [epoch for epoch, _ in fit(net, head, clips, sounds, samples, config)] == [1]
    moved = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert moved
    assert all(name.startswith(("blocks.1.", "blocks.2.")) for name in moved)


def test_frames_not_in_use_change_nothing() -> None:
    torch.manual_seed(1)
    net, mel = VoiceNet().eval(), torch.randn(1, 80, 120)
    longer = torch.cat([mel, torch.randn(1, 80, 60)], dim=2)
    with torch.no_grad():
        alone, padded = net(mel, torch.tensor([120])), net(longer, torch.tensor([120]))
    torch.testing.assert_close(alone, padded, atol=1e-4, rtol=1e-4)


def test_a_warp_keeps_bands_and_changes_length() -> None:
    rng = np.random.default_rng(0)
    power = rng.normal(-4, 1, (80, 200)).astype(np.float32)
    lengths = {warp(power, rng).shape[1] for _ in range(20)}
    assert len(lengths) > 5
    assert all(160 <= length <= 250 for length in lengths)
    mel = training_mel(rng.normal(0, 0.1, 64_000).astype(np.float32), rng, 150)
    assert mel.shape[0] == 80
    assert 50 <= mel.shape[1] <= 150
    assert np.isfinite(mel).all()
