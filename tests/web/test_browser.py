"""The app in a real Chromium whose camera and microphone play files: clips, looks, live mode."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import av
import numpy as np
import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from browser import barriers, open_browser, watched_page
from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.exchange import read_eaf
from facevoice.interpret import decide_again
from facevoice.media import read_audio
from facevoice.people.baseline import Known, pool
from facevoice.people.profile import save_profile
from facevoice.records import SAMPLE_RATE_HZ, Report
from facevoice.report import CSV_COLUMNS, describe_point, read_report, summarize_in_words
from facevoice.report.page import is_report_page
from facevoice.settings import AnalyzerConfig, DecisionConfig, WindowConfig
from facevoice.web import WebOptions
from fake_devices import file_devices, make_devices
from portraits import make_portrait
from web.servers import (
    EXAMPLES,
    SAMPLE,
    Gate,
    GatedAnalyzer,
    Server,
    perceived_sample,
    serve,
    wait_until,
    with_others,
)

DESKTOP: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 900},
    "permissions": ["camera", "microphone"],
}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}
START = "Start camera and microphone"
RESULT = ".fvw-result .fv-root"
STEMS = ("smile_frightened_voice", "smile_glad_voice", "voice")

# What screen readers are told, from now on.
HEAR = """() => {
  window.heard = [];
  new MutationObserver(changes => changes.forEach(change => {
    const node = change.target.parentElement?.closest('[role=status], [aria-live]')
      || change.target.closest?.('[role=status], [aria-live]');
    if (node && node.textContent && node.textContent !== window.heard.at(-1))
      window.heard.push(node.textContent);
  })).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""

# Lets the test see the tracks that the page opens from now on.
KEEP_TRACKS = """() => {
  const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
  window.openedTracks = [];
  devices.getUserMedia = async function (wanted) {
    const media = await open(wanted);
    window.openedTracks.push(...media.getTracks());
    return media;
  };
}"""

# Lets the test see how many bytes recorders have given from now on; asks them for more.
KEEP_RECORDED = """() => {
  const start = MediaRecorder.prototype.start;
  let recorder = null, count = 0;
  MediaRecorder.prototype.start = function (...given) {
    recorder = this;
    this.addEventListener('dataavailable', event => { count += event.data.size; });
    return start.apply(this, given);
  };
  window.countRecorded = () => {
    if (recorder?.state === 'recording') recorder.requestData();
    return count;
  };
}"""

# What is written on canvases, from now on.
KEEP_WRITTEN = """() => {
  const pen = CanvasRenderingContext2D.prototype, write = pen.fillText;
  window.written = [];
  pen.fillText = function (text, ...place) {
    window.written.push(text);
    return write.call(this, text, ...place);
  };
}"""

# Of the canvas over the live video.
COLOURED_PIXELS = """() => {
  const canvas = document.querySelector('.fvw-live-stage canvas');
  if (!canvas.width) return 0;
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, k) => k % 4 === 3 && value > 0).length;
}"""


@pytest.fixture(scope="module", autouse=True)
def _late_answers_are_shown() -> Iterator[None]:
    """A busy machine may be too slow to follow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facevoice.web.live._MAX_LAG_S", 1000)
        yield


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
    options = WebOptions(
        samples=EXAMPLES,
        max_size_mb=2,
        max_length_s=60,
        max_live=1,
        live_windows=WindowConfig(1.0, 0.5),
        talk_s=2.0,
    )
    with serve(analyzer, tmp_path_factory.mktemp("uploads"), options) as server:
        yield server


@dataclass(frozen=True)
class Gated:
    """A server for one clip at a time, which reads nothing while its gate is closed."""

    server: Server
    analyzer: GatedAnalyzer
    gate: Gate


@pytest.fixture(scope="module")
def gated_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    gate = Gate()
    config = AnalyzerConfig(decision=DecisionConfig(sensitivity=0.75, expected_conflicts=0.07))
    analyzer = GatedAnalyzer(gate, config)
    options = WebOptions(samples=EXAMPLES, max_waiting=1)
    with serve(analyzer, tmp_path_factory.mktemp("gated"), options) as server:
        yield Gated(server, analyzer, gate)


@pytest.fixture
def gated(gated_server: Gated) -> Iterator[Gated]:
    gated_server.gate.opened.set()
    yield gated_server
    gated_server.gate.opened.set()
    gated_server.analyzer.perception = perceived_sample()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with watched_page(browser, **DESKTOP) as page:
        yield open_page(page, server)


def open_page(page: Page, server: Server) -> Page:
    page.goto(server.url)
    expect(page.get_by_text("Intended use.")).to_be_visible()
    # Gradio draws part after part.
    page.wait_for_function("document.querySelector('#fvw-chooser')?.innerText.trim()")
    page.locator("#fvw-start").wait_for()
    page.locator("#fvw-clip button").first.wait_for()
    return page


def choose(page: Page, *paths: Path) -> None:
    page.set_input_files("#fvw-clip input[type=file]", paths)
    for path in paths:
        expect_row(page, path.name, "ready")


def choose_sample(page: Page, name: str = "smile glad voice") -> None:
    page.get_by_role("button", name=name).click()
    expect_row(page, f"{name.replace(' ', '_')}.mp4", "ready")


def expect_row(page: Page, name: str, state: str) -> None:
    """The list has a clip of this name, and says so of it."""
    expect(page.locator(".fvw-list-box tbody tr").filter(has_text=name)).to_contain_text(state)


def add_recordings(page: Page, *paths: Path) -> None:
    """In place of those that were there."""
    box = page.locator("#fvw-recordings")
    if not box.is_visible():
        page.get_by_role("button", name="Add other recordings of this person").click()
    rows = page.locator("#fvw-chosen li")
    for count in range(rows.count(), 0, -1):
        rows.first.get_by_role("button").click()
        expect(rows).to_have_count(count - 1)
    page.set_input_files("#fvw-recordings input[type=file]", paths)
    expect(rows).to_have_count(len(paths))


def analyze(page: Page) -> None:
    page.click("#fvw-start")
    page.wait_for_selector(RESULT)


def open_settings(page: Page) -> None:
    page.locator("#fvw-settings > button").click()
    expect(page.get_by_label("cautious")).to_be_visible()


def is_free_to_leave(page: Page) -> bool:
    """Gradio takes the page for left, so a clip's test asks last."""
    leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    return bool(page.evaluate(leave))


def say_it_is_wrong(page: Page, name: str) -> None:
    """Of the moment that is shown, until it stands in the downloads."""
    page.get_by_label("Your name").fill(name)
    page.get_by_role("group", name="Is this right?").get_by_text("Wrong").click()
    expect(page.locator("#fvw-menu a", has_text="Review")).to_have_count(1)


def press_and_stay(page: Page, press: Callable[[], None]) -> None:
    """The page asks whether the review may be lost, and it may not."""
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.once("dialog", stay)
    press()
    assert asked == ["Your review isn’t downloaded yet, and would be lost. Go on without it?"]


def download(page: Page, selector: str, folder: Path) -> Path:
    with page.expect_download() as info:
        page.click(selector)
    path = folder / info.value.suggested_filename
    info.value.save_as(path)
    return path


def expect_problem(page: Page, part: str) -> None:
    expect(page.locator("#fvw-status .fvw-problem")).to_contain_text(part)
    expect(page.locator("#fvw-start")).to_be_enabled()


def portrait_clip(make_clip: ClipMaker, name: str, duration_s: float) -> Path:
    portrait = make_portrait()
    return make_clip(
        name, width=300, height=300, fps=10, duration_s=duration_s, paint=lambda *_: portrait
    )


def tab_through(page: Page, until: str) -> list[str]:
    names: list[str] = []
    while len(names) < 80 and names[-1:] != [until]:
        page.keyboard.press("Tab")
        name, is_seen = page.evaluate(
            """() => {
              const node = document.activeElement;
              const style = getComputedStyle(node.closest('.fvw-drop') ?? node);
              const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              const name = node.getAttribute('aria-label') || node.labels?.[0]?.innerText
                || node.innerText || node.title || '';
              return [name.trim(), ring || node.tagName === 'VIDEO'];
            }"""
        )
        assert name, "a control has no name"
        assert is_seen, f"the focus on {name!r} can't be seen"
        names.append(name)
    return names


# Clips.


def test_from_upload_to_downloads(
    page: Page, browser: Browser, server: Server, analyzer: Analyzer, tmp_path: Path
) -> None:
    named = tmp_path / "a #1 50% ü.mp4"
    named.write_bytes(SAMPLE.read_bytes())
    choose(page, named)
    analyze(page)
    report = analyzer.analyze(SAMPLE)
    assert report.summary is not None
    shown = page.inner_text(".fvw-result")
    assert named.name in shown
    assert report.summary.outcome.value in shown
    page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 1")
    timeline = page.locator(".fvw-result [role=slider]")
    for share, seen in ((0.8, "share > 0.6"), (0.3, "share > 0.1 && share < 0.5")):
        box = timeline.bounding_box()
        assert box is not None
        timeline.click(position={"x": box["width"] * share, "y": 30})
        here = """const video = document.querySelector('.fvw-stage video'),
          share = video.currentTime / video.duration"""
        page.wait_for_function(f"() => {{ {here}; return {seen}; }}")

    files = {name: download(page, f"#fvw-{name}", tmp_path) for name in ("json", "csv", "html")}
    page.click("#fvw-draw")
    page.wait_for_selector("#fvw-mp4")
    film = download(page, "#fvw-mp4", tmp_path)
    page.get_by_role("button", name="Right", exact=True).click()
    menu = page.locator("#fvw-menu a")
    expect(menu).to_have_count(8)
    press_and_stay(page, lambda: page.click("#fvw-again"))
    page.get_by_role("button", name="Other formats").click()
    assert barriers(page, within="#fvw-downloads") == []
    with page.expect_download() as info:
        menu.get_by_text("ELAN (.eaf)").click()
    assert info.value.suggested_filename == f"{named.stem}.eaf"
    tiers = {tier.name: tier for tier in read_eaf(Path(info.value.path())).tiers}
    assert [span.label for span in tiers["reviewed"].spans] == ["right"]
    with page.expect_download() as info:
        menu.get_by_text("Review (.review.json)").click()
    assert info.value.suggested_filename == f"{named.stem}.review.json"
    read = read_report(files["json"])
    assert [w.outcome for w in read.windows] == [w.outcome for w in report.windows]
    with files["csv"].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["outcome"] for row in rows] == [w.outcome.value for w in report.windows]
    assert is_report_page(files["html"])
    for path in files.values():
        assert str(server.uploads) not in path.read_text("utf-8")
    with watched_page(browser, **DESKTOP) as other:
        other.goto(files["html"].as_uri())
        expect(other.locator("body")).to_contain_text(named.name)
    assert is_free_to_leave(page)
    with av.open(str(film)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert sum(1 for _ in container.decode(video=0)) > 100


def test_several_clips_are_listed_read_and_switched_between(
    browser: Browser, server: Server, analyzer: Analyzer, make_clip: ClipMaker, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.mp4"
    notes.write_text("dear diary")
    spoken = np.tile(np.concatenate([block.samples for block in read_audio(SAMPLE)]), 3)
    voice = make_clip("voice.wav", video=False, samples=spoken, sample_rate_hz=SAMPLE_RATE_HZ)
    with watched_page(browser, color_scheme="dark", **PHONE) as page:
        open_page(page, server)
        assert barriers(page) == []
        choose(page, EXAMPLES / "smile_frightened_voice.mp4", notes, voice)
        choose_sample(page)
        page.get_by_label("Take smile_glad_voice.mp4 away").click()
        rows = page.locator(".fvw-list-box tbody tr")
        expect(rows).to_have_count(3)
        choose_sample(page)
        page.click("#fvw-start")
        page.locator(".fvw-progress progress").wait_for()
        expect(page.locator("#fvw-running")).to_be_in_viewport()
        assert barriers(page) == []
        problem = page.locator("#fvw-status .fvw-problem")
        expect(problem).to_have_text("1 of 4 clips could not be read: the list says why.")
        expect_row(page, "notes.mp4", "is not a video or audio file")
        expect_row(page, "smile_frightened_voice.mp4", "conflict")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        title = page.locator(".fvw-result .fv-title")
        expect(title).to_have_text("smile_frightened_voice.mp4")
        page.get_by_role("button", name="voice.wav", exact=True).click()
        expect(title).to_have_text("voice.wav")
        told = (
            "There is no picture, so face and voice can't be compared. The voice sounds happy for"
        )
        expect(page.locator(".fv-sentence")).to_contain_text(told)
        assert page.inner_text(".fvw-result").count("insufficient") == 1
        expect(page.locator(".fvw-stage audio")).to_be_visible()
        assert server.files("voice.json")
        assert barriers(page) == []
        page.get_by_role("button", name="smile_glad_voice.mp4", exact=True).click()
        expect(title).to_have_text("smile_glad_voice.mp4")
        assert page.locator("video:visible").count() == 1
        say_it_is_wrong(page, "Anna")
        with ZipFile(download(page, "#fvw-all", tmp_path)) as packed:
            names = set(packed.namelist())
            review = json.loads(packed.read("smile_glad_voice.review.json"))
            total = list(csv.DictReader(packed.read("windows.csv").decode().splitlines()))
        (verdict,) = review["verdicts"]
        assert (verdict["is_right"], verdict["reviewer"]) == (False, "Anna")
        assert {f"{s}.{e}" for s in STEMS for e in ("json", "csv", "html")} <= names
        sums = page.locator(".fvw-list-box tfoot td.fvw-count").all_inner_texts()
        assert sum(map(int, sums)) == len(total)
        page.get_by_role("button", name="smile_frightened_voice.mp4", exact=True).click()
        expect(title).to_have_text("smile_frightened_voice.mp4")
        expect(page.get_by_label("Your name")).to_have_value("Anna")
        assert is_free_to_leave(page)
    assert wait_until(lambda: not server.files("*.json") and not server.files("*.mp4"))


def test_another_setting_shows_at_once_everywhere(
    browser: Browser, gated: Gated, tmp_path: Path
) -> None:
    gate, analyzer = gated.gate, gated.analyzer
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, gated.server)
        expect(page.locator("#fvw-settings")).to_be_hidden()
        choose_sample(page)
        analyze(page)
        gate.opened.clear()  # from here on, nothing can be read
        box = page.locator("#fvw-settings > button")
        expect(box).to_contain_text("Settings: 75% right; conflicts 7%")
        open_settings(page)
        expect(page.get_by_label("75% right")).to_be_checked()  # as the server was started
        expect(page.get_by_label("7%")).to_be_checked()
        page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 1")
        page.evaluate("document.querySelector('.fvw-stage video').currentTime = 2")

        page.get_by_label("1 in 100").check()
        page.get_by_label("cautious").check()
        decision = DecisionConfig(sensitivity="cautious", expected_conflicts=0.01)
        report = analyzer.interpret(analyzer.perception, decision=decision)
        expect(page.locator(".fvw-result")).to_contain_text(summarize_in_words(report))
        expect(page.locator(".fvw-result")).to_contain_text(describe_point(report))
        expect(box).to_contain_text("Settings: cautious; conflicts 1 in 100")
        expect(page.get_by_label("cautious")).to_be_focused()
        assert page.evaluate("document.querySelector('.fvw-stage video').currentTime") == 2
        assert page.locator(RESULT).count() == 1
        # One control for all: the report's own switch would change what is seen, but no download.
        assert page.get_by_text("sensitive", exact=True).count() == 1

        read = read_report(download(page, "#fvw-json", tmp_path))
        assert read.config.decision == decision
        assert [w.outcome for w in read.windows] == [w.outcome for w in report.windows]
        with download(page, "#fvw-csv", tmp_path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["outcome"] for row in rows] == [w.outcome.value for w in report.windows]
        html = download(page, "#fvw-html", tmp_path).read_text("utf-8")
        assert json.dumps(summarize_in_words(report))[1:-1] in html

        gate.opened.set()
        page.click("#fvw-draw")
        page.wait_for_selector("#fvw-mp4")
        page.get_by_label("balanced").check()
        expect(page.locator("#fvw-mp4")).to_be_hidden()  # it was of the other setting
        expect(page.locator("#fvw-draw")).to_be_visible()


def test_people_are_named_merged_and_left_out_at_once(
    browser: Browser, gated: Gated, tmp_path: Path
) -> None:
    gate, analyzer = gated.gate, gated.analyzer
    analyzer.perception = with_others(analyzer.perception)
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, gated.server)
        expect(page.locator("#fvw-people")).to_be_hidden()
        choose_sample(page)
        analyze(page)
        gate.opened.clear()  # from here on, nothing can be read
        people = page.locator(".fv-people li")
        expect(people).to_have_count(3)
        page.get_by_role("button", name="People: what to call them").click()
        expect(page.locator("#fvw-people img:visible")).to_have_count(3)

        page.locator("#fvw-name-1 input").fill("<i>Anna</i>")
        page.keyboard.press("Enter")
        expect(people.first).to_contain_text("<i>Anna</i>")
        expect(page.locator(".fv-sentence")).to_contain_text("3 people are seen: <i>Anna</i>")

        def say(number: int, role: str) -> None:
            page.locator(f"#fvw-role-{number} input").click()
            option = page.get_by_role("option", name=role)
            expect(option).to_have_count(1)  # the list before may still be closing
            option.click()

        say(3, "the same as Person 1")
        told = "People 3 and 1 are seen at the same time: they can't be one person."
        expect(page.locator(".fvw-problem")).to_have_text(told)
        expect(people).to_have_count(3)
        say(3, "the same as Person 2")
        expect(people).to_have_count(2)
        expect(page.locator(".fvw-problem")).to_be_hidden()
        say(2, "left out")
        expect(people.nth(1)).to_contain_text("left out")
        read = read_report(download(page, "#fvw-json", tmp_path))
        assert [(p.name, p.is_left_out) for p in read.people] == [
            ("<i>Anna</i>", False),
            ("Person 2", True),
        ]


