"""Preprocessing without torch equals that of transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from facevoice.backbones.huggingface import FaceInput, VoiceInput, pool_tokens, spread_frames
from facevoice.records import Window
from tiny_checkpoints import FACE_PREPROCESSOR, VOICE_PREPROCESSOR, window

NEW_FORM: dict[str, Any] = {
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "VideoMAEImageProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 48, "width": 48},
}


@pytest.mark.parametrize("config", [FACE_PREPROCESSOR, NEW_FORM], ids=["old", "new"])
def test_frames_equal_those_of_the_processor(config: dict[str, Any]) -> None:
    from transformers.models.videomae.image_processing_pil_videomae import (
        VideoMAEImageProcessorPil,
    )

    seen = window(num_crops=16)
    assert seen.faces is not None
    frames = FaceInput.from_config(config, 16).prepare(seen)
    processor = VideoMAEImageProcessorPil(**config)
    expected = processor(list(seen.faces), return_tensors="np")["pixel_values"][0]
    assert frames.dtype == np.float32
    assert frames.shape == expected.shape
    np.testing.assert_allclose(frames, expected, atol=2e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_samples_equal_those_of_the_extractor(normalize: bool) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    heard = window(seconds=1.7)
    config = {**VOICE_PREPROCESSOR, "do_normalize": normalize}
    samples = VoiceInput.from_config(config, 400).prepare(heard)
    extractor = Wav2Vec2FeatureExtractor(**config)
    expected = extractor(heard.samples, sampling_rate=16_000, return_tensors="np")
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected["input_values"][0], atol=1e-6)


def test_frames_are_spread_over_the_window() -> None:
    assert spread_frames(window(num_crops=16), 16) == list(range(16))
    assert spread_frames(window(num_crops=4), 16) == [k // 4 for k in range(16)]
    assert spread_frames(window(num_crops=1), 16) == [0] * 16
    picked = spread_frames(window(num_crops=20), 16)
    assert picked == sorted(set(picked))
    assert picked[0] == 0
    assert picked[-1] == 19


def test_the_crop_nearest_in_time_stands_for_a_moment() -> None:
    crops = np.zeros((3, 8, 8, 3), np.uint8)
    seen = Window(10.0, 14.0, crops, None, 0.15, 0.0, 1, np.array([10.1, 10.3, 13.9]))
    # Moments at 10.5, 11.5, 12.5, 13.5 s; the face was gone from 10.3 to 13.9 s.
    assert spread_frames(seen, 4) == [1, 1, 2, 2]


def test_equally_near_crops_give_the_earlier_wherever_the_window_lies() -> None:
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    for start_s in (0.0, 0.1, 12345.7):
        times = np.array([start_s + 1.0, start_s + 3.0])
        seen = Window(start_s, start_s + 4.0, crops, None, 0.1, 0.0, 1, times)
        assert spread_frames(seen, 1) == [0]


def test_very_short_sound_is_filled_up() -> None:
    short = Window(0.0, 0.01, None, np.ones(160, np.float32), 0.0, 1.0)
    samples = VoiceInput(normalize=False, min_samples=400).prepare(short)
    assert samples.shape == (400,)
    assert samples.sum() == 160


def test_what_is_not_there_is_refused() -> None:
    blind = Window(2.0, 4.0, None, np.zeros(9, np.float32), 0.0, 0.0)
    with pytest.raises(ValueError, match="window at 2 s has no faces"):
        FaceInput.from_config(FACE_PREPROCESSOR, 16).prepare(blind)
    deaf = Window(2.0, 4.0, np.zeros((1, 8, 9, 3), np.uint8), None, 1.0, 0.0)
    with pytest.raises(ValueError, match="window at 2 s has no sound"):
        VoiceInput(normalize=True, min_samples=400).prepare(deaf)
    with pytest.raises(ValueError, match="must be square, these are 8×9"):
        FaceInput.from_config(FACE_PREPROCESSOR, 16).prepare(deaf)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"do_normalize": False}, "do_normalize is off"),
        ({"do_resize": False}, "do_resize is off"),
        ({"crop_size": 64}, "cuts 64 px out of 32 px"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"size": {"height": 32, "width": 40}}, "not square"),
    ],
)
def test_unsupported_pictures(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FaceInput.from_config({**FACE_PREPROCESSOR, **changes}, 16)


def test_unsupported_sound() -> None:
    with pytest.raises(ValueError, match="wants 8000 Hz"):
        VoiceInput.from_config({"sampling_rate": 8000}, 400)
    with pytest.raises(ValueError, match="wants 80 values a sample"):
        VoiceInput.from_config({"feature_size": 80}, 400)


def test_another_input_has_another_version() -> None:
    one = FaceInput.from_config(FACE_PREPROCESSOR, 16)
    others = [
        FaceInput.from_config({**FACE_PREPROCESSOR, "image_mean": [0.5, 0.5, 0.5]}, 16),
        FaceInput.from_config({**FACE_PREPROCESSOR, "resample": 3}, 16),
        FaceInput.from_config(FACE_PREPROCESSOR, 8),
    ]
    assert len({one.version, *(other.version for other in others)}) == 4
    assert one.version == FaceInput.from_config(dict(FACE_PREPROCESSOR), 16).version


def test_tokens_are_means_of_blocks() -> None:
    frames = np.arange(14, dtype=np.float32).reshape(7, 2)
    expected = np.stack([frames[0:3].mean(axis=0), frames[3:6].mean(axis=0), frames[6]])
    np.testing.assert_allclose(pool_tokens(frames, 3), expected)
