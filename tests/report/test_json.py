from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import ReportError
from facevoice.records import EMOTIONS, NOTICE, Emotion, Outcome, Reason, Report, Status
from facevoice.report import from_json, read_report, to_json, to_jsonl
from facevoice.report.json import round_probs

SCHEMA_PATH = Path(__file__).parents[2] / "docs" / "report.schema.json"

WINDOWS = (
    make_prediction(),
    make_prediction(Emotion.ANGRY, outcome=Outcome.CONFLICT, conflict=1 / 3, start_s=2, end_s=6),
    make_prediction(
        None,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(Reason.NO_FACE, Reason.SEVERAL_FACES),
        start_s=4,
        end_s=6.437123456,
    ),
)
REPORTS = {
    "three windows": make_report(*WINDOWS),
    "truncated": make_report(WINDOWS[2], status=Status.TRUNCATED),
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
        (("summary", "sentence"), None),
        (("extra",), 1),
    ],
)
def test_schema_refuses_what_no_report_says(where: tuple[str | int, ...], value: object) -> None:
    values = json.loads(to_json(REPORTS["three windows"]))
    place = values
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    schema = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    assert not Draft202012Validator(schema).is_valid(values)


def test_report_read_back_is_written_as_the_same_text(report: Report) -> None:
    text = to_json(report)
    assert to_json(from_json(text)) == text


def test_report_read_back_says_the_same() -> None:
    report = REPORTS["three windows"]
    back = from_json(to_json(report))
    for name in ("status", "config", "models", "thresholds", "sha256"):
        assert getattr(back, name) == getattr(report, name), name
    assert back.media is not None
    assert back.media.video == report.media.video
    for ours, theirs in zip(report.windows, back.windows, strict=True):
        assert (ours.outcome, ours.reasons) == (theirs.outcome, theirs.reasons)
        assert theirs.conflict == (ours.conflict and pytest.approx(ours.conflict, abs=1e-6))
        for one, other in ((ours.face, theirs.face), (ours.fused, theirs.fused)):
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_allclose(one.probs, other.probs, atol=1e-6)


def test_content_of_a_window_and_of_the_summary() -> None:
    values = json.loads(to_json(REPORTS["three windows"]))
    assert values["notice"] == NOTICE
    first, second, third = values["windows"]
    assert list(first["face"]["probs"]) == [emotion.value for emotion in EMOTIONS]
    assert (first["face"]["probs"]["happy"], second["conflict"]) == (0.91, 0.333333)
    assert (third["face"], third["reasons"]) == (None, ["no_face", "several_faces"])
    counts = {"match": 1, "conflict": 1, "flat": 0, "insufficient": 1}
    assert values["summary"]["outcome_counts"] == counts
    assert values["summary"]["sentence"].startswith("Face and voice very likely match")


def test_failed_report_names_the_error_and_nothing_else() -> None:
    values = json.loads(to_json(REPORTS["failed"]))
    assert (values["status"], values["error"]["kind"]) == ("failed", "empty_media")
    assert (values["windows"], values["summary"]) == ([], None)


def test_one_line_forms_hold_the_same_values() -> None:
    report = REPORTS["three windows"]
    line = to_json(report, indent=None)
    assert "\n" not in line
    values = json.loads(line)
    assert values == json.loads(to_json(report))
    windows = [{"file": report.path, **window} for window in values["windows"]]
    assert [json.loads(row) for row in to_jsonl(report).splitlines()] == windows


@given(st.lists(st.floats(0, 1), min_size=8, max_size=8).filter(lambda values: sum(values) > 1e-3))
def test_rounded_probabilities_sum_to_one_stay_close_and_round_only_once(
    values: list[float],
) -> None:
    probs = np.array(values) / sum(values)
    rounded = round_probs(probs)
    assert sum(round(p * 1e6) for p in rounded) == 1_000_000
    np.testing.assert_allclose(rounded, probs, atol=1.01e-6)
    assert min(rounded) >= 0
    assert round_probs(np.array(rounded)) == rounded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no valid JSON"),
        ("[]", '"schema" is not'),
        ('{"schema": "other"}', '"schema" is not'),
        ('{"schema": "facevoice.report", "schema_version": 99}', "schema version 99"),
        ('{"schema": "facevoice.report", "schema_version": 1}', "breaks its schema: KeyError"),
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
