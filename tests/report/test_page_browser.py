"""The page in a real browser, opened from disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from browser import PATIENCE_MS, barriers, open_browser, watched_page
from builders import make_failed_report, make_prediction, make_report
from conftest import ClipMaker
from facevoice.records import Emotion, Outcome, Prediction, Reason, Report, Status, Trace
from facevoice.report import page_script, page_style, to_html, to_view
from facevoice.report.words import (
    channel_words,
    conflict_words,
    describe_moment,
    describe_point,
    percent,
    strongest_conflicts,
    summarize_in_words,
)
from facevoice.settings import SENSITIVITIES

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

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
VIDEO = "document.querySelector('video')"

Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests here."""
    with open_browser("--autoplay-policy=no-user-gesture-required") as opened:
        yield opened


@pytest.fixture(scope="module")
def talk(make_shared_clip: ClipMaker) -> Path:
    """8 s to watch along."""
    return make_shared_clip("talk.mp4", duration_s=8.0, width=320, height=240)


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Opener]:
    """`open_page(html, **options) -> page`, from disk; what it asks of others fails the test."""
    with ExitStack() as stack:

        def open_html(html: str, **options: Any) -> Any:
            path = tmp_path / "page.html"
            path.write_text(html, encoding="utf-8")
            page = stack.enter_context(watched_page(browser, **options))
            page.goto(path.as_uri())
            return page

        yield open_html


@pytest.fixture
def open_report(open_page: Opener) -> Opener:
    """`open_report(report, trace=None, **options) -> page`."""
    return lambda report, trace=None, **options: open_page(to_html(report, trace), **options)


def two_outcomes(*reasons: Reason) -> Report:
    """8 s: a match up to 3 s, a conflict up to 5 s, then no face."""
    return make_file(
        make_prediction(reasons=reasons),
        make_prediction(voice=Emotion.SAD, conflict=LIKELY, start_s=2, end_s=6),
        make_prediction(
            None, Emotion.CALM, conflict=None, reasons=(Reason.NO_FACE,), start_s=4, end_s=8
        ),
    )


def make_scenes(*scenes: tuple[Emotion, Emotion, float]) -> Report:
    """A window for each face, voice and probability of conflict: 3 s, then 2 s each."""
    windows = [
        make_prediction(face, voice, conflict=conflict, start_s=2 * k, end_s=2 * k + 4)
        for k, (face, voice, conflict) in enumerate(scenes)
    ]
    return make_file(*windows)


def three_conflicts() -> Report:
    """Conflicts at 3, 9 and 13 s, the one at 9 s the strongest, among all that isn't missing."""
    happy, sad, calm = Emotion.HAPPY, Emotion.SAD, Emotion.CALM
    match, flat, open_one = (happy, happy, 0.1), (happy, calm, 0.9), (happy, sad, OPEN)
    conflicts = (happy, sad, LIKELY + 0.01), (sad, happy, CLEAR), (happy, sad, LIKELY)
    return make_scenes(match, conflicts[0], match, flat, conflicts[1], open_one, conflicts[2])


def still_trace() -> Trace:
    """One face that stands still for two seconds; no sound known after that either."""
    times_s = np.arange(11) / 5
    boxes = np.tile(np.array([0.25, 0.25, 0.75, 0.75], np.float32), (11, 1))
    peaks = np.full(160, 0.5, np.float32)
    return Trace(times_s, boxes, np.zeros(11, np.int64), peaks, np.array([[1.0, 2.0]]))


def click_at(page: Any, part: float) -> None:
    """Click on the timeline at a part of its width."""
    area = page.locator(".fv-area")
    area.click(position={"x": area.bounding_box()["width"] * part, "y": 30})


def until(page: Any, condition: str) -> None:
    """Wait for a script's condition; playwright's own way needs `eval`, which the page forbids."""
    wait_until(page, lambda: page.evaluate(condition), condition)


