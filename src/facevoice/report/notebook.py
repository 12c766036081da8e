"""A report as a piece of HTML for notebooks: no script, no style sheet, no address, no identifier.

Styles stand at the elements, so that nothing leaks into the page around, whatever it is.
"""

from __future__ import annotations

import html
from itertools import pairwise
from typing import Final

import numpy as np

from facevoice.labels import Outcome, Status
from facevoice.report.look import OUTCOME_COLORS, OUTCOME_WORDS, ink_on
from facevoice.report.sentence import summarize_in_words
from facevoice.report.svg import SvgParts, box, number
from facevoice.report.timeline import (
    HATCH_GROUND,
    HATCH_LINE,
    INK,
    LINE,
    SOFT_INK,
    Row,
    Timeline,
    clock,
    color_of,
    file_title,
    one_line,
    spread,
    tint,
)
from facevoice.results import NOTICE, Report, Thresholds
from facevoice.types import DoubleArray

_WIDTH: Final = 860
_LEFT: Final = 84
_RIGHT: Final = 112
_ROOM: Final = _WIDTH - _LEFT - _RIGHT
_NAME: Final = 15
_LETTER: Final = 6.6
_COLUMN: Final = 3
# name, top and height of each row, in pixels
_OUTCOME: Final = (4.0, 20.0)
_BANDS: Final = ((32.0, 44.0), (84.0, 44.0), (136.0, 44.0))
_CURVE: Final = (192.0, 88.0)
_AXIS: Final = 284.0
_LEGEND: Final = 324.0
_HEIGHT: Final = 358


def to_fragment(report: Report) -> str:
    """Outcome, sentence, timeline as an SVG, and the notice; names of files are shown as text.

    Needs neither matplotlib nor a network, and grows little with the file's length.
    """
    picture = _svg(report) if report.windows else ""
    words = html.escape(one_line(summarize_in_words(report)))
    style = (
        f"max-width:{_WIDTH}px;box-sizing:border-box;padding:14px 16px;background:#FFFFFF;"
        f"color:{INK};border:1px solid {LINE};border-radius:6px;overflow-wrap:anywhere;"
        "font:14px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;text-align:left"
    )
    return (
        f'<div style="{style}">'
        f'<div style="font-weight:600;font-size:16px">{_badge(report)}'
        f"{html.escape(file_title(report))}</div>"
        f'<div style="margin-top:8px">{words}</div>{picture}'
        f'<div style="margin-top:8px;font-size:11px;color:{SOFT_INK}">{html.escape(NOTICE)}</div>'
        "</div>"
    )


def _badge(report: Report) -> str:
    if report.summary is not None and report.status is not Status.FAILED:
        outcome = report.summary.outcome
        color, word, title = OUTCOME_COLORS[outcome], outcome.value, OUTCOME_WORDS[outcome]
        edge = color
    else:
        color, word, title = HATCH_GROUND, report.status.value, "no outcome"
        edge = LINE
    style = (
        f"display:inline-block;margin-right:10px;padding:1px 9px;border-radius:6px;"
        f"border:1px solid {edge};background:{color};color:{ink_on(color)};font-size:14px"
    )
    return f'<span style="{style}" title="{html.escape(title)}">{html.escape(word)}</span>'


def _svg(report: Report) -> str:
    drawing = _Drawing(Timeline(report))
    drawing.outcomes()
    for row, (top, height) in zip(drawing.timeline.channels, _BANDS, strict=True):
        drawing.band(row, top, height)
    drawing.curve(report.thresholds)
    drawing.axis()
    drawing.legend()
    label = f"Timeline of {file_title(report)}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(label)}" '
        'style="display:block;width:100%;height:auto;margin-top:10px" font-size="12" '
        f'font-family="system-ui,-apple-system,Segoe UI,Roboto,Arial,sans-serif">'
        f"{''.join(drawing.parts)}</svg>"
    )


