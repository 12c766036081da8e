"""A page of the web app without a browser: it asks the server what gradio's own script asks it."""

from __future__ import annotations

import asyncio
import html
import json
import re
import secrets
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import websockets

PATIENCE_S: Final = 600.0
# Of the page's status: the clip is being read, so its turn has come.
_IS_READ: Final = ("Reading the clip", "Read 0:", "Read 1:", "Getting to know")
_IN_LINE: Final = "in the line"
_PROBLEM: Final = re.compile(r'<div class="fvw-problem" role="alert">(.*?)</div>', re.DOTALL)


class UnexpectedError(Exception):
    """What the page got is nothing that it may get."""


@dataclass
class Outcome:
    """What became of a clip: a problem in words, or a result with its downloads by suffix.

    asked_at, joined_at, started_at, done_at: on this machine's clock, in seconds, when it was asked
    for, when it surely stood in the server's line, when its turn came, when its end was told.
    """

    asked_at: float
    joined_at: float | None = None
    started_at: float | None = None
    done_at: float = 0.0
    problem: str | None = None
    files: dict[str, str] | None = None


class Page:
    """One open page. `open` it, and `close` it, or nothing is told to the server."""

    def __init__(self, address: str) -> None:
        # A browser opens no more than six connections to a host, and none of them by a proxy.
        limits = httpx.Limits(max_connections=6)
        self._http = httpx.AsyncClient(
            base_url=address, timeout=PATIENCE_S, limits=limits, trust_env=False
        )
        self._session = secrets.token_hex(6)
        self._heart: asyncio.Task[None] | None = None
        self._events: dict[str, int] = {}
        self.ticket = ""

    async def open(self) -> None:
        """Load page and settings, begin the heartbeat, get a ticket for the live mode."""
        await self._get("/")
        config = (await self._get("/config")).json()
        for event in config["dependencies"]:
            kind = event["targets"][0][1]
            self._events.setdefault(kind if kind == "load" else event["api_name"], event["id"])
        self._heart = asyncio.create_task(self._beat())
        if "load" in self._events:
            live = (await self._run("load"))["data"][0]
            self.ticket = json.loads(html.unescape(live.split('"')[3]))["ticket"]

    async def close(self) -> None:
        """Leave, as a closed browser does: all connections end."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        await self._http.aclose()

    async def upload(self, path: Path, *, choose: bool = True) -> dict[str, Any]:
        """Upload a clip, and choose it; what it is called from then on."""
        with path.open("rb") as file:
            files = {"files": (path.name, file, "application/octet-stream")}
            answer = await self._http.post("/gradio_api/upload", files=files)
        if answer.is_error:
            raise UnexpectedError(f"upload: {answer.status_code} {answer.text[:200]}")
        clip = {
            "path": answer.json()[0],
            "orig_name": path.name,
            "meta": {"_type": "gradio.FileData"},
        }
        if choose:
            await self._run("choose", told={"paths": [clip["path"]]})
        return clip

    async def analyze(self, sensitivity: str = "balanced") -> Outcome:
        """Press Analyse, and wait for what comes of it."""
        await self._run("begin")
        return await self._queue("page_analyze", False, sensitivity, 0.5)

    async def make_film(self) -> Outcome:
        """Press Make annotated video."""
        await self._run("begin_1")
        return await self._queue("page_make_film")

    async def call(self, clip: dict[str, Any]) -> str:
        """As programs ask: the report as text."""
        async for message in self._messages("analyze", clip):
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise UnexpectedError(f"analyze: {message['output']}")
                return str(message["output"]["data"][0])
        raise UnexpectedError("analyze: ended without an answer")

    async def stop(self) -> None:
        """Press Stop."""
        await self._run("end")

    async def start_anew(self) -> None:
        """Press Another clip."""
        await self._run("start_anew")

    async def tell(self, event: str, **told: Any) -> list[Any]:
        """Say something with an event; what the page is told to change, part after part."""
        return list((await self._run(event, told=told))["data"])

    async def download(self, path: str) -> bytes:
        """A file of the result."""
        return (await self._get(f"/gradio_api/file={path}")).content

    async def break_off_upload(self, num_bytes: int) -> None:
        """Send the beginning of an upload, and go away."""
        place = urlsplit(str(self._http.base_url))
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="gone.mp4"\r\n\r\n'
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {10 * num_bytes}\r\n"
        )
        writer.write(head.encode() + b"\r\n" + body + bytes(num_bytes))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _beat(self) -> None:
        beat = self._http.stream("GET", f"/gradio_api/heartbeat/{self._session}")
        async with beat as answer:
            async for _ in answer.aiter_bytes():
                pass

    async def _get(self, path: str) -> httpx.Response:
        answer = await self._http.get(path)
        if answer.is_error:
            raise UnexpectedError(f"{path}: {answer.status_code} {answer.text[:200]}")
        return answer

    async def _run(self, event: str, *given: Any, told: dict[str, Any] | None = None) -> Any:
        """An event that needn't wait for its turn; `told`: what the page says with it."""
        asked = {
            "fn_index": self._events[event],
            "data": given,
            "event_data": told,
            "session_hash": self._session,
        }
        answer = await self._http.post("/gradio_api/run/predict", json=asked)
        if answer.is_error:
            raise UnexpectedError(f"{event}: {answer.status_code} {answer.text[:200]}")
        return answer.json()

    async def _messages(self, event: str, *given: Any) -> AsyncIterator[dict[str, Any]]:
        asked = {"fn_index": self._events[event], "data": given, "session_hash": self._session}
        answer = await self._http.post("/gradio_api/queue/join", json=asked)
        if answer.is_error:
            raise UnexpectedError(f"{event}: {answer.status_code} {answer.text[:200]}")
        told = self._http.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": self._session}
        )
        async with told as lines:
            async for line in lines.aiter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    async def _queue(self, event: str, *given: Any) -> Outcome:
        outcome, files = Outcome(time.monotonic()), {}
        async for message in self._messages(event, *given):
            told = json.dumps(message.get("output"), ensure_ascii=False)
            if outcome.joined_at is None and _IN_LINE in told:
                outcome.joined_at = time.monotonic()
            if outcome.started_at is None and any(words in told for words in _IS_READ):
                outcome.started_at = time.monotonic()
            files.update(_files(message.get("output")))  # of a clip they come before the end
            if message["msg"] == "process_completed":
                outcome.done_at = time.monotonic()
                if not message["success"]:
                    raise UnexpectedError(f"{event}: {told[:300]}")
                outcome.problem = _problem(message["output"]["data"])
                outcome.files = files if outcome.problem is None else None
                return outcome
        raise UnexpectedError(f"{event}: ended without a result")


