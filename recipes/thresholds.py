"""Thresholds of the four outcomes, from speaker-independent scores.

What they are chosen for: of the windows called conflict (match), at least the stated share were
acted so, at equal numbers of both; a neutral performance is called flat more often than not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from recipes.crossfit import Scored

from facevoice.corpora.pairs import Pair
from facevoice.models.heads import flatness
from facevoice.records import Thresholds

PRECISION = 0.75
SMALLEST_SHARE = 0.02
CLEAR_ABOVE = 0.30


def choose_thresholds(scored: Scored, pairs: Sequence[Pair]) -> Thresholds:
    """Conflict and match at `PRECISION` on clear pairs; flat where neutral is told best."""
    flat_above = choose_flat(scored, pairs)
    clear = [p for p in pairs if not is_any_flat(scored, p, flat_above)]
    probs = np.array([scored.conflict[p.face_clip_id, p.voice_clip_id] for p in clear])
    truth = np.array([p.is_conflict for p in clear])
    return Thresholds(
        conflict_above=lowest_threshold(probs, truth, PRECISION),
        match_below=1 - lowest_threshold(1 - probs, ~truth, PRECISION),
        flat_above=flat_above,
        clear_above=CLEAR_ABOVE,
    )


def is_any_flat(scored: Scored, pair: Pair, flat_above: float) -> bool:
    channels = scored.face[pair.face_clip_id], scored.voice[pair.voice_clip_id]
    return any(flatness(p) >= flat_above or p[2:].max() < CLEAR_ABOVE for p in channels)


def choose_flat(scored: Scored, pairs: Sequence[Pair]) -> float:
    """The threshold on neutral + calm with the best balanced accuracy over both channels."""
    face = {p.face_clip_id: p.face_emotion for p in pairs}
    voice = {p.voice_clip_id: p.voice_emotion for p in pairs}
    share = np.array(
        [flatness(scored.face[i]) for i in face] + [flatness(scored.voice[i]) for i in voice]
    )
    truth = np.array([e.is_flat for e in (*face.values(), *voice.values())])
    grid = np.linspace(0.3, 0.9, 61)
    accuracy = [(share[truth] >= t).mean() + (share[~truth] < t).mean() for t in grid]
    return float(grid[int(np.argmax(accuracy))])


def lowest_threshold(probs: np.ndarray, truth: np.ndarray, precision: float) -> float:
    """The lowest threshold above which `truth` holds with `precision`, classes weighted alike.

    At least `SMALLEST_SHARE` of the true ones must lie above; where no threshold does it, the one
    that comes nearest is taken.
    """
    grid = np.unique(np.round(probs, 3))
    hits = np.array([(probs[truth] >= t).mean() for t in grid])
    alarms = np.array([(probs[~truth] >= t).mean() for t in grid])
    usable = hits >= SMALLEST_SHARE
    found = np.where(usable, hits / np.maximum(hits + alarms, 1e-9), 0.0)
    good = np.flatnonzero(found >= precision)
    return float(grid[good[0]] if len(good) else grid[int(found.argmax())])
