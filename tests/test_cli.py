from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

import facevoice
from builders import make_prediction, make_report
from facevoice.batch import AnalyzerSetup
from facevoice.cli import analyze as cli_analyze
from facevoice.cli import app as cli
from facevoice.errors import UnreadableMediaError, WeightsError
from facevoice.records import Emotion, ModelId, Outcome, Prediction, Reason, Report
from facevoice.report import from_json, read_report

runner = CliRunner()


class FakeAnalyzer:
    """Answers by file name: `good*` conflicts, `stop*` is interrupted, anything else fails."""

    models: ClassVar = {"voice": ModelId("v", "0" * 64)}

    def __init__(self, setup: AnalyzerSetup) -> None:
        self.config = setup.config
        self.num_threads = setup.num_threads
        self.analyzed: list[str] = []

    def analyze(
        self,
        path: str | Path,
        *,
        on_progress: Callable[[float], None] | None = None,
        on_window: Callable[[Prediction], None] | None = None,
        **_: object,
    ) -> Report:
        self.analyzed.append(Path(path).name)
        name = Path(path).name
        if name.startswith("stop"):
            raise KeyboardInterrupt
        if not name.startswith("good"):
            raise UnreadableMediaError(path, "no media file.")
        if on_progress is not None:
            on_progress(4.0)
        conflict = make_prediction(voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.87)
        no_face = make_prediction(
            None,
            outcome=Outcome.INSUFFICIENT,
            conflict=None,
            reasons=(Reason.NO_FACE,),
            start_s=2,
            end_s=6,
        )
        if on_window is not None:
            on_window(conflict)
            on_window(no_face)
        return make_report(conflict, no_face, path=str(path))


@pytest.fixture(autouse=True)
def restored_log() -> Iterator[None]:
    log = logging.getLogger("facevoice")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.level, log.propagate = before[0], before[1], before[2]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeAnalyzer]:
    """The analyzers that the command line has built."""
    analyzers: list[FakeAnalyzer] = []

    def create(setup: AnalyzerSetup) -> FakeAnalyzer:
        analyzers.append(FakeAnalyzer(setup))
        return analyzers[-1]

    monkeypatch.setattr(cli_analyze, "create_analyzer", create)
    monkeypatch.setenv("COLUMNS", "80")
    return analyzers


@pytest.fixture
def folder(tmp_path: Path, made: list[FakeAnalyzer]) -> Path:
    """Holds good1.mp4, bad.mp4 and sub/good1.mp4."""
    root = tmp_path / "in"
    (root / "sub").mkdir(parents=True)
    for name in ("good1.mp4", "bad.mp4", "sub/good1.mp4"):
        (root / name).write_text(name)
    return root


def run(*arguments: str | Path, code: int = 0) -> tuple[str, str]:
    result = runner.invoke(cli.app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout, result.stderr


def shown(out: Path) -> list[str]:
    """Files below a folder, without those that only remember what is done."""
    files = (p.relative_to(out) for p in out.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in files if not p.parts[0].startswith("."))


def test_version() -> None:
    assert run("--version")[0] == f"facevoice {facevoice.__version__}\n"


def test_table_and_sentence_on_standard_output(folder: Path) -> None:
    stdout, stderr = run("analyze", folder / "good1.mp4")
    assert stderr == ""
    assert "0:00.0–0:04.0" in stdout
    assert "no face" in stdout
    assert "Face and voice probably conflict" in stdout
    unwrapped = " ".join(stdout.split())
    assert "the face reads as happy (91%), the voice reads as sad (55%)" in unwrapped
    lines = [line for line in stdout.splitlines() if str(folder) not in line]
    assert max(len(line) for line in lines) <= 80
    assert "\x1b" not in stdout


def test_nothing_is_written_without_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    run("analyze", folder / "good1.mp4")
    assert sorted(tmp_path.rglob("*")) == before


def test_some_failing_gives_exit_1_and_all_the_others(folder: Path) -> None:
    stdout, stderr = run("analyze", folder, code=1)
    assert stdout.count("probably conflict") == 2
    assert "3 files: 2 conflict, 1 failed" in stdout
    assert "no media file" in " ".join(stderr.split())


def test_missing_file_gives_exit_1(folder: Path) -> None:
    _, stderr = run("analyze", folder / "gone.mp4", code=1)
    assert "Could not be analysed" in stderr


def test_out_writes_all_formats_and_mirrors_the_tree(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("analyze", folder, "--out", out, code=1)
    assert set(shown(out)) == {
        "good1.json",
        "good1.csv",
        "bad.json",
        "bad.csv",
        "sub/good1.json",
        "sub/good1.csv",
        "windows.csv",
    }
    assert read_report(out / "bad.json").error.kind == "unreadable_media"
    rows = list(csv.DictReader((out / "windows.csv").open(encoding="utf-8")))
    assert len(rows) == 4
    assert {Path(row["file"]) for row in rows} == {
        folder / "good1.mp4",
        folder / "sub" / "good1.mp4",
    }


def test_repeated_runs_write_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        run("analyze", folder, "--out", tmp_path / name, code=1)
        files = [tmp_path / name / file for file in shown(tmp_path / name)]
        contents.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in files])
    assert contents[0] == contents[1]


