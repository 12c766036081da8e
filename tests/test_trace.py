from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facevoice.analyzer import Analyzer
from facevoice.records import PEAKS_HZ, SAMPLE_RATE_HZ, TraceRecorder, Window

SAMPLE = Path(__file__).parent.parent / "examples" / "smile_sad_voice.mp4"


def window(start_s: float, end_s: float, **what: object) -> Window:
    fields: dict[str, object] = {"faces": None, "samples": None, **what}
    return Window(start_s, end_s, face_coverage=0, speech_coverage=0, **fields)  # type: ignore[arg-type]


def with_faces(start_s: float, end_s: float, times_s: list[float], track_id: int) -> Window:
    return window(
        start_s,
        end_s,
        faces=np.zeros((len(times_s), 8, 8, 3), np.uint8),
        face_timestamps_s=np.array(times_s),
        boxes_xyxy_rel=np.full((len(times_s), 4), track_id / 10, np.float32),
        track_id=track_id,
    )


def test_overlapping_windows_give_each_sighting_once() -> None:
    recorder = TraceRecorder()
    recorder.add(with_faces(0, 4, [0.0, 1.0, 3.0], 1))
    recorder.add(with_faces(2, 6, [3.0, 4.0, 5.0], 2))
    trace = recorder.finish()
    assert trace.face_times_s.tolist() == [0, 1, 3, 4, 5]
    assert trace.track_ids.tolist() == [1, 1, 1, 2, 2]
    assert trace.boxes_xyxy_rel[:, 0] == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize("hop_s", [4.0, 2.0, 0.37])
def test_peaks_do_not_depend_on_how_windows_overlap(hop_s: float) -> None:
    sound = np.random.default_rng(1).uniform(-1, 1, 10 * SAMPLE_RATE_HZ).astype(np.float32)
    recorder = TraceRecorder()
    start_s = 0.0
    while start_s < 10:
        first, last = round(start_s * SAMPLE_RATE_HZ), round((start_s + 4) * SAMPLE_RATE_HZ)
        recorder.add(window(start_s, start_s + 4, samples=sound[first:last]))
        start_s += hop_s
    size = SAMPLE_RATE_HZ // PEAKS_HZ
    expected = np.abs(sound).reshape(-1, size).max(axis=1)
    assert recorder.finish().peaks == pytest.approx(expected)


def test_a_rest_of_sound_has_its_peak_and_loud_sound_is_one() -> None:
    recorder = TraceRecorder()
    recorder.add(window(0, 1, samples=np.full(1000, -3.0, np.float32)))
    assert recorder.finish().peaks.tolist() == [1.0, 1.0]


def test_speech_goes_on_across_windows() -> None:
    recorder = TraceRecorder()
    recorder.add(window(0, 4, speech_spans_s=np.array([[0.5, 1.0], [3.0, 4.0]])))
    recorder.add(window(2, 6, speech_spans_s=np.array([[3.0, 4.5], [5.0, 5.5]])))
    spans = recorder.finish().speech_spans_s
    assert spans.tolist() == [[0.5, 1.0], [3.0, 4.5], [5.0, 5.5]]


def test_nothing_seen_or_heard() -> None:
    recorder = TraceRecorder()
    recorder.add(window(0, 4))
    trace = recorder.finish()
    assert trace.face_times_s.shape == (0,)
    assert trace.boxes_xyxy_rel.shape == (0, 4)
    assert trace.peaks.shape == (0,)
    assert trace.speech_spans_s.shape == (0, 2)


def test_trace_of_a_real_clip_agrees_with_its_report() -> None:
    recorder, speech_s = TraceRecorder(), []

    def read(window: Window) -> None:
        recorder.add(window)
        assert window.speech_spans_s is not None
        inside = np.clip(window.speech_spans_s, window.start_s, window.end_s)
        assert np.array_equal(inside, window.speech_spans_s)
        speech_s.append(float(np.diff(window.speech_spans_s).sum()))

    report = Analyzer().analyze(SAMPLE, on_read=read)
    trace = recorder.finish()
    told_s = [w.speech_coverage * (w.end_s - w.start_s) for w in report.windows]
    assert speech_s == pytest.approx(told_s)
    assert report.media is not None
    assert len(trace.peaks) == pytest.approx(report.media.duration_s * PEAKS_HZ, abs=2)
    assert np.all(np.diff(trace.face_times_s) > 0)
    x0, y0, x1, y1 = trace.boxes_xyxy_rel.mean(axis=0)
    assert 0 < x0 < x1 < 1
    assert 0 < y0 < y1 < 1
