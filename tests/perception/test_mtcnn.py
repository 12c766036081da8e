import numpy as np
import pytest
from PIL import Image

from facevoice.people.detect import MtcnnDetector, cut_patches, iou, pyramid_scales

# Where a person sees them in the portrait.
EYES_NOSE_MOUTH = np.array([[132, 101], [175, 103], [153, 129], [129, 139], [174, 141]])
MIRRORED = [1, 0, 2, 4, 3]


def test_the_portrait_has_one_face_where_people_see_it(detector, portrait):
    found = detector.detect(portrait)
    assert len(found) == 1
    assert found.scores[0] > 0.99
    x0, y0, x1, y1 = found.boxes_xyxy[0]
    assert 95 < x0 < 120
    assert 185 < x1 < 210
    assert 45 < y0 < 75
    assert 165 < y1 < 190
    np.testing.assert_allclose(found.landmarks_px[0], EYES_NOSE_MOUTH, atol=4)


def test_the_face_is_described_alike_wherever_it_is(detector, portrait):
    there = detector.detect(portrait)
    wide = np.zeros((360, 640, 3), np.uint8)
    wide[40:340, 301:601] = portrait
    moved = detector.detect(wide)
    np.testing.assert_allclose(moved.boxes_xyxy - [301, 40, 301, 40], there.boxes_xyxy, atol=5)
    np.testing.assert_allclose(moved.landmarks_px - [301, 40], there.landmarks_px, atol=3)


@pytest.mark.parametrize("scale", [0.6, 1.7, 3.0])
def test_the_face_is_described_alike_at_any_size(detector, portrait, scale):
    side = round(300 * scale)
    scaled = np.asarray(Image.fromarray(portrait).resize((side, side), Image.Resampling.BICUBIC))
    found = detector.detect(scaled)
    assert len(found) == 1
    np.testing.assert_allclose(found.landmarks_px[0] / scale, EYES_NOSE_MOUTH, atol=5)


def test_a_mirrored_face_has_mirrored_landmarks(detector, portrait):
    found = detector.detect(portrait[:, ::-1])
    expected = EYES_NOSE_MOUTH[MIRRORED] * [-1, 1] + [300, 0]
    np.testing.assert_allclose(found.landmarks_px[0], expected, atol=5)


@pytest.mark.parametrize("angle_deg", [-20, 20])
def test_a_tilted_face_is_found(detector, portrait, angle_deg):
    tilted = Image.fromarray(portrait).rotate(
        angle_deg, Image.Resampling.BICUBIC, center=(152, 120)
    )
    found = detector.detect(np.asarray(tilted))
    assert len(found) == 1
    eyes = found.landmarks_px[0, 1] - found.landmarks_px[0, 0]
    assert -np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(angle_deg, abs=8)


def test_two_faces_side_by_side_are_two(detector, portrait):
    found = detector.detect(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert len(found) == 2
    assert sorted(found.boxes_xyxy.mean(axis=0)[[0, 2]] // 300) == [0, 1]
    assert iou(found.boxes_xyxy[:1], found.boxes_xyxy[1:])[0, 0] == 0


def test_nobody_is_seen_where_nobody_is(detector, landscape):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for picture in (landscape, noise, np.zeros((360, 640, 3), np.uint8)):
        assert len(detector.detect(picture)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (11, 300), (300, 11), (39, 39)])
def test_pictures_smaller_than_any_face_hold_none(detector, shape):
    assert len(detector.detect(np.full((*shape, 3), 90, np.uint8))) == 0


def test_faces_below_the_smallest_size_are_left_out(portrait):
    choosy = MtcnnDetector(min_face_px=180, min_score=0.9)
    assert len(choosy.detect(portrait)) == 0


def test_a_face_cut_by_the_edge_is_still_found(detector, portrait):
    found = detector.detect(portrait[:, 115:])
    assert len(found) == 1


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (15, -5), (-30, 10), (25, 30)])
def test_refine_follows_a_face_that_moved(detector, portrait, dx, dy):
    before = detector.detect(portrait)
    moved = np.roll(portrait, (dy, dx), axis=(0, 1))
    after = detector.refine(moved, before.boxes_xyxy)
    assert len(after) == 1
    assert after.scores[0] > 0.9
    np.testing.assert_allclose(after.landmarks_px[0], EYES_NOSE_MOUTH + np.array([dx, dy]), atol=5)


def test_refine_gives_one_row_per_box_and_nought_for_lost_faces(detector, portrait):
    box = detector.detect(portrait).boxes_xyxy[0]
    elsewhere = np.array([200, 200, 290, 290], np.float32)
    found = detector.refine(portrait, np.stack([elsewhere, box, elsewhere]))
    assert found.scores[0] == found.scores[2] == 0
    assert found.scores[1] > 0.9


def test_refine_of_no_boxes(detector, portrait):
    assert len(detector.refine(portrait, np.zeros((0, 4), np.float32))) == 0


def test_refine_loses_the_face_when_the_picture_goes_black(detector, portrait):
    box = detector.detect(portrait).boxes_xyxy
    assert detector.refine(np.zeros_like(portrait), box).scores.tolist() == [0]


def test_the_pyramid_ends_where_the_picture_is_one_cell():
    scales = pyramid_scales((640, 360), 40)
    assert scales[0] == pytest.approx(0.3)
    assert scales[-1] * 360 >= 12 > scales[-1] * 360 * 0.709


def test_patches_beyond_the_edge_are_black_there():
    white = Image.fromarray(np.full((20, 20, 3), 255, np.uint8))
    patch = cut_patches(white, np.array([[10, 0, 30, 20]], np.float32), 24)[0]
    assert patch[:, :11].min() == 255
    assert patch[:, 13:].max() == 0


def test_a_patch_of_a_large_box_is_averaged():
    stripes = np.tile(np.array([0, 255], np.uint8), 120)[None, :, None].repeat(240, 0).repeat(3, 2)
    patch = cut_patches(Image.fromarray(stripes), np.array([[0, 0, 240, 240]], np.float32), 24)[0]
    np.testing.assert_allclose(patch, 127.5, atol=4)
