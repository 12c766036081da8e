"""The bill of materials in the wheel: what it names, and what it doesn't tell."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src" / "facevoice" / "weights"
RESOLVED = {
    "metadata": {"name": "tomli_w", "version": "1.2.0", "license_expression": "MIT"},
    "download_info": {
        "url": "https://user:secret@registry.example/tomli_w-1.2.0.whl",
        "archive_info": {"hashes": {"sha256": "ab" * 32}},
    },
}


def build(folder: Path, resolved: list[dict[str, Any]] | None) -> tuple[dict[str, Any], str]:
    """Build the wheel from a copy; its bill, and that as text."""
    pytest.importorskip("hatchling", reason="builds the wheel")
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    (source / "src" / "facevoice").mkdir(parents=True)
    shutil.copytree(WEIGHTS, source / "src" / "facevoice" / "weights")
    if resolved is not None:
        (source / "build").mkdir()
        (source / "build" / "resolved.json").write_text(json.dumps({"install": resolved}))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if ".dist-info/sboms/" in n)
        text = archive.read(name).decode("utf-8")
        packed = {Path(n).name for n in archive.namelist() if "/weights/" in n}
    assert packed >= {entry["file"] for entry in index().values()}
    return json.loads(text), text


def index() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((WEIGHTS / "index.json").read_text("utf-8"))
    return read


def test_the_wheel_names_all_weights_and_packages_and_no_registry(tmp_path: Path) -> None:
    bill, text = build(tmp_path / "a", [RESOLVED])
    components = {each["name"]: each for each in bill["components"]}
    binary = [p for p in WEIGHTS.iterdir() if p.suffix in (".onnx", ".npz")]
    assert binary
    for path in binary:
        told = components[f"facevoice/weights/{path.name}"]
        assert told["hashes"][0]["content"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert told["licenses"][0]["license"]["name"]
    assert components["tomli-w"]["version"] == "1.2.0"
    assert components["tomli-w"]["licenses"] == [{"expression": "MIT"}]
    assert components["tomli-w"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert "//" not in text
    assert "registry" not in text

    bill, text = build(tmp_path / "b", None)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {each["name"] for each in bill["components"]}
    assert len(names) == len(project["dependencies"]) + len(index())
    assert {"onnxruntime", "tomli-w"} <= names
    assert "//" not in text
