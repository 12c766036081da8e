from __future__ import annotations

import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import ImageDraw

from builders import make_failed_report, make_prediction
from conftest import ClipMaker
from facevoice.errors import (
    ConfigError,
    MediaNotFoundError,
    NoStreamError,
    RenderError,
)
from facevoice.media import probe
from facevoice.records import Emotion, Outcome, Person, Prediction, Reason, Report, Trace
from facevoice.report import render_video
from facevoice.report.words import OUTCOME_COLORS
from films import BOX, close_to, make_trace, read_film, report_of, sound_of
from made_reports import BLIND, CONFLICT, FLAT, MATCH, UNDECIDED, decided, make_window


def render(path: Path, **how: object) -> Path:
    out = path.with_name("out.mp4")
    assert render_video(report_of(path, make_prediction()), make_trace([0.0]), out, **how) == out
    assert not list(path.parent.glob(".*"))
    return out


def test_frames_keep_their_times_and_the_sound_its_bytes(make_clip: ClipMaker) -> None:
    clip = make_clip(duration_s=2.0)
    film, rendered = read_film(clip), read_film(render(clip))
    assert len(film.times_s) == 50
    assert rendered.times_s == film.times_s
    assert rendered.packets == film.packets
    assert rendered.audio_codec == "aac"
    assert rendered.container_is_fast
    assert rendered.pictures[0].shape == film.pictures[0].shape


def test_pictures_stay_in_order(make_clip: ClipMaker, read_index) -> None:
    clip = make_clip(width=320, height=640, audio=False, duration_s=1.0)
    pictures = read_film(render(clip)).pictures
    # The strip hides the last row of the painted index: its four bits.
    shown = [read_index(picture) >> 4 for picture in pictures]
    assert shown == [index >> 4 for index in range(25)]


@pytest.mark.parametrize(
    ("video_offset_s", "audio_offset_s"),
    [(0.0, 0.5), (0.6, 0.0), (0.04, 1024 / 48_000)],
)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_offset_between_sound_and_picture_stays(
    make_clip: ClipMaker, name: str, video_offset_s: float, audio_offset_s: float
) -> None:
    clip = make_clip(name, video_offset_s=video_offset_s, audio_offset_s=audio_offset_s)
    film, rendered = read_film(clip), read_film(render(clip))
    assert [b for _, b in rendered.packets[-20:]] == [_raw_aac(b) for _, b in film.packets[-20:]]
    before = film.times_s[0] - film.packets[3][0]
    after = rendered.times_s[0] - rendered.packets[3][0]
    if len(rendered.packets) != len(film.packets):
        pytest.fail("sound packets were lost")
    assert abs(float(after - before)) < 3e-5
    assert min(probe(clip).duration_s, 99) == pytest.approx(
        probe(clip.with_name("out.mp4")).duration_s, abs=0.05
    )


def _raw_aac(packet: bytes) -> bytes:
    """Without the header that transport streams put before each packet."""
    return packet[7:] if packet[:2] in (b"\xff\xf1", b"\xff\xf9") else packet


def test_irregular_and_broken_rates_are_kept_exactly(make_clip: ClipMaker) -> None:
    times_s = [0.0, 0.04, 0.05, 0.3, 0.301, 0.9, 1.5]
    rendered = read_film(render(make_clip("clip.mkv", frame_times_s=times_s)))
    assert rendered.times_s == [Fraction(round(t * 1000), 1000) for t in times_s]
    clip = make_clip(fps=Fraction(30_000, 1001), audio=False)
    assert read_film(render(clip)).times_s == read_film(clip).times_s


@pytest.mark.parametrize("rotation", [90, 180])
def test_turned_pictures_come_out_upright(make_clip: ClipMaker, read_index, rotation: int) -> None:
    clip = make_clip(width=240, height=480, rotation=rotation, audio=False, duration_s=0.8)
    pictures = read_film(render(clip)).pictures
    assert pictures[0].shape == (480, 240, 3)
    assert [read_index(p) >> 4 for p in pictures[16:]] == [1] * 4


def test_film_that_changes_its_size(make_clip: ClipMaker, tmp_path: Path) -> None:
    parts = [
        make_clip(f"{k}.ts", width=w, height=h, audio=False, duration_s=1.0, video_offset_s=k)
        for k, (w, h) in enumerate([(160, 120), (320, 240)])
    ]
    clip = tmp_path / "both.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    film = read_film(render(clip))
    assert {picture.shape for picture in film.pictures} == {(120, 160, 3)}
    assert len(film.pictures) >= 48


