"""`read_frames` against a plain full decode, over codecs, containers and ways of asking."""

from __future__ import annotations

import os
from itertools import product

import av
import numpy as np
import pytest

from facevoice.errors import UnreadableMediaError
from facevoice.media import frames as plan
from facevoice.media import frames as video
from facevoice.media import read_frames
from media import frame_clips as clips

DURATION_S = 13.5
TIMES = {
    **{
        f"{rate} Hz from {start_s} s": clips.times_from(start_s, DURATION_S + 1, rate)
        for rate in (0.2, 1, 5, 25)
        for start_s in (0.0, 0.013, 11.3, 12.99)
    },
    "at random": sorted(np.random.default_rng(1).uniform(-0.5, DURATION_S + 0.5, 25).tolist()),
    "in bursts": [t + d for t in (0.5, 3.0, 3.5, 9.0, 13.0) for d in (0.0, 0.04, 0.05, 0.3)],
    "once": [12.34],
    "at the end": [13.48],
    "behind the end": [12.8, 40.0, 50.0],
}
WAYS = list(product(TIMES, (0.0, 0.1, 0.5), (True, False)))
# Every way of asking for some clips, and for every clip some ways; all of all take two minutes.
STRIDE = 1 if os.environ.get("FACEVOICE_ALL_WAYS") else 19


def assert_equal(given, expected, where=""):
    starts_s = [s.start_s for s in expected]
    assert [f.timestamp_s for f in given] == pytest.approx(starts_s, abs=1e-9), where
    for frame, picture in zip(given, expected, strict=True):
        assert np.array_equal(frame.rgb, picture.rgb), (where, frame.timestamp_s)


@pytest.fixture
def recorded(monkeypatch):
    """Timestamps of the packets read and of the pictures decoded by `read_frames`."""
    packets, pictures = [], []
    read, decode = video.read_packets, video.decode

    def read_packets(*args):
        for packet in read(*args):
            if packet is not None:
                packets.append(packet.pts)
            yield packet

    def decode_video(*args):
        decoded = decode(*args)
        pictures.extend(p.pts for p in decoded)
        return decoded

    monkeypatch.setattr(video, "read_packets", read_packets)
    monkeypatch.setattr(video, "decode", decode_video)
    return packets, pictures


@pytest.mark.parametrize("recipe", clips.RECIPES)
def test_frames_are_those_of_a_full_decode(tmp_path, recipe):
    path = clips.write_clip(tmp_path, recipe, DURATION_S)
    shown = clips.decode_all(path)
    assert len(shown) > 330
    for times, tolerance_s, exact in WAYS[list(clips.RECIPES).index(recipe) % STRIDE :: STRIDE]:
        given = read_frames(path, TIMES[times], tolerance_s=tolerance_s, exact=exact)
        expected = clips.choose(shown, TIMES[times], tolerance_s, exact)
        assert_equal(list(given), expected, f"{times}, {tolerance_s} s, exact={exact}")


@pytest.mark.parametrize("recipe", ["x264-bf8-mp4", "x265-open-gop-mp4", "vp9-webm", "mjpeg-avi"])
def test_threads_change_nothing(tmp_path, recipe):
    path = clips.write_clip(tmp_path, recipe, 4.0)
    shown = clips.decode_all(path)
    for rate_hz in (0.7, 5):
        times_s = clips.times_from(0.0, 4.0, rate_hz)
        given = list(read_frames(path, times_s, tolerance_s=0.1, num_threads=3))
        assert_equal(given, clips.choose(shown, times_s, 0.1, True))


def test_one_thread_unless_more_are_wanted(tmp_path, monkeypatch):
    path = clips.write_clip(tmp_path, "x264-mp4", 1.0)
    counts = []
    real = video.decode

    def decode_video(source, *args):
        pictures = real(source, *args)
        counts.append(source.video.codec_context.thread_count)
        return pictures

    monkeypatch.setattr(video, "decode", decode_video)
    list(read_frames(path, [0.5], tolerance_s=0.1))
    assert set(counts) == {1}
    counts.clear()
    list(read_frames(path, [0.5], tolerance_s=0.1, num_threads=2))
    assert set(counts) == {2}
    with pytest.raises(ValueError, match="num_threads"):
        list(read_frames(path, [0.5], tolerance_s=0.1, num_threads=0))


