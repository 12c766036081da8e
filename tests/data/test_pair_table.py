"""The table of pairs: what goes in comes out, and what is wrong is named with its line."""

from __future__ import annotations

import json

import pytest

from facevoice.corpora.pairs import (
    Pair,
    PairBin,
    PairKind,
    TimedPair,
    lengths_by_clip,
    read_pairs,
    write_pairs,
)
from facevoice.errors import CorpusError
from facevoice.records import Emotion


def timed(kind: PairKind = PairKind.CONFLICT, number: int = 0, part: str | None = "test"):
    face, voice = f"c/{number}-happy", f"c/{number}-sad"
    if kind is PairKind.ORIGINAL:
        voice = face
    conflict = kind is PairKind.CONFLICT
    pair = Pair(
        face_clip_id=face,
        voice_clip_id=voice,
        kind=kind,
        bin=PairBin.OPPOSITE_VALENCE if conflict else PairBin.SAME_EMOTION,
        speaker="c/1",
        sentence="é",
        face_emotion=Emotion.HAPPY,
        voice_emotion=Emotion.SAD if conflict else Emotion.HAPPY,
    )
    return TimedPair(pair, 2.0 + number / 7, part)


PAIRS = (
    timed(),
    timed(PairKind.MATCH, 1, None),
    timed(PairKind.ORIGINAL, 2, "train"),
    timed(number=3, part="validation"),
)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    path = tmp_path / "new" / f"pairs.{suffix}"
    assert write_pairs(PAIRS, path) == 4
    assert read_pairs(path) == PAIRS
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def change(tmp_path, **values):
    path = tmp_path / "pairs.jsonl"
    write_pairs(PAIRS, path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1].update(values)
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "nonsense"}, "kind = 'nonsense' is not one of conflict"),
        ({"kind": "conflict"}, "pair_id ="),
        ({"pair_id": "x"}, "pair_id = 'x'"),
        ({"face_clip_id": None}, "face_clip_id is missing"),
        ({"length_s": "2"}, "length_s = '2' is not a number"),
        ({"length_s": True}, "length_s = True is not a number"),
        ({"length_s": 0}, "length_s = 0.0 is not positive"),
        ({"length_s": float("inf")}, "length_s = inf is not positive"),
        ({"part": "dev"}, "part = 'dev'"),
        ({"voice_emotion": "bored"}, "voice_emotion = 'bored' is not one of neutral"),
        ({"voice_emotion": "sad"}, "kind = match, but face and voice are happy and sad"),
        ({"bin": "same_valence"}, "bin = same_valence"),
        ({"speaker": 7}, "speaker = 7 is not text"),
        ({"colour": "red"}, "unknown column 'colour'"),
        (
            {"kind": "original", "pair_id": "original:c/1-happy+c/1-sad"},
            "kind = original, but the clips",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path, values, message):
    path = change(tmp_path, **values)
    with pytest.raises(CorpusError) as error:
        read_pairs(path)
    assert str(error.value).startswith(f"{path}:2: ")
    assert message in str(error.value)


def test_a_pair_that_comes_twice_is_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    with pytest.raises(CorpusError, match=r"2: pair .* occurs already in line 1"):
        write_pairs([PAIRS[0], PAIRS[0]], path)
    assert not path.exists()
    write_pairs(PAIRS, path)
    path.write_text(path.read_text() * 2)
    with pytest.raises(CorpusError, match=r"pairs\.jsonl:5: pair .* occurs already in line 1"):
        read_pairs(path)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(CorpusError, match=r"none\.jsonl: can't be read"):
        read_pairs(tmp_path / "none.jsonl")
    with pytest.raises(CorpusError, match=r"none\.parquet: can't be read"):
        read_pairs(tmp_path / "none.parquet")
    for name, content in (("a.parquet", b"PAR0"), ("b.jsonl", b"\xff\xfe"), ("c.csv", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError, match=name):
            read_pairs(tmp_path / name)
    (tmp_path / "d.jsonl").write_text('\n{"kind": \n')
    with pytest.raises(CorpusError, match=r"d\.jsonl:2: is not JSON"):
        read_pairs(tmp_path / "d.jsonl")
    (tmp_path / "e.jsonl").write_text("[1]")
    with pytest.raises(CorpusError, match=r"e\.jsonl:1: is not a row"):
        read_pairs(tmp_path / "e.jsonl")
    with pytest.raises(CorpusError, match=r"x\.csv"):
        write_pairs(PAIRS, tmp_path / "x.csv")


def test_lengths_by_clip():
    assert lengths_by_clip(PAIRS)["c/1-sad"] == PAIRS[1].length_s
    longer = TimedPair(timed(PairKind.MATCH).pair, 9.0)
    with pytest.raises(CorpusError, match=r"'c/0-happy' is cut to 2\.0 s and to 9\.0 s"):
        lengths_by_clip([PAIRS[0], longer])