def wait_until(page: Any, holds: Callable[[], bool], told: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_MS / 1000
    while not holds():
        assert time.monotonic() < deadline_s, f"never came true: {told}"
        page.wait_for_timeout(50)


def video_time_s(page: Any) -> float:
    until(page, f"!{VIDEO}.seeking")
    value: float = page.evaluate(f"{VIDEO}.currentTime")
    return value


def overflow_px(page: Any) -> int:
    root = "document.documentElement"
    value: int = page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")
    return value


def ink(page: Any, selector: str) -> int:
    """How many pixels of a canvas are drawn on."""
    value: int = page.evaluate(
        """selector => {
          const canvas = document.querySelector(selector);
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.filter((value, k) => k % 4 === 3 && value > 0).length;
        }""",
        selector,
    )
    return value


def test_it_says_what_the_report_says(open_report: Opener) -> None:
    page = open_report(two_outcomes(), still_trace())
    assert page.title() == "talk.mp4 · facevoice"
    assert page.locator("h1").inner_text() == "talk.mp4"
    assert page.locator(".fv-header .fv-badge").inner_text() == "undecided"
    sentence = page.locator(".fv-header .fv-sentence").inner_text()
    assert "Undecided, leans to match" in sentence
    assert "never for decisions about a person" in page.locator(".fv-notice").inner_text()
    assert "Nothing is uploaded" in page.locator(".fv-watch").inner_text()
    levels = page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => Number(h.tagName[1]))")
    assert levels == [1, 2, 2, 3, 2, 2, 2, 3]
    assert ink(page, ".fv-area canvas") > 10_000
    assert "ab" * 32 in page.locator(".fv-footer").inner_text()
    rows = page.locator(".fv-windows tbody tr")
    assert rows.count() == 0  # built when it is opened
    page.locator("summary").click()
    page.wait_for_selector(".fv-windows tbody tr")
    cells = [cell.strip() for cell in rows.nth(1).locator("td").all_inner_texts()]
    assert cells == [
        "0:03–0:05",
        "conflict",
        str(round(100 * LIKELY)),
        "happy 91%",
        "sad 55%",
        "happy 80%",
        "",
    ]
    assert "No face is seen" in rows.nth(2).inner_text()
    heads = page.locator(".fv-windows th").all_inner_texts()
    assert heads[:3] == ["Time (min:s)", "Outcome", "Conflict (%)"]
    rows.nth(2).get_by_role("button").click()
    assert "window 3 of 3" in page.locator(".fv-detail").inner_text()


def test_a_click_selects_the_moment(open_report: Opener) -> None:
    page = open_report(two_outcomes())
    detail = page.locator(".fv-detail")
    assert "window 1 of 3" in detail.inner_text()
    click_at(page, 0.5)
    assert "0:02–0:06" in detail.inner_text()
    assert "conflict" in detail.locator(".fv-badge").inner_text()
    assert "The face looks happy (91%), the voice sounds sad (55%)." in detail.inner_text()
    assert percent(LIKELY) in detail.inner_text()
    slider = page.get_by_role("slider")
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(4.0, abs=0.05)
    said = slider.get_attribute("aria-valuetext")
    assert said == "0:04, the face looks happy (91%), the voice sounds sad (55%): conflict"
    click_at(page, 0.9)
    assert "No face is seen" in detail.locator("td").first.inner_text()
    said = slider.get_attribute("aria-valuetext")
    assert said == "0:07, no face is seen, the voice sounds calm (55%): insufficient"


def check_page(page: Any, report: Report) -> None:
    """Every part of the page says what the report says."""
    assert page.locator(".fv-sentence").inner_text().endswith(summarize_in_words(report))
    assert page.locator(".fv-points .fv-note").inner_text() == describe_point(report)
    counts = [
        f"{report.outcome_counts[outcome]} {outcome}"
        for outcome in Outcome
        if report.outcome_counts[outcome]
    ]
    if report.summary is None:
        assert page.locator(".fv-counts li").all_inner_texts() == counts
        assert page.locator(".fv-header .fv-badge").count() == 0
    else:
        assert page.locator(".fv-header .fv-badge").inner_text() == report.summary.outcome
    rows = page.locator(".fv-outcomes tbody tr")
    shown = [int(cell) for cell in rows.locator("td:nth-child(2)").all_inner_texts()]
    assert shown == [report.outcome_counts[outcome] for outcome in Outcome]
    conflicts = strongest_conflicts(report.moments)
    listed = [*conflicts, *(m for m in report.moments if m.outcome is not Outcome.CONFLICT)]
    moments = page.locator(".fv-moments li > span:last-child").all_text_contents()
    assert moments == [describe_moment(moment) for moment in listed][: len(moments)]
    table: list[list[str]] = page.eval_on_selector_all(
        ".fv-windows tbody tr",
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()))",
    )
    for cells, window in zip(table, report.windows, strict=True):
        chance = conflict_words(window).rstrip("%")
        assert cells[1:3] == [window.outcome, chance]
        assert cells[3] == channel_words(window, "face").replace("no face", "–")


