"""facevoice: which emotion the face shows, which the voice carries, and whether they match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facevoice.errors import FacevoiceError
from facevoice.records import (
    VERSION,
    Emotion,
    Modality,
    Outcome,
    Prediction,
    Reason,
    Report,
    Status,
)
from facevoice.settings import AnalyzerConfig

if TYPE_CHECKING:
    from facevoice.analyzer import Analyzer
    from facevoice.hub import from_pretrained

__version__ = VERSION

__all__ = [
    "Analyzer",
    "AnalyzerConfig",
    "Emotion",
    "FacevoiceError",
    "Modality",
    "Outcome",
    "Prediction",
    "Reason",
    "Report",
    "Status",
    "from_pretrained",
]


def __getattr__(name: str) -> Any:
    # Only the analyzer needs decoders and onnxruntime; all else is to import in a moment.
    if name == "Analyzer":
        from facevoice.analyzer import Analyzer

        return Analyzer
    if name == "from_pretrained":
        from facevoice.hub import from_pretrained

        return from_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
