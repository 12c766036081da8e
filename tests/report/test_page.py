from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from builders import make_failed_report, make_prediction, make_report
from facevoice.errors import ConfigError
from facevoice.records import (
    ChannelPosterior,
    Emotion,
    Prediction,
    Reason,
    Status,
    top_emotion,
)
from facevoice.report import (
    is_report_page,
    page_script,
    page_style,
    to_html,
    to_view,
    write_report_page,
)
from facevoice.report.words import (
    describe_moment,
    describe_point,
    percent,
    summarize_in_words,
)

from .pages import (
    CLEAR,
    FAINT,
    LIKELY,
    OPEN,
    decided,
    make_file,
    make_interview,
    make_interview_trace,
    make_long_report,
    make_trace,
)

HOSTILE = """</script><script>alert(1)</script>{{view}}<!--"'&amp;\u2028.mp4"""
SHOWN = HOSTILE.replace("\u2028", r"\u2028")
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; media-src blob:"
)


def embedded(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="facevoice-view">(.*?)</script>', page)
    assert match is not None
    view: dict[str, Any] = json.loads(match[1])
    return view


def markup(page: str) -> str:
    """The page without the text that a report says of itself."""
    page = re.sub(r"(id=\"facevoice-view\">).*?(</script>)", r"\1\2", page)
    return re.sub(r"<title>.*?</title>", "", page)


def test_a_hostile_name_stays_text() -> None:
    page = to_html(make_report(make_prediction(), path=f"clips/x {HOSTILE}".replace("/s", "\\s")))
    assert embedded(page)["title"] == f"x {SHOWN}".replace("/s", "\\s")
    report = replace(make_failed_report(HOSTILE), models={})
    page = to_html(report)
    assert page.count("<script") == page.count("</script>") == 2
    assert embedded(page)["path"] == SHOWN
    assert "alert(1)" not in markup(page)
    half = to_html(make_report(make_prediction(), path="caf\udce9.mp4"))
    half.encode("utf-8")
    assert embedded(half)["title"] == r"caf\xe9.mp4"


def test_same_report_gives_the_same_bytes() -> None:
    report, trace = make_long_report(30), make_trace(60)
    assert to_html(report, trace) == to_html(report, trace)


@pytest.mark.parametrize("trace", [None, make_trace(60)])
def test_nothing_is_loaded_from_elsewhere(trace: Any) -> None:
    page = markup(to_html(make_long_report(30), trace))
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", page)
    assert not re.search(r"<[^>]+\s(src|href|action|srcset|poster|data)\s*=", page)
    assert "innerHTML" not in page
    assert "insertAdjacentHTML" not in page


def test_the_policy_forbids_everything_from_elsewhere() -> None:
    page = to_html(make_report(make_prediction()))
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in page
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>talk.mp4 · facevoice</title>" in page


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_page(status: Status) -> None:
    if status is Status.FAILED:
        view = embedded(to_html(make_failed_report()))
        assert (view["windows"], view["chosen"]) == ([], 0)
        [point] = view["points"]
        assert point["summary"] is None
        assert "the file is empty" in point["sentence"][0]
    else:
        view = embedded(to_html(make_report(make_prediction(), status=status)))
        assert len(view["windows"]) == 1
    assert view["status"] == status.value
    assert "never for decisions about a person" in view["notice"]


def test_an_hour_is_small() -> None:
    report, trace = make_long_report(1800), make_trace(3600)
    assert len(trace.face_times_s) == 18_000
    assert len(to_html(report, trace).encode()) <= 1_100_000


def test_windows_are_rows_in_the_order_that_the_view_tells() -> None:
    window = make_prediction(None, Emotion.SAD, conflict=None, reasons=(Reason.NO_FACE,))
    view = to_view(make_file(window, duration_s=6.437))
    row = dict(zip(view["window_fields"], view["windows"][0], strict=True))
    assert (row["start"], row["end"], row["from"], row["to"]) == (0, 4, 0, 6.437)
    assert row["face"] is None
    assert row["voice"][Emotion.SAD.position] == 550
    assert view["outcomes"][row["outcome"]]["name"] == "insufficient"
    assert [view["reasons"][k] for k in row["reasons"]] == [
        {"name": "no_face", "words": "no face is seen", "about": "face", "apart": None}
    ]
    assert (row["conflict"], row["face_coverage"], row["speech_coverage"]) == (None, 0, 750)


def sad_voices(*conflicts: float) -> list[Prediction]:
    """One window of a happy face and a sad voice after the other."""
    return [
        make_prediction(voice=Emotion.SAD, conflict=conflict, start_s=2 * k, end_s=2 * k + 4)
        for k, conflict in enumerate(conflicts)
    ]


def test_a_view_holds_what_is_said_at_each_sensitivity() -> None:
    report = make_file(*sad_voices(FAINT, 1 - FAINT, LIKELY, CLEAR, FAINT))
    view = to_view(report)
    names = [outcome["name"] for outcome in view["outcomes"]]
    said = {
        point["name"]: [names[outcome] for outcome in point["outcomes"]] for point in view["points"]
    }
    undecided, conflict = "undecided", "conflict"
    assert said == {
        "cautious": [undecided, undecided, undecided, conflict, undecided],
        "balanced": [undecided, undecided, conflict, conflict, undecided],
        "sensitive": [conflict, undecided, conflict, conflict, conflict],
    }
    assert view["chosen"] == 1
    for point in view["points"]:
        again = decided(report, point["name"])
        assert point["sentence"] == [summarize_in_words(again)]
        assert point["meaning"] == describe_point(again)
        assert [m["words"] for m in point["moments"]] == [
            [describe_moment(m)] for m in again.moments
        ]
        assert sum(point["counts"]) == 5
        assert sum(point["seconds"]) == 12
        assert point["summary"] is None
    sensitive = view["points"][2]
    assert [sensitive["moments"][k]["from"] for k in sensitive["strongest"]] == [5, 0]
    reasons = [[view["reasons"][k]["name"] for k in places] for places in sensitive["reasons"]]
    assert reasons == [[], ["emotions_differ"], [], [], []]
    for point, prob in zip(view["points"], (LIKELY, FAINT, OPEN), strict=True):
        zones = {zone["words"]: (zone["from"], zone["to"]) for zone in point["zones"]}
        assert list(zones) == ["match", "undecided", "conflict"]
        assert zones["match"][0] == 0 < zones["match"][1] == zones["undecided"][0]
        assert zones["undecided"][0] < 500 < 1000 * prob < zones["undecided"][1]
        assert zones["undecided"][1] == zones["conflict"][0] < zones["conflict"][1] == 1000


def test_a_sensitivity_of_ones_own_is_another_choice() -> None:
    view = to_view(decided(make_file(*sad_voices(FAINT)), 0.85))
    names = [point["name"] for point in view["points"]]
    assert names == ["cautious", "balanced", "sensitive", "85% right"]
    assert view["chosen"] == 3
    # A model that compares nothing has nothing to choose from.
    [point] = to_view(make_report(make_prediction()))["points"]
    assert point["zones"] == []


def test_numbers_give_the_same_per_cent_on_the_page_as_in_words() -> None:
    rng = np.random.default_rng(2)
    windows = [
        replace(make_prediction(conflict=float(conflict)), face=ChannelPosterior(probs))
        for conflict, probs in zip(
            rng.integers(0, 20_001, 2000) / 20_000,
            rng.dirichlet(np.full(8, 0.5), 2000),
            strict=True,
        )
    ]
    view = to_view(make_file(*windows))
    rows = [dict(zip(view["window_fields"], row, strict=True)) for row in view["windows"]]
    for window, row in zip(windows, rows, strict=True):
        assert window.face is not None
        emotion, prob = top_emotion(window.face)
        assert row["face"].index(max(row["face"])) == emotion.position
        for value, unit in ((window.conflict, row["conflict"]), (prob, max(row["face"]))):
            # As scripts round: half a per cent is rounded up.
            assert f"{min(max((unit + 5) // 10, 1), 99)}%" == percent(value or 0.0)


def test_packed_numbers_hold_what_was_seen_and_heard() -> None:
    trace = make_trace(120)
    trace.boxes_xyxy_rel[0, 0] = -0.05  # A face may stick out of the picture.
    packed = to_view(make_long_report(60), trace)["trace"]
    times_ms = np.frombuffer(base64.b64decode(packed["faces"]["times"]), "<i4")
    boxes = np.frombuffer(base64.b64decode(packed["faces"]["boxes"]), "<i2").reshape(-1, 4)
    peaks = np.frombuffer(base64.b64decode(packed["peaks"]), "u1")
    np.testing.assert_allclose(times_ms / 1000, trace.face_times_s, atol=5e-4)
    np.testing.assert_allclose(boxes / 1000, trace.boxes_xyxy_rel, atol=6e-4)
    np.testing.assert_allclose(peaks / 255, trace.peaks, atol=2.1e-3)
    assert packed["faces"]["tracks"] == [[0, 500], [1, 100]]


def test_a_view_tells_who_is_seen_and_speaks_when() -> None:
    view = to_view(make_interview(), make_interview_trace())
    anna, ben = view["people"]
    assert (anna["number"], anna["name"], anna["tracks"]) == (1, "Anna", [4])
    assert (
        anna["portrait"] == "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8anna").decode()
    )
    assert ben["portrait"] is None
    assert (anna["seen"], ben["seen"]) == ([[0, 7.8]], [[0, 0.8], [3, 5]])
    # In the last window, the voice is nobody's who is seen.
    assert (anna["speaking"], ben["speaking"]) == ([[1, 3]], [[3, 4], [4.5, 5]])
    assert (ben["seen_s"], ben["speaking_s"], ben["windows"]) == (4, 1, [])
    place = view["window_fields"].index("person")
    assert [row[place] for row in view["windows"]] == [1, 2, 1]
    # Without what was seen and heard, whole windows; where nobody asked who speaks, nothing.
    blind = to_view(make_interview())["people"]
    assert [person["seen"] for person in blind] == [[], []]
    assert [person["speaking"] for person in blind] == [[[0, 3]], [[3, 5]]]
    leading = to_view(make_interview(people="leading"), make_interview_trace())["people"]
    assert [(person["speaking"], person["speaking_s"]) for person in leading] == [([], None)] * 2


