"""The shipped backbones as they are loaded from the package, and the voice network's front-end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.compact import (
    FACE_FEATURES,
    FRAMES_PER_SECOND,
    MIN_FRAMES,
    NUM_MELS,
    TRIM_MARGIN_FRAMES,
    CompactFace,
    CompactVoice,
    grey_crops,
    log_mel_power,
    voice_mel,
)
from facevoice.backbones.registry import create_backbone, register_backbone
from facevoice.errors import ConfigError
from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray, Window
from facevoice.sessions import read_weights
from facevoice.spectra import mel_centres_hz, mel_filters
from tiny_checkpoints import window

LOUDEST = 1.25  # see `normalize`


def test_grey_crops_are_the_central_part_averaged() -> None:
    crops = np.zeros((1, 120, 120, 3), np.uint8)
    crops[:, 12:108, 12:108] = (30, 60, 90)
    grey = grey_crops(crops, 48)
    assert grey.shape == (1, 1, 48, 48)
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    np.testing.assert_allclose(grey, 0.299 * 30 + 0.587 * 60 + 0.114 * 90, atol=1)


def test_face_embedding_is_the_pooled_frames_and_ends_with_log_probabilities() -> None:
    face, seen = CompactFace(), window(num_crops=6)
    embedding = face.embed([seen])
    assert embedding.shape == (1, face.spec.dim)
    assert seen.faces is not None
    frames = face.embed([replace(seen, faces=crop[np.newaxis]) for crop in seen.faces])
    mean = frames[:, :FACE_FEATURES].mean(axis=0)
    np.testing.assert_allclose(embedding[0, :FACE_FEATURES], mean, atol=1e-4)
    np.testing.assert_allclose(np.exp(frames[:, 2 * FACE_FEATURES :]).sum(axis=1), 1, atol=1e-4)


def test_faces_and_voices_are_told_whatever_light_mirror_and_loudness() -> None:
    face, voice, seen = CompactFace(), CompactVoice(), window()
    crop = np.random.default_rng(3).integers(60, 160, (1, 120, 120, 3), dtype=np.uint8)
    for other, tolerance in ((crop + 40, 0.05), (crop[:, :, ::-1].copy(), 1e-3)):
        ours, theirs = face.embed([replace(seen, faces=c) for c in (crop, other)])
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    assert seen.samples is not None
    quiet = replace(seen, samples=seen.samples * np.float32(0.1))
    np.testing.assert_allclose(voice.embed([seen]), voice.embed([quiet]), atol=0.2)


def test_voice_embedding_holds_mean_and_deviation_of_every_block() -> None:
    embedding = CompactVoice().embed([window()])[0].reshape(3, 2, 512)
    assert (embedding[:, 1] > 0).all()
    assert (embedding[:, 0] < 0).any(axis=1).all()


def test_voice_network_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fold3.onnx"
    path.write_bytes(read_weights("voice"))
    named, own, heard = CompactVoice(network=path), CompactVoice(), window()
    np.testing.assert_array_equal(named.embed([heard]), own.embed([heard]))
    assert (named.model.name, named.model.sha256) == ("fold3", own.model.sha256)


def test_a_batch_is_each_alone_and_other_windows_are_refused() -> None:
    silent = Window(0.0, 1.0, None, None, 0.0, 0.0)
    for backbone, lacks in ((CompactFace(), "no faces"), (CompactVoice(), "no sound")):
        windows = [window(seconds=1.0), window(seconds=2.5, seed=1)]
        each = np.concatenate([backbone.embed([w]) for w in windows])
        np.testing.assert_allclose(backbone.embed(windows), each, atol=1e-5)
        with pytest.raises(ValueError, match=lacks):
            backbone.embed([silent])


def test_registry_names_choices_and_refuses_duplicates() -> None:
    with pytest.raises(ConfigError, match="compact-face, compact-voice"):
        create_backbone("no-such-backbone")
    with pytest.raises(ConfigError, match="registered already"):
        register_backbone("compact-face", lambda _: CompactFace())
    with pytest.raises(ConfigError, match="'compact-face' tells no layers"):
        create_backbone("compact-face+layers")


def speechlike(seconds: float) -> FloatArray:
    """A buzz with falling pitch in noise, with swelling loudness."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * (180 * time_s - 20 * time_s**2)
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(0).normal(0, 0.02, time_s.size)
    return (0.1 * (1.2 + np.sin(5 * time_s)) * buzz + noise).astype(np.float32)


