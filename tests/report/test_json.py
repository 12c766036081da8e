from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from builders import make_failed_report, make_report
from facevoice.errors import ReportError
from facevoice.interpret import decide_again
from facevoice.records import EMOTIONS, NOTICE, DecisionCurve, Outcome, Reason, Report, Status
from facevoice.report import describe_point, from_json, read_report, to_json, to_jsonl
from facevoice.report.json import round_probs
from facevoice.settings import DecisionConfig
from made_reports import BLIND, CONFLICT, FLAT, MATCH, UNDECIDED, decided, in_a_row, make_window

SCHEMA_PATH = Path(__file__).parents[2] / "docs" / "report.schema.json"

CROWD = make_window(None, None, None, Reason.NO_FACE, Reason.SEVERAL_FACES)
SHORT = (
    MATCH,
    replace(CONFLICT, conflict=5 / 6, start_s=2, end_s=6),
    replace(CROWD, start_s=4, end_s=6.437123456),
)
LONG = in_a_row([CONFLICT, CONFLICT, UNDECIDED, FLAT, FLAT, BLIND, MATCH])
REPORTS = {
    "three windows": decided(*SHORT),
    "long": decided(*LONG),
    "rare": decided(*LONG, decision=DecisionConfig(sensitivity=0.65, expected_conflicts=0.2)),
    "not measured": decided(*SHORT, curve=DecisionCurve(), decision=DecisionConfig(0.3, 1, 1, 0.9)),
    "truncated": decided(SHORT[2], status=Status.TRUNCATED),
    "compares nothing": decided(
        make_window(*EMOTIONS[2:4], None, Reason.MODEL_WITHOUT_CONFLICT), curve=None
    ),
    "no windows": make_report(status=Status.VIDEO_ONLY),
    "failed": make_failed_report(),
}


@pytest.fixture(params=REPORTS.values(), ids=REPORTS.keys())
def report(request: pytest.FixtureRequest) -> Report:
    return request.param


def test_json_follows_the_committed_schema(report: Report) -> None:
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    errors = list(Draft202012Validator(schema).iter_errors(json.loads(to_json(report))))
    assert errors == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("windows", 0, "outcome"), "mixed"),
        (("windows", 0, "conflict"), 1.5),
        (("windows", 0, "face", "probs", "bored"), 0.1),
        (("status",), "fine"),
        (("file", "sha256"), "short"),
        (("sentence",), None),
        (("schema_version",), 2),
        (("thresholds",), {}),
        (("summary", "sentence"), "Face and voice match."),
        (("moments", 0, "first"), -1),
        (("moments", 0, "face"), "bored"),
        (("decision", "point", "match_below"), None),
        (("decision", "curve", "probs", 0), "low"),
        (("windows", 0, "reasons", 0), "undecided"),
        (("extra",), 1),
    ],
)
def test_schema_refuses_what_no_report_says(where: tuple[str | int, ...], value: object) -> None:
    values = json.loads(to_json(REPORTS["three windows"]))
    place = values
    for key in where[:-1]:
        place = place[key]
    if isinstance(place, list) and not place:
        place.append(None)
    place[where[-1]] = value
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    assert not Draft202012Validator(schema).is_valid(values)


def test_report_read_back_is_written_as_the_same_text(report: Report) -> None:
    text = to_json(report)
    assert to_json(from_json(text)) == text


def test_report_read_back_says_the_same() -> None:
    report = REPORTS["three windows"]
    back = from_json(to_json(report))
    for name in ("status", "config", "models", "outcome_counts", "curve", "sha256"):
        assert getattr(back, name) == getattr(report, name), name
    assert describe_point(back) == describe_point(report)
    for ours, theirs in zip(report.moments, back.moments, strict=True):
        rounded = replace(ours, start_s=theirs.start_s, end_s=theirs.end_s)
        assert replace(rounded, conflict=theirs.conflict, strength=theirs.strength) == theirs
        for one, other in zip(astuple(ours), astuple(theirs), strict=True):
            assert one == other or one == pytest.approx(other, abs=1e-6)
    assert back.media is not None
    assert back.media.video == report.media.video
    for ours, theirs in zip(report.windows, back.windows, strict=True):
        assert (ours.outcome, ours.reasons) == (theirs.outcome, theirs.reasons)
        assert theirs.conflict == (ours.conflict and pytest.approx(ours.conflict, abs=1e-6))
        for one, other in ((ours.face, theirs.face), (ours.fused, theirs.fused)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one.probs, other.probs, atol=1e-6)


def test_a_report_read_back_is_decided_again_like_the_one_written() -> None:
    report = REPORTS["long"]
    for decision in (DecisionConfig(), DecisionConfig(sensitivity=0.6, expected_conflicts=0.7)):
        again, back = (decide_again(r, decision) for r in (report, from_json(to_json(report))))
        assert [w.outcome for w in back.windows] == [w.outcome for w in again.windows]
        assert json.loads(to_json(back))["decision"] == json.loads(to_json(again))["decision"]


def test_the_order_of_keys_means_nothing() -> None:
    text = to_json(REPORTS["long"])
    turned = json.dumps(json.loads(text), sort_keys=True)
    assert to_json(from_json(turned)) == text


