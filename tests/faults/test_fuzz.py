"""Files broken at random: read or refused by name, and nothing is invented of them.

`python -m benchmarks.fuzz` tries thousands more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.fuzz import failures, run

from faults.test_faults import ALL


@pytest.mark.skipif(not ALL, reason="of the whole fault corpus: FACEVOICE_FAULTS=all")
def test_files_broken_at_random_are_read_or_refused_in_isolation(tmp_path: Path) -> None:
    results = run(tmp_path, 50, seed=17, limit_s=300)  # however slow the machine
    assert len(results) == 50
    assert [told for told in results if failures(told)] == []
