"""The shipped backbones, as they are loaded from the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.compact import FACE_FEATURES, CompactFace, CompactVoice, grey_crops
from facevoice.backbones.spec import create_backbone, register_backbone
from facevoice.errors import ConfigError
from facevoice.records import Modality, Window
from facevoice.sessions import read_weights
from facevoice.store import extract

RNG = np.random.default_rng(3)


def window(*, frames: int = 6, seconds: float = 2.0) -> Window:
    return Window(
        start_s=0.0,
        end_s=seconds,
        faces=RNG.integers(0, 255, (frames, 120, 120, 3), dtype=np.uint8) if frames else None,
        samples=RNG.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32),
        face_coverage=1.0,
        speech_coverage=1.0,
        num_tracks=1,
    )


def test_grey_crops_are_the_central_part_averaged() -> None:
    crops = np.zeros((1, 120, 120, 3), np.uint8)
    crops[:, 12:108, 12:108] = (30, 60, 90)
    grey = grey_crops(crops, 48)
    assert grey.shape == (1, 1, 48, 48)
    # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    np.testing.assert_allclose(grey, 0.299 * 30 + 0.587 * 60 + 0.114 * 90, atol=1)


def test_face_embedding_is_the_pooled_frames_and_ends_with_log_probabilities() -> None:
    face, seen = CompactFace(), window()
    embedding = face.embed([seen])
    assert embedding.shape == (1, face.spec.dim)
    assert embedding.dtype == np.float32
    assert seen.faces is not None
    frames = np.stack([face.embed_crops(crop[np.newaxis]) for crop in seen.faces])
    mean = frames[:, :FACE_FEATURES].mean(axis=0)
    np.testing.assert_allclose(embedding[0, :FACE_FEATURES], mean, atol=1e-4)
    np.testing.assert_allclose(np.exp(frames[:, 2 * FACE_FEATURES :]).sum(axis=1), 1, atol=1e-4)


def test_face_embedding_ignores_brightness_and_contrast() -> None:
    face = CompactFace()
    crop = RNG.integers(60, 160, (1, 120, 120, 3), dtype=np.uint8)
    brighter = (crop.astype(np.int16) + 40).astype(np.uint8)
    np.testing.assert_allclose(face.embed_crops(crop), face.embed_crops(brighter), atol=0.05)


def test_voice_embedding_ignores_loudness() -> None:
    voice, heard = CompactVoice(), window()
    embedding = voice.embed([heard])
    assert embedding.shape == (1, voice.spec.dim)
    assert heard.samples is not None
    quiet = Window(0.0, 2.0, None, heard.samples * np.float32(0.1), 0.0, 1.0)
    np.testing.assert_allclose(embedding, voice.embed([quiet]), atol=0.2)


def test_voice_network_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fold3.onnx"
    path.write_bytes(read_weights("voice"))
    named, own, heard = CompactVoice(network=path), CompactVoice(), window()
    np.testing.assert_array_equal(named.embed([heard]), own.embed([heard]))
    assert named.model.name == "fold3"
    assert named.model.sha256 == own.model.sha256


def test_voice_embedding_holds_mean_and_deviation_of_every_block() -> None:
    embedding = CompactVoice().embed([window()])[0].reshape(-1, 2, 512)
    assert len(embedding) == 3
    assert (embedding[:, 1] > 0).all()
    assert (embedding[:, 0] < 0).any(axis=1).all()


def test_face_features_are_the_same_mirrored() -> None:
    face = CompactFace()
    crop = RNG.integers(0, 255, (1, 120, 120, 3), dtype=np.uint8)
    mirrored = face.embed_crops(crop[:, :, ::-1].copy())
    np.testing.assert_allclose(face.embed_crops(crop), mirrored, atol=1e-3)


def test_embedding_a_batch_is_embedding_each() -> None:
    for backbone in (CompactFace(), CompactVoice()):
        windows = [window(seconds=1.0), window(seconds=2.5)]
        each = np.concatenate([backbone.embed([w]) for w in windows])
        np.testing.assert_allclose(backbone.embed(windows), each, atol=1e-5)


def test_extract_gives_what_is_there_and_asked_for() -> None:
    backbones = {
        Modality.VIDEO: create_backbone("compact-face"),
        Modality.AUDIO: create_backbone("compact-voice"),
    }
    both = extract(window(), backbones)
    assert set(both.embeddings) == set(Modality)
    assert both.backbones[Modality.VIDEO].startswith("compact-face@")
    assert set(extract(window(frames=0), backbones).embeddings) == {Modality.AUDIO}
    only_video = extract(window(), backbones, frozenset({Modality.VIDEO}))
    assert set(only_video.embeddings) == {Modality.VIDEO}


def test_backbones_refuse_windows_without_their_channel() -> None:
    silent = Window(0.0, 1.0, None, None, 0.0, 0.0)
    with pytest.raises(ValueError, match="no faces"):
        CompactFace().embed([silent])
    with pytest.raises(ValueError, match="no sound"):
        CompactVoice().embed([silent])


def test_registry_names_choices_and_refuses_duplicates() -> None:
    with pytest.raises(ConfigError, match="compact-face, compact-voice"):
        create_backbone("no-such-backbone")
    with pytest.raises(ConfigError, match="registered already"):
        register_backbone("compact-face", lambda _: CompactFace())
