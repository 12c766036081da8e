"""The page of an agreement in a real browser: it loads nothing, and nobody is kept out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from docs.invented_report import invent_annotation, invent_short

from browser import barriers, open_browser, watched_page
from facevoice.agreement import Case, Mapping, compare, to_agreement_page

LOOKS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1280), ("dark", 390))


def test_no_barrier_light_on_a_desk_and_dark_on_a_phone(tmp_path: Path) -> None:
    report, _ = invent_short("conflict")  # few labels, so small tables: axe takes its time
    people = ["anna.eaf", "ben.eaf"]
    documents = tuple(invent_annotation(report, seed) for seed in range(2))
    found = compare([Case("talk", report, documents)], people, Mapping())
    path = tmp_path / "agreement.html"
    path.write_text(to_agreement_page(found, "talk"), encoding="utf-8")
    with open_browser() as browser:
        for scheme, width in LOOKS:
            size = {"width": width, "height": 800}
            with watched_page(browser, viewport=size, color_scheme=scheme) as page:
                page.goto(path.as_uri())
                assert barriers(page) == [], (scheme, width)
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide == pytest.approx(width, abs=1)
                area = page.locator(".fv-area")
                area.hover(position={"x": area.bounding_box()["width"] / 2, "y": 8})
                told = area.get_attribute("title")
                assert told is not None and told.endswith("Face, anna.eaf: happy")
