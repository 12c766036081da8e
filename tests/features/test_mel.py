"""The log-mel front-end against a direct transform written out from the definitions."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from facevoice.backbones import compact as mel

Float64 = npt.NDArray[np.float64]


def speechlike(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """A buzz with falling pitch in noise, with swelling loudness."""
    time_s = np.arange(round(seconds * mel.SAMPLE_RATE_HZ)) / mel.SAMPLE_RATE_HZ
    phase = 2 * np.pi * (180 * time_s - 20 * time_s**2)
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
    noise = np.random.default_rng(seed).normal(0, 0.02, time_s.size)
    return (0.1 * (1.2 + np.sin(5 * time_s)) * buzz + noise).astype(np.float32)


def slaney_filters() -> Float64:
    """Filter bank built triangle by triangle from Slaney's scale (15 + 27 log_6.4(f / 1000))."""

    def to_hz(value: float) -> float:
        return 200 / 3 * value if value < 15 else 1000 * 6.4 ** ((value - 15) / 27)

    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    corners = [to_hz(top * i / 81) for i in range(82)]
    filters = np.zeros((80, 201))
    for row in range(80):
        low, centre, high = corners[row : row + 3]
        for column in range(201):
            hz = 40.0 * column
            if low < hz <= centre:
                filters[row, column] = (hz - low) / (centre - low)
            elif centre < hz < high:
                filters[row, column] = (high - hz) / (high - centre)
        filters[row] *= 2 / (high - low)
    return filters


def direct_log_power(samples: npt.NDArray[np.float32]) -> Float64:
    """Discrete Fourier transform as a matrix product, frame by frame, in double precision."""
    n = np.arange(400)
    hann = np.sin(np.pi * n / 400) ** 2
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400)
    columns = []
    for frame in range(samples.size // 160):
        index = np.abs(np.arange(frame * 160 - 200, frame * 160 + 200))
        index = np.where(index >= samples.size, 2 * (samples.size - 1) - index, index)
        spectrum = basis @ (samples[index].astype(np.float64) * hann)
        columns.append(slaney_filters_cached @ np.abs(spectrum) ** 2)
    return np.log10(np.maximum(np.stack(columns, axis=1), 1e-10))


slaney_filters_cached = slaney_filters()


def test_filters_match_slaneys_definition() -> None:
    np.testing.assert_allclose(mel.mel_filters(), slaney_filters_cached, atol=1e-6)
    # Corner cells of the matrix that openai/whisper ships (mel_filters.npz, key mel_80).
    assert mel.mel_filters()[0, 1] == pytest.approx(0.0248626, abs=1e-6)


def test_log_power_matches_direct_transform() -> None:
    samples = speechlike(0.53)
    ours = mel.log_mel_power(samples)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, direct_log_power(samples), atol=2e-3)


def test_whisper_compression_by_its_formula() -> None:
    samples = speechlike(0.3)
    expected = direct_log_power(samples)
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    np.testing.assert_allclose(mel.whisper_log_mel(samples), expected, atol=1e-3)


@pytest.mark.parametrize("num_samples", [201, 400, 16_000, 16_159, 16_160, 64_000])
def test_one_frame_for_every_whole_hop(num_samples: int) -> None:
    power = mel.log_mel_power(speechlike(5.0)[:num_samples])
    assert power.shape == (mel.NUM_MELS, mel.num_mel_frames(num_samples))
    assert power.shape[1] == num_samples // 160


@pytest.mark.parametrize("bad", [np.zeros((2, 800)), np.zeros(200)])
def test_wrong_shapes_are_refused(bad: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="samples"):
        mel.log_mel_power(bad.astype(np.float32))


def test_constants_follow_from_each_other() -> None:
    assert mel.FRAMES_PER_SECOND * mel.HOP_SAMPLES == mel.SAMPLE_RATE_HZ
    assert mel.NUM_BINS == mel.FFT_SAMPLES // 2 + 1


def test_gain_changes_nothing() -> None:
    samples = speechlike(1.0)
    reference = mel.voice_mel(samples)
    for gain in (0.05, 0.3, 7.0):
        np.testing.assert_allclose(mel.voice_mel(samples * np.float32(gain)), reference, atol=2e-3)


def test_loudest_cell_and_range_are_fixed() -> None:
    features = mel.voice_mel(speechlike(2.0))
    assert features.max() == pytest.approx((mel.LOUDEST + 4) / 4)
    assert features.min() >= (mel.LOUDEST - mel.DYNAMIC_RANGE + 4) / 4 - 1e-6


def test_silent_edges_are_cut_but_pauses_stay() -> None:
    speech, second = speechlike(1.0), np.zeros(mel.SAMPLE_RATE_HZ, dtype=np.float32)
    clip = np.concatenate([second, speech, second, speech, second])
    num_frames = mel.voice_mel(clip).shape[1]
    expected = 3 * mel.FRAMES_PER_SECOND + 2 * mel.TRIM_MARGIN_FRAMES
    assert abs(num_frames - expected) <= 4


def test_noise_floor_is_not_mistaken_for_silence() -> None:
    samples = speechlike(2.0)
    assert mel.voice_mel(samples).shape[1] == 2 * mel.FRAMES_PER_SECOND


@pytest.mark.parametrize("position", [0, 2_000, 16_000, 31_900])
def test_a_click_keeps_half_a_second_around_it(position: int) -> None:
    samples = np.zeros(2 * mel.SAMPLE_RATE_HZ, dtype=np.float32)
    samples[position] = 1.0
    assert mel.voice_mel(samples).shape[1] == mel.MIN_FRAMES


@pytest.mark.parametrize("num_samples", [0, 1, 3_000, 16_000])
def test_silence_and_short_windows_give_finite_constant_features(num_samples: int) -> None:
    features = mel.voice_mel(np.zeros(num_samples, dtype=np.float32))
    assert features.shape == (mel.NUM_MELS, max(mel.MIN_FRAMES, num_samples // 160))
    np.testing.assert_allclose(features, (mel.LOUDEST + 4) / 4)


def test_batch_pads_with_zeros_after_the_frames_in_use() -> None:
    windows = [speechlike(0.8), speechlike(1.5, seed=1)]
    batch, num_frames = mel.voice_mel_batch(windows)
    assert batch.shape == (2, mel.NUM_MELS, 150)
    assert num_frames.dtype == np.int64
    assert num_frames.tolist() == [80, 150]
    np.testing.assert_array_equal(batch[0, :, :80], mel.voice_mel(windows[0]))
    assert not batch[0, :, 80:].any()


def test_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one window"):
        mel.voice_mel_batch([])


def test_the_number_of_threads_changes_no_bit():
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


def test_filters_are_highest_around_their_centres() -> None:
    centres_hz = mel.mel_centres_hz()
    assert centres_hz.shape == (mel.NUM_MELS,)
    assert (np.diff(centres_hz) > 0).all()
    bins_hz = np.linspace(0, mel.SAMPLE_RATE_HZ / 2, mel.NUM_BINS)
    highest_hz = bins_hz[mel.mel_filters().argmax(axis=1)]
    assert np.abs(highest_hz - centres_hz).max() <= bins_hz[1]
