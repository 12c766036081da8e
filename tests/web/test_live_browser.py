"""The live mode in a real Chromium whose camera and microphone play files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import open_browser, watched_page
from facevoice.analyzer import Analyzer
from facevoice.settings import WindowConfig
from facevoice.web import WebOptions
from fake_devices import file_devices, make_devices
from web.servers import Server, serve

ALLOWED = {
    "viewport": {"width": 1280, "height": 900},
    "permissions": ["camera", "microphone"],
}
PATIENCE_MS = 60_000
START = "Start camera and microphone"


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    devices = make_devices(tmp_path_factory.mktemp("devices"))
    with open_browser(*file_devices(devices)) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(analyzer: Analyzer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(analyzer, tmp_path_factory.mktemp("uploads"), live_options()) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, **ALLOWED) as page:
        yield open_live(page, server)


def live_options(**more: Any) -> WebOptions:
    return WebOptions(live_windows=WindowConfig(1.0, 0.5), **{"max_live": 1, **more})


def open_live(page: Page, server: Server) -> Page:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    page.get_by_role("tab", name="Live").click()
    expect(button(page)).to_have_text(START, timeout=PATIENCE_MS)
    return page


def button(page: Page) -> Any:
    return page.locator(".fvw-live button")


def start(page: Page) -> None:
    """Start, and wait for the first answer."""
    button(page).click()
    expect(button(page)).to_have_text("Stop")
    page.locator(".fvw-verdict .fvw-chip:not(.fvw-chip-none)").wait_for()
    page.wait_for_function("window.facevoiceLive.latencies_ms.length > 0")


def expect_status(page: Page, part: str) -> None:
    expect(page.locator(".fvw-live-status")).to_contain_text(part, timeout=PATIENCE_MS)


def expect_stopped(page: Page) -> None:
    expect(button(page)).to_have_text(START, timeout=PATIENCE_MS)
    expect(button(page)).to_be_enabled()
    assert page.evaluate("document.querySelector('.fvw-live video').srcObject") is None


def keep_tracks(page: Page) -> None:
    """Let the test see the tracks that the page opens from now on."""
    page.evaluate(
        """() => {
          const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
          window.openedTracks = [];
          devices.getUserMedia = async function (wanted) {
            const media = await open(wanted);
            window.openedTracks.push(...media.getTracks());
            return media;
          };
        }"""
    )


def track_states(page: Page) -> list[str]:
    return list(page.evaluate("window.openedTracks.map(track => track.readyState)"))


def coloured_pixels(page: Page) -> int:
    """Of the canvas over the video."""
    return int(
        page.evaluate(
            """() => {
              const canvas = document.querySelector('.fvw-live-stage canvas');
              if (!canvas.width) return 0;
              const pixels = canvas.getContext('2d')
                .getImageData(0, 0, canvas.width, canvas.height).data;
              return pixels.filter((value, k) => k % 4 === 3 && value > 0).length;
            }"""
        )
    )


def test_from_start_to_summary_and_again(page: Page) -> None:
    keep_tracks(page)
    for _ in range(2):
        button(page).click()
        expect_status(page, "Listening: the first answer comes after 1 s.")
        page.locator(".fvw-verdict .fvw-chip:not(.fvw-chip-none)").wait_for()
        page.wait_for_function("window.facevoiceLive.latencies_ms.length > 0")
        face = page.locator(".fvw-bars").filter(has=page.get_by_role("heading", name="Face"))
        assert face.locator(".fvw-bar-best .fvw-bar-name").inner_text() == "happy"
        assert face.locator(".fvw-bar").count() == 8
        expect(page.locator(".fvw-latency")).to_contain_text("Latency")
        assert coloured_pixels(page) > 100
        assert min(page.evaluate("window.facevoiceLive.latencies_ms")) > 0
        assert track_states(page)[-2:] == ["live", "live"]

        button(page).click()
        expect_status(page, "In all: ")
        expect_status(page, "the face reads as happy")
        expect_stopped(page)
        assert set(track_states(page)) == {"ended"}
        assert coloured_pixels(page) == 0
    assert len(track_states(page)) == 4


def test_stopped_at_once(page: Page) -> None:
    keep_tracks(page)
    page.evaluate(
        "() => { const b = document.querySelector('.fvw-live button'); b.click(); b.click(); }"
    )
    expect_stopped(page)
    expect(page.locator(".fvw-live-status")).to_have_text("")
    page.wait_for_function("window.openedTracks.length === 2")
    page.wait_for_function("window.openedTracks.every(track => track.readyState === 'ended')")
    start(page)
    button(page).click()
    expect_status(page, "In all: ")


def test_behind_another_tab_nobody_is_filmed(page: Page) -> None:
    keep_tracks(page)
    start(page)
    page.get_by_role("tab", name="Clip").click()
    page.wait_for_function("window.openedTracks.every(track => track.readyState === 'ended')")
    page.get_by_role("tab", name="Live").click()
    expect_status(page, "In all: ")
    expect_stopped(page)


def test_a_camera_that_is_pulled_out_ends_the_session(page: Page) -> None:
    keep_tracks(page)
    start(page)
    # Scripts can't pull it out; the event is what they would see.
    page.evaluate("window.openedTracks[0].dispatchEvent(new Event('ended'))")
    expect_status(page, "In all: ")
    expect_stopped(page)


def test_a_closed_page_gives_its_place_back(browser: Browser, page: Page, server: Server) -> None:
    with watched_page(browser, **ALLOWED) as first:
        start(open_live(first, server))
        button(page).click()
        expect_status(page, "All live places are taken.")
        expect_stopped(page)

    # The server notices a moment later that the page is gone.
    assert any(gets_in(page) for _ in range(100))
    button(page).click()
    expect_status(page, "In all: ")


def gets_in(page: Page) -> bool:
    button(page).click()
    page.wait_for_function(
        """() => window.facevoiceLive.latencies_ms.length
          || document.querySelector('.fvw-live-status').textContent.includes('taken')"""
    )
    return "taken" not in page.inner_text(".fvw-live-status")


def test_a_camera_that_is_not_allowed(browser: Browser, server: Server) -> None:
    with watched_page(browser) as page:  # headless, a page that asks is refused
        open_live(page, server)
        button(page).click()
        expect_status(page, "Camera and microphone were not allowed.")
        expect_stopped(page)


def test_a_server_that_stops(browser: Browser, analyzer: Analyzer, tmp_path: Path) -> None:
    # Gradio's own script reports the lost server on the console.
    tolerated = ("Failed to load resource", "ERR_", "Connection", "fetch")
    with watched_page(browser, tolerated, **ALLOWED) as page:
        with serve(analyzer, tmp_path, live_options()) as server:
            open_live(page, server)
            start(page)
        expect_status(page, "The server closed the session.")
        expect_stopped(page)


def test_a_session_ends_at_its_time_limit(
    browser: Browser, analyzer: Analyzer, tmp_path: Path
) -> None:
    with (
        serve(analyzer, tmp_path, live_options(max_live_s=3.0)) as server,
        watched_page(browser, **ALLOWED) as page,
    ):
        open_live(page, server)
        start(page)
        expect_status(page, "In all: ")
        expect_stopped(page)


def test_without_places_there_is_no_live_mode(
    browser: Browser, analyzer: Analyzer, tmp_path: Path
) -> None:
    with (
        serve(analyzer, tmp_path, WebOptions(max_live=0)) as server,
        watched_page(browser, ("404", "403", "WebSocket"), **ALLOWED) as page,
    ):
        page.goto(server.url)
        page.get_by_text("Intended use.").wait_for()
        page.locator("#fvw-start").wait_for()
        assert page.get_by_role("tab", name="Live").count() == 0
        assert page.locator(".fvw-live").count() == 0
        closed = page.evaluate(
            """() => new Promise(answer => {
              const socket = new WebSocket(location.href.replace('http', 'ws') + 'facevoice/live');
              socket.onopen = () => answer('open');
              socket.onclose = () => answer('closed');
            })"""
        )
        assert closed == "closed"
