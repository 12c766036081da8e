"""A person who is followed from frame to frame: how alike a face is to them, and where to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from facevoice.perception.boxes import iou
from facevoice.types import ByteArray, FloatArray, TrackMemory

# Looks are the middle of the aligned crop at 4 × 4, hair and background left out; from one sampled
# frame to the next they differed by less than 12 grey levels in 99 of 100 cases for one person,
# and by more than 8 in 99 of 100 pairs of people.
LOOKS_SIDE: Final[int] = 4
LOOKS_SHARE: Final[float] = 0.7
MAX_LOOKS_DIFFERENCE: Final[float] = 25.0
MAX_LOOKS_DIFFERENCE_AT_CUT: Final[float] = 10.0
MIN_IOU_AT_CUT: Final[float] = 0.3
# Distance from the expected place in box heights, and ratio of heights, of one person's sightings.
MAX_DISTANCE: Final[float] = 0.8
MAX_SIZE_RATIO: Final[float] = 1.8


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A face as found in one frame, before it is known whose."""

    box: FloatArray
    score: float
    crop: ByteArray
    looks: FloatArray


@dataclass(slots=True, eq=False)
class Track:
    """A person who is followed; `TrackMemory` says what the fields are. Arrays never change."""

    track_id: int
    box: FloatArray
    looks: FloatArray
    seen_s: float
    confirmed_s: float
    velocity: FloatArray

    @classmethod
    def recall(cls, memory: TrackMemory) -> Track:
        """Go on with a person who was followed before."""
        m = memory
        return cls(m.track_id, m.box, m.looks, m.seen_s, m.confirmed_s, m.velocity)

    def remember(self) -> TrackMemory:
        """What is needed to go on later."""
        return TrackMemory(
            self.track_id, self.box, self.looks, self.seen_s, self.confirmed_s, self.velocity
        )

    def expected_box(self, time_s: float) -> FloatArray:
        """Where steady motion takes the face, at most half its height away."""
        way = self.velocity * (time_s - self.seen_s)
        limit = 0.5 * _height(self.box)
        way *= min(1.0, limit / max(float(np.hypot(*way)), 1e-9))
        shifted: FloatArray = (self.box + np.tile(way, 2)).astype(np.float32)
        return shifted

    def cost(self, sight: Sight, time_s: float, *, at_cut: bool) -> float:
        """How unlike this person a sight is; infinite if it can't be."""
        expected = self.expected_box(time_s)
        size = (_height(expected) + _height(sight.box)) / 2
        distance = float(np.hypot(*(_centre(sight.box) - _centre(expected)))) / size
        ratio = abs(float(np.log(_height(sight.box) / _height(expected))))
        looks = float(np.abs(sight.looks - self.looks).mean())
        if at_cut:
            overlap = float(iou(sight.box[None], self.box[None])[0, 0])
            if overlap < MIN_IOU_AT_CUT or looks > MAX_LOOKS_DIFFERENCE_AT_CUT:
                return np.inf
        if distance > MAX_DISTANCE or ratio > np.log(MAX_SIZE_RATIO):
            return np.inf
        if looks > MAX_LOOKS_DIFFERENCE:
            return np.inf
        return distance + ratio + looks / MAX_LOOKS_DIFFERENCE

    def see(self, sight: Sight, time_s: float, *, confirmed: bool) -> None:
        """Take a sight as this person's."""
        elapsed = time_s - self.seen_s
        if elapsed > 0:
            velocity = (_centre(sight.box) - _centre(self.box)) / elapsed
            self.velocity = ((self.velocity + velocity) / 2).astype(np.float32)
        self.box, self.looks, self.seen_s = sight.box, sight.looks, time_s
        if confirmed:
            self.confirmed_s = time_s


def looks_of(crop: ByteArray) -> FloatArray:
    """Coarse colours float32 (4, 4, 3) of the middle of an aligned crop."""
    low, high = (len(crop) * (1 + sign * LOOKS_SHARE) / 2 for sign in (-1, 1))
    small = Image.fromarray(crop).resize(
        (LOOKS_SIDE, LOOKS_SIDE), Image.Resampling.BOX, box=(low, low, high, high)
    )
    return np.asarray(small, np.float32)


def _centre(box: FloatArray) -> FloatArray:
    return ((box[:2] + box[2:]) / 2).astype(np.float32)


def _height(box: FloatArray) -> float:
    return max(float(box[3] - box[1]), 1.0)