@pytest.mark.parametrize("limit", [("_MAX_HELD_BYTES", 2000), ("_MAX_HELD_BYTES", 0)])
@pytest.mark.parametrize("recipe", ["x264-gop30-mkv", "x265-open-gop-mp4", "mpeg2-ts"])
def test_little_room_for_waiting_packets_changes_nothing(tmp_path, monkeypatch, recipe, limit):
    monkeypatch.setattr(plan, *limit)
    path = clips.write_clip(tmp_path, recipe, 4.0)
    shown = clips.decode_all(path)
    for rate_hz in (0.7, 1, 5):
        times_s = clips.times_from(0.1, 4.0, rate_hz)
        given = list(read_frames(path, times_s, tolerance_s=0.1))
        assert_equal(given, clips.choose(shown, times_s, 0.1, True))


@pytest.mark.parametrize(
    ("recipe", "rate_hz", "exact", "most"),
    [
        ("mjpeg-avi", 5, True, 41),
        ("mjpeg-mp4", 5, True, 41),
        ("prores-mov", 5, True, 41),
        ("vp9-webm", 1, True, 9),
        ("x264-no-b-mov", 0.5, True, 20),
        ("x264-short-gop-mp4", 0.5, True, 30),
        ("x264-ts", 0.2, True, 20),
        ("x265-open-gop-mp4", 0.2, True, 20),
        ("x264-bf8-mp4", 5, True, 75),
        ("x264-bf8-mp4", 5, False, 48),
        ("mpeg4-mp4", 5, False, 50),
        ("mpeg2-ts", 5, False, 50),
        ("x265-ts", 5, False, 75),
    ],
)
def test_few_others_are_decoded(tmp_path, recorded, recipe, rate_hz, exact, most):
    path = clips.write_clip(tmp_path, recipe, 8.0)
    times_s = clips.times_from(0.0, 8.0, rate_hz)
    frames = list(read_frames(path, times_s, tolerance_s=0.1, exact=exact))
    assert len(frames) == len(times_s)
    assert len(times_s) <= len(recorded[1]) <= most


def test_nothing_is_left_out_where_timestamps_are_missing(tmp_path, monkeypatch, recorded):
    path = clips.write_clip(tmp_path, "x264-short-gop-mp4", 8.0)
    read = video.read_packets

    def read_packets(*args):
        for index, packet in enumerate(read(*args)):
            if packet is not None and index % 12 == 5:
                packet.pts = None
            yield packet

    times_s = clips.times_from(0.0, 8.0, 0.3)
    assert len(list(read_frames(path, times_s, tolerance_s=0.1))) == 3
    num_timed = len(recorded[1])
    monkeypatch.setattr(video, "read_packets", read_packets)
    list(read_frames(path, times_s, tolerance_s=0.1))
    assert len(recorded[1]) - num_timed > 100 > num_timed


def test_pictures_that_others_need_are_taken_in_place_of_those_that_none_needs(tmp_path):
    path = clips.write_clip(tmp_path, "mpeg4-mp4", 1.0)  # I B B P B B P ...
    times_s = [0.04, 0.08, 0.16, 0.2, 0.36]
    exact = [f.timestamp_s for f in read_frames(path, times_s, tolerance_s=0.05)]
    assert exact == pytest.approx(times_s)
    near = [f.timestamp_s for f in read_frames(path, times_s, tolerance_s=0.05, exact=False)]
    assert near == pytest.approx([0.0, 0.12, 0.24, 0.36])
    none_in_reach = read_frames(path, times_s, tolerance_s=0.03, exact=False)
    assert [f.timestamp_s for f in none_in_reach] == pytest.approx(times_s)


