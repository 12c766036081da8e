"""The live mode over a real WebSocket of Starlette's, with the real networks."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketTestSession

from facevoice.analyzer import Analyzer
from facevoice.report.page import WINDOW_FIELDS
from facevoice.settings import WindowConfig
from facevoice.web.live import LIVE_PATH, LiveDesk, LiveStream, WebOptions, take
from portraits import make_portrait

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture
def desk(analyzer: Analyzer) -> LiveDesk:
    return make_desk(analyzer)


def make_desk(analyzer: Analyzer, **options: Any) -> LiveDesk:
    return LiveDesk(analyzer, WebOptions(live_windows=WindowConfig(1.0, 0.5), **options))


@pytest.fixture
def client(desk: LiveDesk) -> Iterator[TestClient]:
    with open_client(desk) as client:
        yield client


def open_client(desk: LiveDesk) -> TestClient:
    return TestClient(Starlette(routes=[WebSocketRoute(LIVE_PATH, desk.serve)]))


def hello(ticket: str, *, rate_hz: int | None = RATE_HZ, has_video: bool = True) -> str:
    return json.dumps({"ticket": ticket, "sample_rate_hz": rate_hz, "has_video": has_video})


def frame(time_s: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(make_portrait()).save(buffer, "JPEG", quality=90)
    return b"V" + struct.pack("<d", time_s) + buffer.getvalue()


def sound(start_s: float, length_s: float = 0.1) -> bytes:
    times = start_s + np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    wave = np.sin(2 * np.pi * 150 * times) * (0.3 + 0.2 * np.sin(2 * np.pi * 4 * times))
    return b"A" + struct.pack("<d", start_s) + wave.astype("<f4").tobytes()


def feed(socket: WebSocketTestSession, seconds: float, *, video: bool = True) -> None:
    for k in range(round(seconds * 10)):
        socket.send_bytes(sound(k / 10))
        if video and k % 2 == 0:
            socket.send_bytes(frame(k / 10))


def next_window(socket: WebSocketTestSession) -> dict[str, Any]:
    while "window" not in (message := json.loads(socket.receive_text())):
        assert "faces" in message, message
    return dict(zip(WINDOW_FIELDS, message["window"], strict=True))


def ending(socket: WebSocketTestSession) -> dict[str, Any]:
    while not {"end", "error"} & set(message := json.loads(socket.receive_text())):
        pass
    return message


def test_windows_come_while_the_stream_goes_on(desk: LiveDesk, client: TestClient) -> None:
    with client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(hello(desk.new_ticket()))
        # At the pace at which the pipeline follows, or frames would be dropped.
        first = None
        for k in range(30):
            socket.send_bytes(sound(k / 10))
            if k % 2 == 0:
                socket.send_bytes(frame(k / 10))
                message = json.loads(socket.receive_text())
                first = first or message.get("faces")
        window = next_window(socket)
        socket.send_text("stop")
        end = ending(socket)["end"]
    assert first is not None
    (found,) = first["found"]
    x0, y0, x1, y1 = found["box"]
    assert 300 < (x0 + x1) / 2 < 700  # the portrait's face, in thousandths
    assert 0 <= y0 < y1 <= 1000
    assert window["end"] - window["start"] == pytest.approx(1.0)
    assert sum(window["face"]) == pytest.approx(1000, abs=4)
    assert end["summary"] is not None
    assert "face reads as happy" in end["sentence"]


def test_without_a_camera_the_face_is_missing_not_neutral(
    desk: LiveDesk, client: TestClient
) -> None:
    with client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(hello(desk.new_ticket(), has_video=False))
        feed(socket, 2.0, video=False)
        window = next_window(socket)
        socket.send_text("stop")
        ending(socket)
    assert window["face"] is None
    assert window["conflict"] is None
    assert window["face_coverage"] == 0


def test_stopped_before_a_window_was_whole(desk: LiveDesk, client: TestClient) -> None:
    with client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(hello(desk.new_ticket()))
        feed(socket, 0.4)
        socket.send_text("stop")
        end = ending(socket)["end"]
    assert end == {"sentence": "Stopped before a window was whole.", "summary": None}


def test_a_session_ends_at_its_time_limit(analyzer: Analyzer) -> None:
    desk = make_desk(analyzer, max_live_s=1.5)
    with open_client(desk) as client, client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(hello(desk.new_ticket(), has_video=False))
        feed(socket, 4.0, video=False)
        assert "end" in ending(socket)


def test_places_are_limited_and_given_back(analyzer: Analyzer) -> None:
    desk = make_desk(analyzer, max_live=1)
    with open_client(desk) as client:
        with client.websocket_connect(LIVE_PATH) as first:
            first.send_text(hello(desk.new_ticket(), has_video=False))
            feed(first, 2.0, video=False)
            next_window(first)
            with client.websocket_connect(LIVE_PATH) as second:
                second.send_text(hello(desk.new_ticket()))
                assert "taken" in ending(second)["error"]
            first.send_text("stop")
            ending(first)
        with client.websocket_connect(LIVE_PATH) as third:
            third.send_text(hello(desk.new_ticket(), has_video=False))
            third.send_text("stop")
            assert "end" in ending(third)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no json", "own request"),
        ("[]", "own request"),
        (hello("guessed"), "Load the page again"),
        ('{"ticket": ["x"], "sample_rate_hz": 16000, "has_video": true}', "Load the page again"),
    ],
)
def test_strangers_stay_outside(client: TestClient, text: str, told: str) -> None:
    with client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(text)
        assert told in ending(socket)["error"]


@pytest.mark.parametrize(
    ("rate_hz", "has_video", "told"),
    [(None, False, "Neither"), (3, True, "3 Hz"), ("x", True, "x Hz")],
)
def test_useless_settings_are_told(
    desk: LiveDesk, client: TestClient, rate_hz: Any, has_video: bool, told: str
) -> None:
    with client.websocket_connect(LIVE_PATH) as socket:
        socket.send_text(hello(desk.new_ticket(), rate_hz=rate_hz, has_video=has_video))
        assert told in ending(socket)["error"]


def test_pages_of_other_servers_stay_outside(desk: LiveDesk, client: TestClient) -> None:
    headers = {"origin": "https://elsewhere.example"}
    with client.websocket_connect(LIVE_PATH, headers=headers) as socket:
        socket.send_text(hello(desk.new_ticket()))
        assert "another server" in ending(socket)["error"]


def test_tickets_of_a_page_hold_again(desk: LiveDesk, client: TestClient) -> None:
    ticket = desk.new_ticket()
    for _ in range(2):
        with client.websocket_connect(LIVE_PATH) as socket:
            socket.send_text(hello(ticket, has_video=False))
            socket.send_text("stop")
            assert "end" in ending(socket)


@pytest.mark.parametrize(
    "content",
    [
        b"V" + struct.pack("<d", float("nan")) + b"x",
        b"V" + struct.pack("<d", -1.0) + b"x",
        b"A" + struct.pack("<d", 0.0) + b"xyz",
        b"A" + struct.pack("<d", 0.0) + np.full(4, np.inf, "<f4").tobytes(),
        b"Z" + struct.pack("<d", 0.0) + b"x",
    ],
)
def test_messages_without_sense_are_left_out(content: bytes) -> None:
    stream = LiveStream(sample_rate_hz=RATE_HZ, has_video=True)
    take(content, stream)
    stream.stop()
    assert list(stream.frames() or ()) == []
    assert list(stream.blocks() or ()) == []
