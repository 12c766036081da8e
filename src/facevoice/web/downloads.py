"""What can be downloaded of a report: as `analyze` writes it, for other tools, and its review."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from facevoice import review
from facevoice.errors import FacevoiceError
from facevoice.records import Report, Trace
from facevoice.report import to_html, to_texts

MAIN: Final = {"json": "JSON", "csv": "CSV", "html": "Report (HTML)"}
"""The formats that have a button of their own, and what they are called."""

# Those that stand in the menu, and what each of their files is called.
_OTHERS: Final = {
    "eaf": ("ELAN (.eaf)",),
    "textgrid": ("Praat (.TextGrid)",),
    "vtt": ("Captions (.vtt)",),
    "srt": ("Captions (.srt)",),
    "events": ("BIDS events (.tsv)", "What their columns mean (.json)"),
    "rttm": ("Who speaks (.rttm)",),
}

_MAX_REVIEW_CHARS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Download:
    """A file: its name, what to call it, what stands in it, and whether it is one of the menu."""

    name: str
    words: str
    text: str
    is_other: bool = True


def make_downloads(report: Report, trace: Trace, name: str) -> Iterator[Download]:
    """The files of a report, called by `name` and an ending; with its review, where it has one."""
    # A relative path: nothing may tell where the server keeps its files.
    base = Path(name)
    for form in ("json", "csv"):
        for path, text in to_texts(report, base, form).items():
            yield Download(path.name, MAIN[form], text, is_other=False)
    yield Download(f"{name}.html", MAIN["html"], to_html(report, trace), is_other=False)
    for form, labels in _OTHERS.items():
        for label, (path, text) in zip(labels, to_texts(report, base, form).items(), strict=True):
            yield Download(path.name, label, text)
    if report.review is not None and report.review.verdicts:
        text = review.to_json(report.review) + "\n"
        yield Download(f"{name}{review.SUFFIX}", "Review (.review.json)", text)


def add_review(report: Report, text: str) -> Report:
    """The report with what a page says of it, in place of what was said before.

    Raises:
        FacevoiceError: that is no review of it; says why.
    """
    try:
        return report.with_review(review.from_json(text[:_MAX_REVIEW_CHARS], report))
    except ValueError as error:
        raise FacevoiceError(f"The review was not kept: it {error}.") from error
