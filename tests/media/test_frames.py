"""`read_frames`: which picture answers which time, against a plain full decode."""

from __future__ import annotations

import gc
import os
from fractions import Fraction
from itertools import count, product

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from facevoice.errors import UnreadableMediaError
from facevoice.media import frames as video
from facevoice.media import probe, read_frames, regular_times
from facevoice.media.open import Orientation
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
STRIDE = 1 if os.environ.get("FACEVOICE_ALL_WAYS") else 37


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

    def decode_packet(*args):
        decoded = decode(*args)
        pictures.extend(p.pts for p in decoded)
        return decoded

    monkeypatch.setattr(video, "read_packets", read_packets)
    monkeypatch.setattr(video, "decode", decode_packet)
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


@pytest.mark.parametrize("recipe", ["x264-bf8-mp4", "x264-open-gop-ts", "x265-open-gop-mp4"])
def test_begun_late_the_same_pictures_are_taken(tmp_path, recipe):
    path = clips.write_clip(tmp_path, recipe, DURATION_S)
    times_s = TIMES["5 Hz from 0.0 s"]
    how = {"tolerance_s": 0.1, "exact": False}
    whole, again, late = (
        [(f.timestamp_s, f.rgb.tobytes()) for f in read_frames(path, t, **how)]
        for t in (times_s, times_s, times_s[55:])
    )
    assert whole == again
    assert len(late) >= 12
    assert whole[-len(late) + 2 :] == late[2:]


def test_pictures_that_others_need_are_taken_in_place_of_those_that_none_needs(
    tmp_path, monkeypatch
):
    options = {"bf": "2", "g": "30", "x264-params": f"b-adapt=0:b-pyramid=none:{clips.X264}"}
    monkeypatch.setitem(clips.RECIPES, "IBBP", ("libx264", ".mp4", options, {}))
    path = clips.write_clip(tmp_path, "IBBP", 1.0)
    times_s = [0.04, 0.08, 0.16, 0.2, 0.36]
    exact = [f.timestamp_s for f in read_frames(path, times_s, tolerance_s=0.05)]
    assert exact == pytest.approx(times_s)
    near = [f.timestamp_s for f in read_frames(path, times_s, tolerance_s=0.05, exact=False)]
    assert near == pytest.approx([0.0, 0.12, 0.24, 0.36])
    none_in_reach = read_frames(path, times_s, tolerance_s=0.03, exact=False)
    assert [f.timestamp_s for f in none_in_reach] == pytest.approx(times_s)


@pytest.mark.parametrize("recipe", ["x264-bf8-mp4", "x265-open-gop-mp4", "vp9-webm", "mjpeg-avi"])
def test_threads_change_nothing(tmp_path, recipe):
    path = clips.write_clip(tmp_path, recipe, 4.0)
    shown = clips.decode_all(path)
    for rate_hz in (0.7, 5):
        times_s = clips.times_from(0.0, 4.0, rate_hz)
        given = list(read_frames(path, times_s, tolerance_s=0.1, num_threads=3))
        assert_equal(given, clips.choose(shown, times_s, 0.1, True))


