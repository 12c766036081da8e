"""The live mode over a real WebSocket of Starlette's, with the real networks."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from facevoice.analyzer import Analyzer
from facevoice.perceive import Perceiver
from facevoice.records import SAMPLE_RATE_HZ, Outcome, Prediction, Window, WindowView
from facevoice.report import from_json
from facevoice.report.page import WINDOW_FIELDS
from facevoice.review import Verdict, empty_review, said_of, to_json
from facevoice.settings import WindowConfig
from facevoice.web import WebOptions
from facevoice.web.live import LIVE_PATH, LiveDesk, LiveJudge, LiveStream
from portraits import paint_talking
from web.servers import SAMPLE

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture(autouse=True)
def _late_answers_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be too slow to follow."""
    monkeypatch.setattr("facevoice.web.live._MAX_LAG_S", 1000)


@pytest.fixture
def desk(analyzer: Analyzer) -> LiveDesk:
    return make_desk(analyzer)


def make_desk(analyzer: Analyzer, hop_s: float = 0.5, **options: Any) -> LiveDesk:
    return LiveDesk(analyzer, WebOptions(live_windows=WindowConfig(1.0, hop_s), **options))


@contextmanager
def connected(
    desk: LiveDesk, hello: str | None = None, **headers: str
) -> Iterator[WebSocketTestSession]:
    app = Starlette(routes=[WebSocketRoute(LIVE_PATH, desk.serve)])
    with TestClient(app) as client, client.websocket_connect(LIVE_PATH, headers=headers) as socket:
        socket.send_text(hello or make_hello(desk))
        yield socket


def make_hello(desk: LiveDesk, **more: Any) -> str:
    ticket = desk.new_ticket()
    return json.dumps({"ticket": ticket, "sample_rate_hz": RATE_HZ, "has_video": True, **more})


