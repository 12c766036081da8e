"""A report as one HTML file that needs nothing else: no address, no font, no picture.

`to_view` says what a page shows, in a form small enough for an hour of video: probabilities are
whole thousandths, times seconds with three digits, and what there are thousands of is packed. The
script and the style are also those of the web app, which mounts the same view in its own page, and
of notebooks, which show the page in a frame.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np

from facevoice.errors import ConfigError
from facevoice.files import write_atomically
from facevoice.interpret import decide_again, shown_spans
from facevoice.records import (
    NOTICE,
    PEAKS_HZ,
    ChannelPosterior,
    DoubleArray,
    Emotion,
    FloatArray,
    Moment,
    Outcome,
    Person,
    Prediction,
    Reason,
    Report,
    Trace,
)
from facevoice.report.words import (
    conflict_zones,
    describe_moment,
    describe_point,
    describe_sound,
    names_of,
    num_known,
    percent,
    strongest_conflicts,
    summarize_in_words,
    vocabulary,
)
from facevoice.review import SUFFIX, empty_review, to_values
from facevoice.settings import SENSITIVITIES
from facevoice.texts import shown

GENERATOR_MARK: Final = '<meta name="generator" content="facevoice '
"""Stands near the beginning of every page made here, and in no other file."""

WINDOW_FIELDS: Final = (
    *("start", "end", "from", "to", "face", "voice", "fused", "conflict", "outcome", "reasons"),
    *("face_coverage", "speech_coverage", "face_known", "voice_known", "person"),
)
"""What stands in a window's row, in this order; see `window_view`."""

# Joined in this order inside one function; later files use what earlier ones define.
PAGE_SCRIPTS: Final = (
    *("words.js", "theme.js", "axis.js", "rows.js", "readout.js", "timeline.js", "people.js"),
    *("video.js", "card.js", "table.js", "review.js", "page.js"),
)
_STYLES: Final = ("page.css", "review.css")
_HEAD_BYTES: Final = 4096
_THOUSAND: Final = 1000
_HUNDRED: Final = 100
# Between two sightings further apart, somebody was away.
_AWAY_S: Final = 1.0
# Whoever is judged in such a window, it isn't clear that they speak.
_NOT_HEARD: Final = frozenset(
    {Reason.VOICE_OFF_SCREEN, Reason.SPEAKER_UNCLEAR, Reason.OTHER_SPEAKS}
)
# No name holds such a character, since these stand for names.
_MARK: Final = "\ue000"
_FRAME_PX: Final = 820
_SHORT_FRAME_PX: Final = 280


def to_html(
    report: Report, trace: Trace | None = None, name: str | None = None, *, more: str = ""
) -> str:
    """The report as a page that opens from disk; the same report and trace give the same text.

    `trace`: what was seen and heard, for face boxes over the video and the waveform. Everything
    that a file says of itself is shown as text, never read as markup. name: of the report's files
    without ending, where that isn't the file's own, for a review that is saved. more: HTML that
    stands below, such as `facevoice.explain.to_section` gives.
    """
    return fill_page(to_view(report, trace, name), "mount", page_script(), more=more)


def fill_page(
    view: dict[str, Any], start: str, script: str, style: tuple[str, ...] = (), *, more: str = ""
) -> str:
    """A page of its own for a view, which the function `start` of the script shows.

    style: further files of it; more: HTML that stands below.
    """
    parts = {
        "start": start,
        "version": html.escape(view["version"]),
        "title": html.escape(view["title"]),
        "style": page_style() + "".join(map(_read, style)),
        "more": more,
        "view": _to_script_json(view),
        "script": script,
    }
    # Split rather than replaced one after the other: a file may be called "{{script}}".
    first, *pieces = _read("page.html").split("{{")
    filled = [first]
    for piece in pieces:
        key, _, rest = piece.partition("}}")
        filled += [parts[key], rest]
    return "".join(filled)


def to_notebook(report: Report) -> str:
    """The page in a frame of its own, which can reach nothing of the notebook around it."""
    height_px = _FRAME_PX if report.windows else _SHORT_FRAME_PX
    return (
        f'<iframe srcdoc="{html.escape(to_html(report), quote=True)}" '
        'sandbox="allow-scripts allow-downloads" '
        f'title="Report" style="width:100%;height:{height_px}px;border:0"></iframe>'
    )


def write_report_page(
    report: Report,
    out: str | Path,
    trace: Trace | None = None,
    *,
    name: str | None = None,
    overwrite: bool = False,
    more: str = "",
) -> None:
    """Write the page of a report to `out`, all of it or nothing.

    A page that was made here is replaced; `overwrite`: any other file too; name, more: see
    `to_html`.

    Raises:
        ConfigError: `out` is another file, a folder, or can't be written.
    """
    write_page(to_html(report, trace, name, more=more), Path(out), overwrite=overwrite)


