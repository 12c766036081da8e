"""Faces in one picture: found, by MTCNN also looked for again near known places, cut out upright.

Boxes are x0 y0 x1 y1 in pixels, half-open: a box of one pixel is (x, y, x + 1, y + 1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import ceil, floor
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.errors import ConfigError
from facevoice.records import (
    BoolArray,
    ByteArray,
    Detections,
    FloatArray,
    ModelId,
)
from facevoice.sessions import load_session

_Floats: TypeAlias = npt.NDArray[np.floating[Any]]

# The paper's cascade: P-net sees 12-px cells every 2 px on a pyramid, R-net 24 px, O-net 48 px.
_CELL_PX: Final[int] = 12
_STRIDE_PX: Final[int] = 2
_PYRAMID_FACTOR: Final[float] = 0.709
_REFINE_PX: Final[int] = 24
_OUTPUT_PX: Final[int] = 48

_PROPOSAL_MIN_SCORE: Final[float] = 0.6
_REFINED_MIN_SCORE: Final[float] = 0.7
_CELL_NMS: Final[float] = 0.5
_PROPOSAL_NMS: Final[float] = 0.5
_REFINED_NMS: Final[float] = 0.4
_FACE_NMS: Final[float] = 0.7
# Bounds the work on pictures full of face-like texture; real ones give a few dozen proposals.
_MAX_PROPOSALS: Final[int] = 200

# A followed face was confirmed a moment ago, so it is held at a lower score than a new one needs.
_FOLLOWED_MIN_SCORE: Final[float] = 0.5
# The output network lands on the same face again best from a square a little inside its own box.
# Each pass recovers a shift of about a third of the face's height; one is enough for a face that
# moved by less than a tenth.
_FOLLOW_ENLARGE: Final[float] = 0.95
_FOLLOW_STEADY: Final[float] = 0.1
_FOLLOW_MAX_PASSES: Final[int] = 3

# YuNet: scaled down to this longer side a picture takes 3 ms on one core, and a face of a sixteenth
# of it is still found; the network halves five times.
_YUNET_SIDE_PX: Final[int] = 320
_YUNET_MULTIPLE_PX: Final[int] = 32
_YUNET_STRIDES_PX: Final[tuple[int, ...]] = (8, 16, 32)
# Each face is seen by dozens of cells, and their mean trembles half as much as the best of them:
# those count that score this much and overlap the best one by so much.
_CELL_MIN_SCORE: Final[float] = 0.3
_CELL_SAME_FACE: Final[float] = 0.5
_YUNET_NMS: Final[float] = 0.3
# The closer look: side of the cut, the share of it that the face's box takes, how far from its
# middle a cell's box may be, how level the face must be to look no further, and which share of a
# face's tilt the landmarks show, as the network leans towards upright ones.
_LOOK_PX: Final[int] = 128
_LOOK_SHARE: Final[float] = 0.6
_LOOK_NEAR: Final[float] = 0.15
_LEVEL_RAD: Final[float] = 0.05
_TILT_SEEN: Final[float] = 0.5
_MIRRORED: Final[list[int]] = [1, 0, 2, 4, 3]  # landmarks by those of the mirrored face
_MAX_LOOKS: Final[int] = 3  # of a tilted face

# Median places of eyes, nose tip and mouth corners in FER2013's training pictures, as fractions of
# the picture's side, made mirror-symmetric; measured by recipes/face_template.py.
FER_TEMPLATE: Final[FloatArray] = np.array(
    [[0.311, 0.3842], [0.689, 0.3842], [0.5, 0.6023], [0.3477, 0.7928], [0.6523, 0.7928]],
    np.float32,
)
# The same by YuNet.
YUNET_TEMPLATE: Final[FloatArray] = np.array(
    [[0.3263, 0.3896], [0.6737, 0.3896], [0.5, 0.6049], [0.3599, 0.7609], [0.6401, 0.7609]],
    np.float32,
)
# Crops show this much more than FER2013's framing, so that a network may choose its own cut.
CROP_MARGIN: Final[float] = 1.25
# Beyond the picture's edge: what networks take for "nothing" after normalisation. Replicated edge
# pixels would draw streaks across the face.
_FILL: Final[tuple[int, int, int]] = (127, 127, 127)


class FaceDetector(Protocol):
    """Finds faces in one picture."""

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        ...

    @property
    def template(self) -> FloatArray:
        """Where it sees the landmarks in FER2013's pictures: (5, 2) fractions of their side."""
        ...

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        ...


