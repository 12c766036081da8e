"""What is remembered of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facevoice.corpora.prepare import FactsFile, FileFacts

KNOWN = FileFacts(duration_s=1.5, has_video=True, has_audio=False)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    path = tmp_path / "ä.wav"
    path.write_bytes(b"one")
    return path


def remember(path: Path, media: Path, facts: FileFacts = KNOWN) -> None:
    with FactsFile(path) as file:
        file.add(media, facts)


def test_facts_outlive_the_process_while_the_file_stays(tmp_path: Path, media: Path) -> None:
    path = tmp_path / "facts.jsonl"
    remember(path, media)
    assert FactsFile(path).get(media) == KNOWN
    remember(path, media, FileFacts(sha256="ab"))
    assert FactsFile(path).get(media) == FileFacts(sha256="ab")


def test_a_changed_file_is_unknown_even_with_its_old_size_and_time(
    tmp_path: Path, media: Path
) -> None:
    path = tmp_path / "facts.jsonl"
    before = media.stat()
    remember(path, media)
    media.write_bytes(b"two")
    os.utime(media, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert FactsFile(path).get(media) == FileFacts()


def test_a_torn_or_damaged_line_costs_itself_only(tmp_path: Path, media: Path) -> None:
    path = tmp_path / "facts.jsonl"
    other = tmp_path / "other.wav"
    other.touch()
    remember(path, media)
    with path.open("ab") as file:
        file.write(b'[1]\n{"path": "x", "identity": 3}\n{"path": "/x", "ident')
    remember(path, other)
    known = FactsFile(path)
    assert known.get(media) == known.get(other) == KNOWN


def test_without_a_place_to_write_nothing_fails(tmp_path: Path, media: Path) -> None:
    remember(tmp_path / "absent" / "facts.jsonl", media)
    with FactsFile(None) as file:
        file.add(media, KNOWN)
        file.add(tmp_path / "gone.wav", KNOWN)
        assert file.get(media) == KNOWN
    with pytest.raises(FileNotFoundError):
        FactsFile(None).get(tmp_path / "gone.wav")