def slaney_filters() -> DoubleArray:
    """Filter bank built triangle by triangle from Slaney's scale (15 + 27 log_6.4(f / 1000))."""

    def to_hz(value: float) -> float:
        return 200 / 3 * value if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    corners = [to_hz(top * i / 81) for i in range(82)]
    filters = np.zeros((80, 201))
    for row in range(80):
        low, centre, high = corners[row : row + 3]
        hz = 40.0 * np.arange(201)
        rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
        filters[row] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return filters


def direct_log_power(samples: FloatArray) -> DoubleArray:
    """Discrete Fourier transform as a matrix product, frame by frame, in double precision."""
    n = np.arange(400)
    hann = np.sin(np.pi * n / 400) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    filters = slaney_filters()
    columns = []
    for frame in range(samples.size // 160):
        index = np.abs(np.arange(frame * 160 - 200, frame * 160 + 200))
        index = np.where(index >= samples.size, 2 * (samples.size - 1) - index, index)
        spectrum = basis @ (samples[index].astype(np.float64) * hann)
        columns.append(filters @ np.abs(spectrum) ** 2)
    return np.log10(np.maximum(np.stack(columns, axis=1), 1e-10))


def test_filters_match_slaneys_definition() -> None:
    np.testing.assert_allclose(mel_filters(), slaney_filters(), atol=1e-6)
    # A cell of the matrix that openai/whisper ships (mel_filters.npz, key mel_80).
    assert mel_filters()[0, 1] == pytest.approx(0.0248626, abs=1e-6)
    highest_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, 201)[mel_filters().argmax(axis=1)]
    assert np.abs(highest_hz - mel_centres_hz()).max() <= 40


def test_log_power_matches_a_direct_transform_with_a_frame_for_every_hop() -> None:
    samples = speechlike(0.53)
    ours = log_mel_power(samples)
    assert ours.dtype == np.float32
    assert ours.shape == (NUM_MELS, samples.size // 160)
    np.testing.assert_allclose(ours, direct_log_power(samples), atol=2e-3)
    for bad in (np.zeros((2, 800)), np.zeros(200)):
        with pytest.raises(ValueError, match="samples"):
            log_mel_power(bad.astype(np.float32))


def test_the_voice_input_ignores_gain_and_silent_edges_but_keeps_pauses() -> None:
    speech, second = speechlike(1.0), np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    reference = voice_mel(speech)
    assert reference.max() == pytest.approx(LOUDEST)
    assert reference.min() >= LOUDEST - 2 - 1e-6  # eight decades
    for gain in (0.05, 0.3, 7.0):
        np.testing.assert_allclose(voice_mel(speech * np.float32(gain)), reference, atol=2e-3)
    clip = np.concatenate([second, speech, second, speech, second])
    expected = 3 * FRAMES_PER_SECOND + 2 * TRIM_MARGIN_FRAMES
    assert abs(voice_mel(clip).shape[1] - expected) <= 4


def test_offset_rumble_and_mains_leave_the_voice_input_as_it_is() -> None:
    speech = speechlike(1.0)
    seconds = np.arange(speech.size) / SAMPLE_RATE_HZ
    reference = voice_mel(speech)
    power = float(np.sqrt((speech**2).mean()))
    for spoilt in (
        speech + 0.3 * power,
        speech + power * np.sin(2 * np.pi * 18 * seconds),
        speech + 0.1 * power * np.sin(2 * np.pi * 50 * seconds),
        speech * 0.158,
    ):
        changed = np.abs(voice_mel(spoilt.astype(np.float32)) - reference)
        assert np.quantile(changed, 0.99) < 0.02
        assert changed.max() < 0.3


@pytest.mark.parametrize("position", [0, 2_000, 16_000, 31_900])
def test_a_click_keeps_half_a_second_around_it(position: int) -> None:
    samples = np.zeros(2 * SAMPLE_RATE_HZ, dtype=np.float32)
    samples[position] = 1.0
    assert voice_mel(samples).shape[1] == MIN_FRAMES


@pytest.mark.parametrize("num_samples", [0, 1, 3_000, 16_000])
def test_silence_and_short_windows_give_finite_constant_features(num_samples: int) -> None:
    features = voice_mel(np.zeros(num_samples, dtype=np.float32))
    assert features.shape == (NUM_MELS, max(MIN_FRAMES, num_samples // 160))
    np.testing.assert_allclose(features, LOUDEST)


def test_the_number_of_threads_changes_no_bit() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from facevoice.backbones.compact import voice_mel\n"
        "rng = np.random.default_rng(0)\n"
        "for size in (64_000, 40_123, 90_001):\n"
        "    samples = rng.normal(0, 0.1, size).astype(np.float32)\n"
        "    print(hashlib.sha256(voice_mel(samples).tobytes()).hexdigest())\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(printed) == 1
