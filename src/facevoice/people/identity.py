"""Who is who: the same person in other shots, told by the face's lasting features.

SFace makes 128 numbers of an upright face; their cosine says how alike two faces are (Y. Zhong, W.
Deng, J. Hu, D. Zhao, X. Li, D. Wen, "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face
Recognition", IEEE TIP 30, 2021). It runs once on a track's best picture, not on every frame.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np
from onnxruntime import InferenceSession

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

# From this distance between the eyes on, px, size tells no more; so askew are landmarks in profile.
_LARGE_EYES_PX: Final[float] = 32.0
_PROFILE_ASKEW: Final[float] = 0.5

SAME_PERSON: Final[float] = 0.4
"""Mean cosine from which on tracks are one person's."""
USABLE_QUALITY: Final[float] = 0.1
"""Quality of a picture below which it does not show who somebody is."""


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


@functools.cache
def _network() -> InferenceSession:
    session, _ = load_session(_WEIGHTS, num_threads=1)
    return session


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: FloatArray = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def portrait_quality(landmarks_px: FloatArray, crop: ByteArray) -> float:
    """How well a face shows who it is, in [0, 1]: large, seen from the front, sharp.

    landmarks_px: (5, 2) as in `Detections`; crop: uint8 (S, S, 3), upright, of any framing.
    """
    seen, known = landmarks_px @ (1, 1j), _TEMPLATE_PX @ (1, 1j)
    seen, known = seen - seen.mean(), known - known.mean()
    spread = float(np.vdot(known, known).real)
    turn = np.vdot(known, seen) / spread
    eyes_px = float(abs(seen[1] - seen[0]))
    # What no turn and scale in the plane explains, as a share of the face's own spread.
    askew = float(np.linalg.norm(seen - turn * known)) / (abs(turn) * spread**0.5 + 1e-9)
    size = min(1.0, eyes_px / _LARGE_EYES_PX)
    front = max(0.0, 1 - askew / _PROFILE_ASKEW)
    return size * front


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
    means, weights = _tracks(identities, qualities)
    usable = np.flatnonzero(weights > 0)
    place = {int(track): k for k, track in enumerate(usable)}
    likeness = np.asarray(means[usable] @ means[usable].T, np.float64)
    np.fill_diagonal(likeness, -np.inf)
    for one, other in together:
        if one in place and other in place:
            likeness[place[one], place[other]] = likeness[place[other], place[one]] = -np.inf
    group = np.arange(len(identities))
    for kept, gone in _merges(likeness, np.ones(len(usable))):
        group[group == usable[gone]] = usable[kept]
    _, first, back = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[back].astype(np.int64)


def _tracks(
    identities: Sequence[FloatArray], qualities: Sequence[FloatArray]
) -> tuple[DoubleArray, DoubleArray]:
    """Mean identity (n, 128) of each track, and how much it can be trusted (n,), 0 for none."""
    means = np.zeros((len(identities), IDENTITY_DIM))
    weights = np.zeros(len(identities))
    for track, (rows, quality) in enumerate(zip(identities, qualities, strict=True)):
        good = np.where(quality >= USABLE_QUALITY, quality, 0.0)
        if good.any():
            weights[track] = good.max()
            mean = good @ rows
            means[track] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return means, weights


def _merges(likeness: DoubleArray, sizes: DoubleArray) -> Iterable[tuple[int, int]]:
    """Pairs (kept, gone) of places to be joined, the most alike first; both arrays are used up.

    likeness (n, n): symmetric, minus infinity for what can't be joined; sizes (n,): of the groups.
    """
    if not len(likeness):
        return
    nearest = likeness.argmax(axis=1)
    while True:
        best = likeness[np.arange(len(nearest)), nearest]
        one = int(best.argmax())
        if best[one] < SAME_PERSON:
            return
        kept, gone = sorted((one, int(nearest[one])))
        yield kept, gone
        share = sizes[kept] / (sizes[kept] + sizes[gone])
        # Where either can't be joined, neither can both.
        row = share * likeness[kept] + (1 - share) * likeness[gone]
        row[[kept, gone]] = -np.inf
        likeness[kept], likeness[:, kept] = row, row
        likeness[gone], likeness[:, gone] = -np.inf, -np.inf
        sizes[kept] += sizes[gone]
        stale = np.flatnonzero((nearest == kept) | (nearest == gone))
        stale = np.union1d(stale, [kept, gone])
        nearest[stale] = likeness[stale].argmax(axis=1)
        # An average is never above both its parts, so no other row has found a nearer one.


class People:
    """Names tracks as they come, for streams: what was once said of a track stays.

    Not for several threads at once.
    """

    def __init__(self) -> None:
        self._person_of: dict[int, int] = {}
        self._tracks: list[set[int]] = []
        self._identities: dict[int, FloatArray] = {}
        self._apart: dict[int, set[int]] = {}

    def name(
        self, track: int, identity: FloatArray | None, together_with: Collection[int] = ()
    ) -> int:
        """The person's number of a track: of one seen before who looks alike, else a new one.

        Args:
            track: its number.
            identity: (128,) of its best picture so far, None where none is usable.
            together_with: tracks seen at the same time, which can't be the same person.
        """
        for other in together_with:
            self._apart.setdefault(track, set()).add(other)
            self._apart.setdefault(other, set()).add(track)
        person = self._person_of.get(track)
        if person is None:
            person = len(self._tracks) if identity is None else self._who(track, identity)
            if person == len(self._tracks):
                self._tracks.append(set())
            self._tracks[person].add(track)
            self._person_of[track] = person
        if identity is not None:
            self._identities[track] = identity
        return person

    def _who(self, track: int, identity: FloatArray) -> int:
        """The person known who is most alike, or the next number."""
        best, most = len(self._tracks), SAME_PERSON
        for person, tracks in enumerate(self._tracks):
            known = [self._identities[other] for other in sorted(tracks & self._identities.keys())]
            if not known or tracks & self._apart.get(track, set()):
                continue
            likeness = float(np.mean(np.stack(known) @ identity))
            if likeness >= most:
                best, most = person, likeness
        return best
