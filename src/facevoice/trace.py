"""What an analysis saw and heard, kept for pictures of it: face boxes, the waveform, speech."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from facevoice.types import SAMPLE_RATE_HZ, DoubleArray, FloatArray, IntArray, Window

PEAKS_HZ: Final = 20
"""Peaks of the waveform per second."""

_SAMPLES_PER_PEAK: Final = SAMPLE_RATE_HZ // PEAKS_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The leading face and the sound of a file, thinned out.

    face_times_s (n,), increasing; boxes_xyxy_rel (n, 4) as fractions of the picture's width and
    height; track_ids (n,): who is seen; peaks (m,): largest magnitude of the samples, in [0, 1],
    in each 1 / PEAKS_HZ s; speech_spans_s (k, 2): from when to when speech is heard. All
    times are media time.
    """

    face_times_s: DoubleArray
    boxes_xyxy_rel: FloatArray
    track_ids: IntArray
    peaks: FloatArray
    speech_spans_s: DoubleArray


class TraceRecorder:
    """Gathers a trace from the windows of a file, in order; they may overlap.

    Where two windows show the same moment, the earlier one tells whose face leads.
    """

    def __init__(self) -> None:
        self._times_s: list[float] = []
        self._boxes: list[FloatArray] = []
        self._track_ids: list[int] = []
        self._peaks: list[FloatArray] = []
        self._rest = np.zeros(0, np.float32)
        self._heard = 0
        self._spans_s: list[list[float]] = []

    def add(self, window: Window) -> None:
        """Take what `window` shows beyond the windows before it."""
        self._add_faces(window)
        self._add_speech(window)
        if window.samples is not None:
            self._add_samples(window.samples, round(window.start_s * SAMPLE_RATE_HZ))

    def finish(self) -> Trace:
        """The trace of all windows so far."""
        rest = [] if not len(self._rest) else [np.abs(self._rest).max(keepdims=True)]
        peaks = np.concatenate([np.zeros(0, np.float32), *self._peaks, *rest])
        return Trace(
            face_times_s=np.array(self._times_s, np.float64),
            boxes_xyxy_rel=np.array(self._boxes, np.float32).reshape(-1, 4),
            track_ids=np.array(self._track_ids, np.int64),
            peaks=np.minimum(peaks, 1).astype(np.float32),
            speech_spans_s=np.array(self._spans_s, np.float64).reshape(-1, 2),
        )

    def _add_faces(self, window: Window) -> None:
        times_s, boxes = window.face_timestamps_s, window.boxes_xyxy_rel
        if times_s is None or boxes is None or window.track_id is None:
            return
        for time_s, box in zip(times_s.tolist(), boxes, strict=True):
            if not self._times_s or time_s > self._times_s[-1]:
                self._times_s.append(time_s)
                self._boxes.append(box)
                self._track_ids.append(window.track_id)

    def _add_speech(self, window: Window) -> None:
        for start_s, end_s in () if window.speech_spans_s is None else window.speech_spans_s:
            if self._spans_s and start_s <= self._spans_s[-1][1]:
                self._spans_s[-1][1] = max(self._spans_s[-1][1], float(end_s))
            else:
                self._spans_s.append([float(start_s), float(end_s)])

    def _add_samples(self, samples: FloatArray, start: int) -> None:
        known = self._heard - start
        if known < 0:  # windows that were skipped: nothing is known of the sound between
            self._peaks.append(np.zeros((start - self._heard) // _SAMPLES_PER_PEAK, np.float32))
            self._rest, known = np.zeros(0, np.float32), 0
        fresh = np.concatenate([self._rest, samples[known:]])
        num_peaks = len(fresh) // _SAMPLES_PER_PEAK
        whole = fresh[: num_peaks * _SAMPLES_PER_PEAK].reshape(num_peaks, _SAMPLES_PER_PEAK)
        self._peaks.append(np.abs(whole).max(axis=1) if num_peaks else np.zeros(0, np.float32))
        self._rest = fresh[num_peaks * _SAMPLES_PER_PEAK :].copy()
        self._heard = max(self._heard, start + len(samples))