def frame(time_s: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(paint_talking(0, time_s)).save(buffer, "JPEG", quality=90)
    return b"V" + struct.pack("<d", time_s) + buffer.getvalue()


def sound(start_s: float, length_s: float = 0.1) -> bytes:
    times = start_s + np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    wave = np.sin(2 * np.pi * 150 * times) * (0.3 + 0.2 * np.sin(2 * np.pi * 4 * times))
    return b"A" + struct.pack("<d", start_s) + wave.astype("<f4").tobytes()


def speak(socket: WebSocketTestSession, seconds: float) -> None:
    for k in range(round(seconds * 10)):
        socket.send_bytes(sound(k / 10))


def next_window(socket: WebSocketTestSession) -> dict[str, Any]:
    while "window" not in (message := json.loads(socket.receive_text())):
        assert "faces" in message, message
    return as_window(message)


def as_window(message: dict[str, Any]) -> dict[str, Any]:
    """A window's row by its names, with what is said of it."""
    row = dict(zip(WINDOW_FIELDS, message["window"], strict=True))
    return {**row, "sentence": message["sentence"]}


def ending(socket: WebSocketTestSession) -> dict[str, Any]:
    while not {"end", "error"} & set(message := json.loads(socket.receive_text())):
        pass
    return message


def test_windows_come_while_the_stream_goes_on(analyzer: Analyzer) -> None:
    with connected(make_desk(analyzer, hop_s=1.0)) as socket:
        # At the pace at which the pipeline follows, or frames would be dropped.
        told: list[dict[str, Any]] = []
        for k in range(30):
            socket.send_bytes(sound(k / 10))
            if k % 2 == 0:
                socket.send_bytes(frame(k / 10))
                told.append(json.loads(socket.receive_text()))
        while not any("window" in message for message in told):
            told.append(json.loads(socket.receive_text()))
        socket.send_text("stop")
        end = ending(socket)["end"]
    first = next(message["faces"] for message in told if "faces" in message)
    window = as_window(next(message for message in told if "window" in message))
    (found,) = first["found"]
    x0, y0, x1, y1 = found["box"]
    assert 300 < (x0 + x1) / 2 < 700  # the portrait's face, in thousandths
    assert 0 <= y0 < y1 <= 1000
    assert window["end"] - window["start"] == pytest.approx(1.0)
    assert sum(window["face"]) == pytest.approx(1000, abs=4)
    assert "face looks happy" in window["sentence"]
    summary = dict(zip(WINDOW_FIELDS, end["summary"], strict=True))  # of at most three windows
    assert summary["face"] is not None
    assert "face looks happy" in end["sentence"]
    read = from_json(files_of(end)["live session.json"])
    assert read.windows[0].face is not None
    assert [person.tracks for person in read.people] == [(first["found"][0]["track"],)]
    assert end["view"]["trace"]["faces"]["tracks"] != []


def files_of(message: dict[str, Any]) -> dict[str, str]:
    return {file["name"]: file["text"] for file in message["files"]}


def test_what_is_said_of_a_session_that_is_over_stands_in_its_files(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dawdle(function: Callable[..., Any], *given: Any) -> Any:
        await asyncio.sleep(0.3)  # a busy server is slow to tidy up; whoever heard the end isn't
        return function(*given)

    monkeypatch.setattr("facevoice.web.live.asyncio.to_thread", dawdle)
    desk = make_desk(analyzer, max_live=1)
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        speak(socket, 3)
        next_window(socket)
        socket.send_text("stop")
        files = files_of(ending(socket)["end"])
        assert {f"live session.{e}" for e in ("eaf", "TextGrid", "facevoice.srt", "rttm")} < {
            *files
        }
        assert "live session.review.json" not in files
        report = from_json(files["live session.json"])
        first = report.moments[0]
        right = Verdict(first.start_s, first.end_s, first.person, said_of(first), is_right=True)
        review = to_json(replace(empty_review(report), verdicts=(right,)))
        with connected(desk) as other:  # its place is free
            other.send_text("stop")
            assert "end" in ending(other)
        for text in ("stop", "{}", '{"review": 1}'):
            socket.send_text(text)  # without sense
        socket.send_text(json.dumps({"review": "{}"}))
        problem = json.loads(socket.receive_text())["problem"]
        assert problem.startswith("The review was not kept: it is no review")
        socket.send_text(json.dumps({"review": review}))
        files = files_of(json.loads(socket.receive_text()))
        assert from_json(files["live session.json"]).review is not None
        assert json.loads(files["live session.review.json"])["verdicts"][0]["is_right"]
        assert "right" in files["live session.eaf"]


def test_of_a_longer_session_no_average_is_told(desk: LiveDesk) -> None:
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        speak(socket, 4.0)
        windows = [next_window(socket) for _ in range(4)]
        socket.send_text("stop")
        end = ending(socket)["end"]
    assert all(list(Outcome)[window["outcome"]] == "insufficient" for window in windows)
    assert all("no face is seen" in window["sentence"] for window in windows)
    assert end["summary"] is None
    told = "There is no picture, so face and voice can't be compared. No voice can be read."
    assert end["sentence"] == told


def test_without_a_camera_the_face_is_missing_not_neutral(desk: LiveDesk) -> None:
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        speak(socket, 2.0)
        window = next_window(socket)
        socket.send_text("stop")
        ending(socket)
    assert window["face"] is None
    assert window["conflict"] is None
    assert window["face_coverage"] == 0


def test_windows_that_come_too_late_are_left_out_and_told(
    desk: LiveDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facevoice.web.live._MAX_LAG_S", -1000)
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        speak(socket, 2.0)
        assert "late" in json.loads(socket.receive_text())
        socket.send_text("stop")
        end = ending(socket)["end"]
    assert end == {"sentence": "Stopped before a window was whole.", "summary": None, "why": ""}


# By its own clock, or by the server's where its own stands still.
@pytest.mark.parametrize(("max_live_s", "length_s"), [(1.5, 4.0), (0.3, 0.1)])
def test_a_session_ends_at_its_time_limit(
    analyzer: Analyzer, max_live_s: float, length_s: float
) -> None:
    desk = make_desk(analyzer, max_live_s=max_live_s)
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        speak(socket, length_s)
        why = f"Ended: a session lasts at most {max_live_s / 60:g} minutes."
        assert ending(socket)["end"]["why"] == why


def test_a_page_that_sends_nothing_gives_up_its_place(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk(analyzer, max_live=1)
    with connected(desk, make_hello(desk, has_video=False)) as silent:
        monkeypatch.setattr("facevoice.web.live._SILENCE_S", 0.1)
        silent.send_text('{"talk": null}')  # from then on
        assert "nothing came from this page" in ending(silent)["end"]["why"]
        monkeypatch.undo()
        with connected(desk) as other:
            other.send_text("stop")
            assert ending(other)["end"]["why"] == ""


def test_a_page_that_takes_nothing_gives_up_its_place(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facevoice.web.live._SILENCE_S", 0.1)
    desk = make_desk(analyzer, max_live_s=0.1, keep_s=0.1)
    heard = [sound(k / 10) for k in range(40)]

    class Deaf:
        headers: Mapping[str, str] = {}
        is_closed = False

        async def accept(self) -> None: ...

        async def close(self) -> None:
            self.is_closed = True

        async def receive_text(self) -> str:
            return make_hello(desk, has_video=False)

        async def receive(self) -> dict[str, Any]:
            if heard:
                return {"type": "websocket.receive", "bytes": heard.pop(0)}
            await asyncio.Event().wait()
            raise AssertionError

        async def send_text(self, text: str) -> None:
            await asyncio.Event().wait()

    deaf = Deaf()
    asyncio.run(desk.serve(deaf))
    assert deaf.is_closed


@pytest.mark.parametrize("said", [[], [b"bytes"], ["{}"]])
def test_who_leaves_at_once_is_no_fault(desk: LiveDesk, said: list[str | bytes]) -> None:
    class Gone:
        async def accept(self) -> None: ...

        async def receive_text(self) -> str:
            if said and isinstance(said[0], str):
                return said[0]
            raise KeyError("text") if said else WebSocketDisconnect(1006)

        async def send_text(self, text: str) -> None:
            raise WebSocketDisconnect(1006)

    asyncio.run(desk.serve(Gone()))


def test_places_are_limited_and_given_back_and_tickets_hold_again(analyzer: Analyzer) -> None:
    desk = make_desk(analyzer, max_live=1)
    hello = make_hello(desk, has_video=False)
    with connected(desk, hello) as first:
        speak(first, 2.0)
        first.receive_text()
        with connected(desk, hello) as second:
            assert "taken" in ending(second)["error"]
        first.send_text("stop")
        ending(first)
    with connected(desk, hello) as third:
        third.send_text("stop")
        assert "end" in ending(third)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (None, "own request"),
        ({"ticket": "guessed"}, "Load the page again"),
        ({"ticket": ["x"]}, "Load the page again"),
        ({"sample_rate_hz": None, "has_video": False}, "Neither"),
        ({"sample_rate_hz": 3}, "3 Hz"),
        ({"sample_rate_hz": "x"}, "x Hz"),
    ],
)
def test_strangers_and_useless_settings_stay_outside(
    desk: LiveDesk, more: dict[str, Any] | None, told: str
) -> None:
    with connected(desk, "[]" if more is None else make_hello(desk, **more)) as socket:
        assert told in ending(socket)["error"]


def test_pages_of_other_servers_stay_outside(desk: LiveDesk) -> None:
    with connected(desk, origin="https://elsewhere.example") as socket:
        assert "another server" in ending(socket)["error"]


def test_messages_without_sense_are_left_out(desk: LiveDesk) -> None:
    with connected(desk) as socket:
        for content in (
            b"V" + struct.pack("<d", float("nan")) + b"x",
            b"V" + struct.pack("<d", -1.0) + b"x",
            b"V" + struct.pack("<d", 0.0) + b"no picture",
            b"A" + struct.pack("<d", 0.0) + b"xyz",
            b"A" + struct.pack("<d", 0.0) + np.full(4, np.inf, "<f4").tobytes(),
            b"Z" + struct.pack("<d", 0.0) + b"x",
        ):
            socket.send_bytes(content)
        socket.send_text("stop")
        assert ending(socket)["end"]["summary"] is None


# Who talks normally.


def test_a_talk_tells_what_is_usual_for_whoever_comes_after_it(analyzer: Analyzer) -> None:
    perception = Perceiver(
        replace(analyzer.config, windows=WindowConfig(1.0, 0.5)), analyzer.assembly.backbones
    ).perceive(SAMPLE)
    views = perception.windows
    judge = LiveJudge(analyzer, talk_s=1.5)
    judge.ask(0.0)
    judge.ask(None)  # left off
    judge.ask(1.0)
    heard = list(go_through(judge, views))
    told = [over for over, _, _ in heard]
    assert told.count(True) == 1
    assert views[told.index(True)].end_s == 3.0

    talk = tuple(view for view in views if view.start_s >= 1.0 and view.end_s <= 2.5)
    after = analyzer.stream_judge(known=analyzer.know(replace(perception, windows=talk)))
    before = analyzer.stream_judge()
    for view, (_, said, words) in zip(views, heard, strict=True):
        wanted = before(view)
        since = after(view) if view.end_s > 2.5 else wanted
        # What overlaps the talk isn't compared with it.
        assert same(said, since if view.start_s >= 2.5 else wanted)
        assert ("normal talk" in words) == (view.start_s >= 2.5)

    stranger = replace(views[-1], faces=(replace(views[-1].faces[0], person=99),))
    said = judge(stranger)
    assert said.face is not None
    assert said.face.num_known == pytest.approx(1.5)
    assert judge.rests_on(said).endswith("The 1.5 s of normal talk are among them.")

    judge.ask(10.0)
    gone = [replace(v, start_s=v.start_s + 10, end_s=v.end_s + 10, faces=()) for v in views]
    gone = [replace(view, voice=None, speech_coverage=0.0) for view in gone]
    assert [over for over, _, _ in go_through(judge, gone)].count(False) == 1
    assert judge(replace(stranger, start_s=20.0, end_s=21.0)).face.num_known >= 1.5


def go_through(
    judge: LiveJudge, views: Sequence[WindowView]
) -> Iterator[tuple[bool | None, Prediction, str]]:
    for view in views:
        over = judge.go_on(Window(view.start_s, view.end_s, None, None, 0.0, 0.0))
        said = judge(view)
        yield over, said, judge.rests_on(said)


def same(one: Prediction, other: Prediction) -> bool:
    channels = [(one.face, other.face), (one.voice, other.voice)]
    return all(a.probs.tolist() == b.probs.tolist() for a, b in channels if a and b)


def test_a_page_is_told_when_a_talk_is_over(analyzer: Analyzer) -> None:
    desk = make_desk(analyzer, talk_s=1.5)
    with connected(desk, make_hello(desk, has_video=False)) as socket:
        for text in ("[]", "{}", '{"talk": -1}', '{"talk": NaN}', '{"talk": "x"}', "no JSON"):
            socket.send_text(text)
        socket.send_text('{"talk": 0}')
        for k in range(40):
            socket.send_bytes(b"A" + struct.pack("<d", k / 10) + bytes(4 * RATE_HZ // 10))
        while "talk" not in (message := json.loads(socket.receive_text())):
            assert message.get("known", "") == ""
        assert message == {"talk": False}  # nothing was heard
        socket.send_text("stop")
        ending(socket)


# What a browser sends, as the pipeline reads it.


def jpeg(shade: int = 128, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def heard(stream: LiveStream) -> np.ndarray:
    stream.stop()
    blocks = list(stream.blocks() or ())
    starts = [block.start_s for block in blocks]
    lengths = np.cumsum([0, *(len(block.samples) for block in blocks)])[:-1]
    assert starts == pytest.approx(lengths / SAMPLE_RATE_HZ)
    return np.concatenate([block.samples for block in blocks])


def test_frames_come_out_decoded_and_in_order() -> None:
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    stream.put_frame(0.2, jpeg(10))
    stream.put_frame(0.1, jpeg(20))  # overtaken
    stream.put_frame(0.4, b"GIF89a\x01\x00\x01\x00")
    stream.put_frame(0.5, jpeg(size=(4000, 10)))  # no camera's
    stream.put_frame(0.6, jpeg(30))
    stream.stop()
    stream.put_frame(0.7, jpeg(30))
    frames = list(stream.frames() or ())
    assert [frame.timestamp_s for frame in frames] == [0.2, 0.6]
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 2
    assert abs(int(frames[1].rgb[0, 0, 0]) - 30) < 3
    assert stream.blocks() is None


def test_frames_are_dropped_where_too_many_wait() -> None:
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    for k in range(20):
        stream.put_frame(k / 5, jpeg())
    stream.stop()
    num_given = len(list(stream.frames() or ()))
    assert num_given + stream.num_dropped == 20
    assert stream.num_dropped > 0


def test_sound_is_dropped_where_too_much_waits_and_counts_as_silence() -> None:
    stream = LiveStream(sample_rate_hz=16_000, has_video=False)
    for k in range(20):
        stream.put_sound(k, np.ones(16_000, np.float32))
    blocks = stream.blocks()
    assert blocks is not None
    next(blocks)
    stream.put_sound(20, np.ones(16_000, np.float32))  # there is room again
    stream.stop()
    samples = np.concatenate([block.samples for block in blocks])
    assert stream.num_dropped == 10
    assert len(samples) == pytest.approx(20 * 16_000, abs=2)  # but for the first block
    assert np.mean(samples) == pytest.approx(10 / 20, abs=0.01)

    for k in range(10_000):
        stream = stream if k else LiveStream(sample_rate_hz=192_000, has_video=False)
        stream.put_sound(0, np.ones(1, np.float32))  # each takes more memory than its sound
    assert stream.num_dropped == 9_000


def test_sound_is_resampled_without_gap() -> None:
    stream = LiveStream(sample_rate_hz=48_000, has_video=False)
    tone = np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000).astype(np.float32)
    for k in range(20):
        stream.put_sound(k / 10, tone[k * 4800 : (k + 1) * 4800])
    samples = heard(stream)
    assert abs(len(samples) - 32_000) < 800  # what the resampler still holds
    spectrum = np.abs(np.fft.rfft(samples[8000:24_000]))
    assert int(spectrum.argmax()) == 440
    assert stream.frames() is None


def test_silence_stands_in_for_what_is_missing_and_repeated_sound_is_cut() -> None:
    stream = LiveStream(sample_rate_hz=16_000, has_video=False)
    stream.put_sound(0.5, np.ones(1600, np.float32))  # the microphone was late
    stream.put_sound(1.6, np.ones(1600, np.float32))  # a second was lost
    samples = heard(stream)
    assert len(samples) == pytest.approx(1.7 * 16_000, abs=2)
    assert np.all(samples[:8000] == 0)
    assert np.all(samples[8000:9600] == 1)
    assert np.all(samples[9600 : 16 * 1600] == 0)
    stream = LiveStream(sample_rate_hz=16_000, has_video=False)
    for start_s in (0.0, 1.05, 1.0):  # a little jitter is no gap; heard before
        stream.put_sound(start_s, np.full(16_000, 0.25, np.float32))
    assert len(heard(stream)) == 32_000


def test_lag_is_counted_from_the_fastest_message(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    assert stream.lag_s(3.0) == 0.0
    stream.put_frame(9.0, jpeg())
    stream.put_frame(10.0, jpeg())
    assert stream.lag_s(10.0) == pytest.approx(0.0)
    now_s = 102.0
    assert stream.lag_s(11.0) == pytest.approx(1.0)
