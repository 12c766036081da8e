"""What pages show of a report, in a form small enough for an hour of video.

Probabilities are whole thousandths, times seconds with three digits; what there are thousands of
stands in rows or packed. `page/data.js` reads it.
"""

from __future__ import annotations

import base64
from itertools import groupby
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from facevoice.labels import EMOTIONS, Outcome, Reason
from facevoice.report.look import (
    EMOTION_COLORS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    ink_on,
    shown_spans,
)
from facevoice.report.sentence import REASON_WORDS, summarize_in_words
from facevoice.results import NOTICE, Prediction, Report
from facevoice.trace import PEAKS_HZ, Trace
from facevoice.types import ChannelPosterior, DoubleArray, FloatArray

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
