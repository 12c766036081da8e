"""Reports as JSON with a versioned schema (`docs/report.schema.json`), out and back in.

The same analysis gives the same bytes: floats are rounded to six digits, keys keep their order,
and nothing says when or where it was made.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from facevoice.errors import ConfigError, ReportError
from facevoice.records import (
    EMOTIONS,
    NOTICE,
    SCHEMA_VERSION,
    AudioInfo,
    ChannelPosterior,
    DecisionCurve,
    DoubleArray,
    Emotion,
    FileError,
    MediaInfo,
    ModelId,
    Moment,
    OperatingPoint,
    Outcome,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
    VideoInfo,
)
from facevoice.report.words import describe_point, describe_sound, summarize_in_words
from facevoice.settings import AnalyzerConfig, plain_settings
from facevoice.texts import safe_json
from facevoice.transcript import Line, Transcript

_SCHEMA: Final = "facevoice.report"
_DIGITS: Final = 6
_UNITS: Final = 10**_DIGITS


def to_json(report: Report, *, indent: int | None = 2) -> str:
    """The report as JSON text without a closing line break; `indent=None` gives one line."""
    media = report.media
    counts = {outcome.value: report.outcome_counts.get(outcome, 0) for outcome in Outcome}
    document = {
        "schema": _SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "facevoice_version": report.facevoice_version,
        "notice": NOTICE,
        "file": {
            "path": report.path,
            **_raw_name(report.path),
            "sha256": report.sha256,
            "duration_s": None if media is None else _number(media.duration_s),
            "video": None if media is None else _plain(media.video),
            "audio": None if media is None else _plain(media.audio),
            "heard": describe_sound(media),
        },
        "models": {role: _plain(model) for role, model in sorted(report.models.items())},
        "settings": report.config.to_dict(),
        "status": report.status.value,
        "error": _plain(report.error),
        "sentence": summarize_in_words(report),
        "outcome_counts": counts,
        "moments": [
            _moment_to_dict(moment) | {"text": report.words_between(moment.start_s, moment.end_s)}
            for moment in report.moments
        ],
        "summary": None if report.summary is None else _prediction_to_dict(report.summary),
        "decision": {
            "meaning": describe_point(report),
            "point": _plain(report.point),
            "curve": None if report.curve is None else plain_settings(report.curve),
        },
        "people": [_person_to_dict(person) for person in report.people],
        "windows": [_prediction_to_dict(window) for window in report.windows],
        "transcript": None if report.transcript is None else _words_to_dict(report.transcript),
    }
    return safe_json(json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False))


def to_jsonl(report: Report) -> str:
    """The windows of a report as JSON Lines: those of `window_to_jsonl`."""
    return "".join(
        window_to_jsonl(report.path, window, report.transcript) for window in report.windows
    )


def window_to_jsonl(path: str, prediction: Prediction, transcript: Transcript | None = None) -> str:
    """One window of the file `path` as a line of JSON, with its line break; with words, if any."""
    values = {"file": path, **_prediction_to_dict(prediction)}
    if transcript is not None and not transcript.text:
        values["text"] = transcript.words_between(prediction.start_s, prediction.end_s)
    return safe_json(json.dumps(values, ensure_ascii=False, allow_nan=False)) + "\n"


def from_json(text: str) -> Report:
    """Read a report from JSON text; `to_json` of it gives that text again.

    Raises:
        ReportError: the text is no facevoice report, or of another schema version.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ReportError(f"not a facevoice report: no valid JSON ({error})") from error
    if not isinstance(values, dict) or values.get("schema") != _SCHEMA:
        raise ReportError(f'not a facevoice report: "schema" is not "{_SCHEMA}"')
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"report has schema version {version!r}, this facevoice reads {SCHEMA_VERSION}; "
            "analyse the file again: what changed is in docs/report-schema.md"
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
        return from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: can't be read ({error})") from error
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from error


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
    # What leads goes on leading when it is rounded.
    first, leader = int(units.argmax()), int(probs.argmax())
    units[first] -= first != leader
    units[leader] += first != leader
    return [int(unit) / _UNITS for unit in units]


