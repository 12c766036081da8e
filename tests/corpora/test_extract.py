"""Perceiving whole corpora: once, resumable, in parallel, whatever dies in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from conftest import ClipMaker
from facevoice.analyzer import Analyzer
from facevoice.backbones.registry import create_backbone
from facevoice.corpora.extract import (
    RAW,
    ClipFeatures,
    ClipReader,
    ExtractionProgress,
    extract_clips,
    find_backbone,
    identify,
    read_features,
    stored_backbones,
)
from facevoice.corpora.manifest import Clip, write_manifest
from facevoice.errors import ConfigError, CorpusError, StoreError
from facevoice.media import probe
from facevoice.perceive import window_spans
from facevoice.records import Modality
from facevoice.settings import AnalyzerConfig, SpeechConfig, WindowConfig
from facevoice.store import Store
from portraits import make_portrait

# Everything but silence counts as speech: no synthesised sound is any.
CONFIG = AnalyzerConfig(
    windows=WindowConfig(length_s=0.5, hop_s=0.25), speech=SpeechConfig(threshold=1e-6)
)
BACKBONES = ("compact-face", "compact-voice")


def make_clips(make_clip: ClipMaker) -> list[Clip]:
    """A film with sound, a film with a sound file, two sound files, a film without sound."""
    portrait = make_portrait()
    look = {"width": 300, "height": 300, "fps": 10, "paint": lambda *_: portrait}
    film = make_clip("a.mp4", duration_s=1.0, **look)
    pair = make_clip("b.mp4", duration_s=1.2, audio=False, **look)
    sounds = [
        make_clip(f"{name}.ogg", duration_s=seconds, samples="noise")
        for name, seconds in (("b", 1.1), ("c", 0.6), ("d", 1.3))
    ]
    silent = make_clip("e.mp4", duration_s=0.8, audio=False, **look)
    files = [(film, film), (pair, sounds[0]), (None, sounds[1]), (None, sounds[2]), (silent, None)]
    return [
        Clip(
            clip_id=f"javanese/{name}",
            corpus="javanese",
            speaker="01",
            video_path=video,
            audio_path=audio,
            duration_s=min(probe(path).duration_s for path in (video, audio) if path),
        )
        for name, (video, audio) in zip("abcde", files, strict=True)
    ]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make_clips(ClipMaker(tmp_path_factory.mktemp("corpus")))


@pytest.fixture(scope="module")
def serial(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with everything, made in one process."""
    path = tmp_path_factory.mktemp("serial") / "features.db"
    report = extract_clips(clips, path, config=CONFIG)
    assert (report.num_clips, report.num_extracted, report.num_known) == (5, 5, 0)
    assert report.problems == report.damages == ()
    return path


def read_all(clips: list[Clip], path: Path) -> dict[str, dict[str, ClipFeatures]]:
    return {name: read_features(clips, path, backbone=name, config=CONFIG) for name in BACKBONES}


def assert_same_features(clips: list[Clip], first: Path, second: Path) -> None:
    ours, theirs = read_all(clips, first), read_all(clips, second)
    for name in BACKBONES:
        assert ours[name].keys() == theirs[name].keys()
        for clip_id, features in ours[name].items():
            other = theirs[name][clip_id]
            for field in ("spans_s", "embeddings", "mask", "coverage"):
                assert np.array_equal(getattr(features, field), getattr(other, field))


def test_features_are_those_that_analysis_finds(clips: list[Clip], serial: Path) -> None:
    found = read_all(clips, serial)
    assert set(found["compact-face"]) == {f"javanese/{name}" for name in "abe"}
    assert set(found["compact-voice"]) == {f"javanese/{name}" for name in "abcd"}
    analyzer = Analyzer(CONFIG, num_threads=1)
    views = analyzer.perceive(clips[0].video_path or "").windows
    for name, modality in zip(BACKBONES, (Modality.VIDEO, Modality.AUDIO), strict=True):
        features = found[name]["javanese/a"]
        assert features.modality is modality
        assert features.backbone == identify(create_backbone(name)).id
        assert np.array_equal(features.spans_s, [(v.start_s, v.end_s) for v in views])
        assert features.mask.all()
        assert np.array_equal(features.embeddings, [v.channel(modality) for v in views])
        is_video = modality is Modality.VIDEO
        coverage = [v.face_coverage if is_video else v.speech_coverage for v in views]
        assert np.array_equal(features.coverage, np.array(coverage, np.float32))
    # And what was extracted needs no second pass.
    path = clips[0].video_path or Path()
    with Store(serial) as store:
        assert analyzer.recall(path, store.content_of(path), store) is not None


