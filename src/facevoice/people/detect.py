"""Faces in one picture: found, looked at closely, cut out upright.

Boxes are x0 y0 x1 y1 in pixels, half-open: a box of one pixel is (x, y, x + 1, y + 1).
"""

from __future__ import annotations

from cmath import phase
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, floor, pi, remainder
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.records import ByteArray, Detections, FloatArray, IntArray, ModelId, Reason
from facevoice.sessions import load_session

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]

# The full search: pictures are scaled down to this longer side. A face of a twentieth of it is
# found, and so is one that fills it. The network halves five times.
_SEARCH_SIDE_PX: Final[int] = 384
_MULTIPLE_PX: Final[int] = 32
# The thorough search: pictures are seen as they are handed in, up to this longer side.
_FINE_SIDE_PX: Final[int] = 1280
_STRIDES_PX: Final[tuple[int, ...]] = (8, 16, 32)
# Each face is seen by dozens of cells, and their mean, weighted by squared scores, trembles half as
# much as the best of them: those count that score this much and overlap the best one by so much.
_CELL_MIN_SCORE: Final[float] = 0.3
_CELL_SAME_FACE: Final[float] = 0.5
_NMS: Final[float] = 0.3

# The closer look: side of the cut, the share of it that the longer side of the face's box takes,
# and how far from its middle the face may be, as a share of the cut's side: half its own length.
_LOOK_PX: Final[int] = 128
_LOOK_SHARE: Final[float] = 0.6
_LOOK_NEAR: Final[float] = 0.3
# Which share of a face's tilt the landmarks show, as the network leans towards upright ones.
_TILT_SEEN: Final[float] = 0.5
# It looks again if the face is further off the middle than this share of its length, so much
# larger or smaller (logarithm) or so much tilted.
_MAX_OFF: Final[float] = 0.06
_MAX_GROWTH: Final[float] = 0.1
_MAX_TURN_RAD: Final[float] = 0.1
_MAX_LOOKS: Final[int] = 3
# The network sees faces that are upside down or on their side too, and takes them for upright ones.
# In films of javanese and RAVDESS they scored up to 0.90, nearly all upright ones more, and the
# right turn led by 0.028 or more, blurred or tilted too. Below this score, every quarter turn is
# tried; one that leads by so much is right, and where none does, it can't be told.
_UPRIGHT_SCORE: Final[float] = 0.91
_SETTLED_BY: Final[float] = 0.02
# What is taken for a face that is not upright must score this much.
_MIN_TURNED_SCORE: Final[float] = 0.75
_UPRIGHT_RAD: Final[float] = pi / 3
# Overlap with a known face from which on that one is meant, and its turn known.
_KNOWN_FACE: Final[float] = 0.4
_MIRRORED: Final[list[int]] = [1, 0, 2, 4, 3]  # landmarks by those of the mirrored face

# Median places of eyes, nose tip and mouth corners in FER2013's training pictures, as fractions of
# the picture's side, made mirror-symmetric; measured by recipes/face_template.py.
FACE_TEMPLATE: Final[FloatArray] = np.array(
    [[0.3253, 0.3892], [0.6747, 0.3892], [0.5, 0.6063], [0.359, 0.7616], [0.641, 0.7616]],
    np.float32,
)
# Crops show this much more than FER2013's framing, so that a network may choose its own cut.
CROP_MARGIN: Final[float] = 1.25
# Beyond the picture's edge: what networks take for "nothing" after normalisation. Replicated edge
# pixels would draw streaks across the face.
_FILL: Final[tuple[int, int, int]] = (127, 127, 127)


