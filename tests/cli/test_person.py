"""What is known of a person, on the command line: recordings, profiles, files together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.cli import app as cli
from facevoice.errors import ConfigError
from facevoice.media.sound import read_audio
from facevoice.models.heads import load_compact
from facevoice.people.baseline import Known
from facevoice.people.profile import load_profile
from facevoice.records import Modality, Report
from facevoice.report import read_report, to_json
from facevoice.settings import AnalyzerConfig, DecisionConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
GLAD, PLAIN, FRIGHTENED = (
    EXAMPLES / f"smile_{mood}_voice.mp4" for mood in ("glad", "plain", "frightened")
)


def run(*words: str | Path, code: int = 0) -> tuple[str, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return " ".join(result.stdout.split()), " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is perceived once is known to all tests."""
    return tmp_path_factory.mktemp("store") / "store.db"


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


def analyze(
    out: Path, store: Path, *words: str | Path, paths: tuple[Path, ...] = (GLAD,), code: int = 0
) -> dict[str, Report]:
    """Reports by name of the file."""
    run("analyze", *paths, "--out", out, "--store", store, *words, code=code)
    return {path.stem: read_report(path) for path in sorted(out.glob("*.json"))}


def num_known(report: Report) -> tuple[float, float]:
    last = report.windows[-1]
    assert last.face is not None
    assert last.voice is not None
    return last.face.num_known, last.voice.num_known


def test_recordings_and_a_profile_of_them_say_the_same(
    tmp_path: Path, store: Path, analyzer: Analyzer
) -> None:
    profile = tmp_path / "anna.json"
    told, _ = run("profile", PLAIN, FRIGHTENED, "--out", profile, "--store", store)
    assert "Known by face 3 windows, voice 3 windows. Written to" in told
    assert "It is personal data" in told
    by_profile = analyze(tmp_path / "p", store, "--person", profile)["smile_glad_voice"]
    recordings = "--person", PLAIN, "--person", FRIGHTENED
    by_films = analyze(tmp_path / "f", store, *recordings)["smile_glad_voice"]
    assert num_known(by_profile) == pytest.approx(num_known(by_films))
    assert num_known(by_films)[0] == pytest.approx(2.6, abs=0.1)
    alone = analyze(tmp_path / "a", store)["smile_glad_voice"]
    for known, film, unknown in zip(
        by_profile.windows, by_films.windows, alone.windows, strict=True
    ):
        assert known.conflict == pytest.approx(film.conflict, abs=1e-4)
        assert known.conflict != pytest.approx(unknown.conflict, abs=1e-3)
    python = analyzer.analyze(GLAD, known=Known(analyzer.get_to_know([PLAIN, FRIGHTENED, PLAIN])))
    assert num_known(python) == pytest.approx(num_known(by_films))
    streamed = list(analyzer.stream(GLAD, known=Known(load_profile(profile, analyzer.models))))
    assert streamed[0].conflict == pytest.approx(by_profile.windows[0].conflict, abs=1e-3)


def test_a_file_is_not_compared_with_itself(tmp_path: Path, store: Path) -> None:
    copy = shutil.copy(GLAD, tmp_path / "copy.mp4")
    expected = analyze(tmp_path / "1", store, "--person", PLAIN)["smile_glad_voice"]
    itself = "--person", PLAIN, "--person", copy, "--neutral", GLAD
    found = analyze(tmp_path / "2", store, *itself)["smile_glad_voice"]
    assert num_known(found) == pytest.approx(num_known(expected))
    assert found.windows[0].conflict == pytest.approx(expected.windows[0].conflict, abs=1e-6)


def test_neutral_recordings_are_taken_for_neutral(tmp_path: Path, store: Path) -> None:
    profile = tmp_path / "anna.json"
    run("profile", "--neutral", GLAD, "--neutral", PLAIN, "--out", profile, "--store", store)
    channels = json.loads(profile.read_text())["channels"]
    assert all(channel["probs"]["neutral"] == 1 for channel in channels.values())
    run("profile", profile, FRIGHTENED, "--out", profile, "--store", store)
    more = json.loads(profile.read_text())["channels"]
    assert more["audio"]["num_windows"] > 1.4 * channels["audio"]["num_windows"]
    assert 0.5 < more["audio"]["probs"]["neutral"] < 0.7


def films(tmp_path: Path) -> Path:
    """Three films, one of them twice, and one that can't be read."""
    folder = tmp_path / "films"
    folder.mkdir()
    for path in (GLAD, PLAIN, FRIGHTENED):
        shutil.copy(path, folder)
    shutil.copy(GLAD, folder / "copy.mp4")
    (folder / "text.mp4").write_text("not a film " * 100)
    return folder


