from __future__ import annotations

import csv
import io
import sys

import numpy as np
import pandas as pd
import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import MissingExtraError
from facevoice.records import EMOTIONS, Emotion, Outcome, Reason, Report, Status
from facevoice.report import CSV_COLUMNS, csv_rows, to_csv

CHANNELS = ("face", "voice", "fused")


def mixed_report() -> Report:
    conflict = make_prediction(voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=1 / 3)
    blind = make_prediction(
        None,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(Reason.NO_FACE, Reason.SEVERAL_FACES),
        start_s=2,
        end_s=6,
    )
    nothing = make_prediction(None, None, outcome=Outcome.INSUFFICIENT, conflict=None, start_s=4)
    return make_report(conflict, blind, nothing)


def test_columns_and_values_are_those_of_the_csv() -> None:
    report = mixed_report()
    frame = report.to_pandas()
    assert tuple(frame.columns) == CSV_COLUMNS
    assert len(frame) == 3
    for number, row in enumerate(csv_rows(report)):
        for name, text in row.items():
            value = frame.loc[number, name]
            if isinstance(value, float) and np.isnan(value):
                assert text == "", name
            elif frame[name].dtype == np.float64:
                assert float(text) == pytest.approx(value, abs=2e-6), name
            else:
                assert text == value, name


def test_numbers_keep_all_their_digits() -> None:
    report = mixed_report()
    frame = report.to_pandas()
    assert frame.loc[0, "conflict"] == 1 / 3
    probs = frame.loc[0, [f"voice_{e.value}" for e in EMOTIONS]].to_numpy(np.float64)
    assert probs.tolist() == report.windows[0].voice.probs.tolist()


def test_types_list_every_value_there_is() -> None:
    frame = mixed_report().to_pandas()
    for channel in CHANNELS:
        assert list(frame[channel].cat.categories) == [e.value for e in EMOTIONS]
    assert list(frame["outcome"].cat.categories) == [o.value for o in Outcome]
    assert list(frame["status"].cat.categories) == [s.value for s in Status]
    text = {"file", "reasons", "status", "outcome", *CHANNELS}
    assert {frame[name].dtype for name in CSV_COLUMNS if name not in text} == {np.dtype("float64")}
    assert frame["face"].isna().tolist() == [False, True, True]
    assert frame["face_happy"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("report", [make_report(), make_failed_report()])
def test_empty_reports_have_the_same_columns_and_types(report: Report) -> None:
    frame = report.to_pandas()
    assert len(frame) == 0
    assert frame.dtypes.equals(mixed_report().to_pandas().dtypes)
    both = pd.concat([frame, mixed_report().to_pandas()])
    assert both.dtypes.equals(frame.dtypes)


def test_reasons_become_a_table_of_their_own() -> None:
    reasons = mixed_report().to_pandas()["reasons"]
    assert reasons.tolist() == ["", "no_face|several_faces", ""]
    assert reasons.str.get_dummies()["no_face"].tolist() == [0, 1, 0]


def test_pandas_writes_what_the_csv_says() -> None:
    report = mixed_report()
    ours = list(csv.DictReader(io.StringIO(to_csv([report]))))
    theirs = list(csv.DictReader(io.StringIO(report.to_pandas().to_csv(index=False))))
    words = ("file", "status", "outcome", "reasons", *CHANNELS)
    assert [[r[w] for w in words] for r in ours] == [[r[w] for w in words] for r in theirs]


def test_names_that_are_no_text_are_shown_as_well_as_can_be() -> None:
    frame = make_report(make_prediction(), path="a\udcff.mp4").to_pandas()
    assert frame.loc[0, "file"] == "a?.mp4"


def test_missing_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[plot\]") as caught:
        make_report(make_prediction()).to_pandas()
    assert caught.value.extra == "plot"
