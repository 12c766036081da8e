"""`facevoice data prepare`, `describe`, `split`, `pairs` and `extract`, from the command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from conftest import ClipMaker
from facevoice.cli import app as cli
from facevoice.corpora.extract import read_features
from facevoice.corpora.manifest import read_manifest, write_manifest
from facevoice.corpora.splits import read_splits
from spoken_clips import SPEAKERS, make_spoken_clips

runner = CliRunner()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "400")
    log = logging.getLogger("facevoice")
    before = log.handlers[:]
    yield
    log.handlers[:] = before


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Javanese with three speakers, two sentences, two emotions; and its manifest."""
    root = tmp_path_factory.mktemp("corpora")
    (root / "javanese").mkdir()
    make = ClipMaker(root / "javanese")
    for speaker in SPEAKERS:
        for sentence in ("01", "02"):
            for emotion in ("01", "03"):
                length_s = 0.5 + 0.1 * int(speaker) + 0.05 * int(emotion)
                make(f"{speaker}-{sentence}-{emotion}_01.ogg", duration_s=length_s)
    make("01-01-01_01.mp4", duration_s=0.5, width=64, height=48, audio=False)
    (root / "javanese" / "notes.wav").touch()
    run("data", "prepare", "javanese", "--root", root)
    return root


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    result = runner.invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def test_prepare_says_what_it_did(corpora: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.jsonl"
    said, _ = run("data", "prepare", f"javanese={corpora}/javanese", "--out", out, "--jobs", "2")
    assert f"12 clips in {tmp_path}/table.parquet and {out}." in said
    assert "13 files probed." in said
    assert "Left out of javanese: 1 file (the name is not like 05-03-06_02.ogg)" in said
    assert len(read_manifest(out)) == len(read_manifest(tmp_path / "table.parquet")) == 12
    said, _ = run("data", "prepare", f"javanese={corpora}/javanese", "--out", out, "-q")
    assert said == ""


def test_prepare_lists_broken_files_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "emodb").mkdir()
    make = ClipMaker(tmp_path / "emodb")
    make("03a01Fa.wav", duration_s=0.5)
    (tmp_path / "emodb" / "03a01Na.wav").write_bytes(b"no sound" * 99)
    said, complaints = run("data", "prepare", "emodb", "--root", tmp_path, code=1)
    assert "1 clip in" in said
    assert "emodb/03a01Na" in complaints
    assert "[unreadable_media]" in complaints
    assert "Unusable, left out of the table: 1 clip." in complaints
    assert len(read_manifest(tmp_path / "manifest.parquet")) == 1
    run("data", "prepare", "emodb", "--root", tmp_path, "--no-probe")
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 2


def test_prepare_names_what_is_wrong(tmp_path: Path) -> None:
    _, complaints = run("data", "prepare", "moo", "--root", tmp_path, code=1)
    assert "no corpus is called 'moo'" in complaints
    _, complaints = run("data", "prepare", "tess", "--root", tmp_path, code=1)
    assert "neither a folder tess nor tess.zip" in complaints
    run("data", "prepare", code=2)