@pytest.mark.parametrize(
    ("recipe", "rate_hz", "exact", "most"),
    [
        ("mjpeg-avi", 5, True, 41),
        ("prores-mov", 5, True, 41),
        ("vp9-webm", 1, True, 9),
        ("av1-mp4", 1, True, 9),
        ("x264-short-gop-mp4", 0.5, True, 30),
        ("x264-ts", 0.2, True, 20),
        ("x265-open-gop-mp4", 0.2, True, 20),
        ("x264-bf8-mp4", 5, True, 75),
        ("x264-bf8-mp4", 5, False, 48),
        ("mpeg4-mp4", 5, True, 95),
        ("mpeg2-ts", 5, True, 95),
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
    whole = clips.write_clip(tmp_path, "x264-short-gop-mp4", 16.0)
    for keep, at_s in ((0.9, 14), (0.5, 8)):
        messages: list[str] = []
        times_s = clips.times_from(12.5, 20.0, 5)
        path = cut_off(whole, keep=keep)
        given = list(read_frames(path, times_s, tolerance_s=0.1, on_damage=messages.append))
        (message,) = [m for m in messages if "cut off at" in m]
        assert float(message.split("cut off at ")[1].split()[0]) == pytest.approx(at_s, abs=1)
        from_start = read_frames(path, [0.0, *times_s], tolerance_s=0.1)
        assert [f.timestamp_s for f in given] == [f.timestamp_s for f in from_start][1:]


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


@pytest.mark.parametrize(
    ("name", "fps"),
    [(f"c.{kind}", 25) for kind in ("mp4", "mkv", "webm", "avi", "ts")]
    + [("c.mp4", Fraction(30000, 1001)), ("c.mkv", Fraction(30000, 1001))],
)
def test_picks_the_frame_on_display(make_clip, read_index, name, fps):
    path = make_clip(name, fps=fps, duration_s=2, audio=False)
    asked = [0.0, 0.2, 0.41, 0.95, 1.0, 1.5, 1.93]
    frames = list(read_frames(path, asked, tolerance_s=0.0))
    expected = [int(t * float(fps) + 0.02) for t in asked]
    assert [read_index(f.rgb) for f in frames] == expected
    stamps = [k / float(fps) for k in expected]
    assert [f.timestamp_s for f in frames] == pytest.approx(stamps, abs=0.0006)


def test_each_frame_is_given_once(make_clip, read_index):
    path = make_clip(fps=5, duration_s=2, audio=False)
    frames = list(read_frames(path, regular_times(2.0, 30), tolerance_s=0.02))
    assert [read_index(f.rgb) for f in frames] == list(range(10))


def test_variable_rate_and_gaps(make_clip, read_index):
    times_s = [0.0, 0.1, 0.13, 0.5, 2.0, 2.04]
    path = make_clip("v.mkv", frame_times_s=times_s, audio=False)
    # A frame that the container shows for 40 ms answers for 40 ms, or for the tolerance.
    given = list(read_frames(path, [0.05, 0.12, 0.3, 0.53, 1.5, 2.03], tolerance_s=0.0))
    assert [read_index(f.rgb) for f in given] == [1, 3, 4]
    given = list(read_frames(path, [0.05, 0.12, 0.3, 0.53, 1.5, 2.03], tolerance_s=0.2))
    assert [read_index(f.rgb) for f in given] == [0, 1, 2, 3, 4]
    assert [f.timestamp_s for f in given] == pytest.approx(times_s[:5], abs=0.0006)


def test_mp4_states_how_long_each_frame_stands(make_clip, read_index):
    path = make_clip("v.mp4", frame_times_s=[0.0, 0.1, 1.5, 1.6], audio=False)
    given = list(read_frames(path, [0.05, 1.4, 1.55], tolerance_s=0.0))
    assert [read_index(f.rgb) for f in given] == [0, 1, 2]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_late_video_has_no_frame_before_its_start(make_clip, read_index, name):
    path = make_clip(name, video_offset_s=0.5, audio_codec="flac")
    frames = list(read_frames(path, [0.0, 0.3, 0.45, 0.5, 1.1], tolerance_s=0.06))
    assert [read_index(f.rgb) for f in frames] == [0, 15]
    assert [f.timestamp_s for f in frames] == pytest.approx([0.5, 1.1], abs=0.001)


def test_late_sound_leaves_video_in_place(make_clip, read_index):
    path = make_clip("o.mkv", video_offset_s=3.0, audio_offset_s=3.7)
    frames = list(read_frames(path, [0.0, 1.0], tolerance_s=0.0))
    assert [(read_index(f.rgb), f.timestamp_s) for f in frames] == [(0, 0.0), (25, 1.0)]


def test_raw_stream_without_timestamps(make_clip, read_index):
    path = make_clip("raw.h264", codec_options={"preset": "veryfast", "bf": "5"})
    frames = list(read_frames(path, [0.0, 0.4, 1.0], tolerance_s=0.0))
    assert [read_index(f.rgb) for f in frames] == [0, 10, 25]
    assert [f.timestamp_s for f in frames] == pytest.approx([0.0, 0.4, 1.0])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_frames_are_upright(make_clip, read_index, rotation):
    path = make_clip("r.mov", width=160, height=96, rotation=rotation, duration_s=0.6)
    (frame,) = read_frames(path, [0.4], tolerance_s=0.0)
    assert frame.rgb.shape == (96, 160, 3)
    assert read_index(frame.rgb) == 10
    (small,) = read_frames(path, [0.4], tolerance_s=0.0, max_side_px=80)
    assert small.rgb.shape == (48, 80, 3)
    assert read_index(small.rgb) == 10


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("flip_rows", [False, True])
@pytest.mark.parametrize("flip_columns", [False, True])
def test_orientation_moves_pixels_as_its_matrix_says(transposed, flip_rows, flip_columns):
    stored = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    upright = Orientation(transposed, flip_rows, flip_columns).apply(stored)
    height, width = upright.shape[:2]
    for q in range(4):
        for p in range(6):
            x, y = (q, p) if transposed else (p, q)
            x = width - 1 - x if flip_columns else x
            y = height - 1 - y if flip_rows else y
            assert np.array_equal(upright[y, x], stored[q, p])


@pytest.mark.parametrize(("hflip", "vflip"), [(True, False), (False, True), (True, True)])
def test_mirrored_video(tmp_path, hflip, vflip):
    stored = np.zeros((96, 160, 3), np.uint8)
    stored[:48, :80] = 200  # bright: top left as stored
    path = tmp_path / "mirror.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.set_display_rotation(0, hflip=hflip, vflip=vflip)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(stored)))
        output.mux(stream.encode(None))
    (frame,) = read_frames(path, [0.0], tolerance_s=0.1)
    bright = frame.rgb[72 if vflip else 24, 120 if hflip else 40]
    assert bright.mean() > 150
    assert frame.rgb.mean() < 70
    assert probe(path).video.rotation_deg == (180 if vflip else 0)


def test_scaling_bounds_the_longer_side_and_averages(make_clip):
    checks = np.indices((240, 320)).sum(axis=0) % 2 * 255
    picture = np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2)
    path = make_clip(
        width=320, height=240, paint=lambda *_: picture, audio=False, codec_options={"crf": "1"}
    )
    (frame,) = read_frames(path, [0.0], tolerance_s=0.1, max_side_px=64)
    assert frame.rgb.shape == (48, 64, 3)
    assert frame.rgb.std() < 6 and abs(frame.rgb.mean() - 127) < 8
    (frame,) = read_frames(path, [0.0], tolerance_s=0.1, max_side_px=999)
    assert np.array_equal(frame.rgb, clips.decode_all(path)[0].rgb)


def test_reads_no_further_than_asked(make_clip):
    path = make_clip(duration_s=2, audio=False)
    assert len(list(read_frames(path, (k / 5 for k in count()), tolerance_s=0.01))) == 10
    assert list(read_frames(path, [], tolerance_s=0.1)) == []
    assert list(regular_times(1.05, 5)) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert list(read_frames(path, [7.0], tolerance_s=0.1)) == []


def test_bad_arguments(make_clip):
    path = make_clip(duration_s=0.5, audio=False)
    with pytest.raises(ValueError, match="not decrease"):
        list(read_frames(path, [0.3, 0.1], tolerance_s=0.1))
    with pytest.raises(ValueError, match="not decrease"):
        list(read_frames(path, [float("nan")], tolerance_s=0.1))
    with pytest.raises(ValueError, match="tolerance_s"):
        list(read_frames(path, [0.3], tolerance_s=-0.1))
    with pytest.raises(ValueError, match="max_side_px"):
        list(read_frames(path, [0.3], tolerance_s=0.1, max_side_px=0))


def test_truncated_file_gives_what_there_is(make_clip):
    path = make_clip(duration_s=4, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    messages: list[str] = []
    frames = list(
        read_frames(path, regular_times(4.0, 5), tolerance_s=0.1, on_damage=messages.append)
    )
    assert 8 <= len(frames) <= 13
    assert messages


def test_damage_in_the_middle_is_skipped(make_clip, read_index):
    path = make_clip(
        codec_options={"g": "5", "preset": "ultrafast"},
        duration_s=4,
        audio=False,
        container_options={"movflags": "faststart"},
    )
    content = bytearray(path.read_bytes())
    middle = (content.index(b"mdat") + len(content)) // 2
    content[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(content)
    messages: list[str] = []
    frames = list(
        read_frames(path, regular_times(4.0, 5), tolerance_s=0.1, on_damage=messages.append)
    )
    assert len(frames) >= 17
    assert frames[-1].timestamp_s == pytest.approx(3.8, abs=0.11)
    assert read_index(frames[-1].rgb) == round(frames[-1].timestamp_s * 25)
    assert messages


def test_pictures_leave_no_cycles_behind(make_clip):
    """Else their pixels would stay in memory until the collector comes round, perhaps never."""
    path = make_clip("long.mp4", duration_s=8.0)
    gc.collect()
    gc.disable()
    try:
        num_before = sum(type(o) is VideoFrame for o in gc.get_objects())
        num_frames = sum(1 for _ in read_frames(path, regular_times(8.0, 5), tolerance_s=0.1))
        num_left = sum(type(o) is VideoFrame for o in gc.get_objects()) - num_before
    finally:
        gc.enable()
    assert num_frames == 40
    assert num_left <= 1