class FaceDetector:
    """YuNet: one small network that sees the whole picture at once, or one face closely.

    Where a face lies on the network's grid, its size and its tilt sway the landmarks. The closer
    look shows all faces alike, upright in the middle, and mirrored too, so that the landmarks stay
    where they belong. As it costs a quarter of a full search, it also follows known faces.

    W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
    Research 20, 2023, with the published weights.

    min_face_px: longer side of the smallest box given; min_score: root of class times objectness
    that a face must have, 0–1.

    Raises:
        WeightsError: the package's weights are missing or damaged.
    """

    def __init__(self, *, min_face_px: int, min_score: float) -> None:
        self._min_face_px = min_face_px
        self._min_score = min_score
        self._session, self._model = load_session("yunet", num_threads=1)

    @property
    def model(self) -> ModelId:
        """The network: name and SHA-256 of its weights."""
        return self._model

    def detect(
        self, rgb: ByteArray, *, known: Detections | None = None, thorough: bool = False
    ) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first.

        known: faces seen just before; one that is found there is turned as it was, unasked.
        thorough: where no face is found, look for smaller ones, and for those that only a turned
        picture shows; costs several times as much.
        """
        found = self._settled_faces(rgb, self._search(rgb), known)
        if thorough and found.is_nothing and max(rgb.shape[:2]) > _SEARCH_SIDE_PX:
            found = found.else_(self._settled_faces(rgb, self._search(rgb, _FINE_SIDE_PX)))
        for quarters in (2, 1, 3) if thorough else ():
            if found.is_nothing:
                rough = self._search_turned(rgb, quarters)
                found = found.else_(self._settled_faces(rgb, rough))
        rows = _rows(_best_of(found.faces))
        return replace(rows, missed=() if found.faces else found.missed)

    def refine(self, rgb: ByteArray, known: Detections) -> Detections:
        """Look again for faces that are known or expected; each may be half its height away.

        Returns:
            Exactly as many rows in the same order; score 0 where no face is found near.
        """
        faces = []
        for box, landmarks in zip(known.boxes_xyxy, known.landmarks_px, strict=True):
            before = _Face(box, landmarks, 0.0)
            seen = self._look(rgb, before)
            faces.append(seen if seen and self._is_wanted(seen) else before)
        return _rows(faces)

    def _is_wanted(self, face: _Face) -> bool:
        return face.score >= self._min_score and face.length_px >= self._min_face_px

    def _settled_faces(
        self, rgb: ByteArray, rough: list[_Face], known: Detections | None = None
    ) -> _Found:
        """Rough faces looked at closely, and why some of them are left out.

        Those that seem too small are looked at only where there are no others.
        """
        small = [face for face in rough if face.length_px < self._min_face_px]
        large = [face for face in rough if face.length_px >= self._min_face_px]
        found = self._sorted_out(rgb, large, known)
        if found.faces or found.missed:
            return found
        return self._sorted_out(rgb, small, known)

    def _sorted_out(self, rgb: ByteArray, rough: list[_Face], known: Detections | None) -> _Found:
        faces: list[_Face] = []
        missed: list[Reason] = []
        for settled in (self._settled(rgb, face, known) for face in rough):
            if isinstance(settled, Reason):
                missed.append(settled)
            elif self._is_wanted(settled):
                faces.append(settled)
            elif self._is_small(settled) and self._look(rgb, settled):
                missed.append(Reason.FACE_TOO_SMALL)
        return _Found(faces, tuple(missed))

    def _is_small(self, face: _Face) -> bool:
        return face.score >= self._min_score and face.length_px < self._min_face_px

    def _settled(
        self, rgb: ByteArray, rough: _Face, known: Detections | None
    ) -> _Face | Literal[Reason.FACE_TILTED]:
        """A face looked at closely the right way up; the reason if that can't be told."""
        before = _known_face(rough, known)
        face = rough if before is None else rough.turned_like(before)
        # Twice: the search says too roughly where a face is for the first cut to be the best one.
        for _ in range(2):
            face = self._look(rgb, face) or face
        if before is not None or face.score >= _UPRIGHT_SCORE:
            return face
        others = (self._look(rgb, face.turned(quarters)) for quarters in (2, 1, 3))
        # Looks follow a face that is tilted, back to where they came from too.
        turned = [other for other in others if other and not face.is_turned_like(other)]
        best = max(turned, key=lambda other: other.score, default=None)
        lead = -1.0 if best is None else best.score - face.score
        if best is not None and lead > _SETTLED_BY:
            face = self._look(rgb, best) or best
        elif lead > -_SETTLED_BY:
            return Reason.FACE_TILTED
        is_upright = abs(face.tilt) < _UPRIGHT_RAD
        return face if is_upright or face.score >= _MIN_TURNED_SCORE else Reason.FACE_TILTED

    def _search_turned(self, rgb: ByteArray, quarters: int) -> list[_Face]:
        """As `_search`, of the picture turned anticlockwise by quarters."""
        turned = np.ascontiguousarray(np.rot90(rgb, quarters))
        height, width = rgb.shape[:2]
        corner = np.array({1: (width, 0), 2: (width, height), 3: (0, height)}[quarters])
        found = self._search(turned)
        return [face.moved(_rotation(quarters * pi / 2), corner) for face in found]

    def _search(self, rgb: ByteArray, side_px: int = _SEARCH_SIDE_PX) -> list[_Face]:
        """Faces of the whole picture, best first; their landmarks are rough."""
        picture = Image.fromarray(rgb)
        width, height = picture.size
        scale = min(1.0, side_px / max(picture.size))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        columns, rows = (ceil(side / _MULTIPLE_PX) * _MULTIPLE_PX for side in size)
        padded = np.zeros((rows, columns, 3), np.uint8)
        padded[: size[1], : size[0]] = np.asarray(picture.resize(size, Image.Resampling.BOX))
        cells, _ = self._describe(padded[None])
        overlaps = iou(cells.boxes_xyxy, cells.boxes_xyxy)
        shares = (overlaps > _CELL_SAME_FACE) * cells.scores**2
        best = _suppress(overlaps, cells.scores)
        found = [_mean_face(cells, shares[place] / shares[place].sum()) for place in best]
        # Rounding to whole pixels makes the two scales differ a little.
        factors = np.array([width / size[0], height / size[1]], np.float32)
        faces = [_Face(f.box * np.tile(factors, 2), f.landmarks * factors, f.score) for f in found]
        return [face for face in faces if face.score >= self._min_score]

    def _look(self, rgb: ByteArray, rough: _Face) -> _Face | None:
        """A face as it is cut out upright and at one size; None if there is none near."""
        seen = None
        for _ in range(_MAX_LOOKS):
            turn = rough.length_px / (_LOOK_SHARE * _LOOK_PX) * _rotation(rough.tilt)
            corner = rough.centre - turn @ np.full(2, _LOOK_PX / 2)
            found = self._middle_face(_cut_turned(rgb, turn, corner, _LOOK_PX))
            if found is None:
                break
            before, seen = rough, found.moved(turn, corner)
            if seen.is_placed_like(before):
                break
            rough = seen
        return seen

    def _middle_face(self, cut: ByteArray) -> _Face | None:
        """The face near the middle of a cut, None unless the cut and its mirror image show one."""
        mirror_image = cut.take(range(_LOOK_PX - 1, -1, -1), axis=1)
        cells, numbers = self._describe(np.stack([cut, mirror_image]))
        boxes, points = cells.boxes_xyxy, cells.landmarks_px
        mirrored = slice(int(np.count_nonzero(numbers == 0)), None)
        boxes[mirrored, 0::2] = _LOOK_PX - boxes[mirrored, 2::-2]
        points[mirrored] = points[mirrored, _MIRRORED]
        points[mirrored, :, 0] = _LOOK_PX - points[mirrored, :, 0]
        x, y = (boxes[:, :2] + boxes[:, 2:] - _LOOK_PX).T / 2
        shares = (np.hypot(x, y) < _LOOK_NEAR * _LOOK_PX) * cells.scores**2
        # Both count the same, so that landmarks lean to neither side.
        sums = np.bincount(numbers, shares, 2)
        return _mean_face(cells, shares / sums[numbers] / 2) if sums.all() else None

    def _describe(self, pictures: ByteArray) -> tuple[Detections, IntArray]:
        """What the cells that see a face say, and which picture (B, H, W, 3) each belongs to.

        The sides are multiples of 32.
        """
        scores, boxes, landmarks = self._session.run(
            ["scores", "boxes", "landmarks"], {"pictures": pictures}
        )
        numbers, places = np.nonzero(scores >= min(_CELL_MIN_SCORE, self._min_score))
        corners, strides = (cells[places] for cells in _cells(*pictures.shape[1:3]))
        boxes, landmarks = boxes[numbers, places], landmarks[numbers, places]
        # In units of the stride: the box's centre from the cell's corner, the logarithm of its
        # sides, and the landmarks from the corner.
        centres = corners + boxes[:, :2] * strides
        halves = np.exp(boxes[:, 2:]) * strides / 2
        points = corners[:, None] + landmarks.reshape(-1, 5, 2) * strides[:, None]
        edges = np.concatenate([centres - halves, centres + halves], axis=1)
        return Detections(edges, points, scores[numbers, places]), numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    """One row of `Detections`: box (4,) px, landmarks (5, 2) px and score."""

    box: _Floats
    landmarks: _Floats
    score: float

    @property
    def centre(self) -> _Floats:
        """Of the box, (2,)."""
        middle: _Floats = (self.box[:2] + self.box[2:]) / 2
        return middle

    @property
    def length_px(self) -> float:
        """Longer side of the box."""
        return float((self.box[2:] - self.box[:2]).max())

    @property
    def tilt(self) -> float:
        """How far it is turned clockwise in the picture's plane, radians.

        The line of the eyes and the one down to the mouth weigh as much as they are long.
        """
        left_eye, right_eye, _, left_mouth, right_mouth = self.landmarks @ (1, 1j)
        across, down = right_eye - left_eye, (left_mouth + right_mouth - left_eye - right_eye) / 2
        return phase(across - 1j * down)

    def moved(self, linear: _Floats, corner: _Floats) -> _Face:
        """In the picture of which it is a cut; see `_cut_turned`. The box stays upright."""
        centre = linear @ self.centre + corner
        halves = (self.box[2:] - self.box[:2]) / 2 * np.hypot(*linear[:, 0])
        if abs(linear[1, 0]) > abs(linear[0, 0]):  # a face on its side is wider than it is high
            halves = halves[::-1]
        box = np.concatenate([centre - halves, centre + halves])
        return _Face(box, self.landmarks @ linear.T + corner, self.score)

    def turned(self, quarters: int) -> _Face:
        """Turned clockwise around its middle by quarters."""
        if quarters % 4 == 0:
            return self
        turn = _rotation(quarters * pi / 2)
        return self.moved(turn, self.centre - turn @ self.centre)

    def turned_like(self, other: _Face) -> _Face:
        """With the side up that another has up."""
        return self.turned(round(2 * (other.tilt - self.tilt) / pi))

    def is_turned_like(self, other: _Face) -> bool:
        """Whether both have the same side up."""
        return abs(remainder(self.tilt - other.tilt, 2 * pi)) < pi / 4

    def is_placed_like(self, other: _Face) -> bool:
        """Whether a cut made for another face does for this one."""
        away = np.hypot(*(self.centre - other.centre)) / other.length_px
        growth, turn = np.log(self.length_px / other.length_px), self.tilt - other.tilt
        turn = remainder(turn, 2 * pi)
        return bool(away < _MAX_OFF and abs(growth) < _MAX_GROWTH and abs(turn) < _MAX_TURN_RAD)


