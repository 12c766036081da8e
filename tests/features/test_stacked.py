"""Layers and tokens as one long embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.spec import (
    NUM_AUDIO_TOKENS,
    TokenBackbone,
    create_backbone,
    split_name,
    spread_tokens,
)
from facevoice.errors import ConfigError
from tiny_checkpoints import DIM, NUM_LAYERS, window, write_checkpoint

pytest.importorskip("torch")


def test_names() -> None:
    assert split_name("videomae-base+layers") == ("videomae-base", "layers")
    assert split_name("hub:a/b@refs/pr/1+tokens") == ("hub:a/b@refs/pr/1", "tokens")
    assert split_name("folder/c++") == ("folder/c++", None)
    assert split_name("compact-face") == ("compact-face", None)


@pytest.mark.parametrize(
    ("kind", "rows", "num_rows"),
    [
        ("videomae", "layers", NUM_LAYERS + 1),
        ("videomae", "tokens", 8),
        ("wav2vec2-large", "layers", NUM_LAYERS + 1),
        ("wav2vec2-large", "tokens", NUM_AUDIO_TOKENS),
    ],
)
def test_an_embedding_is_its_rows_one_after_another(
    tmp_path: Path, kind: str, rows: str, num_rows: int
) -> None:
    folder = str(write_checkpoint(kind, tmp_path / "tiny"))
    base = create_backbone(folder, device="cpu")
    assert isinstance(base, TokenBackbone)
    stacked = create_backbone(f"{folder}+{rows}", device="cpu")
    spec = stacked.spec
    assert (spec.dim, spec.num_rows, spec.row_dim) == (num_rows * DIM, num_rows, DIM)
    assert spec.name == f"{base.spec.name}+{rows}"
    assert spec.preprocessing != base.spec.preprocessing
    assert stacked.model == base.model
    windows = [window(), window(seconds=1.1, seed=1)]
    embeddings = stacked.embed(windows)
    assert embeddings.shape == (2, spec.dim)
    found = embeddings[0].reshape(num_rows, DIM)
    if rows == "layers":
        np.testing.assert_array_equal(found, base.embed_layers(windows[0]))
    else:
        tokens = base.embed_tokens(windows[0])
        np.testing.assert_array_equal(found, spread_tokens(tokens, num_rows))


def test_tokens_are_spread_as_in_adaptive_pooling() -> None:
    import torch

    rng = np.random.default_rng(0)
    for num_tokens in (1, 3, 16, 40, 41):
        tokens = rng.normal(size=(num_tokens, 5)).astype(np.float32)
        pool = torch.nn.AdaptiveAvgPool1d(16)
        expected = pool(torch.from_numpy(tokens.T)[None])[0].numpy().T
        np.testing.assert_allclose(spread_tokens(tokens, 16), expected, atol=1e-6)


def test_a_backbone_without_layers_says_so() -> None:
    with pytest.raises(ConfigError, match="'compact-face' tells no layers"):
        create_backbone("compact-face+layers")
