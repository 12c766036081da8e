"""Every case of the fault corpus: what comes of it is what a user is to get."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from facevoice.analyzer import Analyzer
from faults.case import Bench, carry_out, run_here
from faults.corpus import CASES, describe_corpus
from faults.studio import Studio
from faults.verdict import unexpected

ROOT = Path(__file__).parents[2]
ALL = os.environ.get("FACEVOICE_FAULTS") == "all"
CHOSEN = [name for name, case in CASES.items() if ALL or case.is_quick]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("studio")
    bench = Bench(Studio(folder), Analyzer())
    run = run_here(bench, [str(bench.studio.plain_file(folder / "plain-clip.mp4"))])
    return replace(bench, plain=run.reports[0])


@pytest.mark.parametrize("name", CHOSEN)
def test_case(name: str, bench: Bench, tmp_path: Path) -> None:
    case = CASES[name]
    run = carry_out(case, bench, tmp_path)
    assert unexpected(case, run, bench.plain) == []


def test_cases_are_many_and_have_names_of_their_own() -> None:
    assert len(CASES) >= 200
    assert len({case.told for case in CASES.values()}) > 0.9 * len(CASES)


def test_page_of_cases_is_up_to_date() -> None:
    written = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert written == describe_corpus(), "run: python -m benchmarks.faults --list docs/faults.md"
