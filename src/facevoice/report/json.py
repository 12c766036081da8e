"""Reports as JSON with a versioned schema (`docs/report.schema.json`), out and back in.

The same analysis gives the same bytes: floats are rounded to six digits, keys keep their order,
and nothing says when or where it was made.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from facevoice.codec import (
    MAX_DURATION_S,
    MAX_NUMBER,
    check_media,
    check_span,
    require_that,
)
from facevoice.errors import ConfigError, ReportError
from facevoice.plain import parse_json, read_bounded
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
    Report,
    Status,
    VideoInfo,
)
from facevoice.report.words import describe_point, describe_sound, summarize_in_words
from facevoice.review import Verdict, from_values, to_values
from facevoice.settings import AnalyzerConfig, plain_settings
from facevoice.texts import safe_json
from facevoice.transcript import Line, Transcript

_SCHEMA: Final = "facevoice.report"
# Windows take about 1 kB each, so this is more than a month of them.
_MAX_BYTES: Final = 2 << 30
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
            _moment_to_dict(moment)
            | {"text": report.words_between(moment.start_s, moment.end_s), "reviewed": word}
            for moment, word in zip(report.moments, _reviewed(report), strict=True)
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
        "review": None if report.review is None else to_values(report.review),
    }
    text = safe_json(json.dumps(document, ensure_ascii=False, allow_nan=False))
    # The same bytes as `json` would indent, which takes it most of the time of a short report.
    return text if indent is None else msgspec.json.format(text, indent=indent)


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
        values = parse_json(text)
    except ValueError as error:
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
    except (ValueError, msgspec.ValidationError, ConfigError) as error:
        raise ReportError(
            f"report breaks its schema: {error}; see docs/report-schema.md"
        ) from error


def read_report(path: str | Path) -> Report:
    """Read a report from a JSON file.

    Raises:
        ReportError: the file can't be read or holds no report.
    """
    try:
        return from_json(read_bounded(Path(path), _MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ReportError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ReportError(
            f"{path}: is no report (no text at all); `facevoice analyze FILE --out "
            "DIR` writes NAME.json, which is what to name here"
        ) from error
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


def _reviewed(report: Report) -> list[dict[str, Any] | None]:
    """Of each moment the person's word; None without a verdict."""
    if report.review is None:
        return [None] * len(report.moments)
    pairs = zip(report.review.placed(report), report.moments, strict=True)
    return [None if v is None else _verdict_to_dict(v, moment) for v, moment in pairs]


