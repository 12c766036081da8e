"""Windows, and whole passes: cut, broken off, gone on with, cut short, shared by threads."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from benchmarks.long_videos import repeat_video
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.media import probe
from facevoice.perceive import Perceiver, cut_windows, window_spans
from facevoice.records import (
    SAMPLE_RATE_HZ,
    FaceSighting,
    FrameFaces,
    Modality,
    Perception,
    SpeechBlock,
    WindowView,
)
from facevoice.settings import AnalyzerConfig, FacesConfig, SpeechConfig, WindowConfig
from facevoice.store import Store
from portraits import make_portrait

SAMPLE = Path(__file__).parent.parent / "examples" / "smile_glad_voice.mp4"

FACES, SPEECH = FacesConfig(sample_rate_hz=5), SpeechConfig(threshold=0.5)
DEFAULT = WindowConfig()
NO_LANDMARKS = np.zeros((5, 2), np.float32)


def sighting(time_s, track_id=0, side=100.0, score=1.0):
    box = np.array([10, 20, 10 + side, 20 + side], np.float32)
    crop = np.full((32, 32, 3), (track_id * 50 + round(time_s * 5)) % 256, np.uint8)
    return FaceSighting(track_id, time_s, box, score, crop, NO_LANDMARKS)


def frames(times_s, *, hidden=(), tracks=(0,)):
    for time_s in times_s:
        seen = () if time_s in hidden else tuple(sighting(time_s, t) for t in tracks)
        yield FrameFaces(time_s, 200, 400, seen)


def speech(duration_s, *, is_speech=lambda time_s: True, block=16_384):
    """Samples that count up, so that a window's can be told from where they come."""
    total = round(duration_s * SAMPLE_RATE_HZ)
    for start in range(0, total, block):
        samples = np.arange(start, min(start + block, total), dtype=np.float32)
        starts_s = np.arange(start, start + len(samples), 512) / SAMPLE_RATE_HZ
        probs = np.array([float(is_speech(t)) for t in starts_s], np.float32)
        yield SpeechBlock(start / SAMPLE_RATE_HZ, samples, probs)


def grid(duration_s, rate_hz=5):
    return [k / rate_hz for k in range(int(np.ceil(duration_s * rate_hz - 1e-9)))]


def cut(duration_s, faces=None, heard=None, windows=DEFAULT):
    return list(cut_windows(duration_s, faces, heard, windows, FACES, SPEECH))


durations = st.floats(0.05, 60, allow_nan=False)
settings_of_windows = st.tuples(st.floats(0.5, 10), st.floats(0.01, 1)).map(
    lambda v: WindowConfig(length_s=v[0], hop_s=max(0.1, v[0] * v[1]))
)


@settings(deadline=None, max_examples=50)
@given(duration_s=durations, windows=settings_of_windows)
def test_windows_tile_the_file(duration_s, windows):
    spans = list(window_spans(duration_s, windows))
    assert spans[0][0] == 0
    assert spans[-1][1] == duration_s
    for k, (start_s, end_s) in enumerate(spans):
        assert start_s == pytest.approx(k * windows.hop_s)
        assert start_s < end_s <= duration_s
        if k < len(spans) - 1:
            assert end_s - start_s == pytest.approx(windows.length_s)
            assert end_s < duration_s
            assert spans[k + 1][0] <= end_s + 1e-9  # the rounding of sums


@settings(deadline=None, max_examples=25)
@given(
    duration_s=st.floats(0.05, 25),
    video_s=st.floats(0, 26),
    sound_s=st.floats(0, 26),
    windows=settings_of_windows,
    hidden=st.sets(st.integers(0, 130)),
)
def test_what_windows_hold_is_what_the_streams_gave(duration_s, video_s, sound_s, windows, hidden):
    times_s = grid(video_s)
    dark = {k / 5 for k in hidden}
    found = cut(duration_s, frames(times_s, hidden=dark), speech(sound_s), windows)
    num_samples = round(sound_s * SAMPLE_RATE_HZ)
    for window in found:
        start = round(window.start_s * SAMPLE_RATE_HZ)
        end = min(round(window.end_s * SAMPLE_RATE_HZ), num_samples)
        if end > start:
            np.testing.assert_array_equal(window.samples, np.arange(start, end, dtype=np.float32))
        else:
            assert window.samples is None
        assert 0 <= window.speech_coverage <= 1
        assert 0 <= window.face_coverage <= 1
        is_last = window is found[-1]
        shown = [
            t
            for t in times_s
            if window.start_s <= t < (np.inf if is_last else window.end_s)
            and (t < window.end_s or t == next(u for u in times_s if u >= window.end_s))
            and t not in dark
        ]
        if not shown:
            assert window.faces is None
            assert window.face_coverage == 0
        else:
            np.testing.assert_allclose(window.face_timestamps_s, shown)
            assert len(window.faces) == len(window.boxes_xyxy_rel) == len(shown)


