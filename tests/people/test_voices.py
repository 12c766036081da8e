from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevoice.people.heard import BESIDE, load_hearing, reasons_beside, soften
from facevoice.people.voices import (
    NO_VOICE,
    PRINT_DIM,
    VoiceBook,
    VoiceIdentifier,
    group_voices,
)
from facevoice.records import SAMPLE_RATE_HZ, Reason, Window

SIZE = 4 * SAMPLE_RATE_HZ


def spoken(pitch_hz, stretch, seconds=4.0, seed=0):
    """Syllables of a pulse train through four resonances, `stretch` times as high as usual."""
    rng = np.random.default_rng(seed)
    size = round(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(size) / SAMPLE_RATE_HZ
    wanders = np.interp(
        time_s, np.arange(0, seconds + 0.3, 0.3), rng.normal(0, 0.06, 99)[: int(seconds / 0.3) + 2]
    )
    phase = np.cumsum(pitch_hz * (1 + wanders)) / SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(np.diff(np.floor(phase), prepend=0) + 0.01 * rng.standard_normal(size))
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    sound = np.zeros(size)
    for vowel in ((730, 1090, 2440, 3500), (300, 2290, 3010, 3600), (320, 870, 2240, 3400)):
        gain = sum(1 / (1 + ((hz - f * stretch) / 80) ** 2) for f in vowel)
        part = np.fft.irfft(spectrum * gain, size)
        turns = np.sin(2 * np.pi * rng.uniform(1.5, 2.5) * time_s + rng.uniform(0, 6))
        sound += part * np.clip(turns, 0, 1)
    return (0.1 * sound / np.abs(sound).max()).astype(np.float32)


@pytest.fixture(scope="module")
def identifier():
    return VoiceIdentifier()


def made_prints(who, noise, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(who) + 1, PRINT_DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    prints = centres[list(who)] + noise * rng.standard_normal((len(who), PRINT_DIM))
    return list((prints / np.linalg.norm(prints, axis=1, keepdims=True)).astype(np.float32))


def in_order(who):
    """The same people, numbered as they are first heard."""
    numbers = {person: number for number, person in enumerate(dict.fromkeys(who))}
    return [numbers[person] for person in who]


def test_print_is_of_the_voice_not_of_its_level_or_offset(identifier):
    speech = spoken(110, 1.0)
    found = identifier.print_speech(speech)
    assert found.shape == (PRINT_DIM,)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert found @ identifier.print_speech(speech * 0.05 + 0.01) > 0.999


def test_one_voice_is_liker_itself_than_another(identifier):
    low, low_again = (identifier.print_speech(spoken(105, 1.0, seed=k)) for k in (1, 2))
    high = identifier.print_speech(spoken(230, 1.18, seed=3))
    assert low @ low_again > low @ high + 0.1


def test_print_of_a_window_rests_on_its_speech(identifier):
    speech = spoken(110, 1.0, 2.0)
    noise = np.random.default_rng(0).normal(0, 0.02, speech.size).astype(np.float32)
    samples = np.concatenate([speech, noise])

    def window(spans_s):
        return Window(10.0, 14.0, None, samples, 0.0, 0.5, speech_spans_s=np.array(spans_s))

    found = identifier.print_window(window([[10.0, 11.9]]))
    np.testing.assert_allclose(found, identifier.print_speech(speech), atol=1e-6)
    assert identifier.print_window(window([[10.0, 10.3]])) is None
    assert identifier.print_window(window(np.zeros((0, 2)))) is None
    assert identifier.print_window(Window(0.0, 4.0, None, None, 0.0, 0.0)) is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=12, max_size=60), st.integers(0, 99))
def test_clear_voices_are_found_in_order(turns, seed):
    who = [person for person in turns for _ in range(3)]
    labels = group_voices(made_prints(who, 0.02, seed), [4.0] * len(who))
    assert labels.tolist() == in_order(who)


def test_what_is_like_no_voice_and_short_stays_without_one():
    who = [0] * 8 + [1] * 8 + [2]
    prints = [*made_prints(who, 0.02), None]
    labels = group_voices(prints, [4.0] * len(prints))
    assert labels.tolist() == [0] * 8 + [1] * 8 + [NO_VOICE, NO_VOICE]


def test_nothing_heard_is_no_voice():
    assert group_voices([], []).tolist() == []
    assert group_voices([None, None], [0.0, 1.0]).tolist() == [NO_VOICE, NO_VOICE]
    assert group_voices(made_prints([0], 0.0), [0.5]).tolist() == [0]


def test_a_long_file_is_grouped_the_same_each_time():
    rng = np.random.default_rng(5)
    who = np.repeat(rng.integers(0, 5, 500), 3).tolist()
    prints = made_prints(who, 0.03)
    first, second = (group_voices(prints, [3.0] * len(who)) for _ in range(2))
    assert first.tolist() == second.tolist() == in_order(who)


def test_live_voices_keep_their_numbers():
    who = [0, 0, 1, 0, 2, 1, 1, 0, 2]
    book = VoiceBook()
    labels = [book.add(found, 4.0) for found in made_prints(who, 0.02)]
    assert labels == in_order(who)
    assert book.add(None, 4.0) == book.add(made_prints([0], 0.0)[0], 0.0) == NO_VOICE


def test_reasons_begin_at_the_limits_and_temperatures_rise():
    hearing = load_hearing()
    assert reasons_beside(np.array([0.1, -0.1])) == (Reason.SPEECH_OVERLAPS,)
    assert reasons_beside(np.array([1.0, 1.0])) == BESIDE
    levels = np.linspace(-8, 8, 9)
    temperatures = hearing.temperatures(np.stack([levels, levels], axis=1))
    assert temperatures[0] == pytest.approx(1, abs=0.01)
    assert all(a <= b for a, b in pairwise(temperatures.tolist()))
    probs = np.array([0.6, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01, 0.01])
    np.testing.assert_allclose(soften(probs, 1.0), probs)
    softer = soften(probs, 3.0)
    assert softer.sum() == pytest.approx(1)
    assert softer.max() < probs.max()
    assert softer.argmax() == probs.argmax()
