from __future__ import annotations

import pickle
import sys
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import MissingExtraError
from facevoice.records import Emotion, Outcome, Reason, top_emotion
from facevoice.report.words import EMOTION_COLORS, OUTCOME_COLORS, shown_spans

from .timelines import THRESHOLDS, make_long_report, make_trace


def row(figure: Any, label: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_label() == label)


def part(axes: Any, gid: str) -> Any:
    return next(artist for artist in axes.get_children() if artist.get_gid() == gid)


def boxes(axes: Any, gid: str) -> list[tuple[float, float, float, float, str]]:
    """start, end, low, high, colour of each rectangle."""
    found = part(axes, gid)
    colors = found.get_facecolors()
    result = []
    for number, path in enumerate(found.get_paths()):
        (left, low), (right, high) = path.vertices.min(axis=0), path.vertices.max(axis=0)
        color = to_hex(colors[number % len(colors)]).upper()
        result.append((left, right, low, high, color))
    return result


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bands_have_the_emotions_colours_and_probabilities_where_windows_stand() -> None:
    report = make_long_report(30)
    figure = report.plot()
    spans = shown_spans(report.windows, report.media.duration_s)
    for label, channel in (("Face", "face"), ("Voice", "voice"), ("Both", "fused")):
        expected = []
        for (start_s, end_s), window in zip(spans, report.windows, strict=True):
            if (posterior := getattr(window, channel)) is not None:
                emotion, prob = top_emotion(posterior)
                expected.append((start_s, end_s, 0.0, prob, EMOTION_COLORS[emotion]))
        found = boxes(row(figure, label), "band")
        assert [box[4] for box in found] == [box[4] for box in expected]
        np.testing.assert_allclose([b[:4] for b in found], [b[:4] for b in expected])


def test_gaps_are_hatched_and_nothing_else_is_drawn_there() -> None:
    report = make_long_report(30)
    face = row(report.plot(), "Face")
    gaps = boxes(face, "gap")
    assert part(face, "gap").get_hatch()
    spans = shown_spans(report.windows, report.media.duration_s)
    missing = [s for s, w in zip(spans, report.windows, strict=True) if w.face is None]
    assert [(left, right) for left, right, *_ in gaps] == missing
    starts = {left for left, *_ in boxes(face, "band")}
    assert starts.isdisjoint(start for start, _ in missing)


def test_outcome_strip_has_the_outcomes_colours() -> None:
    report = make_long_report(30)
    strip = boxes(row(report.plot(), "Outcome"), "outcome")
    spans = shown_spans(report.windows, report.media.duration_s)
    for (start_s, end_s), window in zip(spans, report.windows, strict=True):
        middle_s = (start_s + end_s) / 2
        colors = [color for left, right, *_, color in strip if left < middle_s < right]
        assert colors == [OUTCOME_COLORS[window.outcome]]


def test_curve_is_the_probability_of_conflict_with_gaps() -> None:
    report = make_long_report(30)
    axes = row(report.plot(), "Conflict")
    curve = part(axes, "conflict")
    expected = [np.nan if w.conflict is None else w.conflict for w in report.windows]
    np.testing.assert_array_equal(curve.get_ydata(), expected)
    spans = shown_spans(report.windows, report.media.duration_s)
    np.testing.assert_allclose(curve.get_xdata(), [(a + b) / 2 for a, b in spans])
    assert np.isnan(expected).sum() == 6
    assert len(boxes(axes, "gap")) == 6


def test_thresholds_bound_the_zone_that_is_too_close_to_call() -> None:
    axes = row(make_long_report(5).plot(), "Conflict")
    for name, value in (("conflict_above", 0.8), ("match_below", 0.35)):
        line = part(axes, name)
        assert set(line.get_ydata()) == {value}
        assert line.get_color() == OUTCOME_COLORS[Outcome(name.partition("_")[0])]
    zone = part(axes, "undecided").get_bbox()
    assert (zone.y0, zone.y1) == (0.35, 0.8)
    names = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert names["match"] < 0.35 < names["too close to call"] < 0.8 < names["conflict"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(labels) == ["0%", "100%", "35%", "80%"]


def test_names_of_narrow_zones_do_not_meet() -> None:
    thresholds = replace(THRESHOLDS, conflict_above=0.52, match_below=0.5)
    axes = row(replace(make_long_report(5), thresholds=thresholds).plot(), "Conflict")
    names = ("match", "too close to call", "conflict")
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert all(places[b] - places[a] >= 0.12 for a, b in pairwise(names))


def test_without_thresholds_there_are_no_zones() -> None:
    axes = row(replace(make_long_report(5), thresholds=None).plot(), "Conflict")
    assert [line.get_gid() for line in axes.lines] == ["conflict", "dots"]
    assert "too close to call" not in texts(axes)


def test_trace_gives_the_waveform_and_speech() -> None:
    trace = make_trace(12.0)
    axes = row(make_long_report(5).plot(trace=trace), "Sound")
    wave = boxes(axes, "waveform")
    assert max(high for *_, high, _ in wave) == pytest.approx(trace.peaks.max())
    speech = [(left, right) for left, right, *_ in boxes(axes, "speech")]
    assert speech == [(1.0, 3.0), (5.0, 6.0)]
    dark = {color for left, right, *_, color in wave if left > 1.1 and right < 2.9}
    light = {color for left, right, *_, color in wave if left > 3.1 and right < 4.9}
    assert len(dark) == len(light) == 1
    assert dark != light
    silent = replace(trace, peaks=trace.peaks[:0])
    assert texts(row(make_long_report(5).plot(trace=silent), "Sound")) == ["no sound"]


def test_rows_share_one_time_in_minutes_and_seconds() -> None:
    figure = make_long_report(60).plot(trace=make_trace(122))
    labels = [axes.get_label() for axes in figure.axes]
    assert labels == ["Outcome", "Face", "Voice", "Both", "Conflict", "Sound"]
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, 122.0)}
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks[:3] == ["0:00", "0:15", "0:30"]
    assert "2:00" in ticks
    assert len(make_long_report(60).plot().axes) == 5


