from __future__ import annotations

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from facevoice.errors import UnreadableMediaError
from facevoice.media import probe
from facevoice.media import read_frames, regular_times
from facevoice.media.open import Orientation

B_FRAMES = {"preset": "veryfast", "bf": "5", "x264-params": "b-adapt=0:b-pyramid=normal:fps=25"}
TEXTURE = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def decode_all(path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]


def moving_texture(index: int, _: float) -> np.ndarray:
    shift = index * 3 % 150
    return TEXTURE[shift : shift + 120, shift : shift + 160]


def test_regular_times():
    assert list(regular_times(1.0, 5)) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert list(regular_times(1.05, 5))[-1] == 1.0
    assert list(regular_times(0.0, 5)) == []


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001)])
@pytest.mark.parametrize("name", ["c.mp4", "c.mkv", "c.webm", "c.avi", "c.ts"])
def test_picks_the_frame_on_display(make_clip, read_index, name, fps):
    path = make_clip(name, fps=fps, duration_s=2, audio=False)
    asked = [0.0, 0.2, 0.41, 0.95, 1.0, 1.5, 1.93]
    frames = list(read_frames(path, asked, tolerance_s=0.0))
    expected = [int(t * float(fps) + 0.02) for t in asked]
    assert [read_index(f.rgb) for f in frames] == expected
    stamps = [k / float(fps) for k in expected]
    assert [f.timestamp_s for f in frames] == pytest.approx(stamps, abs=0.0006)


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
@pytest.mark.parametrize("rate_hz", [2.0, 7.0, 25.0])
def test_pixels_are_those_of_a_full_decode(make_clip, codec, rate_hz):
    options = {
        "libx264": B_FRAMES,
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=4:b-adapt=0"},
        "mpeg4": {"bf": "2"},
    }[codec]
    path = make_clip(codec=codec, codec_options=options, paint=moving_texture, audio=False)
    reference = decode_all(path)
    asked = list(regular_times(2.0, rate_hz))
    frames = list(read_frames(path, asked, tolerance_s=0.0))
    assert len(frames) == len(asked)
    for time_s, frame in zip(asked, frames, strict=True):
        assert np.array_equal(frame.rgb, reference[int(time_s * 25 + 0.01)])


def test_frames_nobody_asks_for_are_not_decoded(make_clip, monkeypatch):
    from facevoice.media import frames as video

    path = make_clip(codec_options=B_FRAMES, paint=moving_texture, audio=False, duration_s=4)
    decoded = []
    real = video.decode
    monkeypatch.setattr(
        video, "decode", lambda *args: [decoded.append(f) or f for f in real(*args)]
    )
    assert len(list(read_frames(path, [0.0, 1.0, 2.0, 3.96], tolerance_s=0.0))) == 4
    assert 4 < len(decoded) < 75


def test_b_frames_really_occur(make_clip):
    path = make_clip(codec_options=B_FRAMES, paint=moving_texture, audio=False)
    with av.open(str(path)) as container:
        pts = [p.pts for p in container.demux(video=0) if p.pts is not None]
    assert pts != sorted(pts)


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
    path = make_clip("raw.h264", codec_options=B_FRAMES)
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
    assert np.array_equal(frame.rgb, decode_all(path)[0])


def test_reads_no_further_than_asked(make_clip):
    from itertools import count

    path = make_clip(duration_s=2, audio=False)
    assert len(list(read_frames(path, (k / 5 for k in count()), tolerance_s=0.01))) == 10
    assert list(read_frames(path, [], tolerance_s=0.1)) == []
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
    path = make_clip(
        paint=moving_texture, duration_s=4, container_options={"movflags": "faststart"}
    )
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


def test_nothing_decodable(make_clip):
    path = make_clip(container_options={"movflags": "faststart"}, audio=False)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start)
    path.write_bytes(content)
    assert probe(path).has_video
    with pytest.raises(UnreadableMediaError, match="h264"):
        list(read_frames(path, [0.0], tolerance_s=0.1))


def test_streams_that_appear_midway_do_not_stop_the_reading(make_clip, read_index):
    # Transport streams may be joined end to end; the second one brings streams of its own.
    first = make_clip("first.ts", duration_s=1)
    second = make_clip("second.ts", duration_s=1, container_options={"mpegts_start_pid": "0x300"})
    path = first.with_name("joined.ts")
    path.write_bytes(first.read_bytes() * 4 + second.read_bytes())
    assert probe(path).duration_s > 0.9
    frames = list(read_frames(path, [0.1, 0.9], tolerance_s=0.05))
    assert [read_index(f.rgb) for f in frames] == pytest.approx([2, 22], abs=1)


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