def check_window(page: Any, window: Prediction) -> None:
    """The card and the timeline say what the selected window says."""
    card = page.locator(".fv-detail")
    assert card.locator(".fv-badge").inner_text() == window.outcome
    said = page.get_by_role("slider").get_attribute("aria-valuetext")
    assert said.endswith(f": {window.outcome}")
    chance = conflict_words(window).replace("–", "not compared")
    assert card.locator("dd").first.inner_text() == chance
    verdict = card.locator(".fv-verdict").inner_text()
    assert ("leans" in verdict) == (window.outcome is Outcome.UNDECIDED)


def test_another_sensitivity_changes_all_that_is_said(open_report: Opener) -> None:
    report = make_long_report(130)
    page = open_report(report)
    page.locator("summary").click()
    page.wait_for_selector(".fv-windows tbody tr")
    page.get_by_role("slider").press("End")
    drawn = set()
    for name in ("sensitive", "cautious", "balanced"):
        page.get_by_role("radio", name=name).check()
        again = decided(report, name)
        check_page(page, again)
        check_window(page, again.windows[-1])
        until(page, "new Promise(done => requestAnimationFrame(() => done(true)))")
        drawn.add(page.evaluate("document.querySelector('.fv-area canvas').toDataURL()"))
    assert len(drawn) == 3
    group = page.get_by_role("group", name="How readily is a match or conflict called?")
    assert group.get_by_role("radio").count() == len(SENSITIVITIES)
    page.keyboard.press("ArrowRight")
    check_page(page, decided(report, "sensitive"))
    outcomes = set()
    page.get_by_role("slider").press("End")
    for window in reversed(decided(report, "sensitive").windows[100:]):
        outcomes.add(window.outcome)
        check_window(page, window)
        page.get_by_role("slider").press("ArrowLeft")
    assert outcomes == set(Outcome)


def test_a_short_file_has_one_answer_at_each_sensitivity(open_report: Opener) -> None:
    report = make_scenes((Emotion.HAPPY, Emotion.SAD, FAINT))
    page = open_report(report)
    assert page.locator(".fv-moments-section").is_hidden()  # The sentence has said it.
    page.locator("summary").click()
    for name, outcome in (("sensitive", "conflict"), ("balanced", "undecided")):
        page.get_by_role("radio", name=name).check()
        check_page(page, decided(report, name))
        assert page.locator(".fv-header .fv-badge").inner_text() == outcome
    assert "leans to conflict" in page.locator(".fv-windows").inner_text()


def test_it_says_what_a_window_rests_on_and_what_is_not_trusted(open_report: Opener) -> None:
    window = make_prediction(voice=Emotion.SAD, conflict=OPEN)
    assert window.face is not None
    assert window.voice is not None
    known = replace(
        window,
        face=replace(window.face, num_known=11.7),
        voice=replace(window.voice, num_known=0.0, unfamiliarity=1.5),
    )
    page = open_report(make_file(known))
    assert "Compared with this person's usual face, from 12 windows; the voice isn't known" in (
        page.inner_text("body")
    )
    facts = page.locator(".fv-facts").first.inner_text().split("\n")
    assert facts[facts.index("This person's face known") + 1] == "from 12 windows"
    assert facts[facts.index("This person's voice known") + 1] == "not yet"
    assert facts[facts.index("Probability of conflict") + 1] == "not compared"
    verdict = page.locator(".fv-said").inner_text()
    assert "The voice is unlike any that facevoice has learnt from" in verdict
    assert "lean" not in verdict
    assert "too close to call" not in verdict
    plain = open_report(make_file(window))
    assert "known" not in plain.locator(".fv-facts").first.inner_text()


