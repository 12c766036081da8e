"""Weights are data: nothing unpickles them, and no path in them leads out of their folder."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facevoice
from facevoice.errors import WeightsError
from facevoice.models.checkpoint import read_info
from facevoice.sessions import open_session

PACKAGE = Path(facevoice.__file__).parent
# What runs code that lies in data.
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "yaml.unsafe_load", "pd.read_pickle"}
ALLOWED = {
    # What Ray hands from the driver to its own workers, which run the driver's code anyhow.
    ("workers.py", "pickle"),
}


def _found(tree: ast.AST) -> set[str]:
    """Modules that are imported, and calls by their dotted names, of those that must not be."""
    found: set[str] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= MODULES & {name.partition(".")[0] for name in names}
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found |= {name} & CALLS
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                found.add(f"{name} without allow_pickle=False")
            if options.get("trust_remote_code") not in (None, "False"):
                found.add("trust_remote_code")
    return found


def test_nothing_of_the_package_runs_code_out_of_data() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in _found(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(x)", "np.load(x)", "eval(x)"],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert _found(ast.parse(code))


def test_a_link_out_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra full")
    from tiny_models import write_model

    folder = write_model(tmp_path / "model")
    secret = tmp_path / "secret"
    (folder / "data.json").rename(secret)
    (folder / "data.json").symlink_to(secret)
    with pytest.raises(WeightsError, match=r"'data\.json' lies outside this folder"):
        read_info(folder)
    # The hub's cache keeps the bytes beside its folders.
    commit = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    blobs = tmp_path / "models--a--b" / "blobs"
    commit.parent.mkdir(parents=True)
    folder.rename(commit)
    blobs.mkdir()
    (commit / "data.json").unlink()
    secret.rename(blobs / "abc")
    (commit / "data.json").symlink_to(blobs / "abc")
    read_info(commit)


def test_a_checkpoint_of_an_unknown_backbone_loads_nothing_from_this_disk(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the extra full")
    from facevoice.models.model import build_backbones
    from tiny_models import make_info, write_model

    folder = write_model(tmp_path / "model")
    info = make_info()
    used: Any = {m: type(u)(f"{tmp_path}@{'0' * 12}", u.dim) for m, u in info.backbones.items()}
    with pytest.raises(WeightsError, match="which nobody knows"):
        build_backbones(folder, make_info(backbones=used))


def _network(folder: Path, *, is_external: bool) -> Path:
    onnx = pytest.importorskip("onnx", reason="needs the extra train")
    weight = onnx.numpy_helper.from_array(np.ones((300, 4), np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", 1, [1, 300])],
        [value("y", 1, [1, 4])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    path = folder / "network.onnx"
    onnx.save(model, path, save_as_external_data=is_external, location="beside.bin")
    return path


def test_networks_whose_weights_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    whole = _network(tmp_path, is_external=False)
    for network in (whole, whole.read_bytes()):
        assert open_session(network, "it").get_inputs()[0].name == "x"
    torn = _network(tmp_path, is_external=True)
    assert (tmp_path / "beside.bin").is_file()
    for network in (torn, torn.read_bytes()):
        with pytest.raises(WeightsError, match="it: its weights lie in other files"):
            open_session(network, "it")
    for content in (b"", b"\xff" * 20, whole.read_bytes()[:-9], json.dumps({}).encode()):
        with pytest.raises(WeightsError, match=r"^it: "):
            open_session(content, "it")
