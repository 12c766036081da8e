"""From a checkpoint in torch to a folder without it: the same answers, or a refusal."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from conftest import ClipMaker
from facevoice import Analyzer
from facevoice.backbones.onnx import INT8_FILE
from facevoice.errors import ConfigError, MissingExtraError, WeightsError
from facevoice.export import (
    Samples,
    check_export,
    export_fusion,
    export_model,
    make_samples,
    read_samples,
)
from facevoice.files import file_sha256
from facevoice.models.checkpoint import load_checkpoint
from facevoice.models.model import (
    EXPORT_INDEX,
    FUSION_FILE,
    CheckpointModel,
    ExportedModel,
    read_export,
)
from facevoice.models.network import FUSIONS
from facevoice.records import Modality, Prediction, Report
from full_models import FullModel, write_compact_model, write_full_model

SAMPLE = Path(__file__).parents[1] / "examples" / "smile_glad_voice.mp4"
FP32_TOLERANCE = 1e-4
# Tiny random networks suffer more from eight bits than large trained ones.
INT8_TOLERANCE = 0.15


@pytest.fixture(scope="module")
def samples() -> Samples:
    return make_samples(crop_px=40)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FullModel:
    return write_full_model(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def exports(model: FullModel, samples: Samples) -> dict[str, Path]:
    made = {}
    for precision in ("fp32", "int8"):
        made[precision] = model.checkpoint.parent / precision
        export_model(
            model.checkpoint,
            made[precision],
            samples,
            backbones=model.names,
            int8=precision == "int8",
        )
    return made


def probabilities(prediction: Prediction) -> np.ndarray:
    channels = (prediction.face, prediction.voice, prediction.fused)
    assert prediction.conflict is not None
    return np.concatenate([*(c.probs for c in channels if c is not None), [prediction.conflict]])


@pytest.fixture(scope="module")
def in_torch(model: FullModel) -> Report:
    return Analyzer(checkpoint=model.checkpoint, backbones=model.names).analyze(SAMPLE)


def test_a_checkpoint_is_analysed_in_torch(model: FullModel, in_torch: Report) -> None:
    assert in_torch.config.model == model.checkpoint.parent.name  # "checkpoint" says nothing
    own = {"detector", "identity", "speaker", "speech", "voice_print"}
    assert set(in_torch.models) == own | {"face", "voice", "heads"}
    assert in_torch.models["face"].name == "tiny-video"
    assert in_torch.summary is not None
    numbers = probabilities(in_torch.summary)
    assert len(numbers) == 25
    assert numbers.max() > 0.3  # so that equality below means something


WITHOUT_TORCH = """
import json, sys
for heavy in ("torch", "transformers", "huggingface_hub", "safetensors", "onnx", "pyarrow"):
    sys.modules[heavy] = None
from facevoice import Analyzer
from facevoice.errors import MissingExtraError
try:
    report = Analyzer(checkpoint=sys.argv[1]).analyze(sys.argv[2])
except MissingExtraError as error:
    sys.exit(str(error))
rows = [[*(p for c in (w.face, w.voice, w.fused) for p in c.probs), w.conflict]
        for w in report.windows]
