"""Elements of an SVG as text, none of which needs an identifier or a style sheet."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from facevoice.errors import ConfigError
from facevoice.files import write_atomically
from facevoice.records import (
    EMOTIONS,
    NOTICE,
    PEAKS_HZ,
    BoolArray,
    ChannelPosterior,
    DoubleArray,
    Emotion,
    FloatArray,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    Thresholds,
    Trace,
    TraceRecorder,
    top_emotion,
)
from facevoice.report.json import read_report
from facevoice.report.table import FACE_GAPS, GAP, VOICE_GAPS, channel_words
from facevoice.report.words import (
    CHANNEL_WORDS,
    EMOTION_COLORS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    REASON_WORDS,
    ink_on,
    shown_spans,
    summarize_in_words,
)

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer, ProgressCallback


class SvgParts:
    """Gathers elements; places and sizes are in units of the picture's own grid."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def text(
        self, x: float, y: float, text: str, color: str, *, size: int = 12, anchor: str = "start"
    ) -> None:
        """One line of text whose middle lies at `y`; escaped here."""
        # A third of its size below the middle is where a line of small letters stands.
        place = f'x="{number(x)}" y="{number(y + size * 0.35)}"'
        style = f'fill="{color}" font-size="{size}" text-anchor="{anchor}"'
        self.parts.append(f"<text {place} {style}>{html.escape(text)}</text>")

    def rect(self, x: float, y: float, w: float, h: float, color: str, title: str = "") -> None:
        """A filled rectangle; `title` is shown by browsers while the pointer rests on it."""
        place = f'x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}"'
        inner = f"<title>{html.escape(title)}</title></rect>" if title else ""
        self.parts.append(f'<rect {place} fill="{color}"' + (f">{inner}" if inner else "/>"))

    def paths(self, boxes: dict[str, list[str]]) -> None:
        """One element for all boxes of a colour; boxes are from `box`."""
        self.parts += [f'<path fill="{color}" d="{"".join(d)}"/>' for color, d in boxes.items()]


def box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a piece of a path."""
    return f"M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"


def number(value: float) -> str:
    """Two digits at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


# What a timeline shows of a report, ready to be drawn: stretches, shares of time, times to name.
#
# For pictures made in Python; `page/` holds the same for pages.

INK: Final = "#1F2933"
SOFT_INK: Final = "#55616B"
LINE: Final = "#D5D9DD"
HATCH_GROUND: Final = "#F7F8F9"
HATCH_LINE: Final = "#CBD1D6"
_TICK_STEPS_S: Final = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring windows of one kind, shown from `start_s` to `end_s`; `kind` None is a gap.

    `words`: what stands in it, the name of the kind or why there is none; `color`: None for gaps.
    """

    start_s: float
    end_s: float
    kind: Emotion | Outcome | None
    words: str
    color: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of colours: each window's kind (None for a gap) and its probability (NaN).

    `order`: all kinds there could be; `gaps`: why there is none, by window.
    """

    label: str
    kinds: tuple[Emotion | Outcome | None, ...]
    probs: DoubleArray
    order: tuple[Emotion | Outcome, ...]
    gaps: tuple[str, ...]


