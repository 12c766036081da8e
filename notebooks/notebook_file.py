"""What the scripts of this folder share: from cells to a notebook file, written or compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Cell = tuple[str, str]
"""Kind, `markdown` or `code`, and text."""


def notebook_text(cells: Sequence[Cell], **metadata: Any) -> str:
    """A notebook of these cells as JSON, without outputs; `metadata` beside the kernel's."""
    made: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "id": f"cell-{number:02d}",
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell)
    notebook = {
        "cells": made,
        "metadata": {
            **metadata,
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def write_or_check(target: Path, text: str) -> int:
    """Write a notebook, or with --check on the command line compare it; gives the exit code."""
    if "--check" in sys.argv[1:]:
        return int(target.read_text(encoding="utf-8") != text)
    target.write_text(text, encoding="utf-8", newline="\n")
    return 0
