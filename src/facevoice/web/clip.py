"""Analysing a clip for the page: what is done so far, and at last the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from facevoice.errors import MediaError
from facevoice.media.probe import probe
from facevoice.pipeline import Analyzer
from facevoice.render import render_video
from facevoice.results import Prediction, Report
from facevoice.trace import Trace, TraceRecorder
from facevoice.web.aside import Done, work_aside


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

    @property
    def duration_s(self) -> float:
        """Length of the clip."""
        return 0.0 if self.report.media is None else self.report.media.duration_s


def analyze_clip(
    analyzer: Analyzer, path: Path, *, max_length_s: float
) -> Iterator[ClipProgress | Done[ClipResult]]:
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
    begun_s = time.monotonic()

    def work(tell: Callable[[ClipProgress], None]) -> ClipResult:
        def on_window(window: Prediction) -> None:
            spent_s = time.monotonic() - begun_s
            done_s = min(window.end_s, info.duration_s)
            tell(ClipProgress(done_s, info.duration_s, spent_s, window))

        recorder = TraceRecorder()
        report = analyzer.analyze(path, on_window=on_window, on_read=recorder.add)
        return ClipResult(report, recorder.finish())

    yield from work_aside(work)


def draw_clip(done: ClipResult, out: Path) -> Iterator[float | Done[Path]]:
    """Draw the annotated video of an analysed clip; gives the seconds drawn so far.

    Raises:
        MediaError: see `render_video`.
    """
    return work_aside(lambda tell: render_video(done.report, done.trace, out, on_progress=tell))