class Timeline:
    """A report along its time."""

    def __init__(self, report: Report) -> None:
        windows = report.windows
        last_s = max((window.end_s for window in windows), default=0.0)
        self.end_s = last_s if report.media is None else max(last_s, report.media.duration_s)
        spans = shown_spans(windows, self.end_s)
        self.edges_s: DoubleArray = np.array(
            [start for start, _ in spans] + [end for _, end in spans[-1:]], np.float64
        )
        self.conflict: DoubleArray = np.array(
            [np.nan if w.conflict is None else w.conflict for w in windows], np.float64
        )
        self._windows = windows

    @property
    def middles_s(self) -> DoubleArray:
        """Of the stretches for which the windows stand."""
        return (self.edges_s[:-1] + self.edges_s[1:]) / 2

    @cached_property
    def outcomes(self) -> Row:
        """The windows' outcomes."""
        kinds = tuple(window.outcome for window in self._windows)
        return Row("Outcome", kinds, np.ones(len(kinds)), tuple(Outcome), ("",) * len(kinds))

    @cached_property
    def channels(self) -> tuple[Row, ...]:
        """The likeliest emotions of face, voice, both."""
        return tuple(self._channel(name) for name in CHANNEL_WORDS)

    @cached_property
    def uncompared_s(self) -> list[tuple[float, float]]:
        """From when to when there is no probability of conflict."""
        gaps: list[tuple[float, float]] = []
        places = enumerate(np.isnan(self.conflict).tolist())
        for is_gap, run in groupby(places, key=itemgetter(1)):
            members = [place for place, _ in run]
            if is_gap:
                gaps.append((float(self.edges_s[members[0]]), float(self.edges_s[members[-1] + 1])))
        return gaps

    @property
    def is_alone(self) -> BoolArray:
        """Which windows have a probability of conflict, and no neighbour that has one."""
        known = ~np.isnan(self.conflict)
        beside = np.concatenate([[False], known, [False]])
        alone: BoolArray = known & ~beside[:-2] & ~beside[2:]
        return alone

    def is_dense(self, width_px: float) -> bool:
        """Whether windows are too narrow to be told apart on so many pixels."""
        return len(self._windows) * 2.5 > width_px

    def runs(self, row: Row) -> list[Run]:
        """Neighbouring windows of one kind, put together."""
        found: list[Run] = []
        starts = [k for k, kind in enumerate(row.kinds) if k == 0 or kind != row.kinds[k - 1]]
        for start, stop in zip(starts, [*starts[1:], len(row.kinds)], strict=True):
            kind = row.kinds[start]
            words = row.gaps[start] if kind is None else kind.value
            ends = float(self.edges_s[start]), float(self.edges_s[stop])
            found.append(Run(*ends, kind, words, None if kind is None else color_of(kind)))
        return found

    def shares(self, row: Row, columns_s: DoubleArray) -> DoubleArray:
        """Share of each column's time, (K, m), that each kind of `row.order` takes.

        columns_s (m + 1,): the columns' edges, increasing.
        """
        lengths_s = np.diff(self.edges_s)
        found = np.zeros((len(row.order), len(columns_s) - 1))
        for place, kind in enumerate(row.order):
            taken_s = lengths_s * np.array([k == kind for k in row.kinds])
            until_s = np.concatenate([[0.0], np.cumsum(taken_s)])
            found[place] = np.diff(np.interp(columns_s, self.edges_s, until_s)) / np.diff(columns_s)
        return found

    def conflict_means(self, columns_s: DoubleArray) -> DoubleArray:
        """Mean probability of conflict, (m,), of the windows in each column; NaN without any.

        columns_s (m + 1,): the columns' edges, increasing.
        """
        known = ~np.isnan(self.conflict)
        counts, _ = np.histogram(self.middles_s[known], columns_s)
        sums, _ = np.histogram(self.middles_s[known], columns_s, weights=self.conflict[known])
        means = np.full(len(counts), np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    def ticks_s(self, most: int) -> list[float]:
        """Round times from 0 to the end, at most `most` of them."""
        least = self.end_s / max(1, most - 1)
        step = next((s for s in _TICK_STEPS_S if s >= least), np.ceil(least / 14400) * 14400)
        return [k * float(step) for k in range(int(self.end_s / step + 1e-6) + 1)]

    def _channel(self, name: str) -> Row:
        tops = [None if (p := getattr(w, name)) is None else top_emotion(p) for w in self._windows]
        return Row(
            CHANNEL_WORDS[name],
            tuple(None if top is None else top[0] for top in tops),
            np.array([np.nan if top is None else top[1] for top in tops], np.float64),
            EMOTIONS,
            tuple(_gap(name, window) for window in self._windows),
        )


def color_of(kind: Emotion | Outcome) -> str:
    """The colour, #RRGGBB, that stands for it everywhere."""
    return EMOTION_COLORS[kind] if isinstance(kind, Emotion) else OUTCOME_COLORS[kind]


def tint(color: str, share: float) -> str:
    """`color` (#RRGGBB) over white with this opacity, in [0, 1]."""
    parts = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * share):02X}" for part in parts)


