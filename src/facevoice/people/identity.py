"""Who is who: the same person in other shots, told by the face's lasting features.

SFace makes 128 numbers of an upright face; their cosine says how alike two faces are (Y. Zhong, W.
Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face
Recognition", IEEE TIP 30, 2021). It runs once on a track's best picture, not on every frame.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image

from facevoice.people.detect import cut_aligned
from facevoice.records import ByteArray, DoubleArray, FloatArray, IntArray, ModelId
from facevoice.sessions import load_session, weights_entry

PORTRAIT_PX: Final[int] = 112
"""Side of the pictures that show who somebody is."""
IDENTITY_DIM: Final[int] = 128

_WEIGHTS: Final[str] = "sface"
# Where SFace was trained to see eyes, nose tip and mouth corners, px of its picture; as in OpenCV's
# `FaceRecognizerSF`, which also hands it RGB from 0 to 255, though its own pictures are BGR.
_TEMPLATE_PX: Final[FloatArray] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float32,
)

# Set by the table that `python -m benchmarks.identity` prints of 149 films of 7 people, one frame
# of each: pairs of one person in two films have a likeness of 0.58 (lowest of a hundred) to 0.81
# (median), pairs of two people of 0.16 (median) to 0.55 at most; at 0.5 none of the former are
# missed, 0.10 % of the latter mistaken. Beside clear faces, those 36 px large are known again in
# 97 % of pairs, 24 px in 81 %, turned to the side by 45° in 94 %, by 60° in 61 %.
SAME_PERSON: Final[float] = 0.5
"""Mean likeness from which on tracks are one person's."""
USABLE_QUALITY: Final[float] = 0.3
"""Quality below which a picture does not show who somebody is; a face 24 px large has 0.42, one
blurred by 3 % of its length 0.23."""
# Poor pictures are like one another, whoever they show, so two of them must be more alike: with
# this off their cosine at most 1.3 % of pairs of two people are mistaken, however poor both are.
_POOR_ALIKE: Final[float] = 0.5
# Sharpness is the second difference of grey levels along rows by the first, over a sixtieth of the
# crop: 1.2 and more in clear faces, 0.65 in those 24 px large, 0.48 at a blur of 3 % of the face's
# length. The middle of the crop only, without hair and background.
_SHARP: Final[tuple[float, float]] = (0.25, 1.15)
_SHARP_STEPS: Final[int] = 60
_SHARP_MARGIN: Final[float] = 0.15
# How far the landmarks of a profile are from those of a front view, as a share of the face's own
# spread; it is 0.05 from the front, 0.18 at 45° and 0.33 at 60°.
_PROFILE_ASKEW: Final[float] = 0.6


class FaceIdentifier:
    """SFace, opened when it is first needed, on one thread."""

    @property
    def model(self) -> ModelId:
        """The network: name and SHA-256 of its weights.

        Raises:
            WeightsError: the package's index of weights is damaged.
        """
        entry = weights_entry(_WEIGHTS)
        return ModelId(entry.name, entry.sha256)

    @staticmethod
    def crop(rgb: ByteArray, landmarks_px: FloatArray) -> ByteArray:
        """Cut a face out as the network knows faces.

        rgb: uint8 (H, W, 3); landmarks_px: (5, 2) as in `Detections`.

        Returns:
            uint8 (112, 112, 3) RGB.

        Raises:
            ValueError: the landmarks are one point.
        """
        return cut_aligned(rgb, landmarks_px, _TEMPLATE_PX, PORTRAIT_PX)

    def embed(self, crops: ByteArray) -> FloatArray:
        """Identities (n, 128) of length 1 of crops uint8 (n, 112, 112, 3).

        Raises:
            WeightsError: the network is missing or damaged.
        """
        # One by one, since a batch may change the last bits.
        rows = [_network().run(None, {"pictures": crop[None]})[0][0] for crop in crops]
        return _unit(np.array(rows, np.float32).reshape(-1, IDENTITY_DIM))


