"""Who speaks: how likely a mouth's movement makes the sound that is heard.

Mouths are cut from frames at full rate, small and grey, where the landmarks known from the tracking
say (`read_mouths`). Two small networks turn mouths and sound into one and the same few curves; how
well these agree, and loudness with movement, tells whether one makes the other (`SpeakerModel`).
Only what changes counts: means, hence looks and voices, are taken out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image

from facevoice.people.detect import CROP_MARGIN, FACE_TEMPLATE, similarity_transform
from facevoice.records import (
    SAMPLE_RATE_HZ,
    ByteArray,
    DoubleArray,
    FloatArray,
    Frame,
    ModelId,
)
from facevoice.sessions import open_session, read_weights, weights_entry

MOUTH_RATE_HZ: Final = 30.0
"""Frames per second beyond which mouths show nothing more."""
ASKED_RATE_HZ: Final = 45.0
"""At how many times a second to ask for frames, so that rounded timestamps lose none of 30."""

MOUTH_SIZE_PX: Final = (48, 40)
# The cut's left upper corner and its width in `FACE_TEMPLATE`'s units: from under the nose to the
# chin, and a good half more than the mouth's width.
_CUT_CORNER: Final = (0.26, 0.59)
_CUT_WIDTH: Final = 0.48

# A face that was not seen for so long is not looked for in between.
_MAX_GAP_S: Final = 0.6

NUM_EVIDENCE: Final = 2
NUM_BANDS: Final = 24
SOUND_RATE_HZ: Final = 2 * MOUTH_RATE_HZ
_FFT_SAMPLES: Final = 512
_BAND_EDGES_HZ: Final = (80.0, 7600.0)
_DYNAMIC_RANGE_DB: Final = 60.0

# Curves agree at the best of so many frames' lag. Those that hardly move agree with nothing.
_MAX_LAG: Final = 2
_LEAST_LENGTH: Final = 1e-3
# Less of a mouth, or of speech, tells nothing.
_MIN_MOUTH_S: Final = 1.2
_MIN_SPEECH_S: Final = 0.4
_WEIGHTS: Final = "speaker"
NOBODY_LOGIT: Final = 0.5
"""Log-odds below which not even the likeliest of several people speaks; by `benchmarks.who_speaks`.
"""
# Single faces: pairs of crops so far apart in time, so many of them; the region in
# `FACE_TEMPLATE`'s units; what is still.
_MIN_STEP_S: Final = 0.1
_MAX_STEP_S: Final = 0.6
_MIN_STEPS: Final = 4
_LOW_BOX: Final = (0.30, 0.64, 0.70, 0.95)
_STILL: Final = 0.22


@dataclass(frozen=True, slots=True, eq=False)
class FacePath:
    """Where a face was seen: times_s (T,), increasing, and landmarks_rel (T, 5, 2).

    Landmarks as in `Detections`, as fractions of the picture's width and height.
    """

    times_s: DoubleArray
    landmarks_rel: FloatArray

    def at(self, time_s: float) -> FloatArray | None:
        """Landmarks (5, 2) at a time, None where the face was not seen about then."""
        times = self.times_s
        after = int(np.searchsorted(times, time_s))
        before = after - 1
        if after == len(times) or before < 0:
            near = before if after == len(times) else after
            is_near = abs(float(times[near]) - time_s) <= _MAX_GAP_S / 2
            return self.landmarks_rel[near] if is_near else None
        span_s = float(times[after] - times[before])
        if span_s > _MAX_GAP_S:
            return None
        share = (time_s - float(times[before])) / span_s
        mixed: FloatArray = (1 - share) * self.landmarks_rel[before] + share * self.landmarks_rel[
            after
        ]
        return mixed


@dataclass(frozen=True, slots=True, eq=False)
class MouthTrack:
    """One mouth over time: times_s (T,), increasing, and pixels uint8 (T, 40, 48), grey."""

    times_s: DoubleArray
    pixels: ByteArray


def read_mouths(frames: Iterable[Frame], paths: Mapping[int, FacePath]) -> dict[int, MouthTrack]:
    """Cut the mouths of people out of frames as they come, and keep nothing else of them.

    Args:
        frames: in order of time, at full rate.
        paths: where each person's face was seen, by number.

    Returns:
        By number, of whom a mouth was cut.
    """
    times: dict[int, list[float]] = {person: [] for person in paths}
    pixels: dict[int, list[ByteArray]] = {person: [] for person in paths}
    for frame in frames:
        height, width = frame.rgb.shape[:2]
        for person, path in paths.items():
            landmarks = path.at(frame.timestamp_s)
            if landmarks is not None:
                times[person].append(frame.timestamp_s)
                pixels[person].append(_cut_mouth(frame.rgb, landmarks * (width, height)))
    return {
        person: MouthTrack(np.array(found), np.stack(pixels[person]))
        for person, found in times.items()
        if found
    }


def _cut_mouth(rgb: ByteArray, landmarks_px: FloatArray) -> ByteArray:
    """Mouth and chin, upright, in grey (40, 48); `landmarks_px` (5, 2) as in `Detections`."""
    width, height = MOUTH_SIZE_PX
    scale = width / _CUT_WIDTH
    to_cut = similarity_transform(landmarks_px, (FACE_TEMPLATE - _CUT_CORNER) * scale)
    linear = np.linalg.inv(to_cut[:, :2])
    to_picture = np.concatenate([linear, -linear @ to_cut[:, 2:]], axis=1)
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    x, y = to_picture @ corners.T
    left, top = max(0, math.floor(x.min()) - 2), max(0, math.floor(y.min()) - 2)
    right, bottom = math.ceil(x.max()) + 2, math.ceil(y.max()) + 2
    part = rgb[top : max(bottom, 0), left : max(right, 0)]
    if not part.size:
        return np.full((height, width), 127, np.uint8)
    source = Image.fromarray(np.ascontiguousarray(part)).convert("L")
    to_picture[:, 2] -= (left, top)
    # Bilinear sampling reads four pixels; a mouth much larger than the cut is averaged first.
    reduction = math.floor(np.hypot(to_picture[0, 0], to_picture[1, 0]))
    if reduction >= 2:
        source = source.reduce(reduction)
        to_picture /= reduction
    cut = source.transform(
        MOUTH_SIZE_PX,
        Image.Transform.AFFINE,
        to_picture.ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=127,
    )
    return np.asarray(cut)


def sound_bands(samples: FloatArray, times_s: DoubleArray) -> FloatArray:
    """How loud bands are around times; see `band_power` and `relative_loudness`."""
    return relative_loudness(band_power(samples, times_s))


def band_power(samples: FloatArray, times_s: DoubleArray) -> FloatArray:
    """Power of bands in 32 ms around times, float32 (len(times_s), 24).

    Args:
        samples: mono (N,) at 16 kHz, from time 0 on; silence is supposed around them.
        times_s: increasing.
    """
    padded = np.pad(samples, _FFT_SAMPLES)
    starts = np.round(times_s * SAMPLE_RATE_HZ).astype(np.int64) + _FFT_SAMPLES // 2
    starts = np.clip(starts, 0, len(padded) - _FFT_SAMPLES)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[starts]
    spectrum = np.abs(np.fft.rfft(pieces * np.hanning(_FFT_SAMPLES), axis=1)) ** 2
    power: FloatArray = np.einsum("tf,bf->tb", spectrum, _filters()).astype(np.float32)
    return power


def relative_loudness(power: FloatArray) -> FloatArray:
    """Of powers, float32 in [0, 1]: 1 is the loudest of all, 0 what is 60 dB below it or less."""
    loudest = float(power.max(initial=0.0))
    if loudest <= 0:
        return np.zeros(power.shape, np.float32)
    decibels = 10 * np.log10(np.maximum(power / loudest, 1e-12))
    scaled: FloatArray = np.maximum(1 + decibels / _DYNAMIC_RANGE_DB, 0).astype(np.float32)
    return scaled


@cache
def _filters() -> DoubleArray:
    """Triangles (24, 257) at equal distances on the mel scale, of equal area."""
    low, high = (np.log1p(edge / 700) for edge in _BAND_EDGES_HZ)
    edges = 700 * np.expm1(np.linspace(low, high, NUM_BANDS + 2))
    bins = np.fft.rfftfreq(_FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    shapes = np.maximum(0, np.minimum(rising, falling))
    # The lowest are narrower than a bin.
    filters: DoubleArray = shapes / np.maximum(shapes.sum(axis=1, keepdims=True), 0.5)
    return filters


class SpeakerModel:
    """The two networks, and the line between mouths that make a sound and mouths that don't.

    Args:
        network: an ONNX file's content.
        origin: names it in errors.
        line: weights of the evidence, the bias last; None for the one in the file's metadata.

    Raises:
        WeightsError: it is no such file.
    """

    def __init__(self, network: bytes, origin: str, line: DoubleArray | None = None) -> None:
        self._session: InferenceSession = open_session(network, origin)
        told = self._session.get_modelmeta().custom_metadata_map
        self._line = np.array(json.loads(told["line"])) if line is None else line

    def logit(
        self,
        mouth: MouthTrack,
        samples: FloatArray,
        start_s: float,
        speech_spans_s: DoubleArray | None,
    ) -> float:
        """Log-odds that a mouth makes the sound, against that it doesn't, as likely beforehand.

        0 where nothing can be told: less than 1.2 s of the mouth, or 0.4 s of speech while it is
        seen.

        Args:
            mouth: frames outside the sound count for nothing.
            samples: mono (N,) at 16 kHz.
            start_s: media time of the first sample.
            speech_spans_s: (n, 2) media times from when to when speech is heard, None if none is.
        """
        evidence = self.evidence(mouth, samples, start_s, speech_spans_s)
        return 0.0 if evidence is None else float(self._line @ [*evidence, 1.0])

    def evidence(
        self,
        mouth: MouthTrack,
        samples: FloatArray,
        start_s: float,
        speech_spans_s: DoubleArray | None,
    ) -> DoubleArray | None:
        """What the log-odds are a weighted sum of, (2,); None if too little is seen or heard.

        Correlations at the best lag times the root of the seconds compared: of the curves, and of
        how much the mouth moves with how loud the sound is.
        """
        times_s, pixels = steady(mouth, start_s, start_s + len(samples) / SAMPLE_RATE_HZ)
        if len(times_s) < _MIN_MOUTH_S * MOUTH_RATE_HZ:
            return None
        if _shared_s(speech_spans_s, times_s[0], times_s[-1]) < _MIN_SPEECH_S:
            return None
        looks = normalize_mouth(pixels)
        bands = sound_bands(samples, sound_times(times_s) - start_s)
        alike = best_agreement(*self.curves(looks, bands))
        moving = best_agreement(motion(looks)[None], bands.reshape(1, len(looks), -1).mean(axis=2))
        evidence: DoubleArray = np.array([alike, moving]) * np.sqrt(len(times_s) / MOUTH_RATE_HZ)
        return evidence

    def curves(self, looks: FloatArray, bands: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What is seen (16, T) and heard (16, T): of `normalize_mouth`, and of `sound_bands`."""
        seen, heard = self._session.run(["seen", "heard"], {"looks": looks, "bands": bands})
        return seen, heard


