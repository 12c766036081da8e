"""Checkpoints from a hub that speaks the real protocol, and what can be wrong with them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facevoice.backbones.huggingface import CheckpointFiles, fetch, open_folder
from facevoice.errors import WeightsError
from hub_server import HubServer

NAME = "someone/tiny"


def tiny_safetensors(value: float = 1.0) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    return save({"weight": np.full(3, value, np.float32)}, metadata={"format": "pt"})


def files(value: float = 1.0) -> dict[str, bytes]:
    return {
        "config.json": b'{"model_type": "wav2vec2", "hidden_size": 32}',
        "preprocessor_config.json": b"{}",
        "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# Card\n",
        "model.safetensors": tiny_safetensors(value),
        "pytorch_model.bin": b"a pickle, never to be fetched",
        "flax_model.msgpack": b"nor this",
    }


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
    assert found.sha256 == hashlib.sha256(tiny_safetensors()).hexdigest()
    assert sorted(p.name for p in found.folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    assert found.license() == "cc-by-nc-4.0"
    assert not [path for path in hub.asked if "pytorch_model" in path or "flax" in path]


def test_a_cached_commit_is_not_asked_for_again(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.repository(NAME).commit(files())
    first = get(hub, tmp_path, commit)
    hub.asked.clear()
    assert get(hub, tmp_path, commit) == first
    assert hub.asked == []


def test_a_pinned_commit_stays_when_the_branch_moves(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.repository(NAME)
    old = repository.commit(files(1.0))
    new = repository.commit(files(2.0))
    pull = repository.commit(files(3.0), ref="refs/pr/1")
    assert get(hub, tmp_path, old).sha256 == hashlib.sha256(tiny_safetensors(1.0)).hexdigest()
    assert get(hub, tmp_path).commit == new
    assert get(hub, tmp_path, "refs/pr/1").commit == pull


def test_weights_that_are_not_the_named_ones_are_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.repository(NAME).commit(files())
    right = hashlib.sha256(tiny_safetensors()).hexdigest()
    assert get(hub, tmp_path, weights_sha256=right).sha256 == right
    with pytest.raises(WeightsError, match=r"model\.safetensors: SHA-256 is .*, expected 0000"):
        get(hub, tmp_path, weights_sha256="0" * 64)


def test_a_file_damaged_in_the_cache_is_named_and_fetched_anew_once_deleted(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.repository(NAME).commit(files())
    path = get(hub, tmp_path).weights[0].resolve()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1  # same size, header whole
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"damaged \(SHA-256.*Delete .* and run again") as caught:
        get(hub, tmp_path)
    assert str(path) in str(caught.value)
    path.unlink()
    assert get(hub, tmp_path).sha256 == hashlib.sha256(tiny_safetensors()).hexdigest()


def test_damage_on_the_way_is_found(hub: HubServer, tmp_path: Path) -> None:
    hub.repository(NAME).commit(files())
    content = tiny_safetensors()
    hub.broken["model.safetensors"] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(WeightsError, match="damaged"):
        get(hub, tmp_path / "a")
    hub.broken["model.safetensors"] = content[:-4]
    with pytest.raises(WeightsError, match="damaged"):
        get(hub, tmp_path / "b")


def test_pickles_are_refused_and_the_way_out_is_told(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.repository(NAME)
    pickled = files()
    del pickled["model.safetensors"]
    repository.commit(pickled)
    with pytest.raises(WeightsError, match=r"no model\.safetensors.*never opened.*refs/pr/N"):
        get(hub, tmp_path)
    assert not [path for path in hub.asked if "pytorch_model" in path]
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(
        WeightsError, match=r"saved: no model\.safetensors, only pytorch_model\.bin"
    ):
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


def test_without_a_hub_the_cache_serves(tmp_path: Path) -> None:
    with HubServer().running() as hub:
        hub.repository(NAME).commit(files())
        first = get(hub, tmp_path)
    assert get(hub, tmp_path) == first
    with pytest.raises(WeightsError, match=r"not in the cache.*without HF_HUB_OFFLINE"):
        fetch("someone/else", "main", endpoint=hub.url, cache_dir=tmp_path)


OFFLINE = """
import sys
from facevoice.backbones.huggingface import fetch
print(fetch(sys.argv[1], "main").origin)
"""


def test_the_environment_of_the_hub_is_honoured(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.repository(NAME).commit(files())
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    online = {**environment, "HF_ENDPOINT": hub.url}
    for variables in (online, {**online, "HF_HUB_OFFLINE": "1"}):
        hub.asked.clear()
        run = subprocess.run(
            [sys.executable, "-c", OFFLINE, NAME],
            env=variables,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == f"{NAME}@{commit}"
    assert hub.asked == []  # the second run asked for nothing


def shards() -> dict[str, bytes]:
    import numpy as np
    from safetensors.numpy import save

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
    truncated = {"config.json": b"{}", "model.safetensors": tiny_safetensors()[:-5]}
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        open_folder(write(tmp_path / "truncated", truncated))
    text = {
        "config.json": b"{}",
        "model.safetensors": b"version https://git-lfs.github.com/spec/v1",
    }
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        open_folder(write(tmp_path / "pointer", text))
    found = open_folder(write(tmp_path / "bare", {"model.safetensors": tiny_safetensors()}))
    with pytest.raises(WeightsError, match=r"bare: config\.json is missing"):
        found.read_json("config.json")
    assert found.license() == "unknown"
    (found.folder / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match="holds no JSON object"):
        found.read_json("config.json")
