"""The live mode's server side: one WebSocket a session, one thread that analyses what comes.

From the page: first a text, {"ticket", "sample_rate_hz" or null, "has_video"}; then bytes: one
letter, V or A, then float64 (little endian) seconds of the session's clock, then a JPEG, or float32
mono samples. A text {"talk": seconds} says that from then on somebody talks normally, so that the
session gets to know them, {"talk": null} that they don't after all; "stop" ends the session.
To the page, texts in JSON: {"faces"} for each frame; {"window", "sentence", "known", "judged"} for
each window, {"late"} for each one that is left out because the server can't follow; {"talk"} when a
talk is over: whether it told anything; {"end"} or {"error"} at last. Known is a sentence on what
the window is compared with, judged are the tracks of whose face it tells. The end has a sentence,
a summary (a window's row) of a session of few windows, else null, and why it came, empty where the
page asked for it; where there was any window also a report: the view that pages mount, and files
to download, [{name, words, text, is_other}].
Of such a session the page may say what is right and wrong, until it closes the socket: to a text
{"review"} comes {"files"} with it, or {"problem"}.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import math
import secrets
import struct
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import soxr
from PIL import Image

from facevoice.analyzer import Analyzer
from facevoice.errors import FacevoiceError
from facevoice.interpret import (
    MAX_SHORT_WINDOWS,
    StreamJudge,
    find_moments,
    shown_spans,
    summarize,
)
from facevoice.people.baseline import Known
from facevoice.plain import parse_json
from facevoice.records import (
    SAMPLE_RATE_HZ,
    VERSION,
    AudioBlock,
    AudioInfo,
    ByteArray,
    FloatArray,
    Frame,
    FrameFaces,
    MediaInfo,
    Perception,
    Person,
    Prediction,
    Report,
    Status,
    Trace,
    VideoInfo,
    Window,
    WindowView,
)
from facevoice.report import (
    describe_in_words,
    describe_known,
    summarize_in_words,
    to_view,
    window_view,
)
from facevoice.web.downloads import add_review, make_downloads
from facevoice.web.work import Turns, WebOptions

LIVE_PATH: Final = "/facevoice/live"

# Of a session's report, and of its files.
_NAME: Final = "live session"
_NOTHING: Final = {"sentence": "Stopped before a window was whole.", "summary": None}
_LOG = logging.getLogger(__name__)
_MAX_MESSAGE_BYTES: Final = 2_000_000
_MAX_TICKETS: Final = 10_000
_RATES_HZ: Final = range(8_000, 192_001)
# A window that comes later than this helps nobody: it is left out so that the next is in time.
_MAX_LAG_S: Final = 1.5
# More frames than this wait only if the pipeline is too slow; then newer ones are dropped.
_MAX_WAITING: Final = 6
_MAX_SIDE_PX: Final = 1920
# At most so many come, see `live.js`.
_FRAMES_HZ: Final = 5.0
# Sound that waits for longer helps no window any more.
_MAX_WAITING_S: Final = 10.0
# Blocks of a page last 0.1 s; shorter ones than this count as much, since each takes some memory.
_LEAST_BLOCK_S: Final = 0.01
# Browsers wake a page that nobody sees once a minute; one that sends nothing for longer is gone.
_SILENCE_S: Final = 90.0
# Clocks of camera and sound card drift; less than this is no gap.
_JITTER_S: Final = 0.15
_MAX_GAP_S: Final = 30.0

_Send = Callable[[dict[str, Any]], None]


class LiveStream:
    """Takes what a browser sends; gives it as the iterators that `Analyzer.follow` reads.

    Args:
        sample_rate_hz: of the sound that comes; None where there is no microphone.
        has_video: whether frames come.
    """

    def __init__(self, *, sample_rate_hz: int | None, has_video: bool) -> None:
        self.has_video = has_video
        self.num_dropped = 0
        self.stopped = False
        self.why = ""
        self._rate_hz = sample_rate_hz
        self._frames: SimpleQueue[tuple[float, bytes] | None] = SimpleQueue()
        self._sound: SimpleQueue[tuple[float, FloatArray] | None] = SimpleQueue()
        # Of sound, each counted by one thread: the difference waits.
        self._num_put = self._num_got = 0
        self._clock: float | None = None
        self._size_px: tuple[int, int] | None = None

    def media(self, duration_s: float) -> MediaInfo:
        """What came, as of a file."""
        video = audio = None
        if self._size_px is not None:
            video = VideoInfo(*self._size_px, _FRAMES_HZ, 0.0, 0, "mjpeg")
        if self._rate_hz is not None:
            audio = AudioInfo(self._rate_hz, 1, 0.0, "pcm_f32le")
        return MediaInfo(Path(_NAME), duration_s, video, audio)

    def stop(self, why: str = "") -> None:
        """Let the iterators end after what has come; of several calls the first says why."""
        if not self.stopped:
            self.why = why
        self.stopped = True
        self._frames.put(None)
        self._sound.put(None)

    def lag_s(self, media_s: float) -> float:
        """How long ago the moment `media_s` of the session's clock came in."""
        return 0.0 if self._clock is None else time.monotonic() - self._clock - media_s

    def put_frame(self, timestamp_s: float, jpeg: bytes) -> None:
        """Take a frame, or drop it where too many wait."""
        self._set_clock(timestamp_s)
        if self._frames.qsize() >= _MAX_WAITING:
            self.num_dropped += 1
        elif not self.stopped:
            self._frames.put((timestamp_s, jpeg))

    def put_sound(self, start_s: float, samples: FloatArray) -> None:
        """Take mono samples (N,) that sound from `start_s` on, or drop them where too many wait."""
        rate_hz = self._rate_hz or SAMPLE_RATE_HZ
        self._set_clock(start_s + len(samples) / rate_hz)
        if self._num_put - self._num_got >= _MAX_WAITING_S * rate_hz:
            self.num_dropped += 1
        elif not self.stopped:
            self._num_put += _weight(samples, rate_hz)
            self._sound.put((start_s, samples))

    def frames(self) -> Iterator[Frame] | None:
        """Decoded frames, increasing in time, without those that are no pictures."""
        return self._read_frames() if self.has_video else None

    def blocks(self) -> Iterator[AudioBlock] | None:
        """Sound at 16 kHz from time 0 on without gap: silence stands in for what is missing."""
        return None if self._rate_hz is None else self._read_blocks(self._rate_hz)

    def _set_clock(self, media_s: float) -> None:
        now_s = time.monotonic()
        if self._clock is None or now_s - media_s < self._clock:
            self._clock = now_s - media_s  # the fastest way here is the truest

    def _read_frames(self) -> Iterator[Frame]:
        last_s = -1.0
        while (item := self._frames.get()) is not None:
            timestamp_s, jpeg = item
            rgb = _decode_jpeg(jpeg)
            if rgb is not None and timestamp_s > last_s:
                last_s = timestamp_s
                self._size_px = rgb.shape[1], rgb.shape[0]
                yield Frame(timestamp_s, rgb)

    def _read_blocks(self, rate_hz: int) -> Iterator[AudioBlock]:
        resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1)
        num_taken = num_given = 0
        while (item := self._sound.get()) is not None:
            start_s, samples = item
            self._num_got += _weight(samples, rate_hz)
            gap_s = start_s - num_taken / rate_hz
            if gap_s < -_JITTER_S:
                samples = samples[round(-gap_s * rate_hz) :]
            elif _JITTER_S < gap_s < _MAX_GAP_S:
                samples = np.concatenate([np.zeros(round(gap_s * rate_hz), np.float32), samples])
            num_taken += len(samples)
            block = np.asarray(resampler.resample_chunk(samples), np.float32)
            if len(block):
                yield AudioBlock(num_given / SAMPLE_RATE_HZ, block)
                num_given += len(block)


