from __future__ import annotations

import av
import numpy as np
import pytest

from facevoice.errors import UnreadableMediaError
from facevoice.media import read_audio

RATE_HZ = 16_000


def samples_of(path, **options) -> np.ndarray:
    return np.concatenate([block.samples for block in read_audio(path, **options)])


def tone(num_samples: int, rate_hz: int, tone_hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(num_samples) / rate_hz)


def burst(rate_hz: int, at_s: float, duration_s: float) -> np.ndarray:
    """Silence with a 50-ms tone of 1 kHz at `at_s`."""
    samples = np.zeros(round(duration_s * rate_hz))
    start, length = round(at_s * rate_hz), round(0.05 * rate_hz)
    samples[start : start + length] = tone(length, rate_hz, 1000.0)
    return samples


def burst_start_s(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(samples) > 0.2)) / RATE_HZ


def peak_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * RATE_HZ / len(samples)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_lossless_tone_comes_out_sample_by_sample(make_clip, rate_hz):
    path = make_clip("t.wav", duration_s=2.0, sample_rate_hz=rate_hz, audio_codec="pcm_f32le")
    samples = samples_of(path)
    assert samples.dtype == np.float32
    assert len(samples) == 2 * RATE_HZ
    inner = slice(800, -800)  # the resampling filter rings where the tone starts and ends
    assert np.abs(samples - tone(2 * RATE_HZ, RATE_HZ))[inner].max() < 2e-4


@pytest.mark.parametrize(
    ("name", "rate_hz"),
    [
        *((f"t.{kind}", 44_100) for kind in ("mp4", "mkv", "mov", "ts", "avi", "mp3", "flac")),
        *((f"t.{kind}", 48_000) for kind in ("mp4", "mkv", "webm", "ts", "mp3", "ogg", "flac")),
    ],
)
def test_tone_keeps_pitch_and_loudness(make_clip, name, rate_hz):
    samples = samples_of(make_clip(name, duration_s=2.0, sample_rate_hz=rate_hz, num_channels=2))
    inner = samples[RATE_HZ // 2 : RATE_HZ * 3 // 2]
    level = 0.5 * (0.95 if name in ("t.mp3", "t.avi") else 1.0)  # LAME scales by 0.95
    assert len(samples) / RATE_HZ == pytest.approx(2.0, abs=0.06)
    assert peak_hz(inner) == pytest.approx(440, abs=1)
    assert np.sqrt(2 * np.mean(inner**2)) == pytest.approx(level, rel=0.03)


@pytest.mark.parametrize("name", ["b.mp4", "b.mkv", "b.webm", "b.mov", "b.mp3", "b.ogg", "b.flac"])
def test_sound_is_where_it_was_put(make_clip, name):
    path = make_clip(name, samples=burst(48_000, 1.0, 2.0), duration_s=2.0)
    assert burst_start_s(samples_of(path)) == pytest.approx(1.0, abs=0.008)


def test_blocks_are_contiguous_and_equal(make_clip):
    path = make_clip("b.wav", duration_s=2.3, sample_rate_hz=44_100)
    blocks = list(read_audio(path, block_s=0.5))
    assert [len(b.samples) for b in blocks[:-1]] == [8000] * 4
    assert len(blocks[-1].samples) == 4800
    assert [b.start_s for b in blocks] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    whole = samples_of(path, block_s=10.0)
    assert np.array_equal(np.concatenate([b.samples for b in blocks]), whole)
    with pytest.raises(ValueError, match="block_s"):
        list(read_audio(path, block_s=0))


def test_channels_are_averaged(make_clip):
    left, right = tone(48_000, 48_000, 440), tone(48_000, 48_000, 1000)
    path = make_clip("s.wav", samples=np.stack([left, right]), audio_codec="pcm_f32le")
    inner = samples_of(path)[1600:14400]
    spectrum = np.abs(np.fft.rfft(inner)) * 2 / len(inner)
    assert spectrum[round(440 * len(inner) / RATE_HZ)] == pytest.approx(0.25, rel=0.01)
    assert spectrum[round(1000 * len(inner) / RATE_HZ)] == pytest.approx(0.25, rel=0.01)
    # Equal channels keep their level; swresample's own downmix would raise it by 3 dB.
    path = make_clip("m.wav", num_channels=2, audio_codec="pcm_f32le")
    assert np.abs(samples_of(path)).max() == pytest.approx(0.5, rel=0.01)
    six = np.zeros((6, 48_000))
    six[2] = tone(48_000, 48_000)
    path = make_clip("six.mkv", samples=six, audio_codec="flac", video=False)
    assert np.abs(samples_of(path)).max() == pytest.approx(0.5 / 6, rel=0.02)
    # Louder than full scale.
    path = make_clip("loud.wav", samples=4 * tone(48_000, 48_000), audio_codec="pcm_f32le")
    assert np.abs(samples_of(path)).max() == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    "codec",
    ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_s64le", "pcm_f32le", "pcm_f64le"],
)
def test_packed_formats_are_scaled_alike(make_clip, codec):
    wanted = np.repeat([-1.0, -0.5, 0.0, 0.25, 0.75], 400)
    path = make_clip(
        "f.wav",
        samples=np.stack([wanted, np.zeros_like(wanted)]),
        sample_rate_hz=RATE_HZ,
        audio_codec=codec,
    )
    tolerance = 0.005 if codec == "pcm_u8" else 2e-5
    assert samples_of(path) == pytest.approx(wanted / 2, abs=tolerance)