def test_the_default_windows_of_nine_seconds():
    spans = list(window_spans(9.0, DEFAULT))
    assert spans == [(0, 4), (2, 6), (4, 8), (6, 9.0)]


@pytest.mark.parametrize("duration_s", [0.3, 3.99, 4.0])
def test_a_short_file_is_one_window(duration_s):
    assert list(window_spans(duration_s, DEFAULT)) == [(0, duration_s)]


def test_rounding_adds_no_sliver():
    assert len(list(window_spans(4.0 + 1e-9, DEFAULT))) == 1
    thirds = WindowConfig(length_s=0.9, hop_s=0.3)
    assert len(list(window_spans(0.3 * 3 + 0.9, thirds))) == 4


def test_a_duration_of_nought_is_refused():
    with pytest.raises(ValueError, match="duration_s = 0"):
        cut(0.0)


def test_without_a_stream_its_part_is_none():
    (window,) = cut(3.0, frames(grid(3.0)), None)
    assert window.samples is None
    assert window.speech_coverage == 0
    (window,) = cut(3.0, None, speech(3.0))
    assert window.faces is window.boxes_xyxy_rel is window.track_id is None
    assert window.num_faces == 0


def test_a_window_describes_its_leading_face():
    (window,) = cut(2.0, frames(grid(2.0), hidden={0.4, 1.0}), None)
    assert window.faces.shape == (8, 32, 32, 3)
    assert window.face_coverage == pytest.approx(0.8)
    np.testing.assert_allclose(window.boxes_xyxy_rel[0], [0.05, 0.05, 0.55, 0.3])
    assert window.track_id == 0
    assert window.num_faces == 1
    assert window.faces[1, 0, 0, 0] == 1


def test_boxes_are_clipped_to_the_picture():
    box = np.array([-10, 300, 250, 500], np.float32)
    crop = np.zeros((32, 32, 3), np.uint8)
    frame = FrameFaces(0.0, 200, 400, (FaceSighting(3, 0.0, box, 1.0, crop, NO_LANDMARKS),))
    (window,) = cut(1.0, iter([frame]), None)
    np.testing.assert_allclose(window.boxes_xyxy_rel, [[0, 0.75, 1, 1]])


def test_the_leading_face_is_large_sure_and_often_seen():
    def leader(number_of_small):
        times_s = [0.2 * k for k in range(number_of_small)]
        seen = [FrameFaces(s, 200, 400, (sighting(s, 1, side=50),)) for s in times_s]
        last_s = 0.2 * number_of_small
        large = FrameFaces(last_s, 200, 400, (sighting(last_s, 2, side=100, score=0.9),))
        (window,) = cut(last_s + 0.2, iter([*seen, large]), None)
        return window.track_id

    assert [leader(3), leader(6)] == [2, 1]


def test_of_equal_faces_the_older_leads():
    (window,) = cut(1.0, frames(grid(1.0), tracks=(4, 2, 7)), None)
    assert window.track_id == 2
    assert window.num_faces == 3
    assert window.face_coverage == 1


def seen_at(*people):
    """Frames that show these people, each in turn."""
    for place, tracks in enumerate(people):
        yield FrameFaces(place / 5, 200, 400, tuple(sighting(place / 5, t) for t in tracks))