@cache
def load_speaker() -> SpeakerModel:
    """The networks of the package.

    Raises:
        WeightsError: they are missing or damaged.
    """
    return SpeakerModel(read_weights(_WEIGHTS), _WEIGHTS)


def speaker_model_id() -> ModelId:
    """Name and SHA-256 of the networks.

    Raises:
        WeightsError: the package's index of weights is damaged.
    """
    entry = weights_entry(_WEIGHTS)
    return ModelId(name=entry.name, sha256=entry.sha256)


def steady(mouth: MouthTrack, start_s: float, end_s: float) -> tuple[DoubleArray, FloatArray]:
    """A mouth's times (T,), 30 a second, and pixels float32 (T, 40, 48) mixed in between."""
    inside = (mouth.times_s >= start_s) & (mouth.times_s < end_s)
    times_s, pixels = mouth.times_s[inside], mouth.pixels[inside]
    if len(times_s) < 2:
        return times_s[:0], pixels[:0].astype(np.float32)
    wanted_s = np.arange(times_s[0], times_s[-1] + 1e-6, 1 / MOUTH_RATE_HZ)
    before = np.clip(np.searchsorted(times_s, wanted_s, side="right") - 1, 0, len(times_s) - 2)
    after = (wanted_s - times_s[before]) / (times_s[before + 1] - times_s[before])
    shares = np.clip(after, 0, 1).astype(np.float32)[:, None, None]
    mixed: FloatArray = pixels[before] * (1 - shares) + pixels[before + 1] * shares
    return wanted_s, mixed


