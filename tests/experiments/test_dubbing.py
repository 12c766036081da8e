"""Clips of pairs: one rule for cutting, loudness and codecs, whatever goes in; blind numbers."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from benchmarks import dubbing
from benchmarks.dubbing import (
    dub_pairs,
    encode_pictures,
    join_dub,
    loudness_lufs,
    number_pairs,
    peak_dbfs,
    voice_source,
)

from facevoice.corpora.manifest import Clip, clips_by_id, write_manifest
from facevoice.corpora.pairs import PairKind, pair_manifest
from facevoice.errors import CorpusError, MediaError, MediaNotFoundError, NoStreamError
from facevoice.media import probe, read_frames
from facevoice.media.sound import read_sound
from spoken_clips import make_spoken_clips

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def clips(make_shared_clip) -> tuple[Clip, ...]:
    return make_spoken_clips(make_shared_clip)


@pytest.fixture(scope="module")
def dubbed(clips, tmp_path_factory):
    """All pairs as clips, made once."""
    folder = tmp_path_factory.mktemp("dubbed")
    pairs = number_pairs(pair_manifest(clips).pairs, seed=3)
    return folder, pairs, dub_pairs(pairs, clips, folder, jobs=2)


@pytest.fixture
def voice(make_clip) -> Path:
    return make_clip("v.wav", video=False, samples=bursts(2.0, 0.3), sample_rate_hz=RATE_HZ)


def bursts(duration_s: float, level: float, seed: int = 0) -> np.ndarray:
    """Noise that comes and goes three times a second, like syllables."""
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(seed).normal(0, 1, len(t)).clip(-3, 3) / 3
    return (level * noise * np.maximum(0, np.sin(2 * np.pi * 3 * t)) ** 2).astype(np.float32)


def dub(face: Path, voice: Path, out: Path, length_s: float, face_start_s=0.0, voice_start_s=0.0):
    join_dub(encode_pictures(face, length_s, face_start_s), length_s, voice, out, voice_start_s)
    return out


def times_of(path: Path) -> list[float]:
    times = (k / 1000 for k in range(10_000))
    return [frame.timestamp_s for frame in read_frames(path, times, tolerance_s=0.0)]


def ebur128_lufs(samples: np.ndarray) -> float:
    """FFmpeg's own measurement, an independent oracle."""
    if not hasattr(av.AudioFrame, "metadata"):
        pytest.skip("this PyAV does not show the filter's result")
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE_HZ, format="flt", layout="mono")
    meter = graph.add("ebur128", "metadata=1:framelog=quiet")
    sink = graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "flt", "mono")
    frame.sample_rate, frame.pts = RATE_HZ, 0
    graph.push(frame)
    graph.push(None)
    last = None
    while True:
        try:
            last = graph.pull()
        except (av.EOFError, av.BlockingIOError):
            return float(last.metadata["lavfi.r128.I"])


def test_loudness_is_that_of_ffmpeg():
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(1).normal(0, 0.1, len(t))
    tone = 0.1 * np.sin(2 * np.pi * 1000 * t)
    for samples in (tone, noise, noise * np.where(t < 1.5, 1, 0.003), bursts(3, 0.2)):
        measured = loudness_lufs(samples.astype(np.float32))
        assert measured == pytest.approx(ebur128_lufs(samples), abs=0.11)
    # EBU Tech 3341: a 1-kHz sine with a peak of -20 dBFS in one channel of sound: -23 LUFS.
    assert loudness_lufs(tone.astype(np.float32)) == pytest.approx(-23, abs=0.1)


def test_silence_and_too_short_sounds_have_no_loudness():
    for samples in (np.zeros(RATE_HZ), np.ones(6_399), np.full(RATE_HZ, 1e-5)):
        assert loudness_lufs(samples.astype(np.float32)) is None
    assert peak_dbfs(np.zeros(10, np.float32)) is None


@pytest.mark.parametrize("length_s", [0.4, 1.237])
def test_both_streams_start_together_and_are_cut_alike(make_clip, voice, tmp_path, length_s):
    path = dub(make_clip("f.mp4", fps=30), voice, tmp_path / "d.mp4", length_s)
    info = probe(path)
    assert info.video.start_s == info.audio.start_s == 0.0
    assert info.duration_s == pytest.approx(length_s, abs=0.002)
    times = times_of(path)
    assert len(times) == int(np.ceil(length_s * 30 - 1e-6))
    assert times == pytest.approx([k / 30 for k in range(len(times))], abs=1e-4)
    assert 0 <= len(read_sound(path)) / RATE_HZ - length_s < 1024 / RATE_HZ


