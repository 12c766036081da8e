"""What the command makes of names, folders, disks and terminals that are not as one would like."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import facevoice
from facevoice.batch import AnalyzerSetup
from facevoice.cli import app as cli
from facevoice.errors import FacevoiceError, MediaError
from facevoice.report import folder, read_report
from facevoice.report.words import ERROR_WORDS
from fake_analyzers import FakeAnalyzer
from odd_names import ODD_NAMES


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch) -> None:
    def _build(setup: AnalyzerSetup) -> FakeAnalyzer:
        return FakeAnalyzer(setup)

    monkeypatch.setattr(AnalyzerSetup, "build", _build)


def run(*arguments: str | Path, code: int = 0, stdin: bytes | None = None) -> tuple[str, str]:
    """What the command says on standard output and standard error, in a line each."""
    here = ["--jobs", "1"] if arguments[0] == "analyze" else []  # where the analyzer is faked
    runner = CliRunner(env={"COLUMNS": "300"})
    result = runner.invoke(cli.app, [*map(str, arguments), *here], input=stdin)
    assert type(result.exception) in (type(None), SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result.stdout, " ".join(result.stderr.split())


def test_a_batch_of_odd_names_comes_whole(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    paths = {os.fsdecode(os.fsencode(root / "good") + name) for name in _short(ODD_NAMES)}
    for path in paths:
        Path(path).touch()
    formats = "json,csv,jsonl,html,parquet"
    told, _ = run("analyze", root, "--out", tmp_path / "out", "--format", formats)
    assert told.replace("\n", "").isprintable()
    reports = list((tmp_path / "out").glob("*.json"))
    assert {read_report(path).path for path in reports} == paths
    for path in (path for form in formats.split(",") for path in root.glob(f"../out/*.{form}")):
        content = path.read_text("utf-8")
        assert "\x1b" not in content
        assert "\u202e" not in content
    with (tmp_path / "out" / "windows.csv").open(newline="", encoding="utf-8") as file:
        assert len({row["file"] for row in csv.DictReader(file)}) == len(paths)
    files = pd.read_parquet(tmp_path / "out" / "dataset" / "files.parquet")
    assert len(files["file"].unique()) == len(paths)
    again, _ = run("analyze", root, "--out", tmp_path / "out", "--format", formats)
    assert again == told


def _short(names: tuple[bytes, ...]) -> list[bytes]:
    """Room for four letters more."""
    return [name[4:] if len(name) > 251 else name for name in names]


def test_a_name_that_is_no_text_is_told_as_valid_json(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/good\xff\x1b.mp4"))
    path.touch()
    for form in ("json", "csv"):
        data, _ = run("analyze", path, "--format", form)
        assert data.replace("\n", "").isprintable()
    report = json.loads(run("analyze", path, "--format", "json")[0])
    assert report["file"]["path"] == f"{tmp_path}/good\\xff\x1b.mp4"
    (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
    assert read_report(tmp_path / "report.json").path == str(path)


def test_a_report_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    for name in ("good1", "good2", "good3", "good4"):
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "good1.json").mkdir()
    own = tmp_path / "good2.csv"
    own.write_text("year,amount\n2026,3\n")
    told, errors = run("analyze", tmp_path, "--out", tmp_path, code=1)
    assert f"{tmp_path}/good1.json: can't be written (Is a directory)." in errors
    assert f"{own}: can't be written (there is another file of that name" in errors
    assert "Move that away or choose another --out, then run again" in errors
    assert own.read_text().startswith("year")
    assert "2 failed" in told
    assert "failed: its report can't be written 2" in " ".join(told.split())
    with (tmp_path / "windows.csv").open(newline="") as file:
        names = {Path(row["file"]).stem for row in csv.DictReader(file)}
    assert names == {"good3", "good4"}


def test_a_dataset_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "thesis.tex").touch()
    (tmp_path / "good.mp4").touch()
    arguments = ("analyze", tmp_path / "good.mp4", "--out", tmp_path, "--format", "parquet")
    _, errors = run(*arguments, code=2)
    assert "another folder of that name" in errors
    assert (tmp_path / "dataset" / "thesis.tex").exists()


def test_a_full_disk_is_told_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    out = tmp_path / "out"
    for name in ("good1.mp4", "good2.mp4"):
        (tmp_path / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_append_csv", fail)
        told, errors = run("analyze", tmp_path, "--out", out, code=1)
    assert f"{out}: the tables over all files can't be written (the disk is full)." in errors
    assert "2 files: conflict in 2" in told
    assert len(list(out.glob("good*.json"))) == 2
    assert list(out.glob(".*.part")) == []
    run("analyze", tmp_path, "--out", out)
    assert len((out / "windows.csv").read_text().splitlines()) == 5


def test_what_can_not_even_be_looked_for_is_told_like_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    names = ("x" * 300 + ".mp4", "loop.mp4", "dangling.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    paths = [tmp_path / name for name in names]
    told, errors = run("analyze", *paths, "--store", tmp_path / "s.db", code=1)
    assert "unexpected" not in errors
    assert "failed: can't be read as video or sound 3" in " ".join(told.split())


def test_standard_input_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reads(FakeAnalyzer):
        def perceive(self, path: str | Path, **more: object) -> object:
            assert Path(path).read_bytes() == b"content"
            return super().perceive(Path(path).with_name("good"), **more)  # type: ignore[arg-type]

    def build(setup: AnalyzerSetup) -> Reads:
        return Reads(setup)

    monkeypatch.setattr(AnalyzerSetup, "build", build)
    data, _ = run("analyze", "-", "--format", "csv", stdin=b"content")
    run("analyze", "-", "--out", tmp_path, stdin=b"content")
    assert {row["file"] for row in csv.DictReader(io.StringIO(data))} == {"stdin"}
    assert read_report(tmp_path / "stdin.json").path == "stdin"
    for command in ("report", "render"):
        assert f"{command} doesn't read standard input" in run(command, "-", code=2)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze", ""],
        ["analyze", "a.mp4", "--out", ""],
        ["analyze", "a.mp4", "--store="],
        ["analyze", "a.mp4", "--person", ""],
        ["profile", "", "--out", "x.json"],
        ["render", ""],
        ["data", "split", "", "--out", "x"],
    ],
)
def test_an_empty_path_is_never_the_current_folder(arguments: list[str]) -> None:
    assert "empty path names nothing" in run(*arguments, code=2)[1]


def _folders(command: Any, *words: str) -> Iterator[list[str]]:
    """Words up to each option that names a folder."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from _folders(inner, *words, name)
    for option in command.params:
        if getattr(option, "metavar", None) == "DIR" and option.param_type_name == "option":
            yield [*words, option.opts[0]]