def sound_times(times_s: DoubleArray) -> DoubleArray:
    """When to listen (2T,): a quarter of a frame's time before and after each of T frames."""
    quarter_s = 0.5 / SOUND_RATE_HZ
    return (times_s[:, None] + (-quarter_s, quarter_s)).ravel()


def normalize_mouth(pixels: FloatArray) -> FloatArray:
    """Halved in size, without the mean and in units of the contrast of all: (T, 480) float32."""
    halved = pixels.reshape(len(pixels), 20, 2, 24, 2).astype(np.float32).mean(axis=(2, 4))
    # One grey level more, so that noise in an even picture stays small.
    scaled: FloatArray = (halved - halved.mean()) / (halved.std() + 1)
    return scaled.reshape(len(pixels), -1).astype(np.float32)


def motion(looks: FloatArray) -> FloatArray:
    """How much mouths (T, 480) change from one picture to the next, smoothed a little: (T,)."""
    steps = np.abs(np.diff(looks, axis=0)).mean(axis=1)
    padded = np.pad(steps, (2, 1), mode="edge")
    smooth: FloatArray = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return smooth


def best_agreement(seen: FloatArray, heard: FloatArray) -> float:
    """Correlation of curves (D, T), all D as one, at the best lag: films may be out of step."""
    return max(_agreement(seen, heard, lag) for lag in range(-_MAX_LAG, _MAX_LAG + 1))