@pytest.mark.parametrize("recipe", ["x264-short-gop-mp4", "x265-open-gop-mp4", "vp9-webm"])
def test_late_times_are_sought(tmp_path, recorded, recipe):
    path = clips.write_clip(tmp_path, recipe, DURATION_S)
    (frame,) = read_frames(path, [13.0], tolerance_s=0.0)
    expected = clips.choose(clips.decode_all(path), [13.0], 0.0, True)
    assert_equal([frame], expected)
    assert len(recorded[0]) < 120
    recorded[0].clear()
    list(read_frames(path, [9.0], tolerance_s=0.0))
    assert len(recorded[0]) > 220


@pytest.mark.parametrize("recipe", ["x264-ts", "x264-no-b-avi", "x264-raw", "x264-fragmented-mp4"])
def test_without_a_dependable_index_reading_begins_at_the_start(tmp_path, recorded, recipe):
    path = clips.write_clip(tmp_path, recipe, DURATION_S)
    list(read_frames(path, [13.0], tolerance_s=0.0))
    assert len(recorded[0]) > 300


def test_matroska_with_a_wrong_index(tmp_path):
    path = clips.write_clip(tmp_path, "x264-gop30-mkv", DURATION_S)
    shown = clips.decode_all(path)
    content = bytearray(path.read_bytes())
    cues = content.rindex(b"\x1c\x53\xbb\x6b")
    for wrong in (b"\xff" * 20, b"\x00" * 20, content[cues + 40 : cues + 60]):
        content[cues + 12 : cues + 32] = wrong
        path.write_bytes(content)
        times_s = [11.0, 12.5]
        given = list(read_frames(path, times_s, tolerance_s=0.1))
        assert_equal(given, clips.choose(shown, times_s, 0.1, True))


def cut_off(path, *, keep):
    """Move a clip's index to the front, and let it end after this share."""
    moved = path.with_name("moved.mp4")
    with (
        av.open(str(path)) as old,
        av.open(str(moved), "w", options={"movflags": "faststart"}) as new,
    ):
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    content = moved.read_bytes()
    moved.write_bytes(content[: int(len(content) * keep)])
    return moved


def test_a_cut_off_file_is_reported_after_a_leap(tmp_path):
    path = cut_off(clips.write_clip(tmp_path, "x264-short-gop-mp4", 16.0), keep=0.9)
    messages: list[str] = []
    times_s = clips.times_from(12.5, 20.0, 5)
    given = list(read_frames(path, times_s, tolerance_s=0.1, on_damage=messages.append))
    whole = read_frames(path, [0.0, *times_s], tolerance_s=0.1)
    assert [f.timestamp_s for f in given] == [f.timestamp_s for f in whole][1:]
    assert 8 <= len(given) <= 12
    assert any("cut off at 14" in message for message in messages)


def test_nothing_is_left_where_the_leap_would_go(tmp_path):
    path = cut_off(clips.write_clip(tmp_path, "x264-short-gop-mp4", 16.0), keep=0.5)
    messages: list[str] = []
    assert not list(read_frames(path, [15.0], tolerance_s=0.1, on_damage=messages.append))
    (message,) = [m for m in messages if "cut off" in m]
    assert 6 < float(message.split("cut off at ")[1].split()[0]) < 10


@pytest.mark.parametrize("from_share", [0.0, 0.5])
def test_undecodable_means_that_nothing_can_be_decoded(tmp_path, from_share):
    path = cut_off(clips.write_clip(tmp_path, "x264-short-gop-mp4", 16.0), keep=1.0)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    start += int((len(content) - start) * from_share)
    # Keyframes still look like keyframes: only what comes behind the first bytes is gone.
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for at, size in spans:
        if at >= start:
            content[at + 5 : at + size] = bytes(size - 5)
    path.write_bytes(content)
    for times_s in ([15.0], [0.3, 15.0]):
        if from_share:
            list(read_frames(path, times_s, tolerance_s=0.1))
        else:
            with pytest.raises(UnreadableMediaError, match="h264"):
                list(read_frames(path, times_s, tolerance_s=0.1))
