"""A real face for synthesised films: NASA's public-domain portrait in scikit-image."""

from __future__ import annotations

import numpy as np
from skimage import data


def make_portrait() -> np.ndarray:
    """uint8 (300, 300, 3): one face about 87 px wide, its centre near (152, 117)."""
    return np.ascontiguousarray(data.astronaut()[:300, 72:372])
