"""One JSON file in which benchmarks keep what they printed, for the pages and charts in docs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any


def keep(path: Path | None, name: str, value: Any) -> None:
    """Put figures under a name into the file; None keeps nothing."""
    if path is None:
        return
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def plain(record: Any) -> dict[str, Any]:
    """A frozen dataclass of figures as a dictionary, rounded; NaN as null."""
    return {name: _plain(value) for name, value in asdict(record).items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 4)
