"""The pages, tried as a new user would: commands and scripts run in the order they stand in."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import av
import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

from command_lines import PAGES, PLACEHOLDER, Step, problems, steps_of, words_of
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup
from facevoice.cli.app import app
from facevoice.corpora.manifest import write_manifest
from facevoice.evaluation.predictions import write_run
from facevoice.people.identity import IDENTITY_DIM
from facevoice.records import Perception, Report
from facevoice.report import to_json, write_format
from facevoice.review import Verdict, empty_review, review_path, said_of, write_review
from facevoice.store import Store
from run_builders import make_clips, make_conflicts, make_emotions, make_info

ROOT = Path(__file__).parents[1]
SAMPLES = sorted((ROOT / "examples").glob("*.mp4"))
# What isn't run, and why; its words are checked all the same (tests/test_documented_commands.py).
NOT_RUN: Final = {
    PLACEHOLDER: "names nothing yet",
    r"^facevoice (web|serve (?!--new-key)|serve$|mcp )": "serves: tests/web, tests/service",
    r"^facevoice doctor": "tries itself for 5 s: tests/cli/test_doctor.py",
    r"^facevoice (data (download|prepare|pairs|extract)|train|evaluate \S*manifest)|ravdess6": (
        "needs a corpus: test_notebooks.py"
    ),
    r"--checkpoint|^facevoice export": "needs a trained model: tests/cli/test_export.py",
    r"^facevoice (push|pull|space)": "needs a hub: tests/hub",
    r"--transcribe": "fetches a model: tests/test_transcript.py",
    r"explain (?!examples)|--explain": "takes seconds, as the one that is run",
    r"Gesicht|Mutter": "takes an annotator's own names: tests/exchange/test_agree.py",
}
SCRIPTS_NOT_RUN: Final = {
    "from fer": "another tool's: benchmarks/instead.py runs it",
    "docs/full-model.md": "fetches backbones: tests/backbones",
    "docs/hub.md": "needs a hub: tests/hub",
    "docs/service.md": "needs a service: tests/service/test_process.py",
    "docs/web.md": "serves: tests/web",
}
# On these, talk.mp4 shows three people.
OF_SEVERAL: Final = ("docs/people.md", "docs/pictures.md")
RECORDINGS = (
    *("talk", "monday", "tuesday", "anna_reads_aloud", "videos/talk", "clips/talk"),
    *("anna/monday", "anna/tuesday", "interviews/p07_week1", "p07/week1", "p07/week2", "p07/week3"),
)
SRT = "1\n00:00:01,000 --> 00:00:03,000\nI am fine.\n"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("seen") / "seen.db") as store:
        yield store


@pytest.fixture(scope="module")
def clone(seen: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a clone, with recordings and other files as the pages call them."""
    root = tmp_path_factory.mktemp("clone")
    for folder in ("examples", "configs"):
        shutil.copytree(ROOT / folder, root / folder)
    for place, name in enumerate(RECORDINGS):
        path = root / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES[0 if path.stem == "talk" else place % len(SAMPLES)], path)
    for name in ("talk.srt", "p07/week3.srt"):
        (root / name).write_text(SRT, encoding="utf-8")
    (root / "words.vtt").write_text(f"WEBVTT\n\n{SRT.replace(',', '.')}", encoding="utf-8")
    for folder in ("ben", "customers", "results", "Downloads"):
        (root / folder).mkdir()
    write_sound(SAMPLES[0], root / "customers" / "call.wav")
    write_data(root)
    analyzer = build_once(AnalyzerSetup(Analyzer().config))
    write_about(analyzer.interpret(analyzer.perceive(root / "talk.mp4", store=seen)), root)
    return root


def write_about(report: Report, root: Path) -> None:
    """Reports, a review and annotations of one film."""
    for name in ("talk.json", "before.json", "after.json"):
        (root / name).write_text(to_json(report), encoding="utf-8")
    first = report.moments[0]
    right = Verdict(first.start_s, first.end_s, first.person, said_of(first), is_right=True)
    review = replace(empty_review(report), verdicts=(right,))
    for name in ("talk", "results/talk"):
        write_review(review_path(root / f"{name}.json"), review)
    for name in ("anna", "anna/talk", "ben/talk"):
        write_format(report, root / name, "eaf")
    write_format(report, root / "ben", "textgrid")


def write_data(root: Path) -> None:
    """Tables of clips and predictions, as `data prepare` and `train` write them."""
    (root / "data").mkdir()
    for name in ("manifest.parquet", "data/manifest.parquet"):
        write_manifest(make_clips(), root / name)
    trained = [f"checkpoints/{kind}/predictions" for kind in ("multimodal", "video", "audio")]
    for name in ("run", "other-run", "runs/first/predictions", *trained):
        info = make_info(name=name.replace("/", "-"))
        write_run(root / name, info, make_emotions(), make_conflicts())


