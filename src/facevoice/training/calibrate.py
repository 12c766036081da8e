"""After training: temperatures and thresholds, chosen on validation speakers only."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch

from facevoice.data.pairs import Pair
from facevoice.data.targets import UNKNOWN, Items
from facevoice.models.checkpoint_info import Calibration
from facevoice.models.compact import flatness
from facevoice.models.posteriors import temper
from facevoice.results import Thresholds
from facevoice.training.epochs import Epoch, TargetTable
from facevoice.training.losses import conflict_loss, emotion_loss
from facevoice.training.validation import ItemLogits
from facevoice.types import BoolArray, DoubleArray

PRECISION: Final = 0.75
"""Of the windows called conflict (or match), so many are to be so, at equal numbers of both."""
CLEAR_ABOVE: Final = 0.30
_SMALLEST_SHARE: Final = 0.02
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_RANGE: Final = (math.log(0.05), math.log(20.0))


def fit_temperatures(
    clips: ItemLogits,
    originals: Items,
    pairs: ItemLogits | None,
    pair_items: Items,
    table: TargetTable,
) -> Calibration:
    """The temperature of each head at which validation is likeliest.

    A head that the network lacks, or that nobody labelled there, keeps 1.
    """
    targets = table.gather(Epoch.whole(originals))
    found: dict[str, float] = {}
    emotions = {
        "emotion": targets.face_emotions,
        "face": targets.face_emotions,
        "voice": targets.voice_emotions,
    }
    for head, possible in emotions.items():
        logits = getattr(clips, head)
        weights = getattr(targets, f"{head}_weight")
        if logits is not None and float(weights.sum()) > 0:
            scores, shares = torch.from_numpy(logits), getattr(targets, head)

            def mean_loss(
                temperature: float,
                scores: torch.Tensor = scores,
                shares: torch.Tensor = shares,
                possible: torch.Tensor = possible,
                weights: torch.Tensor = weights,
            ) -> float:
                loss = emotion_loss(scores / temperature, shares, possible, 0.0)
                return float((loss * weights).sum() / weights.sum())

            found[head] = _best_temperature(mean_loss)
    judged, logits = (pair_items, pairs) if pairs is not None else (originals, clips)
    known = judged.conflict != UNKNOWN
    if logits.conflict is not None and known.any():
        raw = torch.from_numpy(logits.conflict[known])
        truth = torch.from_numpy(judged.conflict[known])
        found["conflict"] = _best_temperature(lambda t: float(conflict_loss(raw / t, truth).mean()))
    return Calibration(**found)


def choose_thresholds(
    logits: ItemLogits, pairs: Sequence[Pair], calibration: Calibration
) -> Thresholds | None:
    """Where outcomes change, from validation pairs; None without a conflict head or pairs.

    flat_above: tells neutral and calm from the rest best, over both channels. conflict_above,
    match_below: the lowest (highest) probability from which a conflict (match) is so in `PRECISION`
    of the pairs whose channels are both clear.
    """
    if logits.conflict is None or logits.face is None or logits.voice is None or not pairs:
        return None
    face = temper(logits.face, calibration.face)
    voice = temper(logits.voice, calibration.voice)
    probs = temper(logits.conflict, calibration.conflict)[:, 1]
    truth = np.array([pair.is_conflict for pair in pairs])
    flat_truth = np.array(
        [p.face_emotion.is_flat for p in pairs] + [p.voice_emotion.is_flat for p in pairs]
    )
    shares = np.array([flatness(row) for row in np.concatenate([face, voice])])
    flat_above = _choose_flat(shares, flat_truth)
    clearest = np.concatenate([face, voice])[:, 2:].max(axis=1)
    clear = ((shares < flat_above) & (clearest >= CLEAR_ABOVE)).reshape(2, -1).all(axis=0)
    if len(np.unique(truth[clear])) < 2:
        clear = np.ones(len(pairs), dtype=np.bool_)
    return Thresholds(
        conflict_above=lowest_threshold(probs[clear], truth[clear]),
        match_below=1 - lowest_threshold(1 - probs[clear], ~truth[clear]),
        flat_above=flat_above,
        clear_above=CLEAR_ABOVE,
    )


def lowest_threshold(probs: DoubleArray, truth: BoolArray, precision: float = PRECISION) -> float:
    """The lowest threshold above which `truth` holds with `precision`, classes weighted alike.

    A share of the true ones must lie above; where no threshold reaches the precision, the one that
    comes nearest is taken.
    """
    grid = np.unique(np.round(probs, 3))
    hits = np.array([(probs[truth] >= t).mean() for t in grid])
    alarms = np.array([(probs[~truth] >= t).mean() for t in grid])
    usable = hits >= _SMALLEST_SHARE
    found = np.where(usable, hits / np.maximum(hits + alarms, 1e-9), 0.0)
    good = np.flatnonzero(found >= precision)
    return float(grid[good[0]] if len(good) else grid[int(found.argmax())])


def _choose_flat(shares: DoubleArray, truth: BoolArray) -> float:
    if truth.all() or not truth.any():
        return 0.5
    grid = np.linspace(0.05, 0.95, 91)
    accuracy = [(shares[truth] >= t).mean() + (shares[~truth] < t).mean() for t in grid]
    return float(grid[int(np.argmax(accuracy))])


def _best_temperature(loss: Callable[[float], float]) -> float:
    """Minimum over log T by golden-section search. Kiefer (1953)."""
    low, high = _RANGE
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(math.exp(left)), loss(math.exp(right))
    for _ in range(40):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(math.exp(right))
    return math.exp((low + high) / 2)
