"""Windows of a clip that is cut: all that was before the cut, nothing of what comes after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ClipMaker
from facevoice.corpora.extract import read_clip_windows
from facevoice.media.open import probe
from facevoice.people.detect import MtcnnDetector
from facevoice.people.speech import read_speech
from facevoice.people.track import track_faces
from facevoice.perceive import read_windows
from facevoice.records import AudioBlock, Frame, FrameFaces, SpeechBlock, Window
from facevoice.settings import AnalyzerConfig, FacesConfig, WindowConfig
from portraits import make_portrait

RATE_HZ = 16_000
# Several windows in a second, and frames often enough for each to have some.
CONFIG = AnalyzerConfig(
    faces=FacesConfig(sample_rate_hz=10, detect_rate_hz=5),
    windows=WindowConfig(length_s=0.5, hop_s=0.25),
)
LIMIT_S = 1.05  # neither at a frame, nor at a chunk of 512 samples, nor at a window's end


@pytest.fixture(scope="module")
def detector() -> MtcnnDetector:
    return MtcnnDetector(min_face_px=40, min_score=0.9)


def make_lossless(make_clip: ClipMaker, name: str, seconds: float, after: str, **how: Any) -> Path:
    """A film without loss, so that what is before the cut is the same to the bit in all of them.

    after: what comes after the cut: "face" and speech-like noise go on, or "nothing" does.
    """
    portrait = make_portrait()
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.5, 0.5, round(seconds * RATE_HZ))
    cut = round(LIMIT_S * RATE_HZ)
    if after == "nothing":
        samples[cut:] = 0

    def paint(_: int, time_s: float) -> np.ndarray:
        shift = round(40 * time_s)  # the face moves, so that no two frames are alike
        picture = np.roll(portrait, shift, axis=1)
        return picture if time_s < LIMIT_S or after == "face" else np.zeros_like(picture)

    return make_clip(
        name,
        width=300,
        height=300,
        fps=20,
        duration_s=seconds,
        codec="ffv1",
        pix_fmt="bgr0",
        paint=paint,
        audio_codec="pcm_s16le",
        samples=samples,
        sample_rate_hz=RATE_HZ,
        **how,
    )


def assert_same(first: list[Window], second: list[Window]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert (one.face_coverage, one.speech_coverage) == (
            other.face_coverage,
            other.speech_coverage,
        )
        assert one.track_id == other.track_id
        for name in ("faces", "samples", "face_timestamps_s", "boxes_xyxy_rel"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


def test_what_follows_the_cut_changes_nothing(
    make_clip: ClipMaker, detector: MtcnnDetector
) -> None:
    config = replace(CONFIG, speech=replace(CONFIG.speech, threshold=1e-4))
    windows = []
    for after in ("face", "nothing"):
        info = probe(make_lossless(make_clip, f"{after}.mkv", 2.0, after))
        windows.append(list(read_clip_windows(info, LIMIT_S, detector, config)))
    assert_same(*windows)
    assert windows[0][-1].end_s == LIMIT_S
    assert all(window.faces is not None for window in windows[0])
    assert all(window.samples is not None for window in windows[0])
    assert sum(len(w.samples) for w in windows[0][-1:] if w.samples is not None) == round(
        LIMIT_S * RATE_HZ
    ) - round(windows[0][-1].start_s * RATE_HZ)
    times_s = [float(w.face_timestamps_s.max()) for w in windows[0] if w.faces is not None]
    assert max(times_s) < LIMIT_S


def test_a_cut_clip_is_the_file_that_ends_there(
    make_clip: ClipMaker, detector: MtcnnDetector
) -> None:
    long = probe(make_lossless(make_clip, "long.mkv", 2.0, "face"))
    short = probe(make_lossless(make_clip, "short.mkv", LIMIT_S, "face"))
    cut = list(read_clip_windows(long, LIMIT_S, detector, CONFIG))
    assert_same(cut, list(read_clip_windows(short, LIMIT_S, detector, CONFIG)))


def test_a_whole_file_gives_the_windows_that_analysis_takes(
    make_clip: ClipMaker, detector: MtcnnDetector
) -> None:
    info = probe(make_lossless(make_clip, "whole.mkv", 1.6, "face"))
    ours = list(read_clip_windows(info, info.duration_s, detector, CONFIG))
    assert_same(ours, list(read_windows(info, detector, CONFIG)))


def test_a_first_frame_behind_the_cut_is_not_seen(
    make_clip: ClipMaker, detector: MtcnnDetector
) -> None:
    # The frame at 0.84 s would answer for the sampled time 0.8 s, which is before the cut.
    path = make_lossless(make_clip, "late.mkv", 2.0, "face", video_offset_s=0.84)
    info = replace(probe(path), audio=None)
    (window,) = read_clip_windows(replace(info), 0.82, detector, AnalyzerConfig())
    assert window.faces is None
    assert window.face_coverage == 0
    (window,) = read_clip_windows(replace(info), 0.86, detector, AnalyzerConfig())
    assert window.faces is not None


def test_no_network_is_handed_anything_from_behind_the_cut(
    make_clip: ClipMaker, detector: MtcnnDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_s: list[float] = []
    heard: list[np.ndarray] = []

    def hear(blocks: Iterable[AudioBlock]) -> Iterator[SpeechBlock]:
        return read_speech(heard.append(block.samples) or block for block in blocks)

    def see(frames: Iterable[Frame], *rest: Any) -> Iterator[FrameFaces]:
        return track_faces((seen_s.append(f.timestamp_s) or f for f in frames), *rest)

    monkeypatch.setattr("facevoice.corpora.extract.read_speech", hear)
    monkeypatch.setattr("facevoice.corpora.extract.track_faces", see)
    for limit_s in (LIMIT_S, 1.0):
        seen_s.clear()
        heard.clear()
        info = probe(make_lossless(make_clip, f"cut{limit_s}.mkv", 2.0, "face"))
        list(read_clip_windows(info, limit_s, detector, CONFIG))
        assert sum(map(len, heard)) == round(limit_s * RATE_HZ)
        assert limit_s - 0.11 < max(seen_s) < limit_s


def test_only_the_named_streams_are_decoded(
    make_clip: ClipMaker, detector: MtcnnDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Callable[..., Any]:
        raise AssertionError("decoded for nothing")

    info = probe(make_clip("av.mp4", duration_s=1))
    monkeypatch.setattr("facevoice.corpora.extract.read_sampled_frames", refuse)
    heard = list(read_clip_windows(replace(info, video=None), 0.7, detector, CONFIG))
    assert all(window.samples is not None and window.faces is None for window in heard)


def test_beyond_the_files_end_there_is_silence(
    make_clip: ClipMaker, detector: MtcnnDetector
) -> None:
    info = probe(make_clip("short.wav", duration_s=0.5, samples="noise"))
    windows = list(read_clip_windows(info, 1.5, detector, CONFIG))
    assert windows[-1].end_s == 1.5
    assert windows[-1].samples is None
    assert windows[-1].speech_coverage == 0
