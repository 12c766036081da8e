"""An agreement as one page that needs nothing else: figures, timelines, confusions."""

from __future__ import annotations

from typing import Any, Final

from facevoice.agreement.compare import LABELS, Agreement, Comparison, Row
from facevoice.agreement.words import FIGURES, MEANING, describe, describe_among, figure_cells
from facevoice.records import NOTICE, VERSION
from facevoice.report.page import fill_page, script_of
from facevoice.report.words import CHANNEL_WORDS, vocabulary
from facevoice.texts import shown

_SCRIPTS: Final = ("words.js", "theme.js", "axis.js", "rows.js", "agreement.js")
_NAMES: Final = {**CHANNEL_WORDS, "outcome": "Outcome"}


def to_agreement_page(agreement: Agreement, title: str) -> str:
    """The page as HTML text."""
    view = {
        "title": f"{shown(title)}: how far people and facevoice agree",
        "version": VERSION,
        "notice": NOTICE,
        "meaning": MEANING,
        **{key: vocabulary()[key] for key in ("emotions", "outcomes")},
        "heads": ["channel", "by", "per", *FIGURES, "not read", "not marked"],
        "comparisons": [_comparison_view(one) for one in agreement.comparisons],
        "among": [f"{_NAMES[one.channel]}: {describe_among(one)}" for one in agreement.among],
        "timelines": [
            {
                "name": shown(timeline.name),
                "duration_s": timeline.duration_s,
                "rows": [_row_view(row) for row in timeline.rows],
            }
            for timeline in agreement.timelines
        ],
        "remarks": [shown(remark) for remark in agreement.remarks],
    }
    return fill_page(view, "mountAgreement", script_of(_SCRIPTS), ("agreement.css",))


def _comparison_view(one: Comparison) -> dict[str, Any]:
    """cells: of `heads`; words: see `describe`; labels, counts: as in `Comparison`."""
    named = (_NAMES[one.channel], shown(one.annotator), one.unit)
    unused = (f"{one.num_unread:,}", f"{one.num_unmarked:,}")
    return {
        "cells": [*named, *figure_cells(one), *unused],
        "words": describe(one),
        "labels": list(one.labels),
        "counts": [list(row) for row in one.counts],
    }


def _row_view(row: Row) -> dict[str, Any]:
    """kind: of which colours; spans: [from, to, place among those]."""
    by = "facevoice" if row.annotator is None else shown(row.annotator)
    labels = LABELS[row.channel]
    return {
        "name": ", ".join([_NAMES[row.channel], by, *([shown(row.person)] if row.person else [])]),
        "kind": "outcomes" if row.channel == "outcome" else "emotions",
        "spans": [
            [round(s.start_s, 3), round(s.end_s, 3), labels.index(s.label)] for s in row.spans
        ],
    }