def test_other_recordings_tell_what_is_usual_for_the_person(
    page: Page, server: Server, analyzer: Analyzer, make_clip: ClipMaker, tmp_path: Path
) -> None:
    film, told, kept = (tmp_path / name for name in ("film.mp4", "told.mp4", "anna.json"))
    film.write_bytes(SAMPLE.read_bytes())
    told.write_bytes((EXAMPLES / "smile_plain_voice.mp4").read_bytes())
    anna = analyzer.get_to_know([EXAMPLES / "smile_frightened_voice.mp4"])
    save_profile(anna, kept, analyzer.models)
    empty = make_clip("empty.mp4", width=64, height=48, fps=5, duration_s=2, samples="silence")
    choose(page, film)
    add_recordings(page, told, kept, empty, film)
    page.get_by_label("The recordings are known to be neutral").check()
    analyze(page)
    neutral = analyzer.get_to_know([told], neutral=True)
    report = analyzer.analyze(film, known=Known(person=pool([anna, neutral])))
    shown = page.inner_text(".fvw-result")
    assert "Compared with this person's usual face and voice, from" in shown
    assert summarize_in_words(report) in shown
    warning = page.locator(".fvw-warning")
    expect(warning).to_have_text(
        "empty.mp4: shows too little of a face, and of speech, to tell anything of the person."
        "film.mp4: is the clip itself, and tells nothing new."
    )
    open_settings(page)
    page.get_by_label("cautious").check()  # as before, but for the setting
    decision = replace(analyzer.config.decision, sensitivity="cautious")
    expect(page.locator(".fvw-result")).to_contain_text(
        summarize_in_words(decide_again(report, decision))
    )
    expect(warning).to_be_visible()
    read = read_report(download(page, "#fvw-json", tmp_path))
    assert num_known(read) == pytest.approx(num_known(report), abs=1e-6)
    html = download(page, "#fvw-html", tmp_path).read_text("utf-8")
    assert "usual face and voice" in html

    page.click("#fvw-again")
    expect(page.locator("#fvw-recordings")).to_be_visible()
    add_recordings(page, film)
    assert wait_until(lambda: not server.files("told.mp4"))


