from __future__ import annotations

import re
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.records import NOTICE, Emotion, Outcome, Reason, Report
from facevoice.report.words import EMOTION_COLORS, OUTCOME_COLORS

from .timelines import make_long_report

HOSTILE = (
    "</title></svg><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\x00\x1b\udcff.mp4"
)


def parse(report: Report) -> ET.Element:
    """The fragment, which is well-formed XML too."""
    return ET.fromstring(report._repr_html_())  # noqa: S314


def words(element: ET.Element) -> str:
    return " ".join(element.itertext())


def test_it_says_outcome_sentence_and_notice() -> None:
    conflict = make_prediction(voice=Emotion.SAD, outcome=Outcome.CONFLICT, conflict=0.87)
    root = parse(make_report(conflict))
    badge = next(root.iter("span"))
    assert badge.text == "conflict"
    assert OUTCOME_COLORS[Outcome.CONFLICT] in badge.attrib["style"]
    assert "talk.mp4" in words(root)
    assert "probability of conflict 87%" in words(root)
    assert NOTICE in words(root)


def test_it_is_static_and_keeps_to_itself() -> None:
    root = parse(make_long_report(60))
    names = {element.tag for element in root.iter()}
    assert names == {"div", "span", "svg", "rect", "path", "text", "title"}
    attributes = {name for element in root.iter() for name in element.attrib}
    assert attributes.isdisjoint({"id", "class", "href", "src"})
    assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in make_long_report(60)._repr_html_()


def path_boxes(svg: ET.Element, color: str) -> list[tuple[float, float, float, float]]:
    found = []
    for path in svg.iter("path"):
        if path.attrib.get("fill") == color:
            shape = r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h-[\d.]+z"
            found += [tuple(map(float, m.groups())) for m in re.finditer(shape, path.attrib["d"])]
    return found


def test_bands_have_the_emotions_colours_at_the_height_of_their_probability() -> None:
    windows = [
        make_prediction(Emotion.HAPPY, Emotion.SAD),
        make_prediction(Emotion.ANGRY, Emotion.SAD, start_s=4, end_s=8),
    ]
    report = make_report(*windows)
    svg = next(parse(report).iter("svg"))
    (happy,) = [b for b in path_boxes(svg, EMOTION_COLORS[Emotion.HAPPY]) if b[1] < 80]
    (angry,) = [b for b in path_boxes(svg, EMOTION_COLORS[Emotion.ANGRY]) if b[1] < 80]
    assert happy[0] == 84
    assert happy[0] + happy[2] == pytest.approx(angry[0])
    assert happy[3] == pytest.approx(0.91 * 29, abs=0.01)
    sad = path_boxes(svg, EMOTION_COLORS[Emotion.SAD])
    assert [box[3] for box in sad] == pytest.approx([0.55 * 29] * 2, abs=0.01)
    assert {"happy", "angry", "sad"} <= {text.text for text in svg.iter("text")}


def test_the_curve_breaks_at_gaps() -> None:
    report = make_long_report(20)
    (curve,) = [
        path.attrib["d"]
        for path in parse(report).iter("path")
        if path.attrib.get("stroke-width") == "1.6"
    ]
    known = [w.conflict is not None for w in report.windows]
    assert len(re.findall("[ML]", curve)) == sum(known)
    assert curve.count("M") == 5  # windows 3, 7, 13 and 17 have none


def test_zones_are_named_if_there_are_thresholds() -> None:
    report = make_long_report(5)
    assert "too close to call" in words(parse(report))
    assert "too close to call" not in words(parse(replace(report, thresholds=None)))


def test_gaps_say_why() -> None:
    window = make_prediction(
        None, outcome=Outcome.INSUFFICIENT, conflict=None, reasons=(Reason.NO_FACE,)
    )
    svg = next(parse(make_report(window)).iter("svg"))
    written = [text.text for text in svg.iter("text")]
    assert "no face" in written
    assert "not compared" in written


@pytest.mark.parametrize("num_windows", [0, 1, 60])
def test_hostile_names_stay_text(num_windows: int) -> None:
    report = make_long_report(num_windows, path=HOSTILE)
    html = report._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    root = parse(report)
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "img"})
    assert "<img src=x onerror='alert(2)'>" in words(root)
    html.encode("utf-8")


def test_failed_reports_say_so_with_a_hostile_message() -> None:
    root = parse(make_failed_report("<b>x&y.mp4"))
    assert next(root.iter("span")).text == "failed"
    assert list(root.iter("svg")) == []
    assert "Could not be analysed: clips" in words(parse(make_failed_report()))
    assert "<b>x&y.mp4" in words(root)


def test_an_hour_stays_light() -> None:
    report = make_long_report(1800)
    assert len(report._repr_html_()) < 200_000
    svg = next(parse(report).iter("svg"))
    assert len(list(svg.iter())) < 1000
    assert "share of time" in words(svg)


def test_it_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "<svg" in make_long_report(5)._repr_html_()