def test_out_with_one_format(folder: Path, tmp_path: Path) -> None:
    run("analyze", folder / "good1.mp4", "--out", tmp_path / "out", "--format", "json")
    assert shown(tmp_path / "out") == ["good1.json"]


def test_json_on_standard_output_is_one_report_a_line(folder: Path) -> None:
    stdout, stderr = run("analyze", folder, "--format", "json", code=1)
    reports = [from_json(line) for line in stdout.splitlines()]
    assert [Path(report.path).name for report in reports] == ["bad.mp4", "good1.mp4", "good1.mp4"]
    assert "probably conflict" in stderr


def test_json_of_one_file_is_one_document(folder: Path) -> None:
    stdout, stderr = run("analyze", folder / "good1.mp4", "--format", "json", "--quiet")
    assert json.loads(stdout)["summary"]["outcome"] == "conflict"
    assert stderr == ""


def test_csv_on_standard_output_has_one_header(folder: Path) -> None:
    stdout, _ = run("analyze", folder, "--format", "csv", code=1)
    assert len(list(csv.DictReader(io.StringIO(stdout)))) == 4
    assert stdout.count("start_s") == 1


def test_csv_keeps_its_header_where_the_first_file_fails(folder: Path) -> None:
    stdout, _ = run("analyze", folder / "bad.mp4", folder / "good1.mp4", "--format", "csv", code=1)
    assert stdout.startswith("file,status,")


def test_quiet_shows_only_errors(folder: Path) -> None:
    stdout, stderr = run("analyze", folder, "--quiet", code=1)
    assert stdout == ""
    assert stderr.count("Could not be analysed") == 1


def test_verbose_shows_all_windows_and_no_more_with_quiet(folder: Path) -> None:
    run("analyze", folder / "good1.mp4", "--verbose")
    assert logging.getLogger("facevoice").level == logging.DEBUG
    _, stderr = run("analyze", folder / "good1.mp4", "-q", "-v", code=2)
    assert "exclude each other" in stderr


def test_interruption_keeps_what_is_done_and_exits_130(folder: Path, tmp_path: Path) -> None:
    (folder / "stop.mp4").touch()
    out = tmp_path / "out"
    files = [folder / name for name in ("good1.mp4", "stop.mp4", "bad.mp4")]
    _, stderr = run("analyze", *files, "--out", out, code=130)
    assert "1 of 3 files" in stderr
    assert shown(out) == ["good1.csv", "good1.json", "windows.csv"]


def test_settings_come_from_file_then_options(
    folder: Path, tmp_path: Path, made: list[FakeAnalyzer]
) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text("[windows]\nlength_s = 3.0\nhop_s = 1.5\n[faces]\nsample_rate_hz = 4.0\n")
    clip = folder / "good1.mp4"
    run("analyze", clip, "--config", settings, "--hop", "1", "--threads", "2")
    run("analyze", clip, "--config", settings, "--window", "5")
    run("analyze", clip)
    windows = [(m.config.windows.length_s, m.config.windows.hop_s) for m in made]
    assert windows == [(3.0, 1.0), (5.0, 2.5), (4.0, 2.0)]
    assert made[0].config.faces.sample_rate_hz == 4.0
    assert [m.num_threads for m in made] == [2, None, None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["--nonsense"], "nonsense"),
        (["--window", "99"], "length_s"),
        (["--window", "x"], "--window"),
        (["--hop", "9"], "hop_s"),
        (["--threads", "0"], "--threads"),
        (["--format", "xml"], "unknown 'xml'"),
        (["--format", "json,csv"], "--out DIR"),
        (["--config", "none.toml"], "none.toml"),
        (["--out", __file__], "can't be written"),
    ],
)
def test_wrong_usage_exits_2_and_says_why(folder: Path, arguments: list[str], words: str) -> None:
    paths = [folder / "good1.mp4"] if arguments else []
    stdout, stderr = run("analyze", *paths, *arguments, code=2)
    assert words in stderr
    assert stdout == ""