def test_odd_sizes_become_even(make_clip: ClipMaker) -> None:
    clip = make_clip("clip.mkv", width=161, height=121, pix_fmt="yuv444p", audio=False)
    film = read_film(render(clip))
    assert film.pictures[0].shape == (122, 162, 3)
    assert len(film.pictures) == 50


@pytest.mark.parametrize(
    ("height_px", "shape"), [(96, (96, 128)), (97, (96, 128)), (500, (120, 160))]
)
def test_tall_pictures_become_smaller(make_clip: ClipMaker, height_px: int, shape: tuple) -> None:
    clip = make_clip(duration_s=0.2, audio=False)
    assert read_film(render(clip, height_px=height_px)).pictures[0].shape[:2] == shape


def test_colors_of_the_film_stay(make_clip: ClipMaker) -> None:
    def paint(*_: object) -> np.ndarray:
        return np.full((240, 320, 3), (200, 60, 30), np.uint8)

    clip = make_clip(width=320, height=240, paint=paint, audio=False, duration_s=0.2)
    before, after = read_film(clip).pictures[-1], read_film(render(clip)).pictures[-1]
    assert np.abs(before[100, 300].astype(int) - after[100, 300]).max() <= 3


@pytest.mark.parametrize(
    ("curve", "signal", "expected"),
    # The same lights: 203 cd/m², the white of usual screens, and 50, as a face in the shade.
    [("smpte2084", 0.5807, 243), ("smpte2084", 0.4402, 142), ("arib-std-b67", 0.75, 243)],
)
def test_high_dynamic_range_becomes_what_its_tags_say(
    make_clip: ClipMaker, curve: str, signal: float, expected: int
) -> None:
    params = f"transfer={curve}:colorprim=bt2020:colormatrix=bt2020nc"
    clip = make_clip(
        width=320,
        height=240,
        paint=lambda *_: np.full((240, 320, 3), round(255 * signal), np.uint8),
        audio=False,
        duration_s=0.2,
        pix_fmt="yuv420p10le",
        codec_options={"x264-params": params},
    )
    rendered = render(clip)
    with av.open(str(rendered)) as film:
        context = film.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
    assert tags == (1, 1, 1, 1)  # BT.709 throughout, of usual range
    assert np.abs(read_film(rendered).pictures[-1][100, 300].astype(int) - expected).max() <= 8


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "copied"),
    [
        ("clip.avi", "libmp3lame", 48_000, True),
        ("clip.mkv", "libmp3lame", 8000, False),
        ("clip.webm", "libopus", 48_000, True),
        ("clip.mkv", "flac", 44_100, True),
        ("clip.mkv", "pcm_s16le", 22_050, False),
        ("clip.mov", "pcm_s16le", 48_000, False),
    ],
)
def test_sound_of_other_codecs(
    make_clip: ClipMaker, name: str, codec: str, rate_hz: int, copied: bool
) -> None:
    clip = make_clip(name, audio_codec=codec, sample_rate_hz=rate_hz, samples=_hiss(rate_hz))
    out = render(clip)
    film, rendered = read_film(clip), read_film(out)
    assert len(rendered.times_s) == len(film.times_s)
    assert (rendered.audio_codec == film.audio_codec) is copied
    if copied:
        assert [b for _, b in rendered.packets] == [b for _, b in film.packets]
    else:
        assert rendered.audio_codec == "aac"
        assert probe(out).audio.sample_rate_hz == rate_hz
        assert probe(out).audio.num_channels == 2
    # Matroska's own times are rounded to milliseconds.
    assert _shift_ms(sound_of(clip), sound_of(out)) <= 1.0


def _hiss(rate_hz: int) -> np.ndarray:
    """Two seconds of stereo noise below 1 kHz, which every codec keeps."""
    noise = np.random.default_rng(0).normal(size=4000)
    times = np.arange(2 * rate_hz) / rate_hz
    low = np.interp(times, np.arange(4000) / 2000, noise)
    return np.tile(0.2 * low, (2, 1))


def _shift_ms(before: np.ndarray, after: np.ndarray) -> float:
    """How far the one has to be shifted to look most like the other."""
    first, second = before[8000:24_000], after[8000:24_000]
    spectrum = np.fft.rfft(first, 2**15) * np.conj(np.fft.rfft(second, 2**15))
    best = int(np.argmax(np.fft.irfft(spectrum)))
    return min(best, 2**15 - best) / 16


