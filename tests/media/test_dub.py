"""Dubs: one rule for cutting, loudness and codecs, whatever goes in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from facevoice.corpora.dubs import (
    DubRule,
    encode_pictures,
    integrated_loudness_lufs,
    join_dub,
    peak_dbfs,
    read_sound,
    sounding_span_s,
    write_dub,
)
from facevoice.errors import (
    ConfigError,
    MediaError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media import probe
from facevoice.media import read_frames

RATE_HZ = 16_000
AAC_FRAME_S = 1024 / RATE_HZ


def ebur128_lufs(samples: np.ndarray, rate_hz: int) -> float:
    """FFmpeg's own measurement, an independent oracle."""
    if not hasattr(av.AudioFrame, "metadata"):
        pytest.skip("this PyAV does not show the filter's result")
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="flt", layout="mono")
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "flt", "mono")
    frame.sample_rate, frame.pts = rate_hz, 0
    graph.push(frame)
    graph.push(None)
    last = None
    while True:
        try:
            last = graph.pull()
        except (av.EOFError, av.BlockingIOError):
            return float(last.metadata["lavfi.r128.I"])


def bursts(duration_s: float, level: float, seed: int = 0) -> np.ndarray:
    """Noise that comes and goes three times a second, like syllables."""
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).normal(0, 1, len(t)).clip(-3, 3) / 3
    return (level * noise * np.maximum(0, np.sin(2 * np.pi * 3 * t)) ** 2).astype(np.float32)


def sound_of(path: Path) -> np.ndarray:
    return read_sound(path)


def times_of(path: Path) -> list[float]:
    times = (k / 1000 for k in range(10_000))
    return [frame.timestamp_s for frame in read_frames(path, times, tolerance_s=0.0)]


@pytest.fixture
def voice(make_clip) -> Path:
    return make_clip("v.wav", video=False, samples=bursts(2.0, 0.3), sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("kind", ["tone", "noise", "bursts", "pause"])
def test_loudness_is_that_of_ffmpeg(kind, rate_hz):
    t = np.arange(3 * rate_hz) / rate_hz
    noise = np.random.default_rng(1).normal(0, 0.1, len(t))
    samples = {
        "tone": 0.1 * np.sin(2 * np.pi * 1000 * t),
        "noise": noise,
        "bursts": noise * np.maximum(0, np.sin(2 * np.pi * 2 * t)) ** 2,
        "pause": noise * np.where(t < 1.5, 1, 0.003),
    }[kind].astype(np.float32)
    measured = integrated_loudness_lufs(samples, rate_hz)
    assert measured == pytest.approx(ebur128_lufs(samples, rate_hz), abs=0.11)


def test_loudness_of_the_reference_tone():
    # EBU Tech 3341: a 1-kHz sine with a peak of -20 dBFS in one channel of sound: -23 LUFS.
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(48_000 * 3) / 48_000)
    assert integrated_loudness_lufs(tone.astype(np.float32), 48_000) == pytest.approx(-23, abs=0.1)


def test_silence_and_too_short_sounds_have_no_loudness():
    assert integrated_loudness_lufs(np.zeros(RATE_HZ, np.float32), RATE_HZ) is None
    assert integrated_loudness_lufs(np.ones(6_399, np.float32), RATE_HZ) is None
    assert integrated_loudness_lufs(np.full(RATE_HZ, 1e-5, np.float32), RATE_HZ) is None
    assert peak_dbfs(np.zeros(10, np.float32)) is None
    assert sounding_span_s(np.zeros(RATE_HZ, np.float32), RATE_HZ) is None
    assert sounding_span_s(np.zeros(0, np.float32), RATE_HZ) is None