def test_names_stand_apart_from_the_words_so_that_they_can_be_changed() -> None:
    report = make_interview()
    point = to_view(report)["points"][1]
    assert [moment["words"][:1] for moment in point["moments"][:2]] == [[1], [2]]
    assert point["moments"][1]["words"][1].startswith(": face happy, voice sad: conflict, ")
    # Nobody's name stands before what is off screen.
    off_screen = "the voice comes from somebody off screen; face happy, voice happy"
    assert point["moments"][2]["words"] == [off_screen]
    names = {1: "Anna", 2: "Ben"}
    said = "".join(names.get(piece, piece) for piece in point["sentence"])
    assert said == summarize_in_words(report)
    assert "0:03–0:05 Ben: face happy, voice sad" in said
    assert "2 people are seen: Anna speaks for 3 s, Ben for 1 s." in said
    # Alone, nobody needs a name.
    alone = replace(report, people=report.people[:1])
    assert "Anna" not in json.dumps(to_view(alone)["points"])


def test_of_everybody_a_view_tells_what_each_shows_at_each_sensitivity() -> None:
    view = to_view(make_interview(people="all"))
    anna, ben = view["people"]
    rows = [dict(zip(view["window_fields"], row, strict=True)) for row in anna["windows"]]
    assert [(row["from"], row["to"], row["voice"] is None) for row in rows] == [
        *((0, 3, False), (3, 5, True), (5, 8, False)),
    ]
    names = [outcome["name"] for outcome in view["outcomes"]]
    for point in view["points"]:
        said = [[names[k] for k in person["outcomes"]] for person in point["people"]]
        assert said == [["match", "insufficient", "insufficient"], ["conflict"]]
    assert len(ben["windows"]) == 1


