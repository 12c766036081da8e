"""Measures that know nothing of emotion, and the synchrony of mouth and voice."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.dub_audits import (
    SILENCE_DB,
    MouthMotion,
    audit_dubs,
    measure_file,
    measure_sound,
    mouth_motion,
    sync_score,
    trace_pairs,
)
from benchmarks.dubbing import dub_pairs, encode_pictures, join_dub, number_pairs

from facevoice.corpora.pairs import pair_manifest
from facevoice.errors import MediaNotFoundError
from facevoice.records import Detections, ModelId
from spoken_clips import make_spoken_clips

RATE_HZ = 16_000
FPS = 30
SIZE_PX = 160
# A face that fills the middle of the picture: eyes, nose tip, mouth corners.
LANDMARKS = np.array([[60, 60], [100, 60], [80, 85], [64, 106], [96, 106]], np.float32)


class FixedDetector:
    """Sees the same face in every picture, or none."""

    model = ModelId("fixed", "0" * 64)

    def __init__(self, sees: bool = True) -> None:
        self.sees = sees
        self.num_calls = 0

    def detect(self, rgb: np.ndarray) -> Detections:
        self.num_calls += 1
        if not self.sees:
            return Detections(np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0))
        small = LANDMARKS / 4
        boxes = np.array([[0, 0, 20, 20], [40, 30, 120, 130]], np.float32)
        return Detections(boxes, np.stack([small, LANDMARKS]), np.ones(2, np.float32))


def opening(t: np.ndarray) -> np.ndarray:
    """Syllables at irregular times: how far the mouth is open, 0 to 1."""
    centres = np.array([0.3, 0.5, 0.95, 1.1, 1.6, 1.75, 2.2, 2.6])
    return np.exp(-(((t[:, None] - centres) / 0.05) ** 2)).sum(axis=1).clip(0, 1)


def paint(_index: int, time_s: float) -> np.ndarray:
    rgb = np.full((SIZE_PX, SIZE_PX, 3), 150, np.uint8)
    height = round(14 * float(opening(np.array([time_s]))[0]))
    rgb[106 - height // 2 : 106 + (height + 1) // 2, 68:92] = 20
    return rgb


@pytest.fixture(scope="module")
def film(make_shared_clip):
    return make_shared_clip(
        "mouth.mp4", width=SIZE_PX, height=SIZE_PX, fps=FPS, duration_s=3, paint=paint, audio=False
    )


def voice(shift_s: float = 0.0) -> np.ndarray:
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * 200 * t) * opening(t - shift_s)).astype(np.float32)


def test_a_voice_goes_with_its_own_mouth_only(film):
    motion = mouth_motion(film, FixedDetector(), 0.0, 3.0)
    own = sync_score(motion, voice(), 3.0)
    assert own > 0.6
    assert sync_score(motion, voice(0.1), 3.0) == pytest.approx(own, abs=0.1)
    assert sync_score(motion, voice(0.55), 3.0) < own - 0.3
    assert sync_score(motion, voice()[::-1].copy(), 3.0) < own - 0.3


def test_faces_are_sought_five_times_a_second(film):
    detector = FixedDetector()
    motion = mouth_motion(film, detector, 0.0, 3.0)
    assert 12 <= detector.num_calls <= 16
    assert len(motion.times_s) == len(motion.strength) == 3 * FPS - 1
    assert motion.times_s[0] == pytest.approx(0.5 / FPS, abs=1e-3)


def test_a_part_of_the_film(film):
    motion = mouth_motion(film, FixedDetector(), 1.0, 1.0)
    assert motion.times_s.min() >= 0
    assert motion.times_s.max() < 1.0
    whole = mouth_motion(film, FixedDetector(), 0.0, 3.0)
    inside = (whole.times_s > 1.0) & (whole.times_s < 2.0)
    expected = np.interp(motion.times_s, whole.times_s[inside] - 1.0, whole.strength[inside])
    assert np.abs(motion.strength - expected).mean() < 0.1


def test_without_a_face_or_a_sound_there_is_no_synchrony(film):
    blind = mouth_motion(film, FixedDetector(sees=False), 0.0, 3.0)
    assert len(blind.times_s) == 0
    assert sync_score(blind, voice(), 3.0) == 0.0
    seen = mouth_motion(film, FixedDetector(), 0.0, 3.0)
    assert sync_score(seen, np.zeros(3 * RATE_HZ, np.float32), 3.0) == 0.0
    assert sync_score(seen, np.zeros(0, np.float32), 3.0) == 0.0
    still = MouthMotion(seen.times_s, np.zeros_like(seen.strength))
    assert sync_score(still, voice(), 3.0) == 0.0


def test_too_short_for_the_lags():
    motion = MouthMotion(np.array([0.1, 0.2]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"length_s = 0\.4"):
        sync_score(motion, voice(), 0.4)


def test_when_a_mouth_moves():
    times_s = np.arange(0.005, 3, 0.01)
    moves = MouthMotion(times_s, ((times_s > 1.0) & (times_s < 2.0)).astype(float))
    assert moves.moving_span_s(3.0) == pytest.approx((1.0, 2.0), abs=0.03)
    assert MouthMotion(times_s, np.ones_like(times_s)).moving_span_s(3.0) == (3.0, 3.0)
    assert MouthMotion(np.zeros(0), np.zeros(0)).moving_span_s(3.0) == (3.0, 3.0)


def test_measures_of_a_sound_and_of_silence():
    samples = np.zeros(2 * RATE_HZ, np.float32)
    t = np.arange(RATE_HZ) / RATE_HZ
    samples[RATE_HZ // 4 : RATE_HZ // 4 + RATE_HZ] = 0.1 * np.sin(2 * np.pi * 1000 * t)
    found = measure_sound(samples)
    # Blocks that hold only the tone's beginning or end count too.
    assert found["loudness"][0] == pytest.approx(-23, abs=1.5)
    assert found["loudness"][1] == pytest.approx(-20, abs=0.05)
    assert found["silences"] == pytest.approx([0.25, 0.75], abs=0.02)
    silence = measure_sound(np.zeros(RATE_HZ, np.float32))
    assert silence == {"loudness": [SILENCE_DB, SILENCE_DB], "silences": [1.0, 0.0]}


def test_measures_of_a_dub(film, make_clip, tmp_path):
    sound = make_clip("v.wav", video=False, samples=voice(), sample_rate_hz=RATE_HZ)
    path = tmp_path / "d.mp4"
    join_dub(encode_pictures(film, 2.0), 2.0, sound, path)
    found, coding = measure_file(path)
    assert found["picture length"] == [pytest.approx(2.0, abs=0.002)]
    assert 2.0 <= found["sound length"][0] < 2.0 + 2 * 1024 / RATE_HZ
    assert found["sound coding"][0] < 80_000
    assert found["loudness"][0] == pytest.approx(-23, abs=0.5)
    assert coding.startswith("h264") and "160x160" in coding and coding.endswith("16000 Hz mono")
    film_only, _ = measure_file(film)
    assert film_only["sound length"] == [0.0]
    assert film_only["loudness"] == [0.0, 0.0]
    with pytest.raises(MediaNotFoundError):
        measure_file(tmp_path / "none.mp4")


def test_audits_see_through_raw_recordings_but_not_through_dubs(make_shared_clip, tmp_path):
    clips = make_spoken_clips(make_shared_clip)
    pairs = number_pairs(pair_manifest(clips).pairs, seed=3)
    dub_pairs(pairs, clips, tmp_path, jobs=2)
    traces = trace_pairs(pairs, clips, tmp_path, jobs=2)
    raw = [trace.voice_file["loudness"][0] for trace in traces]
    assert max(raw) - min(raw) > 15
    audits = audit_dubs(traces, num_resamples=50)
    before = {audit.name: audit.auroc.estimate for audit in audits.before}
    after = {audit.name: audit.auroc.estimate for audit in audits.after}
    # The pictures all are one, so only the recordings' own sound gives anything away.
    assert before["loudness of the recordings"] > 0.95
    assert before["silences of the recordings"] > 0.95
    # All measures are alike, so what the fitted scores rank by is rounding.
    for name in ("lengths", "loudness", "silences"):
        assert after[name] == pytest.approx(0.5, abs=0.1)
    assert len(audits.codings) == 1