def test_sounding_span():
    samples = np.zeros(RATE_HZ * 2, np.float32)
    samples[RATE_HZ // 2 : RATE_HZ] = 0.5
    samples[RATE_HZ * 3 // 2] = 1e-4  # far below the floor
    start_s, end_s = sounding_span_s(samples, RATE_HZ)
    assert start_s == pytest.approx(0.5, abs=0.02)
    assert end_s == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("length_s", [0.4, 1.0, 1.237])
def test_both_streams_start_together_and_are_cut_alike(make_clip, voice, tmp_path, length_s):
    face = make_clip("f.mp4", fps=30)
    dub = write_dub(face, voice, tmp_path / "d.mp4", length_s)
    info = probe(dub.path)
    assert info.video.start_s == info.audio.start_s == 0.0
    assert info.duration_s == pytest.approx(length_s, abs=0.002)
    times = times_of(dub.path)
    assert dub.num_frames == len(times) == int(np.ceil(length_s * 30 - 1e-6))
    assert times == pytest.approx([k / 30 for k in range(len(times))], abs=1e-4)
    assert 0 <= len(sound_of(dub.path)) / RATE_HZ - length_s < AAC_FRAME_S


@pytest.mark.parametrize("level", [0.01, 0.1, 0.9])
def test_voice_comes_to_the_target_loudness(make_clip, tmp_path, level):
    face = make_clip("f.mp4")
    loud = make_clip("l.wav", video=False, samples=bursts(2, level), sample_rate_hz=RATE_HZ)
    dub = write_dub(face, loud, tmp_path / "d.mp4", 1.5)
    assert dub.loudness_lufs == pytest.approx(-23, abs=0.01)
    heard = sound_of(dub.path)[: round(1.5 * RATE_HZ)]
    assert integrated_loudness_lufs(heard, RATE_HZ) == pytest.approx(-23, abs=0.5)


def test_peak_ceiling_limits_the_gain_without_bending_the_sound(make_clip, tmp_path):
    samples = bursts(2, 0.01)
    samples[8_000] = 0.9  # a click far above everything else
    face = make_clip("f.mp4")
    click = make_clip("c.wav", video=False, samples=samples, sample_rate_hz=RATE_HZ)
    dub = write_dub(face, click, tmp_path / "d.mp4", 1.5)
    assert dub.peak_dbfs == pytest.approx(-1.0, abs=0.01)
    assert dub.loudness_lufs < -23.5


def test_sound_stays_where_it_was(make_clip, tmp_path):
    samples = bursts(2, 0.3)
    voice = make_clip("v.wav", video=False, samples=samples, sample_rate_hz=RATE_HZ)
    dub = write_dub(make_clip("f.mp4"), voice, tmp_path / "d.mp4", 1.5)
    heard = sound_of(dub.path)[:24_000]
    size = 1 << 17
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(samples[:24_000], size))
    assert np.argmax(np.fft.irfft(spectrum, size)) == 0


def test_silent_voice_stays_silent(make_clip, tmp_path):
    silent = make_clip("s.wav", video=False, samples="silence")
    dub = write_dub(make_clip("f.mp4"), silent, tmp_path / "d.mp4", 1.0)
    assert (dub.gain_db, dub.loudness_lufs, dub.peak_dbfs) == (0.0, None, None)
    assert np.abs(sound_of(dub.path)).max() < 1e-4


def test_matches_and_conflicts_get_the_same_codec_parameters(make_clip, tmp_path):
    quiet = make_clip("q.ogg", video=False, samples=bursts(2, 0.02), sample_rate_hz=RATE_HZ)
    loud = make_clip("l.mp3", video=False, samples="noise", num_channels=2, sample_rate_hz=44_100)
    face = make_clip("f.mp4")
    described = []
    for name, voice in (("a.mp4", quiet), ("b.mp4", loud), ("c.mp4", face)):
        path = write_dub(face, voice, tmp_path / name, 1.5).path
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            described.append(
                (
                    container.metadata,
                    [stream.metadata for stream in container.streams],
                    [stream.codec_context.codec.name for stream in container.streams],
                    (video.width, video.height, video.time_base, video.codec_context.extradata),
                    (audio.sample_rate, audio.layout.name, audio.codec_context.extradata),
                    [(p.pts, p.duration, bytes(p)) for p in container.demux(video) if p.size],
                )
            )
    assert described[0] == described[1] == described[2]


def test_bytes_are_the_same_every_time_and_carry_no_date(make_clip, voice, tmp_path):
    face = make_clip("f.mp4")
    pictures = encode_pictures(face, 1.0)
    digests = {
        hashlib.sha256(dub.path.read_bytes()).hexdigest()
        for dub in (
            write_dub(face, voice, tmp_path / "a.mp4", 1.0),
            write_dub(face, voice, tmp_path / "b.mp4", 1.0),
            join_dub(pictures, voice, tmp_path / "c.mp4"),
        )
    }
    assert len(digests) == 1
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert "creation_time" not in container.metadata
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"f.mp4" not in content
    assert b"v.wav" not in content


def test_starts_inside_longer_files(make_clip, voice, tmp_path, read_index):
    face = make_clip("f.mp4", fps=25, duration_s=3)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 1.0, face_start_s=1.0, voice_start_s=0.5)
    frames = read_frames(dub.path, [k / 25 for k in range(25)], tolerance_s=0.001)
    assert [read_index(frame.rgb) for frame in frames] == list(range(25, 50))
    expected = read_sound(voice, 0.5, 1.0)
    heard = sound_of(dub.path)[:RATE_HZ]
    assert np.corrcoef(expected, heard)[0, 1] > 0.9


def test_turned_pictures_become_upright(make_clip, voice, tmp_path, read_index):
    face = make_clip("f.mp4", width=120, height=160, rotation=90)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 1.0)
    info = probe(dub.path).video
    assert (info.width_px, info.height_px, info.rotation_deg) == (120, 160, 0)
    frames = read_frames(dub.path, [k / 25 for k in range(25)], tolerance_s=0.001)
    assert [read_index(frame.rgb) for frame in frames] == list(range(25))


