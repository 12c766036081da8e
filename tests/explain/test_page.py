"""The page of an explanation, and its section below a report, in a real browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from browser import barriers, open_browser, watched_page
from builders import make_prediction, make_report
from facevoice.explain import (
    Answers,
    Explanation,
    FaceExplanation,
    Part,
    VoiceExplanation,
    explain_in_words,
    to_document,
    to_page,
    to_section,
)
from facevoice.records import Emotion
from facevoice.report.page import to_html

SCREENS = ((1280, 800), (390, 844))


def invent() -> Explanation:
    """Both channels explained, nothing of it measured."""
    gone = Answers(0.2, 0.3)
    mouth = Part("mouth", "region", gone, 2.0, 1.0, True, True)
    stretch = Part("4.0 to 4.4 s", "stretch", gone, -0.2, 0.1, False, False, start_s=4, end_s=4.4)
    heat = np.linspace(-1, 1, 120**2).reshape(120, 120)
    face = FaceExplanation(
        Emotion.HAPPY,
        Answers(0.7, 0.6),
        (mouth,),
        np.full((120, 120, 3), 90, np.uint8),
        heat,
        heat,
        16,
    )
    voice = VoiceExplanation(
        Emotion.SAD,
        Answers(0.6, 0.6),
        (stretch,),
        (4.0, 4.4, 4.8),
        (0.0, 300.0, 8000.0),
        np.array([[0.2, -0.3], [0.1, 0.0]]),
        None,
        np.linspace(-80, 0, 257 * 9, dtype=np.float32).reshape(257, 9),
    )
    return Explanation("talk <b>.mp4", 4.2, make_prediction(), face, voice)


def test_of_several_people_it_says_whose_face_it_is() -> None:
    told = replace(invent(), person="Anna <b>")
    assert explain_in_words(told)[0] == "The face is that of Anna <b>."
    assert to_document(told)["person"] == "Anna <b>"
    assert "The face is that of Anna &lt;b&gt;." in to_page([told])
    assert "that of" not in explain_in_words(invent())[0]


def test_it_is_dark_where_wanted_fits_a_phone_and_has_no_barriers(tmp_path: Path) -> None:
    told = invent()
    pages = {
        "why.html": to_page([told]),
        "report.html": to_html(make_report(told.prediction), more=to_section(told)),
    }
    inks = {"light": "rgb(31, 41, 51)", "dark": "rgb(228, 232, 235)"}
    with open_browser() as browser:
        for name, html in pages.items():
            (tmp_path / name).write_text(html, encoding="utf-8")
            for (width, height), (scheme, ink) in zip(SCREENS, inks.items(), strict=True):
                size = {"width": width, "height": height}
                options = {"viewport": size, "color_scheme": scheme, "bypass_csp": True}
                with watched_page(browser, **options) as page:
                    page.goto((tmp_path / name).as_uri())
                    section = page.locator("section.fv-why")
                    section.wait_for()
                    assert section.evaluate("one => getComputedStyle(one).color") == ink
                    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    assert wide <= 0
                    assert page.locator(".fv-why .fv-why").count() == 0
                    # What stands above has tests of its own.
                    within = "body" if name == "why.html" else "section.fv-why"
                    assert barriers(page, within) == [], (name, scheme)
