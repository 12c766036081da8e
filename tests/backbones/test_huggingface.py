"""Published backbones in torch: known by name, loaded whole or not at all, right in any thread."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facevoice.backbones.huggingface import (
    DEFAULT_BACKBONES,
    PRETRAINED,
    FaceInput,
    VideoMae,
    VoiceInput,
    Wav2Vec2,
    fetch,
    load_checkpoint,
    load_pretrained,
    open_folder,
    pool_tokens,
)
from facevoice.backbones.registry import (
    NUM_AUDIO_TOKENS,
    backbone_names,
    create_backbone,
    register_backbone,
    split_name,
    spread_tokens,
)
from facevoice.backbones.spec import UNKNOWN_CORPORA, TokenBackbone
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.records import Modality, Window
from hub_server import HubServer
from tiny_checkpoints import (
    DIM,
    FACE_PREPROCESSOR,
    KINDS,
    NUM_LAYERS,
    SPEECH_KINDS,
    VOICE_PREPROCESSOR,
    checkpoint,
    edit_json,
    edit_weights,
    window,
    write_checkpoint,
)

torch = pytest.importorskip("torch")

Backbone = VideoMae | Wav2Vec2


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        kind: load_pretrained(str(write_checkpoint(kind, folder / kind)), device="cpu")
        for kind in KINDS
    }


def write(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def batched(backbone: Backbone, **options: Any) -> Backbone:
    return type(backbone)(
        backbone.network,
        backbone.input,
        backbone.spec,
        backbone.model,
        **{"takes_mask": backbone.takes_mask, "device": "cpu", "batch_size": 4, **options},
    )


def test_the_table_is_complete_and_the_defaults_are_honest() -> None:
    for name, spec in PRETRAINED.items():
        assert spec.name == name
        assert re.fullmatch(r"[0-9a-f]{40}|refs/pr/\d+", spec.revision or "")
        assert spec.weights_sha256 or re.fullmatch(r"[0-9a-f]{40}", spec.revision or "")
        assert spec.hub_id and spec.license and spec.training_corpora
    for modality, name in DEFAULT_BACKBONES.items():
        assert PRETRAINED[name].modality is modality
        assert not {"ravdess", "cremad", "unknown"} & {*PRETRAINED[name].training_corpora}
    contaminated = [s.hub_id for s in PRETRAINED.values() if "ravdess" in s.training_corpora]
    assert contaminated == ["ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition"]
    assert {*PRETRAINED, "compact-face", "compact-voice"} == {*backbone_names()}
    page = (Path(__file__).parents[2] / "docs" / "full-model.md").read_text("utf-8")
    told = page[page.index("Unverified beyond") :].split("None of", maxsplit=1)[0]
    unverified = [name for name, spec in PRETRAINED.items() if spec.weights_sha256 is None]
    assert sorted(re.findall("`([^`]+)`", told)) == sorted(unverified)
    with pytest.raises(ConfigError, match="registered already"):
        register_backbone("videomae-base", lambda _threads: create_backbone("compact-face"))


def test_names() -> None:
    assert split_name("hub:a/b@refs/pr/1+tokens") == ("hub:a/b@refs/pr/1", "tokens")
    assert split_name("folder/c++") == ("folder/c++", None)
    for wrong in ("hub:a", "hub:a/b/c", "hub:/b", "hub:a/b@"):
        with pytest.raises(ConfigError, match="must look like hub:OWNER/NAME"):
            create_backbone(wrong)
    with pytest.raises(ConfigError, match=r"unknown backbone 'resnet'; known: .*videomae-base"):
        create_backbone("resnet")


def prefix(kind: str) -> str:
    return {"videomae": "videomae.", "wavlm-large": "", "hubert-large": "hubert."}.get(
        kind, "wav2vec2."
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_too_few_too_many_or_misshapen_are_listed(kind: str, tmp_path: Path) -> None:
    lost = "encoder.layer"
    lost += ".1.output.dense.weight" if kind == "videomae" else "s.1.final_layer_norm.bias"
    extra = f"{prefix(kind)}encoder.gate.weight"
    files = checkpoint(kind)
    edit_weights(files, lambda tensors: tensors.pop(prefix(kind) + lost))
    with pytest.raises(WeightsError, match=rf"model\.safetensors: .*missing: {re.escape(lost)}\."):
        load_pretrained(write(tmp_path / "lost", files))
    files = checkpoint(kind)
    edit_weights(files, lambda tensors: tensors.update({extra: np.ones(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"unexpected: .*encoder\.gate\.weight"):
        load_pretrained(write(tmp_path / "extra", files))
    files = checkpoint(kind)
    edit_json(files, "config.json", intermediate_size=48)
    with pytest.raises(WeightsError, match=r"another shape than config\.json says: .*\(64, 32\)"):
        load_pretrained(write(tmp_path / "shape", files))


def test_published_bias_names_of_videomae_arrive_in_the_network(tmp_path: Path) -> None:
    """MCG-NJU's files hold `q_bias` and `v_bias` beside the projections, and no bias of keys."""
    files, wanted = checkpoint("videomae"), {}
    rng = np.random.default_rng(0)

    def publish(tensors: dict[str, Any]) -> None:
        for layer in range(NUM_LAYERS):
            stem = f"videomae.encoder.layer.{layer}.attention.attention."
            for part in ("query", "key", "value"):
                tensors.pop(f"{stem}{part}.bias", None)
            for short, part in (("q_bias", "query"), ("v_bias", "value")):
                bias = rng.normal(size=DIM).astype(np.float32)
                tensors[stem + short] = bias
                wanted[f"{stem}{part}.bias".removeprefix("videomae.")] = bias

    edit_weights(files, publish)
    loaded = load_pretrained(write(tmp_path / "published", files), device="cpu")
    assert isinstance(loaded, VideoMae)
    found = loaded.network.state_dict()
    assert len(wanted) == 2 * NUM_LAYERS
    for name, bias in wanted.items():
        np.testing.assert_array_equal(found[name].numpy(), bias)


