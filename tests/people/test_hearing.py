"""Which channels of a sound track are heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.media import read_audio
from facevoice.media.sound import read_sound
from facevoice.people.hearing import listen
from facevoice.records import ChannelChoice

RATE_HZ = 16_000
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """A voice that speaks and pauses, 12 s."""
    names = ("plain", "glad", "frightened")
    clips = [read_sound(EXAMPLES / f"smile_{name}_voice.mp4", 0.0, 4.0) for name in names]
    return np.concatenate(clips)


def noise(like: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    rms = np.sqrt(np.mean(like**2))
    return np.random.default_rng(seed).normal(0, level * rms, len(like)).astype(np.float32)


def later(sound: np.ndarray, delay_s: float) -> np.ndarray:
    shift = round(delay_s * RATE_HZ)
    return np.concatenate([np.zeros(shift, np.float32), sound[: len(sound) - shift]])


def heard_of(make_clip, *channels: np.ndarray):
    """What is said of a film with these channels, and what is heard of it."""
    samples = np.stack(channels)
    suffix = "mkv" if len(channels) > 2 else "wav"
    codec = "flac" if len(channels) > 2 else "pcm_f32le"
    path = make_clip(
        f"c.{suffix}",
        samples=samples,
        sample_rate_hz=RATE_HZ,
        audio_codec=codec,
        video=False,
    )
    info = listen(path)
    blocks = list(read_audio(info))
    return info.audio, np.concatenate([block.samples for block in blocks])


def test_channels_that_are_alike_are_averaged(make_clip, voice):
    hiss = [noise(voice, 0.05, seed) for seed in (1, 2)]
    for left, right in (
        (voice, voice),
        (voice, 0.5 * voice),
        (voice + hiss[0], voice + hiss[1]),
    ):
        audio, samples = heard_of(make_clip, left, right)
        assert (audio.channel, audio.channel_chosen) == ("mean", None)
        assert samples == pytest.approx((left.astype(float) + right) / 2, abs=1e-6)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (np.zeros_like, ChannelChoice.OTHERS_SILENT),
        (lambda v: noise(v, 0.003), ChannelChoice.OTHERS_SILENT),
        (lambda v: noise(v, 1.0), ChannelChoice.CLEAREST),
        (lambda v: v + noise(v, 1.0), ChannelChoice.CLEAREST),
    ],
    ids=["silent", "dead", "noise", "noisy"],
)
def test_a_spoilt_channel_is_left_out(make_clip, voice, spoil, why, is_first):
    channels = (voice, spoil(voice)) if is_first else (spoil(voice), voice)
    audio, samples = heard_of(make_clip, *channels)
    assert (audio.channel, audio.channel_chosen) == ("left" if is_first else "right", why)
    assert samples == pytest.approx(voice, abs=1e-6)


def test_channels_that_cancel_out_are_not_added(make_clip, voice):
    audio, samples = heard_of(make_clip, voice, -voice)
    assert (audio.channel, audio.channel_chosen) == ("left", ChannelChoice.INVERTED)
    assert samples == pytest.approx(voice, abs=1e-6)
    # A little louder, it is the one that is heard.
    audio, _ = heard_of(make_clip, 0.5 * voice, noise(voice, 0.05) - voice)
    assert (audio.channel, audio.channel_chosen) == ("right", ChannelChoice.INVERTED)


@pytest.mark.parametrize("delay_s", [0.001, 0.012, 0.04])
def test_of_a_delayed_pair_the_earlier_is_heard(make_clip, voice, delay_s):
    echo = later(voice, delay_s)
    for channels, name in (((voice, echo), "left"), ((echo, voice), "right")):
        audio, samples = heard_of(make_clip, *channels)
        assert (audio.channel, audio.channel_chosen) == (name, ChannelChoice.DELAYED)
        assert samples == pytest.approx(voice, abs=1e-6)


def test_two_people_with_a_microphone_each_are_both_heard(make_clip, voice):
    half = len(voice) // 2
    first = np.concatenate([voice[:half], np.zeros(half, np.float32)])
    second = np.concatenate([np.zeros(half, np.float32), voice[:half]])
    bleed = 0.2
    left = first + bleed * later(second, 0.003) + noise(voice, 0.01, 1)
    right = second + bleed * later(first, 0.003) + noise(voice, 0.01, 2)
    audio, _ = heard_of(make_clip, left, right)
    assert audio.channel == "mean"


def test_of_a_film_in_surround_the_centre_is_heard(make_clip, voice):
    music = [noise(voice, 0.3, seed) for seed in range(4)]
    low = np.sin(2 * np.pi * 50 * np.arange(len(voice)) / RATE_HZ).astype(np.float32) * 0.3
    left, right, back_left, back_right = music
    audio, samples = heard_of(make_clip, left, right, 0.5 * voice, low, back_left, back_right)
    assert (audio.channel, audio.channel_chosen) == ("centre", ChannelChoice.CENTRE)
    assert samples == pytest.approx(0.5 * voice, abs=1e-4)
    silent = np.zeros_like(voice)
    audio, _ = heard_of(make_clip, voice, voice, silent, silent, silent, silent)
    assert audio.channel == "mean"


def test_sound_without_speech_is_averaged(make_clip, voice):
    audio, _ = heard_of(make_clip, noise(voice, 1.0, 1), noise(voice, 1.0, 2))
    assert audio.channel == "mean"
    audio, _ = heard_of(make_clip, np.zeros_like(voice), np.zeros_like(voice))
    assert audio.channel == "mean"