@runtime_checkable
class FollowingDetector(FaceDetector, Protocol):
    """Also follows known faces into the next picture, for less than a full search costs."""

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        """Look again near known boxes (n, 4).

        Returns:
            Exactly n rows in the same order; score 0 where no face is found near the box.
        """
        ...


def create_detector(name: str, *, min_face_px: int, min_score: float) -> FaceDetector:
    """Build a detector of faces of at least `min_face_px`, scored at least `min_score`.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        WeightsError: its weights are missing or damaged.
    """
    if name not in _DETECTORS:
        choices = ", ".join(sorted(_DETECTORS))
        raise ConfigError(f"unknown face detector {name!r}; choose from: {choices}")
    return _DETECTORS[name](min_face_px=min_face_px, min_score=min_score)


def no_detections() -> Detections:
    """An empty result."""
    return Detections(
        np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
    )


class YunetDetector:
    """YuNet: one small network that sees the whole picture at once, and then each face closely.

    Where a face lies on the network's grid, its size and its tilt sway the landmarks. The closer
    look shows all faces alike, upright in the middle, and mirrored too, so that the landmarks stay
    where they belong.

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
        """The network."""
        return self._model

    @property
    def template(self) -> FloatArray:
        """Where it sees the landmarks in FER2013's pictures."""
        return YUNET_TEMPLATE

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        found = self._search(Image.fromarray(rgb))
        landmarks = [
            self._look(rgb, box, rough)
            for box, rough in zip(found.boxes_xyxy, found.landmarks_px, strict=True)
        ]
        exact = np.array(landmarks, np.float32).reshape(-1, 5, 2)
        return Detections(found.boxes_xyxy, exact, found.scores)

    def _search(self, picture: Image.Image) -> Detections:
        """Faces of the whole picture, best first; their landmarks are rough."""
        width, height = picture.size
        scale = min(1.0, _YUNET_SIDE_PX / max(picture.size))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        columns, rows = (ceil(side / _YUNET_MULTIPLE_PX) * _YUNET_MULTIPLE_PX for side in size)
        padded = np.zeros((rows, columns, 3), np.uint8)
        padded[: size[1], : size[0]] = np.asarray(
            picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)
        )
        cells = self._describe(padded)
        overlaps = iou(cells.boxes_xyxy, cells.boxes_xyxy)
        best = _suppress(overlaps, cells.scores, _YUNET_NMS)
        best = best[cells.scores[best] >= self._min_score]
        found = _means(cells, overlaps[best] > _CELL_SAME_FACE)
        # Rounding to whole pixels makes the two scales differ a little.
        factors = np.array([width / size[0], height / size[1]], np.float32)
        boxes = found.boxes_xyxy * np.tile(factors, 2)
        large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) >= self._min_face_px
        return Detections(
            boxes[large], found.landmarks_px[large] * factors, cells.scores[best][large]
        )

    def _look(self, rgb: ByteArray, box: FloatArray, landmarks: FloatArray) -> FloatArray:
        """Landmarks (5, 2) of a face as it is cut out upright and at one size, from rough ones."""
        middle = np.full(2, _LOOK_PX / 2)
        scale = float((box[2:] - box[:2]).max()) / (_LOOK_SHARE * _LOOK_PX)
        tilt = _tilt(landmarks) / _TILT_SEEN
        for _ in range(_MAX_LOOKS):
            turn = scale * _rotation(tilt)
            corner = (box[:2] + box[2:]) / 2 - turn @ middle
            cut = _cut_turned(rgb, turn, corner, _LOOK_PX)
            plain, mirrored = self._middle_face(cut), self._middle_face(cut[:, ::-1])
            if plain is None or mirrored is None:
                break
            seen = (plain + mirrored[_MIRRORED] * (-1, 1) + (_LOOK_PX, 0)) / 2
            off = _tilt(seen)
            centre = seen.mean(axis=0)
            unseen = _rotation(off / _TILT_SEEN - off)
            landmarks = ((seen - centre) @ unseen.T + centre) @ turn.T + corner
            if abs(off) < _LEVEL_RAD:
                break
            tilt += off / _TILT_SEEN
        return landmarks

    def _middle_face(self, cut: ByteArray) -> FloatArray | None:
        """Landmarks (5, 2) of the face in the middle of a cut, None if there is none."""
        cells = self._describe(cut)
        centres = (cells.boxes_xyxy[:, :2] + cells.boxes_xyxy[:, 2:]) / 2
        near = np.hypot(*(centres - _LOOK_PX / 2).T) < _LOOK_NEAR * _LOOK_PX
        return _means(cells, near[None]).landmarks_px[0] if near.any() else None

    def _describe(self, picture: ByteArray) -> Detections:
        """What each cell that sees a face says of it; the picture's sides are multiples of 32."""
        (scores,), (boxes,), (landmarks,) = self._session.run(
            ["scores", "boxes", "landmarks"], {"pictures": picture[None]}
        )
        places = np.flatnonzero(scores >= min(_CELL_MIN_SCORE, self._min_score))
        corners, strides = (cells[places] for cells in _cells(*picture.shape[:2]))
        # In units of the stride: the box's centre from the cell's corner, the logarithm of its
        # sides, and the landmarks from the corner.
        centres = corners + boxes[places, :2] * strides
        halves = np.exp(boxes[places, 2:]) * strides / 2
        points = corners[:, None] + landmarks[places].reshape(-1, 5, 2) * strides[:, None]
        edges = np.concatenate([centres - halves, centres + halves], axis=1)
        return Detections(edges, points, scores[places])