def clock(seconds: float) -> str:
    """`m:ss`, `h:mm:ss` from an hour on; with tenths if it is no whole second."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    second = f"{rest // 10:02}" + (f".{rest % 10}" if rest % 10 else "")
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second}" if hours else f"{minute}:{second}"


def file_title(report: Report) -> str:
    """The file's name as one line of valid text."""
    return one_line(PurePath(report.path).name or report.path)


def one_line(text: str) -> str:
    """`text` without control characters and half characters, which file names may hold."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_CONTROL)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Increasing places moved as little as needed to lie at least `gap` apart; the middle stays."""
    moved = list(places)
    middle = len(moved) // 2
    for k in range(middle + 1, len(moved)):
        moved[k] = max(moved[k], moved[k - 1] + gap)
    for k in range(middle - 1, -1, -1):
        moved[k] = min(moved[k], moved[k + 1] - gap)
    return moved


def _gap(name: str, window: Prediction) -> str:
    gaps = {"face": FACE_GAPS, "voice": VOICE_GAPS, "fused": {**FACE_GAPS, **VOICE_GAPS}}[name]
    words = channel_words(None, window.reasons, gaps)
    return "not enough evidence" if words == GAP else words


# What pages show of a report, in a form small enough for an hour of video.
#
# Probabilities are whole thousandths, times seconds with three digits; what there are thousands of
# stands in rows or packed. `page/data.js` reads it.

_THOUSAND: Final = 1000

WINDOW_FIELDS: Final = (
    "start",
    "end",
    "from",
    "to",
    "face",
    "voice",
    "fused",
    "conflict",
    "outcome",
    "reasons",
    "face_coverage",
    "speech_coverage",
)
"""What stands in a window's row, in this order; see `window_view`."""

_ABOUT: Final[dict[Reason, str]] = {
    Reason.NO_VIDEO_STREAM: "face",
    Reason.NO_FACE: "face",
    Reason.FACE_TOO_SELDOM: "face",
    Reason.NO_AUDIO_STREAM: "voice",
    Reason.NO_SPEECH: "voice",
    Reason.SPEECH_TOO_SHORT: "voice",
}


def to_view(report: Report, trace: Trace | None = None) -> dict[str, Any]:
    """The report, and what was seen and heard if it is known, for a page.

    title, path, sha256, status, sentence, notice, version, duration_s: of the file;
    emotions, outcomes: [{name, color, ink}], outcomes with their meaning as `words`, and `count`;
    reasons: [{name, words, about}], about the channel ("face", "voice") that is missing, or None;
    thresholds: {conflict_above, match_below} in thousandths, or None; models: {role: name};
    window_fields, windows: see `window_view`; summary: such a window of the whole, or None;
    trace: see `trace_view`, or None.
    """
    media, thresholds = report.media, report.thresholds
    end_s = max((window.end_s for window in report.windows), default=0.0)
    duration_s = end_s if media is None else max(end_s, media.duration_s)
    spans = shown_spans(report.windows, duration_s)
    return {
        "title": PurePath(report.path).name,
        "path": report.path,
        "sha256": report.sha256,
        "status": report.status.value,
        "sentence": summarize_in_words(report),
        "notice": NOTICE,
        "version": report.facevoice_version,
        "duration_s": _seconds(duration_s),
        "models": {role: model.name for role, model in sorted(report.models.items())},
        **_words(report),
        "thresholds": None
        if thresholds is None
        else {
            "conflict_above": _thousandths(thresholds.conflict_above),
            "match_below": _thousandths(thresholds.match_below),
        },
        "window_fields": list(WINDOW_FIELDS),
        "windows": [window_view(w, s) for w, s in zip(report.windows, spans, strict=True)],
        "summary": None
        if report.summary is None
        else window_view(report.summary, (0.0, duration_s)),
        "trace": None if trace is None else trace_view(trace),
    }