def test_moments_lead_and_jump(open_report: Opener) -> None:
    report = three_conflicts()
    page = open_report(report)
    rows = page.locator(".fv-moments li")
    assert [row.split("\n")[:2] for row in rows.all_inner_texts()] == [
        *(["0:09–0:11", "conflict"], ["0:03–0:05", "conflict"], ["0:13–0:16", "conflict"]),
        *(["0:00–0:03", "match"], ["0:05–0:07", "match"], ["0:07–0:09", "flat"]),
        ["0:11–0:13", "undecided"],
    ]
    assert "face sad, voice happy" in rows.first.inner_text()
    assert "%" not in rows.nth(5).inner_text()  # Of a flat voice, no conflict is told.
    rows.first.get_by_role("button").click()
    assert "window 5 of 7" in page.locator(".fv-detail").inner_text()
    assert rows.first.get_by_role("button").get_attribute("aria-current") == "true"
    assert page.locator(".fv-moments [aria-current=true]").count() == 1
    slider = page.get_by_role("slider")
    assert float(slider.get_attribute("aria-valuenow")) == 9
    earlier = page.get_by_role("button", name="Previous conflict")
    later = page.get_by_role("button", name="Next conflict")
    later.click()
    assert "window 7 of 7" in page.locator(".fv-detail").inner_text()
    assert later.is_disabled()
    earlier.click()
    earlier.click()
    assert "window 2 of 7" in page.locator(".fv-detail").inner_text()
    assert earlier.is_disabled()
    later.press("Enter")
    assert "window 5 of 7" in page.locator(".fv-detail").inner_text()
    page.get_by_role("button", name="Next moment").click()
    assert "window 6 of 7" in page.locator(".fv-detail").inner_text()
    for number in (5, 2, 7, 5):  # from the strongest to the weakest, and again
        page.get_by_role("button", name="strongest conflict").click()
        assert f"window {number} of 7" in page.locator(".fv-detail").inner_text()
    page.get_by_role("radio", name="cautious").check()  # Now it is the only one.
    assert page.get_by_role("button", name="strongest conflict").is_disabled()
    assert later.is_disabled()
    assert earlier.is_disabled()


def test_a_long_file_shows_few_moments_until_it_is_asked(open_report: Opener) -> None:
    report = make_long_report(300)
    page = open_report(report, make_trace(602))
    assert "All windows taken together" not in page.locator(".fv-root").inner_text()
    assert page.locator(".fv-header .fv-badge").count() == 0
    rows = page.locator(".fv-moments li")
    assert rows.count() == 12
    page.get_by_role("button", name=f"Show all {len(report.moments)}").click()
    assert rows.count() == len(report.moments) > 100
    assert rows.nth(12).get_by_role("button").evaluate("b => b === document.activeElement")
    assert page.get_by_role("button", name="Show all").count() == 0
    page.locator("summary").click()
    check_page(page, report)
    rows.last.get_by_role("button").click()
    last = [m for m in report.moments if m.outcome is not Outcome.CONFLICT][-1]
    assert f"window {last.first + 1} of 300" in page.locator(".fv-detail").inner_text()
    until(page, "document.querySelector('.fv-timeline').getBoundingClientRect().top < innerHeight")


def test_keys_go_through_windows_and_zoom(open_report: Opener) -> None:
    page = open_report(make_long_report(40))
    title = page.locator(".fv-window-title")
    page.get_by_role("slider").focus()
    keys = ["ArrowRight", "PageUp", "ArrowLeft", "End", "ArrowRight", "PageDown", "Home"]
    for key, number in zip(keys, [2, 12, 11, 40, 40, 30, 1], strict=True):
        page.keyboard.press(key)
        assert f"window {number} of 40" in title.inner_text(), key
    whole = page.get_by_role("button", name="Show the whole file")
    assert whole.is_disabled()
    page.keyboard.press("+")
    until(page, "!document.querySelector('.fv-zoom').lastChild.disabled")
    page.keyboard.press("End")  # What is chosen comes into sight.
    until(page, "document.querySelector('.fv-area .fv-cursor').style.display === 'block'")
    page.pdf()  # On paper there is the whole, and all windows.
    assert page.locator(".fv-windows tbody tr").count() == 40
    page.emulate_media(media="print")
    assert page.locator("button:visible.fv-button").count() == 0
    assert page.locator(".fv-windows").is_visible()
    page.emulate_media(media="screen")
    whole.click()
    until(page, "document.querySelector('.fv-zoom').lastChild.disabled")


def test_the_spans_of_the_card_are_those_on_the_timeline(open_report: Opener) -> None:
    page = open_report(three_conflicts())
    page.get_by_role("button", name="0:07–0:09").click()
    assert page.locator(".fv-detail-title").inner_text().startswith("0:07–0:09")
    page.get_by_role("slider").press("p")
    assert page.locator(".fv-detail-title").inner_text().startswith("0:05–0:07")
    assert page.locator(".fv-window-title").inner_text().startswith("0:05–0:07")
    area = page.locator(".fv-area").bounding_box()
    for mark in (".fv-selected", ".fv-selected-moment"):
        box = page.locator(mark).bounding_box()
        ends = [16 * (x - area["x"]) / area["width"] for x in (box["x"], box["x"] + box["width"])]
        assert ends == pytest.approx([5, 7], abs=0.05)


