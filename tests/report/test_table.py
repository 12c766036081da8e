from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from builders import make_failed_report, make_prediction, make_report
from facevoice.records import EMOTIONS, Emotion, Outcome, Prediction, Reason, Report
from facevoice.report import CSV_COLUMNS, build_table, to_csv


def render(report: Report, max_windows: int | None = None) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(build_table(report, max_windows=max_windows))
    return console.file.getvalue()


def no_face(**times: float) -> Prediction:
    return make_prediction(
        None,
        Emotion.SURPRISED,
        outcome=Outcome.INSUFFICIENT,
        conflict=None,
        reasons=(Reason.NO_FACE,),
        **times,
    )


def test_csv_has_one_row_a_window_and_reads_back() -> None:
    second = no_face(start_s=2, end_s=6.25)
    rows = list(csv.DictReader(io.StringIO(to_csv([make_report(make_prediction(), second)]))))
    assert len(rows) == 2
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0]["file"] == "clips/talk.mp4"
    assert (rows[0]["face"], rows[0]["outcome"], rows[0]["conflict"]) == (
        "happy",
        "match",
        "0.040000",
    )
    assert sum(float(rows[0][f"face_{e.value}"]) for e in EMOTIONS) == pytest.approx(1, abs=1e-9)
    assert rows[1]["end_s"] == "6.250000"
    assert rows[1]["reasons"] == "no_face"
    assert {rows[1][name] for name in ("face", "conflict", "face_happy")} == {""}
    assert rows[1]["voice"] == "surprised"


def test_csv_of_several_reports_has_one_header_and_quotes_odd_paths() -> None:
    odd = make_report(make_prediction(), path='a, "b"\nc.mp4')
    text = to_csv([make_report(make_prediction()), make_failed_report(), odd])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["file"] for row in rows] == ["clips/talk.mp4", 'a, "b"\nc.mp4']
    assert to_csv([odd], header=False) == text[text.index('"a, ') :]


def test_table_shows_each_window_and_the_whole() -> None:
    conflict = make_prediction(
        voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.87, start_s=2, end_s=6.4
    )
    text = render(make_report(make_prediction(), conflict))
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["time", "face", "voice", "both", "outcome", "conflict"]
    assert ["0:00.0–0:04.0", "happy", "91%", "happy", "55%", "happy", "80%", "match", "4%"] in lines
    assert ["0:02.0–0:06.4", "happy", "91%", "sad", "55%", "happy", "80%", "conflict", "87%"] in (
        lines
    )
    assert lines[-1][:3] == ["all", "of", "it"]


def test_single_window_needs_no_row_for_the_whole() -> None:
    assert "all of it" not in render(make_report(make_prediction()))


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
    window = make_prediction(
        None, None, outcome=Outcome.INSUFFICIENT, conflict=None, reasons=(reason,)
    )
    text = render(make_report(window))
    assert words in text
    assert "–" in text.splitlines()[-1].split()[-1]


@pytest.mark.parametrize("start_s", [0.0, 3590.0, 3598.0, 86_400.0])
def test_widest_rows_fit_into_80_columns(start_s: float) -> None:
    wide = make_prediction(
        Emotion.SURPRISED,
        Emotion.SURPRISED,
        outcome=Outcome.INSUFFICIENT,
        conflict=1.0,
        start_s=start_s,
        end_s=start_s + 4,
    )
    text = render(make_report(wide, no_face(start_s=start_s + 2, end_s=start_s + 6)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert text.count("surprised 91%") == 2
    assert "insufficient" in text


def test_clock_carries_into_minutes_and_hours() -> None:
    window = make_prediction(start_s=59.96, end_s=3599.96)
    assert render(make_report(window)).splitlines()[-1].startswith("1:00.0–1:00:00.0 ")
    window = make_prediction(start_s=3600.0, end_s=3604.0)
    assert render(make_report(window)).splitlines()[-1].startswith("1:00:00–00:04 ")


def test_long_tables_are_cut_and_say_so() -> None:
    windows = [make_prediction(start_s=2.0 * i, end_s=2.0 * i + 4) for i in range(10)]
    text = render(make_report(*windows), max_windows=4)
    assert text.count("0%") >= 4
    assert "… and 6 more windows" in text
    assert "0:08.0" not in text.replace("0:04.0–0:08.0", "")