def write_page(text: str, out: Path, *, overwrite: bool = False) -> None:
    """Write a page to `out`; see `write_report_page`."""
    check_page_target(out, overwrite=overwrite)
    try:
        write_atomically(out, text)
    except OSError as error:
        raise ConfigError(f"{out}: can't be written ({error.strerror})") from error


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
            "choose another name, or replace it with --overwrite"
        )


def is_report_page(path: Path) -> bool:
    """Whether the file is a page that `to_html` made.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return GENERATOR_MARK.encode() in file.read(_HEAD_BYTES)


@cache
def page_script() -> str:
    """The script; it defines `window.facevoice.mount(element, view, options)`."""
    return script_of(PAGE_SCRIPTS)


@cache
def script_of(names: tuple[str, ...]) -> str:
    """Scripts joined in their order inside one function."""
    # Comments and indents are for who reads the files, not for every page.
    body = "\n".join(re.sub(r"(?m)^ *//.*\n|^ +", "", _read(name)) for name in names)
    return f"(function () {{\n'use strict';\n{body}\n}})();\n"


@cache
def page_style() -> str:
    """The style, all of it below the class `fv-root`."""
    return "".join(map(_read, _STYLES))


def to_view(report: Report, trace: Trace | None = None, name: str | None = None) -> dict[str, Any]:
    """The report, and what was seen and heard if it is known, for a page.

    title, path, sha256, status, notice, version, duration_s: of the file; heard: see
    `describe_sound`; expected_conflicts: as
    in its settings; emotions, outcomes, reasons, channels, statuses: see `vocabulary`;
    models: {role: name}; people: see `_person_view`; window_fields, windows: see `window_view`;
    points, chosen: what it says at each sensitivity, see `_point_view`, and the place of the
    report's own; trace: see `_trace_view`, or None; transcript: see `_transcript_view`; review: see
    `_review_view`.
    """
    media = report.media
    end_s = max((window.end_s for window in report.windows), default=0.0)
    duration_s = end_s if media is None else max(end_s, media.duration_s)
    spans = shown_spans(report.windows, duration_s)
    decision = report.config.decision
    levels: list[float | str] = [*SENSITIVITIES] if report.point is not None else []
    if decision.sensitivity not in levels:
        levels.append(decision.sensitivity)
    return {
        "title": shown(PurePath(report.path).name),
        "path": shown(report.path),
        "sha256": report.sha256,
        "status": report.status.value,
        "notice": NOTICE,
        "heard": describe_sound(media),
        "version": report.facevoice_version,
        "duration_s": _seconds(duration_s),
        "expected_conflicts": decision.expected_conflicts,
        "models": {role: model.name for role, model in sorted(report.models.items())},
        **vocabulary(),
        "people": [_person_view(person, report, spans, trace) for person in report.people],
        "window_fields": list(WINDOW_FIELDS),
        "windows": [window_view(w, s) for w, s in zip(report.windows, spans, strict=True)],
        "points": [
            _point_view(
                report
                if level == decision.sensitivity
                else decide_again(report, replace(decision, sensitivity=level)),
                duration_s,
            )
            for level in levels
        ],
        "chosen": levels.index(decision.sensitivity),
        "trace": None if trace is None else _trace_view(trace),
        "transcript": _transcript_view(report),
        "review": _review_view(report, name),
    }


def _point_view(report: Report, duration_s: float) -> dict[str, Any]:
    """What a report says at one sensitivity.

    name, meaning: of the setting; sentence: of the file, in pieces: text, and numbers of people
    where their names stand; counts, seconds: of its windows, by place
    in `outcomes`; zones: what a probability of conflict means, [{from, to, words, color}], empty
    where the model doesn't tell; outcomes, reasons: of each window, as in `window_view`; people:
    the same of the windows of each person; moments: see `_moment_view`, in order of time;
    strongest: places of the conflicts among them, the strongest first; summary: the one answer of
    a short file as a window, or None.
    """
    level, summary, moments = report.config.decision.sensitivity, report.summary, report.moments
    places = {moment.first: place for place, moment in enumerate(moments)}
    names = names_of(_with_marks(report))
    return {
        "name": level if isinstance(level, str) else f"{percent(level)} right",
        "meaning": describe_point(report),
        "sentence": _in_pieces(summarize_in_words(_with_marks(report)), report.people),
        "counts": [report.outcome_counts.get(outcome, 0) for outcome in Outcome],
        "seconds": [
            round(sum(m.end_s - m.start_s for m in moments if m.outcome is outcome))
            for outcome in Outcome
        ],
        "zones": [
            {"from": _thousandths(low), "to": _thousandths(high), "words": words, "color": color}
            for low, high, words, color in (
                () if report.point is None else conflict_zones(report.point)
            )
        ],
        **_decided_view(report.windows),
        "people": [_decided_view(person.windows) for person in report.people],
        "moments": [
            _moment_view(moment, report, names) | {"lines": _heard(report, moment)}
            for moment in moments
        ],
        "strongest": [places[moment.first] for moment in strongest_conflicts(moments)],
        "summary": None if summary is None else window_view(summary, (0.0, duration_s)),
    }


def _decided_view(windows: Sequence[Prediction]) -> dict[str, Any]:
    return {
        "outcomes": [_place(window.outcome) for window in windows],
        "reasons": [_places(window.reasons) for window in windows],
    }


def _with_marks(report: Report) -> Report:
    """With marks in place of people's names, for `_in_pieces`."""
    people = (replace(p, name=f"{_MARK}{p.number}{_MARK}") for p in report.people)
    return replace(report, people=tuple(people))


