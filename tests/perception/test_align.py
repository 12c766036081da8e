import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.transform import SimilarityTransform

from facevoice.people.detect import (
    CROP_MARGIN,
    FER_TEMPLATE,
    align_crop,
    similarity_transform,
)

SIDE = 120
TARGET = ((FER_TEMPLATE - 0.5) / CROP_MARGIN + 0.5) * SIDE


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 10), st.floats(-3.1, 3.1), st.floats(-500, 500), st.floats(-500, 500))
def test_a_known_similarity_is_recovered(scale, angle, dx, dy):
    known = SimilarityTransform(scale=scale, rotation=angle, translation=(dx, dy))
    found = similarity_transform(FER_TEMPLATE * 100, known(FER_TEMPLATE * 100))
    np.testing.assert_allclose(found, known.params[:2], atol=1e-2)


def test_of_unlike_shapes_it_is_the_least_squares_fit_of_scikit_image():
    rng = np.random.default_rng(3)
    source = rng.uniform(0, 100, (5, 2)).astype(np.float32)
    target = rng.uniform(0, 100, (5, 2)).astype(np.float32)
    oracle = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(similarity_transform(source, target), oracle.params[:2], atol=1e-4)


def test_points_that_coincide_are_refused():
    with pytest.raises(ValueError, match="coincide"):
        similarity_transform(np.ones((5, 2), np.float32), FER_TEMPLATE)


def test_the_template_is_symmetric_and_upright():
    np.testing.assert_allclose(FER_TEMPLATE[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0], FER_TEMPLATE)
    assert FER_TEMPLATE[0, 1] < FER_TEMPLATE[2, 1] < FER_TEMPLATE[3, 1]


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
    assert crop.shape == (SIDE, SIDE, 3)
    assert crop.dtype == np.uint8
    for x, y in TARGET:
        rows, columns = slice(round(y) - 8, round(y) + 8), slice(round(x) - 8, round(x) + 8)
        patch = crop[rows, columns, 0].astype(float)
        ys, xs = np.mgrid[rows, columns] + 0.5
        assert patch.max() > 150
        assert (patch * xs).sum() / patch.sum() == pytest.approx(x, abs=0.4)
        assert (patch * ys).sum() / patch.sum() == pytest.approx(y, abs=0.4)


def test_beyond_the_picture_is_grey():
    crop = align_crop(np.full((60, 120, 3), 255, np.uint8), TARGET.astype(np.float32), SIDE)
    assert crop[:59].min() == 255
    assert (crop[61:] == 127).all()


def test_a_face_wholly_outside_gives_a_grey_crop():
    crop = align_crop(np.zeros((50, 50, 3), np.uint8), TARGET.astype(np.float32) + 1000, SIDE)
    assert crop.shape == (SIDE, SIDE, 3)
    assert (crop == 127).all()


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
        assert np.corrcoef(plain.ravel(), same.ravel())[0, 1] > 0.95
