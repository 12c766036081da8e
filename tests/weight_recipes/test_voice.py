"""The voice network as it is exported, and the sound that heads learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from recipes.voice_augment import CODECS, spoil, warp
from recipes.voice_export import export_float, packed, quantize
from recipes.voice_net import EMBEDDING_DIM, VoiceNet

from facevoice.records import SAMPLE_RATE_HZ


def test_frames_not_in_use_change_nothing() -> None:
    torch.manual_seed(1)
    net, mel = VoiceNet().eval(), torch.randn(1, 80, 120)
    longer = torch.cat([mel, torch.randn(1, 80, 60)], dim=2)
    with torch.no_grad():
        alone, padded = net(mel, torch.tensor([120])), net(longer, torch.tensor([120]))
    torch.testing.assert_close(alone, padded, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_exported_network_says_what_torch_says(tmp_path: Path) -> None:
    torch.manual_seed(2)
    net, mel = VoiceNet().eval(), torch.randn(1, 80, 150)
    export_float(net, tmp_path / "voice.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "voice.onnx"))
    inputs = {"mel": mel.numpy(), "num_frames": np.array([150])}
    (found,) = session.run(["embedding"], inputs)
    assert found.shape == (1, EMBEDDING_DIM)
    with torch.no_grad():
        expected = net(mel, torch.tensor([150])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_packed_network_answers_to_the_last_bit(tmp_path: Path) -> None:
    torch.manual_seed(3)
    net, mel = VoiceNet(num_blocks=1).eval(), np.random.default_rng(0).normal(size=(1, 80, 150))
    turns = 10000 ** -(torch.arange(256) / 255)
    waves = torch.arange(len(net.positions))[:, None] * turns
    net.positions.copy_(torch.cat([waves.sin(), waves.cos()], dim=1).half().float())
    net.positions[3, 5] += 0.5
    export_float(net, tmp_path / "plain.onnx")
    quantize(tmp_path / "plain.onnx", tmp_path / "plain.onnx")
    onnx.save(packed(onnx.load(tmp_path / "plain.onnx")), tmp_path / "packed.onnx")
    inputs = {"mel": mel.astype(np.float32), "num_frames": np.array([150])}
    plain, small = (
        onnxruntime.InferenceSession(str(tmp_path / name)).run(None, inputs)[0]
        for name in ("plain.onnx", "packed.onnx")
    )
    np.testing.assert_array_equal(plain, small)
    sizes = [(tmp_path / name).stat().st_size for name in ("plain.onnx", "packed.onnx")]
    assert sizes[1] < sizes[0] - 900_000


def test_spoilt_sound_keeps_its_length_but_for_speed_and_repeats_by_its_seed() -> None:
    seconds = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = (0.2 * np.sin(2 * np.pi * 220 * seconds) * np.sin(3 * seconds)).astype(np.float32)
    for seed in range(12 * len(CODECS)):
        spoilt = spoil(sound, np.random.default_rng(seed))
        assert spoilt.dtype == np.float32
        assert np.isfinite(spoilt).all()
        assert 0.92 <= spoilt.size / sound.size <= 1.08
        assert spoilt.std() > 0.01
    again = [spoil(sound, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_a_warp_keeps_bands_and_changes_length() -> None:
    rng = np.random.default_rng(0)
    power = rng.normal(-4, 1, (80, 200)).astype(np.float32)
    warped = [warp(power, rng) for _ in range(20)]
    lengths = {each.shape[1] for each in warped}
    assert len(lengths) > 5
    assert all(160 <= length <= 250 for length in lengths)
    assert all(np.isfinite(each).all() and each.shape[0] == 80 for each in warped)