def _words(report: Report) -> dict[str, Any]:
    """What colours and numbers stand for, and how often each outcome came."""
    return {
        "emotions": [
            {"name": e.value, "color": EMOTION_COLORS[e], "ink": ink_on(EMOTION_COLORS[e])}
            for e in EMOTIONS
        ],
        "outcomes": [
            {
                "name": o.value,
                "color": OUTCOME_COLORS[o],
                "ink": ink_on(OUTCOME_COLORS[o]),
                "words": OUTCOME_WORDS[o],
                "count": report.outcome_counts.get(o, 0),
            }
            for o in Outcome
        ],
        "reasons": [
            {"name": r.value, "words": REASON_WORDS[r], "about": _ABOUT.get(r)} for r in Reason
        ],
    }


def window_view(window: Prediction, span: tuple[float, float]) -> list[Any]:
    """One window as a row of `WINDOW_FIELDS`.

    start, end: its seconds; from, to: for which seconds it stands on the timeline; face, voice,
    fused: eight thousandths in the order of `emotions`, or None; conflict: thousandths or None;
    outcome: its place in `outcomes`; reasons: their places in `reasons`; face_coverage,
    speech_coverage: in thousandths.
    """
    return [
        _seconds(window.start_s),
        _seconds(window.end_s),
        _seconds(span[0]),
        _seconds(span[1]),
        _posterior(window.face),
        _posterior(window.voice),
        _posterior(window.fused),
        None if window.conflict is None else _thousandths(window.conflict),
        list(Outcome).index(window.outcome),
        [list(Reason).index(reason) for reason in window.reasons],
        _thousandths(window.face_coverage),
        _thousandths(window.speech_coverage),
    ]


def trace_view(trace: Trace) -> dict[str, Any]:
    """What was seen and heard; packed is base64 of little-endian integers.

    peaks_hz, peaks: packed, one byte each, 0–255; speech: [[from, to]] in seconds; faces: times in
    milliseconds, packed in four bytes each; boxes (x0, y0, x1, y1) in thousandths of the picture,
    packed in two bytes each; tracks: [[who, how many times in a row]].
    """
    return {
        "peaks_hz": PEAKS_HZ,
        "peaks": _packed(trace.peaks * 255, "u1"),
        "speech": [[_seconds(a), _seconds(b)] for a, b in trace.speech_spans_s.tolist()],
        "faces": {
            "times": _packed(trace.face_times_s * _THOUSAND, "<i4"),
            "boxes": _packed(trace.boxes_xyxy_rel.ravel() * _THOUSAND, "<i2"),
            "tracks": [[who, len(list(run))] for who, run in groupby(trace.track_ids.tolist())],
        },
    }


def _packed(values: FloatArray | DoubleArray, dtype: str) -> str:
    limits = np.iinfo(dtype)
    whole = np.round(values).clip(limits.min, limits.max).astype(dtype)
    return base64.b64encode(whole.tobytes()).decode("ascii")


def _posterior(posterior: ChannelPosterior | None) -> list[int] | None:
    return None if posterior is None else [_thousandths(p) for p in posterior.probs.tolist()]


def _thousandths(value: float) -> int:
    return round(value * _THOUSAND)


def _seconds(value: float) -> float:
    return round(float(value), 3)


# A report as one HTML file that needs nothing else: no address, no font, no picture.
#
# The script and the style are also those of the web app, which mounts the same view in its own page.

GENERATOR_MARK: Final = '<meta name="generator" content="facevoice '
"""Stands near the beginning of every page made here, and in no other file."""

# Joined in this order inside one function; later files use what earlier ones define.
_SCRIPTS: Final = (
    "data.js",
    "dom.js",
    "axis.js",
    "shares.js",
    "bands.js",
    "sound.js",
    "drawing.js",
    "detail.js",
    "results.js",
    "overlay.js",
    "watch.js",
    "timeline.js",
    "keys.js",
    "mount.js",
)
_HEAD_BYTES: Final = 4096


