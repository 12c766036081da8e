"""What of a file's sound is heard: a track with sound in it, and the channel with the speech.

Most files have one track, of one channel or of two that are alike: these cost a look at a few short
stretches. Where channels differ, it is found out how, and the mean of all gives way to one of them
only where it would spoil the speech.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from facevoice.media import DamageCallback, probe
from facevoice.media.sound import CENTRE, LOW_FREQUENCY, Stretch, read_stretches
from facevoice.people.speech import CHUNK_SAMPLES, read_speech
from facevoice.records import (
    MEAN,
    SAMPLE_RATE_HZ,
    AudioBlock,
    BoolArray,
    ChannelChoice,
    DoubleArray,
    FloatArray,
    MediaInfo,
    SoundRole,
    TrackChoice,
)
from facevoice.settings import AUTO

# The first look: a tenth of a short file, and no more than this of a long one.
_GLANCE_S: Final = 0.1
_MIN_GLANCES: Final = 3
_MAX_GLANCES: Final = 24
# The second look, where it is needed: all of a short file.
_LOOK_S: Final = 2.0
_MAX_LOOKS: Final = 10
# A track that seems silent is searched for sound up to here.
_SEARCH_S: Final = 600.0
_SEARCH_STEP_S: Final = 10.0

# Of more tracks, the rest are not listened to.
_MAX_TRACKS: Final = 32

# Moments (of 32 ms) that are weaker than this (RMS of full scale, -66 dB) are silence.
_SILENT_RMS: Final = 5e-4
# A channel this much weaker than the strongest is dead.
_DEAD_DB: Final = 40.0
# Channels that correlate more are alike; those that correlate less than the other cancel out.
_ALIKE: Final = 0.9
_INVERTED: Final = -0.8
# So much of one channel stands in the other later by so much time: closer ones hardly matter.
_SAME_LATER: Final = 0.8
_DELAY_S: Final = (0.5e-3, 60e-3)
_DELAYED_WITHIN_DB: Final = 6.0
# One channel in place of the mean must hold nearly all speech, and that much clearer.
_MOST: Final = 0.9
_CLEARER_DB: Final = 6.0
# In the mean of two channels, speech of one is 6 dB weaker; by so much more, they cancel out.
_CANCELS_DB: Final = 4.0
_NO_WORSE_DB: Final = 3.0
_SPEECH_PROB: Final = 0.5
_MIN_SPEECH_CHUNKS: Final = 8
_NOISE_SHARE: Final = 10  # per cent of moments that are no louder than the noise
_LEAST_NOISE: Final = 1e-4  # of speech: less doesn't make it clearer
_NO_POWER: Final = 1e-12


def listen(
    path: str | Path, *, track: int | str = AUTO, on_damage: DamageCallback | None = None
) -> MediaInfo:
    """What `probe` says of a file, with the sound track and channel that are to be heard.

    Of several tracks, a silent one, or one without speech, gives way to one for the same use that
    has it; to one for another use (a dub, a commentary) only where all are silent.

    Args:
        path: a video or audio file.
        track: see `probe`; one that is asked for is taken however it sounds.
        on_damage: see `probe`.

    Raises:
        MediaNotFoundError, EmptyMediaError, UnreadableMediaError, NoStreamError: see `probe`.
        WeightsError: the voice activity network is missing or damaged.
    """
    info = probe(path, track=track, on_damage=on_damage)
    if info.audio is not None and info.audio.others and track == AUTO:
        info = _with_sound(info, on_damage)
    if info.audio is None or info.audio.num_channels < 2:
        return info
    channel, why = _choose_channel(info)
    return replace(info, audio=replace(info.audio, channel=channel, channel_chosen=why))


def _with_sound(info: MediaInfo, on_damage: DamageCallback | None) -> MediaInfo:
    """The same file with the first of its tracks that holds speech, or else any sound."""
    audio = info.audio
    if audio is None:
        return info
    others = audio.others[: _MAX_TRACKS - 1]
    order = [(audio.role, audio.track), *((other.role, other.number) for other in others)]
    for role, group in groupby(order, key=lambda track: track[0]):
        if role is SoundRole.UNPLAYABLE:
            continue
        sounding: MediaInfo | None = None
        for _, number in group:
            own = info if number == audio.track else probe(info.path, track=number)
            heard = _gather(own, _looks(own.duration_s))
            if heard is not None and heard.num_speech_chunks >= _MIN_SPEECH_CHUNKS:
                why = TrackChoice.SOUNDING if sounding is None else TrackChoice.SPOKEN
                return _chosen(own, info, why, on_damage)
            if sounding is None and _sounds(own, heard):
                sounding = own
        if sounding is not None:
            return _chosen(sounding, info, TrackChoice.SOUNDING, on_damage)
    return info


def _chosen(
    own: MediaInfo, first: MediaInfo, why: TrackChoice, on_damage: DamageCallback | None
) -> MediaInfo:
    if own is first or own.audio is None:
        return first
    if on_damage is not None:
        probe(own.path, track=own.audio.track, on_damage=on_damage)
    return replace(own, audio=replace(own.audio, chosen=why))


def _sounds(info: MediaInfo, heard: _Heard | None) -> bool:
    """Whether a track sounds anywhere; looked for in order where the places looked at don't."""
    if heard is not None and heard.sounds:
        return True
    end_s = min(info.duration_s, _SEARCH_S)
    starts_s = np.arange(0, end_s, _SEARCH_STEP_S).tolist()
    spans_s = ((start_s, min(start_s + _SEARCH_STEP_S, end_s)) for start_s in starts_s)
    return any(_Heard.of([stretch]).sounds for stretch in read_stretches(info, spans_s))


