import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.transform import SimilarityTransform

from facevoice.people.detect import (
    CROP_MARGIN,
    FACE_TEMPLATE,
    FaceDetector,
    align_crop,
    iou,
    overlap_of_smaller,
)
from facevoice.records import Detections, Reason

# Where a person sees them in the portrait.
EYES_NOSE_MOUTH = np.array([[132, 101], [175, 103], [153, 129], [129, 139], [174, 141]])
MIRRORED = [1, 0, 2, 4, 3]
SIDE = 120
TARGET = ((FACE_TEMPLATE - 0.5) / CROP_MARGIN + 0.5) * SIDE


def test_the_portrait_has_one_face_where_people_see_it(detector, portrait):
    found = detector.detect(portrait)
    assert len(found) == 1
    assert 0.8 < found.scores[0] <= 1
    np.testing.assert_allclose(found.boxes_xyxy[0], [107, 60, 197, 177], atol=15)
    np.testing.assert_allclose(found.landmarks_px[0], EYES_NOSE_MOUTH, atol=6)


def test_the_face_is_described_alike_wherever_it_is(detector, portrait):
    there = detector.detect(portrait)
    wide = np.zeros((360, 640, 3), np.uint8)
    wide[40:340, 301:601] = portrait
    moved = detector.detect(wide)
    np.testing.assert_allclose(moved.boxes_xyxy - [301, 40, 301, 40], there.boxes_xyxy, atol=5)
    np.testing.assert_allclose(moved.landmarks_px - [301, 40], there.landmarks_px, atol=3)


@pytest.mark.parametrize("scale", [0.6, 3.0])
def test_the_face_is_described_alike_at_any_size(detector, portrait, scale):
    side = round(300 * scale)
    scaled = np.asarray(Image.fromarray(portrait).resize((side, side), Image.Resampling.BICUBIC))
    found = detector.detect(scaled)
    assert len(found) == 1
    np.testing.assert_allclose(found.landmarks_px[0] / scale, EYES_NOSE_MOUTH, atol=6)


def test_a_mirrored_face_has_mirrored_landmarks(detector, portrait):
    found = detector.detect(portrait[:, ::-1])
    expected = EYES_NOSE_MOUTH[MIRRORED] * [-1, 1] + [300, 0]
    np.testing.assert_allclose(found.landmarks_px[0], expected, atol=6)


@pytest.mark.parametrize("angle_deg", [-35, -20, 20, 35])
def test_a_tilted_face_is_found(detector, portrait, angle_deg):
    tilted = Image.fromarray(portrait).rotate(
        angle_deg, Image.Resampling.BICUBIC, center=(152, 120)
    )
    found = detector.detect(np.asarray(tilted))
    assert len(found) == 1
    eyes = found.landmarks_px[0, 1] - found.landmarks_px[0, 0]
    assert -np.degrees(np.arctan2(eyes[1], eyes[0])) == pytest.approx(angle_deg, abs=8)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_on_its_side_or_upside_down_is_cut_upright(detector, portrait, quarters):
    turned = np.ascontiguousarray(np.rot90(portrait, quarters))
    found = detector.detect(turned, thorough=True)
    assert len(found) == 1
    upright = align_crop(portrait, detector.detect(portrait).landmarks_px[0], SIDE)
    crop = align_crop(turned, found.landmarks_px[0], SIDE)
    assert np.corrcoef(upright.ravel(), crop.ravel())[0, 1] > 0.95
    again = detector.refine(turned, found)
    np.testing.assert_allclose(again.landmarks_px, found.landmarks_px, atol=2)
    np.testing.assert_allclose(again.boxes_xyxy, found.boxes_xyxy, atol=4)


def test_upright_faces_are_found_the_same_beside_one_upside_down(detector, portrait):
    upside_down = portrait[::-1, ::-1]
    found = detector.detect(np.concatenate([portrait, upside_down], axis=1))
    assert len(found) == 2
    eyes = found.landmarks_px[:, 1] - found.landmarks_px[:, 0]
    by_place = np.argsort(found.boxes_xyxy[:, 0])
    assert (np.sign(eyes[by_place, 0]) == [1, -1]).all()


@pytest.mark.parametrize("angle_deg", [-55, 55, 180])
def test_a_known_face_stays_as_it_was_turned(detector, portrait, angle_deg):
    tilted = Image.fromarray(portrait).rotate(
        angle_deg, Image.Resampling.BICUBIC, center=(152, 120)
    )
    picture = np.asarray(tilted)
    known = detector.detect(picture)
    found = detector.detect(picture, known=known)
    np.testing.assert_allclose(found.landmarks_px, known.landmarks_px, atol=4)