def test_both_channels_of_a_clip_have_the_same_windows(clips: list[Clip], serial: Path) -> None:
    found = read_all(clips, serial)
    for clip in clips[:2]:
        spans_s = list(window_spans(clip.duration_s or 0, CONFIG.windows))
        for name in BACKBONES:
            assert np.array_equal(found[name][clip.clip_id].spans_s, spans_s)


def test_what_is_stored_is_not_decoded_again(
    clips: list[Clip], serial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("facevoice.corpora.extract.probe", refuse)
    monkeypatch.setattr("facevoice.store.file_sha256", refuse)
    steps: list[ExtractionProgress] = []
    report = extract_clips(clips, serial, config=CONFIG, on_progress=steps.append)
    assert (report.num_clips, report.num_known, report.num_records) == (5, 5, 0)
    assert report.problems == ()
    assert steps == []


def test_only_missing_channels_are_extracted(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    heard = extract_clips(clips, path, backbones=["compact-voice"], config=CONFIG)
    assert (heard.num_clips, heard.num_extracted) == (4, 4)
    assert [b.name for b in stored_backbones(path)] == ["compact-voice"]
    with pytest.raises(StoreError, match=r"nothing of backbone 'compact-face' \(there: compact-v"):
        read_features(clips, path, backbone="compact-face", config=CONFIG)
    seen = extract_clips(clips, path, config=CONFIG)
    assert (seen.num_clips, seen.num_extracted, seen.num_known) == (5, 3, 2)
    only = frozenset({Modality.AUDIO})
    assert extract_clips(clips, path, modalities=only, config=CONFIG).num_known == 4


def test_processes_give_what_one_gives(clips: list[Clip], serial: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    steps: list[ExtractionProgress] = []
    report = extract_clips(clips, path, config=CONFIG, jobs=2, on_progress=steps.append)
    assert report.num_extracted == 5
    assert sorted(s.name for s in steps if s.stage == "extract") == [c.clip_id for c in clips]
    assert steps[-1].num_done == steps[-1].num_all == 5
    assert_same_features(clips, path, serial)


def test_a_killed_worker_costs_nothing(clips: list[Clip], serial: Path, tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    killed: list[int] = []

    def kill_one(progress: ExtractionProgress) -> None:
        if progress.stage == "extract" and not killed:
            worker = multiprocessing.active_children()[0]
            os.kill(worker.pid or 0, signal.SIGKILL)
            killed.append(worker.pid or 0)

    report = extract_clips(clips, path, config=CONFIG, jobs=2, on_progress=kill_one)
    assert killed
    assert report.problems == ()
    assert_same_features(clips, path, serial)


_RUN = """
import sys
from pathlib import Path
from facevoice.settings import AnalyzerConfig, SpeechConfig, WindowConfig
from facevoice.corpora.manifest import read_manifest
from facevoice.corpora.extract import extract_clips

def main():
    config = AnalyzerConfig(
        windows=WindowConfig(length_s=0.5, hop_s=0.25), speech=SpeechConfig(threshold=1e-6)
    )
    def tell(progress):
        if progress.stage == "extract":
            import multiprocessing
            pids = [child.pid for child in multiprocessing.active_children()]
            print(progress.name, *pids, flush=True)
    extract_clips(
        read_manifest(Path(sys.argv[1])), Path(sys.argv[2]), config=config, jobs=2, on_progress=tell
    )

if __name__ == "__main__":
    main()
"""


def test_a_killed_run_keeps_what_it_reported_and_goes_on(
    clips: list[Clip], serial: Path, tmp_path: Path
) -> None:
    path, script = tmp_path / "f.db", tmp_path / "run.py"
    script.write_text(_RUN, encoding="utf-8")
    write_manifest(clips, tmp_path / "m.jsonl")
    command = [sys.executable, str(script), str(tmp_path / "m.jsonl"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        done, *workers = run.stdout.readline().split()
        run.kill()
    assert len(workers) == 2
    has_face = done.removeprefix("javanese/") in "abe"
    name = BACKBONES[0] if has_face else BACKBONES[1]
    assert done in read_features(clips, path, backbone=name, config=CONFIG)
    report = extract_clips(clips, path, config=CONFIG)
    assert report.num_known >= 1
    assert_same_features(clips, path, serial)
    deadline = time.monotonic() + 120
    while any(_is_running(int(pid)) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_is_running(int(pid)) for pid in workers), "a worker outlives its parent"


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_bad_files_are_told_and_stop_nobody(
    clips: list[Clip], tmp_path: Path, make_clip: ClipMaker
) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound at all" * 100)
    sound = make_clip("sound.wav", duration_s=0.5)
    picture = tmp_path / "face.jpg"
    picture.touch()
    bad = [
        replace(clips[2], clip_id="javanese/1", audio_path=broken),
        replace(clips[2], clip_id="javanese/2", audio_path=tmp_path / "absent.wav"),
        replace(clips[2], clip_id="javanese/3", video_path=picture, audio_path=None),
        replace(clips[2], clip_id="javanese/4", duration_s=None),
        replace(clips[2], clip_id="javanese/5", video_path=sound, audio_path=sound),
        replace(clips[4], clip_id="javanese/6", video_start_s=3.0),
        replace(clips[2], clip_id="javanese/7", audio_path=None),
    ]
    path = tmp_path / "f.db"
    report = extract_clips([*bad, clips[3]], path, config=CONFIG)
    kinds = {problem.clip_id: problem.kind for problem in report.problems}
    assert kinds == {
        "javanese/1": "unreadable_media",
        "javanese/2": "media_not_found",
        "javanese/3": "corpus",
        "javanese/4": "corpus",
        "javanese/5": "no_stream",
        "javanese/6": "corpus",
    }
    assert all(str(problem.path) in problem.message for problem in report.problems[:1])
    found = read_features(
        [*bad[:3], *bad[4:], clips[3]], path, backbone="compact-voice", config=CONFIG
    )
    assert set(found) == {"javanese/5", "javanese/d"}
    again = extract_clips([*bad, clips[3]], path, config=CONFIG)
    assert {problem.clip_id for problem in again.problems} == set(kinds)
    assert again.num_records == 0


def test_a_file_that_breaks_off_is_used_and_told(tmp_path: Path, make_clip: ClipMaker) -> None:
    whole = make_clip("whole.wav", duration_s=3, samples="noise")
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    clip = Clip("tess/cut", "tess", "OAF", audio_path=cut, duration_s=1.5)
    report = extract_clips([clip], tmp_path / "f.db", backbones=["compact-voice"], config=CONFIG)
    assert report.problems == ()
    assert [(damage.kind, damage.path) for damage in report.damages] == [("damaged", cut)]
    assert "cut off at 1.5 s" in report.damages[0].message


def test_windows_without_face_or_speech_are_known_to_have_none(
    tmp_path: Path, make_clip: ClipMaker
) -> None:
    film = make_clip("nobody.mp4", duration_s=1.0, samples="silence")
    clip = Clip("tess/n", "tess", "OAF", video_path=film, audio_path=film, duration_s=1.0)
    path = tmp_path / "f.db"
    config = AnalyzerConfig(windows=CONFIG.windows)
    assert extract_clips([clip], path, config=config).num_extracted == 1
    assert extract_clips([clip], path, config=config).num_known == 1
    for name in BACKBONES:
        features = read_features([clip], path, backbone=name, config=config)["tess/n"]
        assert not features.mask.any()
        assert not features.embeddings.any()
        assert not features.coverage.any()
        assert features.embeddings.shape == (3, find_backbone(path, name).dim)
        assert features.pooled() is None


def test_limits_cut_the_windows_and_share_the_store(
    clips: list[Clip], serial: Path, tmp_path: Path
) -> None:
    limits_s = {clip.clip_id: 0.6 for clip in clips}
    path = tmp_path / "f.db"
    report = extract_clips(clips, path, limits_s=limits_s, config=CONFIG)
    assert report.num_extracted == 5
    for name in BACKBONES:
        cut = read_features(clips, path, backbone=name, limits_s=limits_s, config=CONFIG)
        whole = read_features(clips, serial, backbone=name, config=CONFIG)
        assert cut.keys() == whole.keys()
        for clip_id, features in cut.items():
            length_s = min(0.6, next(c.duration_s or 0 for c in clips if c.clip_id == clip_id))
            spans_s = list(window_spans(length_s, CONFIG.windows))
            assert np.array_equal(features.spans_s, spans_s)
            # Windows before the cut are the very same; the last one is cut.
            assert np.array_equal(features.embeddings[:-1], whole[clip_id].embeddings[:1])
    assert read_features(clips, path, backbone="compact-voice", config=CONFIG).keys() == {
        clip.clip_id for clip in clips if clip.audio_path and (clip.duration_s or 0) <= 0.6
    }


def test_a_limit_above_the_length_is_none(clips: list[Clip], serial: Path) -> None:
    limits_s = {clip.clip_id: 100.0 for clip in clips[:3]}
    report = extract_clips(clips, serial, limits_s=limits_s, config=CONFIG)
    assert (report.num_known, report.num_records) == (5, 0)


def test_wrong_calls_are_refused(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with pytest.raises(CorpusError, match="occurs twice"):
        extract_clips([clips[0], clips[0]], path)
    with pytest.raises(ConfigError, match="serve none of: audio"):
        extract_clips(
            clips, path, backbones=["compact-face"], modalities=frozenset({Modality.AUDIO})
        )
    with pytest.raises(ConfigError, match="unknown backbone"):
        extract_clips(clips, path, backbones=["none"])
    zero = extract_clips(clips[:1], path, limits_s={clips[0].clip_id: 0.0})
    assert "not above 0" in zero.problems[0].message
    other = tmp_path / "other.db"
    other.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="is not a store"):
        extract_clips(clips, other)


def test_a_store_that_takes_nothing_ends_the_run(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StoreError(tmp_path / "f.db", "the disk is full.", "Make room")

    monkeypatch.setattr(Store, "write_views", full)
    with pytest.raises(StoreError, match="the disk is full"):
        extract_clips(clips, tmp_path / "f.db", config=CONFIG)


def test_backbones_are_found_by_name_or_revision(tmp_path: Path) -> None:
    first = replace(identify(create_backbone("compact-voice")), id="compact-voice@1")
    second = replace(first, id="compact-voice@2")
    path = tmp_path / "f.db"
    with Store(path) as store:
        for backbone in (first, second, first):
            store.remember_backbone(backbone.key, asdict(backbone))
    assert stored_backbones(path) == (first, second)
    assert find_backbone(path, "compact-voice@2") == second
    with pytest.raises(StoreError, match="several revisions"):
        find_backbone(path, "compact-voice")
    with pytest.raises(StoreError, match="does not exist"):
        find_backbone(tmp_path / "none.db", "compact-voice")


def test_raw_windows_share_the_store(clips: list[Clip], tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    names = ("crops", "samples")
    report = extract_clips(clips[:3], path, backbones=names, config=CONFIG)
    assert (report.num_extracted, report.problems) == (3, ())
    assert extract_clips(clips[:3], path, backbones=names, config=CONFIG).num_known == 3
    assert stored_backbones(path) == ()
    with Store(path) as store:
        reader = ClipReader(store, [identify(raw) for raw in RAW.values()], CONFIG)
        views = [reader.channel(clips[0], m).windows for m in Modality]
        assert reader.channel(clips[2], Modality.VIDEO) is None
    seen, heard = [v.face for v in views[0]], [v.voice for v in views[1]]
    spans_s = list(window_spans(clips[0].duration_s or 0, CONFIG.windows))
    assert len(seen) == len(heard) == len(spans_s)
    assert all(crops.dtype == np.uint8 and crops.shape[1:] == (120, 120, 3) for crops in seen)
    assert all(
        len(samples) == pytest.approx(16_000 * (end_s - start_s), abs=800)
        for samples, (start_s, end_s) in zip(heard, spans_s, strict=True)
    )


def test_pooling_weighs_windows_by_what_they_show() -> None:
    features = ClipFeatures(
        clip_id="tess/a",
        modality=Modality.VIDEO,
        backbone="x@1",
        spans_s=np.array([[0, 4], [2, 6], [4, 6]], np.float64),
        embeddings=np.array([[1, 0], [0, 1], [9, 9]], np.float32),
        mask=np.array([True, True, False]),
        coverage=np.array([0.75, 0.25, 0], np.float32),
    )
    assert np.array_equal(features.pooled(), np.array([0.75, 0.25], np.float32))
