"""Arithmetic on boxes x0 y0 x1 y1 in pixels, half-open: a box of one pixel is (x, y, x+1, y+1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facevoice.types import FloatArray

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
