"""Drawn mouths that open and close, and noise that is loud while a mouth is open."""

import numpy as np
import pytest
from skimage.transform import resize

from facevoice.errors import WeightsError
from facevoice.people.detect import FaceDetector
from facevoice.people.speaker import (
    MOUTH_SIZE_PX,
    FacePath,
    MouthTrack,
    SpeakerModel,
    is_still,
    load_speaker,
    mouth_moves,
    read_mouths,
)
from facevoice.records import SAMPLE_RATE_HZ, Frame
from portraits import make_portrait

LENGTH_S = 4.0
EVERYWHERE = np.array([[0.0, 100.0]])


def make_opening(seed: int, rate_hz: float = 30.0) -> np.ndarray:
    """How far a mouth is open, in [0, 1]: some four syllables a second, with a pause."""
    rng = np.random.default_rng(seed)
    fine = np.arange(0, LENGTH_S, 1 / 480)
    curve = np.zeros(len(fine))
    time_s = rng.uniform(0.1, 0.5)
    while time_s < LENGTH_S - 0.2:
        curve += rng.uniform(0.5, 1) * np.exp(-(((fine - time_s) / 0.06) ** 2))
        time_s += rng.uniform(0.17, 0.34) + (0.5 if rng.random() < 0.15 else 0)
    return np.interp(np.arange(0, LENGTH_S, 1 / rate_hz), fine, np.minimum(curve, 1))


def make_mouth(opening: np.ndarray, rate_hz: float = 30.0, start_s: float = 0.0) -> MouthTrack:
    """Lips around a dark ellipse that is as tall as they are open, a chin that falls with it."""
    width, height = MOUTH_SIZE_PX
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    rng = np.random.default_rng(0)
    pictures = []
    for share in opening:
        lips = np.hypot((x - 24) / 15, (y - 18 - 3 * share) / (4 + 6 * share))
        inside = np.hypot((x - 24) / 12, (y - 18 - 3 * share) / (0.6 + 6 * share))
        chin = np.hypot((x - 24) / 20, (y - 24 - 5 * share) / 12)
        picture = 150 - 30 / (1 + np.exp(12 * (chin - 1)))
        picture -= 45 / (1 + np.exp(12 * (lips - 1)))
        picture -= 55 / (1 + np.exp(12 * (inside - 1)))
        pictures.append(picture + rng.normal(size=picture.shape))
    pixels = np.clip(np.round(pictures), 0, 255).astype(np.uint8)
    return MouthTrack(start_s + np.arange(len(pixels)) / rate_hz, pixels)


def make_sound(opening: np.ndarray, seed: int = 0) -> np.ndarray:
    """A buzz with some breath, as loud as the mouth is open."""
    times_s = np.arange(round(LENGTH_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    loudness = np.interp(times_s, np.arange(len(opening)) / 30, opening) ** 2
    buzz = sum(np.sin(2 * np.pi * 130 * k * times_s) / k for k in range(1, 25))
    breath = np.random.default_rng(seed).normal(size=len(times_s))
    return (0.05 * loudness * (buzz + 0.3 * breath) + 1e-4 * breath).astype(np.float32)


def logit_of(mouth: MouthTrack, samples: np.ndarray, start_s: float = 0.0) -> float:
    return load_speaker().logit(mouth, samples, start_s, EVERYWHERE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mouth_in_step_with_the_sound_makes_it_and_others_do_not(seed: int) -> None:
    opening = make_opening(seed)
    sound = make_sound(opening)
    own = logit_of(make_mouth(opening), sound)
    others = [
        make_mouth(make_opening(seed + 10)),  # says something else
        make_mouth(np.roll(opening, 25)),  # is late
        make_mouth(np.zeros(len(opening))),  # is shut
    ]
    assert own > 1
    assert all(logit_of(mouth, sound) < own - 1 for mouth in others)


def test_neither_level_nor_light_nor_start_matter() -> None:
    opening = make_opening(4)
    mouth, sound = make_mouth(opening), make_sound(opening)
    plain = logit_of(mouth, sound)
    assert logit_of(mouth, sound * 0.02) == pytest.approx(plain, abs=0.01)
    dim = MouthTrack(mouth.times_s, (mouth.pixels * 0.5 + 60).astype(np.uint8))
    assert logit_of(dim, sound) == pytest.approx(plain, abs=0.5)
    late = MouthTrack(mouth.times_s + 62.5, mouth.pixels)
    assert logit_of(late, sound, 62.5) == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("rate_hz", [15.0, 24.0, 25.0, 29.97])
def test_any_frame_rate_will_do(rate_hz: float) -> None:
    sound = make_sound(make_opening(5))
    own = logit_of(make_mouth(make_opening(5, rate_hz), rate_hz), sound)
    other = logit_of(make_mouth(make_opening(6, rate_hz), rate_hz), sound)
    assert own > 1 > other


def test_nothing_is_told_of_a_glimpse_or_without_speech() -> None:
    opening = make_opening(7)
    mouth, sound = make_mouth(opening), make_sound(opening)
    glimpse = MouthTrack(mouth.times_s[:30], mouth.pixels[:30])
    assert logit_of(glimpse, sound) == 0
    assert load_speaker().logit(mouth, sound, 0.0, None) == 0
    assert load_speaker().logit(mouth, sound, 0.0, np.array([[0.5, 0.7]])) == 0
    assert np.isfinite(logit_of(mouth, np.zeros_like(sound)))


def test_mouths_are_cut_alike_from_small_and_large_pictures() -> None:
    portrait = make_portrait()
    seen = FaceDetector(min_face_px=24, min_score=0.5).detect(portrait)
    marks = seen.landmarks_px[:1] / 300
    path = FacePath(np.array([0.0, 0.2]), np.concatenate([marks, marks]))
    large = (resize(portrait, (600, 600)) * 255).astype(np.uint8)
    found = [
        read_mouths([Frame(t, picture) for t in (0.0, 0.1, 1.0)], {5: path})[5]
        for picture in (portrait, large)
    ]
    # At 1.0 s the face was last seen 0.8 s ago.
    assert all(mouth.times_s.tolist() == [0.0, 0.1] for mouth in found)
    assert all(mouth.pixels.shape == (2, 40, 48) for mouth in found)
    difference = found[0].pixels.astype(float) - found[1].pixels
    assert np.abs(difference).mean() < 4
    beyond = FacePath(path.times_s, path.landmarks_rel + 5)
    assert np.all(read_mouths([Frame(0.0, portrait)], {1: beyond})[1].pixels == 127)


def test_a_face_that_listens_is_told_from_one_that_talks() -> None:
    face = np.asarray(make_portrait())[55:175, 92:212]
    talks = np.stack([face] * 20)
    talks[::2, 82:98, 45:75] //= 3
    times_s = np.arange(20) / 5
    noise = np.random.default_rng(0).integers(-2, 3, talks.shape)
    listens = np.clip(np.stack([face] * 20) + noise, 0, 255).astype(np.uint8)
    assert not is_still(mouth_moves(talks, times_s, EVERYWHERE))
    assert is_still(mouth_moves(listens, times_s, EVERYWHERE))
    assert mouth_moves(listens, times_s, np.array([[0.0, 0.3]])) is None
    assert not is_still(mouth_moves(listens, times_s, None))


def test_a_file_that_holds_no_networks_is_named() -> None:
    with pytest.raises(WeightsError, match=r"mine\.onnx"):
        SpeakerModel(b"nothing", "mine.onnx")
