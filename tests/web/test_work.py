"""What runs at the same time, whose turn it is, whose files are whose."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from benchmarks.load_page import Page
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient

from facevoice.errors import ConfigError
from facevoice.records import MediaInfo, PeopleEdits, Person
from facevoice.report import from_json
from facevoice.settings import DecisionConfig
from facevoice.web import WebOptions, parts
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
from made_reports import MATCH
from web.servers import PATIENCE_S, SAMPLE, Gate, GatedAnalyzer, serve, wait_until


def request_of(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


def upload(root: Path, name: str = "clip.mp4") -> Path:
    """The sample, as if somebody had sent it."""
    path = Path(tempfile.mkdtemp(dir=root)) / name
    shutil.copy(SAMPLE, path)
    return path


def analyze(
    tab: Any, clip: Path, request: Any, sensitivity: str = "balanced", expected: float = 0.5
) -> dict[Any, Any]:
    """What a page shows at last that chose a clip and pressed Analyse."""
    tab.take([clip], request)
    tab.begin(request)
    shown: dict[Any, Any] = {}
    for changes in tab.analyze(False, sensitivity, expected, request):
        shown |= changes
    return shown


@pytest.mark.parametrize("num_at_once", [1, 2])
def test_one_bound_holds_for_pages_programs_drawing_and_live_windows(
    num_at_once: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web import tab as clips

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gate = Gate()
    analyzer = GatedAnalyzer(gate)

    def draw(
        report: Any, trace: Any, out: Path, *, on_progress: Callable[[float], None], **_: Any
    ) -> None:
        for k in range(3):
            gate.work()
            on_progress(float(k))

    monkeypatch.setattr(clips, "render_video", draw)
    options = WebOptions(num_at_once=num_at_once)
    desk = LiveDesk(analyzer, options)
    with gr.Blocks():
        tab = clips.ClipTab(analyzer, options, [], desk.turns)

    def read(name: str) -> Any:
        return analyze(tab, upload(tmp_path), request_of(name))

    def film(name: str) -> Any:
        request = request_of(name)
        tab.take([upload(tmp_path)], request)
        tab.begin(request)
        clip, session = tab.session(request).clips[0], tab.session(request)
        clip.perceived, session.shown = analyzer.perception, clip
        clip.report = analyzer.interpret(analyzer.perception)
        return list(tab.make_film(request))[-1]

    def live(_: str) -> Any:
        app = Starlette(routes=[WebSocketRoute(LIVE_PATH, desk.serve)])
        with TestClient(app) as client, client.websocket_connect(LIVE_PATH) as socket:
            hello = {"ticket": desk.new_ticket(), "sample_rate_hz": 16_000, "has_video": True}
            socket.send_text(json.dumps(hello))
            while "end" not in (message := json.loads(socket.receive_text())):
                wanted = {"window", "sentence", "known", "judged", "lag_ms", "dropped"}
                assert set(message) == wanted
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
    from facevoice.web import tab as clips

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    drawn: list[DecisionConfig] = []

    def draw(report: Any, *_: Any, **__: Any) -> None:
        drawn.append(report.config.decision)

    monkeypatch.setattr(clips, "render_video", draw)
    gate = Gate()
    gate.opened.set()
    with gr.Blocks():
        tab = clips.ClipTab(GatedAnalyzer(gate), WebOptions(), [], Turns())
    request = request_of("anna")
    analyze(tab, upload(tmp_path), request, "cautious", 0.1)
    list(tab.make_film(request))
    tab.decide(request, "sensitive", 0.2, "speaking")
    list(tab.make_film(request))
    assert [(d.sensitivity, d.expected_conflicts) for d in drawn] == [
        ("cautious", 0.1),
        ("sensitive", 0.2),
    ]


def test_a_film_that_is_told_to_be_made_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web import tab as clips

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(clips, "render_video", lambda *_, **__: None)
    gate = Gate()
    gate.opened.set()
    with gr.Blocks():
        tab = clips.ClipTab(GatedAnalyzer(gate), WebOptions(), [], Turns())
    request = request_of("anna")
    analyze(tab, upload(tmp_path), request)
    for changes in tab.make_film(request):
        if not changes[tab.stop]["visible"]:  # what is asked in the moment that this is told
            again = tab.decide(request, "sensitive", 0.2, "speaking")
            assert again[tab.draw]["interactive"]
            break
    else:
        pytest.fail("never told")
    for _ in tab.make_film(request):
        tab.begin(request)  # meanwhile, as by two clicks
    assert tab._at_work == set()


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
    root = tmp_path / "uploads"

    def send(name: str) -> Path:
        (root / name).write_bytes(b"x")
        return root / name

    files = SessionFiles(root)
    first, second, shared = send("a.mp4"), send("b.mp4"), send("c.mp4")
    files.keep_clips("anna", [first, second])
    files.keep_clips("anna", [second])
    assert not first.exists()
    assert second.exists()
    files.keep_clips("anna", [sample := shutil.copy(SAMPLE, tmp_path)])
    assert not second.exists()
    files.release("anna")
    assert Path(sample).exists()  # it was never anybody's upload
    for name in ("anna", "ben"):
        files.keep_clips(name, [shared])
    files.release("anna")
    assert shared.exists()
    files.keep_recordings("anna", [shared, first := send("a.mp4")])
    files.release("ben")
    assert shared.exists()
    files.keep_recordings("anna", [first])
    assert not shared.exists()
    files.keep_clips("anna", [second := send("b.mp4")])
    assert first.exists()
    files.release("anna")
    assert not first.exists()
    assert not second.exists()

    folder, other = files.new_folder("anna"), files.new_folder("anna", "all")
    assert folder.parent == root
    assert files.folder("anna") == folder
    newer = files.new_folder("anna")
    assert not folder.exists()
    assert other.exists()
    files.release("anna")
    files.release("nobody")
    assert not newer.exists()
    assert not other.exists()


def test_only_what_was_uploaded_can_be_named(tmp_path: Path) -> None:
    root, secret = tmp_path / "uploads", tmp_path / "secret.mp4"
    files = SessionFiles(root)
    secret.write_bytes(b"x")
    (root / "own.mp4").write_bytes(b"x")
    (root / "link.mp4").symlink_to(secret)
    asked = [root / "own.mp4", root / "link.mp4", root / ".." / "secret.mp4", secret, root]
    asked += [root / "none.mp4", Path("https://public.example/clip.mp4"), root / "own.mp4"]
    assert files.own(asked) == [root / "own.mp4"]


def test_an_equal_upload_that_came_meanwhile_is_its_own(tmp_path: Path) -> None:
    files, path = SessionFiles(tmp_path), tmp_path / "clip" / "a.mp4"
    path.parent.mkdir()

    def upload() -> None:  # as gradio does
        (tmp_path / "arriving").write_bytes(b"x")
        (tmp_path / "arriving").rename(path)

    upload()
    files.keep_clips("anna", [path])
    upload()  # ben's, who has not chosen it yet
    files.release("anna")
    assert path.exists()
    files.keep_clips("ben", [path])
    files.release("ben")
    assert not path.exists()


def test_what_is_old_is_swept_but_not_what_somebody_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("up/1/a.mp4", "up/2/b.mp4", "up/broken-off"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode()[-5:])
    files = SessionFiles(tmp_path / "up")
    working, chosen = tmp_path / "up" / "1" / "a.mp4", tmp_path / "up" / "2" / "b.mp4"
    files.keep_clips("anna", [working])
    files.keep_clips("ben", [chosen])
    result = files.new_folder("anna") / "a.json"
    result.write_text("{}")

    def left_after(later_s: float) -> set[str]:
        now_s = time.time()
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda: now_s + later_s)
            files.sweep(3600, {"anna"})
        return {path.name for path in (tmp_path / "up").rglob("*") if path.is_file()}

    assert left_after(60) == {"a.mp4", "b.mp4", "a.json", "broken-off"}
    assert left_after(600) == {"a.mp4", "b.mp4", "a.json"}
    assert left_after(4000) == {"a.mp4", "a.json"}
    assert not chosen.parent.exists()


def test_what_comes_after_its_page_was_left_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web.tab import ClipTab

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gate = Gate()
    gate.opened.set()
    with gr.Blocks():
        tab = ClipTab(GatedAnalyzer(gate), WebOptions(keep_s=60), [], Turns())
    request = request_of("anna")
    tab.begin(request)
    tab.leave(request)
    clip = upload(tmp_path)
    tab.take([clip], request)
    assert not clip.exists()
    (shown,) = tab.analyze(False, "balanced", 0.5, request)  # asked before, and begun after
    assert "Stopped." in shown[tab.status]
    assert not list(tmp_path.rglob("*.json"))

    tab.begin(request)  # the page is there after all
    assert "fvw-result" in analyze(tab, upload(tmp_path), request)[tab.result]
    tab.sweep()
    assert tab.session(request).done
    now_s = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now_s + 100)
    tab.sweep()  # nobody did anything for longer than files are kept
    assert not tab.session(request).done


def test_of_several_clips_each_takes_a_turn_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web.tab import ClipTab

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    gate, order = Gate(), list[str]()
    analyzer = GatedAnalyzer(gate)
    with gr.Blocks():
        tab = ClipTab(analyzer, WebOptions(), [], Turns())

    def perceive(path: Path, **more: Any) -> Any:
        order.append(path.name)
        return GatedAnalyzer.perceive(analyzer, path, **more)

    monkeypatch.setattr(analyzer, "perceive", perceive)
    many, one = request_of("anna"), request_of("ben")
    tab.take([upload(tmp_path, f"anna {k}.mp4") for k in (1, 2, 3)], many)
    with ThreadPoolExecutor(2) as pool:
        tab.begin(many)
        first = pool.submit(lambda: list(tab.analyze(False, "balanced", 0.5, many)))
        assert wait_until(lambda: gate.num_working == 1)
        second = pool.submit(analyze, tab, upload(tmp_path, "ben.mp4"), one)
        assert wait_until(lambda: tab._turns.num_waiting == 1)
        gate.opened.set()
        first.result(PATIENCE_S)
        second.result(PATIENCE_S)
    assert order == ["anna 1.mp4", "ben.mp4", "anna 2.mp4", "anna 3.mp4"]
    assert [clip.state for clip in tab.session(many).clips] == ["done"] * 3


def test_a_server_keeps_files_and_visitors_to_itself(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    gate = Gate()
    gate.opened.set()
    with serve(GatedAnalyzer(gate), tmp_path / "up", WebOptions(max_live=0)) as server:
        (own,) = server.uploads.iterdir()
        assert own.stat().st_mode & 0o077 == 0

        async def visit() -> None:
            page = Page(server.url)
            await page.open()
            # Of what isn't there, or is gone meanwhile, nothing changes.
            assert (await page.tell("keep_review", text="{}", number=1))[0] == ""
            assert (await page.tell("take_sample", place="0"))[1] == ""
            await page.upload(SAMPLE)
            outcome = await page.analyze()
            assert outcome.files is not None
            assert all(Path(path).is_relative_to(own) for path in outcome.files.values())
            await page.break_off_upload(1000)
            await page.close()

        asyncio.run(visit())
        assert wait_until(lambda: not server.files("*.json") and not server.files("*.mp4"))
        config = httpx.get(f"{server.url}config").json()
        assert config["run_history"] is False  # else browsers would keep all that was asked
        assert httpx.get(f"{server.url}gradio_api/runs").status_code == 404
    assert wait_until(lambda: not own.exists())


@pytest.mark.parametrize("name", ["max_size_mb", "max_length_s", "keep_s", "num_at_once", "talk_s"])
def test_limits_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        WebOptions(**{name: 0})


def test_an_address_in_place_of_an_upload_is_never_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gr = pytest.importorskip("gradio", reason="needs the extra web")
    from facevoice.web import build_app

    async def fetch(*asked: object, **_: object) -> None:
        fetched.append(asked)

    fetched: list[object] = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", fetch)
    app = build_app(GatedAnalyzer(Gate()), WebOptions())
    places = [b for b in app.blocks.values() if isinstance(b, gr.Video | gr.File)]
    assert places
    for scheme, place in itertools.product(("http", "https", "HTTP", "file"), places):
        # As for every call of a page or a program, before anything else sees the payload.
        take = gr.processing_utils.async_move_files_to_cache
        address = f"{scheme}://public.example/clip.mp4"
        named = {"path": address, "meta": {"_type": "gradio.FileData"}}
        with pytest.raises((gr.Error, gr.exceptions.InvalidPathError)):
            asyncio.run(take(named, place, check_in_upload_folder=True))
    assert fetched == []


def test_of_calls_that_make_no_sense_nothing_is_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio", reason="needs the extra web")
    named = {"meta": {"_type": "gradio.FileData"}}
    uploads = tmp_path / "up"
    with serve(GatedAnalyzer(Gate()), uploads, WebOptions(max_live=0)) as server:
        calls: list[tuple[str, list[Any]]] = [
            ("analyze", [{"path": "/etc/hostname", **named}]),
            ("analyze", [{"path": "https://public.example/clip.mp4", **named}]),
            ("analyze", [{"path": 1}]),
            ("analyze", ["x"]),
            ("analyze", [None]),
            ("analyze", []),
            ("page_analyze", [False, "odd", 0.5]),
        ]
        for name, data in calls:
            url = f"{server.url}gradio_api/call/{name}"
            asked = httpx.post(url, json={"data": data}, timeout=PATIENCE_S)
            if asked.is_success:  # else it was refused at once
                number = asked.json()["event_id"]
                answer = httpx.get(f"{url}/{number}", timeout=PATIENCE_S).text
                assert answer.startswith("event: error"), (name, data, answer)
    assert capfd.readouterr().err == ""


def test_progress_through_a_long_clip_is_told_in_hours() -> None:
    window = replace(MATCH, start_s=3723.6, end_s=3725.6)
    told = parts.reading([window], MediaInfo(Path("talk.mp4"), 7200.0, None, None), 60.0)
    assert "Read 1:02:06 of 2:00:00: about 56 s left" in told
    assert "1:02:04–1:02:06: " in told