@functools.lru_cache(maxsize=64)
def identify(portrait: bytes) -> FloatArray:
    """Identity (128,) of a JPEG of a crop, such as `FaceView.portrait`; zeros if it is none.

    Raises:
        WeightsError: the network is missing or damaged.
    """
    try:
        with Image.open(io.BytesIO(portrait), formats=["JPEG"]) as opened:
            picture = np.asarray(opened.convert("RGB").resize((PORTRAIT_PX, PORTRAIT_PX)))
    except (OSError, SyntaxError, ValueError):
        return np.zeros(IDENTITY_DIM, np.float32)
    found: FloatArray = FaceIdentifier().embed(picture[None])[0]
    return found


@functools.cache
def _network() -> InferenceSession:
    session, _ = load_session(_WEIGHTS, num_threads=1)
    return session


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: FloatArray = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def portrait_quality(landmarks_px: FloatArray, crop: ByteArray) -> float:
    """How well a face shows who it is, in [0, 1]: large and sharp, and seen from the front.

    landmarks_px: (5, 2) as in `Detections`; crop: uint8 (S, S, 3) as of `align_crop`.
    """
    return sharpness(crop) * _frontality(landmarks_px)


def sharpness(crop: ByteArray) -> float:
    """How sharp a crop (S, S, 3) as of `align_crop` is, in [0, 1]."""
    step, margin = max(1, round(len(crop) / _SHARP_STEPS)), round(len(crop) * _SHARP_MARGIN)
    middle = slice(margin, len(crop) - margin)
    grey = crop[middle, middle, 1][::step].astype(np.int16)
    once = grey[:, step:] - grey[:, :-step]
    twice = once[:, step:] - once[:, :-step]
    ratio = float(np.abs(twice).mean()) / max(float(np.abs(once).mean()), 1e-9)
    low, high = _SHARP
    return min(1.0, max(0.0, (ratio - low) / (high - low)))


def _frontality(landmarks_px: FloatArray) -> float:
    seen, known = landmarks_px @ (1, 1j), _TEMPLATE_PX @ (1, 1j)
    seen, known = seen - seen.mean(), known - known.mean()
    spread = float(np.linalg.norm(known))
    turn = np.vdot(known, seen) / spread**2
    # What no turn and scale in the plane explains, as a share of the face's own spread.
    askew = float(np.linalg.norm(seen - turn * known) / max(abs(turn) * spread, 1e-9))
    return max(0.0, 1 - askew / _PROFILE_ASKEW)


def likeness(
    some: DoubleArray | FloatArray,
    some_qualities: DoubleArray | FloatArray,
    others: DoubleArray | FloatArray,
    other_qualities: DoubleArray | FloatArray,
) -> DoubleArray:
    """Cosines (n, m) of identities (n, 128) and (m, 128), lowered where both pictures are poor.

    Qualities (n,) and (m,) are those of `portrait_quality`.
    """
    poor = (1 - some_qualities)[:, None] * (1 - other_qualities)
    return np.asarray(some @ others.T - _POOR_ALIKE * poor, np.float64)


def group_tracks(
    identities: Sequence[FloatArray],
    qualities: Sequence[FloatArray],
    together: Iterable[tuple[int, int]],
) -> IntArray:
    """Which tracks of a whole file are one person, numbered by first appearance.

    Average linkage: the two groups whose tracks are most alike on average become one, as long as
    they are alike enough and no track of the one was ever seen beside a track of the other. A track
    without a usable picture stays on its own. Tracks are named by their places in the lists, in
    order of first appearance; any other order gives the same groups.

    Args:
        identities: for each track (n, 128) of length 1, n = 0 where there is no picture.
        qualities: for each track (n,), how well its pictures show who it is.
        together: pairs of tracks seen at the same time, which can't be one person.

    Returns:
        The person's number for each track.
    """
    means, best = _tracks(identities, qualities)
    usable = np.flatnonzero(best > 0)
    place = {int(track): k for k, track in enumerate(usable)}
    alike = likeness(means[usable], best[usable], means[usable], best[usable])
    np.fill_diagonal(alike, -np.inf)
    for one, other in together:
        if one in place and other in place:
            alike[place[one], place[other]] = alike[place[other], place[one]] = -np.inf
    group = np.arange(len(identities))
    for kept, gone in _merges(alike):
        group[group == usable[gone]] = usable[kept]
    _, first, back = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[back].astype(np.int64)


