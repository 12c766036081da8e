"""All that is drawn on a picture: frame and label of the face, and the strip below."""

from __future__ import annotations

from bisect import bisect_right

from facevoice.render.faces import FaceFrame, FacePath
from facevoice.render.strip import Strip, plan_layout
from facevoice.report.look import OUTCOME_COLORS, shown_spans
from facevoice.report.table import channel_words
from facevoice.results import Prediction, Report
from facevoice.trace import Trace
from facevoice.types import ByteArray


class Overlay:
    """Draws what a report says on pictures of one size.

    Args:
        report, trace: of the file.
        width_px, height_px: of the pictures.
        duration_s: of the file.
    """

    def __init__(
        self, report: Report, trace: Trace, width_px: int, height_px: int, duration_s: float
    ) -> None:
        self._windows = report.windows
        end_s = max([duration_s, *(window.end_s for window in report.windows[-1:])])
        spans_s = shown_spans(report.windows, end_s)
        self._ends_s = [end_s for _, end_s in spans_s]
        layout = plan_layout(width_px, height_px)
        self._strip = Strip(layout, report.windows, spans_s, end_s)
        self._faces = FacePath(trace)
        self._frame = FaceFrame(layout.unit)

    def draw(self, picture: ByteArray, time_s: float) -> None:
        """Draw on `picture` (H, W, 3) RGB, in place, what holds at media time `time_s`."""
        index = self._window_at(time_s)
        if index is not None:
            self._draw_face(picture, self._windows[index], time_s)
        self._strip.lay_on(picture, index, time_s)

    def _window_at(self, time_s: float) -> int | None:
        if not self._windows:
            return None
        return min(bisect_right(self._ends_s, time_s), len(self._windows) - 1)

    def _draw_face(self, picture: ByteArray, window: Prediction, time_s: float) -> None:
        found = self._faces.at(time_s)
        if found is None:
            return
        track, (x0, y0, x1, y1) = found
        height, width = picture.shape[:2]
        box = (round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height))
        label = f"face {track + 1}"
        if window.face is not None:
            label += f" · {channel_words(window.face, (), {})}"
        self._frame.draw(picture, box, OUTCOME_COLORS[window.outcome], label)
