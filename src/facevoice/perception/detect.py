"""What a face detector is, and the registry of those that can be asked for by name."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from facevoice.errors import ConfigError
from facevoice.results import ModelId
from facevoice.types import ByteArray, Detections, FloatArray


class FaceDetector(Protocol):
    """Finds faces in one picture, and follows known ones into the next."""

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        ...

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        ...

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        """Look again near known boxes (n, 4).

        Returns:
            Exactly n rows in the same order; score 0 where no face is found near the box.
        """
        ...


class DetectorFactory(Protocol):
    """Builds a detector for faces of at least `min_face_px`, scored at least `min_score`."""

    def __call__(self, *, min_face_px: int, min_score: float) -> FaceDetector:
        """Build one."""
        ...


def _create_mtcnn(*, min_face_px: int, min_score: float) -> FaceDetector:
    from facevoice.perception.mtcnn import MtcnnDetector

    return MtcnnDetector(min_face_px=min_face_px, min_score=min_score)


_FACTORIES: dict[str, DetectorFactory] = {"mtcnn": _create_mtcnn}


def register_detector(name: str, factory: DetectorFactory) -> None:
    """Make a detector known under a name, for `FacesConfig.detector`.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _FACTORIES:
        raise ConfigError(f"a face detector named {name!r} is registered already")
    _FACTORIES[name] = factory


def create_detector(name: str, *, min_face_px: int, min_score: float) -> FaceDetector:
    """Build a registered detector.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        WeightsError: its weights are missing or damaged.
    """
    if name not in _FACTORIES:
        choices = ", ".join(sorted(_FACTORIES))
        raise ConfigError(f"unknown face detector {name!r}; choose from: {choices}")
    return _FACTORIES[name](min_face_px=min_face_px, min_score=min_score)


def list_detectors() -> tuple[str, ...]:
    """The names that `create_detector` knows, sorted."""
    return tuple(sorted(_FACTORIES))


def no_detections() -> Detections:
    """An empty result."""
    return Detections(
        np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
    )
