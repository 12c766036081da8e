"""What a media file holds, how long it is, where its clock restarts, and why it can't be read."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facevoice.errors import (
    EmptyMediaError,
    MediaError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media import probe, read_audio, read_frames, regular_times
from facevoice.media.clocks import JoinedClock


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


def write_part(make_clip, name, start_s, duration_s):
    """A transport stream whose clock begins anywhere; a burst of sound after one second."""
    rate_hz = 48_000
    samples = np.zeros(round(duration_s * rate_hz))
    samples[rate_hz : rate_hz + 2400] = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2400) / rate_hz)
    return make_clip(
        name,
        duration_s=duration_s,
        samples=samples,
        video_offset_s=start_s,
        audio_offset_s=start_s,
        container_options={"mpegts_copyts": "1"},
    )


@pytest.mark.parametrize(
    "starts_s",
    [
        (1.0, 1.0),
        (100.0, 1.0),
        (1.0, 9000.0),
        (1.0, 1.0, 1.0),
        (9000.0, 1.0, 7000.0),
        (1.0, 95_442.0),  # the second one's clock runs over after 1.7 s
    ],
)
def test_times_count_on_where_recordings_were_joined(make_clip, read_index, tmp_path, starts_s):
    lengths_s = [2.0 + 0.4 * k for k in range(len(starts_s))]
    parts = [
        write_part(make_clip, f"{k}.ts", *part)
        for k, part in enumerate(zip(starts_s, lengths_s, strict=True))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    messages: list[str] = []
    info = probe(path, on_damage=messages.append)
    assert info.duration_s == pytest.approx(sum(lengths_s), abs=0.05 * len(parts))
    times_s = regular_times(info.duration_s, 25)
    frames = list(read_frames(path, times_s, tolerance_s=0.0, on_damage=messages.append))
    indices = [read_index(frame.rgb) for frame in frames]
    begins = [place for place, index in enumerate(indices) if index == 0]
    assert indices == [k for length_s in lengths_s for k in range(round(25 * length_s))]
    blocks = read_audio(path, on_damage=messages.append)
    samples = np.concatenate([block.samples for block in blocks])
    assert len(samples) / 16_000 == pytest.approx(info.duration_s, abs=0.05)
    loud = np.flatnonzero(np.abs(samples) > 0.2) / 16_000
    bursts_s = loud[np.diff(loud, prepend=-1.0) > 0.5]
    # Sound and pictures stay in step: one second after each first picture.
    assert bursts_s - 1.0 == pytest.approx([frames[k].timestamp_s for k in begins], abs=0.03)
    assert messages == []


def test_recordings_of_sound_alone_may_be_joined(make_clip, tmp_path):
    part = make_clip("part.ts", video=False, duration_s=2.0)
    path = tmp_path / "joined.ts"
    path.write_bytes(part.read_bytes() * 3)
    num_samples = sum(len(block.samples) for block in read_audio(path))
    assert probe(path).duration_s == pytest.approx(6.0, abs=0.15)
    assert num_samples / 16_000 == pytest.approx(6.0, abs=0.15)


def test_one_damaged_timestamp_is_no_restart():
    stamps_s = [0, 1, 2, 90_000, 4, 5, 1, 7, 8]
    clock, given = JoinedClock([]), []
    for stamp_s in stamps_s:
        packet = SimpleNamespace(
            pts=stamp_s, dts=stamp_s, duration=1, time_base=Fraction(1), stream_index=0, stream=None
        )
        clock.count_on(packet)
        given.append(packet.pts)
    assert given == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_streams_that_appear_midway_do_not_stop_the_reading(make_clip, read_index):
    # The second recording brings streams of its own.
    first = make_clip("first.ts", duration_s=1)
    second = make_clip("second.ts", duration_s=1, container_options={"mpegts_start_pid": "0x300"})
    path = first.with_name("joined.ts")
    path.write_bytes(first.read_bytes() * 4 + second.read_bytes())
    assert probe(path).duration_s > 3.9
    frames = list(read_frames(path, [0.1, 0.9], tolerance_s=0.05))
    assert [read_index(f.rgb) for f in frames] == pytest.approx([2, 22], abs=1)


def assert_all_readers_raise(path: Path, kind: type[MediaError]) -> MediaError:
    for read in (probe, lambda p: list(read_frames(p, [0.0], tolerance_s=1)), read_audio_fully):
        with pytest.raises(kind) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.remedy
    return caught.value


def read_audio_fully(path: Path) -> list:
    return list(read_audio(path))


def test_missing_file(tmp_path):
    assert_all_readers_raise(tmp_path / "absent.mp4", MediaNotFoundError)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert_all_readers_raise(path, EmptyMediaError)


def test_folder(tmp_path):
    assert "folder" in assert_all_readers_raise(tmp_path, UnreadableMediaError).problem


def test_not_a_regular_file(tmp_path):
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    assert_all_readers_raise(path, UnreadableMediaError)


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.wav"])
def test_text(tmp_path, name):
    path = tmp_path / name
    path.write_text("Nothing to see or hear here.\n" * 200)
    assert_all_readers_raise(path, UnreadableMediaError)


def test_playlists_are_not_followed(tmp_path, make_clip):
    clip = make_clip("real.mp4", duration_s=0.5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    assert_all_readers_raise(playlist, UnreadableMediaError)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip.name}\n")
    assert_all_readers_raise(playlist, UnreadableMediaError)


def test_still_picture(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    assert_all_readers_raise(path, UnreadableMediaError)


def test_mp4_whose_index_was_cut_off(make_clip):
    path = make_clip()
    path.write_bytes(path.read_bytes()[:-3000])
    assert "cut off" in assert_all_readers_raise(path, UnreadableMediaError).problem


def test_random_bytes(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    assert_all_readers_raise(path, UnreadableMediaError)


def test_asking_for_a_stream_that_is_not_there(make_clip):
    with pytest.raises(NoStreamError, match="no video"):
        list(read_frames(make_clip("a.wav"), [0.0], tolerance_s=1))
    with pytest.raises(NoStreamError, match="no sound"):
        list(read_audio(make_clip("v.mp4", audio=False)))


def test_names_that_look_like_addresses(make_clip, monkeypatch):
    path = make_clip("data:a.mp4", duration_s=0.5, container="mp4")
    monkeypatch.chdir(path.parent)
    assert probe(path.name).duration_s == pytest.approx(0.5, abs=0.05)


def test_only_a_cover_picture_and_no_sound(make_clip):
    path = make_clip("cover.mp3", cover=True, duration_s=0.3)
    assert probe(path).video is None
    with pytest.raises(NoStreamError):
        list(read_frames(path, [0.0], tolerance_s=1))
