"""A real headless Chromium for tests of pages, which notes whatever the pages ask of the network.

Where no Chromium is installed the tests are skipped, with FACEVOICE_REQUIRE_BROWSER=1 they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

# Nothing takes so long; a busy machine may take its time.
PATIENCE_MS = 120_000

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LOCAL_HOSTS = {"127.0.0.1", "localhost"}
_LOCAL_SCHEMES = {"file", "data", "blob", "about", "chrome-error"}
# Gradio asks the page's frame for things that only its own hosting has.
_HARMLESS = (
    # Gradio's own script, when a page is left whose stream of events is still open.
    "AbortError: signal is aborted",
    "Connection errored out",
    "Method not implemented",
)


def find_chromium() -> str | None:
    """The installed Chromium, None if there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser(*arguments: str) -> Iterator[Browser]:
    """Start Chromium with further command line `arguments`."""
    path = find_chromium()
    if path is None:
        if os.environ.get("FACEVOICE_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed, but FACEVOICE_REQUIRE_BROWSER=1")
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", *arguments], timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(
    browser: Browser, tolerated: tuple[str, ...] = (), **context: Any
) -> Iterator[Page]:
    """A page in a context of its own; fails if it asked another host for anything, or stumbled.

    `tolerated`: parts of messages on the console that the test brings about.
    """
    outside: list[str] = []
    errors: list[str] = []

    def see_request(request: Any) -> None:
        if not is_local(request.url):
            outside.append(request.url)

    def see_message(message: Any) -> None:
        if message.type == "error" and not any(
            text in message.text for text in (*_HARMLESS, *tolerated)
        ):
            errors.append(message.text)

    def see_error(error: Any) -> None:
        if not any(text in str(error) for text in _HARMLESS):
            errors.append(str(error))

    opened = browser.new_context(**context)
    opened.set_default_timeout(PATIENCE_MS)
    opened.on("request", see_request)
    page = opened.new_page()
    page.on("pageerror", see_error)
    page.on("console", see_message)
    page.on(
        "websocket",
        lambda socket: None if is_local(socket.url) else outside.append(socket.url),
    )
    try:
        yield page
    finally:
        # What scripts say of connections that end while the page is closed is no stumbling.
        stumbled = tuple(errors)
        opened.close()
    assert outside == [], f"the page asked other hosts: {outside}"
    assert stumbled == (), f"the page stumbled: {stumbled}"


@cache
def _axe_script() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def barriers(page: Page, within: str = "body", without: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA and its best practices; [] where all is well.

    `within`: the part that is looked at; `without`: selectors of what isn't ours to mend.
    """
    if not page.evaluate("typeof window.axe === 'object'"):
        page.evaluate(_axe_script() + ";0")
    found: list[dict[str, Any]] = page.evaluate(
        """async ([within, without]) => {
          // A button that is still changing its colours has none that anybody reads.
          const moves = () => document.getAnimations().filter((one) =>
            one.playState === "running" && one.effect?.getComputedTiming().endTime < Infinity);
          while (moves().length) await Promise.allSettled(moves().map((one) => one.finished));
          const context = { include: [within], exclude: without.map((one) => [one]) };
          const rules = { "target-size": { enabled: true } };  // of WCAG 2.2, which axe leaves off
          const { violations } = await axe.run(context, { rules, resultTypes: ["violations"] });
          return violations;
        }""",
        [within, list(without)],
    )
    return [
        f"{rule['id']}: {node['html'][:160]} ({node['failureSummary']})"
        for rule in found
        for node in rule["nodes"]
    ]


def is_local(url: str) -> bool:
    """Whether an address leads to no other machine."""
    parts = urlsplit(url)
    return parts.scheme in _LOCAL_SCHEMES or parts.hostname in _LOCAL_HOSTS