def test_an_hour_shows_shares_of_time_and_is_quick() -> None:
    report = make_long_report(1800)
    started_s = time.perf_counter()
    figure = report.plot(trace=make_trace(3602))
    figure.canvas.draw()
    assert time.perf_counter() - started_s < 20  # about one second on an idle core
    face = boxes(row(figure, "Face"), "shares")
    assert {color for *_, color in face} == set(EMOTION_COLORS.values())
    assert max(high for *_, high, _ in face) <= 1 + 1e-9
    area = sum((right - left) * (high - low) for left, right, low, high, _ in face)
    spans = shown_spans(report.windows, 3602)
    seen_s = sum(
        end - start
        for (start, end), window in zip(spans, report.windows, strict=True)
        if window.face is not None
    )
    assert area == pytest.approx(seen_s)
    conflict = row(figure, "Conflict")
    assert len(part(conflict, "conflict").get_ydata()) == 1800
    assert 0 < np.nanmean(part(conflict, "mean").get_ydata()) < 1
    assert "1:00:00" in [label.get_text() for label in figure.axes[-1].get_xticklabels()]


@pytest.mark.parametrize(
    ("face", "voice", "words"),
    [
        (None, Emotion.SAD, "no picture"),
        (Emotion.SAD, None, "no sound"),
        (None, None, "no picture"),
    ],
)
def test_missing_channels_say_why(face: Emotion | None, voice: Emotion | None, words: str) -> None:
    reasons = [Reason.NO_VIDEO_STREAM] * (face is None) + [Reason.NO_AUDIO_STREAM] * (voice is None)
    window = make_prediction(
        face, voice, outcome=Outcome.INSUFFICIENT, conflict=None, reasons=tuple(reasons)
    )
    figure = make_report(window).plot()
    figure.canvas.draw()
    assert words in texts(row(figure, "Face" if face is None else "Voice"))
    assert "not compared" in texts(row(figure, "Conflict"))


def test_one_window_has_a_dot_its_word_and_its_probability() -> None:
    figure = make_report(make_prediction()).plot()
    assert part(row(figure, "Conflict"), "dots").get_ydata().tolist() == [0.04]
    assert texts(row(figure, "Face")) == ["91%", "happy"]
    assert texts(row(figure, "Outcome")) == ["match"]


@pytest.mark.parametrize("report", [make_failed_report(), make_report()])
def test_reports_without_windows_are_text_alone(report: Any) -> None:
    figure = report.plot(trace=make_trace(2))
    figure.canvas.draw()
    assert figure.axes == []
    words = " ".join(text.get_text() for text in figure.texts)
    assert "Could not be analysed" in words or "Nothing to say" in words
    assert "Estimates of expressed emotion" in words


def test_names_of_files_are_no_formulas() -> None:
    report = make_report(make_prediction(), path="x/$\\frac{$ a\nb\udcff" + "w" * 200 + ".mp4")
    figure = report.plot()
    figure.canvas.draw()
    title = figure.texts[0].get_text()
    assert title.startswith("$\\frac{$ a b?www")
    assert title.endswith("…")


def test_it_leaves_no_state_behind() -> None:
    before = dict(mpl.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    figure = make_long_report(5).plot()
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    assert type(figure.canvas) is FigureCanvasAgg


def test_figures_show_themselves_in_notebooks_and_can_be_pickled() -> None:
    figure = make_report(make_prediction()).plot()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(pickle.loads(pickle.dumps(figure)).axes) == 5  # noqa: S301


def test_it_draws_on_figures_and_parts_of_figures() -> None:
    report = make_long_report(5)
    own = Figure(figsize=(9, 5))
    assert report.plot(own) is own
    assert len(own.axes) == 5
    whole = Figure(figsize=(10, 12))
    upper, lower = whole.subfigures(2, 1)
    assert report.plot(upper) is whole
    assert report.plot(lower, trace=make_trace(12)) is whole
    assert (len(upper.axes), len(lower.axes)) == (5, 6)
    FigureCanvasAgg(whole).draw()


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"facevoice\[plot\]"):
        make_report(make_prediction()).plot()
