from __future__ import annotations

import pickle
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from builders import make_failed_report, make_report
from facevoice.errors import MissingExtraError
from facevoice.interpret import shown_spans
from facevoice.records import EMOTIONS, Outcome, Report, top_emotion
from facevoice.report.words import EMOTION_COLORS, EMOTION_WORDS, OUTCOME_COLORS
from made_reports import CONFLICT, FLAT, MATCH, decided, in_a_row

from .pages import make_long_report

CHANNELS = ("face", "voice", "fused")
COMPARED = (Outcome.MATCH, Outcome.CONFLICT, Outcome.UNDECIDED)


def stairs(axes: Any, label: str) -> Any:
    return next(patch for patch in axes.patches if patch.get_label() == label)


def test_bands_have_the_emotions_colours_and_probabilities_where_windows_stand() -> None:
    report = make_long_report(200)
    figure = report.plot()
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names == ["Outcome", "Face", "Voice", "Both", "Probability\nof conflict"]
    ends_s = [end_s for _, end_s in shown_spans(report.windows, report.media.duration_s)]
    for axes, channel in zip(figure.axes[1:4], CHANNELS, strict=True):
        tops = [
            None if (p := getattr(w, channel)) is None else top_emotion(p) for w in report.windows
        ]
        for emotion in EMOTIONS:
            band = stairs(axes, EMOTION_WORDS[emotion])
            assert to_hex(band.get_facecolor()).upper() == EMOTION_COLORS[emotion]
            values, edges_s, _ = band.get_data()
            expected = [top[1] if top and top[0] is emotion else np.nan for top in tops]
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_allclose(edges_s[1:], ends_s)
        gaps = [patch.get_data().values for patch in axes.patches if patch.get_hatch()]
        missing = [top is None for top in tops]
        assert [[value == 1 for value in values] for values in gaps] == [missing] * any(missing)


def test_the_strip_has_the_outcomes_colours() -> None:
    report = make_long_report(200)
    axes = report.plot().axes[0]
    for outcome in Outcome:
        band = stairs(axes, outcome.value)
        assert to_hex(band.get_facecolor()).upper() == OUTCOME_COLORS[outcome]
        values = band.get_data().values
        assert [value == 1 for value in values] == [w.outcome is outcome for w in report.windows]


def test_moments_are_named_where_there_is_room() -> None:
    figure = decided(*in_a_row([CONFLICT, *[MATCH] * 40, CONFLICT, *[FLAT] * 6])).plot()
    figure.canvas.draw()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["match: happy / happy", "flat"]
    for text in axes.texts:  # inside its moment
        left, right = axes.transData.inverted().transform(text.get_window_extent())[:, 0]
        middle_s = text.get_position()[0]
        length_s = {"flat": 14.0}.get(text.get_text(), 80.0)
        assert middle_s - length_s / 2 < left < right < middle_s + length_s / 2


def test_the_probability_of_conflict_is_a_line_where_it_counts_and_dotted_elsewhere() -> None:
    report = make_long_report(200)
    axes = report.plot().axes[-1]
    dotted, line = axes.lines
    known = [np.nan if w.conflict is None else w.conflict for w in report.windows]
    counted = [
        prob if window.outcome in COMPARED else np.nan
        for prob, window in zip(known, report.windows, strict=True)
    ]
    np.testing.assert_array_equal(dotted.get_ydata(), known)
    np.testing.assert_array_equal(line.get_ydata(), counted)
    assert (dotted.get_linestyle(), line.get_linestyle()) == (":", "-")
    assert np.isnan(counted).sum() > np.isnan(known).sum()


def test_behind_it_stand_the_zones_of_what_is_called() -> None:
    report = make_long_report(200)
    axes = report.plot().axes[-1]
    above, below = report.point.conflict_above, report.point.match_below
    zones = {
        (round(patch.get_y(), 6), round(patch.get_height(), 6)): to_hex(patch.get_facecolor())
        for patch in axes.patches
        if hasattr(patch, "get_y")
    }
    expected = {
        (0.0, below): Outcome.MATCH,
        (below, above - below): Outcome.UNDECIDED,
        (above, 1 - above): Outcome.CONFLICT,
    }
    assert {place: color.upper() for place, color in zones.items()} == {
        (round(low, 6), round(high, 6)): OUTCOME_COLORS[outcome]
        for (low, high), outcome in expected.items()
    }
    assert [text.get_text() for text in axes.texts] == ["match", "undecided", "conflict"]
    plain = decided(*report.windows, curve=None).plot().axes[-1]
    assert len(plain.texts) == 0


@pytest.mark.parametrize("num_windows", [1, 1800])
def test_any_length_is_drawn_with_its_legend_and_times(num_windows: int) -> None:
    report = make_long_report(num_windows)
    figure = report.plot()
    figure.canvas.draw()
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, report.media.duration_s)}
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert ticks[0] == "0:00"
    assert ("1:00:00" in ticks) == (num_windows == 1800)
    named = {text.get_text() for text in figure.axes[-1].get_legend().get_texts()}
    shown = {window.outcome.value for window in report.windows}
    assert shown <= named <= {*EMOTION_WORDS.values(), *Outcome}
    is_long = num_windows == 1800
    assert figure.axes[-1].get_xlabel() == ("time (h:min:s)" if is_long else "time (min:s)")


@pytest.mark.parametrize("report", [make_failed_report(), make_report()])
def test_reports_without_windows_are_text_alone(report: Report) -> None:
    figure = report.plot()
    figure.canvas.draw()
    assert figure.axes == []
    assert any(w in figure.get_suptitle() for w in ("Could not be analysed", "Nothing to say"))
    assert "Estimates of expressed emotion" in figure.get_supxlabel()


def test_names_of_files_are_no_formulas() -> None:
    report = decided(MATCH, path="x/$\\frac{$ a\nb\udcff " + "w" * 200 + ".mp4")
    figure = report.plot()
    figure.canvas.draw()
    title = figure.get_suptitle().splitlines()[0]
    assert title.startswith("$\\frac{$ a b\\xff w")
    assert title.endswith("…")


def test_it_leaves_no_state_behind_and_draws_on_any_figure() -> None:
    before, had_pyplot = dict(mpl.rcParams), "matplotlib.pyplot" in sys.modules
    report = make_long_report(5)
    figure = report.plot()
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot
    assert type(figure.canvas) is FigureCanvasAgg
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(pickle.loads(pickle.dumps(figure)).axes) == 5  # noqa: S301
    own = Figure(figsize=(9, 5))
    assert report.plot(own) is own
    whole = Figure(figsize=(10, 12))
    upper, lower = whole.subfigures(2, 1)
    assert report.plot(upper) is report.plot(lower) is whole
    assert (len(own.axes), len(upper.axes), len(lower.axes)) == (5, 5, 5)
    FigureCanvasAgg(whole).draw()


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match="plot"):
        decided(MATCH).plot()