def num_known(report: Report) -> list[float]:
    channels = [window.face for window in report.windows]
    return [c.num_known for c in channels if c is not None and c.num_known is not None]


def test_progress_and_stop(page: Page, make_clip: ClipMaker) -> None:
    choose(page, portrait_clip(make_clip, "stopped.mp4", 58))
    page.click("#fvw-start")
    progress = page.locator(".fvw-progress")
    for said in (
        r"Read \d:\d\d of 0:58: about .* left, .* times as fast as it plays",
        r"Windows so far: \d+, with conflict: \d+\.",
    ):
        expect(progress).to_contain_text(re.compile(said))
    page.click("#fvw-stop")
    expect_problem(page, "Stopped.")  # said when the work has ended
    assert page.locator(RESULT).count() == 0


def test_problems_are_told(
    browser: Browser, server: Server, make_clip: ClipMaker, tmp_path: Path
) -> None:
    notes, large = tmp_path / "notes.mp4", tmp_path / "large.mp4"
    notes.write_text("dear diary")
    large.write_bytes(b"\0" * 3_000_000)
    # Gradio's own script reports the refused request on the console.
    with watched_page(browser, ("404", "Response"), **DESKTOP) as page:
        open_page(page, server)
        page.click("#fvw-start")
        expect_problem(page, "Choose a clip first.")
        choose(page, notes)
        page.click("#fvw-start")
        expect_problem(page, "notes.mp4: is not a video or audio file")
        expect(page.locator(".fvw-list-box")).to_be_hidden()  # once is enough
        assert str(server.uploads) not in page.inner_text("#fvw-status")
        long = make_clip("long.mp4", width=64, height=48, fps=2, duration_s=90)
        choose(page, long)  # in place of the one that failed
        expect(page.locator(".fvw-list-box tbody tr")).to_have_count(1)
        page.click("#fvw-start")
        expect_problem(page, "long.mp4: lasts 1.5 minutes; at most 1 are taken.")
        page.set_input_files("#fvw-clip input[type=file]", str(large))
        told = "large.mp4: is too large: 3.0 MB; at most 2 MB are taken."
        expect(page.locator("#fvw-clip .fvw-problem")).to_have_text(told)
        assert server.files("large.mp4") == []

        choose_sample(page)
        wrong = tmp_path / "anna.json"
        wrong.write_text("{}")
        for path, told in (
            (notes, "notes.mp4: is not a video or audio file"),
            (wrong, 'anna.json: is no profile: "schema" is not'),
            (long, "long.mp4: lasts 1.5 minutes; at most 1 are taken."),
        ):
            add_recordings(page, path)
            page.click("#fvw-start")
            expect_problem(page, told)
        assert str(server.uploads) not in page.inner_text("#fvw-status")


