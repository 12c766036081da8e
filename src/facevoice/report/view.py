"""What pages show of a report, in a form small enough for an hour of video.

Probabilities are whole thousandths, times seconds with three digits; `page.js` reads it.
"""

from __future__ import annotations

import base64
from pathlib import PurePath
from typing import Any

import numpy as np

from facevoice.labels import EMOTIONS, Outcome
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
from facevoice.types import ChannelPosterior

_THOUSAND = 1000


def to_view(report: Report, trace: Trace | None = None) -> dict[str, Any]:
    """The report, and what was seen and heard if it is known, for a page.

    title, path, sha256, status, sentence, notice, version, duration_s: of the file;
    emotions, outcomes: [{name, color, ink}], outcomes with their meaning as `words`, and `count`;
    thresholds: {conflict_above, match_below} in thousandths, or None; models: {role: name};
    windows: see `window_view`; summary: such a window of the whole, or None;
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
        "thresholds": None
        if thresholds is None
        else {
            "conflict_above": _thousandths(thresholds.conflict_above),
            "match_below": _thousandths(thresholds.match_below),
        },
        "windows": [window_view(w, s) for w, s in zip(report.windows, spans, strict=True)],
        "summary": None
        if report.summary is None
        else window_view(report.summary, (0.0, duration_s)),
        "trace": None if trace is None else trace_view(trace),
    }


def window_view(window: Prediction, span: tuple[float, float]) -> dict[str, Any]:
    """One window.

    start, end: its seconds; from, to: for which seconds it stands on the timeline; face, voice,
    fused: eight thousandths in the order of `emotions`, or None; conflict: thousandths or None;
    outcome: its place in `outcomes`; reasons: in words; face_coverage, speech_coverage: in
    thousandths.
    """
    return {
        "start": _seconds(window.start_s),
        "end": _seconds(window.end_s),
        "from": _seconds(span[0]),
        "to": _seconds(span[1]),
        "face": _posterior(window.face),
        "voice": _posterior(window.voice),
        "fused": _posterior(window.fused),
        "conflict": None if window.conflict is None else _thousandths(window.conflict),
        "outcome": list(Outcome).index(window.outcome),
        "reasons": [REASON_WORDS[reason] for reason in window.reasons],
        "face_coverage": _thousandths(window.face_coverage),
        "speech_coverage": _thousandths(window.speech_coverage),
    }


def trace_view(trace: Trace) -> dict[str, Any]:
    """What was seen and heard.

    peaks_hz, peaks: base64 of one byte each, 0–255; speech: [[from, to]] in seconds; faces: times
    in seconds, boxes (x0, y0, x1, y1) flat in thousandths of the picture, tracks.
    """
    peaks = np.round(trace.peaks * 255).astype(np.uint8)
    return {
        "peaks_hz": PEAKS_HZ,
        "peaks": base64.b64encode(peaks.tobytes()).decode("ascii"),
        "speech": [[_seconds(a), _seconds(b)] for a, b in trace.speech_spans_s.tolist()],
        "faces": {
            "times": [_seconds(t) for t in trace.face_times_s.tolist()],
            "boxes": np.round(trace.boxes_xyxy_rel * _THOUSAND).astype(int).ravel().tolist(),
            "tracks": trace.track_ids.tolist(),
        },
    }


def _posterior(posterior: ChannelPosterior | None) -> list[int] | None:
    return None if posterior is None else [_thousandths(p) for p in posterior.probs.tolist()]


def _thousandths(value: float) -> int:
    return round(value * _THOUSAND)


def _seconds(value: float) -> float:
    return round(float(value), 3)
