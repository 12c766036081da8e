from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from facevoice.records import SAMPLE_RATE_HZ
from facevoice.web.live import LiveStream, decode_jpeg


def jpeg(shade: int = 128, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def heard(stream: LiveStream) -> np.ndarray:
    stream.stop()
    blocks = list(stream.blocks() or ())
    starts = [block.start_s for block in blocks]
    lengths = np.cumsum([0, *(len(block.samples) for block in blocks)])[:-1]
    assert starts == pytest.approx(lengths / SAMPLE_RATE_HZ)
    return np.concatenate([block.samples for block in blocks])


def test_frames_come_out_decoded_and_in_order() -> None:
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    stream.put_frame(0.2, jpeg(10))
    stream.put_frame(0.1, jpeg(20))  # overtaken
    stream.put_frame(0.4, b"no picture")
    stream.put_frame(0.6, jpeg(30))
    stream.stop()
    frames = list(stream.frames() or ())
    assert [frame.timestamp_s for frame in frames] == [0.2, 0.6]
    assert [frame.rgb.shape for frame in frames] == [(48, 64, 3)] * 2
    assert abs(int(frames[1].rgb[0, 0, 0]) - 30) < 3
    assert stream.blocks() is None


def test_frames_are_dropped_where_too_many_wait() -> None:
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    for k in range(20):
        stream.put_frame(k / 5, jpeg())
    stream.stop()
    num_given = len(list(stream.frames() or ()))
    assert num_given + stream.num_dropped == 20
    assert stream.num_dropped > 0


def test_nothing_is_taken_after_the_stop() -> None:
    stream = LiveStream(sample_rate_hz=16_000, has_video=True)
    stream.stop()
    stream.put_frame(0.0, jpeg())
    stream.put_sound(0.0, np.ones(1600, np.float32))
    assert list(stream.frames() or ()) == []
    assert list(stream.blocks() or ()) == []
    assert stream.stopped


def test_sound_is_resampled_without_gap() -> None:
    stream = LiveStream(sample_rate_hz=48_000, has_video=False)
    tone = np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000).astype(np.float32)
    for k in range(20):
        stream.put_sound(k / 10, tone[k * 4800 : (k + 1) * 4800])
    samples = heard(stream)
    assert abs(len(samples) - 32_000) < 800  # what the resampler still holds
    spectrum = np.abs(np.fft.rfft(samples[8000:24_000]))
    assert int(spectrum.argmax()) == 440
    assert stream.frames() is None


def test_silence_stands_in_for_what_is_missing() -> None:
    stream = LiveStream(sample_rate_hz=16_000, has_video=False)
    stream.put_sound(0.5, np.ones(1600, np.float32))  # the microphone was late
    stream.put_sound(1.6, np.ones(1600, np.float32))  # a second was lost
    samples = heard(stream)
    assert len(samples) == pytest.approx(1.7 * 16_000, abs=2)
    assert np.all(samples[:8000] == 0)
    assert np.all(samples[8000:9600] == 1)
    assert np.all(samples[9600 : 16 * 1600] == 0)


def test_small_jitter_is_no_gap_and_repeated_sound_is_cut() -> None:
    stream = LiveStream(sample_rate_hz=16_000, has_video=False)
    stream.put_sound(0.0, np.full(16_000, 0.25, np.float32))
    stream.put_sound(1.05, np.full(16_000, 0.5, np.float32))
    stream.put_sound(1.0, np.full(16_000, 0.75, np.float32))  # heard before
    assert len(heard(stream)) == 32_000


def test_lag_is_counted_from_the_fastest_message() -> None:
    stream = LiveStream(sample_rate_hz=None, has_video=True)
    assert stream.lag_s(3.0) == 0.0
    stream.put_frame(10.0, jpeg())
    assert stream.lag_s(10.0) == pytest.approx(0.0, abs=0.5)
    assert stream.lag_s(5.0) == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", jpeg(size=(4000, 10)), b"GIF89a\x01\x00\x01\x00"]
)
def test_what_is_no_picture_of_a_camera_is_left_out(content: bytes) -> None:
    assert decode_jpeg(content) is None
