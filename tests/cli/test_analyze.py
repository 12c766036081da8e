"""The command line: what is said where, exit codes, and that nothing is read twice."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import facevoice
from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup
from facevoice.cli import app as cli
from facevoice.errors import WeightsError
from facevoice.records import Reason
from facevoice.report import from_json, read_report
from fake_analyzers import FakeAnalyzer


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeAnalyzer]:
    """The analyzers that the command line has built."""
    analyzers: list[FakeAnalyzer] = []

    def build(setup: AnalyzerSetup) -> FakeAnalyzer:
        analyzers.append(FakeAnalyzer(setup))
        return analyzers[-1]

    monkeypatch.setattr(AnalyzerSetup, "build", build)
    return analyzers


@pytest.fixture
def folder(tmp_path: Path, made: list[FakeAnalyzer]) -> Path:
    """Holds good1.mp4, bad.mp4 and sub/good1.mp4."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    for name in ("good1.mp4", "bad.mp4", "sub/good1.mp4"):
        (root / name).write_text(name)
    return root


def run(*arguments: str | Path, code: int = 0, columns: int = 80) -> tuple[str, str]:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def analyze(*arguments: str | Path, code: int = 0, columns: int = 80) -> tuple[str, str]:
    """The same of `facevoice analyze`, in this process."""
    return run("analyze", *arguments, "--jobs", "1", code=code, columns=columns)


def in_a_line(text: str) -> str:
    return " ".join(text.split())


def shown(out: Path) -> list[str]:
    """Files below a folder, without those that only remember what is done."""
    files = (p.relative_to(out) for p in out.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in files if not p.parts[0].startswith("."))