@pytest.mark.parametrize("words", list(_folders(typer.main.get_command(cli.app))), ids=" ".join)
def test_a_file_is_no_folder(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "pic.mp4").touch()
    for place in ("pic.mp4", "pic.mp4/below"):
        assert (
            f"{tmp_path}/pic.mp4 is a file; name a folder"
            in run(*words, tmp_path / place, code=2)[1]
        )


def test_a_terminal_of_few_letters_shows_the_others_escaped() -> None:
    def say(encoding: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "facevoice", *arguments]
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=300, check=False
        )
        assert b"Traceback" not in done.stderr
        return (done.stdout + done.stderr).decode(encoding)

    assert "gone-\\xe9\\U0001f600\\x1b[31m.mp4: no such file" in say(
        "ascii", "report", "gone-é😀\x1b[31m.mp4"
    )
    assert "https://..." in say("latin-1", "analyze", "--help")


def test_every_kind_of_error_has_plain_words() -> None:
    def kinds(error: type[FacevoiceError]) -> set[str]:
        of = {error.__new__(error).kind} if error.__module__ == FacevoiceError.__module__ else set()
        return of.union(*(kinds(one) for one in error.__subclasses__()))

    told = kinds(MediaError)
    for path in Path(facevoice.__file__).parent.rglob("*.py"):
        failed = r'(?:FileError\(|_failed\(\s*job,\s*|_failures\[)"(\w+)"[,)\]]'
        told |= set(re.findall(failed, path.read_text(encoding="utf-8")))
    assert told >= {"worker_died", "internal", "not_written"}
    assert told - {"media"} <= ERROR_WORDS.keys()
    assert not any("_" in words for words in ERROR_WORDS.values())
