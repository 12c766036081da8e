"""The whole way of a file, with the shipped models: sample clips, and files that lack something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conftest import ClipMaker
from facevoice import Outcome, Reason, Status
from facevoice.analyzer import Analyzer
from facevoice.errors import ConfigError, EmptyMediaError, NoStreamError, UnreadableMediaError
from facevoice.interpret import decide_again
from facevoice.records import Report
from facevoice.settings import SENSITIVITIES, AnalyzerConfig, DecisionConfig, WindowConfig
from portraits import make_portrait

EXAMPLES = Path(__file__).parent.parent / "examples"
SAMPLE = EXAMPLES / "smile_glad_voice.mp4"


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture(scope="module")
def sample_report(analyzer: Analyzer) -> Report:
    return analyzer.analyze(SAMPLE)


def keep_stream(source: Path, target: Path, kind: str) -> Path:
    """Copy one stream of a file without re-encoding."""
    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        stream = given.streams.get({kind: 0})[0]
        copy = written.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                written.mux(packet)
    return target


def test_sample_is_read_whole(sample_report: Report) -> None:
    assert sample_report.status is Status.OK
    assert sample_report.media is not None
    assert sample_report.windows[-1].end_s == pytest.approx(sample_report.media.duration_s)
    for window in sample_report.windows:
        assert window.face is not None
        assert window.voice is not None
        assert window.face_coverage > 0.9
        assert 0 < window.speech_coverage <= 1
        assert window.conflict is not None
        assert 0 <= window.conflict <= 1


def test_smiling_portrait_is_seen_as_happy(sample_report: Report) -> None:
    assert sample_report.summary is not None
    face = sample_report.summary.face
    assert face is not None
    assert int(face.probs.argmax()) == 2


def test_report_names_its_models_and_settings(sample_report: Report) -> None:
    assert set(sample_report.models) == {
        *("detector", "identity", "speaker", "speech", "voice_print", "face", "voice", "heads"),
    }
    assert all(len(m.sha256) == 64 for m in sample_report.models.values())
    assert sample_report.config == AnalyzerConfig()
    assert sum(sample_report.outcome_counts.values()) == len(sample_report.windows)


def test_streamed_windows_are_those_of_the_report(
    analyzer: Analyzer, sample_report: Report
) -> None:
    streamed = analyzer.stream(SAMPLE)
    assert isinstance(streamed, Iterator)
    for one, other in zip(streamed, sample_report.windows, strict=True):
        assert (one.start_s, one.outcome) == (other.start_s, other.outcome)
        assert one.conflict == pytest.approx(other.conflict, abs=1e-9)


def test_video_only_and_audio_only_files_say_so(analyzer: Analyzer, tmp_path: Path) -> None:
    silent = analyzer.analyze(keep_stream(SAMPLE, tmp_path / "silent.mp4", "video"))
    assert silent.status is Status.VIDEO_ONLY
    assert silent.summary is not None
    assert silent.summary.face is not None
    assert silent.summary.voice is None
    assert silent.summary.conflict is None
    assert silent.summary.outcome is Outcome.INSUFFICIENT
    assert Reason.NO_AUDIO_STREAM in silent.summary.reasons
    unseen = analyzer.analyze(keep_stream(SAMPLE, tmp_path / "unseen.m4a", "audio"))
    assert unseen.status is Status.AUDIO_ONLY
    assert unseen.summary is not None
    assert unseen.summary.face is None
    assert unseen.summary.voice is not None
    assert Reason.NO_VIDEO_STREAM in unseen.summary.reasons


def test_no_face_and_no_speech_are_never_neutral(analyzer: Analyzer, make_clip: object) -> None:
    def grey(index: int, time_s: float) -> np.ndarray:
        return np.full((120, 160, 3), 90 + index % 3, np.uint8)

    path = make_clip("empty.mp4", paint=grey, samples="tone", duration_s=2.0)  # type: ignore[operator]
    report = analyzer.analyze(path)
    assert report.status is Status.NO_FACE_NO_SPEECH
    assert report.summary is not None
    assert report.summary.face is None
    assert report.summary.voice is None
    assert report.summary.fused is None
    assert set(report.summary.reasons) == {Reason.NO_FACE, Reason.NO_SPEECH}


def test_a_film_upside_down_gives_the_answers_of_the_upright_one(
    analyzer: Analyzer, make_clip: ClipMaker
) -> None:
    portrait = make_portrait()

    def upright(index: int, time_s: float) -> np.ndarray:
        return np.roll(portrait, index % 3, axis=1)

    def upside_down(index: int, time_s: float) -> np.ndarray:
        return np.ascontiguousarray(upright(index, time_s)[::-1, ::-1])

    paths = (
        make_clip(f"{paint.__name__}.mp4", paint=paint, width=300, height=300, duration_s=2.0)
        for paint in (upright, upside_down)
    )
    faces = [analyzer.analyze(path).windows[0].face for path in paths]
    assert faces[0] is not None
    assert faces[1] is not None
    np.testing.assert_allclose(faces[1].probs, faces[0].probs, atol=0.05)


def test_a_face_too_small_to_read_is_told_from_none(
    analyzer: Analyzer, make_clip: ClipMaker
) -> None:
    tiny = np.asarray(Image.fromarray(make_portrait()).resize((40, 40), Image.Resampling.BOX))

    def screen(index: int, time_s: float) -> np.ndarray:
        rgb = np.full((360, 640, 3), 235, np.uint8)
        rgb[300:340, 580:620] = tiny
        return rgb

    report = analyzer.analyze(
        make_clip("screen.mp4", paint=screen, width=640, height=360, duration_s=2.0)
    )
    (window,) = report.windows
    assert window.face is None
    assert Reason.FACE_TOO_SMALL in window.reasons
    assert Reason.NO_FACE not in window.reasons


def test_another_setting_gives_the_same_from_the_report_as_from_the_file(
    analyzer: Analyzer, sample_report: Report
) -> None:
    perception = analyzer.perceive(SAMPLE)
    for level in (*SENSITIVITIES, 0.55, 0.97):
        decision = DecisionConfig(sensitivity=level, expected_conflicts=0.3)
        expected = analyzer.interpret(perception, decision=decision)
        again = decide_again(sample_report, decision)
        assert again.config == expected.config
        assert again.point == expected.point
        assert again.outcome_counts == expected.outcome_counts
        assert [m.outcome for m in again.moments] == [m.outcome for m in expected.moments]
        for one, other in zip(again.windows, expected.windows, strict=True):
            assert one.conflict == pytest.approx(other.conflict, abs=1e-9)
    with_default = analyzer.interpret(perception)
    assert analyzer.point == with_default.point == sample_report.point


def test_files_that_are_no_media_are_refused(analyzer: Analyzer, tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a film " * 100)
    with pytest.raises(EmptyMediaError, match=r"empty\.mp4"):
        analyzer.analyze(empty)
    with pytest.raises((UnreadableMediaError, NoStreamError), match=r"text\.mp4"):
        analyzer.analyze(text)


def test_windows_follow_the_settings() -> None:
    short = Analyzer(AnalyzerConfig(windows=WindowConfig(length_s=2.0, hop_s=1.0)))
    windows = list(short.stream(SAMPLE))
    assert [w.start_s for w in windows[:3]] == [0.0, 1.0, 2.0]
    assert windows[0].end_s == 2.0


def test_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="known: compact"):
        Analyzer(AnalyzerConfig(model="enormous"))
