"""Which stretches and bands of the voice matter: brought down to the background's level.

Hidden is a stretch of time, a band of frequencies, or where both meet, in the sound itself: what
sounds there is brought down to the tenth quietest of what sounds at that frequency in the window,
as in its pauses. Digital silence would be a thing that no recording has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from facevoice.explain.hiding import (
    NUM_RANDOM,
    Answers,
    Asker,
    Part,
    bare_part,
    effects,
    judge_parts,
)
from facevoice.records import SAMPLE_RATE_HZ, BoolArray, DoubleArray, Emotion, FloatArray, Window

BANDS_HZ: Final = (0, 300, 700, 1400, 2500, 4200, 8000)
STRETCH_S: Final = 0.4
_FFT: Final = 512
_HOP: Final = 128
_HANN: Final = np.hanning(_FFT + 1)[:-1]
_QUIET: Final = 0.1
_BINS_HZ: Final = np.arange(_FFT // 2 + 1) * SAMPLE_RATE_HZ / _FFT
_FLOOR_DB: Final = -80.0


@dataclass(frozen=True, slots=True, eq=False)
class VoiceExplanation:
    """What of a voice moved its answer.

    emotion, before, parts: as of a face; edges_s (n + 1,): where stretches begin and end, media
    time; edges_hz (m + 1,); heat, conflict_heat (m, n): effect of hiding each band in each stretch,
    in log-odds; spectrogram (257, T): decibels below its loudest cell, 0 to 8 kHz, from `edges_s`'s
    first to its last.
    """

    emotion: Emotion
    before: Answers
    parts: tuple[Part, ...]
    edges_s: tuple[float, ...]
    edges_hz: tuple[float, ...]
    heat: DoubleArray
    conflict_heat: DoubleArray | None
    spectrogram: FloatArray


def explain_voice(asker: Asker, window: Window, *, seed: int = 0) -> VoiceExplanation:
    """Explain the voice of a window that has sound; `seed`: of the random covers."""
    if window.samples is None:
        raise ValueError(f"window at {window.start_s:g} s has no sound")
    mute = Mute(window.samples)
    edges = stretch_edges(window.duration_s)
    stretches, bands = list(pairwise(edges)), list(pairwise(BANDS_HZ))
    whole = [mute.cells([(s, (0, 8000))]) for s in stretches]
    whole += [mute.cells([((0.0, window.duration_s), b)]) for b in bands]
    random = _random_cells(mute, edges, seed)
    changed = (replace(window, samples=mute(mask)) for mask in (*whole, *random))
    before, *after = asker.ask([window, *changed])
    parts, rest = after[: len(whole)], after[len(whole) :]
    heat, conflict_heat = cell_heat(asker, window)
    return VoiceExplanation(
        asker.emotion,
        before,
        judge_parts(before, _bare(window.start_s, stretches, parts), rest),
        tuple(window.start_s + edge for edge in edges),
        tuple(map(float, BANDS_HZ)),
        heat,
        conflict_heat,
        mute.decibels(),
    )


def cell_heat(asker: Asker, window: Window) -> tuple[DoubleArray, DoubleArray | None]:
    """Effects of hiding each band in each stretch (m, n), on the emotion and on conflict."""
    if window.samples is None:
        raise ValueError(f"window at {window.start_s:g} s has no sound")
    mute = Mute(window.samples)
    edges = stretch_edges(window.duration_s)
    cells = [[mute.cells([(s, b)]) for s in pairwise(edges)] for b in pairwise(BANDS_HZ)]
    changed = (replace(window, samples=mute(cell)) for row in cells for cell in row)
    before, *after = asker.ask([window, *changed])
    heat, conflict = effects(before, after)
    shape = len(cells), len(cells[0])
    return heat.reshape(shape), None if conflict is None else conflict.reshape(shape)


class Mute:
    """Brings cells of a sound's spectrogram down to the background's level; samples (N,)."""

    def __init__(self, samples: FloatArray) -> None:
        self._num = len(samples)
        spare = -len(samples) % _HOP
        padded = np.pad(samples.astype(np.float64), (_FFT, _FFT + spare))
        frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
        self._spectrum = np.fft.rfft(frames * _HANN, axis=1)
        self._size = np.abs(self._spectrum)
        inside = self.times_s
        sounding = self._size[(inside >= 0) & (inside <= self._num / SAMPLE_RATE_HZ)]
        floor = np.quantile(sounding, _QUIET, axis=0)
        # How much is left of each cell where it is hidden.
        self._left = np.minimum(1.0, floor / np.maximum(self._size, 1e-12))
        self._weight = self._overlap(np.tile(_HANN**2, (len(self._spectrum), 1)))

    @property
    def times_s(self) -> DoubleArray:
        """The middle of each frame, from the window's start on."""
        middles = np.arange(len(self._spectrum)) * _HOP + _FFT / 2 - _FFT
        return np.asarray(middles / SAMPLE_RATE_HZ, np.float64)

    def cells(self, boxes: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> BoolArray:
        """Which cells (frames, bins) lie in boxes ((start_s, end_s), (low_hz, high_hz))."""
        mask = np.zeros(self._size.shape, np.bool_)
        times = self.times_s
        for (start_s, end_s), (low_hz, high_hz) in boxes:
            is_top = high_hz >= BANDS_HZ[-1]
            rows = (times >= start_s) & (times < end_s)
            mask |= rows[:, None] & ((low_hz <= _BINS_HZ) & (is_top | (high_hz > _BINS_HZ)))[None]
        return mask

    def __call__(self, mask: BoolArray) -> FloatArray:
        """The samples with the cells of a mask brought down."""
        spectrum = np.where(mask, self._spectrum * self._left, self._spectrum)
        frames = np.fft.irfft(spectrum, n=_FFT, axis=1) * _HANN
        samples = self._overlap(frames) / np.maximum(self._weight, 1e-9)
        return np.asarray(samples[_FFT : _FFT + self._num], np.float32)

    def decibels(self) -> FloatArray:
        """The spectrogram (bins, frames) below its loudest cell, within the window."""
        inside = (self.times_s >= 0) & (self.times_s <= self._num / SAMPLE_RATE_HZ)
        size = self._size[inside].T
        loudest = max(float(size.max()), 1e-12)
        told = 20 * np.log10(np.maximum(size / loudest, 1e-12))
        return np.asarray(np.maximum(told, _FLOOR_DB), np.float32)

    @staticmethod
    def _overlap(frames: npt.NDArray[np.float64]) -> DoubleArray:
        total = np.zeros((len(frames) - 1) * _HOP + _FFT)
        steps = _FFT // _HOP
        for k in range(steps):  # Frames that don't overlap are put in one go.
            own = frames[k::steps]
            total[k * _HOP : k * _HOP + own.size] += own.ravel()
        return total


def stretch_edges(duration_s: float) -> tuple[float, ...]:
    """Where stretches of about `STRETCH_S` begin and end, from the window's start on."""
    num = max(1, round(duration_s / STRETCH_S))
    return tuple(float(edge) for edge in np.linspace(0, duration_s, num + 1))


def _bare(
    start_s: float, stretches: Sequence[tuple[float, float]], answers: Sequence[Answers]
) -> list[Part]:
    found = []
    for edges, answer in zip(stretches, answers[: len(stretches)], strict=True):
        begin_s, end_s = start_s + edges[0], start_s + edges[1]
        name = f"{begin_s:.1f} to {end_s:.1f} s"
        found.append(bare_part(name, "stretch", answer, start_s=begin_s, end_s=end_s))
    for (low, high), answer in zip(pairwise(BANDS_HZ), answers[len(stretches) :], strict=True):
        name = f"{low} to {high} Hz" if low else f"below {high} Hz"
        found.append(bare_part(name, "band", answer, low_hz=float(low), high_hz=float(high)))
    return found


def _random_cells(mute: Mute, edges: Sequence[float], seed: int) -> list[BoolArray]:
    """As much as one part, on average, but by bands of stretches here and there."""
    random = np.random.default_rng(seed)
    boxes = [(s, b) for s in pairwise(edges) for b in pairwise(BANDS_HZ)]
    num_parts = len(edges) + len(BANDS_HZ) - 2
    num_boxes = max(1, round(2 * len(boxes) / num_parts))
    chosen = (random.choice(len(boxes), num_boxes, replace=False) for _ in range(NUM_RANDOM))
    return [mute.cells([boxes[k] for k in places]) for places in chosen]