def _weight(samples: FloatArray, rate_hz: int) -> int:
    """As how many samples a block counts while it waits."""
    return max(len(samples), round(_LEAST_BLOCK_S * rate_hz))


@dataclass(frozen=True, slots=True, eq=False)
class _Talk:
    """Somebody talks normally from a time of the session's clock to another."""

    start_s: float
    end_s: float
    views: list[WindowView] = field(default_factory=list)


class LiveJudge:
    """Says what the windows of a session mean, and gets to know its person when that is asked.

    Each window is compared with those before it that it doesn't overlap. After a talk it is
    compared with the talk, taken to be of everybody who is seen, and with those since.

    Args:
        analyzer: whose windows they are.
        talk_s: how long a talk is.
    """

    def __init__(self, analyzer: Analyzer, talk_s: float) -> None:
        self._analyzer = analyzer
        self._talk_s = talk_s
        self._asked: SimpleQueue[float | None] = SimpleQueue()
        self._talk: _Talk | None = None
        self._judge = analyzer.stream_judge()
        self._next: tuple[float, StreamJudge] | None = None
        self._knows_talk = False

    def ask(self, start_s: float | None) -> None:
        """Somebody talks normally from then on, or doesn't after all (None); from any thread."""
        self._asked.put(start_s)

    def go_on(self, window: Window) -> bool | None:
        """Hear of the next window, judged or not; whether the talk that is over told anything."""
        while not self._asked.empty():
            start_s = self._asked.get()
            self._talk = None if start_s is None else _Talk(start_s, start_s + self._talk_s)
        talk = self._talk
        if talk is None or window.end_s <= talk.end_s:
            return None
        self._talk = None
        known = self._know(talk.views)
        if not known.person:
            return False
        self._next = talk.end_s, self._analyzer.stream_judge(known=known)
        return True

    def __call__(self, view: WindowView) -> Prediction:
        """What the next window says."""
        if self._talk is not None and view.start_s >= self._talk.start_s:
            self._talk.views.append(view)
        if self._next is not None:
            from_s, judge = self._next
            if view.start_s < from_s:  # It is partly of the talk, and not to be compared with it.
                judge(view)
            else:
                self._judge, self._next, self._knows_talk = judge, None, True
        return self._judge(view)

    def rests_on(self, prediction: Prediction) -> str:
        """What a window is compared with, in words."""
        known = describe_known([prediction])
        is_known = any(c and c.num_known for c in (prediction.face, prediction.voice))
        if not (is_known and self._knows_talk):
            return known
        return f"{known} The {self._talk_s:g} s of normal talk are among them."

    def judged(self, prediction: Prediction) -> list[int]:
        """The tracks of whoever's face the newest window tells."""
        return list(self._judge.tracks_of(prediction))

    def _know(self, views: Sequence[WindowView]) -> Known:
        media = MediaInfo(Path("live"), self._talk_s, None, None)
        settings, models = self._analyzer.config, self._analyzer.models
        return self._analyzer.know(Perception(media, None, settings, models, tuple(views)))


