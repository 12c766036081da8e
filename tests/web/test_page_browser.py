"""The page in a real Chromium: what a visitor does, from the upload to the downloads."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import av
import pytest
from playwright.sync_api import Browser, Page, expect

from browser import open_browser, watched_page
from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.report import CSV_COLUMNS, read_report
from facevoice.report.page import is_report_page
from facevoice.web import WebOptions
from portraits import make_portrait
from web.servers import Server, serve

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLE = EXAMPLES / "smile_sad_voice.mp4"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = WebOptions(samples=EXAMPLES, max_size_mb=2, max_length_s=60)
    with serve(Analyzer(), tmp_path_factory.mktemp("uploads"), options) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, **DESKTOP) as page:
        yield open_page(page, server)


def open_page(page: Page, server: Server) -> Page:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    expect(page.get_by_text("Intended use.")).to_be_visible(timeout=PATIENCE_MS)
    return page


def choose(page: Page, path: Path) -> None:
    page.set_input_files("#fvw-clip input[type=file]", str(path))
    page.wait_for_selector("#fvw-clip video")


def analyze(page: Page, path: Path) -> None:
    choose(page, path)
    page.click("#fvw-start")
    page.wait_for_selector(".fvw-result .fv-root")


def told_problem(page: Page) -> str:
    page.wait_for_selector(".fvw-problem")
    return page.inner_text(".fvw-problem")


def wait_until(holds: Callable[[], bool], timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def portrait_clip(make_clip: ClipMaker, name: str, duration_s: float) -> Path:
    portrait = make_portrait()
    return make_clip(
        name, width=300, height=300, fps=10, duration_s=duration_s, paint=lambda *_: portrait
    )


def test_from_upload_to_outcome_with_progress(page: Page, make_clip: ClipMaker) -> None:
    choose(page, portrait_clip(make_clip, "half_minute.mp4", 40))
    page.click("#fvw-start")
    page.wait_for_selector(".fvw-progress progress")
    assert re.search(r"\d:\d\d of 0:40", page.inner_text(".fvw-progress"))
    page.wait_for_selector(".fvw-result .fv-root")
    shown = page.inner_text(".fvw-result")
    assert "half_minute.mp4" in shown
    assert "20 windows" in shown or "19 windows" in shown
    assert page.locator(".fvw-progress").count() == 0


def test_outcome_is_that_of_the_library(page: Page) -> None:
    analyze(page, SAMPLE)
    report = Analyzer().analyze(SAMPLE)
    assert report.summary is not None
    shown = page.inner_text(".fvw-result")
    assert report.summary.outcome.value in shown
    assert "Neither match nor conflict" in shown


def test_a_click_on_the_timeline_seeks_the_video(page: Page) -> None:
    analyze(page, SAMPLE)
    timeline = page.locator(".fvw-result [role=slider]")
    page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 1")
    places = []
    for share in (0.8, 0.3):
        box = timeline.bounding_box()
        assert box is not None
        timeline.click(position={"x": box["width"] * share, "y": 30})
        page.wait_for_timeout(400)
        places.append(page.evaluate("document.querySelector('.fvw-stage video').currentTime"))
    assert places[0] > 4.5
    assert 0.5 < places[1] < 3.5


def test_every_download_opens(page: Page, browser: Browser, tmp_path: Path) -> None:
    analyze(page, SAMPLE)
    files = {name: download(page, f"#fvw-{name}", tmp_path) for name in ("json", "csv", "html")}
    page.click("#fvw-draw")
    page.wait_for_selector("#fvw-mp4")
    film = download(page, "#fvw-mp4", tmp_path)

    report = read_report(files["json"])
    assert len(report.windows) == 3
    with files["csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["outcome"] for row in rows] == [w.outcome.value for w in report.windows]
    assert is_report_page(files["html"])
    with watched_page(browser, **DESKTOP) as other:
        other.goto(files["html"].as_uri())
        assert "smile_sad_voice.mp4" in other.inner_text("body")
    with av.open(str(film)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert sum(1 for _ in container.decode(video=0)) > 100


def download(page: Page, selector: str, folder: Path) -> Path:
    with page.expect_download() as info:
        page.click(selector)
    path = folder / info.value.suggested_filename
    info.value.save_as(path)
    return path


def test_paths_of_the_server_are_nowhere(page: Page, server: Server, tmp_path: Path) -> None:
    analyze(page, SAMPLE)
    for name in ("json", "csv", "html"):
        text = download(page, f"#fvw-{name}", tmp_path).read_text("utf-8")
        assert str(server.uploads) not in text


def test_a_file_that_is_no_video(page: Page, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("dear diary")
    page.set_input_files("#fvw-clip input[type=file]", str(path))
    assert wait_until(lambda: bool(server.files("notes.mp4")))
    page.wait_for_timeout(500)
    page.click("#fvw-start")
    told = told_problem(page)
    assert told.startswith("notes.mp4: is not a video or audio file")
    assert str(server.uploads) not in told


def test_nothing_chosen(page: Page) -> None:
    page.click("#fvw-start")
    assert told_problem(page) == "Choose a clip first."


def test_an_upload_that_is_too_large(browser: Browser, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(b"\0" * 3_000_000)
    # Gradio's own script reports the refused request on the console.
    with watched_page(browser, ("404", "Response"), **DESKTOP) as page:
        open_page(page, server)
        page.set_input_files("#fvw-clip input[type=file]", str(path))
        page.get_by_text("exceed the maximum allowed size of 2.0 Mb").wait_for()
        assert server.files("large.mp4") == []


def test_a_clip_that_is_too_long(page: Page, make_clip: ClipMaker) -> None:
    choose(page, make_clip("long.mp4", width=64, height=48, fps=2, duration_s=90))
    page.click("#fvw-start")
    assert "long.mp4: lasts 1.5 minutes; at most 1 are taken." in told_problem(page)


def test_stop_ends_the_work(page: Page, make_clip: ClipMaker) -> None:
    choose(page, portrait_clip(make_clip, "stopped.mp4", 58))
    page.click("#fvw-start")
    page.wait_for_selector(".fvw-progress progress")
    page.click("#fvw-stop")
    page.get_by_text("Stopped.").wait_for()
    page.wait_for_timeout(1500)
    assert page.locator(".fvw-result").count() == 0
    expect(page.locator("#fvw-start")).to_be_enabled()


def test_two_users_at_once(browser: Browser, server: Server, make_clip: ClipMaker) -> None:
    other = portrait_clip(make_clip, "other.mp4", 8)
    with watched_page(browser, **DESKTOP) as first, watched_page(browser, **PHONE) as second:
        for page, path in ((first, SAMPLE), (second, other)):
            open_page(page, server)
            choose(page, path)
        first.click("#fvw-start")
        second.click("#fvw-start")
        for page, name in ((first, SAMPLE.name), (second, "other.mp4")):
            page.wait_for_selector(".fvw-result .fv-root")
            assert name in page.inner_text(".fvw-result")


def test_more_than_may_wait_are_told(
    browser: Browser, tmp_path: Path, make_clip: ClipMaker
) -> None:
    clip = portrait_clip(make_clip, "long.mp4", 58)
    busy = ("busy", "503", "Response", "Failed to load")
    with (
        serve(Analyzer(), tmp_path / "uploads", WebOptions(max_waiting=1)) as server,
        ExitStack() as stack,
    ):
        pages = [stack.enter_context(watched_page(browser, busy, **DESKTOP)) for _ in range(3)]
        for page in pages:
            open_page(page, server)
            choose(page, clip)
        for page in pages:
            page.click("#fvw-start")
            page.wait_for_selector("#fvw-status .fvw-progress, #fvw-status .fvw-problem")
        assert told_problem(pages[2]).startswith("Too many are waiting")
        expect(pages[2].locator("#fvw-start")).to_be_enabled()
        pages[0].click("#fvw-stop")


def test_names_that_mean_something_in_addresses(page: Page, make_clip: ClipMaker) -> None:
    analyze(page, portrait_clip(make_clip, "a #1? 50% ü.mp4", 5))
    page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 1")


def test_uploads_and_results_go_with_their_user(
    browser: Browser, server: Server, make_clip: ClipMaker
) -> None:
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, server)
        analyze(page, portrait_clip(make_clip, "private.mp4", 5))
        assert server.files("private.mp4")
        assert server.files("private.json")
    assert wait_until(lambda: not server.files("private.*"))


def test_samples_serve_one_user_after_the_other(browser: Browser, server: Server) -> None:
    for _ in range(2):
        with watched_page(browser, **DESKTOP) as page:
            open_page(page, server)
            page.get_by_text("smile glad voice").click()
            page.wait_for_selector("#fvw-clip video")
            page.click("#fvw-start")
            page.wait_for_selector(".fvw-result .fv-root")
            assert "smile_glad_voice.mp4" in page.inner_text(".fvw-result")
        time.sleep(1)


def test_nothing_is_wider_than_a_phone(browser: Browser, server: Server) -> None:
    with watched_page(browser, **PHONE) as page:
        open_page(page, server)
        analyze(page, SAMPLE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_login_keeps_strangers_out(browser: Browser, tmp_path: Path) -> None:
    with (
        serve(Analyzer(), tmp_path, WebOptions(), auth=[("anna", "secret")]) as server,
        watched_page(browser, ("401",), **DESKTOP) as page,
    ):
        page.goto(server.url)
        page.get_by_label("username").fill("anna")
        assert page.get_by_text("Intended use.").count() == 0
        page.get_by_label("password").fill("secret")
        page.get_by_role("button", name="Login").click()
        page.get_by_text("Intended use.").wait_for()
