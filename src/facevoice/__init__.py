"""facevoice: which emotion the face shows, which the voice carries, and whether they match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facevoice.config import AnalyzerConfig
from facevoice.errors import FacevoiceError
from facevoice.labels import Emotion, Modality, Outcome, Reason, Status
from facevoice.results import Prediction, Report
from facevoice.version import VERSION

if TYPE_CHECKING:
    from facevoice.hub import from_pretrained
    from facevoice.pipeline import Analyzer

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
        from facevoice.pipeline import Analyzer

        return Analyzer
    if name == "from_pretrained":
        from facevoice.hub import from_pretrained

        return from_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
