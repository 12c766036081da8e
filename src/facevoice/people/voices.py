"""Whose voice is heard: a print of each window's speech, and windows of one voice put together.

Prints come from Resemblyzer's voice encoder (Apache-2.0), a small LSTM trained to tell speakers
apart (Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv 1710.10467),
on mel power like librosa's, in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from facevoice.records import SAMPLE_RATE_HZ, DoubleArray, FloatArray, IntArray, Window
from facevoice.sessions import load_session
from facevoice.spectra import cut_low, mel_filters

PRINT_DIM: Final = 256
_NUM_MELS: Final = 40
_FFT_SAMPLES: Final = 400
_HOP_SAMPLES: Final = 160
_HANN: Final = np.hanning(_FFT_SAMPLES + 1)[:-1]
# The network learnt from stretches of that length and level.
_PART_FRAMES: Final = 160
_LEVEL: Final = 10 ** (-30 / 20)
_PART_HOP_FRAMES: Final = 80
_LEAST_S: Final = 0.6
_MARGIN_S: Final = 0.1
_TINY: Final = 1e-9


class VoiceIdentifier:
    """Tells what is a speaker's own in the sound of a window; threads may share one."""

    def __init__(self, *, num_threads: int = 1) -> None:
        self._session, self.model = load_session("voiceprint", num_threads=num_threads)

    def print_window(self, window: Window) -> FloatArray | None:
        """Unit vector (256,) of a window's speech; None where there is less than 0.6 s of it."""
        if window.samples is None:
            return None
        spans_s = window.speech_spans_s
        if spans_s is None:
            return self.print_speech(window.samples)
        return self.print_speech(_speech_of(window.samples, spans_s - window.start_s))

    def print_speech(self, samples: FloatArray) -> FloatArray | None:
        """Unit vector (256,) of speech without pauses, mono (N,) at 16 kHz; None below 0.6 s.

        The mean over stretches of 1.6 s that overlap by half.
        """
        if samples.size < _LEAST_S * SAMPLE_RATE_HZ:
            return None
        parts = self._session.run(["print"], {"mel": _parts(_mel_power(samples))})[0]
        total = parts.mean(axis=0)
        found: FloatArray = total / (np.linalg.norm(total) + np.float32(_TINY))
        return found


def _speech_of(samples: FloatArray, spans_s: DoubleArray) -> FloatArray:
    """Those samples that are speech, and a little around."""
    heard = np.zeros(samples.size, dtype=np.bool_)
    for start_s, end_s in spans_s.tolist():
        first = max(0, round((start_s - _MARGIN_S) * SAMPLE_RATE_HZ))
        heard[first : max(first, round((end_s + _MARGIN_S) * SAMPLE_RATE_HZ))] = True
    return samples[heard]


@lru_cache(maxsize=1)
def _filters() -> DoubleArray:
    return mel_filters(_NUM_MELS).astype(np.float64)


def _mel_power(samples: FloatArray) -> FloatArray:
    """Mel power (T, 40) at the level that the network knows."""
    samples = cut_low(samples)
    level = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
    padded = np.pad(samples * (_LEVEL / (level + _TINY)), _FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT_SAMPLES)[::_HOP_SAMPLES]
    power = np.abs(np.fft.rfft(frames * _HANN, axis=1)) ** 2
    mel: FloatArray = np.einsum("tf,mf->tm", power, _filters()).astype(np.float32)
    return mel


