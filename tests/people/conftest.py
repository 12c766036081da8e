"""Pictures with a real face (NASA's public-domain portrait in scikit-image) and without one."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from facevoice.people.detect import FaceDetector


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """uint8 (300, 300, 3): one face about 87 px wide, its centre near (152, 117)."""
    picture = np.ascontiguousarray(data.astronaut()[:300, 72:372])
    picture.flags.writeable = False
    return picture


@pytest.fixture(scope="session")
def landscape() -> np.ndarray:
    """uint8 (300, 300, 3): textured ground, nobody."""
    return np.repeat(data.gravel()[:300, :300, None], 3, axis=2)


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector(min_face_px=24, min_score=0.5)