def test_a_face_that_looks_the_same_upside_down_is_left_out(detector, portrait):
    blurred = Image.fromarray(portrait).filter(ImageFilter.GaussianBlur(3))
    face = np.asarray(blurred).astype(int)[18:218, 52:252]
    both_ways = ((face + face[::-1, ::-1]) // 2).astype(np.uint8)
    found = detector.detect(both_ways, thorough=True)
    assert len(found) == 0
    assert set(found.missed) == {Reason.FACE_TILTED}


def webcam(portrait, face_px):
    """A screen of 640 × 360 with a small picture of a person in its corner."""
    screen = np.full((360, 640, 3), 235, np.uint8)
    screen[:20] = 120
    side = round(300 * face_px / 117)  # the portrait's face is 117 px long
    inset = Image.fromarray(portrait).resize((side, side), Image.Resampling.BOX)
    screen[350 - side : 350, 630 - side : 630] = np.asarray(inset)
    return screen


def test_a_small_face_is_found_by_a_thorough_search(detector, portrait):
    screen = webcam(portrait, 20)
    keen = FaceDetector(min_face_px=16, min_score=0.5)
    assert len(keen.detect(screen)) == 0
    found = keen.detect(screen, thorough=True)
    assert len(found) == 1
    assert not found.missed
    assert keen.refine(screen, found).scores[0] > 0.8


def test_a_face_too_small_to_be_read_is_named(detector, portrait):
    found = detector.detect(webcam(portrait, 20), thorough=True)
    assert len(found) == 0
    assert found.missed == (Reason.FACE_TOO_SMALL,)


def test_two_faces_side_by_side_are_two(detector, portrait):
    found = detector.detect(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert len(found) == 2
    assert sorted(found.boxes_xyxy.mean(axis=0)[[0, 2]] // 300) == [0, 1]
    assert iou(found.boxes_xyxy[:1], found.boxes_xyxy[1:])[0, 0] == 0


def test_nobody_is_seen_where_nobody_is(detector, landscape):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    for picture in (landscape, noise, np.zeros((360, 640, 3), np.uint8)):
        found = detector.detect(picture, thorough=True)
        assert (len(found), found.missed) == (0, ())


@pytest.mark.parametrize("shape", [(1, 1), (11, 300), (300, 11), (39, 39)])
def test_pictures_smaller_than_any_face_hold_none(detector, shape):
    empty = detector.detect(np.full((*shape, 3), 90, np.uint8))
    assert len(empty) == 0
    assert empty.boxes_xyxy.dtype == np.float32


@pytest.mark.parametrize(("min_face_px", "min_score"), [(180, 0.5), (24, 0.99)])
def test_small_faces_and_low_scores_are_left_out(detector, portrait, min_face_px, min_score):
    choosy = FaceDetector(min_face_px=min_face_px, min_score=min_score)
    assert len(choosy.detect(portrait)) == 0
    assert choosy.refine(portrait, detector.detect(portrait)).scores.tolist() == [0]


def test_a_face_cut_by_the_edge_is_still_found(detector, portrait):
    assert len(detector.detect(portrait[:, 115:])) == 1


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (15, -5), (-30, 10), (25, 30)])
def test_refine_follows_a_face_that_moved(detector, portrait, dx, dy):
    before = detector.detect(portrait)
    moved = np.roll(portrait, (dy, dx), axis=(0, 1))
    after = detector.refine(moved, before)
    assert len(after) == 1
    assert after.scores[0] > 0.8
    np.testing.assert_allclose(after.landmarks_px[0], EYES_NOSE_MOUTH + np.array([dx, dy]), atol=5)


def test_refine_finds_the_same_wherever_it_comes_from(detector, portrait):
    there = detector.detect(portrait)
    for way in ([20, 10], [-15, 20]):
        near = Detections(
            there.boxes_xyxy + np.tile(np.float32(way), 2),
            there.landmarks_px + np.float32(way),
            there.scores,
        )
        again = detector.refine(portrait, near)
        np.testing.assert_allclose(again.boxes_xyxy, there.boxes_xyxy, atol=3)
        np.testing.assert_allclose(again.landmarks_px, there.landmarks_px, atol=1)


def test_refine_gives_one_row_per_face_and_nought_for_lost_ones(detector, portrait):
    known = detector.detect(portrait)
    rows = [0, 0, 0]
    away = np.array([90, 0, 90], np.float32)
    three = Detections(
        known.boxes_xyxy[rows] + away[:, None],
        known.landmarks_px[rows] + away[:, None, None],
        known.scores[rows],
    )
    found = detector.refine(portrait, three)
    assert found.scores[0] == found.scores[2] == 0
    assert found.scores[1] > 0.8
    assert detector.refine(np.zeros_like(portrait), known).scores.tolist() == [0]
    assert len(detector.refine(portrait, detector.detect(np.zeros_like(portrait)))) == 0


def test_known_overlaps():
    a = np.array([[0, 0, 2, 2]], np.float32)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 1, 1], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 7, 0, 1 / 4, 0]], rtol=1e-6)
    np.testing.assert_allclose(overlap_of_smaller(a, b), [[1, 1 / 4, 0, 1, 0]], rtol=1e-6)


