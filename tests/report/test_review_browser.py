"""Reviews, the index of a folder and two reports side by side, in a real browser from disk."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from browser import barriers, open_browser, watched_page
from builders import make_failed_report
from facevoice.agreement.reports import Side, lay_side_by_side, to_side_by_side_page
from facevoice.interpret import decide_again
from facevoice.records import Emotion, Outcome, Person, Report
from facevoice.report import ReportFolder, to_html
from facevoice.report.index import index_row, to_index
from facevoice.review import Review, Verdict, empty_review, read_review, said_of, write_review
from facevoice.settings import DecisionConfig
from made_reports import CONFLICT, FLAT, MATCH, decided, in_a_row, make_window

HOSTILE = "<img src=x onerror=alert(1)>{{view}}\u202e.mp4"
FAINT = make_window(Emotion.HAPPY, Emotion.SAD, 0.72)
TALK = decided(
    *in_a_row([CONFLICT, FAINT, MATCH, MATCH, FLAT]),
    decision=DecisionConfig(sensitivity="balanced"),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def is_free_to_leave(page: Any) -> bool:
    leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    return bool(page.evaluate(leave))


def open_file(page: Any, folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    page.goto(path.as_uri())


def test_a_review_is_made_saved_read_and_loaded_again(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser) as page:
        open_file(page, tmp_path, "talk.html", to_html(TALK))
        card, panel = page.locator(".fv-judge"), page.locator(".fv-review-panel")
        expect(panel).to_contain_text("Nothing was reviewed yet")
        page.get_by_label("Your name").fill("Dr Keller")
        page.get_by_label("Your name").press("Tab")
        wrong = card.get_by_role("button", name="Wrong", exact=True)
        wrong.focus()
        page.keyboard.press("Enter")
        expect(wrong).to_have_attribute("aria-pressed", "true")
        expect(wrong).to_be_focused()
        card.get_by_label("Really").select_option("match")
        card.get_by_label("Voice").select_option("happy")
        card.get_by_label("Note").fill("<b>She laughs.</b>")
        card.get_by_label("Note").press("Tab")
        page.locator(".fv-moments [data-moment='1'] button").click()
        right = card.get_by_role("button", name="Right", exact=True)
        right.click()
        expect(card.get_by_label("Really")).to_be_hidden()
        expect(panel).to_contain_text("2 of 3 moments reviewed: 1 right, 1 wrong (50% agreement).")
        told = "Wrong: really match, voice happy. “<b>She laughs.</b>” (Dr Keller)"
        expect(panel).to_contain_text(told)
        expect(page.locator(".fv-moments [data-moment='0']")).to_contain_text("wrong")
        assert barriers(page) == []
        assert not is_free_to_leave(page)
        with page.expect_download() as saved:
            panel.get_by_role("button", name="Save review").click()
        assert saved.value.suggested_filename == "talk.review.json"
        saved.value.save_as(tmp_path / "talk.review.json")
        assert is_free_to_leave(page)
    review = read_review(tmp_path / "talk.review.json", TALK)
    first, second = review.verdicts
    assert (first.is_right, first.corrected.outcome, first.corrected.voice) == (
        *(False, Outcome.MATCH, Emotion.HAPPY),
    )
    assert (first.note, first.reviewer) == ("<b>She laughs.</b>", "Dr Keller")
    assert second.reviewed.outcome is Outcome.MATCH
    load_again(browser, tmp_path, told)
    with watched_page(browser) as page:
        open_file(page, tmp_path, "with.html", to_html(TALK.with_review(review)))
        expect(page.locator(".fv-review-panel")).to_contain_text(told)
        page.emulate_media(media="print")
        expect(page.locator(".fv-reviewed")).to_be_visible()
        expect(page.locator(".fv-judge button").first).to_be_hidden()


def test_a_note_counts_while_it_is_written(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser) as page:
        open_file(page, tmp_path, "talk.html", to_html(TALK))
        note, said = page.get_by_label("Note"), page.locator(".fv-reviewed")
        note.press_sequentially("She laughs")
        page.pdf()
        expect(said).to_have_text("“She laughs”")
        with page.expect_download():
            page.get_by_role("button", name="Save review").click()
        assert is_free_to_leave(page)
        note.press_sequentially(" again")
        assert not is_free_to_leave(page)
        expect(note).to_be_focused()
        expect(said).to_have_text("“She laughs again”")


def of_kim(*places: int, when: str) -> Review:
    moments = [TALK.moments[place] for place in places]
    verdicts = [
        Verdict(m.start_s, m.end_s, m.person, said_of(m), True, reviewer="Kim", when=when)
        for m in moments
    ]
    return replace(empty_review(TALK), verdicts=tuple(verdicts))


def test_a_review_that_is_loaded_joins_what_was_said(browser: Any, tmp_path: Path) -> None:
    """The later verdict on a moment stands; and nobody signs for anybody else."""
    write_review(tmp_path / "old.json", of_kim(0, 1, when="2020-01-01T09:00:00+02:00"))
    write_review(tmp_path / "new.json", of_kim(0, when="2100-01-01T07:00:00Z"))
    with watched_page(browser) as page:
        opened = to_html(TALK.with_review(of_kim(1, when="2020-01-01T09:00:00Z")))
        open_file(page, tmp_path, "talk.html", opened)
        panel, card = page.locator(".fv-review-panel"), page.locator(".fv-judge")
        name, chooser = page.get_by_label("Your name"), panel.locator("input[type=file]")
        expect(name).to_have_value("")
        card.get_by_role("button", name="Wrong", exact=True).click()
        chooser.set_input_files(tmp_path / "old.json")
        expect(panel.get_by_role("status")).to_contain_text(
            "where both tell of a moment, the later"
        )
        rows = panel.locator(".fv-verdicts li")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("Wrong.")
        expect(rows.nth(1)).to_contain_text("Right. (Kim)")
        expect(name).to_have_value("")
        assert not is_free_to_leave(page)
        card.get_by_role("button", name="Your name?").click()
        expect(name).to_be_focused()
        page.keyboard.type("Lee")
        page.keyboard.press("Tab")
        expect(rows.nth(0)).to_contain_text("Wrong. (Lee)")
        expect(rows.nth(1)).to_contain_text("Right. (Kim)")
        expect(card).to_contain_text("as Lee")
        chooser.set_input_files(tmp_path / "new.json")
        expect(rows.nth(0)).to_contain_text("Right. (Kim)")
        assert not is_free_to_leave(page)  # no file holds both
        expect(name).to_have_value("Lee")


def load_again(browser: Any, tmp_path: Path, told: str) -> None:
    """A saved review into a new page; one of another file is refused."""
    with watched_page(browser) as page:
        open_file(page, tmp_path, "again.html", to_html(TALK))
        chooser = page.locator(".fv-review-panel input[type=file]")
        other = json.loads((tmp_path / "talk.review.json").read_text())
        other["file"] = {"name": HOSTILE, "sha256": "cd" * 32, "duration_s": 4}
        (tmp_path / "other.json").write_text(json.dumps(other))
        chooser.set_input_files(tmp_path / "other.json")
        status = page.locator(".fv-review-panel [role=status]")
        expect(status).to_contain_text("That is a review of <img src=x")
        chooser.set_input_files(tmp_path / "talk.review.json")
        expect(status).to_contain_text("Read talk.review.json.")
        expect(page.locator(".fv-review-panel")).to_contain_text(told)


def folder_of(tmp_path: Path) -> Path:
    portrait = _portrait()
    person = Person(1, "Anna", (0,), 4.0, 2.0, portrait)
    windows = [replace(w, person=1) for w in in_a_row([CONFLICT, MATCH])]
    seen = replace(decided(*windows, path="b.mp4"), people=(person,))
    first = seen.moments[0]
    wrong = Verdict(first.start_s, first.end_s, first.person, said_of(first), is_right=False)
    seen = seen.with_review(replace(empty_review(seen), verdicts=(wrong,)))
    reports: dict[str, Report] = {
        "a <b>": decided(MATCH, path=HOSTILE),
        "sub/b": seen,
        "c": make_failed_report(),
    }
    with ReportFolder(tmp_path / "out", ["html"]) as folder:
        for name, report in reports.items():
            folder.write(report, PurePath(name))
    return tmp_path / "out"


def _portrait() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (112, 112), "#4F7CAC").save(file, "JPEG")
    return file.getvalue()


def test_the_index_sorts_filters_and_leads_to_each_page(browser: Any, tmp_path: Path) -> None:
    out = folder_of(tmp_path)
    for theme in ("light", "dark"):
        with watched_page(browser, color_scheme=theme) as page:
            page.goto((out / "index.html").as_uri())
            assert barriers(page) == []
    with watched_page(browser) as page:
        page.goto((out / "index.html").as_uri())
        rows = page.locator(".fv-index tbody tr")
        expect(page.locator(".fv-meta")).to_have_text("3 files · 1 failed · 1 reviewed")
        expect(rows).to_have_count(3)
        expect(rows.nth(0)).to_contain_text("a <b>")
        expect(rows.nth(1)).to_contain_text("the file is empty")
        expect(rows.nth(2).locator("img")).to_have_count(1)
        page.get_by_role("button", name="Conflict (%)").click()
        expect(rows.first).to_contain_text("sub/b")
        expect(page.locator("[aria-sort=descending]")).to_have_text("Conflict (%)")
        page.get_by_label("Show").select_option("conflict")
        expect(rows).to_have_count(1)
        page.get_by_label("Show").select_option("all outcomes")
        page.get_by_label("State").select_option("failed")
        expect(rows).to_have_count(1)
        page.get_by_label("State").select_option("with a wrong moment")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("1 of 2: 1\u00a0wrong")
        page.get_by_label("State").select_option("any state")
        page.get_by_label("with the text").fill("onerror")
        page.get_by_role("link", name="a <b>").click()
        expect(page.locator("h1")).to_contain_text("<img src=x")
        page.go_back()
        expect(rows).to_have_count(1)
        expect(page.get_by_label("with the text")).to_have_value("onerror")


def test_an_index_of_ten_thousand_files_shows_some_and_finds_any(
    browser: Any, tmp_path: Path
) -> None:
    row = index_row(TALK, PurePath("talk"))
    rows = [{**row, "name": f"clip{k:05}", "strength": k % 1000} for k in range(10_000)]
    with watched_page(browser) as page:
        open_file(page, tmp_path, "index.html", to_index(rows, "many"))
        shown = page.locator(".fv-index tbody tr")
        expect(shown).to_have_count(100)
        page.get_by_role("button", name="Show 100 more of 9,900").click()
        expect(shown).to_have_count(200)
        page.get_by_label("with the text").fill("clip07777")
        expect(page.locator("[role=status]")).to_have_text("1 of 10,000 files")


def test_two_reports_share_one_clock(browser: Any, tmp_path: Path) -> None:
    other = decide_again(
        replace(TALK, windows=tuple(replace(w, conflict=0.5) for w in TALK.windows)),
        DecisionConfig(sensitivity="sensitive"),
    )
    found = lay_side_by_side(Side(HOSTILE, TALK), Side("b.json", other))
    for theme in ("light", "dark"):
        with watched_page(browser, color_scheme=theme) as page:
            open_file(page, tmp_path, "cmp.html", to_side_by_side_page(found))
            assert barriers(page) == []
            expect(page.locator("h1")).to_contain_text("<img src=x")
            expect(page.locator(".fv-remarks")).to_contain_text(
                "They differ in the setting decision.sensitivity: balanced against sensitive."
            )
            page.locator(".fv-differences button").nth(1).click()
            cards = page.locator(".fv-detail")
            expect(cards.nth(0)).to_contain_text("match")
            expect(cards.nth(1)).to_contain_text("undecided")
