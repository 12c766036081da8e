"""How a mouth moves, and how well that goes with a voice: a score that knows nothing of emotion.

Mouths move at the rate of syllables, and the loudness of speech goes up and down with them:
C. Chandrasekaran et al., "The natural statistics of audiovisual speech", PLoS Computational Biology
5(7), 2009. No network is needed to hear whether a voice belongs to a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from facevoice.media.video import read_frames
from facevoice.perception.align import align_crop
from facevoice.perception.detect import FaceDetector
from facevoice.types import SAMPLE_RATE_HZ, DoubleArray, FloatArray, Frame

MAX_LAG_S: Final = 0.2
"""Voices are tried up to so much earlier and later."""

_MAX_SIDE_PX: Final = 640
_ASK_HZ: Final = 1000
_DETECT_PERIOD_S: Final = 0.2
# Without any face for so long, what is between is not guessed.
_MAX_GAP_S: Final = 1.0
# Of an aligned crop: around the mouth, with the lips' whole way.
_CROP_PX: Final = 64
_MOUTH: Final = (slice(40, 56), slice(20, 44))
_CURVE_HZ: Final = 100
_ENVELOPE_S: Final = 0.025
_SMOOTH_MOTION: Final = 15
_SMOOTH_LEVEL: Final = 9
_SMOOTH_BEFORE_CHANGE: Final = 5
_LAG_STEP: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class MouthMotion:
    """Change of the mouth from frame to frame: `strength` (n,) at `times_s` (n,) of the clip.

    Empty where no face was found.
    """

    times_s: DoubleArray
    strength: DoubleArray


def mouth_motion(
    path: Path, detector: FaceDetector, start_s: float = 0.0, length_s: float = math.inf
) -> MouthMotion:
    """The mouth motion of the largest face, at the film's own frame rate.

    The face is sought five times a second; between, its landmarks go straight on, so that the
    detector's trembling is not taken for speech. Motion is the root of the RMS grey difference of
    the aligned mouth in successive frames.

    Args:
        path: a file with pictures.
        detector: finds the face.
        start_s, length_s: the part of the file that is the clip.

    Raises:
        MediaError: the file can't be read.
    """
    times_s: list[float] = []
    strength: list[float] = []
    before: tuple[float, DoubleArray] | None = None
    for time_s, mouth in _mouths(path, detector, start_s, length_s):
        if before is not None and time_s - before[0] <= _DETECT_PERIOD_S:
            difference = float(np.sqrt(np.mean((mouth - before[1]) ** 2)))
            times_s.append((time_s + before[0]) / 2)
            strength.append(math.sqrt(difference))
        before = (time_s, mouth)
    return MouthMotion(np.array(times_s), np.array(strength))


def sync_score(
    motion: MouthMotion, samples: FloatArray, length_s: float, max_lag_s: float = MAX_LAG_S
) -> float:
    """How well a mouth and a voice go together, in [-1, 1]; 0 where either has nothing to say.

    The correlation of the motion with the voice's level, and with the level's speed of change, the
    mean of both, at the best lag up to `max_lag_s`.

    Args:
        motion: of the cut picture, times counted from its start.
        samples: (N,) mono 16 kHz from the voice's start.
        length_s: of the cut; nothing beyond it counts.
        max_lag_s: see above.

    Raises:
        ValueError: the cut is not longer than twice the lag.
    """
    num_points, num_lags = int(length_s * _CURVE_HZ), int(max_lag_s * _CURVE_HZ)
    if num_points <= 2 * num_lags:
        raise ValueError(f"length_s = {length_s}: must be more than twice max_lag_s = {max_lag_s}")
    if not len(motion.times_s):
        return 0.0
    grid_s = np.arange(num_points) / _CURVE_HZ
    moves = _smooth(np.interp(grid_s, motion.times_s, motion.strength), _SMOOTH_MOTION)
    level = np.sqrt(_envelope(samples, num_points))
    change = np.abs(np.gradient(_smooth(level, _SMOOTH_BEFORE_CHANGE)))
    curves = [_smooth(level, _SMOOTH_LEVEL), _smooth(change, _SMOOTH_LEVEL)]
    scores = [
        float(np.mean([_correlation(moves, curve, lag) for curve in curves]))
        for lag in range(-num_lags, num_lags + 1, _LAG_STEP)
    ]
    return max(scores)


def moving_span_s(motion: MouthMotion, length_s: float) -> tuple[float, float]:
    """Start and end of all that moves at least half as much as the mouth ever does in the cut.

    Without motion, the end of the cut twice: it never moves.
    """
    grid_s = np.arange(int(length_s * _CURVE_HZ)) / _CURVE_HZ
    if not len(motion.times_s) or not len(grid_s):
        return length_s, length_s
    moves = _smooth(np.interp(grid_s, motion.times_s, motion.strength), _SMOOTH_MOTION)
    if moves.max() - moves.min() <= 1e-9:
        return length_s, length_s
    strong = np.flatnonzero(moves >= (moves.min() + moves.max()) / 2)
    return float(grid_s[strong[0]]), float(grid_s[strong[-1]])


def _mouths(
    path: Path, detector: FaceDetector, start_s: float, length_s: float
) -> Iterator[tuple[float, DoubleArray]]:
    """Time in the clip and grey mouth of each frame that shows a face."""
    count = math.ceil(min(length_s, 86_400.0) * _ASK_HZ)
    times = (start_s + k / _ASK_HZ for k in range(count))
    waiting: list[Frame] = []
    known: tuple[float, FloatArray] | None = None
    next_detect_s = -math.inf
    for frame in read_frames(path, times, tolerance_s=0.0, max_side_px=_MAX_SIDE_PX):
        waiting.append(frame)
        if frame.timestamp_s < next_detect_s:
            continue
        next_detect_s = frame.timestamp_s + _DETECT_PERIOD_S
        landmarks = _largest_face(frame, detector)
        if landmarks is not None:
            now = (frame.timestamp_s, landmarks)
            if known is None or now[0] - known[0] > _MAX_GAP_S:
                waiting, known = waiting[-1:], now
            yield from _crop(waiting, known, now, start_s)
            waiting, known = [], now
        elif known is None or frame.timestamp_s - known[0] > _MAX_GAP_S:
            waiting = []
    if known is not None:
        yield from _crop(waiting, known, known, start_s)


def _largest_face(frame: Frame, detector: FaceDetector) -> FloatArray | None:
    found = detector.detect(frame.rgb)
    if not len(found):
        return None
    sizes = np.prod(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], axis=1)
    landmarks: FloatArray = found.landmarks_px[int(sizes.argmax())]
    return landmarks


def _crop(
    frames: list[Frame],
    before: tuple[float, FloatArray],
    after: tuple[float, FloatArray],
    start_s: float,
) -> Iterator[tuple[float, DoubleArray]]:
    span_s = after[0] - before[0]
    for frame in frames:
        share = 0.0 if span_s <= 0 else min(1.0, (frame.timestamp_s - before[0]) / span_s)
        landmarks = (1 - share) * before[1] + share * after[1]
        crop = align_crop(frame.rgb, landmarks.astype(np.float32), _CROP_PX)[_MOUTH]
        yield frame.timestamp_s - start_s, crop.mean(axis=2, dtype=np.float64)


def _envelope(samples: FloatArray, num_points: int) -> DoubleArray:
    """RMS over 25 ms around each point of the curve; silence beyond the samples."""
    step, half = SAMPLE_RATE_HZ // _CURVE_HZ, round(_ENVELOPE_S * SAMPLE_RATE_HZ / 2)
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.arange(num_points) * step
    first, last = ((centres + sign * half).clip(0, len(samples)) for sign in (-1, 1))
    mean: DoubleArray = np.maximum(power[last] - power[first], 0.0) / (2 * half)
    return np.sqrt(mean)


def _smooth(curve: DoubleArray, width: int) -> DoubleArray:
    """Weighted mean over `width` points (odd); beyond its ends, the curve goes on level."""
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(curve, width // 2, "edge"), window / window.sum(), "valid")


def _correlation(moves: DoubleArray, curve: DoubleArray, lag: int) -> float:
    """Pearson's, of what overlaps when the voice is taken `lag` points earlier than it is."""
    x, y = (moves[lag:], curve[: len(curve) - lag]) if lag >= 0 else (moves[:lag], curve[-lag:])
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm > 1e-12 else 0.0
