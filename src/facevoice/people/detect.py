"""Arithmetic on boxes x0 y0 x1 y1 in pixels, half-open: a box of one pixel is (x, y, x+1, y+1)."""

from __future__ import annotations

from math import ceil, floor
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from facevoice.errors import ConfigError
from facevoice.records import ByteArray, Detections, FloatArray, ModelId
from facevoice.sessions import load_session

IndexArray = npt.NDArray[np.intp]


def box_areas(boxes: FloatArray) -> FloatArray:
    """Areas (n,) of boxes (n, 4); 0 for boxes turned inside out."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas: FloatArray = sides[:, 0] * sides[:, 1]
    return areas


def intersections(a: FloatArray, b: FloatArray) -> FloatArray:
    """Shared areas (n, m) of boxes a (n, 4) and b (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    shared: FloatArray = sides[..., 0] * sides[..., 1]
    return shared


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union (n, m) of boxes a (n, 4) and b (m, 4)."""
    shared = intersections(a, b)
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - shared
    ratio: FloatArray = (shared / np.maximum(union, 1e-9)).astype(np.float32)
    return ratio


def overlap_of_smaller(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over the smaller area (n, m): 1 where one box lies inside the other."""
    smaller = np.minimum(box_areas(a)[:, None], box_areas(b)[None, :])
    ratio: FloatArray = (intersections(a, b) / np.maximum(smaller, 1e-9)).astype(np.float32)
    return ratio


def suppress(overlaps: FloatArray, scores: FloatArray, limit: float) -> IndexArray:
    """Greedy non-maximum suppression.

    overlaps: (n, n) of each pair; scores: (n,).

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


def squared(boxes: FloatArray, enlarge: float = 1.0) -> FloatArray:
    """Squares (n, 4) around the same centres, as wide as the longer side times `enlarge`."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) * (enlarge / 2)
    result: FloatArray = np.concatenate([centres - halves, centres + halves], axis=1)
    return result


def shifted(boxes: FloatArray, offsets: FloatArray) -> FloatArray:
    """Boxes (n, 4) moved edge by edge by offsets (n, 4) in units of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    result: FloatArray = boxes + offsets * np.concatenate([sides, sides], axis=1)
    return result


# Upright square face crops of one framing, whatever the pose and size in the picture.

# Median places of eyes, nose tip and mouth corners in FER2013's training pictures, as fractions of
# the picture's side, made mirror-symmetric; measured by recipes/face_template.py.
FER_TEMPLATE: Final[FloatArray] = np.array(
    [[0.311, 0.3842], [0.689, 0.3842], [0.5, 0.6023], [0.3477, 0.7928], [0.6523, 0.7928]],
    np.float32,
)
# Crops show this much more than FER2013's framing, so that a network may choose its own cut.
CROP_MARGIN: Final[float] = 1.25
# Beyond the picture's edge: what networks take for "nothing" after normalisation. Replicated edge
# pixels would draw streaks across the face.
FILL: Final[tuple[int, int, int]] = (127, 127, 127)


def similarity_transform(source: FloatArray, target: FloatArray) -> FloatArray:
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
        raise ValueError("similarity_transform: the source points coincide")
    turn = complex((np.conj(a - a.mean()) * (b - b.mean())).sum() / spread)
    shift = complex(b.mean() - turn * a.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_crop(rgb: ByteArray, landmarks_px: FloatArray, crop_px: int) -> ByteArray:
    """Cut a face out of a picture so that its landmarks fall where FER2013's do.

    rgb: uint8 (H, W, 3); landmarks_px: (5, 2) as in `Detections`.

    Returns:
        uint8 (crop_px, crop_px, 3): `CROP_MARGIN` times FER2013's framing; mid-grey beyond the
        picture's edge.

    Raises:
        ValueError: the landmarks are one point.
    """
    template = ((FER_TEMPLATE - 0.5) / CROP_MARGIN + 0.5) * crop_px
    to_picture = _inverse(similarity_transform(landmarks_px, template))
    corners = np.array([[0, 0], [crop_px, 0], [0, crop_px], [crop_px, crop_px]])
    quad = corners @ to_picture[:, :2].T + to_picture[:, 2]
    height, width = rgb.shape[:2]
    left, top = (max(0, floor(v) - 2) for v in quad.min(axis=0))
    right = min(width, ceil(quad[:, 0].max()) + 2)
    bottom = min(height, ceil(quad[:, 1].max()) + 2)
    if right <= left or bottom <= top:
        return np.full((crop_px, crop_px, 3), FILL, np.uint8)
    source = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    to_picture[:, 2] -= (left, top)
    # Bilinear sampling reads four pixels; a face much larger than the crop is averaged first.
    reduction = floor(np.hypot(to_picture[0, 0], to_picture[1, 0]))
    if reduction >= 2:
        source = source.reduce(reduction)
        to_picture /= reduction
    crop = source.transform(
        (crop_px, crop_px),
        Image.Transform.AFFINE,
        to_picture.ravel().tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=FILL,
    )
    return np.asarray(crop)


def _inverse(matrix: FloatArray) -> FloatArray:
    linear = np.linalg.inv(matrix[:, :2])
    result: FloatArray = np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)
    return result


# What a face detector is, and the registry of those that can be asked for by name.


class FaceDetector(Protocol):
    """Finds faces in one picture, and follows known ones into the next."""

    @property
    def model(self) -> ModelId:
        """Name and SHA-256 of the weights."""
        ...

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        ...

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        """Look again near known boxes (n, 4).

        Returns:
            Exactly n rows in the same order; score 0 where no face is found near the box.
        """
        ...


class DetectorFactory(Protocol):
    """Builds a detector for faces of at least `min_face_px`, scored at least `min_score`."""

    def __call__(self, *, min_face_px: int, min_score: float) -> FaceDetector:
        """Build one."""
        ...


def _create_mtcnn(*, min_face_px: int, min_score: float) -> FaceDetector:

    return MtcnnDetector(min_face_px=min_face_px, min_score=min_score)


_FACTORIES: dict[str, DetectorFactory] = {"mtcnn": _create_mtcnn}


def register_detector(name: str, factory: DetectorFactory) -> None:
    """Make a detector known under a name, for `FacesConfig.detector`.

    Raises:
        ConfigError: the name is taken.
    """
    if name in _FACTORIES:
        raise ConfigError(f"a face detector named {name!r} is registered already")
    _FACTORIES[name] = factory


def create_detector(name: str, *, min_face_px: int, min_score: float) -> FaceDetector:
    """Build a registered detector.

    Raises:
        ConfigError: the name is unknown; the message lists the choices.
        WeightsError: its weights are missing or damaged.
    """
    if name not in _FACTORIES:
        choices = ", ".join(sorted(_FACTORIES))
        raise ConfigError(f"unknown face detector {name!r}; choose from: {choices}")
    return _FACTORIES[name](min_face_px=min_face_px, min_score=min_score)


def list_detectors() -> tuple[str, ...]:
    """The names that `create_detector` knows, sorted."""
    return tuple(sorted(_FACTORIES))


def no_detections() -> Detections:
    """An empty result."""
    return Detections(
        np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
    )


# MTCNN: three small networks in a cascade, each checking and sharpening what the last proposed.
#
# Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
# IEEE Signal Processing Letters 23(10), 2016, with the published weights.

# The paper's cascade: P-net sees 12-px cells every 2 px on a pyramid, R-net 24 px, O-net 48 px.
CELL_PX: Final[int] = 12
STRIDE_PX: Final[int] = 2
PYRAMID_FACTOR: Final[float] = 0.709
REFINE_PX: Final[int] = 24
OUTPUT_PX: Final[int] = 48

PROPOSAL_MIN_SCORE: Final[float] = 0.6
REFINED_MIN_SCORE: Final[float] = 0.7
PROPOSAL_NMS: Final[float] = 0.5
REFINED_NMS: Final[float] = 0.4
# Bounds the work on pictures full of face-like texture; real ones give a few dozen proposals.
MAX_PROPOSALS: Final[int] = 200

# A followed face was confirmed a moment ago, so it is held at a lower score than a new one needs.
FOLLOWED_MIN_SCORE: Final[float] = 0.5
# The output network lands on the same face again best from a square a little inside its own box.
# Each pass recovers a shift of about a third of the face's height; one is enough for a face that
# moved by less than a tenth.
FOLLOW_ENLARGE: Final[float] = 0.95
FOLLOW_STEADY: Final[float] = 0.1
FOLLOW_MAX_PASSES: Final[int] = 3


class MtcnnDetector:
    """Finds faces of at least `min_face_px` with five landmarks.

    min_score: what the last network must give a face, 0–1.

    Raises:
        WeightsError: the package's weights are missing or damaged.
    """

    def __init__(self, *, min_face_px: int, min_score: float, num_threads: int = 1) -> None:
        self._min_face_px = min_face_px
        self._min_score = min_score
        self._pnet, _ = load_session("mtcnn_pnet", num_threads=num_threads)
        self._rnet, _ = load_session("mtcnn_rnet", num_threads=num_threads)
        self._onet, self._model = load_session("mtcnn_onet", num_threads=num_threads)

    @property
    def model(self) -> ModelId:
        """The output network, which gives the boxes, landmarks and scores."""
        return self._model

    def detect(self, rgb: ByteArray) -> Detections:
        """All faces of a picture, uint8 (H, W, 3), best first."""
        picture = Image.fromarray(rgb)
        boxes = self._propose(picture)
        if not len(boxes):
            return no_detections()
        boxes = self._sift(picture, boxes)
        if not len(boxes):
            return no_detections()
        found = self._describe(picture, boxes)
        keep = np.flatnonzero(found.scores >= self._min_score)
        overlaps = overlap_of_smaller(found.boxes_xyxy[keep], found.boxes_xyxy[keep])
        return _pick(found, keep[suppress(overlaps, found.scores[keep], 0.7)])

    def refine(self, rgb: ByteArray, boxes_xyxy: FloatArray) -> Detections:
        """Look again near known boxes (n, 4): n rows, score 0 where the face is lost.

        Only the output network runs, about 1 ms a face that moves little; a face may move by
        about half its height between two pictures.
        """
        if not len(boxes_xyxy):
            return no_detections()
        picture = Image.fromarray(rgb)
        found = self._describe(picture, squared(boxes_xyxy, FOLLOW_ENLARGE))
        before = boxes_xyxy
        for _ in range(FOLLOW_MAX_PASSES - 1):
            moving = np.flatnonzero(_relative_shifts(before, found.boxes_xyxy) > FOLLOW_STEADY)
            if not len(moving):
                break
            again = self._describe(picture, squared(found.boxes_xyxy[moving], FOLLOW_ENLARGE))
            before = found.boxes_xyxy
            found = _replaced(found, moving, again)
        scores = np.where(found.scores >= FOLLOWED_MIN_SCORE, found.scores, np.float32(0))
        return Detections(found.boxes_xyxy, found.landmarks_px, scores)

    def _propose(self, picture: Image.Image) -> FloatArray:
        """First network: squares (n, 4) that may hold a face."""
        levels = halvings(picture)
        found_boxes, found_scores = [], []
        for scale in pyramid_scales(picture.size, self._min_face_px):
            boxes, scores = self._propose_at(levels, scale)
            found_boxes.append(boxes)
            found_scores.append(scores)
        if not found_boxes:
            return np.zeros((0, 4), np.float32)
        boxes, scores = np.concatenate(found_boxes), np.concatenate(found_scores)
        return squared(boxes[suppress(iou(boxes, boxes), scores, PROPOSAL_NMS)[:MAX_PROPOSALS]])

    def _propose_at(self, levels: list[Image.Image], scale: float) -> tuple[FloatArray, FloatArray]:
        width, height = levels[0].size
        size = (round(width * scale), round(height * scale))
        source = next(level for level in reversed(levels) if level.width >= size[0])
        picture = np.asarray(source.resize(size, Image.Resampling.BILINEAR))
        scores, offsets = self._pnet.run(["scores", "offsets"], {"pictures": picture[None]})
        rows, columns = np.nonzero(scores[0, 0] > PROPOSAL_MIN_SCORE)
        cell_scores: FloatArray = scores[0, 0, rows, columns]
        corners = np.stack([columns, rows], axis=1).astype(np.float32) * STRIDE_PX
        cells = np.concatenate([corners, corners + CELL_PX], axis=1)
        keep = suppress(iou(cells, cells), cell_scores, 0.5)
        boxes = shifted(cells, offsets[0, :, rows, columns])[keep]
        # Rounding to whole pixels makes the two scales differ a little.
        factors = np.array([width / size[0], height / size[1]] * 2, np.float32)
        return boxes * factors, cell_scores[keep]

    def _sift(self, picture: Image.Image, boxes: FloatArray) -> FloatArray:
        """Second network: the squares (n, 4) that hold up, sharpened."""
        patches = cut_patches(picture, boxes, REFINE_PX)
        scores, offsets = self._rnet.run(["scores", "offsets"], {"pictures": patches})
        passed = np.flatnonzero(scores[:, 0] > REFINED_MIN_SCORE)
        keep = passed[suppress(iou(boxes[passed], boxes[passed]), scores[passed, 0], REFINED_NMS)]
        return squared(shifted(boxes[keep], offsets[keep]))

    def _describe(self, picture: Image.Image, boxes: FloatArray) -> Detections:
        """Third network: box, landmarks and score of every square (n, 4)."""
        patches = cut_patches(picture, boxes, OUTPUT_PX)
        scores, offsets, points = self._onet.run(
            ["scores", "offsets", "landmarks"], {"pictures": patches}
        )
        corners, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # The network gives x of all five points, then y.
        landmarks = corners + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides
        return Detections(shifted(boxes, offsets), landmarks, scores[:, 0])


def pyramid_scales(size: tuple[int, int], min_face_px: int) -> list[float]:
    """Scales at which a face of 12 px in the scaled picture is one of `min_face_px` or more."""
    scales = []
    scale = CELL_PX / min_face_px
    while min(size) * scale >= CELL_PX:
        scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


def halvings(picture: Image.Image) -> list[Image.Image]:
    """The picture, and its averages over 2, 4, 8 … pixels: cheap sources for smaller scales."""
    levels = [picture]
    while min(levels[-1].size) >= 4 * CELL_PX:
        levels.append(levels[-1].reduce(2))
    return levels


def cut_patches(picture: Image.Image, boxes: FloatArray, side_px: int) -> ByteArray:
    """Squares (n, 4) as uint8 (n, side_px, side_px, 3); black beyond the picture's edge."""
    patches = np.empty((len(boxes), side_px, side_px, 3), np.uint8)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes.tolist(), strict=True):
        left, top, right, bottom = floor(x0), floor(y0), ceil(x1), ceil(y1)
        cut = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
        inside = (x0 - left, y0 - top, max(x1, x0 + 1) - left, max(y1, y0 + 1) - top)
        small = cut.resize((side_px, side_px), Image.Resampling.BILINEAR, inside, 1.0)
        patch[:] = np.asarray(small)
    return patches


def _pick(found: Detections, places: IndexArray) -> Detections:
    return Detections(found.boxes_xyxy[places], found.landmarks_px[places], found.scores[places])


def _replaced(found: Detections, places: IndexArray, by: Detections) -> Detections:
    boxes, landmarks = found.boxes_xyxy.copy(), found.landmarks_px.copy()
    scores = found.scores.copy()
    boxes[places], landmarks[places], scores[places] = by.boxes_xyxy, by.landmarks_px, by.scores
    return Detections(boxes, landmarks, scores)


def _relative_shifts(before: FloatArray, after: FloatArray) -> FloatArray:
    """How far centres (n,) moved, in heights of the box before."""
    way = (after[:, :2] + after[:, 2:] - before[:, :2] - before[:, 2:]) / 2
    shifts: FloatArray = np.hypot(way[:, 0], way[:, 1]) / np.maximum(before[:, 3] - before[:, 1], 1)
    return shifts
