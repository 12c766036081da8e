from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevoice import workers as machine


@pytest.mark.parametrize(
    ("content", "expected"),
    [("200000 100000\n", 2), ("150000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)],
)
def test_a_containers_quota_is_heeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, expected: int | None
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(content)
    monkeypatch.setattr(machine, "_QUOTA_FILE", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert machine.num_cpus() == (expected or 64)


def test_without_a_quota_the_affinity_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_QUOTA_FILE", tmp_path / "absent")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert machine.num_cpus() == 1
