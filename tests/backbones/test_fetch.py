"""Checkpoints from a hub that speaks the real protocol, and what can be wrong with them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.huggingface import CheckpointFiles, fetch, open_folder
from facevoice.errors import WeightsError
from hub_server import HubServer

save = pytest.importorskip("safetensors.numpy").save
pytest.importorskip("huggingface_hub")

NAME = "someone/tiny"


def weights(value: float = 1.0) -> bytes:
    content: bytes = save({"weight": np.full(3, value, np.float32)}, metadata={"format": "pt"})
    return content


def files(value: float = 1.0) -> dict[str, bytes]:
    return {
        "config.json": b'{"model_type": "wav2vec2", "hidden_size": 32}',
        "preprocessor_config.json": b"{}",
        "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# Card\n",
        "model.safetensors": weights(value),
        "pytorch_model.bin": b"a pickle, never to be fetched",
        "flax_model.msgpack": b"nor this",
    }


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer().running() as server:
        yield server


def get(hub: HubServer, cache: Path, revision: str = "main", **more: str) -> CheckpointFiles:
    return fetch(NAME, revision, endpoint=hub.url, cache_dir=cache, **more)


def test_a_branch_is_resolved_to_its_commit_and_only_safe_files_are_fetched(
    hub: HubServer, tmp_path: Path
) -> None:
    commit = hub.repository(NAME).commit(files())
    found = get(hub, tmp_path)
    assert found.commit == commit
    assert found.origin == f"{NAME}@{commit}"
    assert found.sha256 == sha256(weights())
    names = sorted(p.name for p in found.folder.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert found.license() == "cc-by-nc-4.0"
    assert not [path for path in hub.asked if "pytorch_model" in path or "flax" in path]


def test_a_commit_stays_and_is_asked_for_once(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.repository(NAME)
    old = repository.commit(files(1.0))
    first = get(hub, tmp_path, old)
    new = repository.commit(files(2.0))
    pull = repository.commit(files(3.0), ref="refs/pr/1")
    hub.asked.clear()
    assert get(hub, tmp_path, old) == first
    assert hub.asked == []
    assert get(hub, tmp_path).commit == new
    assert get(hub, tmp_path, "refs/pr/1").commit == pull


def test_weights_that_are_not_the_named_ones_or_damaged_are_refused(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.repository(NAME).commit(files())
    right = sha256(weights())
    assert get(hub, tmp_path, weights_sha256=right).sha256 == right
    with pytest.raises(WeightsError, match=r"model\.safetensors: SHA-256 is .*, expected 0000"):
        get(hub, tmp_path, weights_sha256="0" * 64)
    path = get(hub, tmp_path).weights[0].resolve()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1  # same size, header whole
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"damaged \(SHA-256.*Delete .* and run again") as caught:
        get(hub, tmp_path)
    assert str(path) in str(caught.value)
    path.unlink()
    assert get(hub, tmp_path).sha256 == right
    for content in (bytes(damaged), weights()[:-4]):
        hub.broken["model.safetensors"] = content  # on the way
        with pytest.raises(WeightsError, match="damaged"):
            get(hub, tmp_path / str(len(content)))


def test_pickles_are_refused_and_the_way_out_is_told(hub: HubServer, tmp_path: Path) -> None:
    pickled = files()
    del pickled["model.safetensors"]
    hub.repository(NAME).commit(pickled)
    with pytest.raises(WeightsError, match=r"no model\.safetensors.*never opened.*refs/pr/N"):
        get(hub, tmp_path)
    assert not [path for path in hub.asked if "pytorch_model" in path]
    folder = write(
        tmp_path / "saved",
        {"config.json": b"{}", "pytorch_model.bin": b"cos\nsystem\n(S'false'\ntR."},
    )
    with pytest.raises(WeightsError, match=r"saved: no model\.safetensors, only pytorch_model\.b"):
        open_folder(folder)


def test_what_is_not_there_or_not_allowed_is_told_apart(hub: HubServer, tmp_path: Path) -> None:
    hub.repository(NAME).commit(files())
    with pytest.raises(WeightsError, match="nobody/none@main: no such repository, or it is priv"):
        fetch("nobody/none", "main", endpoint=hub.url, cache_dir=tmp_path)
    with pytest.raises(WeightsError, match=f"{NAME}@v9: no such revision"):
        get(hub, tmp_path, "v9")
    with pytest.raises(WeightsError, match="no name of a repository"):
        fetch("not//a name", "main", endpoint=hub.url, cache_dir=tmp_path)
    hub.repository(NAME).gated = True
    with pytest.raises(WeightsError, match="access must be granted"):
        get(hub, tmp_path / "other")


FETCH = """
import sys
from facevoice.backbones.huggingface import fetch
print(fetch(sys.argv[1], "main").origin)
"""


def test_without_a_hub_the_cache_serves_and_its_environment_is_honoured(tmp_path: Path) -> None:
    with HubServer().running() as hub:
        commit = hub.repository(NAME).commit(files())
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
            hub.asked.clear()
            run = subprocess.run(
                [sys.executable, "-c", FETCH, NAME],
                env={**environment, "HF_ENDPOINT": hub.url, **variables},
                capture_output=True,
                text=True,
                check=True,
            )
            assert run.stdout.strip() == f"{NAME}@{commit}"
        assert hub.asked == []  # the second run asked for nothing
        first = get(hub, tmp_path)
    assert get(hub, tmp_path) == first
    with pytest.raises(WeightsError, match=r"not in the cache.*without HF_HUB_OFFLINE"):
        fetch("someone/else", "main", endpoint=hub.url, cache_dir=tmp_path)


def shards() -> dict[str, bytes]:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    return {
        "config.json": b"{}",
        names[0]: save({"a": np.ones(2, np.float32)}),
        names[1]: save({"b": np.ones(2, np.float32)}),
        "model.safetensors.index.json": json.dumps(index).encode(),
    }


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def test_weights_in_several_files_are_all_checked(tmp_path: Path) -> None:
    whole = open_folder(write(tmp_path / "whole", shards()))
    assert len(whole.weights) == 2
    torn = shards()
    del torn["model-00002-of-00002.safetensors"]
    with pytest.raises(WeightsError, match=r"model-00002-of-00002\.safetensors are missing"):
        open_folder(write(tmp_path / "torn", torn))
    outside = shards()
    outside["model.safetensors.index.json"] = b'{"weight_map": {"a": "../whole/config.json"}}'
    with pytest.raises(WeightsError, match="are missing"):
        open_folder(write(tmp_path / "outside", outside))


def test_folders_that_hold_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="empty: neither"):
        open_folder(write(tmp_path / "empty", {}))
    for name, content in (
        ("truncated", weights()[:-5]),
        ("pointer", b"version https://git-lfs.github.com/spec/v1"),
    ):
        folder = write(tmp_path / name, {"config.json": b"{}", "model.safetensors": content})
        with pytest.raises(WeightsError, match="no whole safetensors file"):
            open_folder(folder)
    found = open_folder(write(tmp_path / "bare", {"model.safetensors": weights()}))
    with pytest.raises(WeightsError, match=r"bare: config\.json is missing"):
        found.read_json("config.json")
    assert found.license() == "unknown"
    (found.folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="holds no JSON object"):
        found.read_json("config.json")
