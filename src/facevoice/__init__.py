"""facevoice: which emotion the face shows, which the voice carries, and whether they match."""

from __future__ import annotations

from facevoice.errors import FacevoiceError
from facevoice.labels import Emotion, Modality, Outcome, Reason, Status

__version__ = "0.1.0"

__all__ = ["Emotion", "FacevoiceError", "Modality", "Outcome", "Reason", "Status"]