def test_values_are_read_where_the_pointer_or_the_playhead_is(open_report: Opener) -> None:
    report = two_outcomes()
    page = open_report(report)
    readout, area = page.locator(".fv-readout"), page.locator(".fv-area")
    assert readout.is_hidden()
    width, height = area.bounding_box()["width"], area.bounding_box()["height"]
    area.hover(position={"x": width / 2, "y": 60})
    said = readout.inner_text()
    assert said.startswith("0:04.0")
    for words in (f"conflict {percent(LIKELY)}", "Face: happy 91%", "Voice: sad 55%"):
        assert words in said
    page.get_by_label("All emotions").check()
    page.get_by_label("Valence and arousal").check()
    until(page, f"document.querySelector('.fv-area').clientHeight > {height + 200}")
    assert ink(page, ".fv-area canvas") > 10_000
    assert "circumplex (Russell 1980)" in page.locator(".fv-timeline").inner_text()
    assert readout.is_hidden()  # The pointer is elsewhere.
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    rows = [row.split("\t") for row in readout.locator("tr").all_inner_texts()]
    voice = report.windows[1].voice
    assert voice is not None
    valence = sum(p * e.valence for p, e in zip(voice.probs, Emotion, strict=True))
    assert rows[0] == ["", "Face", "Voice", "Both"]
    assert rows[4][:3] == ["sad", "1%", "55%"]
    assert rows[9][2] == f"{valence:+.2f}".replace("-", "−")
    assert len(rows) == 1 + 8 + 2
    page.keyboard.press("Escape")
    assert readout.is_hidden()


def test_the_table_sorts_and_filters(open_report: Opener) -> None:
    page = open_report(three_conflicts())
    page.locator("summary").click()
    times = page.locator(".fv-windows td:first-child")
    in_order = times.all_inner_texts()
    page.get_by_role("button", name="Conflict (%)").click()
    head = page.get_by_role("columnheader", name="Conflict (%)")
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
    assert times.first.inner_text() == "0:09–0:11"  # the strongest
    assert times.last.inner_text() == "0:07–0:09"  # not compared
    page.get_by_role("button", name="Conflict (%)").click()
    assert times.last.inner_text() == "0:07–0:09"  # as well
    page.get_by_role("button", name="Time").click()
    assert times.all_inner_texts() == in_order
    page.get_by_role("combobox", name="Show").select_option("conflict")
    assert times.all_inner_texts() == ["0:03–0:05", "0:09–0:11", "0:13–0:16"]
    page.get_by_label("with the text").fill("FACE HAPPY")
    assert times.count() == 0
    page.get_by_label("with the text").fill("sad 91")
    assert times.all_inner_texts() == ["0:09–0:11"]
    assert page.locator(".fv-details [role=status]").inner_text() == "1 of 7 windows"
    page.get_by_label("with the text").fill("")
    page.get_by_role("radio", name="cautious").check()  # What is asked for stays.
    assert times.count() == 1


GROUND = "getComputedStyle(document.querySelector('.fv-root')).backgroundColor"
THEME = "document.querySelector('.fv-root').dataset.theme"


def test_it_is_dark_where_that_is_wanted_and_light_on_paper(open_report: Opener) -> None:
    page = open_report(two_outcomes(), color_scheme="dark")
    dark = page.evaluate(GROUND)
    assert dark != "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(GROUND) == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(GROUND) == dark
    page.emulate_media(color_scheme="light")  # It follows the system
    until(page, f"{THEME} === 'light'")
    page.get_by_role("button", name="Dark mode").click()  # until one chooses,
    assert page.evaluate(THEME) == "dark"
    page.reload()  # which is remembered.
    assert page.evaluate(THEME) == "dark"
    assert page.get_by_role("button", name="Dark mode").get_attribute("aria-pressed") == "true"


def test_the_timeline_is_above_the_fold_beside_the_video(open_report: Opener, talk: Path) -> None:
    page = open_report(make_interview(), viewport={"width": 1280, "height": 800})
    area, video = page.locator(".fv-area"), page.locator("video")
    alone = area.bounding_box()
    assert alone["y"] + alone["height"] < 800
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    beside, film = area.bounding_box(), video.bounding_box()
    assert film["x"] + film["width"] < beside["x"]
    assert beside["y"] + beside["height"] < 800
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    until(page, f"{VIDEO}.getBoundingClientRect().top >= 0")  # It stays in sight.
    assert page.get_by_role("button", name="Next moment").bounding_box()["y"] < 370
    assert overflow_px(page) == 0