def _raw_name(path: str) -> dict[str, str]:
    """The bytes of a name that is no text, which JSON can't hold; nothing of all others."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"path_base64": base64.b64encode(os.fsencode(path)).decode("ascii")}
    return {}


def _name(file: dict[str, Any]) -> str:
    raw = file.get("path_base64")
    return str(file["path"]) if raw is None else os.fsdecode(base64.b64decode(raw, validate=True))


def _number(value: float) -> float:
    rounded = round(float(value), _DIGITS)
    return 0.0 if rounded == 0 else rounded  # never "-0.0"


def _plain(record: VideoInfo | AudioInfo | ModelId | OperatingPoint | FileError | None) -> Any:
    if record is None:
        return None
    return {
        name: _number(value) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(record).items()
    }


def _prediction_to_dict(prediction: Prediction) -> dict[str, Any]:
    conflict = prediction.conflict
    return {
        "start_s": _number(prediction.start_s),
        "end_s": _number(prediction.end_s),
        "face": _channel_to_dict(prediction.face),
        "voice": _channel_to_dict(prediction.voice),
        "fused": _posterior_to_dict(prediction.fused),
        "face_coverage": _number(prediction.face_coverage),
        "speech_coverage": _number(prediction.speech_coverage),
        "conflict": None if conflict is None else _number(conflict),
        "outcome": prediction.outcome.value,
        "reasons": [reason.value for reason in prediction.reasons],
        "person": prediction.person,
    }


def _person_to_dict(person: Person) -> dict[str, Any]:
    picture = person.portrait
    return {
        "number": person.number,
        "name": person.name,
        "seen_s": _number(person.seen_s),
        "speaking_s": _number(person.speaking_s),
        "is_left_out": person.is_left_out,
        "tracks": list(person.tracks),
        "portrait": None if picture is None else base64.b64encode(picture).decode("ascii"),
        "windows": [_prediction_to_dict(window) for window in person.windows],
    }


def _moment_to_dict(moment: Moment) -> dict[str, Any]:
    return {
        "start_s": _number(moment.start_s),
        "end_s": _number(moment.end_s),
        "first": moment.first,
        "last": moment.last,
        "outcome": moment.outcome.value,
        "face": None if moment.face is None else moment.face.value,
        "voice": None if moment.voice is None else moment.voice.value,
        "conflict": None if moment.conflict is None else _number(moment.conflict),
        "strength": None if moment.strength is None else _number(moment.strength),
        "reasons": [reason.value for reason in moment.reasons],
        "person": moment.person,
    }


def _words_to_dict(transcript: Transcript) -> dict[str, Any]:
    return {
        "source": transcript.source,
        "lines": [
            {
                "start_s": _number(line.start_s),
                "end_s": _number(line.end_s),
                "speaker": line.speaker,
                "text": line.text,
            }
            for line in transcript.lines
        ],
        "text": transcript.text or None,
        "remarks": list(transcript.remarks),
    }


def _posterior_to_dict(posterior: ChannelPosterior | None) -> dict[str, Any] | None:
    if posterior is None:
        return None
    probs = zip(EMOTIONS, round_probs(posterior.probs), strict=True)
    return {
        "probs": {emotion.value: prob for emotion, prob in probs},
        "coverage": _number(posterior.coverage),
    }


def _channel_to_dict(posterior: ChannelPosterior | None) -> dict[str, Any] | None:
    values = _posterior_to_dict(posterior)
    if posterior is None or values is None:
        return None
    known, strange = posterior.num_known, posterior.unfamiliarity
    return values | {
        "num_known": None if known is None else _number(known),
        "unfamiliarity": None if strange is None else _number(strange),
    }


def _report_from_dict(values: dict[str, Any]) -> Report:
    file, summary, error = values["file"], values["summary"], values["error"]
    point, curve = values["decision"]["point"], values["decision"]["curve"]
    words = values.get("transcript")  # None of a report made before there were any.
    media = None
    if file["duration_s"] is not None:
        media = MediaInfo(
            path=Path(_name(file)),
            duration_s=float(file["duration_s"]),
            video=None if file["video"] is None else VideoInfo(**file["video"]),
            audio=None if file["audio"] is None else msgspec.convert(file["audio"], AudioInfo),
        )
    return Report(
        path=_name(file),
        sha256=file["sha256"],
        media=media,
        status=Status(values["status"]),
        error=None if error is None else FileError(**error),
        windows=tuple(_prediction_from_dict(window) for window in values["windows"]),
        summary=None if summary is None else _prediction_from_dict(summary),
        outcome_counts={
            Outcome(name): int(number) for name, number in values["outcome_counts"].items()
        },
        models={role: ModelId(**model) for role, model in values["models"].items()},
        config=AnalyzerConfig.from_dict(values["settings"]),
        facevoice_version=values["facevoice_version"],
        moments=tuple(_moment_from_dict(moment) for moment in values["moments"]),
        curve=None if curve is None else _curve_from_dict(curve),
        point=None if point is None else OperatingPoint(**point),
        people=tuple(_person_from_dict(person) for person in values["people"]),
        transcript=None if words is None else _words_from_dict(words),
    )


def _words_from_dict(values: dict[str, Any]) -> Transcript:
    lines = tuple(Line(**line) for line in values["lines"])
    return Transcript(lines, values["source"], values["text"] or "", tuple(values["remarks"]))


def _curve_from_dict(values: dict[str, Any]) -> DecisionCurve:
    columns = {name: tuple(float(value) for value in column) for name, column in values.items()}
    return DecisionCurve(**columns)


def _prediction_from_dict(values: dict[str, Any]) -> Prediction:
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
        person=None if values["person"] is None else int(values["person"]),
    )


def _person_from_dict(values: dict[str, Any]) -> Person:
    picture = values["portrait"]
    return Person(
        number=int(values["number"]),
        name=str(values["name"]),
        tracks=tuple(int(track) for track in values["tracks"]),
        seen_s=float(values["seen_s"]),
        speaking_s=float(values["speaking_s"]),
        portrait=None if picture is None else base64.b64decode(picture, validate=True),
        is_left_out=bool(values["is_left_out"]),
        windows=tuple(_prediction_from_dict(window) for window in values["windows"]),
    )


def _moment_from_dict(values: dict[str, Any]) -> Moment:
    face, voice = (values[channel] for channel in ("face", "voice"))
    return Moment(
        start_s=float(values["start_s"]),
        end_s=float(values["end_s"]),
        first=int(values["first"]),
        last=int(values["last"]),
        outcome=Outcome(values["outcome"]),
        face=None if face is None else Emotion(face),
        voice=None if voice is None else Emotion(voice),
        conflict=None if values["conflict"] is None else float(values["conflict"]),
        strength=None if values["strength"] is None else float(values["strength"]),
        reasons=tuple(Reason(reason) for reason in values["reasons"]),
        person=None if values["person"] is None else int(values["person"]),
    )


def _posterior_from_dict(values: dict[str, Any] | None) -> ChannelPosterior | None:
    if values is None:
        return None
    probs = [float(values["probs"][emotion.value]) for emotion in EMOTIONS]
    known, strange = values.get("num_known"), values.get("unfamiliarity")
    return ChannelPosterior(
        np.array(probs, np.float64),
        float(values["coverage"]),
        None if known is None else float(known),
        None if strange is None else float(strange),
    )