@pytest.mark.parametrize(
    ("people", "num_faces"),
    [
        (((1,), (1,), (1,), (1,), (1,)), 1),
        (((1,), (1,), (2,), (3,), (3,)), 1),  # cuts: one after another
        (((1,), (1, 2), (2,), (2,), (2,)), 1),  # a cut, and the face before it for a moment more
        (((1, 2), (1,), (), (1, 2), ()), 2),
        (((1, 2), (2, 3), (3,), (3,), (3,)), 2),
        (((1, 2, 3), (1, 2), (1,), (1,), (1,)), 2),
        (((1, 2, 3), (1,), (1, 2, 3), (1,), (1,)), 3),
        (((1,), (), (), (), ()), 1),
        (((1, 2),), 1),
    ],
)
def test_several_faces_are_those_seen_at_once_and_more_than_once(people, num_faces):
    (window,) = cut(1.0, seen_at(*people), None)
    assert window.num_faces == num_faces


def test_coverage_counts_the_leading_face_only():
    a, b = (sighting(0.0, 1, side=100),), (sighting(0.2, 2, side=40),)
    (window,) = cut(0.4, iter([FrameFaces(0.0, 200, 400, a), FrameFaces(0.2, 200, 400, b)]), None)
    assert window.track_id == 1
    assert window.face_coverage == 0.5


def test_speech_coverage_is_time_above_the_threshold():
    (window,) = cut(4.0, None, speech(4.0, is_speech=lambda t: t < 1.024))
    assert window.speech_coverage == pytest.approx(1.024 / 4, abs=1e-6)


def test_speech_is_shared_out_at_the_sample_where_windows_part():
    halves = WindowConfig(length_s=0.5, hop_s=0.5)
    found = cut(1.0, None, speech(1.0, is_speech=lambda t: 0.48 <= t < 0.512), halves)
    parts_s = [w.speech_coverage * 0.5 for w in found]
    assert parts_s == pytest.approx([0.02, 0.012], abs=1e-6)


def test_video_that_ends_early_lowers_coverage():
    found = cut(8.0, frames(grid(3.0)), speech(8.0))
    assert [w.face_coverage for w in found] == pytest.approx([15 / 20, 5 / 20, 0])
    assert found[2].faces is None


def test_video_that_starts_late_lowers_coverage():
    found = cut(4.0, frames([t for t in grid(4.0) if t >= 3.0]), None)
    assert found[0].face_coverage == pytest.approx(5 / 20)


def test_slow_video_is_not_taken_for_missing():
    (window,) = cut(4.0, frames([0.0, 1.0, 2.0, 3.0]), None)
    assert window.face_coverage == 1


def test_video_without_a_frame_covers_nothing():
    (window,) = cut(4.0, iter(()), None)
    assert window.faces is None
    assert window.face_coverage == 0


def test_sound_that_ends_early_gives_a_partial_window():
    found = cut(8.0, None, speech(5.0))
    assert [None if w.samples is None else len(w.samples) for w in found] == [
        64_000,
        48_000,
        16_000,
    ]
    assert found[1].speech_coverage == pytest.approx(0.75, abs=1e-3)


def test_only_the_current_window_is_kept_in_memory():
    given_out: list[weakref.ref] = []
    most_alive = 0

    def watched(stream):
        nonlocal most_alive
        for item in stream:
            array = item.samples if isinstance(item, SpeechBlock) else item.sightings[0].crop
            given_out.append(weakref.ref(array))
            most_alive = max(most_alive, sum(ref() is not None for ref in given_out))
            yield item

    streams = watched(frames(grid(60.0))), watched(speech(60.0))
    for _ in cut_windows(60.0, *streams, DEFAULT, FACES, SPEECH):
        pass
    assert len(given_out) > 300
    # 4 s hold 21 crops and 5 blocks; the window before still holds the 10 crops that moved out.
    assert most_alive <= 40


def test_streams_are_read_only_as_far_as_the_window_needs():
    last_s = {"faces": 0.0, "speech": 0.0}

    def watched(stream, name):
        for item in stream:
            last_s[name] = item.timestamp_s if name == "faces" else item.start_s
            yield item

    found = cut_windows(
        100.0,
        watched(frames(grid(100.0)), "faces"),
        watched(speech(100.0), "speech"),
        DEFAULT,
        FACES,
        SPEECH,
    )
    next(found)
    assert last_s["faces"] <= 4.2
    assert last_s["speech"] <= 4.0