def as_if_of_three(found: Perception) -> Perception:
    """The same film, but two people are seen in its first half, and a third in its second."""
    half_s = found.windows[-1].end_s / 2
    windows = []
    for view in found.windows:
        faces = []
        for number in range(3):
            one = view.faces[0]
            assert one.times_s is not None and one.boxes_xyxy_rel is not None
            kept = (one.times_s >= half_s) == (number == 2)
            looks = np.zeros(IDENTITY_DIM, np.float32)
            looks[number] = 1
            when, where = one.times_s[kept], one.boxes_xyxy_rel[kept]
            changes = {"times_s": when, "boxes_xyxy_rel": where, "identity": looks, "quality": 1.0}
            if len(when):
                faces.append(replace(one, person=number, coverage=float(kept.mean()), **changes))
        windows.append(replace(view, faces=tuple(faces), num_faces=len(faces)))
    return replace(found, windows=tuple(windows))


def write_sound(source: Path, target: Path) -> None:
    with av.open(str(source)) as film, av.open(str(target), "w") as sound:
        stream = sound.add_stream("pcm_s16le", rate=16000, layout="mono")
        resampler = av.AudioResampler("s16", "mono", 16000)
        for frame in film.decode(audio=0):
            for part in resampler.resample(frame):
                sound.mux(stream.encode(part))
        sound.mux(stream.encode(None))


@functools.cache
def build_once(setup: AnalyzerSetup) -> Analyzer:
    return Analyzer(setup.config)


@pytest.fixture
def page() -> str:
    """Of a test that is about no page of the documentation."""
    return "README.md"


@pytest.fixture(autouse=True)
def quick(page: str, seen: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds an analyzer once, and reads each clip once: all pages are about the same few."""
    perceive = Analyzer.perceive

    def kept(self: Analyzer, path: str | Path, **named: Any) -> Perception:
        found = perceive(self, path, **{**named, "store": seen})
        is_of_several = page in OF_SEVERAL and Path(path).name == "talk.mp4"
        return as_if_of_three(found) if is_of_several else found

    monkeypatch.setattr(AnalyzerSetup, "build", build_once)
    monkeypatch.setattr(Analyzer, "perceive", kept)


def is_run(step: Step) -> bool:
    if step.kind in ("command", "mention"):
        left_out = any(re.search(pattern, step.text) for pattern in NOT_RUN)
        return not left_out and not any(problems(step.text))  # "`facevoice report`" is a mention.
    left_out = any(word in f"{step.page}: {step.text}" for word in SCRIPTS_NOT_RUN)
    return step.kind in ("python", "sql") and not left_out


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_run, steps_of(page)))])
def test_what_a_page_says_to_do_works(
    page: str, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(clone, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for step in filter(is_run, steps_of(page)):
        if step.kind in ("command", "mention"):
            run(step)
        elif step.kind == "sql":
            assert duckdb.sql(step.text).columns
        else:
            told = execute(step.text)
            assert not step.told or says(told, step.told), (told, step.told)


def test_the_demo_says_what_the_readme_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^make demo .*?^```\n\n```\n(.*?)^```", text, re.M | re.S)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = re.findall(r"^demo:.*\n\t\$\(BIN\)/(.*)", makefile, re.M)
    monkeypatch.chdir(ROOT)
    run(Step("README.md", "command", command, told))


def run(step: Step) -> None:
    words = [os.path.expanduser(word) for word in words_of(step.text)[1:]]  # noqa: PTH111
    if words[0] in ("evaluate", "compare"):
        words += ["--resamples", "100"]  # the fewest: nobody reads these intervals
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (step.text, result.output, result.exception)
    assert says(result.output, step.told), (step.text, result.output)


# Whole ones are counts, and the same everywhere; others are rounded.
ROUNDED = re.compile(r"(?<![\w.])(\d+\.\d+|\d+(?=%))(?!\w)")


def says(printed: str, told: str) -> bool:
    """Whether a page's text was printed; it may break lines elsewhere, and leave out a table.

    Processors add numbers up in different orders: the last place of a rounded one may differ by 1.
    """
    words = " ".join(told.split())
    parts = ROUNDED.split(words)  # text and numbers in turn
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = map(any_like, parts[1::2])
    pattern = "".join(parts)
    wanted = ROUNDED.findall(words)
    return any(
        all(map(is_about, found.groups(), wanted))
        for found in re.finditer(pattern, " ".join(printed.split()))
    )


def any_like(number: str) -> str:
    """A pattern for numbers of as many places."""
    places = len(number.partition(".")[2])
    return rf"(\d+\.\d{{{places}}})" if places else r"(\d+)"


def is_about(number: str, told: str) -> bool:
    unit = 10.0 ** -len(told.partition(".")[2])
    return abs(float(number) - float(told)) < 1.5 * unit


def execute(script: str) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(script, "page", "exec"), {"__name__": "__main__"})  # noqa: S102
    return output.getvalue()
