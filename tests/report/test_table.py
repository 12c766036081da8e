"""Rows of windows and moments as CSV, as a pandas table, and on the console."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from rich.table import Table

from builders import make_failed_report, make_report
from facevoice.errors import MissingExtraError
from facevoice.records import (
    EMOTIONS,
    Emotion,
    Outcome,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
)
from facevoice.report import (
    CSV_COLUMNS,
    MOMENT_COLUMNS,
    REVIEW_COLUMNS,
    Tally,
    build_moments,
    build_table,
    to_csv,
    to_moments_csv,
    to_pandas,
)
from facevoice.transcript import Line, Transcript
from made_reports import BLIND, CONFLICT, FLAT, MATCH, UNDECIDED, decided, in_a_row, make_window

CHANNELS = ("face", "voice", "fused")


def mixed_report() -> Report:
    """A conflict, then two windows without a face, of which the second has no speech either."""
    surprised = make_window(None, Emotion.SURPRISED, None, Reason.NO_FACE, Reason.SEVERAL_FACES)
    silent = make_window(None, None, None, Reason.NO_FACE, Reason.NO_SPEECH)
    conflict = replace(CONFLICT, conflict=5 / 6)
    return decided(conflict, replace(surprised, start_s=2, end_s=6.25), replace(silent, start_s=4))


def long_report() -> Report:
    """Seven windows, five moments: match, conflict, flat, a stronger conflict, no face."""
    strong = replace(CONFLICT, conflict=0.95)
    return decided(*in_a_row([MATCH, CONFLICT, CONFLICT, FLAT, strong, BLIND, BLIND]))


def printed(table: Table, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table)
    return console.file.getvalue()


def lines_of(table: Table) -> list[str]:
    return [" ".join(line.split()) for line in printed(table).splitlines()]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_one_row_a_window_and_reads_back() -> None:
    first, second, third = read(to_csv([mixed_report()]))
    assert tuple(first) == CSV_COLUMNS
    assert [first[name] for name in ("file", "face", "outcome", "conflict")] == [
        *("clips/talk.mp4", "happy", "conflict", "0.833333")
    ]
    assert sum(float(first[f"face_{e.value}"]) for e in EMOTIONS) == pytest.approx(1, abs=1e-9)
    assert (second["end_s"], second["reasons"]) == ("6.250000", "no_face|several_faces")
    assert second["voice"] == "surprised"
    assert {row[n] for row in (second, third) for n in ("face", "conflict", "face_happy")} == {""}
    assert [row["moment"] for row in (first, second, third)] == ["1", "2", "2"]


def test_csv_of_several_reports_has_one_header_and_quotes_odd_paths() -> None:
    odd = decided(MATCH, path='a, "b"\nc.mp4')
    reports = [decided(MATCH), make_failed_report(), odd]
    for to_text in (to_csv, to_moments_csv):
        text = to_text(reports)
        assert [row["file"] for row in read(text)] == ["clips/talk.mp4", 'a, "b"\\nc.mp4']
        assert to_text([odd], header=False) == text[text.index('"a, ') :]


def test_csv_has_one_row_a_moment_with_the_number_that_its_windows_have() -> None:
    report = long_report()
    moments, windows = read(to_moments_csv([report])), read(to_csv([report]))
    assert tuple(moments[0]) == MOMENT_COLUMNS
    assert [row["outcome"] for row in moments] == [
        *("match", "conflict", "flat", "conflict", "insufficient")
    ]
    assert [(row["moment"], row["num_windows"]) for row in moments] == [
        *(("1", "1"), ("2", "2"), ("3", "1"), ("4", "1"), ("5", "2"))
    ]
    assert [row["moment"] for row in windows] == ["1", "2", "2", "3", "4", "5", "5"]
    assert all(a["end_s"] == b["start_s"] for a, b in pairwise(moments))
    assert (moments[0]["start_s"], moments[-1]["end_s"]) == ("0.000000", "16.000000")
    conflict, blind = moments[3], moments[4]
    shown = ("face", "voice", "conflict", "strength", "reasons")
    assert [conflict[name] for name in shown] == ["happy", "sad", "0.950000", "0.950000", ""]
    assert [blind[name] for name in shown] == ["", "sad", "", "", "no_face"]


def test_pandas_says_what_the_csv_says_with_all_digits() -> None:
    report = mixed_report()
    frame = report.to_pandas()
    assert tuple(frame.columns) == CSV_COLUMNS
    for number, row in enumerate(read(to_csv([report]))):
        for name, text in row.items():
            value = frame.loc[number, name]
            if pd.isna(value):
                assert text == "", name
            elif frame[name].dtype == np.float64:
                assert float(text) == pytest.approx(value, abs=2e-6), name
            else:
                assert text == str(value), name
    assert frame.loc[0, "conflict"] == 5 / 6
    probs = frame.loc[0, [f"voice_{e.value}" for e in EMOTIONS]].to_numpy(np.float64)
    assert probs.tolist() == report.windows[0].voice.probs.tolist()


@pytest.mark.parametrize("report", [mixed_report(), make_report(), make_failed_report()])
def test_pandas_types_list_every_value_there_is(report: Report) -> None:
    frame = report.to_pandas()
    for channel in CHANNELS:
        assert list(frame[channel].cat.categories) == list(EMOTIONS)
    assert list(frame["outcome"].cat.categories) == list(Outcome)
    assert list(frame["status"].cat.categories) == list(Status)
    assert frame["moment"].dtype == "Int64"
    others = {"file", "reasons", "person", "text", "status", "moment", "outcome", *CHANNELS}
    others |= {*REVIEW_COLUMNS}
    numbers = {frame[name].dtype for name in CSV_COLUMNS if name not in others}
    assert numbers == {np.dtype("float64")}
    both = pd.concat([frame, mixed_report().to_pandas()])
    assert both.dtypes.equals(frame.dtypes)


def test_pandas_shows_odd_names_and_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = decided(MATCH, path="a\udcff.mp4")
    assert odd.to_pandas().loc[0, "file"] == r"a\xff.mp4"
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="plot"):
        odd.to_pandas()
    assert to_csv([decided(MATCH)])


def test_console_shows_each_window_and_the_whole() -> None:
    late = replace(CONFLICT, start_s=2, end_s=6.4)
    lines = lines_of(build_table(decided(MATCH, late)))
    assert lines[0] == "time (min:s) face voice both outcome conflict"
    assert "0:00.0–0:04.0 happy 91% happy 55% happy 80% match 4%" in lines
    assert "0:02.0–0:06.4 happy 91% sad 55% happy 80% conflict 90%" in lines
    assert lines[-1].startswith("all of it")
    assert "all of it" not in printed(build_table(decided(late)))
    assert "all of it" not in printed(build_table(long_report()))


def test_console_shows_the_strongest_conflicts_first_then_the_rest_in_order_of_time() -> None:
    lines = lines_of(build_moments(long_report()))
    assert lines[0] == "time (min:s) face voice outcome probability"
    assert lines[2:] == [
        "0:09–0:11 happy sad conflict 95%",
        "0:03–0:07 happy sad conflict 90%",
        "",
        "0:00–0:03 happy happy match 96%",
        "0:07–0:09 happy neutral flat –",
        "0:11–0:16 no face sad insufficient –",
    ]
    leaning = decided(*in_a_row([UNDECIDED] * 4))
    assert (
        lines_of(build_moments(leaning))[2]
        == "0:00–0:10 happy sad undecided leans to conflict, 64%"
    )


def test_conflict_is_not_printed_where_it_does_not_count() -> None:
    (row,) = [line for line in lines_of(build_table(decided(FLAT))) if "0:00.0" in line]
    assert row == "0:00.0–0:04.0 happy 91% neutral 55% happy 80% flat –"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.NO_FACE, "no face"),
        (Reason.NO_VIDEO_STREAM, "no picture"),
        (Reason.FACE_TOO_SMALL, "too small"),
        (Reason.FACE_TILTED, "tilted"),
        (Reason.FACE_TOO_SELDOM, "rarely seen"),
        (Reason.NO_SPEECH, "no speech"),
        (Reason.NO_AUDIO_STREAM, "no sound"),
        (Reason.SPEECH_TOO_SHORT, "little speech"),
    ],
)
def test_empty_cells_say_why(reason: Reason, words: str) -> None:
    report = decided(make_window(None, None, None, reason))
    for table in (build_table(report), build_moments(report)):
        text = printed(table)
        assert words in text
        assert "–" in text.splitlines()[-1].split()[-1]


def widest(start_s: float) -> list[Prediction]:
    times = {"start_s": start_s, "end_s": start_s + 4}
    surprised, blank = Emotion.SURPRISED, (Reason.FACE_TOO_SELDOM, Reason.SPEECH_TOO_SHORT)
    unclear = make_window(surprised, surprised, 0.64)
    return [replace(w, **times) for w in (unclear, make_window(None, None, None, *blank))]


@pytest.mark.parametrize("start_s", [0.0, 3590.0, 3598.0, 86_400.0])
def test_widest_rows_fit_into_80_columns(start_s: float) -> None:
    report = decided(*widest(start_s))
    for table in (build_table(report), build_moments(report)):
        text = printed(table)
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "…" not in text
    assert printed(build_table(report)).count("surprised 91%") >= 1
    assert "leans to conflict, 64%" in printed(build_moments(report))


def test_a_narrow_screen_cuts_nothing() -> None:
    report = decided(MATCH, *widest(0.0))
    tables = build_table(report), build_moments(report)
    for table, words in zip(tables, (["91%", "55%"], ["surprised", "leans to"]), strict=True):
        text = printed(table, 60)
        assert max(len(line) for line in text.splitlines()) <= 60
        assert "…" not in text
        for word in (*words, "64%", "insufficient", "undecided", "rarely", "0:00"):
            assert word in text


@pytest.mark.parametrize(
    ("start_s", "end_s", "words"),
    [
        (59.96, 3599.96, "1:00.0–1:00:00.0 "),
        (3600.0, 3604.0, "1:00:00–00:04 "),
        (3598.0, 3602.0, "0:59:58–1:00:02 "),
    ],
)
def test_clock_carries_into_minutes_and_hours(start_s: float, end_s: float, words: str) -> None:
    text = printed(build_table(decided(replace(MATCH, start_s=start_s, end_s=end_s))))
    assert text.splitlines()[-1].startswith(words)
    assert ("time (h:min:s)" in text) is (end_s >= 3600)
    moments = printed(build_moments(decided(*in_a_row([CONFLICT] + [MATCH] * 1800))))
    assert [line.split()[0] for line in moments.splitlines()[2:] if line.strip()] == [
        *("0:00:00–0:00:03", "0:00:03–1:00:04")
    ]


def test_long_tables_are_cut_and_say_so() -> None:
    text = printed(build_table(decided(*in_a_row([MATCH] * 10)), max_windows=4))
    assert text.count("match") == 4
    assert "… and 6 more windows (-v shows all)" in text
    report = decided(*in_a_row([MATCH, CONFLICT] * 4))
    cut = printed(build_moments(report, max_moments=5))
    assert (cut.count("conflict"), cut.count("match")) == (4, 1)
    assert "… and 3 more moments (-v shows all)" in cut
    only = printed(build_moments(report, max_moments=3))
    assert (only.count("conflict"), only.count("match")) == (3, 0)


def test_many_files_are_counted() -> None:
    tally = Tally()
    tally.add(long_report())
    tally.add(decided(MATCH, status=Status.TRUNCATED), known=True)
    tally.add(make_failed_report())
    assert tally.line() == (
        "3 files (1 not read again): match in 2, conflict in 1, flat in 1, insufficient in 1, "
        "1 failed"
    )
    lines = lines_of(tally.table())
    assert lines[0] == "in files moments windows minutes"
    assert "conflict 1 2 3 0.1" in lines
    assert "undecided 0 0 0 0.0" in lines
    assert lines[-2:] == ["damaged or cut off 1", "failed: the file is empty 1"]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_no_number_is_lost_on_a_narrow_screen(width: int) -> None:
    report = replace(long_report(), people=(Person(1, "Anna", (0,), 4.0, 2.0),))
    told = [" ".join(printed(make(report), width).split()) for make in (build_table, build_moments)]
    for table, numbers in zip(told, (["91%", "55%", "80%"], ["95%", "90%"]), strict=True):
        assert all(number in table for number in numbers)
        assert all(window in table for window in ("conflict", "insufficient"))
    tally = Tally()
    tally.add(report)
    tally.add(make_failed_report())
    table = " ".join(printed(tally.table(), width).split())
    assert {"failed:", "empty"} <= set(table.split())
    assert all(outcome.value in table for outcome in Outcome)
    assert "…" not in table


def test_no_cell_is_a_formula_or_rules_a_terminal() -> None:
    words = Transcript((Line(0.0, 2.0, "- Hello \x1b[2J"), Line(2.0, 4.0, "=1+1")), "x")
    report = decided(*in_a_row([replace(MATCH, person=1)] * 2), path="@\u202ea\n\udcff.mp4")
    report = replace(report, people=(Person(1, "=cmd|' /C calc'!A0", (0,), 4.0, 2.0),))
    report = report.with_transcript(words)
    for text in (to_csv([report]), to_moments_csv([report])):
        first = read(text)[0]
        assert first["file"] == r"'@\u202ea\n\xff.mp4"
        assert first["person"] == "'=cmd|' /C calc'!A0"
        assert first["text"].startswith(r"'- Hello \x1b[2J")
        assert float(first["start_s"]) == 0.0
    # In pandas nothing but what can't be text is changed.
    assert to_pandas(report)["person"].tolist() == ["=cmd|' /C calc'!A0"] * 2
