"""docs/evaluation.md agrees with the code, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from facevoice.evaluation.page import evaluate
from facevoice.evaluation.predictions import CONFLICT_COLUMNS, EMOTION_COLUMNS, RunInfo, Target

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    start = PAGE.index(f"### {title}")
    return PAGE[start : PAGE.find("\n### ", start + 1)]


def test_every_column_and_field_is_documented() -> None:
    emotions = section("`emotions.parquet`")
    plain = [name for name in EMOTION_COLUMNS if not re.match("(face|voice|fused)_", name)]
    assert [name for name in plain if f"`{name}`" not in emotions] == []
    conflicts = section("`conflicts.parquet`")
    assert [name for name in CONFLICT_COLUMNS if f"`{name}`" not in conflicts] == []
    info = section("`run.json`")
    assert [name for name in RunInfo.__dataclass_fields__ if f"`{name}`" not in info] == []
    assert [target for target in Target if f"`{target}`" not in info] == []


def test_the_example_can_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(code) == 1
    exec(compile(code[0], "evaluation.md", "exec"), {})  # noqa: S102
    scores = evaluate(tmp_path / "my-run", num_resamples=100)
    figures = scores.emotions[0].figures
    assert figures.uar.value == 0.75  # one of the two angry clips is taken for neutral
    assert (tmp_path / "my-run" / "index.html").is_file()
