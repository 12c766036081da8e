"""The notebook that explores reports is what its script makes, and all of it runs."""

from __future__ import annotations

import ast
import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from facevoice import Report

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "notebooks" / "make_explore_notebook.py"
NOTEBOOK = ROOT / "notebooks" / "explore_reports.ipynb"


def test_the_notebook_is_what_the_script_makes() -> None:
    script = runpy.run_path(str(SCRIPT))
    written = NOTEBOOK.read_text(encoding="utf-8")
    assert written == script["make_notebook"](), "run: python notebooks/make_explore_notebook.py"


def test_the_format_is_valid() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))


def test_it_holds_no_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert len({cell["id"] for cell in cells}) == len(cells)


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; gives what a notebook would show, the value of its last line."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "notebook", "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "notebook", "eval"), names)  # noqa: S307


def test_all_cells_run_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path / "notebooks")
    had_pyplot = "matplotlib.pyplot" in sys.modules
    names: dict[str, Any] = {}
    shown = []
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            shown.append(run_cell("".join(cell["source"]), names))
    assert isinstance(names["report"], Report)
    assert names["report"] in shown
    assert names["figure"] in shown
    for name in ("timeline.png", "timeline.pdf", "windows.csv", "smile_sad_voice.json"):
        assert (tmp_path / "notebooks" / "explored" / name).stat().st_size > 0
    assert len(names["everything"]) == len(names["dataset"]) > len(names["windows"])
    assert set(names["everything"]["name"]) == {"smile_sad_voice.mp4", "smile_glad_voice.mp4"}
    assert names["means"].sum().tolist() == pytest.approx([1, 1, 1])
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