def test_axe_finds_no_barrier(open_report: Opener) -> None:
    happy, sad = Emotion.HAPPY, Emotion.SAD
    dark = {"color_scheme": "dark"}
    states: list[tuple[Report, dict[str, Any]]] = [
        (make_scenes((happy, sad, OPEN)), {**PHONE, **dark}),
        (three_conflicts(), dark),
        (make_interview(people="all"), {}),
    ]
    for report, options in states:
        page = open_report(report, **options)
        page.get_by_label("All emotions").check()
        page.get_by_label("Valence and arousal").check()
        page.locator("summary").click()
        page.get_by_role("slider").press("End")
        assert barriers(page) == []
    page.evaluate("document.querySelector('.fv-points .fv-note').style.color = '#CCCCCC'")
    [found] = barriers(page, within=".fv-points")
    assert "color-contrast" in found


def test_the_wheel_zooms_and_the_strip_moves(open_report: Opener) -> None:
    page = open_report(make_long_report(1800), make_trace(3600))
    area, note = page.locator(".fv-area"), ".fv-timeline .fv-note"
    until(page, f"document.querySelector('{note}').textContent.includes('Seen from afar')")
    area.hover()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -1500)
    page.keyboard.up("Control")
    until(page, f"document.querySelector('{note}').textContent.includes('height of a band')")
    strip = page.locator(".fv-strip")
    strip.click(position={"x": strip.bounding_box()["width"] * 0.9, "y": 8})
    until(page, "parseFloat(document.querySelector('.fv-brush').style.left) > 85")
    click_at(page, 0.5)
    now = float(page.get_by_role("slider").get_attribute("aria-valuenow"))
    assert now == pytest.approx(0.9 * 3602, rel=0.02)


def test_a_video_from_disk_plays_along(open_report: Opener, talk: Path) -> None:
    page = open_report(two_outcomes(), still_trace())
    page.evaluate(KEEP_WRITTEN)
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    assert page.locator("video").get_attribute("src").startswith("blob:")
    page.wait_for_selector("canvas.fv-overlay", state="visible")
    click_at(page, 0.125)
    assert video_time_s(page) == pytest.approx(1, abs=0.1)
    until(page, "window.written.some(text => text.startsWith('The face looks'))")
    with_face = ink(page, "canvas.fv-overlay")
    click_at(page, 0.5)
    assert video_time_s(page) == pytest.approx(4, abs=0.1)
    # No face was seen then: none is drawn.
    wait_until(page, lambda: 0 < ink(page, "canvas.fv-overlay") < with_face, "no face is drawn")
    page.get_by_role("slider").focus()
    page.keyboard.press(" ")
    until(page, f"{VIDEO}.currentTime > 5.3")
    assert "window 3 of 3" in page.locator(".fv-detail").inner_text()
    page.keyboard.press(" ")
    assert page.evaluate(f"{VIDEO}.paused")


def test_what_is_said_stays_with_the_moment_that_was_seen(open_report: Opener, talk: Path) -> None:
    page = open_report(two_outcomes(), still_trace())
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    title, note = page.locator(".fv-detail-title"), page.get_by_label("Note")
    play, pause = f"{VIDEO}.play()", f"{VIDEO}.pause()"
    click_at(page, 0.125)
    page.evaluate(play)
    note.focus()
    until(page, f"{VIDEO}.paused")  # who writes needn't hurry
    page.keyboard.type("She smiles ")
    page.evaluate(play)
    until(page, f"{VIDEO}.currentTime > 3.3")
    page.keyboard.type("a lot.")
    expect(title).to_contain_text("moment 1 of 3")
    page.evaluate(pause)
    page.get_by_role("slider").focus()
    expect(title).to_contain_text("moment 2 of 3")
    expect(page.locator(".fv-review-panel")).to_contain_text("0:00–0:03match“She smiles a lot.”")

    right = page.get_by_role("button", name="Right", exact=True)
    right.hover()
    page.evaluate(play)
    until(page, f"{VIDEO}.currentTime > 5.3")
    expect(title).to_contain_text("moment 2 of 3")
    right.click()
    page.evaluate(pause)
    page.locator("h1").hover()
    expect(title).to_contain_text("moment 3 of 3")
    expect(page.locator(".fv-verdicts")).to_contain_text("0:03–0:05conflictRight.")

    note.focus()
    page.keyboard.type("Gone?")
    click_at(page, 0.125)  # chosen: that is shown at once
    expect(title).to_contain_text("moment 1 of 3")
    expect(page.locator(".fv-verdicts")).to_contain_text("“Gone?”")


