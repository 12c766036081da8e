from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from facevoice.files import file_sha256
from facevoice.media import probe


@pytest.mark.parametrize(
    ("name", "codec"), [("c.mp4", "h264"), ("c.mkv", "h264"), ("c.webm", "vp9"), ("c.avi", "mpeg4")]
)
def test_video_with_sound(make_clip, name, codec):
    info = probe(make_clip(name, width=176, height=96, fps=25, duration_s=2, num_channels=2))
    assert info.duration_s == pytest.approx(2.0, abs=0.06)
    assert (info.video.width_px, info.video.height_px) == (176, 96)
    assert info.video.frame_rate_hz == pytest.approx(25)
    assert (info.video.codec, info.video.rotation_deg) == (codec, 0)
    assert (info.audio.sample_rate_hz, info.audio.num_channels) == (48_000, 2)
    assert info.has_video and info.has_audio


def test_ntsc_rate(make_clip):
    info = probe(make_clip(fps=Fraction(30000, 1001), audio=False))
    assert info.video.frame_rate_hz == pytest.approx(29.97, abs=0.001)
    assert not info.has_audio


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a.ogg", "a.m4a", "a.aac"])
def test_audio_only(make_clip, name):
    info = probe(make_clip(name, duration_s=3))
    assert info.duration_s == pytest.approx(3.0, abs=0.06)
    assert not info.has_video and info.has_audio


@pytest.mark.parametrize("name", ["song.mp3", "song.flac"])
def test_cover_picture_is_no_video(make_clip, name):
    info = probe(make_clip(name, cover=True))
    assert info.video is None
    assert info.duration_s == pytest.approx(2.0, abs=0.06)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_size_is_that_of_the_upright_picture(make_clip, rotation):
    video = probe(make_clip("r.mov", width=160, height=96, rotation=rotation)).video
    assert (video.width_px, video.height_px, video.rotation_deg) == (160, 96, rotation)


def test_anamorphic_size_is_in_square_pixels(make_clip):
    path = make_clip(width=120, height=120, codec_options={"x264-params": "sar=4/3"}, audio=False)
    assert (probe(path).video.width_px, probe(path).video.height_px) == (160, 120)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_media_time_starts_with_the_earlier_stream(make_clip, name):
    info = probe(make_clip(name, video_offset_s=3.0, audio_offset_s=3.5, audio_codec="flac"))
    assert info.video.start_s == 0
    assert info.audio.start_s == pytest.approx(0.5, abs=0.03)
    assert info.duration_s == pytest.approx(2.5, abs=0.06)
    info = probe(make_clip(name, video_offset_s=0.5, audio_codec="flac"))
    assert (info.video.start_s, info.audio.start_s) == (pytest.approx(0.5, abs=0.002), 0)


def test_raw_stream_without_timestamps(make_clip):
    assert probe(make_clip("raw.h264", duration_s=1.6)).duration_s == pytest.approx(1.6, abs=0.01)


def test_transport_stream(make_clip):
    assert probe(make_clip("t.ts", duration_s=2)).duration_s == pytest.approx(2.02, abs=0.05)


def test_webm_that_states_no_duration(make_clip):
    # A live muxer, as browsers use it, leaves the header's duration out.
    path = make_clip("live.webm", duration_s=2.4, container_options={"live": "1"})
    assert probe(path).duration_s == pytest.approx(2.4, abs=0.03)


def test_wrong_duration_in_the_header(make_clip):
    path = make_clip("lie.mkv", duration_s=1.0, audio=False)
    content = path.read_bytes()
    at = content.index(b"\x44\x89\x88") + 3  # Duration, float of 8 bytes, in milliseconds
    assert np.frombuffer(content[at : at + 8], ">f8")[0] == pytest.approx(1000)
    for lie_ms in (90_000.0, 100.0):
        path.write_bytes(content[:at] + np.array(lie_ms, ">f8").tobytes() + content[at + 8 :])
        assert probe(path).duration_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("cut.mp4", {"container_options": {"movflags": "faststart"}}),
        ("cut.mkv", {}),
        ("cut.wav", {}),
    ],
)
def test_duration_of_a_truncated_file_is_what_is_left(make_clip, name, how):
    path = make_clip(name, duration_s=4, samples="noise", audio_codec="pcm_s16le", **how)
    whole: list[str] = []
    assert probe(path, on_damage=whole.append).duration_s == pytest.approx(4, abs=0.05)
    assert whole == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    messages: list[str] = []
    info = probe(path, on_damage=messages.append)
    assert info.duration_s == pytest.approx(2, abs=0.3)
    assert len(messages) == (0 if name == "cut.wav" else 1)


def test_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 500_000)
    assert file_sha256(path) == hashlib.sha256(b"abc" * 500_000).hexdigest()