def old_weight_norm(tensors: dict[str, Any]) -> None:
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        for key in [k for k in tensors if k.endswith(f"parametrizations.weight.{new}")]:
            tensors[key.replace(f"parametrizations.weight.{new}", old)] = tensors.pop(key)


def emotion_classifier(tensors: dict[str, Any]) -> None:
    """As a published emotion model has it: two dense layers where one is expected."""
    for key in [k for k in tensors if k.startswith("lm_head")]:
        del tensors[key]
    for key in ("classifier.dense.weight", "classifier.output.bias"):
        tensors[key] = np.ones(4, np.float32)


def no_masked_step(tensors: dict[str, Any]) -> None:
    del tensors["wav2vec2.masked_spec_embed"]


@pytest.mark.parametrize("change", [old_weight_norm, emotion_classifier, no_masked_step])
def test_other_forms_of_the_same_encoder_give_the_same(
    change: Callable[[dict[str, Any]], None], backbones: dict[str, Any], tmp_path: Path
) -> None:
    files, heard = checkpoint("wav2vec2-large"), window(seconds=0.7)
    edit_weights(files, change)
    old = load_pretrained(write(tmp_path / "old", files)).embed([heard])
    np.testing.assert_array_equal(backbones["wav2vec2-large"].embed([heard]), old)


def test_half_precision_files_run_in_float32(tmp_path: Path) -> None:
    files = checkpoint("wav2vec2-large")
    edit_weights(files, lambda t: t.update({k: v.astype(np.float16) for k, v in t.items()}))
    edit_json(files, "config.json", dtype="float16")
    backbone = load_pretrained(write(tmp_path / "half", files))
    assert backbone.embed([window(seconds=0.5)]).dtype == np.float32


