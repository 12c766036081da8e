"""The live mode's server side: one WebSocket a session, one thread that analyses what comes.

From the page: first a text, {"ticket", "sample_rate_hz" or null, "has_video"}; then bytes: one
letter, V or A, then float64 (little endian) seconds of the session's clock, then a JPEG, or float32
mono samples. A text "stop" ends the session.
To the page, texts in JSON: {"faces"} for each frame, {"window"} for each window, {"end"} or
{"error"} at last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
import struct
from collections import OrderedDict
from collections.abc import Callable
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from facevoice.errors import FacevoiceError
from facevoice.pipeline import Analyzer
from facevoice.report.sentence import describe_in_words
from facevoice.report.view import window_view
from facevoice.results import Prediction
from facevoice.summarize import summarize
from facevoice.types import FrameFaces, Window
from facevoice.web.live_stream import LiveStream
from facevoice.web.options import WebOptions

logger = logging.getLogger(__name__)

LIVE_PATH: Final = "/facevoice/live"
_MAX_MESSAGE_BYTES: Final = 2_000_000
_MAX_TICKETS: Final = 10_000
_RATES_HZ: Final = range(8_000, 192_001)
# A window that comes later than this helps nobody: it is left out so that the next is in time.
_MAX_LAG_S: Final = 1.5

Send = Callable[[dict[str, Any]], None]


class LiveDesk:
    """Lets pages in: hands out tickets, counts sessions.

    A ticket is given to pages only, through gradio, so the socket is as protected as the page is.
    """

    def __init__(self, analyzer: Analyzer, options: WebOptions) -> None:
        self._analyzer = analyzer
        self._options = options
        self._tickets: OrderedDict[str, None] = OrderedDict()
        self._num_sessions = 0

    def new_ticket(self) -> str:
        """A word with which a page may open sessions, as often as it likes."""
        ticket = secrets.token_urlsafe(16)
        self._tickets[ticket] = None
        while len(self._tickets) > _MAX_TICKETS:
            self._tickets.popitem(last=False)
        return ticket

    async def serve(self, socket: Any) -> None:
        """Serve one WebSocket of Starlette's from its opening to its end."""
        await socket.accept()
        refusal = await self._refusal(socket)
        if isinstance(refusal, str):
            await socket.send_text(json.dumps({"error": refusal}))
            await socket.close()
            return
        self._num_sessions += 1
        try:
            await self._run(socket, refusal)
        finally:
            self._num_sessions -= 1

    async def _refusal(self, socket: Any) -> str | LiveStream:
        """The stream of a page that may come in, else why not."""
        try:
            hello = json.loads(await asyncio.wait_for(socket.receive_text(), timeout=10))
            ticket, rate_hz = str(hello["ticket"]), hello["sample_rate_hz"]
            has_video = bool(hello["has_video"])
        except (ValueError, KeyError, TypeError, TimeoutError):
            return "This is not the page's own request."
        origin = urlsplit(socket.headers.get("origin") or "").netloc
        if origin and origin != socket.headers.get("host"):
            return "This page belongs to another server."
        if ticket not in self._tickets:
            return "Load the page again: the server has forgotten it."
        if rate_hz is not None and rate_hz not in _RATES_HZ:
            return f"The microphone's rate, {rate_hz} Hz, can't be used."
        if rate_hz is None and not has_video:
            return "Neither camera nor microphone is there."
        if self._num_sessions >= self._options.max_live:
            return "All live places are taken. Try again in a few minutes."
        return LiveStream(sample_rate_hz=rate_hz, has_video=has_video)

    async def _run(self, socket: Any, stream: LiveStream) -> None:
        loop, outbox = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

        def send(message: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(outbox.put_nowait, message)

        def work() -> None:
            try:
                send(analyze_live(self._analyzer, self._options, stream, send))
            except FacevoiceError as error:
                send({"error": str(error)})
            except Exception:
                logger.exception("live session failed")
                send({"error": "The server failed; its log says why."})
            finally:
                send(None)

        thread = Thread(target=work, name="facevoice-live", daemon=True)
        thread.start()
        receiver = asyncio.create_task(receive(socket, stream))
        try:
            while (message := await outbox.get()) is not None:
                await socket.send_text(json.dumps(message))
            await socket.close()
        except Exception as error:  # noqa: BLE001 - servers raise what they like for a lost page
            logger.debug("live page left: %s", error)
        finally:
            stream.stop()
            receiver.cancel()
            await asyncio.to_thread(thread.join)


async def receive(socket: Any, stream: LiveStream) -> None:
    """Feed what comes into `stream` until the page stops or leaves."""
    try:
        while True:
            message = await socket.receive()
            content = message.get("bytes")
            if message["type"] == "websocket.disconnect" or message.get("text") == "stop":
                return
            if content is not None and 9 < len(content) <= _MAX_MESSAGE_BYTES:
                take(content, stream)
    finally:
        stream.stop()


def take(content: bytes, stream: LiveStream) -> None:
    """Take one message of bytes; what makes no sense is left out."""
    (time_s,) = struct.unpack_from("<d", content, 1)
    if not math.isfinite(time_s) or time_s < 0:
        return
    if content[:1] == b"V":
        stream.put_frame(time_s, content[9:])
    elif content[:1] == b"A" and (len(content) - 9) % 4 == 0:
        samples = np.frombuffer(content, "<f4", offset=9)
        if np.isfinite(samples).all():
            stream.put_sound(time_s, samples.astype(np.float32))


def analyze_live(
    analyzer: Analyzer, options: WebOptions, stream: LiveStream, send: Send
) -> dict[str, Any]:
    """Analyse a session until it stops; gives its last message."""
    predictions: list[Prediction] = []

    def wanted(window: Window) -> bool:
        if window.end_s >= options.max_live_s:
            stream.stop()
        return stream.stopped or stream.lag_s(window.end_s) < _MAX_LAG_S

    for prediction in analyzer.follow(
        stream.frames(),
        stream.blocks(),
        options.max_live_s,
        windows=options.live_windows,
        on_faces=lambda faces: send({"faces": faces_view(faces)}),
        wanted=wanted,
    ):
        if stream.stopped:
            break  # what comes now is cut short
        predictions.append(prediction)
        view = window_view(prediction, (prediction.start_s, prediction.end_s))
        lag_ms = round(1000 * stream.lag_s(prediction.end_s))
        send({"window": view, "lag_ms": lag_ms, "dropped": stream.num_dropped})
    if not predictions:
        return {"end": {"sentence": "Stopped before a window was whole.", "summary": None}}
    whole = summarize(predictions, analyzer.assembly.model.thresholds)
    span = (whole.start_s, whole.end_s)
    return {"end": {"sentence": describe_in_words(whole), "summary": window_view(whole, span)}}


def faces_view(faces: FrameFaces) -> dict[str, Any]:
    """Time, and all faces as track and box in thousandths of the picture, the largest first."""
    scale = np.array([faces.width_px, faces.height_px] * 2) / 1000
    found = [
        {"track": s.track_id, "box": np.round(s.box_xyxy / scale).astype(int).tolist()}
        for s in sorted(faces.sightings, key=lambda s: -_area(s.box_xyxy.tolist()))
    ]
    return {"t": round(faces.timestamp_s, 3), "found": found}


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
