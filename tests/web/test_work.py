"""What runs at the same time, whose turn it is, whose files are whose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient

from facevoice.errors import ConfigError
from facevoice.records import PeopleEdits, Person
from facevoice.report import from_json
from facevoice.settings import DecisionConfig
from facevoice.web import WebOptions
from facevoice.web.live import LIVE_PATH, LiveDesk
from facevoice.web.work import (
    JUDGED,
    LEFT_OUT,
    BusyError,
    Done,
    SessionFiles,
    StoppedError,
    Turns,
    to_edits,
    work_aside,
)
from web.servers import PATIENCE_S, SAMPLE, Gate, GatedAnalyzer, wait_until


@pytest.mark.parametrize("num_at_once", [1, 2])
def test_one_bound_holds_for_pages_programs_drawing_and_live_windows(
    num_at_once: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gate = Gate()
    analyzer = GatedAnalyzer(gate)

    def draw(
        report: Any, trace: Any, out: Path, *, on_progress: Callable[[float], None], **_: Any
    ) -> None:
        for k in range(3):
            gate.work()
            on_progress(float(k))

    monkeypatch.setattr(page, "render_video", draw)
    options = WebOptions(num_at_once=num_at_once)
    desk = LiveDesk(analyzer, options)
    with gr.Blocks():
        tab = page.ClipTab(analyzer, options, [], desk.turns)

    def read(name: str) -> Any:
        request: Any = SimpleNamespace(session_hash=name)
        tab.begin(request)
        return list(tab.analyze(str(SAMPLE), None, False, "balanced", 0.5, request))[-1]

    def film(name: str) -> Any:
        request: Any = SimpleNamespace(session_hash=name)
        tab.begin(request)
        tab.session(request).perceived = analyzer.perception
        return list(tab.make_film(request))[-1]

    def live(_: str) -> Any:
        app = Starlette(routes=[WebSocketRoute(LIVE_PATH, desk.serve)])
        with TestClient(app) as client, client.websocket_connect(LIVE_PATH) as socket:
            hello = {"ticket": desk.new_ticket(), "sample_rate_hz": 16_000, "has_video": True}
            socket.send_text(json.dumps(hello))
            while "end" not in (message := json.loads(socket.receive_text())):
                assert set(message) == {"window", "sentence", "known", "lag_ms", "dropped"}
            return message

    asked = [read, read, film, live, live, lambda _: tab.answer(str(SAMPLE)), film]
    with ThreadPoolExecutor(len(asked)) as pool:
        futures = [pool.submit(ask, f"user {k}") for k, ask in enumerate(asked)]
        assert wait_until(lambda: desk.turns.num_waiting == len(asked) - num_at_once)
        assert wait_until(lambda: gate.num_working == num_at_once)
        gate.opened.set()
        done = [future.result(PATIENCE_S) for future in futures]
    assert gate.most == num_at_once
    assert all("fvw-result" in done[k][tab.result] for k in (0, 1))
    assert all(done[k][tab.film]["visible"] for k in (2, 6))
    assert all(done[k]["end"]["summary"] is not None for k in (3, 4))
    assert from_json(done[5]).path == SAMPLE.name


def test_the_film_is_of_the_setting_that_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web import page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    drawn: list[DecisionConfig] = []

    def draw(report: Any, *_: Any, **__: Any) -> None:
        drawn.append(report.config.decision)

    monkeypatch.setattr(page, "render_video", draw)
    gate = Gate()
    gate.opened.set()
    with gr.Blocks():
        tab = page.ClipTab(GatedAnalyzer(gate), WebOptions(), [], Turns())
    request: Any = SimpleNamespace(session_hash="anna")
    list(tab.analyze(str(SAMPLE), None, False, "cautious", 0.1, request))
    list(tab.make_film(request))
    tab.decide(request, "sensitive", 0.2, "speaking")
    list(tab.make_film(request))
    assert [(d.sensitivity, d.expected_conflicts) for d in drawn] == [
        ("cautious", 0.1),
        ("sensitive", 0.2),
    ]


def test_what_a_page_says_of_people() -> None:
    people = [Person(number, f"Person {number}", (number,), 1.0, 0.0) for number in (1, 2, 3, 4)]

    def edits(*roles: int | None, names: tuple[str, ...] = ("", "", "", "")) -> PeopleEdits:
        # A page has fields for more people than there are.
        return to_edits(people, (*names, "nobody"), (*roles, LEFT_OUT))

    assert edits(JUDGED, JUDGED, None, JUDGED) == PeopleEdits(left_out=frozenset())
    said = edits(JUDGED, 1, 2, LEFT_OUT, names=(" Anna ", "Ben", "", "Dora"))
    # Who is the same as one who is the same as Anna is Anna.
    assert said == PeopleEdits({1: "Anna", 4: "Dora"}, {2: 1, 3: 1}, frozenset({4}))
    assert edits(LEFT_OUT, 1, JUDGED, JUDGED).left_out == {1}
    for circle in ((2, 1, JUDGED, JUDGED), (1, 1, JUDGED, JUDGED)):
        assert edits(*circle).merged == {2: 1}
    assert edits(2, 3, 2, JUDGED).merged == {1: 2, 3: 2}


def test_clips_come_in_their_order_and_live_windows_between_two_of_their_windows() -> None:
    turns, told, order = Turns(1), [], []
    begun, go_on = Event(), Event()

    def first() -> None:
        with turns.job(Event(), told.append):
            begun.set()
            assert go_on.wait(PATIENCE_S)
            order.append("first window")
            turns.give_way()
            order.append("second window")

    def later(name: str, numbers: list[int]) -> None:
        with turns.job(Event(), numbers.append):
            order.append(name)

    def live() -> None:
        with turns.window():
            order.append("live")

    second: list[int] = []
    third: list[int] = []
    calls = [first, lambda: later("2", second), lambda: later("3", third), live]
    threads = []
    for k, call in enumerate(calls):
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        assert begun.wait(PATIENCE_S)
        assert wait_until(lambda k=k: turns.num_waiting == k)  # type: ignore[misc]
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["first window", "live", "second window", "2", "3"]
    assert (told, second, third[0]) == ([], [1], 2)


def test_who_waits_may_stop_and_too_many_are_sent_away() -> None:
    turns, stopping = Turns(1, max_waiting=1), Event()
    with turns.job(Event(), lambda _: None), ThreadPoolExecutor(1) as pool:

        def wait() -> None:
            with turns.job(stopping, lambda _: None):
                pytest.fail("its turn came")

        waiting = pool.submit(wait)
        assert wait_until(lambda: turns.num_waiting == 1)
        with pytest.raises(BusyError, match="Too many"), turns.job(Event(), lambda _: None):
            pass
        stopping.set()
        with pytest.raises(StoppedError):
            waiting.result(PATIENCE_S)
        assert turns.num_waiting == 0


def test_work_aside_tells_the_newest_and_gives_the_result_last() -> None:
    def work(tell: Callable[[int], None]) -> str:
        for k in range(1000):
            tell(k)
        return "whole"

    given = list(work_aside(work, Event()))
    assert given[-1] == Done("whole")
    assert len(given) < 10

    def fail(tell: Callable[[int], None]) -> str:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        list(work_aside(fail, Event()))


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "stopped"])
def test_work_that_nobody_wants_has_ended_when_that_is_told(is_closed: bool) -> None:
    ended, stopping = Event(), Event()

    def work(tell: Callable[[int], None]) -> str:
        try:
            while True:
                tell(1)
                stopping.wait(0.001)
        finally:
            ended.set()

    running: Any = work_aside(work, stopping)
    assert next(running) == 1
    if is_closed:
        running.close()
    else:
        stopping.set()
        with pytest.raises(StoppedError):
            list(running)
    assert ended.is_set()


def test_files_go_with_the_last_session_that_uses_them(tmp_path: Path) -> None:
    def upload(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        return path

    sample, copy = upload("samples/s.mp4"), upload("cache/s.mp4")
    files = SessionFiles(tmp_path / "results", [sample])
    first, second, shared = upload("a.mp4"), upload("b.mp4"), upload("c.mp4")
    files.keep_upload("anna", first)
    files.keep_upload("anna", first)
    assert first.exists()
    files.keep_upload("anna", second)
    assert not first.exists()
    files.keep_upload("anna", copy)  # gradio's copy of a sample is nobody's
    assert not second.exists()
    files.release("anna")
    assert copy.exists()
    for name in ("anna", "ben"):
        files.keep_upload(name, shared)
    files.release("anna")
    assert shared.exists()
    files.keep_recordings("anna", [shared, first := upload("a.mp4"), copy])
    files.release("ben")
    assert shared.exists()
    files.keep_recordings("anna", [first])
    assert not shared.exists()
    files.keep_upload("anna", second := upload("b.mp4"))
    assert first.exists()
    files.release("anna")
    assert not first.exists()
    assert not second.exists()
    assert copy.exists()

    folder = files.new_folder("anna")
    assert folder.parent == tmp_path / "results"
    assert files.folder("anna") == folder
    newer = files.new_folder("anna")
    assert not folder.exists()
    files.release("anna")
    files.release("nobody")
    assert not newer.exists()


@pytest.mark.parametrize("name", ["max_size_mb", "max_length_s", "keep_s", "num_at_once", "talk_s"])
def test_limits_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        WebOptions(**{name: 0})