def test_a_wrong_row_is_named_with_file_and_line(corpora: Path, tmp_path: Path) -> None:
    lines = (corpora / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    row = {**json.loads(lines[2]), "intended": "bored"}
    table = tmp_path / "m.jsonl"
    table.write_text("\n".join([*lines[:2], json.dumps(row)]), encoding="utf-8")
    for command in (["describe"], ["split", "--protocol", "speakers", "--out", tmp_path / "s"]):
        _, complaints = run("data", command[0], table, *command[1:], code=1)
        assert f"{table}:3: intended = 'bored' is not one of neutral, calm" in complaints
    _, complaints = run("data", "describe", tmp_path / "absent.parquet", code=1)
    assert "absent.parquet" in complaints


def test_describe_draws_and_counts(corpora: Path) -> None:
    table = corpora / "manifest.parquet"
    drawn, _ = run("data", "describe", table)
    rows = [line.split() for line in drawn.splitlines()]
    assert ["javanese", "12", "3", "2", "1", "1", "12", "1"] in rows
    assert any(row[:3] == ["happy", "6", "50.0%"] and set(row[3]) == {"█"} for row in rows if row)
    counted = json.loads(run("data", "describe", table, "--format", "json")[0])
    assert counted["corpora"][0]["num_clips"] == 12
    assert {tally["field"] for tally in counted["labels"]} == {"intended"}
    _, complaints = run("data", "describe", table, "--format", "xml", code=2)
    assert "table or json" in complaints
    _, complaints = run("data", "describe", table, "--corpus", "emodb", code=2)
    assert "the table holds javanese" in complaints


def test_split_writes_checked_splits(corpora: Path, tmp_path: Path) -> None:
    table, out = corpora / "manifest.jsonl", tmp_path / "splits.json"
    said, _ = run(
        "data", "split", table, "--protocol", "leave-one-out", "--sentences", "2", "--out", out
    )
    splits = read_splits(out, read_manifest(table))
    assert len(splits.splits) == 6
    assert f"6 splits in {out}; no speaker crosses." in said
    run(
        *("data", "split", table, "--protocol", "speakers", "--folds", "3", "--seed", "4"),
        *("--no-validation", "--out", out, "-q"),
    )
    splits = read_splits(out, read_manifest(table))
    assert (splits.num_folds, splits.seed, splits.with_validation) == (3, 4, False)
    _, complaints = run("data", "split", table, "--protocol", "x", "--out", out, code=2)
    assert "ravdess6, leave-one-out, speakers, published" in complaints
    _, complaints = run("data", "split", table, "--protocol", "published", "--out", out, code=1)
    assert "publish no split" in complaints


def test_extract_fills_the_store_and_goes_on(corpora: Path, tmp_path: Path) -> None:
    table, store = corpora / "manifest.parquet", tmp_path / "f.db"
    said, _ = run("data", "extract", table, "--store", store)
    assert "12 clips extracted, 0 known from an earlier run; 13 new records" in said
    assert "Backbones: compact-face@" in said
    said, _ = run("data", "extract", table, "--store", store, "--jobs", "2", "--threads", "1")
    assert "0 clips extracted, 12 known from an earlier run; 0 new records" in said
    clips = read_manifest(table)
    assert len(read_features(clips, store, backbone="compact-voice")) == 12
    assert len(read_features(clips, store, backbone="compact-face")) == 1
    said, _ = run(
        *("data", "extract", table, "--store", store, "--common-lengths"),
        *("--backbone", "compact-voice", "--corpus", "javanese"),
    )
    # Everything is cut to the earliest end of speech; one clip lasts just as long as that.
    assert "11 clips extracted, 1 known from an earlier run; 11 new records" in said


def test_extract_lists_bad_clips_and_ends_with_1(corpora: Path, tmp_path: Path) -> None:
    rows = (corpora / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    broken = {**json.loads(rows[2]), "audio_path": str(tmp_path / "broken.ogg")}
    (tmp_path / "broken.ogg").write_bytes(b"no sound" * 99)
    table = corpora / "broken.jsonl"
    table.write_text("\n".join([*rows[:2], json.dumps(broken)]), encoding="utf-8")
    _, complaints = run("data", "extract", table, "--store", tmp_path / "f.db", code=1)
    assert f"{broken['clip_id']}: {tmp_path}/broken.ogg" in complaints
    assert "Failed: 1 clip." in complaints
    assert (
        len(read_features(read_manifest(table), tmp_path / "f.db", backbone="compact-voice")) == 2
    )
    for arguments in (["--backbone", "none"], ["--config", tmp_path / "absent.toml"]):
        run("data", "extract", table, "--store", tmp_path / "f.db", *arguments, code=2)


def test_common_lengths_need_a_plan_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "emodb").mkdir()
    ClipMaker(tmp_path / "emodb")("03a01Fa.wav", duration_s=0.5)
    run("data", "prepare", "emodb", "--root", tmp_path)
    _, complaints = run(
        *("data", "extract", tmp_path / "manifest.parquet", "--store", tmp_path / "f.db"),
        "--common-lengths",
        code=2,
    )
    assert "no pairs are made of emodb" in complaints


@pytest.fixture(scope="module")
def spoken(make_shared_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spoken") / "manifest.jsonl"
    write_manifest(make_spoken_clips(make_shared_clip), path)
    return path


def test_pairs_writes_both_tables(spoken: Path, tmp_path: Path) -> None:
    said, _ = run("data", "pairs", spoken, "--out", tmp_path, "--seed", "2")
    assert "36 pairs (12 conflict, 12 match, 12 original)" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "pairs.parquet"]
    rows = read_rows(tmp_path / "pairs.jsonl")
    assert pyarrow.parquet.read_table(tmp_path / "pairs.parquet").to_pylist() == rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_pairs_within_the_parts_of_a_split(spoken: Path, tmp_path: Path) -> None:
    splits, out = tmp_path / "splits.json", tmp_path / "out"
    run("data", "split", spoken, "--protocol", "leave-one-out", "--out", splits)
    said, _ = run("data", "pairs", spoken, "--out", out, "--split", splits, "--fold", "2", "-q")
    assert said == ""
    parts = {(row["speaker"], row["part"]) for row in read_rows(out / "pairs.jsonl")}
    names = ("train", "test", "validation")
    assert parts == {(f"ravdess/{s}", n) for s, n in zip(SPEAKERS, names, strict=True)}
    _, complaints = run("data", "pairs", spoken, "--out", out, "--split", splits, code=2)
    assert "--fold 1 to 3" in complaints
    run("data", "pairs", spoken, "--out", out, "--split", splits, "--fold", "4", code=2)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--clips", "20"], 2, "python -m benchmarks.dubbing"),
        (["--plan", "nobody"], 2, "'nobody'"),
        (["--fold", "1"], 2, "--fold needs --split"),
        (["--corpus", "tess"], 2, "--corpus tess"),
        (["--split", "none.json"], 1, "none.json"),
    ],
)
def test_pairs_explains_what_is_wrong(
    spoken: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    _, complaints = run("data", "pairs", spoken, "--out", tmp_path / "out", *options, code=code)
    assert message in complaints
    assert not (tmp_path / "out").exists()