def _tracks(
    identities: Sequence[FloatArray], qualities: Sequence[FloatArray]
) -> tuple[DoubleArray, DoubleArray]:
    """Mean identity (n, 128) of each track's usable pictures and their best quality (n,), or 0."""
    means = np.zeros((len(identities), IDENTITY_DIM))
    best = np.zeros(len(identities))
    for track, (rows, quality) in enumerate(zip(identities, qualities, strict=True)):
        good = np.where(quality >= USABLE_QUALITY, quality, 0.0)
        if good.any():
            best[track] = good.max()
            mean = good @ rows
            means[track] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return means, best


def _merges(alike: DoubleArray) -> Iterator[tuple[int, int]]:
    """Pairs (kept, gone) of places to be joined, the most alike first.

    alike (n, n): symmetric, minus infinity for what can't be joined; it is used up.
    """
    if not len(alike):
        return
    sizes = np.ones(len(alike))
    nearest = alike.argmax(axis=1)
    while True:
        best = alike[np.arange(len(nearest)), nearest]
        one = int(best.argmax())
        if best[one] < SAME_PERSON:
            return
        kept, gone = sorted((one, int(nearest[one])))
        yield kept, gone
        share = sizes[kept] / (sizes[kept] + sizes[gone])
        # Where either can't be joined, neither can both.
        row = share * alike[kept] + (1 - share) * alike[gone]
        row[[kept, gone]] = -np.inf
        alike[kept], alike[:, kept] = row, row
        alike[gone], alike[:, gone] = -np.inf, -np.inf
        sizes[kept] += sizes[gone]
        stale = np.union1d(np.flatnonzero((nearest == kept) | (nearest == gone)), [kept, gone])
        nearest[stale] = alike[stale].argmax(axis=1)
        # An average is never above both its parts, so no other row has found a nearer one.


class People:
    """Names tracks as they come, for streams: what was once said of a track stays.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._person_of: dict[int, int] = {}
        self._tracks: list[set[int]] = []
        self._seen: dict[int, tuple[FloatArray, float]] = {}
        self._apart: dict[int, set[int]] = {}

    def name(
        self,
        track: int,
        identity: FloatArray | None,
        together_with: Collection[int] = (),
        quality: float = 1.0,
    ) -> int:
        """The person's number of a track: of one seen before who looks alike, else a new one.

        Args:
            track: its number.
            identity: (128,) of its best picture so far, None where there is none.
            together_with: tracks seen at the same time, which can't be the same person.
            quality: of the picture; one that is not usable counts as none.
        """
        for other in together_with:
            self._apart.setdefault(track, set()).add(other)
            self._apart.setdefault(other, set()).add(track)
        if identity is not None and quality >= USABLE_QUALITY:
            self._seen[track] = identity, quality
        if track not in self._person_of:
            person = self._who(track)
            if person == len(self._tracks):
                self._tracks.append(set())
            self._tracks[person].add(track)
            self._person_of[track] = person
        return self._person_of[track]

    def _who(self, track: int) -> int:
        """The person known who is most alike, or the next number."""
        best, most = len(self._tracks), SAME_PERSON
        if track not in self._seen:
            return best
        identity, quality = self._seen[track]
        for person, tracks in enumerate(self._tracks):
            known = [self._seen[other] for other in sorted(tracks & self._seen.keys())]
            if not known or tracks & self._apart.get(track, set()):
                continue
            identities, qualities = (np.array(part) for part in zip(*known, strict=True))
            mean = float(
                likeness(identity[None], np.array([quality]), identities, qualities).mean()
            )
            if mean >= most:
                best, most = person, mean
        return best
