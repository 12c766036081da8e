"""Both notebooks are what their scripts make, their commands exist, and all of them runs."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from command_lines import PROGRAM, problems
from conftest import ClipMaker
from facevoice import Report
from facevoice.backbones import registry as backbone_module
from facevoice.backbones.huggingface import load_checkpoint, open_folder
from facevoice.backbones.registry import register_backbone
from facevoice.backbones.spec import BackboneSpec
from facevoice.cli import app as cli
from facevoice.corpora.sources import SOURCES
from facevoice.media import read_audio
from facevoice.records import Modality
from portraits import make_portrait
from tiny_checkpoints import DIM, write_checkpoint

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {"make_notebook.py": "train_on_colab", "make_explore_notebook.py": "explore_reports"}
TRAIN, EXPLORE = (ROOT / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS.values())
RATE_HZ = 16_000


def code_cells(path: Path) -> list[str]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def joined(cell: str) -> str:
    """Lines that go on behind a backslash, put together."""
    return re.sub(r"\\\n\s*", "", cell)


def command_lines() -> Iterator[str]:
    for cell in code_cells(TRAIN):
        for line in joined(cell).splitlines():
            if line.strip().startswith("!"):
                yield line.strip().removeprefix("!")


@pytest.mark.parametrize(("script", "name"), NOTEBOOKS.items())
def test_notebooks_are_what_their_scripts_make(script: str, name: str) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    written = path.read_text(encoding="utf-8")
    made = runpy.run_path(str(ROOT / "notebooks" / script))["make_notebook"]()
    assert written == made, f"run: python notebooks/{script}"
    cells = json.loads(written)["cells"]
    assert [
        cell["outputs"] for cell in cells if cell["cell_type"] == "code" if cell["outputs"]
    ] == []
    assert len({cell["id"] for cell in cells}) == len(cells)
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(path, as_version=4))


def test_every_command_exists_with_its_options() -> None:
    lines = list(command_lines())
    assert len(lines) >= 12
    # Braces are Python, which gives one word; an empty one takes no place.
    plain = [re.sub(r"\{\w+\}", "1", line.replace("{SUBSET}", "--subset")) for line in lines]
    assert [problem for line in plain for problem in problems(line)] == []
    commands = {tuple(word for word in line.split()[1:3] if word.isalpha())[:2] for line in plain}
    names = {part for command in commands for part in command}
    for name in ("download", "prepare", "extract", "train", "evaluate", "compare", "analyze"):
        assert name in names
    assert {"export", "push", "space"} <= names


# A run from top to bottom.


@pytest.fixture(scope="module")
def small_corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAVDESS and CREMA-D with three speakers each; one face, slices of synthetic speech."""
    root = tmp_path_factory.mktemp("published")
    portrait = make_portrait()
    sample = ROOT / "examples" / "smile_frightened_voice.mp4"
    speech = np.concatenate([block.samples for block in read_audio(sample)])
    look = {"width": 300, "height": 300, "fps": 5, "duration_s": 1.2}
    names = {
        "ravdess": [
            f"01-01-{emotion}-01-01-{take}-{speaker}.mp4"
            for speaker in ("01", "02", "03")
            for emotion in ("03", "04")
            for take in ("01", "02")
        ],
        "cremad": [
            f"{speaker}_IEO_{emotion}_{level}.mp4"
            for speaker in (1001, 1002, 1003)
            for emotion, level in (("HAP", "LO"), ("HAP", "HI"), ("SAD", "LO"), ("SAD", "HI"))
        ],
    }
    for corpus, files in names.items():
        (root / corpus).mkdir()
        make = ClipMaker(root / corpus)
        for number, name in enumerate(files):
            shade = np.clip(portrait.astype(int) + 2 * number - 30, 0, 255).astype(np.uint8)
            start = 2_000 + 700 * number
            part = speech[start : start + round(1.2 * RATE_HZ)]
            paint = {"paint": lambda *_, shade=shade: shade}
            make(name, samples=part, sample_rate_hz=RATE_HZ, **look, **paint)
    return root