class Killed(BaseException):
    """Stands for whatever ends a process in the midst of a file."""


def break_off(num_windows: int):
    left = iter(range(num_windows - 1))

    def on_view(_: WindowView) -> None:
        if next(left, None) is None:
            raise Killed

    return on_view


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 s with a face and speech, and places where the picture leaps."""
    return repeat_video(SAMPLE, tmp_path_factory.mktemp("long") / "long.mp4", 3)


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return Analyzer(num_threads=1)


@pytest.fixture(scope="module")
def whole(video: Path, analyzer: Analyzer) -> Perception:
    return analyzer.perceive(video)


_FACE_NUMBERS = (
    *("coverage", "embedding", "times_s", "boxes_xyxy_rel", "identity", "moving", "speaking"),
)


def largest_difference(one: Perception, other: Perception) -> float:
    """Of any number of two perceptions of the same windows."""
    largest = 0.0
    for a, b in zip(one.windows, other.windows, strict=True):
        assert (a.start_s, a.end_s, a.num_faces) == (b.start_s, b.end_s, b.num_faces)
        pairs = [(a, b, ("voice", "speech_spans_s", "peaks"))]
        for face, twin in zip(a.faces, b.faces, strict=True):
            assert (face.person, face.portrait) == (twin.person, twin.portrait)
            pairs.append((face, twin, _FACE_NUMBERS))
        for left, right, names in pairs:
            for name in names:
                largest = max(largest, _difference(getattr(left, name), getattr(right, name)))
    return largest


def _difference(one: object, other: object) -> float:
    assert (one is None) == (other is None)
    assert np.shape(one) == np.shape(other)
    return 0.0 if one is None else float(np.abs(np.subtract(one, other)).max(initial=0))


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_interrupted_file_goes_on_from_its_stored_windows(
    video: Path, whole: Perception, tmp_path: Path, num_threads: int
) -> None:
    analyzer = Analyzer(num_threads=num_threads)
    with Store(tmp_path / "store.db") as store:
        for num_windows in (1, 4, 7):
            with pytest.raises(Killed):
                analyzer.perceive(video, store=store, on_view=break_off(num_windows))
        given: list[WindowView] = []
        found = analyzer.perceive(video, store=store, on_view=given.append)
        assert [view.end_s for view in given] == [view.end_s for view in whole.windows]
        assert largest_difference(found, whole) <= 1e-3
        # Whole now: nothing is decoded any more.
        video_gone = analyzer.recall("elsewhere.mp4", found.sha256 or "", store)
        assert video_gone is not None
        assert video_gone.media.path == Path("elsewhere.mp4")
        assert largest_difference(video_gone, found) == 0


@pytest.mark.parametrize("rate_hz", [1.0, 3.3])
def test_every_window_can_be_gone_on_from(video: Path, rate_hz: float) -> None:
    config = AnalyzerConfig(
        faces=FacesConfig(sample_rate_hz=rate_hz, detect_rate_hz=0.5),
        windows=WindowConfig(length_s=3.0, hop_s=2.3),
    )
    perceiver = Analyzer(config, num_threads=1).perceiver
    info = probe(video)
    known = list(perceiver.views(info))
    for number in (1, len(known) - 2):
        late = list(perceiver.views(info, after=known[:number]))
        assert [view.start_s for view in late] == [view.start_s for view in known[number:]]
        for one, other in zip(late, known[number:], strict=True):
            assert one.face_coverage == pytest.approx(other.face_coverage)
            np.testing.assert_allclose(one.face, other.face, atol=1e-3)
            np.testing.assert_array_equal(one.voice, other.voice)
    assert list(perceiver.views(info, after=known)) == []


def test_a_later_start_needs_less_decoding(
    video: Path, whole: Perception, monkeypatch: pytest.MonkeyPatch
) -> None:
    perceiver = Analyzer(num_threads=1).perceiver
    refined: list[int] = []
    refine = perceiver._detector.refine

    def counted(rgb: np.ndarray, boxes: np.ndarray) -> object:
        refined.append(len(boxes))
        return refine(rgb, boxes)

    monkeypatch.setattr(perceiver._detector, "refine", counted)
    list(perceiver.views(whole.media, after=whole.windows[:7]))
    num_late = len(refined)
    list(perceiver.views(whole.media))
    assert num_late < (len(refined) - num_late) * 0.6


def test_what_decoders_complained_of_is_not_forgotten(video: Path, tmp_path: Path) -> None:
    short = tmp_path / "cut.mkv"
    repeat_video(SAMPLE, short, 1)
    content = short.read_bytes()
    short.write_bytes(content[: len(content) * 2 // 3])
    analyzer = Analyzer(num_threads=1)
    with Store(tmp_path / "store.db") as store:
        first = analyzer.perceive(short, store=store)
        again = analyzer.perceive(short, store=store)
    assert first.damage == again.damage != ()
    assert analyzer.interpret(again).status == "truncated"


def test_threads_change_nothing_and_share_an_analyzer(video: Path, whole: Perception) -> None:
    overlapped = Analyzer(num_threads=3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(overlapped.perceive, [video, SAMPLE, video]))
    assert largest_difference(found[0], whole) == largest_difference(found[2], whole) == 0
    assert len(found[1].windows) == 2


def test_the_trace_joins_what_the_windows_saw(whole: Perception) -> None:
    trace = whole.trace
    assert (np.diff(trace.face_times_s) > 0).all()
    assert len(trace.face_times_s) == len(trace.boxes_xyxy_rel) == len(trace.track_ids)
    assert len(trace.peaks) == pytest.approx(20 * whole.media.duration_s, abs=2)
    assert (trace.speech_spans_s[1:, 0] > trace.speech_spans_s[:-1, 1]).all()
    assert 0 < trace.peaks.max() <= 1


def make_lossless(make_clip: ClipMaker, name: str, seconds: float, *, goes_on: bool) -> Path:
    """A film without loss; behind the cut at 1.05 s the face and the noise go on, or nothing."""
    portrait = make_portrait()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * SAMPLE_RATE_HZ))
    if not goes_on:
        samples[round(1.05 * SAMPLE_RATE_HZ) :] = 0

    def paint(_: int, time_s: float) -> np.ndarray:
        picture = np.roll(portrait, round(40 * time_s), axis=1)
        return picture if time_s < 1.05 or goes_on else np.zeros_like(picture)

    return make_clip(
        name,
        width=300,
        height=300,
        fps=20,
        duration_s=seconds,
        codec="ffv1",
        pix_fmt="bgr0",
        paint=paint,
        audio_codec="pcm_s16le",
        samples=samples,
        sample_rate_hz=SAMPLE_RATE_HZ,
    )


def test_what_follows_the_cut_changes_nothing(make_clip: ClipMaker, analyzer: Analyzer) -> None:
    config = AnalyzerConfig(
        faces=FacesConfig(sample_rate_hz=10, detect_rate_hz=5),
        speech=SpeechConfig(threshold=1e-6),
        windows=WindowConfig(length_s=0.5, hop_s=0.25),
    )
    perceiver = Perceiver(config, analyzer.assembly.backbones)
    paths = [make_lossless(make_clip, f"{n}.mkv", 2.0, goes_on=bool(n)) for n in (0, 1)]
    found = [perceiver.perceive(path, end_s=1.05) for path in paths]
    assert largest_difference(*found) == 0
    assert found[0].windows[-1].end_s == 1.05
    spans = [(v.start_s, v.end_s) for v in found[0].windows]
    assert spans == list(window_spans(1.05, config.windows))
    beyond = perceiver.perceive(make_lossless(make_clip, "short.mkv", 1.0, goes_on=True), end_s=2.0)
    assert beyond.windows[-1].end_s == 2.0
    assert beyond.windows[-1].face is None


def test_a_channel_without_backbone_is_not_decoded(analyzer: Analyzer) -> None:
    voice = {Modality.AUDIO: analyzer.assembly.backbones[Modality.AUDIO]}
    found = Perceiver(AnalyzerConfig(), voice).perceive(SAMPLE)
    whole = analyzer.perceive(SAMPLE)
    for one, other in zip(found.windows, whole.windows, strict=True):
        assert one.faces == () and one.detected_s is None
        np.testing.assert_array_equal(one.voice, other.voice)