def test_the_gain_stops_at_the_peak_and_sound_stays_where_it_was(make_clip, tmp_path):
    samples, face = bursts(2, 0.01), make_clip("f.mp4")
    samples[8_000] = 0.9  # a click far above everything else
    for name, changed in (("soft", bursts(2, 0.01)), ("click", samples)):
        sound = make_clip(f"{name}.wav", video=False, samples=changed, sample_rate_hz=RATE_HZ)
        out, pictures = tmp_path / f"{name}.mp4", encode_pictures(face, 1.5)
        assert join_dub(pictures, 1.5, sound, out) is (name == "click")
        heard = read_sound(out)[:24_000]
        if name == "soft":
            assert loudness_lufs(heard) == pytest.approx(-23, abs=0.5)
        else:
            assert loudness_lufs(heard) < -23.5
        size = 1 << 17
        spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(changed[:24_000], size))
        assert np.argmax(np.fft.irfft(spectrum, size)) == 0


def test_a_silent_voice_stays_silent(make_clip, tmp_path):
    silent = make_clip("s.wav", video=False, samples="silence")
    path = dub(make_clip("f.mp4"), silent, tmp_path / "d.mp4", 1.0)
    assert np.abs(read_sound(path)).max() < 1e-4


def test_all_voices_get_the_same_codec_parameters(make_clip, tmp_path):
    quiet = make_clip("q.ogg", video=False, samples=bursts(2, 0.02), sample_rate_hz=RATE_HZ)
    loud = make_clip("l.mp3", video=False, samples="noise", num_channels=2, sample_rate_hz=44_100)
    face = make_clip("f.mp4")
    described = []
    for name, voice in (("a.mp4", quiet), ("b.mp4", loud), ("c.mp4", face)):
        with av.open(str(dub(face, voice, tmp_path / name, 1.5))) as container:
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
    assert "creation_time" not in described[0][0]


def test_bytes_are_the_same_every_time_and_name_nothing(make_clip, voice, tmp_path):
    face = make_clip("f.mp4")
    first, again = (dub(face, voice, tmp_path / n, 1.0).read_bytes() for n in ("a.mp4", "b.mp4"))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    assert b"f.mp4" not in first
    assert b"v.wav" not in first


def test_starts_inside_longer_files(make_clip, voice, tmp_path, read_index):
    face = make_clip("f.mp4", fps=25, duration_s=3)
    path = dub(face, voice, tmp_path / "d.mp4", 1.0, face_start_s=1.0, voice_start_s=0.5)
    frames = read_frames(path, [k / 25 for k in range(25)], tolerance_s=0.001)
    assert [read_index(frame.rgb) for frame in frames] == list(range(25, 50))
    heard = read_sound(path)[:RATE_HZ]
    assert np.corrcoef(read_sound(voice, 0.5, 1.0), heard)[0, 1] > 0.9


def test_pictures_become_upright_even_and_small(make_clip, voice, tmp_path, read_index):
    turned = make_clip("t.mp4", width=120, height=160, rotation=90)
    options = {"preset": "ultrafast", "crf": "18"}
    odd = make_clip("o.mp4", width=161, height=121, pix_fmt="yuv444p", codec_options=options)
    large = make_clip("l.mp4", width=800, height=600, duration_s=1)
    for face, size in ((turned, (120, 160)), (odd, (162, 122)), (large, (640, 480))):
        path = dub(face, voice, tmp_path / "d.mp4", 0.9)
        info = probe(path).video
        assert (info.width_px, info.height_px, info.rotation_deg) == (*size, 0)
        assert [read_index(f.rgb) for f in read_frames(path, [0.4], tolerance_s=0.01)] == [10]


def test_times_of_pictures_are_kept_and_the_first_is_there_at_once(make_clip, voice, tmp_path):
    face = make_clip("f.mp4", frame_times_s=[0.0, 0.05, 0.4, 0.41, 0.9, 1.3, 1.8])
    path = dub(face, voice, tmp_path / "d.mp4", 1.0)
    assert times_of(path) == pytest.approx([0.0, 0.05, 0.4, 0.41, 0.9], abs=1e-4)
    assert probe(path).duration_s == pytest.approx(1.0, abs=0.002)
    path = dub(make_clip("l.mkv", video_offset_s=0.12), voice, tmp_path / "d.mp4", 1.0)
    assert times_of(path)[:3] == pytest.approx([0.0, 0.16, 0.2], abs=2e-3)


def test_what_can_not_be_dubbed_is_named(make_clip, voice, tmp_path):
    face, mute = make_clip("f.mp4", duration_s=1.0), make_clip("mute.mp4", audio=False)
    out = tmp_path / "d.mp4"
    with pytest.raises(MediaError, match=r"f\.mp4: its video ends after 1\.00 s of the 1\.50 s"):
        dub(face, voice, out, 1.5)
    with pytest.raises(MediaError, match=r"v\.wav: its sound ends after 2\.00 s of the 2\.50 s"):
        dub(make_clip("g.mp4", duration_s=3), voice, out, 2.5)
    with pytest.raises(NoStreamError, match=r"v\.wav: holds no video"):
        dub(voice, voice, out, 1.0)
    with pytest.raises(NoStreamError, match=r"mute\.mp4: holds no sound"):
        dub(mute, mute, out, 1.0)
    with pytest.raises(MediaNotFoundError, match=r"none\.mp4"):
        dub(tmp_path / "none.mp4", voice, out, 1.0)
    with pytest.raises(CorpusError, match=r"0\.3 s"):
        dub(face, voice, out, 0.3)
    assert not list(tmp_path.glob("d.mp4*"))