@pytest.mark.parametrize(("codec", "name"), [("flac", "p.mkv"), ("alac", "p.m4a")])
def test_planar_channels_are_averaged_too(make_clip, codec, name):
    stereo = np.stack([tone(16_000, RATE_HZ), np.zeros(16_000)])
    path = make_clip(name, samples=stereo, sample_rate_hz=RATE_HZ, audio_codec=codec, video=False)
    assert samples_of(path) == pytest.approx(stereo[0] / 2, abs=1e-3)


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv"])
def test_late_sound_starts_with_zeros(make_clip, name):
    path = make_clip(name, samples=burst(48_000, 0.25, 1.0), audio_offset_s=0.5, audio_codec="flac")
    samples = samples_of(path)
    assert not samples[: RATE_HZ // 2 - 40].any()
    assert burst_start_s(samples) == pytest.approx(0.75, abs=0.002)
    assert len(samples) == pytest.approx(1.5 * RATE_HZ, abs=20)


def write_stamped_clicks(path, starts_s: list[float], rate_hz: int = 48_000) -> None:
    """Packets of a quarter second, each a 20-ms click and silence, stamped as asked (Matroska)."""
    length = rate_hz // 4
    click = np.zeros((1, length), np.float32)
    click[0, : rate_hz // 50] = 0.5
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        for start_s in starts_s:
            frame = av.AudioFrame.from_ndarray(
                (click * 32767).astype(np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = rate_hz, round(start_s * rate_hz)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def click_starts_s(samples: np.ndarray) -> list[float]:
    loud = np.concatenate([[False], np.abs(samples) > 0.2])
    return list(np.flatnonzero(~loud[:-1] & loud[1:]) / RATE_HZ)


def test_gaps_are_filled_with_silence(tmp_path):
    path = tmp_path / "gap.mkv"
    write_stamped_clicks(path, [0.0, 0.25, 1.5, 4.0, 4.25])
    samples = samples_of(path)
    assert click_starts_s(samples) == pytest.approx([0.0, 0.25, 1.5, 4.0, 4.25], abs=0.002)
    assert len(samples) == pytest.approx(4.5 * RATE_HZ, abs=20)


def test_overlaps_are_trimmed(tmp_path):
    path = tmp_path / "overlap.mkv"
    write_stamped_clicks(path, [0.0, 0.25, 0.4, 0.75])
    # The packet at 0.40 s loses its first 0.1 s, its click with it; the one at 0.75 s stays put.
    assert click_starts_s(samples_of(path)) == pytest.approx([0.0, 0.25, 0.75], abs=0.002)


def test_rounded_timestamps_are_no_gaps(tmp_path):
    path = tmp_path / "jitter.mkv"
    write_stamped_clicks(path, [0.0, 0.252, 0.499, 0.753])
    samples = samples_of(path)
    assert len(samples) == RATE_HZ
    assert click_starts_s(samples) == pytest.approx([0.0, 0.25, 0.5, 0.75], abs=0.0005)


def test_truncated_file_gives_what_there_is(make_clip):
    path = make_clip(
        samples="noise", duration_s=4, container_options={"movflags": "faststart"}, fps=5
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    messages: list[str] = []
    samples = samples_of(path, on_damage=messages.append)
    assert 1.0 < len(samples) / RATE_HZ < 3.0
    assert messages


def test_damage_in_the_middle_is_reported_and_skipped(make_clip):
    path = make_clip("d.m4a", samples="noise", duration_s=4)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = b"\xff" * 2_000
    path.write_bytes(content)
    messages: list[str] = []
    samples = samples_of(path, on_damage=messages.append)
    assert len(samples) / RATE_HZ == pytest.approx(4, abs=0.3)
    assert messages


def test_nothing_decodable(make_clip):
    path = make_clip("n.mp4", container_options={"movflags": "faststart"}, fps=5)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = b"\xff" * (len(content) - start)
    path.write_bytes(content)
    with pytest.raises(UnreadableMediaError, match="aac"):
        samples_of(path)


def test_ten_minutes_of_missing_sound_costs_no_memory(tmp_path):
    import tracemalloc

    path = tmp_path / "long.mkv"
    write_stamped_clicks(path, [0.0, 600.0])
    tracemalloc.start()
    num_samples = sum(len(block.samples) for block in read_audio(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_samples == pytest.approx(600.25 * RATE_HZ, abs=20)
    assert peak < 5_000_000


def test_leap_of_a_day_is_taken_for_a_damaged_timestamp(tmp_path):
    path = tmp_path / "leap.mkv"
    write_stamped_clicks(path, [0.0, 0.25, 90_000.5, 90_000.75])
    messages: list[str] = []
    samples = samples_of(path, on_damage=messages.append)
    assert click_starts_s(samples) == pytest.approx([0.0, 0.25, 0.5, 0.75], abs=0.002)
    assert len(messages) == 1


def test_samples_that_are_no_numbers_are_silence(make_clip):
    samples = np.full(16_000, 0.25, np.float32)
    samples[4000:4100] = np.nan
    samples[5000:5100] = np.inf
    samples[6000:6100] = 1e30
    path = make_clip("bad.wav", audio_codec="pcm_f32le", samples=samples, sample_rate_hz=16_000)
    heard = np.concatenate([block.samples for block in read_audio(path)])
    assert np.isfinite(heard).all()
    assert (heard != 0).sum() == 15_700
    assert heard.max() == 0.25
