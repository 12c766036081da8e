"""Makes the pictures in docs/pictures: the real app and pages in a real Chromium.

    python docs/make_pictures.py                     # all of them
    python docs/make_pictures.py --only page-start   # one, or several

Needs the parts `web`, `plot` and `dev`, and Chromium. Before pictures are kept, look at them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from invented_report import (
    SHORT,
    TITLE,
    invent_annotation,
    invent_folder,
    invent_interview,
    invent_long,
    invent_report,
    invent_short,
)
from PIL import Image, ImageColor, ImageEnhance, ImageOps
from playwright.sync_api import Browser, Page, sync_playwright

from facevoice.agreement import Case, compare, to_agreement_page
from facevoice.agreement import Mapping as Meanings
from facevoice.agreement.reports import Side, lay_side_by_side, to_side_by_side_page
from facevoice.analyzer import Analyzer
from facevoice.interpret import decide_again
from facevoice.media import read_audio
from facevoice.records import SAMPLE_RATE_HZ, PeopleEdits, Report, Trace
from facevoice.report import ReportFolder, render_video, to_html, vocabulary
from facevoice.settings import DecisionConfig
from facevoice.web import WebOptions, launch_app

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "pictures"
SAMPLES = ROOT / "examples"
SAMPLE = SAMPLES / "smile_frightened_voice.mp4"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES: Final[dict[str, dict[str, Any]]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.25},
}
CAMERA_PX: Final = (640, 480)
NUM_COLOURS: Final = 128
OUR_COLOURS: Final = np.array(
    [
        ImageColor.getrgb(item["color"])
        for kind in ("emotions", "outcomes")
        for item in vocabulary()[kind]
    ],
    np.uint8,
)
PATIENCE_MS: Final = 90_000
LIVE_FOR_MS: Final = 16_000


class Studio:
    """The server, the browser and a folder for what comes and goes."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self.browser = browser
        self.url = url
        self.folder = folder

    @contextmanager
    def page(self, size: str, url: str, **options: Any) -> Iterator[Page]:
        """A page of the size, loaded; `options`: of the browser's context."""
        context = self.browser.new_context(
            **SIZES[size], permissions=["camera", "microphone"], **options
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(url)
        try:
            yield page
        finally:
            context.close()

    @contextmanager
    def report(self, size: str, report: Report, trace: Trace, **options: Any) -> Iterator[Page]:
        """The page of a report, opened from disk."""
        file = self.folder / "report.html"
        file.write_text(to_html(report, trace), encoding="utf-8")
        with self.page(size, file.as_uri(), **options) as page:
            yield page

    @contextmanager
    def app(self, size: str) -> Iterator[Page]:
        """The app, ready for use."""
        with self.page(size, self.url) as page:
            page.get_by_text("Intended use.").wait_for()
            page.get_by_text("smile frightened voice").wait_for()
            page.wait_for_timeout(800)
            yield page


def main() -> None:
    """Make the pictures that are asked for."""
    parser = argparse.ArgumentParser(description="Make the pictures in docs/pictures.")
    parser.add_argument("--only", action="append", choices=PICTURES, metavar="NAME", default=[])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, open_studio(Path(folder)) as studio:
        for name in args.only or PICTURES:
            for suffix, png in PICTURES[name](studio):
                keep(png, args.out / f"{name}{suffix}.png")


@contextmanager
def open_studio(folder: Path) -> Iterator[Studio]:
    """Serve the app on a free port and open Chromium, whose camera plays the sample."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    camera, microphone = folder / "camera.mjpeg", folder / "microphone.wav"
    write_camera(camera, SAMPLE)
    write_microphone(microphone, SAMPLE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = WebOptions(samples=SAMPLES)
    app = launch_app(
        Analyzer(), options, wait=False, server_name="127.0.0.1", server_port=port, quiet=True
    )
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=next(p for n in CHROMIUM_NAMES if (p := shutil.which(n))),
                args=[
                    "--no-sandbox",
                    "--use-fake-device-for-media-stream",
                    f"--use-file-for-fake-video-capture={camera}",
                    f"--use-file-for-fake-audio-capture={microphone}",
                ],
            )
            yield Studio(browser, f"http://127.0.0.1:{port}/", folder)
            browser.close()
    finally:
        app.close()


def write_camera(path: Path, clip: Path) -> None:
    """The pictures of a clip for Chromium's camera, at 4 to 3 with bands beside them."""
    width, height = CAMERA_PX
    with av.open(str(clip)) as source, av.open(str(path), "w", format="mjpeg") as target:
        stream = target.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        for k, frame in enumerate(source.decode(video=0)):
            scale = min(width / frame.width, height / frame.height)
            inside = frame.to_image().resize(
                (round(frame.width * scale), round(frame.height * scale))
            )
            picture = Image.new("RGB", CAMERA_PX, (32, 36, 40))
            picture.paste(inside, ((width - inside.width) // 2, (height - inside.height) // 2))
            made = av.VideoFrame.from_image(picture)
            made.pts = k
            target.mux(stream.encode(made))
        target.mux(stream.encode())


def write_microphone(path: Path, clip: Path) -> None:
    """The sound of a clip for Chromium's microphone."""
    samples = np.concatenate([block.samples for block in read_audio(clip)])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


Shots = Iterator[tuple[str, bytes]]


def shoot_start(studio: Studio) -> Shots:
    """The page as it opens."""
    for size in SIZES:
        with studio.app(size) as page:
            yield f"-{size}", page.screenshot(full_page=True)


def shoot_result(studio: Studio) -> Shots:
    """The page after an analysis, in the middle of the clip."""
    for size in SIZES:
        with studio.app(size) as page:
            page.get_by_role("button", name="smile frightened voice").click()
            page.wait_for_selector(".fvw-list-box tbody tr")
            page.click("#fvw-start")
            page.wait_for_selector(".fvw-result .fv-root")
            page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 2")
            page.locator(".fvw-result [role=slider]").press("ArrowRight")
            page.wait_for_timeout(1000)
            # Down to the details, which the pictures of the report show.
            yield f"-{size}", shoot_still(page, until=".fv-detail")


def shoot_several(studio: Studio) -> Shots:
    """Several clips that were read, one of which can't be; the phone is dark."""
    notes = studio.folder / "notes.mp4"
    notes.write_text("dear diary")
    for size in SIZES:
        with studio.app(size) as page:
            page.emulate_media(color_scheme="dark" if size == "phone" else "light")
            page.set_input_files(
                "#fvw-clip input[type=file]", [*sorted(SAMPLES.glob("*.mp4")), notes]
            )
            page.wait_for_function(
                "document.querySelectorAll('.fvw-list-box tbody tr').length === 4"
            )
            page.click("#fvw-start")
            page.wait_for_selector(".fvw-problem")
            page.wait_for_function("document.querySelector('.fvw-stage video').readyState >= 2")
            yield f"-{size}", shoot_still(page, until=".fv-pair")


def shoot_live(studio: Studio) -> Shots:
    """The live mode, its camera and microphone playing the sample."""
    for size in SIZES:
        with studio.app(size) as page:
            page.get_by_role("tab", name="Live").click()
            page.click(".fvw-live button.fvw-button")
            page.wait_for_selector(".fvw-bars")
            page.wait_for_timeout(LIVE_FOR_MS)
            page.mouse.move(2, 2)
            page.evaluate("scrollTo(0, 0)")
            yield f"-{size}", page.screenshot(full_page=True)


def shoot_report(studio: Studio) -> Shots:
    """The page of a report with conflicts and gaps; the report is invented and says so."""
    for size in SIZES:
        with studio.report(size, *invent_report()) as page:
            page.get_by_role("button", name="Next conflict").click()
            yield f"-{size}", shoot_still(page)


def shoot_dark(studio: Studio) -> Shots:
    """The same in the dark, down to the review."""
    for size in SIZES:
        with studio.report(size, *invent_report(), color_scheme="dark") as page:
            page.get_by_role("button", name="Next conflict").click()
            yield f"-{size}", shoot_still(page, until=".fv-review-panel")


def shoot_curves(studio: Studio) -> Shots:
    """The timeline with all that can be switched on, and the values under the pointer."""
    with studio.report("desktop", *invent_report()) as page:
        page.get_by_label("All emotions").check()
        page.get_by_label("Valence and arousal").check()
        page.get_by_role("button", name="Strongest conflict").click()
        page.wait_for_timeout(500)
        timeline = page.locator(".fv-timeline")
        timeline.scroll_into_view_if_needed()
        page.locator(".fv-area").hover(position={"x": 300, "y": 60})
        page.wait_for_timeout(500)
        yield "", timeline.screenshot()


def shoot_print(studio: Studio) -> Shots:
    """What is printed, as wide as a sheet: the answer, the timeline, the moments, a card."""
    with studio.report("desktop", *invent_report()) as page:
        page.get_by_role("button", name="Next conflict").click()
        page.set_viewport_size({"width": 718, "height": 800})
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        yield "", shoot_still(page, until="section:has(.fv-outcomes)")


def shoot_people(studio: Studio) -> Shots:
    """The page of an invented interview of two, down to the summary."""
    for size in SIZES:
        with studio.report(size, *invent_interview()) as page:
            page.get_by_role("button", name="Next conflict").click()
            yield f"-{size}", shoot_still(page, until="section:has(.fv-outcomes)")


def shoot_short(outcome: str) -> Callable[[Studio], Shots]:
    """The page of an invented short file that comes to an outcome, down to the timeline."""

    def shoot(studio: Studio) -> Shots:
        for size in SIZES:
            with studio.report(size, *invent_short(outcome)) as page:
                yield f"-{size}", shoot_still(page, until=".fv-detail")

    return shoot


def shoot_moments(studio: Studio) -> Shots:
    """The moments of ten invented minutes, after a jump to the second, down to the review."""
    for size in SIZES:
        with studio.report(size, *invent_long()) as page:
            page.locator(".fv-moments button").nth(1).click()
            yield f"-{size}", shoot_still(page, until=".fv-review-panel")


def shoot_still(page: Page, until: str | None = None, since: str | None = None) -> bytes:
    """The page without focus or pointer, to where an element begins, or all of it.

    since: an element at which the picture begins; by default the top.
    """
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(2, 2)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    if until is None:
        return page.screenshot(full_page=True)
    top = 0.0 if since is None else place_of(page, since) - 12
    clip = {"x": 0, **page.viewport_size, "y": top, "height": place_of(page, until) - 12 - top}
    return page.screenshot(full_page=True, clip=clip)


def place_of(page: Page, selector: str) -> float:
    """How far down an element begins, in pixels."""
    box = page.locator(selector).bounding_box()
    if box is None:
        raise RuntimeError(f"the page has no {selector}")
    return box["y"]


def shoot_render(studio: Studio) -> Shots:
    """A picture of the annotated video."""
    yield "", render_picture(studio, SAMPLE)


def shoot_render_people(studio: Studio) -> Shots:
    """The same of two people: the sample, and beside it a still mirror image of it."""
    clip = studio.folder / "two.mp4"
    write_pair(clip, SAMPLE)
    # A drawn mouth doesn't move like one that speaks.
    yield "", render_picture(studio, clip, {1: "Anna", 2: "Eva"}, people="leading")


def render_picture(
    studio: Studio,
    clip: Path,
    names: Mapping[int, str] | None = None,
    people: str = "speaking",
) -> bytes:
    """A picture of the annotated video of a clip, whose people have these names."""
    file, analyzer = studio.folder / "film.mp4", Analyzer()
    perception = analyzer.perceive(clip)
    decision = replace(analyzer.config.decision, people=people)
    report = analyzer.interpret(perception, decision=decision, edits=PeopleEdits(names or {}))
    render_video(report, perception.trace, file)
    with av.open(str(file)) as film:
        for frame in film.decode(video=0):
            if frame.time >= 3:
                return to_png(frame.to_image())
    raise RuntimeError(f"{clip} is shorter than 3 s")


def write_pair(path: Path, clip: Path) -> None:
    """A clip of two people: one, and a still and darker mirror image of it, at their right."""
    still: Image.Image | None = None
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        sound = source.streams.audio[0]
        copied = target.add_stream_from_template(sound)
        stream = target.add_stream("libx264", rate=25)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16"}
        video = source.streams.video[0]
        stream.width, stream.height = 2 * video.width, video.height
        for packet in source.demux(video, sound):
            if packet.stream is sound:
                if packet.size:
                    packet.stream = copied
                    target.mux(packet)
                continue
            for frame in packet.decode():
                one = frame.to_image()
                still = still or ImageEnhance.Brightness(ImageOps.mirror(one)).enhance(0.75)
                both = Image.new("RGB", (2 * one.width, one.height))
                both.paste(one, (0, 0))
                both.paste(still, (one.width, 0))
                made = av.VideoFrame.from_image(both)
                made.pts, made.time_base = frame.pts, frame.time_base
                target.mux(stream.encode(made))
        target.mux(stream.encode())


def shoot_plot(studio: Studio) -> Shots:
    """What `Report.plot` draws of the invented report."""
    report, _ = invent_report()
    file = studio.folder / "plot.png"
    report.plot().savefig(file, dpi=110)
    yield "", file.read_bytes()


def shoot_review(studio: Studio) -> Shots:
    """The card of a moment that somebody corrected, with a note, and the panel of the review."""
    with studio.report("desktop", *invent_report()) as page:
        page.get_by_label("Your name").fill("Dr Keller")
        page.locator(".fv-moments button").nth(1).click()
        page.get_by_role("button", name="Right", exact=True).click()
        page.locator(".fv-moments button").first.click()
        page.get_by_role("button", name="Wrong", exact=True).click()
        page.get_by_label("Really").select_option("match")
        page.get_by_label("Face").select_option("angry")
        page.get_by_label("Note").fill("Grits her teeth, doesn't smile.")
        yield "", shoot_still(page, until="section:has(.fv-outcomes)", since=".fv-pair")


def shoot_index(studio: Studio) -> Shots:
    """The page over a folder of invented reports, of which those with a conflict are shown."""
    folder = studio.folder / "invented examples"
    with ReportFolder(folder, ["html"]) as reports:
        for name, report in invent_folder():
            reports.write(report, name)
    with studio.page("desktop", (folder / "index.html").as_uri()) as page:
        page.get_by_role("combobox", name="Show").select_option("conflict")
        page.get_by_role("button", name="Conflict (%)").click()
        yield "", shoot_still(page)


def shoot_comparison(studio: Studio) -> Shots:
    """Two answers of the invented report, at two sensitivities, down to the two cards."""
    report, trace = invent_report()
    sides = [
        Side(f"{level}.json", decide_again(report, DecisionConfig(sensitivity=level)), trace)
        for level in ("balanced", "cautious")
    ]
    file = studio.folder / "comparison.html"
    file.write_text(to_side_by_side_page(lay_side_by_side(*sides)), encoding="utf-8")
    with studio.page("desktop", file.as_uri()) as page:
        page.locator(".fv-differences button").first.click()
        yield "", shoot_still(page, until=".fv-cards")


def shoot_agreement(studio: Studio) -> Shots:
    """How far invented annotators agree with the invented report, down to the first confusion."""
    report, _ = invent_report()
    people = ["anna.eaf", "ben.TextGrid"]
    documents = tuple(invent_annotation(report, seed) for seed in range(len(people)))
    found = compare([Case(TITLE, report, documents)], people, Meanings())
    file = studio.folder / "agreement.html"
    file.write_text(to_agreement_page(found, TITLE), encoding="utf-8")
    with studio.page("desktop", file.as_uri()) as page:
        yield "", shoot_still(page, until=".fv-sub:nth-of-type(2)")


PICTURES: Final[dict[str, Callable[[Studio], Shots]]] = {
    "page-start": shoot_start,
    "page-result": shoot_result,
    "page-several": shoot_several,
    "page-live": shoot_live,
    "report": shoot_report,
    "report-dark": shoot_dark,
    "report-curves": shoot_curves,
    "report-print": shoot_print,
    "report-people": shoot_people,
    **{f"report-{outcome}": shoot_short(outcome) for outcome in SHORT},
    "report-moments": shoot_moments,
    "render": shoot_render,
    "render-people": shoot_render_people,
    "plot": shoot_plot,
    "review": shoot_review,
    "index": shoot_index,
    "comparison": shoot_comparison,
    "agreement": shoot_agreement,
}


def to_png(picture: Image.Image) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def with_few_colours(picture: Image.Image) -> Image.Image:
    """Our colours and the commonest as they are, and a mixture for all others."""
    pixels = np.asarray(picture).reshape(-1, 3)
    colours, places, counts = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    common = colours[np.argsort(-counts)[: NUM_COLOURS // 2 - len(OUR_COLOURS)]]
    mixed = picture.quantize(NUM_COLOURS // 2, kmeans=1).getpalette() or []
    palette = np.concatenate([OUR_COLOURS, common, np.array(mixed, np.uint8).reshape(-1, 3)])
    distances = [((colours.astype(np.int32) - c) ** 2).sum(axis=1) for c in palette.astype(int)]
    nearest = np.argmin(distances, axis=0).astype(np.uint8)[places.ravel()]
    few = Image.fromarray(nearest.reshape(picture.height, picture.width), "P")
    few.putpalette(palette.tobytes())
    return few


def keep(png: bytes, path: Path) -> None:
    """Write a picture with few colours, so that it stays small."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    with_few_colours(picture).save(path, optimize=True)
    size = f"{picture.width} × {picture.height}, {path.stat().st_size // 1000} kB"
    sys.stdout.write(f"{path.name}: {size}\n")


if __name__ == "__main__":
    main()