@dataclass(frozen=True, slots=True)
class _Found:
    """Faces of one picture, and why others are left out."""

    faces: list[_Face]
    missed: tuple[Reason, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether there is no face, nor one that other searches would see no better."""
        return not self.faces and Reason.FACE_TILTED not in self.missed

    def else_(self, other: _Found) -> _Found:
        """What another search adds where this one found no face."""
        return _Found(other.faces, self.missed or other.missed)


def _known_face(face: _Face, known: Detections | None) -> _Face | None:
    """The one of the known faces that lies where this one does."""
    if known is None or not len(known):
        return None
    overlaps = iou(face.box[None], known.boxes_xyxy)[0]
    best = int(np.argmax(overlaps))
    if overlaps[best] < _KNOWN_FACE:
        return None
    return _Face(known.boxes_xyxy[best], known.landmarks_px[best], float(known.scores[best]))


def _mean_face(cells: Detections, weights: _Floats) -> _Face:
    """What cells say, `weights` (n,) summing to 1."""
    landmarks = np.tensordot(weights, cells.landmarks_px, 1)
    seen = _Face(weights @ cells.boxes_xyxy, landmarks, float(cells.scores[weights > 0].max()))
    middle, unseen = landmarks.mean(axis=0), seen.tilt * (1 / _TILT_SEEN - 1)
    return replace(seen, landmarks=(landmarks - middle) @ _rotation(unseen).T + middle)


def _best_of(faces: list[_Face]) -> list[_Face]:
    """Best first; of those that are one and the same the best."""
    rows = _rows(faces)
    return [faces[k] for k in _suppress(iou(rows.boxes_xyxy, rows.boxes_xyxy), rows.scores)]


def _rows(faces: list[_Face]) -> Detections:
    return Detections(
        np.array([f.box for f in faces], np.float32).reshape(-1, 4),
        np.array([f.landmarks for f in faces], np.float32).reshape(-1, 5, 2),
        np.array([f.score for f in faces], np.float32),
    )


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    """Clockwise in the picture's plane by an angle in radians, (2, 2)."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@cache
def _cells(height_px: int, width_px: int) -> tuple[FloatArray, FloatArray]:
    """Corners x y (n, 2) and strides (n, 1) in pixels of the cells, in the network's order."""
    corners, strides = [], []
    for stride in _STRIDES_PX:
        rows, columns = np.mgrid[0:height_px:stride, 0:width_px:stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union (n, m) of boxes a (n, 4) and b (m, 4)."""
    shared, areas_a, areas_b = _shared_areas(a, b)
    ratio: FloatArray = (shared / np.maximum(areas_a + areas_b - shared, 1e-9)).astype(np.float32)
    return ratio


def overlap_of_smaller(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over the smaller area (n, m): 1 where one box lies inside the other."""
    shared, areas_a, areas_b = _shared_areas(a, b)
    smaller = np.minimum(areas_a, areas_b)
    ratio: FloatArray = (shared / np.maximum(smaller, 1e-9)).astype(np.float32)
    return ratio


def _shared_areas(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shared areas (n, m) of boxes a (n, 4) and b (m, 4), and their own (n, 1) and (1, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    # A box turned inside out has no area.
    shared, areas_a, areas_b = (
        np.maximum(sides, 0).prod(axis=-1)
        for sides in (high - low, a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2])
    )
    return shared, areas_a[:, None], areas_b[None, :]


def _suppress(overlaps: FloatArray, scores: FloatArray) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression on overlaps (n, n) of each pair and scores (n,).

    Returns:
        Places that stay, best first: each overlaps no better kept one by more than `_NMS`.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best = order[0]
        kept.append(int(best))
        order = order[1:][overlaps[best, order[1:]] <= _NMS]
    return np.array(kept, np.intp)


def align_crop(rgb: ByteArray, landmarks_px: FloatArray, crop_px: int) -> ByteArray:
    """Cut a face out of a picture so that its landmarks fall where FER2013's do.

    rgb: uint8 (H, W, 3); landmarks_px: (5, 2) as in `Detections`.

    Returns:
        uint8 (crop_px, crop_px, 3): `CROP_MARGIN` times FER2013's framing; mid-grey beyond the
        picture's edge.

    Raises:
        ValueError: the landmarks are one point.
    """
    target = ((FACE_TEMPLATE - 0.5) / CROP_MARGIN + 0.5) * crop_px
    return cut_aligned(rgb, landmarks_px, target, crop_px)


def cut_aligned(
    rgb: ByteArray, landmarks_px: FloatArray, target_px: FloatArray, side_px: int
) -> ByteArray:
    """Cut a square out of a picture in which landmarks (5, 2) fall as near as can be to a target's.

    rgb: uint8 (H, W, 3); target_px: (5, 2) in the square.

    Returns:
        uint8 (side_px, side_px, 3), mid-grey beyond the picture's edge.

    Raises:
        ValueError: the landmarks are one point.
    """
    to_square = similarity_transform(landmarks_px, target_px)
    linear = np.linalg.inv(to_square[:, :2])
    return _cut_turned(rgb, linear, -linear @ to_square[:, 2], side_px)


def _cut_turned(rgb: ByteArray, linear: _Floats, corner: _Floats, side_px: int) -> ByteArray:
    """A square of a picture as uint8 (side_px, side_px, 3); mid-grey beyond the picture's edge.

    `linear` (2, 2) and `corner` (2,) take points of the square to those of the picture.
    """
    to_picture = np.concatenate([linear, corner[:, None]], axis=1)
    corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]])
    quad = corners @ to_picture[:, :2].T + to_picture[:, 2]
    height, width = rgb.shape[:2]
    left, top = (max(0, floor(v) - 2) for v in quad.min(axis=0))
    right = min(width, ceil(quad[:, 0].max()) + 2)
    bottom = min(height, ceil(quad[:, 1].max()) + 2)
    if right <= left or bottom <= top:
        return np.full((side_px, side_px, 3), _FILL, np.uint8)
    source = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    to_picture[:, 2] -= (left, top)
    # Bilinear sampling reads four pixels; a face much larger than the crop is averaged first.
    reduction = floor(np.hypot(to_picture[0, 0], to_picture[1, 0]))
    if reduction >= 2:
        source = source.reduce(reduction)
        to_picture /= reduction
    crop = source.transform(
        (side_px, side_px),
        Image.Transform.AFFINE,
        to_picture.ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=_FILL,
    )
    return np.asarray(crop)


def similarity_transform(source: FloatArray, target: FloatArray) -> npt.NDArray[np.float64]:
    """Rotation, uniform scale and shift that bring points (n, 2) closest to others (n, 2).

    Least squares without reflection, S. Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", IEEE TPAMI 13(4), 1991; in the plane it is one
    division of complex numbers.

    Returns:
        float64 (2, 3): target ≈ matrix[:, :2] @ point + matrix[:, 2].

    Raises:
        ValueError: all source points are one.
    """
    a = source[:, 0] + 1j * source[:, 1].astype(np.float64)
    b = target[:, 0] + 1j * target[:, 1].astype(np.float64)
    spread = float((np.abs(a - a.mean()) ** 2).sum())
    if spread <= 0:
        raise ValueError("align_crop: the landmarks coincide")
    turn = complex((np.conj(a - a.mean()) * (b - b.mean())).sum() / spread)
    shift = complex(b.mean() - turn * a.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