def test_on_a_phone_the_film_covers_no_control_that_is_reached(
    open_report: Opener, talk: Path
) -> None:
    page = open_report(two_outcomes(), still_trace(), **PHONE)
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    page.get_by_role("button", name="Wrong", exact=True).tap()
    controls = page.locator(
        ".fv-judge :is(button, select, textarea), .fv-review-panel input[type=text]"
    )
    expect(controls).to_have_count(8)
    for k in range(controls.count()):
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        controls.nth(k).focus()
        is_seen = """node => {
          const box = node.getBoundingClientRect();
          return node === document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        }"""
        assert controls.nth(k).evaluate(is_seen), k
    assert overflow_px(page) == 0


KEEP_WRITTEN = """() => {
  const { fillText } = CanvasRenderingContext2D.prototype;
  window.written = [];
  CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
    window.written.push(text);
    fillText.call(this, text, ...place);
  };
}"""


def test_a_lone_face_has_no_name_not_even_after_a_cut(open_report: Opener, talk: Path) -> None:
    trace = replace(still_trace(), track_ids=np.repeat([4, 9], [6, 5]))  # a cut after one second
    page = open_report(two_outcomes(), trace)
    assert page.locator(".fv-people").count() == 0
    page.evaluate(KEEP_WRITTEN)
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    click_at(page, 0.2)
    assert video_time_s(page) == pytest.approx(1.6, abs=0.1)
    until(page, "window.written.includes('The face looks happy (91%)')")
    until(page, "window.written.includes('The voice sounds happy (55%)')")
    page.get_by_role("button", name="0:03–0:05").click()
    assert video_time_s(page) == pytest.approx(3, abs=0.1)
    page.evaluate("window.written = []")
    page.get_by_role("radio", name="cautious").check()  # also over the picture
    spoken = "window.written.lastIndexOf('The voice sounds sad (55%)')"
    until(page, f"window.written[{spoken} - 1] === 'undecided'")


def test_a_person_is_renamed_everywhere(open_report: Opener, talk: Path) -> None:
    page = open_report(make_interview(people="all"), make_interview_trace())
    rows = page.locator(".fv-people li")
    assert rows.nth(0).inner_text().split("\n") == ["Anna", "seen 0:08 · speaks 0:03"]
    assert rows.nth(0).locator("img").count() == 1
    assert ink(page, ".fv-people li:nth-child(2) canvas") > 0
    page.get_by_role("button", name="Ben", exact=True).click()
    page.keyboard.type("no")
    page.keyboard.press("Escape")
    assert "Ben" in rows.nth(1).inner_text()
    page.evaluate(KEEP_WRITTEN)
    page.get_by_role("button", name="Ben", exact=True).click()
    name = "<b>It's Bob</b>"
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    assert rows.nth(1).inner_text().startswith(name)
    text = page.locator("main").inner_text()
    assert "Ben" not in text
    assert f"Anna speaks for 3 s, {name} for 1 s." in text
    assert f"{name}: face happy, voice sad: conflict" in text
    told = page.locator(".fv-people ~ p code").inner_text()
    assert told == "facevoice report talk.mp4 --name '2=<b>It'\\''s Bob</b>'"
    page.set_input_files("input[type=file]", talk)
    until(page, f"{VIDEO}?.readyState >= 2")
    page.get_by_role("button", name="0:03–0:05").click()
    assert video_time_s(page) == pytest.approx(3, abs=0.1)
    until(page, f"""window.written.includes("{name} looks happy (91%)")""")
    assert page.evaluate("window.written.includes('Anna')")
    assert f"{name}'s face looks happy (91%)" in page.locator(".fv-detail").inner_text()
    page.get_by_role("button", name="0:05–0:08").click()
    until(page, "window.written.includes('Voice off screen: the voice sounds happy (55%)')")
    detail = page.locator(".fv-detail").inner_text()
    assert "window 3 of 3 · Anna" in detail
    assert "The voice comes from somebody off screen." in detail


def test_another_video_and_no_video_are_told(
    open_report: Opener, make_clip: ClipMaker, tmp_path: Path
) -> None:
    page = open_report(two_outcomes())
    page.set_input_files("input[type=file]", make_clip("other.mp4", duration_s=1.0))
    until(page, "document.querySelector('[role=status]').textContent !== ''")
    said = page.get_by_role("status").inner_text()
    assert said == "Is this the right file? other.mp4 is 0:01 and not 0:08 long."
    text = tmp_path / "text.mp4"
    text.write_text("no film")
    page.set_input_files("input[type=file]", text)
    until(page, "document.querySelector('[role=status]').textContent.includes('play')")
    assert page.locator("video").count() == 0