@pytest.mark.parametrize("words", [("--same-person",), ("--same-setting",)])
def test_files_inform_each_other_whatever_was_done_before(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    folder = films(tmp_path)
    first = analyze(tmp_path / "a", tmp_path / "a.db", *words, paths=(folder,), code=1)
    assert first["text"].error is not None
    known = pytest.approx((2.6, 2.6), abs=0.1) if words == ("--same-person",) else (0, 0)
    for name in ("smile_glad_voice", "smile_plain_voice", "smile_frightened_voice", "copy"):
        assert num_known(first[name]) == known
    alone = analyze(tmp_path / "x", tmp_path / "a.db", paths=(folder,), code=1)
    assert first["copy"].windows[0].conflict != alone["copy"].windows[0].conflict
    # Some are done already, in two processes, without a store.
    run("analyze", GLAD, "--out", tmp_path / "b", "--store", tmp_path / "b.db")
    run("analyze", folder, "--out", tmp_path / "b", "--store", tmp_path / "b.db", *words, code=1)
    again = analyze(
        tmp_path / "b", tmp_path / "b.db", *words, "--jobs", "2", paths=(folder,), code=1
    )
    stdout = CliRunner().invoke(
        cli.app, ["analyze", str(folder), *words, "--format", "json", "--jobs", "1"]
    )
    printed = {Path(r["file"]["path"]).stem: r for r in map(json.loads, stdout.stdout.splitlines())}
    assert len(printed) == 5
    for name, report in first.items():
        assert to_json(again[name]) == to_json(report)
        assert printed[name] == json.loads(to_json(report))


def test_windows_as_json_lines_do_not_depend_on_the_store(tmp_path: Path) -> None:
    words = ["analyze", GLAD, "--format", "jsonl", "--store", tmp_path / "s.db", "--person", PLAIN]
    first, _ = run(*words)
    again, _ = run(*words)
    assert again == first
    lines = [json.loads(line) for line in first.replace("} {", "}\n{").splitlines()]
    assert len(lines) == 2


def test_what_tells_nothing_is_said_and_the_files_are_read_without(
    tmp_path: Path, store: Path, make_clip: ClipMaker
) -> None:
    empty, broken = make_clip("empty.mp4", duration_s=1.0), tmp_path / "text.mp4"
    broken.write_text("not a film " * 100)
    out = tmp_path / "out"
    words = ["analyze", GLAD, "--out", out, "--store", store]
    _, stderr = run(*words, "--person", empty, "--neutral", broken)
    assert "empty.mp4: shows too little of a face, and of speech" in stderr
    assert "text.mp4" in stderr
    assert "Nothing is known of the person" in stderr
    assert num_known(read_report(out / "smile_glad_voice.json")) == (0, 0)
    profile = tmp_path / "nobody.json"
    _, stderr = run("profile", empty, "--neutral", broken, "--out", profile, code=1)
    assert "nobody.json: nothing is known of the person, so nothing is written" in stderr
    assert not profile.exists()
    stdout, stderr = run("profile", PLAIN, broken, "--out", profile, "--store", store, code=1)
    assert "Written to" in stdout
    assert "text.mp4" in stderr


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["analyze", "CLIP", "--person", "gone.mp4"], 2, "--person gone.mp4: no such file"),
        (["analyze", "CLIP", "--neutral", "gone"], 2, "--neutral gone: no such file"),
        (["analyze", "CLIP", "--person", "text.json"], 1, "text.json: is no profile"),
        (["analyze", "CLIP", "--person", "other.json"], 1, "other networks than those of this"),
        (
            ["analyze", "CLIP", "--same-person", "--no-know-person"],
            2,
            "know_person = false: nothing is compared",
        ),
        (["profile", "--out", "a.json"], 2, "name recordings of the person"),
        (["profile", "CLIP", "--out", "folder"], 2, "is a folder"),
        (["profile", "CLIP", "--out", "no/a.json"], 2, "there is no folder"),
        (["profile", "CLIP", "--out", "a.txt"], 2, "profiles are called *.json"),
        (["profile", "CLIP", "--out", "text.json"], 2, "is no profile; replace it"),
        (["profile", "gone.mp4", "--out", "a.json"], 2, "PATH gone.mp4: no such file"),
    ],
)
def test_wrong_usage_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.json").write_text("{}")
    usual = {
        "models": {"voice": {"name": "v", "sha256": "0" * 64}},
        "num_windows": 1.0,
        "probs": dict.fromkeys(
            ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"], 1 / 8
        ),
        "mean": [0.0],
    }
    document = {"schema": "facevoice.profile", "schema_version": 1, "channels": {"audio": usual}}
    Path("other.json").write_text(json.dumps(document))
    command = [str(GLAD) if word == "CLIP" else word for word in words]
    assert told in run(*command, code=code)[1]


def test_a_live_stream_compares_with_what_is_known(analyzer: Analyzer) -> None:
    usual = analyzer.get_to_know([GLAD])
    known, unknown = (
        next(analyzer.follow(None, read_audio(PLAIN), 4.0, known=given))
        for given in (Known(usual), Known())
    )
    assert known.voice is not None
    assert unknown.voice is not None
    assert known.voice.num_known == usual[Modality.AUDIO].num_windows
    assert unknown.voice.num_known == 0
    assert (known.voice.probs != unknown.voice.probs).any()


@pytest.mark.parametrize("words", [("--person", str(PLAIN)), ("--same-person",)])
def test_a_model_that_compares_with_nothing_refuses(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    assembly = load_compact()
    plain = replace(assembly, model=replace(assembly.model, adapts=False))
    monkeypatch.setattr("facevoice.analyzer.load_compact", lambda: plain)
    _, stderr = run("analyze", GLAD, *words, code=2)
    assert "the model compact doesn't compare with what is usual for a person" in stderr
    _, stderr = run("profile", GLAD, "--out", "never.json", code=2)
    assert "doesn't compare" in stderr
    assert "isn't known" not in run("analyze", GLAD)[0]


def test_switched_off_nothing_is_compared(analyzer: Analyzer) -> None:
    off = Analyzer(AnalyzerConfig(decision=DecisionConfig(know_person=False)))
    assert not off.compares
    with pytest.raises(ConfigError, match="know_person"):
        off.get_to_know([GLAD])
    told = analyzer.get_to_know([GLAD], neutral=True)
    assert set(told) == set(Modality)
    assert all(usual.probs[0] == 1 for usual in told.values())
