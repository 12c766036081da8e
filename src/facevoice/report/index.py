"""The page over all files of a folder: which there are, what came of each, and where to look first.

A row says of one file what the page needs, so that the page is made of rows alone, and no report
has to be read again. Names come from strangers and are shown as text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from PIL import Image

from facevoice.records import NOTICE, VERSION, Moment, Outcome, Report, Status
from facevoice.report.page import fill_page, script_of
from facevoice.report.words import STATUS_WORDS, strongest_conflicts, summarize_in_words, vocabulary
from facevoice.review import summarize
from facevoice.texts import shown

INDEX_NAME: Final = "index.html"
_SCRIPTS: Final = ("words.js", "theme.js", "table.js", "index.js")
_THUMB_PX: Final = 44
_QUALITY: Final = 60
_THOUSAND: Final = 1000

Row = dict[str, Any]
ROW_KEYS: Final = (
    *("name", "title", "href", "error", "remark", "words", "duration_s", "moments", "seconds"),
    *("strength", "thumb", "judged", "right", "wrong"),
)


def index_row(report: Report, name: PurePath) -> Row:
    """What the index says of a report that is written under `name`.

    name, title: shown; href: of its page, from the folder; error: why it failed, or None; remark:
    what is to be known of it; words: its answer; duration_s; moments, seconds: by outcome;
    strength: of its strongest conflict in thousandths, or None; thumb: a small JPEG of whose it
    is, in base64, or None; judged, right, wrong: of its review, None without one.
    """
    conflicts = strongest_conflicts(report.moments)
    strength = conflicts[0].strength if conflicts else None
    counts = summarize(report)
    is_reviewed = report.review is not None
    return {
        "name": shown(name.as_posix()),
        "title": shown(report.path),
        "href": "/".join(quote(part) for part in name.with_name(f"{name.name}.html").parts),
        "error": summarize_in_words(report) if report.status is Status.FAILED else None,
        "remark": STATUS_WORDS.get(report.status),
        "words": summarize_in_words(report),
        "duration_s": 0.0 if report.media is None else round(report.media.duration_s, 1),
        "moments": [sum(m.outcome is outcome for m in report.moments) for outcome in Outcome],
        "seconds": [
            round(sum(m.end_s - m.start_s for m in report.moments if m.outcome is outcome), 1)
            for outcome in Outcome
        ],
        "strength": None if strength is None else round(strength * _THOUSAND),
        "thumb": _thumb(report, conflicts[0] if conflicts else None),
        "judged": counts.num_judged if is_reviewed else None,
        "right": counts.num_right if is_reviewed else None,
        "wrong": counts.num_wrong if is_reviewed else None,
    }


def to_index(rows: Iterable[Mapping[str, Any]], title: str) -> str:
    """The page over rows of `index_row`; it opens from disk and asks for nothing else."""
    view = {
        "title": shown(title),
        "version": VERSION,
        "notice": NOTICE,
        **{key: vocabulary()[key] for key in ("emotions", "outcomes")},
        "rows": list(rows),
    }
    return fill_page(view, "mountIndex", script_of(_SCRIPTS), ("index.css",))


def _thumb(report: Report, moment: Moment | None) -> str | None:
    """A small picture of who shows the strongest conflict, or else is seen for longest."""
    pictures = {p.number: p.portrait for p in report.people if p.portrait and not p.is_left_out}
    by_time = sorted(report.people, key=lambda person: -person.seen_s)
    numbers = [None if moment is None else moment.person, *(person.number for person in by_time)]
    picture = next((pictures[n] for n in numbers if n in pictures), None)
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as image:
            image.thumbnail((_THUMB_PX, _THUMB_PX))
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    except (OSError, SyntaxError, Image.DecompressionBombError):  # A report comes from anywhere.
        return None
    return base64.b64encode(file.getvalue()).decode("ascii")
