"""From folders of runs to files that people read: scores or comparison as JSON, Markdown, HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from facevoice.errors import EvaluationError
from facevoice.evaluation.compare import Comparison, compare_runs
from facevoice.evaluation.compare_page import compare_page
from facevoice.evaluation.markdown import to_markdown
from facevoice.evaluation.page import to_html
from facevoice.evaluation.predictions import read_run
from facevoice.evaluation.score import (
    Scores,
    comparison_to_dict,
    score_run,
    scores_to_dict,
)
from facevoice.evaluation.score_page import score_page

SCORES_JSON: Final = "scores.json"
SCORES_MARKDOWN: Final = "scores.md"
COMPARISON_JSON: Final = "comparison.json"
COMPARISON_MARKDOWN: Final = "comparison.md"
PAGE: Final = "index.html"


def evaluate(
    run_folder: Path, out: Path | None = None, *, num_resamples: int = 2000, strict: bool = False
) -> Scores:
    """Score a run folder; write `scores.json`, `scores.md`, `index.html` to `out`.

    out: the run's folder if None. Files from an earlier scoring are replaced.

    Raises:
        EvaluationError: the run is wrong, contaminated (with `strict`), or can't be written.
        MissingExtraError: pyarrow, jinja2 or matplotlib is not installed.
    """
    target = run_folder if out is None else out
    run = read_run(run_folder)
    _make_folder(target)
    scores = score_run(run, num_resamples=num_resamples, strict=strict)
    page = score_page(scores)
    _write(
        target,
        {
            SCORES_JSON: _json(scores_to_dict(scores)),
            SCORES_MARKDOWN: to_markdown(page),
            PAGE: to_html(page),
        },
    )
    return scores


def compare(
    run_folders: Sequence[Path], out: Path | None = None, *, num_resamples: int = 2000
) -> Comparison:
    """Compare run folders; with `out`, write `comparison.json`, `comparison.md`, `index.html`.

    Raises:
        EvaluationError: a run is wrong, they can't be compared, or the files can't be written.
        MissingExtraError: pyarrow, jinja2 or matplotlib is not installed.
    """
    runs = [read_run(folder) for folder in run_folders]
    if out is not None:
        _make_folder(out)
    comparison = compare_runs(runs, num_resamples=num_resamples)
    if out is not None:
        page = compare_page(comparison)
        _write(
            out,
            {
                COMPARISON_JSON: _json(comparison_to_dict(comparison)),
                COMPARISON_MARKDOWN: to_markdown(page),
                PAGE: to_html(page),
            },
        )
    return comparison


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _make_folder(folder: Path) -> None:
    """Before the work, so that nobody waits in vain."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """All files are written before the first takes its name."""
    try:
        parts = {name: folder / f"{name}.part" for name in texts}
        for name, text in texts.items():
            parts[name].write_text(text, encoding="utf-8", newline="\n")
        for name, part in parts.items():
            part.replace(folder / name)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{folder}: results can't be written ({error.strerror}); name another folder (--out)"
    )