def test_damaged_weights_are_said_without_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(*_: object) -> FakeAnalyzer:
        raise WeightsError("face.onnx: wrong SHA-256")

    monkeypatch.setattr(cli_analyze, "create_analyzer", create)
    _, stderr = run("analyze", folder, code=1)
    assert "wrong SHA-256" in stderr
    assert "Traceback" not in stderr


def test_full_disk_is_said_without_traceback(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facevoice.files.write_atomically", write)
    _, stderr = run("analyze", folder / "good1.mp4", "--out", tmp_path / "out", code=1)
    assert "No space left on device" in stderr


def test_models_lists_licence_and_hash_of_every_weights_file() -> None:
    stdout, _ = run("models")
    index_path = Path(facevoice.__file__).parent / "weights" / "index.json"
    index = json.loads(index_path.read_text(encoding="utf-8"))
    assert len(index) > 0
    for name, entry in index.items():
        assert name in stdout
        assert entry["sha256"] in stdout
    assert stdout.count("intact") == len(index)


def test_what_is_done_is_not_done_again(
    folder: Path, tmp_path: Path, made: list[FakeAnalyzer]
) -> None:
    out = tmp_path / "out"
    (folder / "stop.mp4").write_text("stop")
    _, stderr = run("analyze", folder, "--jobs", "1", "--out", out, code=130)
    assert "2 of 4 files are done and kept. Run again to go on." in " ".join(stderr.split())
    (folder / "stop.mp4").write_text("changed")
    (folder / "stop.mp4").rename(folder / "good9.mp4")
    stdout, _ = run("analyze", folder, "--jobs", "1", "--out", out, code=1)
    assert "4 files (2 done before): 3 conflict, 1 failed" in stdout
    assert "unreadable_media" in stdout
    assert [m.analyzed for m in made] == [
        ["bad.mp4", "good1.mp4", "stop.mp4"],
        ["good9.mp4", "good1.mp4"],
    ]
    (folder / "sub" / "good1.mp4").rename(folder / "good2.mp4")
    run("analyze", folder, "--jobs", "1", "--out", out, code=1)
    assert made[2].analyzed == []  # a file that has moved is known by its content
    assert json.loads((out / "good2.json").read_text())["file"]["path"] == str(folder / "good2.mp4")
    run("analyze", folder, "--jobs", "1", "--out", out, "--again", code=1)
    assert len(made[3].analyzed) == 4
    run("analyze", folder, "--jobs", "1", "--out", out, "--window", "3", code=1)
    assert len(made[4].analyzed) == 4  # other settings are other results


def test_equal_contents_are_analysed_once(
    folder: Path, tmp_path: Path, made: list[FakeAnalyzer]
) -> None:
    (folder / "good2.mp4").write_text("good1.mp4")
    run("analyze", folder, "--jobs", "1", "--cache", tmp_path / "cache", code=1)
    assert made[0].analyzed == ["bad.mp4", "good1.mp4", "good1.mp4"]


def test_windows_come_as_json_lines_as_they_are_done(folder: Path) -> None:
    stdout, _ = run("analyze", folder / "good1.mp4", "--format", "jsonl")
    lines = [json.loads(line) for line in stdout.splitlines()]
    assert [line["outcome"] for line in lines] == ["conflict", "insufficient"]
    assert {line["file"] for line in lines} == {str(folder / "good1.mp4")}


def test_known_windows_come_as_json_lines_too(folder: Path, tmp_path: Path) -> None:
    arguments = ["analyze", folder / "good1.mp4", "--format", "jsonl", "--cache", tmp_path / "c"]
    first, _ = run(*arguments)
    assert run(*arguments)[0] == first


def test_many_files_are_shown_in_a_line_each(folder: Path) -> None:
    for number in range(9):
        (folder / f"good{number}.mp4").write_text(str(number))
    stdout, _ = run("analyze", folder, "--jobs", "1", code=1)
    assert f"{folder / 'good3.mp4'} conflict, 2 windows" in " ".join(stdout.split())
    assert "0:00.0" not in stdout
    assert "11 files: 10 conflict, 1 failed" in stdout
    assert "failed: unreadable_media" in stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "cloud"], "unknown backend 'cloud'; known: local, ray"),
        (["--format", "parquet"], "--format parquet needs --out DIR"),
    ],
)
def test_wrong_batch_settings(folder: Path, arguments: list[str], words: str) -> None:
    _, stderr = run("analyze", folder, *arguments, code=2)
    assert words in stderr
