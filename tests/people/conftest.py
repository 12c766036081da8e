"""Pictures with a real face (NASA's public-domain portrait in scikit-image) and without one."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from facevoice.people.detect import FaceDetector, MtcnnDetector, create_detector


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


@pytest.fixture(scope="session", params=[("mtcnn", 0.9), ("yunet", 0.5)], ids=lambda way: way[0])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    """Every detector in turn, with the score that suits it."""
    name, min_score = request.param
    return create_detector(name, min_face_px=40, min_score=min_score)


@pytest.fixture(scope="session")
def follower() -> MtcnnDetector:
    return MtcnnDetector(min_face_px=40, min_score=0.9)
