"""Rows of windows as CSV, as a pandas table, and on the console."""

from __future__ import annotations

import csv
import io
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import MissingExtraError
from facevoice.records import EMOTIONS, Emotion, Outcome, Prediction, Reason, Report, Status
from facevoice.report import CSV_COLUMNS, Tally, build_table, to_csv

CHANNELS = ("face", "voice", "fused")


def no_face(
    *reasons: Reason, voice: Emotion | None = Emotion.SURPRISED, **times: float
) -> Prediction:
    reasons = reasons or (Reason.NO_FACE,)
    outcome = Outcome.INSUFFICIENT
    return make_prediction(None, voice, outcome=outcome, conflict=None, reasons=reasons, **times)


def mixed_report() -> Report:
    conflict = make_prediction(voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=1 / 3)
    blind = no_face(Reason.NO_FACE, Reason.SEVERAL_FACES, start_s=2, end_s=6.25)
    return make_report(conflict, blind, no_face(voice=None, start_s=4))


def printed(table: Table) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(table)
    return console.file.getvalue()


def test_csv_has_one_row_a_window_and_reads_back() -> None:
    first, second, third = csv.DictReader(io.StringIO(to_csv([mixed_report()])))
    assert tuple(first) == CSV_COLUMNS
    assert [first[name] for name in ("file", "face", "outcome", "conflict")] == [
        *("clips/talk.mp4", "happy", "conflict", "0.333333")
    ]
    assert sum(float(first[f"face_{e.value}"]) for e in EMOTIONS) == pytest.approx(1, abs=1e-9)
    assert (second["end_s"], second["reasons"]) == ("6.250000", "no_face|several_faces")
    assert second["voice"] == "surprised"
    assert {row[n] for row in (second, third) for n in ("face", "conflict", "face_happy")} == {""}


def test_csv_of_several_reports_has_one_header_and_quotes_odd_paths() -> None:
    odd = make_report(make_prediction(), path='a, "b"\nc.mp4')
    text = to_csv([make_report(make_prediction()), make_failed_report(), odd])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["file"] for row in rows] == ["clips/talk.mp4", 'a, "b"\nc.mp4']
    assert to_csv([odd], header=False) == text[text.index('"a, ') :]


def test_pandas_says_what_the_csv_says_with_all_digits() -> None:
    report = mixed_report()
    frame = report.to_pandas()
    assert tuple(frame.columns) == CSV_COLUMNS
    for number, row in enumerate(csv.DictReader(io.StringIO(to_csv([report])))):
        for name, text in row.items():
            value = frame.loc[number, name]
            if isinstance(value, float) and np.isnan(value):
                assert text == "", name
            elif frame[name].dtype == np.float64:
                assert float(text) == pytest.approx(value, abs=2e-6), name
            else:
                assert text == value, name
    assert frame.loc[0, "conflict"] == 1 / 3
    probs = frame.loc[0, [f"voice_{e.value}" for e in EMOTIONS]].to_numpy(np.float64)
    assert probs.tolist() == report.windows[0].voice.probs.tolist()


@pytest.mark.parametrize("report", [mixed_report(), make_report(), make_failed_report()])
def test_pandas_types_list_every_value_there_is(report: Report) -> None:
    frame = report.to_pandas()
    for channel in CHANNELS:
        assert list(frame[channel].cat.categories) == list(EMOTIONS)
    assert list(frame["outcome"].cat.categories) == list(Outcome)
    assert list(frame["status"].cat.categories) == list(Status)
    text = {"file", "reasons", "status", "outcome", *CHANNELS}
    assert {frame[name].dtype for name in CSV_COLUMNS if name not in text} == {np.dtype("float64")}
    both = pd.concat([frame, mixed_report().to_pandas()])
    assert both.dtypes.equals(frame.dtypes)


def test_pandas_shows_odd_names_and_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = make_report(make_prediction(), path="a\udcff.mp4")
    assert odd.to_pandas().loc[0, "file"] == "a?.mp4"
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="plot"):
        odd.to_pandas()
    assert to_csv([make_report(make_prediction())])


def test_console_shows_each_window_and_the_whole() -> None:
    conflict = make_prediction(
        voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.87, start_s=2, end_s=6.4
    )
    text = printed(build_table(make_report(make_prediction(), conflict)))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "time face voice both outcome conflict"
    assert "0:00.0–0:04.0 happy 91% happy 55% happy 80% match 4%" in lines
    assert "0:02.0–0:06.4 happy 91% sad 55% happy 80% conflict 87%" in lines
    assert lines[-1].startswith("all of it")
    assert "all of it" not in printed(build_table(make_report(conflict)))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.NO_FACE, "no face"),
        (Reason.NO_VIDEO_STREAM, "no picture"),
        (Reason.FACE_TOO_SELDOM, "seen seldom"),
        (Reason.NO_SPEECH, "no speech"),
        (Reason.NO_AUDIO_STREAM, "no sound"),
        (Reason.SPEECH_TOO_SHORT, "little speech"),
    ],
)
def test_empty_cells_say_why(reason: Reason, words: str) -> None:
    text = printed(build_table(make_report(no_face(reason, voice=None))))
    assert words in text
    assert "–" in text.splitlines()[-1].split()[-1]


@pytest.mark.parametrize("start_s", [0.0, 3590.0, 3598.0, 86_400.0])
def test_widest_rows_fit_into_80_columns(start_s: float) -> None:
    times = {"start_s": start_s, "end_s": start_s + 4}
    face = voice = Emotion.SURPRISED
    wide = make_prediction(face, voice, outcome=Outcome.INSUFFICIENT, conflict=1.0, **times)
    text = printed(build_table(make_report(wide, no_face(**times))))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert text.count("surprised 91%") == 2


@pytest.mark.parametrize(
    ("start_s", "end_s", "words"),
    [(59.96, 3599.96, "1:00.0–1:00:00.0 "), (3600.0, 3604.0, "1:00:00–00:04 ")],
)
def test_clock_carries_into_minutes_and_hours(start_s: float, end_s: float, words: str) -> None:
    table = build_table(make_report(make_prediction(start_s=start_s, end_s=end_s)))
    assert printed(table).splitlines()[-1].startswith(words)


def test_long_tables_are_cut_and_say_so() -> None:
    windows = [make_prediction(start_s=2.0 * i, end_s=2.0 * i + 4) for i in range(10)]
    text = printed(build_table(make_report(*windows), max_windows=4))
    assert text.count("match") == 5
    assert "… and 6 more windows" in text


def test_many_files_are_counted() -> None:
    tally = Tally()
    tally.add(mixed_report())
    tally.add(make_report(make_prediction(), status=Status.TRUNCATED), known=True)
    tally.add(make_failed_report())
    assert tally.line() == "3 files (1 done before): 1 match, 1 conflict, 1 failed"
    lines = [" ".join(line.split()) for line in printed(tally.table()).splitlines()]
    assert "insufficient 0 2 0.0" in lines
    assert lines[-2:] == ["of these truncated 1", "failed: empty_media 1"]
