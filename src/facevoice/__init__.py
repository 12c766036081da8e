"""facevoice: which emotion the face shows, which the voice has, and whether they match."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from facevoice.analyzer import Analyzer
    from facevoice.errors import FacevoiceError
    from facevoice.explain import explain_moment
    from facevoice.hub import from_pretrained
    from facevoice.interpret import decide_again
    from facevoice.people.baseline import Known
    from facevoice.people.profile import load_profile, save_profile
    from facevoice.records import (
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
    from facevoice.store import Store

    __version__: str

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
    "explain_moment",
    "from_pretrained",
    "load_profile",
    "save_profile",
]


# Nothing is loaded before it is used: the command minds signals first (facevoice.interrupts), and
# only the analyzer needs decoders and onnxruntime.
_HOMES = {
    "Analyzer": "analyzer",
    "AnalyzerConfig": "settings",
    "DecisionConfig": "settings",
    "FacevoiceError": "errors",
    "Known": "people.baseline",
    "Store": "store",
    "decide_again": "interpret",
    "explain_moment": "explain",
    "from_pretrained": "hub",
    "load_profile": "people.profile",
    "save_profile": "people.profile",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("facevoice.records").VERSION
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"facevoice.{_HOMES.get(name, 'records')}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
