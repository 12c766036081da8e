"""facevoice: which emotion the face shows, which the voice has, and whether they match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facevoice.errors import FacevoiceError
from facevoice.records import (
    VERSION,
    Emotion,
    Modality,
    Moment,
    Outcome,
    PeopleEdits,
    Perception,
    Person,
    Prediction,
    Reason,
    Report,
    Status,
)
from facevoice.settings import AnalyzerConfig, DecisionConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer
    from facevoice.hub import from_pretrained
    from facevoice.interpret import decide_again
    from facevoice.people.baseline import Known
    from facevoice.people.profile import load_profile, save_profile
    from facevoice.store import Store

__version__ = VERSION

__all__ = [
    "Analyzer",
    "AnalyzerConfig",
    "DecisionConfig",
    "Emotion",
    "FacevoiceError",
    "Known",
    "Modality",
    "Moment",
    "Outcome",
    "PeopleEdits",
    "Perception",
    "Person",
    "Prediction",
    "Reason",
    "Report",
    "Status",
    "Store",
    "decide_again",
    "from_pretrained",
    "load_profile",
    "save_profile",
]


def __getattr__(name: str) -> Any:
    # Only the analyzer needs decoders and onnxruntime; all else is to import in a moment.
    if name == "Analyzer":
        from facevoice.analyzer import Analyzer

        return Analyzer
    if name == "decide_again":
        from facevoice.interpret import decide_again

        return decide_again
    if name == "from_pretrained":
        from facevoice.hub import from_pretrained

        return from_pretrained
    if name == "Known":
        from facevoice.people.baseline import Known

        return Known
    if name in ("load_profile", "save_profile"):
        from facevoice.people import profile

        return getattr(profile, name)
    if name == "Store":
        from facevoice.store import Store

        return Store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
