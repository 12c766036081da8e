"""Files of every structured kind, spoilt at random: read and sound, or refused by name.

`python -m benchmarks.fuzz_records` tries thousands more.
"""

from __future__ import annotations

import json
import os
import random
from functools import cache
from pathlib import Path

import pytest
from benchmarks.fuzz_records import KINDS, Kind, attempt, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

# Others need torch, or seconds to be made: the long run has them.
QUICK = [name for name in KINDS if name not in ("checkpoint", "card", "export")]


@cache
def made(name: str) -> Kind:
    return KINDS[name]()


@pytest.mark.parametrize("name", QUICK)
def test_whatever_the_bytes_a_file_is_read_or_refused_by_name(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind, folder = made(name), tmp_path_factory.mktemp("fuzzed")
    assert attempt(kind, kind.files, folder) == "read"

    # Of some, every report that comes of it is drawn and written.
    num_examples = 6 if name in ("report", "store", "database") else 20

    @settings(max_examples=num_examples, deadline=None, derandomize=True, database=None)
    @given(st.integers(0, 2**32))
    def spoil(seed: int) -> None:
        attempt(kind, mutated(kind, random.Random(seed)), folder)

    spoil()


TOO_DEEP = b"[" * 100_000
DOCUMENTS = {
    "report": "report.json",
    "profile": "anna.json",
    "manifest": "clips.jsonl",
    "splits": "splits.json",
    "settings": "settings.toml",
    "training": "train.toml",
}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(
    "content",
    [
        TOO_DEEP,
        b'{"a":' * 100_000,
        b"a = " + TOO_DEEP,
        b"a." * 100_000 + b"a = 1",  # took tens of gigabytes
        b"9" * 10_000,
        b"a = " + b"9" * 10_000,
        b'{"schema": 1e999}',
        b'{"schema": NaN}',
        b'{"schema": "\\ud800"}',
        b"\xff\xfe",
        b"",
        b"null",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_parsers_trip_over_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    kind = made(name)
    is_empty = name in ("manifest", "settings", "training") and not content
    expected = "read" if is_empty else "refused"
    assert attempt(kind, {DOCUMENTS[name]: content}, tmp_path) == expected


def test_windows_of_people_that_the_report_lacks_are_refused(tmp_path: Path) -> None:
    kind = made("report")
    document = json.loads(kind.files["report.json"])
    document["people"][0]["windows"][0]["end_s"] = 0.123753  # its page could not be drawn
    content = json.dumps(document).encode()
    assert attempt(kind, {"report.json": content}, tmp_path) == "refused"


def test_a_table_with_an_endless_field_is_refused(tmp_path: Path) -> None:
    kind = made("table")
    (name,) = (name for name in kind.files if name.endswith(".csv"))
    assert attempt(kind, kind.files | {name: b"a" * 200_000 + kind.files[name]}, tmp_path) == (
        "refused"
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pipes_and_folders_are_no_documents(name: str, tmp_path: Path) -> None:
    kind = made(name)
    os.mkfifo(tmp_path / DOCUMENTS[name])
    assert attempt(kind, {}, tmp_path) == "refused"
    (tmp_path / DOCUMENTS[name]).unlink()
    (tmp_path / DOCUMENTS[name]).mkdir()
    assert attempt(kind, {}, tmp_path) == "refused"
