"""RTTM: who speaks when, a line a turn (NIST Rich Transcription, as diarisation tools read it)."""

from __future__ import annotations

import re
from pathlib import PurePath

from facevoice.exchange.tiers import Tier, in_milliseconds
from facevoice.texts import shown


def to_rttm(media: str, speakers: list[Tier]) -> str:
    """The turns of all speakers in order of time; a tier's name is the speaker's."""
    name = _field(PurePath(media).stem or "file")
    turns = sorted(
        (start_ms, end_ms, tier.name)
        for tier in speakers
        for start_ms, end_ms, _ in in_milliseconds(tier.spans)
    )
    return "".join(
        f"SPEAKER {name} 1 {start / 1000:.3f} {(end - start) / 1000:.3f} <NA> <NA> "
        f"{_field(who)} <NA> <NA>\n"
        for start, end, who in turns
    )


def _field(text: str) -> str:
    # Fields end at spaces.
    return re.sub(r"\s+", "_", shown(text))