def test_who_waits_sees_the_line_and_too_many_are_told(browser: Browser, gated: Gated) -> None:
    gate, server = gated.gate, gated.server
    gate.opened.clear()
    with ExitStack() as stack:
        pages = [stack.enter_context(watched_page(browser, **DESKTOP)) for _ in range(3)]
        said = ("Reading the clip", "Number 1 in the line.", "Too many are waiting")
        for page, words in zip(pages, said, strict=True):
            open_page(page, server)
            choose_sample(page)
            page.click("#fvw-start")
            status = page.locator("#fvw-status")
            expect(status).to_contain_text(words)
        pages[1].click("#fvw-stop")
        expect_problem(pages[1], "Stopped.")
        pages[2].click("#fvw-start")
        expect(pages[2].locator("#fvw-status")).to_contain_text(said[1])
        gate.opened.set()
        for page in (pages[0], pages[2]):
            page.wait_for_selector(RESULT)
    assert gate.most == 1


def test_a_login_keeps_strangers_out_and_without_places_there_is_no_live_mode(
    browser: Browser, analyzer: Analyzer, tmp_path: Path
) -> None:
    options = WebOptions(max_live=0)
    with (
        serve(analyzer, tmp_path, options, auth=[("anna", "secret")]) as server,
        watched_page(browser, ("401", "404", "403", "WebSocket"), **DESKTOP) as page,
    ):
        page.goto(server.url)
        page.get_by_label("username").fill("anna")
        assert page.get_by_text("Intended use.").count() == 0
        page.get_by_label("password").fill("secret")
        page.get_by_role("button", name="Login").click()
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


