"""A real face for synthesised films: NASA's public-domain portrait in scikit-image."""

from __future__ import annotations

import numpy as np
from examples.talking_portrait import draw_talking

SYLLABLES_HZ = 3.7  # of `paint_talking`; no multiple of it is a rate at which tests sample pictures


def make_portrait(opening: float = 0.0) -> np.ndarray:
    """uint8 (300, 300, 3): one face about 87 px wide, its centre near (152, 117).

    The mouth is opened by `opening` in [0, 1]; 0 is a smile that shows the teeth.
    """
    portrait = np.rint(draw_talking(opening) * 255).astype(np.uint8)
    return np.ascontiguousarray(portrait[:300, 72:372])


def paint_talking(_: int, time_s: float) -> np.ndarray:
    """The portrait at a time, talking without a pause; paints films for `ClipMaker`.

    A mouth that is still during speech would have the voice taken for that of somebody off screen.
    """
    return make_portrait(0.5 - 0.5 * np.cos(2 * np.pi * SYLLABLES_HZ * time_s))
