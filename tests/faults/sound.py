"""Sound of all rates, layouts, levels and codecs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from faults.case import ENCODED, HEARD_ONLY, Case, Expect, refused
from faults.film import Sound
from faults.studio import LENGTH_S, VOICE_HZ, Studio

Samples = Callable[[np.ndarray], np.ndarray]

BOTH = Expect(("ok",), face=True, voice=True, length_s=LENGTH_S)
NO_SPEECH = Expect(
    ("no_speech",), face=True, voice=False, outcomes=("insufficient",), length_s=LENGTH_S
)
SAFE = Expect(("ok", "no_speech", "truncated", "video_only"), face=True)
PCM: dict[str, Any] = {"codec": "pcm_f32le", "bits": None}


def _heard(
    change: Samples = lambda voice: voice, ending: str = ".mkv", rate_hz: int = VOICE_HZ, **how: Any
) -> Any:
    """The portrait with its voice changed: samples (N,) to (N,) or (C, N)."""

    def make(studio: Studio, folder: Path) -> Path:
        sound = replace(studio.sound(rate_hz), samples=change(studio.voice(rate_hz)), **how)
        return studio.write(folder / f"clip{ending}", studio.pictures(), sound)

    return make


def _on(channel: int, count: int) -> Samples:
    """The voice on one of several channels."""

    def change(voice: np.ndarray) -> np.ndarray:
        samples = np.zeros((count, len(voice)), np.float32)
        samples[channel] = voice
        return samples

    return change


def _surround(voice: np.ndarray) -> np.ndarray:
    """5.1: the voice in the centre, quiet music around."""
    music = 0.05 * np.sin(2 * np.pi * 220 * np.arange(len(voice)) / 48_000)
    samples = np.tile(music, (6, 1)).astype(np.float32)
    samples[2] = voice
    return samples


def _late_echo(voice: np.ndarray) -> np.ndarray:
    return np.stack([voice, np.concatenate([np.zeros(240, np.float32), voice[:-240]])])


def _noise(level: float) -> Samples:
    return lambda voice: np.random.default_rng(0).normal(0, level, len(voice)).astype(np.float32)


def _tone(voice: np.ndarray) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(len(voice)) / VOICE_HZ)).astype(np.float32)


def _with(value: float, share: float = 1.0) -> Samples:
    """A value in place of a share of the samples."""

    def change(voice: np.ndarray) -> np.ndarray:
        changed = voice.copy()
        changed[np.random.default_rng(0).random(len(voice)) < share] = value
        return changed

    return change


def _rate_changes(studio: Studio, folder: Path) -> Path:
    """AAC at 24 kHz, then at 48 kHz, in one stream without container."""
    half = len(studio.glad) // 2
    path, content = folder / "clip.aac", b""
    for rate_hz, samples in (
        (VOICE_HZ, studio.glad[:half]),
        (2 * VOICE_HZ, np.repeat(studio.glad[half:], 2)),
    ):
        studio.write(path, Sound(samples, rate_hz))
        content += path.read_bytes()
    path.write_bytes(content)
    return path


def _wav(
    form: int,
    bits: int,
    data: Callable[[np.ndarray], bytes],
    rate_hz: int = VOICE_HZ,
    channels: int = 1,
) -> Any:
    """WAV written by hand, for what no encoder would write."""

    def make(studio: Studio, folder: Path) -> Path:
        content = data(studio.glad)
        width = channels * bits // 8
        bytes_a_second = rate_hz * width & 0xFFFFFFFF
        head = struct.pack("<HHIIHH", form, channels, rate_hz, bytes_a_second, width & 0xFFFF, bits)
        body = (
            b"WAVEfmt "
            + struct.pack("<I", len(head))
            + head
            + b"data"
            + struct.pack("<I", len(content))
            + content
        )
        path = folder / "clip.wav"
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        return path

    return make


def _aac_without_end(studio: Studio, folder: Path) -> Path:
    """AAC whose last packet lacks its end, as of a recorder that was stopped."""
    path = studio.write(folder / "clip.aac", studio.sound())
    path.write_bytes(path.read_bytes()[:-40])
    return path


def _int16(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


CASES = (
    *(
        Case(
            f"{rate_hz / 1000:g}-khz",
            f"sampled at {rate_hz / 1000:g} kHz",
            _heard(rate_hz=rate_hz, codec="pcm_s16le", bits=None),
            replace(ENCODED, like_plain=like),
            is_quick=rate_hz == 8_000,
        )
        for rate_hz, like in (
            (8_000, 0.3),
            (11_025, 0.3),
            (16_000, 0.08),
            (22_050, 0.08),
            (32_000, 0.08),
            (44_100, 0.08),
            (48_000, 0.08),
            (96_000, 0.08),
            (192_000, 0.08),
        )
    ),
    *(
        Case(
            f"{count}-channels",
            f"the same voice on {count} channels",
            _heard(
                lambda v, count=count: np.tile(v, (count, 1)),
                rate_hz=48_000,
                codec="flac",
                bits=None,
            ),
            ENCODED,
        )
        for count in range(2, 9)
    ),
    Case(
        "16-channels",
        "16 channels of a mixing desk",
        _heard(lambda v: np.tile(v, (16, 1)), layout="hexadecagonal", codec="pcm_s16le", bits=None),
        ENCODED,
    ),
    Case(
        "left-only",
        "the voice on the left, silence on the right",
        _heard(_on(0, 2), **PCM),
        ENCODED,
    ),
    Case(
        "right-only",
        "the voice on the right, silence on the left",
        _heard(_on(1, 2), **PCM),
        ENCODED,
    ),
    Case(
        "phase-inverted",
        "right is minus left, so that the mean is silence",
        _heard(lambda v: np.stack([v, -v]), **PCM),
        ENCODED,
        seen_in="m-bain/whisperX#750, pytorch/audio#877",
        is_quick=True,
    ),
    Case(
        "phase-inverted-5.1",
        "5.1 whose surrounds are minus the fronts",
        _heard(lambda v: np.stack([v, v, 0 * v, 0 * v, -v, -v]), rate_hz=48_000, **PCM),
        ENCODED,
    ),
    Case("echo", "the right channel 10 ms late", _heard(_late_echo, **PCM), ENCODED),
    Case(
        "centre-5.1",
        "5.1 with the voice in the centre, as in films",
        _heard(_surround, rate_hz=48_000, codec="ac3", bits=448_000),
        replace(ENCODED, like_plain=0.12),
    ),
    Case(
        "subwoofer-only",
        "5.1 with the voice on the subwoofer's channel alone",
        _heard(_on(3, 6), rate_hz=48_000, codec="flac", bits=None),
        replace(BOTH, status=("ok", "no_speech"), voice=None),
    ),
    Case(
        "clipped",
        "amplified tenfold and clipped",
        _heard(lambda v: np.clip(10 * v, -1, 1), **PCM),
        BOTH,
    ),
    Case(
        "quiet",
        "quieter by 40 dB",
        _heard(lambda v: v / 100, **PCM),
        replace(BOTH, status=("ok", "no_speech"), voice=None),
    ),
    Case(
        "very-quiet",
        "quieter by 80 dB: no speech, or the same voice",
        _heard(lambda v: v / 10_000, **PCM),
        replace(BOTH, status=("ok", "no_speech"), voice=None),
    ),
    Case(
        "dc-offset",
        "half of full scale added to all samples",
        _heard(lambda v: v / 2 + 0.5, **PCM),
        replace(BOTH, status=("ok", "no_speech"), voice=None),
    ),
    Case("over-1", "floats up to 8, as editors keep them", _heard(lambda v: 8 * v, **PCM), BOTH),
    Case(
        "huge-floats",
        "floats up to 1e30",
        _heard(lambda v: v * np.float32(1e30), **PCM),
        SAFE,
    ),
    Case(
        "all-nan",
        "all samples are not a number",
        _heard(_with(np.nan), **PCM),
        replace(SAFE, voice=False),
        is_quick=True,
    ),
    Case(
        "some-nan",
        "one sample of a thousand is not a number",
        _heard(_with(np.nan, 0.001), **PCM),
        SAFE,
    ),
    Case(
        "all-infinite",
        "all samples are infinite",
        _heard(_with(np.inf), **PCM),
        replace(SAFE, voice=False),
    ),
    Case(
        "denormal",
        "samples next to 0, which make some processors slow",
        _heard(lambda v: v * np.float32(1e-38), **PCM),
        NO_SPEECH,
    ),
    Case("silence", "silence", _heard(np.zeros_like, **PCM), NO_SPEECH),
    Case(
        "noise-only", "noise without a voice", _heard(_noise(0.1), **PCM), NO_SPEECH, is_quick=False
    ),
    Case("tone-only", "a tone without a voice", _heard(_tone, **PCM), NO_SPEECH),
    Case(
        "noisy",
        "noise as loud as the voice",
        _heard(lambda v: v + _noise(0.1)(v), **PCM),
        replace(BOTH, status=("ok", "no_speech"), voice=None),
    ),
    Case(
        "8-bit",
        "8 bit",
        _heard(ending=".avi", codec="pcm_u8", bits=None),
        replace(ENCODED, like_plain=0.15),
    ),
    Case("24-bit", "24 bit", _heard(codec="pcm_s24le", bits=None), ENCODED),
    Case("32-bit", "32 bit", _heard(codec="pcm_s32le", bits=None), ENCODED),
    Case("64-bit-float", "64-bit floats", _heard(codec="pcm_f64le", bits=None), ENCODED),
    Case(
        "big-endian",
        "16 bit, bytes the other way round",
        _heard(ending=".mov", codec="pcm_s16be", bits=None),
        ENCODED,
    ),
    Case(
        "mu-law",
        "mu-law of a telephone",
        _heard(ending=".mov", codec="pcm_mulaw", rate_hz=8_000, bits=None),
        replace(ENCODED, like_plain=0.3),
    ),
    Case(
        "a-law",
        "A-law of a telephone",
        _heard(ending=".mov", codec="pcm_alaw", rate_hz=8_000, bits=None),
        replace(ENCODED, like_plain=0.3),
    ),
    Case(
        "adpcm-ima",
        "ADPCM of an old game",
        _heard(ending=".avi", codec="adpcm_ima_wav", bits=None),
        replace(ENCODED, like_plain=0.15),
    ),
    Case(
        "adpcm-ms",
        "ADPCM of Windows",
        _heard(ending=".avi", codec="adpcm_ms", bits=None),
        replace(ENCODED, like_plain=0.15),
    ),
    Case("layer-2", "MPEG Layer II of a broadcaster", _heard(codec="mp2", rate_hz=48_000), ENCODED),
    Case(
        "opus-16k",
        "Opus at 16 kb/s, of a messenger",
        _heard(codec="libopus", bits=16_000),
        replace(ENCODED, like_plain=0.3),
    ),
    Case("aac-24k", "AAC at 24 kb/s", _heard(bits=24_000), replace(ENCODED, like_plain=0.3)),
    Case(
        "mp3-32k",
        "MP3 at 32 kb/s",
        _heard(codec="libmp3lame", bits=32_000),
        replace(ENCODED, like_plain=0.3),
    ),
    Case(
        "vorbis",
        "Vorbis",
        _heard(
            lambda v: np.stack([v, v]),
            rate_hz=48_000,
            codec="vorbis",
            options={"strict": "experimental"},
        ),
        replace(ENCODED, like_plain=0.2),
    ),
    Case(
        "rate-changes",
        "24 kHz, then 48 kHz in one stream",
        _rate_changes,
        Expect(("audio_only", "truncated"), face=False, voice=True),
    ),
    Case(
        "aac-without-end",
        "the last packet of AAC lacks its end",
        _aac_without_end,
        replace(HEARD_ONLY, status=("audio_only", "truncated")),
        seen_in="SYSTRAN/faster-whisper#266",
    ),
    Case(
        "wav-rate-0",
        "WAV that states 0 samples a second",
        _wav(1, 16, _int16, rate_hz=0),
        Expect(("failed",)),
    ),
    Case(
        "wav-rate-4-billion",
        "WAV that states 4 billion samples a second",
        _wav(1, 16, _int16, rate_hz=2**32 - 1),
        Expect(("failed", "audio_only"), voice=None),
    ),
    Case(
        "wav-no-channels",
        "WAV that states no channels",
        _wav(1, 16, _int16, channels=0),
        Expect(("failed",)),
    ),
    Case(
        "wav-65535-channels",
        "WAV that states 65,535 channels",
        _wav(1, 16, _int16, channels=65_535),
        Expect(("failed", "truncated", "audio_only"), voice=False),
    ),
    Case(
        "wav-unknown-form", "WAV of a coding that nobody knows", _wav(0x7777, 16, _int16), refused()
    ),
    Case(
        "wav-no-samples",
        "WAV of no samples",
        _wav(1, 16, lambda _: b""),
        Expect(("failed", "audio_only", "truncated"), voice=False),
    ),
    Case(
        "wav-one-sample",
        "WAV of one sample",
        _wav(1, 16, lambda v: _int16(v[:1])),
        Expect(("failed", "audio_only", "truncated", "no_face_no_speech"), voice=False),
    ),
)
