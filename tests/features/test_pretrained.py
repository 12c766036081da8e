"""Which backbones are known, and that nothing is loaded by halves."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facevoice.backbones.huggingface import (
    DEFAULT_BACKBONES,
    PRETRAINED,
    fetch,
    load_checkpoint,
    load_pretrained,
    open_folder,
    parse_hub_name,
)
from facevoice.backbones.spec import (
    UNKNOWN_CORPORA,
    backbone_names,
    create_backbone,
    register_backbone,
)
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.records import Modality
from hub_server import HubServer
from tiny_checkpoints import (
    DIM,
    KINDS,
    checkpoint,
    edit_json,
    edit_weights,
    window,
    write_checkpoint,
)

pytest.importorskip("torch")


def test_the_table_is_complete_and_the_defaults_are_honest() -> None:
    for name, spec in PRETRAINED.items():
        assert spec.name == name
        assert re.fullmatch(r"[0-9a-f]{40}|refs/pr/\d+", spec.revision or "")
        assert spec.weights_sha256 or re.fullmatch(r"[0-9a-f]{40}", spec.revision or "")
        assert spec.hub_id is not None
        assert spec.license
        assert spec.training_corpora
    for modality, name in DEFAULT_BACKBONES.items():
        assert PRETRAINED[name].modality is modality
        assert not {"ravdess", "crema-d", "cremad", "unknown"} & {
            *PRETRAINED[name].training_corpora
        }
    contaminated = [s.hub_id for s in PRETRAINED.values() if "ravdess" in s.training_corpora]
    assert contaminated == ["ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition"]
    assert {*PRETRAINED, "compact-face", "compact-voice"} == {*backbone_names()}
    with pytest.raises(ConfigError, match="registered already"):
        register_backbone("videomae-base", lambda _threads: create_backbone("compact-face"))


def test_names_of_the_hub() -> None:
    assert parse_hub_name("hub:a/b") == ("a/b", "main")
    assert parse_hub_name("hub:a/b@refs/pr/2") == ("a/b", "refs/pr/2")
    for wrong in ("hub:a", "hub:a/b/c", "hub:/b", "hub:a/b@"):
        with pytest.raises(ConfigError, match="must look like hub:OWNER/NAME"):
            parse_hub_name(wrong)
    with pytest.raises(ConfigError, match=r"unknown backbone 'resnet'; known: .*videomae-base"):
        create_backbone("resnet")


def write(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


PREFIX = {"videomae": "videomae.", "wavlm-large": "", "hubert-large": "hubert."}


def prefix(kind: str) -> str:
    return PREFIX.get(kind, "wav2vec2.")


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_encoder_must_be_there(kind: str, tmp_path: Path) -> None:
    files = checkpoint(kind)
    lost = f"{prefix(kind)}encoder.layer"
    lost += ".1.output.dense.weight" if kind == "videomae" else "s.1.final_layer_norm.bias"
    edit_weights(files, lambda tensors: tensors.pop(lost))
    short = lost.removeprefix(prefix(kind))
    with pytest.raises(WeightsError, match=rf"missing: {re.escape(short)}\. Take") as caught:
        load_pretrained(write(tmp_path / "tiny", files))
    assert "model.safetensors" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_has_no_place_is_an_error(kind: str, tmp_path: Path) -> None:
    files = checkpoint(kind)
    extra = f"{prefix(kind)}encoder.gate.weight"
    edit_weights(files, lambda tensors: tensors.update({extra: np.ones(3, np.float32)}))
    with pytest.raises(WeightsError, match=r"unexpected: .*encoder\.gate\.weight"):
        load_pretrained(write(tmp_path / "tiny", files))


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_another_shape_is_an_error(kind: str, tmp_path: Path) -> None:
    files = checkpoint(kind)
    edit_json(files, "config.json", intermediate_size=48)
    with pytest.raises(WeightsError, match=r"another shape than config\.json says: .*\(64, 32\)"):
        load_pretrained(write(tmp_path / "tiny", files))


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
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    files, heard = checkpoint("wav2vec2-large"), window(seconds=0.7)
    as_saved = load_pretrained(write(tmp_path / "new", files)).embed([heard])
    edit_weights(files, change)
    old = load_pretrained(write(tmp_path / "old", files)).embed([heard])
    np.testing.assert_array_equal(as_saved, old)


def test_half_precision_files_run_in_float32(tmp_path: Path) -> None:
    files = checkpoint("wav2vec2-large")

    def halve(tensors: dict[str, Any]) -> None:
        tensors.update({key: value.astype(np.float16) for key, value in tensors.items()})

    edit_weights(files, halve)
    edit_json(files, "config.json", dtype="float16")
    backbone = load_pretrained(write(tmp_path / "half", files))
    assert backbone.embed([window(seconds=0.5)]).dtype == np.float32


def test_a_checkpoint_must_be_what_the_table_says(tmp_path: Path) -> None:
    files = open_folder(write_checkpoint("wav2vec2-large", tmp_path / "tiny"))
    with pytest.raises(WeightsError, match="hidden_size is 32, but backbone 'wav2vec2-base' gives"):
        load_checkpoint(files, PRETRAINED["wav2vec2-base"])
    with pytest.raises(WeightsError, match="is a wav2vec2 network, but backbone 'wavlm-large'"):
        load_checkpoint(files, PRETRAINED["wavlm-large"])
    other = checkpoint("wav2vec2-large")
    edit_json(other, "config.json", model_type="bert")
    with pytest.raises(WeightsError, match=r"model_type = 'bert', .*Known: hubert, videomae"):
        load_pretrained(write(tmp_path / "other", other))
    edit_json(other, "config.json", model_type="wav2vec2", hidden_size="wide")
    with pytest.raises(WeightsError, match=r"hidden_size is 'wide'"):
        load_pretrained(write(tmp_path / "wide", other))
    edit_json(other, "config.json", hidden_size=32, num_hidden_layers="many")
    with pytest.raises(WeightsError, match="can't build a Wav2Vec2Model"):
        load_pretrained(write(tmp_path / "many", other))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


@pytest.fixture
def local_hub(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """In the place of the public one, as HF_ENDPOINT and HF_HOME would put it."""
    local = partial(fetch, endpoint=hub.url, cache_dir=tmp_path / "cache")
    monkeypatch.setattr("facevoice.backbones.huggingface.fetch", local)
    return hub


def test_by_name_from_a_hub_then_without_one(
    local_hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = local_hub.repository("someone/tiny").commit(checkpoint("wav2vec2-large"))
    heard = window(seconds=0.5)
    online = create_backbone("hub:someone/tiny", device="cpu")
    assert online.spec.name == "hub:someone/tiny"
    assert online.spec.revision == commit
    assert online.spec.license == "apache-2.0"
    assert online.spec.training_corpora == UNKNOWN_CORPORA
    assert online.model.name == f"someone/tiny@{commit}"
    assert online.model.sha256 == sha256(checkpoint("wav2vec2-large")["model.safetensors"])
    local_hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("hub:someone/tiny", f"hub:someone/tiny@{commit}"):
        offline = create_backbone(name, device="cpu")
        assert offline.model == online.model
        np.testing.assert_array_equal(offline.embed([heard]), online.embed([heard]))
    assert local_hub.asked == []


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_name_of_the_table_asks_for_its_own_commit(local_hub: HubServer) -> None:
    spec = PRETRAINED["videomae-base"]
    assert spec.hub_id is not None
    assert spec.revision is not None
    repository = local_hub.repository(spec.hub_id)
    repository.commit(checkpoint("wav2vec2-large"))
    repository.commits[spec.revision] = checkpoint("videomae")
    # The tiny network is not 768 wide, which shows that it was this commit that came.
    with pytest.raises(WeightsError, match=f"{spec.revision}/config.json: hidden_size is 32"):
        create_backbone("videomae-base", device="cpu")


def test_a_repository_of_the_table_keeps_its_marks_however_it_is_named(
    local_hub: HubServer,
) -> None:
    name = "ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition"
    local_hub.repository(name).commit(checkpoint("wav2vec2-large"))
    local_hub.repository("other/copy").commit(checkpoint("wav2vec2-large"))
    marked = load_pretrained(f"hub:{name}@main")
    assert "ravdess" in marked.spec.training_corpora
    copied = load_pretrained("hub:other/copy")
    assert copied.spec.training_corpora == UNKNOWN_CORPORA
    assert copied.spec.modality is Modality.AUDIO
    assert copied.spec.dim == DIM


def test_devices(tmp_path: Path) -> None:
    folder = str(write_checkpoint("wav2vec2-large", tmp_path / "tiny"))
    with pytest.raises(ConfigError, match="device 'abacus' can't be used"):
        load_pretrained(folder, device="abacus")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(write_checkpoint("wav2vec2-large", tmp_path / "tiny"))
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[full\]"):
        load_pretrained(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[full\]"):
        load_pretrained("videomae-base")
