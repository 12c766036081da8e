"""Files of other annotation tools: what stretches of time are called, out and back in.

Nothing here knows of reports; `facevoice.report.exchange` says what a report has to say in tiers.
"""

from __future__ import annotations

from facevoice.exchange.elan import read_eaf, to_eaf
from facevoice.exchange.events import (
    EVENT_COLUMNS,
    Event,
    describe_events,
    read_table,
    to_events,
)
from facevoice.exchange.reading import ANNOTATION_ENDINGS, read_annotation
from facevoice.exchange.rttm import to_rttm
from facevoice.exchange.textgrid import read_textgrid, to_textgrid
from facevoice.exchange.tiers import Document, Span, Tier

__all__ = [
    "ANNOTATION_ENDINGS",
    "EVENT_COLUMNS",
    "Document",
    "Event",
    "Span",
    "Tier",
    "describe_events",
    "read_annotation",
    "read_eaf",
    "read_table",
    "read_textgrid",
    "to_eaf",
    "to_events",
    "to_rttm",
    "to_textgrid",
]
