"""Files from strangers are read where they can do no harm, with the same answers."""

from __future__ import annotations

import copy
import os
import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hostile_readers
from facevoice import sandbox
from facevoice.analyzer import Analyzer
from facevoice.batch import AnalyzerSetup, BatchPlan, analyze_files
from facevoice.cli.app import app
from facevoice.errors import (
    ConfigError,
    DecoderCrashedError,
    MediaError,
    OverLimitError,
    RenderError,
    UnreadableMediaError,
)
from facevoice.files import file_sha256
from facevoice.isolation import IsolatedPerceiver
from facevoice.records import Status
from facevoice.report import render_video, to_json
from facevoice.sandbox import Limits, Sandbox
from facevoice.settings import AnalyzerConfig, WindowConfig
from facevoice.store import Store
from films import read_film

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "smile_frightened_voice.mp4"
MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="rights are given up on Linux")


@pytest.fixture(scope="module", autouse=True)
def _finds_hostile_readers() -> Iterator[None]:
    """As children inherit the path of modules, but nothing secret."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests"))))
        patch.setenv("SECRET_KEY", "x")
        yield


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture(scope="module")
def isolated(analyzer: Analyzer) -> Analyzer:
    return analyzer.in_isolation()


@linux
def test_a_decoder_that_was_taken_over_reaches_nothing(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "own").write_text("mine")
    (outside / "secret").write_text("yours")
    task = {"inside": os.fsencode(inside), "outside": os.fsencode(outside)}
    child = Sandbox("hostile_readers:open_prober", {}, Limits())
    *tried, last = child.work(task, inside / "own")
    child.close()
    wanted = hostile_readers.attempts(inside, outside)
    assert [one["tried"] for one in tried] == list(wanted)
    assert [one for one in tried if one["failed"] is None] == []
    assert last == {"read": "mine", "secrets": False}
    assert sorted(p.name for p in inside.iterdir()) == ["own"]


@pytest.mark.parametrize(
    ("deed", "error", "told"),
    [
        ("crash", DecoderCrashedError, "a decoder crashed on it (SIGSEGV)"),
        ("abort", DecoderCrashedError, "a decoder crashed on it (SIGABRT)"),
        ("exit", DecoderCrashedError, "exit code 3"),
        ("bug", DecoderCrashedError, "ZeroDivisionError: a mistake"),
        ("hoard", OverLimitError, "more memory than allowed"),
        ("spin", OverLimitError, "more processor time than allowed"),
        pytest.param("defy", OverLimitError, "more processor time than allowed", marks=linux),
        ("refuse", UnreadableMediaError, "is a poem. Read it aloud."),
    ],
)
def test_what_becomes_of_a_child_is_the_error_of_its_file(
    deed: str, error: type[MediaError], told: str
) -> None:
    limits = Limits(memory_bytes=100 * MIB, cpu_s=1, cpu_per_s=0)
    child = Sandbox("hostile_readers:open_doer", {}, limits)
    assert list(child.work({"do": "work"}, SAMPLE)) == [{"begun": "work"}]
    with pytest.raises(error) as caught:
        list(child.work({"do": deed}, SAMPLE))
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"{SAMPLE}: ") and told in str(caught.value)
    # Only after what was foreseen is the child used again.
    assert child.is_alive == (deed == "refuse")
    child.close()


@pytest.mark.parametrize(
    ("deed", "limits", "told"),
    [
        ("sleep", Limits(stall_s=1), "nothing came of reading it for 1 s"),
        ("half", Limits(stall_s=1), "nothing came of reading it for 1 s"),
        ("deaf", Limits(stall_s=1), "nothing came of reading it for 1 s"),
        ("chat", Limits(wait_s=1), "took longer than allowed"),
    ],
)
def test_nobody_waits_for_ever(deed: str, limits: Limits, told: str) -> None:
    child = Sandbox("hostile_readers:open_doer", {}, limits)
    with pytest.raises(OverLimitError) as caught:
        while True:
            list(child.work({"do": deed, "ballast": bytes(MIB)}, SAMPLE))
    assert told in str(caught.value) and not child.is_alive


def test_time_in_which_answers_are_used_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: queue.Queue[None] = queue.Queue()
    clock = SimpleNamespace(sleep=lambda _: ticks.get(), clock_gettime=time.clock_gettime)
    monkeypatch.setattr(sandbox, "time", clock)
    child = Sandbox("hostile_readers:open_doer", {}, Limits(wait_s=1))
    messages = child.work({"do": "work"}, SAMPLE)
    assert next(messages) == {"begun": "work"}
    for _ in range(100):
        ticks.put(None)
    while not ticks.empty():
        time.sleep(0.01)
    assert list(messages) == []
    child.close()
    ticks.put(None)


def test_a_child_that_can_not_start_says_why() -> None:
    child = Sandbox("hostile_readers:open_never", {}, Limits())
    with pytest.raises(ConfigError, match="ValueError: no weights"):
        list(child.work({}, SAMPLE))


def test_the_command_answers_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    answers = []
    for options in ([], ["--isolated"]):
        with pytest.raises(SystemExit) as ended:
            app(["analyze", str(SAMPLE), "--format", "json", *options])
        assert ended.value.code == 0
        answers.append(capfd.readouterr().out)
    assert answers[0] == answers[1]


def test_a_file_goes_on_where_a_store_ends(
    analyzer: Analyzer, isolated: Analyzer, tmp_path: Path
) -> None:
    whole = analyzer.perceive(SAMPLE)
    with Store(tmp_path / "store.db") as store:
        with store.writer(isolated.perceiver.key(str(whole.sha256)), whole.media) as writer:
            writer.add(whole.windows[0])
        gone_on = isolated.perceive(SAMPLE, store=store)
    assert to_json(isolated.interpret(gone_on)) == to_json(analyzer.interpret(whole))


@pytest.fixture(scope="module")
def attacked(analyzer: Analyzer, isolated: Analyzer) -> Analyzer:
    """An analyzer whose children do what names of files say."""
    attacked = copy.copy(isolated)
    config = AnalyzerConfig(windows=WindowConfig(1.0, 0.5))
    attacked.perceiver = IsolatedPerceiver(
        config,
        analyzer.assembly.backbones,
        entry="hostile_readers:open_reader",
        setup={"config": config.to_dict(), "checkpoint": None, "backbones": []}
        | {"num_threads": 1},
        limits=Limits(),
    )
    return attacked


def test_a_decoder_that_dies_or_lies_costs_its_own_file_only(
    attacked: Analyzer, tmp_path: Path
) -> None:
    names = ["good", "crash", "late", "foreign", "elsewhere", "better"]
    paths = [tmp_path / f"{name}.mp4" for name in names]
    for number, path in enumerate(paths):
        path.write_bytes(SAMPLE.read_bytes() + bytes([0, 0, 0, 9, *b"free", number]))
    plan = BatchPlan(AnalyzerSetup(AnalyzerConfig()), store=tmp_path / "store.db", jobs=1)
    reports = [result.report for result in analyze_files(paths, plan, analyzer=attacked)]
    assert [report.status for report in reports] == [
        Status.OK,
        *[Status.FAILED] * 4,
        Status.OK,
    ]
    told = {name: report.error for name, report in zip(names, reports, strict=True)}
    assert {error.kind for error in told.values() if error} == {"decoder_crashed"}
    assert all(error is None or f"{name}.mp4" in error.message for name, error in told.items())
    # What came before the crash is kept.
    with Store(tmp_path / "store.db") as store:
        kept = store.load(attacked.perceiver.key(file_sha256(paths[1])))
    assert kept is not None and len(kept.windows) == 1 and not kept.is_complete


def test_a_film_is_drawn_alike_and_leaves_nothing_when_it_is_stopped(
    isolated: Analyzer, tmp_path: Path
) -> None:
    seen = isolated.perceive(SAMPLE)
    report = isolated.interpret(seen)
    drawn = []
    for is_isolated in (False, True):
        out = tmp_path / f"{is_isolated}.mp4"
        render_video(report, seen.trace, out, height_px=96, isolated=is_isolated)
        drawn.append(read_film(out).pictures)
    assert np.array_equal(drawn[0], drawn[1])

    def stop(done_s: float) -> None:
        raise InterruptedError(f"at {done_s}")

    with pytest.raises(RenderError):
        render_video(report, seen.trace, tmp_path / "x.mp4", on_progress=stop, isolated=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["False.mp4", "True.mp4"]


@linux
def test_a_window_is_read_again_there_as_it_was(analyzer: Analyzer, isolated: Analyzer) -> None:
    perception = analyzer.perceive(SAMPLE)
    for place in range(len(perception.windows)):
        known = perception.windows[: place + 1]
        here = analyzer.perceiver.window(perception.media, known)
        there = isolated.perceiver.window(perception.media, known)
        assert np.array_equal(here.faces, there.faces)
        assert np.array_equal(here.samples, there.samples)
        for modality, backbone in analyzer.assembly.backbones.items():
            own = perception.windows[place].channel(modality)
            assert np.array_equal(backbone.embed([there])[0], own)
