"""Holds what came of a case against what must come of it, and against what must always hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from facevoice.report import from_json, to_json
from faults.case import Case, Expect, Run

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"
NOISE_OF_LIBRARIES = re.compile(r"Traceback|\[\w+ @ 0x[0-9a-f]+\]|^\s+File \"", re.MULTILINE)
EPSILON_S = 0.01
SUM_TOLERANCE = 1e-5
CHANNELS = {"face": "video", "voice": "audio"}
EXIT_FAILED = 1


def unexpected(case: Case, run: Run, plain: dict[str, Any]) -> list[str]:
    """What is not as it must be, in words; empty if all is."""
    expects = case.expects
    found = list(_check_run(expects, run))
    for report in run.reports:
        found += _check_report(report)
        found += _check_expected(expects, report)
        if expects.like_plain is not None:
            found += _check_like(report, plain, expects.like_plain)
    return found


def got(run: Run) -> str:
    """What came, in a few words, for the table."""
    told = [f"exit {run.exit_code}"]
    for report in run.reports:
        error = report["error"]
        told.append(report["status"] + (f" ({error['kind']})" if error else ""))
        told += sorted({window["outcome"] for window in report["windows"]})
        if report["file"]["duration_s"] is not None:
            told.append(f"{report['file']['duration_s']:.2f} s")
    return ", ".join(told)


def _check_run(expects: Expect, run: Run) -> Iterator[str]:
    failed = any(report["status"] == "failed" for report in run.reports)
    allowed = expects.exit_codes or (EXIT_FAILED * failed,)
    if run.exit_code not in allowed:
        yield f"exit code {run.exit_code} in place of {' or '.join(map(str, allowed))}"
    if len(run.reports) != expects.reports:
        yield f"{len(run.reports)} reports in place of {expects.reports}"
    if NOISE_OF_LIBRARIES.search(run.stderr) or run.leaked:
        yield f"noise on standard error: {(run.leaked or run.stderr)[:300]!r}"
    yield from run.wrong
    if run.left_behind:
        yield f"left behind: {', '.join(run.left_behind)}"
    messages = [report["error"]["message"] for report in run.reports if report["error"]]
    told = "\n".join([run.stderr, run.stdout, *messages])
    for words in expects.says:
        if words not in told:
            yield f"says nothing of {words!r}: {(messages or [run.stderr[:300]])[0]!r}"


def _check_expected(expects: Expect, report: dict[str, Any]) -> Iterator[str]:
    error, windows = report["error"], report["windows"]
    if expects.status and report["status"] not in expects.status:
        yield f"status {report['status']} in place of {' or '.join(expects.status)}: {error}"
    if expects.kinds and (error is None or error["kind"] not in expects.kinds):
        yield f"error {error} in place of {' or '.join(expects.kinds)}"
    outcomes = {window["outcome"] for window in windows}
    if expects.outcomes and not outcomes <= set(expects.outcomes):
        yield f"outcomes {', '.join(sorted(outcomes))} in place of {' or '.join(expects.outcomes)}"
    reasons = {reason for window in windows for reason in window["reasons"]}
    if not set(expects.reasons) <= reasons:
        yield f"reasons {', '.join(sorted(reasons))} in place of {', '.join(expects.reasons)}"
    for channel, wanted in (("face", expects.face), ("voice", expects.voice)):
        speaks = any(window[channel] is not None for window in windows)
        if wanted is not None and speaks is not wanted:
            yield f"the {channel} {'speaks' if speaks else 'says nothing'}"
    length_s = report["file"]["duration_s"]
    if expects.length_s is not None and (
        length_s is None or abs(length_s - expects.length_s) > expects.within_s
    ):
        yield f"length {length_s} s in place of {expects.length_s} ± {expects.within_s} s"


def _check_like(report: dict[str, Any], plain: dict[str, Any], tolerance: float) -> Iterator[str]:
    """The first window against the plain clip's."""
    if not report["windows"]:
        yield "no window, while the plain clip has one"
        return
    window, other = report["windows"][0], plain["windows"][0]
    if window["outcome"] != other["outcome"]:
        yield f"outcome {window['outcome']} in place of the plain clip's {other['outcome']}"
    for channel in CHANNELS:
        if window[channel] is None:
            yield f"the {channel} says nothing: {', '.join(window['reasons'])}"
            continue
        pairs = zip(
            window[channel]["probs"].values(), other[channel]["probs"].values(), strict=True
        )
        largest = max(abs(one - two) for one, two in pairs)
        if largest > tolerance:
            yield f"the {channel} moved by {largest:.3f}"


def _check_report(report: dict[str, Any]) -> Iterator[str]:
    """What holds of every report."""
    yield from (f"schema: {error.message}" for error in _validator().iter_errors(report))
    error, file = report["error"], report["file"]
    if (report["status"] == "failed") is not (error is not None):
        yield f"status {report['status']} with the error {error}"
    if error is not None and (file["path"] not in error["message"] or report["windows"]):
        yield f"a failed report without the file's name, or with windows: {error['message']!r}"
    if json.loads(to_json(from_json(json.dumps(report)))) != report:
        yield "a report that is another one when it is read"
    yield from _check_windows(report["windows"], file)


def _check_windows(windows: Sequence[dict[str, Any]], file: dict[str, Any]) -> Iterator[str]:
    starts_s = [window["start_s"] for window in windows]
    if starts_s != sorted(set(starts_s)):
        yield f"windows out of order: {starts_s}"
    for window in windows:
        start_s, end_s = window["start_s"], window["end_s"]
        if not 0 <= start_s < end_s <= file["duration_s"] + EPSILON_S:
            yield f"a window from {start_s} to {end_s} of {file['duration_s']} s"
        for channel, stream in CHANNELS.items():
            yield from _check_channel(window, channel, file[stream])
        if window["conflict"] is not None and None in (window["face"], window["voice"]):
            yield f"a conflict at {start_s} s without both channels"


def _check_channel(window: dict[str, Any], channel: str, stream: Any) -> Iterator[str]:
    read, where = window[channel], f"{channel} at {window['start_s']} s"
    if read is None:
        if not window["reasons"]:
            yield f"no {where}, and no reason"
        return
    probs = list(read["probs"].values())
    if not all(math.isfinite(p) for p in probs) or abs(sum(probs) - 1) > SUM_TOLERANCE:
        yield f"{where}: probabilities {probs}"
    coverage = window["face_coverage" if channel == "face" else "speech_coverage"]
    if stream is None or not coverage > 0:
        yield f"{where}: an emotion of what is not there ({coverage=})"


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