def test_a_hostile_person_stays_text() -> None:
    report = make_interview()
    anna, ben = report.people
    page = to_html(replace(report, people=(replace(anna, name=HOSTILE), ben)))
    assert page.count("<script") == page.count("</script>") == 2
    assert "alert(1)" not in markup(page)
    assert embedded(page)["people"][0]["name"] == SHOWN


def test_style_stays_below_the_root_and_script_in_one_function() -> None:
    style = re.sub(r"/\*.*?\*/", "", page_style())
    style = re.sub(r":is\([^()]*\)", "", style)
    style = re.sub(r"@media[^{]*\{(.*?\})\s*\}", r"\1", style, flags=re.DOTALL)
    selectors = [s.strip() for group in re.findall(r"([^{}]+)\{", style) for s in group.split(",")]
    assert [s for s in selectors if not s.startswith(".fv-root")] == []
    assert page_script().startswith("(function () {")
    assert page_script().endswith("})();\n")
    assert page_script().count("window.facevoice = ") == 1
    assert "</script" not in page_script()
    assert "</style" not in page_style()


def test_only_pages_made_here_are_replaced(tmp_path: Path) -> None:
    report, path = make_report(make_prediction()), tmp_path / "page.html"
    path.write_text("<title>&lt;meta name=generator content=facevoice</title>")
    assert not is_report_page(path)
    with pytest.raises(ConfigError, match=r"page\.html: there is another file"):
        write_report_page(report, path)
    for overwrite in (True, False):  # the second time, it is one made here
        write_report_page(report, path, make_trace(6), overwrite=overwrite)
        assert path.read_text(encoding="utf-8") == to_html(report, make_trace(6))
    for wrong, words in ((tmp_path, "is a folder"), (tmp_path / "no" / "a.html", "make it first")):
        with pytest.raises(ConfigError, match=words):
            write_report_page(report, wrong)


def test_notebooks_show_the_page_in_a_frame_of_its_own() -> None:
    report = make_report(make_prediction(), path='a" onload="alert(1)<b>\udcff.mp4')
    shown = report._repr_html_()
    frame = ET.fromstring(shown)  # noqa: S314
    assert (frame.tag, frame.get("sandbox")) == (*("iframe", "allow-scripts allow-downloads"),)
    assert frame.get("srcdoc", "").split() == to_html(report).split()
    assert "onload" not in frame.attrib
    assert len(make_failed_report()._repr_html_()) < 200_000
