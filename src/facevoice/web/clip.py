"""Analysing a clip for the page: what is done so far, and at last the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

from facevoice.errors import FacevoiceError, MediaError
from facevoice.media.probe import probe
from facevoice.pipeline import Analyzer
from facevoice.results import Prediction, Report
from facevoice.trace import Trace, TraceRecorder

_TELL_EVERY_S: Final = 0.25


class TooLongError(MediaError):
    """The clip is longer than this server takes."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipProgress:
    """What is done: of `duration_s` seconds `done_s`, in `spent_s`; and the last window."""

    done_s: float
    duration_s: float
    spent_s: float
    window: Prediction


@dataclass(frozen=True, slots=True, eq=False)
class ClipResult:
    """A clip's report, and what was seen and heard."""

    report: Report
    trace: Trace


class _LeftError(Exception):
    """Nobody waits for the result any more."""


def analyze_clip(
    analyzer: Analyzer, path: Path, *, max_length_s: float
) -> Iterator[ClipProgress | ClipResult]:
    """Analyse one clip; close the generator to stop.

    Raises:
        TooLongError: the clip is longer than `max_length_s`.
        MediaError: see `Analyzer.analyze`.
    """
    info = probe(path)
    if info.duration_s > max_length_s:
        raise TooLongError(
            path,
            f"lasts {info.duration_s / 60:.1f} minutes; at most {max_length_s / 60:g} are taken.",
            "Cut it, or use the command: facevoice analyze.",
        )
    outbox: SimpleQueue[ClipProgress | ClipResult | Exception] = SimpleQueue()
    unwanted = Event()
    begun_s = time.monotonic()

    def on_window(window: Prediction) -> None:
        if unwanted.is_set():
            raise _LeftError
        spent_s = time.monotonic() - begun_s
        done_s = min(window.end_s, info.duration_s)
        outbox.put(ClipProgress(done_s, info.duration_s, spent_s, window))

    def work() -> None:
        recorder = TraceRecorder()
        try:
            report = analyzer.analyze(path, on_window=on_window, on_read=recorder.add)
            outbox.put(ClipResult(report, recorder.finish()))
        except (FacevoiceError, OSError, _LeftError) as error:
            outbox.put(error)

    thread = Thread(target=work, name="facevoice-clip", daemon=True)
    thread.start()
    try:
        yield from _newest(outbox)
    finally:
        unwanted.set()
        thread.join()


def _newest(
    outbox: SimpleQueue[ClipProgress | ClipResult | Exception],
) -> Iterator[ClipProgress | ClipResult]:
    """The result at last; before it, now and then, how far it is."""
    while True:
        item = outbox.get()
        try:
            while isinstance(item, ClipProgress):
                item = outbox.get_nowait()
        except Empty:
            pass
        if isinstance(item, Exception):
            raise item
        yield item
        if isinstance(item, ClipResult):
            return
        time.sleep(_TELL_EVERY_S)
