"""Files that can't be read get an error that names them and says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevoice.errors import (
    EmptyMediaError,
    MediaError,
    MediaNotFoundError,
    NoStreamError,
    UnreadableMediaError,
)
from facevoice.media import probe
from facevoice.media import read_audio, read_frames


def assert_all_readers_raise(path: Path, kind: type[MediaError]) -> MediaError:
    for read in (probe, lambda p: list(read_frames(p, [0.0], tolerance_s=1)), read_audio_fully):
        with pytest.raises(kind) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.remedy
    return caught.value


def read_audio_fully(path: Path) -> list:
    return list(read_audio(path))


def test_missing_file(tmp_path):
    assert_all_readers_raise(tmp_path / "absent.mp4", MediaNotFoundError)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert_all_readers_raise(path, EmptyMediaError)


def test_folder(tmp_path):
    assert "folder" in assert_all_readers_raise(tmp_path, UnreadableMediaError).problem


def test_not_a_regular_file(tmp_path):
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    assert_all_readers_raise(path, UnreadableMediaError)


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.wav"])
def test_text(tmp_path, name):
    path = tmp_path / name
    path.write_text("Nothing to see or hear here.\n" * 200)
    assert_all_readers_raise(path, UnreadableMediaError)


def test_playlists_are_not_followed(tmp_path, make_clip):
    clip = make_clip("real.mp4", duration_s=0.5)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{clip.name}'\n")
    assert_all_readers_raise(playlist, UnreadableMediaError)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip.name}\n")
    assert_all_readers_raise(playlist, UnreadableMediaError)


def test_still_picture(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)
    assert_all_readers_raise(path, UnreadableMediaError)


def test_mp4_whose_index_was_cut_off(make_clip):
    path = make_clip()
    path.write_bytes(path.read_bytes()[:-3000])
    assert "cut off" in assert_all_readers_raise(path, UnreadableMediaError).problem


def test_random_bytes(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    assert_all_readers_raise(path, UnreadableMediaError)


def test_asking_for_a_stream_that_is_not_there(make_clip):
    with pytest.raises(NoStreamError, match="no video"):
        list(read_frames(make_clip("a.wav"), [0.0], tolerance_s=1))
    with pytest.raises(NoStreamError, match="no sound"):
        list(read_audio(make_clip("v.mp4", audio=False)))


def test_names_that_look_like_addresses(make_clip, monkeypatch):
    path = make_clip("data:a.mp4", duration_s=0.5, container="mp4")
    monkeypatch.chdir(path.parent)
    assert probe(path.name).duration_s == pytest.approx(0.5, abs=0.05)


def test_only_a_cover_picture_and_no_sound(make_clip):
    path = make_clip("cover.mp3", cover=True, duration_s=0.3)
    assert probe(path).video is None
    with pytest.raises(NoStreamError):
        list(read_frames(path, [0.0], tolerance_s=1))
