"""Size, opening and smoothness of the report page of an hour of video, in a real Chromium.

    python benchmarks/report_page.py [--runs 5 --seconds 5]

The report is made up: 1,800 windows of 4 s every 2 s with emotions, conflicts and gaps drawn at
random (the same each time), a waveform of 20 peaks a second and 5 face boxes a second. Prints

size       of the page, which holds everything
open       from the start of loading the file to the moment after its first painting, `--runs` times
scroll     intervals of frames (requestAnimationFrame) while the page scrolls by 40 px a frame, its
           table of all windows open
pan, zoom  the same while the timeline moves by 40 px a frame, a sixteenth of the hour shown, and
           while it grows 128-fold and shrinks, by 2^(1/10) a frame

A display of 60 Hz shows a frame each 16.7 ms; headless Chromium draws without a graphics card.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page

from chromium import make_long_report, make_trace, open_chromium, spread, watched_page
from facevoice.report import to_html
from figures import keep

NUM_WINDOWS = 1800
DURATION_S = 3602.0
LATE_MS = 33.0
VIEWPORT = {"width": 1280, "height": 900}

# When the page is painted for the first time with the report mounted.
OPENED = """
window.openedAfterMs = new Promise((done) => document.addEventListener("DOMContentLoaded", () =>
  requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0))));
"""
# Calls `step(number of the frame)` in every frame; gives the intervals between frames in ms.
RUN_FRAMES = """
(seconds, step) => new Promise((done) => {
  const times = [];
  const begun = performance.now();
  const frame = () => {
    times.push(performance.now());
    if (times.at(-1) - begun > 1000 * seconds) {
      done(times.slice(1).map((time, k) => time - times[k]));
      return;
    }
    step(times.length);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})
"""
SCROLL = """
(() => {
  let down = 40;
  return () => {
    const before = scrollY;
    scrollBy(0, down);
    if (scrollY === before) down = -down;
  };
})()
"""
WHEEL = """
const area = document.querySelector(".fv-area"), box = area.getBoundingClientRect();
const wheel = (how) => area.dispatchEvent(new WheelEvent("wheel", {
  bubbles: true, cancelable: true,
  clientX: box.left + box.width * 0.4, clientY: box.top + 40, ...how,
}));
const whole = () => area.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
"""
PAN = "(k) => wheel({ deltaX: k % 240 < 120 ? 40 : -40 })"
ZOOM = "(k) => wheel({ ctrlKey: true, deltaY: k % 140 < 70 ? -20 : 20 })"


def opening_ms(browser: Browser, address: str) -> float:
    """From the start of loading to the first painting, in a context that has cached nothing."""
    with watched_page(browser, viewport=VIEWPORT) as page:
        page.add_init_script(OPENED)
        page.goto(address)
        return float(page.evaluate("window.openedAfterMs"))


def frames_ms(page: Page, prepare: str, step: str, seconds: float) -> list[float]:
    """Intervals of frames while `step` goes on."""
    run = f"() => {{ {WHEEL} {prepare}; return ({RUN_FRAMES})({seconds}, {step}); }}"
    return [float(value) for value in page.evaluate(run)]


def smoothness(browser: Browser, address: str, seconds: float) -> dict[str, list[float]]:
    """Intervals of frames of all that is done on the page."""
    with watched_page(browser, viewport=VIEWPORT) as page:
        page.goto(address)
        page.wait_for_selector(".fv-footer")
        closer = "for (let k = 0; k < 16; k++) wheel({ ctrlKey: true, deltaY: -50 })"
        found = {
            "pan": frames_ms(page, closer, PAN, seconds),
            "zoom": frames_ms(page, "whole()", ZOOM, seconds),
        }
        table = page.locator("details").filter(has=page.locator("table")).last
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        table.locator("tr").nth(NUM_WINDOWS // 2).wait_for(state="attached")
        found["scroll"] = frames_ms(page, "scrollTo(0, 0)", SCROLL, seconds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=5, help="how often the page is opened")
    parser.add_argument("--seconds", type=float, default=5, help="of each movement")
    parser.add_argument("--json", type=Path, help="see figures.py")
    options = parser.parse_args()
    text = to_html(make_long_report(NUM_WINDOWS), make_trace(DURATION_S))
    with tempfile.TemporaryDirectory() as folder, open_chromium() as browser:
        path = Path(folder) / "hour.html"
        path.write_text(text, encoding="utf-8")
        size_mb = path.stat().st_size / 1e6
        print(f"size: {size_mb:.2f} MB, {NUM_WINDOWS} windows")
        opened = [opening_ms(browser, path.as_uri()) for _ in range(options.runs)]
        print(
            f"open: median of {len(opened)} {statistics.median(opened):.0f} ms, "
            f"worst {max(opened):.0f} ms"
        )
        moved = smoothness(browser, path.as_uri(), options.seconds)
    for name, intervals in moved.items():
        late = np.mean(np.array(intervals) > LATE_MS)
        print(
            f"{name}: {len(intervals)} frames, {spread(intervals)}; "
            f"above {LATE_MS:.0f} ms: {late:.1%}"
        )
    keep(options.json, "report_page", {"size_mb": size_mb, "open_ms": opened, "frames_ms": moved})


if __name__ == "__main__":
    main()
