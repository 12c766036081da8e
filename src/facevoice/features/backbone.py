"""What a frozen backbone is, and the registry that finds one by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from facevoice.errors import ConfigError
from facevoice.labels import Modality
from facevoice.results import ModelId
from facevoice.types import FloatArray, Window


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a backbone takes and gives, and where it comes from.

    training_corpora: every corpus whose clips it saw; it is never scored on those.
    """

    name: str
    modality: Modality
    dim: int
    license: str
    training_corpora: tuple[str, ...]
    preprocessing: str


class Backbone(Protocol):
    """A frozen network that turns windows into embeddings."""

    @property
    def spec(self) -> BackboneSpec:
        """Input, output and origin."""
        ...

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        ...

    def embed(self, windows: Sequence[Window]) -> FloatArray:
        """Embed windows that all have this backbone's modality.

        Returns:
            float32 (B, D).
        """
        ...


BackboneFactory = Callable[[int], Backbone]


def _compact_face(num_threads: int) -> Backbone:
    from facevoice.features.compact import CompactFace

    return CompactFace(num_threads=num_threads)


def _compact_voice(num_threads: int) -> Backbone:
    from facevoice.features.compact import CompactVoice

    return CompactVoice(num_threads=num_threads)


_FACTORIES: Final[dict[str, BackboneFactory]] = {
    "compact-face": _compact_face,
    "compact-voice": _compact_voice,
}


def register_backbone(name: str, factory: BackboneFactory) -> None:
    """Make a backbone known; `factory(num_threads)` builds it.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _FACTORIES:
        raise ConfigError(f"backbone {name!r} is registered already")
    _FACTORIES[name] = factory


def create_backbone(name: str, *, num_threads: int = 1) -> Backbone:
    """Build a registered backbone.

    Raises:
        ConfigError: no such name; the message lists the choices.
        WeightsError: its weights are missing or damaged.
    """
    if name not in _FACTORIES:
        raise ConfigError(f"unknown backbone {name!r}; known: {', '.join(sorted(_FACTORIES))}")
    return _FACTORIES[name](num_threads)