def _choose_channel(info: MediaInfo) -> tuple[str, ChannelChoice | None]:
    """The channel that is heard and why, or the mean of all."""
    mean = (MEAN, None)
    heard = _gather(info, _glances(info.duration_s))
    if heard is None or len(heard.names) < 2 or heard.are_alike(range(len(heard.names))):
        return mean
    heard = _gather(info, _looks(info.duration_s))
    if heard is None or not heard.sounds:
        return mean
    alive = heard.alive
    if len(alive) == 1:
        return heard.names[alive[0]], ChannelChoice.OTHERS_SILENT
    if len(heard.names) == 2:
        if heard.are_alike(alive):
            return mean
        if heard.correlation(0, 1) <= _INVERTED:
            return heard.names[heard.strongest], ChannelChoice.INVERTED
        leading = heard.find_leading()
        if leading is not None:
            return heard.names[leading], ChannelChoice.DELAYED
        if not heard.may_be_clearer_alone:
            return mean
    return heard.choose_by_speech()


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """Stretches of a track joined together: samples (C, N) of the channels, without offset."""

    names: tuple[str, ...]
    rate_hz: int
    samples: FloatArray

    @classmethod
    def of(cls, stretches: list[Stretch]) -> _Heard:
        """Join those that have the channels of the first."""
        first = stretches[0]
        kind = first.names, first.rate_hz
        alike = [s.samples for s in stretches if (s.names, s.rate_hz) == kind]
        centred = [s - s.mean(axis=1, keepdims=True, dtype=np.float64) for s in alike]
        joined = np.concatenate(centred, axis=1).astype(np.float32)
        return cls(*kind, np.nan_to_num(joined, posinf=0.0, neginf=0.0))

    @property
    def sounds(self) -> bool:
        """Whether there is a moment of sound in any channel."""
        return bool(np.sqrt(self._moments(self.samples).max(initial=0.0)) > _SILENT_RMS)

    @property
    def may_be_clearer_alone(self) -> bool:
        """Whether it's worth while to look for speech: a cheap look at noise and cancellation."""
        moments = self._moments(np.vstack([self.samples, self.samples.mean(axis=0)]))
        power = moments.mean(axis=1)
        noise = np.percentile(moments, _NOISE_SHARE, axis=1)
        clear_db = 10 * np.log10(power / np.maximum(noise, power * _LEAST_NOISE))
        lost_db = 10 * np.log10(power[:-1].mean() / max(power[-1], _NO_POWER))
        is_clearer = clear_db[:-1].max() >= clear_db[-1] + _CLEARER_DB / 2
        return bool(is_clearer or lost_db >= self._cancels_db - _NO_WORSE_DB)

    def _moments(self, samples: FloatArray) -> DoubleArray:
        """Power (C, n) of samples (C, N) in each 32 ms."""
        size = max(1, round(self.rate_hz * CHUNK_SAMPLES / SAMPLE_RATE_HZ))
        count = max(1, samples.shape[1] // size)
        moments = samples[:, : count * size].reshape(len(samples), count, -1)
        return np.asarray(np.square(moments, dtype=np.float64).mean(axis=2))

    @property
    def powers(self) -> DoubleArray:
        """Mean power of each channel (C,)."""
        return np.asarray(np.square(self.samples, dtype=np.float64).mean(axis=1))

    @property
    def alive(self) -> list[int]:
        """Channels that are not dead; low frequencies only where nothing else is."""
        powers = self.powers
        found = np.flatnonzero(powers >= powers.max() * 10 ** (-_DEAD_DB / 10)).tolist()
        full = [c for c in found if self.names[c] != LOW_FREQUENCY]
        return full or found

    @property
    def _cancels_db(self) -> float:
        """How much weaker speech is in the mean of all channels only where they cancel out."""
        return 20 * math.log10(len(self.names)) + _CANCELS_DB

    @property
    def strongest(self) -> int:
        """The channel with most power, the first of those within 1 dB."""
        powers = self.powers
        return int(np.argmax(powers >= powers.max() * 10**-0.1))

    def correlation(self, first: int, second: int) -> float:
        """Of two channels, in [-1, 1]; 1 if both are silent."""
        one, other = self.samples[first].astype(np.float64), self.samples[second]
        # Not by `@`, which wakes the threads of the linear algebra library.
        power = np.sqrt((one * one).sum() * np.square(other, dtype=np.float64).sum())
        likeness = (one * other).sum() / power if power > 0 else one.any() == other.any()
        return float(likeness)

    def are_alike(self, channels: list[int] | range) -> bool:
        """Whether each channel correlates with the first one."""
        return all(self.correlation(channels[0], other) >= _ALIKE for other in channels[1:])

    def find_leading(self) -> int | None:
        """Of two channels, the one that holds what the other holds later; None if neither does."""
        # What folds back from above does so in both channels alike.
        step = max(1, self.rate_hz // SAMPLE_RATE_HZ)
        rate_hz = self.rate_hz / step
        one, other = self.samples[:, ::step]
        powers = [float(np.square(sound, dtype=np.float64).sum()) for sound in (one, other)]
        if abs(10 * np.log10(powers[0] / powers[1])) > _DELAYED_WITHIN_DB:
            return None
        size = 1 << (2 * len(one)).bit_length()  # a power of two is quick
        product = np.fft.rfft(other, size) * np.fft.rfft(one, size).conj()
        likeness = np.fft.irfft(product, size) / np.sqrt(powers[0] * powers[1])
        low, high = (round(delay_s * rate_hz) for delay_s in _DELAY_S)
        lags = np.arange(-high, high + 1)
        best = int(np.argmax(np.abs(likeness[lags])))
        if abs(lags[best]) < low or abs(likeness[lags[best]]) < _SAME_LATER:
            return None
        return 0 if lags[best] > 0 else 1

    def choose_by_speech(self) -> tuple[str, ChannelChoice | None]:
        """The channel that holds nearly all speech and much clearer than the mean, if one does."""
        alive = self.alive
        sounds = [self._at_16_khz(self.samples[channel]) for channel in alive]
        spoken = [_is_speech(sound) for sound in sounds]
        at_all = np.any(spoken, axis=0)
        if at_all.sum() < _MIN_SPEECH_CHUNKS:
            return MEAN, None
        mean = _Clarity.of(self._at_16_khz(self.samples.mean(axis=0)), at_all)
        clear = [_Clarity.of(sound, at_all) for sound in sounds]
        whole = [k for k, own in enumerate(spoken) if own.sum() >= _MOST * at_all.sum()]
        if not whole:
            return MEAN, None
        best = max(whole, key=lambda k: (round(clear[k].snr_db), -k))
        centre = [k for k in whole if self.names[alive[k]] == CENTRE]
        if centre and len(self.names) > 2:
            own = clear[centre[0]]
            if own.snr_db >= max(mean.snr_db, clear[best].snr_db - _CLEARER_DB) - _NO_WORSE_DB:
                return CENTRE, ChannelChoice.CENTRE
        spoken_db = float(np.mean([clear[k].speech_db for k in whole]))
        if mean.speech_db < spoken_db - self._cancels_db:
            return self.names[alive[best]], ChannelChoice.INVERTED
        if clear[best].snr_db >= mean.snr_db + _CLEARER_DB:
            return self.names[alive[best]], ChannelChoice.CLEAREST
        return MEAN, None

    @property
    def num_speech_chunks(self) -> int:
        """Moments of 32 ms with speech in the mean of all channels, or in the strongest one."""
        sounds = self.samples.mean(axis=0), self.samples[self.strongest]
        return max(int(_is_speech(self._at_16_khz(sound)).sum()) for sound in sounds)

    def _at_16_khz(self, samples: FloatArray) -> FloatArray:
        return np.asarray(soxr.resample(samples, self.rate_hz, SAMPLE_RATE_HZ), np.float32)


@dataclass(frozen=True, slots=True)
class _Clarity:
    """How loud speech is, and how much louder than what goes on when nobody speaks."""

    speech_db: float
    snr_db: float

    @classmethod
    def of(cls, samples: FloatArray, is_speech: BoolArray) -> _Clarity:
        """Of samples (N,) at 16 kHz, in whose chunks there is speech or not."""
        chunks = samples[: len(is_speech) * CHUNK_SAMPLES]
        padded = np.pad(chunks, (0, len(is_speech) * CHUNK_SAMPLES - len(chunks)))
        powers = np.square(padded.reshape(-1, CHUNK_SAMPLES), dtype=np.float64).mean(axis=1)
        speech = max(float(powers[is_speech].mean()), _NO_POWER)
        noise = max(float(np.percentile(powers, _NOISE_SHARE)), speech * _LEAST_NOISE)
        return cls(float(10 * np.log10(speech)), float(10 * np.log10(speech / noise)))


def _is_speech(samples: FloatArray) -> BoolArray:
    """Whether each chunk of samples (N,) at 16 kHz is speech."""
    blocks = read_speech([AudioBlock(0.0, samples)])
    return np.concatenate([np.zeros(0, bool), *(b.probs >= _SPEECH_PROB for b in blocks)])


def _gather(info: MediaInfo, spans_s: Iterator[tuple[float, float]]) -> _Heard | None:
    stretches = list(read_stretches(info, spans_s))
    return _Heard.of(stretches) if stretches else None


def _glances(duration_s: float) -> Iterator[tuple[float, float]]:
    number = min(max(round(duration_s), _MIN_GLANCES), _MAX_GLANCES)
    return _spread(duration_s, number, _GLANCE_S)


def _looks(duration_s: float) -> Iterator[tuple[float, float]]:
    if duration_s <= _MAX_LOOKS * _LOOK_S:
        return iter([(0.0, duration_s)])
    return _spread(duration_s, _MAX_LOOKS, _LOOK_S)


def _spread(duration_s: float, number: int, length_s: float) -> Iterator[tuple[float, float]]:
    """The middles of so many equal parts."""
    part_s = duration_s / number
    length_s = min(length_s, part_s)
    starts_s = ((k + 0.5) * part_s - length_s / 2 for k in range(number))
    return ((start_s, start_s + length_s) for start_s in starts_s)
