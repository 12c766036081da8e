"""Reports as JSON with a versioned schema (`docs/report.schema.json`), out and back in.

The same analysis gives the same bytes: floats are rounded to six digits, keys keep their order,
and nothing says when or where it was made.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from facevoice.errors import ConfigError, ReportError
from facevoice.records import (
    EMOTIONS,
    NOTICE,
    SCHEMA_VERSION,
    AudioInfo,
    ChannelPosterior,
    DoubleArray,
    FileError,
    MediaInfo,
    ModelId,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
    Thresholds,
    VideoInfo,
)
from facevoice.report.words import summarize_in_words
from facevoice.settings import AnalyzerConfig

SCHEMA: Final = "facevoice.report"
_DIGITS: Final = 6
_UNITS: Final = 10**_DIGITS


def round_probs(probs: DoubleArray) -> list[float]:
    """Probabilities (n,) rounded to six digits so that they still sum to one.

    Largest-remainder rounding; so a report read back is as valid as the one written, and
    written again it gives the same text.
    """
    scaled = probs * (_UNITS / probs.sum())
    # The tiny term keeps values that already are whole millionths from falling one short.
    units = np.floor(scaled + 1e-4).astype(np.int64)
    missing = _UNITS - int(units.sum())
    order = np.argsort(units - scaled, kind="stable")
    step = 1 if missing >= 0 else -1
    for position in order[: abs(missing)] if step > 0 else order[missing:]:
        units[position] += step
    return [int(unit) / _UNITS for unit in units]


def to_dict(report: Report, *, exact: bool = False) -> dict[str, Any]:
    """The report as plain dictionaries and lists, in the order of the schema.

    `exact`: all digits of predictions instead of six, for reports that are to be kept and read
    again. Such a text is read by `from_json` too.
    """
    media = report.media
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "facevoice_version": report.facevoice_version,
        "notice": NOTICE,
        "file": {
            "path": report.path,
            "sha256": report.sha256,
            "duration_s": None if media is None else _number(media.duration_s, exact),
            "video": None if media is None else _stream_to_dict(media.video, exact),
            "audio": None if media is None else _stream_to_dict(media.audio, exact),
        },
        "models": {
            role: {"name": model.name, "sha256": model.sha256}
            for role, model in sorted(report.models.items())
        },
        "thresholds": _thresholds_to_dict(report.thresholds, exact),
        "settings": report.config.to_dict(),
        "status": report.status.value,
        "error": None if report.error is None else dataclasses.asdict(report.error),
        "windows": [prediction_to_dict(window, exact=exact) for window in report.windows],
        "summary": _summary_to_dict(report, exact),
    }


def to_json(report: Report, *, indent: int | None = 2, exact: bool = False) -> str:
    """The report as JSON text without a closing line break; `indent=None` gives one line.

    `exact`: see `to_dict`.
    """
    document = to_dict(report, exact=exact)
    return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)


def to_jsonl(report: Report) -> str:
    """The windows of a report as JSON Lines: those of `window_to_jsonl`."""
    return "".join(window_to_jsonl(report.path, window) for window in report.windows)


def window_to_jsonl(path: str, prediction: Prediction) -> str:
    """One window of the file `path` as a line of JSON, with its line break."""
    values = {"file": path, **prediction_to_dict(prediction)}
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Read a report from JSON text; `to_json` of it gives that text again.

    Raises:
        ReportError: the text is no facevoice report, or of another schema version.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"not a facevoice report: no valid JSON ({error})") from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ReportError(f'not a facevoice report: "schema" is not "{SCHEMA}"')
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"report has schema version {version!r}, this facevoice reads {SCHEMA_VERSION}; "
            "analyse the file again or use the facevoice version that wrote it"
        )
    try:
        return _report_from_dict(values)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ReportError(
            f"report breaks its schema: {type(error).__name__}: {error}; see docs/report-schema.md"
        ) from error


def read_report(path: Path) -> Report:
    """Read a report from a JSON file.

    Raises:
        ReportError: the file can't be read or holds no report.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: can't be read ({error})") from error
    try:
        return from_json(text)
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from error


def _number(value: float, exact: bool) -> float:
    rounded = float(value) if exact else round(float(value), _DIGITS)
    return 0.0 if rounded == 0 else rounded  # never "-0.0"