def _means(cells: Detections, together: BoolArray) -> Detections:
    """Mean faces of groups of cells, `together` (groups, cells), weighted by the score's square."""
    weights = together * cells.scores**2
    weights /= weights.sum(axis=1, keepdims=True)
    return Detections(
        weights @ cells.boxes_xyxy,
        np.tensordot(weights, cells.landmarks_px, 1),
        weights @ cells.scores,
    )


def _tilt(landmarks: _Floats) -> float:
    """How far a face (5, 2) is turned clockwise in the picture's plane, radians.

    The line of the eyes and the one from the eyes down to the mouth weigh as much as they are long.
    """
    eyes = landmarks[1] - landmarks[0]
    down = (landmarks[3] + landmarks[4] - landmarks[0] - landmarks[1]) / 2
    return float(np.arctan2(eyes[1] - down[0], eyes[0] + down[1]))


def _rotation(angle: float) -> npt.NDArray[np.float64]:
    """Clockwise in the picture's plane by an angle in radians, (2, 2)."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@cache
def _cells(height_px: int, width_px: int) -> tuple[FloatArray, FloatArray]:
    """Corners x y (n, 2) and strides (n, 1) in pixels of YuNet's cells, in the network's order."""
    corners, strides = [], []
    for stride in _YUNET_STRIDES_PX:
        rows, columns = np.mgrid[0:height_px:stride, 0:width_px:stride]
        corners.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full((rows.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


class MtcnnDetector:
    """MTCNN: three small networks in a cascade, each checking and sharpening the last one's boxes.

    Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
    Networks", IEEE Signal Processing Letters 23(10), 2016, with the published weights.

    min_face_px: of the smallest face found; min_score: what the last network must give it, 0–1.

    Raises:
        WeightsError: the package's weights are missing or damaged.
    """

    def __init__(self, *, min_face_px: int, min_score: float) -> None:
        self._min_face_px = min_face_px
        self._min_score = min_score
        self._pnet, _ = load_session("mtcnn_pnet", num_threads=1)
        self._rnet, _ = load_session("mtcnn_rnet", num_threads=1)
        self._onet, self._model = load_session("mtcnn_onet", num_threads=1)

    @property
    def model(self) -> ModelId:
        """The output network, which gives the boxes, landmarks and scores."""
        return self._model

    @property
    def template(self) -> FloatArray:
        """Where it sees the landmarks in FER2013's pictures."""
        return FER_TEMPLATE

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        picture = Image.fromarray(rgb)
        boxes = self._propose(picture)
        boxes = self._sift(picture, boxes) if len(boxes) else boxes
        if not len(boxes):
            return no_detections()
        found = self._describe(picture, boxes)
        sure = np.flatnonzero(found.scores >= self._min_score)
        overlaps = overlap_of_smaller(found.boxes_xyxy[sure], found.boxes_xyxy[sure])
        best = sure[_suppress(overlaps, found.scores[sure], _FACE_NMS)]
        return Detections(found.boxes_xyxy[best], found.landmarks_px[best], found.scores[best])

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        """Look again near known boxes (n, 4): n rows, score 0 where the face is lost.

        Only the output network runs, about 1 ms a face that moves little; a face may move by
        about half its height between two pictures.
        """
        if not len(boxes_xyxy):
            return no_detections()
        picture = Image.fromarray(rgb)
        found = self._describe(picture, _squared(boxes_xyxy, _FOLLOW_ENLARGE))
        before = boxes_xyxy
        for _ in range(_FOLLOW_MAX_PASSES - 1):
            moving = np.flatnonzero(_relative_shifts(before, found.boxes_xyxy) > _FOLLOW_STEADY)
            if not len(moving):
                break
            again = self._describe(picture, _squared(found.boxes_xyxy[moving], _FOLLOW_ENLARGE))
            before = found.boxes_xyxy
            boxes, landmarks = before.copy(), found.landmarks_px.copy()
            scores = found.scores.copy()
            boxes[moving], landmarks[moving] = again.boxes_xyxy, again.landmarks_px
            scores[moving] = again.scores
            found = Detections(boxes, landmarks, scores)
        scores = np.where(found.scores >= _FOLLOWED_MIN_SCORE, found.scores, np.float32(0))
        return Detections(found.boxes_xyxy, found.landmarks_px, scores)

    def _propose(self, picture: Image.Image) -> FloatArray:
        """First network: squares (n, 4) that may hold a face."""
        # Averages over 2, 4, 8 … pixels are cheap sources for smaller scales.
        levels = [picture]
        while min(levels[-1].size) >= 4 * _CELL_PX:
            levels.append(levels[-1].reduce(2))
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        # At each scale, a face of 12 px in the scaled picture is one of `min_face_px` or more.
        scale = _CELL_PX / self._min_face_px
        while min(picture.size) * scale >= _CELL_PX:
            found = self._propose_at(levels, scale)
            boxes.append(found[0])
            scores.append(found[1])
            scale *= _PYRAMID_FACTOR
        all_boxes = np.concatenate(boxes)
        best = _suppress(iou(all_boxes, all_boxes), np.concatenate(scores), _PROPOSAL_NMS)
        return _squared(all_boxes[best[:_MAX_PROPOSALS]])

    def _propose_at(self, levels: list[Image.Image], scale: float) -> tuple[FloatArray, FloatArray]:
        width, height = levels[0].size
        size = (round(width * scale), round(height * scale))
        source = next(level for level in reversed(levels) if level.width >= size[0])
        picture = np.asarray(source.resize(size, Image.Resampling.BILINEAR))
        scores, offsets = self._pnet.run(["scores", "offsets"], {"pictures": picture[None]})
        rows, columns = np.nonzero(scores[0, 0] > _PROPOSAL_MIN_SCORE)
        cell_scores: FloatArray = scores[0, 0, rows, columns]
        corners = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE_PX
        cells = np.concatenate([corners, corners + _CELL_PX], axis=1)
        keep = _suppress(iou(cells, cells), cell_scores, _CELL_NMS)
        boxes = _shifted(cells, offsets[0, :, rows, columns])[keep]
        # Rounding to whole pixels makes the two scales differ a little.
        factors = np.array([width / size[0], height / size[1]] * 2, np.float32)
        return boxes * factors, cell_scores[keep]

    def _sift(self, picture: Image.Image, boxes: FloatArray) -> FloatArray:
        """Second network: the squares (n, 4) that hold up, sharpened."""
        patches = _cut_patches(picture, boxes, _REFINE_PX)
        scores, offsets = self._rnet.run(["scores", "offsets"], {"pictures": patches})
        passed = np.flatnonzero(scores[:, 0] > _REFINED_MIN_SCORE)
        overlaps = iou(boxes[passed], boxes[passed])
        keep = passed[_suppress(overlaps, scores[passed, 0], _REFINED_NMS)]
        return _squared(_shifted(boxes[keep], offsets[keep]))

    def _describe(self, picture: Image.Image, boxes: FloatArray) -> Detections:
        """Third network: box, landmarks and score of every square (n, 4)."""
        patches = _cut_patches(picture, boxes, _OUTPUT_PX)
        scores, offsets, points = self._onet.run(
            ["scores", "offsets", "landmarks"], {"pictures": patches}
        )
        corners, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # The network gives x of all five points, then y.
        landmarks = corners + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        return Detections(_shifted(boxes, offsets), landmarks, scores[:, 0])