def dots(landmarks, side, radius):
    """A picture with a soft white dot on every landmark."""
    places = np.arange(side) + 0.5
    columns, rows = (np.exp(-(((places - at[:, None]) / radius) ** 2) / 2) for at in landmarks.T)
    bells = rows[:, :, None] * columns[:, None, :]
    return (255 * np.max(bells, axis=0)).astype(np.uint8)[..., None].repeat(3, 2)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("angle", [0.0, 0.6])
def test_landmarks_land_on_the_template(scale, angle):
    move = SimilarityTransform(scale=scale, rotation=angle, translation=(90 * scale, 20 * scale))
    landmarks = move(TARGET).astype(np.float32)
    crop = align_crop(dots(landmarks, round(260 * scale), 2.5 * scale), landmarks, SIDE)
    assert (crop.shape, crop.dtype) == ((SIDE, SIDE, 3), np.uint8)
    for x, y in TARGET:
        rows, columns = slice(round(y) - 8, round(y) + 8), slice(round(x) - 8, round(x) + 8)
        patch = crop[rows, columns, 0].astype(float)
        ys, xs = np.mgrid[rows, columns] + 0.5
        assert patch.max() > 150
        assert (patch * xs).sum() / patch.sum() == pytest.approx(x, abs=0.4)
        assert (patch * ys).sum() / patch.sum() == pytest.approx(y, abs=0.4)


def test_of_unlike_shapes_the_crop_is_the_least_squares_fit_of_scikit_image():
    landmarks = np.random.default_rng(3).uniform(60, 180, (5, 2)).astype(np.float32)
    fit = SimilarityTransform.from_estimate(landmarks, TARGET)
    corner = fit.inverse([[0.0, 0.0], [SIDE, SIDE]]).mean(axis=0)  # lands in the middle
    picture = dots(corner[None], 240, 4.0 / fit.scale)
    crop = align_crop(picture, landmarks, SIDE)[..., 0].astype(float)
    ys, xs = np.mgrid[:SIDE, :SIDE] + 0.5
    centre = [(crop * at).sum() / crop.sum() for at in (xs, ys)]
    assert centre == pytest.approx([SIDE / 2, SIDE / 2], abs=1.0)


def test_landmarks_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        align_crop(np.zeros((50, 50, 3), np.uint8), np.ones((5, 2), np.float32), SIDE)


def test_beyond_the_picture_is_grey():
    crop = align_crop(np.full((60, 120, 3), 255, np.uint8), TARGET.astype(np.float32), SIDE)
    assert crop[:59].min() == 255
    assert (crop[61:] == 127).all()
    outside = TARGET.astype(np.float32) + 1000
    assert (align_crop(np.zeros((50, 50, 3), np.uint8), outside, SIDE) == 127).all()


def test_large_faces_are_averaged_not_picked_at():
    noise = np.random.default_rng(0).integers(0, 2, (1200, 1200, 1), np.uint8) * 255
    crop = align_crop(noise.repeat(3, 2), (TARGET * 10).astype(np.float32), SIDE)
    assert crop.astype(float).std() < 20


def test_crops_of_one_face_tilted_and_scaled_look_alike(detector, portrait):
    def crop_of(picture):
        return align_crop(picture, detector.detect(picture).landmarks_px[0], SIDE)

    tilted = Image.fromarray(portrait).rotate(15, Image.Resampling.BICUBIC, center=(152, 120))
    large = Image.fromarray(portrait).resize((750, 750), Image.Resampling.BICUBIC)
    plain = crop_of(portrait)[20:100, 20:100].astype(float)
    for other in (tilted, large):
        same = crop_of(np.asarray(other))[20:100, 20:100].astype(float)
        assert np.corrcoef(plain.ravel(), same.ravel())[0, 1] > 0.9