def _in_pieces(words: str, people: Sequence[Person]) -> list[str | int]:
    """Words that name people: text, and their numbers, so that a page may call them otherwise."""
    if not people:
        return [words]
    pieces = re.split(f"{_MARK}([0-9]+){_MARK}", words)
    cut = [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)]
    return [piece for piece in cut if piece != ""]


def _person_view(
    person: Person,
    report: Report,
    spans: Sequence[tuple[float, float]],
    trace: Trace | None,
) -> dict[str, Any]:
    """Somebody who is seen: number, name, seen_s, is_left_out, tracks: as in `Person`.

    portrait: an address that holds the picture, or None; speaking_s: None where nobody asked who
    speaks; seen, speaking: [[from, to]] in seconds, seen empty without a trace; windows: what they
    say in each window where they are seen, as in `window_view`, if all people were asked for.
    """
    is_asked = report.config.decision.people != "leading"
    picture = person.portrait
    places = {(w.start_s, w.end_s): span for w, span in zip(report.windows, spans, strict=True)}
    return {
        "number": person.number,
        "name": shown(person.name),
        "portrait": None if picture is None else f"data:image/jpeg;base64,{_base64(picture)}",
        "seen_s": _seconds(person.seen_s),
        "speaking_s": _seconds(person.speaking_s) if is_asked else None,
        "is_left_out": person.is_left_out,
        "tracks": list(person.tracks),
        "seen": [] if trace is None else _seen(person, trace),
        "speaking": _speaking(person, report, spans, trace) if is_asked else [],
        "windows": [
            window_view(window, places[window.start_s, window.end_s]) for window in person.windows
        ],
    }


def _seen(person: Person, trace: Trace) -> list[list[float]]:
    times_s = np.sort(trace.face_times_s[np.isin(trace.track_ids, person.tracks)])
    return _joined(((time_s, time_s) for time_s in times_s.tolist()), _AWAY_S)


def _speaking(
    person: Person, report: Report, spans: Sequence[tuple[float, float]], trace: Trace | None
) -> list[list[float]]:
    """Speech in those windows in which it is theirs; the whole window where no speech is known."""
    own = [
        span
        for window, span in zip(report.windows, spans, strict=True)
        if window.person == person.number
        and window.voice is not None
        and not _NOT_HEARD & set(window.reasons)
    ]
    if trace is None:
        return _joined(own)
    speech = [tuple(span) for span in trace.speech_spans_s.tolist()]
    return _joined(
        (max(a, start_s), min(b, end_s))
        for start_s, end_s in _joined(own)
        for a, b in speech
        if a < end_s and b > start_s
    )


def _joined(spans: Iterable[Sequence[float]], gap_s: float = 0.0) -> list[list[float]]:
    """Stretches in order of time, joined where no more than the gap lies between them."""
    found: list[list[float]] = []
    for start_s, end_s in spans:
        if found and _seconds(start_s - found[-1][1]) <= gap_s:
            found[-1][1] = _seconds(max(found[-1][1], end_s))
        else:
            found.append([_seconds(start_s), _seconds(end_s)])
    return found