def to_html(report: Report, trace: Trace | None = None) -> str:
    """The report as a page that opens from disk; the same report and trace give the same text.

    `trace`: what was seen and heard, for face boxes over the video and the waveform. Everything
    that a file says of itself is shown as text, never read as markup.
    """
    view = to_view(report, trace)
    parts = {
        "version": html.escape(view["version"]),
        "title": _printable(html.escape(view["title"])),
        "style": page_style(),
        "view": _to_script_json(view),
        "script": page_script(),
    }
    # Split rather than replaced one after the other: a file may be called "{{script}}".
    pieces = _read("page.html").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


@cache
def page_script() -> str:
    """The script; it defines `window.facevoice.mount(element, view, options)`."""
    body = "\n".join(_read(name) for name in _SCRIPTS)
    return f"(function () {{\n'use strict';\n{body}\n}})();\n"


@cache
def page_style() -> str:
    """The style, all of it below the class `fv-root`."""
    return _read("page.css")


def is_report_page(path: Path) -> bool:
    """Whether the file is a page that `to_html` made.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return GENERATOR_MARK.encode() in file.read(_HEAD_BYTES)


def _read(name: str) -> str:
    folder = resources.files("facevoice.report") / "page"
    return (folder / name).read_text(encoding="utf-8")


def _to_script_json(view: dict[str, Any]) -> str:
    # ASCII, so that half characters in file names survive; without "<", nothing ends the script.
    text = json.dumps(view, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


# From a video, or a report written before, to a page on disk.

REPORT_SUFFIX: Final = ".json"


def write_report_page(
    path: Path,
    out: Path,
    analyzer: Analyzer | None = None,
    *,
    on_progress: ProgressCallback | None = None,
    overwrite: bool = False,
) -> Report:
    """Write the page of a video, or of a report in JSON, to `out`; all of it or nothing.

    Args:
        path: a video or audio file, or a report that `facevoice analyze` wrote. Such a report
            holds neither face boxes nor the waveform, so its page shows none.
        out: where the page goes; a page that was made here is replaced.
        analyzer: reads the video; not needed for a report.
        on_progress: called with the seconds of media done so far.
        overwrite: whether any other file may be replaced too.

    Raises:
        ConfigError: `out` is another file, a folder, or can't be written.
        MediaError: the video can't be read.
        ReportError: the JSON is no report.
        ValueError: `path` is no report and there is no analyzer.
    """
    check_page_target(out, overwrite=overwrite)
    if is_report_file(path):
        report, trace = read_report(path), None
    elif analyzer is None:
        raise ValueError(f"{path} is no report: an analyzer is needed")
    else:
        recorder = TraceRecorder()
        report = analyzer.analyze(path, on_progress=on_progress, on_read=recorder.add)
        trace = recorder.finish()
    try:
        write_atomically(out, to_html(report, trace))
    except OSError as error:
        raise ConfigError(f"{out}: can't be written ({error.strerror})") from error
    return report


def is_report_file(path: Path) -> bool:
    """Whether a file is taken for a report rather than for media."""
    return path.suffix.lower() == REPORT_SUFFIX


def page_path(path: Path, folder: Path) -> Path:
    """Where the page of a file goes if nothing else is said: `talk.mp4` → `folder/talk.html`."""
    return folder / f"{path.stem or 'report'}.html"


def check_page_target(out: Path, *, overwrite: bool = False) -> None:
    """Make sure, before any work, that a page may be written to `out`.

    Raises:
        ConfigError: see `write_report_page`.
    """
    if out.is_dir():
        raise ConfigError(f"{out}: is a folder; name a file, such as {out / 'report.html'}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}; make it first")
    try:
        is_free = overwrite or not out.exists() or is_report_page(out)
    except OSError as error:
        raise ConfigError(f"{out}: can't be read ({error.strerror})") from error
    if not is_free:
        raise ConfigError(
            f"{out}: there is another file of that name, which is no page of facevoice; "
            "choose another with --out, or replace it with --overwrite"
        )


# A report as a piece of HTML for notebooks: no script, no style sheet, no address, no identifier.
#
# Styles stand at the elements, so that nothing leaks into the page around, whatever it is.

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