_DETECTORS: Final[dict[str, Callable[..., FaceDetector]]] = {
    "mtcnn": MtcnnDetector,
    "yunet": YunetDetector,
}


def _cut_patches(picture: Image.Image, boxes: FloatArray, side_px: int) -> ByteArray:
    """Squares (n, 4) as uint8 (n, side_px, side_px, 3); black beyond the picture's edge."""
    patches = np.empty((len(boxes), side_px, side_px, 3), np.uint8)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes.tolist(), strict=True):
        left, top, right, bottom = floor(x0), floor(y0), ceil(x1), ceil(y1)
        cut = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        inside = (x0 - left, y0 - top, max(x1, x0 + 1) - left, max(y1, y0 + 1) - top)
        small = cut.resize((side_px, side_px), Image.Resampling.BILINEAR, inside, 1.0)
        patch[:] = np.asarray(small)
    return patches


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


def _suppress(overlaps: FloatArray, scores: FloatArray, limit: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression on overlaps (n, n) of each pair and scores (n,).

    Returns:
        Places that stay, best first: each overlaps no better kept one by more than `limit`.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best = order[0]
        kept.append(int(best))
        order = order[1:][overlaps[best, order[1:]] <= limit]
    return np.array(kept, np.intp)


def _squared(boxes: FloatArray, enlarge: float = 1.0) -> FloatArray:
    """Squares (n, 4) around the same centres, as wide as the longer side times `enlarge`."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (enlarge / 2)
    result: FloatArray = np.concatenate([centres - halves, centres + halves], axis=1)
    return result


def _shifted(boxes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Boxes (n, 4) moved edge by edge by offsets (n, 4) in units of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    result: FloatArray = boxes + offsets * np.concatenate([sides, sides], axis=1)
    return result


def _relative_shifts(before: FloatArray, after: FloatArray) -> FloatArray:
    """How far centres (n,) moved, in heights of the box before."""
    way = (after[:, :2] + after[:, 2:] - before[:, :2] - before[:, 2:]) / 2
    shifts: FloatArray = np.hypot(way[:, 0], way[:, 1]) / np.maximum(before[:, 3] - before[:, 1], 1)
    return shifts


def align_crop(
    rgb: ByteArray, landmarks_px: FloatArray, crop_px: int, template: FloatArray = FER_TEMPLATE
) -> ByteArray:
    """Cut a face out of a picture so that its landmarks fall where FER2013's do.

    rgb: uint8 (H, W, 3); landmarks_px: (5, 2) as in `Detections`; template: the `template` of the
    detector that found them.

    Returns:
        uint8 (crop_px, crop_px, 3): `CROP_MARGIN` times FER2013's framing; mid-grey beyond the
        picture's edge.

    Raises:
        ValueError: the landmarks are one point.
    """
    target = ((template - 0.5) / CROP_MARGIN + 0.5) * crop_px
    to_crop = _similarity_transform(landmarks_px, target)
    linear = np.linalg.inv(to_crop[:, :2])
    return _cut_turned(rgb, linear, -linear @ to_crop[:, 2], crop_px)


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


def _similarity_transform(source: FloatArray, target: FloatArray) -> npt.NDArray[np.float64]:
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