class _Drawing(SvgParts):
    """Gathers the elements of the SVG; sizes are pixels of its own grid."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.timeline = timeline
        self._dense = timeline.is_dense(_ROOM)

    def outcomes(self) -> None:
        """The strip of outcomes."""
        top, height = _OUTCOME
        row = self.timeline.outcomes
        self._label("Outcome", top + height / 2)
        if self._dense:
            self._shares(row, top, height)
            return
        for run in self.timeline.runs(row):
            left, right = self._x(run.start_s), self._x(run.end_s)
            color = str(run.color)
            self.rect(left, top, max(right - left - 1, 0.5), height, color, run.words)
            self._write_in(left, right, top + height / 2, run.words, ink_on(color))

    def band(self, row: Row, top: float, height: float) -> None:
        """One channel's likeliest emotions; height is probability, or share of time if dense."""
        base, room = top + height, height - _NAME
        self._label(row.label, base - room / 2, "share of time" if self._dense else "probability")
        runs = self.timeline.runs(row)
        gaps = [(run.start_s, run.end_s) for run in runs if run.kind is None]
        self._hatch(gaps, base - room, room)
        if self._dense:
            self._shares(row, base - room, room)
        else:
            self._windows(row, base, room)
        self.rect(_LEFT, base, _ROOM, 1, LINE)
        for run in runs:
            left, right = self._x(run.start_s), self._x(run.end_s)
            if run.kind is None:
                self._write_in(left, right, base - room / 2, run.words, SOFT_INK, halo=True)
            else:
                self._write_in(left, right, top + _NAME / 2, run.words, INK)

    def curve(self, thresholds: Thresholds | None) -> None:
        """The probability of conflict."""
        top, height = _CURVE
        self._label("Conflict", top + height / 2, "probability")
        if thresholds is not None:
            high, low = thresholds.conflict_above, thresholds.match_below
            shade = tint(OUTCOME_COLORS[Outcome.FLAT], 0.22)
            self.rect(_LEFT, top + height * (1 - high), _ROOM, height * (high - low), shade)
        self._hatch(self.timeline.uncompared_s, top, height)
        if thresholds is not None:
            self._zones(thresholds, top, height)
        for start_s, end_s in self.timeline.uncompared_s:
            left, right = self._x(start_s), self._x(end_s)
            self._write_in(left, right, top + height / 2, "not compared", SOFT_INK, halo=True)
        frame = box(_LEFT, top, _ROOM, height)
        self.parts.append(f'<path d="{frame}" fill="none" stroke="{LINE}"/>')
        for value, word in ((1.0, "100%"), (0.0, "0%")):
            y = top + height * (1 - value)
            self.text(_LEFT - 5, y, word, SOFT_INK, size=10, anchor="end")
        self._line(top, height)

    def axis(self) -> None:
        """Times below all rows."""
        ticks_s = self.timeline.ticks_s(9)
        for tick_s in ticks_s:
            x = self._x(tick_s)
            self.rect(x - 0.5, _AXIS, 1, 5, LINE)
            self.text(x, _AXIS + 14, clock(tick_s), SOFT_INK, anchor="middle")

    def legend(self) -> None:
        """Names of the colours that occur."""
        rows = (self.timeline.outcomes,), self.timeline.channels
        for y, label, group in zip((0.0, 22.0), ("Outcomes", "Emotions"), rows, strict=True):
            seen = {kind for row in group for kind in row.kinds}
            x = float(_LEFT)
            self.text(0, _LEGEND + y, label, SOFT_INK)
            for kind in group[0].order:
                if kind in seen:
                    self.rect(x, _LEGEND + y - 5.5, 11, 11, color_of(kind))
                    self.text(x + 16, _LEGEND + y, kind.value, INK)
                    x += 34 + len(kind.value) * _LETTER

    def _windows(self, row: Row, base: float, room: float) -> None:
        grounds: dict[str, list[str]] = {}
        bars: dict[str, list[str]] = {}
        spans = pairwise(self.timeline.edges_s.tolist())
        for (start_s, end_s), kind, prob in zip(spans, row.kinds, row.probs.tolist(), strict=True):
            if kind is not None:
                left, width = self._x(start_s), self._x(end_s) - self._x(start_s)
                ground = box(left, base - room, width, room)
                grounds.setdefault(tint(color_of(kind), 0.2), []).append(ground)
                bar = box(left, base - prob * room, width, prob * room)
                bars.setdefault(color_of(kind), []).append(bar)
        self.paths(grounds)
        self.paths(bars)

    def _shares(self, row: Row, top: float, height: float) -> None:
        columns_s = np.linspace(0, self.timeline.end_s, _ROOM // _COLUMN + 1)
        shares = self.timeline.shares(row, columns_s)
        tops = np.cumsum(shares, axis=0)
        boxes: dict[str, list[str]] = {}
        for place, kind in enumerate(row.order):
            for column in np.flatnonzero(shares[place] > 0).tolist():
                y = top + height * (1 - float(tops[place, column]))
                tall = height * float(shares[place, column])
                left = self._x(float(columns_s[column]))
                boxes.setdefault(color_of(kind), []).append(box(left, y, _COLUMN, tall))
        self.paths(boxes)

    def _zones(self, thresholds: Thresholds, top: float, height: float) -> None:
        high, low = thresholds.conflict_above, thresholds.match_below
        for value, outcome in ((high, Outcome.CONFLICT), (low, Outcome.MATCH)):
            y = top + height * (1 - value) - 0.5
            self.rect(_LEFT, y, _ROOM, 1, OUTCOME_COLORS[outcome])
        places = spread([low / 2, (low + high) / 2, (1 + high) / 2], 14 / height)
        for place, name in zip(places, ("match", "too close to call", "conflict"), strict=True):
            y = top + height * (1 - place)
            self.text(_LEFT + _ROOM + 8, y, name, SOFT_INK, size=11)

    def _line(self, top: float, height: float) -> None:
        middles_s, values = self.timeline.middles_s, self.timeline.conflict
        if self._dense:
            self._stroke(middles_s, values, top, height, width=0.4, opacity=0.35)
            columns_s = np.linspace(0, self.timeline.end_s, _ROOM // (2 * _COLUMN) + 1)
            middles_s = (columns_s[:-1] + columns_s[1:]) / 2
            values = self.timeline.conflict_means(columns_s)
        self._stroke(middles_s, values, top, height, width=1.6)
        dots = self.timeline.is_alone
        if _ROOM / len(self.timeline.conflict) > 20:
            dots = ~np.isnan(self.timeline.conflict)
        for place in np.flatnonzero(dots).tolist():
            x = self._x(float(self.timeline.middles_s[place]))
            y = top + height * (1 - float(self.timeline.conflict[place]))
            self.parts.append(f'<circle cx="{number(x)}" cy="{number(y)}" r="2.5" fill="{INK}"/>')

    def _stroke(
        self,
        times_s: DoubleArray,
        values: DoubleArray,
        top: float,
        height: float,
        *,
        width: float,
        opacity: float = 1.0,
    ) -> None:
        points, is_open = [], False
        for time_s, value in zip(times_s.tolist(), values.tolist(), strict=True):
            is_known = not np.isnan(value)
            if is_known:
                x, y = number(self._x(time_s)), number(top + height * (1 - value))
                points.append(f"{'L' if is_open else 'M'}{x} {y}")
            is_open = is_known
        style = f'fill="none" stroke="{INK}" stroke-width="{width}" stroke-opacity="{opacity}"'
        self.parts.append(f'<path d="{"".join(points)}" {style} stroke-linejoin="round"/>')

    def _x(self, seconds: float) -> float:
        return _LEFT + _ROOM * seconds / max(self.timeline.end_s, 1e-3)

    def _label(self, text: str, y: float, note: str = "") -> None:
        self.text(0, y - (6 if note else 0), text, INK, size=13)
        if note:
            self.text(0, y + 8, note, SOFT_INK, size=10)

    def _write_in(
        self, left: float, right: float, y: float, text: str, color: str, *, halo: bool = False
    ) -> None:
        width = len(text) * _LETTER + 8
        if width > right - left:
            return
        middle = (left + right) / 2
        if halo:
            self.rect(middle - width / 2, y - 8, width, 16, "#FFFFFF")
        self.text(middle, y, text, color, anchor="middle")

    def _hatch(self, spans_s: list[tuple[float, float]], top: float, height: float) -> None:
        boxes, lines = [], []
        for start_s, end_s in spans_s:
            left, right = self._x(start_s), self._x(end_s)
            boxes.append(box(left, top, right - left, height))
            if right - left < 1.5:  # as in hours of video: lines would be dots, by the thousand
                continue
            # Clipped here: a clip path would need an identifier, of which a page has only one.
            first = int((left - height) // 6) * 6
            for foot in range(first, int(right) + 1, 6):
                x0, x1 = max(left, foot), min(right, foot + height)
                if x1 > x0:
                    y0, y1 = top + height - (x0 - foot), top + height - (x1 - foot)
                    lines.append(f"M{number(x0)} {number(y0)}L{number(x1)} {number(y1)}")
        if boxes:
            self.paths({HATCH_GROUND: boxes})
            self.parts.append(f'<path d="{"".join(lines)}" stroke="{HATCH_LINE}"/>')
