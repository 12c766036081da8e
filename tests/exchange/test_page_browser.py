"""The page of an agreement in a real browser: it loads nothing, and nobody is kept out."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

import pytest
from docs.invented_report import invent_annotation, invent_report

from browser import open_browser, watched_page
from facevoice.agreement import Case, Mapping, compare, to_agreement_page

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1280), ("dark", 390))


def test_no_barrier_light_on_a_desk_and_dark_on_a_phone(tmp_path: Path) -> None:
    report, _ = invent_report()
    people = ["anna.eaf", "ben.eaf"]
    documents = tuple(invent_annotation(report, seed) for seed in range(2))
    found = compare([Case("talk", report, documents)], people, Mapping())
    path = tmp_path / "agreement.html"
    path.write_text(to_agreement_page(found, "talk"), encoding="utf-8")
    axe = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    with open_browser() as browser:
        for scheme, width in LOOKS:
            size = {"width": width, "height": 800}
            with watched_page(browser, viewport=size, color_scheme=scheme) as page:
                page.goto(path.as_uri())
                page.evaluate(axe + ";0")
                told = page.evaluate("axe.run().then((found) => found.violations)")
                assert told == [], (scheme, width)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide == pytest.approx(width, abs=1)
