"""Measures that know nothing of emotion, and the synchrony of mouth and voice."""

from __future__ import annotations

import numpy as np
import pytest

from facevoice.corpora.dubs import (
    SILENCE_DB,
    MouthMotion,
    measure_dub,
    measure_film_sound,
    measure_sound,
    mouth_motion,
    moving_span_s,
    sync_score,
    write_dub,
)
from facevoice.errors import MediaNotFoundError
from facevoice.people.detect import no_detections
from facevoice.records import Detections, ModelId

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
            return no_detections()
        small = LANDMARKS / 4
        boxes = np.array([[0, 0, 20, 20], [40, 30, 120, 130]], np.float32)
        return Detections(boxes, np.stack([small, LANDMARKS]), np.ones(2, np.float32))

    def refine(self, rgb: np.ndarray, boxes_xyxy: np.ndarray) -> Detections:
        return no_detections()


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
    begins_s, stops_s = moving_span_s(moves, 3.0)
    assert begins_s == pytest.approx(1.0, abs=0.03)
    assert stops_s == pytest.approx(2.0, abs=0.03)
    assert moving_span_s(MouthMotion(times_s, np.ones_like(times_s)), 3.0) == (3.0, 3.0)
    assert moving_span_s(MouthMotion(np.zeros(0), np.zeros(0)), 3.0) == (3.0, 3.0)


def test_measures_of_a_sound():
    samples = np.zeros(2 * RATE_HZ, np.float32)
    t = np.arange(RATE_HZ) / RATE_HZ
    samples[RATE_HZ // 4 : RATE_HZ // 4 + RATE_HZ] = 0.1 * np.sin(2 * np.pi * 1000 * t)
    traces = measure_sound(samples)
    assert traces.duration_s == 2.0
    assert traces.peak_dbfs == pytest.approx(-20, abs=0.05)
    # Blocks that hold only the tone's beginning or end count too.
    assert traces.loudness_lufs == pytest.approx(-23, abs=1.5)
    assert traces.lead_s == pytest.approx(0.25, abs=0.02)
    assert traces.trail_s == pytest.approx(0.75, abs=0.02)


def test_measures_of_silence_are_finite():
    traces = measure_sound(np.zeros(RATE_HZ, np.float32))
    assert (traces.loudness_lufs, traces.peak_dbfs) == (SILENCE_DB, SILENCE_DB)
    assert (traces.lead_s, traces.trail_s) == (1.0, 0.0)
    assert measure_sound(np.zeros(0, np.float32)).duration_s == 0.0


def test_measures_of_a_dub(film, make_clip, tmp_path):
    sound = make_clip("v.wav", video=False, samples=voice(), sample_rate_hz=RATE_HZ)
    path = write_dub(film, sound, tmp_path / "d.mp4", 2.0).path
    traces = measure_dub(path)
    assert traces.video.duration_s == pytest.approx(2.0, abs=0.002)
    assert 2.0 <= traces.audio.duration_s < 2.0 + 2 * 1024 / RATE_HZ
    assert traces.video.num_packets == 60
    assert traces.video.parameters.startswith("h264")
    assert "160x160" in traces.video.parameters
    assert traces.audio.parameters.endswith("16000 Hz mono")
    sizes = sum(t.packet_bytes_mean * t.num_packets for t in (traces.video, traces.audio))
    assert sizes < traces.file_bytes == path.stat().st_size < sizes + 10_000
    assert traces.audio.bit_rate_bps < 80_000
    assert traces.sound.loudness_lufs == pytest.approx(-23, abs=0.5)


def test_measures_of_files_with_one_stream(film, make_clip, tmp_path):
    assert measure_dub(film).audio is None
    assert measure_dub(film).sound is None
    assert measure_film_sound(film).loudness_lufs == SILENCE_DB
    assert measure_dub(make_clip("v.wav", video=False)).video is None
    with pytest.raises(MediaNotFoundError):
        measure_dub(tmp_path / "none.mp4")
