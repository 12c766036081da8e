"""An agreement as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Final

from facevoice.agreement.compare import Agreement, describe
from facevoice.agreement.figures import LEVEL, NUM_RESAMPLES
from facevoice.texts import safe_json

_SCHEMA: Final = "facevoice.agreement"
_DIGITS: Final = 6


def to_agreement_json(agreement: Agreement) -> str:
    """All figures and confusions, without the timelines, as JSON text with a closing line break."""
    document = {
        "schema": _SCHEMA,
        "schema_version": 1,
        "annotators": list(agreement.annotators),
        "interval": {"level": LEVEL, "resamples": NUM_RESAMPLES, "of": "marked stretches"},
        "comparisons": [_plain(one) | {"sentence": describe(one)} for one in agreement.comparisons],
        "among": [_plain(one) for one in agreement.among],
        "remarks": list(agreement.remarks),
    }
    return safe_json(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)) + "\n"


def _plain(record: Any) -> dict[str, Any]:
    return {
        name: round(value, _DIGITS) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(record).items()
    }
