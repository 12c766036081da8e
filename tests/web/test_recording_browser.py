"""A clip recorded in the page itself, with Chromium's camera and microphone played from files."""

from __future__ import annotations

from pathlib import Path

from browser import open_browser, watched_page
from facevoice.analyzer import Analyzer
from facevoice.report import read_report
from facevoice.web import WebOptions
from fake_devices import file_devices, make_devices
from web.servers import serve

PERMISSIONS = {"permissions": ["camera", "microphone"]}


def test_a_recording_is_read_like_an_upload(tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    devices = file_devices(make_devices(tmp_path / "devices"))
    with (
        serve(Analyzer(), tmp_path / "uploads", WebOptions()) as server,
        open_browser(*devices) as browser,
        watched_page(browser, **PERMISSIONS) as page,
    ):
        page.set_default_timeout(60_000)
        page.goto(server.url)
        clip = page.locator("#fvw-clip")
        clip.get_by_label("Capture from camera").click()
        clip.get_by_text("Click to Access Webcam").click()
        clip.get_by_label("start recording").click()
        page.wait_for_timeout(4000)
        clip.get_by_text("Stop").click()
        page.wait_for_selector("#fvw-clip video[src*='sample.webm']")
        page.click("#fvw-start")
        page.wait_for_selector(".fvw-result .fv-root")
        with page.expect_download() as info:
            page.click("#fvw-json")
        info.value.save_as(tmp_path / "report.json")
    report = read_report(tmp_path / "report.json")
    assert report.media is not None
    assert report.media.has_video
    assert report.media.has_audio
    assert report.media.duration_s > 2
    assert report.summary is not None
    assert report.summary.face is not None
    assert report.summary.face_coverage > 0.8