def test_encoded_sound_starts_where_it_did(make_clip: ClipMaker) -> None:
    clip = make_clip("clip.mkv", audio_codec="pcm_s16le", audio_offset_s=0.5)
    out = render(clip)
    assert probe(clip).audio.start_s == 0.5
    before, after = sound_of(clip), sound_of(out)
    first = [int(np.argmax(np.abs(sound) > 0.25)) for sound in (before, after)]
    assert abs(first[0] - first[1]) <= 32  # 2 ms


def test_film_without_sound_and_sound_without_film(make_clip: ClipMaker) -> None:
    rendered = read_film(render(make_clip(audio=False)))
    assert (rendered.audio_codec, len(rendered.times_s)) == (None, 50)
    with pytest.raises(NoStreamError, match=r"clip\.m4a: holds no video.*facevoice report"):
        render(make_clip("clip.m4a"))


def test_damaged_tail_gives_what_there_is(make_clip: ClipMaker) -> None:
    clip = make_clip("clip.ts", duration_s=4.0)
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2] + b"\x00" * 500)
    film = read_film(render(clip))
    assert 25 <= len(film.times_s) < 90
    assert film.packets


def test_progress_rises_to_the_end(make_clip: ClipMaker) -> None:
    done_s: list[float] = []
    render(make_clip(), on_progress=done_s.append)
    assert done_s == sorted(done_s)
    assert len(done_s) == 50
    assert done_s[-1] == pytest.approx(1.96)


def test_stopped_by_its_watcher_it_leaves_what_there_was(make_clip: ClipMaker) -> None:
    def stop(done_s: float) -> None:
        if done_s > 1:
            raise KeyboardInterrupt

    clip = make_clip()
    clip.with_name("out.mp4").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        render(clip, on_progress=stop)
    assert clip.with_name("out.mp4").read_bytes() == b"older"
    assert {p.name for p in clip.parent.iterdir()} == {"clip.mp4", "out.mp4"}


def test_full_disk_is_named(make_clip: ClipMaker) -> None:
    rng = np.random.default_rng(0)

    def paint(*_: object) -> np.ndarray:
        return rng.integers(0, 256, (240, 320, 3), np.uint8)

    clip = make_clip(width=320, height=240, paint=paint)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(RenderError, match=r"out\.mp4: can't be written .*disk has room"):
            render(clip)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in clip.parent.iterdir()] == ["clip.mp4"]


def test_wrong_targets(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(duration_s=0.2)
    content = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "folder.mp4").mkdir()
    for out, how, error, words in (
        ("out.avi", {}, ConfigError, r"out\.avi: .*\.mp4"),
        (clip.name, {}, ConfigError, "the video itself"),
        ("link.mp4", {}, ConfigError, "the video itself"),
        ("out.mp4", {"height_px": 10}, ConfigError, "height_px"),
        ("none/out.mp4", {}, RenderError, "folder does not exist"),
        ("folder.mp4", {}, RenderError, "is a folder"),
    ):
        with pytest.raises(error, match=words):
            render_video(report_of(clip, *WINDOWS), make_trace(), tmp_path / out, **how)
    assert clip.read_bytes() == content


