"""What the page looks like where the system is dark, and what keys and readers find on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import open_browser, watched_page
from facevoice.analyzer import Analyzer
from facevoice.web import WebOptions
from web.servers import Server, serve

EXAMPLES = Path(__file__).parents[2] / "examples"
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}}
PATIENCE_MS = 60_000

# The worst contrast (WCAG 2.2) of text that is seen within a part, and that text.
WORST_CONTRAST = """selector => {
  const rgba = text => {
    const n = text.match(/[\\d.]+/g).map(Number);
    return n.length < 4 ? [...n, 1] : n;
  };
  const over = (a, b) => [0, 1, 2].map(k => a[k] * a[3] + b[k] * (1 - a[3])).concat(1);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    const layers = [];
    for (let n = node; n; n = n.parentElement)
      layers.unshift(rgba(getComputedStyle(n).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  let worst = [99, ''], count = 0;
  for (const part of document.querySelectorAll(selector)) {
    for (const node of [part, ...part.querySelectorAll('*')]) {
      const own = [...node.childNodes].filter(n => n.nodeType === 3 && n.data.trim());
      const isSeen = node.checkVisibility({ visibilityProperty: true });
      if (!own.length || !isSeen || node.disabled) continue;
      count += 1;
      const below = ground(node), ink = over(rgba(getComputedStyle(node).color), below);
      const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < worst[0]) worst = [ratio, own[0].data.trim()];
    }
  }
  if (!count) throw new Error('no text in ' + selector);
  return worst;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with open_browser(*arguments) as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(
        Analyzer(), tmp_path_factory.mktemp("uploads"), WebOptions(samples=EXAMPLES)
    ) as server:
        yield server


def open_page(page: Page, server: Server) -> Page:
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    expect(page.get_by_text("Intended use.")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_text("smile sad voice").wait_for()
    return page


def analyze_sample(page: Page) -> None:
    page.get_by_text("smile sad voice").click()
    page.wait_for_selector("#fvw-clip video")
    page.click("#fvw-start")
    page.wait_for_selector(".fvw-result .fv-root")


def assert_readable(page: Page, selector: str) -> None:
    ratio, text = page.evaluate(WORST_CONTRAST, selector)
    assert ratio >= 4.5, f"{selector}: {text!r} has a contrast of {ratio:.2f}"


def test_nothing_is_dark_on_dark_where_the_system_is_dark(browser: Browser, server: Server) -> None:
    with watched_page(browser, color_scheme="dark", **DESKTOP) as page:
        open_page(page, server)
        assert_readable(page, ".fvw-intro")
        assert_readable(page, "#fvw-chooser")
        assert_readable(page, "button[role=tab]")
        page.click("#fvw-start")
        page.wait_for_selector(".fvw-problem")
        assert_readable(page, "#fvw-status")
        page.get_by_text("smile sad voice").click()
        page.wait_for_selector("#fvw-clip video")
        page.click("#fvw-start")
        page.wait_for_selector(".fvw-progress progress")
        assert_readable(page, "#fvw-running")
        page.wait_for_selector(".fvw-result .fv-root")
        assert_readable(page, ".fvw-result")
        assert_readable(page, "#fvw-downloads")
        page.get_by_role("tab", name="Live").click()
        page.locator(".fvw-live button").wait_for()
        page.wait_for_timeout(500)
        assert_readable(page, ".fvw-live")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
            "rgb(255, 255, 255)",
            "rgba(0, 0, 0, 0)",
        )


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_result_takes_the_place_of_the_choice(
    browser: Browser, server: Server, size: dict[str, dict[str, int]]
) -> None:
    with watched_page(browser, **size) as page:
        open_page(page, server)
        analyze_sample(page)
        assert page.locator("video:visible").count() == 1
        expect(page.locator("#fvw-chooser")).to_be_hidden()
        assert page.evaluate("document.activeElement.className") == "fv-title"
        page.click("#fvw-again")
        expect(page.locator("#fvw-chooser")).to_be_visible()
        assert page.locator(".fvw-result").count() == 0
        expect(page.locator("#fvw-downloads")).to_be_hidden()
        analyze_sample(page)


def test_tables_look_as_in_the_report(browser: Browser, server: Server) -> None:
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, server)
        analyze_sample(page)
        widths = page.evaluate(
            """[...document.querySelectorAll('.fv-root :is(table, tr, td, th)')].map(cell => {
              const style = getComputedStyle(cell);
              return style.borderTopWidth + style.borderLeftWidth + style.borderRightWidth;
            })"""
        )
        assert set(widths) == {"0px0px0px"}


def test_keys_reach_every_control_and_show_where_they_are(browser: Browser, server: Server) -> None:
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, server)
        names = tab_through(page, until="Analyse")
        assert names[:2] == ["Clip", "Live"]
        assert {"smile glad voice", "smile sad voice"} <= set(names)
        analyze_sample(page)
        page.get_by_role("tab", name="Clip").focus()
        names = tab_through(page, until="All 3 windows as a table")
        assert {"Another clip", "JSON", "CSV", "Report (HTML)", "Make annotated video"} <= set(
            names
        )
        assert "Zoom in" in names


def tab_through(page: Page, until: str) -> list[str]:
    names: list[str] = []
    while len(names) < 40 and names[-1:] != [until]:
        page.keyboard.press("Tab")
        name, is_seen = page.evaluate(
            """() => {
              const node = document.activeElement, style = getComputedStyle(node);
              const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              const name = node.getAttribute('aria-label') || node.innerText || node.title || '';
              return [name.trim(), ring || node.tagName === 'VIDEO'];
            }"""
        )
        assert name, "a control has no name"
        assert is_seen, f"the focus on {name!r} can't be seen"
        names.append(name)
    return names


def test_headings_go_down_one_by_one(browser: Browser, server: Server) -> None:
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, server)
        analyze_sample(page)
        levels = page.evaluate(
            "[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_readers_hear_the_beginning_and_the_end_only(browser: Browser, server: Server) -> None:
    with watched_page(browser, **DESKTOP) as page:
        open_page(page, server)
        page.evaluate(
            """() => {
              window.heard = [];
              new MutationObserver(changes => changes.forEach(change => {
                const node = change.target.parentElement?.closest('[role=status], [aria-live]')
                  || change.target.closest?.('[role=status], [aria-live]');
                if (node && node.textContent && node.textContent !== window.heard.at(-1))
                  window.heard.push(node.textContent);
              })).observe(document.body, { childList: true, subtree: true, characterData: true });
            }"""
        )
        analyze_sample(page)
        page.wait_for_timeout(300)
        heard = page.evaluate("window.heard")
        assert heard[0] == "The clip is being read."
        assert heard[-1].startswith("The result is there. Neither match nor conflict")
        assert len(heard) <= 3