def _parts(mel: FloatArray) -> FloatArray:
    """Stretches (n, 160, 40), the last one flush with the end; a short one is repeated."""
    if len(mel) < _PART_FRAMES:
        return np.resize(mel, (1, _PART_FRAMES, _NUM_MELS))
    last = len(mel) - _PART_FRAMES
    count = 1 + -(-last // _PART_HOP_FRAMES)
    starts = np.rint(np.linspace(0, last, count)).astype(int)
    return np.stack([mel[start : start + _PART_FRAMES] for start in starts])


NO_VOICE: Final = -1
"""Stands for windows without a print, and for those too unlike every voice to be given to one."""


@dataclass(frozen=True, slots=True)
class VoiceLinks:
    """How alike prints must be, as cosines.

    chain: two neighbouring windows, to be one stretch; join: two voices, by the mean over pairs of
    their windows, to be one; belong: a stretch too short to be a voice, to the nearest one;
    least_s: speech that makes a voice of its own.
    """

    chain: float = 0.90
    join: float = 0.77
    belong: float = 0.66
    least_s: float = 8.0


LINKS: Final = VoiceLinks()


def group_voices(
    prints: Sequence[FloatArray | None],
    seconds: Sequence[float],
    links: VoiceLinks = LINKS,
) -> IntArray:
    """Which windows of a file are of one voice: labels (n,) from 0 on, in order of time, or -1.

    Neighbours that are alike are put together first, then the two likeliest stretches again and
    again (average linkage, each window counting as much as it has speech), as long as they are
    alike enough. What is left with little speech goes to the nearest voice, or stays without one:
    most often it holds two voices.

    Args:
        prints: of each window, in order of time, as `VoiceIdentifier` gives them.
        seconds: of speech in each window (n,).
        links: how alike is alike enough.
    """
    labels = np.full(len(prints), NO_VOICE, dtype=np.int64)
    places = [k for k, found in enumerate(prints) if found is not None and seconds[k] > 0]
    if not places:
        return labels
    vectors = np.array([prints[k] for k in places], dtype=np.float64)
    weights = np.array([seconds[k] for k in places], dtype=np.float64)
    stretches = _stretches(vectors, weights, links.chain)
    sums = np.array([(vectors[s] * weights[s, None]).sum(axis=0) for s in stretches])
    totals = np.array([weights[s].sum() for s in stretches])
    groups = _join(sums, totals, links.join)
    big = [g for g in groups if totals[g].sum() >= links.least_s] or [
        max(groups, key=lambda g: float(totals[g].sum()))
    ]
    owners = np.full(len(stretches), NO_VOICE, dtype=np.int64)
    # In the order in which they are first heard.
    big.sort(key=min)
    for label, group in enumerate(big):
        owners[group] = label
    centres = np.array([sums[group].sum(axis=0) / totals[group].sum() for group in big])
    for place in np.flatnonzero(owners == NO_VOICE):
        likeness = centres @ (sums[place] / totals[place])
        if likeness.max() >= links.belong:
            owners[place] = int(likeness.argmax())
    for owner, stretch in zip(owners.tolist(), stretches, strict=True):
        labels[[places[k] for k in stretch]] = owner
    return labels


def _stretches(vectors: DoubleArray, weights: DoubleArray, chain: float) -> list[list[int]]:
    """Neighbours that are alike, each with the mean of those before it."""
    found: list[list[int]] = []
    total = np.zeros(vectors.shape[1])
    for place, vector in enumerate(vectors):
        if found and vector @ total >= chain * np.linalg.norm(total):
            found[-1].append(place)
            total = total + weights[place] * vector
        else:
            found.append([place])
            total = weights[place] * vector
    return found


def _join(sums: DoubleArray, totals: DoubleArray, least: float) -> list[list[int]]:
    """Average linkage down to a likeness; of equal ones the first pair is joined."""
    means = sums / totals[:, None]
    totals = totals.copy()
    likeness = means @ means.T
    np.fill_diagonal(likeness, -np.inf)
    groups: dict[int, list[int]] = {k: [k] for k in range(len(sums))}
    best = likeness.argmax(axis=1)
    peak = likeness[np.arange(len(sums)), best]
    while len(groups) > 1:
        one = int(peak.argmax())
        if peak[one] < least:
            break
        one, other = sorted((one, int(best[one])))
        groups[one] += groups.pop(other)
        share = totals[one] / (totals[one] + totals[other])
        totals[one] += totals[other]
        row = share * likeness[one] + (1 - share) * likeness[other]
        row[[one, other]] = -np.inf
        likeness[one] = likeness[:, one] = row
        likeness[other] = likeness[:, other] = -np.inf
        stale = np.flatnonzero((best == one) | (best == other))
        changed = {one, *stale.tolist(), *np.flatnonzero(row > peak).tolist()} - {other}
        peak[other] = -np.inf
        for place in changed:
            best[place] = int(likeness[place].argmax())
            peak[place] = likeness[place, best[place]]
    return list(groups.values())


class VoiceBook:
    """The voices of a live stream, known by number; a number once given stays."""

    def __init__(self, links: VoiceLinks = LINKS) -> None:
        self._links = links
        self._sums: list[DoubleArray] = []
        self._seconds: list[float] = []

    def add(self, found: FloatArray | None, seconds: float) -> int:
        """The next window's voice, a new number where it is like none; -1 without a print."""
        if found is None or seconds <= 0:
            return NO_VOICE
        vector = found.astype(np.float64)
        likeness = [
            float(vector @ total) / known
            for total, known in zip(self._sums, self._seconds, strict=True)
        ]
        label = int(np.argmax(likeness)) if likeness else len(self._sums)
        if not likeness or likeness[label] < self._links.join:
            label = len(self._sums)
            self._sums.append(np.zeros(PRINT_DIM))
            self._seconds.append(0.0)
        self._sums[label] += seconds * vector
        self._seconds[label] += seconds
        return label