def test_missing_films_and_films_without_windows(make_clip: ClipMaker, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        render_video(make_failed_report(str(tmp_path / "no.mp4")), make_trace(), tmp_path / "o.mp4")
    clip = make_clip(duration_s=0.2)
    out = render_video(report_of(clip), make_trace(), clip.with_name("out.mp4"))
    assert len(read_film(out).times_s) == 5


# What is drawn, on grey films.

BLUE, ORANGE = OUTCOME_COLORS[Outcome.MATCH], OUTCOME_COLORS[Outcome.CONFLICT]
WINDOWS = (replace(MATCH, end_s=2.0), replace(CONFLICT, start_s=2.0, end_s=4.0))


def drawn(
    make_clip: ClipMaker,
    trace: Trace,
    *windows: Prediction,
    size: tuple[int, int] = (640, 360),
    duration_s: float = 4.0,
    report: Report | None = None,
) -> list[np.ndarray]:
    """Pictures of a grey film, ten a second, after drawing what the windows or a report say."""
    width, height = size
    grey = np.full((height, width, 3), 128, np.uint8)
    look = {"width": width, "height": height, "paint": lambda *_: grey, "fps": 10, "audio": False}
    clip = make_clip(duration_s=duration_s, **look)
    said = decided(*windows) if report is None else report
    said = replace(said, path=str(clip))
    return read_film(render_video(said, trace, clip.with_name("drawn.mp4"))).pictures


def left_edge(picture: np.ndarray, box: tuple[float, float, float, float] = BOX) -> np.ndarray:
    """The pixels around the middle of the box's left side."""
    height, width = picture.shape[:2]
    row, column = round((box[1] + box[3]) / 2 * height), round(box[0] * width)
    return picture[row, max(0, column - 1) : column + 6]


def test_the_frame_follows_one_person_in_the_colour_of_the_window(make_clip: ClipMaker) -> None:
    moved = (0.35, 0.2, 0.7, 0.6)
    trace = make_trace([0.0, 0.4, 1.0, 2.0, 2.6], [7, 7, 9, 9, 9], box=[BOX, moved, BOX, BOX, BOX])
    pictures = drawn(make_clip, trace, *WINDOWS)
    between = tuple(np.mean([BOX, moved], axis=0))
    for frame, box, color in (
        (0, BOX, BLUE),
        (2, between, BLUE),
        (4, moved, BLUE),
        (10, BOX, BLUE),
        (20, BOX, ORANGE),
    ):
        assert close_to(left_edge(pictures[frame], box), color).any(), frame
    for frame in (5, 9, 15, 22, 27, 39):  # another person, too far apart, nobody after
        assert close_to(pictures[frame][:300], "#808080", 8).all(), frame


def test_the_strip_shows_all_outcomes_and_the_moment(make_clip: ClipMaker) -> None:
    pictures = drawn(make_clip, make_trace(), *WINDOWS)
    for frame, share in ((10, 0.25), (30, 0.75)):
        picture = pictures[frame]
        assert close_to(picture[:300], "#808080", 8).all()
        half = picture.shape[1] // 2
        is_bar = close_to(picture[:, 20 : half - 20], BLUE).mean(axis=1) > 0.9
        is_bar &= close_to(picture[:, half + 20 : -20], ORANGE).mean(axis=1) > 0.9
        (rows,) = np.nonzero(is_bar)
        assert 2 <= len(rows) <= 12
        white = np.flatnonzero(close_to(picture[rows[len(rows) // 2]], "#FFFFFF", 60))
        assert white.mean() / picture.shape[1] == pytest.approx(share, abs=0.02)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """All that is written on pictures, and where it ends, in pixels."""
    found: list[tuple[str, float]] = []
    original = ImageDraw.ImageDraw.text

    def text(self: object, xy: tuple[float, float], words: str, *args: Any, **how: Any) -> None:
        found.append((words, xy[0] + how["font"].getlength(words)))
        original(self, xy, words, *args, **how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


@pytest.mark.parametrize(
    "size", [(640, 360), (1920, 1080), (360, 640), (608, 1080), (480, 480), (480, 360)]
)
def test_words_fit_and_are_those_of_the_tables(
    make_clip: ClipMaker, written: list[tuple[str, float]], size: tuple[int, int]
) -> None:
    wide = make_window(Emotion.SURPRISED, Emotion.SURPRISED, 0.64)
    drawn(make_clip, make_trace([0.0], [3]), wide, size=size, duration_s=0.2)
    assert max(end_px for _, end_px in written) <= size[0]
    said = " ".join(words for words, _ in written)
    for words in ("face: surprised 91%", "voice: surprised 55%", "leans to conflict, 64%"):
        assert words in said
    assert "undecided" in said
    assert "face looks surprised 91%" in said
    assert "expressed emotion, estimated by facevoice" in said
    written.clear()
    blind = make_window(None, None, None, Reason.NO_FACE, Reason.NO_SPEECH)
    drawn(make_clip, make_trace(), blind, size=size, duration_s=0.2)
    said = " ".join(words for words, _ in written)
    assert "face: no face · voice: no speech" in said
    assert "both: -" in said
    assert said.replace("·", "").isascii()  # the font has no other signs


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (MATCH, ["match", "conflict: 4%"]),
        (CONFLICT, ["conflict", "conflict: 90%"]),
        (UNDECIDED, ["undecided", "leans to conflict, 64%"]),
        (FLAT, ["flat"]),
        (BLIND, ["insufficient"]),
    ],
)
def test_a_probability_of_conflict_is_written_only_where_it_counts(
    make_clip: ClipMaker, written: list[tuple[str, float]], window: Prediction, words: list[str]
) -> None:
    drawn(make_clip, make_trace(), window, duration_s=0.2)
    parts = [part for text, _ in written for part in text.split(" · ")]
    of_channels = ("face:", "voice:", "both:", "expressed")
    # The strip is drawn once.
    assert [part for part in parts if not part.startswith(of_channels)] == words


QUIET = "#55616B"


def people_of(*names: str, **more: Any) -> tuple[Person, ...]:
    """One track each, from 4 on."""
    return tuple(
        Person(number, name, (3 + number,), 1.0, 1.0, **more)
        for number, name in enumerate(names, start=1)
    )


def test_every_face_has_a_frame_and_of_several_people_a_name(
    make_clip: ClipMaker, written: list[tuple[str, float]]
) -> None:
    side = (0.65, 0.2, 0.95, 0.6)
    trace = make_trace([0.0, 0.2, 0.0, 0.2], [4, 4, 5, 5], box=[BOX, BOX, side, side])
    report = replace(decided(replace(MATCH, person=1)), people=people_of("Anna", "Борис \u4e2d"))

    def film(report: Report) -> tuple[np.ndarray, set[str]]:
        written.clear()
        picture = drawn(make_clip, trace, report=report, duration_s=0.2)[0]
        return picture, {text for text, _ in written if "·" not in text and ":" not in text}

    picture, words = film(report)
    # The film's font lacks the sign.
    assert {"Anna looks happy 91%", "person 2"} <= words
    assert close_to(left_edge(picture), OUTCOME_COLORS[Outcome.MATCH]).any()
    assert close_to(left_edge(picture, side), QUIET, 20).any()
    # The same windows are now the other one's.
    windows = tuple(replace(window, person=2) for window in report.windows)
    picture, words = film(replace(report, windows=windows))
    assert {"Anna", "person 2 looks happy 91%"} <= words
    assert close_to(left_edge(picture, side), OUTCOME_COLORS[Outcome.MATCH]).any()
    # Who is left out has no frame; the other one is alone, and needs no name.
    anna, boris = report.people
    picture, words = film(replace(report, people=(anna, replace(boris, is_left_out=True))))
    assert "face looks happy 91%" in words
    assert not close_to(left_edge(picture, side), QUIET, 20).any()


def test_a_cut_makes_no_second_person(
    make_clip: ClipMaker, written: list[tuple[str, float]]
) -> None:
    cuts = make_trace([0.0, 0.1, 0.2, 0.3], [4, 4, 9, 9])
    drawn(make_clip, cuts, MATCH, duration_s=0.4)
    assert {text for text, _ in written if "looks" in text} == {"face looks happy 91%"}


def test_the_strip_tells_of_a_voice_off_screen(
    make_clip: ClipMaker, written: list[tuple[str, float]]
) -> None:
    window = replace(MATCH, conflict=None, reasons=(Reason.VOICE_OFF_SCREEN,))
    drawn(make_clip, make_trace(), window, duration_s=0.2)
    assert any("voice off screen" in text for text, _ in written)


def test_a_face_that_is_not_read_is_only_framed(
    make_clip: ClipMaker, written: list[tuple[str, float]]
) -> None:
    rare = make_window(None, Emotion.SAD, None, Reason.FACE_TOO_SELDOM)
    drawn(make_clip, make_trace([0.0]), rare, duration_s=0.2)
    assert "face" in {text for text, _ in written}


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        ((-0.2, -0.2, 0.3, 0.3), True),
        ((0.8, 0.5, 1.4, 1.4), True),
        ((0.0, 0.0, 1.0, 1.0), True),
        ((0.5, 0.5, 0.502, 0.504), True),
        ((0.5, 0.5, 0.5, 0.5), False),
        ((0.5, 0.5, 0.4, 0.4), False),
        ((2.0, 2.0, 3.0, 3.0), False),
    ],
)
def test_boxes_at_the_border_and_tiny_ones(
    make_clip: ClipMaker, box: tuple[float, float, float, float], visible: bool
) -> None:
    trace = make_trace([0.0], box=box)
    picture = drawn(make_clip, trace, *WINDOWS, size=(320, 240), duration_s=0.1)[0]
    assert close_to(picture[:190], BLUE, 60).any() == visible
