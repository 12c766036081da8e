"""The page in a real browser, opened from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import open_browser, watched_page
from builders import make_failed_report, make_prediction, make_report
from conftest import ClipMaker
from facevoice.records import Emotion, Outcome, Reason, Report, Status, Trace
from facevoice.report import page_script, page_style, to_html, to_view

from .pages import make_long_report, make_trace

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
VIDEO = "document.querySelector('video')"

Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests here."""
    with open_browser("--autoplay-policy=no-user-gesture-required") as opened:
        yield opened


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


def two_outcomes() -> Report:
    """8 s: a match up to 3 s, a conflict up to 5 s, then no face."""
    conflict = {"outcome": Outcome.CONFLICT, "conflict": 0.87}
    gap = {"outcome": Outcome.INSUFFICIENT, "conflict": None, "reasons": (Reason.NO_FACE,)}
    report = make_report(
        make_prediction(),
        make_prediction(voice=Emotion.SAD, start_s=2, end_s=6, **conflict),
        make_prediction(None, Emotion.CALM, start_s=4, end_s=8, **gap),
    )
    assert report.media is not None
    return replace(report, media=replace(report.media, duration_s=8.0))


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
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


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
    assert page.locator(".fv-header .fv-badge").inner_text() == "match"
    assert "never for decisions about a person" in page.locator(".fv-notice").inner_text()
    assert "Nothing is uploaded" in page.locator(".fv-watch").inner_text()
    levels = page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map(h => Number(h.tagName[1]))")
    assert levels == [1, 2, 2, 2, 3]
    assert ink(page, ".fv-area canvas") > 10_000
    assert "ab" * 32 in page.locator(".fv-footer").inner_text()
    rows = page.locator(".fv-windows tbody tr")
    assert rows.count() == 0  # built when it is opened
    page.locator("summary").click()
    page.wait_for_selector(".fv-windows tbody tr")
    cells = [cell.strip() for cell in rows.nth(1).locator("td").all_inner_texts()]
    assert cells == ["0:02–0:06", "conflict", "87%", "happy 91%", "sad 55%", "happy 80%", ""]
    assert "no face was seen" in rows.nth(2).inner_text()
    rows.nth(2).get_by_role("button").click()
    assert "window 3 of 3" in page.locator(".fv-detail").inner_text()


def test_a_click_selects_the_moment(open_report: Opener) -> None:
    page = open_report(two_outcomes())
    detail = page.locator(".fv-detail")
    assert "window 1 of 3" in detail.inner_text()
    click_at(page, 0.5)
    assert "0:02–0:06" in detail.inner_text()
    assert "conflict" in detail.locator(".fv-badge").inner_text()
    assert "87%" in detail.inner_text()
    slider = page.get_by_role("slider")
    assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(4.0, abs=0.05)
    said = slider.get_attribute("aria-valuetext")
    assert said.endswith("face happy 91%, voice sad 55%, conflict")
    click_at(page, 0.9)
    assert "not read: no face was seen" in detail.inner_text()
    assert slider.get_attribute("aria-valuetext").endswith("no face, voice calm 55%, insufficient")


def test_keys_go_through_windows_and_zoom(open_report: Opener) -> None:
    page = open_report(make_long_report(40))
    title = page.locator(".fv-detail-title")
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
    until(page, "document.querySelector('.fv-cursor').style.display === 'block'")
    page.pdf()  # On paper there is the whole, and all windows.
    assert page.locator(".fv-windows tbody tr").count() == 40
    page.emulate_media(media="print")
    assert page.locator("button:visible.fv-button").count() == 0
    assert page.locator(".fv-windows").is_visible()
    page.emulate_media(media="screen")
    whole.click()
    until(page, "document.querySelector('.fv-zoom').lastChild.disabled")


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


def test_a_video_from_disk_plays_along(open_report: Opener, make_clip: ClipMaker) -> None:
    page = open_report(two_outcomes(), still_trace())
    clip = make_clip("talk.mp4", duration_s=8.0, width=320, height=240)
    page.set_input_files("input[type=file]", clip)
    until(page, f"{VIDEO}?.readyState >= 2")
    assert page.locator("video").get_attribute("src").startswith("blob:")
    page.wait_for_selector("canvas.fv-overlay", state="visible")
    click_at(page, 0.125)
    assert video_time_s(page) == pytest.approx(1, abs=0.1)
    with_face = ink(page, "canvas.fv-overlay")
    click_at(page, 0.5)
    assert video_time_s(page) == pytest.approx(4, abs=0.1)
    page.wait_for_timeout(100)
    assert 0 < ink(page, "canvas.fv-overlay") < with_face  # No face was seen then: none is drawn.
    page.get_by_role("slider").focus()
    page.keyboard.press(" ")
    until(page, f"{VIDEO}.currentTime > 5.3")
    assert "window 3 of 3" in page.locator(".fv-detail").inner_text()
    page.keyboard.press(" ")
    assert page.evaluate(f"{VIDEO}.paused")


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
    detail = page.locator(".fv-detail").inner_text()
    assert detail.count("not read: the file has no") == 1
    assert "not told" in detail


def test_mount_in_a_page_of_others(open_page: Opener, make_clip: ClipMaker) -> None:
    clip = make_clip("talk.mp4", duration_s=8.0, width=320, height=240)
    view = json.dumps(to_view(two_outcomes(), still_trace()))
    page = open_page(
        f"""<!DOCTYPE html><meta charset="utf-8"><style>{page_style()}</style>
        <h1 id="mine">Host</h1><div id="box"><video controls width="320" height="400"
        src="{clip.as_uri()}"></video></div><div id="here"></div><script>{page_script()}
        window.shown = window.facevoice.mount(document.getElementById("here"), {view},
          {{ video: document.querySelector("video"), pickVideo: false }});</script>"""
    )
    until(page, f"{VIDEO}.readyState >= 2")
    assert page.locator("#here h1").count() == 0
    assert page.locator("#here h2.fv-title").count() == 1
    assert page.locator("input[type=file]").count() == 0
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
