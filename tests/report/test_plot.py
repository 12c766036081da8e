from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import MissingExtraError
from facevoice.records import EMOTIONS, Outcome, Report, top_emotion
from facevoice.report.words import EMOTION_COLORS, OUTCOME_COLORS, shown_spans

from .pages import make_long_report

CHANNELS = ("face", "voice", "fused")


def stairs(axes: Any, label: str) -> Any:
    return next(patch for patch in axes.patches if patch.get_label() == label)


def test_bands_have_the_emotions_colours_and_probabilities_where_windows_stand() -> None:
    report = make_long_report(200)
    figure = report.plot()
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["Face", "Voice", "Both"]
    ends_s = [end_s for _, end_s in shown_spans(report.windows, report.media.duration_s)]
    for axes, channel in zip(figure.axes[:3], CHANNELS, strict=True):
        tops = [
            None if (p := getattr(w, channel)) is None else top_emotion(p) for w in report.windows
        ]
        for emotion in EMOTIONS:
            band = stairs(axes, emotion.value)
            assert to_hex(band.get_facecolor()).upper() == EMOTION_COLORS[emotion]
            values, edges_s, _ = band.get_data()
            expected = [top[1] if top and top[0] is emotion else np.nan for top in tops]
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_allclose(edges_s[1:], ends_s)
        gaps = [patch.get_data().values for patch in axes.patches if patch.get_hatch()]
        missing = [top is None for top in tops]
        assert [[value == 1 for value in values] for values in gaps] == [missing] * any(missing)


def test_curve_is_the_probability_of_conflict_before_the_outcomes() -> None:
    report = make_long_report(200)
    axes = report.plot().axes[3]
    *lines, curve = axes.lines
    expected = [np.nan if w.conflict is None else w.conflict for w in report.windows]
    np.testing.assert_array_equal(curve.get_ydata(), expected)
    assert {line.get_ydata()[0]: line.get_color() for line in lines} == {
        0.35: OUTCOME_COLORS[Outcome.MATCH],
        0.8: OUTCOME_COLORS[Outcome.CONFLICT],
    }
    for outcome in Outcome:
        values = stairs(axes, outcome.value).get_data().values
        assert [value == 1 for value in values] == [w.outcome is outcome for w in report.windows]
    assert [text.get_text() for text in axes.texts] == ["match", "too close to call", "conflict"]
    plain = replace(report, thresholds=None).plot().axes[3]
    assert (len(plain.lines), len(plain.texts)) == (1, 0)


@pytest.mark.parametrize("num_windows", [1, 1800])
def test_any_length_is_drawn_with_its_legend_and_times(num_windows: int) -> None:
    report = make_long_report(num_windows)
    figure = report.plot()
    figure.canvas.draw()
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, report.media.duration_s)}
    ticks = [label.get_text() for label in figure.axes[3].get_xticklabels()]
    assert ticks[0] == "0:00"
    assert ("1:00:00" in ticks) == (num_windows == 1800)
    named = {text.get_text() for text in figure.axes[3].get_legend().get_texts()}
    shown = {outcome.value for outcome in report.outcome_counts}
    assert shown <= named <= {*EMOTIONS, *Outcome}


@pytest.mark.parametrize("report", [make_failed_report(), make_report()])
def test_reports_without_windows_are_text_alone(report: Report) -> None:
    figure = report.plot()
    figure.canvas.draw()
    assert figure.axes == []
    assert any(w in figure.get_suptitle() for w in ("Could not be analysed", "Nothing to say"))
    assert "Estimates of expressed emotion" in figure.get_supxlabel()


def test_names_of_files_are_no_formulas() -> None:
    report = make_report(make_prediction(), path="x/$\\frac{$ a\nb\udcff " + "w" * 200 + ".mp4")
    figure = report.plot()
    figure.canvas.draw()
    title = figure.get_suptitle().splitlines()[0]
    assert title.startswith("$\\frac{$ a b? w")
    assert title.endswith("…")


def test_it_leaves_no_state_behind_and_draws_on_any_figure() -> None:
    before, had_pyplot = dict(mpl.rcParams), "matplotlib.pyplot" in sys.modules
    report = make_long_report(5)
    figure = report.plot()
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    assert type(figure.canvas) is FigureCanvasAgg
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(pickle.loads(pickle.dumps(figure)).axes) == 4  # noqa: S301
    own = Figure(figsize=(9, 5))
    assert report.plot(own) is own
    whole = Figure(figsize=(10, 12))
    upper, lower = whole.subfigures(2, 1)
    assert report.plot(upper) is report.plot(lower) is whole
    assert (len(own.axes), len(upper.axes), len(lower.axes)) == (4, 4, 4)
    FigureCanvasAgg(whole).draw()


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="plot"):
        make_report(make_prediction()).plot()