def test_odd_sides_get_a_row_and_a_column_more(make_clip, voice, tmp_path, read_index):
    options = {"preset": "ultrafast", "crf": "18"}
    face = make_clip("f.mp4", width=161, height=121, pix_fmt="yuv444p", codec_options=options)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 1.0)
    info = probe(dub.path).video
    assert (info.width_px, info.height_px) == (162, 122)
    assert [read_index(f.rgb) for f in read_frames(dub.path, [0.4], tolerance_s=0.01)] == [10]


def test_large_pictures_are_scaled_down(make_clip, voice, tmp_path):
    face = make_clip("f.mp4", width=320, height=240, duration_s=1)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 0.9, DubRule(max_side_px=101))
    info = probe(dub.path).video
    assert (info.width_px, info.height_px) == (102, 76)


def test_times_of_pictures_are_kept(make_clip, voice, tmp_path):
    times_s = [0.0, 0.05, 0.4, 0.41, 0.9, 1.3, 1.8]
    face = make_clip("f.mp4", frame_times_s=times_s)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 1.0)
    assert times_of(dub.path) == pytest.approx([0.0, 0.05, 0.4, 0.41, 0.9], abs=1e-4)
    assert probe(dub.path).duration_s == pytest.approx(1.0, abs=0.002)


def test_pictures_that_start_late_are_there_from_the_beginning(make_clip, voice, tmp_path):
    face = make_clip("f.mkv", video_offset_s=0.12)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 1.0)
    assert times_of(dub.path)[:3] == pytest.approx([0.0, 0.16, 0.2], abs=2e-3)


def test_a_file_that_is_too_short_is_refused_by_name(make_clip, voice, tmp_path):
    face = make_clip("f.mp4", duration_s=1.0)
    with pytest.raises(MediaError, match=r"f\.mp4: its video ends after 1\.00 s of the 1\.50 s"):
        write_dub(face, voice, tmp_path / "d.mp4", 1.5)
    with pytest.raises(MediaError, match=r"v\.wav: its sound ends after 2\.00 s of the 2\.50 s"):
        write_dub(make_clip("g.mp4", duration_s=3), voice, tmp_path / "d.mp4", 2.5)
    assert not list(tmp_path.glob("d.mp4*"))


def test_rounding_of_the_containers_is_no_shortage(make_clip, voice, tmp_path):
    face = make_clip("f.mp4", duration_s=2.0)
    dub = write_dub(face, voice, tmp_path / "d.mp4", 2.04)
    assert probe(dub.path).duration_s == pytest.approx(2.04, abs=0.002)


def test_missing_streams_and_files_are_named(make_clip, voice, tmp_path):
    face = make_clip("f.mp4", audio=False)
    out = tmp_path / "d.mp4"
    with pytest.raises(NoStreamError, match=r"v\.wav: holds no video"):
        write_dub(voice, voice, out, 1.0)
    with pytest.raises(NoStreamError, match=r"f\.mp4: holds no sound"):
        write_dub(face, face, out, 1.0)
    with pytest.raises(MediaNotFoundError, match=r"none\.mp4"):
        write_dub(tmp_path / "none.mp4", voice, out, 1.0)
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(UnreadableMediaError, match=r"text\.mp4"):
        write_dub(tmp_path / "text.mp4", voice, out, 1.0)
    assert not out.exists()


def test_an_interrupted_run_leaves_the_old_file_and_nothing_else(
    make_clip, voice, tmp_path, monkeypatch
):
    pictures = encode_pictures(make_clip("f.mp4"), 1.0)
    out = tmp_path / "d.mp4"
    out.write_bytes(b"old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("facevoice.corpora.dubs._encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        join_dub(pictures, voice, out)
    assert out.read_bytes() == b"old"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("length_s", "name", "message"),
    [(0.3, "d.mp4", "0.3 s"), (float("nan"), "d.mp4", "nan"), (1.0, "d.avi", "MP4")],
)
def test_impossible_wishes_are_refused(make_clip, voice, tmp_path, length_s, name, message):
    with pytest.raises(ConfigError, match=message):
        write_dub(make_clip("f.mp4"), voice, tmp_path / name, length_s)


@pytest.mark.parametrize("setting", [{"audio_codec": "nonsense"}, {"video_codec": "nonsense"}])
def test_unknown_encoders_are_named(make_clip, voice, tmp_path, setting):
    with pytest.raises(ConfigError, match="nonsense"):
        write_dub(make_clip("f.mp4"), voice, tmp_path / "d.mp4", 1.0, DubRule(**setting))
    assert not list(tmp_path.glob("d.mp4*"))


@pytest.mark.parametrize(
    "setting",
    [
        {"loudness_lufs": 3.0},
        {"peak_dbfs": 1.0},
        {"fade_ms": -1.0},
        {"audio_bit_rate_bps": 10},
        {"video_crf": 99},
        {"max_side_px": 2},
    ],
)
def test_rules_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        DubRule(**setting)