def test_content_of_a_window_a_moment_and_the_whole() -> None:
    values = json.loads(to_json(REPORTS["three windows"]))
    assert values["notice"] == NOTICE
    first, second, third = values["windows"]
    assert list(first["face"]["probs"]) == [emotion.value for emotion in EMOTIONS]
    assert (first["face"]["probs"]["happy"], second["conflict"]) == (0.91, 0.833333)
    assert (third["face"], third["reasons"]) == (None, ["no_face", "several_faces"])
    assert values["outcome_counts"] == {
        **{"match": 1, "conflict": 1, "undecided": 0, "flat": 0, "insufficient": 1}
    }
    assert values["sentence"].endswith("Of 3 windows: 1 match, 1 conflict, 1 insufficient.")
    assert values["summary"].keys() == first.keys()
    assert values["moments"][1] == {
        **{"start_s": 3.0, "end_s": 4.609281, "first": 1, "last": 1, "outcome": "conflict"},
        **{"face": "happy", "voice": "sad", "conflict": 0.833333, "strength": 0.833333},
        **{"reasons": [], "person": None, "text": None, "reviewed": None},
    }
    assert values["decision"]["point"] == {
        **{"conflict_above": 0.7, "match_below": 0.3},
        **{"conflict_precision": 0.8, "match_precision": 0.9},
    }


def test_a_long_report_has_moments_and_no_summary() -> None:
    values = json.loads(to_json(REPORTS["long"]))
    assert values["summary"] is None
    moments = values["moments"]
    assert [(m["first"], m["last"], m["outcome"]) for m in moments] == [
        *((0, 1, "conflict"), (2, 2, "undecided"), (3, 4, "flat"), (5, 5, "insufficient")),
        (6, 6, "match"),
    ]
    assert moments[3]["strength"] is moments[3]["conflict"] is None
    assert sum(values["outcome_counts"].values()) == len(values["windows"]) == 7
    assert values["sentence"].startswith("Conflict for 5 s (once)")


def test_failed_report_names_the_error_and_nothing_else() -> None:
    values = json.loads(to_json(REPORTS["failed"]))
    assert (values["status"], values["error"]["kind"]) == ("failed", "empty_media")
    assert (values["windows"], values["moments"], values["summary"]) == ([], [], None)
    assert values["sentence"].startswith("Could not be analysed")
    assert set(values["outcome_counts"]) == set(Outcome)


def test_one_line_forms_hold_the_same_values() -> None:
    report = REPORTS["three windows"]
    line = to_json(report, indent=None)
    assert "\n" not in line
    values = json.loads(line)
    assert values == json.loads(to_json(report))
    windows = [{"file": report.path, **window} for window in values["windows"]]
    assert [json.loads(row) for row in to_jsonl(report).splitlines()] == windows


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda values: sum(values) > 1e-3))
def test_rounded_probabilities_sum_to_one_stay_close_and_round_only_once(
    values: list[float],
) -> None:
    probs = np.array(values) / sum(values)
    rounded = round_probs(probs)
    assert sum(round(p * 1e6) for p in rounded) == 1_000_000
    # Two that are as good as equal are moved apart by one unit each.
    np.testing.assert_allclose(rounded, probs, atol=2.01e-6)
    assert min(rounded) >= 0
    assert round_probs(np.array(rounded)) == rounded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no valid JSON"),
        ("[]", '"schema" is not'),
        ('{"schema": "other"}', '"schema" is not'),
        ('{"schema": "facevoice.report", "schema_version": 99}', "schema version 99"),
        (
            '{"schema": "facevoice.report", "schema_version": 2, "windows": []}',
            r"schema version 2, this facevoice reads 4; analyse the file again.*report-schema\.md",
        ),
        ('{"schema": "facevoice.report", "schema_version": 4}', "breaks its schema: .*`file`"),
    ],
)
def test_other_texts_are_refused_with_the_cause(text: str, words: str) -> None:
    with pytest.raises(ReportError, match=words):
        from_json(text)


def test_read_report_names_the_file_and_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    values = json.loads(to_json(REPORTS["failed"]))
    with pytest.raises(ReportError, match=r"talk\.json: can't be read"):
        read_report(path)
    path.write_text(json.dumps({**values, "settings": {"speed": 3}}), encoding="utf-8")
    with pytest.raises(ReportError, match=r"talk\.json: report breaks.*speed"):
        read_report(path)
    path.write_text(json.dumps(values), encoding="utf-8")
    assert read_report(path).status is Status.FAILED


@pytest.mark.parametrize("extreme", [5e-324, 1 - 2**-53])
def test_what_is_read_with_extreme_numbers_can_be_written_and_read_again(extreme: float) -> None:
    """Six digits are written: what is above 0, or below 1, when read must not come to it."""
    document = json.loads(to_json(REPORTS["three windows"]))
    num_read = 0
    for holder, key in _numbers(document):
        before, holder[key] = holder[key], extreme
        try:
            report = from_json(json.dumps(document))
        except ReportError:
            continue
        finally:
            holder[key] = before
        num_read += 1
        assert to_json(from_json(to_json(report))) == to_json(report)
    assert num_read > 10


def _numbers(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where the numbers of a document stand: what holds them, and under which key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        if isinstance(inner, dict | list):
            yield from _numbers(inner)
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield value, key