def _stream_to_dict(stream: VideoInfo | AudioInfo | None, exact: bool) -> dict[str, Any] | None:
    if stream is None:
        return None
    return {
        name: _number(value, exact) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(stream).items()
    }


def _thresholds_to_dict(thresholds: Thresholds | None, exact: bool) -> dict[str, float] | None:
    if thresholds is None:
        return None
    return {name: _number(v, exact) for name, v in dataclasses.asdict(thresholds).items()}


def _posterior_to_dict(posterior: ChannelPosterior | None, exact: bool) -> dict[str, Any] | None:
    if posterior is None:
        return None
    probs = posterior.probs.tolist() if exact else round_probs(posterior.probs)
    return {
        "probs": {emotion.value: prob for emotion, prob in zip(EMOTIONS, probs, strict=True)},
        "coverage": _number(posterior.coverage, exact),
    }


def prediction_to_dict(prediction: Prediction, *, exact: bool = False) -> dict[str, Any]:
    """One window as in a report; `exact`: see `to_dict`."""
    conflict = prediction.conflict
    return {
        "start_s": _number(prediction.start_s, exact),
        "end_s": _number(prediction.end_s, exact),
        "face": _posterior_to_dict(prediction.face, exact),
        "voice": _posterior_to_dict(prediction.voice, exact),
        "fused": _posterior_to_dict(prediction.fused, exact),
        "face_coverage": _number(prediction.face_coverage, exact),
        "speech_coverage": _number(prediction.speech_coverage, exact),
        "conflict": None if conflict is None else _number(conflict, exact),
        "outcome": prediction.outcome.value,
        "reasons": [reason.value for reason in prediction.reasons],
    }


def _summary_to_dict(report: Report, exact: bool) -> dict[str, Any] | None:
    if report.summary is None:
        return None
    return {
        **prediction_to_dict(report.summary, exact=exact),
        "outcome_counts": {
            outcome.value: report.outcome_counts.get(outcome, 0) for outcome in Outcome
        },
        "sentence": summarize_in_words(report),
    }


def _report_from_dict(values: dict[str, Any]) -> Report:
    file = values["file"]
    summary = values["summary"]
    error = values["error"]
    thresholds = values.get("thresholds")
    return Report(
        path=file["path"],
        sha256=file["sha256"],
        media=_media_from_dict(file),
        status=Status(values["status"]),
        error=None if error is None else FileError(**error),
        windows=tuple(prediction_from_dict(window) for window in values["windows"]),
        summary=None if summary is None else prediction_from_dict(summary),
        outcome_counts=(
            {}
            if summary is None
            else {Outcome(name): int(n) for name, n in summary["outcome_counts"].items()}
        ),
        models={role: ModelId(**model) for role, model in values["models"].items()},
        config=AnalyzerConfig.from_dict(values["settings"]),
        facevoice_version=values["facevoice_version"],
        thresholds=None if thresholds is None else Thresholds(**thresholds),
    )


def _media_from_dict(file: dict[str, Any]) -> MediaInfo | None:
    if file["duration_s"] is None:
        return None
    return MediaInfo(
        path=Path(file["path"]),
        duration_s=float(file["duration_s"]),
        video=None if file["video"] is None else VideoInfo(**file["video"]),
        audio=None if file["audio"] is None else AudioInfo(**file["audio"]),
    )


def _posterior_from_dict(values: dict[str, Any] | None) -> ChannelPosterior | None:
    if values is None:
        return None
    probs = values["probs"]
    return ChannelPosterior(
        probs=np.array([float(probs[emotion.value]) for emotion in EMOTIONS], dtype=np.float64),
        coverage=float(values["coverage"]),
    )


def prediction_from_dict(values: dict[str, Any]) -> Prediction:
    """Read what `prediction_to_dict` gave; raises KeyError, TypeError or ValueError if it isn't."""
    conflict = values["conflict"]
    return Prediction(
        start_s=float(values["start_s"]),
        end_s=float(values["end_s"]),
        face=_posterior_from_dict(values["face"]),
        voice=_posterior_from_dict(values["voice"]),
        fused=_posterior_from_dict(values["fused"]),
        conflict=None if conflict is None else float(conflict),
        outcome=Outcome(values["outcome"]),
        reasons=tuple(Reason(reason) for reason in values["reasons"]),
        face_coverage=float(values["face_coverage"]),
        speech_coverage=float(values["speech_coverage"]),
    )
