"""Interrupted, resumed, overlapped and streamed: the same windows, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.long_videos import repeat_video

from facevoice.analyzer import Analyzer, Step
from facevoice.batch import FileJournal
from facevoice.media import probe
from facevoice.records import Report
from facevoice.report import to_json
from facevoice.settings import AnalyzerConfig, FacesConfig, WindowConfig

SAMPLE = Path(__file__).parents[2] / "examples" / "smile_glad_voice.mp4"


class Killed(BaseException):
    """Stands for whatever ends a process in the midst of a file."""


class BreakingJournal(FileJournal):
    """Notes every window as a place to go on from, and breaks off after some."""

    def __init__(self, path: Path, num_windows: int) -> None:
        super().__init__(path)
        self._left = num_windows

    def add(self, step: Step, damage: Sequence[str]) -> None:
        self._last_begin_s = -np.inf
        super().add(step, damage)
        self._left -= 1
        if self._left == 0:
            raise Killed


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """34 s with a face and speech, and places where the picture leaps."""
    return repeat_video(SAMPLE, tmp_path_factory.mktemp("long") / "long.mp4", 5)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(num_threads=1)


@pytest.fixture(scope="module")
def whole(video: Path, analyzer: Analyzer) -> Report:
    return analyzer.analyze(video)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_interrupted_file_comes_out_as_if_never_interrupted(
    video: Path, whole: Report, tmp_path: Path, num_threads: int
) -> None:
    analyzer = Analyzer(num_threads=num_threads)
    path = tmp_path / "journal.jsonl"
    given: list[float] = []
    for num_windows in (1, 4, 7):
        with pytest.raises(Killed), BreakingJournal(path, num_windows) as journal:
            analyzer.analyze(video, journal=journal)
        assert path.is_file()
    with FileJournal(path) as journal:
        assert journal.start is not None
        # One window of each run is not known to be whole: the one after the last beginning.
        assert journal.start.window == len(journal.predictions) == 9
        report = analyzer.analyze(video, journal=journal, on_progress=given.append)
        journal.finish()
    assert given[0] == whole.windows[8].end_s
    assert to_json(report, exact=True) == to_json(whole, exact=True)
    assert not path.exists()


def test_a_later_start_needs_less_decoding(
    video: Path, analyzer: Analyzer, whole: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list(analyzer.steps(probe(video)))
    decoded: list[float] = []
    detect = analyzer._detector.refine

    def refine(rgb: np.ndarray, boxes: np.ndarray) -> object:
        decoded.append(0.0)
        return detect(rgb, boxes)

    monkeypatch.setattr(analyzer._detector, "refine", refine)
    late = list(analyzer.steps(probe(video), start=steps[12].begin))
    num_late = len(decoded)
    list(analyzer.steps(probe(video)))
    assert num_late < (len(decoded) - num_late) / 2
    for one, other in zip(late, whole.windows[12:], strict=True):
        assert one.prediction.conflict == other.conflict
        assert one.prediction.face_coverage == other.face_coverage


def test_threads_change_nothing(video: Path, whole: Report) -> None:
    overlapped = Analyzer(num_threads=3)
    assert to_json(overlapped.analyze(video), exact=True) == to_json(whole, exact=True)


def test_a_journal_outlives_whatever_is_left_of_its_last_line(
    video: Path, analyzer: Analyzer, whole: Report, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed), BreakingJournal(path, 5) as journal:
        analyzer.analyze(video, journal=journal)
    content = path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 3):
        path.write_bytes(content[:length])
        with FileJournal(path) as journal:
            report = analyzer.analyze(video, journal=journal)
        assert to_json(report, exact=True) == to_json(whole, exact=True)
    path.write_bytes(b'{"window": 3}\n\xff\n')
    with FileJournal(path) as journal:
        assert journal.start is None


def test_a_journal_is_readable_while_it_grows(
    video: Path, analyzer: Analyzer, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed), BreakingJournal(path, 3) as journal:
        analyzer.analyze(video, journal=journal)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["window"]["start_s"] for line in lines if "window" in line] == [0.0, 2.0, 4.0]


def test_what_the_decoders_complained_of_is_not_forgotten(
    video: Path, analyzer: Analyzer, tmp_path: Path
) -> None:
    path = tmp_path / "journal.jsonl"
    with pytest.raises(Killed), FileJournal(path) as journal:
        for step in analyzer.steps(probe(video)):
            journal.add(step, ["damaged video data at 0.5 s"])
            if step.begin.window == 3:
                raise Killed
            journal._last_begin_s = -np.inf
    with FileJournal(path) as journal:
        assert analyzer.analyze(video, journal=journal).status == "truncated"


@pytest.mark.parametrize("rate_hz", [1.0, 3.3, 12.5])
def test_every_window_can_be_begun_with(video: Path, rate_hz: float) -> None:
    config = AnalyzerConfig(
        faces=FacesConfig(sample_rate_hz=rate_hz, detect_rate_hz=1.0),
        windows=WindowConfig(length_s=3.0, hop_s=2.3),
    )
    analyzer = Analyzer(config, num_threads=1)
    info = probe(video)
    steps = list(analyzer.steps(info))
    for begin in (steps[1].begin, steps[6].begin, steps[-2].begin):
        late = [step.prediction for step in analyzer.steps(info, start=begin)]
        expected = [step.prediction for step in steps[begin.window :]]
        assert [p.start_s for p in late] == [p.start_s for p in expected]
        for one, other in zip(late, expected, strict=True):
            assert one.face_coverage == other.face_coverage
            assert one.conflict == other.conflict