@pytest.mark.parametrize("windows", [1, 400])
def test_a_phone_needs_no_sideways_scrolling(open_report: Opener, windows: int) -> None:
    report = replace(make_long_report(windows), path=f"{'very_long_name' * 9}.mp4")
    page = open_report(report, **PHONE)
    assert overflow_px(page) == 0
    page.locator("summary").click()
    page.wait_for_selector(".fv-windows tbody tr")
    assert page.locator(".fv-windows tbody tr").count() == windows
    assert overflow_px(page) == 0


def test_a_failed_report_says_why_and_offers_nothing(open_report: Opener) -> None:
    name = "<∕script><img src=x onerror=alert(1)>.mp4"
    page = open_report(make_failed_report(name))
    assert page.locator("h1").inner_text() == name
    assert page.locator(".fv-badge").inner_text() == "not analysed"
    assert "the file is empty" in page.locator(".fv-sentence").inner_text()
    assert page.locator("img, input, canvas, details").count() == 0


@pytest.mark.parametrize(
    ("missing", "reason", "status"),
    [
        ("face", Reason.NO_VIDEO_STREAM, Status.AUDIO_ONLY),
        ("voice", Reason.NO_AUDIO_STREAM, Status.VIDEO_ONLY),
    ],
)
def test_one_channel_alone(
    open_report: Opener, missing: str, reason: Reason, status: Status
) -> None:
    gap = {"outcome": Outcome.INSUFFICIENT, "conflict": None, "reasons": (reason,), missing: None}
    empty = Trace(np.zeros(0), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros((0, 2)))
    page = open_report(make_report(make_prediction(**gap), status=status), empty)
    said = page.locator(".fv-sentence").inner_text()
    assert "Face and voice can't be compared: the file has no " in said
    heads = page.locator(".fv-detail th[scope=col]").all_inner_texts()
    assert missing.title() not in heads
    assert ({"Face", "Voice"} - {missing.title()}) < set(heads)
    assert "not compared" in page.locator(".fv-detail").inner_text()


def test_mount_in_a_page_of_others(open_page: Opener, talk: Path) -> None:
    view = json.dumps(to_view(two_outcomes(), still_trace()))
    page = open_page(
        f"""<!DOCTYPE html><meta charset="utf-8"><style>{page_style()}</style>
        <h1 id="mine">Host</h1><div id="box"><video controls width="320" height="400"
        src="{talk.as_uri()}"></video></div><div id="here"></div><script>{page_script()}
        window.shown = window.facevoice.mount(document.getElementById("here"), {view},
          {{ video: document.querySelector("video"), pickVideo: false, switch: false }});
        </script>"""
    )
    until(page, f"{VIDEO}.readyState >= 2")
    assert page.locator("#here h1").count() == 0
    assert page.locator("#here h2.fv-title").count() == 1
    assert page.locator(".fv-points input, .fv-watch input").count() == 0
    assert "Of ten conflicts called" in page.locator("#here .fv-points").inner_text()
    canvas = page.locator("#box > canvas").bounding_box()
    video = page.locator("video").bounding_box()
    assert (canvas["width"], canvas["height"]) == pytest.approx((320, 240), abs=1)
    assert canvas["y"] - video["y"] == pytest.approx(80, abs=1)  # Bars above and below.
    page.evaluate("window.shown.seek(4)")
    assert video_time_s(page) == pytest.approx(4, abs=0.1)
    assert "window 2 of 3" in page.locator(".fv-detail").inner_text()
    page.evaluate("window.shown.destroy()")
    assert page.locator("canvas, .fv-root").count() == 0
    assert page.locator("#here").inner_html() == ""
    color = page.evaluate("getComputedStyle(document.getElementById('mine')).color")
    assert color == "rgb(0, 0, 0)"


def test_notebooks_hold_the_page_in_a_frame(open_page: Opener) -> None:
    page = open_page(f"<!DOCTYPE html><h1>Mine</h1>{make_long_report(3)._repr_html_()}")
    frame = page.frame_locator("iframe")
    assert "window 1 of 3" in frame.locator(".fv-detail").inner_text()
    frame.get_by_role("slider").press("End")
    assert "window 3 of 3" in frame.locator(".fv-detail").inner_text()
    assert page.evaluate("window.facevoice") is None
