"""Tables of real, tiny corpora: probed, with broken files told."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from conftest import ClipMaker
from facevoice.corpora.gather import CorpusPlace
from facevoice.corpora.manifest import read_manifest
from facevoice.corpora.prepare import Preparation, prepare_manifest, probe_clips
from facevoice.media.open import probe


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Javanese: 01 with film and a longer sound, 02 sound only, and films of RAVDESS."""
    root = tmp_path / "corpora"
    (root / "javanese" / "video").mkdir(parents=True)
    (root / "javanese" / "audio").mkdir()
    make = ClipMaker(root / "javanese")
    make("video/01-01-03_01.mp4", duration_s=0.8, width=64, height=48, audio=False)
    make("audio/01-01-03_01.ogg", duration_s=1.0)
    make("audio/01-01-03_02.ogg", duration_s=0.6)
    (root / "ravdess").mkdir()
    make = ClipMaker(root / "ravdess")
    make("01-01-06-01-02-01-12.mp4", duration_s=0.4, width=64, height=48)
    make("01-01-06-01-02-01-13.mp4", duration_s=0.4, width=64, height=48, audio=False)
    return root


def prepare(root: Path, *names: str, **how: object) -> Preparation:
    places = [CorpusPlace(name, root / name) for name in names or ("javanese", "ravdess")]
    return prepare_manifest(places, root / "manifest.parquet", **how)  # type: ignore[arg-type]


def test_both_tables_hold_every_clip_with_its_length(corpus: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = prepare(corpus, jobs=2, on_progress=lambda *step: steps.append(step))
    assert [path.name for path in done.paths] == ["manifest.parquet", "manifest.jsonl"]
    for path in done.paths:
        assert read_manifest(path) == done.clips
    film, sound, *_ = done.clips
    # A clip lasts as long as both its files do.
    assert film.duration_s == probe(corpus / "javanese/video/01-01-03_01.mp4").duration_s
    assert film.duration_s == pytest.approx(0.8, abs=0.05)
    assert sound.duration_s == pytest.approx(0.6, abs=0.05)
    assert steps == [(k, 5) for k in range(1, 6)]
    assert done.probed.problems == done.probed.damages == ()


def test_the_table_moves_with_its_corpora(corpus: Path) -> None:
    prepare(corpus)
    moved = corpus.rename(corpus.with_name("elsewhere"))
    for clip in read_manifest(moved / "manifest.jsonl"):
        for path in (clip.video_path, clip.audio_path):
            assert path is None or (path.is_file() and path.is_relative_to(moved))


def test_films_without_sound_are_picture_only(corpus: Path) -> None:
    done = prepare(corpus, "ravdess")
    assert done.probed.num_silent == 1
    assert [clip.audio_path is None for clip in done.clips] == [False, True]


def test_an_interrupted_run_leaves_nothing_behind(corpus: Path) -> None:
    def stop(num_done: int, _: int) -> None:
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, on_progress=stop)
    assert {path.name for path in corpus.iterdir()} == {"javanese", "ravdess"}
    assert prepare(corpus).probed.num_files == 5


def test_broken_files_are_told_and_left_out(corpus: Path) -> None:
    sounds = corpus / "javanese" / "audio"
    (sounds / "02-01-03_01.ogg").touch()
    (sounds / "02-01-03_02.ogg").write_bytes(b"no sound" * 99)
    whole = (sounds / "01-01-03_01.ogg").read_bytes()
    film = ClipMaker(corpus / "javanese" / "video")("02-01-03_04.mkv", duration_s=4)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    (corpus / "javanese/video/02-01-03_05.mp4").write_bytes(whole)
    done = prepare(corpus, "javanese")
    assert [(p.clip_id, p.kind, p.path) for p in done.probed.problems] == [
        ("javanese/02-01-03_01", "empty_media", sounds / "02-01-03_01.ogg"),
        ("javanese/02-01-03_02", "unreadable_media", sounds / "02-01-03_02.ogg"),
        ("javanese/02-01-03_05", "no_stream", corpus / "javanese/video/02-01-03_05.mp4"),
    ]
    assert [clip.clip_id for clip in done.clips] == [
        "javanese/01-01-03_01",
        "javanese/01-01-03_02",
        "javanese/02-01-03_04",
    ]
    (damage,) = done.probed.damages
    assert damage.clip_id == "javanese/02-01-03_04"
    assert "its header says 4.0 s" in damage.message
    assert 1 < (done.clips[-1].duration_s or 0) < 3


def test_a_broken_file_of_two_costs_the_clip(corpus: Path) -> None:
    (corpus / "javanese/audio/01-01-03_01.ogg").write_bytes(b"no sound" * 99)
    done = prepare(corpus, "javanese")
    assert [clip.clip_id for clip in done.clips] == ["javanese/01-01-03_02"]


def test_still_pictures_are_checked_and_have_no_length(tmp_path: Path) -> None:
    folder = tmp_path / "fer2013" / "train" / "angry"
    folder.mkdir(parents=True)
    Image.new("L", (48, 48)).save(folder / "Training_1.jpg")
    (folder / "Training_2.jpg").write_bytes(b"no picture")
    done = prepare(tmp_path, "fer2013")
    assert [clip.duration_s for clip in done.clips] == [None]
    assert [(p.kind, p.path) for p in done.probed.problems] == [
        ("unreadable_media", folder / "Training_2.jpg")
    ]


def test_without_probing_lengths_stay_unknown(corpus: Path) -> None:
    (corpus / "javanese/audio/02-01-03_01.ogg").touch()
    done = prepare(corpus, "javanese", probe_files=False)
    assert [clip.duration_s for clip in done.clips] == [None] * 3


def test_clips_can_be_probed_by_themselves(corpus: Path) -> None:
    clips = prepare(corpus, probe_files=False).clips
    gone = clips[1].audio_path
    assert gone is not None
    gone.unlink()
    probed = probe_clips(clips)
    assert [problem.kind for problem in probed.problems] == ["media_not_found"]
    assert len(probed.clips) == len(clips) - 1
    assert all(clip.duration_s for clip in probed.clips)