def test_version_and_groups_of_commands() -> None:
    assert run("--version")[0] == f"facevoice {facevoice.__version__}\n"
    told, _ = run("--help")
    headings = ["Use:", "Look:", "Corpora and evaluation:", "Train and publish:"]
    assert [line for line in told.splitlines() if line in headings] == headings
    commands = [line.split()[0] for line in told.splitlines() if line.startswith("  ")]
    assert {"analyze", "report", "data", "push"} <= set(commands)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["talk.mp4"], "facevoice analyze talk.mp4"),
        (["my talk.MOV", "--out", "x"], "facevoice analyze 'my talk.MOV' --out x"),
        (["https://example.org/a"], "facevoice analyze https://example.org/a"),
        (["talk.json"], "facevoice report talk.json"),
        (["analyse", "talk.mp4"], "Did you mean 'analyze'?"),
    ],
)
def test_a_file_in_place_of_a_command(
    words: list[str], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.json").write_text("{}")
    assert meant in in_a_line(run(*words, code=2)[1])


def test_words_come_from_beside_the_file_or_from_where_they_are_named(
    folder: Path, tmp_path: Path
) -> None:
    beside, named, out = folder / "good1.en.srt", tmp_path / "x.txt", tmp_path / "out"
    beside.write_text("1\n00:00:00,500 --> 00:00:02,500\nI'm fine.\n")
    named.write_text("No times here.")
    text = in_a_line(analyze(folder / "good1.mp4")[0])
    assert "Words from good1.en.srt: I'm fine." in text
    assert "fine" not in analyze(folder / "good1.mp4", "--no-transcript")[0]
    text = in_a_line(analyze(folder / "good1.mp4", "--transcript", named, columns=400)[0])
    assert f"{named}: has no times" in text.replace(" /", "/")
    assert "Words without times from x.txt: No times here." in text
    moments = json.loads(analyze(folder / "good1.mp4", "--format", "json")[0])["moments"]
    assert [moment["text"] for moment in moments] == ["I'm fine.", ""]
    # A folder takes each file's own, and a broken one costs no file.
    (folder / "sub" / "good1.srt").write_text("nothing")
    _, stderr = analyze(folder, "--out", out, code=1)
    assert "sub/good1.srt: holds no cue that can be read" in in_a_line(stderr).replace("/ ", "/")
    transcript = read_report(out / "good1.json").transcript
    assert transcript is not None
    assert transcript.source == str(beside)
    assert read_report(out / "sub" / "good1.json").transcript is None
    told = analyze(folder, "--transcript", named, code=2)[1]
    assert "--transcript names the words of one file" in in_a_line(told)


def test_a_short_file_is_a_sentence_and_with_verbose_a_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    stdout, stderr = analyze(folder / "good1.mp4")
    assert stderr == ""
    text = in_a_line(stdout)
    assert "Face and voice conflict: the face looks happy (91%), but the voice sounds sad" in text
    assert "Of 2 windows: 1 conflict, 1 insufficient." in text
    assert text.count("Of ten conflicts called at this setting, expect about eight") == 1
    assert "0:00" not in stdout
    lines = [line for line in stdout.splitlines() if str(folder) not in line]
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in stdout
    assert sorted(tmp_path.rglob("*")) == before  # Nothing is written without --out.
    stdout, _ = analyze(folder / "good1.mp4", "-v")
    assert "0:00.0–0:04.0 happy 91%" in stdout
    assert "no face" in stdout


def test_a_long_file_is_a_sentence_and_its_moments_and_with_verbose_all_windows(
    folder: Path,
) -> None:
    clip = folder / "good_long.mp4"
    clip.touch()
    stdout, _ = analyze(clip)
    assert "Conflict for 18 s (9 times), match for 19 s (9 times)" in in_a_line(stdout)
    lines = [" ".join(line.split()) for line in stdout.splitlines()]
    (heading,) = [place for place, line in enumerate(lines) if line.startswith("time")]
    assert lines[heading] == "time (min:s) face voice outcome probability"
    assert lines[heading + 2] == "0:03–0:05 happy sad conflict 90%"
    assert lines[heading + 12] == "0:00–0:03 happy happy match 96%"
    assert "… and 7 more moments (-v shows all)" in stdout
    assert "0:00.0–0:04.0" not in stdout
    stdout, _ = analyze(clip, "-v")
    assert "more moments" not in stdout
    assert stdout.index("0:03–0:05 ") < stdout.index("0:00.0–0:04.0")
    assert stdout.count("happy 91%") == 27


def test_what_the_setting_means_is_said_once_and_the_setting_decides(folder: Path) -> None:
    clips = [folder / "good1.mp4", folder / "sub" / "good1.mp4"]
    text = in_a_line(analyze(*clips)[0])
    assert text.count("Measured on actors") == 1
    text = in_a_line(analyze(*clips, "--expected-conflicts", "0.05")[0])
    assert "about two to be real where one window in 20 conflicts" in text
    assert "Measured" not in analyze(*clips, "--quiet")[0]


def test_some_failing_gives_exit_1_and_all_the_others(folder: Path) -> None:
    stdout, stderr = analyze(folder, folder / "gone.mp4", code=1)
    assert stdout.count("Face and voice conflict") == 2
    assert "4 files: conflict in 2, insufficient in 2, 2 failed" in stdout
    assert "no media file" in in_a_line(stderr)
    stdout, stderr = analyze(folder, "--quiet", code=1)
    assert stdout == ""
    assert stderr.count("Could not be analysed") == 1


def test_out_writes_what_was_asked_for_and_mirrors_the_tree(folder: Path, tmp_path: Path) -> None:
    contents = []
    for out in (tmp_path / "one", tmp_path / "two"):
        analyze(folder, "--out", out, code=1)
        names = ["bad", "good1", "sub/good1"]
        reports = [f"{name}.{ending}" for name in names for ending in ("csv", "json")]
        assert shown(out) == sorted([*reports, "windows.csv", "moments.csv"])
        contents.append({name: (out / name).read_bytes() for name in shown(out)})
    assert contents[0] == contents[1]
    assert read_report(out / "bad.json").error.kind == "unreadable_media"
    rows = list(csv.DictReader((out / "windows.csv").open(encoding="utf-8")))
    assert [Path(row["file"]).parent.name for row in rows] == ["in", "in", "sub", "sub"]
    rows = list(csv.DictReader((out / "moments.csv").open(encoding="utf-8")))
    assert [row["outcome"] for row in rows] == ["conflict", "insufficient"] * 2


@pytest.mark.parametrize(
    ("words", "endings"),
    [
        (["--format", "json"], {"json"}),
        (["--format", "json", "--format", "html"], {"json", "html"}),
        (["--format", "json, JSONL"], {"json", "jsonl"}),
    ],
)
def test_formats_may_be_joined_or_repeated(
    folder: Path, tmp_path: Path, words: list[str], endings: set[str]
) -> None:
    analyze(folder / "good1.mp4", "--out", tmp_path / "out", *words)
    made = {f"good1.{ending}" for ending in endings}
    assert shown(tmp_path / "out") == sorted(
        made | ({"index.html"} if "html" in endings else set())
    )


def test_data_on_standard_output_is_only_data(folder: Path) -> None:
    stdout, stderr = analyze(folder, "--format", "json", code=1)
    reports = [from_json(line) for line in stdout.splitlines()]
    assert [Path(report.path).name for report in reports] == ["bad.mp4", "good1.mp4", "good1.mp4"]
    assert "Face and voice conflict" in stderr
    stdout, _ = analyze(folder, "--format", "csv", code=1)
    assert stdout.startswith("file,status,")  # also where the first file fails
    assert stdout.count("start_s") == 1
    assert len(list(csv.DictReader(io.StringIO(stdout)))) == 4
    assert analyze(folder / "good1.mp4", "--format", "json", "-q")[1] == ""


def test_many_files_are_shown_in_a_line_each(folder: Path) -> None:
    for number in range(9):
        (folder / f"good{number}.mp4").write_text(str(number))
    (folder / "good_long.mp4").touch()
    stdout, _ = analyze(folder, code=1, columns=400)  # room for paths of any length
    assert f"{folder / 'good3.mp4'} conflict {folder / 'good4.mp4'}" in in_a_line(stdout)
    assert "good_long.mp4 match 9×, conflict 9×, flat 9×" in in_a_line(stdout)
    assert "0:00" not in stdout
    assert "12 files: match in 1, conflict in 11, flat in 1, insufficient in 10, 1 failed" in (
        in_a_line(stdout)
    )
    assert "failed: can't be read as video or sound" in stdout
    assert "0:00.0" in analyze(folder, "--verbose", code=1)[0]


def test_interruption_keeps_what_is_done_and_exits_130(folder: Path, tmp_path: Path) -> None:
    (folder / "stop.mp4").write_text("stop")
    files = [folder / name for name in ("good1.mp4", "stop.mp4", "bad.mp4")]
    _, stderr = analyze(*files, "--out", tmp_path / "out", code=130)
    assert "1 of 3 files are done and kept. Run again to go on." in in_a_line(stderr)
    assert shown(tmp_path / "out") == ["good1.csv", "good1.json", "moments.csv", "windows.csv"]
    assert "Run again" not in analyze(*files, code=130)[1]


def test_settings_come_from_file_then_options(
    folder: Path, tmp_path: Path, made: list[FakeAnalyzer]
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text("[windows]\nlength_s = 3.0\nhop_s = 1.5\n[faces]\nsample_rate_hz = 4.0\n")
    clip = folder / "good1.mp4"
    analyze(clip, "--config", settings, "--hop", "1", "--threads", "2")
    analyze(clip, "--config", settings, "--window", "5")
    analyze(clip)
    windows = [(m.config.windows.length_s, m.config.windows.hop_s) for m in made]
    assert windows == [(3.0, 1.0), (5.0, 2.5), (4.0, 2.0)]
    assert made[0].config.faces.sample_rate_hz == 4.0
    assert [m.num_threads for m in made] == [2, None, None]


@pytest.mark.parametrize("command", ["analyze", "report", "render", "web"])
def test_every_analysis_takes_the_same_options(command: str) -> None:
    told, _ = run(command, "--help")
    options = ("--config", "--window", "--hop", "--checkpoint", "--backbone", "--threads")
    options += ("--sensitivity", "--expected-conflicts")
    assert [option for option in options if option not in told] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["--nonsense"], "nonsense"),
        (["--window", "99"], "windows.length_s = 99.0 is not allowed"),
        (["--window", "x"], "--window"),
        (["--hop", "9"], "windows.hop_s"),
        (["--threads", "0"], "--threads"),
        (["--format", "xml"], "unknown 'xml'"),
        (["--format", "json", "--format", "csv"], "several need --out DIR"),
        (["--format", "parquet"], "--format parquet needs --out DIR"),
        (["--config", "none.toml"], "none.toml: can't be read"),
        (["--out", __file__], "is a file; name a folder"),
        (["--out", "/proc/nothing"], "Check the folder or choose another --out"),
        (["--cache", "x"], "give --store FILE"),
        (["--backend", "cloud"], "unknown backend 'cloud'; known: local, ray"),
        (["-q", "-v"], "exclude each other"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(folder: Path, arguments: list[str], words: str) -> None:
    paths = [folder / "good1.mp4"] if arguments else []
    stdout, stderr = run("analyze", *paths, *arguments, code=2)
    assert words in in_a_line(stderr)
    assert "analyze --help" in stderr or "analyze -h" in stderr
    assert stdout == ""


def test_what_goes_wrong_is_said_without_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("facevoice.files.write_atomically", write)
        patch.setattr("facevoice.report.folder.write_atomically", write)
        _, stderr = analyze(folder / "good1.mp4", "--out", tmp_path / "out", code=1)
    assert "the disk is full" in in_a_line(stderr)
    assert "Traceback" not in stderr

    def build(_: AnalyzerSetup) -> Any:
        raise WeightsError("face.onnx: wrong SHA-256")

    monkeypatch.setattr(AnalyzerSetup, "build", build)
    _, stderr = analyze(folder, code=1)
    assert stderr == "face.onnx: wrong SHA-256\n"


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("torch", "train --features {here}"),
        ("torch", "export {here} --out x"),
        ("pyarrow", "data describe {here}/m.parquet"),
        ("gradio", "web"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(
    package: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    code = (
        f"import sys; sys.modules[{package!r}] = None; from facevoice.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, *words.format(here=tmp_path).split()]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert re.search(r"pip install 'facevoice\[[a-z]+\]'", in_a_line(found.stderr))


def test_a_command_leaves_the_log_as_it_was(folder: Path) -> None:
    log = logging.getLogger("facevoice")
    before = (log.handlers[:], log.level, log.propagate)
    analyze(folder / "good1.mp4", "--verbose")
    assert (log.handlers, log.level, log.propagate) == before


def test_a_reader_that_has_seen_enough_is_no_error(make_clip: ClipMaker) -> None:
    clips = [make_clip(f"{n}.mp4", duration_s=0.5) for n in range(2)]
    command = [sys.executable, "-m", "facevoice", "analyze", *clips, "--format", "json", "-q"]
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run(
        [*map(str, command), "--jobs", "1"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (1, b"")


def test_models_lists_licence_and_hash_of_every_weights_file() -> None:
    stdout, _ = run("models")
    index_path = Path(facevoice.__file__).parent / "weights" / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8"))
    assert len(index) > 0
    for name, entry in index.items():
        assert name in stdout
        assert entry["sha256"] in stdout
    assert stdout.count("intact") == len(index)


def test_no_file_is_read_twice(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for number in range(2):
        make_clip(f"{number}.mp4", duration_s=1 + number / 2).rename(films / f"{number}.mp4")
    (films / "bad.mp4").write_text("no film " * 99)
    (out / ".facevoice").mkdir(parents=True)  # what earlier versions left there
    stdout, _ = analyze(films, "--out", out, code=1)
    assert "3 files: insufficient in 2, 1 failed" in stdout
    first = read_report(out / "0.json")
    read: list[str] = []
    perceive = Analyzer.perceive

    def watched(self: Analyzer, path: Path, **more: Any) -> Any:
        read.append(Path(path).name)
        return perceive(self, path, **more)

    monkeypatch.setattr(Analyzer, "perceive", watched)
    settings = tmp_path / "s.toml"
    settings.write_text("[decision]\nmin_window_s = 1.2\n")
    (films / "1.mp4").rename(films / "moved.mp4")  # is known by its content
    stdout, _ = analyze(films, "--out", out, "--config", settings, code=1)
    assert "3 files (2 not read again): insufficient in 2, 1 failed" in stdout
    assert read == ["bad.mp4"]
    assert Reason.TOO_SHORT not in first.windows[0].reasons
    again = read_report(out / "0.json")
    assert again.config.decision.min_window_s == 1.2
    assert Reason.TOO_SHORT in again.windows[0].reasons
    assert read_report(out / "moved.json").path == str(films / "moved.mp4")
    for words in (["--again"], ["--window", "3"], ["--store", str(tmp_path / "other.db")]):
        read.clear()
        analyze(films, "--out", out, *words, code=1)
        assert read == ["0.mp4", "bad.mp4", "moved.mp4"]


def test_windows_come_as_json_lines_also_from_the_store(
    make_clip: ClipMaker, tmp_path: Path
) -> None:
    words = [make_clip(duration_s=5.0), "--format", "jsonl", "--store", tmp_path / "s.db"]
    stdout, _ = analyze(*words)
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [(line["start_s"], line["outcome"]) for line in lines] == [
        (0.0, "insufficient"),
        (2.0, "insufficient"),
    ]
    assert {line["file"] for line in lines} == {str(words[0])}
    assert analyze(*words)[0] == stdout