@pytest.fixture
def tiny_backbones(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Names of networks of random weights, known as the large ones are."""
    dims = {"videomae": Modality.VIDEO, "wav2vec2-large": Modality.AUDIO}
    names = []
    for kind, modality in dims.items():
        files = open_folder(write_checkpoint(kind, tmp_path / kind))
        spec = BackboneSpec(
            name=f"tiny-{modality.value}",
            modality=modality,
            dim=DIM,
            license="apache-2.0",
            training_corpora=(),
            preprocessing="",
            family=kind.partition("-")[0],
        )
        create = partial(load_checkpoint, files, spec, device="cpu")
        register_backbone(spec.name, lambda _, create=create: create())
        names.append(spec.name)
    yield names[0], names[1]
    for name in names:
        del backbone_module._FACTORIES[name]


class Notebook:
    """Runs code cells as Jupyter would, commands in this process; downloads from a folder."""

    def __init__(self, published: Path) -> None:
        self.names: dict[str, Any] = {"_exit_code": 0, "run_command": self.command}
        self.published = published
        self.said: list[tuple[str, str]] = []

    def run(self, cell: str) -> None:
        lines = []
        for line in joined(cell).splitlines():
            space, text = re.match(r"(\s*)(.*)", line).groups()  # type: ignore[union-attr]
            if text.startswith("%pip"):
                continue
            if text.startswith("!"):
                quoted = text[1:].replace('"""', "'")
                text = f'_exit_code = run_command(f"""{quoted} """)'
            lines.append(space + text)
        exec(compile("\n".join(lines), "notebook", "exec"), self.names)  # noqa: S102

    def command(self, line: str) -> int:
        words = shlex.split(line)
        assert words.pop(0) == PROGRAM
        if words[:2] == ["data", "download"]:
            return self.download(words[2], Path(words[words.index("--root") + 1]))
        if words[0] in ("evaluate", "compare"):
            words += ["--resamples", "100"]  # the fewest: nobody reads these intervals
        result = CliRunner().invoke(cli.app, words, env={"COLUMNS": "200"})
        self.said.append((line, result.output))
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            line,
            result.exc_info,
        )
        assert result.exit_code == 0, (line, result.output)
        return result.exit_code

    def download(self, corpus: str, root: Path) -> int:
        assert corpus in SOURCES
        root.mkdir(parents=True, exist_ok=True)
        if not (root / corpus).exists():
            shutil.copytree(self.published / corpus, root / corpus)
        return 0


def test_training_runs_from_top_to_bottom(
    small_corpora: Path,
    tiny_backbones: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setenv("MPLBACKEND", "agg")  # the notebook sets it, for good
    notebook = Notebook(small_corpora)
    for cell in code_cells(TRAIN):
        notebook.run(cell)
        if "EPOCHS =" in cell:
            notebook.names["EPOCHS"] = 2
        if "VIDEO_BACKBONE =" in cell:
            video, audio = tiny_backbones
            notebook.names |= {"VIDEO_BACKBONE": video, "AUDIO_BACKBONE": audio}
    work = tmp_path / "facevoice-training"
    for kind in ("multimodal", "video", "audio"):
        run = work / "runs" / kind
        assert (run / "checkpoint" / "model.safetensors").is_file()
        scores = json.loads((run / "predictions" / "scores.json").read_text())
        assert scores
    assert (work / "runs" / "comparison" / "comparison.json").is_file()
    assert list((work / "reports").glob("*.json"))
    assert (work / "runs" / "exported" / "fusion.onnx").is_file()
    assert (work / "space" / "checkpoint" / "fusion.onnx").is_file()
    pushed = [said for line, said in notebook.said if "push" in line]
    assert len(pushed) == 1
    assert "Nothing was sent. Would go to owner/name" in pushed[0]
    assert "license: cc-by-nc-sa-4.0" in pushed[0]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; gives what a notebook would show, the value of its last line."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "notebook", "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "notebook", "eval"), names)  # noqa: S307


def test_exploring_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "notebooks")
    had_pyplot = "matplotlib.pyplot" in sys.modules
    names: dict[str, Any] = {}
    shown = []
    for cell in code_cells(EXPLORE):
        shown.append(run_cell(cell, names))
    assert isinstance(names["report"], Report)
    assert names["report"] in shown
    assert names["figure"] in shown
    for name in ("timeline.png", "timeline.pdf", "windows.csv", "smile_frightened_voice.json"):
        assert (tmp_path / "notebooks" / "explored" / name).stat().st_size > 0
    assert len(names["everything"]) == len(names["dataset"]) > len(names["windows"])
    samples = {path.name for path in (ROOT / "examples").glob("*.mp4")}
    assert set(names["everything"]["name"]) == samples
    assert names["means"].sum().tolist() == pytest.approx([1, 1, 1])
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