def _moment_view(moment: Moment, report: Report, names: dict[int, str]) -> dict[str, Any]:
    """A moment: from, to in seconds; outcome: its place in `outcomes`; words: what it says.

    said: the places of face and voice in `emotions`, or None, and the person as in `Moment`.

    Words are in pieces, see `_in_pieces`. Beside it stand its lines: places in those of
    `_transcript_view`.
    """
    return {
        "from": _seconds(moment.start_s),
        "to": _seconds(moment.end_s),
        "outcome": _place(moment.outcome),
        "said": [
            *(None if e is None else e.position for e in (moment.face, moment.voice)),
            moment.person,
        ],
        "words": _in_pieces(describe_moment(moment, names), report.people),
    }


def _review_view(report: Report, name: str | None) -> dict[str, Any]:
    """What a person says of the answers so far.

    name: of the file to save it in; emotions: what they are called there; document: see
    `facevoice.review.to_values`, of this very analysis, so that what is saved is; is_other:
    whether it was made of another one.
    """
    review, own = report.review, empty_review(report)
    document = to_values(own if review is None else replace(own, verdicts=review.verdicts))
    stem = shown(PurePath(report.path).stem) if name is None else shown(name)
    return {
        "name": f"{stem or 'report'}{SUFFIX}",
        "emotions": [emotion.value for emotion in Emotion],
        "document": document,
        "is_other": review is not None and not review.is_of(report),
    }


def _transcript_view(report: Report) -> dict[str, Any] | None:
    """What is said; None where nothing tells.

    source, remarks: as in `Transcript`; lines: [from, to, speaker or None, words]; text: words
    without times, or ""; windows: of each window, the places of its lines.
    """
    words = report.transcript
    if words is None:
        return None
    return {
        "source": shown(PurePath(words.source).name),
        "remarks": list(words.remarks),
        "lines": [
            [_seconds(line.start_s), _seconds(line.end_s), line.speaker, line.text]
            for line in words.lines
        ],
        "text": words.text,
        "windows": [_heard(report, window) for window in report.windows],
    }


def _heard(report: Report, said: Moment | Prediction) -> list[int]:
    """Places of the lines that are heard meanwhile."""
    words = report.transcript
    return [] if words is None else words.places_between(said.start_s, said.end_s)


def _place(outcome: Outcome) -> int:
    return list(Outcome).index(outcome)


def _places(reasons: Sequence[Reason]) -> list[int]:
    return [list(Reason).index(reason) for reason in reasons]


def window_view(window: Prediction, span: tuple[float, float]) -> list[Any]:
    """One window as a row of `WINDOW_FIELDS`.

    start, end: its seconds; from, to: for which seconds it stands on the timeline; face, voice,
    fused: eight thousandths in the order of `emotions`, or None; conflict: thousandths or None;
    outcome: its place in `outcomes`; reasons: their places in `reasons`; face_coverage,
    speech_coverage: in thousandths; face_known, voice_known: see `num_known`; person: whose face
    is judged, or None.
    """
    return [
        *(_seconds(time_s) for time_s in (window.start_s, window.end_s, *span)),
        *(_posterior(posterior) for posterior in (window.face, window.voice, window.fused)),
        None if window.conflict is None else _thousandths(window.conflict),
        _place(window.outcome),
        _places(window.reasons),
        _thousandths(window.face_coverage),
        _thousandths(window.speech_coverage),
        num_known(window.face),
        num_known(window.voice),
        window.person,
    ]


def _trace_view(trace: Trace) -> dict[str, Any]:
    """What was seen and heard; packed is base64 of little-endian integers.

    peaks_hz, peaks: packed, one byte each, 0–255; speech: [[from, to]] in seconds; faces: times in
    milliseconds, packed in four bytes each; boxes (x0, y0, x1, y1) in thousandths of the picture,
    packed in two bytes each; tracks: [[whose, how many times in a row]].
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
    return _base64(whole.tobytes())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _posterior(posterior: ChannelPosterior | None) -> list[int] | None:
    if posterior is None:
        return None
    top = int(posterior.probs.argmax())
    units = [_thousandths(prob) for prob in posterior.probs.tolist()]
    # What leads goes on leading when it is rounded.
    return [unit if k == top else min(unit, units[top] - 1) for k, unit in enumerate(units)]


def _thousandths(value: float) -> int:
    # Rounded once more for people, they give the whole per cent that `percent` gives.
    tens = _THOUSAND // _HUNDRED * round(value * _HUNDRED)
    return min(max(round(value * _THOUSAND), tens - 5), tens + 4)


def _seconds(value: float) -> float:
    return round(float(value), 3)


def _read(name: str) -> str:
    folder = resources.files("facevoice.report") / "page"
    return (folder / name).read_text(encoding="utf-8")


def _to_script_json(view: dict[str, Any]) -> str:
    # ASCII, so that it reads the same in any encoding; without "<", nothing ends the script.
    text = json.dumps(view, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