@dataclass(slots=True)
class _Over:
    """What there is of a session that is over: nothing that its camera and microphone gave."""

    report: Report
    trace: Trace

    def to_view(self) -> dict[str, Any]:
        """What is said of all windows of the session, and the files of its report."""
        return {
            "sentence": summarize_in_words(self.report),
            "summary": None if self.report.summary is None else _row(self.report.summary),
            "view": to_view(self.report, self.trace),
            "files": self._files(),
        }

    def take_review(self, text: str) -> dict[str, Any]:
        """The files with what a page says of the session, or why it can't be."""
        try:
            self.report = add_review(self.report, text)
        except FacevoiceError as error:
            return {"problem": str(error)}
        return {"files": self._files()}

    def _files(self) -> list[dict[str, Any]]:
        return [asdict(made) for made in make_downloads(self.report, self.trace, _NAME)]


class LiveDesk:
    """Lets pages in: hands out tickets, counts sessions.

    A ticket is given to pages only, through gradio, so the socket is as protected as the page is.
    `turns`: those of the page too, so that one bound holds for all.
    """

    def __init__(self, analyzer: Analyzer, options: WebOptions, turns: Turns | None = None) -> None:
        self._analyzer = analyzer
        self._options = options
        self.turns = turns or Turns(options.num_at_once, options.max_waiting)
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
        stream: LiveStream | str = ""
        with _while_there():
            await socket.accept()
            stream = await self._let_in(socket)
            if isinstance(stream, str):
                await socket.send_text(json.dumps({"error": stream}))
                await socket.close()
        if isinstance(stream, str):
            return
        self._num_sessions += 1
        try:
            last, over = await self._run(socket, stream)
        finally:
            self._num_sessions -= 1
        with _while_there():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.keep_s):
                    # Only now: a page that has heard of the end may come again, and there is room.
                    await socket.send_text(json.dumps(last))
                    if over is not None:
                        await self._keep(socket, over)
            await socket.close()

    async def _let_in(self, socket: Any) -> LiveStream | str:
        """The stream of a page that may come in, else why not."""
        try:
            hello = parse_json(await asyncio.wait_for(socket.receive_text(), timeout=10))
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

    async def _run(self, socket: Any, stream: LiveStream) -> tuple[dict[str, Any], _Over | None]:
        """Serve a session until it is over.

        Returns:
            What is still to be told of its end, and what there is of it if any window was whole.
        """
        max_s = self._options.max_live_s
        loop, outbox = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()
        judge = LiveJudge(self._analyzer, self._options.talk_s)
        last: dict[str, Any] = {}
        ended: list[_Over] = []

        def send(message: dict[str, Any] | None) -> None:
            loop.call_soon_threadsafe(outbox.put_nowait, message)

        def work() -> None:
            try:
                over = self._analyze(stream, judge, send)
                told = _NOTHING if over is None else over.to_view()
                last["end"] = {**told, "why": stream.why}
                ended.extend([] if over is None else [over])
            except FacevoiceError as error:
                last["error"] = str(error)
            except Exception:  # noqa: BLE001 - logged, and told
                _LOG.exception("live session failed")
                last["error"] = "The server failed; its log says why."
            finally:
                send(None)

        thread = Thread(target=work, name="facevoice-live", daemon=True)
        thread.start()
        receiver = asyncio.create_task(_receive(socket, stream, judge, max_s))
        try:
            with _while_there():
                # A page that takes nothing must not keep its place either.
                async with asyncio.timeout(max_s + _SILENCE_S):
                    while (message := await outbox.get()) is not None:
                        await socket.send_text(json.dumps(message))
        finally:
            stream.stop()
            receiver.cancel()
            await asyncio.to_thread(thread.join)
        await asyncio.gather(receiver, return_exceptions=True)
        return last, ended[0] if ended else None

    async def _keep(self, socket: Any, over: _Over) -> None:
        """Write what a page says of a session that is over into its files, until it leaves."""
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            if (text := _review_in(message.get("text"))) is not None:
                told = await asyncio.to_thread(over.take_review, text)
                await socket.send_text(json.dumps(told))

    def _analyze(self, stream: LiveStream, judge: LiveJudge, send: _Send) -> _Over | None:
        """Analyse a session until it stops; None where no window was whole by then."""
        predictions: list[Prediction] = []
        views: list[WindowView] = []
        owners: dict[int, int] = {}  # of tracks, the people by their numbers
        turn = ExitStack()  # from before a window is read until it is sent

        def is_late(window: Window) -> bool:
            return not stream.stopped and stream.lag_s(window.end_s) >= _MAX_LAG_S

        def is_wanted(window: Window) -> bool:
            turn.close()
            if window.end_s >= self._options.max_live_s:
                stream.stop(_lasts(self._options.max_live_s))
            if (told := judge.go_on(window)) is not None:
                send({"talk": told})
            if not is_late(window):
                turn.enter_context(self.turns.window())
            if not is_late(window):
                return True
            turn.close()
            send({"late": True})
            return False

        with turn:
            for view in self._analyzer.perceiver.follow(
                stream.frames(),
                stream.blocks(),
                self._options.max_live_s,
                windows=self._options.live_windows,
                on_faces=lambda faces: send({"faces": _faces_view(faces)}),
                wanted=is_wanted,
            ):
                prediction = judge(view)
                turn.close()
                if stream.stopped:
                    break  # what comes now is cut short
                predictions.append(prediction)
                views.append(_without_embeddings(view))
                for track in judge.judged(prediction):
                    owners.setdefault(track, prediction.person or 0)
                send(_told(prediction, judge, stream))
        if not predictions:
            return None
        media = stream.media(predictions[-1].end_s)
        people = tuple(_people(predictions, owners))
        settings, models = self._analyzer.config, self._analyzer.models
        trace = Perception(media, None, settings, models, tuple(views)).trace
        return _Over(replace(self._report(predictions, media), people=people), trace)

    def _report(self, windows: Sequence[Prediction], media: MediaInfo) -> Report:
        """A session as a report: what is said of files is said of it."""
        point = self._analyzer.point
        lone = Status.VIDEO_ONLY if media.has_video else Status.AUDIO_ONLY
        is_short = len(windows) <= MAX_SHORT_WINDOWS
        return Report(
            path=_NAME,
            sha256=None,
            media=media,
            status=Status.OK if media.has_video and media.has_audio else lone,
            error=None,
            windows=tuple(windows),
            summary=summarize(windows, point) if is_short else None,
            outcome_counts=Counter(window.outcome for window in windows),
            models=self._analyzer.models,
            config=self._analyzer.config,
            facevoice_version=VERSION,
            moments=find_moments(windows),
            curve=self._analyzer.assembly.model.curve,
            point=point,
        )


