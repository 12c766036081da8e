"""A portrait that talks: NASA's public-domain picture of Eileen Collins, from scikit-image.

She smiles, and her teeth are seen. Where the lower lip meets them the picture is cut: lip and chin
go down with the jaw, and what opens in between is dark.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage import data

# In the portrait's pixels, 512 × 512.
MOUTH_X_PX, MOUTH_HALF_WIDTH_PX = 224.0, 20.5
CORNERS_Y_PX, TEETH_Y_PX = 140.6, 149.8  # of the cut, at the corners and in the middle
CHIN_Y_PX, COLLAR_Y_PX = 172.0, 196.0  # the jaw is stiff down to the chin, and the neck stretches
JAW_SLANT = 0.5  # how much the part that moves widens, for each pixel further down
DROP_PX = 10.0
ROWS, COLUMNS = slice(130, 200), slice(170, 278)  # all that moves
GUM_RGB, TONGUE_RGB = (0.16, 0.05, 0.05), (0.42, 0.17, 0.16)  # behind the teeth, on the lip

FloatArray = npt.NDArray[np.float64]


def draw_talking(opening: float) -> FloatArray:
    """The portrait (512, 512, 3) in [0, 1], its mouth opened by `opening` in [0, 1]."""
    portrait = data.astronaut().astype(np.float64) / 255
    if opening > 0:
        portrait[ROWS, COLUMNS] = _drop_jaw(portrait[ROWS, COLUMNS], opening * DROP_PX)
    return portrait


def _drop_jaw(part: FloatArray, drop_px: float) -> FloatArray:
    """What `ROWS` and `COLUMNS` show with the jaw lower by so much."""
    y, x = np.mgrid[ROWS, COLUMNS].astype(np.float64)
    away = ((x - MOUTH_X_PX) / MOUTH_HALF_WIDTH_PX) ** 2
    cut = TEETH_Y_PX - (TEETH_Y_PX - CORNERS_Y_PX) * away
    gap_px = drop_px * np.clip(1 - away, 0, None)

    reach = MOUTH_HALF_WIDTH_PX + JAW_SLANT * np.clip(y - CORNERS_Y_PX, 0, None)
    aside = np.clip(1 - ((x - MOUTH_X_PX) / reach) ** 2, 0, None)
    neck = np.clip((COLLAR_Y_PX - y) / (COLLAR_Y_PX - CHIN_Y_PX), 0, 1)
    # Above the lower lip nothing moves; what has left there is painted over below.
    moved_px = np.where(y > cut + gap_px / 2, drop_px * aside * neck**2 * (3 - 2 * neck), 0)
    opened = _read_rows(part, y - moved_px - ROWS.start)

    # Edges a pixel wide.
    inside = np.clip(y - cut + 0.5, 0, 1) * np.clip(cut + gap_px - y + 0.5, 0, 1)
    inside *= np.clip(gap_px, 0, 1)
    depth = np.clip((y - cut) / np.maximum(gap_px, 1e-9), 0, 1)[..., None] ** 2
    dark = np.array(GUM_RGB) * (1 - depth) + np.array(TONGUE_RGB) * depth
    return opened * (1 - inside[..., None]) + dark * inside[..., None]


def _read_rows(part: FloatArray, rows: FloatArray) -> FloatArray:
    """Pixels (h, w, 3) at rows (h, w) that lie between two, mixed from both."""
    rows = np.clip(rows, 0, len(part) - 1.001)
    above = rows.astype(int)
    share = (rows - above)[..., None]
    columns = np.arange(part.shape[1])
    return part[above, columns] * (1 - share) + part[above + 1, columns] * share