print(json.dumps([report.config.model, report.models["face"].name, rows]))
"""


def run_without_torch(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(folder), str(SAMPLE)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", FP32_TOLERANCE), ("int8", INT8_TOLERANCE)]
)
def test_an_export_says_the_same_without_torch(
    exports: dict[str, Path], in_torch: Report, precision: str, tolerance: float
) -> None:
    run = run_without_torch(exports[precision])
    assert run.returncode == 0, run.stderr
    name, face, rows = json.loads(run.stdout)
    assert name == precision
    assert face.startswith("tiny-video/model.")
    for ours, theirs in zip(rows, in_torch.windows, strict=True):
        np.testing.assert_allclose(ours, probabilities(theirs), atol=tolerance)


def test_a_torch_checkpoint_without_torch_tells_what_to_do(model: FullModel) -> None:
    said = run_without_torch(model.checkpoint).stderr
    assert "pip install 'facevoice[full]'" in said
    assert "facevoice export" in said


def test_the_folder_says_what_it_is(exports: dict[str, Path], model: FullModel) -> None:
    fp32, _ = read_export(exports["fp32"])
    int8, info = read_export(exports["int8"])
    assert [p.precision for p in fp32.parity] == ["fp32"]
    assert [p.precision for p in int8.parity] == ["fp32", "int8"]
    near, far = int8.parity
    assert near.max_difference < FP32_TOLERANCE
    assert near.max_difference < far.max_difference < INT8_TOLERANCE
    assert near.num_windows == 4
    assert near.windows == "synthesised"
    assert info.backbones[Modality.VIDEO].backbone.startswith("folder:tiny-video@")
    assert int8.backbones[Modality.VIDEO] == f"video/{INT8_FILE}"
    networks = sorted(p.name for p in exports["int8"].rglob("*.onnx"))
    assert networks == [FUSION_FILE, INT8_FILE, INT8_FILE]
    assert "| int8 | 4 (synthesised) |" in (exports["int8"] / "README.md").read_text("utf-8")


def test_an_export_is_held_against_its_checkpoint(
    exports: dict[str, Path], model: FullModel, samples: Samples, tmp_path: Path
) -> None:
    parity = check_export(
        model.checkpoint, exports["fp32"], read_samples([SAMPLE]), backbones=model.names
    )
    assert parity.max_difference < FP32_TOLERANCE
    assert parity.windows == SAMPLE.name
    with pytest.raises(ConfigError, match="brings its backbones"):
        Analyzer(checkpoint=exports["fp32"], backbones=model.names)
    other = write_full_model(tmp_path, fusion="gated")
    with pytest.raises(WeightsError, match=r"was exported from .* not from"):
        check_export(other.checkpoint, exports["fp32"], samples, backbones=other.names)


@pytest.mark.parametrize(
    ("fusion", "video", "audio"),
    [("attention", "+tokens", "+tokens"), ("concat", "", "+layers")],
)
def test_tokens_and_layers_are_exported_too(
    tmp_path: Path, samples: Samples, fusion: str, video: str, audio: str
) -> None:
    made = write_full_model(tmp_path, fusion=fusion, video=video, audio=audio)
    out = tmp_path / "exported"
    index = export_model(made.checkpoint, out, samples, backbones=made.names)
    assert index.parity[0].max_difference < FP32_TOLERANCE
    assert check_export(made.checkpoint, out, samples, backbones=made.names) == index.parity[0]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("modalities", [tuple(Modality), (Modality.AUDIO,)])
def test_the_exported_network_says_the_same_of_any_channels(
    fusion: str, modalities: tuple[Modality, ...], tmp_path: Path
) -> None:
    folder = write_compact_model(tmp_path / "c", fusion=fusion, modalities=modalities)
    loaded, path = load_checkpoint(folder), tmp_path / "fusion.onnx"
    export_fusion(loaded, path)
    rng = np.random.default_rng(0)
    long = {
        m: rng.normal(size=2 * loaded.info.network.dim(m)).astype(np.float32) for m in modalities
    }
    short = {m: e[: len(e) // 2] for m, e in long.items()}
    windows = [long, short, {modalities[-1]: long[modalities[-1]]}, {}]
    ours = ExportedModel(path, file_sha256(path), loaded.info).predict(windows)
    for found, expected in zip(ours, CheckpointModel("c", loaded).predict(windows), strict=True):
        for name in ("face", "voice", "fused", "conflict"):
            a, b = getattr(found, name), getattr(expected, name)
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(a, b, atol=FP32_TOLERANCE)


def test_compact_backbones_stay_in_the_package(tmp_path: Path) -> None:
    checkpoint = write_compact_model(tmp_path / "small", fusion="late")
    out = tmp_path / "exported"
    index = export_model(checkpoint, out, make_samples())
    assert set(index.backbones.values()) == {"compact-face", "compact-voice"}
    assert [p.name for p in out.rglob("*.onnx")] == [FUSION_FILE]
    assert index.parity[0].max_difference < FP32_TOLERANCE
    assert Analyzer(checkpoint=out).models["face"] == Analyzer().models["face"]
    with pytest.raises(ConfigError, match="leave --int8 out"):
        export_model(checkpoint, tmp_path / "eight", make_samples(), int8=True)
    with pytest.raises(ConfigError, match="is exported already"):
        export_model(out, tmp_path / "again", make_samples())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["exported", "small"]


@pytest.fixture
def copied(exports: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports["fp32"], tmp_path / "copied"))


@pytest.mark.parametrize("name", [FUSION_FILE, "thresholds.json", "config.toml", "video/spec.json"])
def test_a_changed_file_is_refused(copied: Path, name: str) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(WeightsError, match=rf"{Path(name).name}: SHA-256 is"):
        Analyzer(checkpoint=copied)
    path.unlink()
    with pytest.raises(WeightsError, match=rf"{Path(name).name}: can't be read"):
        Analyzer(checkpoint=copied)


def test_a_changed_backbone_is_refused(copied: Path) -> None:
    path = copied / "audio" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.onnx: SHA-256 is"):
        Analyzer(checkpoint=copied)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": "facevoice-export/9"}, "this version reads 'facevoice-export/1'"),
        ({"sha256": {}}, r"missing files \['backbones\.json', 'cal"),
        ({"sha256": {"../x": "0"}}, "outside this folder"),
        ({"precision": "int2"}, "precision is 'int2'"),
        ({"backbones": 3}, "is damaged"),
        ({"parity": [{"speed": 1}]}, "is damaged"),
    ],
)
def test_a_damaged_index_is_refused(copied: Path, change: dict[str, object], problem: str) -> None:
    path = copied / EXPORT_INDEX
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **change}))
    with pytest.raises(WeightsError, match=problem):
        read_export(copied)


def test_an_index_names_no_backbone_elsewhere(copied: Path) -> None:
    path = copied / EXPORT_INDEX
    document = json.loads(path.read_text("utf-8"))
    document["backbones"]["video"] = "hub:somebody/else"
    document["sha256"] = {k: v for k, v in document["sha256"].items() if "video/" not in k}
    path.write_text(json.dumps(document))
    with pytest.raises(WeightsError, match="its video backbone 'hub:somebody/else' is neither"):
        Analyzer(checkpoint=copied)


def test_an_export_far_from_torch_is_refused(
    model: FullModel, samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facevoice.export.MAX_DIFFERENCE", 0.0)
    with pytest.raises(WeightsError, match="it is refused"):
        export_model(model.checkpoint, tmp_path / "out", samples, backbones=model.names)
    assert list(tmp_path.iterdir()) == []


def test_what_lies_in_the_way_is_kept_and_a_missing_extra_named(
    exports: dict[str, Path],
    model: FullModel,
    samples: Samples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else"):
        export_model(model.checkpoint, taken, samples, overwrite=True)
    with pytest.raises(ConfigError, match="holds an export already"):
        export_model(model.checkpoint, exports["fp32"], samples)
    monkeypatch.setattr("facevoice.export.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"'facevoice\[train\]'"):
        export_model(model.checkpoint, tmp_path / "new", samples)


def test_clips_without_face_or_speech_are_no_samples(make_clip: ClipMaker) -> None:
    path = make_clip("tone.mp4", samples="tone", duration_s=1.0)
    with pytest.raises(ConfigError, match=r"no window of tone\.mp4 shows a face"):
        read_samples([path])
