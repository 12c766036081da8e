"""VideoMAE on faces, with tiny random checkpoints in the published form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.huggingface import VideoMae, load_pretrained
from facevoice.errors import WeightsError
from facevoice.records import Modality
from tiny_checkpoints import DIM, NUM_LAYERS, checkpoint, edit_json, window, write_checkpoint

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> VideoMae:
    folder = write_checkpoint("videomae", tmp_path_factory.mktemp("checkpoints") / "tiny")
    loaded = load_pretrained(str(folder), device="cpu")
    assert isinstance(loaded, VideoMae)
    return loaded


def test_spec_says_what_goes_in_and_comes_out(backbone: VideoMae) -> None:
    spec = backbone.spec
    assert (spec.modality, spec.dim, spec.family) == (Modality.VIDEO, DIM, "videomae")
    assert spec.preprocessing == backbone.input.version
    assert "16 aligned face crops" in spec.input_form
    assert "0.485/0.456/0.406" in spec.input_form
    assert "8 a window" in spec.token_form


def test_embedding_is_the_mean_of_the_patch_tokens(backbone: VideoMae) -> None:
    seen = window()
    frames = torch.from_numpy(backbone.input.prepare(seen))[None]
    with torch.inference_mode():
        tokens = backbone.network(frames).last_hidden_state[0]
    assert tokens.shape == (8 * 4, DIM)  # 8 steps of 2 × 2 patches, and no class token
    embedding = backbone.embed([seen])
    assert embedding.shape == (1, DIM)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding[0], tokens.mean(dim=0), atol=1e-6)
    steps = backbone.embed_tokens(seen)
    assert steps.shape == (backbone.num_tokens, DIM) == (8, DIM)
    np.testing.assert_allclose(steps[3], tokens[12:16].mean(dim=0), atol=1e-6)


def test_a_token_follows_its_own_moment(backbone: VideoMae) -> None:
    seen = window(num_crops=16)
    assert seen.faces is not None
    before = backbone.embed_tokens(seen)
    seen.faces[14:] = 255 - seen.faces[14:]
    change = np.abs(backbone.embed_tokens(seen) - before).mean(axis=1)
    assert change.argmax() == 7


def test_layers_begin_with_what_enters_and_end_with_the_embedding(backbone: VideoMae) -> None:
    seen = window()
    layers = backbone.embed_layers(seen)
    assert layers.shape == (backbone.num_layers, DIM) == (NUM_LAYERS + 1, DIM)
    np.testing.assert_allclose(layers[-1], backbone.embed([seen])[0], atol=1e-6)
    frames = torch.from_numpy(backbone.input.prepare(seen))[None]
    with torch.inference_mode():
        states = backbone.network(frames, output_hidden_states=True).hidden_states
    for layer, state in zip(layers[:-1], states, strict=False):
        np.testing.assert_allclose(layer, state[0].mean(dim=0), atol=1e-6)


def test_a_batch_equals_one_by_one_and_repeats_exactly(backbone: VideoMae) -> None:
    windows = [window(num_crops=n, seed=n) for n in (3, 16, 20, 20, 31)]
    each = np.concatenate([backbone.embed([w]) for w in windows])
    batched = VideoMae(
        backbone.network,
        backbone.input,
        backbone.spec,
        backbone.model,
        device="cpu",
        batch_size=4,
    )
    np.testing.assert_allclose(batched.embed(windows), each, atol=1e-5)
    np.testing.assert_array_equal(backbone.embed(windows), each)
    assert backbone.embed([]).shape == (0, DIM)


def test_nothing_is_left_changed(backbone: VideoMae) -> None:
    threads = torch.get_num_threads()
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    backbone.embed([window()])
    assert torch.get_num_threads() == threads
    assert not backbone.network.training
    assert not any(p.requires_grad for p in backbone.network.parameters())
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_number_of_threads_is_used(backbone: VideoMae, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    network = backbone.network
    hook = network.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))
    for num_threads in (1, 2):
        monkeypatch.setattr(backbone, "_num_threads", num_threads)
        backbone.embed([window()])
    hook.remove()
    assert used == [1, 2]


def write(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def test_settings_that_do_not_fit_each_other(tmp_path: Path) -> None:
    files = checkpoint("videomae")
    edit_json(files, "preprocessor_config.json", size=48, crop_size=48)
    with pytest.raises(WeightsError, match=r"48 px, config\.json wants 32 px"):
        load_pretrained(write(tmp_path / "a", files))
    edit_json(files, "preprocessor_config.json", image_mean=None)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json: not usable.*image_mean"):
        load_pretrained(write(tmp_path / "b", files))
    del files["preprocessor_config.json"]
    with pytest.raises(WeightsError, match=r"c: preprocessor_config\.json is missing"):
        load_pretrained(write(tmp_path / "c", files))
