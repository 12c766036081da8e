"""Exported backbones: equal to torch within rounding, without torch, and never the wrong files."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facevoice.backbones.export import export_backbone
from facevoice.backbones.onnx import FP32_FILE, INT8_FILE, SPEC_FILE, OnnxBackbone
from facevoice.backbones.registry import create_backbone
from facevoice.backbones.spec import TokenBackbone
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from tiny_checkpoints import KINDS, window, write_checkpoint

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

Pair = tuple[TokenBackbone, Path]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """The backbone in torch, and the folder of its export."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("exports")
        backbone = create_backbone(str(write_checkpoint(kind, folder / "tiny")), device="cpu")
        assert isinstance(backbone, TokenBackbone)
        seen = window(seconds=0.8)
        before = backbone.embed([seen])
        export_backbone(backbone, folder / "onnx")
        np.testing.assert_array_equal(backbone.embed([seen]), before)
        made[kind] = (backbone, folder / "onnx")
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_float32_equals_torch_at_any_length(exports: dict[str, Pair], kind: str) -> None:
    backbone, folder = exports[kind]
    exported = OnnxBackbone(folder)
    assert isinstance(exported, TokenBackbone)
    windows = [window(seconds=s, num_crops=n) for s, n in ((2.0, 20), (0.3, 2), (3.31, 16))]
    np.testing.assert_allclose(exported.embed(windows), backbone.embed(windows), atol=1e-5)
    for seen in windows:
        ours, theirs = exported.embed_tokens(seen), backbone.embed_tokens(seen)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        ours, theirs = exported.embed_layers(seen), backbone.embed_layers(seen)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert exported.num_layers == backbone.num_layers
    assert exported.num_tokens == backbone.num_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_int8_is_near_and_an_export_is_the_same_backbone_with_other_weights(
    exports: dict[str, Pair], kind: str
) -> None:
    backbone, folder = exports[kind]
    fp32, int8 = create_backbone(str(folder)), create_backbone(str(folder / INT8_FILE))
    seen = window()
    a, b = int8.embed([seen])[0], backbone.embed([seen])[0]
    assert float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) > 0.999
    nodes = [node.op_type for node in onnx.load(folder / INT8_FILE).graph.node]
    # Six linear layers in each of three encoder layers; attention itself multiplies activations.
    assert nodes.count("MatMulInteger") >= 18
    assert nodes.count("MatMul") == 2 * 3
    assert fp32.spec == backbone.spec
    assert int8.spec.precision == "int8"
    assert isinstance(fp32, OnnxBackbone) and fp32.record.source == backbone.model
    # So that a store never mixes their embeddings.
    assert len({backbone.model.sha256, fp32.model.sha256, int8.model.sha256}) == 3
    assert create_backbone(f"{folder}+layers").spec.num_rows == 4


WITHOUT_TORCH = """
import sys
for heavy in ("torch", "transformers", "huggingface_hub", "safetensors", "onnx"):
    sys.modules[heavy] = None
import numpy as np
from facevoice.backbones.registry import create_backbone
from facevoice.records import Window
faces = np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), dtype=np.uint8)
sound = np.sin(np.arange(8000) / 7).astype(np.float32)
window = Window(0.0, 0.5, faces, sound, 1.0, 1.0)
for name in sys.argv[1:]:
    print(create_backbone(name).embed([window]).shape)
"""


def test_it_runs_without_torch(exports: dict[str, Pair]) -> None:
    names = [str(exports[kind][1] / INT8_FILE) for kind in ("videomae", "wavlm-large")]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *names], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:2] == ["(1, 32)", "(1, 32)"]


@pytest.fixture
def copied(exports: dict[str, Pair], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports["wavlm-large"][1], tmp_path / "copied"))


def test_a_changed_file_is_refused(copied: Path) -> None:
    content = bytearray((copied / FP32_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / FP32_FILE).write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.onnx: SHA-256 is .*, expected .*Export the"):
        OnnxBackbone(copied)
    assert OnnxBackbone(copied / INT8_FILE).spec.precision == "int8"
    (copied / INT8_FILE).unlink()
    with pytest.raises(WeightsError, match=r"model\.int8\.onnx: can't be read"):
        OnnxBackbone(copied / INT8_FILE)
    (copied / "other.onnx").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"other\.onnx: is not named in spec\.json"):
        create_backbone(str(copied / "other.onnx"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1}', r"is damaged \(KeyError\('spec'\)"),
        ('{"format": 9}', r"format 9; this facevoice reads 1\. Export"),
    ],
)
def test_a_damaged_record_is_refused(copied: Path, text: str, problem: str) -> None:
    (copied / SPEC_FILE).write_text(text)
    with pytest.raises(WeightsError, match=problem):
        OnnxBackbone(copied)


def test_a_record_of_other_fields_or_networks_is_refused(copied: Path) -> None:
    document = json.loads((copied / SPEC_FILE).read_text())
    (copied / FP32_FILE).write_bytes(b"no network")
    document["files"][FP32_FILE]["sha256"] = hashlib.sha256(b"no network").hexdigest()
    (copied / SPEC_FILE).write_text(json.dumps(document))
    with pytest.raises(WeightsError, match="onnxruntime can't open it"):
        OnnxBackbone(copied)
    document["spec"]["temperature"] = 1
    (copied / SPEC_FILE).write_text(json.dumps(document))
    with pytest.raises(WeightsError, match="temperature"):
        OnnxBackbone(copied)
    (copied / SPEC_FILE).unlink()
    with pytest.raises(WeightsError, match=r"spec\.json: can't be read"):
        OnnxBackbone(copied)


def test_only_what_torch_runs_is_exported(
    exports: dict[str, Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="'compact-face' can't be exported"):
        export_backbone(create_backbone("compact-face"), tmp_path)
    backbone = exports["wavlm-large"][0]
    monkeypatch.setattr("facevoice.backbones.export.MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="do not fit into one ONNX file"):
        export_backbone(backbone, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr("facevoice.backbones.export.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"'facevoice\[train\]'"):
        export_backbone(backbone, tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    record = export_backbone(backbone, tmp_path / "again", int8=False)
    first = OnnxBackbone(exports["wavlm-large"][1])
    assert {n: f["sha256"] for n, f in record.files.items()} == {FP32_FILE: first.model.sha256}
