import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.media.sound import read_audio
from facevoice.people.speech import CHUNK_SAMPLES, read_speech, vad_model_id
from facevoice.records import SAMPLE_RATE_HZ, AudioBlock

FORMANTS_HZ = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240)}
BANDWIDTH_HZ = 100


def vowel(name, pitch_hz, duration_s):
    """Harmonics of a wavering pitch, as loud as the vowel's resonances let them through."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch = pitch_hz * (1 + 0.05 * np.sin(2 * np.pi * 3 * time_s))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ
    sound = np.zeros_like(time_s)
    for k in range(1, int(3800 / pitch_hz)):
        gains = [
            f**2 / np.hypot(f**2 - (k * pitch_hz) ** 2, k * pitch_hz * BANDWIDTH_HZ)
            for f in FORMANTS_HZ[name]
        ]
        sound += np.prod(gains) / k * np.cos(k * phase)
    fade = np.minimum(1, np.minimum(time_s, time_s[::-1]) / 0.02)
    return 0.3 * sound / np.abs(sound).max() * fade


@pytest.fixture(scope="module")
def babble():
    """One second of silence, two of sung vowels, one of silence."""
    syllables = [vowel("aiu"[k % 3], 120 + 10 * (k % 4), 0.2) for k in range(10)]
    second = np.zeros(SAMPLE_RATE_HZ)
    return np.concatenate([second, *syllables, second]).astype(np.float32)


def blocks_of(samples, sizes, start_s=0.0):
    at = 0
    for size in sizes:
        yield AudioBlock(start_s + at / SAMPLE_RATE_HZ, samples[at : at + size])
        at += size


def heard(samples, sizes=None):
    return list(read_speech(blocks_of(samples, sizes or [len(samples)])))


def test_vowels_are_speech_and_silence_is_not(babble):
    (block,) = heard(babble)
    probs = block.probs
    assert len(probs) == len(babble) // CHUNK_SAMPLES
    seconds = (np.arange(len(probs)) + 0.5) * CHUNK_SAMPLES / SAMPLE_RATE_HZ
    assert probs[seconds < 0.9].max() < 0.1
    assert np.median(probs[(seconds > 1.2) & (seconds < 2.9)]) > 0.7
    assert probs[seconds > 3.6].max() < 0.3


@pytest.mark.parametrize("level", [0.001, 0.1])
def test_noise_is_not_speech(level):
    noise = (np.random.default_rng(0).normal(size=SAMPLE_RATE_HZ) * level).astype(np.float32)
    assert heard(noise)[0].probs.max() < 0.5


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=4))
def test_how_the_sound_is_cut_into_blocks_changes_nothing(babble, sizes):
    part = babble[SAMPLE_RATE_HZ : SAMPLE_RATE_HZ + 6100]
    found = heard(part, [*sizes, len(part) - sum(sizes)])
    np.testing.assert_array_equal(np.concatenate([b.samples for b in found]), part)
    (whole, last) = heard(part)
    probs = np.concatenate([b.probs for b in found])
    np.testing.assert_allclose(probs, np.concatenate([whole.probs, last.probs]))
    assert len(probs) == 12


def test_blocks_say_when_they_sound(babble):
    found = list(read_speech(blocks_of(babble[:2500], [700, 700, 1100], start_s=2.0)))
    starts = [round((b.start_s - 2.0) * SAMPLE_RATE_HZ) for b in found]
    assert starts == [0, 512, 1024, 2048]
    assert [len(b.samples) for b in found] == [512, 512, 1024, 452]
    assert [len(b.probs) for b in found] == [1, 1, 2, 1]


def test_only_as_much_is_read_as_is_asked_for(babble):
    read = []

    def source():
        for block in blocks_of(babble, [SAMPLE_RATE_HZ] * 4):
            read.append(block.start_s)
            yield block

    next(read_speech(source()))
    assert read == [0.0]


def test_no_sound_gives_no_blocks():
    assert heard(np.zeros(0, np.float32)) == []


def test_two_recordings_do_not_hear_each_other(babble):
    first = heard(babble)[0].probs
    np.testing.assert_array_equal(heard(babble)[0].probs, first)


def test_the_network_is_named():
    model = vad_model_id()
    assert model.name == "silero_vad"
    assert len(model.sha256) == 64


@pytest.mark.corpora
def test_real_utterances_are_mostly_speech_between_silent_ends(corpora_dir, tmp_path):
    import zipfile

    with zipfile.ZipFile(corpora_dir / "ravdess_audio.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".ogg"))[:5]
        paths = [archive.extract(name, tmp_path) for name in names]
    for path in paths:
        probs = np.concatenate([b.probs for b in read_speech(read_audio(path))])
        assert 0.2 < (probs > 0.5).mean() < 0.9
        assert probs[:5].max() < 0.5