def test_a_recording_is_read_like_an_upload(
    page: Page, server: Server, analyzer: Analyzer, tmp_path: Path
) -> None:
    page.evaluate(KEEP_RECORDED)
    page.get_by_role("button", name="Record yourself").click()
    page.wait_for_function("window.countRecorded() > 100_000")
    page.get_by_role("button", name="Stop recording").click()
    expect_row(page, "recording.webm", "ready")
    analyze(page)
    (recorded,) = server.files("recording.webm")
    with av.open(str(recorded)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 5
    report, read = analyzer.analyze(recorded), read_report(download(page, "#fvw-json", tmp_path))
    assert read.media is not None
    assert read.media.has_video
    assert read.media.has_audio
    assert [w.outcome for w in read.windows] == [w.outcome for w in report.windows]
    assert [w.face_coverage for w in read.windows] == pytest.approx(
        [w.face_coverage for w in report.windows], abs=1e-3
    )
    assert any(w.face_coverage > 0 for w in read.windows)


# What it looks like where the system is dark, and what keys and readers find.


def test_looks_keys_and_readers(browser: Browser, server: Server) -> None:
    with watched_page(browser, color_scheme="dark", **DESKTOP) as page:
        open_page(page, server)
        page.get_by_text("smile glad voice").wait_for()
        assert barriers(page) == []
        names = tab_through(page, until="Analyse")
        assert names[:2] == ["Clip", "Live"]
        assert {path.stem.replace("_", " ") for path in EXAMPLES.glob("*.mp4")} <= set(names)
        page.keyboard.press("Enter")
        page.wait_for_selector(".fvw-problem")
        assert barriers(page) == []

        choose_sample(page)
        page.evaluate(HEAR)
        analyze(page)
        page.wait_for_function("window.heard.at(-1)?.startsWith('The result is there.')")
        heard = page.evaluate("window.heard")
        assert heard[0] == "The clip is being read."
        assert len(heard) <= 3
        assert barriers(page) == []
        assert page.evaluate("document.activeElement.className") == "fv-title"
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        borders = page.evaluate(
            """[...document.querySelectorAll('.fv-root :is(table, tr, td, th)')].map(cell => {
              const style = getComputedStyle(cell);
              return style.borderTopWidth + style.borderLeftWidth + style.borderRightWidth;
            })"""
        )
        assert set(borders) == {"0px0px0px"}  # as in the report, not as gradio draws tables
        page.set_viewport_size({"width": 1280, "height": 800})
        page.evaluate("scrollTo(0, 0)")
        for part in (".fv-sentence", ".fvw-stage video", ".fv-timeline .fv-plot"):
            expect(page.locator(part)).to_be_in_viewport(ratio=1)  # the answer, at one look
        open_settings(page)
        page.get_by_role("tab", name="Clip").focus()
        names = tab_through(page, until=page.inner_text("details.fv-details summary"))
        wanted = {"Other clips", "JSON", "CSV", "Report (HTML)", "Make annotated video", "Zoom in"}
        assert wanted <= set(names)
        assert {"cautious", "balanced", "sensitive", "1 in 2", "1 in 20"} <= set(names)
        question = "How often do face and voice conflict where this comes from?"
        expect(page.get_by_role("group", name=question)).to_be_visible()
        expect(page.locator("#fvw-chooser")).to_be_hidden()
        page.click("#fvw-again")
        expect(page.locator("#fvw-chooser")).to_be_visible()
        expect(page.locator(RESULT)).to_have_count(0)
        expect(page.locator("#fvw-downloads")).to_be_hidden()

        page.get_by_role("tab", name="Live").click()
        expect(button(page)).to_have_text(START)
        assert barriers(page) == []
        page.get_by_role("tab", name="Clip").click()
        page.emulate_media(color_scheme="light")  # the page follows at once
        expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")


# Live.


def open_live(page: Page, server: Server) -> Page:
    open_page(page, server)
    page.get_by_role("tab", name="Live").click()
    expect(button(page)).to_have_text(START)
    return page


def button(page: Page) -> Any:
    return page.locator(".fvw-live button.fvw-button")


def talk_button(page: Page) -> Any:
    return page.locator(".fvw-live button.fvw-talk")


def start(page: Page) -> None:
    """Start, and wait for the first answer."""
    button(page).click()
    expect(button(page)).to_have_text("Stop")
    page.locator(".fvw-verdict .fvw-chip:not(.fvw-chip-none)").wait_for()
    page.wait_for_function("window.facevoiceLive.latencies_ms.length > 0")


def expect_stopped(page: Page, status: str) -> None:
    told = page.locator(".fvw-live-status")
    expect(told).to_contain_text(status)
    expect(button(page)).to_have_text(START)
    expect(button(page)).to_be_enabled()
    assert page.evaluate("document.querySelector('.fvw-live video').srcObject") is None


def expect_ended(page: Page) -> None:
    """The session has ended, and what it said in all is shown."""
    expect_stopped(page, "Ended.")
    expect(page.locator(".fvw-verdict-words")).to_contain_text(".")


def test_live_from_start_to_summary_and_again(page: Page, server: Server) -> None:
    open_live(page, server)
    page.evaluate(KEEP_TRACKS)
    page.evaluate(KEEP_WRITTEN)
    # Stopped before anything came.
    page.evaluate(
        "() => { const b = document.querySelector('.fvw-live button'); b.click(); b.click(); }"
    )
    expect_stopped(page, "")
    page.wait_for_function("window.openedTracks.length === 2")
    page.wait_for_function("window.openedTracks.every(track => track.readyState === 'ended')")

    start(page)
    face = page.locator(".fvw-bars").filter(has=page.get_by_role("heading", name="Face"))
    assert face.locator(".fvw-bar").count() == 8
    expect(face.locator(".fvw-bar-best .fvw-bar-name")).to_have_text("happy")
    expect(page.locator(".fvw-latency")).to_contain_text("Latency")
    page.wait_for_function(f"({COLOURED_PIXELS})() > 100")
    assert min(page.evaluate("window.facevoiceLive.latencies_ms")) > 0
    assert page.evaluate("window.openedTracks.slice(-2).every(t => t.readyState === 'live')")
    page.wait_for_function("window.facevoiceLive.latencies_ms.length > 3")
    shown = page.evaluate("window.written")
    assert "happy" in shown
    assert not any(text.startswith("face ") for text in shown)  # a lone face needs no number
    button(page).click()
    expect_ended(page)
    expect(page.locator(".fvw-verdict .fvw-chip")).to_have_text("In all")
    expect(page.locator(".fvw-verdict-words")).to_contain_text(re.compile(r"\d+ s \(.*\)\."))
    expect(face).to_be_hidden()  # no window's numbers beside what is said of all
    assert page.evaluate("window.openedTracks.every(track => track.readyState === 'ended')")
    assert page.evaluate(COLOURED_PIXELS) == 0

    start(page)  # behind another tab nobody is filmed
    page.get_by_role("tab", name="Clip").click()
    page.wait_for_function("window.openedTracks.every(track => track.readyState === 'ended')")
    page.get_by_role("tab", name="Live").click()
    expect_ended(page)

    start(page)  # Scripts can't pull a camera out; the event is what they would see.
    page.evaluate("window.openedTracks.at(-1).dispatchEvent(new Event('ended'))")
    expect_ended(page)


def test_a_live_session_is_recorded_and_reported(
    page: Page, server: Server, tmp_path: Path
) -> None:
    open_live(page, server)
    page.evaluate(KEEP_WRITTEN)
    page.get_by_label("Record the session too").check()
    start(page)
    page.wait_for_function("window.facevoiceLive.latencies_ms.length > 4")
    assert {"0:10", "0:20", "0:50"} <= set(page.evaluate("window.written"))  # the strip's clock
    expect(page.locator(".fvw-legend")).to_contain_text("insufficient")
    assert barriers(page) == []
    button(page).click()
    expect_ended(page)
    result = page.locator(".fvw-live-result")
    expect(result.locator(".fv-title")).to_have_text("live session")
    page.wait_for_function("document.querySelector('.fvw-live-result video').duration < 1000")

    def fetch(name: str) -> Path:
        with page.expect_download() as info:
            result.get_by_role("link", name=name, exact=True).click()
        path = tmp_path / info.value.suggested_filename
        info.value.save_as(path)
        return path

    with av.open(str(fetch("Recording"))) as film:
        assert sum(1 for _ in film.decode(video=0)) > 5
    result.get_by_role("group", name="Is this right?").get_by_text("Wrong").click()
    expect(result.locator(".fvw-menu a")).to_have_count(8)
    press_and_stay(page, lambda: button(page).click())
    assert not is_free_to_leave(page)
    result.get_by_role("button", name="Other formats").click()
    expect(result.get_by_text("Review (.review.json)")).to_be_visible()
    assert barriers(page) == []
    read = read_report(fetch("JSON"))
    assert read.review is not None
    assert [verdict.is_right for verdict in read.review.verdicts] == [False]
    assert is_free_to_leave(page)
    assert len(read.windows) >= 4
    assert any(window.face is not None for window in read.windows)
    assert is_report_page(fetch("Report (HTML)"))
    assert server.files("*.webm") == []  # the recording never left the browser
    start(page)
    expect(result.locator(".fv-title")).to_have_count(0)


def test_live_gets_to_know_who_talks_normally(page: Page, server: Server) -> None:
    open_live(page, server)
    expect(page.locator(".fvw-live")).to_contain_text(
        "Nothing of the person is kept when the session ends."
    )
    expect(talk_button(page)).to_have_text("Talk normally first (2 s)")
    talk_button(page).click()
    expect(page.locator(".fvw-verdict")).to_contain_text("As you usually do")
    expect(page.locator(".fvw-verdict progress")).to_be_visible()
    expect(talk_button(page)).to_have_text("Skip")
    told = page.locator(".fvw-live-status")
    expect(told).to_contain_text("From now on you are compared")
    known = page.locator(".fvw-live-known")
    expect(known).to_contain_text(
        re.compile(r"^Compared .* The 2 s of normal talk are among them\.$")
    )
    assert page.locator(".fvw-bars:visible").count() == 3

    talk_button(page).get_by_text("Talk normally again (2 s)").click()
    expect(page.locator(".fvw-bars").first).to_be_hidden()
    talk_button(page).get_by_text("Skip").click()
    expect(page.locator(".fvw-bars").first).to_be_visible()
    expect(known).to_contain_text("The 2 s of normal talk")  # the one before still holds
    button(page).click()
    expect_ended(page)
    expect(known).to_be_empty()
    expect(talk_button(page)).to_have_text("Talk normally first (2 s)")


def test_a_closed_page_gives_its_place_back(browser: Browser, page: Page, server: Server) -> None:
    open_live(page, server)
    with watched_page(browser, **DESKTOP) as first:
        start(open_live(first, server))
        button(page).click()
        expect_stopped(page, "All live places are taken.")

    # The server notices a moment later that the page is gone.
    assert wait_until(lambda: gets_in(page))
    button(page).click()
    expect_ended(page)


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
        expect_stopped(page, "Camera and microphone were not allowed.")


def test_a_server_that_stops(browser: Browser, analyzer: Analyzer, tmp_path: Path) -> None:
    # Gradio's own script reports the lost server on the console.
    tolerated = ("Failed to load resource", "ERR_", "Connection", "fetch")
    options = WebOptions(live_windows=WindowConfig(1.0, 0.5))
    with watched_page(browser, tolerated, **DESKTOP) as page:
        with serve(analyzer, tmp_path, options) as server:
            start(open_live(page, server))
        expect_stopped(page, "The server closed the session.")