def _verdict_to_dict(verdict: Verdict, moment: Moment) -> dict[str, Any]:
    return {
        "is_right": verdict.is_right,
        "is_outdated": verdict.is_outdated(moment),
        **dataclasses.asdict(verdict.reviewed),
        "note": verdict.note,
        "reviewer": verdict.reviewer,
        "when": verdict.when,
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


@dataclass(frozen=True, slots=True)
class _File:
    """Where a document keeps what is known of the file; the others likewise."""

    path: str
    sha256: str | None
    duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    path_base64: str | None = None

    @property
    def name(self) -> str:
        """With the bytes of one that is no text."""
        if self.path_base64 is None:
            return self.path
        return os.fsdecode(base64.b64decode(self.path_base64, validate=True))


@dataclass(frozen=True, slots=True)
class _Decision:
    point: OperatingPoint | None
    curve: DecisionCurve | None


@dataclass(frozen=True, slots=True)
class _Words:
    lines: tuple[Line, ...]
    source: str
    text: str | None
    remarks: tuple[str, ...]

    @property
    def transcript(self) -> Transcript:
        return Transcript(self.lines, self.source, self.text or "", self.remarks)


@dataclass(frozen=True, slots=True)
class _Document:
    file: _File
    models: dict[str, ModelId]
    settings: dict[str, Any]
    status: Status
    error: FileError | None
    outcome_counts: dict[Outcome, int]
    moments: tuple[Moment, ...]
    summary: Prediction | None
    decision: _Decision
    people: tuple[Person, ...]
    windows: tuple[Prediction, ...]
    facevoice_version: str
    # None of a report made before there were any.
    transcript: _Words | None = None
    review: dict[str, Any] | None = None


def _report_from_dict(values: dict[str, Any]) -> Report:
    known = msgspec.convert(values, _Document, dec_hook=_probs)
    file, words = known.file, known.transcript
    media = None
    if file.duration_s is not None:
        media = check_media(MediaInfo(Path(file.name), file.duration_s, file.video, file.audio))
    report = Report(
        path=file.name,
        sha256=file.sha256,
        media=media,
        status=known.status,
        error=known.error,
        windows=known.windows,
        summary=known.summary,
        outcome_counts=known.outcome_counts,
        models=known.models,
        config=AnalyzerConfig.from_dict(known.settings),
        facevoice_version=known.facevoice_version,
        moments=known.moments,
        curve=known.decision.curve,
        point=known.decision.point,
        people=known.people,
        transcript=None if words is None else words.transcript,
        review=None if known.review is None else from_values(known.review),
    )
    _check(report)
    return report


def _probs(kind: Any, value: Any) -> DoubleArray:
    """The only value that msgspec doesn't know: probabilities by emotion, as an array."""
    named = msgspec.convert(value, dict[Emotion, float])
    require_that(len(named) == len(EMOTIONS), "probs", named)
    probs = np.array([named[emotion] for emotion in EMOTIONS])
    require_that(bool((probs >= 0).all()), "probs", named)
    return probs


def _check(report: Report) -> None:
    """ValueError where a report says what none says: its parts contradict each other."""
    require_that("\0" not in report.path, "path", report.path)
    is_failed = report.status is Status.FAILED
    require_that(is_failed == (report.error is not None), "status, error", report.status)
    require_that(report.media is not None or not report.windows, "windows", "of an unread file")
    numbers = [person.number for person in report.people]
    require_that(len({*numbers}) == len(numbers) and min(numbers, default=1) > 0, "number", numbers)
    _check_windows(report.windows, numbers)
    spans = {(window.start_s, window.end_s) for window in report.windows}
    for person in report.people:
        _check_windows(person.windows, numbers)
        are_known = all((window.start_s, window.end_s) in spans for window in person.windows)
        require_that(are_known, "windows", f"of {person.name}, but not of the report")
        require_that(person.seen_s >= 0 and person.speaking_s >= 0, "seconds", person.name)
        require_that(all(0 <= t <= MAX_NUMBER for t in person.tracks), "tracks", person.tracks)
    if report.summary is not None:
        _check_windows([report.summary], numbers)
    _check_moments(report)
    counts = Counter(window.outcome for window in report.windows)
    told = {outcome: count for outcome, count in report.outcome_counts.items() if count}
    require_that(counts == told, "outcome_counts", told)
    shares: list[float | None] = []
    if report.curve is not None:
        shares += [value for column in astuple(report.curve) for value in column]
    if report.point is not None:
        shares += [report.point.conflict_precision, report.point.match_precision]
    _check_shares("decision", *shares)


def _check_windows(windows: Sequence[Prediction], numbers: Sequence[int]) -> None:
    starts_s = [window.start_s for window in windows]
    require_that(starts_s == sorted(starts_s), "order of windows", starts_s)
    for window in windows:
        check_span(window.start_s, window.end_s)
        require_that(window.person is None or window.person in numbers, "person", window.person)
        channels = [c for c in (window.face, window.voice, window.fused) if c is not None]
        coverages = [window.face_coverage, window.speech_coverage, *(c.coverage for c in channels)]
        _check_shares("coverage, conflict", *coverages, window.conflict)
        for channel in channels:
            are_known = (channel.num_known or 0) >= 0 and (channel.unfamiliarity or 0) >= 0
            require_that(are_known, "num_known, unfamiliarity", channel.num_known)


def _check_moments(report: Report) -> None:
    """Moments hold all windows, in their order, each those of its outcome."""
    place, end_s = 0, 0.0
    for moment in report.moments:
        is_next = moment.first == place <= moment.last < len(report.windows)
        require_that(is_next, "first, last", (moment.first, moment.last))
        outcomes = {window.outcome for window in report.windows[place : moment.last + 1]}
        require_that(outcomes == {moment.outcome}, "outcome of a moment", moment.outcome)
        is_span = end_s <= moment.start_s <= moment.end_s <= MAX_DURATION_S
        require_that(is_span, "start_s, end_s", moment.start_s)
        people = {None, *(person.number for person in report.people)}
        require_that(moment.person in people, "person", moment.person)
        _check_shares("conflict, strength", moment.conflict, moment.strength)
        place, end_s = moment.last + 1, moment.end_s
    is_whole = place == len(report.windows) or not report.moments
    require_that(is_whole, "moments", "not of all windows")


def _check_shares(name: str, *values: float | None) -> None:
    require_that(all(value is None or 0 <= value <= 1 for value in values), name, values)