def test_voices_are_read_where_they_begin(clips, make_clip):
    timed = pair_manifest(clips).pairs
    match = next(t for t in timed if t.pair.kind is PairKind.MATCH)
    original = next(t for t in timed if t.pair.kind is PairKind.ORIGINAL)
    sound, mute = make_clip("s.wav", video=False), make_clip("mute.mp4", audio=False)
    index = clips_by_id(clips)

    def source(of, **changes):
        clip = replace(index[of.pair.voice_clip_id], video_start_s=0.4, **changes)
        return voice_source(of, {clip.clip_id: clip})

    assert source(match) == (index[match.pair.voice_clip_id].video_path, 0.4)
    assert source(match, audio_path=sound) == (sound, 0.0)
    # A film's own sound is in time with it; a separate file need not be.
    assert source(original, audio_path=sound) == (index[original.pair.face_clip_id].video_path, 0.4)
    assert source(original, audio_path=sound, video_path=mute) == (sound, 0.0)
    with pytest.raises(CorpusError, match="has no sound"):
        source(match, audio_path=None)


def test_numbers_are_blind_and_the_same_every_time(clips):
    pairs = pair_manifest(clips).pairs
    numbered = number_pairs(pairs, seed=1)
    assert [(p.number, p.file) for p in numbered[:2]] == [(1, "00001.mp4"), (2, "00002.mp4")]
    assert Counter(p.timed for p in numbered) == Counter(pairs)
    assert number_pairs(pairs, seed=1) == numbered != number_pairs(pairs, seed=2)
    assert number_pairs(pairs, seed=1, limit=5) == numbered[:5]
    kinds = [p.timed.pair.kind for p in numbered]
    assert kinds != sorted(kinds)


def test_dubs_are_made_alike_and_the_key_lies_apart(dubbed):
    folder, pairs, made = dubbed
    assert made == (36, 0)
    described = set()
    for pair in pairs:
        path = folder / "clips" / pair.file
        with av.open(str(path)) as container:
            streams = [s.codec_context for s in container.streams]
            described.add(tuple((s.codec.name, s.extradata) for s in streams))
        heard = read_sound(path)[: round(pair.timed.length_s * RATE_HZ)]
        assert loudness_lufs(heard) == pytest.approx(-23, abs=0.5)
    assert len(described) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["clips", "key.csv", "rule.json"]
    rows = list(csv.DictReader((folder / "key.csv").read_text(encoding="utf-8").splitlines()))
    told = [(row["file"], row["pair_id"], row["kind"]) for row in rows]
    assert told == [(p.file, p.timed.pair.pair_id, p.timed.pair.kind.value) for p in pairs]
    assert json.loads((folder / "rule.json").read_text())["loudness_lufs"] == -23.0


def test_a_second_run_makes_only_what_is_missing_and_mixes_nothing_in(clips, tmp_path):
    made = pair_manifest(clips).pairs
    pairs = number_pairs(made, limit=3)
    dub_pairs(pairs, clips, tmp_path)
    (tmp_path / "clips" / "00002.mp4").unlink()
    (tmp_path / "clips" / "00002.mp4.part").write_bytes(b"killed here")
    before = (tmp_path / "clips" / "00001.mp4").stat().st_mtime_ns
    assert dub_pairs(pairs, clips, tmp_path)[0] == 1
    assert (tmp_path / "clips" / "00001.mp4").stat().st_mtime_ns == before
    assert sorted(p.name for p in (tmp_path / "clips").iterdir()) == [p.file for p in pairs]
    key = (tmp_path / "key.csv").read_text()
    with pytest.raises(CorpusError, match=r"key\.csv differs"):
        dub_pairs(number_pairs(made, seed=5, limit=3), clips, tmp_path)
    assert (tmp_path / "key.csv").read_text() == key


def test_errors_of_sources_name_them(clips, tmp_path, make_clip):
    pairs = number_pairs(pair_manifest(clips).pairs)
    short = make_clip("short.mp4", duration_s=0.5)
    broken = [replace(clip, video_path=short) for clip in clips]
    with pytest.raises(MediaError, match=r"short\.mp4"):
        dub_pairs(pairs, broken, tmp_path / "a")
    with pytest.raises(CorpusError, match="not in the manifest"):
        dub_pairs(pairs, clips[:1], tmp_path / "b")


def test_the_command_writes_table_clips_and_key(clips, tmp_path, monkeypatch, capsys):
    write_manifest(clips, tmp_path / "m.jsonl")
    out = tmp_path / "out"
    arguments = [str(tmp_path / "m.jsonl"), "--out", str(out), "--clips", "4", "--seed", "2"]
    monkeypatch.setattr(sys, "argv", ["dubbing", *arguments])
    dubbing.main()
    assert "4 clips in" in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["clips", "key.csv", "pairs.jsonl", "rule.json"]
    for path in (out / "clips").iterdir():
        content = path.read_bytes()
        assert not any(w in content for w in (b"conflict", b"match", b"original", b"happy", b"sad"))