def _agreement(seen: FloatArray, heard: FloatArray, lag: int) -> float:
    """With the heard curves `lag` frames later."""
    size = seen.shape[1] - abs(lag)
    parts = seen[:, max(0, -lag) :][:, :size], heard[:, max(0, lag) :][:, :size]
    a, b = (part - part.mean(axis=1, keepdims=True) for part in parts)
    lengths = (float(np.sqrt((part**2).sum())) + _LEAST_LENGTH for part in (a, b))
    return float((a * b).sum()) / math.prod(lengths)


def _shared_s(spans_s: DoubleArray | None, start_s: float, end_s: float) -> float:
    """Seconds of spans (n, 2) that lie within a time."""
    if spans_s is None:
        return 0.0
    return float(np.maximum(np.diff(np.clip(spans_s, start_s, end_s)), 0).sum())


def mouth_moves(
    faces: ByteArray, times_s: DoubleArray, speech_spans_s: DoubleArray | None
) -> float | None:
    """How much a mouth moves while there is speech, from the crops that a window holds.

    The upper quartile, over neighbouring crops in speech, of the mean change of mouth and chin, in
    units of their contrast.

    Args:
        faces: uint8 (T, S, S, 3), aligned as `align_crop` does.
        times_s: (T,), increasing.
        speech_spans_s: (n, 2) media times from when to when speech is heard.

    Returns:
        None where speech shows fewer than four pairs of crops 0.1 to 0.6 s apart.
    """
    spans = np.zeros((0, 2)) if speech_spans_s is None else speech_spans_s
    heard = np.array([bool(((spans[:, 0] <= t) & (t <= spans[:, 1])).any()) for t in times_s])
    places = _apart(times_s)
    pairs = [
        (before, after)
        for before, after in pairwise(places)
        if heard[before] and heard[after] and times_s[after] - times_s[before] <= _MAX_STEP_S
    ]
    if len(pairs) < _MIN_STEPS:
        return None
    needed = {place for pair in pairs for place in pair}
    mouths = {place: _low_mouth(faces[place]) for place in needed}
    changes = [_change(mouths[before], mouths[after]) for before, after in pairs]
    return float(np.quantile(changes, 0.75))


def is_still(moves: float | None) -> bool:
    """Whether a mouth is so still during speech that it can't be its own: see `mouth_moves`."""
    return moves is not None and moves < _STILL


def _apart(times_s: DoubleArray) -> list[int]:
    """Places of times at least 0.1 s after the one before."""
    places: list[int] = []
    for place, time_s in enumerate(times_s.tolist()):
        if not places or time_s - times_s[places[-1]] >= _MIN_STEP_S:
            places.append(place)
    return places


def _low_mouth(face: ByteArray) -> FloatArray:
    """Mouth and chin of an aligned crop, grey, without the mean, (10, 13)."""
    side = len(face)
    box = [((edge - 0.5) / CROP_MARGIN + 0.5) * side for edge in _LOW_BOX]
    grey = Image.fromarray(face).convert("L")
    left, top, right, bottom = box
    small = grey.resize((13, 10), Image.Resampling.BOX, box=(left, top, right, bottom))
    pixels = np.asarray(small, np.float32)
    even: FloatArray = pixels - pixels.mean()
    return even


def _change(before: FloatArray, after: FloatArray) -> float:
    return float(np.abs(after - before).mean() / ((before.std() + after.std()) / 2 + 1))
