"""The table of clips, out and in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from facevoice.corpora.manifest import (
    COLUMNS,
    Clip,
    Labels,
    read_manifest,
    write_manifest,
)
from facevoice.errors import CorpusError, MissingExtraError
from facevoice.records import Emotion, Outcome


@pytest.fixture
def clips() -> list[Clip]:
    return [
        Clip(
            clip_id="cremad/1001_DFA_ANG_XX",
            corpus="cremad",
            speaker="1001",
            sentence="DFA",
            take=1,
            language="en",
            video_path=Path("/data/cremad/VideoFlash/1001_DFA_ANG_XX.flv"),
            audio_path=Path("/elsewhere/1001_DFA_ANG_XX.wav"),
            duration_s=2.5,
            labels=Labels(Emotion.ANGRY, Emotion.NEUTRAL, Emotion.ANGRY, Outcome.FLAT, Emotion.SAD),
            video_start_s=0.25,
            corpus_label="ANG",
            intensity="high",
            sex="male",
            age=51,
            race="Caucasian",
            ethnicity="Not Hispanic",
            split="train",
        ),
        Clip(clip_id="fer2013/angry/é", corpus="fer2013", speaker=None),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_round_trip(clips: list[Clip], suffix: str, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "out" / f"manifest{suffix}"
    assert write_manifest(clips, path) == 2
    assert read_manifest(path) == tuple(clips)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_paths_move_with_the_root(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(clips, path, root=Path("/data"))
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert tuple(row) == COLUMNS
    assert row["video_path"] == "cremad/VideoFlash/1001_DFA_ANG_XX.flv"
    assert row["audio_path"] == "/elsewhere/1001_DFA_ANG_XX.wav"
    moved = read_manifest(path, root=Path("/mnt"))[0]
    assert moved.video_path == Path("/mnt/cremad/VideoFlash/1001_DFA_ANG_XX.flv")
    assert moved.audio_path == Path("/elsewhere/1001_DFA_ANG_XX.wav")


GOOD = {"clip_id": "emodb/a", "corpus": "emodb"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "expected an object"),
        (json.dumps({"corpus": "emodb"}), "clip_id is missing"),
        (json.dumps({**GOOD, "clip_id": "emodb/b", "colour": 1}), "unknown column 'colour'"),
        (json.dumps({**GOOD, "clip_id": "emodb/b", "take": "1"}), "take = '1' is not of type int"),
        (json.dumps({**GOOD, "clip_id": "emodb/b", "take": True}), "take = True is not of type"),
        (
            json.dumps({**GOOD, "clip_id": "emodb/b", "face": "bored"}),
            "face = 'bored' is not one of",
        ),
        (json.dumps({**GOOD, "clip_id": "emodb/b", "duration_s": -1}), "not positive"),
        (json.dumps({**GOOD, "clip_id": "tess/b"}), "must begin with"),
        (json.dumps(GOOD), "occurs already in line 1"),
    ],
)
def test_wrong_rows_are_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=rf"m\.jsonl:3: .*{message}"):
        read_manifest(path)


def test_unreadable_files_are_said(clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="can't be read"):
        read_manifest(tmp_path / "absent.jsonl")
    with pytest.raises(CorpusError, match="ends in"):
        write_manifest(clips, tmp_path / "m.csv")
    with pytest.raises(CorpusError, match="occurs twice"):
        write_manifest([*clips, clips[0]], tmp_path / "m.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_parquet_names_the_missing_extra(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"\[data\]"):
        write_manifest(clips, tmp_path / "m.parquet")
