"""Speech encoders on sound, with tiny random checkpoints in the published form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.huggingface import (
    Wav2Vec2,
    count_frames,
    fewest_samples,
    frames_per_token,
    load_pretrained,
)
from facevoice.errors import WeightsError
from facevoice.records import Modality, Window
from tiny_checkpoints import (
    DIM,
    NUM_LAYERS,
    SPEECH_KINDS,
    checkpoint,
    edit_json,
    window,
    write_checkpoint,
)

torch = pytest.importorskip("torch")

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wav2Vec2]:
    folder = tmp_path_factory.mktemp("checkpoints")
    loaded = {}
    for kind in SPEECH_KINDS:
        backbone = load_pretrained(str(write_checkpoint(kind, folder / kind)), device="cpu")
        assert isinstance(backbone, Wav2Vec2)
        loaded[kind] = backbone
    return loaded


def batched(backbone: Wav2Vec2, *, takes_mask: bool) -> Wav2Vec2:
    return Wav2Vec2(
        backbone.network,
        backbone.input,
        backbone.spec,
        backbone.model,
        takes_mask=takes_mask,
        device="cpu",
        batch_size=4,
    )


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_embedding_is_the_mean_over_time_of_the_last_layer(
    backbones: dict[str, Wav2Vec2], kind: str
) -> None:
    backbone, heard = backbones[kind], window(seconds=1.3)
    assert backbone.spec.modality is Modality.AUDIO
    samples = torch.from_numpy(backbone.input.prepare(heard))[None]
    with torch.inference_mode():
        last = backbone.network(samples).last_hidden_state[0]
    embedding = backbone.embed([heard])
    assert embedding.shape == (1, DIM)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding[0], last.mean(dim=0), atol=1e-6)
    tokens = backbone.embed_tokens(heard)
    assert tokens.shape == (13, DIM)  # 64 frames in blocks of 5: ten a second
    np.testing.assert_allclose(tokens[2], last[10:15].mean(dim=0), atol=1e-6)
    layers = backbone.embed_layers(heard)
    assert layers.shape == (backbone.num_layers, DIM) == (NUM_LAYERS + 1, DIM)
    np.testing.assert_allclose(layers[-1], embedding[0], atol=1e-6)


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_a_batch_of_other_lengths_equals_one_by_one(
    backbones: dict[str, Wav2Vec2], kind: str
) -> None:
    backbone = backbones[kind]
    lengths_s = (2.0, 0.4, 3.31, 2.0, 0.9, 1.7)
    windows = [window(seconds=s, seed=k) for k, s in enumerate(lengths_s)]
    each = np.concatenate([backbone.embed([w]) for w in windows])
    together = batched(backbone, takes_mask=kind != "wav2vec2-base")
    np.testing.assert_allclose(together.embed(windows), each, atol=1e-5)
    np.testing.assert_array_equal(backbone.embed(windows), each)
    assert backbone.embed([]).shape == (0, DIM)


def test_without_a_mask_padding_would_leak(backbones: dict[str, Wav2Vec2]) -> None:
    """Why networks that normalise over time never get other lengths in one batch."""
    backbone = backbones["wav2vec2-base"]
    windows = [window(seconds=2.0), window(seconds=0.5, seed=1)]
    each = np.concatenate([backbone.embed([w]) for w in windows])
    wrong = batched(backbone, takes_mask=True).embed(windows)
    assert np.abs(wrong - each).max() > 1e-3


def test_whether_lengths_may_differ_is_read_from_the_checkpoint(
    backbones: dict[str, Wav2Vec2],
) -> None:
    takes = {kind: backbone.takes_mask for kind, backbone in backbones.items()}
    assert takes == {kind: kind != "wav2vec2-base" for kind in SPEECH_KINDS}


def test_loudness_does_not_matter_where_samples_are_normalised(
    backbones: dict[str, Wav2Vec2],
) -> None:
    backbone, heard = backbones["wavlm-large"], window()
    assert heard.samples is not None
    quiet = Window(0.0, 2.0, None, heard.samples * np.float32(0.1), 0.0, 1.0)
    np.testing.assert_allclose(backbone.embed([heard]), backbone.embed([quiet]), atol=1e-3)


def test_sound_shorter_than_a_frame_is_still_embedded(backbones: dict[str, Wav2Vec2]) -> None:
    blip = Window(0.0, 0.01, None, np.ones(100, np.float32), 0.0, 1.0)
    for backbone in backbones.values():
        assert np.isfinite(backbone.embed([blip])).all()
        assert backbone.embed_tokens(blip).shape == (1, DIM)


def test_arithmetic_of_frames() -> None:
    assert fewest_samples(KERNELS, STRIDES) == 400
    assert count_frames(400, KERNELS, STRIDES) == 1
    assert count_frames(719, KERNELS, STRIDES) == 1
    assert count_frames(720, KERNELS, STRIDES) == 2
    assert count_frames(64_000, KERNELS, STRIDES) == 199
    assert frames_per_token(STRIDES) == 5


def write(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def test_settings_that_are_not_usable(tmp_path: Path) -> None:
    files = checkpoint("wav2vec2-large")
    edit_json(files, "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json: not usable.*8000 Hz"):
        load_pretrained(write(tmp_path / "a", files))