def test_a_checkpoint_must_be_what_the_table_and_its_own_settings_say(tmp_path: Path) -> None:
    files = open_folder(write_checkpoint("wav2vec2-large", tmp_path / "tiny"))
    with pytest.raises(WeightsError, match="hidden_size is 32, but backbone 'wav2vec2-base' has"):
        load_checkpoint(files, PRETRAINED["wav2vec2-base"])
    with pytest.raises(WeightsError, match="model_type is wav2vec2, but backbone 'wavlm-large'"):
        load_checkpoint(files, PRETRAINED["wavlm-large"])
    for kind, name, changes, problem in (
        ("wav2vec2-large", "config", {"model_type": "bert"}, "'bert', .*Known: hubert, videomae"),
        ("wav2vec2-large", "config", {"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ("wav2vec2-large", "config", {"num_hidden_layers": "many"}, "can't build a Wav2Vec2Model"),
        ("wav2vec2-large", "preprocessor_config", {"sampling_rate": 8000}, "not usable.*8000 Hz"),
        ("videomae", "preprocessor_config", {"size": 48, "crop_size": 48}, r"48 px, .*wants 32 px"),
        ("videomae", "preprocessor_config", {"image_mean": None}, "not usable.*image_mean"),
    ):
        other = checkpoint(kind)
        edit_json(other, f"{name}.json", **changes)
        with pytest.raises(WeightsError, match=problem):
            load_pretrained(write(tmp_path / problem.replace("/", ""), other))


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """In the place of the public one, as HF_ENDPOINT and HF_HOME would put it."""
    with HubServer().running() as server:
        local = partial(fetch, endpoint=server.url, cache_dir=tmp_path / "cache")
        monkeypatch.setattr("facevoice.backbones.huggingface.fetch", local)
        yield server


def test_by_name_from_a_hub(local_hub: HubServer) -> None:
    commit = local_hub.repository("someone/tiny").commit(checkpoint("wav2vec2-large"))
    backbone = create_backbone("hub:someone/tiny", device="cpu")
    assert backbone.spec.revision == commit
    assert backbone.spec.training_corpora == UNKNOWN_CORPORA
    assert backbone.spec.license == "apache-2.0"
    assert backbone.model.name == f"someone/tiny@{commit}"
    # A repository of the table keeps its marks however it is named.
    marked = "ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition"
    local_hub.repository(marked).commit(checkpoint("wav2vec2-large"))
    assert "ravdess" in create_backbone(f"hub:{marked}@main").spec.training_corpora


def test_the_table_asks_for_its_commit(local_hub: HubServer) -> None:
    spec = PRETRAINED["videomae-base"]
    assert spec.hub_id is not None and spec.revision is not None
    repository = local_hub.repository(spec.hub_id)
    repository.commit(checkpoint("wav2vec2-large"))
    repository.commits[spec.revision] = checkpoint("videomae")
    # The tiny network is not 768 wide, which shows that it was this commit that came.
    with pytest.raises(WeightsError, match=f"{spec.revision}/config.json: hidden_size is 32"):
        create_backbone("videomae-base", device="cpu")


def test_other_devices_and_missing_extras_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write_checkpoint("wav2vec2-large", tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="device 'abacus' can't be used"):
        load_pretrained(folder, device="abacus")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facevoice\[full\]'"):
        load_pretrained(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facevoice\[full\]'"):
        load_pretrained("videomae-base")


def test_videomae_has_no_class_token_so_embeddings_and_tokens_are_means_of_patches(
    backbones: dict[str, Any],
) -> None:
    backbone, seen = backbones["videomae"], window(num_crops=16)
    spec = backbone.spec
    assert (spec.modality, spec.dim, spec.family) == (Modality.VIDEO, DIM, "videomae")
    assert spec.preprocessing == backbone.input.version
    assert "16 aligned face crops" in spec.input_form
    assert "8 a window" in spec.token_form
    frames = torch.from_numpy(backbone.input.prepare(seen))[None]
    with torch.inference_mode():
        found = backbone.network(frames, output_hidden_states=True)
    patches = found.last_hidden_state[0]
    assert patches.shape == (8 * 4, DIM)  # 8 steps of 2 × 2 patches
    np.testing.assert_allclose(backbone.embed([seen])[0], patches.mean(dim=0), atol=1e-6)
    tokens = backbone.embed_tokens(seen)
    assert tokens.shape == (backbone.num_tokens, DIM) == (8, DIM)
    np.testing.assert_allclose(tokens[3], patches[12:16].mean(dim=0), atol=1e-6)
    layers = backbone.embed_layers(seen)
    assert layers.shape == (backbone.num_layers, DIM) == (NUM_LAYERS + 1, DIM)
    np.testing.assert_allclose(layers[-1], patches.mean(dim=0), atol=1e-6)
    for layer, state in zip(layers[:-1], found.hidden_states, strict=False):
        np.testing.assert_allclose(layer, state[0].mean(dim=0), atol=1e-6)
    assert seen.faces is not None
    seen.faces[14:] = 255 - seen.faces[14:]
    change = np.abs(backbone.embed_tokens(seen) - tokens).mean(axis=1)
    assert change.argmax() == 7  # a token follows its own moment


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_a_speech_embedding_is_the_mean_over_time(backbones: dict[str, Any], kind: str) -> None:
    backbone, heard = backbones[kind], window(seconds=1.3)
    assert backbone.spec.modality is Modality.AUDIO
    assert backbone.takes_mask == (kind != "wav2vec2-base")  # as its preprocessor says
    samples = torch.from_numpy(backbone.input.prepare(heard))[None]
    with torch.inference_mode():
        last = backbone.network(samples).last_hidden_state[0]
    embedding = backbone.embed([heard])
    np.testing.assert_allclose(embedding[0], last.mean(dim=0), atol=1e-6)
    tokens = backbone.embed_tokens(heard)
    assert tokens.shape == (13, DIM)  # 64 frames in blocks of 5: ten a second
    np.testing.assert_allclose(tokens[2], last[10:15].mean(dim=0), atol=1e-6)
    layers = backbone.embed_layers(heard)
    assert layers.shape == (backbone.num_layers, DIM) == (NUM_LAYERS + 1, DIM)
    np.testing.assert_allclose(layers[-1], embedding[0], atol=1e-6)
    blip = Window(0.0, 0.01, None, np.ones(100, np.float32), 0.0, 1.0)
    assert np.isfinite(backbone.embed([blip])).all()
    assert backbone.embed_tokens(blip).shape == (1, DIM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_each_alone_and_nothing_is_left_changed(
    backbones: dict[str, Any], kind: str
) -> None:
    backbone, threads = backbones[kind], torch.get_num_threads()
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    lengths_s, crops = (2.0, 0.4, 3.31, 2.0, 0.9, 1.7), (3, 16, 20, 20, 31, 1)
    windows = [
        window(seconds=s, num_crops=n, seed=n) for s, n in zip(lengths_s, crops, strict=True)
    ]
    each = np.concatenate([backbone.embed([w]) for w in windows])
    np.testing.assert_allclose(batched(backbone).embed(windows), each, atol=1e-5)
    np.testing.assert_array_equal(backbone.embed(windows), each)
    assert backbone.embed([]).shape == (0, DIM)
    assert torch.get_num_threads() == threads
    assert not any(p.requires_grad for p in backbone.network.parameters())
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, before[key])


def test_without_a_mask_padding_would_leak(backbones: dict[str, Any]) -> None:
    """Why networks that normalise over time never get other lengths in one batch."""
    backbone = backbones["wav2vec2-base"]
    windows = [window(seconds=2.0), window(seconds=0.5, seed=1)]
    each = np.concatenate([backbone.embed([w]) for w in windows])
    wrong = batched(backbone, takes_mask=True).embed(windows)
    assert np.abs(wrong - each).max() > 1e-3


@pytest.mark.parametrize("kind", ["videomae", "wavlm-large"])
def test_threads_may_share_a_backbone(kind: str, tmp_path: Path) -> None:
    """Once 119 of 120 stacks were wrong, and torch's thread count stayed at 1."""
    folder = str(write_checkpoint(kind, tmp_path / "tiny"))
    stacked = create_backbone(f"{folder}+layers", num_threads=1, device="cpu")
    tokens = create_backbone(f"{folder}+tokens", num_threads=2, device="cpu")
    windows = [window(seconds=0.3, num_crops=4, seed=seed) for seed in range(10)]
    expected = [(stacked.embed([w]), tokens.embed([w])) for w in windows]
    before = torch.get_num_threads()
    used: list[int] = []
    for backbone in (stacked, tokens):
        network = backbone.base.network  # type: ignore[attr-defined]
        network.register_forward_pre_hook(lambda *_: used.append(torch.get_num_threads()))

    def wrong_stacks(worker: int) -> int:
        found = 0
        for turn in range(len(windows)):
            place = (turn * 3 + worker) % len(windows)
            layers, last = expected[place]
            found += not np.array_equal(stacked.embed([windows[place]]), layers)
            found += not np.array_equal(tokens.embed([windows[place]]), last)
        return found

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(wrong_stacks, range(12))) == 0
    assert sorted(set(used)) == [1, 2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("kind", "rows", "num_rows"),
    [
        ("videomae", "layers", NUM_LAYERS + 1),
        ("videomae", "tokens", 8),
        ("wav2vec2-large", "layers", NUM_LAYERS + 1),
        ("wav2vec2-large", "tokens", NUM_AUDIO_TOKENS),
    ],
)
def test_a_stacked_embedding_is_its_rows_one_after_another(
    backbones: dict[str, Any], tmp_path: Path, kind: str, rows: str, num_rows: int
) -> None:
    base = backbones[kind]
    assert isinstance(base, TokenBackbone)
    folder = write_checkpoint(kind, tmp_path / kind)
    stacked = create_backbone(f"{folder}+{rows}", device="cpu")
    spec = stacked.spec
    assert (spec.dim, spec.num_rows, spec.row_dim) == (num_rows * DIM, num_rows, DIM)
    assert spec.name == f"{base.spec.name}+{rows}"
    assert spec.preprocessing != base.spec.preprocessing
    assert stacked.model == base.model
    windows = [window(), window(seconds=1.1, seed=1)]
    found = stacked.embed(windows)[1].reshape(num_rows, DIM)
    if rows == "layers":
        np.testing.assert_array_equal(found, base.embed_layers(windows[1]))
    else:
        tokens = base.embed_tokens(windows[1])
        np.testing.assert_array_equal(found, spread_tokens(tokens, num_rows))


def test_tokens_are_means_of_blocks_and_spread_as_in_adaptive_pooling() -> None:
    rng = np.random.default_rng(0)
    for num_tokens in (1, 3, 16, 40, 41):
        tokens = rng.normal(size=(num_tokens, 5)).astype(np.float32)
        pool = torch.nn.AdaptiveAvgPool1d(16)
        expected = pool(torch.from_numpy(tokens.T)[None])[0].numpy().T
        np.testing.assert_allclose(spread_tokens(tokens, 16), expected, atol=1e-6)
    frames = np.arange(14, dtype=np.float32).reshape(7, 2)
    blocks = np.stack([frames[0:3].mean(axis=0), frames[3:6].mean(axis=0), frames[6]])
    np.testing.assert_allclose(pool_tokens(frames, 3), blocks)


NEW_FORM: dict[str, Any] = {
    **{f"do_{step}": True for step in ("center_crop", "normalize", "rescale", "resize")},
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
    from transformers.models.videomae import image_processing_pil_videomae as theirs

    seen = window(num_crops=16)
    assert seen.faces is not None
    frames = FaceInput.from_config(config, 16).prepare(seen)
    processor = theirs.VideoMAEImageProcessorPil(**config)
    expected = processor(list(seen.faces), return_tensors="np")["pixel_values"][0]
    assert frames.dtype == np.float32
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
    short = Window(0.0, 0.01, None, np.ones(160, np.float32), 0.0, 1.0)
    assert VoiceInput(normalize=False, min_samples=400).prepare(short).shape == (400,)


def picked(num_frames: int, num_crops: int, **times: Any) -> list[int]:
    """Which crops stand for the moments; crop k is all of grey level k."""
    crops = np.broadcast_to(
        np.arange(num_crops, dtype=np.uint8)[:, None, None, None], (num_crops, 8, 8, 3)
    )
    start_s = times.pop("start_s", 0.0)
    seen = Window(start_s, start_s + 4.0, crops, None, 1.0, 0.0, 1, **times)
    plain = FaceInput(num_frames, 8, 8, 2, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    return [round(float(frame.mean())) for frame in plain.prepare(seen)]


def test_the_crop_nearest_in_time_stands_for_each_of_equal_slices() -> None:
    assert picked(16, 16) == list(range(16))
    assert picked(16, 4) == [k // 4 for k in range(16)]
    # Moments at 10.5, 11.5, 12.5, 13.5 s; the face was gone from 10.3 to 13.9 s.
    times = np.array([10.1, 10.3, 13.9])
    assert picked(4, 3, start_s=10.0, face_timestamps_s=times) == [1, 1, 2, 2]
    for start_s in (0.0, 0.1, 12345.7):  # of two that are equally near, the earlier
        times = np.array([start_s + 1.0, start_s + 3.0])
        assert picked(1, 2, start_s=start_s, face_timestamps_s=times) == [0]


def test_inputs_that_are_not_there_or_not_supported_are_refused() -> None:
    face, deaf = FaceInput.from_config(FACE_PREPROCESSOR, 16), np.zeros((1, 8, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="window at 2 s has no faces"):
        face.prepare(Window(2.0, 4.0, None, np.zeros(9, np.float32), 0.0, 0.0))
    with pytest.raises(ValueError, match="must be square, these are 8×9"):
        face.prepare(Window(2.0, 4.0, deaf, None, 1.0, 0.0))
    with pytest.raises(ValueError, match="window at 2 s has no sound"):
        VoiceInput(True, 400).prepare(Window(2.0, 4.0, deaf, None, 1.0, 0.0))
    for changes, problem in (
        ({"do_normalize": False}, "do_normalize is off"),
        ({"do_resize": False}, "do_resize is off"),
        ({"crop_size": 64}, "cuts 64 px out of 32 px"),
        ({"rescale_factor": 1.0}, "rescale_factor"),
        ({"size": {"height": 32, "width": 40}}, "not square"),
    ):
        with pytest.raises(ValueError, match=problem):
            FaceInput.from_config({**FACE_PREPROCESSOR, **changes}, 16)
    with pytest.raises(ValueError, match="wants 80 values a sample"):
        VoiceInput.from_config({"feature_size": 80}, 400)


def test_another_input_has_another_version() -> None:
    forms = [
        FaceInput.from_config(FACE_PREPROCESSOR, 16),
        FaceInput.from_config({**FACE_PREPROCESSOR, "image_mean": [0.5, 0.5, 0.5]}, 16),
        FaceInput.from_config({**FACE_PREPROCESSOR, "resample": 3}, 16),
        FaceInput.from_config(FACE_PREPROCESSOR, 8),
    ]
    assert len({form.version for form in forms}) == 4
    assert forms[0].version == FaceInput.from_config(dict(FACE_PREPROCESSOR), 16).version