def _people(windows: Sequence[Prediction], owners: Mapping[int, int]) -> list[Person]:
    """Whose faces were judged: for how long, and how long of it speech was heard."""
    spans = shown_spans(windows, windows[-1].end_s)
    found = []
    for number in sorted({window.person for window in windows if window.person is not None}):
        mine = [
            (window, end_s - start_s)
            for window, (start_s, end_s) in zip(windows, spans, strict=True)
            if window.person == number
        ]
        tracks = tuple(sorted(track for track, owner in owners.items() if owner == number))
        seen_s = sum(length_s for _, length_s in mine)
        speaking_s = sum(length_s for window, length_s in mine if window.voice is not None)
        found.append(Person(number, f"Person {number}", tracks, seen_s, speaking_s))
    return found


def _without_embeddings(view: WindowView) -> WindowView:
    """What pages draw of a window, which is little beside what the networks made of it."""
    faces = tuple(replace(face, embedding=None, portrait=None) for face in view.faces)
    return replace(view, faces=faces, voice=None)


@contextmanager
def _while_there() -> Iterator[None]:
    """Ends the block where the page has left, which is no fault."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - servers raise what they like for a lost page
        _LOG.debug("live page left: %s", error)


async def _receive(socket: Any, stream: LiveStream, judge: LiveJudge, max_s: float) -> None:
    """Feed what comes into `stream` until the page stops, leaves or is silent, or time is over."""
    why = ""
    try:
        async with asyncio.timeout(max_s) as whole:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    message = await socket.receive()
                content, text = message.get("bytes"), message.get("text")
                if message["type"] == "websocket.disconnect" or text == "stop":
                    return
                if text is not None:
                    _take_talk(text, judge)
                if content is not None and 9 < len(content) <= _MAX_MESSAGE_BYTES:
                    _take(content, stream)
    except TimeoutError:
        silent = f"Ended: nothing came from this page for {_SILENCE_S:g} s. Start again."
        why = _lasts(max_s) if whole.expired() else silent
    finally:
        stream.stop(why)


def _lasts(max_s: float) -> str:
    return f"Ended: a session lasts at most {max_s / 60:g} minutes."


def _review_in(text: str | None) -> str | None:
    """What a message of text says of a session that is over; None where it says nothing."""
    try:
        said = None if text is None else parse_json(text)["review"]
    except (ValueError, KeyError, TypeError):
        return None
    return said if isinstance(said, str) else None


def _take_talk(text: str, judge: LiveJudge) -> None:
    """Take one message of text; what makes no sense is left out."""
    try:
        start_s = parse_json(text)["talk"]
    except (ValueError, KeyError, TypeError):
        return
    if start_s is None or (isinstance(start_s, int | float) and 0 <= start_s < math.inf):
        judge.ask(start_s)


def _take(content: bytes, stream: LiveStream) -> None:
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


def _told(prediction: Prediction, judge: LiveJudge, stream: LiveStream) -> dict[str, Any]:
    """The message of a window."""
    return {
        "window": _row(prediction),
        "sentence": describe_in_words(prediction),
        "known": judge.rests_on(prediction),
        "judged": judge.judged(prediction),
        "lag_ms": round(1000 * stream.lag_s(prediction.end_s)),
        "dropped": stream.num_dropped,
    }


def _row(window: Prediction) -> list[Any]:
    return window_view(window, (window.start_s, window.end_s))


def _faces_view(faces: FrameFaces) -> dict[str, Any]:
    """Time, and all faces as track and box in thousandths of the picture, the largest first."""
    scale = np.array([faces.width_px, faces.height_px] * 2) / 1000
    found = [
        {"track": s.track_id, "box": np.round(s.box_xyxy / scale).astype(int).tolist()}
        for s in sorted(faces.sightings, key=lambda s: -np.prod(s.box_xyxy[2:] - s.box_xyxy[:2]))
    ]
    return {"t": round(faces.timestamp_s, 3), "found": found}


def _decode_jpeg(jpeg: bytes) -> ByteArray | None:
    """The picture as uint8 (H, W, 3); None if it is none, or larger than a camera's."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if max(picture.size) > _MAX_SIDE_PX:
                return None
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
