"""Which sound track and which video stream of several is read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from facevoice.errors import NoStreamError
from facevoice.media import probe, read_audio, read_frames
from facevoice.media.languages import language_of
from facevoice.people.hearing import listen
from facevoice.records import SoundRole, TrackChoice

RATE_HZ = 16_000
TICKS_HZ = 1000


def tone(tone_hz: float, duration_s: float = 2.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * tone_hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def write_tracks(path: Path, *tracks: tuple[np.ndarray, int, dict[str, str]]) -> Path:
    """Sound tracks of samples, disposition and metadata, beside a film of two seconds."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = []
        for samples, disposition, metadata in tracks:
            stream = output.add_stream("flac", rate=RATE_HZ, layout="mono")
            stream.disposition = disposition
            stream.metadata.update(metadata)
            streams.append((stream, samples))
        packets = []
        for k in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * k, np.uint8))
            frame.pts, frame.time_base = k, Fraction(1, 10)
            packets += video.encode(frame)
        packets += video.encode(None)
        for stream, samples in streams:
            values = (samples[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            packets += stream.encode(frame) + stream.encode(None)
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            output.mux(packet)
    return path


def heard_hz(media) -> float:
    samples = np.concatenate([block.samples for block in read_audio(media)])
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * RATE_HZ / len(samples)


SILENCE = np.zeros(2 * RATE_HZ)
PLAIN = Disposition(0)


@pytest.mark.parametrize(
    ("first", "second", "number", "why"),
    [
        (PLAIN, PLAIN, 1, TrackChoice.FIRST),
        (PLAIN, Disposition.default, 2, TrackChoice.DEFAULT),
        (PLAIN, Disposition.original, 2, TrackChoice.ORIGINAL),
        (Disposition.comment, PLAIN, 2, TrackChoice.FIRST),
        (Disposition.default | Disposition.visual_impaired, PLAIN, 2, TrackChoice.FIRST),
        (Disposition.hearing_impaired, PLAIN, 2, TrackChoice.FIRST),
        (PLAIN, Disposition.default | Disposition.comment, 1, TrackChoice.FIRST),
    ],
)
def test_flags_say_which_track_is_heard(tmp_path, first, second, number, why):
    path = write_tracks(
        tmp_path / "two.mkv", (tone(440), int(first), {}), (tone(880), int(second), {})
    )
    for info in (probe(path), listen(path)):
        assert (info.audio.track, info.audio.chosen) == (number, why)
        assert [other.number for other in info.audio.others] == [3 - number]
        assert heard_hz(info) == pytest.approx(440 * number, abs=2)


def test_titles_say_it_where_flags_do_not(tmp_path):
    path = write_tracks(
        tmp_path / "t.mkv",
        (tone(440), 0, {"title": "Director's Commentary"}),
        (tone(660), 0, {"title": "Audio description", "language": "eng"}),
        (tone(880), 0, {}),
    )
    audio = probe(path).audio
    assert audio.track == 3
    assert [other.role for other in audio.others] == [SoundRole.COMMENTARY, SoundRole.DESCRIPTION]


def test_silent_tracks_give_way_to_those_that_sound(tmp_path):
    late = np.concatenate([np.zeros(31 * RATE_HZ), tone(880, 1.0)])
    path = write_tracks(
        tmp_path / "s.mkv",
        (np.zeros(len(late)), int(Disposition.default), {}),
        (tone(440), int(Disposition.comment), {}),
        (late, 0, {}),
    )
    assert probe(path).audio.track == 1
    heard = listen(path).audio
    assert (heard.track, heard.chosen) == (3, TrackChoice.SOUNDING)
    assert {other.number for other in heard.others} == {1, 2}
    # A commentary is heard where nothing else is, and silence where there is nothing at all.
    tracks = (SILENCE, 0, {}), (tone(440), int(Disposition.comment), {})
    assert listen(write_tracks(tmp_path / "c.mkv", *tracks)).audio.track == 2
    tracks = (SILENCE, 0, {}), (SILENCE, 0, {})
    assert listen(write_tracks(tmp_path / "n.mkv", *tracks)).audio.track == 1


def test_a_track_may_be_asked_for(tmp_path):
    path = write_tracks(
        tmp_path / "a.mkv",
        (tone(440), int(Disposition.default), {"language": "eng", "title": "Main"}),
        (SILENCE, int(Disposition.comment), {"language": "ger"}),
    )
    for asked in (2, "de", "deu", "ger", "DE-at"):
        audio = listen(path, track=asked).audio
        assert (audio.track, audio.chosen, audio.language) == (2, TrackChoice.ASKED, "deu")
    for asked in (3, "fr"):
        with pytest.raises(NoStreamError) as caught:
            probe(path, track=asked)
        for told in (str(path), str(asked), "1 (eng, “Main”)", "2 (deu, commentary)"):
            assert told in str(caught.value)


def test_a_language_has_several_codes():
    assert {language_of(code) for code in ("fr", "fra", "fre", "FR-ca")} == {"fra"}
    assert language_of("und") is language_of("") is language_of(None) is None
    assert language_of("qaa") == "qaa"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_still_picture_gives_way_to_the_film(tmp_path, suffix):
    path = tmp_path / f"still{suffix}"
    with av.open(str(path), "w") as output:
        still = output.add_stream("mjpeg", rate=25)
        still.width, still.height, still.pix_fmt = 32, 32, "yuvj420p"
        film = output.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for stream, count in ((still, 1), (film, 25)):
            for k in range(count):
                picture = np.full((stream.height, stream.width, 3), 9 * k, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture)
                frame.pts, frame.time_base = k, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    info = probe(path)
    assert (info.video.track, info.video.width_px, info.video.codec) == (2, 64, "h264")
    for media in (path, info):
        frames = list(read_frames(media, [0.1, 0.5], tolerance_s=0.02))
        assert [frame.rgb.shape[1] for frame in frames] == [64, 64]


def test_a_cut_off_file_of_several_tracks_is_told_from_a_whole_one(tmp_path):
    rng = np.random.default_rng(0)
    tracks = [(rng.uniform(-0.5, 0.5, 4 * RATE_HZ), 0, {}) for _ in range(2)]
    tracks.append((tone(440, 6.0), int(Disposition.comment), {}))
    path = write_tracks(tmp_path / "cut.mkv", *tracks)
    messages: list[str] = []
    assert probe(path, on_damage=messages.append).duration_s == pytest.approx(4.0, abs=0.1)
    assert messages == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    assert probe(path, on_damage=messages.append).duration_s < 3.5
    assert len(messages) == 1 and "cut off" in messages[0]
