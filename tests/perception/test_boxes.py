import numpy as np
import pytest

from facevoice.people.detect import iou, overlap_of_smaller, shifted, squared, suppress


def boxes(*rows):
    return np.array(rows, np.float32)


def test_iou_of_known_overlaps():
    a = boxes([0, 0, 2, 2])
    b = boxes([0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 1, 1])
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 7, 0, 1 / 4]], rtol=1e-6)


def test_a_box_inside_another_overlaps_wholly():
    assert overlap_of_smaller(boxes([0, 0, 9, 9]), boxes([1, 1, 2, 2]))[0, 0] == pytest.approx(1)


def test_empty_boxes_overlap_nothing():
    assert iou(boxes([1, 1, 1, 1]), boxes([1, 1, 1, 1]))[0, 0] == 0


def test_suppression_keeps_the_best_of_each_cluster_best_first():
    found = boxes([0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60])
    scores = np.array([0.8, 0.9, 0.95], np.float32)
    assert suppress(iou(found, found), scores, 0.5).tolist() == [2, 1]


def test_suppression_of_nothing():
    none = np.zeros((0, 4), np.float32)
    assert suppress(iou(none, none), np.zeros(0, np.float32), 0.5).tolist() == []


def test_a_box_that_only_touches_a_suppressed_one_stays():
    chain = boxes([0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10])
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert suppress(iou(chain, chain), scores, 0.3).tolist() == [0, 2]


def test_squares_keep_the_centre_and_the_longer_side():
    np.testing.assert_allclose(squared(boxes([0, 0, 10, 20])), [[-5, 0, 15, 20]])
    np.testing.assert_allclose(squared(boxes([0, 0, 10, 20]), 0.5), [[0, 5, 10, 15]])


def test_offsets_count_in_sides():
    moved = shifted(boxes([10, 20, 20, 40]), boxes([0.1, 0.1, -0.1, 0.5]))
    np.testing.assert_allclose(moved, [[11, 22, 19, 50]])