def _problem(shown: list[Any]) -> str | None:
    """What the page says at last to be wrong."""
    found = _PROBLEM.search(" ".join(each for each in shown if isinstance(each, str)))
    return html.unescape(found[1]) if found else None


def _files(told: Any) -> dict[str, str]:
    """Paths of the files that a message gives to download, by suffix; it may tell what changed."""
    if isinstance(told, dict) and isinstance(told.get("path"), str):
        return {Path(told["path"]).suffix: told["path"]}
    inner = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    return {suffix: path for each in inner for suffix, path in _files(each).items()}


@dataclass(frozen=True)
class Recording:
    """What a camera and a microphone give: JPEGs, and sound as float32 at `rate_hz`."""

    frames: tuple[bytes, ...]
    sound: bytes
    rate_hz: int
    frame_s: float = 0.2
    block_s: float = 0.1


async def go_live(
    address: str, ticket: str, recording: Recording, length_s: float, *, says_bye: bool
) -> list[dict[str, Any]]:
    """A live session at the pace of a camera, and what it was told; `says_bye`: else it breaks."""
    place = urlsplit(address)
    told: list[dict[str, Any]] = []
    async with websockets.connect(
        f"ws://{place.netloc}/facevoice/live", origin=f"http://{place.netloc}", proxy=None
    ) as socket:
        hello = {"ticket": ticket, "sample_rate_hz": recording.rate_hz, "has_video": True}
        await socket.send(json.dumps(hello))
        listener = asyncio.create_task(_listen(socket, told))
        begun = time.monotonic()
        try:
            for kind, time_s, content in _in_time(recording, length_s):
                await asyncio.sleep(max(0.0, begun + time_s - time.monotonic()))
                if listener.done():
                    break
                await socket.send(kind + struct.pack("<d", time_s) + content)
            if not says_bye and not listener.done():
                socket.transport.abort()
                listener.cancel()
            else:
                await socket.send("stop")
        except websockets.ConnectionClosed:
            pass
        await asyncio.gather(listener, return_exceptions=True)
    return told


async def _listen(socket: Any, told: list[dict[str, Any]]) -> None:
    try:
        async for text in socket:
            told.append(json.loads(text))
            if "end" in told[-1]:  # then it waits for a review
                await socket.close()
    except websockets.ConnectionClosed:
        pass


def _in_time(recording: Recording, length_s: float) -> list[tuple[bytes, float, bytes]]:
    """All that is sent, in order of its time: the recording again and again."""
    block_bytes = 4 * round(recording.rate_hz * recording.block_s)
    num_blocks = len(recording.sound) // block_bytes
    sent = [
        (b"V", k * recording.frame_s, recording.frames[k % len(recording.frames)])
        for k in range(int(length_s / recording.frame_s))
    ]
    for k in range(int(length_s / recording.block_s)):
        start = (k % num_blocks) * block_bytes
        sent.append((b"A", k * recording.block_s, recording.sound[start : start + block_bytes]))
    return sorted(sent, key=lambda item: item[1])
